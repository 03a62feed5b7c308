"""`opsascode runs resume|undo|cancel`: go on with a run, take it back, or stop it from elsewhere."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Unpack

import click

from opsascode.cli._access import AccessWords, access_options, read_access, read_keyring
from opsascode.cli._console import at_terminal, escape_line
from opsascode.cli._execute import EXIT_CODES, account, carry_out, order_for
from opsascode.cli._judging import judged, tell_refusal
from opsascode.cli._options import format_option
from opsascode.cli._plan import resolve_plan_file
from opsascode.cli._run import MannerWords, manner_options, read_manner
from opsascode.cli._runs import command as runs
from opsascode.cli._runs import need_history
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from opsascode.cli._context import Face
    from opsascode.cli._secrets import Keyring
    from opsascode.policy import Permit
    from opsascode.run import History, Manner, NotNow, Past, PastRun, Purpose, Resolution

_TICK: Final = 0.1


@runs.command("resume")
@click.argument("run", default="latest")
@access_options
@click.option("-D", "--diff", is_flag=True, help="Show how files change.")
@manner_options
@format_option
@click.pass_obj
def resume(face: Face, /, run: str, diff: bool, **words: Unpack[MannerWords]) -> int:  # noqa: FBT001 - click passes options by name
    """Go on with a run: one that waits for people, or from the first step that was not completed."""
    from opsascode.run import LifeState, Purpose, past_to_resume  # noqa: PLC0415 - keeps --help quick

    again = _judge_again(face, run, words, Purpose.RUN, diff=diff)
    if again is None:
        return ExitCode.REFUSED
    past = again.past
    life = face.state.dispatcher().subscribe(past.run)
    if past.end is None and life and life.state is LifeState.WAITING:
        order = order_for(face, again.resolution, again.permit, again.manner, run=past.run)
        return carry_out(face, order, start=(past.start, past.start_index))
    found = past_to_resume(again.history, past, again.resolution)
    question = f"Go on with {past.runbook}, run {past.run}?"
    return _carry_on(face, again, found, Purpose.RUN, question=question, agreed=words["yes"])


@runs.command("undo")
@click.argument("run", default="latest")
@access_options
@manner_options
@format_option
@click.pass_obj
def undo(face: Face, /, run: str, **words: Unpack[MannerWords]) -> int:
    """Take a run back: undo what it completed, in reverse order, host by host.

    Guardrails judge it as they judge a run, but no freeze, no error budget and no approval holds it up.
    """
    from opsascode.run import Purpose, past_to_undo  # noqa: PLC0415 - keeps --help quick

    again = _judge_again(face, run, words, Purpose.UNDO)
    if again is None:
        return ExitCode.REFUSED
    past = again.past
    found = past_to_undo(again.history, past, again.resolution)
    question = f"Undo what {past.runbook}, run {past.run}, completed?"
    return _carry_on(face, again, found, Purpose.UNDO, question=question, agreed=words["yes"])


@runs.command("cancel")
@click.argument("run", default="latest")
@click.option("--no-undo", is_flag=True, help="Undo nothing; an undo under way is stopped too.")
@access_options
@format_option
@click.pass_obj
def cancel(face: Face, /, run: str, no_undo: bool, **words: Unpack[AccessWords]) -> int:  # noqa: FBT001 - click passes options by name
    """Stop a run from elsewhere, and wait until it has ended; what it completed is undone as its runbook says.

    A run that waits for people is ended by this very command, which then needs what a run needs to reach its hosts.
    """
    from opsascode.run import LifeState  # noqa: PLC0415 - keeps --help quick

    history, past = _find(face, run)
    dispatcher = face.state.dispatcher()
    life = dispatcher.subscribe(past.run)
    if past.end is not None or life is None:
        raise UsageError(f"the run {past.run} is over: {past.outcome}", advice=f"see `opsascode runs show {past.run}`")
    dispatcher.cancel(past.run, by=account(), undo=not no_undo, now=datetime.now(UTC))
    if life.state is LifeState.WAITING:
        return _end_waiting(face, history, past, words)
    click.echo(f"run {past.run} is told to stop", err=True)
    while life is not None and life.state in {LifeState.QUEUED, LifeState.RUNNING}:
        time.sleep(_TICK)
        life = dispatcher.subscribe(past.run)
    click.echo(f"run {past.run}: {life.state.value if life is not None else 'over'}")
    return ExitCode.DONE


def _end_waiting(face: Face, history: History, past: PastRun, words: AccessWords) -> int:
    """Take up a run that waits, only to end it: the request to cancel it is the first thing it hears."""
    from opsascode.policy import Refusal  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Manner, Purpose  # noqa: PLC0415 - keeps --help quick

    keyring = read_keyring(face, words, os.environ)
    resolution = _resolve_again(face, history, past, words, keyring, asks_nobody=True)
    verdict = judged(face, resolution, purpose=Purpose.UNDO)  # ending it is the way back, whatever the time
    if isinstance(verdict, Refusal):
        return tell_refusal(face, verdict, resolution, purpose=Purpose.UNDO)
    manner = Manner(access=read_access(words, keyring.vault, os.environ))
    order = order_for(face, resolution, verdict, manner, run=past.run)
    code = carry_out(face, order, start=(past.start, past.start_index))
    return ExitCode.DONE if code == EXIT_CODES["canceled"] else code


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """An earlier run whose plan is still the same, and may be carried out now."""

    history: History
    past: PastRun
    resolution: Resolution
    permit: Permit
    manner: Manner


def _judge_again(face: Face, run: str, words: MannerWords, purpose: Purpose, *, diff: bool = False) -> _Again | None:
    """Find a run, resolve its plan once more and ask the guardrails; `None` when they refuse, which is told."""
    from opsascode.policy import Refusal  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Purpose  # noqa: PLC0415 - keeps --help quick

    history, past = _find(face, run)
    keyring = read_keyring(face, words, os.environ)
    manner = read_manner(words, keyring, diff=diff)
    resolution = _resolve_again(face, history, past, words, keyring, asks_nobody=purpose is Purpose.UNDO)
    verdict = judged(face, resolution, purpose=purpose)
    if isinstance(verdict, Refusal):
        tell_refusal(face, verdict, resolution, purpose=purpose)
        return None
    return _Again(history=history, past=past, resolution=resolution, permit=verdict, manner=manner)


def _carry_on(face: Face, again: _Again, found: Past | NotNow, purpose: Purpose, *, question: str, agreed: bool) -> int:
    """Make the run that continues or takes back another, when that can be and the person agrees."""
    from opsascode.run import NotNow, Purpose  # noqa: PLC0415 - keeps --help quick

    if isinstance(found, NotNow):
        return _tell_not_now(again.past, found, "taken back" if purpose is Purpose.UNDO else "continued")
    if not (agreed or _agreed(question)):
        return ExitCode.REFUSED
    return carry_out(face, order_for(face, again.resolution, again.permit, again.manner, purpose=purpose), past=found)


def _find(face: Face, run: str) -> tuple[History, PastRun]:
    """Find a run; `latest` is the newest that was neither a prediction nor an undo."""
    from opsascode.run import LATEST, Query  # noqa: PLC0415 - keeps --help quick

    history = need_history(face)
    if run == LATEST:
        run = next((each.run for each in history.list(Query()) if each.mode == "run"), LATEST)
    return history, history.find(run)


def _resolve_again(
    face: Face, history: History, past: PastRun, words: AccessWords, keyring: Keyring, *, asks_nobody: bool = False
) -> Resolution:
    """Resolve the run's own plan again; it must still be the same."""
    from opsascode.run import MovedError  # noqa: PLC0415 - keeps --help quick

    try:
        return resolve_plan_file(face, history.plan(past), words["secrets"], keyring, asks_nobody=asks_nobody)
    except MovedError as error:
        raise MovedError(error.differences, advice=_way_back(past)) from error
    except FileNotFoundError:
        raise UsageError(f"the plan of run {past.run} is gone", advice="only what it recorded is left of it") from None


def _way_back(past: PastRun) -> str:
    commit = past.said("repository", "commit")
    if not commit or past.said("repository", "dirty"):
        return "put back what has changed, or run the runbook anew"
    return f"put back what has changed: git worktree add DIR {commit}, then the same command with --repo DIR"


def _agreed(question: str) -> bool:
    """Ask a person at a terminal; where nobody can answer, the words that were typed are the answer."""
    if not at_terminal() or click.confirm(question, default=False):
        return True
    click.echo("not confirmed: nothing was run", err=True)
    return False


def _tell_not_now(past: PastRun, found: NotNow, verb: str) -> int:
    click.echo(f"refused: the run {past.run} cannot be {verb}:", err=True)
    for reason in found.reasons[:20]:
        click.echo(f"  {escape_line(reason)}", err=True)
    return ExitCode.REFUSED
