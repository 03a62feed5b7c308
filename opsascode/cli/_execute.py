"""How is a run carried out from a command line: who starts it, who stops it, who is asked, what is told at the end?

Shared by `run`, `runs resume` and `runs undo`.

Not here: what the options of a command mean (`_run`, `_runs_acts`), how progress looks (`_progress`).
"""

from __future__ import annotations

import json
import os
import platform
import pwd
import secrets
import signal
import socket
import sys
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, ParamSpec

import click

from opsascode import __version__
from opsascode.cli._console import escape_line, escape_text, seconds, wants_colour
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opsascode.cli._context import Face
    from opsascode.cli._progress import Progress
    from opsascode.policy import Permit
    from opsascode.proof import Json
    from opsascode.run import (
        Actor,
        Circumstances,
        LockedOut,
        Manner,
        Means,
        Order,
        Past,
        Purpose,
        Resolution,
        RunReport,
        Waiting,
        Watch,
    )

_FAILURES_SHOWN: Final = 20
P = ParamSpec("P")
EXIT_CODES: Final = {
    "succeeded": ExitCode.DONE,
    "failed": ExitCode.FAILED,
    "canceled": ExitCode.INTERRUPTED,
    "indeterminate": ExitCode.INDETERMINATE,
}


def order_for(
    face: Face,
    resolution: Resolution,
    permit: Permit,
    manner: Manner,
    *,
    purpose: Purpose | None = None,
    run: str | None = None,
) -> Order:
    """Order a new run, or with `run` one that has begun already; without a purpose it does what was planned."""
    from opsascode.run import Order, Purpose  # noqa: PLC0415 - keeps --help quick

    fresh = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    return Order(
        repository=face.repository,
        resolution=resolution,
        permit=permit,
        circumstances=_circumstances(face, manner, run or fresh),
        purpose=purpose or Purpose.RUN,
    )


def carry_out(
    face: Face, order: Order, *, past: Past | None = None, start: tuple[Mapping[str, Json], int] | None = None
) -> int:
    """Carry out an order to its end, tell what came of it, and give the exit code.

    `past` is the run it continues or takes back; `start` the start record, with its entry, of a run that waited.
    """
    from opsascode.run import LockedOut, Waiting, perform, require_sshpass, take_up  # noqa: PLC0415 - keeps --help quick

    about = order.circumstances
    core, path = about.tools.ansible_core, about.environment["PATH"]
    require_sshpass(about.manner.access, order.resolution.inventory, ansible_core=core, path=path)
    face.state.ensure_writable()
    with _stop_requests() as stop, _progress(face, order) as progress:
        means = _means(face, stop.watch(progress))
        answer = take_up(order, means, start=start[0], entry=start[1]) if start else perform(order, means, past=past)
    if isinstance(answer, LockedOut):
        return _tell_locked(face, answer)
    if isinstance(answer, Waiting):
        return _tell_waiting(face, answer)
    _even_unheard(_tell)(face, answer)
    return ExitCode.REFUSED if answer.declined else EXIT_CODES[answer.outcome.value]


def account() -> str:
    """Name the account of this process; the environment, which anybody can set, is not asked."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def actor() -> Actor:
    """Say who acts: the account, the machine, what CI says about itself, and who logged in to that account."""
    from opsascode.run import Actor  # noqa: PLC0415 - keeps --help quick

    return Actor(
        user=account(),
        machine=socket.gethostname(),
        detail=os.environ.get("GITHUB_ACTOR", ""),
        login=_login(),
    )


def _login() -> str:
    """Name the account that logged in, which `sudo` does not change; empty where the kernel does not know it."""
    with suppress(OSError, ValueError, KeyError):
        return pwd.getpwuid(int(Path("/proc/self/loginuid").read_text("ascii"))).pw_name
    return ""


class _Stop:
    """Counts the requests to stop: the first stops the run, the second also its undo."""

    def __init__(self) -> None:
        self.requests = 0

    def request(self, *_: object) -> None:
        self.requests += 1
        if self.requests == 1:
            with suppress(OSError):  # a signal handler must not end the run because nobody reads what it says
                os.write(2, b"\nstopping; once more also stops the undo\n")

    def watch(self, progress: Progress) -> Watch:
        from opsascode.run import Phase, Watch  # noqa: PLC0415 - keeps --help quick

        needed = {Phase.FORWARD: 1, Phase.UNDO: 2}
        return Watch(
            on_stage=_even_unheard(progress.stage),
            on_event=_even_unheard(progress.event),
            on_notice=_even_unheard(progress.notice),
            cancel=lambda phase: self.requests >= needed[phase],
        )


def _even_unheard(tell: Callable[P, None]) -> Callable[P, None]:
    """Go on when nobody reads the output any more: a closed pipe must not end a run half-way."""

    def telling(*words: P.args, **named: P.kwargs) -> None:
        try:
            tell(*words, **named)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return telling


@contextmanager
def _stop_requests() -> Iterator[_Stop]:
    """Turn Ctrl-C and SIGTERM into requests to stop while the run goes on."""
    stop = _Stop()
    before = {number: signal.signal(number, stop.request) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            # Who asks more than once asks until the end: what is left is to say what came of it.
            signal.signal(number, signal.SIG_IGN if stop.requests > 1 else handler)


def _means(face: Face, watch: Watch) -> Means:
    from opsascode.cli._desk import desk_for  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Means, RunnerEngine  # noqa: PLC0415 - keeps --help quick

    state = face.state
    return Means(
        state=state,
        signer=state.signer(os.environ),
        dispatcher=state.dispatcher(),
        locks=state.lock_book(),
        engine=RunnerEngine(),
        desk=desk_for(face),
        watch=watch,
    )


def _circumstances(face: Face, manner: Manner, run: str) -> Circumstances:
    from importlib.metadata import version  # noqa: PLC0415 - a tenth of a short command, and only runs name versions

    from opsascode.run import Circumstances, Tools, detect_trigger, minimal_environment  # noqa: PLC0415 - keeps --help quick

    return Circumstances(
        run=run,
        actor=actor(),
        trigger=detect_trigger(os.environ),
        tools=Tools(
            opsascode=__version__,
            ansible_core=version("ansible-core"),
            ansible_runner=version("ansible-runner"),
            python=platform.python_version(),
        ),
        clock=lambda: datetime.now(UTC),
        environment=minimal_environment(os.environ, face.repository.settings.environment_allow),
        manner=manner,
    )


def _progress(face: Face, order: Order) -> Progress:
    from opsascode.cli._progress import JsonLines, LiveTable, PlainLines  # noqa: PLC0415 - keeps --help quick

    plan, run = order.resolution.plan, order.circumstances.run
    if face.json:
        return JsonLines(run)
    word = {"run": "Run", "check": "Prediction", "undo": "Undo"}[order.purpose.value]
    _even_unheard(click.echo)(f"{word} {run}: {escape_line(plan.title)} ({plan.runbook})")
    plain = order.circumstances.manner.diff or _asks_on_the_way(order)
    live = face.on_terminal and os.environ.get("TERM") != "dumb" and not plain
    return LiveTable(plan) if live else PlainLines(plan)


def _asks_on_the_way(order: Order) -> bool:
    """Whether people are asked while it goes on: neither questions nor differences fit beside a live table."""
    return any(stage.ask for stage in order.resolution.stages)


def _tell_locked(face: Face, locked: LockedOut) -> int:
    if face.json:
        holders = [
            {"run": each.run, "user": each.user, "pid": each.pid, "names": list(each.names)} for each in locked.holdings
        ]
        click.echo(json.dumps({"event": "locked", "run": locked.run, "holders": holders}))
        return ExitCode.REFUSED
    for each in locked.holdings:
        click.echo(f"refused: {escape_line(each.describe())}", err=True)
    click.echo("  wait for it with --wait 5m, or watch it with `opsascode runs watch`; nothing was run", err=True)
    return ExitCode.REFUSED


def _tell_waiting(face: Face, waiting: Waiting) -> int:
    if face.json:
        body = {"event": "waiting", "run": waiting.run, "stage": waiting.stage, "missing": waiting.missing}
        click.echo(json.dumps(body))
        return ExitCode.REFUSED
    click.echo(f"\nwaiting at stage {waiting.stage}: {escape_text(waiting.missing)}", err=True)
    click.echo(f"  go on afterwards with `opsascode runs resume {waiting.run}`", err=True)
    return ExitCode.REFUSED


def _tell(face: Face, report: RunReport) -> None:
    from opsascode.cli._progress import sign_of  # noqa: PLC0415 - keeps --help quick

    took = (report.ended - report.started).total_seconds()
    counts = report.results.counts()
    if face.json:
        body = {"event": "end", "run": report.run, "outcome": report.outcome.value, "reason": report.reason}
        more = {"undone": report.undone, "counts": counts, "outputs": report.outputs, "entries": list(report.entries)}
        click.echo(json.dumps({**body, **more}))
        return
    failures = report.results.failures()
    for host, result in failures[:_FAILURES_SHOWN]:
        word, _ = sign_of(result.step, result.status)
        click.echo(f"\n{escape_line(host)}: step {result.step} {word.lower()}:")
        click.echo("\n".join(f"    {line}" for line in escape_text(result.message).splitlines()))
    if len(failures) > _FAILURES_SHOWN:
        click.echo(f"\nand {len(failures) - _FAILURES_SHOWN} more failures: opsascode runs show {report.run}")
    for host, outputs in report.outputs.items():
        for name, value in outputs.items() if isinstance(outputs, dict) else ():
            click.echo(f"output {escape_line(host)}: {name} = {escape_line(json.dumps(value, ensure_ascii=False))}")
    style = {"succeeded": "green", "failed": "red", "canceled": "yellow"}.get(report.outcome.value, "magenta")
    word = click.style(report.outcome.value, fg=style, bold=True) if wants_colour() else report.outcome.value
    click.echo(f"\n{word} in {seconds(took)}: {escape_line(report.reason)}")
    numbers = [str(entry) for entry in report.entries]
    entries = f"{', '.join(numbers[:-1])} and {numbers[-1]}"
    click.echo(f"recorded as ledger entries {entries}; prove it: opsascode verify {report.run}")
    if report.outcome.value in {"failed", "canceled", "indeterminate"} and not (report.undone or report.declined):
        click.echo(f"go on: opsascode runs resume {report.run}; take it back: opsascode runs undo {report.run}")
