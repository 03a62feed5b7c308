"""Replaying records against other policies: what differs comes from the policies alone, and nothing is guessed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from textwrap import dedent, indent
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.policy import (
    BlastRadius,
    BudgetSeen,
    ChangeKind,
    GateJudged,
    GateQuestion,
    PlanJudged,
    RecordKind,
    Simulation,
    SloTaken,
    Subject,
    Trigger,
    simulate,
)
from opsascode.repo import ApprovalsAsked, BudgetLevel, Policies, policies_of
from opsascode.slo import Counted, SloSnapshot, TargetSeen, burn_windows
from tests.transitions import snapshot

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DIGEST = "sha256:" + "0" * 64


def pack(*documents: str) -> Policies:
    """The policies of a pack, as YAML texts."""
    return policies_of(snapshot({f"policies/{number}.yml": text for number, text in enumerate(documents)}))


def guardrail(spec: str, name: str = "small-steps") -> str:
    head = f"apiVersion: opsascode/v1\nkind: Guardrail\nmetadata: {{name: {name}}}\nspec:\n"
    return head + indent(dedent(spec).strip("\n"), "  ") + "\n  reason: mistakes stay small\n"


@cache
def steps(most: int) -> Policies:
    return pack(guardrail(f"require: {{max_hosts: {most}}}"))


def subject(**facts: Any) -> Subject:
    made = Subject(
        plan_digest=DIGEST, runbook="restart", labels={}, blast_radius=BlastRadius(), host_count=3,
        inventory_total=10, groups=frozenset({"all", "web"}), dirty=False, trigger=Trigger.MANUAL,
    )  # fmt: skip
    return replace(made, **facts)


def record(name: str = "run-1", *, at: datetime = NOON, refused: bool = False, **facts: Any) -> PlanJudged:
    judged = subject(**facts)
    return PlanJudged(
        kind=RecordKind.REFUSAL if refused else RecordKind.RUN, id=name, at=at, runbook=judged.runbook,
        hosts=judged.host_count, pattern="web", subject=judged,
    )  # fmt: skip


def changes(simulation: Simulation) -> list[tuple[str, str]]:
    return [(each.change.value, each.id) for each in simulation.differences]


def test_a_looser_guardrail_lets_those_through_that_the_current_one_refuses() -> None:
    records = [record(f"run-{hosts}", host_count=hosts, refused=hosts > 4) for hosts in (3, 5, 7, 9)]
    found = simulate(records, steps(4), steps(8))
    assert changes(found) == [("newly allowed", "run-5"), ("newly allowed", "run-7")]
    (cause,) = found.differences[0].rules
    assert (cause.source, cause.gone) == ("guardrail small-steps", True)
    assert str(cause.position).startswith("policies/0.yml:")
    assert "5 hosts are more than the 4 allowed" in cause.message
    assert found.replayed == 4
    assert found.counts[ChangeKind.NEWLY_ALLOWED] == 2


def test_a_stricter_guardrail_refuses_runs_that_happened_and_names_its_own_rule() -> None:
    found = simulate([record(host_count=6)], steps(8), steps(5))
    assert changes(found) == [("newly denied", "run-1")]
    assert found.differences[0].rules[0].gone is False
    assert (found.differences[0].before, found.differences[0].after) == ("allowed", "refused")


def test_what_the_policies_of_the_time_decided_otherwise_is_no_difference_of_the_candidate() -> None:
    found = simulate([record(host_count=6, refused=True)], steps(8), steps(7))
    assert changes(found) == []
    assert [(each.change, each.before, each.after) for each in found.since] == [
        (ChangeKind.NEWLY_ALLOWED, "refused", "allowed")
    ]


APPROVED = """
rules:
  - name: web-needs-two
    where: {groups: [web]}
    then: require
    require: {approvals: {required: 2, role: sre}}
    reason: the web is what customers see
"""


def test_an_approval_that_is_newly_asked_is_no_refusal() -> None:
    plain, asking = pack(), pack(guardrail(APPROVED))
    found = simulate([record()], plain, asking)
    assert changes(found) == [("needs approval", "run-1")]
    assert found.differences[0].after == "allowed with 2 approvals of role sre"
    (cause,) = found.differences[0].rules
    assert cause.source == "guardrail small-steps, rule web-needs-two"
    back = simulate([record(approvals=(ApprovalsAsked(required=2, role="sre"),))], asking, plain)
    assert changes(back) == [("needs less approval", "run-1")]
    assert back.differences[0].rules[0].gone is True


def test_more_people_of_the_same_role_are_an_approval_that_is_added() -> None:
    more = pack(guardrail(APPROVED.replace("required: 2", "required: 3")))
    asked = (ApprovalsAsked(required=2, role="sre"),)
    assert changes(simulate([record(approvals=asked)], pack(guardrail(APPROVED)), more)) == [
        ("needs approval", "run-1")
    ]


def test_a_run_that_is_refused_asks_nobody() -> None:
    both = pack(guardrail(APPROVED), guardrail("require: {max_hosts: 1}", "one"))
    assert changes(simulate([record()], pack(), both)) == [("newly denied", "run-1")]


FREEZE = """
rules:
  - name: frozen
    when: {during: [holidays]}
    then: deny
    reason: nobody is here
"""
HOLIDAYS = """
apiVersion: opsascode/v1
kind: Calendar
metadata: {name: holidays}
spec:
  timezone: Europe/Berlin
  windows:
    - {name: christmas, start: 2025-12-24T18:00, end: 2026-01-02T08:00, reason: holidays}
"""


def test_calendars_are_asked_at_the_time_of_the_record() -> None:
    frozen = pack(guardrail(FREEZE), HOLIDAYS.lstrip("\n"))
    moments = {
        "before": datetime(2025, 12, 24, 16, 59, tzinfo=UTC),
        "within": datetime(2025, 12, 24, 17, 0, tzinfo=UTC),
        "after": datetime(2026, 1, 2, 7, 0, tzinfo=UTC),
    }
    found = simulate([record(name, at=at) for name, at in moments.items()], pack(), frozen)
    assert changes(found) == [("newly denied", "within")]


BUDGET = """
rules:
  - name: careful
    what: {runbooks: [deploy]}
    when: {budget: {service: shop, levels: [critical, exhausted]}}
    then: deny
    reason: nothing is left of the budget
"""


def test_a_budget_that_nobody_asked_for_then_is_not_guessed() -> None:
    asking = pack(guardrail(BUDGET))
    found = simulate([record("deploy", runbook="deploy"), record("restart")], pack(), asking)
    assert changes(found) == []
    assert [(each.id, each.why) for each in found.not_replayed] == [
        ("deploy", "the budget of shop was not recorded then")
    ], "of the restart the answer is the same at every level"
    assert found.replayed == 1


def test_a_budget_that_was_recorded_is_judged_by() -> None:
    seen = {"shop": BudgetSeen(level=BudgetLevel.CRITICAL)}
    found = simulate([record(runbook="deploy", budgets=seen)], pack(), pack(guardrail(BUDGET)))
    assert changes(found) == [("newly denied", "run-1")]


def test_records_that_lack_something_are_counted_and_said() -> None:
    old = replace(record("old"), subject=None, lacking="it was recorded before what is judged was kept")
    found = simulate([old, record("new")], steps(4), steps(2))
    assert changes(found) == [("newly denied", "new")]
    assert [(each.id, each.about) for each in found.not_replayed] == [("old", "restart")]
    assert (sum(found.records.values()), found.replayed) == (2, 1)


@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 1000), st.booleans()), max_size=12, unique_by=lambda each: each[1]),
    st.integers(1, 12), st.integers(1, 12), st.randoms(use_true_random=False),
)  # fmt: skip
def test_every_record_is_told_once_in_the_order_of_time_whatever_order_it_comes_in(
    drawn: list[tuple[int, int, bool]], one: int, other: int, shuffler: Any
) -> None:
    records = [
        record(f"run-{minute}", at=NOON + timedelta(minutes=minute), host_count=hosts, refused=refused)
        for hosts, minute, refused in drawn
    ]
    before = simulate(records, steps(one), steps(other))
    shuffler.shuffle(records)
    assert simulate(records, steps(one), steps(other)) == before
    expected = {f"run-{minute}" for hosts, minute, _ in drawn if (hosts > one) is not (hosts > other)}
    assert {each.id for each in before.differences} == expected
    assert list(before.differences) == sorted(before.differences, key=lambda each: each.at)
    assert {each.change.value for each in before.differences} <= {"newly allowed" if other > one else "newly denied"}


def test_a_pack_against_itself_differs_in_nothing() -> None:
    records = [record(f"run-{hosts}", host_count=hosts, refused=hosts > 4) for hosts in range(1, 9)]
    assert simulate(records, steps(4), steps(4)).differences == ()


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        simulate([record(at=NOON.replace(tzinfo=None))], steps(1), steps(2))


# Gates and measurements.

RELIABILITY = """
apiVersion: opsascode/v1
kind: ReliabilityPolicy
metadata: {name: shop}
spec:
  window: 30d
  slo_targets: {availability: 99.9%}
  error_budget_thresholds: {warn: 50%, critical: 80%}
  escalation_chain: [{notify: 'team:sre', after: 5m}]
"""


def reliability(**changed: str) -> Policies:
    """The policy with parts of its text replaced: `before="after"` by words."""
    text = RELIABILITY.lstrip("\n")
    for key, value in changed.items():
        before = WORDS[key]
        assert before in text
        text = text.replace(before, value)
    return pack(text)


WORDS = {
    "target": "99.9%", "critical": "critical: 80%", "window": "window: 30d", "slo": "{availability: 99.9%}",
    "chain": "[{notify: 'team:sre', after: 5m}]", "name": "{name: shop}",
}  # fmt: skip


def taken(policies: Policies, bad: str, *, at: datetime = NOON, rate: str | None = None) -> SloSnapshot:
    """What was measured for a policy: this share of bad events in the whole window, and in every window of an alert."""
    (policy,) = policies.reliability
    lengths = [length for each in burn_windows(policy) for length in (each.long, each.short)]
    targets = tuple(
        TargetSeen(
            id=each.id, target=each.target, start=at - timedelta(days=30), end=at,
            counted=Counted(bad=Decimal(bad) * 1_000_000, total=Decimal(1_000_000)),
            rates=dict.fromkeys(lengths, Decimal(rate or bad)), present=True, last_data=at,
        )
        for each in policy.targets
    )  # fmt: skip
    return SloSnapshot(
        policy=policy.metadata.name, service=policy.service, commit=None, digest=policy.source.digest, taken=at,
        targets=targets,
    )  # fmt: skip


def measurement(snapshot: SloSnapshot, name: str = "taken-1") -> SloTaken:
    return SloTaken(id=name, at=snapshot.taken, service=snapshot.service, snapshot=snapshot)


def asked(snapshot: SloSnapshot, *, verdict: str = "pass", change_class: str = "deploy") -> GateJudged:
    question = GateQuestion(
        service=snapshot.service, change_class=change_class, snapshots=(snapshot,), asked=snapshot.taken
    )
    return GateJudged(
        id="gate-1", at=snapshot.taken, service=snapshot.service, change_class=change_class, verdict=verdict,
        question=question,
    )  # fmt: skip


def test_a_gate_is_asked_the_same_question_by_other_thresholds() -> None:
    now = reliability()
    gate = asked(taken(now, "0.0007", rate="0"))
    found = simulate([gate], now, reliability(critical="critical: 60%"))
    assert changes(found) == [("gate verdict stricter", "gate-1")]
    (told,) = found.differences
    assert (told.before, told.after) == ("warn", "block")
    assert told.rules[0].source == "reliability policy shop"
    assert str(told.rules[0].position).startswith("policies/0.yml:")
    back = simulate([gate], reliability(critical="critical: 60%"), now)
    assert changes(back) == [("gate verdict looser", "gate-1")]
    assert back.differences[0].rules[0].gone is True


def test_another_target_is_judged_by_the_same_counts() -> None:
    now = reliability()
    found = simulate([asked(taken(now, "0.0003", rate="0"), verdict="pass")], now, reliability(target="99.99%"))
    assert [(each.before, each.after) for each in found.differences] == [("pass", "block")]
    assert found.since == ()


def test_a_policy_that_is_gone_says_nothing_any_more() -> None:
    now = reliability()
    found = simulate([asked(taken(now, "0.002", rate="0"), verdict="block")], now, pack())
    assert [(each.change.value, each.after) for each in found.differences] == [("gate verdict looser", "no policy")]


@pytest.mark.parametrize(("changed", "why"), [
    ({"slo": "{availability: {target: 99.9%, indicator: other}}\n  indicators: {other: {bad: b_total, total: t_total}}"}, "by another indicator"),
    ({"slo": "{availability: 99.9%, latency_p95_ms: 150}"}, "latency_p95_ms was not measured then"),
    ({"window": "window: 7d"}, "over another window"),
    ({"window": "window: 30d\n  alerting: [{level: page, long: 2h, short: 10m, budget: 2%}]"}, "the burn of availability over 10m was not measured then"),
    ({"name": "{name: another}\n# "}, "was not measured then"),
], ids=lambda each: each if isinstance(each, str) else "")  # fmt: skip
def test_what_was_not_measured_is_not_guessed(changed: dict[str, str], why: str) -> None:
    now = reliability()
    if "name" in changed:
        other = pack(
            RELIABILITY.lstrip("\n")
            .replace("{name: shop}", "{name: another}")
            .replace("window:", "service: shop\n  window:")
        )
    else:
        other = reliability(**changed)
    found = simulate([asked(taken(now, "0.0007"))], now, other)
    assert found.differences == ()
    assert [each.why for each in found.not_replayed] == [found.not_replayed[0].why]
    assert why in found.not_replayed[0].why


def test_a_measurement_for_a_policy_that_nobody_has_any_more_is_not_replayed() -> None:
    now = reliability()
    old = replace(taken(now, "0.0007"), digest=DIGEST)
    found = simulate([measurement(old)], now, now)
    assert [each.why for each in found.not_replayed] == ["the policy that was measured for is not in this clone"]
    (known,) = now.reliability
    kept = replace(known, source=replace(known.source, digest=DIGEST))
    assert simulate([measurement(old)], now, now, measured=[kept]).not_replayed == ()


def test_a_stricter_target_would_have_paged_and_the_windows_are_named() -> None:
    now = reliability()
    found = simulate([measurement(taken(now, "0.0001", rate="0.002"))], now, reliability(target="99.99%"))
    assert ("would page", "taken-1") in changes(found)
    told = next(each for each in found.differences if each.change is ChangeKind.PAGES)
    assert (told.about, told.where, told.before, told.after) == ("shop", "availability", "quiet", "page")
    assert any("over 1h" in cause.message and "over 5m" in cause.message for cause in told.rules)
    assert all(cause.position is not None for cause in told.rules)
    back = simulate(
        [measurement(taken(reliability(target="99.99%"), "0.0001", rate="0.002"))], reliability(target="99.99%"), now
    )
    assert ("would not page any more", "taken-1") in changes(back)


REMEDIATION = """{availability: 99.9%}
  remediation:
    - {name: relief, on: [page], runbook: restart, mode: MODE, most: 2, within: 1h}"""


def test_a_remediation_is_started_as_often_as_its_limit_allows() -> None:
    now, helped = reliability(), reliability(slo=REMEDIATION.replace("MODE", "auto"))
    records = [
        measurement(taken(now, "0.0001", rate="0.5", at=NOON + timedelta(minutes=10 * number)), f"taken-{number}")
        for number in range(9)
    ]
    found = simulate(records, now, helped)
    started = [each for each in found.differences if each.change is ChangeKind.REMEDIATES]
    assert [each.id for each in started] == ["taken-0", "taken-1", "taken-6", "taken-7"]
    assert started[0].after == "runbook restart, auto"
    assert started[0].where == "remediation relief"


def test_another_mode_of_a_remediation_is_a_difference() -> None:
    first, then = (reliability(slo=REMEDIATION.replace("MODE", mode)) for mode in ("approve", "auto"))
    found = simulate([measurement(taken(first, "0.0001", rate="0.5"))], first, then)
    assert [(each.before, each.after) for each in found.differences] == [
        ("runbook restart, approve", "runbook restart, auto")
    ]


def test_a_step_of_the_chain_that_starts_a_runbook_is_a_start() -> None:
    now = reliability()
    chained = reliability(chain="[{trigger: 'runbook:restart', after: 5m}]")
    found = simulate([measurement(taken(now, "0.0001", rate="0.5"))], now, chained)
    assert [(each.change, each.after) for each in found.differences] == [
        (ChangeKind.REMEDIATES, "runbook restart, escalation")
    ]


def test_a_prometheus_that_was_down_is_the_same_for_both() -> None:
    now = reliability()
    silent = replace(taken(now, "0"), targets=(), unreachable="nobody answers")
    found = simulate([asked(silent), measurement(silent)], now, reliability(target="99.99%"))
    assert found.differences == ()
    assert found.not_replayed == ()
