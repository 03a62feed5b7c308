"""`opsascode runs`: what was run before.

The group lists past runs; its other verbs live in modules of their own, imported when they are asked for.
"""

from __future__ import annotations

import importlib
import json
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._abandoned import close_abandoned
from opsascode.cli._console import count, escape_line, seconds, wants_colour
from opsascode.cli._options import format_option
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opsascode.cli._context import Face
    from opsascode.run import History, PastRun, RunSummary

OUTCOME_COLOURS: Final[Mapping[str, str]] = {
    "succeeded": "green",
    "failed": "red",
    "canceled": "yellow",
    "running": "cyan",
    "waiting": "blue",
}
OUTCOMES: Final = ("succeeded", "failed", "canceled", "indeterminate", "unfinished", "running", "waiting")
_ELSEWHERE: Final[Mapping[str, str]] = {
    "cancel": "opsascode.cli._runs_acts",
    "logs": "opsascode.cli._logs",
    "prune": "opsascode.cli._prune",
    "resume": "opsascode.cli._runs_acts",
    "show": "opsascode.cli._runs_show",
    "undo": "opsascode.cli._runs_acts",
    "watch": "opsascode.cli._watch",
}
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")


class _Verbs(click.Group):
    """A group whose verbs are registered by the modules they live in."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _ELSEWHERE:
            importlib.import_module(_ELSEWHERE[cmd_name])
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Verbs)
def command() -> None:
    """Look at past runs, as the ledger records them, and at those under way."""


@command.command("list")
@click.option(
    "-n", "--number", type=click.IntRange(1), default=20, show_default=True, help="At most this many, the newest first."
)
@click.option("--runbook", metavar="NAME", default=None, help="Only runs of this runbook.")
@click.option("--host", metavar="PATTERN", default=None, help="Only runs that touched this host: a name, or * and ?.")
@click.option(
    "--outcome",
    type=click.Choice(OUTCOMES),
    default=None,
    help="Only runs that ended so; unfinished: without an end record, running and waiting are among them.",
)
@click.option("--since", metavar="7d|DATE", default=None, help="Only runs that started since then (dates are UTC).")
@format_option
@click.pass_obj
def list_runs(face: Face, /, number: int, since: str | None, **asked: str | None) -> int:
    """List past runs, the newest first."""
    from opsascode.run import Query  # noqa: PLC0415 - keeps --help quick

    begin = None if since is None else moment_before(since, datetime.now(UTC))
    history = close_abandoned(face)
    query = Query(number=number, since=begin, **asked)
    runs = history.list(query) if history else ()
    if face.json:
        records = history.read(runs) if history else ()
        told = [{**run_json(past), "outcome": run.outcome} for run, past in zip(runs, records, strict=True)]
        click.echo(json.dumps(told))
        return ExitCode.DONE
    if runs:
        click.echo("\n".join(run_lines(runs)))
    else:
        click.echo("no such run is recorded" if begin or any(asked.values()) else "nothing was run here yet")
    if history and query.host and (unknown := history.hosts_unknown()):
        click.echo(f"the hosts of {count(unknown, 'run')} are not known: their plans and results are gone", err=True)
    return ExitCode.DONE


def open_history(face: Face, *, indexed: bool = True) -> History | None:
    """Open the past of this state directory; `None` when nothing was ever recorded there.

    With `indexed`, lists come from a table that was folded from the ledger before; without, every record is verified.
    """
    from opsascode.proof import LedgerReader  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import History  # noqa: PLC0415 - keeps --help quick

    state = face.state
    if not state.has_ledger():
        return None
    keys = state.public_keys(os.environ)
    ledger = LedgerReader.read(state.ledger_directory, keys=keys)
    return History(state, ledger, indexed=indexed, clock=lambda: datetime.now(UTC))


def need_history(face: Face) -> History:
    """Open the past of this state directory.

    Raises:
        UsageError: nothing was ever recorded there.
    """
    history = close_abandoned(face)
    if history is None:
        raise UsageError("nothing was run here yet")
    return history


def moment_before(text: str, now: datetime) -> datetime:
    """Read how long ago (`7d`, `12h`), or a date or time in UTC.

    Raises:
        UsageError: the text is neither.
    """
    from opsascode.repo import parse_duration  # noqa: PLC0415 - keeps --help quick

    try:
        if text[:1].isdigit() and not _DAY.match(text):
            return now - parse_duration(text)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(
            f"«{text}» is no time", advice="write a duration such as 7d or 12h, or a date such as 2026-01-31"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def run_lines(runs: Sequence[RunSummary]) -> Iterator[str]:
    """Show runs as a table of one line each."""
    rows = [
        (
            each.run,
            f"{each.started.astimezone(UTC):%Y-%m-%d %H:%M}",
            each.outcome,
            str(each.hosts),
            "" if each.seconds is None else seconds(each.seconds),
            _name(each),
        )
        for each in runs
    ]
    heads = ("RUN", "STARTED, UTC", "OUTCOME", "HOSTS", "TOOK", "RUNBOOK")
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads) - 1)]
    for row in (heads, *rows):
        run, started, outcome, hosts, took, name = row
        shown = outcome if row is heads else outcome_word(outcome)
        cells = (
            f"{run:<{widths[0]}}",
            f"{started:<{widths[1]}}",
            f"{shown}{' ' * (widths[2] - len(outcome))}",
            f"{hosts:>{widths[3]}}",
            f"{took:>{widths[4]}}",
            name,
        )
        yield "  ".join(cells)


def _name(run: RunSummary) -> str:
    notes = [
        note
        for note, said in (
            ("prediction", run.is_prediction),
            (f"undoes {run.undoes}", run.undoes),
            (f"continues {run.continues}", run.continues),
            ("pruned", run.pruned),
        )
        if said
    ]
    return escape_line(f"{run.runbook} ({', '.join(notes)})" if notes else run.runbook)


def outcome_word(outcome: str) -> str:
    """Show how a run ended, or what it is doing."""
    return click.style(outcome, fg=OUTCOME_COLOURS.get(outcome, "magenta")) if wants_colour() else outcome


def run_json(past: PastRun) -> dict[str, object]:
    """Give a run for a program: both records, and what follows from them."""
    return {
        "run": past.run,
        "outcome": past.outcome,
        "mode": past.mode,
        "start": dict(past.start),
        "end": dict(past.end) if past.end else None,
        "entries": [past.start_index, past.end_index],
    }
