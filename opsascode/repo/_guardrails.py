"""What does a guardrail say: which runs it is about, what it asks of them, and by which rules?

Not here: judging a run by it (`policy`), conditions in CEL (`_conditions`), calendars (`_calendar`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from opsascode.errors import Position
    from opsascode.repo._conditions import Condition
    from opsascode.repo._documents import Metadata, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a guardrail applies to: each part narrows it, an empty part does not."""

    runbooks: tuple[str, ...] = ()
    labels: Mapping[str, str]
    groups: tuple[str, ...] = ()


class Combine(Enum):
    """Which of several matching rules decides."""

    DENY_OVERRIDES = "deny-overrides"
    FIRST_MATCH = "first-match"


class Effect(Enum):
    """What a matching rule does; `require` lets the run pass where its requirements are met."""

    ALLOW = "allow"
    DENY = "deny"
    REQUIRE = "require"


class BudgetLevel(Enum):
    """How much of an error budget is gone, from nothing to report on; in the order of the policy's thresholds."""

    OK = "ok"
    WARN = "warn"
    CRITICAL = "critical"
    EXHAUSTED = "exhausted"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalsAsked:
    """How many people of which role must have approved the start."""

    required: int
    role: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What is asked of a run; `None`, false or empty asks for nothing.

    `check_only` allows predictions only. `approvals` are asked at the start, in addition to the runbook's own.
    """

    clean_tree: bool = False
    max_hosts: int | None = None
    max_percent: Decimal | None = None
    triggers: tuple[str, ...] = ()
    check_only: bool = False
    approvals: ApprovalsAsked | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who starts the run: by what, or with which role in the trust root; an empty part does not narrow."""

    triggers: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class What:
    """What is run: runbooks and modules by patterns with * and ?, labels, tags."""

    runbooks: tuple[str, ...] = ()
    labels: Mapping[str, str]
    tags: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Where it is run: inventory groups, environments (the inventory's name), and more hosts than this."""

    groups: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    hosts_over: int | None = None
    percent_over: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetCondition:
    """The budget of a service is at one of these levels."""

    service: str
    levels: tuple[BudgetLevel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """When it is run: within or outside windows of calendars, and by the state of an error budget."""

    during: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    budget: BudgetCondition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: it matches where all of its parts do, and its condition holds."""

    name: str
    who: Who
    what: What
    where: Where
    when: When
    condition: Condition | None = None
    effect: Effect
    require: Requirements
    reason: str
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """A condition that runs must meet before they start.

    `require` holds for every run in its scope; `rules` are combined as `combine` says, and `default` decides where none
    matches.
    """

    metadata: Metadata
    applies_to: Scope
    require: Requirements
    combine: Combine = Combine.DENY_OVERRIDES
    default: Effect = Effect.ALLOW
    rules: tuple[Rule, ...] = ()
    reason: str
    source: Source
    position: Position
