"""Generated rules, by the real promtool: they are clean, their unit tests pass, and those tests can fail."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from opsascode.errors import DocumentError
from opsascode.repo import AlertLevel, AlertWindow, Histogram
from opsascode.slo import (
    bucket_edges,
    dashboard,
    file_names,
    queries_of,
    query_problem,
    rule_files,
    rule_tests,
    rules_text,
    unit_tests_text,
)
from opsascode.slo._promql import quoted, selector, span
from opsascode.slo._written import scalar
from tests.slo.promises import (
    BAD_TOTAL,
    DAY,
    FAST,
    NATIVE,
    SHAPES,
    calendar,
    gate,
    of,
    policy,
    rolling,
    target,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opsascode.repo import ReliabilityPolicy
    from opsascode.slo import RuleFile

CASES = ("thresholds", "no series", "outage and recovery", "slow burn", "idle", "never failing", "uneven load")
ALERTS = ("SloBudgetBurnsFast", "SloBudgetBurns", "SloMetricLost", "SloNoTraffic", "SloCountsWrong")


def one_file(*policies: ReliabilityPolicy) -> RuleFile:
    (file,) = rule_files(of(*policies))
    return file


def promtool(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *words], capture_output=True, text=True, check=False, timeout=300)


def run_unit_tests(place: Path, file: RuleFile, change: Callable[[str], str] = str) -> subprocess.CompletedProcess[str]:
    """Write rules, changed, beside their unchanged unit tests, and run these."""
    (place / f"{file.name}.rules.yml").write_text(change(rules_text(file)), "utf-8")
    tests = place / f"{file.name}.test.yml"
    tests.write_text(unit_tests_text(rule_tests(file)), "utf-8")
    return promtool("test", "rules", tests)


@pytest.mark.parametrize("shape", SHAPES)
def test_rules_pass_every_check_of_promtool_and_their_own_unit_tests(shape: str, tmp_path: Path) -> None:
    file = one_file(SHAPES[shape])
    done = run_unit_tests(tmp_path, file)
    assert done.returncode == 0, done.stdout + done.stderr
    linted = promtool("check", "rules", "--lint=all", "--lint-fatal", tmp_path / f"{file.name}.rules.yml")
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_all_policies_of_a_service_share_a_file_without_duplicate_rules(tmp_path: Path) -> None:
    same = [
        replace(each, metadata=replace(each.metadata, name=f"p-{name}"), service="shop")
        for name, each in SHAPES.items()
    ]
    file = one_file(*same)
    written = tmp_path / "all.rules.yml"
    written.write_text(rules_text(file), "utf-8")
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", written)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_promise_of_events_has_every_case() -> None:
    tests = rule_tests(one_file(SHAPES["bad-99.95"]))
    assert {each.name for each in tests.cases} == set(CASES)
    assert tests.left_out == ()


def test_what_cannot_be_fed_is_told_in_the_file() -> None:
    file = one_file(SHAPES["together"])
    tests = rule_tests(file)
    assert [each.partition(":")[0] for each in tests.left_out] == ["shop/native"]
    assert "# shop/native: no series can be invented" in unit_tests_text(tests)


def test_the_same_case_of_promises_that_share_no_metric_is_one_test() -> None:
    tests = rule_tests(one_file(SHAPES["together"]))
    outage = [each.about for each in tests.cases if each.name == "outage and recovery"]
    assert ("shop/availability", "shop/latency_p95_ms", "shop/probe") in outage
    assert ("shop/latency_p99_ms",) in outage  # the same histogram again


# The unit tests can fail: each of these makes the rules wrong in one place.

EVENTS = replace(SHAPES["bad-99.95"], gate=gate())
MUTATIONS: dict[str, tuple[ReliabilityPolicy, str, str]] = {
    "page threshold higher": (EVENTS, "> 0.0072", "> 0.0075"),
    "page threshold lower": (EVENTS, "> 0.0072", "> 0.0069"),
    "slow page threshold": (EVENTS, "> 0.003)", "> 0.0033)"),
    "ticket threshold": (EVENTS, "> 0.0015)", "> 0.0014)"),
    "slow ticket threshold": (EVENTS, "> 0.0005)", "> 0.00055)"),
    "no vector(0)": (EVENTS, " or vector(0)", ""),
    "no guard against NaN": (EVENTS, " > 0)", ")"),
    "short window measured long": (EVENTS, "[5m]", "[1h]"),
    "windows swapped between pairs": (EVENTS, "ratio_rate30m{opsascode_id", "ratio_rate5m{opsascode_id"),
    "long window left out": (EVENTS, "ratio_rate1h{opsascode_id", "ratio_rate5m{opsascode_id"),
    "either window is enough": (EVENTS, "\n          and\n", "\n          or\n"),
    "mean of ratios": (
        EVENTS,
        r"sum\(sum_over_time\(slo:events_bad:rate5m(\{.*?\})\[30d\]\)\) / .*?'$",
        r"avg_over_time(slo:sli_error:ratio_rate5m\1[30d])'",
    ),
    "page is a ticket": (EVENTS, "severity: page", "severity: ticket"),
    "page is gone": (EVENTS, "alert: SloBudgetBurnsFast", "alert: Other"),
    "page without waiting": (EVENTS, "        for: 2m\n", ""),
    "lost metric never told": (EVENTS, "absent(", "absent(vector(1) or "),
    "idle service is a lost metric": (EVENTS, r"absent\((http\S+)\)", r"absent(rate(\1[5m]) > 0)"),
    "no traffic never told": (EVENTS, " == 0'", " < 0'"),
    "budget threshold": (EVENTS, ">= 0.8 ", ">= 0.95 "),
    "budget of another target": (EVENTS, "/ 0.0005", "/ 0.0006"),
    "errors of all": (EVENTS, r'code=~"5..",', ""),
    "wrong bucket": (SHAPES["latency-95"], 'le="0.15"', 'le="0.1"'),
    "bucket spelled one way": (SHAPES["latency-90"], r'le=~"1|1\\.0"', 'le="1"'),
    "good taken for bad": (SHAPES["good"], r"checkout_begun_total(\S+) - \(sum", r"checkout_begun_total\1 * 0 + (sum"),
    "successes taken for failures": (SHAPES["raw-successes"], "1 - (", "0 + ("),
    "slice never bad": (SHAPES["slices"], "> bool 0.05", "> bool 1"),
    "period not told apart": (SHAPES["month"], "* slo:period_elapsed:ratio", "+ 0 * slo:period_elapsed:ratio"),
    "month of another zone": (SHAPES["month"], "time() + 3600", "time() - 3600"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_unit_tests_fail_where_a_rule_is_wrong(name: str, tmp_path: Path) -> None:
    shape, old, new = MUTATIONS[name]

    def change(text: str) -> str:
        literal = old in text
        changed = text.replace(old, new) if literal else re.sub(old, new, text, flags=re.MULTILINE)
        assert changed != text
        return changed

    done = run_unit_tests(tmp_path, one_file(shape), change)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED" in done.stdout + done.stderr
    assert "parse" not in done.stderr


def test_alerts_say_everything_a_person_needs(tmp_path: Path) -> None:
    """One outage, told exactly: labels and annotations as Prometheus prints them."""
    file = one_file(SHAPES["strange"])
    (tmp_path / "rules.yml").write_text(rules_text(file), "utf-8")
    name = 'a "b" {{ $value }} \\ \u00fc\u4e16'
    series = [f"jobs_total{{name={quoted(name)},ok={quoted(ok)}}}" for ok in ("no", "200")]
    told = {
        "exp_labels": {
            "opsascode_id": "shop/jobs",
            "opsascode_policy": "shop",
            "opsascode_service": file.service,
            "opsascode_slo": "jobs",
            "severity": "page",
        },
        "exp_annotations": {
            "summary": f'{file.service}: the error budget of jobs of "{{{{ $labels.x }}}}" \u4e16\n burns too fast',
            "description": "The promise is 99.9% good events in 30d. Its budget burns faster than allowed: "
            "14.4 times over 1h and 5m or 6 times over 6h and 30m.",
            "escalation": "1. tell team:sre; 2. start restart after 5m",
            "now": "100% of events are bad",
            "policy": "policies/reliability.yml",
        },
    }
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": series[0], "values": "0+0x30 10+10x30"},
                    {"series": series[1], "values": "0+10x30 300+0x30"},
                ],
                "alert_rule_test": [
                    {"eval_time": "50m", "alertname": "SloBudgetBurnsFast", "exp_alerts": [told]},
                    {"eval_time": "20m", "alertname": "SloBudgetBurnsFast", "exp_alerts": []},
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps(test, ensure_ascii=False), "utf-8")
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_that_can_never_fire_is_left_out_and_told() -> None:
    ninety = SHAPES["latency-90"]
    file = one_file(ninety)
    (dropped,) = file.dropped
    assert dropped.message == "shop/latency_p90_ms: no page over 1h/5m: it asks for more than 144% bad events"
    assert f"# Left out, as it can never fire: {dropped.message}" in rules_text(file)
    assert "> 1.44" not in rules_text(file)
    pages = [rule.expr for group in file.groups for rule in group.rules if rule.alert == "SloBudgetBurnsFast"]
    assert len(pages) == 1
    assert "ratio_rate6h" in pages[0]


def test_where_no_pair_of_a_level_can_fire_there_is_no_such_alert() -> None:
    file = one_file(SHAPES["ticket-only"])
    alerts = [rule.alert for group in file.groups for rule in group.rules if rule.alert]
    assert "SloBudgetBurnsFast" not in alerts
    assert "SloBudgetBurns" in alerts
    lost = next(rule for group in file.groups for rule in group.rules if rule.alert == "SloMetricLost")
    assert lost.labels["severity"] == "ticket"


def test_every_recorded_series_is_told_apart_by_its_labels() -> None:
    seen: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    for file in rule_files(of(*(replace(each, service=name) for name, each in SHAPES.items()))):
        for group in file.groups:
            for rule in group.rules:
                key = (f"{file.name} {rule.name}", tuple(sorted(rule.labels.items())))
                assert key not in seen
                seen.add(key)


def test_rules_do_not_depend_on_commits_nor_on_the_order_of_documents() -> None:
    one, two = (replace(SHAPES["good"], service=name) for name in ("a", "b"))
    other = replace(one, source=replace(one.source, digest="sha256:11"))
    assert [rules_text(each) for each in rule_files(of(one, two))] == [
        rules_text(each) for each in rule_files(of(two, other))
    ]


def test_windows_of_a_policy_replace_the_usual_ones(tmp_path: Path) -> None:
    window = AlertWindow(
        level=AlertLevel.PAGE, long=timedelta(minutes=2), short=timedelta(seconds=20), budget=Decimal("0.00005")
    )
    file = one_file(policy(target("availability", "0.99", BAD_TOTAL), alerting=(window,)))
    text = rules_text(file)
    assert "ratio_rate2m" in text
    assert "interval: 4s" in text
    assert "SloBudgetBurns\n" not in text
    done = run_unit_tests(tmp_path, file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("threshold", "edges"),
    [
        ("0.15", ("0.15",)),
        ("1", ("1", "1.0")),
        ("1.50", ("1.5",)),
        ("150", ("150", "150.0")),
        ("1000000", ("1000000", "1000000.0", "1e+06")),
        ("2500000", ("2500000", "2500000.0", "2.5e+06")),
        ("0.00005", ("0.00005", "5e-05")),
    ],
)
def test_a_bucket_is_found_however_its_edge_is_spelled(threshold: str, edges: tuple[str, ...]) -> None:
    assert bucket_edges(Decimal(threshold)) == edges


def test_native_histograms_are_asked_without_buckets() -> None:
    asked = queries_of(target("native", "0.999", NATIVE)).ratio(timedelta(hours=1))
    assert asked == (
        '1 - histogram_fraction(0, 0.3, sum(rate(call_seconds{service="shop"}[1h]))) '
        'and histogram_count(sum(rate(call_seconds{service="shop"}[1h]))) > 0'
    )


def test_a_query_that_is_no_selector_needs_a_window() -> None:
    broken = "sum(http_requests_total)"
    assert query_problem(broken) is not None
    asked = queries_of(target("x", "0.9", replace(BAD_TOTAL, total=broken)))
    with pytest.raises(DocumentError, match="is neither a selector"):
        asked.total(DAY)


@pytest.mark.parametrize(
    ("written", "printed"),
    [
        ("up", "up"),
        (" up { } ", "up"),
        ("up{b='x', a=~`y.z`,}", 'up{a=~"y.z",b="x"}'),
        ('{__name__="up"}', '{__name__="up"}'),
        (r'a{b="\u00fc\x41\"\\"}', 'a{b="\u00fcA\\"\\\\"}'),
        ("a:b:c", "a:b:c"),
        ("up[5m]", None),
        ("up offset 5m", None),
        ("a + b", None),
        ('up{a="x}', None),
        ('up{a="x"} or vector(0)', None),
        ("", None),
        ("{}", None),
    ],
)
def test_selectors_are_written_as_prometheus_prints_them(written: str, printed: str | None) -> None:
    assert selector(written) == printed


@given(st.text())
def test_any_text_survives_yaml_and_promql(text: str) -> None:
    assert yaml.safe_load(f"a: {scalar(text)}") == {
        "a": text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    }
    if not any("\ud800" <= each <= "\udfff" for each in text):
        assert selector(f"a{{b={quoted(text)}}}") == f"a{{b={quoted(text)}}}"


@given(st.timedeltas(min_value=timedelta(milliseconds=1), max_value=timedelta(days=400)))
def test_a_length_is_written_exactly(length: timedelta) -> None:
    units = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
    found = sum(int(size) * units[unit] for size, unit in re.findall(r"(\d+)(ms|[dhms])", span(length)))
    assert found == length // timedelta(milliseconds=1)


def test_files_are_named_safely_and_apart() -> None:
    names = file_names(["shop", "Shop", "a/b", "a b", "..", "\u4e16", "x" * 200])
    assert names["a/b"] != names["a b"]
    assert len({each.lower() for each in names.values()}) == 7
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,100}", each) for each in names.values())
    assert file_names(["shop"])["shop"] == "shop"


def test_a_dashboard_has_the_shape_grafana_imports() -> None:
    file = one_file(SHAPES["together"])
    made = json.loads(json.dumps(dashboard(file)))
    assert made["schemaVersion"] >= 36
    assert len(made["uid"]) <= 40
    (variable,) = made["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    panels = made["panels"]
    assert len({each["id"] for each in panels}) == len(panels) == 1 + 5 * len(file.policies[0].targets)
    cells = set()
    recorded = {rule.name for group in file.groups for rule in group.rules} | {"ALERTS"}
    for panel in panels:
        place = panel["gridPos"]
        area = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not area & cells
        assert max(x for x, _ in area) < 24
        cells |= area
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len({each["refId"] for each in panel["targets"]}) == len(panel["targets"])
        assert {each["expr"].partition("{")[0] for each in panel["targets"]} <= recorded


def test_calendar_periods_and_rolling_ones_are_named_in_the_series() -> None:
    assert "slo:sli_error:ratio_periodmonth" in rules_text(one_file(SHAPES["month"]))
    assert "slo:sli_error:ratio_period7d" in rules_text(one_file(SHAPES["7d"]))
    assert "[31d]" in rules_text(one_file(SHAPES["month"]))


def test_latency_in_milliseconds_keeps_the_edges_of_its_metric() -> None:
    indicator = Histogram(metric="took_ms", selector={}, threshold=Decimal(150))
    assert 'took_ms_bucket{le=~"150|150\\\\.0"}' in queries_of(target("x", "0.95", indicator)).bad(DAY)
    assert 'le="0.15"' in queries_of(target("x", "0.95", FAST)).bad(DAY)


def test_a_window_of_a_day_and_one_of_a_week_have_alerts() -> None:
    for window in (rolling(1), rolling(7), calendar(SHAPES["week"].window.unit)):  # type: ignore[union-attr]  # this shape has a calendar window
        names = {rule.alert for group in one_file(replace(EVENTS, window=window)).groups for rule in group.rules}
        assert set(ALERTS) <= names
