"""How does OpenSLO v1 write lengths, windows and metrics, in both directions?

Lengths are whole minutes, hours, days or weeks; months, quarters and years only mean something in a calendar. What ours
says and OpenSLO has no word for rides in annotations: the promise and its policy in our own form. They count only
where the rest of the document still says the same.

Not here: the documents themselves (`_openslo`, `_openslo_export`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo import CalendarUnit, Events, Histogram, HistogramUnit, Raw, Rolling
from opsascode.slo._document import in_milliseconds, indicator_document
from opsascode.slo._promql import WINDOW, number, span, with_matchers
from opsascode.slo._queries import bucket_edges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.repo import CalendarPeriod
    from opsascode.slo._document import Plain

API: Final = "openslo/v1"
POLICY: Final = "opsascode/policy"
PROMISE: Final = "opsascode/promise"
SHORT: Final = "opsascode/short-window"
BUDGET: Final = "opsascode/budget"
START: Final = "2024-01-01 00:00:00"  # a Monday that begins a week, a month, a quarter and a year
UNITS: Final[Mapping[str, CalendarUnit]] = {
    "w": CalendarUnit.WEEK,
    "M": CalendarUnit.MONTH,
    "Q": CalendarUnit.QUARTER,
    "Y": CalendarUnit.YEAR,
}
_LENGTH: Final = re.compile(r"([1-9][0-9]{0,5})([mhdwMQY])\Z")
_ZERO: Final = re.compile(r"0+[mhdwMQY]?\Z")
_SIZES: Final = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "M": timedelta(days=30),
    "Q": timedelta(days=90),
    "Y": timedelta(days=365),
}
_SAMPLED: Final = timedelta(minutes=5)


def parse_length(text: str) -> tuple[int, str] | None:
    """Read a length such as `4w`: its number and its unit; None where it is none."""
    match = _LENGTH.match(text)
    return None if match is None else (int(match[1]), match[2])


def length_of(text: str) -> timedelta | None:
    """Give a length; months count 30 days, quarters 90, years 365."""
    if _ZERO.match(text):
        return timedelta()
    found = parse_length(text)
    return None if found is None else found[0] * _SIZES[found[1]]


def length_text(length: timedelta) -> str | None:
    """Write a length; None where it is no whole number of minutes."""
    for unit in ("d", "h", "m"):
        count, rest = divmod(length, _SIZES[unit])
        if not rest and count:
            return f"{count}{unit}"
    return "0m" if not length else None


def window_of(window: Rolling | CalendarPeriod) -> Plain | None:
    """Write the window of a budget; None where OpenSLO has no word for it."""
    if isinstance(window, Rolling):
        text = length_text(window.length)
        return None if text is None else {"duration": text, "isRolling": True}
    unit = next(text for text, each in UNITS.items() if each is window.unit)
    return {
        "duration": f"1{unit}",
        "isRolling": False,
        "calendar": {"startTime": START, "timeZone": window.timezone},
    }


def metric_of(indicator: Events | Histogram | Raw) -> Plain:
    """Write what is counted as a ratioMetric that asks Prometheus."""
    if isinstance(indicator, Raw):
        kind = "failure" if indicator.of_failures else "success"
        return {"counter": False, "rawType": kind, "raw": _asked(indicator.query)}
    if isinstance(indicator, Events):
        side = "good" if indicator.bad is None else "bad"
        counted = indicator.good if indicator.bad is None else indicator.bad
        return {"counter": True, side: _asked(counted or ""), "total": _asked(indicator.total)}
    chosen = [(name, "=", value) for name, value in indicator.selector.items()]
    if indicator.native:
        rates = f"sum(rate({with_matchers(indicator.metric, chosen)}[{span(_SAMPLED)}]))"
        query = f"histogram_fraction(0, {number(indicator.threshold)}, {rates})"
        return {"counter": False, "rawType": "success", "raw": _asked(query)}
    edges = bucket_edges(indicator.threshold)
    escaped = "|".join(each.replace(".", "\\.").replace("+", "\\+") for each in edges)
    edge = ("le", "=", edges[0]) if len(edges) == 1 else ("le", "=~", escaped)
    return {
        "counter": True,
        "good": _asked(with_matchers(f"{indicator.metric}_bucket", [*chosen, edge])),
        "total": _asked(with_matchers(f"{indicator.metric}_count", chosen)),
    }


def _asked(query: str) -> Plain:
    return {"metricSource": {"type": "Prometheus", "spec": {"query": query.replace(WINDOW, "{{.window}}")}}}


def counts_of(indicator: Events | Histogram | Raw) -> Plain:
    """Write what is counted in our own form, for an annotation."""
    written = indicator_document(indicator)
    if isinstance(indicator, Histogram):
        written["threshold_ms"] = f"{in_milliseconds(indicator):f}"
    return written


def indicator_of(counts: Any) -> Events | Histogram | Raw | None:  # noqa: ANN401 - from an annotation that anybody may have written
    """Read what is counted from an annotation; None where it is no such thing."""
    if not isinstance(counts, dict):
        return None
    texts = {key: value for key, value in counts.items() if isinstance(value, str)}
    selector = counts.get("selector", {})
    if "raw" in texts:
        return Raw(query=texts["raw"], of_failures=texts.get("of") != "successes")
    if "total" in texts and ("good" in texts) != ("bad" in texts):
        return Events(good=texts.get("good"), bad=texts.get("bad"), total=texts["total"])
    if "histogram" not in texts or not isinstance(selector, dict):
        return None
    try:
        unit = HistogramUnit(texts.get("unit", HistogramUnit.SECONDS.value))
        bound = Decimal(texts["threshold_ms"])
    except (ArithmeticError, KeyError, ValueError):
        return None
    return Histogram(
        metric=texts["histogram"],
        selector={str(key): str(value) for key, value in selector.items()},
        threshold=bound / 1000 if unit is HistogramUnit.SECONDS else bound,
        native=counts.get("native") is True,
        unit=unit,
    )
