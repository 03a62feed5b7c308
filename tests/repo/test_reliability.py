"""What a reliability policy promises, exactly, and what holds where it is silent; damage is answered with problems."""

from __future__ import annotations

import copy
import json
import random
import re
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from opsascode.repo import (
    AlertLevel,
    AlertWindow,
    BudgetLevel,
    CalendarPeriod,
    CalendarUnit,
    Events,
    Fallback,
    Histogram,
    HistogramUnit,
    InvalidDocumentsError,
    Notify,
    OverrideNeeded,
    Policies,
    ProtectedFile,
    Raw,
    ReliabilityPolicy,
    RemediationCause,
    RemediationMode,
    Rolling,
    Source,
    Target,
    TimeSlices,
    TriggerStep,
    check_repository,
    load_source,
    open_repository,
    policies_of,
    snapshot_of,
)
from opsascode.repo._analysis import analyse
from opsascode.repo._documents import Kind
from opsascode.repo._facts import FileFacts
from opsascode.repo._promql_text import events_fault, expression_fault, ratio_fault
from opsascode.repo._reliability_build import build_reliability
from opsascode.repo._schema import kind_of, schema_problems, validator

if TYPE_CHECKING:
    from tests.repo.conftest import World

HEAD = "apiVersion: opsascode/v1\nkind: ReliabilityPolicy\nmetadata: {name: shop}\nspec:\n"
FRAGMENT = """\
  slo_targets:
    availability: 99.95%
    latency_p95_ms: 150
  error_budget_thresholds:
    warn: 50%
    critical: 80%
  escalation_chain:
    - notify: sre@workspace
    - trigger: copilot.auto_remediate
"""
WHOLE = """\
  service: till
  window: {calendar: month, timezone: Europe/Berlin}
  slo_targets:
    availability: {target: 99.9%, title: Orders go through, method: {slices: 1m, target: 95%}, min_events: 100}
    latency_p999_ms: {threshold_ms: 2.5, indicator: slow}
    exports: {target: 99%, indicator: exports}
    uploads: {target: 99.5%, threshold_ms: 300, indicator: native}
  min_events: 10
  indicators:
    availability: {good: 'orders_total{result="ok"}', total: orders_total}
    slow: {histogram: order_ms, selector: {job: 'a "b"'}, unit: milliseconds}
    native: {histogram: upload_seconds, native: true}
    exports: {raw: 'avg(export_ok)', of: successes}
  error_budget_thresholds: {warn: 40%, critical: 75.5%}
  alerting: [{level: page, long: 1h, short: 5m, budget: 2%}]
  escalation_chain:
    - {notify: team:sre, after: 5m}
    - {trigger: 'runbook:restart', after: 15m}
  gate:
    warn_at: never
    block_at: exhausted
    exempt: []
    block_on_page: false
    incident_rank: never
    freeze: [quiet]
    no_data: {grace: 30m, then: pass}
    override: never
    scoring:
      criteria: [{name: errors, query: x, pass: ['<600', '<=+10%'], warn: ['<900'], weight: 2, key: true}]
  scaling: [{at: exhausted, resource: hosts, percent: 12.5%}]
  remediation:
    - {name: a, on: [page, critical], targets: [availability], runbook: restart, with: {n: 1}, mode: auto, most: 1, within: 2h}
    - {name: b, on: [ticket], runbook: restart}
"""


def policy(text: str) -> ReliabilityPolicy:
    data = (HEAD + text).encode()
    facts = analyse(data, "policies/a.yml")
    assert facts.problems == (), [each.message for each in facts.problems]
    (document,) = load_source(data, "policies/a.yml").documents
    return build_reliability(document, Source.of("policies/a.yml", data))


def target(found: ReliabilityPolicy, name: str) -> Target:
    each = found.target(name)
    assert each is not None
    return each


def test_the_source_document_means_what_it_says() -> None:
    found = policy(FRAGMENT)
    availability, latency = found.targets
    assert (availability.id, availability.target) == ("availability", Decimal("0.9995"))
    assert (latency.id, latency.target) == ("latency_p95_ms", Decimal("0.95"))
    assert (found.thresholds.warn, found.thresholds.critical) == (Decimal("0.5"), Decimal("0.8"))
    notify, trigger = found.escalation_chain
    assert isinstance(notify, Notify)
    assert (notify.whom, notify.after) == ("sre@workspace", None)
    assert isinstance(trigger, TriggerStep)
    assert (trigger.runbook, trigger.after) == (None, None)


def test_what_the_source_document_leaves_open_is_the_usual() -> None:
    found = policy(FRAGMENT)
    assert (found.service, found.window) == ("shop", Rolling(length=timedelta(days=30)))
    assert target(found, "availability").indicator == Events(
        bad='http_requests_total{service="shop",code=~"5.."}', total='http_requests_total{service="shop"}'
    )
    assert target(found, "latency_p95_ms").indicator == Histogram(
        metric="http_request_duration_seconds", selector={"service": "shop"}, threshold=Decimal("0.15")
    )
    gate = found.gate
    assert (gate.warn_at, gate.block_at) == (BudgetLevel.WARN, BudgetLevel.CRITICAL)
    assert (gate.exempt, gate.freeze) == (("rollback", "security", "reliability"), ())
    assert (gate.block_on_page, gate.incident_rank, gate.scoring) == (True, 1, None)
    assert (gate.grace, gate.unknown) == (timedelta(hours=1), Fallback.BLOCK)
    assert gate.override == OverrideNeeded(required=2, role=None, lifetime=timedelta(hours=4))
    assert (found.alerting, found.remediation, found.scaling) == ((), (), ())


def test_everything_that_can_be_said_is_built() -> None:
    found = policy(WHOLE)
    assert (found.service, found.window) == (
        "till",
        CalendarPeriod(unit=CalendarUnit.MONTH, timezone="Europe/Berlin"),
    )
    availability = target(found, "availability")
    assert (availability.title, availability.min_events) == ("Orders go through", 100)
    assert availability.slices == TimeSlices(length=timedelta(minutes=1), target=Decimal("0.95"))
    assert availability.indicator == Events(good='orders_total{result="ok"}', total="orders_total")
    slow = target(found, "latency_p999_ms")
    assert (slow.target, slow.min_events, slow.slices, slow.indicator_name) == (Decimal("0.999"), 10, None, "slow")
    assert slow.indicator == Histogram(
        metric="order_ms", selector={"job": 'a "b"'}, threshold=Decimal("2.5"), unit=HistogramUnit.MILLISECONDS
    )
    assert target(found, "uploads").indicator == Histogram(
        metric="upload_seconds", selector={}, threshold=Decimal("0.3"), native=True
    )
    assert target(found, "exports").indicator == Raw(query="avg(export_ok)", of_failures=False)
    assert (found.thresholds.warn, found.thresholds.critical) == (Decimal("0.4"), Decimal("0.755"))
    assert found.alerting == (
        AlertWindow(level=AlertLevel.PAGE, long=timedelta(hours=1), short=timedelta(minutes=5), budget=Decimal("0.02")),
    )
    assert [each.after for each in found.escalation_chain] == [timedelta(minutes=5), timedelta(minutes=15)]
    assert isinstance(found.escalation_chain[1], TriggerStep)
    assert found.escalation_chain[1].runbook == "restart"


def test_a_gate_and_what_helps_are_built() -> None:
    found = policy(WHOLE)
    gate = found.gate
    assert (gate.warn_at, gate.block_at, gate.incident_rank, gate.override) == (None, BudgetLevel.EXHAUSTED, None, None)
    assert (gate.exempt, gate.freeze, gate.block_on_page) == ((), ("quiet",), False)
    assert (gate.grace, gate.unknown) == (timedelta(minutes=30), Fallback.PASS)
    assert gate.scoring is not None
    assert (gate.scoring.passes, gate.scoring.warns) == (Decimal("0.9"), Decimal("0.75"))
    assert (gate.scoring.window, gate.scoring.compare_with) == (timedelta(minutes=10), 3)
    (criterion,) = gate.scoring.criteria
    assert (criterion.passes, criterion.warns) == (("<600", "<=+10%"), ("<900",))
    assert (criterion.weight, criterion.key) == (2, True)
    first, second = found.remediation
    assert (first.causes, first.targets) == ((RemediationCause.PAGE, RemediationCause.CRITICAL), ("availability",))
    assert (first.runbook, first.parameters, first.mode) == ("restart", {"n": 1}, RemediationMode.AUTO)
    assert (first.most, first.within) == (1, timedelta(hours=2))
    assert (second.mode, second.most, second.within) == (RemediationMode.APPROVE, 3, timedelta(hours=1))
    (hint,) = found.scaling
    assert (hint.at, hint.resource, hint.percent) == (BudgetLevel.EXHAUSTED, "hosts", Decimal("12.5"))


def test_everything_has_its_place() -> None:
    found = policy(FRAGMENT)
    lines = (HEAD + FRAGMENT).splitlines()
    for position, word in (
        (target(found, "latency_p95_ms").position, "latency_p95_ms"),
        (found.escalation_chain[0].position, "sre@workspace"),
        (found.escalation_chain[1].position, "copilot.auto_remediate"),
    ):
        assert lines[position.line - 1][position.column - 1 :].startswith(word)


@given(st.integers(1, 9_999_999), st.sampled_from(["", "0"]))
def test_a_percentage_is_exactly_a_share(hundred_thousandths: int, zero: str) -> None:
    written = Decimal(hundred_thousandths) / 100_000
    text = f"{written:f}"
    text = text if "." not in text or len(text.partition(".")[2]) > 4 else text + zero
    found = policy(f"  slo_targets: {{availability: {text}%}}\n  escalation_chain: [{{notify: team:sre}}]\n")
    assert found.targets[0].target * 10_000_000 == hundred_thousandths


@pytest.mark.parametrize(("number", "share"), [
    ("50", "0.5"), ("95", "0.95"), ("99", "0.99"), ("995", "0.995"), ("999", "0.999"), ("9999", "0.9999"),
])  # fmt: skip
def test_the_id_of_a_latency_says_of_how_many_requests(number: str, share: str) -> None:
    found = policy(f"  slo_targets: {{latency_p{number}_ms: 1.5}}\n  escalation_chain: [{{notify: team:sre}}]\n")
    (promised,) = found.targets
    assert promised.target == Decimal(share)
    assert isinstance(promised.indicator, Histogram)
    assert promised.indicator.threshold == Decimal("0.0015")


@pytest.mark.parametrize("text", [
    "x", "x:y_total", 'x{a="b"}', "x{a='b',}", "{a=~`b`}", ' x { a != "}" , b="\\"" } ', "x{}",
    "sum(rate(x[$window])) + rate(y[$window])",
])  # fmt: skip
def test_what_can_count_events(text: str) -> None:
    assert events_fault(text) is None


@pytest.mark.parametrize("text", [
    "", " ", "{}", "x[5m]", "sum(x)", 'x{a="b"', 'x{a="b}', "x{a=b}", 'x{a="b"} or y', "x) or (y", "x # y[$window]",
    'x{a="b\n"}', "rate(x[$window]", 'x{a="b"}}', "1x", "x{le=}", "x, y",
    'sum(x{a="$window"})', "rate(x[$window]) + $more",
])  # fmt: skip
def test_what_cannot_count_events(text: str) -> None:
    assert events_fault(text) is not None


@given(st.text("x(){}[]\"'`\\# $\n", max_size=12))
def test_what_is_accepted_cannot_reach_out_of_brackets(text: str) -> None:
    if expression_fault(text) is None:
        bare = re.sub(r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`""", "", text)
        assert not set(bare) & set("\"'`#")
        assert bare.count("(") == bare.count(")")
        depth = 0
        for character in bare:
            depth += (character in "([{") - (character in ")]}")
            assert depth >= 0
        assert depth == 0


def test_a_ratio_is_asked_as_it_is() -> None:
    assert ratio_fault("avg_over_time(x[5m]) / 100") is None
    assert ratio_fault('x{a="$1"}') is None
    assert ratio_fault("rate(x[$window])") is not None


# beside others

CALENDAR = (
    "apiVersion: opsascode/v1\nkind: Calendar\nmetadata: {name: quiet}\nspec:\n  timezone: UTC\n"
    '  windows: [{name: a, days: [sat], from: "00:00", to: "24:00", reason: quiet}]\n'
)
SEVERITY = (
    "apiVersion: opsascode/v1\nkind: SeverityScheme\nmetadata: {name: p}\nspec:\n  levels:\n"
    "    - {rank: 0, label: P0, aliases: [critical], impact: 50%, acknowledge_within: 5m, resolve_within: 1h}\n"
    "    - {rank: 2, label: P2}\n"
)
GUARDRAIL = (
    "apiVersion: opsascode/v1\nkind: Guardrail\nmetadata: {name: small}\n"
    "spec:\n  require: {max_hosts: 3}\n  reason: because\n"
)
FILES = {
    "policies/a.yml": HEAD + FRAGMENT,
    "policies/b.yml": f"{GUARDRAIL}---\n{CALENDAR}---\n{SEVERITY}",
    "policies/c.yml": (HEAD + WHOLE).replace("name: shop", "name: till"),
}


def protected(files: dict[str, str]) -> Policies:
    return policies_of(snapshot_of("", [ProtectedFile.of(path, text.encode()) for path, text in files.items()]))


def test_policies_of_the_work_tree_and_of_a_snapshot_are_the_same(world: World) -> None:
    here, there = open_repository(world(FILES)).policies(), protected(FILES)
    assert here == there
    assert [each.metadata.name for each in here.reliability] == ["shop", "till"]
    assert [each.metadata.name for each in here.guardrails] == ["small"]
    assert [each.service for each in here.of_service("till")] == ["till"]
    assert here.calendar("quiet") is here.calendars[0]
    assert here.calendar("loud") is None
    (scheme,) = here.severities
    first, second = scheme.levels
    assert (first.rank, first.label, first.aliases, first.impact) == (0, "P0", ("critical",), Decimal(50))
    assert (first.acknowledge_within, first.resolve_within) == (timedelta(minutes=5), timedelta(hours=1))
    assert (second.rank, second.impact, second.resolve_within) == (2, None, None)


def test_one_broken_document_makes_all_policies_unusable(world: World) -> None:
    broken = {**FILES, "policies/d.yml": SEVERITY.replace("rank: 2", "rank: 7").replace("name: p", "name: q")}
    with pytest.raises(InvalidDocumentsError, match="at most 4"):
        open_repository(world(broken)).policies()
    with pytest.raises(InvalidDocumentsError, match="at most 4"):
        protected(broken)


def test_a_gate_whose_calendar_is_missing_makes_all_policies_unusable(world: World) -> None:
    missing = {**FILES, "policies/b.yml": GUARDRAIL}
    with pytest.raises(InvalidDocumentsError, match="there is no calendar «quiet»"):
        open_repository(world(missing)).policies()
    with pytest.raises(InvalidDocumentsError, match="there is no calendar «quiet»"):
        protected(missing)


def test_what_is_kept_of_a_file_says_the_same_as_the_file(world: World) -> None:
    data = FILES["policies/c.yml"].encode()
    facts = analyse(data, "policies/c.yml")
    assert FileFacts.from_plain(json.loads(json.dumps(facts.plain())), "policies/c.yml") == facts
    (document,) = facts.documents
    assert [(each.kind, each.name) for each in document.names] == [("Calendar", "quiet")]
    assert [each.name for each in document.runbooks] == ["restart", "restart", "restart"]
    root = world(FILES)
    first, second = (check_repository(open_repository(root)).problems for _ in range(2))
    assert first == second
    assert {each.code for each in first} == {"unknown-runbook"}


# settings

SETTINGS = "apiVersion: opsascode/v1\nkind: Repository\nmetadata: {name: ours}\nspec:\n"


def test_how_prometheus_is_asked(world: World) -> None:
    text = (
        f"{SETTINGS}  prometheus: {{url: 'https://p:9090', timeout: 500s, ca_file: ca.pem, username: ops, "
        "password: 'env:PASSWORD'}\n"
    )
    found = open_repository(world({"opsascode.yml": text})).settings
    asked = found.prometheus
    assert asked is not None
    assert found.prometheus_url == asked.url == "https://p:9090"
    assert (asked.timeout, asked.ca_file) == (timedelta(seconds=500), "ca.pem")
    assert (asked.username, asked.password, asked.bearer) == ("ops", "env:PASSWORD", None)


def test_how_prometheus_is_asked_by_default(world: World) -> None:
    asked = open_repository(
        world({"opsascode.yml": f"{SETTINGS}  prometheus: {{url: 'http://p'}}\n"})
    ).settings.prometheus
    assert asked is not None
    assert asked.timeout == timedelta(seconds=10)
    assert (asked.bearer, asked.ca_file) == (None, None)
    assert open_repository(world({"opsascode.yml": SETTINGS + "  {}\n"})).settings.prometheus_url is None


# damage

ODD: list[Any] = [
    None, True, 0, -1, 2.5, 10**30, "", "x", "100%", "0%", "NaN", "0s", "5m", "9999999d", [], {}, [1], [[]], [None],
    {"a": 1}, {"target": "1%"}, {"total": 1}, {"histogram": "h"}, {"raw": "("}, {"calendar": "week", "timezone": "X"},
]  # fmt: skip
KEYS = ("target", "threshold_ms", "indicator", "good", "total", "raw", "x", "scoring", "override", "after", "with")
SEEDS = [yaml.safe_load(HEAD + each) for each in (WHOLE, FRAGMENT)] + [yaml.safe_load(SEVERITY)]


def places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, child in inner:
        found += [(value, key), *places(child)]
    return found


def damaged(chance: random.Random) -> bytes:
    value = copy.deepcopy(chance.choice(SEEDS))
    for _ in range(chance.randint(1, 4)):
        container, key = chance.choice(places(value) or [({}, "x")])
        deed = chance.random()
        if deed < 0.5:
            container[key] = copy.deepcopy(chance.choice(ODD))
        elif deed < 0.7:
            del container[key]
        elif isinstance(container, dict):
            container[chance.choice(KEYS)] = copy.deepcopy(chance.choice(ODD))
    return json.dumps(value, ensure_ascii=False).encode()


@given(st.integers())
def test_damage_is_answered_with_problems(seed: int) -> None:
    data = damaged(random.Random(seed))  # noqa: S311 - damage, not secrets
    facts = analyse(data, "policies/x.yml")
    for document in load_source(data, "policies/x.yml").documents:
        kind = kind_of(document)
        if kind is None:
            continue
        assert bool(list(validator(kind).iter_errors(document.value))) == bool(schema_problems(document))
        if not facts.problems and kind is Kind.RELIABILITY_POLICY:
            build_reliability(document, Source.of("policies/x.yml", data))
