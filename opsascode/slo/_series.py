"""What is a rule, and what are the series of a promise called?

Every series and alert of a promise carries the same four labels; `opsascode_id` alone finds it.

Not here: which rules there are (`_rules`, `_alerts`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from opsascode.repo import Rolling
from opsascode.slo._burn import burn_windows
from opsascode.slo._promql import labels, span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.repo import ReliabilityPolicy, Target

RATIO: Final = "slo:sli_error:ratio_rate"
SAMPLE_RECORD: Final = "slo:sample_bad:ratio"
CONSUMED: Final = "slo:budget_consumed:ratio"
REMAINING: Final = "slo:budget_remaining:ratio"
BURN: Final = "slo:current_burn_rate:ratio"
PERIOD: Final = "opsascode_period"
WINDOW_LABEL: Final = "opsascode_window"

_SECOND: Final = timedelta(seconds=1)
_STEP: Final = timedelta(minutes=1)
_QUICKEST: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromRule:
    """One rule: it records a series, or it is an alert that waits, and that goes on a while after it has cleared."""

    expr: str
    record: str | None = None
    alert: str | None = None
    labels: Mapping[str, str]
    annotations: Mapping[str, str] = field(default_factory=dict)
    wait: timedelta | None = None
    keep: timedelta | None = None

    @property
    def name(self) -> str:
        """The recorded series, or the alert."""
        return self.record or self.alert or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleGroup:
    """Rules that are evaluated one after the other, this far apart."""

    name: str
    interval: timedelta
    rules: tuple[PromRule, ...]


def identity(policy: ReliabilityPolicy, target: Target) -> dict[str, str]:
    """Give the labels of every series and alert of a promise."""
    return {
        "opsascode_id": f"{policy.metadata.name}/{target.id}",
        "opsascode_policy": policy.metadata.name,
        "opsascode_service": policy.service,
        "opsascode_slo": target.id,
    }


def chosen(policy: ReliabilityPolicy, target: Target) -> str:
    """Give the matcher that finds the series of a promise."""
    return labels({"opsascode_id": f"{policy.metadata.name}/{target.id}"})


def quickest(policy: ReliabilityPolicy) -> timedelta:
    """Give the shortest window of a policy: over it events are counted for the budget."""
    return min((each.short for each in burn_windows(policy)), default=_QUICKEST)


def step_of(policy: ReliabilityPolicy, target: Target) -> timedelta:
    """Give how far apart the rules of a promise are evaluated: once a slice, else five times in the shortest window."""
    if target.slices is not None:
        return target.slices.length
    return max(min(_STEP, quickest(policy) / 5), _SECOND)


def period_window(policy: ReliabilityPolicy) -> str:
    """Give the name of the budget window in recorded series: `30d`, `month`."""
    return span(policy.window.length) if isinstance(policy.window, Rolling) else policy.window.unit.value


def event_records(policy: ReliabilityPolicy) -> tuple[str, str]:
    """Give the names under which bad and all events a second are recorded."""
    window = span(quickest(policy))
    return f"slo:events_bad:rate{window}", f"slo:events_total:rate{window}"
