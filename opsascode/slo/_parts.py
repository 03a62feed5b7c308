"""Of which parts is the question about one promise made, and what do their answers come to?

Parts are queries of one number each, joined to one query and told apart by a label. What is cheap to ask is asked:
of a classic histogram the good events and all of them, from which the bad ones follow. Parts over long windows and over
short ones are apart, as Prometheus opens all that the longest window of a query needs for each part of it.

Not here: asking (`_measure`), the PromQL of a part (`_queries`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from opsascode.slo._answer import PrometheusError, instant
from opsascode.slo._budget import period_of
from opsascode.slo._burn import burn_windows
from opsascode.slo._promql import span
from opsascode.slo._queries import queries_of
from opsascode.slo._snapshot import Counted, TargetSeen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opsascode.repo import ReliabilityPolicy, Target
    from opsascode.slo._answer import Question, Sample, Series
    from opsascode.slo._queries import Queries

PART: Final = "opsascode_part"
"""The label that tells the parts of one query apart."""
_LONG: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_BUDGET: Final = "budget"
_LAST: Final = "last"
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
    parts: Mapping[str, str]
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
        windows = {span(each): (each, queries, least[each]) for each in lengths}
        elapsed = _whole_seconds(at - start)
        counts = _counts(queries, elapsed, _BUDGET) if elapsed >= _SECOND else {}
        parts, far = {**counts, _LAST: queries.last}, set(counts) if elapsed >= _LONG else set()
        for name, (length, _, enough) in windows.items():
            own = _rate(queries, length, name, enough)
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
        values = {name: each.value if each is not None else None for name, each in samples.items()}
        bad, total = _bad_and_total(values, _BUDGET)
        counted = None if bad is None or total is None else Counted(bad=bad, total=total)
        rates = {length: _share(values, span(length), least) for length, least in self.least.items()}
        last = values.get(_LAST)
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


def questions(group: Sequence[Asked]) -> tuple[Question, Question]:
    """Ask for promises as of the same moment: their parts over long windows, and the others."""
    long = {f"{place}.{name}": each.parts[name] for place, each in enumerate(group) for name in sorted(each.long)}
    short = {
        f"{place}.{name}": query
        for place, each in enumerate(group)
        for name, query in each.parts.items()
        if name not in each.long
    }
    return instant(joined(long) or "vector(0) < 0", group[0].at), instant(joined(short), group[0].at)


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


def _counts(queries: Queries, length: timedelta, name: str) -> dict[str, str]:
    """Ask for bad events and for all; where it is cheaper, for the good ones in place of the bad."""
    good, total = queries.good(length), queries.total(length)
    if good is not None:
        return {f"{name} good": good, f"{name} total": total}
    return {f"{name} bad": queries.bad(length), f"{name} total": total}


def _rate(queries: Queries, length: timedelta, name: str, least: int) -> dict[str, str]:
    if queries.good(length) is not None:
        return _counts(queries, length, name)
    return {name: queries.ratio(length, least=least)}


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
