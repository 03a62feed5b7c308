"""How does the life of a run go on, and who may say so?

A run is submitted (QUEUED), claimed (RUNNING, with a lease), suspended while it waits for people (WAITING), claimed
again, and finished. Rules, the same for every implementation of the port `Dispatcher`:

- A claim, and nothing else, raises the epoch. At most one lease is good: the one with the epoch and token of the run.
- Whatever is written with another lease is refused and kept as a late write.
- A finished run is finished. Only VOID, of which nothing was ever run, can be claimed again, to close a start record
  that was written before all the same.
- A holder that is provably dead is replaced at once, one that nobody can see after its lease ran out, and one that
  lives never, be it stopped or slow.

Not here: a store (`_local`), what a run does (`_perform`), which hosts it holds (`_locks`). The ledger is the truth;
what a dispatcher knows may be lost without loss of any record.
"""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, TypeAlias

from opsascode.errors import ExitCode, OpsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

LEASE_SECONDS: Final = 10.0
_STATE_FIELD: Final = 0
_START_FIELD: Final = 19


class LifeState(Enum):
    """Where a run is in its life; VOID means that nothing was ever run."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    INDETERMINATE = "indeterminate"
    VOID = "void"

    @property
    def is_over(self) -> bool:
        """Whether nothing of the run is to come."""
        return self not in {LifeState.QUEUED, LifeState.RUNNING, LifeState.WAITING}


class Liveness(Enum):
    """What is known of a holder: DEAD is proven, UNKNOWN is what cannot be seen from here."""

    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


class LifeError(OpsError):
    """Nobody can say which runs are under way."""

    exit_code: ClassVar[ExitCode] = ExitCode.USAGE


class UnknownRunError(UsageError):
    """No such run was ever submitted here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """One process, told from every other of any machine, at any time.

    `boot` is the kernel's own id since it started, `clock` the namespace its time since then is told in, `namespace`
    the one its process number counts in, `started` when it began, in the kernel's ticks (0: not known).
    """

    boot: str
    clock: str
    namespace: str
    pid: int
    started: int
    account: str

    @classmethod
    def of_this_process(cls) -> Holder:
        """Describe the process that asks."""
        found = _stat(os.getpid())
        return cls(
            boot=_boot(),
            clock=_namespace("time"),
            namespace=_namespace("pid"),
            pid=os.getpid(),
            started=int(found[_START_FIELD]) if found else 0,
            account=account_name(os.getuid()),
        )

    def describe(self) -> str:
        """Say who it is, for people."""
        place = ""
        if self.boot != _boot():
            place = " of another machine, or before it was started anew"
        elif self.namespace != _namespace("pid"):
            place = " of another container"
        return f"{self.account} (process {self.pid}{place})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What is to be run, for those who look on."""

    plan: str
    runbook: str
    hosts: int
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequest:
    """Somebody wants the run to stop, and whether what it completed is to be undone."""

    by: str
    undo: bool
    asked: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLife:
    """Where a run is in its life; `changed` is when its state did last."""

    run: str
    state: LifeState
    epoch: int
    about: Submission
    holder: Holder | None
    cancel: CancelRequest | None
    submitted: datetime
    changed: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to carry out a run and to say what became of it; good as long as nobody has claimed the run since."""

    run: str
    epoch: int
    token: str
    holder: Holder
    about: Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """The run cannot be claimed: somebody carries it out, or it is over."""

    life: RunLife

    def describe(self) -> str:
        """Say who has it, for people."""
        if self.life.holder and not self.life.state.is_over:
            return self.life.holder.describe()
        return f"nobody any more: it is over ({self.life.state.value})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a holder hears when it renews: whether its lease is lost, and whether somebody wants the run to stop."""

    lost: bool
    cancel: CancelRequest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LateWrite:
    """What somebody wanted to write whose lease was good no more."""

    run: str
    epoch: int
    write: str
    state: str
    at: datetime


Claim: TypeAlias = Lease | Taken


class Dispatcher(Protocol):
    """Knows the life of every run, and lets one process at a time carry out each.

    Every verb raises LifeError when the store cannot be used, and UnknownRunError where a run must have been submitted.
    """

    def submit(self, run: str, about: Submission, now: datetime) -> RunLife:
        """Make a run known; submitting it again changes nothing. Its submitter looks after it until it is claimed."""
        ...

    def claim(self, run: str, holder: Holder, now: datetime) -> Claim:
        """Give the right to carry out the run, with an epoch one higher than ever before, or say who has it."""
        ...

    def renew(self, lease: Lease, now: datetime) -> Renewal:
        """Keep the lease alive and hear of requests; meant to be asked several times a second. Raises nothing."""
        ...

    def suspend(self, lease: Lease, now: datetime) -> bool:
        """Let go of a run that waits for people: nobody holds it then. False when the lease was lost."""
        ...

    def finish(self, lease: Lease, state: LifeState, now: datetime) -> bool:
        """Say how the run ended. False when the lease was lost: what was said is kept as a late write."""
        ...

    def cancel(self, run: str, by: str, *, undo: bool, now: datetime) -> RunLife:
        """Ask for a stop, or for a stop of the undo as well; a later request never asks for less. Tell the life."""
        ...

    def subscribe(self, run: str) -> RunLife | None:
        """Tell where the run is now; meant to be asked several times a second. `None` when it is not known here."""
        ...

    def abandoned(self, now: datetime) -> tuple[RunLife, ...]:
        """Name the runs that are queued or running, and that nobody looks after any more."""
        ...


def liveness(holder: Holder, *, one_machine: Callable[[], bool]) -> Liveness:
    """Say whether a holder lives; `one_machine` says whether only this machine can have written down who it is."""
    if not holder.boot or not _boot():
        return Liveness.UNKNOWN
    if holder.boot != _boot():
        return Liveness.DEAD if one_machine() else Liveness.UNKNOWN
    if holder.namespace != _namespace("pid") or not holder.namespace:
        return Liveness.UNKNOWN
    with suppress(PermissionError):  # it lives, and belongs to somebody else
        try:
            os.kill(holder.pid, 0)
        except ProcessLookupError:
            return Liveness.DEAD
    found = _stat(holder.pid)
    if found is None or not holder.started or holder.clock != _namespace("time"):
        return Liveness.UNKNOWN
    same = int(found[_START_FIELD]) == holder.started and found[_STATE_FIELD] not in {"Z", "X"}
    return Liveness.ALIVE if same else Liveness.DEAD


def account_name(uid: int) -> str:
    """Name an account; one without a name by its number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _stat(pid: int) -> list[str] | None:
    """Read /proc/PID/stat from the state on; `None` when it cannot be read (a process that ended, `hidepid`)."""
    with suppress(OSError, UnicodeDecodeError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
        return fields if len(fields) > _START_FIELD else None
    return None


@cache
def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


@cache
def _namespace(kind: str) -> str:
    with suppress(OSError):
        return str(Path(f"/proc/self/ns/{kind}").stat().st_ino)
    return ""
