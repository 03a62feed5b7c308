"""What does a guardrail require of a plan, and what of it is not met?

A percentage of a small inventory never forbids everything: one host is always within a percentage limit. A prediction
and an undo ask nobody, so approvals are not required of them.

Not here: which requirements hold (`_judge`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.policy._guardrail import BlastRadius, Reason
from opsascode.policy._rule_match import share_of
from opsascode.proof import RUN_APPROVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opsascode.errors import Position
    from opsascode.policy._guardrail import Subject
    from opsascode.repo import ApprovalsAsked, Guardrail, Requirements, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Approvals that a guardrail asks: how many of which role, who asks it, and why."""

    asked: ApprovalsAsked
    source: str
    reason: str
    position: Position

    def __str__(self) -> str:
        """Say who asks, and why."""
        return f"{self.source}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asker:
    """Who requires something: a guardrail, perhaps one rule of it, or the runbook itself."""

    source: str
    rule: str | None = None
    why: str = ""
    position: Position | None = None

    def reason(self, code: str, message: str, mend: str) -> Reason:
        return Reason(
            code=code,
            message=f"{message}{self.why}",
            source=self.source,
            position=self.position,
            mend=mend,
            rule=self.rule,
        )


def own_limits(subject: Subject) -> Iterator[Reason]:
    """Judge a plan by the blast radius of its own runbook."""
    limit = subject.blast_radius
    yield from _too_wide(subject, limit, _Asker(source=f"runbook {subject.runbook}", position=limit.position))


def broken(guardrail: Guardrail, require: Requirements, rule: Rule | None, subject: Subject) -> Iterator[Reason]:
    """Give a reason for each requirement of a guardrail, or of one rule of it, that a plan does not meet."""
    asker = _Asker(
        source=f"guardrail {guardrail.metadata.name}",
        rule=rule.name if rule else None,
        why=f": {rule.reason if rule else guardrail.reason}",
        position=rule.position if rule else guardrail.position,
    )
    if require.clean_tree and subject.dirty:
        mend = "commit the changes (or stash them) and plan again"
        yield asker.reason("dirty-tree", "the working tree has uncommitted changes", mend)
    if require.triggers and subject.trigger.value not in require.triggers:
        allowed = ", ".join(require.triggers)
        message = f"a {subject.trigger.value} run is not allowed, only: {allowed}"
        yield asker.reason("trigger", message, f"start it by one of: {allowed}")
    if require.check_only and not subject.predicts:
        yield asker.reason("check-only", "only predictions are allowed", "as a prediction with --check")
    limit = BlastRadius(max_hosts=require.max_hosts, max_percent=require.max_percent)
    yield from _too_wide(subject, limit, asker)
    asked = require.approvals
    if asked and not (subject.predicts or subject.undoes or _is_asked(asked, subject.approvals)):
        need = said_approvals(asked)
        message = f"{need} must be asked for, and this plan does not ask"
        yield asker.reason("approvals", message, f"with {need}: plan it again")


def needs_of_rules(guardrail: Guardrail, rules: Iterable[Rule]) -> Iterator[Need]:
    """Give the approvals that a guardrail asks at its top, and those of rules that decide."""
    source = f"guardrail {guardrail.metadata.name}"
    if guardrail.require.approvals:
        yield Need(
            asked=guardrail.require.approvals, source=source, reason=guardrail.reason, position=guardrail.position
        )
    for rule in rules:
        if rule.require.approvals:
            asker = f"{source}, rule {rule.name}"
            yield Need(asked=rule.require.approvals, source=asker, reason=rule.reason, position=rule.position)


def said_approvals(asked: ApprovalsAsked) -> str:
    """Say how many approvals of which role."""
    number = f"{asked.required} approval{'' if asked.required == 1 else 's'}"
    return f"{number} of role {asked.role}" if asked.role else number


def _is_asked(asked: ApprovalsAsked, there: Iterable[ApprovalsAsked]) -> bool:
    """Whether a plan asks as many people of the same role; without one it is those who may approve runs."""
    role = asked.role or RUN_APPROVER
    return any((each.role or RUN_APPROVER) == role and each.required >= asked.required for each in there)


def _too_wide(subject: Subject, limit: BlastRadius, asker: _Asker) -> Iterator[Reason]:
    count, total = subject.host_count, subject.inventory_total
    if limit.max_hosts is not None and count > limit.max_hosts:
        message = f"{count} hosts are more than the {limit.max_hosts} allowed"
        yield asker.reason("max-hosts", message, said_limit(limit.max_hosts))
    if limit.max_percent is not None and count > (most := share_of(limit.max_percent, total)):
        message = f"{count} of {total} hosts are more than the {limit.max_percent.normalize():f}% allowed"
        yield asker.reason("max-percent", message, said_limit(most))


def said_limit(most: int) -> str:
    """Say how a plan is narrowed to so many hosts."""
    return f"with --limit to at most {most} host{'' if most == 1 else 's'}"
