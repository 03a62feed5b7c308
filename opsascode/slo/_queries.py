"""How is a promise asked of Prometheus? PromQL for its bad events, all events, and the share of bad ones.

- Counters are asked with `rate` or `increase` before `sum`, so that a restart of a process is no loss of events.
- `or vector(0)` stands for an error series that was never seen; `> 0` leaves out times without traffic, which would
  give NaN. A promise whose total does not exist has no answer at all: an empty vector.
- A classic histogram knows only its buckets: the good events are those of the bucket whose `le` is the threshold, in
  any spelling (`1`, `1.0`, `1e+06`). Whether the bucket exists, only a real Prometheus can say.
- A query of events is a selector (`http_requests_total{job="api"}`), or any expression with `$window` that gives
  events per second over that window (`sum(rate(http_requests_total[$window]))`).
- A ratio somebody else computes, and slices of time, are sampled: each sample has the same weight.

Written as Prometheus prints expressions, so that what is loaded can be compared.

Not here: recording rules (`_rules`), asking and reading the answer (`_measure`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opsascode.errors import DocumentError
from opsascode.repo import Events, Histogram, Raw
from opsascode.slo._budget import exact, plain, ratio
from opsascode.slo._numbers import Number, count_of, newest_of, or_none_seen
from opsascode.slo._promql import WINDOW, number, quoted, selector, span, with_matchers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.repo import Target

SAMPLE: Final = timedelta(minutes=1)
_SECOND: Final = timedelta(seconds=1)
_PLAIN_FROM: Final = Decimal("1e-4")
_SHORT_EXPONENT_FROM: Final = Decimal("1e6")


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """The PromQL of one promise; every answer is one number without labels, or nothing.

    `step` is None for events; for samples (a ratio of somebody else, slices of time) it is how far apart they lie.
    """

    target: Target
    step: timedelta | None

    def bad(self, length: timedelta) -> str:
        """Ask for bad events (or samples) in a window that ends now."""
        if self.step is not None:
            return f"sum_over_time({self._samples(length)})"
        return _scaled(bad_rate(self.target.indicator, length), length)

    def total(self, length: timedelta) -> str:
        """Ask for all events (or samples) in a window that ends now; nothing where the series does not exist."""
        if self.step is not None:
            return f"count_over_time({self._samples(length)})"
        return _scaled(total_rate(self.target.indicator, length), length)

    @property
    def counted(self) -> bool:
        """Whether bad events and all of them are sums of counters."""
        indicator = self.target.indicator
        return self.step is None and not (isinstance(indicator, Histogram) and indicator.native)

    def counts(self, length: timedelta, service: str) -> Mapping[str, Number]:
        """Ask for `total`, and for `bad` or `good`, whichever is cheaper; `good` lets the bad ones follow."""
        indicator = self.target.indicator
        if not self.counted or isinstance(indicator, Raw):
            return {"bad": Number(query=self.bad(length)), "total": Number(query=self.total(length))}
        if isinstance(indicator, Histogram):
            good, total = (
                count_of(each, length, service) for each in (_bucket(indicator), _named(indicator, "_count"))
            )
            return {"good": or_none_seen(good), "total": total}
        name, text = ("bad", indicator.bad) if indicator.bad is not None else ("good", indicator.good or "")
        part, total = (_events(each, length, service) for each in (text, indicator.total))
        return {name: or_none_seen(part), "total": total}

    def newest(self, service: str) -> Number:
        """Ask for the time of the newest sample, in seconds since 1970; nothing where the series is gone."""
        return newest_of(self.series, service)

    def ratio(self, length: timedelta, *, least: int = 0) -> str:
        """Ask for the share of bad events in a window; nothing where there were none, or fewer than `least`."""
        if self.step is not None:
            enough = f" and {self.total(length)} >= {least}" if least else ""
            return f"avg_over_time({self._samples(length)}){enough}"
        return event_ratio(self.target.indicator, length, least=least)

    @property
    def sample(self) -> str:
        """Ask for one sample: the ratio as it is, or 1 for a bad slice and 0 for a good one."""
        return sample_of(self.target)

    @property
    def series(self) -> str:
        """The series by which a lost metric is told from a quiet one."""
        return total_series(self.target.indicator)

    def _samples(self, length: timedelta) -> str:
        return f"({sample_of(self.target)})[{span(length)}:{span(self.step or SAMPLE)}]"


def queries_of(target: Target) -> Queries:
    """Give the PromQL of one promise."""
    if target.slices is not None:
        return Queries(target=target, step=target.slices.length)
    return Queries(target=target, step=SAMPLE if isinstance(target.indicator, Raw) else None)


def event_ratio(indicator: Events | Histogram | Raw, length: timedelta, *, least: int = 0) -> str:
    """Ask for the share of bad events in a window, without NaN."""
    total = total_rate(indicator, length)
    enough = f">= {number(plain(exact(Decimal(least)) / ratio(length, _SECOND)))}" if least else "> 0"
    if isinstance(indicator, Histogram) and indicator.native:
        return f"1 - {_native_fraction(indicator, length)} and {total} {enough}"
    return f"({bad_rate(indicator, length)}) / ({total} {enough})"


def bad_rate(indicator: Events | Histogram | Raw, length: timedelta) -> str:
    """Ask for bad events per second."""
    if isinstance(indicator, Histogram):
        total = total_rate(indicator, length)
        if indicator.native:
            return f"{total} * (1 - {_native_fraction(indicator, length)})"
        good = f"sum(rate({_bucket(indicator)}[{span(length)}]))"
        return f"clamp_min({total} - ({good} or vector(0)), 0)"
    if isinstance(indicator, Raw):
        raise TypeError("a ratio has no events")
    if indicator.bad is not None:
        return f"{query_rate(indicator.bad, length)} or vector(0)"
    good = query_rate(indicator.good or "", length)
    return f"clamp_min({query_rate(indicator.total, length)} - ({good} or vector(0)), 0)"


def total_rate(indicator: Events | Histogram | Raw, length: timedelta) -> str:
    """Ask for events per second; nothing where the series does not exist."""
    if isinstance(indicator, Histogram):
        if indicator.native:
            return f"histogram_count({_native(indicator, length)})"
        return f"sum(rate({_named(indicator, '_count')}[{span(length)}]))"
    if isinstance(indicator, Raw):
        raise TypeError("a ratio has no events")
    return query_rate(indicator.total, length)


def sample_of(target: Target) -> str:
    """Ask for one sample of a promise that is judged by samples."""
    indicator, slices = target.indicator, target.slices
    if slices is None:
        return _failures(indicator) if isinstance(indicator, Raw) else event_ratio(indicator, SAMPLE)
    limit = number(plain(1 - exact(slices.target)))
    if isinstance(indicator, Raw):
        within = f"{span(slices.length)}:{span(slices.length / 4)}"
        return f"avg_over_time(({_failures(indicator)})[{within}]) > bool {limit}"
    return f"{event_ratio(indicator, slices.length)} > bool {limit}"


def total_series(indicator: Events | Histogram | Raw) -> str:
    """Give the series (or the expression) whose absence is a lost metric."""
    if isinstance(indicator, Histogram):
        return _named(indicator, "" if indicator.native else "_count")
    if isinstance(indicator, Raw):
        return indicator.query
    found = selector(indicator.total)
    return found if found is not None else query_rate(indicator.total, timedelta(minutes=5))


def query_problem(text: str) -> str | None:
    """Say why a query of events cannot be used; None where it can."""
    if selector(text) is not None or WINDOW in text:
        return None
    return f"is neither a selector, such as http_requests_total{{job={quoted('api')}}}, nor an expression with {WINDOW}"


@lru_cache(maxsize=4096)
def bucket_edges(threshold: Decimal) -> tuple[str, ...]:
    """Give the spellings of a threshold as the label `le`: clients and versions of Prometheus differ."""
    short = f"{plain(exact(threshold)):f}"
    spellings = [short]
    if "." not in short:
        spellings.append(f"{short}.0")
    if threshold >= _SHORT_EXPONENT_FROM or threshold < _PLAIN_FROM:
        spellings.append(_with_exponent(threshold))
    return tuple(spellings)


def _with_exponent(value: Decimal) -> str:
    _, digits, _ = value.normalize().as_tuple()
    mantissa = "".join(map(str, digits))
    mantissa = f"{mantissa[0]}.{mantissa[1:]}" if len(mantissa) > 1 else mantissa
    power = value.adjusted()
    return f"{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _bucket(indicator: Histogram) -> str:
    edges = bucket_edges(indicator.threshold)
    if len(edges) == 1:
        edge = ("le", "=", edges[0])
    else:
        edge = ("le", "=~", "|".join(each.replace(".", "\\.").replace("+", "\\+") for each in edges))
    chosen = [(label, "=", value) for label, value in indicator.selector.items()]
    return with_matchers(f"{indicator.metric}_bucket", [*chosen, edge])


def _named(indicator: Histogram, suffix: str) -> str:
    chosen = [(label, "=", value) for label, value in indicator.selector.items()]
    return with_matchers(f"{indicator.metric}{suffix}", chosen)


def _native(indicator: Histogram, length: timedelta) -> str:
    return f"sum(rate({_named(indicator, '')}[{span(length)}]))"


def _native_fraction(indicator: Histogram, length: timedelta) -> str:
    return f"histogram_fraction(0, {number(plain(exact(indicator.threshold)))}, {_native(indicator, length)})"


def _failures(indicator: Raw) -> str:
    """Write the share of failures; comparing with 0 leaves out NaN."""
    return f"({indicator.query}) >= 0" if indicator.of_failures else f"1 - ({indicator.query}) >= 0"


def query_rate(text: str, length: timedelta) -> str:
    """Ask for the events a second of one query.

    Raises:
        DocumentError: it is neither a selector nor an expression with a window.
    """
    found = selector(text)
    if found is not None:
        return f"sum(rate({found}[{span(length)}]))"
    problem = query_problem(text)
    if problem is not None:
        raise DocumentError(f"the query «{text}» {problem}")
    return f"sum({text.replace(WINDOW, span(length)).strip()})"


def _events(text: str, length: timedelta, service: str) -> Number:
    found = selector(text)
    if found is None:
        return Number(query=_scaled(query_rate(text, length), length))
    return count_of(found, length, service)


def _scaled(rate: str, length: timedelta) -> str:
    """Turn events per second into events in the window; `increase` is `rate` times seconds, to Prometheus too."""
    return f"({rate}) * {number(plain(ratio(length, _SECOND)))}"
