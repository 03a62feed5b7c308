"""May an earlier run be continued or taken back, and where does one go on from?

A run is continued from the first step that was not completed, host by host; what the runs it continued itself completed
counts, and what was undone since does not. A step that says `resume: never` and had begun somewhere stands in the way.

Not here: whether the plan is still the same (the face resolves it again and compares digests), doing it (`_perform`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import LedgerError
from opsascode.run._asks import kept_approvals
from opsascode.run._compose import FlatStep
from opsascode.run._record import Purpose
from opsascode.run._resolve import undo_of
from opsascode.run._trail import replay, single_steps
from opsascode.run._verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opsascode.run._history import History, PastRun, RunSummary
    from opsascode.run._resolve import Resolution
    from opsascode.run._trail import Replay

_LONGEST_CHAIN: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """An earlier run that another goes on from, or takes back: its name and what it did.

    `chain` names it and the runs it continued itself; `approvals` are the signed statements they had.
    """

    run: str
    replay: Replay
    chain: tuple[str, ...] = ()
    approvals: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NotNow:
    """Why a run cannot be continued or taken back, in sentences."""

    reasons: tuple[str, ...]


def past_to_resume(history: History, past: PastRun, resolution: Resolution) -> Past | NotNow:
    """Give what a run did, for another run that continues it.

    Raises:
        LedgerError: a file of the run is not what its record says.
    """
    reasons = tuple(_unfit(past))
    if past.outcome == Outcome.SUCCEEDED.value:
        reasons = ("it succeeded: nothing is left to do",)
    later = [each.run for each in history.family(past.run) if each.continues == past.run]
    if later:
        reasons = (f"it was continued already: resume that one, {later[-1]}",)
    if reasons:
        return NotNow(reasons=reasons)
    found = _replay(history, past, resolution)
    never = tuple(_never_again(found, resolution))
    if never:
        return NotNow(reasons=never)
    chain = _chain(history, past)
    approvals = tuple(each for one in chain for each in kept_approvals(history.directory(one)))
    return Past(run=past.run, replay=found, chain=tuple(one.run for one in chain), approvals=approvals)


def past_to_undo(history: History, past: PastRun, resolution: Resolution) -> Past | NotNow:
    """Give what a run did, for another run that takes it back.

    Raises:
        LedgerError: a file of the run is not what its record says.
    """
    reasons = tuple(_unfit(past))
    if reasons:
        return NotNow(reasons=reasons)
    found = _replay(history, past, resolution)
    if undo_of(resolution, found.results.to_undo(resolution.plan.hosts), header=()) is None:
        return NotNow(reasons=("it completed nothing that can be undone, or all of it was undone already",))
    return Past(run=past.run, replay=found)


def _unfit(past: PastRun) -> Iterator[str]:
    if past.end is None:
        yield "it has not ended"
    if past.pruned:
        yield "its journals were pruned, so nobody knows any more what it completed where"
    mode = past.start.get("mode", Purpose.RUN.value)
    if mode == Purpose.CHECK.value:
        yield "it was a prediction and changed nothing"
    elif mode == Purpose.UNDO.value:
        yield f"it took back another run: name that one, {past.start.get('undoes')}"


def _replay(history: History, past: PastRun, resolution: Resolution) -> Replay:
    files = history.files(past)
    if files.faults:
        raise LedgerError(f"the files of run {past.run} cannot be believed: {'; '.join(files.faults)}")
    return replay(_directories(history, past), past.run, single=single_steps(resolution.flats))


def _directories(history: History, past: PastRun) -> list[Path]:
    """Name the directories of the runs it continued, its own, and those of the runs that took it back."""
    chain = _chain(history, past)
    names = {one.run for one in chain}
    undone_by = [each for each in history.family(past.run) if each.undoes in names]
    whole = sorted({each.run: each for each in (*chain, *undone_by)}.values(), key=lambda each: each.start_index)
    return [history.directory(each) for each in whole]


def _chain(history: History, past: PastRun) -> list[PastRun | RunSummary]:
    """Give the run and those it continued, the latest first."""
    chain: list[PastRun | RunSummary] = [past]
    before = past.start.get("continues")
    while before and len(chain) < _LONGEST_CHAIN:
        summary = history.summary(str(before))
        chain.append(summary)
        before = summary.continues
    return chain


def _never_again(found: Replay, resolution: Resolution) -> Iterator[str]:
    """Say which steps must not be tried again, and had begun."""
    doubts = set(found.in_doubt)
    for flat in resolution.flats:
        if not isinstance(flat, FlatStep) or flat.step.resumable:
            continue
        for host in resolution.plan.hosts:
            begun = (host, flat.id) in doubts or any(result.step == flat.id for result in found.results.of(host))
            if begun and flat.id not in found.results.done(host):
                yield f"step {flat.id} had begun on {host}, and says `resume: never`"
