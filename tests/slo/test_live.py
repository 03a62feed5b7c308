"""What policies ask for is held against a real Prometheus: metrics, buckets, ratios, and how long it remembers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from opsascode.repo import Problem, PrometheusSettings, Severity
from opsascode.slo import PrometheusClient, PrometheusError, check_live
from tests.slo.documents import policy_in
from tests.slo.prometheus import Exporter, Prometheus, running_prometheus

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with (
        Exporter() as shop,
        running_prometheus(tmp_path_factory.mktemp("live"), targets=[shop.address]) as started,
    ):
        good = shop.counter("http_requests_total", service="shop", code="200")
        took = shop.histogram("took_seconds", buckets=(0.1, 0.25, 1.0), service="shop")
        shop.gauge("failing_share", zone="a").set(0.25)
        shop.gauge("failing_share", zone="b").set(0.5)
        started.wait_for("http_requests_total")
        good.inc(100)
        took.observe(0.2)
        started.wait_for("http_requests_total", lambda values: values == [100])
        yield started


def problems(prometheus: Prometheus, tmp_path: Path, spec: str) -> tuple[Problem, ...]:
    client = PrometheusClient.of(PrometheusSettings(url=prometheus.url), root=Path("/none"), environment={})
    found = check_live((policy_in(tmp_path, spec),), client, datetime.now(UTC))
    assert found.failed is None
    return found.problems


def availability(indicator: str) -> str:
    return f"window: 1d\nslo_targets: {{availability: 99%}}\nindicators: {{availability: {indicator}}}"


def test_what_is_there_is_no_problem(prometheus: Prometheus, tmp_path: Path) -> None:
    spec = """
        window: 1d
        slo_targets: {availability: 99%, latency_p95_ms: 250, latency_p99_ms: 1000}
        indicators: {latency: {histogram: took_seconds, selector: {service: shop}}}
        """
    assert problems(prometheus, tmp_path, spec) == ()


@pytest.mark.parametrize(
    ("spec", "code", "words", "severity"),
    [
        (availability("{bad: 'http_requests_total{code=\"500\"}', total: 'http_requests_total{service=\"other\"}'}"),
         "metric-missing", 'no samples of http_requests_total{service="other"} in the last hour', Severity.ERROR),
        (availability("{good: no_such_total, total: http_requests_total}"),
         "metric-missing", "no samples of no_such_total", Severity.ERROR),
        (availability("{bad: no_such_total, total: http_requests_total}"),
         "metric-missing", "no samples of no_such_total", Severity.WARNING),
        (availability("{bad: http_requests_total, total: 'sum(rate(no_such_total[$window]))'}"),
         "metric-missing", "sum(rate(no_such_total[$window])) gives nothing", Severity.ERROR),
        (availability("{bad: http_requests_total, total: 'no_such_function(up[$window])'}"),
         "metric-query", "refuses the query", Severity.ERROR),
        (availability("{raw: failing_share, of: failures}"),
         "metric-series", "gives 2 series where one is needed; the labels that differ: zone", Severity.ERROR),
        (availability("{raw: 'sum(failing_share) * 4', of: failures}"),
         "metric-range", "gives 3 now, and a ratio is between 0 and 1", Severity.ERROR),
        (availability("{raw: no_such_share, of: failures}"), "metric-missing", "gives nothing now", Severity.ERROR),
        ("window: 1d\nslo_targets: {latency_p95_ms: 150}\nindicators: {latency: {histogram: took_seconds}}",
         "metric-bucket", "took_seconds has no bucket at 0.15 seconds; the nearest are 0.1 and 0.25", Severity.ERROR),
        ("window: 1d\nslo_targets: {latency_p95_ms: 5000}\nindicators: {latency: {histogram: took_seconds}}",
         "metric-bucket", "no bucket at 5 seconds; the nearest are 1", Severity.ERROR),
        ("window: 1d\nslo_targets: {latency_p95_ms: 150}\nindicators: {latency: {histogram: no_such}}",
         "metric-missing", "no samples of no_such_bucket", Severity.ERROR),
        ("window: 90d\nslo_targets: {availability: 99%}",
         "metric-retention", "the budget runs over 90d, and Prometheus keeps samples for 15d", Severity.WARNING),
    ],
)  # fmt: skip
def test_what_is_not_there_is_a_problem_at_the_promise(
    prometheus: Prometheus, tmp_path: Path, spec: str, code: str, words: str, severity: Severity
) -> None:
    found = [each for each in problems(prometheus, tmp_path, spec) if each.code == code]
    assert [each for each in found if words in each.message and each.severity is severity], found
    assert all(each.position.path == "policies/shop.yml" for each in found)
    assert all(each.mend for each in found)


def test_more_good_events_than_events_is_told(tmp_path: Path) -> None:
    spec = availability("{good: good_total, total: all_total}")
    with Exporter() as shop, running_prometheus(tmp_path, targets=[shop.address]) as prometheus:
        good, every = shop.counter("good_total"), shop.counter("all_total")
        prometheus.wait_for("good_total")
        good.inc(100)
        every.inc(50)
        prometheus.wait_for("good_total + all_total", lambda values: values == [150])
        (problem,) = problems(prometheus, tmp_path, spec)
    assert problem.code == "metric-more-than-all"
    assert "2.00 times as many good events as events in all" in problem.message


def test_a_prometheus_that_is_down_is_no_problem_of_the_documents(tmp_path: Path) -> None:
    client = PrometheusClient.of(PrometheusSettings(url="http://127.0.0.1:9"), root=Path("/none"), environment={})
    found = check_live((policy_in(tmp_path, "slo_targets: {availability: 99%}"),), client, datetime.now(UTC))
    assert found.problems == ()
    assert isinstance(found.failed, PrometheusError)
