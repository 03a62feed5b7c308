"""What becomes of a run whose controller was killed?

The next command finds it. What still runs of it on this machine is ended; the run is closed as `indeterminate`, with
what its journals know, and with the steps of which nobody knows whether they were done. A run that only waited for
people goes on waiting. A run that never started leaves nothing.

Not here: what is done with the closed run (`_past`): a person decides between resume and undo.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.proof import make_receipt, open_envelope, seal
from opsascode.run._asks import APPROVALS_DIRECTORY
from opsascode.run._history_files import PLAN_FILE, RECEIPT_FILE, RESULTS_FILE
from opsascode.run._life import Holder, LifeState, Submission, Taken
from opsascode.run._perform import read_approvals
from opsascode.run._record import Ending, RunSubject, end_statement
from opsascode.run._results import results_summary
from opsascode.run._site import write_new
from opsascode.run._stage import clear_remains
from opsascode.run._trail import replay
from opsascode.run._verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from opsascode.proof import Ledger, Signer
    from opsascode.run._history import PastRun
    from opsascode.run._life import Dispatcher, RunLife
    from opsascode.run._locks import LockBook
    from opsascode.run._state import State
    from opsascode.run._trail import Replay

PATIENCE_SECONDS: Final = 25.0
_TICK: Final = 0.2
_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A run that was found without its controller, and what became of it; `VOID` means that nothing was ever run."""

    run: str
    state: LifeState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescue:
    """Who closes abandoned runs, and with what; `wait` is told once when processes of a run are still being ended."""

    state: State
    signer: Signer
    dispatcher: Dispatcher
    locks: LockBook
    clock: Callable[[], datetime]
    wait: Callable[[str], None]

    def abandoned(self, unfinished: tuple[PastRun, ...]) -> tuple[str, ...]:
        """Name the runs that are under way by their records or their life, and that nobody carries out."""
        lives = {life.run: life for life in self.dispatcher.abandoned(self.clock())}
        held = {each.run for each in self.locks.holdings() if each.uid in {0, os.geteuid()}}
        lost = [
            past.run
            for past in unfinished
            if past.run not in lives and past.run not in held and _without_life(self.dispatcher.subscribe(past.run))
        ]
        return (*lives, *lost)

    def close(self, run: str, past: PastRun | None) -> Recovered | None:
        """Close one of them; `None` when somebody else does, or when its processes resist.

        Raises:
            LedgerError: the end record cannot be written; the run stays as it is.
        """
        if not self._is_quiet(run):
            return None
        if self.dispatcher.subscribe(run) is None:
            about = Submission(plan="", runbook=past.runbook if past else "", hosts=0, user="")
            self.dispatcher.submit(run, about, self.clock())
        lease = self.dispatcher.claim(run, Holder.of_this_process(), self.clock())
        if isinstance(lease, Taken):
            return None
        closing = _Closing(self, self.state.run_directory(run))
        state, reason = closing.settle(past)  # should this fail, the run is found again when we are gone
        if state is LifeState.WAITING:
            self.dispatcher.suspend(lease, self.clock())
        else:
            self.dispatcher.finish(lease, state, self.clock())
        return Recovered(run=run, state=state, reason=reason)

    def _is_quiet(self, run: str) -> bool:
        """Wait until the supervising child of the run, which outlives its controller for a while, is gone."""
        until = time.monotonic() + PATIENCE_SECONDS
        told = False
        while self.locks.lives(run):
            if not told:
                told = True
                self.wait(run)
            if time.monotonic() > until:
                return False
            time.sleep(_TICK)
        return True


def _without_life(life: RunLife | None) -> bool:
    return life is None or life.state is LifeState.VOID


class _Closing:
    """One abandoned run, claimed by us."""

    def __init__(self, rescue: Rescue, directory: Path) -> None:
        self._rescue, self._directory = rescue, directory

    def settle(self, past: PastRun | None) -> tuple[LifeState, str]:
        """Bring it to the state it is really in, and say why."""
        if past is None:
            shutil.rmtree(self._directory, ignore_errors=True)
            return LifeState.VOID, "it had not started: nothing was run"
        if past.end is not None:
            self._complete(past)
            return LifeState(past.outcome), "it had ended"
        return self._close_open(past)

    def _close_open(self, past: PastRun) -> tuple[LifeState, str]:
        for stage in sorted(self._directory.glob("*-*/")):
            clear_remains(stage)
        found = replay((self._directory,), past.run)
        shutil.rmtree(self._directory / "content", ignore_errors=True)
        if found.waiting and not found.broken:
            return LifeState.WAITING, "it waits for people, as it did before"
        reason = _reason(found)
        self._seal_end(past, found, reason)
        return LifeState.INDETERMINATE, reason

    def _seal_end(self, past: PastRun, found: Replay, reason: str) -> None:
        rescue = self._rescue
        ledger = rescue.state.ledger(rescue.signer)
        document = found.results.document([stage.to_json() for stage in found.stages], {})
        self._write(RESULTS_FILE, document)
        statement = end_statement(
            RunSubject.of_start(past.start),
            ending=Ending(
                outcome=Outcome.INDETERMINATE.value,
                reason=reason,
                undone=False,
                started=past.started,
                ended=rescue.clock(),
                in_doubt=tuple(found.in_doubt),
            ),
            stages=found.stages,
            results=results_summary(document, found.results.counts()),
            start_record=_digest(ledger, past.start_index, rescue.signer),
        )
        end = ledger.append(seal(statement, rescue.signer)).index
        self._write_receipt(ledger, (past.start_index, *found.entries, end))

    def _complete(self, past: PastRun) -> None:
        """Write the receipt of a run that ended right before its controller was killed."""
        shutil.rmtree(self._directory / "content", ignore_errors=True)
        if past.end_index is None or (self._directory / RECEIPT_FILE).exists():
            return
        found = replay((self._directory,), past.run)
        ledger = self._rescue.state.ledger(self._rescue.signer)
        self._write_receipt(ledger, (past.start_index, *found.entries, past.end_index))

    def _write_receipt(self, ledger: Ledger, entries: tuple[int, ...]) -> None:
        attachments = dict(self._attachments())
        self._write(RECEIPT_FILE, make_receipt(ledger, entries, attachments))

    def _attachments(self) -> Iterator[tuple[str, bytes]]:
        for name in (PLAN_FILE, RESULTS_FILE):
            with contextlib.suppress(FileNotFoundError):
                yield name, (self._directory / name).read_bytes()
        for name, data in read_approvals(self._directory).items():
            yield f"{APPROVALS_DIRECTORY}/{name}", data

    def _write(self, name: str, data: bytes) -> None:
        path = self._directory / name
        path.unlink(missing_ok=True)  # what was half written before the kill is written anew
        write_new(path, data)


def _digest(ledger: Ledger, index: int, signer: Signer) -> str:
    return open_envelope(ledger.entry(index), (signer.public_key,)).digest


def _reason(found: Replay) -> str:
    where = f"in stage {found.broken.directory}" if found.broken else "between two stages"
    said = f"the process that carried it out was killed {where}"
    if not found.in_doubt:
        return said
    named = ", ".join(f"{step} on {host}" for host, step in found.in_doubt[:_NAMED])
    more = f" and {len(found.in_doubt) - _NAMED} more" if len(found.in_doubt) > _NAMED else ""
    return f"{said}; nobody knows whether these were done: {named}{more}"
