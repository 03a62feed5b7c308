"""How is shown what people are asked to agree to?

Everything comes from the plan whose digest was computed here, and every text of it is escaped: a name or a message can
neither move the cursor nor reorder what is read.

Not here: asking (`_desk`, `_approve`).
"""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING

from opsascode.cli._console import count, escape_line, escape_text, seconds, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opsascode.policy import ApprovalVerdict
    from opsascode.run import AskRequest

_GATE = "opsascode/gate/v1"
_HOSTS_SHOWN = 12
_STEPS_SHOWN = 60


def request_lines(request: AskRequest, plan: Mapping[str, object]) -> Iterator[str]:
    """Show a request and the plan it is about, or the verdict of a gate that blocks."""
    ask = request.ask
    yield f"{escape_line(ask.title)}"
    yield from _gate_lines(request, plan) if _is_gate(plan) else _run_lines(request, plan)
    if request.requester:
        names = ", ".join(map(escape_line, (request.requester, *request.aliases)))
        yield f"  started by  {names}, who asked at {stamp(request.asked.astimezone(UTC))}"
    role = f" with the role {escape_line(ask.role)}" if ask.role else ""
    yield f"  needs       {ask.required} {'person' if ask.required == 1 else 'people'}{role}, other than who started it"
    yield f"  valid for   {seconds(ask.lifetime.total_seconds())} after signing"
    for line in escape_text(ask.instructions).splitlines():
        yield f"  | {line}"
    yield from _reason_lines(plan) if _is_gate(plan) else _plan_lines(plan)
    yield f"  repository  {escape_line(request.repository)}"
    yield f"  digest      {escape_line(request.plan_digest)}"


def _is_gate(plan: Mapping[str, object]) -> bool:
    return plan.get("format") == _GATE


def _run_lines(request: AskRequest, plan: Mapping[str, object]) -> Iterator[str]:
    ask, runbook = request.ask, _mapping(plan.get("runbook"))
    yield (
        f"  runbook     {_said(runbook, 'name')} {_said(runbook, 'version')}".rstrip() + f"  ({_said(runbook, 'path')})"
    )
    yield f"  run         {escape_line(request.run) or 'none yet: it counts for the first run of this plan'}"
    step = f", step {escape_line(ask.step)}" if ask.step else ""
    yield f"  stage       {ask.stage}{step}"


def _gate_lines(request: AskRequest, plan: Mapping[str, object]) -> Iterator[str]:
    """Say which gate blocks, and what an override would let through."""
    yield f"  gate        {escape_line(request.run)}"
    yield f"  service     {_said(plan, 'service')}"
    named = f": {_said(plan, 'change')}" if plan.get("change") else ""
    yield f"  change      of class {_said(plan, 'change_class')}{named or ', not named'}"
    what = "this change, and no other one" if named else "changes of this class to this service that nobody named"
    yield f"  lets out    {what}, as long as nothing else blocks it"
    yield f"  until       {_said(plan, 'until')} at the latest"


def _reason_lines(plan: Mapping[str, object]) -> Iterator[str]:
    commit = _said(plan, "commit")[:12] if plan.get("commit") else "none (not in Git)"
    yield f"  policies    {', '.join(escape_line(str(each)) for each in _list(plan.get('policies')))}, commit {commit}"
    for each in map(_mapping, _list(plan.get("reasons"))):
        word = {"pass": "note", "warn": "warns"}.get(str(each.get("effect")), "blocks")
        about = f" {_said(each, 'about')}" if each.get("about") else ""
        yield f"  {word:<12}{_said(each, 'code')}{about}: {_said(each, 'message')} ({_said(each, 'position')})"


def verdict_lines(verdict: ApprovalVerdict) -> Iterator[str]:
    """Show what counts, who refused, what does not count and why, and what is missing."""
    for each in verdict.counted:
        reason = f": {escape_line(each.reason)}" if each.reason else ""
        yield f"  approved by {escape_line(each.person)}, until {stamp(each.expires)}{reason}"
    for each in verdict.declined:
        reason = f": {escape_line(each.reason)}" if each.reason else ""
        yield f"  declined by {escape_line(each.person)}{reason}"
    for fault in verdict.faults:
        yield f"  not counted: {escape_line(fault.message)} [{fault.code}]"
        if fault.mend:
            yield f"    {escape_line(fault.mend)}"
    if verdict.missing:
        yield f"  {escape_line(verdict.missing)}"


def _plan_lines(plan: Mapping[str, object]) -> Iterator[str]:
    repository, inventory = _mapping(plan.get("repository")), _mapping(plan.get("inventory"))
    commit = _said(repository, "commit") if repository.get("commit") else "none (not in Git)"
    yield f"  commit      {commit}{' + uncommitted changes' if repository.get('dirty') else ''}"
    sources = ", ".join(escape_line(str(each)) for each in _list(inventory.get("sources")))
    waves = [_list(wave) for wave in _list(plan.get("waves"))]
    hosts = sum(map(len, waves))
    yield f"  inventory   {sources}: {hosts} of {count(_number(inventory.get('total')), 'host')}"
    for name, value in _mapping(plan.get("parameters")).items():
        written = _mapping(value)
        shown = "(secret)" if written.get("secret") else json.dumps(written.get("value"), ensure_ascii=False)
        yield f"  parameter   {escape_line(name)} = {escape_line(shown)}"
    for number, wave in enumerate(waves, start=1):
        yield f"  wave {number} of {len(waves)}: {count(len(wave), 'host')}: {_some(wave)}"
    steps = _list(plan.get("steps"))
    for number, step in enumerate(steps[:_STEPS_SHOWN], start=1):
        written = _mapping(step)
        yield f"  {number:>3}. {_said(written, 'id')}  {_said(written, 'kind')}  {_said(written, 'title')}"
    if len(steps) > _STEPS_SHOWN:
        yield f"       and {len(steps) - _STEPS_SHOWN} more steps"
    yield f"  on failure  {_said(plan, 'on_failure')}"


def _some(hosts: Sequence[object]) -> str:
    shown = ", ".join(escape_line(str(host)) for host in hosts[:_HOSTS_SHOWN])
    return shown if len(hosts) <= _HOSTS_SHOWN else f"{shown}, and {len(hosts) - _HOSTS_SHOWN} more"


def _said(written: Mapping[str, object], key: str) -> str:
    value = written.get(key)
    return "" if value is None else escape_line(str(value))


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
