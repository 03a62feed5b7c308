"""What does Prometheus say now about every promise of some policies? Snapshots, measured side by side.

Counts, burn windows, whether a series exists and when it last had a sample are the parts of one query, told apart by a
label; a few promises of one policy share it. Where such a query fails, each promise is asked for by itself, so that one
that is wrong does not hide the others. Where a series is gone, another question finds its last sample. What cannot be
measured is part of the snapshot and says why; it is never an exception, never a zero.

Not here: how a question is sent (`_prometheus`), what PromQL it is made of (`_queries`), any judgement (`_status`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from opsascode.slo._answer import PrometheusError, QueryRefusedError, Reply, instant, only_sample, samples
from opsascode.slo._budget import period_of
from opsascode.slo._promql import span
from opsascode.slo._queries import queries_of, rate_queries
from opsascode.slo._snapshot import Counted, SloSnapshot, TargetSeen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from decimal import Decimal

    from opsascode.repo import ReliabilityPolicy, Target
    from opsascode.slo._answer import Question, Sample, Series
    from opsascode.slo._prometheus import Answered, PrometheusClient

PART: Final = "opsascode_part"
"""The label that tells the parts of one query apart."""
SKEW_SAID: Final = timedelta(seconds=30)
_LOOK_BACK: Final = timedelta(minutes=5)  # as far as Prometheus looks back for a sample by default
_DAY: Final = timedelta(days=1)
_MOST_STEPS: Final = 9000  # Prometheus refuses more than 11,000 points
_TOGETHER: Final = 4
_MOST_NOTES: Final = 20
_MOST_NOTE: Final = 500
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One promise of one policy, the window of its budget, and the parts of its question by their names."""

    policy: ReliabilityPolicy
    target: Target
    start: datetime
    end: datetime
    at: datetime
    parts: Mapping[str, str]
    lengths: tuple[timedelta, ...]

    @classmethod
    def of(cls, policy: ReliabilityPolicy, target: Target, at: datetime) -> _Asked:
        """Ask for a promise as of a moment; of a window that begins just now there is nothing to count."""
        start, end = period_of(policy.window, at)
        queries, rates, elapsed = queries_of(target), rate_queries(policy, target), _whole_seconds(at - start)
        counts = {"bad": queries.bad(elapsed), "total": queries.total(elapsed)} if elapsed >= _SECOND else {}
        windows = {span(length): query for length, query in rates.items()}
        parts = {**counts, "present": queries.present, "last": queries.last, **windows}
        return cls(policy=policy, target=target, start=start, end=end, at=at, parts=parts, lengths=tuple(rates))

    @property
    def elapsed(self) -> timedelta:
        """Give how much of the window has passed, in whole seconds."""
        return _whole_seconds(self.at - self.start)

    def nothing(self, problem: str | None) -> TargetSeen:
        """Say that nothing was measured, and why."""
        return TargetSeen(
            id=self.target.id,
            target=self.target.target,
            start=self.start,
            end=self.end,
            counted=None,
            rates=dict.fromkeys(self.lengths),
            present=False,
            problem=problem,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What came back for one promise; `failed` is set where Prometheus could not be asked at all."""

    seen: TargetSeen
    notes: tuple[str, ...] = ()
    failed: PrometheusError | None = None


def measure(
    policies: Sequence[ReliabilityPolicy],
    client: PrometheusClient,
    at: datetime,
    *,
    now: datetime,
    commit: str | None = None,
) -> tuple[SloSnapshot, ...]:
    """Measure policies as of a moment; `now` is our clock, which that of Prometheus is compared with."""
    asked = [_Asked.of(policy, target, at) for policy in policies for target in policy.targets]
    clock, given = _ask(client, asked)
    found = [_read(one, each) for one, each in zip(asked, given, strict=True)]
    found = _with_last_samples(asked, found, client)
    common = (*_skew(clock, now), *_clear(client))
    each = iter(found)
    return tuple(_snapshot(policy, [next(each) for _ in policy.targets], at, commit, common) for policy in policies)


def ask_value(client: PrometheusClient, query: str, at: datetime) -> Decimal | None:
    """Ask for one number; None where there is no data, or no finite number.

    Raises:
        QueryRefusedError: the query is refused, or gives more than one series.
        PrometheusError: there is no answer.
    """
    return _value(only_sample(samples(client.ask(instant(query, at))), "the query"))


def unreachable(
    policies: Sequence[ReliabilityPolicy], why: str, at: datetime, *, commit: str | None = None
) -> tuple[SloSnapshot, ...]:
    """Give snapshots of what could not be measured at all."""
    failed = PrometheusError(why)
    return tuple(
        _snapshot(
            policy,
            [_Found(seen=_Asked.of(policy, each, at).nothing(None), failed=failed) for each in policy.targets],
            at,
            commit,
        )
        for policy in policies
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What came back for one promise, part by part, and what Prometheus warns of."""

    parts: Mapping[str, Sequence[Sample]]
    notes: tuple[str, ...]


def _ask(client: PrometheusClient, asked: Sequence[_Asked]) -> tuple[Answered, list[_Given | PrometheusError]]:
    """Ask for all promises, a few at once, and for the clock of Prometheus; those of a failed query one by one."""
    groups = list(_groups(asked))
    clock, *answers = client.ask_all([instant("time()"), *(_question(each) for each in groups)])
    if any(isinstance(each, Reply | QueryRefusedError) for each in (clock, *answers)):
        failed = {
            place for place, (each, one) in enumerate(zip(groups, answers, strict=True))
            if len(each) > 1 and isinstance(one, PrometheusError)
        }  # fmt: skip
        singles = [[one] for place in sorted(failed) for one in groups[place]]
        again = iter(client.ask_all([_question(each) for each in singles]) if singles else ())
        settled = [
            [([one], next(again)) for one in group] if place in failed else [(group, answers[place])]
            for place, group in enumerate(groups)
        ]
    else:
        settled = [[pair] for pair in zip(groups, answers, strict=True)]
    return clock, [given for pairs in settled for group, answer in pairs for given in _given(group, answer)]


def _groups(asked: Sequence[_Asked]) -> Iterator[list[_Asked]]:
    """Put promises together that share a query: of one policy, and not too many."""
    group: list[_Asked] = []
    for each in asked:
        if group and (each.policy is not group[0].policy or len(group) == _TOGETHER):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _question(group: Sequence[_Asked]) -> Question:
    parts = {f"{place}.{name}": query for place, each in enumerate(group) for name, query in each.parts.items()}
    return instant(joined(parts), group[0].at)


def _given(group: Sequence[_Asked], answer: Answered) -> list[_Given | PrometheusError]:
    """Tell apart what came back for promises that share a query."""
    try:
        if isinstance(answer, PrometheusError):
            raise answer
        by_name = parted(samples(answer))
    except PrometheusError as error:
        return [error for _ in group]
    names = ", ".join(each.target.id for each in group)
    notes = tuple(f"{names}: {note}" for note in answer.notes)
    return [
        _Given(parts={name: by_name.get(f"{place}.{name}", ()) for name in each.parts}, notes=notes)
        for place, each in enumerate(group)
    ]


def _read(one: _Asked, given: _Given | PrometheusError) -> _Found:
    try:
        if isinstance(given, PrometheusError):
            raise given
        values = {name: only_sample(found, f"{one.target.id} ({name})") for name, found in given.parts.items()}
        return _Found(seen=_seen(one, values), notes=(*given.notes, *_no_numbers(one, values)))
    except QueryRefusedError as error:
        return _Found(seen=one.nothing(str(error)))
    except PrometheusError as error:
        return _Found(seen=one.nothing(str(error)), failed=error)


def _seen(one: _Asked, values: Mapping[str, Sample | None]) -> TargetSeen:
    bad, total, last = (_value(values.get(name)) for name in ("bad", "total", "last"))
    return TargetSeen(
        id=one.target.id,
        target=one.target.target,
        start=one.start,
        end=one.end,
        counted=None if bad is None or total is None else Counted(bad=max(bad, 0 * bad), total=max(total, 0 * total)),
        rates={length: _value(values.get(span(length))) for length in one.lengths},
        present=_value(values.get("present")) is not None,
        last_data=None if last is None else _moment(last),
    )


def _with_last_samples(asked: Sequence[_Asked], found: list[_Found], client: PrometheusClient) -> list[_Found]:
    """Find when a series that is gone last had a sample: in the last day, which is quick, else in the whole window."""
    for most in (_DAY, None):
        gone = {
            place: instant(_last_within(one, min(one.elapsed, most or one.elapsed)), one.at)
            for place, (one, each) in enumerate(zip(asked, found, strict=True))
            if each.seen.last_data is None and each.seen.problem is None and one.elapsed >= (most or _LOOK_BACK)
        }
        answers = client.ask_all(tuple(gone.values())) if gone else ()
        for place, answer in zip(gone, answers, strict=True):
            each = found[place]
            found[place] = replace(each, seen=replace(each.seen, last_data=_last(answer)))
    return found


def _last_within(one: _Asked, length: timedelta) -> str:
    step = max(_LOOK_BACK, timedelta(minutes=-(-length // timedelta(minutes=_MOST_STEPS))))
    return f"max(max_over_time(({one.parts['last']})[{span(length)}:{span(step)}]))"


def _last(answer: Answered | None) -> datetime | None:
    if not isinstance(answer, Reply):
        return None
    try:
        value = _value(only_sample(samples(answer), "the last sample"))
        return None if value is None else _moment(value)
    except PrometheusError:
        return None


def _snapshot(
    policy: ReliabilityPolicy, found: Sequence[_Found], at: datetime, commit: str | None, common: Sequence[str] = ()
) -> SloSnapshot:
    """Put together what was found for a policy; where no promise could be asked, the whole is unreachable."""
    failed = [each.failed for each in found if each.failed is not None]
    nobody = str(failed[0]) if failed and len(failed) == len(found) else None
    notes = dict.fromkeys(note[:_MOST_NOTE] for each in found for note in each.notes)
    return SloSnapshot(
        policy=policy.metadata.name,
        service=policy.service,
        commit=commit,
        digest=policy.source.digest,
        taken=at,
        targets=tuple(each.seen for each in found),
        warnings=(*common, *notes)[:_MOST_NOTES],
        unreachable=nobody,
    )


def _skew(answer: Answered, now: datetime) -> tuple[str, ...]:
    """Say how far the clock of Prometheus is from ours, where that matters."""
    if not isinstance(answer, Reply):
        return ()
    try:
        theirs = _value(only_sample(samples(answer), "time()"))
        away = _moment(theirs) - now if theirs is not None else timedelta(0)
    except PrometheusError:
        return ()
    if abs(away) <= SKEW_SAID:
        return ()
    side = "ahead of" if away > timedelta(0) else "behind"
    return (f"the clock of Prometheus is {span(abs(away) // _SECOND * _SECOND)} {side} ours",)


def _clear(client: PrometheusClient) -> tuple[str, ...]:
    return (f"the credentials travel to {client.address} unencrypted",) if client.in_the_clear else ()


def _no_numbers(one: _Asked, values: Mapping[str, Sample | None]) -> tuple[str, ...]:
    """Name the parts where Prometheus wrote NaN or an infinity: they count as no data."""
    return tuple(
        f"{one.target.id}: Prometheus gives {sample.written} for {name}; that is no data"
        for name, sample in values.items()
        if sample is not None and sample.value is None
    )


def _whole_seconds(length: timedelta) -> timedelta:
    return timedelta(seconds=length // _SECOND)


def _value(sample: Sample | None) -> Decimal | None:
    return None if sample is None else sample.value


def _moment(seconds: Decimal) -> datetime:
    try:
        return datetime.fromtimestamp(float(seconds), UTC)
    except (OverflowError, ValueError, OSError):
        raise PrometheusError("Prometheus gives a moment that no calendar has") from None
