"""Promises of every shape, built without documents: what rules, statuses and what is due are tested with."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from opsascode.errors import Position
from opsascode.repo import (
    AlertLevel,
    AlertWindow,
    BudgetLevel,
    CalendarPeriod,
    CalendarUnit,
    Events,
    Fallback,
    GateRules,
    Histogram,
    Metadata,
    Notify,
    Policies,
    Raw,
    ReliabilityPolicy,
    Rolling,
    Source,
    Target,
    Thresholds,
    TimeSlices,
    TriggerStep,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Position(path="policies/reliability.yml")
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

BAD_TOTAL = Events(bad='http_requests_total{service="shop",code=~"5.."}', total='http_requests_total{service="shop"}')
GOOD_TOTAL = Events(good='checkout_done_total{job="shop"}', total='checkout_begun_total{job="shop"}')
GOOD_OF_SAME = Events(good='calls_total{result!~"error|timeout"}', total="calls_total{}")
RATES = Events(bad='sum by (job) (rate(errors_total{job="a"}[$window]))', total="sum(rate(all_total[$window])) * 2")
FAST = Histogram(metric="http_request_duration_seconds", selector={"service": "shop"}, threshold=Decimal("0.15"))
ONE_SECOND = Histogram(metric="http_request_duration_seconds", selector={"service": "shop"}, threshold=Decimal(1))
NATIVE = Histogram(metric="call_seconds", selector={"service": "shop"}, threshold=Decimal("0.3"), native=True)
FAILURES = Raw(query='probe:failures:ratio{job="shop"}', of_failures=True)
SUCCESSES = Raw(query="probe:successes:ratio", of_failures=False)
COMPUTED = Raw(query='avg(probe:failures:ratio{job="shop"}) / 2', of_failures=True)
STRANGE = Events(
    bad='jobs_total{name="a \\"b\\" {{ $value }} \\\\ \u00fc\u4e16",ok="no"}',
    total='jobs_total{name="a \\"b\\" {{ $value }} \\\\ \u00fc\u4e16"}',
)
MINUTES = TimeSlices(length=timedelta(minutes=1), target=Decimal("0.95"))
FIVE_MINUTES = TimeSlices(length=timedelta(minutes=5), target=Decimal("0.95"))


def target(name: str, share: str, indicator: Events | Histogram | Raw, **more: Any) -> Target:
    return Target(
        **{"id": name, "title": name, "target": Decimal(share), "indicator": indicator, "position": HERE, **more}
    )


def policy(*targets: Target, name: str = "shop", **more: Any) -> ReliabilityPolicy:
    usual: Mapping[str, Any] = {
        "metadata": Metadata(name=name, title=name, labels={}, position=HERE),
        "service": "shop",
        "window": Rolling(length=30 * DAY),
        "thresholds": Thresholds(warn=Decimal("0.5"), critical=Decimal("0.8")),
        "alerting": (),
        "escalation_chain": (
            Notify(whom="team:sre", position=HERE),
            TriggerStep(runbook="restart", after=timedelta(minutes=5), position=HERE),
        ),
        "gate": gate(),
        "source": Source(path="policies/reliability.yml", digest="sha256:00"),
        "position": HERE,
    }
    return ReliabilityPolicy(**{**usual, "targets": targets, **more})


def gate(grace: timedelta = timedelta(minutes=10)) -> GateRules:
    return GateRules(
        warn_at=BudgetLevel.WARN,
        block_at=BudgetLevel.CRITICAL,
        exempt=(),
        block_on_page=True,
        incident_rank=1,
        freeze=(),
        grace=grace,
        unknown=Fallback.BLOCK,
        override=None,
        position=HERE,
    )


def of(*policies: ReliabilityPolicy) -> Policies:
    return Policies(reliability=policies)


def rolling(days: int) -> Rolling:
    return Rolling(length=days * DAY)


def calendar(unit: CalendarUnit, timezone: str = "UTC") -> CalendarPeriod:
    return CalendarPeriod(unit=unit, timezone=timezone)


SHAPES: Mapping[str, ReliabilityPolicy] = {
    "bad-99.95": policy(target("availability", "0.9995", BAD_TOTAL), gate=gate(timedelta(hours=1))),
    "good": policy(target("done", "0.999", GOOD_TOTAL, min_events=100)),
    "good-of-the-same": policy(target("calls", "0.999", GOOD_OF_SAME)),
    "rates": policy(target("rates", "0.999", RATES)),
    "latency-95": policy(target("latency_p95_ms", "0.95", FAST)),
    "latency-90": policy(target("latency_p90_ms", "0.9", ONE_SECOND)),
    "ticket-only": policy(
        target("ninety", "0.9", BAD_TOTAL),
        alerting=(
            AlertWindow(level=AlertLevel.PAGE, long=HOUR, short=HOUR / 12, budget=Decimal("0.02")),
            AlertWindow(level=AlertLevel.TICKET, long=3 * HOUR, short=HOUR / 4, budget=Decimal("0.02")),
        ),
    ),
    "native": policy(target("native", "0.999", NATIVE)),
    "raw-failures": policy(target("probe", "0.99", FAILURES)),
    "raw-successes": policy(target("probe", "0.99", SUCCESSES, min_events=20)),
    "raw-computed": policy(target("probe", "0.99", COMPUTED)),
    "slices": policy(target("minutes", "0.99", BAD_TOTAL, slices=MINUTES, min_events=15)),
    "slices-of-latency": policy(target("minutes", "0.99", FAST, slices=FIVE_MINUTES)),
    "slices-of-raw": policy(target("minutes", "0.99", FAILURES, slices=FIVE_MINUTES)),
    "7d": policy(target("availability", "0.9995", BAD_TOTAL), window=rolling(7)),
    "28d": policy(target("availability", "0.9995", BAD_TOTAL), window=rolling(28)),
    "1d": policy(target("availability", "0.99", BAD_TOTAL), window=rolling(1)),
    "week": policy(target("availability", "0.9995", BAD_TOTAL), window=calendar(CalendarUnit.WEEK)),
    "month": policy(
        target("availability", "0.9995", BAD_TOTAL, min_events=10),
        target("probe", "0.99", FAILURES),
        window=calendar(CalendarUnit.MONTH, "Europe/Berlin"),
    ),
    "quarter": policy(
        target("availability", "0.9995", BAD_TOTAL), window=calendar(CalendarUnit.QUARTER, "America/New_York")
    ),
    "year": policy(
        target("minutes", "0.99", BAD_TOTAL, slices=MINUTES), window=calendar(CalendarUnit.YEAR, "Asia/Kolkata")
    ),
    "strange": policy(
        target("jobs", "0.999", STRANGE, title='jobs of "{{ $labels.x }}" \u4e16\n'),
        service='w\u00eb\'ird "shop": {{ y }} # \\ \U0001f30d',
    ),
    "together": policy(
        target("availability", "0.9995", BAD_TOTAL),
        target("latency_p95_ms", "0.95", FAST),
        target("latency_p99_ms", "0.99", ONE_SECOND),
        target("native", "0.999", NATIVE),
        target("probe", "0.99", FAILURES),
    ),
}
