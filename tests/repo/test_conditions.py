"""What does a condition answer, where has it none, and can it take long? The library is the real one."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsascode.errors import Position
from opsascode.repo import FACTS, Condition, Facts, Unanswerable, condition_problem
from opsascode.repo import _conditions as room

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KNOWN: dict[str, Any] = {
    "plan.runbook": "restart",
    "plan.labels": {"tier": "1"},
    "plan.hosts": 4,
    "plan.total": 16,
    "plan.percent": Decimal(25),
    "plan.groups": frozenset({"web", "production"}),
    "plan.environments": ("lab",),
    "plan.tags": [],
    "plan.modules": ["ansible.builtin.shell"],
    "plan.opaque": False,
    "plan.dirty": True,
    "plan.predicts": False,
    "plan.approvals": 0,
    "who.trigger": "ci",
    "who.account": "alice",
    "who.roles": ("sre",),
    "now": NOW,
    "budget.level": {"checkout": "critical"},
    "budget.consumed": {"checkout": Decimal("0.875")},
}


def asked(text: str, facts: Facts | dict[str, Any] | None = None) -> bool | Unanswerable:
    condition = Condition(text=text, position=Position(path="policies/a.yml"))
    return condition.holds(KNOWN if facts is None else facts)


ANSWERS = {
    "plan.hosts > 3 && plan.total == 16": True,
    "plan.percent >= 25.0": True,
    "plan.percent < double(plan.hosts)": False,
    "'production' in plan.groups && !('lab' in plan.groups)": True,
    "plan.groups.exists(each, each.startsWith('prod'))": True,
    "plan.groups.all(each, each != 'lab')": True,
    "plan.groups.filter(each, each.contains('o')).size() == 1": True,
    "['web', 'db'].exists_one(each, each in plan.groups)": True,
    "has(plan.labels.tier) && plan.labels.tier == '1'": True,
    "plan.labels['tier'] == '2'": False,
    "'zone' in plan.labels && plan.labels.zone == 'a'": False,
    "plan.modules.exists(each, each.matches('(^|[.])(shell|raw)$'))": True,
    "who.trigger == 'ci' ? plan.dirty : plan.opaque": True,
    "now > timestamp('2026-11-21T11:59:59Z') && now < timestamp('2026-11-21T13:00:00+00:30')": True,
    "now.getHours('Europe/Berlin') == 13 && now.getDayOfWeek() == 6": True,
    "now - duration('1h') < timestamp('2026-11-21T11:30:00Z')": True,
    "budget.level.checkout in ['critical', 'exhausted']": True,
    "budget.consumed['checkout'] > 0.875": False,
    "'plan.groups' == plan.runbook // no fact, but a text": False,
    "plan.tags == []": True,
}


@pytest.mark.parametrize("text", ANSWERS)
def test_conditions_are_answered(text: str) -> None:
    assert condition_problem(text) is None
    assert asked(text) is ANSWERS[text]
    assert asked(text, Facts(KNOWN)) is ANSWERS[text]


def test_every_fact_can_be_asked_for_and_no_other() -> None:
    assert FACTS.keys() == KNOWN.keys()
    for name in FACTS:
        condition = Condition(text=f"{name} == {name}", position=Position(path="a.yml"))
        assert condition.reads == {name}
        assert condition.holds(KNOWN) is True


UNANSWERED = {
    "plan.labels.zone == 'a'": 'there is no key "zone"',
    "budget.level['other'] == 'ok'": 'there is no key "other"',
    "10 / plan.approvals > 1": "divide by zero",
    "plan.tags[0] == 'x'": "Index error: index=0 size=0",
    "plan.hosts + 9223372036854775807 > 0": "integer overflow",
    "int(plan.runbook) > 3": "cannot convert string to int",
}  # fmt: skip


@pytest.mark.parametrize("text", UNANSWERED)
def test_where_there_is_no_answer_the_reason_is_one(text: str) -> None:
    found = asked(text)
    assert isinstance(found, Unanswerable)
    assert UNANSWERED[text] in found.reason


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, "nobody knows plan.hosts of this plan"),
        ({"plan.hosts": None}, "nobody knows plan.hosts of this plan"),
        ({"plan.hosts": "4"}, "Unexpected value type for 'plan.hosts': str. (Expected INT)"),
        ({"plan.hosts": 2**70}, "int too big to convert"),
    ],
)
def test_a_fact_that_is_missing_or_is_none_has_no_answer(facts: dict[str, Any], reason: str) -> None:
    assert asked("plan.hosts > 3", facts) == Unanswerable(reason=reason)


def test_a_time_without_a_zone_is_not_known() -> None:
    found = asked("now < timestamp('2027-01-01T00:00:00Z')", {"now": NOW.replace(tzinfo=None)})
    assert found == Unanswerable(reason="nobody knows now of this plan")


def test_what_does_not_decide_need_not_be_known() -> None:
    assert asked("plan.dirty || plan.labels.zone == 'a'") is True
    assert asked("plan.labels.zone == 'a' || plan.dirty") is True


FAULTS = {
    "plan.hst > 3": (1, 1, "there is no fact «plan.hst»", "did you mean «plan.hosts»?"),
    "plan.dirty && plan.hst > 3": (1, 15, "there is no fact «plan.hst»", "did you mean «plan.hosts»?"),
    "plan.dirty &&\n  wo.trigger == 'ci'": (2, 3, "there is no fact «wo.trigger»", "did you mean «who.trigger»?"),
    "'ü' == hosts": (1, 8, "there is no fact «hosts»", "did you mean «plan.hosts»?"),
    "plan.hosts > 3.0": (1, 12, "«>» cannot stand between int and double", "write 3.0 where a double is meant, or convert: double(…), int(…)"),
    "plan.labels > 3": (1, 13, "«>» cannot stand between map(string, string) and int", ""),
    "now > 3": (1, 5, "«>» cannot stand between timestamp and int", 'write a time as timestamp("2026-12-31T00:00:00Z")'),
    "3 in plan.groups": (1, 3, "«in» cannot stand between int and list(string)", ""),
    "plan.hosts[0] == 1": (1, 11, "«[ ]» cannot stand between int and int", ""),
    "!plan.hosts": (1, 1, "«!» cannot stand before int", ""),
    "plan.hosts": (1, 1, "a condition must be true or false, not int", "compare it with something, such as == or >"),
    "dyn(plan.dirty)": (1, 1, "a condition must be true or false, not a value of any type", "compare it with something, such as == or >"),
    "plan.hosts = 3": (1, 12, "the condition cannot be read at «=»", "compare with =="),
    "plan.dirty and plan.opaque": (1, 12, "the condition cannot be read at «and»", "write && for and"),
    "plan.hosts >": (1, 13, "the condition ends where more must follow", ""),
    "plan.runbook == 'a": (1, 17, "a quoted text is not closed", "write its closing quote"),
    "plan.runbook.lower() == 'a'": (1, 14, "there is no function «lower»", None),
    "plan.groups.exists(each)": (1, 13, "«exists» is not written as it must be", None),
    "(" * 40 + "true" + ")" * 40: (1, 1, "the condition nests too deeply", "make several rules of it"),
    "plan.dirty" + " || plan.dirty" * 200: (1, 1, "the condition is longer than 2000 characters", ""),
    "plan.runbook.matches('(')": (1, 1, "the condition never has an answer: invalid regular expression: missing ): (", ""),
    "now.getHours('Europe/Nowhere') > 1": (1, 1, "the condition never has an answer: Invalid timezone", ""),
    " && ".join(["!plan.runbook.matches('(a?){1000}')"] * 40): (1, 1, "the condition never has an answer: it looks at too much, with facts as many as these", ""),
    "plan.runbook.matches('(' + plan.runbook)": (1, 21, "the pattern of matches is not written out, so it may be any", "write it as one text"),
    "plan.groups.map(each, each + each).size() > 1": (1, 16, "it makes a list of new values, which may be of any size", "go around a fact: exists, all, exists_one or filter"),
    "[plan.runbook + 'x'].exists(each, each == 'x')": (1, 28, "it goes around what it has made itself, which may be of any size", "go around a fact: exists, all, exists_one or filter"),
}  # fmt: skip


@pytest.mark.parametrize("text", FAULTS, ids=lambda each: each[:40])
def test_a_fault_is_said_at_its_place_with_what_to_type(text: str) -> None:
    fault = condition_problem(text)
    assert fault is not None
    line, column, message, mend = FAULTS[text]
    assert (fault.line, fault.column, fault.message) == (line, column, message)
    assert mend is None or fault.mend == mend
    answer = asked(text)
    assert isinstance(answer, Unanswerable)  # nor can it be asked


@given(st.text() | st.lists(st.sampled_from([*FACTS, "(", ")", "[", "]", " && ", "!", ".exists(e, ", "e", " == ", "'", '"', "1", ", ", ".size()", " ? ", " : ", "\n"])).map("".join))  # fmt: skip
def test_any_text_is_a_condition_or_has_a_fault_within_it(text: str) -> None:
    fault = condition_problem(text)
    lines = text.split("\n")
    assert fault is None or (1 <= fault.line <= len(lines) and 1 <= fault.column <= len(lines[fault.line - 1]) + 1)
    assert isinstance(asked(text), bool | Unanswerable)


LOOPS = {
    "lists that double": "[[1]]" + ".map(a, [a, a])" * 27 + " == []",
    "texts that double": "['aaaaaaaa']" + ".map(a, a + a)" * 27 + "[0].matches('^(a|b)*c$')",
    "hidden in a filter": "plan.groups.filter(a, ['x'].map(b, b + b)"
    + ".map(c, c + c)" * 20
    + ".size() > 0).size() > 0",
    "hidden in a written list": "[['a'].map(b, b + b)" + ".map(c, c + c)" * 20 + "].size() > 0",
    "hidden in a written map": "{'k': ['a'].map(b, b + b)" + ".map(c, c + c)" * 20 + "}.size() > 0",
    "bound by exists": "['a'].exists(a, [a + a].exists(b, [b + b].exists(c, [c + c].exists(d, d == 'x'))))",
}
GOING_AROUND = {
    "list by list": "plan.groups.all(a, plan.groups.all(b, plan.groups.all(c, a + b + c != '')))",
    "looking through lists": "plan.groups.all(a, " + " && ".join(["!(a + 'x' in plan.groups)"] * 60) + ")",
    "comparing lists": "plan.groups.all(a, " + " && ".join(["plan.groups == plan.groups"] * 60) + ")",
    "one after another": " && ".join(["plan.groups.all(a, a != 'x')"] * 60),
    "a long text": "plan.groups.all(a, plan.runbook.matches('(x+x+)+y'))",
    "patterns": "plan.groups.all(a, !a.matches('(a?){1000}zz'))",
    "many patterns": "plan.groups.all(a, " + " && ".join(["!a.matches('(a?){1000}zz')"] * 18) + ")",
    "long patterns": "plan.groups.all(a, !a.matches('(" + "|".join(f"abc{number}" for number in range(180)) + ")z'))",
    "patterns of many letters": "plan.groups.all(a, !a.matches('" + "\\\\pL" * 90 + "z'))",
    "a written list": f"[{', '.join(['1'] * 400)}].all(a, {' && '.join(['!(string(a) in plan.groups)'] * 20)})",
}


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS)
def test_what_grows_on_the_way_is_refused_before_it_is_asked(text: str) -> None:
    begun = time.perf_counter()
    fault = condition_problem(text)
    assert fault is not None
    assert "of any size" in fault.message
    assert isinstance(asked(text), Unanswerable)
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("text", GOING_AROUND.values(), ids=GOING_AROUND)
@pytest.mark.parametrize("groups", [10, 1_000, 100_000])
def test_no_condition_takes_long_however_large_its_facts(text: str, groups: int) -> None:
    facts = {"plan.groups": [f"group-{number}" for number in range(groups)], "plan.runbook": "x" * 100_000}
    begun = time.perf_counter()
    assert isinstance(asked(text, facts), bool | Unanswerable)
    assert time.perf_counter() - begun < 5


def test_a_condition_may_go_around_the_facts_of_a_large_plan() -> None:
    facts = {"plan.groups": [f"group-{number}" for number in range(1_000)], "who.roles": ["sre", "dev"]}
    assert asked("who.roles.exists(role, role in plan.groups)", facts) is False
    assert asked("plan.groups.exists(each, each == 'group-999')", facts) is True


CONDITIONS = [
    *ANSWERS, "plan.labels.tier == '1'", "plan.hosts > plan.total", "plan.groups == ['a']", "plan.hosts == 1",
    "budget.consumed.checkout > 0.5", "now.getHours() == 12",
]  # fmt: skip
WORDS = st.sampled_from(["a", "web", "production", "1"])
SOME_FACTS = st.fixed_dictionaries(
    {},
    optional={
        "plan.hosts": st.sampled_from([0, 1, True, False, 1.0, "1", None]),
        "plan.total": st.integers(0, 3),
        "plan.percent": st.sampled_from([25, 25.0, Decimal(25), 1]),
        "plan.groups": st.lists(WORDS) | st.frozensets(WORDS) | st.lists(WORDS).map(tuple),
        "plan.labels": st.dictionaries(st.sampled_from(["tier", "zone"]), WORDS),
        "plan.dirty": st.booleans(),
        "plan.opaque": st.booleans(),
        "who.trigger": st.sampled_from(["ci", "manual"]),
        "now": st.sampled_from([NOW, NOW.astimezone(timezone(timedelta(hours=5))), NOW + timedelta(hours=1)]),
        "budget.consumed": st.dictionaries(st.just("checkout"), st.sampled_from([Decimal("0.5"), 0.5, 0.75, 1])),
    },
)


@settings(max_examples=50)
@given(st.lists(SOME_FACTS, min_size=2, max_size=6))
def test_what_is_remembered_is_what_would_be_answered(many: list[dict[str, Any]]) -> None:
    for facts in many:
        shared = Facts(facts)
        for text in CONDITIONS:
            remembered = asked(text, shared)
            compiled = room._compiled(text)
            assert isinstance(compiled, room._Compiled)
            assert remembered == room._asked(compiled, Facts(facts))


def test_ten_thousand_answers_take_a_moment() -> None:
    conditions = [f"plan.hosts > {number} && 'web' in plan.groups" for number in range(100)]
    begun = time.perf_counter()
    for number in range(100):
        shared = Facts({**KNOWN, "plan.hosts": number})
        assert sum(asked(text, shared) is True for text in conditions) == number
    assert time.perf_counter() - begun < 5


@pytest.fixture
def no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation without the extra."""
    for name in ("cel_expr_python", "cel_expr_python.cel"):
        monkeypatch.setitem(sys.modules, name, None)
    room._compiled.cache_clear()
    room._environment.cache_clear()
    yield
    monkeypatch.undo()
    room._compiled.cache_clear()
    room._environment.cache_clear()


@pytest.mark.usefixtures("no_library")
def test_without_the_library_nothing_is_answered_and_it_is_said_what_to_install() -> None:
    fault = condition_problem("plan.hosts > 3")
    assert fault is not None
    assert "pip install 'opsascode[reliability]'" in fault.message
    assert asked("plan.hosts > 3") == Unanswerable(reason=fault.message)
