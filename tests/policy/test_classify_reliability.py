"""Which way does a change of a reliability policy lead? What promises less, warns later or acts more by itself is weaker."""

from __future__ import annotations

import pytest

from opsascode.policy import Classification, Direction, TransitionClass, classify
from tests.transitions import Branch, levels

PATH = "policies/shop.yml"
HEAD = "apiVersion: opsascode/v1\nkind: ReliabilityPolicy\nmetadata: {name: shop}\nspec:\n"
BASE = {
    "window": "30d",
    "slo_targets": "{availability: 99.95%, latency_p95_ms: 150, orders: {target: 99%, indicator: orders}}",
    "indicators": "{orders: {bad: orders_failed_total, total: orders_total}}",
    "error_budget_thresholds": "{warn: 40%, critical: 70%}",
    "escalation_chain": "[{notify: team:sre}]",
    "gate": "{freeze: [weekends], exempt: [rollback], no_data: {grace: 30m}, override: {required: 3, lifetime: 2h}}",
    "remediation": "[{name: restart, on: [page], runbook: restart, mode: approve, most: 2, within: 2h}]",
}
CALENDAR = (
    "apiVersion: opsascode/v1\nkind: Calendar\nmetadata: {name: weekends}\n"
    'spec: {timezone: UTC, windows: [{name: a, days: [sat], from: "00:00", to: "24:00", reason: quiet}]}\n'
)
OTHERS = {"policies/calendar.yml": CALENDAR}


def policy(**changed: str | None) -> str:
    """The policy with some keys of its spec written anew, or left out."""
    spec = {key: value for key, value in {**BASE, **changed}.items() if value is not None}
    return HEAD + "".join(f"  {key}: {value}\n" for key, value in spec.items())


def found(*states: str, new: str) -> Classification:
    branch = Branch.of(*({PATH: each, **OTHERS} for each in states))
    asking = branch.ask(branch.candidate({PATH: new, **OTHERS}))
    return classify(asking.old, asking.new)


def gate(old: str, new: str) -> dict[str, str | None]:
    assert old in BASE["gate"]
    return {"gate": BASE["gate"].replace(old, new)}


def remedy(old: str, new: str) -> dict[str, str | None]:
    assert old in BASE["remediation"]
    return {"remediation": BASE["remediation"].replace(old, new)}


def promises(old: str, new: str) -> dict[str, str | None]:
    assert old in BASE["slo_targets"]
    return {"slo_targets": BASE["slo_targets"].replace(old, new)}


WEAKER: dict[str, dict[str, str | None]] = {
    "a lower target": promises("99.95%", "99.9%"),
    "a slower bound": promises("150", "200"),
    "a lower target in the long form": promises("target: 99%", "target: 98.99%"),
    "a promise less": promises("availability: 99.95%, ", ""),
    "more events before there are data": {"min_events": "1000"},
    "more events before there are data, for one promise": promises("99.95%", "{target: 99.95%, min_events: 9}"),
    "another window": {"window": "7d"},
    "no window written, where another was": {"window": "{calendar: month}"},
    "slices instead of events": {"method": "{slices: 1m, target: 95%}"},
    "another service": {"service": "other"},
    "another counter": {"indicators": BASE["indicators"].replace("orders_failed", "orders_lost")},
    "a counter of their own for what everybody counts": {
        "indicators": BASE["indicators"].replace("{orders:", "{availability: {bad: a, total: b}, orders:")
    },
    "a warning later": {"error_budget_thresholds": "{warn: 41%, critical: 70%}"},
    "critical later": {"error_budget_thresholds": "{warn: 40%, critical: 71%}"},
    "thresholds no longer written": {"error_budget_thresholds": None},
    "other alerts": {"alerting": "[{level: page, long: 1h, short: 5m, budget: 50%}]"},
    "somebody else is told": {"escalation_chain": "[{notify: team:nobody}]"},
    "a step that starts something": {"escalation_chain": "[{notify: team:sre}, {trigger: auto_remediate}]"},
    "a gate that blocks later": gate("freeze", "block_at: exhausted, freeze"),
    "a gate that never blocks": gate("freeze", "block_at: never, freeze"),
    "a gate that never warns": gate("freeze", "warn_at: never, freeze"),
    "a gate that lets a page burn": gate("freeze", "block_on_page: false, freeze"),
    "a gate that asks only for the worst incidents": gate("freeze", "incident_rank: 0, freeze"),
    "a gate that asks for no incident": gate("freeze", "incident_rank: never, freeze"),
    "a gate without its freeze": gate("freeze: [weekends], ", ""),
    "a gate that lets more classes pass": gate("[rollback]", "[rollback, deploy]"),
    "a gate that says nothing of exempt classes any more": gate("exempt: [rollback], ", ""),
    "a longer grace": gate("30m", "31m"),
    "a gate that fails open": gate("grace: 30m", "grace: 30m, then: pass"),
    "a gate that only warns where it cannot know": gate("grace: 30m", "grace: 30m, then: warn"),
    "an override by fewer": gate("required: 3", "required: 2"),
    "a longer override": gate("lifetime: 2h", "lifetime: 121m"),
    "an override by another role": gate("required: 3", "required: 3, role: friends"),
    "a gate no longer written": {"gate": None},
    "remediation by itself": remedy("mode: approve", "mode: auto"),
    "remediation by itself, where nothing was written": remedy("mode: approve, ", "mode: auto, "),
    "remediation more often": remedy("most: 2", "most: 3"),
    "remediation as often, in less time": remedy("within: 2h", "within: 119m"),
    "remediation of more": remedy("on: [page]", "on: [page, ticket]"),
    "another runbook": remedy("runbook: restart", "runbook: reinstall"),
    "other parameters": remedy("runbook: restart", "runbook: restart, with: {force: true}"),
    "more remediation": {"remediation": BASE["remediation"][:-1] + ", {name: b, on: [page], runbook: restart}]"},
}


@pytest.mark.parametrize("change", WEAKER.values(), ids=WEAKER)
def test_what_is_less_safe_is_a_weakening(change: dict[str, str | None]) -> None:
    judged = found(policy(), new=policy(**change))
    assert TransitionClass.WEAKENING in judged.classes
    assert set(levels(judged)) == {"R7"}
    assert all(PATH in each.message for each in judged.findings)


STRICTER: dict[str, dict[str, str | None]] = {
    "a higher target": promises("99.95%", "99.99%"),
    "a faster bound": promises("150", "149.5"),
    "one promise more": promises("150,", "150, latency_p99_ms: 800,"),
    "one promise more, in the long form": promises("150,", "150, b: {target: 9%, indicator: orders, min_events: 5},"),
    "one promise more with a counter of its own": {
        **promises("150,", "150, b: {target: 9%, indicator: b},"),
        "indicators": BASE["indicators"].replace("{orders:", "{b: {bad: a, total: b}, orders:"),
    },
    "warning sooner": {"error_budget_thresholds": "{warn: 39.5%, critical: 60%}"},
    "blocking sooner": gate("freeze", "block_at: warn, freeze"),
    "more incidents": gate("freeze", "incident_rank: 3, freeze"),
    "no exempt class": gate("[rollback]", "[]"),
    "less grace": gate("30m", "1s"),
    "more for an override": gate("required: 3, lifetime: 2h", "required: 4, lifetime: 1h"),
    "an approval by hand": remedy("mode: approve", "mode: manual"),
    "less often": remedy("most: 2, within: 2h", "most: 1, within: 1d"),
    "a score afterwards": gate("freeze", "scoring: {criteria: [{name: a, query: b, pass: [<1]}]}, freeze"),
    "advice": {"scaling": "[{at: warn, resource: hosts, percent: 50%}]"},
}


@pytest.mark.parametrize("change", STRICTER.values(), ids=STRICTER)
def test_what_is_safer_is_forward(change: dict[str, str | None]) -> None:
    judged = found(policy(), new=policy(**change))
    assert judged.classes == {TransitionClass.FORWARD}, [each.message for each in judged.findings]
    assert judged.diff.changes


SAME: dict[str, dict[str, str | None]] = {
    "the long form": promises("99.95%", "{target: 99.950%, title: Open}"),
    "the long form of a latency": promises("150,", "{threshold_ms: 150.0},"),
    "another spelling": {"window": "720h", "error_budget_thresholds": "{warn: 40.0%, critical: 70%}"},
    "what is usual, written out": gate("freeze", "warn_at: warn, block_at: critical, block_on_page: true, freeze"),
    "what is usual, left out": {"window": None},
    "what is usual, left out of a remediation": remedy("mode: approve, ", ""),
    "another order": gate("required: 3, lifetime: 2h", "lifetime: 120m, required: 3"),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_what_means_the_same_is_no_change(change: dict[str, str | None]) -> None:
    judged = found(policy(), new=policy(**change))
    assert judged.diff.changes == ()
    assert judged.findings == ()


def test_never_is_the_strictest_override_and_giving_it_up_is_weaker() -> None:
    usual, never = policy(gate="{}"), policy(gate="{override: never}")
    assert found(usual, new=never).classes == {TransitionClass.FORWARD}
    assert found(never, new=usual).classes == {TransitionClass.WEAKENING}
    assert found(never, new=policy(gate="{override: {lifetime: 1s}}")).classes == {TransitionClass.WEAKENING}


def test_a_document_less_is_weaker_and_one_more_is_forward() -> None:
    branch = Branch.of({PATH: policy(), **OTHERS})
    asking = branch.ask(branch.candidate(OTHERS))
    assert TransitionClass.WEAKENING in classify(asking.old, asking.new).classes
    branch = Branch.of(OTHERS)
    asking = branch.ask(branch.candidate({PATH: policy(), **OTHERS}))
    assert classify(asking.old, asking.new).classes == {TransitionClass.FORWARD}


def test_a_promise_that_comes_back_makes_nothing_less_safe() -> None:
    lower = policy(**promises("99.95%", "99.9%"))
    judged = found(policy(), lower, new=policy())
    assert judged.classes == {TransitionClass.FORWARD}
    assert {each.level.value for each in judged.excused} >= {"R5"}


def test_a_lower_promise_that_comes_back_is_a_rollback_too() -> None:
    lower = policy(**promises("99.95%", "99.9%"))
    judged = found(lower, policy(), new=lower)
    assert judged.classes == {TransitionClass.ROLLBACK, TransitionClass.WEAKENING}


def test_a_direction_is_shown_with_both_values() -> None:
    judged = found(policy(), new=policy(**promises("99.95%", "99.9%")))
    (change,) = judged.diff.changes
    assert (change.field, change.before, change.after) == ("spec.slo_targets.availability.target", "99.95", "99.9")
    assert change.direction is Direction.LOOSER


def test_another_severity_scheme_may_be_less_safe() -> None:
    def scheme(soon: str) -> dict[str, str]:
        head = "apiVersion: opsascode/v1\nkind: SeverityScheme\nmetadata: {name: p}\nspec:\n"
        return {PATH: f"{head}  levels: [{{rank: 0, label: P0, resolve_within: {soon}}}]\n"}

    branch = Branch.of(scheme("1h"))
    asking = branch.ask(branch.candidate(scheme("2h")))
    assert classify(asking.old, asking.new).classes == {TransitionClass.WEAKENING}
