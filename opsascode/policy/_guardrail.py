"""What is judged before a run, and what can come of it? The nouns: a subject, a permit, a refusal with its reasons.

A subject holds every fact about one plan that a guardrail can speak of, so that it can be recorded and judged again
later by other guardrails. Facts that could not be found out are said: `opaque` names content that nobody can look into,
`partial` tells that lists were cut when it was written down.

Not here: judging (`_judge`), reading guardrail documents (`repo`), what people agree to (`_approval`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

from opsascode.errors import UsageError
from opsascode.proof import JsonParts
from opsascode.repo import ApprovalsAsked, BudgetLevel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from decimal import Decimal

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
        parts = JsonParts.of(found, _no_subject)
        if not parts.value.keys() >= _KEYS:
            raise _no_subject("it lacks parts")
        return _read(parts)


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


def _read(parts: JsonParts) -> Subject:
    limits, labels, budgets = parts.object("limits"), parts.object("labels"), parts.object("budgets")
    return Subject(
        plan_digest=parts.text("plan"),
        runbook=parts.text("runbook"),
        labels={key: labels.text(key) for key in labels.value},
        blast_radius=BlastRadius(
            max_hosts=limits.maybe("max_hosts", limits.number),
            max_percent=limits.maybe("max_percent", limits.decimal),
        ),
        host_count=parts.number("hosts"),
        inventory_total=parts.number("total"),
        groups=frozenset(parts.texts("groups")),
        environments=frozenset(parts.texts("environments")),
        tags=frozenset(parts.texts("tags")),
        modules=frozenset(parts.texts("modules")),
        opaque=parts.texts("opaque"),
        dirty=parts.value["dirty"] is True,
        trigger=parts.word("trigger", Trigger),
        account=parts.text("account"),
        roles=frozenset(parts.texts("roles")),
        predicts=parts.value["predicts"] is True,
        undoes=parts.value["undoes"] is True,
        approvals=tuple(map(_approvals, parts.objects("approvals"))),
        budgets={service: _budget(budgets.object(service)) for service in budgets.value},
        partial=parts.value.get("partial") is True,
    )


def _approvals(parts: JsonParts) -> ApprovalsAsked:
    return ApprovalsAsked(required=parts.number("required"), role=parts.maybe("role", parts.text))


def _budget(parts: JsonParts) -> BudgetSeen:
    return BudgetSeen(level=parts.word("level", BudgetLevel), consumed=parts.maybe("consumed", parts.decimal))


def _no_subject(why: str) -> UsageError:
    return UsageError(f"this is not the record of a judged plan: {why}")
