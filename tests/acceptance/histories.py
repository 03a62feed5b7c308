"""A week of a service that a Prometheus can have counted: even traffic, and one outage two days ago."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.slo.prometheus import counter_history

if TYPE_CHECKING:
    from collections.abc import Callable

_LABELS = 'service="checkout"'
_REQUESTS = 20.0  # a second
_FAILS = 0.000213
_FAILS_IN_THE_OUTAGE = 0.15
_OUTAGE = timedelta(minutes=36)
_WITHIN = {"0.05": 0.6, "0.15": 0.98446, "0.5": 0.995, "+Inf": 1.0}


def checkout_history() -> str:
    """Write it as OpenMetrics: eight days to now and an hour on, so that whoever asks a little later sees no gap."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    outage = now - timedelta(days=2)

    def failing(at: datetime) -> float:
        return _FAILS_IN_THE_OUTAGE if outage <= at < outage + _OUTAGE else _FAILS

    series: dict[str, Callable[[datetime], float]] = {
        f'http_requests_total{{{_LABELS},code="200"}}': lambda at: _REQUESTS * (1 - failing(at)),
        f'http_requests_total{{{_LABELS},code="500"}}': lambda at: _REQUESTS * failing(at),
        f"http_request_duration_seconds_count{{{_LABELS}}}": lambda _: _REQUESTS,
    }
    for bound, within in _WITHIN.items():
        name = f'http_request_duration_seconds_bucket{{{_LABELS},le="{bound}"}}'
        series[name] = lambda _, part=within: _REQUESTS * part
    begin, end, step = now - timedelta(days=8), now + timedelta(hours=1), timedelta(minutes=2)
    return "".join(counter_history(name, rate, start=begin, end=end, step=step) for name, rate in series.items())
