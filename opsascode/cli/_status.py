"""`opsascode status`: what is under way, what waits, and how well each runbook does."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

import click

from opsascode.cli._abandoned import close_abandoned
from opsascode.cli._console import count, escape_line, seconds, stamp
from opsascode.cli._options import format_option
from opsascode.cli._policy import policy_status, status_lines
from opsascode.cli._runs import outcome_word
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.cli._context import Face
    from opsascode.run import Figures, History, RunSummary

_NONE: Final = "-"


@click.command()
@click.option(
    "--drift", is_flag=True, help="Show what is not as it was last reviewed, rehearsed, run, applied or loaded."
)
@format_option
@click.pass_obj
def command(face: Face, *, drift: bool) -> int:
    """Show which policies hold, runs under way and waiting, locks held, and the figures of each runbook."""
    if drift:
        return _tell_drift(face)
    from opsascode.run import UNFINISHED, Query, figures  # noqa: PLC0415 - keeps --help quick

    history = close_abandoned(face)
    active = history.list(Query(outcome=UNFINISHED)) if history else ()
    told = figures(history) if history else ()
    locks, policies = _locks(face), policy_status(face.policies)
    if face.json:
        body = {
            "policies": policies,
            "active": [_active_json(history, each) for each in active if history],
            "locks": locks,
            "runbooks": [figures_json(each) for each in told],
        }
        click.echo(json.dumps(body))
        return ExitCode.DONE
    click.echo("\n".join(status_lines(policies)))
    if history is None:
        click.echo("nothing was run here yet")
    else:
        click.echo("\n".join(_lines(history, active, locks, told)))
    return ExitCode.DONE


def _tell_drift(face: Face) -> int:
    from opsascode.cli._drift import drift_lines, drift_report  # noqa: PLC0415 - keeps --help quick

    told = drift_report(face)
    click.echo(json.dumps(told) if face.json else "\n".join(drift_lines(told)))
    return ExitCode.DONE


def _lines(
    history: History, active: Sequence[RunSummary], locks: Sequence[dict[str, Any]], told: Sequence[Figures]
) -> Iterator[str]:
    yield f"Runs without an end: {len(active) or 'none'}"
    for each in active:
        yield f"  {each.run}  {outcome_word(each.outcome)}  {escape_line(each.runbook)} on {count(each.hosts, 'host')}"
        why = _waits(history, each)
        if why:
            yield f"    waits for {escape_line(why)}"
        elif each.outcome == "unfinished":
            yield "    it was cut short: `opsascode runs resume` or `opsascode runs undo`"
    yield ""
    yield f"Locks held: {len(locks) or 'none'}"
    for lock in locks:
        who = f"run {lock['run']} of {lock['user']}, process {lock['pid']}, since {lock['since']}"
        yield escape_line(f"  {', '.join(lock['names'])}: {who}")
    yield ""
    yield from figure_lines(told)


def _waits(history: History, run: RunSummary) -> str:
    from opsascode.run import WAITING, waits_for  # noqa: PLC0415 - keeps --help quick

    if run.outcome != WAITING:
        return ""
    past = history.read((run,))[0]
    waits = waits_for(history.directory(past), history.files(past).plan)
    return waits.sentence() if waits else "people"


def _active_json(history: History, run: RunSummary) -> dict[str, object]:
    return {
        "run": run.run,
        "runbook": run.runbook,
        "state": run.outcome,
        "mode": run.mode,
        "started": run.started.isoformat(),
        "hosts": run.hosts,
        "user": run.user,
        "waits_for": _waits(history, run) or None,
    }


def _locks(face: Face) -> list[dict[str, Any]]:
    return [
        {
            "names": list(each.names),
            "run": each.run,
            "user": each.user,
            "pid": each.pid,
            "since": stamp(each.since.astimezone(UTC)) if each.since else "an unknown time",
            "about": each.about,
        }
        for each in face.state.lock_book().holdings()
    ]


def figure_lines(told: Sequence[Figures]) -> Iterator[str]:
    """Show figures as a table of one line a runbook."""
    heads = ("RUNBOOK", "RUNS", "SUCCESS", "P50", "P95", "LAST RUN, UTC", "LAST OUTCOME")
    rows = [
        (
            escape_line(each.runbook),
            str(each.runs),
            _NONE if each.success_rate is None else f"{100 * each.success_rate:.0f}%",
            _NONE if each.p50 is None else seconds(each.p50),
            _NONE if each.p95 is None else seconds(each.p95),
            f"{each.last.started.astimezone(UTC):%Y-%m-%d %H:%M}",
            each.last.outcome,
        )
        for each in told
    ]
    if not rows:
        yield "No runbook was run yet."
        return
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    for row in (heads, *rows):
        name, *numbers, last, outcome = row
        aligned = [f"{number:>{width}}" for number, width in zip(numbers, widths[1:], strict=False)]
        shown = outcome if row is heads else outcome_word(outcome)
        yield "  ".join((f"{name:<{widths[0]}}", *aligned, f"{last:<{widths[-2]}}", shown))


def figures_json(each: Figures) -> dict[str, object]:
    """Give figures for a program; durations are seconds, the success rate is between 0 and 1."""
    return {
        "runbook": each.runbook,
        "runs": each.runs,
        "outcomes": dict(each.counts),
        "success_rate": each.success_rate,
        "p50_seconds": each.p50,
        "p95_seconds": each.p95,
        "last_run": each.last.run,
        "last_started": each.last.started.isoformat(),
        "last_outcome": each.last.outcome,
    }
