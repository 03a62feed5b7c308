"""Scoring a change: fixed and relative bounds, weights, key criteria, and values that are not there."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.errors import Position
from opsascode.policy import CriterionValue, ScoreCard, ScoreVerdict, score
from opsascode.policy._score import bound_problem
from opsascode.repo import Criterion, Scoring

PLACE = Position(path="policies/shop.yml", line=9)


def criterion(name: str, *passes: str, **more: Any) -> Criterion:
    return Criterion(name=name, query="up", passes=passes, position=PLACE, **more)


def scoring(*criteria: Criterion, passes: str = "0.9", warns: str = "0.75", compare_with: int = 3) -> Scoring:
    return Scoring(
        window=timedelta(minutes=10),
        passes=Decimal(passes),
        warns=Decimal(warns),
        compare_with=compare_with,
        criteria=criteria,
    )


def value(text: str | None, why: str = "") -> CriterionValue:
    return CriterionValue(value=None if text is None else Decimal(text), why=why)


def card(found: str | None, *passes: str, earlier: tuple[str, ...] = (), warns: tuple[str, ...] = ()) -> ScoreCard:
    """The score of one criterion, compared with earlier values of it, the newest first."""
    asked = scoring(criterion("latency", *passes, warns=warns))
    return score("shop", asked, {"latency": value(found)}, [{"latency": Decimal(each)} for each in earlier])


@pytest.mark.parametrize(("found", "bounds", "verdict"), [
    ("599", ("<600",), "pass"),
    ("600", ("<600",), "fail"),
    ("600", ("<=600",), "pass"),
    ("600.0000001", ("<=600",), "fail"),
    ("99.9", (">=99.9",), "pass"),
    ("99.89999", (">=99.9",), "fail"),
    ("99.9", (">99.9",), "fail"),
    ("0", ("=0",), "pass"),
    ("0.00", ("=0",), "pass"),
    ("1", ("=0",), "fail"),
    ("300", (">100", "<600"), "pass"),
    ("50", (">100", "<600"), "fail"),
    ("-3", ("<0",), "pass"),
    ("1e400", ("<600",), "fail"),
])  # fmt: skip
def test_fixed_bounds(found: str, bounds: tuple[str, ...], verdict: str) -> None:
    assert card(found, *bounds).verdict.value == verdict


@pytest.mark.parametrize(("found", "bound", "earlier", "verdict"), [
    ("110", "<=+10%", ("100", "100"), "pass"),
    ("110.01", "<=+10%", ("100", "100"), "fail"),
    ("110", "<+10%", ("100",), "fail"),
    ("90", ">=-10%", ("100",), "pass"),
    ("89.9", ">=-10%", ("100",), "fail"),
    ("105", "<=+5", ("100",), "pass"),
    ("105.1", "<=+5", ("100",), "fail"),
    ("95", ">=-5", ("100",), "pass"),
    ("94", ">=-5", ("100",), "fail"),
    ("0", "<=+10%", ("0",), "pass"),
    ("0.1", "<=+10%", ("0",), "fail"),
    ("-95", "<=+10%", ("-100",), "pass"),
    ("-89", "<=+10%", ("-100",), "fail"),
    ("120", "<=+10%", ("100", "120", "110"), "pass"),
    ("121.1", "<=+10%", ("100", "120", "110"), "fail"),
])  # fmt: skip
def test_relative_bounds_are_about_the_mean_of_earlier_passing_scores(
    found: str, bound: str, earlier: tuple[str, ...], verdict: str
) -> None:
    assert card(found, bound, earlier=earlier).verdict.value == verdict


def test_only_the_newest_earlier_scores_count() -> None:
    made = card("110", "<=+10%", earlier=("100", "100", "100", "9000"))
    assert made.verdict is ScoreVerdict.PASS
    assert made.compared_with == 3
    assert made.criteria[0].mean == 100


def test_without_earlier_scores_a_relative_bound_passes_and_says_so() -> None:
    made = card("110", "<=+10%")
    assert made.verdict is ScoreVerdict.PASS
    assert made.criteria[0].said == "110 holds <=+10%; there is no earlier score to compare with, which passes"


def test_an_earlier_score_without_this_criterion_is_not_compared_with() -> None:
    made = score("shop", scoring(criterion("new", "<=+10%")), {"new": value("5")}, [{"old": Decimal(1)}])
    assert made.criteria[0].mean is None
    assert made.verdict is ScoreVerdict.PASS


@pytest.mark.parametrize(("found", "why"), [
    (CriterionValue(value=None, why="no data, or no number"), "there is no value: no data, or no number"),
    (CriterionValue(value=Decimal("NaN")), "there is no value: NaN"),
    (CriterionValue(value=Decimal("Infinity")), "there is no value: Infinity"),
])  # fmt: skip
def test_a_value_that_is_not_there_fails_and_says_so(found: CriterionValue, why: str) -> None:
    made = score("shop", scoring(criterion("latency", "<600")), {"latency": found}, [])
    assert made.verdict is ScoreVerdict.FAIL
    assert made.criteria[0].said == why
    assert made.criteria[0].value is None


def test_a_criterion_that_nobody_measured_fails() -> None:
    made = score("shop", scoring(criterion("latency", "<=+10%")), {}, [])
    assert made.verdict is ScoreVerdict.FAIL
    assert made.criteria[0].said == "there is no value: it was not measured"


def test_a_warning_is_half_of_the_points() -> None:
    made = card("700", "<600", warns=("<800",))
    assert made.criteria[0].verdict is ScoreVerdict.WARN
    assert made.criteria[0].said == "700 does not hold <600, only <800"
    assert made.total == Decimal("0.5")


@pytest.mark.parametrize(("values", "verdict", "total"), [
    ({"a": "1", "b": "1", "c": "1"}, "pass", "1"),
    ({"a": "1", "b": "1", "c": "9"}, "pass", "0.9"),
    ({"a": "1", "b": "9", "c": "1"}, "fail", "0.7"),
    ({"a": "9", "b": "1", "c": "1"}, "fail", "0.4"),
    ({"a": "5", "b": "1", "c": "5"}, "fail", "0.65"),
    ({"a": "1", "b": "5", "c": "1"}, "warn", "0.85"),
    ({"a": "1", "b": "5", "c": "9"}, "warn", "0.75"),
])  # fmt: skip
def test_weights_and_the_bounds_of_the_whole(values: dict[str, str], verdict: str, total: str) -> None:
    asked = scoring(
        *(criterion(each, "<5", warns=("<9",), weight=weight) for each, weight in (("a", 6), ("b", 3), ("c", 1)))
    )
    made = score("shop", asked, {name: value(each) for name, each in values.items()}, [])
    assert (made.verdict.value, made.total) == (verdict, Decimal(total))


def test_a_key_criterion_that_fails_fails_the_whole() -> None:
    asked = scoring(criterion("a", "<5", weight=99), criterion("b", "<5", key=True))
    made = score("shop", asked, {"a": value("1"), "b": value("9")}, [])
    assert made.verdict is ScoreVerdict.FAIL
    assert made.total == Decimal("0.99")
    assert made.said.endswith("it fails as the key criterion b failed")


def test_a_key_criterion_that_warns_does_not_fail_the_whole() -> None:
    asked = scoring(criterion("a", "<5", weight=99), criterion("b", "<5", warns=("<10",), key=True))
    assert score("shop", asked, {"a": value("1"), "b": value("9")}, []).verdict is ScoreVerdict.PASS


@pytest.mark.parametrize("text", ["<600", "<= 600", ">=99.9", "=0", "<=+10%", ">=-10%", "<=+5", ">-5", "<+0.5%"])
def test_what_a_bound_is(text: str) -> None:
    assert bound_problem(text) == ""


@pytest.mark.parametrize("text", ["", "600", "<", "<x", "<10%", "=<5", "<1e3", "<--5", "<=+", "<600ms", "<5;>3"])
def test_what_no_bound_is_and_that_it_never_holds(text: str) -> None:
    assert bound_problem(text)
    assert card("1", text).verdict is ScoreVerdict.FAIL


@given(
    found=st.decimals(allow_nan=True, allow_infinity=True),
    earlier=st.lists(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12)),
    bounds=st.lists(st.sampled_from(["<600", ">=99.9", "<=+10%", ">=-5", "=0"]), min_size=1),
)
def test_whatever_was_measured_there_is_a_score(found: Decimal, earlier: list[Decimal], bounds: list[str]) -> None:
    asked = scoring(criterion("a", *bounds))
    made = score("shop", asked, {"a": CriterionValue(value=found)}, [{"a": each} for each in earlier])
    assert 0 <= made.total <= 1
    assert (made.criteria[0].value is None) == (not found.is_finite())
    assert len(made.criteria[0].said) < 2000
