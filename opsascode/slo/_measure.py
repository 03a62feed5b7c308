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
from opsascode.slo._parts import LAST, Asked, Joined, moment_of_seconds
from opsascode.slo._promql import span
from opsascode.slo._snapshot import SloSnapshot, TargetSeen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from decimal import Decimal

    from opsascode.repo import ReliabilityPolicy
    from opsascode.slo._answer import Question, Sample
    from opsascode.slo._numbers import Shape
    from opsascode.slo._prometheus import Answered, PrometheusClient

SKEW_SAID: Final = timedelta(seconds=30)
_LOOK_BACK: Final = timedelta(minutes=5)  # as far as Prometheus looks back for a sample by default
_DAY: Final = timedelta(days=1)
_MOST_STEPS: Final = 9000  # Prometheus refuses more than 11,000 points
_TOGETHER: Final = 50
_MOST_TERMS: Final = 80
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
    groups = [Joined.of(each) for each in _groups(asked)]
    clock, *answers = _answers(client, groups, instant("time()"))
    again: dict[int, Answered] = {}
    if any(isinstance(each, Reply | QueryRefusedError) for each in (clock, *answers)):
        several = [(group, one) for group, one in zip(groups, answers, strict=True) if len(group.asked) > 1]
        unclear = [group for group, one in several if isinstance(one, PrometheusError) or one.notes]
        alone = [Joined.of([each]) for group in unclear for each in group.asked]
        again = dict(zip((id(each.asked[0]) for each in alone), _answers(client, alone), strict=True))
    given: list[_Given | PrometheusError] = []
    for group, answer in zip(groups, answers, strict=True):
        if id(group.asked[0]) in again:
            given += [one for each in group.asked for one in _given(Joined.of([each]), again[id(each)])]
        else:
            given += _given(group, answer)
    return clock, given


def _groups(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    """Put promises together that share a question: not too many, and with not too many terms."""
    group: list[Asked] = []
    shapes: set[Shape] = set()
    terms = 0
    for each in asked:
        if group and (len(group) == _TOGETHER or terms + _more_terms(each, shapes) > _MOST_TERMS):
            yield group
            group, shapes, terms = [], set(), 0
        terms += _more_terms(each, shapes)
        shapes |= {number.shape for number in each.parts.values() if number.shape is not None}
        group.append(each)
    if group:
        yield group


def _more_terms(one: Asked, shapes: AbstractSet[Shape]) -> int:
    return sum(number.shape is None or number.shape not in shapes for number in one.parts.values())


def _answers(client: PrometheusClient, groups: Sequence[Joined], *first: Question) -> list[Answered]:
    """Ask for groups; each is two questions, and one answer."""
    if not groups and not first:
        return []
    halves = client.ask_all([*first, *(each for group in groups for each in group.questions())])
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


def _given(group: Joined, answer: Answered) -> list[_Given | PrometheusError]:
    """Tell apart what came back for promises that share a question."""
    if isinstance(answer, PrometheusError):
        return [answer for _ in group.asked]
    return [
        _Given(parts=parts, notes=tuple(f"{each.target.id}: {note}" for note in answer.notes))
        for each, parts in zip(group.asked, group.answers(answer.data), strict=True)
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
    return f"max(max_over_time(({one.parts[LAST].query})[{span(length)}:{span(step)}]))"


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
