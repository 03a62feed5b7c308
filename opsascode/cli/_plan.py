"""`opsascode plan`: what would be done, for a person to read or a file to keep."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from opsascode.cli._console import count, escape_line, wants_colour
from opsascode.cli._context import Face, cache_directory
from opsascode.cli._options import TargetWords, format_option, read_parameters, secret_values, target_options
from opsascode.cli._verdict import permit_lines, refusal_json, refusal_lines
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.policy import Permit, Refusal
    from opsascode.run import Plan, Resolution

_HOSTS_SHOWN = 8


@click.command()
@click.argument("runbook")
@target_options
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan to a file for `opsascode run`."
)
@click.option("--playbook", is_flag=True, help="Print the compiled Ansible playbook and nothing else.")
@format_option
@click.pass_obj
def command(face: Face, /, runbook: str, out: Path | None, playbook: bool, **targets: Unpack[TargetWords]) -> int:  # noqa: FBT001 - click passes options by name
    """Resolve RUNBOOK (a name, or a path) into a plan and show what would be done; nothing is touched."""
    from opsascode.policy import Refusal, judge  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import detect_trigger, subject_of  # noqa: PLC0415 - keeps --help quick

    resolution = resolve_words(face, runbook, targets)
    if playbook:
        text = resolution.playbook.decode()
        body = {"playbook": text, "digest": resolution.plan.digest}
        click.echo(json.dumps(body) if face.json else text, nl=face.json)
        return ExitCode.DONE
    subject = subject_of(resolution, detect_trigger(os.environ))
    verdict = judge(face.repository.guardrails(), subject, now=datetime.now(UTC))
    if out:
        _write(out, resolution.plan.content + b"\n")
    if face.json:
        click.echo(json.dumps(_plan_json(resolution.plan, verdict)))
    else:
        click.echo("\n".join(plan_lines(resolution.plan, verdict, out)), color=wants_colour())
    return ExitCode.REFUSED if isinstance(verdict, Refusal) else ExitCode.DONE


def resolve_words(face: Face, runbook: str, targets: TargetWords) -> Resolution:
    """Resolve what the command line said."""
    from opsascode.run import Request, resolve  # noqa: PLC0415 - keeps --help quick

    texts, values = read_parameters(targets["words"])
    document = face.repository.runbook(runbook)
    secrets = secret_values(document, (*texts, *values), os.environ)
    request = Request(
        runbook=document,
        inventory=targets["inventory"],
        limit=targets["limit"],
        texts=texts,
        values=values,
        secrets=secrets,
    )
    return resolve(face.repository, request, environ=os.environ, cache=cache_directory())


def resolve_plan_file(face: Face, path: Path) -> Resolution:
    """Resolve what a plan file says again, and refuse when anything it was resolved from has moved.

    Raises:
        MovedError: the plan that comes out is not the plan in the file.
    """
    from opsascode.run import MovedError, Request, read_plan, resolve, what_moved  # noqa: PLC0415 - keeps --help quick

    written = read_plan(path.read_bytes(), name=str(path))
    document = face.repository.runbook(written.runbook)
    request = Request(
        runbook=document,
        inventory=written.inventory_sources,
        limit=written.limit,
        values=written.values_for(document),
        secrets=secret_values(document, (), os.environ),
    )
    resolution = resolve(face.repository, request, environ=os.environ, cache=cache_directory())
    if resolution.plan.digest != written.digest:
        raise MovedError(what_moved(written.content, resolution.plan.to_json()))
    return resolution


def plan_lines(plan: Plan, verdict: Permit | Refusal, out: Path | None) -> Iterator[str]:
    """Show a plan to a person."""
    version = f" {plan.version}" if plan.version else ""
    yield f"Plan: {escape_line(plan.title)} ({plan.runbook}{version})"
    yield f"  runbook    {plan.source.path}"
    yield f"  commit     {_commit(plan)}"
    yield f"  inventory  {', '.join(map(escape_line, plan.inventory_sources))}: {_hosts(plan)}"
    for parameter in plan.parameters:
        shown = "(secret)" if parameter.secret else escape_line(json.dumps(parameter.value, ensure_ascii=False))
        yield f"  parameter  {parameter.name} = {shown}"
    yield ""
    for number, wave in enumerate(plan.waves, start=1):
        yield f"  wave {number} of {len(plan.waves)}: {count(len(wave), 'host')}: {_some(wave)}"
    yield ""
    width = max(len(step.id) for step in plan.steps)
    for number, step in enumerate(plan.steps, start=1):
        notes = [note for note, said in (("if", step.conditional), ("can be undone", step.can_undo)) if said]
        note = f"  [{', '.join(notes)}]" if notes else ""
        yield f"  {number:>3}. {step.id:<{width}}  {step.kind:<8}  {escape_line(step.title)}{note}"
    yield ""
    yield f"  on failure  {_ON_FAILURE[plan.on_failure]}"
    yield from permit_lines(verdict)
    yield from refusal_lines(verdict)
    yield f"  digest      {plan.digest}"
    if out:
        yield f"  written to  {out}: run exactly this with `opsascode run {out}`"


_ON_FAILURE = {
    "undo": "stop, then undo what was completed, in reverse order, on the hosts of that wave",
    "stop": "stop before the next wave; nothing is undone",
    "continue": "go on with the next wave; a failed host takes no further steps",
}


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise UsageError(f"the plan cannot be written to {path}: {error.strerror}") from error


def _commit(plan: Plan) -> str:
    if plan.commit is None:
        return "none (not in Git): the record will say so"
    return plan.commit + (" + uncommitted changes: the record will say so" if plan.dirty else "")


def _hosts(plan: Plan) -> str:
    limit = f", limited to {escape_line(plan.limit)}" if plan.limit else ""
    return f"{len(plan.hosts)} of {count(plan.inventory_total, 'host')} ({escape_line(plan.pattern)}{limit})"


def _some(hosts: Sequence[str]) -> str:
    shown = ", ".join(map(escape_line, hosts[:_HOSTS_SHOWN]))
    return shown if len(hosts) <= _HOSTS_SHOWN else f"{shown}, and {len(hosts) - _HOSTS_SHOWN} more"


def _plan_json(plan: Plan, verdict: Permit | Refusal) -> dict[str, object]:
    return {"plan": plan.to_json(), "digest": plan.digest, "verdict": refusal_json(verdict)}
