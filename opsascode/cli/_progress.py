"""How is a run shown while it goes on?

Three ways of telling the same events: a live table on a terminal (steps by hosts, with times), plain lines when the
output is piped, and one JSON object a line for programs. All text from hosts is escaped.

Not here: what the events mean for the run (`run`).
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol, Self

import click

from opsascode.cli._console import count, escape_line, seconds
from opsascode.run import UNDO_PREFIX, Ended, HostResult, HostStatus, Phase, Retried, StepResult, TaskStarted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from opsascode.run import JournalEvent

_HOST_COLUMNS: Final = 6
_REDRAWS_A_SECOND: Final = 8
SIGNS: Final[Mapping[HostStatus, tuple[str, str]]] = {
    HostStatus.OK: ("ok", "green"),
    HostStatus.CHANGED: ("changed", "yellow"),
    HostStatus.SKIPPED: ("skipped", "cyan"),
    HostStatus.IGNORED: ("ignored", "magenta"),
    HostStatus.FAILED: ("FAILED", "bold red"),
    HostStatus.UNREACHABLE: ("UNREACHABLE", "bold red"),
}
_ADDED_BY_ANSIBLE: Final = "validate_argument_spec"


class Outline(Protocol):
    """What a face shows of a plan, be it about to be run or read back."""

    @property
    def waves(self) -> Sequence[Sequence[str]]:
        """The hosts, wave by wave."""

    @property
    def steps(self) -> Sequence[OutlinedStep]:
        """The steps, in order."""

    @property
    def hosts(self) -> Sequence[str]:
        """All hosts."""


class OutlinedStep(Protocol):
    """A step, as far as a face shows it."""

    @property
    def id(self) -> str:
        """The name it has in the runbook."""


class Progress(Protocol):
    """Told of everything that happens, in order."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...

    def stage(self, phase: Phase, wave: int, hosts: tuple[str, ...]) -> None:
        """Ansible is about to be started for these hosts."""

    def event(self, event: JournalEvent) -> None:
        """Something was written to the journal."""

    def notice(self, text: str) -> None:
        """Something else happens that takes its time: a pause, a wait for another run."""


class JsonLines:
    """One JSON object a line."""

    def __init__(self, run: str) -> None:
        """Name the run in every line."""
        self._run = run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def stage(self, phase: Phase, wave: int, hosts: tuple[str, ...]) -> None:
        """Tell that a stage begins."""
        self._tell({"event": "stage", "phase": phase.value, "wave": wave, "hosts": list(hosts)})

    def event(self, event: JournalEvent) -> None:
        """Tell results, retries and beginnings of steps."""
        match event:
            case HostResult():
                self._tell(
                    {
                        "event": "result",
                        "step": event.step,
                        "host": event.host,
                        "status": event.status.value,
                        "message": event.message,
                        "rc": event.rc,
                        "started": event.started.isoformat(timespec="milliseconds"),
                        "ended": event.ended.isoformat(timespec="milliseconds"),
                        "diff": event.diff.text if event.diff else None,
                    }
                )
            case Retried():
                about = {"step": event.step, "host": event.host, "attempt": event.attempt, "attempts": event.attempts}
                self._tell({"event": "retry", **about})
            case TaskStarted():
                self._tell({"event": "task", "step": event.step, "name": event.name})
            case _:
                pass

    def notice(self, text: str) -> None:
        """Tell it as an event of its own."""
        self._tell({"event": "notice", "text": text})

    def _tell(self, fields: dict[str, object]) -> None:
        click.echo(json.dumps({"run": self._run, **fields}))


class PlainLines:
    """One line a result, for pipes and logs."""

    def __init__(self, plan: Outline) -> None:
        """Measure the columns once."""
        self._waves = len(plan.waves)
        self._tasks: dict[str, TaskStarted] = {}
        self._step = max((len(step.id) for step in plan.steps), default=4)
        self._host = max((len(host) for host in plan.hosts), default=4)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return

    def stage(self, phase: Phase, wave: int, hosts: tuple[str, ...]) -> None:
        """Tell that a stage begins."""
        click.echo(stage_title(phase, wave, self._waves, hosts))

    def event(self, event: JournalEvent) -> None:
        """Tell results and retries; a step of several tasks says which."""
        match event:
            case TaskStarted():
                self._tasks[event.task] = event
            case HostResult() if event.step and not self._is_noise(event):
                took = seconds((event.ended - event.started).total_seconds())
                word, _ = sign_of(event.step, event.status)
                said = [self._task_name(event), event.message if event.status is not HostStatus.SKIPPED else ""]
                text = "  ".join(escape_line(part) for part in said if part)
                host = escape_line(event.host)
                line = f"  {event.step:<{self._step}}  {host:<{self._host}}  {word:<11} {took:>6}  {text}"
                click.echo(line.rstrip())
                for difference in diff_lines(event):
                    click.echo(f"      {difference}")
            case Retried() if event.step:
                tries = f"retry {event.attempt}/{event.attempts}"
                click.echo(f"  {event.step:<{self._step}}  {escape_line(event.host):<{self._host}}  {tries}")
            case _:
                pass

    def notice(self, text: str) -> None:
        """Tell it on a line of its own."""
        click.echo(escape_line(text))

    def _task_name(self, event: HostResult) -> str:
        task = self._tasks.get(event.task)
        own = task is None or not event.step or task.name == event.step or task.name.startswith(f"{event.step} | ")
        return "" if own or task is None else f"[{task.name}]"

    def _is_noise(self, event: HostResult) -> bool:
        """Whether Ansible itself put the task there, and it went well."""
        task = self._tasks.get(event.task)
        return task is not None and task.action.endswith(_ADDED_BY_ANSIBLE) and event.status is HostStatus.OK


class LiveTable:
    """Steps by hosts, redrawn while the run goes on; many hosts are counted instead of named."""

    def __init__(self, plan: Outline) -> None:
        """Begin with an empty table."""
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
        from rich.live import Live  # noqa: PLC0415 - only a terminal needs it

        self._plan = plan
        self._console = Console(file=sys.stdout, highlight=False)
        self._title = ""
        self._hosts: tuple[str, ...] = ()
        self._steps: dict[str, dict[str, StepResult]] = {}
        self._running: tuple[str, float] | None = None
        self._retries: dict[tuple[str, str], Retried] = {}
        self._live = Live(console=self._console, refresh_per_second=_REDRAWS_A_SECOND, get_renderable=self._table)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._finish()

    def stage(self, phase: Phase, wave: int, hosts: tuple[str, ...]) -> None:
        """Begin a new table for the stage; the last one stays above it."""
        self._finish()
        self._title = stage_title(phase, wave, len(self._plan.waves), hosts)
        self._hosts = hosts
        planned = [step.id for step in self._plan.steps] if phase is Phase.FORWARD else []
        self._steps = {step: {} for step in planned}
        self._retries.clear()
        self._live.start()

    def event(self, event: JournalEvent) -> None:
        """Take in what happened; the table is redrawn on its own clock."""
        match event:
            case TaskStarted() if event.step:
                self._steps.setdefault(event.step, {})
                self._running = (event.step, time.monotonic())
            case Retried() if event.step:
                self._retries[event.step, event.host] = event
            case HostResult() if event.step:
                results = self._steps.setdefault(event.step, {})
                result, known = StepResult.of(event), results.get(event.host)
                results[event.host] = known.joined(result) if known else result
            case Ended():
                self._running = None
            case _:
                pass

    def notice(self, text: str) -> None:
        """Tell it below the table, which stays."""
        self._finish()
        self._console.print(escape_line(text), markup=False)

    def _finish(self) -> None:
        if self._live.is_started:
            self._running = None
            self._live.stop()

    def _table(self) -> RenderableType:
        from rich.table import Table  # noqa: PLC0415 - only a terminal needs it

        table = Table(
            title=escape_line(self._title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
        )
        table.add_column("step")
        for heading in self._headings():
            table.add_column(escape_line(heading))
        table.add_column("time", justify="right")
        for step, results in self._steps.items():
            table.add_row(step, *self._cells(step, results), self._time(step, results))
        return table

    def _headings(self) -> tuple[str, ...]:
        return self._hosts if len(self._hosts) <= _HOST_COLUMNS else (f"{len(self._hosts)} hosts",)

    def _cells(self, step: str, results: Mapping[str, StepResult]) -> Iterator[str]:
        running = self._running is not None and self._running[0] == step
        if len(self._hosts) > _HOST_COLUMNS:
            tally = Counter(result.status for result in results.values())
            parts = [f"[{style}]{tally[status]} {word}[/]" for status, (word, style) in SIGNS.items() if tally[status]]
            waiting = len(self._hosts) - len(results)
            yield ", ".join([*parts, *([f"[dim]{waiting} running[/]"] if running and waiting else [])])
            return
        for host in self._hosts:
            result = results.get(host)
            if result:
                word, style = sign_of(step, result.status)
                yield f"[{style}]{word}[/]"
            elif running:
                retry = self._retries.get((step, host))
                yield f"[dim]retry {retry.attempt}/{retry.attempts}[/]" if retry else "[dim]running[/]"
            else:
                yield ""

    def _time(self, step: str, results: Mapping[str, StepResult]) -> str:
        if self._running is not None and self._running[0] == step:
            return seconds(time.monotonic() - self._running[1])
        if not results:
            return ""
        begun = min(result.started for result in results.values())
        return seconds((max(result.ended for result in results.values()) - begun).total_seconds())


def sign_of(step: str, status: HostStatus) -> tuple[str, str]:
    """Give word and style of a result; an undo that failed is let go on, and is a failure all the same."""
    failed = step.startswith(UNDO_PREFIX) and status is HostStatus.IGNORED
    return SIGNS[HostStatus.FAILED if failed else status]


def diff_lines(event: HostResult) -> Iterator[str]:
    """Give the difference a task makes, or would make, line by line; its end is cut off when it is long."""
    if event.diff is None or not event.diff.text.strip():
        return
    yield from (escape_line(line) for line in event.diff.text.rstrip().splitlines())
    if event.diff.bytes > len(event.diff.text.encode()):
        yield f"… {event.diff.bytes} bytes in all"


def stage_title(phase: Phase, wave: int, waves: int, hosts: tuple[str, ...]) -> str:
    """Name a stage for a person."""
    if phase is Phase.UNDO:
        return f"undo on {count(len(hosts), 'host')}"
    return f"wave {wave} of {waves}: {count(len(hosts), 'host')}"
