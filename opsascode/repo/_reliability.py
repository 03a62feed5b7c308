"""What does a reliability policy promise, and what follows where the promise is in danger?

A short objective such as `availability: 99.95%` or `latency_p95_ms: 150` is given in its long form here: the second
means that 95 % of requests take at most 150 ms, so its target is 95 %.

Not here: measuring anything (`slo`), deciding by it (`policy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from decimal import Decimal

    from opsascode.errors import Position
    from opsascode.repo._documents import Metadata, Source
    from opsascode.repo._guardrails import BudgetLevel
    from opsascode.repo._source import Value


class CalendarUnit(Enum):
    """A calendar period over which a budget runs."""

    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolling:
    """A window that ends now."""

    length: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarPeriod:
    """A window that begins with a calendar unit in a time zone, and budgets for the whole of it."""

    unit: CalendarUnit
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Counters of events, in PromQL: all of them, and the good ones or the bad ones."""

    good: str | None = None
    bad: str | None = None
    total: str


class HistogramUnit(Enum):
    """In what a histogram counts durations."""

    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """A histogram of durations; those of at most `threshold` are good. `native` has no buckets by `le`.

    `threshold` is in the unit of the metric itself, as its buckets are.
    """

    metric: str
    selector: Mapping[str, str]
    threshold: Decimal
    native: bool = False
    unit: HistogramUnit = HistogramUnit.SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A ratio between 0 and 1 that somebody else computes; of failures, or of successes."""

    query: str
    of_failures: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSlices:
    """Count slices of this length, not events; a slice is good where its own share of good events reaches `target`."""

    length: timedelta
    target: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One promise: `target` is the share of good events, exactly, between 0 and 1 without both.

    `slices` is None where events are counted. Below `min_events` in a window, it has no data. `indicator_name` is what
    the policy calls its indicator.
    """

    id: str
    title: str
    target: Decimal
    indicator: Events | Histogram | Raw
    indicator_name: str = ""
    slices: TimeSlices | None = None
    min_events: int = 0
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Shares of the budget, exactly (0.5 for 50 %): consumed that much, it is to be warned of, or critical."""

    warn: Decimal
    critical: Decimal


class AlertLevel(Enum):
    """Whom a burn alert wakes."""

    PAGE = "page"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertWindow:
    """One pair of windows: burning `budget` (exactly, 0.02 for 2 %) within `long` is an alert; `short` ends it soon."""

    level: AlertLevel
    long: timedelta
    short: timedelta
    budget: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """A step of an escalation chain: tell somebody, such as team:sre or sre@workspace."""

    whom: str
    after: timedelta | None = None
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerStep:
    """A step of an escalation chain: start a runbook, or (None) what `remediation` says."""

    runbook: str | None
    after: timedelta | None = None
    position: Position


class Fallback(Enum):
    """What a gate says where it cannot know: fail closed, warn, or fail open."""

    BLOCK = "block"
    WARN = "warn"
    PASS = "pass"  # noqa: S105 - no password, but the word of a gate


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideNeeded:
    """Who may overrule a gate that blocks: how many people of which role, for how long at most."""

    required: int
    role: str | None
    lifetime: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One measure after a deployment; `passes` and `warns` are criteria such as `<600` or `<=+10%`, all of which hold.

    A relative one compares with the mean of earlier passing runs. A `key` criterion that fails, fails the whole.
    """

    name: str
    query: str
    passes: tuple[str, ...]
    warns: tuple[str, ...] = ()
    weight: int = 1
    key: bool = False
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How a deployment is scored afterwards: shares of the best possible score, exactly (0.9 for 90 %)."""

    window: timedelta
    passes: Decimal
    warns: Decimal
    compare_with: int
    criteria: tuple[Criterion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """When a change may go out.

    `warn_at` and `block_at` are levels of the budget (None: never). `block_on_page` blocks while a page burns,
    `incident_rank` while an incident of that rank or worse is open (None: never), `freeze` in windows of calendars.
    `unknown` decides where there were no data for longer than `grace`, or Prometheus cannot be asked.
    """

    warn_at: BudgetLevel | None
    block_at: BudgetLevel | None
    exempt: tuple[str, ...]
    block_on_page: bool
    incident_rank: int | None
    freeze: tuple[str, ...]
    grace: timedelta
    unknown: Fallback
    override: OverrideNeeded | None
    scoring: Scoring | None = None
    position: Position


class RemediationMode(Enum):
    """How a runbook is started: by itself, after an approval, or by hand."""

    AUTO = "auto"
    APPROVE = "approve"
    MANUAL = "manual"


class RemediationCause(Enum):
    """What a remediation waits for."""

    PAGE = "page"
    TICKET = "ticket"
    WARN = "warn"
    CRITICAL = "critical"
    EXHAUSTED = "exhausted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remediation:
    """A runbook that may help; not more often than `most` times `within` a span."""

    name: str
    causes: tuple[RemediationCause, ...]
    targets: tuple[str, ...]
    runbook: str
    parameters: Mapping[str, Value]
    mode: RemediationMode
    most: int
    within: timedelta
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingHint:
    """What to make larger, by how much in percent, once the budget is at this level: advice, never an action."""

    at: BudgetLevel
    resource: str
    percent: Decimal
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityPolicy:
    """What is promised for one service, when people are told, and what may be done."""

    metadata: Metadata
    service: str
    window: Rolling | CalendarPeriod
    targets: tuple[Target, ...]
    thresholds: Thresholds
    alerting: tuple[AlertWindow, ...]
    escalation_chain: tuple[Notify | TriggerStep, ...]
    gate: GateRules
    remediation: tuple[Remediation, ...] = ()
    scaling: tuple[ScalingHint, ...] = ()
    source: Source
    position: Position

    def target(self, name: str) -> Target | None:
        """Find a promise by its id."""
        return next((each for each in self.targets if each.id == name), None)
