"""`opsascode runs`: what was run before."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import count, escape_line, escape_text, seconds, stamp, wants_colour
from opsascode.cli._options import format_option
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.cli._context import Face
    from opsascode.run import History, PastRun

_COLOURS = {"succeeded": "green", "failed": "red", "canceled": "yellow"}


@click.group()
def command() -> None:
    """List and show past runs, as the ledger records them."""


@command.command("list")
@click.option(
    "-n", "--number", type=click.IntRange(1), default=20, show_default=True, help="At most this many, the newest first."
)
@format_option
@click.pass_obj
def list_runs(face: Face, number: int) -> int:
    """List past runs, the newest first."""
    history = open_history(face)
    runs = history.runs()[::-1][:number] if history else ()
    if face.json:
        click.echo(json.dumps([_run_json(past) for past in runs]))
        return ExitCode.DONE
    if not runs:
        click.echo("nothing was run here yet")
        return ExitCode.DONE
    width = max(len(past.runbook) for past in runs)
    for past in runs:
        took = seconds((past.ended - past.started).total_seconds()) if past.ended else ""
        outcome = _outcome(past.outcome, width=13)
        hosts = count(past.hosts, "host")
        click.echo(f"{past.run}  {stamp(past.started)}  {outcome}  {past.runbook:<{width}}  {hosts:>9}  {took:>7}")
    return ExitCode.DONE


@command.command("show")
@click.argument("run", default="latest")
@format_option
@click.pass_obj
def show_run(face: Face, run: str) -> int:
    """Show one run: an id, the beginning of one, or `latest`."""
    history = open_history(face)
    if history is None:
        raise UsageError("nothing was run here yet")
    past = history.find(run)
    files = history.files(past)
    results = json.loads(files.results)["hosts"] if files.results else {}
    if face.json:
        click.echo(json.dumps({**_run_json(past), "results": results, "faults": list(files.faults)}))
    else:
        click.echo("\n".join(_lines(past, results)))
        for fault in files.faults:
            click.echo(click.style(f"  {fault}", fg="red") if wants_colour() else f"  {fault}")
        click.echo(f"\nreceipt: {history.receipt(past)}")
    return ExitCode.INTEGRITY if files.faults else ExitCode.DONE


def open_history(face: Face) -> History | None:
    """Open the past of this state directory; `None` when nothing was ever recorded there."""
    from opsascode.proof import LedgerReader  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import History  # noqa: PLC0415 - keeps --help quick

    state = face.state
    if not state.has_ledger():
        return None
    keys = state.public_keys(os.environ)
    return History(state, LedgerReader.read(state.ledger_directory, keys=keys), keys)


def _lines(past: PastRun, results: dict[str, list[dict[str, object]]]) -> Iterator[str]:
    def said(*path: str) -> str:
        return escape_line(str(past.said(*path)))

    yield f"Run {past.run}: {_outcome(past.outcome)}"
    if past.end:
        yield f"  reason     {escape_line(str(past.end['reason']))}"
    yield f"  runbook    {said('runbook', 'name')} {said('runbook', 'version')}  {said('runbook', 'path')}"
    commit = said("repository", "commit") if past.said("repository", "commit") else "none (not in Git)"
    yield f"  commit     {commit}{' + uncommitted changes' if past.said('repository', 'dirty') else ''}"
    sources = past.said("inventory", "sources")
    names = ", ".join(map(str, sources)) if isinstance(sources, list) else ""
    yield f"  inventory  {escape_line(names)}  {said('inventory', 'digest')}"
    yield f"  targets    {_targets(past)}"
    yield from _parameter_lines(past)
    who = f"{said('actor', 'user')} on {said('actor', 'machine')} ({said('trigger')})"
    yield f"  started    {stamp(past.started)} by {who}"
    if past.ended:
        yield f"  ended      {stamp(past.ended)} after {seconds((past.ended - past.started).total_seconds())}"
    yield f"  plan       {said('plan')}"
    versions = f"ansible-core {said('tools', 'ansible_core')}, Python {said('tools', 'python')}"
    yield f"  tools      opsascode {said('tools', 'opsascode')}, {versions}"
    yield f"  ledger     {_entries(past)}"
    for host, steps in results.items():
        yield f"\n  {escape_line(host)}"
        width = max((len(str(step["step"])) for step in steps), default=0)
        for step in steps:
            yield from _step_lines(step, width)


def _targets(past: PastRun) -> str:
    limit = past.said("targets", "limit")
    limited = f", limited to {limit}" if limit else ""
    waves = past.said("targets", "waves")
    batches = count(waves, "wave") if isinstance(waves, int) else ""
    whole = past.said("inventory", "total")
    return escape_line(f"{past.said('targets', 'pattern')}{limited}: {past.hosts} of {whole} hosts in {batches}")


def _parameter_lines(past: PastRun) -> Iterator[str]:
    parameters = past.said("parameters")
    for name, parameter in parameters.items() if isinstance(parameters, dict) else ():
        value = parameter if isinstance(parameter, dict) else {}
        shown = "(secret)" if value.get("secret") else json.dumps(value.get("value"), ensure_ascii=False)
        yield f"  parameter  {name} = {escape_line(shown)}"


def _entries(past: PastRun) -> str:
    if past.end_index is None:
        return f"entry {past.start_index}, and no end record: it is still running, or was cut short"
    return f"entries {past.start_index} and {past.end_index}"


def _step_lines(step: dict[str, object], width: int) -> Iterator[str]:

    begun, ended = (datetime.fromisoformat(str(step[key])) for key in ("started", "ended"))
    first, *more = escape_text(str(step["message"])).splitlines() or [""]
    took = seconds((ended - begun).total_seconds())
    yield f"    {step['step']!s:<{width}}  {step['status']!s:<11}  {took:>6}  {first}".rstrip()
    for line in more:
        yield f"    {'':<{width}}  {'':<11}  {'':>6}  {line}"


def _outcome(outcome: str, *, width: int = 0) -> str:
    text = f"{outcome:<{width}}"
    return click.style(text, fg=_COLOURS.get(outcome, "magenta")) if wants_colour() else text


def _run_json(past: PastRun) -> dict[str, object]:
    return {
        "run": past.run,
        "outcome": past.outcome,
        "start": dict(past.start),
        "end": dict(past.end) if past.end else None,
        "entries": [past.start_index, past.end_index],
    }
