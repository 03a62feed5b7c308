"""How is the life of runs kept on one machine?

In `life.sqlite` in the state directory, for processes of one account (or root). It is a cache of what goes on: the
ledger is the truth, and a run that is not in this file is simply not live. So:

- A claim survives the death of every process; a power cut may lose the last ones, whose holders it ended as well.
- A file that is damaged, or says nothing we understand, is set aside and begun anew; one of a newer version is not.
- A holder whose file was lost writes its run into the new one when it renews. Epochs begin anew there, so a lease has a
  token as well.
- Leases end by CLOCK_BOOTTIME, which goes on while the machine sleeps and which nobody can set. Where that of the
  holder is another (another machine on a network file system), its beats are watched by our own clock.

Not here: the rules for people (`_life`), the file itself (`_life_file`).
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opsascode.run._life import (
    LEASE_SECONDS,
    CancelRequest,
    Holder,
    LateWrite,
    Lease,
    LifeError,
    LifeState,
    Liveness,
    Renewal,
    RunLife,
    Submission,
    Taken,
    UnknownRunError,
    liveness,
)
from opsascode.run._life_file import DamagedError, LifeFile, on_this_machine_only

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opsascode.run._life import Claim
    from opsascode.run._life_file import Database

    Judge: TypeAlias = Callable[[Holder], Liveness]

_RENEW_SECONDS: Final = 2.0
_COLUMNS: Final = (
    "run, state, epoch, about, holder, cancel, submitted, changed, token, clock, deadline, beats"  # as _Row reads them
)


class LocalDispatcher:
    """The lives of the runs of one state directory. Not to be used on both sides of a fork."""

    def __init__(
        self,
        place: Path,
        *,
        lease_seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        judge: Judge | None = None,
    ) -> None:
        """Use the file `place`, made on first use."""
        self._file = LifeFile(place)
        self._seconds = lease_seconds
        self._clock = clock
        self._judge = judge or (lambda holder: liveness(holder, one_machine=lambda: on_this_machine_only(place.parent)))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def submit(self, run: str, about: Submission, now: datetime) -> RunLife:
        """Make a run known; submitting it again changes nothing."""
        holder = Holder.of_this_process()

        def work(database: Database) -> RunLife:
            if _find(database, run) is None:
                self._insert(database, Lease(run=run, epoch=0, token="", holder=holder, about=about), "queued", now)
            return _known(database, run).life

        return self._file.write(work)

    def claim(self, run: str, holder: Holder, now: datetime) -> Claim:
        """Give the right to carry out the run, or say who has it."""

        def work(database: Database) -> Claim:
            row = _known(database, run)
            if not self._is_free(database, row):
                return Taken(life=row.life)
            epoch = row.life.epoch + 1
            lease = Lease(run=run, epoch=epoch, token=secrets.token_hex(8), holder=holder, about=row.life.about)
            database.execute(
                "UPDATE run SET state = 'running', epoch = ?, token = ?, holder = ?, clock = ?, deadline = ?,"
                " beats = 0, changed = ? WHERE run = ?",
                (epoch, lease.token, _said(holder), _clock_of(holder), self._deadline(), now.isoformat(), run),
            )
            return lease

        return self._file.write(work)

    def renew(self, lease: Lease, now: datetime) -> Renewal:
        """Keep the lease alive and hear of requests; usually one look, and every two seconds one write."""
        try:
            row = self._file.read(lambda database: _find(database, lease.run))
            if row is None:
                row = self._file.write(lambda database: self._restored(database, lease, now))
            mine = row.is_of(lease)
            if not mine:
                self._file.write(lambda database: _keep_late(database, lease, "renew", "", now))
            elif row.deadline - self._clock() <= self._seconds - _RENEW_SECONDS:
                mine = self._file.write(lambda database: self._extend(database, lease), patiently=False)
        except LifeError:  # a full disk, or somebody who keeps the file for long: lost only when the lease runs out
            return self._unrenewed(lease)
        return Renewal(lost=not mine, cancel=row.life.cancel)

    def suspend(self, lease: Lease, now: datetime) -> bool:
        """Let go of a run that waits for people."""
        return self._file.write(lambda database: self._leave(database, lease, LifeState.WAITING, "suspend", now))

    def finish(self, lease: Lease, state: LifeState, now: datetime) -> bool:
        """Say how the run ended."""
        if not state.is_over:
            raise ValueError(f"a run does not end {state.value}")
        return self._file.write(lambda database: self._leave(database, lease, state, "finish", now))

    def cancel(self, run: str, by: str, *, undo: bool, now: datetime) -> RunLife:
        """Ask for a stop; what is over stays as it is."""

        def work(database: Database) -> RunLife:
            life = _known(database, run).life
            if life.state.is_over or (life.cancel and (undo or not life.cancel.undo)):
                return life
            said = json.dumps({"by": by, "undo": undo, "asked": now.isoformat()})
            database.execute("UPDATE run SET cancel = ? WHERE run = ?", (said, run))
            return _known(database, run).life

        return self._file.write(work)

    def subscribe(self, run: str) -> RunLife | None:
        """Tell where the run is now."""
        row = self._file.read(lambda database: _find(database, run))
        return row.life if row else None

    def abandoned(self, now: datetime) -> tuple[RunLife, ...]:  # noqa: ARG002 - of the port; this clock cannot be set
        """Name the runs that are queued or running, and whose holder is gone."""
        held = "state IN ('queued', 'running')"
        question = f"SELECT {_COLUMNS} FROM run WHERE {held} ORDER BY submitted, run"  # noqa: S608 - constants
        found = self._file.read(lambda database: [_Row.of(row) for row in database.execute(question)]) or []
        return tuple(row.life for row in found if self._is_left(row))

    def late(self, run: str) -> tuple[LateWrite, ...]:
        """Give the writes of a run that came too late, oldest first; repeated ones once."""
        question = "SELECT epoch, write, state, at FROM late WHERE run = ? ORDER BY number"

        def work(database: Database) -> tuple[LateWrite, ...]:
            return tuple(
                LateWrite(run=run, epoch=epoch, write=write, state=state, at=datetime.fromisoformat(at))
                for epoch, write, state, at in database.execute(question, (run,))
            )

        return self._file.read(work) or ()

    # Who holds a run.

    def _is_free(self, database: Database, row: _Row) -> bool:
        if row.life.state is LifeState.RUNNING:
            return self._is_gone(row, database)
        return not row.life.state.is_over or row.life.state is LifeState.VOID

    def _is_left(self, row: _Row) -> bool:
        if self._needs_watching(row):
            return self._file.write(lambda database: self._is_gone(row, database))
        return self._is_gone(row, None)

    def _needs_watching(self, row: _Row) -> bool:
        return row.clock != _our_clock() and self._liveness(row) is Liveness.UNKNOWN

    def _liveness(self, row: _Row) -> Liveness:
        return self._judge(row.life.holder) if row.life.holder else Liveness.DEAD

    def _is_gone(self, row: _Row, database: Database | None) -> bool:
        found = self._liveness(row)
        if found is not Liveness.UNKNOWN:
            return found is Liveness.DEAD
        mine = _our_clock()
        if row.clock == mine:
            return self._clock() >= row.deadline
        return database is not None and self._is_silent(database, row, mine)

    def _is_silent(self, database: Database, row: _Row, clock: str) -> bool:
        """Whether a holder with another clock has not renewed for the time of a lease, by ours."""
        now, sign = self._clock(), (row.life.epoch, row.token, row.beats, clock)
        question = "SELECT seen FROM sighting WHERE run = ? AND epoch = ? AND token = ? AND beats = ? AND clock = ?"
        for (seen,) in database.execute(question, (row.life.run, *sign)):
            return now - float(seen) >= self._seconds
        database.execute("INSERT OR REPLACE INTO sighting VALUES (?, ?, ?, ?, ?, ?)", (row.life.run, *sign, now))
        return False

    # Writing for a lease.

    def _deadline(self) -> float:
        return self._clock() + self._seconds

    def _insert(self, database: Database, lease: Lease, state: str, now: datetime) -> None:
        at, holder = now.isoformat(), lease.holder
        database.execute(
            "INSERT INTO run VALUES (?, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, 0)",
            (
                *(lease.run, state, lease.epoch, json.dumps(asdict(lease.about)), _said(holder)),
                *(at, at, lease.token, _clock_of(holder), self._deadline()),
            ),
        )

    def _restored(self, database: Database, lease: Lease, now: datetime) -> _Row:
        """Make a run known again whose file was lost, unless somebody else has by now."""
        if _find(database, lease.run) is None:
            self._insert(database, lease, "running", now)
        return _known(database, lease.run)

    def _extend(self, database: Database, lease: Lease) -> bool:
        row = _find(database, lease.run)
        if row is None or not row.is_of(lease):
            return False
        change = "UPDATE run SET deadline = ?, beats = beats + 1 WHERE run = ?"
        database.execute(change, (self._deadline(), lease.run))
        return True

    def _unrenewed(self, lease: Lease) -> Renewal:
        try:
            row = self._file.read(lambda database: _find(database, lease.run))
        except LifeError:
            row = None
        if row is None:
            return Renewal(lost=False, cancel=None)
        return Renewal(lost=not row.is_of(lease) or self._clock() >= row.deadline, cancel=row.life.cancel)

    def _leave(self, database: Database, lease: Lease, state: LifeState, write: str, now: datetime) -> bool:
        if not self._restored(database, lease, now).is_of(lease):
            _keep_late(database, lease, write, state.value, now)
            return False
        change = "UPDATE run SET state = ?, holder = NULL, changed = ? WHERE run = ?"
        database.execute(change, (state.value, now.isoformat(), lease.run))
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A run as it is kept."""

    life: RunLife
    token: str
    clock: str
    deadline: float
    beats: int

    @classmethod
    def of(cls, row: tuple[Any, ...]) -> _Row:
        """Read a row. Raises DamagedError when it is none of ours."""
        try:
            return cls._of(*row)
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedError from error

    @classmethod
    def _of(cls, *row: Any) -> _Row:  # noqa: ANN401 - as SQLite gives them
        run, state, epoch, about, holder, cancel, submitted, changed, token, clock, deadline, beats = row
        life = RunLife(
            run=run,
            state=LifeState(state),
            epoch=int(epoch),
            about=Submission(**json.loads(about)),
            holder=Holder(**json.loads(holder)) if holder else None,
            cancel=_cancel_of(json.loads(cancel)) if cancel else None,
            submitted=datetime.fromisoformat(submitted),
            changed=datetime.fromisoformat(changed),
        )
        return cls(life=life, token=token, clock=clock, deadline=float(deadline), beats=int(beats))

    def is_of(self, lease: Lease) -> bool:
        """Whether the lease is good."""
        same = (self.life.epoch, self.token) == (lease.epoch, lease.token)
        return same and self.life.state is LifeState.RUNNING


def _cancel_of(said: dict[str, Any]) -> CancelRequest:
    return CancelRequest(by=said["by"], undo=said["undo"], asked=datetime.fromisoformat(said["asked"]))


def _find(database: Database, run: str) -> _Row | None:
    row = database.execute(f"SELECT {_COLUMNS} FROM run WHERE run = ?", (run,)).fetchone()  # noqa: S608 - constants
    return _Row.of(row) if row else None


def _known(database: Database, run: str) -> _Row:
    row = _find(database, run)
    if row is None:
        raise UnknownRunError(f"no run {run} is under way here", advice="`opsascode runs list` shows the runs")
    return row


def _keep_late(database: Database, lease: Lease, write: str, state: str, now: datetime) -> None:
    database.execute(
        "INSERT OR IGNORE INTO late (run, epoch, token, write, state, at) VALUES (?, ?, ?, ?, ?, ?)",
        (lease.run, lease.epoch, lease.token, write, state, now.isoformat()),
    )


def _said(holder: Holder) -> str:
    return json.dumps(asdict(holder))


def _clock_of(holder: Holder) -> str:
    """Name the clock whose readings can be compared with the holder's."""
    return f"{holder.boot}:{holder.clock}"


@cache
def _our_clock() -> str:
    return _clock_of(Holder.of_this_process())
