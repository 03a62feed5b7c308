"""What is wrong with how a reliability policy reacts, that no schema can say?

Thresholds and levels in the wrong order, windows of alerts that contradict each other, gates that never warn, names
that stand twice, remediation of promises nobody made, and durations longer than a year. The values may be of any shape:
what the schema refused is passed over here.

Not here: targets and indicators (`_promise_rules`), other documents (`_crosscheck`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._problem import did_you_mean, quoted
from opsascode.repo._promise_rules import LONGEST, duration, mapping, window_length
from opsascode.repo._promql_text import WINDOW, ratio_fault
from opsascode.repo._quantities import parse_share
from opsascode.repo._task_rules import Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from opsascode.repo._problem import DocumentPath

_LEVELS: Final = ("warn", "critical", "exhausted", "never")
_DURATIONS: Final = frozenset({"after", "grace", "lifetime", "long", "short", "slices", "window", "within"})
_PERCENT: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,5})?%\Z")


def sequence(value: object) -> list[Any]:
    """Give a list, empty where something else stands."""
    return value if isinstance(value, list) else []


def reaction_faults(spec: Mapping[str, Any]) -> Iterator[Fault]:
    """Find everything wrong with thresholds, alerts, escalation, gate and remediation; paths lead on from `spec`."""
    thresholds = mapping(spec.get("error_budget_thresholds"))
    yield from _order(thresholds, ("error_budget_thresholds",), ("warn", "50%"), ("critical", "80%"))
    yield from _alerting(sequence(spec.get("alerting")), spec)
    yield from _escalation(sequence(spec.get("escalation_chain")))
    yield from _gate(mapping(spec.get("gate")))
    yield from _remediation(sequence(spec.get("remediation")), mapping(spec.get("slo_targets")))
    yield from _too_long(spec, ())


def percent(value: object) -> Decimal | None:
    """Read a percentage as a share; None where something else stands."""
    return parse_share(value) if isinstance(value, str) and _PERCENT.match(value) else None


def _order(
    written: dict[str, Any], where: DocumentPath, low: tuple[str, str], high: tuple[str, str]
) -> Iterator[Fault]:
    """Refuse a lower bound that is not below the upper one; each is given with its default."""
    less, more = (percent(written.get(key, usual)) for key, usual in (low, high))
    if not {low[0], high[0]} & written.keys() or less is None or more is None or less < more:
        return
    at = low[0] if low[0] in written else high[0]
    shown = [f"{quoted(key)} ({written.get(key, usual)})" for key, usual in (low, high)]
    message = f"{shown[0]} is not below {shown[1]}"
    yield Fault(path=(*where, at), code="contradiction", message=message, mend="swap or mend them", at_key=False)


def _alerting(pairs: list[Any], spec: Mapping[str, Any]) -> Iterator[Fault]:
    period = window_length(spec)
    seen: list[tuple[str, Any, Any, str]] = []
    for index, pair in enumerate(pairs):
        written, where = mapping(pair), ("alerting", index)
        long, short = duration(written.get("long")), duration(written.get("short"))
        if long is not None and short is not None and short >= long:
            message = f"the short window ({written['short']}) is not shorter than the long one ({written['long']})"
            mend = "write a twelfth of the long one, such as 5m for 1h"
            yield Fault(path=(*where, "short"), code="contradiction", message=message, mend=mend, at_key=False)
        if long is not None and period is not None and long > period:
            message = f"the window {written['long']} is longer than that of the budget"
            mend = "shorten it"
            yield Fault(path=(*where, "long"), code="contradiction", message=message, mend=mend, at_key=False)
        budget, level = percent(written.get("budget")), written.get("level")
        if long is None or budget is None or not isinstance(level, str):
            continue
        yield from _clash((level, long, budget, str(written["long"])), seen, where)
        seen.append((level, long, budget, str(written["long"])))


def _clash(
    pair: tuple[str, Any, Any, str], seen: list[tuple[str, Any, Any, str]], where: DocumentPath
) -> Iterator[Fault]:
    """Refuse a pair that says again, or the contrary of, what another of its level says."""
    level, long, budget, shown = pair
    for other in seen:
        if other[0] != level:
            continue
        if other[1] == long:
            message = f"there are two pairs of level {level} over {shown}"
            yield Fault(path=where, code="repeated", message=message, mend="keep one of them", at_key=False)
            return
        if (other[1] < long) != (other[2] < budget) and other[2] != budget:
            longer, shorter = (shown, other[3]) if long > other[1] else (other[3], shown)
            message = f"less of the budget may burn in {longer} than in {shorter}, so {shorter} decides nothing"
            mend = "give the longer window more of the budget, or delete one"
            yield Fault(path=(*where, "budget"), code="contradiction", message=message, mend=mend, at_key=False)
            return


def _escalation(steps: list[Any]) -> Iterator[Fault]:
    """Refuse steps that come before the ones above them."""
    latest = None
    for index, step in enumerate(steps):
        written = mapping(step)
        after = duration(written.get("after"))
        if after is None:
            continue
        if latest is not None and after < latest[0]:
            message = f"this step comes {written['after']} after the alert began, before the one above it ({latest[1]})"
            where: DocumentPath = ("escalation_chain", index, "after")
            yield Fault(path=where, code="contradiction", message=message, mend="put them in order", at_key=False)
        else:
            latest = after, written["after"]


# the gate


def _gate(gate: dict[str, Any]) -> Iterator[Fault]:
    warn, block = gate.get("warn_at", "warn"), gate.get("block_at", "critical")
    if warn in _LEVELS[:-1] and block in _LEVELS and _LEVELS.index(warn) > _LEVELS.index(block):
        at = "warn_at" if "warn_at" in gate else "block_at"
        message = f"it blocks at {block} already, so it never warns at {warn}"
        mend = "swap them, or write warn_at: never"
        yield Fault(path=("gate", at), code="contradiction", message=message, mend=mend, at_key=False)
    scoring = mapping(gate.get("scoring"))
    where: DocumentPath = ("gate", "scoring")
    yield from _order(scoring, where, ("warn", "75%"), ("pass", "90%"))
    criteria = sequence(scoring.get("criteria"))
    yield from _names_twice(criteria, (*where, "criteria"), "criterion")
    for index, each in enumerate(criteria):
        query = mapping(each).get("query")
        # The window of the scoring is filled in when it is asked.
        fault = ratio_fault(query.replace(WINDOW, "10m")) if isinstance(query, str) and query else None
        if fault is not None:
            path = (*where, "criteria", index, "query")
            yield Fault(path=path, code="query", message=fault[0], mend=fault[1], at_key=False)


def _names_twice(items: list[Any], where: DocumentPath, what: str) -> Iterator[Fault]:
    seen: set[str] = set()
    for index, each in enumerate(items):
        name = mapping(each).get("name")
        if isinstance(name, str) and name in seen:
            message = f"the name {quoted(name)} is also that of another {what}"
            path = (*where, index, "name")
            yield Fault(path=path, code="shared-name", message=message, mend="rename one of them", at_key=False)
        elif isinstance(name, str):
            seen.add(name)


# remediation


def _remediation(items: list[Any], targets: dict[str, Any]) -> Iterator[Fault]:
    yield from _names_twice(items, ("remediation",), "remediation")
    for index, each in enumerate(items):
        for place, name in enumerate(sequence(mapping(each).get("targets"))):
            if isinstance(name, str) and name not in targets:
                mend = did_you_mean(name, targets) or "write the id of one of slo_targets"
                message = f"there is no target {quoted(name)}"
                path: DocumentPath = ("remediation", index, "targets", place)
                yield Fault(path=path, code="unknown-target", message=message, mend=mend, at_key=False)


def _too_long(value: object, where: DocumentPath) -> Iterator[Fault]:
    """Refuse what lasts longer than a year; nothing here is meant to, and a calendar does not reach that far."""
    if where[-1:] == ("with",):
        return
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _too_long(each, (*where, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _too_long(each, (*where, index))
    elif where and where[-1] in _DURATIONS:
        length = duration(value)
        if length is not None and length > LONGEST:
            message = f"{quoted(where[-1])} is {value}, more than a year"
            yield Fault(path=where, code="out-of-bounds", message=message, mend="shorten it", at_key=False)
