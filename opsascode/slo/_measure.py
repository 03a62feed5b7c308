"""What does Prometheus say now about every promise of some policies? Snapshots, measured side by side.

Counts, burn windows, whether a series exists and when it last had a sample are the parts of one query, told apart by a
label; a few promises share it. Where such a query fails, or Prometheus warns of something in it, each promise is asked
for by itself, so that one that is wrong does not hide the others, and a warning is about one. Where a series is gone,
another question finds its last sample. What cannot be measured is part of the snapshot and says why; it is never an
exception, never a zero.

Not here: how a question is sent (`_prometheus`), what PromQL it is made of (`_queries`), any judgement (`_status`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from opsascode.slo._answer import PrometheusError, QueryRefusedError, Reply, instant, only_sample, samples
from opsascode.slo._parts import Asked, moment_of_seconds, parted, questions
from opsascode.slo._promql import span
from opsascode.slo._snapshot import SloSnapshot, TargetSeen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from opsascode.repo import ReliabilityPolicy
    from opsascode.slo._answer import Question, Sample
    from opsascode.slo._prometheus import Answered, PrometheusClient

SKEW_SAID: Final = timedelta(seconds=30)
_LOOK_BACK: Final = timedelta(minutes=5)  # as far as Prometheus looks back for a sample by default
_DAY: Final = timedelta(days=1)
_MOST_STEPS: Final = 9000  # Prometheus refuses more than 11,000 points
_TOGETHER: Final = 4
_MOST_NOTES: Final = 20
_MOST_NOTE: Final = 500


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
    asked = [Asked.of(policy, target, at) for policy in policies for target in policy.targets]
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
            [_Found(seen=Asked.of(policy, each, at).nothing(None), failed=failed) for each in policy.targets],
            at,
            commit,
        )
        for policy in policies
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """What came back for one promise, part by part, and what Prometheus warns of."""

    parts: Mapping[str, Sequence[Sample]]
    notes: tuple[str, ...]


def _ask(client: PrometheusClient, asked: Sequence[Asked]) -> tuple[Answered, list[_Given | PrometheusError]]:
    """Ask for all promises, a few at once, and for the clock of Prometheus; those of an unclear answer one by one."""
    groups = [asked[place : place + _TOGETHER] for place in range(0, len(asked), _TOGETHER)]
    clock, *answers = _answers(client, groups, instant("time()"))
    again: dict[int, Answered] = {}
    if any(isinstance(each, Reply | QueryRefusedError) for each in (clock, *answers)):
        several = [(group, one) for group, one in zip(groups, answers, strict=True) if len(group) > 1]
        alone = [each for group, one in several if isinstance(one, PrometheusError) or one.notes for each in group]
        again = dict(zip(map(id, alone), _answers(client, [[each] for each in alone]), strict=True))
    given: list[_Given | PrometheusError] = []
    for group, answer in zip(groups, answers, strict=True):
        if id(group[0]) in again:
            given += [one for each in group for one in _given([each], again[id(each)])]
        else:
            given += _given(group, answer)
    return clock, given


def _answers(client: PrometheusClient, groups: Sequence[Sequence[Asked]], *first: Question) -> list[Answered]:
    """Ask for groups; each is two questions, and one answer."""
    if not groups and not first:
        return []
    halves = client.ask_all([*first, *(each for group in groups for each in questions(group))])
    rest = halves[len(first) :]
    return [*halves[: len(first)], *(_whole(*pair) for pair in zip(rest[::2], rest[1::2], strict=True))]


def _whole(one: Answered, other: Answered) -> Answered:
    """Put the answers to two halves of a question together; where one is missing, the whole is."""
    if isinstance(one, PrometheusError) or isinstance(other, PrometheusError):
        return one if isinstance(one, PrometheusError) else other
    try:
        found = (*samples(one), *samples(other))
    except PrometheusError as error:
        return error
    return Reply(data=found, notes=tuple(dict.fromkeys((*one.notes, *other.notes))))


def _given(group: Sequence[Asked], answer: Answered) -> list[_Given | PrometheusError]:
    """Tell apart what came back for promises that share a query."""
    if isinstance(answer, PrometheusError):
        return [answer for _ in group]
    by_name = parted(answer.data)
    names = ", ".join(each.target.id for each in group)
    notes = tuple(f"{names}: {note}" for note in answer.notes)
    return [
        _Given(parts={name: by_name.get(f"{place}.{name}", ()) for name in each.parts}, notes=notes)
        for place, each in enumerate(group)
    ]


def _read(one: Asked, given: _Given | PrometheusError) -> _Found:
    try:
        if isinstance(given, PrometheusError):
            raise given
        values = {name: only_sample(found, f"{one.target.id} ({name})") for name, found in given.parts.items()}
        return _Found(seen=one.seen(values), notes=(*given.notes, *_no_numbers(one, values)))
    except QueryRefusedError as error:
        return _Found(seen=one.nothing(str(error)))
    except PrometheusError as error:
        return _Found(seen=one.nothing(str(error)), failed=error)


def _with_last_samples(asked: Sequence[Asked], found: list[_Found], client: PrometheusClient) -> list[_Found]:
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


def _last_within(one: Asked, length: timedelta) -> str:
    step = max(_LOOK_BACK, timedelta(minutes=-(-length // timedelta(minutes=_MOST_STEPS))))
    return f"max(max_over_time(({one.parts['last']})[{span(length)}:{span(step)}]))"


def _last(answer: Answered | None) -> datetime | None:
    if not isinstance(answer, Reply):
        return None
    try:
        value = _value(only_sample(samples(answer), "the last sample"))
        return None if value is None else moment_of_seconds(value)
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
        away = moment_of_seconds(theirs) - now if theirs is not None else timedelta(0)
    except PrometheusError:
        return ()
    if abs(away) <= SKEW_SAID:
        return ()
    side = "ahead of" if away > timedelta(0) else "behind"
    return (f"the clock of Prometheus is {span(abs(away) // timedelta(seconds=1) * timedelta(seconds=1))} {side} ours",)


def _clear(client: PrometheusClient) -> tuple[str, ...]:
    return (f"the credentials travel to {client.address} unencrypted",) if client.in_the_clear else ()


def _no_numbers(one: Asked, values: Mapping[str, Sample | None]) -> tuple[str, ...]:
    """Name the parts where Prometheus wrote NaN or an infinity: they count as no data."""
    return tuple(
        f"{one.target.id}: Prometheus gives {sample.written} for {name}; that is no data"
        for name, sample in values.items()
        if sample is not None and sample.value is None
    )


def _value(sample: Sample | None) -> Decimal | None:
    return None if sample is None else sample.value
