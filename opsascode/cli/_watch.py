"""`opsascode runs watch`: look on while another process carries out a run."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import escape_line, seconds
from opsascode.cli._options import format_option
from opsascode.cli._runs import command as runs
from opsascode.cli._runs import need_history, outcome_word
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.cli._context import Face
    from opsascode.cli._progress import Progress
    from opsascode.run import History, PastRun, Sight

_LOOK_SECONDS: Final = 0.1
_ASK_LEDGER_SECONDS: Final = 0.5


@runs.command("watch")
@click.argument("run", default="latest")
@format_option
@click.pass_obj
def watch(face: Face, /, run: str) -> int:
    """Look on while another process carries out a run; of one that has ended, show it again.

    Ctrl-C only stops looking. The exit code is the run's own, once it has ended.
    """
    history = need_history(face)
    past = history.find(run)
    try:
        ended = _follow(face, history, past)
    except KeyboardInterrupt:
        click.echo(f"\ndetached: run {past.run} goes on", err=True)
        return ExitCode.INTERRUPTED
    if ended is None:
        _tell_lost(face, past)
        return ExitCode.INDETERMINATE
    return _tell_end(face, ended)


def _follow(face: Face, history: History, past: PastRun) -> PastRun | None:
    """Show what happens until the run has ended; `None` when nobody carries it out any more."""
    from opsascode.run import UNFINISHED, Follower  # noqa: PLC0415 - keeps --help quick

    follower = Follower(history.directory(past))
    with _progress(face, history, past) as progress:
        try:
            asked = time.monotonic()
            while True:
                if past.end is None and history.life(past.run) == UNFINISHED:
                    past = need_history(face).find(past.run)  # it may have ended this very moment
                    lost = past.end is None
                else:
                    lost = False
                for sight in follower.look():
                    _tell(progress, sight, history, past)
                if past.end is not None or lost:
                    return None if lost else past
                time.sleep(_LOOK_SECONDS)
                if time.monotonic() - asked > _ASK_LEDGER_SECONDS:
                    asked, history = time.monotonic(), need_history(face)
                    past = history.find(past.run)
        finally:
            follower.close()


def _tell(progress: Progress, sight: Sight, history: History, past: PastRun) -> None:
    from opsascode.run import AnswerSeen, AskSeen, Phase, StageSeen, waits_for  # noqa: PLC0415 - keeps --help quick

    match sight:
        case StageSeen():
            progress.stage(Phase(sight.phase), sight.wave, sight.hosts)
        case AskSeen():
            waits = waits_for(history.directory(past), history.files(past).plan)
            if waits and waits.stage == sight.stage:
                progress.notice(f"waiting for {waits.sentence()}")
        case AnswerSeen():
            who = ", ".join(sight.by) or "nobody"
            note = f": {sight.note}" if sight.note else ""
            progress.notice(f"stage {sight.stage} {'granted' if sight.granted else 'declined'} by {who}{note}")
        case _:
            progress.event(sight)


def _progress(face: Face, history: History, past: PastRun) -> Progress:
    from opsascode.cli._progress import JsonLines, LiveTable, PlainLines  # noqa: PLC0415 - keeps --help quick

    if face.json:
        return JsonLines(past.run)
    click.echo(f"Run {past.run}: {escape_line(str(past.said('runbook', 'title') or past.runbook))} ({past.runbook})")
    outline = PastPlan.of(history.files(past).plan)
    return LiveTable(outline) if face.on_terminal and os.environ.get("TERM") != "dumb" else PlainLines(outline)


@dataclass(frozen=True, slots=True, kw_only=True)
class PastStep:
    """A step of a plan, as far as it is shown."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PastPlan:
    """What the plan of a run says, as far as it is shown."""

    waves: tuple[tuple[str, ...], ...]
    steps: tuple[PastStep, ...]
    hosts: tuple[str, ...]

    @classmethod
    def of(cls, plan: bytes | None) -> PastPlan:
        """Read a plan; of one that is gone, nothing is known."""
        content: Mapping[str, list[object]] = json.loads(plan) if plan else {}
        waves = tuple(tuple(map(str, wave)) for wave in content.get("waves", ()) if isinstance(wave, list))
        steps = tuple(PastStep(id=str(step["id"])) for step in content.get("steps", ()) if isinstance(step, dict))
        return cls(waves=waves, steps=steps, hosts=tuple(host for wave in waves for host in wave))


def _tell_lost(face: Face, past: PastRun) -> None:
    if face.json:
        click.echo(json.dumps({"run": past.run, "event": "lost"}))
        return
    click.echo(f"\nnobody carries out run {past.run} any more, and it has no end record: it was cut short", err=True)
    click.echo("  the next `opsascode run` closes it; see `opsascode runs show`", err=True)


def _tell_end(face: Face, past: PastRun) -> int:
    from opsascode.cli._execute import EXIT_CODES  # noqa: PLC0415 - keeps --help quick

    reason = str(past.end.get("reason") or "") if past.end else ""
    if face.json:
        undone = bool(past.end and past.end.get("undone"))
        body = {"run": past.run, "event": "end", "outcome": past.outcome, "reason": reason, "undone": undone}
        click.echo(json.dumps(body))
    else:
        took = seconds((past.ended - past.started).total_seconds()) if past.ended else ""
        click.echo(f"\n{outcome_word(past.outcome)} in {took}: {escape_line(reason)}")
    return EXIT_CODES.get(past.outcome, ExitCode.INDETERMINATE)
