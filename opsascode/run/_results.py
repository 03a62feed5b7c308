"""What came of each step on each host? The results of a run, folded from the journal's events.

A step may be several Ansible tasks; its status on a host is the worst of theirs. A failed host takes no further steps
of that stage, so a step a host never began has no result. What a step registered or gave as output is kept for whoever
goes on: a later stage, a resumed run, an undo.

Not here: reading or judging the journal (`_journal`), sealing results (`_record`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Final

from opsascode.proof import Json, canonical_bytes, sha256_digest
from opsascode.run._journal import Ended, HostBegan, HostResult, HostStatus, Kept, TaskStarted
from opsascode.run._record import timestamp
from opsascode.run._tasks import UNDO_PREFIX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from opsascode.run._journal import JournalEvent

RESULTS_FORMAT: Final = "opsascode/results/v1"


_RANK: Final = {
    HostStatus.SKIPPED: 0,
    HostStatus.OK: 1,
    HostStatus.CHANGED: 2,
    HostStatus.IGNORED: 3,
    HostStatus.FAILED: 4,
    HostStatus.UNREACHABLE: 5,
}
COMPLETED: Final = frozenset({HostStatus.OK, HostStatus.CHANGED, HostStatus.IGNORED})
UNDONE: Final = frozenset({HostStatus.OK, HostStatus.CHANGED, HostStatus.SKIPPED})
BAD: Final = frozenset({HostStatus.FAILED, HostStatus.UNREACHABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """One step on one host."""

    step: str
    status: HostStatus
    message: str
    rc: int | None
    started: datetime
    ended: datetime

    @classmethod
    def of(cls, event: HostResult) -> StepResult:
        """Read the result of one task."""
        return cls(
            step=event.step or "",
            status=event.status,
            message=event.message,
            rc=event.rc,
            started=event.started,
            ended=event.ended,
        )

    def joined(self, later: StepResult) -> StepResult:
        """Add the result of the step's next task."""
        worse = self if _RANK[self.status] > _RANK[later.status] else later
        said = worse.message or self.message or later.message
        return StepResult(
            step=self.step, status=worse.status, message=said, rc=worse.rc, started=self.started, ended=later.ended
        )

    def to_json(self) -> dict[str, Json]:
        """Give the result as plain JSON."""
        return {
            "step": self.step,
            "status": self.status.value,
            "message": self.message,
            "rc": self.rc,
            "started": timestamp(self.started),
            "ended": timestamp(self.ended),
        }


@dataclass(slots=True)
class _Host:
    """One host: its results by step, the steps that ended, the step it is in, and what it keeps."""

    steps: dict[str, StepResult] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    kept: dict[str, Json] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)


class Results:
    """The results so far, host by host in the order they came, step by step in the order they ended.

    A step is closed on a host when nothing of it can follow: it is one task and has a result, another step has begun,
    or Ansible came to its end. `single` are the steps that are one task.
    """

    def __init__(self, run: str, single: frozenset[str] = frozenset()) -> None:
        """Begin without any result."""
        self.run = run
        self._single = single
        self._hosts: dict[str, _Host] = {}
        self._stage: tuple[str, ...] = ()
        self._step: str | None = None
        self._begun: dict[str, dict[str, None]] = {}
        self._tasks: dict[str, TaskStarted] = {}

    def take_over(self, run: str) -> None:
        """Make these the results of a run that goes on from here: what failed before is open again."""
        self.run = run
        for host in self._hosts.values():
            host.steps = {step: result for step, result in host.steps.items() if result.status not in BAD}
        self.begin(())

    def begin(self, hosts: tuple[str, ...]) -> None:
        """Say that a start of Ansible on these hosts follows."""
        self._stage, self._step, self._begun, self._tasks = hosts, None, {}, {}

    def add(self, event: JournalEvent) -> None:
        """Take in one event of the journal; events that are no result of a step on a host change nothing."""
        match event:
            case TaskStarted():
                self._start(event)
            case HostBegan():
                self._begun.setdefault(event.task, {})[event.host] = None
            case HostResult():
                self._take(event)
            case Kept():
                self._keep(event)
            case Ended():
                self._rescue(event)
                self._begun, self._step = {}, None
                self._close(None)
            case _:
                pass

    def _start(self, event: TaskStarted) -> None:
        self._tasks[event.task] = event
        if event.step is None:
            return
        if event.step != self._step:
            self._close(event.step)
        self._step = event.step

    def _take(self, event: HostResult) -> None:
        self._begun.get(event.task, {}).pop(event.host, None)
        if event.step is None:
            return
        host = self._hosts.setdefault(event.host, _Host())
        known = host.steps.get(event.step)
        result = StepResult.of(event)
        host.steps[result.step] = known.joined(result) if known and event.step not in host.closed else result
        host.closed.discard(event.step)
        if event.step in self._single:
            host.closed.add(event.step)

    def _keep(self, event: Kept) -> None:
        for name in self._stage if event.once and self._stage else (event.host,):
            host = self._hosts.setdefault(name, _Host())
            host.kept.update(event.values)
            host.lost.update(event.lost)
            for key in event.values:
                host.lost.pop(key, None)
            for key in event.lost:
                host.kept.pop(key, None)

    def _close(self, next_step: str | None) -> None:
        for name in self._stage:
            host = self._hosts.get(name)
            if host:
                host.closed.update(step for step in host.steps if step != next_step)

    def _is_bad(self, name: str) -> bool:
        host = self._hosts.get(name)
        return host is not None and any(result.status in BAD for result in host.steps.values())

    def _rescue(self, end: Ended) -> None:
        """Note failures that were rescued: Ansible counts none for the host, which went on."""
        for name, counts in end.hosts.items():
            host = self._hosts.get(name)
            if counts.bad or not counts.rescued or host is None:
                continue
            for step, result in host.steps.items():
                if result.status in BAD:
                    host.steps[step] = replace(result, status=HostStatus.IGNORED)

    def of(self, host: str) -> tuple[StepResult, ...]:
        """Give one host's results."""
        return tuple(self._hosts[host].steps.values()) if host in self._hosts else ()

    def to_undo(self, hosts: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Give the steps that each of these hosts completed and that were not undone since, in order."""
        return {host: tuple(self._ended(host, COMPLETED, closed=False)) for host in hosts}

    def done(self, host: str) -> frozenset[str]:
        """Give the steps that need not be done again on a host: completed or skipped, ended for certain, not undone."""
        return frozenset(self._ended(host, COMPLETED | {HostStatus.SKIPPED}, closed=True))

    def _ended(self, name: str, statuses: Collection[HostStatus], *, closed: bool) -> Iterator[str]:
        host = self._hosts.get(name)
        for step, result in host.steps.items() if host else ():
            undo = host.steps.get(f"{UNDO_PREFIX}{step}") if host else None
            undone = undo is not None and undo.status in UNDONE and undo.started >= result.started
            if result.status in statuses and not undone and not (closed and host and step not in host.closed):
                yield step

    def in_doubt(self) -> tuple[tuple[str, str], ...]:
        """Give host and step of each task that had begun on a host and has no result there."""
        steps = {
            (host, self._tasks[task].step): None
            for task, hosts in self._begun.items()
            for host in hosts
            if task in self._tasks
        }
        return tuple((host, step) for host, step in steps if step)

    def kept(self) -> dict[str, dict[str, Json]]:
        """Give what earlier steps left for later ones: host to name to value."""
        return {name: dict(host.kept) for name, host in self._hosts.items() if host.kept}

    def lost(self) -> dict[str, dict[str, str]]:
        """Give what could not be kept, with the reason: host to name to sentence."""
        return {name: dict(host.lost) for name, host in self._hosts.items() if host.lost}

    def bad_hosts(self, hosts: Iterable[str]) -> tuple[str, ...]:
        """Give those of the hosts on which a step failed, or which could not be reached."""
        return tuple(host for host in hosts if self._is_bad(host))

    def failures(self) -> tuple[tuple[str, StepResult], ...]:
        """Give every failed or unreachable step, and every undo that failed, with its host."""
        return tuple(
            (name, result)
            for name, host in self._hosts.items()
            for result in host.steps.values()
            if result.status in BAD or (result.status is HostStatus.IGNORED and result.step.startswith(UNDO_PREFIX))
        )

    def summary(self) -> str:
        """Say how many hosts took part and how many were changed."""
        taking_part = [host for host in self._hosts.values() if host.steps]
        changed = sum(
            any(result.status is HostStatus.CHANGED for result in host.steps.values()) for host in taking_part
        )
        return f"{len(taking_part)} host{'' if len(taking_part) == 1 else 's'}, {changed} changed"

    def counts(self) -> dict[str, Json]:
        """Count hosts and step results by status."""
        statuses = Counter(result.status for host in self._hosts.values() for result in host.steps.values())
        taking_part = sum(bool(host.steps) for host in self._hosts.values())
        return {"hosts": taking_part, **{status.value: statuses[status] for status in _RANK}}

    def document(self, stages: Sequence[Json], outputs: Mapping[str, Sequence[str]]) -> bytes:
        """Give the results document: canonical JSON, named by its digest in the record.

        `stages` are the records of all stages; `outputs` the names of the outputs each step declares.
        """
        hosts: dict[str, Json] = {
            name: [result.to_json() for result in host.steps.values()]
            for name, host in self._hosts.items()
            if host.steps
        }
        return canonical_bytes(
            {
                "format": RESULTS_FORMAT,
                "run": self.run,
                "hosts": hosts,
                "outputs": self.outputs(outputs),
                "stages": list(stages),
            }
        )

    def outputs(self, declared: Mapping[str, Sequence[str]]) -> dict[str, Json]:
        """Give the outputs that came out: host to name to value; floats as exact decimal texts."""
        names = {name for each in declared.values() for name in each}
        found: dict[str, Json] = {}
        for name, host in self._hosts.items():
            values = {key: exact(value) for key, value in host.kept.items() if key in names}
            if values:
                found[name] = values
        return found


def exact(value: object) -> Json:
    """Give a value as JSON without floats: a number that is no integer becomes its exact decimal text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [exact(item) for item in value]
    if isinstance(value, dict):
        return {str(key): exact(item) for key, item in value.items()}
    return f"{Decimal(repr(value)):f}" if isinstance(value, float) and isfinite(value) else str(value)


def results_summary(document: bytes, counts: Mapping[str, Json]) -> dict[str, Json]:
    """Give what a record says about the results: their digest, size and counts."""
    return {"digest": sha256_digest(document), "bytes": len(document), **counts}
