"""What is wrong with what a reliability policy promises and counts, that no schema can say?

Targets whose unit does not fit their id, indicators that nobody defines or that cannot count what is asked of them,
queries that cannot stand inside another one, and windows of no sensible length. The values may be of any shape: what
the schema refused is passed over here.

Not here: alerts, gates and remediation (`_reaction_rules`), other documents (`_crosscheck`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._problem import did_you_mean, quoted
from opsascode.repo._promise_words import AVAILABILITY, DEFAULT_WINDOW, LATENCY, latency_share, usual_indicator
from opsascode.repo._promql_text import events_fault, ratio_fault
from opsascode.repo._quantities import parse_duration
from opsascode.repo._task_rules import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opsascode.repo._problem import DocumentPath

LONGEST: Final = timedelta(days=366)
_UNITS: Final = {"week": 7, "month": 28, "quarter": 90, "year": 365}
_ZONE: Final = re.compile(r"UTC\Z|[A-Z][A-Za-z_]*/")  # anything else is a problem of its form
_PERCENT: Final = re.compile(r"[0-9.]+%\Z")
_LATENCY_LIKE: Final = re.compile(r"latency(?:[_-]?p?([1-9][0-9])(?![0-9]))?")
_ONLY_BESIDE: Final = {"selector": "histogram", "native": "histogram", "unit": "histogram", "of": "raw"}
_SUFFIXES: Final = ("_bucket", "_count", "_sum")
_RESERVED_LABELS: Final = ("le", "__name__")
_KINDS: Final = ("total", "histogram", "raw")


def mapping(value: object) -> dict[str, Any]:
    """Give a mapping, empty where something else stands."""
    return value if isinstance(value, dict) else {}


def duration(value: object) -> timedelta | None:
    """Read a duration that is above zero; None where something else stands."""
    try:
        length = parse_duration(value) if isinstance(value, str) else timedelta()
    except (ValueError, OverflowError):
        return None
    return length or None


def promise_faults(spec: Mapping[str, Any]) -> Iterator[Fault]:
    """Find everything wrong with targets, indicators and windows; paths lead on from `spec`."""
    yield from _zone(mapping(spec.get("window")).get("timezone"))
    yield from _method(spec.get("method"), ("method",), spec)
    for name, promised in mapping(spec.get("slo_targets")).items():
        where: DocumentPath = ("slo_targets", name)
        if isinstance(promised, dict):
            yield from _long(name, promised, spec)
            yield from _method(promised.get("method"), (*where, "method"), spec)
        else:
            yield from _short(name, promised, spec)
    for name, indicator in mapping(spec.get("indicators")).items():
        if isinstance(indicator, dict):
            yield from _indicator(indicator, ("indicators", name))
    yield from _unused(spec)


def window_length(spec: Mapping[str, Any]) -> timedelta | None:
    """Give the length of the budget's window, at least; None where it is written wrongly."""
    written = spec.get("window")
    if isinstance(written, dict):
        days = _UNITS.get(str(written.get("calendar")))
        return None if days is None else timedelta(days=days)
    return DEFAULT_WINDOW if written is None else duration(written)


def _zone(zone: object) -> Iterator[Fault]:
    if not isinstance(zone, str) or not _ZONE.match(zone):
        return
    from zoneinfo import ZoneInfo, available_timezones  # noqa: PLC0415 - few policies name one

    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        mend = did_you_mean(zone, available_timezones(), list_up_to=0) or "write one such as Europe/Berlin or UTC"
        message = f"there is no time zone {quoted(zone)}"
        yield Fault(path=("window", "timezone"), code="unknown-timezone", message=message, mend=mend, at_key=False)


def _method(written: object, where: DocumentPath, spec: Mapping[str, Any]) -> Iterator[Fault]:
    slices, window = duration(mapping(written).get("slices")), window_length(spec)
    if slices is not None and window is not None and slices >= window:
        message = f"a slice of {mapping(written)['slices']} is not shorter than the window of the budget"
        yield Fault(path=(*where, "slices"), code="contradiction", message=message, mend="write 1m or 5m", at_key=False)


# targets


def _short(name: str, promised: object, spec: Mapping[str, Any]) -> Iterator[Fault]:
    """Judge a target that is written as one value."""
    where: DocumentPath = ("slo_targets", name)
    is_number = isinstance(promised, int | float) and not isinstance(promised, bool) and promised > 0
    if latency_share(name) is None:
        if is_number:
            message, mend = _no_percentage(name, promised)
            yield Fault(path=where, code="wrong-type", message=message, mend=mend, at_key=False)
        else:
            yield from _counted_by(name, AVAILABILITY, where, spec, bound=False)
    elif isinstance(promised, str) and _PERCENT.match(promised):
        message = f"{quoted(name)} says itself how many percent of the requests it is about; {promised} is no duration"
        mend = "write a number of milliseconds, such as 150"
        yield Fault(path=where, code="wrong-type", message=message, mend=mend, at_key=False)
    else:
        yield from _counted_by(name, LATENCY, where, spec, bound=True)


def _no_percentage(name: str, promised: object) -> tuple[str, str]:
    """Say what to write instead of a number."""
    message = f"{quoted(name)} must be a percentage, and {promised} is a number"
    like = _LATENCY_LIKE.match(name)
    if like is not None:
        return message, f"call it latency_p{like[1] or 95}_ms if it is meant in milliseconds, or write a percentage"
    number = Decimal(repr(promised))
    if number < 1:
        return message, f"write {(number * 100).normalize():f}%"
    return message, f"write {number}%" if number < 100 else "write a percentage such as 99.95%"  # noqa: PLR2004 - percent


def _long(name: str, promised: dict[str, Any], spec: Mapping[str, Any]) -> Iterator[Fault]:
    """Judge a target that is written as a mapping."""
    where: DocumentPath = ("slo_targets", name)
    bound = "threshold_ms" in promised
    if latency_share(name) is not None:
        if "target" in promised:
            message = f"{quoted(name)} says itself how many percent of the requests it is about"
            yield Fault(path=(*where, "target"), code="misplaced-key", message=message, mend="leave it out")
        if not bound and promised:
            message = f"{quoted('threshold_ms')} is missing in {quoted(name)}"
            yield Fault(path=where, code="missing-key", message=message, mend="write threshold_ms: 150")
            return
    elif "target" not in promised and promised:
        message = f"{quoted('target')} is missing in {quoted(name)}"
        yield Fault(path=where, code="missing-key", message=message, mend="write target: 99.9%")
    indicator = promised.get("indicator", usual_indicator(bound=bound))
    if isinstance(indicator, str):
        at: DocumentPath = (*where, "indicator") if "indicator" in promised else where
        yield from _counted_by(name, indicator, at, spec, bound=bound)


def _counted_by(
    name: str, indicator: str, where: DocumentPath, spec: Mapping[str, Any], *, bound: bool
) -> Iterator[Fault]:
    """Judge whether an indicator can count what a target promises."""
    written = mapping(spec.get("indicators"))
    if indicator not in written and indicator not in {AVAILABILITY, LATENCY}:
        known = {*written, AVAILABILITY, LATENCY}
        mend = did_you_mean(indicator, known) or "add it to indicators"
        message = f"there is no indicator {quoted(indicator)}"
        yield Fault(path=where, code="unknown-indicator", message=message, mend=mend, at_key=False)
        return
    kind = _kind_of(written[indicator]) if indicator in written else _usual_kind(indicator)
    if bound and kind not in {"histogram", None}:
        message = f"{quoted(name)} is about durations, and the indicator {quoted(indicator)} is no histogram"
        mend = "write histogram: METRIC in it, or name another indicator"
        yield Fault(path=where, code="wrong-indicator", message=message, mend=mend, at_key=False)
    elif not bound and kind == "histogram":
        message = f"the indicator {quoted(indicator)} is a histogram, and {quoted(name)} has no threshold_ms"
        mend = f"write {name}: {{target: 99%, threshold_ms: 300, indicator: {indicator}}}"
        yield Fault(path=where, code="missing-key", message=message, mend=mend, at_key=False)


def _kind_of(indicator: object) -> str | None:
    present = [each for each in _KINDS if each in mapping(indicator)]
    return present[0] if len(present) == 1 else None


def _usual_kind(name: str) -> str:
    return "histogram" if name == LATENCY else "total"


# indicators


def _indicator(written: dict[str, Any], where: DocumentPath) -> Iterator[Fault]:
    for key, beside in _ONLY_BESIDE.items():
        if key in written and beside not in written:
            message = f"{quoted(key)} only has a meaning beside {quoted(beside)}"
            yield Fault(path=(*where, key), code="misplaced-key", message=message, mend="leave it out")
    yield from _events(written, where)
    raw = written.get("raw")
    if isinstance(raw, str) and raw:
        fault = ratio_fault(raw)
        if fault is not None:
            yield Fault(path=(*where, "raw"), code="query", message=fault[0], mend=fault[1], at_key=False)
    yield from _histogram(written, where)


def _events(written: dict[str, Any], where: DocumentPath) -> Iterator[Fault]:
    present = [each for each in ("good", "bad") if each in written]
    if len(present) == 2:  # noqa: PLR2004 - both of them
        message = f"{quoted(where[-1])} has both {quoted('good')} and {quoted('bad')}; each follows from the other"
        yield Fault(path=(*where, "bad"), code="contradiction", message=message, mend="keep one of them")
    elif "total" in written and not present and not {"histogram", "raw"} & written.keys():
        message = f"{quoted(where[-1])} says what all events are, but neither which are good nor which are bad"
        yield Fault(path=where, code="missing-key", message=message, mend="write good: … or bad: …")
    elif present and "total" not in written and not {"histogram", "raw"} & written.keys():
        return  # that none of the kinds is there is a problem of its own
    for key in (*present, "total"):
        text = written.get(key)
        fault = events_fault(text) if isinstance(text, str) and text else None
        if fault is not None:
            yield Fault(path=(*where, key), code="query", message=fault[0], mend=fault[1], at_key=False)
    total = written.get("total")
    for key in present:
        if isinstance(total, str) and written[key] == total:
            message = f"{quoted(key)} and {quoted('total')} are one counter: every event would be {key}"
            mend = "name the events apart, by a label"
            yield Fault(path=(*where, key), code="contradiction", message=message, mend=mend, at_key=False)


def _histogram(written: dict[str, Any], where: DocumentPath) -> Iterator[Fault]:
    metric = written.get("histogram")
    suffix = next((each for each in _SUFFIXES if isinstance(metric, str) and metric.endswith(each)), None)
    if isinstance(metric, str) and suffix is not None:
        message = f"{quoted(metric)} is one part of a histogram"
        mend = f"write {metric.removesuffix(suffix)}"
        yield Fault(path=(*where, "histogram"), code="query", message=message, mend=mend, at_key=False)
    for label in _RESERVED_LABELS:
        if label in mapping(written.get("selector")):
            message = f"the label {quoted(label)} is chosen by opsascode"
            yield Fault(path=(*where, "selector", label), code="reserved-name", message=message, mend="leave it out")


def _unused(spec: Mapping[str, Any]) -> Iterator[Fault]:
    """Report indicators that count for nothing: their names may be mistyped, and others would be taken silently."""
    used: set[str] = set()
    for name, promised in mapping(spec.get("slo_targets")).items():
        long = mapping(promised)
        bound = latency_share(name) is not None or "threshold_ms" in long
        used.add(str(long.get("indicator", usual_indicator(bound=bound))))
    written = mapping(spec.get("indicators"))
    if used - {*written, AVAILABILITY, LATENCY}:
        return  # that a name is unknown is a problem of its own, and may be the reason
    for name in written:
        if name not in used:
            mend = did_you_mean(name, used) or "name it in a target, or delete it"
            message = f"no target counts by the indicator {quoted(name)}"
            yield Fault(path=("indicators", name), code="unused", message=message, mend=mend)
