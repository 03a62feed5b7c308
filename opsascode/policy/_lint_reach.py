"""Can any plan of this repository match a guardrail, or a rule of one?

Errors are contradictions within one rule. That nothing here matches now is a warning: the runbook may come, the freeze
of last year may be kept for next year's.

Not here: rules that match and make no difference (`_lint_rules`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from opsascode.repo import Effect, Problem, Severity, did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from decimal import Decimal

    from opsascode.errors import Position
    from opsascode.policy._runbook_set import RunbookSet
    from opsascode.repo import Calendar, Guardrail, Policies, Rule

_HUNDRED: Final = 100


def guardrail_reach(guardrail: Guardrail, known: RunbookSet) -> Iterator[Problem]:
    """Report a guardrail that no runbook of this repository is in the scope of."""
    if not known.by_name:
        return
    scope = guardrail.applies_to
    yield from _names(scope.runbooks, known, guardrail.position, f"the guardrail {guardrail.metadata.name}")
    if not known.meant(scope.runbooks, scope.labels):
        why = _why_none(scope.runbooks, scope.labels, known)
        yield _finding(
            guardrail.position,
            f"the guardrail {guardrail.metadata.name} applies to no runbook of this repository: {why}",
            "correct applies_to, or delete the guardrail",
        )


def rule_reach(
    guardrail: Guardrail, rule: Rule, policies: Policies, known: RunbookSet, *, now: datetime
) -> Iterator[Problem]:
    """Report why a rule can never match, or never make a difference; each reason once."""
    yield from _contradictions(rule)
    yield from _too_late(guardrail, rule)
    yield from _no_time(rule, policies, now)
    if known.by_name:
        yield from _no_runbook(guardrail, rule, known)


def _contradictions(rule: Rule) -> Iterator[Problem]:
    """Find parts of one rule that leave nothing: no plan anywhere can match."""
    when = rule.when
    if len(when.during) == 1 and when.during[0] in when.outside:
        yield _never(rule, f"it is to be during and outside {quoted(when.during[0])}", "delete one of the two")
    if when.budget is not None and not when.budget.levels:
        yield _never(rule, "its budget names no level", "write the levels at which it matches")
    if rule.where.percent_over is not None and rule.where.percent_over >= _HUNDRED:
        over = _number(rule.where.percent_over)
        yield _never(rule, f"no plan has more than {over}% of the hosts", "write a smaller percent_over")


def _too_late(guardrail: Guardrail, rule: Rule) -> Iterator[Problem]:
    """Find rules whose plans the guardrail's own requirements refuse in any case."""
    require, name = guardrail.require, guardrail.metadata.name
    triggers = set(rule.who.triggers)
    if triggers and require.triggers and not triggers & set(require.triggers):
        yield _finding(
            rule.position,
            f"the rule {quoted(rule.name)} makes no difference: it is about {_list(rule.who.triggers)}, and require of "
            f"{name} refuses every trigger but {_list(require.triggers)}",
            "take the trigger into require, or delete the rule",
        )
    over = rule.where.hosts_over
    if over is not None and require.max_hosts is not None and over >= require.max_hosts:
        yield _finding(
            rule.position,
            f"the rule {quoted(rule.name)} makes no difference: it is about more than {over} hosts, and require of "
            f"{name} refuses more than {require.max_hosts}",
            "write a smaller hosts_over, or delete the rule",
        )


def _no_time(rule: Rule, policies: Policies, now: datetime) -> Iterator[Problem]:
    """Find rules that wait for windows all of which are over; one that allows may still let an undo pass."""
    if rule.effect is Effect.ALLOW:
        return
    found = [policies.calendar(name) for name in rule.when.during]
    calendars = [each for each in found if each is not None]
    if not calendars or len(calendars) < len(found) or not all(_is_over(each, now) for each in calendars):
        return
    names = _list([each.metadata.name for each in calendars])
    yield _finding(
        rule.position,
        f"the rule {quoted(rule.name)} never matches again: every window of {names} is over",
        "write the next window, or delete the rule",
    )


def _is_over(calendar: Calendar, now: datetime) -> bool:
    """Say whether no window of a calendar comes any more; one that repeats may."""
    yesterday = now.astimezone(ZoneInfo(calendar.timezone)).replace(tzinfo=None) - timedelta(days=1)
    return all(not (each.rule or each.weekdays) and each.end < yesterday for each in calendar.windows)


def _no_runbook(guardrail: Guardrail, rule: Rule, known: RunbookSet) -> Iterator[Problem]:
    """Find rules that match no runbook of this repository within the scope of their guardrail."""
    scope, what = guardrail.applies_to, rule.what
    yield from _names(what.runbooks, known, rule.position, f"the rule {quoted(rule.name)}")
    in_scope = known.meant(scope.runbooks, scope.labels)
    if not in_scope:
        return
    wanted = known.meant(what.runbooks, what.labels)
    if not wanted:
        why = _why_none(what.runbooks, what.labels, known)
        yield _never(rule, why, "correct what, or delete the rule", severity=Severity.WARNING)
    elif not wanted & in_scope:
        name = guardrail.metadata.name
        yield _never(
            rule,
            f"applies_to of {name} excludes all it is about: {_list(sorted(wanted))}",
            "widen applies_to, or delete the rule",
            severity=Severity.WARNING,
        )


def _names(patterns: Sequence[str], known: RunbookSet, position: Position, who: str) -> Iterator[Problem]:
    """Report a plain name that no runbook has beside others that one has: most likely it is mistyped."""
    missing = [each for each in patterns if not known.matching(each)]
    if len(missing) == len(patterns):
        return  # then nothing at all matches, which is said elsewhere
    for name in missing:
        if not set(name) & set("*?["):
            yield _finding(
                position,
                f"{who} names {quoted(name)}, and there is no such runbook",
                known.near(name) or "correct the name, or delete it",
                code="unknown-runbook",
            )


def _why_none(patterns: Sequence[str], labels: Mapping[str, str], known: RunbookSet) -> str:
    """Say which part leaves no runbook."""
    if patterns and not known.meant(patterns, {}):
        near = known.near(patterns[0]) if len(patterns) == 1 else ""
        said = "there is no runbook " if len(patterns) == 1 else "there are no runbooks "
        return said + ", ".join(quoted(each) for each in patterns) + (f"; {near}" if near else "")
    for key, value in labels.items():
        if not known.labelled(key, value):
            near = did_you_mean(value, known.values(key))
            return f"no runbook has the label {key}: {quoted(value)}" + (f"; {near}" if near else "")
    return "no runbook has all of its names and labels"


def _never(rule: Rule, why: str, mend: str, *, severity: Severity = Severity.ERROR) -> Problem:
    message = f"the rule {quoted(rule.name)} can never match: {why}"
    return _finding(rule.position, message, mend, severity=severity)


def _finding(
    position: Position,
    message: str,
    mend: str,
    *,
    code: str = "rule-unreachable",
    severity: Severity = Severity.WARNING,
) -> Problem:
    return Problem(position=position, code=code, severity=severity, message=message, mend=mend)


def _list(words: Sequence[str]) -> str:
    """Name a few words."""
    most = 4
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown} and {len(words) - most} more"


def _number(value: Decimal) -> str:
    return f"{value.normalize():f}"
