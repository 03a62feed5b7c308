"""What a real Prometheus measures is what happened: exact enough, reset-safe, and no data is no zero."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from opsascode.repo import BudgetLevel, PrometheusSettings
from opsascode.slo import PrometheusClient, SloSnapshot, measure, status_of
from tests.slo.documents import policy_in
from tests.slo.prometheus import (
    Exporter,
    Prometheus,
    backfilled_prometheus,
    counter_history,
    gauge_history,
    running_prometheus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opsascode.repo import ReliabilityPolicy

NOW = datetime.now(UTC).replace(microsecond=0, second=0) - timedelta(minutes=5)
DAYS = timedelta(days=2)
MINUTE = timedelta(minutes=1)


def client_of(prometheus: Prometheus) -> PrometheusClient:
    return PrometheusClient.of(PrometheusSettings(url=prometheus.url), root=Path("/nonexistent"), environment={})


def taken(prometheus: Prometheus, policy: ReliabilityPolicy, at: datetime = NOW) -> SloSnapshot:
    (snapshot,) = measure((policy,), client_of(prometheus), at, now=datetime.now(UTC), commit="c0ffee")
    return snapshot


def traffic(service: str, code: str, per_second: float, *, until: timedelta = timedelta(0)) -> str:
    series = f'http_requests_total{{service="{service}",code="{code}"}}'
    return counter_history(series, lambda _: per_second, start=NOW - DAYS - MINUTE, end=NOW - until)


def steady(value: float) -> Callable[[datetime], float]:
    return lambda _: value


def history() -> str:
    """Two days of a steady shop, a quiet one, one that went away 3 h ago, a ratio of somebody else, and durations."""
    start = NOW - DAYS - MINUTE
    busy_then_idle = counter_history(
        'http_requests_total{service="uneven",code="200"}', lambda at: 99 if at < NOW - DAYS / 2 else 0.99,
        start=start, end=NOW,
    )  # fmt: skip
    errors_while_busy = counter_history(
        'http_requests_total{service="uneven",code="500"}', lambda at: 1 if at < NOW - DAYS / 2 else 0.0,
        start=start, end=NOW,
    )  # fmt: skip
    halves = counter_history(
        'http_requests_total{service="restarted",code="200"}', lambda _: 10, start=start, end=NOW - DAYS / 2
    ) + counter_history(
        'http_requests_total{service="restarted",code="200"}', lambda _: 10, start=NOW - DAYS / 2 + MINUTE, end=NOW
    )
    counters = [
        traffic("shop", "200", 99.5),
        traffic("shop", "500", 0.5),
        traffic("quiet", "200", 0.0),
        traffic("never-failing", "200", 5.0),
        traffic("gone", "200", 5.0, until=timedelta(hours=3)),
        busy_then_idle,
        errors_while_busy,
        halves,
    ]
    ratios = [
        gauge_history(f'probe_failed{{zone="{zone}"}}', steady(share), start=start, end=NOW, step=MINUTE)
        for zone, share in (("a", 0.02), ("b", 0.04))
    ]
    buckets = [
        counter_history(f'took_seconds_bucket{{service="shop",le="{le}"}}', steady(rate), start=start, end=NOW)
        for le, rate in (("0.1", 50.0), ("0.15", 97.0), ("1.0", 99.0), ("+Inf", 100.0))
    ]
    durations = counter_history('took_seconds_count{service="shop"}', lambda _: 100.0, start=start, end=NOW)
    total = counter_history('took_seconds_sum{service="shop"}', lambda _: 10.0, start=start, end=NOW)
    return (
        "# TYPE http_requests counter\n" + "".join(counters) + "# TYPE probe_failed gauge\n" + "".join(ratios)
        + "# TYPE took_seconds histogram\n" + "".join(buckets) + durations + total
    )  # fmt: skip


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with backfilled_prometheus(tmp_path_factory.mktemp("past"), history()) as prometheus:
        yield prometheus


def about(value: Decimal | None, wanted: str, within: str = "0.003") -> bool:
    assert value is not None
    return abs(value / Decimal(wanted) - 1) <= Decimal(within)


def test_a_steady_service_is_measured_as_it_was(past: Prometheus, tmp_path: Path) -> None:
    policy = policy_in(tmp_path, "window: 2d\nslo_targets: {availability: 99%}")
    snapshot = taken(past, policy)
    (seen,) = snapshot.targets
    assert snapshot.commit == "c0ffee"
    assert snapshot.digest == policy.source.digest
    assert seen.target == Decimal("0.99")
    assert (seen.start, seen.end) == (NOW - DAYS, NOW)
    assert seen.counted is not None
    assert about(seen.counted.total, str(100 * 2 * 86400))
    assert about(seen.counted.bad / seen.counted.total, "0.005")
    assert seen.rates
    assert all(about(rate, "0.005") for rate in seen.rates.values())
    assert seen.present
    assert seen.last_data == NOW
    (target,) = status_of(policy, snapshot).targets
    assert target.level is BudgetLevel.WARN
    assert about(target.consumed, "0.5")
    assert SloSnapshot.of_json(snapshot.to_json()) == snapshot


def test_the_budget_is_weighted_by_events_not_by_time(past: Prometheus, tmp_path: Path) -> None:
    (seen,) = taken(past, policy_in(tmp_path, "window: 2d\nslo_targets: {availability: 99%}", "uneven")).targets
    assert seen.counted is not None
    assert about(seen.counted.bad / seen.counted.total, "0.0099", within="0.02")


def test_a_restart_is_no_loss_of_events(past: Prometheus, tmp_path: Path) -> None:
    (seen,) = taken(past, policy_in(tmp_path, "window: 2d\nslo_targets: {availability: 99%}", "restarted")).targets
    assert seen.counted is not None
    assert about(seen.counted.total, str(10 * 2 * 86400))


def test_a_service_that_never_failed_has_no_bad_events(past: Prometheus, tmp_path: Path) -> None:
    (seen,) = taken(past, policy_in(tmp_path, "window: 2d\nslo_targets: {availability: 99%}", "never-failing")).targets
    assert seen.counted is not None
    assert seen.counted.bad == 0
    assert set(seen.rates.values()) == {Decimal(0)}


def test_a_quiet_service_is_present_and_has_no_rates(past: Prometheus, tmp_path: Path) -> None:
    policy = policy_in(tmp_path, "window: 2d\nslo_targets: {availability: 99%}", "quiet")
    snapshot = taken(past, policy)
    (seen,) = snapshot.targets
    assert seen.present
    assert seen.last_data == NOW
    assert set(seen.rates.values()) == {None}
    assert status_of(policy, snapshot).level is BudgetLevel.NO_DATA


def test_a_series_that_went_away_is_told_from_one_that_never_was(past: Prometheus, tmp_path: Path) -> None:
    (gone,) = taken(past, policy_in(tmp_path, "window: 2d\nslo_targets: {availability: 99%}", "gone")).targets
    assert not gone.present
    assert gone.last_data == NOW - timedelta(hours=3)
    assert gone.counted is not None
    (never,) = taken(
        past, policy_in(tmp_path / "never", "window: 2d\nslo_targets: {availability: 99%}", "nobody")
    ).targets
    assert (never.present, never.last_data, never.counted) == (False, None, None)


def test_durations_are_counted_by_the_bucket_of_the_bound(past: Prometheus, tmp_path: Path) -> None:
    spec = """
        window: 2d
        slo_targets: {latency_p95_ms: 150, latency_p90_ms: 1000}
        indicators: {latency: {histogram: took_seconds, selector: {service: shop}}}
        """
    p95, p90 = taken(past, policy_in(tmp_path, spec)).targets
    assert p95.counted is not None
    assert about(p95.counted.bad / p95.counted.total, "0.03")
    assert p90.counted is not None
    assert about(p90.counted.bad / p90.counted.total, "0.01")


def test_a_ratio_of_somebody_else_must_be_one_series(past: Prometheus, tmp_path: Path) -> None:
    spec = """
        window: 2d
        slo_targets: {probes: {target: 95%, indicator: probes}}
        indicators: {probes: {raw: 'QUERY', of: failures}}
        """
    (seen,) = taken(past, policy_in(tmp_path, spec.replace("QUERY", "probe_failed"))).targets
    assert seen.problem is not None
    assert "gives 2 series where one is needed; the labels that differ: zone" in seen.problem
    (seen,) = taken(past, policy_in(tmp_path, spec.replace("QUERY", "max(probe_failed)"))).targets
    assert seen.counted is not None
    assert about(seen.counted.bad / seen.counted.total, "0.04")


def test_a_query_that_is_wrong_is_told_in_the_words_of_prometheus(past: Prometheus, tmp_path: Path) -> None:
    spec = """
        window: 2d
        slo_targets: {probes: {target: 95%, indicator: probes}}
        indicators: {probes: {raw: 'no_such_function(probe_failed)', of: failures}}
        """
    snapshot = taken(past, policy_in(tmp_path, spec))
    assert snapshot.unreachable is None
    assert snapshot.targets[0].problem is not None
    assert "refuses the query: bad_data" in snapshot.targets[0].problem


INDICATORS = {
    **dict.fromkeys(("shop", "quiet", "never-failing", "gone", "restarted", "uneven", "nobody"), "{}"),
    "by-good": """{availability: {good: 'http_requests_total{service="shop",code!~"5.."}', total: 'http_requests_total{service="shop"}'}}""",
    "by-rate": """{availability: {bad: 'rate(http_requests_total{service="shop",code="500"}[$window])', total: 'rate(http_requests_total{service="shop"}[$window])'}}""",
    "nothing-bad": """{availability: {bad: 'http_requests_total{service="shop",service="quiet"}', total: 'http_requests_total{service="shop"}'}}""",
    "d.t": "{}",
}


def test_many_services_asked_at_once_are_measured_as_each_alone(past: Prometheus, tmp_path: Path) -> None:
    spec = "window: 2d\nslo_targets: {{availability: 99%, other: {{target: 95%, indicator: availability}}}}\nindicators: {}"
    policies = [policy_in(tmp_path / name, spec.format(INDICATORS[name]), name) for name in INDICATORS]
    together = measure(policies, client_of(past), NOW, now=datetime.now(UTC), commit="c0ffee")
    assert list(together) == [taken(past, each) for each in policies]
    assert sum(each.counted is not None for snapshot in together for each in snapshot.targets) >= 2 * 8


def test_a_calendar_window_counts_from_its_beginning(past: Prometheus, tmp_path: Path) -> None:
    spec = "window: {calendar: week, timezone: Europe/Berlin}\nslo_targets: {availability: 99%}"
    (seen,) = taken(past, policy_in(tmp_path, spec)).targets
    assert seen.start <= NOW < seen.end
    assert seen.counted is not None
    elapsed = min(NOW - seen.start, DAYS)
    assert about(seen.counted.total, str(int(100 * elapsed.total_seconds())), within="0.05")


def test_a_moment_in_the_past_is_measured_as_of_then(past: Prometheus, tmp_path: Path) -> None:
    policy = policy_in(tmp_path, "window: 1d\nslo_targets: {availability: 99%}", "gone")
    (seen,) = taken(past, policy, NOW - timedelta(hours=4)).targets
    assert seen.present
    assert seen.last_data == NOW - timedelta(hours=4)


def test_a_live_outage_and_recovery(tmp_path: Path) -> None:
    spec = """
        window: 1d
        slo_targets: {availability: 99%}
        alerting: [{level: page, long: 10s, short: 5s, budget: 0.01%}]
        """
    policy = policy_in(tmp_path, spec)
    with Exporter() as shop, running_prometheus(tmp_path, targets=[shop.address]) as prometheus:
        good = shop.counter("http_requests_total", service="shop", code="200")
        bad = shop.counter("http_requests_total", service="shop", code="500")
        prometheus.wait_for("http_requests_total", lambda values: values == [0, 0])
        good.inc(50)
        bad.inc(50)
        prometheus.wait_for("http_requests_total", lambda values: values == [50, 50])
        snapshot = taken(prometheus, policy, datetime.now(UTC))
        (seen,) = snapshot.targets
        assert seen.counted is not None
        assert abs(seen.counted.bad / seen.counted.total - Decimal("0.5")) < Decimal("0.1")
        assert status_of(policy, snapshot).level is BudgetLevel.EXHAUSTED
        shop.stop()
        prometheus.wait_for("up", lambda values: values == [0])
        (seen,) = taken(prometheus, policy, datetime.now(UTC) + timedelta(seconds=1)).targets
        assert not seen.present
