"""How did a budget go down over its window? What a burn-down picture is drawn from.

The window is cut into equal steps, and what was bad in each is taken from the budget, one after the other: so the
course begins with the whole budget, and ends with what is left now. Steps are counted by themselves and lose a little
at their edges; the course is stretched so that it ends exactly where the status says.

Not here: drawing (`_picture`), the status itself (`_status`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from opsascode.slo._answer import PrometheusError, QueryRefusedError, ranged, series
from opsascode.slo._parts import joined, parted_series
from opsascode.slo._queries import queries_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opsascode.repo import ReliabilityPolicy, Target
    from opsascode.slo._answer import Question
    from opsascode.slo._prometheus import Answered, PrometheusClient
    from opsascode.slo._status import ServiceStatus, TargetStatus

_STEPS: Final = 120
_LEAST: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How much of a budget was left at a moment; `known` is false where nothing was measured in the step before."""

    at: datetime
    remaining: Decimal
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How the budget of one promise went down; without moments where that cannot be said, and `problem` says why."""

    policy: str
    target: str
    moments: tuple[Moment, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One promise, the part of its window that has passed, and the length of a step."""

    policy: str
    target: Target
    status: TargetStatus
    start: datetime
    end: datetime
    step: timedelta

    @classmethod
    def of(cls, policy: ReliabilityPolicy, target: Target, status: TargetStatus, taken: datetime) -> _Asked:
        """Cut the window into whole minutes, and at most 120 steps."""
        start, end = status.seen.start, min(status.seen.end, taken)
        step = max(1, -(-(end - start) // (_STEPS * _LEAST))) * _LEAST
        return cls(policy=policy.metadata.name, target=target, status=status, start=start, end=end, step=step)

    def question(self) -> Question:
        """Ask what was bad in each step, and how much there was."""
        queries, first = queries_of(self.target), self.start + self.step
        parts = {"bad": queries.bad(self.step), "total": queries.total(self.step)}
        return ranged(joined(parts), start=first, end=max(self.end, first), step=self.step)

    def course(self, moments: Iterable[Moment] = (), problem: str | None = None) -> Course:
        """Give the course, or why there is none."""
        return Course(policy=self.policy, target=self.target.id, moments=tuple(moments), problem=problem)


def courses(judged: Sequence[tuple[ReliabilityPolicy, ServiceStatus]], client: PrometheusClient) -> tuple[Course, ...]:
    """Ask how the budgets of all promises went down, in their order."""
    asked = [each for policy, service in judged for each in _asked(policy, service)]
    measured = [place for place, each in enumerate(asked) if each.status.consumed is not None]
    answers = dict(zip(measured, client.ask_all([asked[place].question() for place in measured]), strict=True))
    return tuple(_course(each, answers.get(place)) for place, each in enumerate(asked))


def _asked(policy: ReliabilityPolicy, service: ServiceStatus) -> Iterator[_Asked]:
    found = {each.id: each for each in service.targets}
    for target in policy.targets:
        if target.id in found:
            yield _Asked.of(policy, target, found[target.id], service.taken)


def _course(one: _Asked, answer: Answered | None) -> Course:
    consumed = one.status.consumed
    if answer is None or consumed is None:
        return one.course(problem="there are no data")
    try:
        if isinstance(answer, PrometheusError):
            raise answer
        parts = parted_series(series(answer))
        if several := [name for name, found in parts.items() if len(found) > 1]:
            raise QueryRefusedError(f"{one.target.id} ({several[0]}) gives several series where one is needed")
    except PrometheusError as error:
        return one.course(problem=str(error))
    bad, total = (dict(parts[name][0].points) if name in parts else {} for name in ("bad", "total"))
    return one.course(_fall(one, consumed, bad, total))


def _fall(
    one: _Asked, consumed: Decimal, bad: Mapping[datetime, Decimal], total: Mapping[datetime, Decimal]
) -> Iterator[Moment]:
    spent = {at: max(each, Decimal(0)) for at, each in bad.items() if at in total}
    whole, gone, at = sum(spent.values(), Decimal(0)), Decimal(0), one.start + one.step
    yield Moment(at=one.start, remaining=Decimal(1), known=True)
    while at < one.end:
        gone += spent.get(at, Decimal(0))
        share = gone / whole * consumed if whole else Decimal(0)
        yield Moment(at=at, remaining=1 - share, known=bool(total.get(at)))
        at += one.step
    yield Moment(at=one.end, remaining=1 - consumed, known=one.status.seen.present)
