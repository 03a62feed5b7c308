"""Guardrails with rules, and calendars: what was written arrives, and damage is answered with problems."""

from __future__ import annotations

import copy
import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from opsascode.repo import (
    ApprovalsAsked,
    BudgetCondition,
    BudgetLevel,
    Combine,
    Effect,
    Guardrail,
    Requirements,
    Source,
    Unanswerable,
    check_repository,
    load_source,
    open_repository,
)
from opsascode.repo._analysis import analyse
from opsascode.repo._calendar_build import build_calendar
from opsascode.repo._documents import Kind
from opsascode.repo._guardrail_build import build_guardrail
from opsascode.repo._schema import kind_of, schema_problems, validator
from tests.repo.test_mutations import ODD, places

if TYPE_CHECKING:
    from tests.repo.conftest import World

FULL = """\
apiVersion: opsascode/v1
kind: Guardrail
metadata: {name: production}
spec:
  applies_to: {groups: [production], runbooks: ["db-*"], labels: {tier: "1"}}
  require: {clean_tree: true}
  combine: first-match
  default: deny
  rules:
    - name: no-shell
      who: {triggers: [ci, alert], roles: [sre]}
      what: {runbooks: [db-*], labels: {a: b}, tags: [fast], modules: [shell, raw]}
      where: {groups: [web], environments: [lab], hosts_over: 3, percent_over: 12.5%}
      when: {during: [freeze], outside: [hours], budget: {service: checkout, levels: [critical, no_data]}}
      if: plan.hosts > 3 && !plan.dirty
      then: deny
      reason: Commands are reviewed.
    - name: two-people
      then: require
      require: {approvals: {required: 2, role: sre}, check_only: true, max_hosts: 5, max_percent: 10, triggers: [manual]}
    - {name: rest, then: allow}
  reason: Production is changed with care.
"""
CALENDAR = """\
apiVersion: opsascode/v1
kind: Calendar
metadata: {name: freeze, title: Nobody is there}
spec:
  timezone: Europe/Berlin
  windows:
    - {name: xmas, start: 2026-12-20T18:00, end: 2027-01-04T06:00, rrule: FREQ=YEARLY, reason: quiet}
    - {name: move, start: 2026-06-01T09:00:30, duration: 90m}
    - {name: nights, days: [thu, mon], from: "22:00", to: "06:00"}
    - {name: sundays, days: [sun], from: "00:00", to: "24:00"}
"""
HOURS = CALENDAR.replace("freeze", "hours")


def built(text: str = FULL) -> Guardrail:
    document = load_source(text.encode(), "policies/a.yml").documents[0]
    assert analyse(text.encode(), "policies/a.yml").problems == ()
    return build_guardrail(document, Source.of("policies/a.yml", text.encode()))


def test_a_guardrail_with_rules_arrives_whole() -> None:
    found = built()
    assert (found.combine, found.default) == (Combine.FIRST_MATCH, Effect.DENY)
    assert found.require == Requirements(clean_tree=True)
    first, second, last = found.rules
    assert (first.who.triggers, first.who.roles) == (("ci", "alert"), ("sre",))
    assert (first.what.runbooks, first.what.labels, first.what.tags) == (("db-*",), {"a": "b"}, ("fast",))
    assert first.what.modules == ("shell", "raw")
    assert (first.where.groups, first.where.environments) == (("web",), ("lab",))
    assert (first.where.hosts_over, first.where.percent_over) == (3, Decimal("12.5"))
    assert (first.when.during, first.when.outside) == (("freeze",), ("hours",))
    assert first.when.budget == BudgetCondition(service="checkout", levels=(BudgetLevel.CRITICAL, BudgetLevel.NO_DATA))
    assert first.condition is not None
    assert first.condition.text == "plan.hosts > 3 && !plan.dirty"
    assert str(first.condition.position) == "policies/a.yml:15:11"
    assert (first.effect, first.reason, str(first.position)) == (
        Effect.DENY, "Commands are reviewed.", "policies/a.yml:10:7",
    )  # fmt: skip
    assert second.require == Requirements(
        max_hosts=5, max_percent=Decimal(10), triggers=("manual",), check_only=True,
        approvals=ApprovalsAsked(required=2, role="sre"),
    )  # fmt: skip
    assert (second.effect, second.reason, second.condition) == (Effect.REQUIRE, found.reason, None)
    assert (last.effect, last.require) == (Effect.ALLOW, Requirements())


def test_what_is_not_written_is_as_it_is_said_to_be() -> None:
    found = built(
        "{apiVersion: opsascode/v1, kind: Guardrail, metadata: {name: a}, spec: {rules: [{name: a, then: deny}], reason: x}}"
    )
    assert (found.combine, found.default, found.require) == (Combine.DENY_OVERRIDES, Effect.ALLOW, Requirements())


def test_a_calendar_arrives_whole(world: World) -> None:
    root = world({"policies/freeze.yml": CALENDAR})
    assert check_repository(open_repository(root)).problems == ()
    (found,) = open_repository(root).policies().calendars
    xmas, move, nights, sundays = found.windows
    assert (found.metadata.title, found.timezone) == ("Nobody is there", "Europe/Berlin")
    assert (xmas.rule, xmas.reason, xmas.end - xmas.start) == ("FREQ=YEARLY", "quiet", timedelta(days=14, hours=12))
    assert (str(move.start), move.end - move.start) == ("2026-06-01 09:00:30", timedelta(minutes=90))
    assert (nights.weekdays, nights.end - nights.start) == ((0, 3), timedelta(hours=8))
    assert (sundays.weekdays, sundays.end - sundays.start) == ((6,), timedelta(days=1))
    opened = found.open_at(datetime(2030, 12, 24, tzinfo=UTC))
    assert opened is not None
    assert (opened.window, opened.reason) == ("xmas", "quiet")


def test_a_rule_may_name_the_calendars_that_are_there(world: World) -> None:
    text = FULL.replace(", budget: {service: checkout, levels: [critical, no_data]}", "")
    files = {"policies/a.yml": text, "policies/b.yml": CALENDAR, "policies/c.yml": HOURS}
    assert check_repository(open_repository(world(files))).problems == ()
    del files["policies/c.yml"]
    (world({}) / "policies/c.yml").unlink()
    (problem,) = check_repository(open_repository(world(files), tolerant=True)).problems
    assert (problem.code, str(problem.position)) == ("unknown-calendar", "policies/a.yml:14:42")


WHOLE = {Kind.GUARDRAIL: yaml.safe_load(FULL), Kind.CALENDAR: yaml.load(CALENDAR, yaml.BaseLoader)}  # noqa: S506 - makes texts only
MORE: list[Any] = [
    *ODD, "deny", "require", "first-match", "plan.hosts > ", "FREQ=DAILY", "FREQ=DAILY;COUNT=999999999", "24:00",
    "2026-02-30T10:00", "9999-12-31T23:59", "0001-01-01T00:00", "999999999d", "Europe/Nowhere", "mon", ["mon"],
    {"required": 3}, "plan.groups.map(a, a + a).size() > 0", "\n", "é" * 3,
]  # fmt: skip
WORDS = ("if", "then", "require", "rrule", "start", "end", "duration", "days", "from", "to", "name", "combine", "rules")


def damaged(kind: Kind, chance: random.Random) -> bytes:
    value = copy.deepcopy(WHOLE[kind])
    for _ in range(chance.randint(1, 4)):
        container, key = chance.choice(places(value) or [({}, "x")])
        deed = chance.random()
        if deed < 0.5:
            container[key] = copy.deepcopy(chance.choice(MORE))
        elif deed < 0.7 and key in (container if isinstance(container, dict) else range(len(container))):
            del container[key]
        elif isinstance(container, dict):
            container[chance.choice(WORDS)] = copy.deepcopy(chance.choice(MORE))
    return json.dumps(value, ensure_ascii=False).encode()


@settings(max_examples=60)
@pytest.mark.parametrize("kind", [*WHOLE], ids=lambda each: each.value)
@given(seed=st.integers())
def test_damage_is_answered_with_problems_and_what_has_none_can_be_used(kind: Kind, seed: int) -> None:
    data = damaged(kind, random.Random(seed))  # noqa: S311 - damage, not secrets
    facts = analyse(data, "policies/x.yml")
    for document in load_source(data, "policies/x.yml").documents:
        if kind_of(document) is not kind:
            continue
        errors = list(validator(kind).iter_errors(document.value))
        assert bool(errors) == bool(schema_problems(document))
        if facts.problems:
            continue
        source = Source.of("policies/x.yml", data)
        if kind is Kind.CALENDAR:
            found = build_calendar(document, source)
            found.open_at(datetime(2026, 12, 24, tzinfo=UTC))
            assert found.occurrences(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)) is not None
        else:
            for rule in build_guardrail(document, source).rules:
                assert rule.condition is None or isinstance(rule.condition.holds({}), bool | Unanswerable)
