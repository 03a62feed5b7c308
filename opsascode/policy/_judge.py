"""May this plan run now? Guardrails, their rules and the runbook's own blast radius, judged together.

`judge` is the only maker of a `Permit`; whoever acts on one asks `permit_covers` again right before acting. All
reasons for a refusal are given at once, each with the rule and the place in the document that asked for it.

`deny-overrides`: each rule that matches and denies is a reason; what matching rules require holds together. Under
`first-match` the first rule that matches decides alone; one of which nobody can know whether it matches is heard as
well, unless it allows, and the next is asked. `default` decides where no rule matches. What a guardrail requires at its
top holds always.

For many plans, `prepare` first finds the rules that cannot match by one number per fact, whose bits are rules.

Not here: whether one rule matches (`_rule_match`), what is required (`_requirement`), the words (`_rule_words`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

from opsascode.policy._guardrail import PERMIT_LIFETIME, Permit, Reason, Refusal
from opsascode.policy._moment import Moment
from opsascode.policy._requirement import Need, broken, needs_of_rules, own_limits
from opsascode.policy._rule_match import PARTS, Match, in_scope, is_cut, match_part, match_rule, names_budgets, parts_of
from opsascode.policy._rule_words import default_mend, denial
from opsascode.repo import ApprovalsAsked, Combine, Effect, Requirements

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from opsascode.policy._guardrail import Subject
    from opsascode.policy._rule_match import Part
    from opsascode.repo import Guardrail, Policies, Rule

_MOST_REMEMBERED: Final = 50_000
_NOTHING: Final = Requirements()
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Which rules of a guardrail decide about a plan, and whether its default does."""

    deciding: tuple[tuple[Rule, Match], ...]
    by_default: bool


def judge(policies: Policies, subject: Subject, *, now: datetime) -> Permit | Refusal:
    """Decide whether the plan may run; `now` must be aware.

    Raises:
        ValueError: when `now` is naive.
    """
    return prepare(policies, advises=True)(subject, now=now)


def prepare(policies: Policies, *, advises: bool = False) -> Prepared:
    """Make ready to judge many plans.

    Only where it `advises`, it finds out what takes time: what would change an answer, and whether a window that opens
    or closes soon ends a permit early.
    """
    return Prepared(policies, advises=advises)


def approvals_asked(policies: Policies, subject: Subject, now: datetime) -> tuple[ApprovalsAsked, ...]:
    """Say which approvals guardrails ask of a plan: for each role, the largest number that one of them asks."""
    return prepare(policies).approvals_asked(subject, now)


def services_asked(policies: Policies) -> frozenset[str]:
    """Give the services whose error budgets a rule asks for; a condition that names budgets asks for all of them."""
    rules = [rule for guardrail in policies.guardrails for rule in guardrail.rules]
    named = {rule.when.budget.service for rule in rules if rule.when.budget}
    every = {each.service for each in policies.reliability} if any(map(names_budgets, rules)) else set()
    return frozenset(named | every)


def roles_asked(policies: Policies) -> bool:
    """Say whether a rule asks for the roles of who starts the run."""
    rules = [rule for guardrail in policies.guardrails for rule in guardrail.rules]
    return any(rule.who.roles or (rule.condition and "who.roles" in rule.condition.text) for rule in rules)


class Prepared:
    """Guardrails made ready to judge many plans."""

    def __init__(self, policies: Policies, *, advises: bool = False) -> None:
        """Take all rules; nothing is computed before a plan asks for it."""
        self._advises = advises
        self._guardrails = policies.guardrails
        self._calendars = {each.metadata.name: each for each in policies.calendars}
        self._rules = [rule for guardrail in policies.guardrails for rule in guardrail.rules]
        self._masks = [_Masks(part, self._rules) for part in PARTS]
        self._scopes: dict[Hashable, tuple[_Scoped, ...]] = {}
        self._moment = Moment(_NEVER, self._calendars)

    def __call__(self, subject: Subject, *, now: datetime) -> Permit | Refusal:
        """Decide whether a plan may run; `now` must be aware.

        Raises:
            ValueError: when `now` is naive.
        """
        moment = self.moment(now)
        reasons = [*own_limits(subject)]
        scoped = self._scoped(subject)
        for each, ruling in self._rulings(scoped, subject, moment):
            reasons.extend(self._reasons(each.guardrail, ruling, subject, moment))
        if reasons:
            return Refusal(plan_digest=subject.plan_digest, reasons=tuple(reasons), subject=subject)
        return Permit(
            plan_digest=subject.plan_digest,
            guardrails=tuple(each.guardrail.metadata.name for each in scoped),
            issued=now,
            expires=min([now + PERMIT_LIFETIME, *(_ends(scoped, subject, moment) if self._advises else ())]),
            subject=subject,
        )

    def approvals_asked(self, subject: Subject, now: datetime) -> tuple[ApprovalsAsked, ...]:
        """Say which approvals guardrails ask of a plan, by role."""
        most: dict[str, ApprovalsAsked] = {}
        for need in self.needs(subject, now):
            before = most.get(need.asked.role or "")
            if before is None or before.required < need.asked.required:
                most[need.asked.role or ""] = need.asked
        return tuple(most[role] for role in sorted(most))

    def needs(self, subject: Subject, now: datetime) -> tuple[Need, ...]:
        """Give every approval that a guardrail asks of a plan, and who asks it; a prediction and an undo need none."""
        if subject.predicts or subject.undoes:
            return ()
        moment = self.moment(now)
        return tuple(
            need
            for each, ruling in self._rulings(self._scoped(subject), subject, moment)
            for need in needs_of_rules(each.guardrail, [rule for rule, _ in ruling.deciding])
        )

    def moment(self, now: datetime) -> Moment:
        """Give the calendars at a moment; kept while the same moment is asked.

        Raises:
            ValueError: when `now` is naive.
        """
        if now.tzinfo is None:
            msg = "judge needs an aware time"
            raise ValueError(msg)
        if self._moment.now != now:
            self._moment = Moment(now, self._calendars)
            for masks in self._masks:
                masks.forget()
        return self._moment

    def ruling(self, guardrail: Guardrail, subject: Subject, moment: Moment) -> Ruling:
        """Say which rules of a guardrail decide, each of them asked."""
        return _ruling(guardrail, [(rule, parts_of(rule)) for rule in guardrail.rules], subject, moment)

    def _rulings(
        self, scoped: tuple[_Scoped, ...], subject: Subject, moment: Moment
    ) -> Iterator[tuple[_Scoped, Ruling]]:
        """Give the rulings of the guardrails that have something to say about a plan."""
        might = -1
        for masks in self._masks:
            if might and masks.used:
                might &= masks.of(subject, moment)
        cut = is_cut(subject)
        for each in scoped:
            bits = might & each.mask
            if bits or each.always:
                rules = [whole if cut else left for bit, whole, left in each.rules if bits & bit] if bits else []
                yield each, _ruling(each.guardrail, rules, subject, moment)

    def _reasons(self, guardrail: Guardrail, ruling: Ruling, subject: Subject, moment: Moment) -> Iterator[Reason]:
        if guardrail.require != _NOTHING:
            yield from broken(guardrail, guardrail.require, None, subject)
        for rule, match in ruling.deciding:
            if rule.effect is Effect.DENY:
                yield denial(guardrail, rule, match, subject, moment if self._advises else None)
            elif rule.effect is Effect.REQUIRE:
                yield from broken(guardrail, rule.require, rule, subject)
        if ruling.by_default and guardrail.default is Effect.DENY:
            yield Reason(
                code="default",
                message=f"no rule of it allows this run: {guardrail.reason}",
                source=f"guardrail {guardrail.metadata.name}",
                position=guardrail.position,
                mend=default_mend(guardrail, subject, moment) if self._advises else "",
            )

    def _scoped(self, subject: Subject) -> tuple[_Scoped, ...]:
        """Give the guardrails that apply to a plan."""
        key = (subject.runbook, frozenset(subject.labels.items()), subject.groups, subject.partial)
        found = self._scopes.get(key)
        if found is None:
            if len(self._scopes) >= _MOST_REMEMBERED:
                self._scopes.clear()
            found = tuple(
                each for each in self._numbered if each.everywhere or in_scope(each.guardrail.applies_to, subject)
            )
            self._scopes[key] = found
        return found

    @cached_property
    def _numbered(self) -> tuple[_Scoped, ...]:
        numbered, first = [], 0
        for guardrail in self._guardrails:
            numbered.append(_Scoped(guardrail, first))
            first += len(guardrail.rules)
        return tuple(numbered)


class _Scoped:
    """A guardrail and the bits of its rules; `always` tells that it has something to say whatever its rules do."""

    __slots__ = ("always", "everywhere", "guardrail", "mask", "rules", "timely")

    def __init__(self, guardrail: Guardrail, first: int) -> None:
        self.guardrail = guardrail
        self.rules = [(1 << (first + index), *_to_ask(rule)) for index, rule in enumerate(guardrail.rules)]
        self.mask = sum(bit for bit, _, _ in self.rules)
        self.always = guardrail.default is Effect.DENY or guardrail.require != _NOTHING
        scope = guardrail.applies_to
        self.everywhere = not (scope.runbooks or scope.labels or scope.groups)
        self.timely = tuple(
            dict.fromkeys(name for rule in guardrail.rules for name in (*rule.when.during, *rule.when.outside))
        )


def _to_ask(rule: Rule) -> tuple[tuple[Rule, tuple[Part, ...]], tuple[Rule, tuple[Part, ...]]]:
    """Give a rule with all its parts, and with those to ask once its bit says that no part rules it out."""
    parts = parts_of(rule)
    return (rule, parts), (rule, tuple(part for part in parts if part.doubtful))


class _Masks:
    """Which rules one part does not rule out, for each value of what it depends on, or each member of a set."""

    __slots__ = ("_asking", "_known", "_others", "_part", "used")

    def __init__(self, part: Part, rules: list[Rule]) -> None:
        self._part = part
        self._asking = [(1 << index, rule) for index, rule in enumerate(rules) if part.asked(rule)]
        self._others = sum(1 << index for index, rule in enumerate(rules) if not part.asked(rule))
        self._known: dict[Hashable, int] = {}
        self.used = bool(self._asking)

    def of(self, subject: Subject, moment: Moment) -> int:
        part, known = self._part, self._known
        if len(known) >= _MOST_REMEMBERED:
            known.clear()
        if part.members is None:
            key = part.key(subject)
            if key not in known:
                known[key] = self._rules(lambda rule: match_part(part, rule, subject, moment) is not Match.NO)
            return known[key]
        if part.unsure(subject):
            return -1
        found = self._others
        for member in part.members(subject):
            if member not in known:
                known[member] = self._rules(partial(self._means, member))
            found |= known[member]
        return found

    def forget(self) -> None:
        """Forget what depended on the moment."""
        if self._part.timely:
            self._known.clear()

    def _means(self, member: str, rule: Rule) -> bool:
        return self._part.means(rule, member)

    def _rules(self, stays: Callable[[Rule], bool]) -> int:
        return self._others | sum(bit for bit, rule in self._asking if stays(rule))


def _ruling(
    guardrail: Guardrail, rules: Sequence[tuple[Rule, tuple[Part, ...]]], subject: Subject, moment: Moment
) -> Ruling:
    """Let the rules that might match decide; those left out certainly do not match."""
    deciding: list[tuple[Rule, Match]] = []
    for rule, parts in rules:
        match = match_rule(rule, parts, subject, moment)
        if match is Match.NO or (match is Match.UNKNOWN and rule.effect is Effect.ALLOW):
            continue
        deciding.append((rule, match))
        last = match is Match.YES or rule.effect is Effect.DENY
        if last and guardrail.combine is Combine.FIRST_MATCH:
            return Ruling(deciding=tuple(deciding), by_default=False)
    known = any(match is Match.YES or rule.effect is Effect.DENY for rule, match in deciding)
    return Ruling(deciding=tuple(deciding), by_default=not known)


def _ends(scoped: tuple[_Scoped, ...], subject: Subject, moment: Moment) -> list[datetime]:
    """Give when a calendar that was asked opens or closes: a permit does not outlive that."""
    names = [] if subject.undoes else list(dict.fromkeys(name for each in scoped for name in each.timely))
    found = moment.next_change(names, PERMIT_LIFETIME) if names else None
    return [] if found is None else [found]
