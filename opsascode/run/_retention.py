"""What of old runs may go, and how is it said that it went?

Only journals, outputs and texts go; plan, results and receipt stay, and the ledger only ever grows: what is about to go
is first named in a signed record. So a missing journal is either named there, or a fault.

Not here: what is said of a pruned run (`_history_files`).
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.proof import PREDICATE_PREFIX, Statement, canonical_bytes, seal, sha256_digest
from opsascode.run._history import Query
from opsascode.run._record import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from opsascode.proof import Json, Ledger, Signer
    from opsascode.run._history import History, RunSummary
    from opsascode.run._record import Actor

RUN_PRUNE: Final = f"{PREDICATE_PREFIX}run-prune:v1"
_STAGE: Final = re.compile("(forward|undo|sweep)-")
_KEPT_OF_A_STAGE: Final = frozenset({"playbook.yml"})
_RUNS_A_RECORD: Final = 400  # a run's id has at most 64 characters, a record at most 64 KiB


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
    with os.scandir(entry) as entries:
        return sum(_size(each) for each in entries)


def prune(chosen: Sequence[Prunable], *, ledger: Ledger, signer: Signer, actor: Actor, now: datetime) -> int:
    """Name the runs in the ledger, then remove what may go; gives the bytes that were freed.

    Raises:
        LedgerError: the record could not be written; nothing was removed.
        OSError: something could not be removed; the record stands, and pruning again goes on.
    """
    fresh = [each.run.run for each in chosen if each.run.pruned is None]
    batches = [fresh[at : at + _RUNS_A_RECORD] for at in range(0, len(fresh), _RUNS_A_RECORD)]
    ledger.append_many([seal(_statement(ledger.origin, runs, actor, now), signer) for runs in batches])
    for each in chosen:
        for stage in each.stages:
            for entry in list(_of_a_stage(stage)):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)  # noqa: PTH108 - a directory entry is no Path
    return sum(each.bytes for each in chosen)


def _statement(origin: str, runs: Sequence[str], actor: Actor, now: datetime) -> Statement:
    named: list[Json] = list(runs)
    return Statement(
        predicate_type=RUN_PRUNE,
        subject_name=origin,
        subject_digest=sha256_digest(canonical_bytes(named)),
        predicate={
            "ledger": origin,
            "runs": named,
            "pruned": timestamp(now),
            "actor": {"user": actor.user, "machine": actor.machine, "detail": actor.detail},
        },
    )
