"""`opsascode plan`: what would be done, for a person to read or a file to keep."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from opsascode.cli._access import PlanWords, read_keyring, secret_options
from opsascode.cli._console import count, escape_line, seconds, wants_colour
from opsascode.cli._context import Face, cache_directory
from opsascode.cli._files import write_file
from opsascode.cli._options import format_option, read_parameters, target_options
from opsascode.cli._verdict import explanation_lines, permit_lines, refusal_json, refusal_lines
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.cli._secrets import Keyring
    from opsascode.policy import Permit, Refusal
    from opsascode.proof import TrustChain
    from opsascode.run import Plan, Resolution

_HOSTS_SHOWN = 8


@click.command()
@click.argument("runbook")
@target_options
@secret_options
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan to a file for `opsascode run`."
)
@click.option("--playbook", is_flag=True, help="Print the compiled Ansible playbook and nothing else.")
@click.option("--explain", "explains", is_flag=True, help="Show every guardrail and rule that was considered, and why.")
@format_option
@click.pass_obj
def command(
    face: Face,
    /,
    runbook: str,
    out: Path | None,
    playbook: bool,  # noqa: FBT001 - click passes options by name
    explains: bool,  # noqa: FBT001 - likewise
    **words: Unpack[PlanWords],
) -> int:
    """Resolve RUNBOOK (a name, or a path) into a plan and show what would be done; nothing is touched."""
    from opsascode.cli._judging import judgement  # noqa: PLC0415 - keeps --help quick
    from opsascode.policy import Refusal, explain  # noqa: PLC0415 - keeps --help quick

    resolution = resolve_words(face, runbook, words, read_keyring(face, words, os.environ))
    if playbook:
        text = resolution.playbook.decode()
        body = {"playbook": text, "digest": resolution.plan.digest}
        click.echo(json.dumps(body) if face.json else text, nl=face.json)
        return ExitCode.DONE
    found = judgement(face, resolution)
    verdict = found.verdict
    explanation = explain(found.rules.policies, found.subject, now=found.at) if explains else None
    if out:
        write_file(out, resolution.plan.content + b"\n", "the plan")
    if face.json:
        more = {"explanation": explanation.to_json()} if explanation else {}
        click.echo(json.dumps({**_plan_json(resolution.plan, verdict), **more}))
    else:
        lines = [*plan_lines(resolution.plan, verdict, out), *(explanation_lines(explanation) if explanation else ())]
        click.echo("\n".join(lines), color=wants_colour())
    return ExitCode.REFUSED if isinstance(verdict, Refusal) else ExitCode.DONE


def resolve_words(face: Face, runbook: str, words: PlanWords, keyring: Keyring) -> Resolution:
    """Resolve what the command line said."""
    from opsascode.cli._judging import approvals_for  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Request, resolve  # noqa: PLC0415 - keeps --help quick

    texts, values = read_parameters(words["words"], keyring.open_file)
    document = face.repository.runbook(runbook)
    secrets = keyring.secrets(document, words["secrets"], (*texts, *values), os.environ)
    request = Request(
        runbook=document,
        inventory=words["inventory"],
        limit=words["limit"],
        texts=texts,
        values=values,
        secrets=secrets,
        trusted=face.ruling,
        rules=face.rules_for,
        asked=approvals_for(face),
    )
    return resolve(face.repository, request, environ=os.environ, cache=cache_directory())


def resolve_plan_file(
    face: Face, path: Path, secret_words: Sequence[str], keyring: Keyring, *, asks_nobody: bool = False
) -> Resolution:
    """Resolve what a plan file says again, and refuse when anything it was resolved from has moved.

    Where nobody will be asked any more, the trust root may have: the version the plan was made with is still proven.
    What guardrails asked of people then is asked now, whatever they ask by now: that is judged afterwards.

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
        secrets=keyring.secrets(document, secret_words, (), os.environ),
        trusted=(lambda: _as_planned(face.ruling(), written.root_version)) if asks_nobody else face.ruling,
        rules=face.rules_for,
        asked=lambda _, __: written.asked,
    )
    resolution = resolve(face.repository, request, environ=os.environ, cache=cache_directory())
    if resolution.plan.digest != written.digest:
        raise MovedError(what_moved(written.content, resolution.plan.to_json()))
    return replace(resolution, trusted=face.ruling)


def _as_planned(chain: TrustChain, version: int) -> TrustChain:
    """Give the trust root as it was when its newest version was this one."""
    from opsascode.proof import TrustChain  # noqa: PLC0415 - keeps --help quick

    return TrustChain(roots=chain.roots[:version] or chain.roots)


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
    yield from _between(plan)
    yield ""
    width = max(len(step.id) for step in plan.steps)
    for number, step in enumerate(plan.steps, start=1):
        notes = [note for note, said in (("if", step.conditional), ("can be undone", step.can_undo)) if said]
        note = f"  [{', '.join(notes)}]" if notes else ""
        yield f"  {number:>3}. {step.id:<{width}}  {step.kind:<8}  {escape_line(step.title)}{note}"
    yield ""
    yield f"  on failure  {_on_failure(plan)}"
    if plan.timeout is not None:
        yield f"  timeout     {seconds(plan.timeout)}, then it is stopped as by a cancel"
    if set(plan.locks) != set(plan.hosts):
        named = ", ".join(map(escape_line, plan.locks))
        yield f"  locks       {named or 'none: other runs may touch these hosts meanwhile'}"
    yield from permit_lines(verdict)
    yield from refusal_lines(verdict)
    yield f"  digest      {plan.digest}"
    if out:
        yield f"  written to  {out}: run exactly this with `opsascode run {out}`"


_ON_FAILURE = {
    "undo": "stop, then undo what was completed, in reverse order, on {where}",
    "stop": "stop before the next wave; nothing is undone",
    "continue": "go on with the next wave; a failed host takes no further steps",
}
_UNDO_WHERE = {
    "failed-hosts": "the hosts that failed",
    "wave": "the hosts of that wave",
    "all": "the hosts of all waves so far",
}


def _on_failure(plan: Plan) -> str:
    said = _ON_FAILURE[plan.on_failure].format(where=_UNDO_WHERE[plan.undo_scope])
    if plan.max_fail_percent is None:
        return said
    return f"while at most {plan.max_fail_percent}% of a wave failed: go on without them; otherwise {said}"


def _between(plan: Plan) -> Iterator[str]:
    """Show what happens beside the steps: questions to people, pauses, checks between waves."""
    for stage in plan.stages:
        if stage.ask is not None:
            ask = stage.ask
            role = f" with the role {ask['role']}" if ask["role"] else ""
            needs = f"{ask['required']} approval(s){role}" if ask["kind"] == "approval" else "a confirmation"
            where = "before anything is done" if stage.wave == 0 else f"in wave {stage.wave}"
            yield f"  asks {where}: {needs}: {escape_line(str(ask['title']))}"
        elif stage.seconds:
            yield f"  pause after wave {stage.wave}: {seconds(stage.seconds)}"
        elif stage.kind.value == "checks":
            yield f"  checks after wave {stage.wave}: {', '.join(step.rpartition('.')[2] for step in stage.steps)}"


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
