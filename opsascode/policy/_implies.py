"""Does one rule match whenever another does? Answered only where it is certain, part by part.

A rule matches where all of its parts do, and so does the scope of its guardrail: each part is a condition on a plan.
One rule implies another where each condition of the other one follows from a condition of its own, which is seen from
their lists alone: by inclusion of sets, by patterns that cover patterns, or by the same text. Whatever could only be
decided by knowing all plans is answered with no.

Not here: what follows from it (`_lint_rules`), whether a rule matches a plan (`_rule_match`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from opsascode.policy._guardrail import Trigger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

    from opsascode.repo import Guardrail, Rule, Scope

_TRIGGERS: Final = frozenset(each.value for each in Trigger)
_WILD: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The plan has one of these words, of the kind that is named; for `exact`, only the same words say as much."""

    kind: str
    words: frozenset[str]
    exact: bool = False

    def follows_from(self, other: Condition) -> bool:
        """Say whether it holds wherever another condition does."""
        if not isinstance(other, Words) or other.kind != self.kind:
            return False
        return other.words == self.words if self.exact else other.words <= self.words


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """A name of the plan matches one of these patterns; not `plain` are those that mean more than they spell."""

    kind: str
    patterns: tuple[str, ...]
    plain: bool = True

    def follows_from(self, other: Condition) -> bool:
        """Say whether it holds wherever another condition does."""
        if not isinstance(other, Patterns) or other.kind != self.kind:
            return False
        return all(any(self._covers(wide, narrow) for wide in self.patterns) for narrow in other.patterns)

    def _covers(self, wide: str, narrow: str) -> bool:
        return covers(wide, narrow) if self.plain else wide in ("*", narrow)


@dataclass(frozen=True, slots=True, kw_only=True)
class Over:
    """A number of the plan is larger than this."""

    kind: str
    limit: Decimal | int

    def follows_from(self, other: Condition) -> bool:
        """Say whether it holds wherever another condition does."""
        return isinstance(other, Over) and other.kind == self.kind and other.limit >= self.limit


Condition = Words | Patterns | Over


def implies(narrow: tuple[Condition, ...], wide: tuple[Condition, ...]) -> bool:
    """Say whether it is certain that all conditions of the wide side hold wherever those of the narrow side do."""
    return all(any(each.follows_from(mine) for mine in narrow) for each in wide)


def conditions_of(guardrail: Guardrail, rule: Rule) -> tuple[Condition, ...]:
    """Give all conditions under which a rule matches, those of its guardrail's scope among them."""
    return (*scope_conditions(guardrail.applies_to), *_of_rule(rule))


def scope_conditions(scope: Scope) -> tuple[Condition, ...]:
    """Give the conditions under which a guardrail is asked."""
    return tuple(_of_scope(scope))


def covers(wide: str, narrow: str) -> bool:
    """Say whether it is certain that a pattern matches whatever another one does; false where it is not seen."""
    if wide in ("*", narrow):
        return True
    if not _WILD & set(narrow):
        return fnmatchcase(narrow, wide)
    stem = wide.removesuffix("*")
    return stem != wide and not _WILD & set(stem) and _literal_start(narrow).startswith(stem)


def _literal_start(pattern: str) -> str:
    """Give what every text that matches a pattern begins with."""
    end = next((index for index, letter in enumerate(pattern) if letter in _WILD), len(pattern))
    return pattern[:end]


def _of_scope(scope: Scope) -> Iterator[Condition]:
    if scope.runbooks:
        yield Patterns(kind="runbook", patterns=scope.runbooks)
    for key, value in scope.labels.items():
        yield Words(kind=f"label {key}", words=frozenset({value}))
    if scope.groups:
        yield Words(kind="group", words=frozenset(scope.groups))


def _of_rule(rule: Rule) -> Iterator[Condition]:
    what, where = rule.what, rule.where
    for kind, patterns in (("runbook", what.runbooks), ("environment", where.environments)):
        if patterns:
            yield Patterns(kind=kind, patterns=patterns)
    if what.modules:
        yield Patterns(kind="module", patterns=what.modules, plain=False)  # a short name may mean a full one
    for key, value in what.labels.items():
        yield Words(kind=f"label {key}", words=frozenset({value}))
    sets = (
        ("role", rule.who.roles),
        ("tag", what.tags),
        ("group", where.groups),
        ("during", rule.when.during),
    )
    for kind, words in sets:
        if words:
            yield Words(kind=kind, words=frozenset(words))
    if rule.who.triggers and not frozenset(rule.who.triggers) >= _TRIGGERS:
        yield Words(kind="trigger", words=frozenset(rule.who.triggers))
    yield from _of_numbers_and_times(rule)


def _of_numbers_and_times(rule: Rule) -> Iterator[Condition]:
    if rule.where.hosts_over is not None:
        yield Over(kind="hosts", limit=rule.where.hosts_over)
    if rule.where.percent_over is not None:
        yield Over(kind="percent", limit=rule.where.percent_over)
    if rule.when.outside:
        yield Words(kind="outside", words=frozenset(rule.when.outside), exact=True)
    budget = rule.when.budget
    if budget is not None:
        yield Words(kind=f"budget {budget.service}", words=frozenset(each.value for each in budget.levels))
    if rule.condition is not None:
        yield Words(kind="if", words=frozenset({rule.condition.text}), exact=True)
