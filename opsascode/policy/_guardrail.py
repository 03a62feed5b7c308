"""What is judged before a run, and what can come of it? The nouns: a subject, a permit, a refusal with its reasons.

A subject holds every fact about one plan that a guardrail can speak of, so that it can be recorded and judged again
later by other guardrails. Facts that could not be found out are said: `opaque` names content that nobody can look into,
`partial` tells that lists were cut when it was written down.

Not here: judging (`_judge`), reading guardrail documents (`repo`), what people agree to (`_approval`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import TYPE_CHECKING, Final

from opsascode.errors import UsageError
from opsascode.repo import ApprovalsAsked, BudgetLevel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from opsascode.errors import Position
    from opsascode.proof import Json

PERMIT_LIFETIME: Final = timedelta(minutes=15)
_KEYS: Final = frozenset({
    "account", "approvals", "budgets", "dirty", "environments", "groups", "hosts", "labels", "limits", "modules",
    "opaque", "plan", "predicts", "roles", "runbook", "tags", "total", "trigger", "undoes",
})  # fmt: skip


class Trigger(Enum):
    """What made a run start."""

    MANUAL = "manual"
    CI = "ci"
    ALERT = "alert"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlastRadius:
    """At most this many hosts, and at most this share of the inventory (percent); `None` sets no limit."""

    max_hosts: int | None = None
    max_percent: Decimal | None = None
    position: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSeen:
    """How a service's error budget stood: the worst level of its promises, and the largest share that was consumed."""

    level: BudgetLevel
    consumed: Decimal | None = None

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON."""
        return {"level": self.level.value, "consumed": None if self.consumed is None else f"{self.consumed:f}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged: the facts about one plan that a guardrail can speak of.

    `modules` are named as they are written; `opaque` says what could hold more of them. `roles` are those of the people
    behind `account`. `approvals` are what the plan asks people before anything is done. `budgets` are there for the
    services that a guardrail asks about. `undoes` tells that an earlier run is taken back, `predicts` that nothing is
    changed.
    """

    plan_digest: str
    runbook: str
    labels: Mapping[str, str]
    blast_radius: BlastRadius
    host_count: int
    inventory_total: int
    groups: frozenset[str]
    dirty: bool
    trigger: Trigger
    position: Position | None = None
    environments: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    opaque: tuple[str, ...] = ()
    account: str = ""
    roles: frozenset[str] = frozenset()
    predicts: bool = False
    undoes: bool = False
    approvals: tuple[ApprovalsAsked, ...] = ()
    budgets: Mapping[str, BudgetSeen] = field(default_factory=dict)
    partial: bool = False

    def to_json(self) -> dict[str, Json]:
        """Give the subject as plain JSON: shares as exact decimal texts, sets in order."""
        limits = self.blast_radius
        percent = None if limits.max_percent is None else f"{limits.max_percent:f}"
        return {
            "plan": self.plan_digest,
            "runbook": self.runbook,
            "labels": dict(sorted(self.labels.items())),
            "limits": {"max_hosts": limits.max_hosts, "max_percent": percent},
            "hosts": self.host_count,
            "total": self.inventory_total,
            "groups": [*sorted(self.groups)],
            "environments": [*sorted(self.environments)],
            "tags": [*sorted(self.tags)],
            "modules": [*sorted(self.modules)],
            "opaque": list(self.opaque),
            "dirty": self.dirty,
            "trigger": self.trigger.value,
            "account": self.account,
            "roles": [*sorted(self.roles)],
            "predicts": self.predicts,
            "undoes": self.undoes,
            "approvals": [{"required": each.required, "role": each.role} for each in self.approvals],
            "budgets": {service: seen.to_json() for service, seen in sorted(self.budgets.items())},
            **({"partial": True} if self.partial else {}),
        }

    @classmethod
    def of_json(cls, found: Json) -> Subject:
        """Read a subject back; keys that a later release added are passed over.

        Raises:
            UsageError: it is not the JSON of a subject.
        """
        if not isinstance(found, dict) or not found.keys() >= _KEYS:
            raise UsageError("this is not the record of a judged plan: it lacks parts")
        try:
            return _read(found)
        except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation) as error:
            raise UsageError(f"this is not the record of a judged plan: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason for a refusal: a stable code, a sentence, who asked for it, and how to mend it.

    `rule` names the rule of the guardrail in `source`, where it was one.
    """

    code: str
    message: str
    source: str
    position: Position | None = None
    mend: str = ""
    rule: str | None = None

    @property
    def asked_by(self) -> str:
        """Name the document, and the rule in it."""
        return f"{self.source}, rule {self.rule}" if self.rule else self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Leave to run exactly one plan until a time, with the guardrails that were asked, and what they judged."""

    plan_digest: str
    guardrails: tuple[str, ...]
    issued: datetime
    expires: datetime
    subject: Subject | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No, with every reason at once, and what was judged."""

    plan_digest: str
    reasons: tuple[Reason, ...]
    subject: Subject | None = None


def permit_covers(permit: Permit, plan_digest: str, *, now: datetime) -> bool:
    """Tell whether the permit still stands for this very plan."""
    return permit.plan_digest == plan_digest and permit.issued <= now < permit.expires


def _read(found: dict[str, Json]) -> Subject:
    limits, labels, budgets = _mapping(found["limits"]), _mapping(found["labels"]), _mapping(found["budgets"])
    return Subject(
        plan_digest=_text(found["plan"]),
        runbook=_text(found["runbook"]),
        labels={key: _text(value) for key, value in labels.items()},
        blast_radius=BlastRadius(
            max_hosts=None if limits["max_hosts"] is None else _number(limits["max_hosts"]),
            max_percent=None if limits["max_percent"] is None else Decimal(_text(limits["max_percent"])),
        ),
        host_count=_number(found["hosts"]),
        inventory_total=_number(found["total"]),
        groups=frozenset(_texts(found["groups"])),
        environments=frozenset(_texts(found["environments"])),
        tags=frozenset(_texts(found["tags"])),
        modules=frozenset(_texts(found["modules"])),
        opaque=_texts(found["opaque"]),
        dirty=found["dirty"] is True,
        trigger=Trigger(_text(found["trigger"])),
        account=_text(found["account"]),
        roles=frozenset(_texts(found["roles"])),
        predicts=found["predicts"] is True,
        undoes=found["undoes"] is True,
        approvals=tuple(map(_approvals, _list(found["approvals"]))),
        budgets={service: _budget(seen) for service, seen in budgets.items()},
        partial=found.get("partial") is True,
    )


def _approvals(found: Json) -> ApprovalsAsked:
    parts = _mapping(found)
    role = parts["role"]
    return ApprovalsAsked(required=_number(parts["required"]), role=None if role is None else _text(role))


def _budget(found: Json) -> BudgetSeen:
    parts = _mapping(found)
    consumed = parts["consumed"]
    level = BudgetLevel(_text(parts["level"]))
    return BudgetSeen(level=level, consumed=None if consumed is None else Decimal(_text(consumed)))


def _mapping(found: Json) -> dict[str, Json]:
    if not isinstance(found, dict):
        raise TypeError("a part of it is no object")
    return found


def _list(found: Json) -> list[Json]:
    if not isinstance(found, list):
        raise TypeError("a part of it is no list")
    return found


def _texts(found: Json) -> tuple[str, ...]:
    return tuple(map(_text, _list(found)))


def _text(found: Json) -> str:
    if not isinstance(found, str):
        raise TypeError("a part of it is no text")
    return found


def _number(found: Json) -> int:
    if isinstance(found, bool) or not isinstance(found, int):
        raise TypeError("a part of it is no whole number")
    return found
