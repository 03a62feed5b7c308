"""What came of each step on each host? The results of a run, folded from the journal's events.

A step may be several Ansible tasks; its status on a host is the worst of theirs. A failed host takes no further steps
of that stage, so a step a host never began has no result.

Not here: reading or judging the journal (`_journal`), sealing results (`_record`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from opsascode.proof import Json, canonical_bytes, sha256_digest
from opsascode.run._journal import Ended, HostResult, HostStatus
from opsascode.run._record import timestamp
from opsascode.run._tasks import UNDO_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping
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


class Results:
    """The results so far, host by host in the order of the plan, step by step in the order they ended."""

    def __init__(self, run: str) -> None:
        """Begin without any result."""
        self.run = run
        self._hosts: dict[str, dict[str, StepResult]] = {}

    def add(self, event: JournalEvent) -> None:
        """Take in one event of the journal; events that are no result of a step on a host change nothing."""
        if isinstance(event, Ended):
            self._rescue(event)
        if not isinstance(event, HostResult) or event.step is None:
            return
        steps = self._hosts.setdefault(event.host, {})
        known = steps.get(event.step)
        result = StepResult.of(event)
        steps[result.step] = known.joined(result) if known else result

    def _rescue(self, end: Ended) -> None:
        """Note failures that were rescued: Ansible counts none for the host, which went on."""
        for host, counts in end.hosts.items():
            if counts.bad or not counts.rescued:
                continue
            for name, result in self._hosts.get(host, {}).items():
                if result.status in BAD:
                    self._hosts[host][name] = replace(result, status=HostStatus.IGNORED)

    def of(self, host: str) -> tuple[StepResult, ...]:
        """Give one host's results."""
        return tuple(self._hosts.get(host, {}).values())

    def completed(self, hosts: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Give the steps that each of these hosts completed, in order."""
        return {host: tuple(result.step for result in self.of(host) if result.status in COMPLETED) for host in hosts}

    def failures(self) -> tuple[tuple[str, StepResult], ...]:
        """Give every failed or unreachable step, and every undo that failed, with its host."""
        return tuple(
            (host, result)
            for host, steps in self._hosts.items()
            for result in steps.values()
            if result.status in BAD or (result.status is HostStatus.IGNORED and result.step.startswith(UNDO_PREFIX))
        )

    def summary(self) -> str:
        """Say how many hosts took part and how many were changed."""
        changed = sum(
            any(result.status is HostStatus.CHANGED for result in steps.values()) for steps in self._hosts.values()
        )
        hosts = len(self._hosts)
        return f"{hosts} host{'' if hosts == 1 else 's'}, {changed} changed"

    def counts(self) -> dict[str, Json]:
        """Count hosts and step results by status."""
        statuses = Counter(result.status for steps in self._hosts.values() for result in steps.values())
        return {"hosts": len(self._hosts), **{status.value: statuses[status] for status in _RANK}}

    def document(self) -> bytes:
        """Give the results document: canonical JSON, named by its digest in the record."""
        hosts: dict[str, Json] = {
            host: [result.to_json() for result in steps.values()] for host, steps in self._hosts.items()
        }
        return canonical_bytes({"format": RESULTS_FORMAT, "run": self.run, "hosts": hosts})


def results_summary(document: bytes, counts: Mapping[str, Json]) -> dict[str, Json]:
    """Give what a record says about the results: their digest, size and counts."""
    return {"digest": sha256_digest(document), "bytes": len(document), **counts}
