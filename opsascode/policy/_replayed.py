"""What is replayed against other policies, and what comes of it? The nouns of a simulation.

A record is what a decision was made from, as it was recorded: a plan that was judged, a question to a gate, a
measurement. Without `subject`, `question` or `snapshot` it lacks what a decision needs, and `lacking` says what.

Not here: deciding again (`_simulate`), reading records (`run`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from opsascode.errors import Position
    from opsascode.policy._gate_question import GateQuestion
    from opsascode.policy._guardrail import Subject
    from opsascode.slo import SloSnapshot


class RecordKind(Enum):
    """What was recorded: a run that started, one that guardrails refused, a verdict of a gate, a measurement."""

    RUN = "run"
    REFUSAL = "refusal"
    GATE = "gate verdict"
    SNAPSHOT = "measurement"


class ChangeKind(Enum):
    """What would be different, in the order in which it is told."""

    NEWLY_ALLOWED = "newly allowed"
    NEWLY_DENIED = "newly denied"
    APPROVAL_ADDED = "needs approval"
    APPROVAL_DROPPED = "needs less approval"
    GATE_LOOSER = "gate verdict looser"
    GATE_STRICTER = "gate verdict stricter"
    PAGES = "would page"
    PAGES_NO_MORE = "would not page any more"
    TICKETS = "would open a ticket"
    TICKETS_NO_MORE = "would not open a ticket any more"
    REMEDIATES = "would start a remediation"
    REMEDIATES_NO_MORE = "would not start a remediation any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanJudged:
    """A plan that guardrails judged: the run `id` it became, or the refusal `id`."""

    kind: RecordKind
    id: str
    at: datetime
    runbook: str
    hosts: int
    pattern: str
    subject: Subject | None
    lacking: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateJudged:
    """A question to the gate of a service, and the verdict it got."""

    id: str
    at: datetime
    service: str
    change_class: str
    verdict: str
    question: GateQuestion | None
    lacking: str = ""
    kind: RecordKind = RecordKind.GATE


@dataclass(frozen=True, slots=True, kw_only=True)
class SloTaken:
    """A measurement for one reliability policy."""

    id: str
    at: datetime
    service: str
    snapshot: SloSnapshot | None
    lacking: str = ""
    kind: RecordKind = RecordKind.SNAPSHOT


Replayable = PlanJudged | GateJudged | SloTaken


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidingRule:
    """Which rule makes the difference; `gone` when it is one that says so no more."""

    source: str
    message: str
    position: Position | None = None
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One record about which the candidate decides otherwise; `before` and `after` are the two decisions in words."""

    change: ChangeKind
    kind: RecordKind
    id: str
    at: datetime
    about: str
    where: str
    before: str
    after: str
    rules: tuple[DecidingRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of replaying one record; `unknown` says why it could not be."""

    differences: tuple[Difference, ...] = ()
    since: tuple[Difference, ...] = ()
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReplayed:
    """A record that cannot be judged again, and why."""

    kind: RecordKind
    id: str
    at: datetime
    about: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What came of a replay: everything in the order of time.

    `differences` are those between the current policies and the candidate. `since` are those between what was decided
    at the time and what the current policies decide: the policies were others then.
    """

    records: Mapping[RecordKind, int]
    differences: tuple[Difference, ...]
    since: tuple[Difference, ...]
    not_replayed: tuple[NotReplayed, ...]

    @property
    def counts(self) -> dict[ChangeKind, int]:
        """Count the differences of each kind, also where there are none."""
        found = Counter(each.change for each in self.differences)
        return {kind: found[kind] for kind in ChangeKind}

    @property
    def replayed(self) -> int:
        """How many records were judged again."""
        return sum(self.records.values()) - len(self.not_replayed)
