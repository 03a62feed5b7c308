"""What follows from where the promises of a service stand: who is told, what may be started, what to make larger?

- A page, or a budget that is critical or gone, starts the whole escalation chain. A ticket, or a budget that is to be
  warned of, tells people, and triggers nothing.
- A remediation is due where one of its causes holds for one of its targets. A cause such as `warn` holds from that
  level on. Its limits (`most`, `within`) need to know what was started before: whoever starts it looks.
- A scaling hint is advice from its level on.
- Without data nothing follows: that is for the gate, and for the alerts of a lost metric.

Pure, and always in the order of the policy. Nothing here tells anybody or starts anything.

Not here: where the promises stand (`slo`), whether a change may go out (`_gate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from opsascode.repo import AlertLevel, BudgetLevel, Notify, RemediationCause

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta

    from opsascode.errors import Position
    from opsascode.proof import Json
    from opsascode.repo import ReliabilityPolicy, Remediation, ScalingHint, TriggerStep
    from opsascode.slo import ServiceStatus, TargetStatus

_ORDER: Final = (BudgetLevel.OK, BudgetLevel.WARN, BudgetLevel.CRITICAL, BudgetLevel.EXHAUSTED)
_LEVELS: Final = {
    RemediationCause.WARN: BudgetLevel.WARN,
    RemediationCause.CRITICAL: BudgetLevel.CRITICAL,
    RemediationCause.EXHAUSTED: BudgetLevel.EXHAUSTED,
}
_BURNS: Final = {RemediationCause.PAGE: AlertLevel.PAGE, RemediationCause.TICKET: AlertLevel.TICKET}
_URGENT: Final = frozenset({RemediationCause.PAGE, RemediationCause.CRITICAL, RemediationCause.EXHAUSTED})
_WORDS: Final = {
    RemediationCause.PAGE: "burns fast enough for a page",
    RemediationCause.TICKET: "burns fast enough for a ticket",
    RemediationCause.WARN: "is to be warned of",
    RemediationCause.CRITICAL: "is critical",
    RemediationCause.EXHAUSTED: "has no budget left",
}


class DueKind(Enum):
    """What is to be done."""

    NOTIFY = "notify"
    TRIGGER = "trigger"
    REMEDIATE = "remediate"
    SCALE = "scale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why: what holds for which promise."""

    target: str
    cause: RemediationCause

    def __str__(self) -> str:
        return f"{self.target} {_WORDS[self.cause]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One thing that follows; `what` is who is told, which runbook is started, or which resource is short.

    `runbook` is None where a chain triggers whatever `remediation` of the policy says. `after` counts from when the
    cause began, and from nothing where it is None.
    """

    kind: DueKind
    what: str
    causes: tuple[Cause, ...]
    after: timedelta | None = None
    runbook: str | None = None
    remediation: Remediation | None = None
    scaling: ScalingHint | None = None
    position: Position | None = None

    def sentence(self) -> str:
        """Say it in a sentence."""
        why = "; ".join(map(str, self.causes))
        when = f" after {int(self.after.total_seconds())} s" if self.after else ""
        return f"{_PHRASES[self.kind].format(what=self.what, mode=self._mode)}{when}, as {why}"

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON."""
        return {
            "kind": self.kind.value,
            "what": self.what,
            "runbook": self.runbook,
            "mode": self.remediation.mode.value if self.remediation else None,
            "after": None if self.after is None else int(self.after.total_seconds()),
            "percent": f"{self.scaling.percent:f}" if self.scaling else None,
            "causes": [{"target": each.target, "cause": each.cause.value} for each in self.causes],
        }

    @property
    def _mode(self) -> str:
        if self.scaling is not None:
            return f"{self.scaling.percent:f}%"
        return self.remediation.mode.value if self.remediation else ""


_PHRASES: Final = {
    DueKind.NOTIFY: "tell {what}",
    DueKind.TRIGGER: "start {what}",
    DueKind.REMEDIATE: "start {what} ({mode})",
    DueKind.SCALE: "make {what} larger by {mode} (advice)",
}


def due(policy: ReliabilityPolicy, status: ServiceStatus) -> tuple[Due, ...]:
    """Give what follows: the escalation chain, then remediations, then scaling hints."""
    causes = {each.id: tuple(_causes(each)) for each in status.targets}
    return (*_chain(policy, causes), *_remediations(policy, causes), *_scaling(policy, status))


def _causes(target: TargetStatus) -> Iterator[Cause]:
    for cause, alert in _BURNS.items():
        if target.firing(alert):
            yield Cause(target=target.id, cause=cause)
    for cause, level in _LEVELS.items():
        if _reached(target.level, level):
            yield Cause(target=target.id, cause=cause)


def _reached(level: BudgetLevel, least: BudgetLevel) -> bool:
    if BudgetLevel.NO_DATA in {level, least}:
        return False
    return _ORDER.index(level) >= _ORDER.index(least)


def _chain(policy: ReliabilityPolicy, causes: Mapping[str, tuple[Cause, ...]]) -> Iterator[Due]:
    every = _worst(cause for each in causes.values() for cause in each)
    urgent = tuple(each for each in every if each.cause in _URGENT)
    for step in policy.escalation_chain:
        if isinstance(step, Notify):
            if every:
                yield Due(kind=DueKind.NOTIFY, what=step.whom, causes=every, after=step.after, position=step.position)
        elif urgent:
            yield _triggered(step, urgent)


def _triggered(step: TriggerStep, causes: tuple[Cause, ...]) -> Due:
    return Due(
        kind=DueKind.TRIGGER,
        what="remediation" if step.runbook is None else step.runbook,
        causes=causes,
        after=step.after,
        runbook=step.runbook,
        position=step.position,
    )


def _remediations(policy: ReliabilityPolicy, causes: Mapping[str, tuple[Cause, ...]]) -> Iterator[Due]:
    for each in policy.remediation:
        found = tuple(
            cause
            for target, about in causes.items()
            for cause in about
            if cause.cause in each.causes and (not each.targets or target in each.targets)
        )
        if found:
            yield Due(
                kind=DueKind.REMEDIATE,
                what=each.runbook,
                causes=found,
                runbook=each.runbook,
                remediation=each,
                position=each.position,
            )


def _scaling(policy: ReliabilityPolicy, status: ServiceStatus) -> Iterator[Due]:
    cause_of = {level: cause for cause, level in _LEVELS.items()}
    for hint in policy.scaling:
        cause = cause_of.get(hint.at)
        found = [each.id for each in status.targets if cause is not None and _reached(each.level, hint.at)]
        if cause is not None and found:
            yield Due(
                kind=DueKind.SCALE,
                what=hint.resource,
                causes=tuple(Cause(target=each, cause=cause) for each in found),
                scaling=hint,
                position=hint.position,
            )


def _worst(causes: Iterator[Cause]) -> tuple[Cause, ...]:
    """Of the levels of one promise, keep the worst: a budget that is gone is critical, too."""
    found = list(causes)
    worst = {each.target: each for each in found if each.cause in _LEVELS}
    return tuple(each for each in found if each.cause not in _LEVELS or worst[each.target] is each)
