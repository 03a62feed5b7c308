"""Does a rule of a guardrail match a plan, part by part?

Every part of a rule narrows it, and a part that is not there does not. What nobody can know is neither yes nor no:
content that cannot be looked into, a calendar that cannot be read, a condition without an answer. A rule that forbids
or asks for something then counts as matching, one that allows does not: the careful side, whatever is unknown.

An undo is never held up by time. Calendars and budgets count as they suit it: parts of rules that forbid do not match,
those of rules that allow do. The same holds for conditions that name the time or a budget.

Not here: which of several rules decides (`_judge`), saying it in words (`_rule_words`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from fnmatch import translate
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from opsascode.policy._guardrail import BudgetSeen, Trigger
from opsascode.policy._moment import Unknown
from opsascode.repo import BudgetLevel, Effect, Facts, Unanswerable

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
    from decimal import Decimal

    from opsascode.policy._guardrail import Subject
    from opsascode.policy._moment import Moment
    from opsascode.repo import BudgetCondition, Rule, Scope

_OWN_COLLECTIONS: Final = ("ansible.builtin", "ansible.legacy")
_QUOTED: Final = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
_TIMELY: Final = re.compile(r"\b(?:now|budget)\b")


class Match(Enum):
    """Whether a rule, or a part of it, matches."""

    YES = "matches"
    NO = "does not match"
    UNKNOWN = "cannot be known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One kind of part: its place in a document, whether a rule has it, whether it matches, and what that depends on.

    For the same `key` of a subject, `match` always gives the same answer at the same moment. Where the facts are a set,
    `members` gives it, `means` whether a rule means one of them, and `unsure` whether there may be more. Only of a part
    that may be `doubtful` the answer can be unknown although every fact about the plan is known.
    """

    name: str
    asked: Callable[[Rule], bool]
    key: Callable[[Subject], Hashable]
    match: Callable[[Rule, Subject, Moment], Match]
    timely: bool = False
    doubtful: bool = False
    members: Callable[[Subject], frozenset[str]] | None = None
    means: Callable[[Rule, str], bool] = lambda _, __: True
    unsure: Callable[[Subject], bool] = lambda _: False


def _of_set(
    name: str,
    named: Callable[[Rule], tuple[str, ...]],
    members: Callable[[Subject], frozenset[str]],
    means: Callable[[str, str], bool],
    unsure: Callable[[Subject], bool],
) -> Part:
    """Make the part of a rule that means one of a set of facts; `means` says whether a pattern means a fact."""

    def means_one(rule: Rule, member: str) -> bool:
        return any(means(pattern, member) for pattern in named(rule))

    def match(rule: Rule, subject: Subject, _: Moment) -> Match:
        if any(means_one(rule, member) for member in members(subject)):
            return Match.YES
        return Match.UNKNOWN if unsure(subject) else Match.NO

    return Part(
        name=name,
        asked=lambda rule: bool(named(rule)),
        key=members,
        match=match,
        members=members,
        means=means_one,
        unsure=unsure,
    )


def parts_of(rule: Rule) -> tuple[Part, ...]:
    """Give the parts that a rule has; the condition comes last, as it costs most."""
    return tuple(part for part in (*PARTS, CONDITION) if part.asked(rule))


def match_rule(rule: Rule, parts: Iterable[Part], subject: Subject, moment: Moment) -> Match:
    """Say whether a rule with these parts matches; the condition is only asked where all others might."""
    found = Match.YES
    for part in parts:
        answer = match_part(part, rule, subject, moment)
        if answer is Match.NO:
            return Match.NO
        found = answer if answer is Match.UNKNOWN else found
    return found


def match_part(part: Part, rule: Rule, subject: Subject, moment: Moment) -> Match:
    """Say whether one part of a rule matches; time never stands in the way of an undo."""
    if subject.undoes and (part.timely or (part is CONDITION and names_time(rule))):
        return Match.YES if rule.effect is Effect.ALLOW else Match.NO
    return part.match(rule, subject, moment)


def in_scope(scope: Scope, subject: Subject) -> bool:
    """Say whether a guardrail applies; where labels or groups of a record were cut, it does."""
    return (not scope.runbooks or _any_like(subject.runbook, scope.runbooks)) and (
        subject.partial
        or (
            all(subject.labels.get(key) == value for key, value in scope.labels.items())
            and (not scope.groups or not subject.groups.isdisjoint(scope.groups))
        )
    )


def share_of(percent: Decimal, total: int) -> int:
    """Give how many hosts a share of an inventory is: never fewer than one."""
    return max(1, int(percent * total / 100))


def budget_of(subject: Subject, service: str) -> BudgetSeen:
    """Give how the budget of a service stood; no data where it was not asked."""
    return subject.budgets.get(service) or BudgetSeen(level=BudgetLevel.NO_DATA)


def matching_modules(patterns: Sequence[str], modules: Iterable[str]) -> tuple[str, ...]:
    """Give the modules that a pattern means: by their full names, by their short ones, however they were written."""
    return tuple(sorted(name for name in modules if any(_means(pattern, name) for pattern in patterns)))


def names_time(rule: Rule) -> bool:
    """Say whether a rule's condition asks for the time or a budget."""
    return rule.condition is not None and bool(_TIMELY.search(_QUOTED.sub("", rule.condition.text)))


def names_budgets(rule: Rule) -> bool:
    """Say whether a rule's condition asks for a budget."""
    return rule.condition is not None and "budget." in _QUOTED.sub("", rule.condition.text)


def facts_of(subject: Subject, moment: Moment) -> Facts:
    """Give the facts that a condition can ask for, kept while the same plan is judged at the same moment."""
    kept = moment.kept
    if kept is None or kept[0] is not subject:
        kept = moment.kept = (subject, Facts(_facts(subject, moment)))
    return kept[1]


def _facts(subject: Subject, moment: Moment) -> Mapping[str, object]:
    """Give facts by their names; what is not known is left out, so that a condition that asks for it has no answer."""
    budgets = subject.budgets
    unknown = {"plan.modules", "plan.tags"} if is_cut(subject) else set()
    if subject.partial:
        unknown |= {"plan.labels", "plan.groups", "plan.environments", "who.roles", "budget.level", "budget.consumed"}
    found = {
        "plan.runbook": subject.runbook,
        "plan.labels": dict(subject.labels),
        "plan.hosts": subject.host_count,
        "plan.total": subject.inventory_total,
        "plan.percent": 100.0 * subject.host_count / max(1, subject.inventory_total),
        "plan.groups": sorted(subject.groups),
        "plan.environments": sorted(subject.environments),
        "plan.tags": sorted(subject.tags),
        "plan.modules": sorted(subject.modules),
        "plan.opaque": bool(subject.opaque) or subject.partial,
        "plan.dirty": subject.dirty,
        "plan.predicts": subject.predicts,
        "plan.approvals": max((each.required for each in subject.approvals), default=0),
        "who.trigger": subject.trigger.value,
        "who.account": subject.account,
        "who.roles": sorted(subject.roles),
        "now": moment.now,
        "budget.level": {service: seen.level.value for service, seen in budgets.items()},
        "budget.consumed": {
            service: float(seen.consumed) for service, seen in budgets.items() if seen.consumed is not None
        },
    }
    return {name: value for name, value in found.items() if name not in unknown}


def unanswered(rule: Rule, subject: Subject, moment: Moment) -> str:
    """Say why a rule's condition has no answer; empty where it has one."""
    found = rule.condition.holds(facts_of(subject, moment)) if rule.condition else True
    return found.reason if isinstance(found, Unanswerable) else ""


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> Callable[[str], object]:
    return re.compile(translate(pattern)).match


def _like(name: str, pattern: str) -> bool:
    return _compiled(pattern)(name) is not None


def _any_like(name: str, patterns: Iterable[str]) -> bool:
    return any(_like(name, pattern) for pattern in patterns)


@cache
def _means(pattern: str, name: str) -> bool:
    """Say whether a pattern means a module: `shell`, `ansible.builtin.shell` and `ansible.legacy.shell` are one.

    A short name could be of any collection, as a playbook can say where short names are looked for: it is meant by a
    pattern whose last part is written out and is that name.
    """
    collection, _, short = name.rpartition(".")
    asked, _, last = pattern.rpartition(".")
    if _like(name, pattern) or (not asked and _like(short, pattern)):
        return True
    if collection in {"", *_OWN_COLLECTIONS} and any(_like(f"{own}.{short}", pattern) for own in _OWN_COLLECTIONS):
        return True
    return not collection and last == short


def _yes(answer: bool) -> Match:  # noqa: FBT001 - a bool that becomes a word
    return Match.YES if answer else Match.NO


def _perhaps(answer: bool, *, unknown: bool) -> Match:  # noqa: FBT001 - see _yes
    return Match.UNKNOWN if unknown and not answer else _yes(answer)


def is_cut(subject: Subject) -> bool:
    """Say whether there may be modules and tags that nobody knows of."""
    return bool(subject.opaque) or subject.partial


def _partial(subject: Subject) -> bool:
    """Whether lists of a record were cut."""
    return subject.partial


def _hosts(rule: Rule, subject: Subject, _: Moment) -> Match:
    return _yes(rule.where.hosts_over is not None and subject.host_count > rule.where.hosts_over)


def _percent(rule: Rule, subject: Subject, _: Moment) -> Match:
    over = rule.where.percent_over
    return _yes(over is not None and subject.host_count > share_of(over, subject.inventory_total))


def _during(rule: Rule, _: Subject, moment: Moment) -> Match:
    found = moment.open(rule.when.during)
    return Match.UNKNOWN if isinstance(found, Unknown) else _yes(found is not None)


def _outside(rule: Rule, _: Subject, moment: Moment) -> Match:
    found = moment.open(rule.when.outside)
    return Match.UNKNOWN if isinstance(found, Unknown) else _yes(found is None)


def _budget(rule: Rule, subject: Subject, _: Moment) -> Match:
    asked: BudgetCondition | None = rule.when.budget
    return _yes(asked is not None and budget_of(subject, asked.service).level in asked.levels)


def _condition(rule: Rule, subject: Subject, moment: Moment) -> Match:
    found = rule.condition.holds(facts_of(subject, moment)) if rule.condition else True
    return Match.UNKNOWN if isinstance(found, Unanswerable) else _yes(found)


PARTS: Final = (
    Part(
        name="who.triggers",
        asked=lambda rule: bool(rule.who.triggers),
        key=lambda subject: subject.trigger,
        match=lambda rule, subject, _: _yes(subject.trigger.value in rule.who.triggers),
    ),
    _of_set("who.roles", lambda rule: rule.who.roles, lambda subject: subject.roles, str.__eq__, _partial),
    Part(
        name="what.runbooks",
        asked=lambda rule: bool(rule.what.runbooks),
        key=lambda subject: subject.runbook,
        match=lambda rule, subject, _: _yes(_any_like(subject.runbook, rule.what.runbooks)),
    ),
    Part(
        name="what.labels",
        asked=lambda rule: bool(rule.what.labels),
        key=lambda subject: (frozenset(subject.labels.items()), subject.partial),
        match=lambda rule, subject, _: _perhaps(
            all(subject.labels.get(key) == value for key, value in rule.what.labels.items()), unknown=subject.partial
        ),
    ),
    _of_set("what.tags", lambda rule: rule.what.tags, lambda subject: subject.tags, str.__eq__, is_cut),
    _of_set("what.modules", lambda rule: rule.what.modules, lambda subject: subject.modules, _means, is_cut),
    _of_set("where.groups", lambda rule: rule.where.groups, lambda subject: subject.groups, str.__eq__, _partial),
    _of_set(
        "where.environments",
        lambda rule: rule.where.environments,
        lambda subject: subject.environments,
        lambda pattern, name: _like(name, pattern),
        _partial,
    ),
    Part(
        name="where.hosts_over",
        asked=lambda rule: rule.where.hosts_over is not None,
        key=lambda subject: subject.host_count,
        match=_hosts,
    ),
    Part(
        name="where.percent_over",
        asked=lambda rule: rule.where.percent_over is not None,
        key=lambda subject: (subject.host_count, subject.inventory_total),
        match=_percent,
    ),
    Part(
        name="when.during",
        asked=lambda rule: bool(rule.when.during),
        key=lambda subject: subject.undoes,
        match=_during,
        timely=True,
        doubtful=True,
    ),
    Part(
        name="when.outside",
        asked=lambda rule: bool(rule.when.outside),
        key=lambda subject: subject.undoes,
        match=_outside,
        timely=True,
        doubtful=True,
    ),
    Part(
        name="when.budget",
        asked=lambda rule: rule.when.budget is not None,
        key=lambda subject: (frozenset((name, seen.level) for name, seen in subject.budgets.items()), subject.undoes),
        match=_budget,
        timely=True,
    ),
)
CONDITION: Final = Part(
    name="if",
    asked=lambda rule: rule.condition is not None,
    key=lambda subject: subject.plan_digest,
    match=_condition,
    doubtful=True,
)
TRIGGERS: Final = tuple(each.value for each in Trigger)
