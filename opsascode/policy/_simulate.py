"""What would other policies have decided about what really happened?

Every record is judged again at its own time, by the policies of now and by the candidate, and only where these two
differ is there a difference: whatever else has changed since then is the same for both. A record that does not hold
what a decision needs cannot be replayed; it is counted and never guessed. Pure: the same records and policies give the
same simulation, whenever and wherever.

Not here: reading records (`run`), judging one of them (`_simulate_plans`, `_simulate_slo`).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from opsascode.policy._replayed import (
    ChangeKind,
    GateJudged,
    NotReplayed,
    PlanJudged,
    Simulation,
    SloTaken,
)
from opsascode.policy._simulate_plans import PlanReplay
from opsascode.policy._simulate_slo import SloReplay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opsascode.policy._replayed import Answer, Difference, Replayable
    from opsascode.repo import Policies, ReliabilityPolicy

_ORDER = {kind: place for place, kind in enumerate(ChangeKind)}


def simulate(
    records: Iterable[Replayable],
    current: Policies,
    candidate: Policies,
    *,
    measured: Iterable[ReliabilityPolicy] = (),
) -> Simulation:
    """Judge every record by both.

    `measured` are earlier reliability policies that measurements were taken for: what was measured by one indicator
    says nothing about another.
    """
    listed = sorted(records, key=lambda each: (each.at, each.id))
    answers = list(_answers(listed, current, candidate, measured))
    return Simulation(
        records=Counter(record.kind for record in listed),
        differences=_sorted(each for _, answer in answers for each in answer.differences),
        since=_sorted(each for _, answer in answers for each in answer.since),
        not_replayed=tuple(_not_replayed(record, answer.unknown) for record, answer in answers if answer.unknown),
    )


def _answers(
    records: Sequence[Replayable], current: Policies, candidate: Policies, measured: Iterable[ReliabilityPolicy]
) -> Iterator[tuple[Replayable, Answer]]:
    plans, slos = PlanReplay(current, candidate), SloReplay(current, candidate, measured)
    for record in records:
        match record:
            case PlanJudged():
                yield record, plans.replay(record)
            case GateJudged():
                yield record, slos.replay_gate(record)
            case SloTaken():
                yield record, slos.replay_snapshot(record)


def _not_replayed(record: Replayable, why: str) -> NotReplayed:
    about = record.runbook if isinstance(record, PlanJudged) else record.service
    return NotReplayed(kind=record.kind, id=record.id, at=record.at, about=about, why=why)


def _sorted(found: Iterable[Difference]) -> tuple[Difference, ...]:
    return tuple(sorted(found, key=lambda each: (each.at, each.id, _ORDER[each.change], each.where)))
