"""Which single numbers are asked of Prometheus, and how are several of one shape asked for at once?

A sum over the series of a selector differs between services in the value of one label alone, mostly. Grouped by this
label, one expression gives the sums of all of them, each the same as asked for alone; Prometheus reads many series in
one go much faster than each in one of its own.

Not here: what a promise needs to know (`_queries`, `_parts`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from opsascode.slo._promql import parsed_selector, span, with_matchers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from opsascode.slo._promql import Matcher

_LITERAL: Final = re.compile(r"[A-Za-z0-9_:/-]+")  # means itself in a regular expression
_NONE_SEEN: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What numbers of several services have in common: all but the value of one label."""

    aggregate: str
    function: str
    metric: str
    others: tuple[Matcher, ...]
    label: str
    window: timedelta | None

    def of(self, values: Iterable[str]) -> str:
        """Write the expression that gives a number for each value of the label."""
        chosen = with_matchers(self.metric, [*self.others, (self.label, "=~", "|".join(values))])
        return f"{self.aggregate} by ({self.label}) ({_call(self.function, chosen, self.window)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number to be asked for: by a query of its own, or as that of one value of a shape.

    `absent` is what it means that Prometheus has none: None where that is no data.
    """

    query: str
    shape: Shape | None = None
    value: str = ""
    absent: Decimal | None = None


def count_of(series: str, length: timedelta, service: str) -> Number:
    """Ask how many events the counters of a selector saw in a window that ends now."""
    return _aggregated("sum", "increase", series, length, service)


def newest_of(series: str, service: str) -> Number:
    """Ask for the time of the newest sample of a selector's series, in seconds since 1970."""
    return _aggregated("max", "timestamp", series, None, service)


def or_none_seen(number: Number) -> Number:
    """Take a series that was never seen for no events: an error that never happened has no series."""
    return Number(query=number.query, shape=number.shape, value=number.value, absent=_NONE_SEEN)


def _aggregated(aggregate: str, function: str, series: str, window: timedelta | None, service: str) -> Number:
    query = f"{aggregate}({_call(function, series, window)})"
    found = parsed_selector(series) if _LITERAL.fullmatch(service) else None
    mine = next((each for each in found[1] if each[1:] == ("=", service)), None) if found is not None else None
    if found is None or mine is None:
        return Number(query=query)
    others = list(found[1])
    others.remove(mine)
    shape = Shape(
        aggregate=aggregate,
        function=function,
        metric=found[0],
        others=tuple(sorted(others)),
        label=mine[0],
        window=window,
    )
    return Number(query=query, shape=shape, value=service)


def _call(function: str, series: str, window: timedelta | None) -> str:
    return f"{function}({series}{'' if window is None else f'[{span(window)}]'})"
