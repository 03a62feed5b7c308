"""Of which parts is the question about one promise made, and what do their answers come to?

Parts are numbers, joined to one query and told apart by a label; those of one shape, of several services, are one term
of it. What is cheap to ask is asked: all events, and the bad ones or the good ones, from which the bad ones follow.
Parts over long windows and over short ones are apart, as Prometheus opens all that the longest window of a query needs
for each term of it.

Not here: asking (`_measure`), the PromQL of a part (`_queries`), what has one shape (`_numbers`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from opsascode.slo._answer import PrometheusError, instant
from opsascode.slo._budget import period_of
from opsascode.slo._burn import burn_windows
from opsascode.slo._numbers import Number
from opsascode.slo._promql import span
from opsascode.slo._queries import queries_of
from opsascode.slo._snapshot import Counted, TargetSeen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opsascode.repo import ReliabilityPolicy, Target
    from opsascode.slo._answer import Question, Sample, Series
    from opsascode.slo._numbers import Shape
    from opsascode.slo._queries import Queries

PART: Final = "opsascode_part"
"""The label that tells the parts of one query apart."""
_LONG: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_BUDGET: Final = "budget"
LAST: Final = "last"
"""The part that says when there was data."""
_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One promise of one policy as of a moment, the window of its budget, and the parts of its question by their names.

    `least` says, for each window of its burn alerts, below how many events there is nothing to say.
    """

    policy: ReliabilityPolicy
    target: Target
    start: datetime
    end: datetime
    at: datetime
    parts: Mapping[str, Number]
    long: frozenset[str]
    least: Mapping[timedelta, int]

    @classmethod
    def of(cls, policy: ReliabilityPolicy, target: Target, at: datetime) -> Asked:
        """Ask for a promise; of a window that begins just now there is nothing to count."""
        start, end = period_of(policy.window, at)
        queries, pairs = queries_of(target), burn_windows(policy)
        long = {each.long for each in pairs}
        lengths = sorted(long | {each.short for each in pairs})
        least = {each: target.min_events if each in long else 0 for each in lengths}
        windows = {span(each): (each, least[each]) for each in lengths}
        elapsed = _whole_seconds(at - start)
        counts = _counts(queries, elapsed, _BUDGET, policy.service) if elapsed >= _SECOND else {}
        parts, far = {**counts, LAST: queries.newest(policy.service)}, set(counts) if elapsed >= _LONG else set()
        for name, (length, enough) in windows.items():
            own = _rate(queries, length, name, policy.service, enough)
            parts.update(own)
            far |= set(own) if length >= _LONG else set()
        return cls(
            policy=policy, target=target, start=start, end=end, at=at, parts=parts, long=frozenset(far), least=least
        )

    @property
    def elapsed(self) -> timedelta:
        """Give how much of the window has passed, in whole seconds."""
        return _whole_seconds(self.at - self.start)

    def nothing(self, problem: str | None) -> TargetSeen:
        """Say that nothing was measured, and why."""
        return self._seen(None, dict.fromkeys(self.least), last=None, problem=problem)

    def seen(self, samples: Mapping[str, Sample | None]) -> TargetSeen:
        """Give what was measured, from the answers to the parts.

        Raises:
            PrometheusError: a moment is none.
        """
        values = {name: each.value if each is not None else self.parts[name].absent for name, each in samples.items()}
        bad, total = _bad_and_total(values, _BUDGET)
        counted = None if bad is None or total is None else Counted(bad=bad, total=total)
        rates = {length: _share(values, span(length), least) for length, least in self.least.items()}
        last = values.get(LAST)
        return self._seen(counted, rates, last=None if last is None else moment_of_seconds(last))

    def _seen(
        self,
        counted: Counted | None,
        rates: Mapping[timedelta, Decimal | None],
        *,
        last: datetime | None,
        problem: str | None = None,
    ) -> TargetSeen:
        return TargetSeen(
            id=self.target.id,
            target=self.target.target,
            start=self.start,
            end=self.end,
            counted=counted,
            rates=rates,
            present=last is not None,
            last_data=last,
            problem=problem,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Some promises as of the same moment, and the terms of the one question about them.

    `terms` are expressions by the names they get in the label; `far` are those over long windows. `places` says, for
    each part of each promise, in which term it is, and at which value of which label (none where it is all of it).
    """

    asked: tuple[Asked, ...]
    terms: Mapping[str, str]
    far: frozenset[str]
    places: tuple[Mapping[str, tuple[str, str, str]], ...]

    @classmethod
    def of(cls, asked: Sequence[Asked]) -> Joined:
        """Join promises; parts that differ in the value of one label only are one term."""
        users = Counter(number.shape for each in asked for number in each.parts.values() if number.shape is not None)
        names = {shape: f"shape {place}" for place, shape in enumerate(each for each in users if users[each] > 1)}
        values: dict[Shape, dict[str, None]] = {shape: {} for shape in names}
        terms, far, places = {}, set(), []
        for position, each in enumerate(asked):
            found: dict[str, tuple[str, str, str]] = {}
            for name, number in each.parts.items():
                shape = number.shape
                if shape in names:
                    values[shape][number.value] = None
                    found[name] = (names[shape], shape.label, number.value)
                else:
                    found[name] = (f"{position}.{name}", "", "")
                    terms[f"{position}.{name}"] = number.query
                far |= {found[name][0]} if name in each.long else set()
            places.append(found)
        terms |= {names[shape]: shape.of(chosen) for shape, chosen in values.items()}
        return cls(asked=tuple(asked), terms=terms, far=frozenset(far), places=tuple(places))

    def questions(self) -> tuple[Question, Question]:
        """Ask for the terms over long windows, and for the others."""
        far = {name: query for name, query in self.terms.items() if name in self.far}
        near = {name: query for name, query in self.terms.items() if name not in self.far}
        at = self.asked[0].at
        return instant(joined(far) or "vector(0) < 0", at), instant(joined(near), at)

    def answers(self, found: Iterable[Sample]) -> list[Mapping[str, Sequence[Sample]]]:
        """Give, for each promise, what came back for each of its parts."""
        labels = {term: label for each in self.places for term, label, _ in each.values()}
        at: dict[tuple[str, str, str], list[Sample]] = {}
        for term, samples in parted(found).items():
            label = labels.get(term, "")
            for each in samples:
                rest = dict(each.labels)
                value = rest.pop(label, "") if label else ""
                at.setdefault((term, label, value), []).append(replace(each, labels=rest) if label else each)
        return [{name: at.get(place, ()) for name, place in each.items()} for each in self.places]


def joined(parts: Mapping[str, str]) -> str:
    """Write several queries as one, whose answers carry their names in a label."""
    return " or ".join(f'label_replace({query}, "{PART}", "{name}", "", "")' for name, query in parts.items())


def parted(found: Iterable[Sample]) -> Mapping[str, list[Sample]]:
    """Tell the answers of a joined query apart again."""
    by_name: dict[str, list[Sample]] = {}
    for each in found:
        labels = {name: value for name, value in each.labels.items() if name != PART}
        by_name.setdefault(each.labels.get(PART, ""), []).append(replace(each, labels=labels))
    return by_name


def parted_series(found: Iterable[Series]) -> Mapping[str, list[Series]]:
    """Tell the answers of a joined query over time apart again."""
    by_name: dict[str, list[Series]] = {}
    for each in found:
        by_name.setdefault(each.labels.get(PART, ""), []).append(each)
    return by_name


def moment_of_seconds(seconds: Decimal) -> datetime:
    """Read a moment in seconds since 1970.

    Raises:
        PrometheusError: it is none.
    """
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (OverflowError, ValueError, OSError):
        raise PrometheusError("Prometheus gives a moment that no calendar has") from None


def _counts(queries: Queries, length: timedelta, name: str, service: str) -> dict[str, Number]:
    return {f"{name} {side}": number for side, number in queries.counts(length, service).items()}


def _rate(queries: Queries, length: timedelta, name: str, service: str, least: int) -> dict[str, Number]:
    """Ask for what a share follows from; for the share itself where it is an average over time."""
    if not queries.counted:
        return {name: Number(query=queries.ratio(length, least=least))}
    return _counts(queries, length, name, service)


def _bad_and_total(values: Mapping[str, Decimal | None], name: str) -> tuple[Decimal | None, Decimal | None]:
    """Give what is bad and all there is; neither is below zero, though each is extrapolated for itself."""
    good, total = values.get(f"{name} good"), values.get(f"{name} total")
    if f"{name} good" not in values:
        bad = values.get(f"{name} bad")
    else:
        bad = None if good is None or total is None else total - good
    return (
        None if bad is None else max(bad, _NOTHING),
        None if total is None else max(total, _NOTHING),
    )


def _share(values: Mapping[str, Decimal | None], name: str, least: int) -> Decimal | None:
    if name in values:
        return values[name]
    bad, total = _bad_and_total(values, name)
    return None if bad is None or not total or total < least else bad / total


def _whole_seconds(length: timedelta) -> timedelta:
    return timedelta(seconds=length // _SECOND)
