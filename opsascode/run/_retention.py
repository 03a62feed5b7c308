"""What of old runs, and of old questions of gates, may go, and how is it said that it went?

Of runs only journals, outputs and texts go; plan, results and receipt stay, and the ledger only ever grows: what is
about to go is first named in a signed record. So a missing journal is either named there, or a fault.

What a gate asked goes whole, for its verdict stands in the ledger: but not while it can be overridden, and not where
people answered. What they signed stays, as it does with a run: of it the ledger has the digests alone.

Not here: what is said of a pruned run (`_history_files`).
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from opsascode.errors import OpsError
from opsascode.policy import GateAsked
from opsascode.proof import PREDICATE_PREFIX, Statement, canonical_bytes, seal, sha256_digest
from opsascode.run._asks import APPROVALS_DIRECTORY, ASKS_DIRECTORY, read_request
from opsascode.run._exchange import GATE_ID, GATES
from opsascode.run._history import Query
from opsascode.run._record import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opsascode.proof import Json, Ledger, Signer
    from opsascode.run._history import History, RunSummary
    from opsascode.run._record import Actor
    from opsascode.run._state import State

RUN_PRUNE: Final = f"{PREDICATE_PREFIX}run-prune:v1"
_STAGE: Final = re.compile("(forward|undo|sweep)-")
_KEPT_OF_A_STAGE: Final = frozenset({"playbook.yml"})
_NAMES_A_RECORD: Final = 400  # a run's id has at most 64 characters, a record at most 64 KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Prunable:
    """A run of which something may go: how many bytes, and from which directories."""

    run: RunSummary
    bytes: int
    stages: tuple[Path, ...]


def prunable(history: History, *, before: datetime, keep: int = 0) -> tuple[Prunable, ...]:
    """Find the runs that ended before a moment and still have something that may go, oldest first.

    Never: runs that have no end record, the newest `keep`, and runs that a run without an end continues or undoes.
    """
    runs = history.list(Query())
    needed = {name for each in runs if each.end_index is None for name in (each.continues, each.undoes)}
    found = (
        _prunable(each, history.directory(each))
        for each in reversed(runs[keep:])
        if each.ended is not None and each.ended < before and each.run not in needed
    )
    return tuple(each for each in found if each.bytes or each.stages)


def _prunable(run: RunSummary, directory: Path) -> Prunable:
    stages = tuple(stage for stage in _stages(directory) if any(_of_a_stage(stage)))
    size = sum(_size(entry) for stage in stages for entry in _of_a_stage(stage))
    return Prunable(run=run, bytes=size, stages=stages)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunableGate:
    """What a gate asked, and nobody answered in time: its id, how many bytes, and where it lies."""

    gate: str
    bytes: int
    directory: Path


def prunable_gates(state: State, *, before: datetime, now: datetime, keep: int = 0) -> tuple[PrunableGate, ...]:
    """Find the questions of gates that ended before a moment without an answer of anybody, oldest first.

    Never: what can still be overridden `now`, what people signed, what cannot be read, and the newest `keep`.
    """
    place = state.directory / GATES
    try:
        with os.scandir(place) as entries:
            names = [
                each.name for each in entries if GATE_ID.fullmatch(each.name) and each.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return ()
    old = sorted(names, reverse=True)[keep:][::-1]
    return tuple(
        PrunableGate(gate=name, bytes=_size_below(place / name), directory=place / name)
        for name in old
        if _ended_unanswered(place / name, min(before, now))
    )


def _ended_unanswered(directory: Path, before: datetime) -> bool:
    if any((directory / APPROVALS_DIRECTORY).glob("*")):
        return False
    asks = tuple((directory / ASKS_DIRECTORY).glob("*.json"))
    ends = tuple(map(_end_of, asks))
    # What lost its question when a removal was interrupted can be overridden by nobody; its id says when it was asked.
    return all(each is not None and each < before for each in (ends or (_begin_of(directory.name),)))


def _end_of(ask: Path) -> datetime | None:
    """Say until when a gate can be overridden; None where the question cannot be read."""
    try:
        return GateAsked.of_json(read_request(ask.read_bytes(), name=ask.name).plan).until
    except (OSError, OpsError):
        return None


def _begin_of(gate: str) -> datetime | None:
    try:
        return datetime.strptime(gate[: len("gate-20260131-120000")], "gate-%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _stages(directory: Path) -> Iterator[Path]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(
                entry.name for entry in entries if _STAGE.match(entry.name) and entry.is_dir(follow_symlinks=False)
            )
    except OSError:
        return
    for name in names:
        yield directory / name


def _of_a_stage(stage: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(stage) as entries:
        for entry in entries:
            if entry.name not in _KEPT_OF_A_STAGE:
                yield entry


def _size(entry: os.DirEntry[str]) -> int:
    if not entry.is_dir(follow_symlinks=False):
        return entry.stat(follow_symlinks=False).st_size
    return _size_below(entry)


def _size_below(directory: Path | os.DirEntry[str]) -> int:
    with os.scandir(directory) as entries:
        return sum(_size(each) for each in entries)


def prune(
    chosen: Sequence[Prunable],
    gates: Sequence[PrunableGate] = (),
    *,
    ledger: Ledger,
    signer: Signer,
    actor: Actor,
    now: datetime,
) -> int:
    """Name the runs and the questions of gates in the ledger, then remove what may go; gives the bytes that were freed.

    Raises:
        LedgerError: the record could not be written; nothing was removed.
        OSError: something could not be removed; the record stands, and pruning again goes on.
    """
    fresh = [each.run.run for each in chosen if each.run.pruned is None] + [each.gate for each in gates]
    batches = [fresh[at : at + _NAMES_A_RECORD] for at in range(0, len(fresh), _NAMES_A_RECORD)]
    ledger.append_many([seal(_statement(ledger.origin, names, actor, now), signer) for names in batches])
    for each in chosen:
        for stage in each.stages:
            for entry in list(_of_a_stage(stage)):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)  # noqa: PTH108 - a directory entry is no Path
    for gate in gates:
        shutil.rmtree(gate.directory)
    return sum(each.bytes for each in chosen) + sum(each.bytes for each in gates)


def _statement(origin: str, names: Sequence[str], actor: Actor, now: datetime) -> Statement:
    named: list[Json] = list(names)
    runs: list[Json] = [each for each in names if not GATE_ID.fullmatch(each)]
    gates: list[Json] = [each for each in names if GATE_ID.fullmatch(each)]
    return Statement(
        predicate_type=RUN_PRUNE,
        subject_name=origin,
        subject_digest=sha256_digest(canonical_bytes(named)),
        predicate={
            "ledger": origin,
            "runs": runs,
            "gates": gates,
            "pruned": timestamp(now),
            "actor": {"user": actor.user, "machine": actor.machine, "detail": actor.detail},
        },
    )
