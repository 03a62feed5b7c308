"""What is sealed about a run? The statements `run-start`, `run-ask` and `run-end`; and `run-refused`, where none began.

A statement stays small (a ledger leaf is at most 64 KiB): it names the plan, the journals, the approvals and the
results by digest, and the receipt carries those documents along. Secret values are cut out of every text before
anything is sealed, for a log cannot forget.

Not here: signing and the ledger (`proof`), the order in which things are written (`_perform`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Final

from opsascode.proof import PREDICATE_PREFIX, Json, Statement, canonical_bytes
from opsascode.run._judged import bounded_reasons, bounded_subject
from opsascode.run._plan import APPLIED_PACK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.policy import Permit, Refusal, Trigger
    from opsascode.run._plan import Plan

RUN_START: Final = f"{PREDICATE_PREFIX}run-start:v1"
RUN_ASK: Final = f"{PREDICATE_PREFIX}run-ask:v1"
RUN_END: Final = f"{PREDICATE_PREFIX}run-end:v1"
RUN_REFUSED: Final = f"{PREDICATE_PREFIX}run-refused:v1"
REFUSED_BYTES: Final = 32 * 1024
CONTENT_BYTES: Final = 8 * 1024
_POLICIES: Final = "policies/"
_STAGES_NAMED: Final = 50
_DOUBTS_NAMED: Final = 50
_FOR_THE_REST: Final = 512
_ABOUT: Final = ("run", "ledger", "runbook", "repository", "inventory", "targets", "parameters", "plan", "mode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who started the run: the account, the machine, what CI says about itself, and who logged in to that account."""

    user: str
    machine: str
    detail: str = ""
    login: str = ""

    def to_json(self) -> dict[str, Json]:
        """Give who acted as records hold it."""
        return {"user": self.user, "machine": self.machine, "detail": self.detail, "login": self.login}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The versions that took part."""

    opsascode: str
    ansible_core: str
    ansible_runner: str
    python: str


class Phase(Enum):
    """What a stage of Ansible was started for."""

    FORWARD = "forward"
    UNDO = "undo"


class Purpose(Enum):
    """What a run is for: doing what was planned, predicting it, or taking an earlier run back."""

    RUN = "run"
    CHECK = "check"
    UNDO = "undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSubject:
    """What all records of a run are about; `about` is the part of the predicate they share.

    `content` is what the plan pins of the repository's content: the start record alone names it.
    """

    run: str
    plan: str
    about: Mapping[str, Json]
    content: Mapping[str, Json] | None = None

    @classmethod
    def of_plan(cls, run: str, plan: Plan, *, ledger: str, purpose: Purpose) -> RunSubject:
        """Describe a run that is about to start; `ledger` is the origin of the only ledger it counts in."""
        content = plan.to_json()
        targets: Json = {
            "pattern": plan.pattern,
            "limit": plan.limit,
            "hosts": len(plan.hosts),
            "waves": len(plan.waves),
        }
        about = {name: content[name] for name in ("runbook", "repository", "inventory", "parameters")}
        return cls(
            run=run,
            plan=plan.digest,
            about={
                **about,
                "run": run,
                "ledger": ledger,
                "targets": targets,
                "plan": plan.digest,
                "mode": purpose.value,
            },
            content=_content(plan),
        )

    @classmethod
    def of_start(cls, start: Mapping[str, Json]) -> RunSubject:
        """Describe a run by the predicate of its start record."""
        about = {name: start[name] for name in _ABOUT if name in start}
        return cls(run=str(start["run"]), plan=str(start["plan"]), about=about)


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The run that this one continues, and the run that it takes back."""

    continues: str | None = None
    undoes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """One start of Ansible: its playbook and its journal by digest, and how it ended."""

    phase: Phase
    stage: str
    wave: int
    playbook: str
    journal: str
    outcome: str
    reason: str

    @property
    def directory(self) -> str:
        """The name of its directory in the run's."""
        return f"{self.phase.value}-{self.stage}"

    def to_json(self) -> dict[str, Json]:
        """Give the record as plain JSON."""
        return {
            "phase": self.phase.value,
            "stage": self.stage,
            "wave": self.wave,
            "playbook": self.playbook,
            "journal": self.journal,
            "outcome": self.outcome,
            "reason": self.reason[:300],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRecord:
    """One question to people and its answer; `approvals` are digests of their signed statements."""

    stage: str
    kind: str
    step: str
    granted: bool
    by: tuple[str, ...]
    approvals: tuple[str, ...]
    note: str
    at: datetime

    def to_json(self) -> dict[str, Json]:
        """Give the record as plain JSON."""
        return {
            "stage": self.stage,
            "kind": self.kind,
            "step": self.step,
            "granted": self.granted,
            "by": list(self.by),
            "approvals": list(self.approvals),
            "note": self.note[:2000],
            "at": timestamp(self.at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the whole run ended; `in_doubt` are (host, step) of which nobody knows whether they were done."""

    outcome: str
    reason: str
    undone: bool
    started: datetime
    ended: datetime
    in_doubt: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What was refused, and where: an id, the ledger it is told to, the wish, and the policy pack (None: work tree)."""

    id: str
    ledger: str
    purpose: Purpose
    pack: str | None


def start_statement(  # noqa: PLR0913 - the circumstances of a start, each named by its keyword
    subject: RunSubject,
    permit: Permit,
    *,
    actor: Actor,
    trigger: Trigger,
    tools: Tools,
    links: Links,
    now: datetime,
) -> Statement:
    """State that the run of this plan begins now; made durable before the first task."""
    return _statement(
        RUN_START,
        subject,
        {
            "continues": links.continues,
            "undoes": links.undoes,
            "actor": actor.to_json(),
            "trigger": trigger.value,
            "tools": {
                "opsascode": tools.opsascode,
                "ansible_core": tools.ansible_core,
                "ansible_runner": tools.ansible_runner,
                "python": tools.python,
            },
            "permit": {"guardrails": list(permit.guardrails), "expires": timestamp(permit.expires)},
            **({"judged": bounded_subject(permit.subject)} if permit.subject else {}),
            **({"content": dict(subject.content)} if subject.content else {}),
            "started": timestamp(now),
        },
    )


def ask_statement(subject: RunSubject, answer: AskRecord) -> Statement:
    """State what people answered; made durable before anything follows from it."""
    return Statement(
        predicate_type=RUN_ASK,
        subject_name=subject.run,
        subject_digest=subject.plan,
        predicate={
            "run": subject.run,
            "ledger": subject.about["ledger"],
            "plan": subject.plan,
            **answer.to_json(),
        },
    )


def end_statement(
    subject: RunSubject,
    *,
    ending: Ending,
    stages: Sequence[StageRecord],
    results: Mapping[str, Json],
    start_record: str,
) -> Statement:
    """State how the run ended; `results` names the results document, which holds all stages, by digest."""
    return _statement(
        RUN_END,
        subject,
        {
            "outcome": ending.outcome,
            "reason": ending.reason[:1000],
            "undone": ending.undone,
            "in_doubt": [{"host": host, "step": step} for host, step in ending.in_doubt[:_DOUBTS_NAMED]],
            "started": timestamp(ending.started),
            "ended": timestamp(ending.ended),
            "start_record": start_record,
            "stages": [stage.to_json() for stage in stages[:_STAGES_NAMED]],
            "results": dict(results),
        },
    )


def refused_statement(plan: Plan, refusal: Refusal, refused: Refused, *, actor: Actor, now: datetime) -> Statement:
    """State that a plan was not allowed to run; at most 32 KiB, and it says where something was left out."""
    subject = refusal.subject
    about: dict[str, Json] = {
        "id": refused.id,
        "ledger": refused.ledger,
        "runbook": plan.to_json()["runbook"],
        "repository": plan.to_json()["repository"],
        "targets": {"pattern": plan.pattern, "limit": plan.limit, "hosts": len(plan.hosts)},
        "plan": plan.digest,
        "mode": refused.purpose.value,
        "pack": refused.pack,
        "actor": actor.to_json(),
        "trigger": subject.trigger.value if subject else None,
        "at": timestamp(now),
        "judged": bounded_subject(subject) if subject else None,
    }
    left = REFUSED_BYTES - len(canonical_bytes(about)) - _FOR_THE_REST
    reasons, whole = bounded_reasons(refusal.reasons, most=left)
    partial: dict[str, Json] = {} if whole else {"partial": True}
    return Statement(
        predicate_type=RUN_REFUSED,
        subject_name=refused.id,
        subject_digest=plan.digest,
        predicate={**about, "reasons": reasons, **partial},
    )


def timestamp(moment: datetime) -> str:
    """Give an aware moment as RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _content(plan: Plan) -> dict[str, Json] | None:
    """Name what a plan pins of the repository's content, which policies are not; None where it takes over 8 KiB."""
    pins: Json = {
        pin.path: pin.digest for pin in plan.pins if pin.path != APPLIED_PACK and not pin.path.startswith(_POLICIES)
    }
    content: dict[str, Json] = {"pins": pins, "trees": {pin.path: pin.digest for pin in plan.trees}}
    return content if len(canonical_bytes(content)) <= CONTENT_BYTES else None


def _statement(kind: str, subject: RunSubject, more: dict[str, Json]) -> Statement:
    return Statement(
        predicate_type=kind,
        subject_name=subject.run,
        subject_digest=subject.plan,
        predicate={**subject.about, **more},
    )
