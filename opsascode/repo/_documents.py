"""What do the documents of an ops repository say, as types?

Runbook, Guardrail and Settings (kind `Repository`), frozen, each with the position it stands at and the digest of the
bytes it was read from. The builders here take documents that the schema and the rules have already accepted: they
translate, they do not judge.

Not here: validity (`_schema`, `_rules`), steps and parameters as such (`_step`, `_parameter`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

from opsascode.repo._quantities import parse_duration, parse_percent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from opsascode.errors import Position
    from opsascode.repo._parameter import Parameter
    from opsascode.repo._source import Value
    from opsascode.repo._step import Step

API_VERSION = "opsascode/v1"
HOST_LOCK: Final = "{{ host }}"
DEFAULT_LIFETIME: Final = timedelta(hours=1)
PROMETHEUS_TIMEOUT: Final = timedelta(seconds=10)


class Kind(Enum):
    """The kinds of documents this release reads."""

    RUNBOOK = "Runbook"
    GUARDRAIL = "Guardrail"
    RELIABILITY_POLICY = "ReliabilityPolicy"
    CALENDAR = "Calendar"
    SEVERITY_SCHEME = "SeverityScheme"
    REPOSITORY = "Repository"
    POLICY_PACK = "PolicyPack"


class OnFailure(Enum):
    """What happens to a run after a step failed on a host."""

    UNDO = "undo"
    STOP = "stop"
    CONTINUE = "continue"


class UndoScope(Enum):
    """On which hosts an undo takes back what was completed."""

    FAILED_HOSTS = "failed-hosts"
    WAVE = "wave"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The file a document was read from (relative to the repository root), and the digest of its bytes."""

    path: str
    digest: str

    @classmethod
    def of(cls, path: str, data: bytes) -> Source:
        """Name the bytes of a file."""
        return cls(path=path, digest=f"sha256:{hashlib.sha256(data).hexdigest()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Who a document is."""

    name: str
    title: str
    description: str = ""
    owners: tuple[str, ...] = ()
    labels: Mapping[str, str]
    version: str | None = None
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """The size of one wave: a number of hosts, or a share of them in percent."""

    count: int | None = None
    percent: Decimal | None = None

    @classmethod
    def of(cls, value: int | str) -> Wave:
        """Read `1` or `'50%'`."""
        return cls(count=value) if isinstance(value, int) else cls(percent=parse_percent(value))

    def __str__(self) -> str:
        return str(self.count) if self.percent is None else f"{self.percent:f}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class BetweenWaves:
    """What happens after a wave and before the next: a pause, checks on all hosts so far, a person's word."""

    pause: timedelta | None = None
    checks: tuple[Step, ...] = ()
    confirm: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Which hosts, at most how many, in which waves, and what each must have in the inventory.

    More failed hosts than `max_fail_percent` of a wave end the wave.
    """

    hosts: str
    max_hosts: int | None = None
    max_percent: Decimal | None = None
    waves: tuple[Wave, ...]
    max_fail_percent: Decimal | None = None
    between_waves: BetweenWaves | None = None
    variables: tuple[str, ...] = ()
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalNeeded:
    """How many people must approve a run, in which role, and how long an approval holds."""

    required: int = 0
    role: str | None = None
    lifetime: timedelta = DEFAULT_LIFETIME


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """A runbook: typed parameters, targets and ordered steps.

    `timeout` is for a whole run. `locks` are names, with templates, that no two runs hold at once.
    """

    metadata: Metadata
    severity: tuple[int, ...] = ()
    prerequisites: tuple[str, ...] = ()
    estimated_duration: timedelta | None = None
    parameters: tuple[Parameter, ...] = ()
    targets: Targets
    timeout: timedelta | None = None
    locks: tuple[str, ...] = (HOST_LOCK,)
    approval: ApprovalNeeded
    on_failure: OnFailure = OnFailure.STOP
    undo_scope: UndoScope = UndoScope.WAVE
    steps: tuple[Step, ...]
    source: Source
    position: Position

    @property
    def name(self) -> str:
        """The name other documents and people call it by."""
        return self.metadata.name

    @property
    def approvals_required(self) -> int:
        """How many people must approve a run before it starts."""
        return self.approval.required

    def parameter(self, name: str) -> Parameter | None:
        """Find a declared parameter by its name."""
        return next((each for each in self.parameters if each.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforce:
    """The runbook that brings a policy pack to the systems that enforce it, what it is told, and on which hosts."""

    runbook: str
    parameters: Mapping[str, Value]
    limit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPack:
    """What the policies of this repository are called together, and what happens when they are applied."""

    metadata: Metadata
    enforce: Enforce | None = None
    locks_on_rollback: bool = True
    source: Source
    position: Position

    @property
    def version(self) -> str | None:
        """The version people call the pack by."""
        return self.metadata.version


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings:
    """The Prometheus that is asked, and how: `bearer` and `password` are where they stand, env:NAME or file:PATH.

    Paths are as written, relative to the root.
    """

    url: str
    timeout: timedelta = PROMETHEUS_TIMEOUT
    ca_file: str | None = None
    bearer: str | None = None
    username: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an ops repository is set up; paths are as written, relative to its root."""

    name: str = ""
    inventory: tuple[str, ...] = ()
    state: str | None = None
    locks: str | None = None
    machine_key: str | None = None
    environment_allow: tuple[str, ...] = ()
    prometheus: PrometheusSettings | None = None
    alertmanager_url: str | None = None
    approvals_remote: str | None = None
    ledger_remote: str | None = None
    ledger_require: bool = False
    roles_path: tuple[str, ...] = ()
    collections_path: tuple[str, ...] = ()
    source: Source | None = None
    position: Position | None = None

    @property
    def prometheus_url(self) -> str | None:
        """The URL of the Prometheus."""
        return None if self.prometheus is None else self.prometheus.url


def optional_percent(value: object) -> Decimal | None:
    """Read a percentage where one is written."""
    return parse_percent(value) if isinstance(value, int | float | str) else None


def optional_duration(value: object) -> timedelta | None:
    """Read a duration where one is written."""
    return parse_duration(value) if isinstance(value, str) else None
