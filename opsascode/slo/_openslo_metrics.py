"""What does an indicator of OpenSLO count, in terms of ours?

A counter of good or bad events and one of all of them are counters of ours, a bucket against its count a histogram. A
ratio that is stored (`raw`), a metric that is compared with a value, and whatever else Prometheus computes is sampled
once a minute: each sample weighs the same.

Not here: what follows from it (`_openslo`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo import Raw
from opsascode.slo._counters import events_of, histogram_of, sum_of, windowed

if TYPE_CHECKING:
    from collections.abc import Callable

    from opsascode.repo import Events, Histogram
    from opsascode.slo._exchange import Reading, Where

    Find = Callable[[str, str], Reading | None]

_COMPARED: Final = {"lte": "<=", "lt": "<", "gte": ">=", "gt": ">"}
_LIKE_PROMETHEUS: Final = frozenset({"prometheus", "thanos", "mimir", "cortex", "victoriametrics", "promql"})
_SAMPLED: Final = "5m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """An indicator as it is understood, and the ratioMetric as it is written."""

    indicator: Events | Histogram | Raw
    written: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sli:
    """Where an indicator stands: in the SLO itself, or in a document of its own."""

    reading: Reading
    where: Where
    find: Find
    slo: str


def measure_of(reading: Reading, find: Find, objective: Where) -> Measure | None:
    """Understand the indicator of an SLO; None where it cannot be carried over, which is noted."""
    name = reading.text("metadata", "name")
    reference = reading.text("spec", "indicatorRef")
    other = find("SLI", reference) if reference else None
    if reference and other is None:
        why = f"the SLI {reference} is not among the documents"
        reading.notes.lost(reading.place("spec", "indicatorRef"), f"the SLO {name}", why)
        return None
    place: Where = ("spec",) if other else ("spec", "indicator", "spec")
    sli = _Sli(reading=other or reading, where=place, find=find, slo=name)
    written = sli.reading.at(*place, "ratioMetric")
    if isinstance(written, dict):
        indicator = _ratio(sli)
        return None if indicator is None else Measure(indicator=indicator, written=written)
    if isinstance(sli.reading.at(*place, "thresholdMetric"), dict):
        found = _threshold(sli, reading, objective)
        return None if found is None else Measure(indicator=found)
    why = "its indicator has neither a ratioMetric nor a thresholdMetric"
    reading.notes.lost(reading.place("spec"), f"the SLO {name}", why)
    return None


def _ratio(sli: _Sli) -> Events | Histogram | Raw | None:
    where = (*sli.where, "ratioMetric")
    reading = sli.reading
    if reading.at(*where, "raw") is not None:
        query = _query(sli, (*where, "raw"))
        kind = reading.text(*where, "rawType")
        if query and kind not in ("success", "failure"):
            reading.notes.lost(reading.place(*where), f"the SLO {sli.slo}", "rawType is neither success nor failure")
            return None
        return Raw(query=windowed(query, _SAMPLED), of_failures=kind == "failure") if query else None
    side = "bad" if reading.at(*where, "bad") is not None else "good"
    part, total = _query(sli, (*where, side)), _query(sli, (*where, "total"))
    if not part or not total:
        return None
    counter = reading.at(*where, "counter") is True
    counted, every = sum_of(part, plain=counter), sum_of(total, plain=counter)
    if counted is not None and every is not None:
        if counted.grouped or every.grouped:
            what = f"the SLO {sli.slo} keeps series apart by labels; here all of them are added up to one promise"
            reading.notes.changed(reading.place(*where), what)
        events = events_of(counted, every, bad=side == "bad")
        return histogram_of(events) or events
    if counter:
        why = "its queries are no counters: an expression of counters cannot be asked for their increase"
        reading.notes.lost(reading.place(*where), f"the SLO {sli.slo}", why)
        return None
    _say_sampled(sli, where, "the ratio of its queries")
    query = f"({windowed(part, _SAMPLED)}) / (({windowed(total, _SAMPLED)}) > 0)"
    return Raw(query=query, of_failures=side == "bad")


def _threshold(sli: _Sli, slo: Reading, objective: Where) -> Raw | None:
    """Compare a metric with a value: the share of samples that keep to it."""
    query = _query(sli, (*sli.where, "thresholdMetric"))
    sign = _COMPARED.get(slo.text(*objective, "op"))
    value = slo.decimal(*objective, "value")
    if not query:
        return None
    if sign is None or value is None:
        why = "a thresholdMetric needs op (lte, lt, gte, gt) and value in its objective"
        slo.notes.lost(slo.place(*objective), f"an objective of {sli.slo}", why)
        return None
    _say_sampled(sli, (*sli.where, "thresholdMetric"), f"the share of samples that are {sign} {value:f}")
    return Raw(query=f"({windowed(query, _SAMPLED)}) {sign} bool {value:f}", of_failures=False)


def _say_sampled(sli: _Sli, where: Where, what: str) -> None:
    sli.reading.notes.changed(
        sli.reading.place(*where),
        f"the SLO {sli.slo} counts {what}, once a minute, not weighted by events",
        "name counters of good or bad and of all events, if there are any",
    )


def _query(sli: _Sli, where: Where) -> str:
    """Give the query of a metric that Prometheus answers, on one line; empty, with a note, where it is none."""
    reading, source = sli.reading, (*where, "metricSource")
    kind = reading.text(*source, "type")
    reference = reading.text(*source, "metricSourceRef")
    named = sli.find("DataSource", reference) if reference else None
    if not kind and named is not None:
        kind = named.text("spec", "type")
    if kind and kind.lower() not in _LIKE_PROMETHEUS:
        why = f"it is measured by {kind}, and only Prometheus is asked here"
        reading.notes.lost(reading.place(*source), f"the SLO {sli.slo}", why)
        return ""
    query = " ".join(reading.text(*source, "spec", "query").split())
    if not query:
        reading.notes.lost(reading.place(*source), f"the SLO {sli.slo}", "its metric source has no query")
    elif not kind:
        what = f"nothing says what answers the query of {sli.slo}: it is taken for PromQL"
        reading.notes.changed(reading.place(*source), what)
    return query
