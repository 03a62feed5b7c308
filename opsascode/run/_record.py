"""What is sealed about a run? The statements `run-start` and `run-end`, and the results document behind them.

A statement stays small (a ledger leaf is at most 64 KiB): it names the plan, the journal and the results by digest, and
the receipt carries those documents along. Secret values are cut out of every text before anything is sealed, for a log
cannot forget.

Not here: signing and the ledger (`proof`), the order in which things are written (`_perform`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Final

from opsascode.proof import PREDICATE_PREFIX, Json, Statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.policy import Permit, Trigger
    from opsascode.run._plan import Plan

RUN_START: Final = f"{PREDICATE_PREFIX}run-start:v1"
RUN_END: Final = f"{PREDICATE_PREFIX}run-end:v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who started the run: the account, the machine, and what CI says about itself."""

    user: str
    machine: str
    detail: str = ""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSubject:
    """What both records of a run are about; `ledger` is the origin of the only ledger they count in."""

    run: str
    plan: Plan
    ledger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """One start of Ansible: its playbook and its journal by digest, and how it ended."""

    phase: Phase
    wave: int
    playbook: str
    journal: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the whole run ended."""

    outcome: str
    reason: str
    undone: bool
    started: datetime
    ended: datetime


def start_statement(
    subject: RunSubject, permit: Permit, *, actor: Actor, trigger: Trigger, tools: Tools, now: datetime
) -> Statement:
    """State that the run of this plan begins now; made durable before the first task."""
    predicate: dict[str, Json] = {
        **_what(subject),
        "actor": {"user": actor.user, "machine": actor.machine, "detail": actor.detail},
        "trigger": trigger.value,
        "tools": {
            "opsascode": tools.opsascode,
            "ansible_core": tools.ansible_core,
            "ansible_runner": tools.ansible_runner,
            "python": tools.python,
        },
        "permit": {"guardrails": list(permit.guardrails), "expires": timestamp(permit.expires)},
        "started": timestamp(now),
    }
    return _statement(RUN_START, subject, predicate)


def end_statement(
    subject: RunSubject,
    *,
    ending: Ending,
    stages: Sequence[StageRecord],
    results: Mapping[str, Json],
    start_record: str,
) -> Statement:
    """State how the run ended; `results` names the results document by digest, with its counts."""
    predicate: dict[str, Json] = {
        **_what(subject),
        "outcome": ending.outcome,
        "reason": ending.reason[:1000],
        "undone": ending.undone,
        "started": timestamp(ending.started),
        "ended": timestamp(ending.ended),
        "start_record": start_record,
        "stages": [
            {
                "phase": stage.phase.value,
                "wave": stage.wave,
                "playbook": stage.playbook,
                "journal": stage.journal,
                "outcome": stage.outcome,
                "reason": stage.reason[:500],
            }
            for stage in stages
        ],
        "results": dict(results),
    }
    return _statement(RUN_END, subject, predicate)


def timestamp(moment: datetime) -> str:
    """Give an aware moment as RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _statement(kind: str, subject: RunSubject, predicate: dict[str, Json]) -> Statement:
    return Statement(
        predicate_type=kind, subject_name=subject.run, subject_digest=subject.plan.digest, predicate=predicate
    )


def _what(subject: RunSubject) -> dict[str, Json]:
    plan = subject.plan
    content = plan.to_json()
    return {
        "run": subject.run,
        "ledger": subject.ledger,
        "runbook": content["runbook"],
        "repository": content["repository"],
        "inventory": content["inventory"],
        "targets": {"pattern": plan.pattern, "limit": plan.limit, "hosts": len(plan.hosts), "waves": len(plan.waves)},
        "parameters": content["parameters"],
        "plan": plan.digest,
    }
