"""Does a real Prometheus have what the policies ask it about? Problems, at the promise that asks.

- A metric of all events must have had samples in the last hour. One of bad events may have none, as a service may never
  have failed; where not even its name is known, that is a warning.
- A classic histogram must have a bucket at the bound; else the nearest ones are named.
- A ratio that somebody else computes must be one series between 0 and 1.
- No more events may be good, or bad, than there are.
- Prometheus must keep samples for as long as the budget's window.

Not here: what a document alone says (`repo`), measuring (`_measure`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from opsascode.repo import Events, Histogram, Problem, Raw, Severity
from opsascode.slo._answer import (
    PrometheusError,
    QueryRefusedError,
    Question,
    instant,
    label_values,
    only_sample,
    samples,
    texts,
)
from opsascode.slo._budget import nominal_length
from opsascode.slo._promql import selector, span, with_matchers
from opsascode.slo._queries import bad_rate, bucket_edges, total_rate, total_series

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from opsascode.repo import ReliabilityPolicy, Target
    from opsascode.slo._answer import Reply
    from opsascode.slo._prometheus import Answered, PrometheusClient

_RECENT: Final = timedelta(hours=1)
_DEFAULT_RETENTION: Final = timedelta(days=15)
_SLACK: Final = Decimal("1.01")  # rates are extrapolated, each for itself
_LENGTH: Final = re.compile(r"(\d{1,9})(ms|[ywdhms])")
_UNITS: Final = {
    "y": timedelta(days=365),
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_RETENTION: Final = "storage.tsdb.retention.time"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveCheck:
    """What was found, and why some of it could not be looked at."""

    problems: tuple[Problem, ...]
    failed: PrometheusError | None = None


def check_live(policies: Sequence[ReliabilityPolicy], client: PrometheusClient, at: datetime) -> LiveCheck:
    """Hold the indicators of policies against what Prometheus has."""
    looks = [look for policy in policies for target in policy.targets for look in _looks(target, at)]
    flags, *answers = client.ask_all([Question(path="status/flags", post=False), *(each.question for each in looks)])
    problems: list[Problem] = list(_retention(policies, flags))
    failed = None
    for look, answer in zip(looks, answers, strict=True):
        try:
            problems += look.judge(answer)
        except PrometheusError as error:
            failed = failed or error
    return LiveCheck(problems=tuple(problems), failed=failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look(ABC):
    """One question about one promise, and what its answer means."""

    target: Target
    question: Question

    def judge(self, answer: Answered) -> Iterable[Problem]:
        """Give what is wrong.

        Raises:
            PrometheusError: there is no answer.
        """
        if isinstance(answer, QueryRefusedError):
            return (self.problem("metric-query", answer.message, answer.advice or "mend the query of its indicator"),)
        if isinstance(answer, PrometheusError):
            raise answer
        try:
            return tuple(self.found(answer))
        except QueryRefusedError as error:
            return (self.problem("metric-series", error.message, error.advice),)

    @abstractmethod
    def found(self, reply: Reply) -> Iterator[Problem]:
        """Give what an answer shows to be wrong."""

    def problem(self, code: str, message: str, mend: str, *, warning: bool = False) -> Problem:
        """Write a problem at the promise."""
        return Problem(
            position=self.target.position,
            code=code,
            message=f"«{self.target.id}»: {message}",
            mend=mend,
            severity=Severity.WARNING if warning else Severity.ERROR,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exists(_Look):
    """A series that must have been there in the last hour."""

    what: str
    warning: bool = False

    def found(self, reply: Reply) -> Iterator[Problem]:
        if texts(reply):
            return
        if self.warning:
            mend = "is its name right? a service that never failed may not have it yet"
        else:
            mend = "is its name right, has it these labels, and does Prometheus scrape the service?"
        yield self.problem(
            "metric-missing", f"Prometheus had no samples of {self.what} in the last hour", mend, warning=self.warning
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge(_Look):
    """A bucket at the bound."""

    indicator: Histogram

    def found(self, reply: Reply) -> Iterator[Problem]:
        written = texts(reply)
        bound, metric = self.indicator.threshold, self.indicator.metric
        if not written:
            mend = "is its name right, has it these labels? a native histogram says native: true"
            yield self.problem("metric-missing", f"Prometheus had no samples of {metric}_bucket in the last hour", mend)
            return
        if set(written) & set(bucket_edges(bound)):
            return
        edges = sorted({edge for each in written if (edge := _edge(each)) is not None})
        if bound in edges:
            spelled = next(each for each in written if _edge(each) == bound)
            message = f"{metric} writes its bucket at {bound:f} as le=«{spelled}», which the queries do not look for"
            yield self.problem("metric-bucket", message, "let the service write it as usual")
            return
        below = max((each for each in edges if each < bound), default=None)
        above = min((each for each in edges if each > bound), default=None)
        near = " and ".join(f"{each:f}" for each in (below, above) if each is not None) or "none but +Inf"
        yield self.problem(
            "metric-bucket",
            f"{metric} has no bucket at {bound:f} {self.indicator.unit.value}; the nearest are {near}",
            "promise one of those bounds, or add this bucket to the histogram",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Share(_Look):
    """A ratio that must be one series between 0 and 1."""

    query: str

    def found(self, reply: Reply) -> Iterator[Problem]:
        sample = only_sample(samples(reply), self.query)
        if sample is None:
            yield self.problem("metric-missing", f"{self.query} gives nothing now", "is the query right?")
        elif sample.value is None or not 0 <= sample.value <= 1:
            yield self.problem(
                "metric-range", f"{self.query} gives {sample.written} now, and a ratio is between 0 and 1",
                "divide what it gives, or write the indicator with bad and total",
            )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _NotMore(_Look):
    """Good or bad events, of which there may be no more than all; the answer is how many times as many there are."""

    what: str

    def found(self, reply: Reply) -> Iterator[Problem]:
        sample = only_sample(samples(reply), self.what)
        if sample is not None and sample.value is not None and sample.value > _SLACK:
            yield self.problem(
                "metric-more-than-all",
                f"in the last hour there were {sample.value:.2f} times as many {self.what} events as events in all",
                "let total select everything that the other one selects",
            )


def _looks(target: Target, at: datetime) -> Iterator[_Look]:
    indicator = target.indicator
    if isinstance(indicator, Raw):
        yield _Share(target=target, question=instant(indicator.query, at), query=indicator.query)
    elif isinstance(indicator, Histogram):
        yield from _of_histogram(target, indicator, at)
    else:
        yield from _of_events(target, indicator, at)


def _of_histogram(target: Target, indicator: Histogram, at: datetime) -> Iterator[_Look]:
    if indicator.native:
        yield _exists(target, total_series(indicator), at)
        return
    chosen = [(label, "=", value) for label, value in indicator.selector.items()]
    buckets = with_matchers(f"{indicator.metric}_bucket", chosen)
    question = label_values("le", (buckets,), start=at - _RECENT, end=at)
    yield _Edge(target=target, question=question, indicator=indicator)
    yield _exists(target, total_series(indicator), at)


def _of_events(target: Target, indicator: Events, at: datetime) -> Iterator[_Look]:
    if (total := selector(indicator.total)) is not None:
        yield _exists(target, total, at)
    else:
        question = instant(f"group({total_rate(indicator, _RECENT)})", at)
        yield _Given(target=target, question=question, what=indicator.total)
    if indicator.good is not None and (good := selector(indicator.good)) is not None:
        yield _exists(target, good, at)
    if indicator.bad is not None and (bad := selector(indicator.bad)) is not None:
        name = bad.partition("{")[0]
        if name:
            yield _exists(target, name, at, warning=True)
    yield _NotMore(target=target, question=instant(_times(indicator), at), what="good" if indicator.good else "bad")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given(_Look):
    """An expression that must give something."""

    what: str

    def found(self, reply: Reply) -> Iterator[Problem]:
        if not samples(reply):
            yield self.problem("metric-missing", f"{self.what} gives nothing for the last hour", "is the query right?")


def _times(indicator: Events) -> str:
    """Ask how many times as many good (or bad) events there were as events in all."""
    part = Events(bad=indicator.good or indicator.bad, total=indicator.total)
    return f"({bad_rate(part, _RECENT)}) / ({total_rate(part, _RECENT)} > 0)"


def _exists(target: Target, series: str, at: datetime, *, warning: bool = False) -> _Exists:
    question = label_values("__name__", (series,), start=at - _RECENT, end=at)
    return _Exists(target=target, question=question, what=series, warning=warning)


def _edge(written: str) -> Decimal | None:
    try:
        edge = Decimal(written)
    except InvalidOperation:
        return None
    return edge if edge.is_finite() else None


def _length(written: str) -> timedelta:
    """Read a length as Prometheus writes it: `15d`, `1w2d`."""
    return sum((int(number) * _UNITS[unit] for number, unit in _LENGTH.findall(written)), timedelta())


def _retention(policies: Sequence[ReliabilityPolicy], answer: Answered) -> Iterator[Problem]:
    """Warn where Prometheus forgets before a window ends; one that keeps samples elsewhere may know more."""
    if isinstance(answer, PrometheusError) or not isinstance(answer.data, dict):
        return
    written = str(answer.data.get(_RETENTION, ""))
    kept = _length(written) or _DEFAULT_RETENTION
    for policy in policies:
        length = nominal_length(policy.window)
        if length > kept:
            yield Problem(
                position=policy.position,
                code="metric-retention",
                message=f"the budget runs over {span(length)}, and Prometheus keeps samples for {span(kept)}",
                mend=f"start Prometheus with --{_RETENTION}={span(length)} or more, or promise over a shorter window",
                severity=Severity.WARNING,
            )
