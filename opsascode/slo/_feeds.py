"""Which series would a service give that does well or badly? Input for the unit tests of rules.

Labels are invented so that the queries of a promise select them: a value that a regular expression matches is looked
for among usual ones and those its text suggests. Where nothing fits, or where a query is no plain selector, there is no
feed, and the tests put in what the first rules would have recorded.

Not here: what the tests expect (`_rule_tests`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from opsascode.repo import Events, Histogram, Raw
from opsascode.slo._promql import labels, number, parsed_selector
from opsascode.slo._queries import bucket_edges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from opsascode.repo import Target
    from opsascode.slo._promql import Matcher

Series: TypeAlias = tuple[str, str]
"""A series, and its values in promtool's notation."""

_USUAL: Final = ("200", "500", "503", "404", "ok", "error", "true", "false", "GET", "POST", "/", "0", "1", "other", "")
_NAME_LABEL: Final = "__name__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """So many steps with so many events in each, and so many of them bad."""

    steps: int
    total: Decimal
    bad: Decimal


def feed(target: Target, phases: Sequence[Phase]) -> tuple[Series, ...] | None:
    """Give the series of a service that goes through phases; None where none can be invented."""
    indicator = target.indicator
    if isinstance(indicator, Histogram):
        return None if indicator.native else _histogram(indicator, phases)
    return _gauge(indicator, phases) if isinstance(indicator, Raw) else _events(indicator, phases)


def constant(phases: Sequence[Phase], value: Callable[[Phase], Decimal]) -> str:
    """Write values that hold for a phase each."""
    return " ".join(f"{number(value(each))}+0x{each.steps - 1}" for each in phases if each.steps)


def counter(phases: Sequence[Phase], value: Callable[[Phase], Decimal]) -> str:
    """Write a counter that begins at 0, and grows by so much at each step."""
    parts, now = ["0"], Decimal(0)
    for each in phases:
        step = value(each)
        if each.steps:
            parts.append(f"{number(now + step)}+{number(step)}x{each.steps - 1}")
        now += step * each.steps
    return " ".join(parts)


def _all(phase: Phase) -> Decimal:
    return phase.total


def _bad(phase: Phase) -> Decimal:
    return phase.bad


def _good(phase: Phase) -> Decimal:
    return phase.total - phase.bad


def _histogram(indicator: Histogram, phases: Sequence[Phase]) -> tuple[Series, ...]:
    edge = bucket_edges(indicator.threshold)[-1]
    return (
        (_written(f"{indicator.metric}_bucket", {**indicator.selector, "le": edge}), counter(phases, _good)),
        (_written(f"{indicator.metric}_count", indicator.selector), counter(phases, _all)),
    )


def _gauge(indicator: Raw, phases: Sequence[Phase]) -> tuple[Series, ...] | None:
    found = _one(indicator.query)
    if found is None:
        return None
    share = _bad if indicator.of_failures else _good
    return ((_written(*found), constant(phases, lambda each: share(each) / each.total)),)


def _events(indicator: Events, phases: Sequence[Phase]) -> tuple[Series, ...] | None:
    part = indicator.bad if indicator.bad is not None else indicator.good or ""
    in_part, rest = (_bad, _good) if indicator.bad is not None else (_good, _bad)
    one, whole = parsed_selector(part), parsed_selector(indicator.total)
    if one is None or whole is None or not one[0] or not whole[0]:
        return None
    if one[0] != whole[0]:
        inner, outer = _values(one[1]), _values(whole[1])
        if inner is None or outer is None:
            return None
        return tuple(_seen(phases, ((one[0], inner, in_part), (whole[0], outer, _all))))
    inner = _values([*one[1], *whole[1]])
    outer = next((found for each in one[1] if (found := _values(whole[1], but=each)) is not None), None)
    if inner is None or outer is None:
        return None
    return tuple(_seen(phases, ((one[0], inner, in_part), (one[0], outer, rest))))


def _seen(
    phases: Sequence[Phase], series: Iterable[tuple[str, Mapping[str, str], Callable[[Phase], Decimal]]]
) -> Iterator[Series]:
    """Leave out a series of bad events where there never was one: then it does not exist."""
    for name, values, share in series:
        if share is not _bad or any(each.bad for each in phases):
            yield _written(name, values), counter(phases, share)


def _one(text: str) -> tuple[str, Mapping[str, str]] | None:
    found = parsed_selector(text)
    if found is None or not found[0]:
        return None
    values = _values(found[1])
    return None if values is None else (found[0], values)


def _values(matchers: Sequence[Matcher], *, but: Matcher | None = None) -> Mapping[str, str] | None:
    """Invent labels that all matchers select, and one does not; None where nothing fits."""
    return _invented(tuple(matchers), but)


@lru_cache(maxsize=4096)
def _invented(matchers: tuple[Matcher, ...], but: Matcher | None) -> Mapping[str, str] | None:
    asked: dict[str, list[tuple[Matcher, bool]]] = {}
    for each in matchers:
        asked.setdefault(each[0], []).append((each, True))
    if but is not None:
        asked.setdefault(but[0], []).append((but, False))
    found: dict[str, str] = {}
    for label, conditions in asked.items():
        ideas = chain.from_iterable(_ideas(matcher) for matcher, _ in conditions)
        value = next((idea for idea in chain(ideas, _USUAL) if _fits(conditions, idea)), None)
        if label == _NAME_LABEL or value is None:
            return None
        if value:
            found[label] = value
    return found


def _fits(conditions: Sequence[tuple[Matcher, bool]], value: str) -> bool:
    return all(_selects(matcher, value) is wanted for matcher, wanted in conditions)


def _ideas(matcher: Matcher) -> Iterator[str]:
    """Suggest values from the text of a matcher: itself, or its first words with wildcards filled in."""
    _, operator, value = matcher
    if operator in {"=", "!="}:
        yield value
        return
    for word in re.sub(r"[()^$]|\?:", "", value).split("|"):
        filled = re.sub(r"\[(?:0-9|\^/|a-z|A-Z|\w)[^\]]*\]|\\[dw]|\.", "0", word)
        yield re.sub(r"\\(.)", r"\1", re.sub(r"[*+?]|\{\d+(?:,\d*)?\}", "", filled))


def _selects(matcher: Matcher, value: str) -> bool:
    _, operator, wanted = matcher
    if operator in {"=", "!="}:
        return (value == wanted) is (operator == "=")
    try:
        return bool(re.fullmatch(wanted, value)) is (operator == "=~")
    except re.error:
        return False


def _written(name: str, values: Mapping[str, str]) -> str:
    return f"{name}{labels(values)}" if values else name
