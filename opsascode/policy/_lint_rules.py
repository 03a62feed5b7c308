"""Does every guardrail, and every rule of one, make a difference?

Shadowed: another one always decides where it would. Unreachable: no plan of this repository can match it, or its own
parts contradict each other. Both are said only where it is certain from the documents: what depends on the inventory,
on tags or on modules is left alone, and so is what only a library of conditions could see.

Not here: what a rule implies (`_implies`), runbooks that no rule lets pass (`_lint_runbooks`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsascode.policy._implies import conditions_of, implies, scope_conditions
from opsascode.policy._lint_reach import guardrail_reach, rule_reach
from opsascode.policy._rule_match import names_time
from opsascode.policy._runbook_set import RunbookSet
from opsascode.repo import Combine, Effect, Problem, Requirements, Severity, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from opsascode.policy._implies import Condition
    from opsascode.repo import Guardrail, Policies, Rule, Runbook

_Placed = tuple["Guardrail", "Rule", tuple["Condition", ...]]


def guardrail_problems(policies: Policies, runbooks: Sequence[Runbook], *, now: datetime) -> Iterator[Problem]:
    """Report every guardrail and rule that is shadowed or unreachable."""
    known = RunbookSet.of(runbooks)
    placed = [
        [(guardrail, rule, conditions_of(guardrail, rule)) for rule in guardrail.rules]
        for guardrail in policies.guardrails
    ]
    denies = [
        each
        for rules in placed
        for each in rules
        if each[1].effect is Effect.DENY and each[0].combine is Combine.DENY_OVERRIDES
    ]
    for guardrail, rules in zip(policies.guardrails, placed, strict=True):
        yield from guardrail_reach(guardrail, known)
        for rule in guardrail.rules:
            yield from rule_reach(guardrail, rule, policies, known, now=now)
        yield from _shadowed(guardrail, rules, denies)
    yield from _redundant(policies.guardrails)


def _shadowed(guardrail: Guardrail, rules: list[_Placed], denies: list[_Placed]) -> Iterator[Problem]:
    for index, (_, rule, mine) in enumerate(rules):
        if guardrail.combine is Combine.FIRST_MATCH:
            stops = (each for each in rules[:index] if implies(mine, each[2]) and _ends(each[1], rule))
            before = next(stops, None)
            if before is not None:
                yield _earlier(rule, before[1])
                continue
        if rule.effect is Effect.DENY:
            continue
        over = next((each for each in denies if implies(mine, each[2]) and not _spares(each[1], rule)), None)
        if over is not None:
            yield _overruled(rule, over)
        elif _idle_allow(guardrail, rule):
            yield _without_effect(guardrail, rule)


def _ends(before: Rule, rule: Rule) -> bool:
    """Say whether an earlier rule that matches as well ends the search, so that the later one is never asked.

    What nobody can know does not end it, unless the earlier rule denies.
    """
    if _spares(before, rule):
        return False
    unknown = before.what.tags or before.what.modules or before.when.during or before.when.outside or before.condition
    return before.effect is Effect.DENY or rule.effect is Effect.ALLOW or not unknown


def _spares(strict: Rule, rule: Rule) -> bool:
    """Say whether a strict rule spares an undo that the other one allows: time never stands in its way."""
    when = strict.when
    timely = bool(when.during or when.outside or when.budget is not None or names_time(strict))
    return timely and strict.effect is not Effect.ALLOW and rule.effect is Effect.ALLOW


def _idle_allow(guardrail: Guardrail, rule: Rule) -> bool:
    """Say whether a rule allows what nothing would refuse."""
    return (
        rule.effect is Effect.ALLOW
        and guardrail.combine is Combine.DENY_OVERRIDES
        and guardrail.default is Effect.ALLOW
    )


def _earlier(rule: Rule, before: Rule) -> Problem:
    return _finding(
        rule,
        "rule-shadowed",
        f"the rule {quoted(rule.name)} never decides: whatever it matches, {quoted(before.name)} in line "
        f"{before.position.line} matches first",
        f"move it before {quoted(before.name)}, or delete it",
    )


def _overruled(rule: Rule, over: _Placed) -> Problem:
    guardrail, deny, _ = over
    does = "allow" if rule.effect is Effect.ALLOW else "ask"
    return _finding(
        rule,
        "rule-shadowed",
        f"the rule {quoted(rule.name)} may {does} what it likes: whatever it matches, {quoted(deny.name)} of "
        f"{guardrail.metadata.name} ({deny.position.path}:{deny.position.line}) denies",
        f"narrow {quoted(deny.name)}, write combine: first-match, or delete this rule",
    )


def _without_effect(guardrail: Guardrail, rule: Rule) -> Problem:
    return _finding(
        rule,
        "rule-shadowed",
        f"the rule {quoted(rule.name)} allows what is allowed anyway: with combine: deny-overrides and default: allow, "
        "an allow changes nothing, and it lifts no deny",
        f"write combine: first-match or default: deny in {guardrail.metadata.name}, or delete the rule",
    )


def _finding(rule: Rule, code: str, message: str, mend: str) -> Problem:
    return Problem(position=rule.position, code=code, severity=Severity.WARNING, message=message, mend=mend)


def _redundant(guardrails: Sequence[Guardrail]) -> Iterator[Problem]:
    """Report every guardrail that asks for nothing that another one does not ask for wherever this one is asked."""
    plain = [(each, scope_conditions(each.applies_to)) for each in guardrails if not each.rules]
    every = [(each, scope_conditions(each.applies_to)) for each in guardrails]
    places = {id(each): index for index, each in enumerate(guardrails)}
    for guardrail, scope in plain:
        if guardrail.default is Effect.DENY or guardrail.require == Requirements():
            continue
        for other, wider in every:
            if other is guardrail or not implies(scope, wider) or not _as_strict(other.require, guardrail.require):
                continue
            equal = implies(wider, scope) and _as_strict(guardrail.require, other.require) and not other.rules
            if equal and places[id(other)] > places[id(guardrail)]:
                continue  # of two that say the same, the later one is said to be too much
            yield Problem(
                position=guardrail.position,
                code="guardrail-shadowed",
                severity=Severity.WARNING,
                message=(
                    f"the guardrail {guardrail.metadata.name} asks for nothing that {other.metadata.name} "
                    f"({other.position.path}:{other.position.line}) does not ask for too, wherever it applies"
                ),
                mend="make it stricter, or delete it",
            )
            break


def _as_strict(require: Requirements, other: Requirements) -> bool:
    """Say whether whatever meets the first requirements meets the others too."""
    numbers = (
        (require.max_hosts, other.max_hosts),
        (require.max_percent, other.max_percent),
    )
    approvals, wanted = require.approvals, other.approvals
    return (
        (require.clean_tree or not other.clean_tree)
        and (require.check_only or not other.check_only)
        and all(theirs is None or (mine is not None and mine <= theirs) for mine, theirs in numbers)
        and (not other.triggers or (bool(require.triggers) and set(require.triggers) <= set(other.triggers)))
        and (
            wanted is None
            or (approvals is not None and approvals.role == wanted.role and approvals.required >= wanted.required)
        )
    )
