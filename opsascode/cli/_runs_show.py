"""`opsascode runs show`: everything the records and files of one run say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from opsascode.cli._console import count, escape_line, escape_text, seconds, stamp, wants_colour
from opsascode.cli._options import format_option
from opsascode.cli._runs import command as runs
from opsascode.cli._runs import need_history, outcome_word, run_json
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opsascode.cli._context import Face
    from opsascode.run import History, PastRun, PastStage, RunFiles, RunSummary

_UNDO: Final = "undo."


@runs.command("show")
@click.argument("run", default="latest")
@format_option
@click.pass_obj
def show_run(face: Face, run: str) -> int:
    """Show one run: an id, the beginning of one, or `latest`."""
    history = need_history(face)
    past = history.find(run)
    files = history.files(past)
    results = json.loads(files.results) if files.results else {}
    family = [each for each in history.family(past.run) if each.run != past.run]
    if face.json:
        click.echo(json.dumps(_json(history, past, files, results, family)))
    else:
        click.echo("\n".join(_lines(history, past, files, results, family)))
    return ExitCode.INTEGRITY if files.faults else ExitCode.DONE


def _json(
    history: History, past: PastRun, files: RunFiles, results: Mapping[str, Any], family: Sequence[RunSummary]
) -> dict[str, object]:
    hosts = results.get("hosts", {})
    return {
        **run_json(past),
        "state": history.life(past.run) if past.end is None else past.outcome,
        "waits_for": _waits(history, past, files) or None,
        "seconds": (past.ended - past.started).total_seconds() if past.ended else None,
        "results": hosts,
        "timing": {host: _timing(steps) for host, steps in hosts.items()},
        "outputs": results.get("outputs", {}),
        "stages": [
            {"phase": stage.phase, "stage": stage.stage, "outcome": stage.outcome, "reason": stage.reason}
            for stage in files.stages
        ],
        "asks": [dict(ask) for ask in past.asks],
        "links": {
            "continues": past.said("continues"),
            "undoes": past.said("undoes"),
            "continued_by": [each.run for each in family if each.continues == past.run],
            "undone_by": [each.run for each in family if each.undoes == past.run],
        },
        "pruned": past.pruned.isoformat() if past.pruned else None,
        "notes": list(files.notes),
        "faults": list(files.faults),
    }


def _lines(
    history: History, past: PastRun, files: RunFiles, results: Mapping[str, Any], family: Sequence[RunSummary]
) -> Iterator[str]:
    word = outcome_word(history.life(past.run) if past.end is None else past.outcome)
    prediction = " (a prediction: nothing was changed)" if past.mode == "check" else ""
    yield f"Run {past.run}: {word}{prediction}"
    if past.end:
        yield f"  reason     {escape_line(str(past.end.get('reason')))}"
    waits = _waits(history, past, files)
    if waits:
        yield f"  waits for  {escape_line(waits)}"
    yield from _about(past)
    yield from _links(past, family)
    yield from _stage_lines(files.stages)
    yield from (_ask_line(ask) for ask in past.asks)
    for doubt in _in_doubt(past):
        yield f"  in doubt   {escape_line(doubt)}: nobody knows whether it was done"
    for host, steps in results.get("hosts", {}).items():
        yield ""
        yield from _host_lines(host, steps)
    for host, values in results.get("outputs", {}).items():
        for name, value in values.items():
            yield f"\n  output     {escape_line(f'{host}: {name} = {json.dumps(value, ensure_ascii=False)}')}"
    for note in files.notes:
        yield f"  note: {escape_line(note)}"
    for fault in files.faults:
        yield click.style(f"  {escape_line(fault)}", fg="red") if wants_colour() else f"  {escape_line(fault)}"
    if past.end:
        yield f"\nreceipt: {history.receipt(past)}"


def _waits(history: History, past: PastRun, files: RunFiles) -> str:
    """Say what a run that waits is waiting for; nothing of any other."""
    from opsascode.run import WAITING, waits_for  # noqa: PLC0415 - keeps --help quick

    if past.end is not None or history.life(past.run) != WAITING:
        return ""
    found = waits_for(history.directory(past), files.plan)
    return found.sentence() if found else "people"


def _about(past: PastRun) -> Iterator[str]:
    def said(*path: str) -> str:
        return escape_line(str(past.said(*path) or ""))

    yield f"  runbook    {said('runbook', 'name')} {said('runbook', 'version')}  {said('runbook', 'path')}"
    commit = said("repository", "commit") or "none (not in Git)"
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
        yield f"  parameter  {escape_line(f'{name} = {shown}')}"


def _entries(past: PastRun) -> str:
    if past.end_index is None:
        return f"entry {past.start_index}, and no end record yet"
    return f"entries {past.start_index} and {past.end_index}"


def _links(past: PastRun, family: Sequence[RunSummary]) -> Iterator[str]:
    for word in ("continues", "undoes"):
        if past.said(word):
            yield f"  {word:<9}  {escape_line(str(past.said(word)))}"
    for each in family:
        if each.continues == past.run:
            yield f"  continued  by {each.run}: {outcome_word(each.outcome)}"
        if each.undoes == past.run:
            yield f"  taken back by {each.run}: {outcome_word(each.outcome)}"


def _stage_lines(stages: Sequence[PastStage]) -> Iterator[str]:
    """Name the stages where there were several, or one did not succeed for a reason of its own."""
    for stage in stages if len(stages) > 1 else ():
        why = f": {escape_line(stage.reason)}" if stage.reason and stage.outcome != "succeeded" else ""
        yield f"  stage      {escape_line(f'{stage.phase} {stage.stage}')}  {outcome_word(stage.outcome)}{why}"


def _ask_line(ask: Mapping[str, Any]) -> str:
    people = ", ".join(map(str, ask.get("by") or ())) or "nobody"
    verb = ("confirmed" if ask.get("kind") == "manual" else "approved") if ask.get("granted") else "declined"
    step = f" (step {ask['step']})" if ask.get("step") else ""
    note = f": {ask['note']}" if ask.get("note") else ""
    at = stamp(datetime.fromisoformat(str(ask["at"])).astimezone(UTC)) if ask.get("at") else ""
    return escape_line(f"  asked      stage {ask.get('stage')}{step} {verb} by {people}, {at}{note}")


def _in_doubt(past: PastRun) -> Iterator[str]:
    doubts = past.end.get("in_doubt") if past.end else None
    for doubt in doubts if isinstance(doubts, list) else ():
        if isinstance(doubt, dict):
            yield f"{doubt.get('step')} on {doubt.get('host')}"


def _host_lines(host: str, steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    timing = _timing(steps)
    yield f"  {escape_line(host)}  {seconds(timing['seconds'])} in all"
    width = max((len(str(step["step"])) for step in steps), default=0)
    for step in steps:
        yield from _step_lines(step, width)


def _step_lines(step: Mapping[str, Any], width: int) -> Iterator[str]:
    first, *more = escape_text(str(step["message"])).splitlines() or [""]
    took, name = seconds(_took(step)), escape_line(str(step["step"]))
    line = f"    {name:<{width}}  {step['status']!s:<11}  {took:>6}  {first}".rstrip()
    failed_undo = name.startswith(_UNDO) and step["status"] not in {"ok", "changed", "skipped"}
    yield click.style(line, fg="red") if failed_undo and wants_colour() else line
    for line in more:
        yield f"    {'':<{width}}  {'':<11}  {'':>6}  {line}"


def _timing(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tell how long a host took: from the first step's beginning to the last one's end, and step by step."""
    if not steps:
        return {"seconds": 0.0, "steps": {}}
    begun = min(datetime.fromisoformat(step["started"]) for step in steps)
    ended = max(datetime.fromisoformat(step["ended"]) for step in steps)
    return {
        "seconds": (ended - begun).total_seconds(),
        "steps": {str(step["step"]): _took(step) for step in steps},
    }


def _took(step: Mapping[str, Any]) -> float:
    begun, ended = (datetime.fromisoformat(str(step[key])) for key in ("started", "ended"))
    return (ended - begun).total_seconds()
