"""Would a plan that was judged then be let through by other guardrails, and who would have to approve it?

An approval that guardrails ask for is taken as part of a plan made under them, so that what is left of a refusal is
what no approval helps against. The level of a budget that nobody asked for at the time is tried at every level: where
all lead to the same decision, that is the answer; where they do not, the record cannot be replayed.

Not here: judging as such (`_judge`), gates and measurements (`_simulate_slo`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Final

from opsascode.policy._guardrail import BudgetSeen, Refusal
from opsascode.policy._judge import prepare, services_asked
from opsascode.policy._replayed import Answer, ChangeKind, DecidingRule, Difference, RecordKind
from opsascode.policy._requirement import said_approvals
from opsascode.policy._rule_match import in_scope, names_budgets
from opsascode.repo import BudgetLevel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from opsascode.policy._guardrail import Reason, Subject
    from opsascode.policy._replayed import PlanJudged
    from opsascode.policy._requirement import Need
    from opsascode.repo import ApprovalsAsked, Policies, Rule

_MOST_UNKNOWN: Final = 2
_APPROVALS: Final = "approvals"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ruling:
    """What one pack decides about a plan: the reasons of a refusal, and the approvals its guardrails ask for."""

    reasons: tuple[Reason, ...] = ()
    needs: tuple[Need, ...] = ()
    unknown: str = ""

    @property
    def denied(self) -> bool:
        """Whether the plan would not run."""
        return bool(self.reasons)

    @property
    def asked(self) -> frozenset[ApprovalsAsked]:
        """The approvals asked, the largest number for each role."""
        return frozenset(_most(each.asked for each in self.needs))

    @property
    def words(self) -> str:
        """Say it in words."""
        if self.denied:
            return "refused"
        people = " and ".join(sorted(said_approvals(each) for each in self.asked))
        return f"allowed with {people}" if people else "allowed"


class _Pack:
    """The guardrails of one pack, made ready once for many plans."""

    def __init__(self, policies: Policies) -> None:
        self._policies, self._prepared = policies, prepare(policies)
        self._asks_for_budgets = bool(services_asked(policies))
        rules = (rule for guardrail in policies.guardrails for rule in guardrail.rules)
        self._counts_approvals = any("plan.approvals" in rule.condition.text for rule in rules if rule.condition)

    def ruling(self, subject: Subject, at: datetime) -> _Ruling:
        """Decide about a plan, at every level of the budgets that were not recorded."""
        missing = self._missing(subject) if self._asks_for_budgets else ()
        if not missing:
            return self._decide(subject, at)
        unknown = _Ruling(unknown=f"the budget of {' and '.join(missing)} was not recorded then")
        if len(missing) > _MOST_UNKNOWN or any(names_budgets(rule) for rule in self._rules(subject)):
            return unknown
        found = [self._decide(each, at) for each in _every_level(subject, missing)]
        return found[0] if len({(each.denied, each.asked) for each in found}) == 1 else unknown

    def _rules(self, subject: Subject) -> Iterator[Rule]:
        """Give the rules of the guardrails that apply to a plan."""
        for guardrail in self._policies.guardrails:
            if in_scope(guardrail.applies_to, subject):
                yield from guardrail.rules

    def _missing(self, subject: Subject) -> tuple[str, ...]:
        """Name the services whose budgets are asked for and were not recorded; a condition asks for all of them."""
        rules = tuple(self._rules(subject))
        asked = {rule.when.budget.service for rule in rules if rule.when.budget}
        if any(map(names_budgets, rules)):
            asked |= {each.service for each in self._policies.reliability}
        return tuple(sorted(asked - set(subject.budgets)))

    def _decide(self, subject: Subject, at: datetime) -> _Ruling:
        """Decide about a plan: first as one that asks nobody, whose refusal tells whether anybody has to be asked."""
        bare = self._prepared(replace(subject, approvals=()), now=at)
        reasons = bare.reasons if isinstance(bare, Refusal) else ()
        others = tuple(each for each in reasons if each.code != _APPROVALS)
        if len(others) == len(reasons) and not self._counts_approvals:
            return _Ruling(reasons=others)
        needs = self._prepared.needs(subject, now=at)
        if self._counts_approvals:
            made = replace(subject, approvals=_most((*subject.approvals, *(each.asked for each in needs))))
            verdict = self._prepared(made, now=at)
            others = verdict.reasons if isinstance(verdict, Refusal) else ()
        return _Ruling(reasons=others, needs=needs)


class PlanReplay:
    """Judges plans by the current guardrails and by those of a candidate."""

    def __init__(self, current: Policies, candidate: Policies) -> None:
        """Make both ready."""
        self._current, self._candidate = _Pack(current), _Pack(candidate)

    def replay(self, record: PlanJudged) -> Answer:
        """Judge one plan by both."""
        if record.subject is None:
            return Answer(unknown=record.lacking)
        before = self._current.ruling(record.subject, record.at)
        after = self._candidate.ruling(record.subject, record.at)
        if before.unknown or after.unknown:
            return Answer(unknown=before.unknown or after.unknown)
        differences = (*_turned(record, before, after), *_asked_otherwise(record, before, after))
        return Answer(differences=differences, since=tuple(_since(record, before)))


def _turned(record: PlanJudged, before: _Ruling, after: _Ruling) -> Iterator[Difference]:
    """Tell where one side refuses a plan and the other does not."""
    if after.denied and not before.denied:
        yield _difference(record, ChangeKind.NEWLY_DENIED, before.words, after.words, _rules_named(after.reasons))
    elif before.denied and not after.denied:
        rules = _rules_named(before.reasons, gone=True)
        yield _difference(record, ChangeKind.NEWLY_ALLOWED, before.words, after.words, rules)


def _asked_otherwise(record: PlanJudged, before: _Ruling, after: _Ruling) -> Iterator[Difference]:
    """Tell where other people are asked; of a plan that one side refuses, the refusal is what is told."""
    if before.denied or after.denied:
        return
    more, less = _beyond(after, before), _beyond(before, after)
    if more:
        rules = _needs_named(after.needs, more)
        yield _difference(record, ChangeKind.APPROVAL_ADDED, before.words, after.words, rules)
    if less:
        rules = _needs_named(before.needs, less, gone=True)
        yield _difference(record, ChangeKind.APPROVAL_DROPPED, before.words, after.words, rules)


def _rules_named(reasons: Iterable[Reason], *, gone: bool = False) -> tuple[DecidingRule, ...]:
    """Name the rules behind the reasons of a refusal."""
    return tuple(
        DecidingRule(source=each.asked_by, message=each.message, position=each.position, gone=gone) for each in reasons
    )


def _needs_named(
    needs: Iterable[Need], asked: frozenset[ApprovalsAsked], *, gone: bool = False
) -> tuple[DecidingRule, ...]:
    """Name the rules that ask for these approvals."""
    return tuple(
        DecidingRule(
            source=each.source,
            message=f"{said_approvals(each.asked)}: {each.reason}",
            position=each.position,
            gone=gone,
        )
        for each in needs
        if each.asked in asked
    )


def _since(record: PlanJudged, now: _Ruling) -> Iterator[Difference]:
    """Tell where the current guardrails decide otherwise than was decided at the time."""
    refused = record.kind is RecordKind.REFUSAL
    if refused is not now.denied:
        change = ChangeKind.NEWLY_ALLOWED if refused else ChangeKind.NEWLY_DENIED
        yield _difference(record, change, "refused" if refused else "allowed", now.words, _rules_named(now.reasons))


def _difference(
    record: PlanJudged, change: ChangeKind, before: str, after: str, rules: tuple[DecidingRule, ...]
) -> Difference:
    hosts = "1 host" if record.hosts == 1 else f"{record.hosts} hosts"
    return Difference(
        change=change,
        kind=record.kind,
        id=record.id,
        at=record.at,
        about=record.runbook,
        where=f"{hosts} ({record.pattern})" if record.pattern else hosts,
        before=before,
        after=after,
        rules=rules,
    )


def _every_level(subject: Subject, missing: Sequence[str]) -> Iterator[Subject]:
    """Give the subject with every combination of levels for the services whose budgets are not known."""
    for levels in product(BudgetLevel, repeat=len(missing)):
        tried = {service: BudgetSeen(level=level) for service, level in zip(missing, levels, strict=True)}
        yield replace(subject, budgets={**subject.budgets, **tried})


def _most(asked: Iterable[ApprovalsAsked]) -> tuple[ApprovalsAsked, ...]:
    """Give the largest number of approvals for each role."""
    most: dict[str, ApprovalsAsked] = {}
    for each in asked:
        before = most.get(each.role or "")
        if before is None or before.required < each.required:
            most[each.role or ""] = each
    return tuple(most.values())


def _beyond(one: _Ruling, other: _Ruling) -> frozenset[ApprovalsAsked]:
    """Give what one asks people for that the other does not ask, or not as many of them."""
    return frozenset(
        each
        for each in one.asked
        if not any(held.role == each.role and held.required >= each.required for held in other.asked)
    )
