"""OpenSLO v1 comes in and goes out: promises exactly, and nothing that gets lost gets lost without a word.

The promises are those of OpenSLO's published examples, written anew: a page of a shop, a line that is rented by the
month, a metric that is compared with a value, alerts on a burn rate.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsascode.errors import Position
from opsascode.repo import (
    AlertLevel,
    AlertWindow,
    BudgetLevel,
    CalendarPeriod,
    CalendarUnit,
    Criterion,
    Events,
    Fallback,
    GateRules,
    Histogram,
    HistogramUnit,
    Metadata,
    Notify,
    OverrideNeeded,
    Raw,
    ReliabilityPolicy,
    Remediation,
    RemediationCause,
    RemediationMode,
    Rolling,
    ScalingHint,
    Scoring,
    Source,
    Target,
    Thresholds,
    TimeSlices,
    TriggerStep,
    check_repository,
    load_source,
    open_repository,
)
from opsascode.repo._reliability_build import build_reliability
from opsascode.slo import Carried, Wishes, document_of, documents_text, export_openslo, import_slos
from tests.slo.documents import bare

if TYPE_CHECKING:
    from pathlib import Path

MONTH = Rolling(length=timedelta(days=30))
HERE = Position(path="x.yml")
SOURCE = Source(path="x.yml", digest="sha256:00")

PAGE = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: main-page, displayName: Main page}
spec:
  description: The first page is there.
  service: web-shop
  indicator:
    metadata: {name: codes}
    spec:
      ratioMetric:
        counter: true
        good:
          metricSource: {type: Prometheus, spec: {query: 'sum(http_requests_total{code=~"2xx|3xx"})'}}
        total:
          metricSource: {type: Prometheus, spec: {query: http_requests_total}}
  timeWindow: [{duration: 4w, isRolling: true}]
  budgetingMethod: Occurrences
  objectives:
    - {displayName: Good, targetPercent: 99.95}
"""

RENTED = """
apiVersion: openslo/v1
kind: SLO
metadata: {name: line}
spec:
  service: uplink
  indicatorRef: line-up
  timeWindow:
    - duration: 1M
      calendar: {startTime: 2022-01-01 00:00:00, timeZone: America/New_York}
  budgetingMethod: Timeslices
  objectives:
    - {displayName: Ours, target: 0.995, timeSliceTarget: 0.99, timeSliceWindow: 1m}
    - {displayName: Contract, target: 0.99, timeSliceTarget: 1, timeSliceWindow: 5}
  alertPolicies: [{alertPolicyRef: fast}]
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: line-up}
spec:
  ratioMetric:
    rawType: success
    raw: {metricSource: {metricSourceRef: prom, spec: {query: "avg(up{job='uplink'})"}}}
---
apiVersion: openslo/v1
kind: DataSource
metadata: {name: prom}
spec: {type: Prometheus, connectionDetails: {url: "http://prometheus.example"}}
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: fast}
spec:
  alertWhenBreaching: true
  conditions: [{conditionRef: burning}]
  notificationTargets: [{targetRef: mail}, {targetRef: sre}]
---
apiVersion: openslo/v1
kind: AlertCondition
metadata: {name: burning}
spec:
  severity: page
  condition: {kind: burnrate, threshold: 2, lookbackWindow: 1h, alertAfter: 5m}
---
apiVersion: openslo/v1
kind: AlertNotificationTarget
metadata: {name: mail}
spec: {target: email}
---
apiVersion: openslo/v1
kind: AlertNotificationTarget
metadata: {name: sre}
spec: {target: "team:sre"}
"""


def carried(text: str, notify: str | None = None) -> Carried:
    return import_slos([("slo.yml", text.encode())], Wishes(window=MONTH, notify=notify))


def policies(found: Carried, folder: Path) -> tuple[ReliabilityPolicy, ...]:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies/imported.yml").write_text(documents_text(found.documents), encoding="utf-8")
    repository = open_repository(folder)
    assert [each for each in check_repository(repository).problems if "runbook" not in each.message] == []
    return repository.policies().reliability


def messages(found: Carried) -> str:
    return "\n".join(f"{each.position}: {each.code}: {each.message}" for each in found.notes)


def test_a_ratio_of_counters_is_a_promise_with_an_exact_target(tmp_path: Path) -> None:
    (policy,) = policies(carried(PAGE, "team:web"), tmp_path)
    (target,) = policy.targets
    assert (policy.service, policy.window) == ("web-shop", Rolling(length=timedelta(days=28)))
    assert (target.id, target.title, target.target) == ("main-page", "Good", Decimal("0.9995"))
    assert target.indicator == Events(good='http_requests_total{code=~"2xx|3xx"}', total="http_requests_total")
    assert policy.metadata.description == "The first page is there."


def test_slices_calendars_references_and_alerts(tmp_path: Path) -> None:
    found = carried(RENTED)
    (policy,) = policies(found, tmp_path)
    assert policy.window == CalendarPeriod(unit=CalendarUnit.MONTH, timezone="America/New_York")
    ours, contract = policy.targets
    assert ours.slices == TimeSlices(length=timedelta(minutes=1), target=Decimal("0.99"))
    assert contract.slices == TimeSlices(length=timedelta(minutes=5), target=Decimal("0.9999999"))
    assert ours.indicator == Raw(query="avg(up{job='uplink'})", of_failures=False)
    (pair,) = policy.alerting
    assert (pair.level, pair.long, pair.short) == (AlertLevel.PAGE, timedelta(hours=1), timedelta(minutes=5))
    assert pair.budget == Decimal("0.0027777")  # 2 * 1h / 30d, never more than it says
    assert [step.whom for step in policy.escalation_chain if isinstance(step, Notify)] == ["team:sre"]
    said = messages(found)
    for words in (
        "a slice is good from 99.99999% on here",
        "the data source prom is not carried over",
        "alertAfter of burning is not carried over",
        "the notification target mail is not carried over",
        "is 0.27777% of the budget here, rounded down",
        "the condition burning has one window; here a short one of 5m",
    ):
        assert words in said
    assert all(each.position.path == "slo.yml" and each.position.line > 1 for each in found.notes)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("type: Prometheus, spec: {query: http", "type: Datadog, spec: {query: http", "it is measured by Datadog"),
        ("budgetingMethod: Occurrences", "budgetingMethod: RatioTimeslices", "slices of time (Timeslices)"),
        ("4w", "4x", "its window is no length"),
        ("targetPercent: 99.95", "target: 1", "its target is no share above 0 and below 1"),
        ("targetPercent: 99.95", "target: 0.99999999", "with at most seven places"),
        ("query: http_requests_total}", "query: sum(a) / sum(b)}", "its queries are no counters"),
    ],
)
def test_what_cannot_be_promised_is_left_out_and_said(old: str, new: str, words: str) -> None:
    found = carried(PAGE.replace(old, new), "team:web")
    assert found.documents == ()
    assert words in messages(found)


def test_a_metric_that_is_compared_is_sampled(tmp_path: Path) -> None:
    start, end = PAGE.index("      ratioMetric:"), PAGE.index("  timeWindow")
    metric = "      thresholdMetric: {metricSource: {type: Prometheus, spec: {query: queue_length}}}\n"
    text = (PAGE[:start] + metric + PAGE[end:]).replace("targetPercent: 99.95", "op: lte, value: 0.50, target: 0.99")
    found = carried(text, "team:web")
    (policy,) = policies(found, tmp_path)
    assert policy.targets[0].indicator == Raw(query="(queue_length) <= bool 0.50", of_failures=False)
    assert "the share of samples that are <= 0.50, once a minute" in messages(found)


def test_a_calendar_that_begins_at_noon_is_said(tmp_path: Path) -> None:
    found = carried(RENTED.replace("00:00:00", "12:00:00"))
    assert "begins with the month here, at midnight" in messages(found)


def test_without_alert_policies_the_usual_alerts_hold_and_that_is_said() -> None:
    assert "the usual alerts hold here" in messages(carried(PAGE))
    assert "the escalation chain says team:web-shop" in messages(carried(PAGE))


# Round trips


def pick(dice: Random, *choices: Any) -> Any:
    return dice.choice(choices)


def policy_of(dice: Random) -> ReliabilityPolicy:
    window = pick(
        dice,
        MONTH,
        Rolling(length=timedelta(days=7)),
        Rolling(length=timedelta(hours=36)),
        *(CalendarPeriod(unit=each, timezone=pick(dice, "UTC", "Europe/Berlin")) for each in CalendarUnit),
    )
    alerting = (
        AlertWindow(
            level=AlertLevel.PAGE, long=timedelta(minutes=90), short=timedelta(seconds=450), budget=Decimal("0.0123457")
        ),
        AlertWindow(
            level=AlertLevel.TICKET, long=timedelta(hours=6), short=timedelta(minutes=30), budget=Decimal("0.5")
        ),
    )
    return ReliabilityPolicy(
        metadata=Metadata(
            name=pick(dice, "shop", "shop.web-1"),
            title=pick(dice, "Shop", 'Shop: «it\'s» "quoted" # no comment'),
            description=pick(dice, "", "One line.", "Two\nlines: here"),
            owners=pick(dice, (), ("team:sre",)),
            labels=pick(dice, {}, {"tier": "1", "x/y": "a b"}),
            version=pick(dice, None, "1.2.3"),
            position=HERE,
        ),
        service=pick(dice, "shop", "Shop_Web.1"),
        window=window,
        targets=tuple(target_of(dice, name) for name in dice.sample(list(TARGETS), dice.randint(1, 3))),
        thresholds=pick(
            dice,
            Thresholds(warn=Decimal("0.5"), critical=Decimal("0.8")),
            Thresholds(warn=Decimal("0.1234567"), critical=Decimal("0.9")),
        ),
        alerting=pick(dice, (), alerting, alerting[:1]),
        escalation_chain=(
            Notify(whom=pick(dice, "team:sre", "sre@workspace"), position=HERE),
            TriggerStep(runbook=pick(dice, None, "heal"), after=pick(dice, None, timedelta(minutes=5)), position=HERE),
        ),
        gate=gate_of(dice),
        remediation=pick(dice, (), (REMEDIATION,)),
        scaling=pick(
            dice,
            (),
            (ScalingHint(at=BudgetLevel.WARN, resource="web pods", percent=Decimal("12.5"), position=HERE),),
        ),
        source=SOURCE,
        position=HERE,
    )


REMEDIATION = Remediation(
    name="fix",
    causes=(RemediationCause.PAGE, RemediationCause.CRITICAL),
    targets=(),
    runbook="heal",
    parameters={"count": 2, "text": "yes", "deep": {"list": [1, None, True]}},
    mode=RemediationMode.AUTO,
    most=2,
    within=timedelta(hours=2),
    position=HERE,
)
SCORING = Scoring(
    window=timedelta(minutes=10),
    passes=Decimal("0.9"),
    warns=Decimal("0.75"),
    compare_with=3,
    criteria=(
        Criterion(
            name="p95", query='q{a="b"}', passes=("<600", "<=+10%"), warns=("<800",), weight=2, key=True, position=HERE
        ),
    ),
)
TARGETS = ("availability", "latency_p95_ms", "checkout", "search_ok")


def gate_of(dice: Random) -> GateRules:
    override = OverrideNeeded(required=2, role=pick(dice, None, "lead"), lifetime=timedelta(hours=4))
    return GateRules(
        warn_at=pick(dice, None, BudgetLevel.WARN),
        block_at=pick(dice, BudgetLevel.CRITICAL, BudgetLevel.EXHAUSTED),
        exempt=pick(dice, (), ("rollback",)),
        block_on_page=pick(dice, True, False),
        incident_rank=pick(dice, None, 0, 2),
        freeze=(),
        grace=timedelta(minutes=90),
        unknown=pick(dice, *Fallback),
        override=pick(dice, None, override),
        scoring=pick(dice, None, SCORING),
        position=HERE,
    )


def target_of(dice: Random, name: str) -> Target:
    histogram = Histogram(
        metric="http_seconds",
        selector=pick(dice, {}, {"job": "a", "path": 'say "hi"'}),
        threshold=pick(dice, Decimal("0.15"), Decimal(2)),
        native=pick(dice, False, True),
    )
    milliseconds = Histogram(
        metric="rpc_ms", selector={"a": "b"}, threshold=Decimal(150), unit=HistogramUnit.MILLISECONDS
    )
    others = (
        Events(bad='e_total{code=~"5..", job="x"}', total="e_total"),
        Events(good="sum(rate(g[$window])) + sum(rate(h[$window]))", total="t"),
        Raw(query="bad:ratio", of_failures=pick(dice, True, False)),
    )
    latency = name.startswith("latency")
    return Target(
        id=name,
        title=pick(dice, name, "A title"),
        target=Decimal("0.95") if latency else pick(dice, Decimal("0.9995"), Decimal("0.9"), Decimal("0.1234567")),
        indicator=pick(dice, histogram, milliseconds) if latency else pick(dice, histogram, milliseconds, *others),
        indicator_name=f"{name}_x",
        slices=pick(
            dice,
            None,
            TimeSlices(length=timedelta(minutes=5), target=Decimal("0.99")),
            TimeSlices(length=timedelta(seconds=30), target=Decimal("0.9999999")),
        ),
        min_events=pick(dice, 0, 100),
        position=HERE,
    )


def built(text: str) -> list[ReliabilityPolicy]:
    source = load_source(text.encode(), "x.yml")
    assert source.problems == ()
    return [build_reliability(each, SOURCE) for each in source.documents]


@settings(max_examples=150)
@given(st.integers(0, 2**64))
def test_a_policy_that_is_written_and_read_is_the_same_policy(seed: int) -> None:
    policy = policy_of(Random(seed))  # noqa: S311 - chance for a test, no secret
    (back,) = built(documents_text([document_of(policy)]))
    assert bare(asdict(back)) == bare(asdict(policy))


@settings(max_examples=150)
@given(st.integers(0, 2**64))
def test_a_policy_that_goes_out_as_openslo_comes_back_the_same(seed: int) -> None:
    policy = policy_of(Random(seed))  # noqa: S311 - as above
    out = export_openslo([policy])
    found = carried(documents_text(out.documents))
    (back,) = built(documents_text(found.documents))
    assert document_of(back) == document_of(policy), messages(found)


def test_what_goes_out_is_what_openslo_asks_for(tmp_path: Path) -> None:
    out = export_openslo([policy_of(Random(7))])  # noqa: S311 - as above
    kinds = [each["kind"] for each in out.documents]
    assert kinds[0] == "Service"
    assert {"SLO", "AlertPolicy", "AlertNotificationTarget"} <= set(kinds)
    names = [each["metadata"]["name"] for each in out.documents]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() and name == name.lower() and len(name) <= 63 for name in names)
    for document in out.documents:
        assert document["apiVersion"] == "openslo/v1"
        if document["kind"] == "AlertPolicy":
            assert len(document["spec"]["conditions"]) == 1
        if document["kind"] == "SLO":
            (objective,) = document["spec"]["objectives"]
            assert isinstance(objective["target"], Decimal)
            assert len(document["spec"]["timeWindow"]) == 1


def test_a_document_that_was_changed_since_it_went_out_is_believed_before_its_annotation() -> None:
    out = documents_text(export_openslo(built(POLICY)).documents)
    changed = out.replace("target: 0.999", "target: 0.99").replace("query: bad_total", "query: errors_total")
    (target,) = built(documents_text(carried(changed).documents))[0].targets
    assert target.target == Decimal("0.99")
    assert target.indicator == Events(bad="errors_total", total="all_total")


POLICY = """
apiVersion: opsascode/v1
kind: ReliabilityPolicy
metadata: {name: shop}
spec:
  slo_targets: {availability: 99.9%}
  indicators: {availability: {bad: bad_total, total: all_total}}
  escalation_chain: [{notify: team:sre}]
"""


def test_decimals_in_a_file_are_digits_not_binary_numbers() -> None:
    text = documents_text([{"a": Decimal("0.9995"), "b": Decimal("1E+2"), "c": [Decimal("14.4")]}])
    assert text == "a: 0.9995\nb: 100\nc:\n  - 14.4\n"


@settings(max_examples=200)
@given(
    st.recursive(
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-1000, 1000),
            st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Cn", "Zl", "Zp"]), max_size=20),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.text("abc: #-'\"", min_size=1, max_size=6), inner, max_size=3),
        ),
        max_leaves=8,
    ).map(lambda value: {"key": value})
)
def test_plain_values_that_are_written_are_read_back(value: dict[str, Any]) -> None:
    source = load_source(documents_text([value]).encode(), "x.yml")
    assert [each.value for each in source.documents] == [value]
