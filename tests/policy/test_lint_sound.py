"""What is reported as shadowed or unreachable never changes any judgement: it is taken out, and every plan is judged again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from opsascode.errors import Position
from opsascode.policy import BlastRadius, BudgetSeen, Permit, Prepared, Subject, Trigger, lint, prepare
from opsascode.policy._implies import conditions_of, covers, implies
from opsascode.repo import (
    ApprovalNeeded,
    ApprovalsAsked,
    BudgetCondition,
    BudgetLevel,
    Calendar,
    CalendarWindow,
    Combine,
    Condition,
    Effect,
    Guardrail,
    Metadata,
    Policies,
    Requirements,
    Rule,
    Runbook,
    Scope,
    Source,
    Targets,
    What,
    When,
    Where,
    Who,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.repo import Problem

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # a Saturday
SOURCE = Source(path="policies/x.yml", digest="sha256:00")
HERE = Position(path="policies/x.yml", line=1, column=1)
NAMES = ("disk-a", "disk-b", "cache-a")
LABELS = ({"tier": "gold"}, {"tier": "tin"}, {})


def metadata(name: str, labels: dict[str, str] | None = None) -> Metadata:
    return Metadata(name=name, title=name, labels=labels or {}, position=HERE)


def some(dice: Random, *words: str) -> tuple[str, ...]:
    """None of the words mostly, else one or two."""
    return () if dice.random() < 0.5 else tuple(dice.sample(words, min(len(words), dice.randint(1, 2))))


def requirements(dice: Random) -> Requirements:
    return Requirements(
        clean_tree=dice.random() < 0.5,
        max_hosts=dice.choice([None, None, 2, 5]),
        max_percent=dice.choice([None, None, Decimal(10), Decimal(50)]),
        triggers=dice.choice([(), (), ("manual",), ("ci", "alert")]),
        check_only=dice.random() < 0.3,
        approvals=dice.choice([None, None, ApprovalsAsked(required=1), ApprovalsAsked(required=2, role="sre")]),
    )


def patterns(dice: Random) -> tuple[str, ...]:
    return some(dice, "disk-a", "disk-*", "cache-?", "*", "other")


def labelled(dice: Random) -> dict[str, str]:
    return dice.choice([{}, {}, {}, {"tier": "gold"}, {"tier": "none"}])


CONDITIONS = ("plan.hosts > 2", "plan.labels['tier'] == 'gold'", "now.getHours() > 5")
LEVELS = ((BudgetLevel.WARN,), tuple(BudgetLevel))


def rule_of(dice: Random, line: int) -> Rule:
    """A rule with few parts, as people write them: most of what can be shadowed is."""
    kept = set(dice.sample(["who", "what", "where", "when", "if"], dice.choice([0, 1, 1, 2, 2, 5])))
    effect = dice.choice(list(Effect))
    who = Who(triggers=some(dice, "manual", "ci", "alert"), roles=some(dice, "sre", "dba"))
    what = What(
        runbooks=patterns(dice),
        labels=labelled(dice),
        tags=some(dice, "risky", "slow"),
        modules=some(dice, "shell", "ansible.builtin.*", "community.general.ufw", "*"),
    )
    where = Where(
        groups=some(dice, "web", "db"),
        environments=some(dice, "prod", "pr*"),
        hosts_over=dice.choice([None, None, 1, 4, 5]),
        percent_over=dice.choice([None, None, Decimal(20), Decimal(60), Decimal(100)]),
    )
    budget = BudgetCondition(service="shop", levels=dice.choice(LEVELS)) if dice.random() < 0.4 else None
    when = When(during=some(dice, "weekend", "old"), outside=some(dice, "weekend", "old"), budget=budget)
    return Rule(
        name=f"rule-{line}",
        who=who if "who" in kept else Who(),
        what=what if "what" in kept else What(labels={}),
        where=where if "where" in kept else Where(),
        when=when if "when" in kept else When(),
        condition=Condition(text=dice.choice(CONDITIONS), position=HERE) if "if" in kept else None,
        effect=effect,
        require=requirements(dice) if effect is Effect.REQUIRE else Requirements(),
        reason="because",
        position=replace(HERE, line=line),
    )


def policies_of(dice: Random) -> Policies:
    guardrails = []
    for index in range(dice.randint(1, 3)):
        first = 100 * index + 1
        guardrails.append(
            Guardrail(
                metadata=metadata(f"guard-{index}"),
                applies_to=Scope(runbooks=patterns(dice), labels=labelled(dice), groups=some(dice, "web")),
                require=requirements(dice) if dice.random() < 0.4 else Requirements(),
                combine=dice.choice(list(Combine)),
                default=dice.choice([Effect.ALLOW, Effect.DENY]),
                rules=tuple(rule_of(dice, first + number) for number in range(1, dice.randint(1, 5))),
                reason="because",
                source=SOURCE,
                position=replace(HERE, line=first),
            )
        )
    return Policies(guardrails=tuple(guardrails), calendars=CALENDARS)


def calendar(name: str, window: CalendarWindow) -> Calendar:
    return Calendar(metadata=metadata(name), timezone="Europe/Berlin", windows=(window,), source=SOURCE, position=HERE)


CALENDARS = (
    calendar(
        "weekend",
        CalendarWindow(
            name="w",
            start=datetime(2026, 1, 3),  # noqa: DTZ001 - wall-clock time
            end=datetime(2026, 1, 4),  # noqa: DTZ001 - wall-clock time
            weekdays=(5, 6),
            position=HERE,
        ),
    ),
    calendar(
        "old",
        CalendarWindow(name="o", start=datetime(2020, 1, 1), end=datetime(2020, 1, 2), position=HERE),  # noqa: DTZ001 - wall-clock time
    ),
)

RUNBOOKS = tuple(
    Runbook(
        metadata=metadata(name, labels),
        targets=Targets(hosts="all", waves=(), position=HERE),
        approval=ApprovalNeeded(),
        steps=(),
        source=SOURCE,
        position=HERE,
    )
    for name, labels in zip(NAMES, LABELS, strict=True)
)


def chosen(dice: Random, *words: str) -> frozenset[str]:
    return frozenset(each for each in words if dice.random() < 0.5)


def subject_of(dice: Random) -> Subject:
    runbook = dice.choice(RUNBOOKS)
    total = dice.randint(1, 12)
    return Subject(
        plan_digest="sha256:aa",
        runbook=runbook.name,
        labels=runbook.metadata.labels,
        blast_radius=BlastRadius(),
        host_count=dice.randint(0, total),
        inventory_total=total,
        groups=chosen(dice, "web", "db"),
        dirty=dice.random() < 0.5,
        trigger=dice.choice(list(Trigger)),
        environments=chosen(dice, "prod", "pre", "test"),
        tags=chosen(dice, "risky", "slow"),
        modules=chosen(dice, "shell", "ansible.builtin.shell", "ufw", "community.general.ufw"),
        opaque=dice.choice([(), (), ("a role",)]),
        roles=chosen(dice, "sre", "dba"),
        predicts=dice.random() < 0.3,
        undoes=dice.random() < 0.3,
        approvals=dice.choice([(), (ApprovalsAsked(required=2, role="sre"),)]),
        budgets=dice.choice([{}, *({"shop": BudgetSeen(level=each)} for each in (BudgetLevel.WARN, BudgetLevel.OK))]),
    )


TAKEN_OUT = ("rule-shadowed", "rule-unreachable", "guardrail-shadowed")


def without(whole: Policies, problem: Problem) -> Policies:
    """Take out the rule or guardrail that a problem is about."""
    kept = []
    for guardrail in whole.guardrails:
        if guardrail.position == problem.position and problem.code == "guardrail-shadowed":
            continue
        kept.append(
            replace(guardrail, rules=tuple(each for each in guardrail.rules if each.position != problem.position))
        )
    return replace(whole, guardrails=tuple(kept))


def reported(whole: Policies) -> Iterator[Problem]:
    found = lint(whole, RUNBOOKS, None, now=NOW)
    yield from (each for each in found if each.code in TAKEN_OUT)


@settings(max_examples=60)
@given(st.integers(0, 2**64))
def test_what_is_reported_changes_no_judgement(seed: int) -> None:
    dice = Random(seed)  # noqa: S311 - chance for a test, no secret
    for whole in (policies_of(dice) for _ in range(10)):
        for problem in reported(whole):
            before, after = prepare(whole), prepare(without(whole, problem))
            for plan in (subject_of(dice) for _ in range(12)):
                if plan.undoes and problem.code == "rule-unreachable":
                    continue  # an undo is never held up by time: a rule about no time at all may still allow one
                now = NOW + timedelta(days=dice.choice([0, 2]))
                verdicts = [isinstance(each(plan, now=now), Permit) for each in (before, after)]
                assert verdicts[0] is verdicts[1], (problem, plan)


@settings(max_examples=40)
@given(st.integers(0, 2**64))
def test_a_rule_that_is_implied_matches_whenever_the_other_does(seed: int) -> None:
    dice = Random(seed)  # noqa: S311 - chance for a test, no secret
    for _ in range(30):
        narrow, wide = rule_of(dice, 2), rule_of(dice, 3)
        scope = Guardrail(
            metadata=metadata("g"),
            applies_to=Scope(labels={}),
            require=Requirements(),
            rules=(narrow, wide),
            reason="r",
            source=SOURCE,
            position=HERE,
        )
        if not implies(conditions_of(scope, narrow), conditions_of(scope, wide)):
            continue
        alone = [_only(scope, replace(each, effect=Effect.ALLOW, condition=None)) for each in (narrow, wide)]
        for plan in (subject_of(dice) for _ in range(10)):
            passes = [isinstance(each(plan, now=NOW), Permit) for each in alone]
            assert passes[1] or not passes[0], (narrow, wide, plan)


def _only(guardrail: Guardrail, rule: Rule) -> Prepared:
    """Let one rule alone allow."""
    alone = replace(guardrail, rules=(rule,), default=Effect.DENY)
    return prepare(Policies(guardrails=(alone,), calendars=CALENDARS))


@given(st.text("ab-*?[", max_size=6), st.text("ab-*?[", max_size=6), st.text("ab-[", max_size=6))
def test_a_pattern_that_covers_matches_whatever_the_other_does(wide: str, narrow: str, name: str) -> None:
    if covers(wide, narrow) and fnmatchcase(name, narrow):
        assert fnmatchcase(name, wide)


@settings(max_examples=40)
@given(st.integers(0, 2**64))
def test_a_runbook_out_of_reach_is_refused_whatever_the_plan(seed: int) -> None:
    dice = Random(seed)  # noqa: S311 - chance for a test, no secret
    for whole in (policies_of(dice) for _ in range(10)):
        found = [each for each in lint(whole, RUNBOOKS, None, now=NOW) if each.code == "runbook-out-of-reach"]
        lost = {name for each in found for name in NAMES if f"«{name}»" in each.message.partition(":")[0]}
        judged = prepare(whole)
        for plan in (subject_of(dice) for _ in range(10)):
            if plan.runbook in lost:
                assert not isinstance(judged(plan, now=NOW), Permit)
