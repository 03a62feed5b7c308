"""Can every runbook be reached, and does every remediation see whether it helped and how it is taken back?

A runbook counts as out of reach only where the documents alone refuse every plan of it, whoever starts it and by
whatever; guardrails that are about inventory groups, tags, modules, times or budgets never make that certain.

Not here: rules that match nothing (`_lint_reach`).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from opsascode.policy._guardrail import Trigger
from opsascode.proof import RUN_APPROVER
from opsascode.repo import (
    ApprovalStep,
    CheckKind,
    Combine,
    Effect,
    PlaybookStep,
    Problem,
    RoleStep,
    RunbookStep,
    Severity,
    StepKind,
    TaskStep,
    TriggerStep,
    quoted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opsascode.errors import Position
    from opsascode.repo import Guardrail, People, Policies, Rule, Runbook, Step

_CHANGING = (TaskStep, RoleStep, PlaybookStep)


def remediation_problems(policies: Policies, runbooks: Sequence[Runbook]) -> Iterator[Problem]:
    """Report every runbook that is to help, but does not look whether it did, or cannot be taken back."""
    known = {each.name: each for each in runbooks}
    for policy in policies.reliability:
        for remediation in policy.remediation:
            who = f"the remediation {quoted(remediation.name)} of {policy.metadata.name}"
            yield from _unchecked(who, remediation.runbook, remediation.position, known)
        for step in policy.escalation_chain:
            if isinstance(step, TriggerStep) and step.runbook is not None:
                who = f"the escalation chain of {policy.metadata.name}"
                yield from _unchecked(who, step.runbook, step.position, known)


def _unchecked(who: str, name: str, position: Position, known: Mapping[str, Runbook]) -> Iterator[Problem]:
    """Look through a runbook and all that it composes; one that is not there is reported elsewhere."""
    steps = _all_steps(name, known)
    if steps is None:
        return
    place = known[name].position
    where = f"{quoted(name)} ({place.path}:{place.line})"
    if not any(step.kind is StepKind.CHECK or _checked_undo(step) for step in steps):
        yield Problem(
            position=position,
            code="remediation-without-check",
            severity=Severity.WARNING,
            message=f"{who} starts {where}, which has no check: nobody sees whether it helped",
            mend="let the runbook end with a check, such as http or prometheus",
        )
    changing = [step for step in steps if isinstance(step.action, _CHANGING)]
    if changing and not any(step.undo is not None for step in changing):
        yield Problem(
            position=position,
            code="remediation-without-undo",
            severity=Severity.WARNING,
            message=f"{who} starts {where}, and none of its {len(changing)} changing steps has an undo",
            mend="write an undo for what it changes",
        )


def _checked_undo(step: Step) -> bool:
    return False if step.undo is None else step.undo.check is not None and step.undo.check.check is CheckKind.THAT


def _all_steps(name: str, known: Mapping[str, Runbook]) -> list[Step] | None:
    """Give the steps of a runbook and of all it composes; None where one of them is not there."""
    steps: list[Step] = []
    pending, seen = [name], {name}
    while pending:
        runbook = known.get(pending.pop())
        if runbook is None:
            return None
        for step in runbook.steps:
            steps.append(step)
            if isinstance(step.action, RunbookStep) and step.action.name not in seen:
                seen.add(step.action.name)
                pending.append(step.action.name)
        if runbook.targets.between_waves is not None:
            steps += runbook.targets.between_waves.checks
    return steps


def reach_problems(policies: Policies, runbooks: Sequence[Runbook], people: People | None) -> Iterator[Problem]:
    """Report every runbook that nobody can start, and every question that too few people could answer."""
    wide = [each for each in policies.guardrails if not each.applies_to.groups]
    for runbook in runbooks:
        refused = [_refusal(runbook, trigger.value, wide) for trigger in Trigger]
        if all(refused):
            yield _out_of_reach(runbook, [each for each in refused if each is not None])
    if people is not None:
        yield from _unanswerable(policies, runbooks, people)


def _out_of_reach(runbook: Runbook, refused: list[tuple[Guardrail, Rule | None]]) -> Problem:
    said = []
    for trigger, (guardrail, rule) in zip(Trigger, refused, strict=True):
        place = guardrail.position if rule is None else rule.position
        what = guardrail.metadata.name if rule is None else f"{quoted(rule.name)} of {guardrail.metadata.name}"
        said.append(f"{trigger.value} by {what} ({place.path}:{place.line})")
    return Problem(
        position=runbook.position,
        code="runbook-out-of-reach",
        severity=Severity.WARNING,
        message=f"nobody can run {quoted(runbook.name)}: every trigger is refused: {'; '.join(said)}",
        mend="let one trigger pass for it, or delete the runbook",
    )


def _refusal(runbook: Runbook, trigger: str, guardrails: list[Guardrail]) -> tuple[Guardrail, Rule | None] | None:
    """Say which guardrail certainly refuses every plan of a runbook that is started so."""
    for guardrail in guardrails:
        scope = guardrail.applies_to
        if not _has(runbook, scope.runbooks, scope.labels):
            continue
        if guardrail.require.triggers and trigger not in guardrail.require.triggers:
            return guardrail, None
        found = _by_rules(runbook, trigger, guardrail)
        if found is not None:
            return found
    return None


def _by_rules(runbook: Runbook, trigger: str, guardrail: Guardrail) -> tuple[Guardrail, Rule | None] | None:
    possible = [rule for rule in guardrail.rules if _may_match(rule, runbook, trigger)]
    if guardrail.combine is Combine.DENY_OVERRIDES:
        deny = next((rule for rule in possible if rule.effect is Effect.DENY and _surely(rule)), None)
        if deny is not None:
            return guardrail, deny
        lets_pass = any(rule.effect is not Effect.DENY for rule in possible)
        return (guardrail, None) if guardrail.default is Effect.DENY and not lets_pass else None
    for rule in possible:
        if rule.effect is not Effect.DENY:
            return None
        if _surely(rule):
            return guardrail, rule
    return (guardrail, None) if guardrail.default is Effect.DENY else None


def _may_match(rule: Rule, runbook: Runbook, trigger: str) -> bool:
    """Say whether a rule could match some plan of a runbook that is started so."""
    return (not rule.who.triggers or trigger in rule.who.triggers) and _has(
        runbook, rule.what.runbooks, rule.what.labels
    )


def _surely(rule: Rule) -> bool:
    """Say whether a rule that may match a runbook matches every plan of it."""
    narrow = (
        rule.who.roles, rule.what.tags, rule.what.modules, rule.where.groups, rule.where.environments,
        rule.when.during, rule.when.outside,
    )  # fmt: skip
    unset = (rule.where.hosts_over, rule.where.percent_over, rule.when.budget, rule.condition)
    return not any(narrow) and all(each is None for each in unset)


def _has(runbook: Runbook, patterns: Sequence[str], labels: Mapping[str, str]) -> bool:
    own = runbook.metadata.labels
    return (not patterns or any(fnmatchcase(runbook.name, pattern) for pattern in patterns)) and all(
        own.get(key) == value for key, value in labels.items()
    )


def _unanswerable(policies: Policies, runbooks: Sequence[Runbook], people: People) -> Iterator[Problem]:
    """Report every question that asks more people of a role than the trust root has."""
    for runbook in runbooks:
        needed = runbook.approval
        if needed.required:
            yield from _too_few(needed.required, needed.role, people, runbook.position, f"the start of {runbook.name}")
        for step in runbook.steps:
            if isinstance(step.action, ApprovalStep):
                asked = step.action
                what = f"the step {quoted(step.id)} of {runbook.name}"
                yield from _too_few(asked.required, asked.role, people, step.position, what)
    for guardrail in policies.guardrails:
        name = f"the guardrail {guardrail.metadata.name}"
        pairs = [(guardrail.require, guardrail.position, name)]
        pairs += [(rule.require, rule.position, f"the rule {quoted(rule.name)}") for rule in guardrail.rules]
        for require, position, what in pairs:
            if require.approvals is not None:
                yield from _too_few(require.approvals.required, require.approvals.role, people, position, what)
    for policy in policies.reliability:
        override = policy.gate.override
        if override is not None and override.role is not None:  # without one, it may be the default
            what = f"an override of the gate of {policy.metadata.name}"
            yield from _too_few(override.required, override.role, people, policy.gate.position, what)


def _too_few(required: int, role: str | None, people: People, position: Position, what: str) -> Iterator[Problem]:
    holders = people.with_role(role)
    if len(holders) < required:
        named = role or RUN_APPROVER
        yield Problem(
            position=position,
            code="approval-out-of-reach",
            severity=Severity.WARNING,
            message=(
                f"{what} asks for {required} approvals of {quoted(named)}, and the trust root has {len(holders)} "
                f"{'person' if len(holders) == 1 else 'people'} with that role and a key"
            ),
            mend=f"ask for fewer, or give more people the role {quoted(named)} in the trust root",
        )
