"""The gate as a pure decision: a table of what it says, what it never says, and what an override lets through."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from opsascode.errors import UsageError
from opsascode.policy import GateOverride, GateQuestion, NoPolicyError, Verdict, decide_gate
from opsascode.repo import parse_duration
from tests.policy.gates import NOW, document, incident, measured, policies, question

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[1] / "cases" / "gate" / "verdicts.yml").read_text("utf-8")
)
CRITICAL = {"availability": {"bad": 84, "total": 100000}}
LONG = f"the change '{'x' * 100}'…"
FINE = {"availability": {"bad": 1, "total": 100000}}


def ago(text: str) -> timedelta:
    return -parse_duration(text[1:]) if text.startswith("-") else parse_duration(text)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"].replace(" ", "-"))
def test_what_a_gate_says(case: dict[str, Any]) -> None:
    known = policies(document(case.get("gate"), case.get("targets")))
    (policy,) = known.reliability
    taken = NOW - ago(case.get("taken", "0s"))
    about = case.get("measured") or {}
    snapshots = (measured(policy, about, taken, case.get("unreachable")),)
    asked = GateQuestion(
        service="shop",
        change_class=case.get("class", "deploy"),
        snapshots=snapshots if about or "unreachable" in case else (),
        incidents=tuple(incident(**each) for each in case.get("incidents", ())),
        asked=NOW,
    )
    verdict = decide_gate(known, asked, now=NOW)
    told = [f"{each.code.value} {each.effect.value} {each.about}: {each.message}" for each in verdict.reasons]
    assert verdict.verdict.value == case["verdict"], told
    if "reasons" in case:
        assert told == case["reasons"]
    if "codes" in case:
        assert [each.code.value for each in verdict.reasons] == case["codes"]
    assert verdict.found.value == case.get("found", case["verdict"])
    assert list(verdict.exempt) == case.get("exempt", [])
    if "unknown" in case:
        assert verdict.unknown_policy == case["unknown"]
    for each in verdict.reasons:
        assert each.position.path == "policies/0.yml"
        assert each.mend or each.effect is Verdict.PASS, "every reason says what would change it"


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case["name"] for case in CASES]
    assert len(names) == len(set(names)) > 40


def test_what_would_change_a_reason_is_said() -> None:
    known = policies(document({"freeze": ["holidays"]}))
    verdict = decide_gate(known, question(known, CRITICAL, incidents=(incident(),)), now=NOW)
    assert [each.mend for each in verdict.reasons] == [
        "below 80 % it passes; changes of class rollback, security, reliability pass",
        f"end it: opsascode incident resolve {incident().id}; changes of class rollback, security, reliability pass",
        "wait until 2027-01-03 23:00 UTC; changes of class rollback, security, reliability pass",
    ]
    assert verdict.needed is not None
    assert (verdict.needed.required, verdict.needed.role, verdict.needed.lifetime) == (2, None, timedelta(hours=4))


def test_reasons_name_the_place_in_the_document() -> None:
    head = "apiVersion: opsascode/v1\nkind: ReliabilityPolicy\nmetadata: {name: shop}\nspec:\n"
    targets = "  slo_targets: {availability: 99.9%}\n  escalation_chain: [{notify: team:sre}]\n"
    text = f"{head}{targets}  gate: {{block_at: warn}}\n"
    known = policies(text)
    (reason,) = decide_gate(known, question(known, CRITICAL), now=NOW).reasons
    assert str(reason.position).startswith("policies/0.yml:7:")
    assert reason.source == "reliability policy shop"


def test_of_several_policies_the_worst_counts_and_all_are_told() -> None:
    strict = document({"block_at": "warn"}, name="strict", service="shop")
    known = policies(document(), strict)
    verdict = decide_gate(known, question(known, {"availability": {"bad": 60, "total": 100000}}), now=NOW)
    assert verdict.verdict is Verdict.BLOCK
    assert [(each.policy, each.effect.value) for each in verdict.reasons] == [("shop", "warn"), ("strict", "block")]


def test_an_exemption_of_one_policy_does_not_open_another() -> None:
    known = policies(document(), document({"exempt": []}, name="strict", service="shop"))
    verdict = decide_gate(known, question(known, CRITICAL, change_class="rollback"), now=NOW)
    assert verdict.verdict is Verdict.BLOCK
    assert verdict.exempt == ("shop",)
    assert [each.policy for each in verdict.blocking] == ["strict"]


def test_another_service_is_not_asked() -> None:
    known = policies(document(), document(name="search"))
    verdict = decide_gate(known, question(known, FINE), now=NOW)
    assert verdict.policies == ("shop",)


def test_a_service_without_a_policy_is_no_pass() -> None:
    known = policies(document())
    with pytest.raises(NoPolicyError) as caught:
        decide_gate(known, question(known, FINE, service="shp"), now=NOW)
    assert "shop" in caught.value.advice
    assert caught.value.exit_code == 2


def test_a_snapshot_of_another_policy_or_service_counts_for_nothing() -> None:
    known = policies(document())
    (good,) = question(known, FINE).snapshots
    for other in (replace(good, policy="search"), replace(good, service="search")):
        verdict = decide_gate(known, replace(question(known, FINE), snapshots=(other,)), now=NOW)
        assert verdict.verdict is Verdict.BLOCK


def test_a_calendar_that_is_not_there_blocks() -> None:
    known = policies(document({"freeze": ["holidays"]}))
    verdict = decide_gate(replace(known, calendars=()), question(known, FINE), now=NOW)
    assert verdict.verdict is Verdict.BLOCK
    assert "the gate fails closed" in verdict.reasons[0].message


def test_a_naive_time_is_refused() -> None:
    known = policies(document())
    with pytest.raises(ValueError, match="aware"):
        decide_gate(known, question(known, FINE), now=datetime(2026, 12, 21))  # noqa: DTZ001 - what is refused


def test_a_question_is_read_back_as_it_was_and_judged_the_same() -> None:
    known = policies(document({"freeze": ["mondays"]}))
    asked = question(known, CRITICAL, incidents=(incident(),))
    again = GateQuestion.of_json(asked.to_json())
    assert again == asked
    assert decide_gate(known, again, now=NOW) == decide_gate(known, asked, now=NOW)


@pytest.mark.parametrize("broken", [
    None, [], "x", {}, {"service": 1}, {"service": "shop", "change_class": "deploy", "snapshots": {}},
])  # fmt: skip
def test_what_is_no_question_is_refused(broken: Any) -> None:
    with pytest.raises(UsageError):
        GateQuestion.of_json(broken)


@given(bad=st.integers(0, 100000), total=st.integers(0, 100000), rate=st.floats(0, 1), gone=st.booleans())
def test_whatever_was_measured_there_is_a_verdict_and_no_reason_is_worse(
    bad: int, total: int, rate: float, *, gone: bool
) -> None:
    known = policies(document())
    about = {"availability": {"bad": min(bad, total), "total": total, "rate": rate, "gone": gone}}
    verdict = decide_gate(known, question(known, about), now=NOW)
    effects = [each.effect for each in verdict.reasons]
    assert verdict.verdict is verdict.found
    assert (verdict.verdict is Verdict.BLOCK) == (Verdict.BLOCK in effects)
    assert "NaN" not in str(verdict.to_json())


# What an override lets through; who gave it is judged elsewhere (test_gate_override).


def given_by(asked: GateQuestion, **changes: Any) -> GateOverride:
    """An override of everything that blocks now, right in every way."""
    known = policies(document())
    made = GateOverride(
        id="gate-20261221-115900-abcdef", service="shop", change_class="deploy", change=asked.change,
        keys=frozenset(each.key for each in decide_gate(known, asked, now=NOW).blocking),
        by=("bob", "carol"), approvals=("sha256:1", "sha256:2"), until=NOW + timedelta(hours=1),
    )  # fmt: skip
    return replace(made, **changes)


def test_an_override_passes_and_the_reasons_stay() -> None:
    known = policies(document())
    asked = question(known, CRITICAL)
    verdict = decide_gate(known, asked, overrides=(given_by(asked),), now=NOW)
    assert verdict.verdict is Verdict.PASS
    assert verdict.found is Verdict.BLOCK
    assert verdict.override is not None
    assert verdict.override.by == ("bob", "carol")
    assert len(verdict.reasons) == 1


def test_other_figures_of_the_same_reason_are_no_new_reason() -> None:
    known = policies(document())
    given = given_by(question(known, CRITICAL))
    worse = question(known, {"availability": {"bad": 190, "total": 100000}})
    assert decide_gate(known, worse, overrides=(given,), now=NOW).verdict is Verdict.PASS


@pytest.mark.parametrize(("changes", "code"), [
    ({"service": "search"}, "E_GATE_SERVICE"),
    ({"change_class": "schema-change"}, "E_GATE_CLASS"),
    ({"change": "shop 1.4.2"}, "E_GATE_CHANGE"),
    ({"until": NOW}, "E_GATE_EXPIRED"),
    ({"until": NOW - timedelta(days=1)}, "E_GATE_EXPIRED"),
    ({"keys": frozenset()}, "E_GATE_REASON"),
    ({"keys": frozenset({"BUDGET:shop:latency_p95_ms"})}, "E_GATE_REASON"),
    ({"keys": frozenset({"BUDGET:search:availability"})}, "E_GATE_REASON"),
    ({"keys": frozenset({"PAGE:shop:availability"})}, "E_GATE_REASON"),
    ({"by": ("bob",)}, "E_GATE_PEOPLE"),
], ids=str)  # fmt: skip
def test_an_override_of_something_else_does_nothing_and_the_verdict_says_why(
    changes: dict[str, Any], code: str
) -> None:
    known = policies(document())
    asked = question(known, CRITICAL)
    verdict = decide_gate(known, asked, overrides=(given_by(asked, **changes),), now=NOW)
    assert verdict.verdict is Verdict.BLOCK
    assert verdict.override is None
    assert [each.code for each in verdict.unused] == [code]


@pytest.mark.parametrize(("given", "asked", "message"), [
    ("shop 1.4.2", "shop 1.4.3", "it is for the change 'shop 1.4.2', not for the change 'shop 1.4.3'"),
    ("shop 1.4.2", "shop 1.4.2 ", "it is for the change 'shop 1.4.2', not for the change 'shop 1.4.2 '"),
    ("shop 1.4.2", "SHOP 1.4.2", "it is for the change 'shop 1.4.2', not for the change 'SHOP 1.4.2'"),
    ("shop 1.4.2", "", "it is for the change 'shop 1.4.2', not for a gate asked without --change"),
    ("", "shop 1.4.2", "it is for a gate asked without --change, not for the change 'shop 1.4.2'"),
    ("x" * 199, "x" * 200, f"it is for {LONG} of 199 characters, not for {LONG} of 200 characters"),
], ids=["another", "with a space", "in capitals", "none is named now", "none was named", "long"])  # fmt: skip
def test_an_override_is_for_the_change_that_was_named_and_no_other(given: str, asked: str, message: str) -> None:
    known = policies(document())
    one = replace(question(known, CRITICAL), change=given)
    assert decide_gate(known, one, overrides=(given_by(one),), now=NOW).verdict is Verdict.PASS
    verdict = decide_gate(known, replace(one, change=asked), overrides=(given_by(one),), now=NOW)
    assert verdict.verdict is Verdict.BLOCK
    assert [each.message for each in verdict.unused] == [message]


def test_a_reason_that_came_later_blocks_again() -> None:
    known = policies(document())
    given = given_by(question(known, CRITICAL, incidents=(incident(),)))
    assert decide_gate(known, question(known, CRITICAL, incidents=(incident(),)), overrides=(given,), now=NOW).override
    other = incident(id="inc-20261221-113000-bbbbbb", title="Search is down")
    verdict = decide_gate(known, question(known, CRITICAL, incidents=(incident(), other)), overrides=(given,), now=NOW)
    assert verdict.verdict is Verdict.BLOCK
    assert "inc-20261221-113000-bbbbbb" in verdict.unused[0].message


def test_a_freeze_is_overridden_for_its_own_window_only() -> None:
    known = policies(document({"freeze": ["mondays"]}))
    asked = question(known, FINE)
    keys = frozenset(each.key for each in decide_gate(known, asked, now=NOW).blocking)
    given = given_by(asked, keys=keys, until=NOW + timedelta(days=8))
    assert decide_gate(known, asked, overrides=(given,), now=NOW).verdict is Verdict.PASS
    week = NOW + timedelta(days=7)
    later = replace(asked, asked=week, snapshots=(measured(known.reliability[0], FINE, week),))
    assert decide_gate(known, later, overrides=(given,), now=week).verdict is Verdict.BLOCK


def test_where_the_policy_lets_nobody_override_nobody_does() -> None:
    known = policies(document({"override": "never"}))
    asked = question(known, CRITICAL)
    verdict = decide_gate(known, asked, overrides=(given_by(asked),), now=NOW)
    assert verdict.verdict is Verdict.BLOCK
    assert verdict.needed is None
    assert [each.code for each in verdict.unused] == ["E_GATE_NEVER"]


def test_several_policies_need_the_most_people_for_the_shortest_time() -> None:
    other = document({"override": {"required": 3, "lifetime": "30m"}}, name="strict", service="shop")
    known = policies(document(), other)
    needed = decide_gate(known, question(known, CRITICAL), now=NOW).needed
    assert needed is not None
    assert (needed.required, needed.lifetime) == (3, timedelta(minutes=30))


@pytest.mark.parametrize(("first", "second"), [
    ({"role": "release-manager"}, {"role": "incident-commander"}),
    ({"role": "release-manager"}, {}),
    ({}, "never"),
], ids=str)  # fmt: skip
def test_policies_that_cannot_be_met_together_are_not_overridden(first: Any, second: Any) -> None:
    known = policies(document({"override": first}), document({"override": second}, name="strict", service="shop"))
    assert decide_gate(known, question(known, CRITICAL), now=NOW).needed is None


def test_the_usual_role_by_its_name_is_the_same_role() -> None:
    known = policies(document(), document({"override": {"role": "run-approver"}}, name="strict", service="shop"))
    assert decide_gate(known, question(known, CRITICAL), now=NOW).needed is not None


def test_an_override_is_not_used_where_nothing_blocks() -> None:
    known = policies(document())
    given = given_by(question(known, CRITICAL))
    verdict = decide_gate(known, question(known, FINE), overrides=(given,), now=NOW)
    assert (verdict.verdict, verdict.override, verdict.unused) == (Verdict.PASS, None, ())
