"""`opsascode run`: resolve, judge, confirm, perform, and tell what came of it."""

from __future__ import annotations

import importlib.metadata
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
from typing import TYPE_CHECKING, ParamSpec, Unpack

import click

from opsascode import __version__
from opsascode.cli._console import count, escape_line, escape_text, seconds, wants_colour
from opsascode.cli._options import TargetWords, format_option, target_options
from opsascode.cli._plan import plan_lines, resolve_plan_file, resolve_words
from opsascode.cli._verdict import refusal_json, refusal_lines
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opsascode.cli._context import Face
    from opsascode.cli._progress import Progress
    from opsascode.policy import Permit, Refusal, Trigger
    from opsascode.run import Circumstances, Resolution, RunReport, Watch

_FAILURES_SHOWN = 20
P = ParamSpec("P")


@click.command()
@click.argument("what", metavar="RUNBOOK|PLAN-FILE")
@target_options
@click.option(
    "-f",
    "--forks",
    type=click.IntRange(1, 500),
    default=5,
    show_default=True,
    help="Hosts Ansible works on at the same time.",
)
@click.option("-v", "--verbose", count=True, help="More of what Ansible says, in the run's output.log.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before starting.")
@format_option
@click.pass_obj
def command(face: Face, /, what: str, forks: int, verbose: int, yes: bool, **targets: Unpack[TargetWords]) -> int:  # noqa: FBT001 - click passes options by name
    """Run a runbook (by name or path), or exactly the plan in a file written by `opsascode plan --out`."""
    from opsascode.policy import Refusal, judge  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Order, RunnerEngine, detect_trigger, perform, subject_of  # noqa: PLC0415 - keeps --help quick

    resolution = _resolve(face, what, targets)
    trigger = detect_trigger(os.environ)
    verdict = judge(face.repository.guardrails(), subject_of(resolution, trigger), now=datetime.now(UTC))
    if isinstance(verdict, Refusal):
        _tell_refusal(face, verdict)
        return ExitCode.REFUSED
    if not yes and not _confirmed(face, resolution, verdict):
        click.echo("not confirmed: nothing was run", err=True)
        return ExitCode.REFUSED
    about = _circumstances(face, trigger, forks=forks, verbosity=verbose)
    order = Order(repository=face.repository, resolution=resolution, permit=verdict, circumstances=about)
    with _stop_requests() as stop, _progress(face, resolution, about.run) as progress:
        report = perform(
            order,
            state=face.state,
            signer=face.state.signer(os.environ),
            engine=RunnerEngine(),
            watch=stop.watch(progress),
        )
    _even_unheard(_tell)(face, report)
    return _EXIT_CODES[report.outcome.value]


_EXIT_CODES = {
    "succeeded": ExitCode.DONE,
    "failed": ExitCode.FAILED,
    "canceled": ExitCode.INTERRUPTED,
    "indeterminate": ExitCode.INDETERMINATE,
}


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
            signal.signal(number, handler)


def _resolve(face: Face, what: str, targets: TargetWords) -> Resolution:
    path = Path(what)
    if path.suffix in {".yml", ".yaml"} or not path.is_file():
        return resolve_words(face, what, targets)
    if any(targets.values()):
        raise UsageError(
            "a plan file already says inventory, parameters and limit",
            advice="run it without -i, -e and --limit, or make another plan",
        )
    return resolve_plan_file(face, path)


def _confirmed(face: Face, resolution: Resolution, permit: Permit) -> bool:
    """Ask a person at a terminal; where nobody can answer, the words that were typed are the answer."""
    if face.json or not (os.isatty(0) and os.isatty(1)):
        return True
    click.echo("\n".join(plan_lines(resolution.plan, permit, None)), color=wants_colour())
    plan = resolution.plan
    return click.confirm(f"\nRun {plan.runbook} on {count(len(plan.hosts), 'host')}?", default=False)


def _circumstances(face: Face, trigger: Trigger, *, forks: int, verbosity: int) -> Circumstances:
    from opsascode.run import Actor, Circumstances, Tools, minimal_environment  # noqa: PLC0415 - keeps --help quick

    now = datetime.now(UTC)
    return Circumstances(
        run=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        actor=Actor(user=_account(), machine=socket.gethostname(), detail=os.environ.get("GITHUB_ACTOR", "")),
        trigger=trigger,
        tools=Tools(
            opsascode=__version__,
            ansible_core=importlib.metadata.version("ansible-core"),
            ansible_runner=importlib.metadata.version("ansible-runner"),
            python=platform.python_version(),
        ),
        clock=lambda: datetime.now(UTC),
        environment=minimal_environment(os.environ, face.repository.settings.environment_allow),
        forks=forks,
        verbosity=verbosity,
    )


def _account() -> str:
    """Name the account of this process; the environment, which anybody can set, is not asked."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def _progress(face: Face, resolution: Resolution, run: str) -> Progress:
    from opsascode.cli._progress import JsonLines, LiveTable, PlainLines  # noqa: PLC0415 - keeps --help quick

    if face.json:
        return JsonLines(run)
    _even_unheard(click.echo)(f"Run {run}: {escape_line(resolution.plan.title)} ({resolution.plan.runbook})")
    return (
        LiveTable(resolution.plan)
        if face.on_terminal and os.environ.get("TERM") != "dumb"
        else PlainLines(resolution.plan)
    )


def _tell_refusal(face: Face, refusal: Refusal) -> None:
    if face.json:
        click.echo(json.dumps({"event": "refused", **refusal_json(refusal)}))
    else:
        click.echo("\n".join(refusal_lines(refusal)), err=True)


def _tell(face: Face, report: RunReport) -> None:
    took = (report.ended - report.started).total_seconds()
    counts = report.results.counts()
    if face.json:
        body = {"event": "end", "run": report.run, "outcome": report.outcome.value, "reason": report.reason}
        click.echo(json.dumps({**body, "undone": report.undone, "counts": counts, "entries": list(report.entries)}))
        return
    failures = report.results.failures()
    for host, result in failures[:_FAILURES_SHOWN]:
        click.echo(f"\n{escape_line(host)}: step {result.step} {result.status.value}:")
        click.echo("\n".join(f"    {line}" for line in escape_text(result.message).splitlines()))
    if len(failures) > _FAILURES_SHOWN:
        click.echo(f"\nand {len(failures) - _FAILURES_SHOWN} more failures: opsascode runs show {report.run}")
    style = {"succeeded": "green", "failed": "red", "canceled": "yellow"}.get(report.outcome.value, "magenta")
    word = click.style(report.outcome.value, fg=style, bold=True) if wants_colour() else report.outcome.value
    click.echo(f"\n{word} in {seconds(took)}: {escape_line(report.reason)}")
    first, last = report.entries
    click.echo(f"recorded as ledger entries {first} and {last}; prove it: opsascode verify {report.run}")
