"""Where does one run happen, with whose leave and help, and does anybody want it to stop?

A `Site` is put up by `_perform` for one run and given to everything that acts in it. Its `Pulse` keeps the lease of the
run alive and hears of requests to cancel it that come from other processes.

Not here: what is done on the site (`_conduct`), putting it up and clearing it (`_perform`).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opsascode.run._record import Phase, Purpose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from opsascode.policy import Permit, Trigger
    from opsascode.proof import Ledger, Signer
    from opsascode.repo import Repository
    from opsascode.run._access import Access
    from opsascode.run._asks import Desk
    from opsascode.run._engine import Engine
    from opsascode.run._journal import JournalEvent
    from opsascode.run._life import Dispatcher, Lease
    from opsascode.run._locks import LockBook
    from opsascode.run._record import Actor, AskRecord, RunSubject, StageRecord, Tools
    from opsascode.run._resolve import Resolution
    from opsascode.run._results import Results
    from opsascode.run._state import State
    from opsascode.run._trail import Trail

_PULSE_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a run is carried out: everything that is not the plan; all of it comes from options.

    `undo` is False when nothing is to be undone whatever happens. `wait_seconds` is how long to wait for hosts that
    another run holds. `approvals` are signed statements at hand.
    """

    access: Access | None = None
    forks: int | None = None
    verbosity: int = 0
    diff: bool = False
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    undo: bool = True
    wait_seconds: float = 0.0
    approvals: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Who starts the run, why, with what tools, and how; identity, clock and environment come from the face."""

    run: str
    actor: Actor
    trigger: Trigger
    tools: Tools
    clock: Callable[[], datetime]
    environment: Mapping[str, str]
    manner: Manner


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be run, by whose leave, and in which circumstances."""

    repository: Repository
    resolution: Resolution
    permit: Permit
    circumstances: Circumstances
    purpose: Purpose = Purpose.RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the face wants to hear while the run goes on, and how it asks for a stop of the phase under way."""

    on_stage: Callable[[Phase, int, tuple[str, ...]], None]
    on_event: Callable[[JournalEvent], None]
    on_notice: Callable[[str], None]
    cancel: Callable[[Phase], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a run is carried out with: this machine's state, its key, its locks, Ansible, and the people around."""

    state: State
    signer: Signer
    dispatcher: Dispatcher
    locks: LockBook
    engine: Engine
    desk: Desk
    watch: Watch


class Pulse:
    """Keeps a lease alive, and hears of requests to cancel the run."""

    def __init__(self, dispatcher: Dispatcher, lease: Lease, clock: Callable[[], datetime]) -> None:
        """Begin with a fresh lease."""
        self._dispatcher, self._lease, self._clock = dispatcher, lease, clock
        self._next = 0.0
        self.lost = False
        self.canceled_by = ""
        self.undo_wanted = True

    def wants_stop(self, phase: Phase) -> bool:
        """Whether somebody asked for a stop of this phase; asked as often as the caller likes."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _PULSE_SECONDS
            renewal = self._dispatcher.renew(self._lease, self._clock())
            self.lost = self.lost or renewal.lost
            if renewal.cancel:
                self.canceled_by = f"canceled by {renewal.cancel.by}"
                self.undo_wanted = renewal.cancel.undo
        return self.lost or bool(self.canceled_by and (phase is Phase.FORWARD or not self.undo_wanted))


@dataclass(slots=True, kw_only=True)
class Site:
    """One run under way.

    `facts` is where Ansible keeps facts for later stages, `leftovers` what may still run on hosts, `earlier_runs` are
    those it continues, whose approvals may still stand. `secure` makes sure of the run's locks, and says who holds them
    when that cannot be.
    """

    order: Order
    run: str
    subject: RunSubject
    directory: Path
    content: Path
    environment: Mapping[str, str]
    facts: Path | None
    results: Results
    trail: Trail
    ledger: Ledger
    signer: Signer
    engine: Engine
    desk: Desk
    watch: Watch
    pulse: Pulse
    stages: list[StageRecord] = field(default_factory=list)
    answers: list[AskRecord] = field(default_factory=list)
    approvals: dict[str, bytes] = field(default_factory=dict)
    entries: list[int] = field(default_factory=list)
    in_doubt: list[tuple[str, str]] = field(default_factory=list)
    leftovers: tuple[tuple[str, str], ...] = ()
    inherit: tuple[int, ...] = ()
    earlier_runs: tuple[str, ...] = ()
    earlier_approvals: tuple[bytes, ...] = ()
    secure: Callable[[], str] = lambda: ""

    @property
    def answered(self) -> frozenset[str]:
        """The stages whose question was granted."""
        return frozenset(answer.stage for answer in self.answers if answer.granted)

    def unwanted(self, phase: Phase) -> bool:
        """Whether this phase is to stop."""
        return self.watch.cancel(phase) or self.pulse.wants_stop(phase)

    def take_leftovers(self) -> tuple[tuple[str, str], ...]:
        """Give what an earlier, killed stage may have left on hosts; the first stage to ask clears it."""
        leftovers, self.leftovers = self.leftovers, ()
        return leftovers

    def label(self, phase: Phase, stage: str) -> str:
        """Give the name of a start of Ansible that no earlier one of this run has."""
        names = (stage, *(f"{stage}.{number}" for number in range(2, 1000)))
        return next(name for name in names if not (self.directory / f"{phase.value}-{name}").exists())


def repository_name(repository: Repository) -> str:
    """Name the ops repository: as its opsascode.yml says, else by its place."""
    return repository.settings.name or str(repository.root.resolve())


def write_new(path: Path, data: bytes) -> None:
    """Write a file of the run's own that must not be there yet."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
