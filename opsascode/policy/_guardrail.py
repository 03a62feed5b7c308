"""May this plan run now? Guardrails and the runbook's own blast radius, judged together.

`judge` is the only maker of a `Permit`; whoever acts on one asks `permit_covers` again right before acting. All
reasons for a refusal are given at once, each with the place in the document that asked for it. A percentage of a
small inventory never forbids everything: one host is always within a percentage limit.

Not here: reading guardrail documents (`repo`), what people agree to (`_approval`; a run asks them itself).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from decimal import Decimal

    from opsascode.errors import Position
    from opsascode.repo import Guardrail

PERMIT_LIFETIME: Final = timedelta(minutes=15)


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
class Subject:
    """What is judged: the facts about one plan that a guardrail can speak of."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason for a refusal: a stable code, a sentence, who asked for it, and how to mend it."""

    code: str
    message: str
    source: str
    position: Position | None = None
    mend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Leave to run exactly one plan until a time, with the guardrails that were asked."""

    plan_digest: str
    guardrails: tuple[str, ...]
    issued: datetime
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """No, with every reason at once."""

    plan_digest: str
    reasons: tuple[Reason, ...]


def judge(guardrails: Sequence[Guardrail], subject: Subject, *, now: datetime) -> Permit | Refusal:
    """Decide whether the plan may run; `now` must be aware.

    Raises:
        ValueError: when `now` is naive.
    """
    if now.tzinfo is None:
        msg = "judge needs an aware time"
        raise ValueError(msg)
    asked = [guardrail for guardrail in guardrails if _applies(guardrail, subject)]
    reasons = [*_own_limits(subject)]
    for guardrail in asked:
        reasons.extend(_broken(guardrail, subject))
    if reasons:
        return Refusal(plan_digest=subject.plan_digest, reasons=tuple(reasons))
    return Permit(
        plan_digest=subject.plan_digest,
        guardrails=tuple(guardrail.metadata.name for guardrail in asked),
        issued=now,
        expires=now + PERMIT_LIFETIME,
    )


def permit_covers(permit: Permit, plan_digest: str, *, now: datetime) -> bool:
    """Tell whether the permit still stands for this very plan."""
    return permit.plan_digest == plan_digest and permit.issued <= now < permit.expires


def _applies(guardrail: Guardrail, subject: Subject) -> bool:
    scope = guardrail.applies_to
    return (
        (not scope.runbooks or any(fnmatchcase(subject.runbook, pattern) for pattern in scope.runbooks))
        and all(subject.labels.get(key) == value for key, value in scope.labels.items())
        and (not scope.groups or any(group in subject.groups for group in scope.groups))
    )


def _own_limits(subject: Subject) -> Iterator[Reason]:
    source = f"runbook {subject.runbook}"
    yield from _too_wide(subject, subject.blast_radius, source, "")


def _broken(guardrail: Guardrail, subject: Subject) -> Iterator[Reason]:
    require = guardrail.require
    source = f"guardrail {guardrail.metadata.name}"
    why = f": {guardrail.reason}"
    if require.clean_tree and subject.dirty:
        yield Reason(
            code="dirty-tree",
            message=f"the working tree has uncommitted changes{why}",
            source=source,
            position=guardrail.position,
            mend="commit the changes (or stash them) and plan again",
        )
    if require.triggers and subject.trigger.value not in require.triggers:
        allowed = ", ".join(require.triggers)
        yield Reason(
            code="trigger",
            message=f"a {subject.trigger.value} run is not allowed, only: {allowed}{why}",
            source=source,
            position=guardrail.position,
            mend=f"start it by one of: {allowed}",
        )
    limit = BlastRadius(max_hosts=require.max_hosts, max_percent=require.max_percent, position=guardrail.position)
    yield from _too_wide(subject, limit, source, why)


def _too_wide(subject: Subject, limit: BlastRadius, source: str, why: str) -> Iterator[Reason]:
    mend = "narrow it with --limit"
    if limit.max_hosts is not None and subject.host_count > limit.max_hosts:
        yield Reason(
            code="max-hosts",
            message=f"{subject.host_count} hosts are more than the {limit.max_hosts} allowed{why}",
            source=source,
            position=limit.position,
            mend=mend,
        )
    if limit.max_percent is not None and subject.host_count > _share(limit.max_percent, subject.inventory_total):
        yield Reason(
            code="max-percent",
            message=(
                f"{subject.host_count} of {subject.inventory_total} hosts are more than the "
                f"{limit.max_percent.normalize():f}% allowed{why}"
            ),
            source=source,
            position=limit.position,
            mend=mend,
        )


def _share(percent: Decimal, total: int) -> int:
    return max(1, int(percent * total / 100))
