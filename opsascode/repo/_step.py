"""What is one step of a runbook?

A step has an id, options, and one action: a task in Ansible's own syntax, one of five checks, an Ansible playbook or
role, another runbook, a notice, or a question to people: their approval, or work of their hands. Task bodies stay plain
values, as only Ansible gives them meaning.

Not here: reading them from a file (`_documents`), what they compile to (`run`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from opsascode.errors import Position
    from opsascode.repo._source import Value


class StepKind(Enum):
    """The kinds of steps, by the key that says them."""

    TASK = "task"
    CHECK = "check"
    PLAYBOOK = "playbook"
    ROLE = "role"
    RUNBOOK = "runbook"
    NOTIFY = "notify"
    APPROVAL = "approval"
    MANUAL = "manual"


class CheckKind(Enum):
    """The kinds of checks, by the key that says them."""

    HTTP = "http"
    TCP = "tcp"
    COMMAND = "command"
    PROMETHEUS = "prometheus"
    THAT = "that"


class Vantage(Enum):
    """Where a check looks from: the target host itself, or the machine that runs Ansible."""

    HOST = "host"
    CONTROLLER = "controller"


class Comparison(Enum):
    """How a measured number is compared with the expected one."""

    MORE = ">"
    AT_LEAST = ">="
    LESS = "<"
    AT_MOST = "<="
    EQUAL = "=="
    UNEQUAL = "!="


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStep:
    """One Ansible task: module, its arguments (mapping, free form or none), and task keywords."""

    kind: ClassVar[StepKind] = StepKind.TASK
    module: str
    arguments: Value
    keywords: Mapping[str, Value]

    @property
    def body(self) -> dict[str, Value]:
        """The task as it was written."""
        return {self.module: self.arguments, **self.keywords}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck:
    """An HTTP request whose answer must have one of `status` and contain a text."""

    kind: ClassVar[StepKind] = StepKind.CHECK
    check: ClassVar[CheckKind] = CheckKind.HTTP
    url: str
    method: str = "GET"
    headers: Mapping[str, str]
    status: tuple[int, ...] = (200,)
    contains: str | None = None
    validate_certs: bool = True
    vantage: Vantage = Vantage.HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck:
    """A TCP port that must accept a connection; host and port as written, templates included."""

    kind: ClassVar[StepKind] = StepKind.CHECK
    check: ClassVar[CheckKind] = CheckKind.TCP
    host: str
    port: str
    vantage: Vantage = Vantage.HOST


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandCheck:
    """A command on the host whose return code, and output where asked, must be as expected.

    `command` is one text (split as a shell would, but run without one) or the arguments one by one.
    """

    kind: ClassVar[StepKind] = StepKind.CHECK
    check: ClassVar[CheckKind] = CheckKind.COMMAND
    command: str | tuple[str, ...]
    rc: tuple[int, ...] = (0,)
    contains: str | None = None
    matches: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusCheck:
    """A PromQL query whose value must compare with a threshold (a number or a template giving one)."""

    kind: ClassVar[StepKind] = StepKind.CHECK
    check: ClassVar[CheckKind] = CheckKind.PROMETHEUS
    query: str
    comparison: Comparison
    threshold: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionCheck:
    """Jinja expressions that must all hold."""

    kind: ClassVar[StepKind] = StepKind.CHECK
    check: ClassVar[CheckKind] = CheckKind.THAT
    conditions: tuple[str, ...]
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybookStep:
    """An Ansible playbook of the repository; the path is relative to its root."""

    kind: ClassVar[StepKind] = StepKind.PLAYBOOK
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleStep:
    """An Ansible role: of the repository, or of a collection by its full name."""

    kind: ClassVar[StepKind] = StepKind.ROLE
    name: str
    tasks_from: str | None = None
    variables: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookStep:
    """Another runbook, with values for its parameters."""

    kind: ClassVar[StepKind] = StepKind.RUNBOOK
    name: str
    parameters: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifyStep:
    """A line for the people watching and for the record."""

    kind: ClassVar[StepKind] = StepKind.NOTIFY
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalStep:
    """People who must agree before the run goes on: how many, in which role, and how long their word holds."""

    kind: ClassVar[StepKind] = StepKind.APPROVAL
    required: int
    role: str | None = None
    lifetime: timedelta
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualStep:
    """Work that a person does and confirms, with a note where one is required."""

    kind: ClassVar[StepKind] = StepKind.MANUAL
    instructions: str
    note_required: bool = False


Check = HttpCheck | TcpCheck | CommandCheck | PrometheusCheck | ConditionCheck
Question = ApprovalStep | ManualStep
Action = TaskStep | Check | PlaybookStep | RoleStep | RunbookStep | NotifyStep | Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often an action is tried in total, and how long to wait in between."""

    attempts: int
    delay: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Become:
    """Privilege escalation; `None` leaves each to Ansible's own configuration and the inventory."""

    enabled: bool | None = None
    user: str | None = None
    method: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """How to take a completed step back, and how to see that this worked."""

    title: str
    action: TaskStep | RoleStep
    check: Check | None = None
    timeout: timedelta | None = None
    retry: Retry | None = None
    when: tuple[str, ...] = ()
    become: Become
    delegate_to: str | None = None
    environment: Mapping[str, str]
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a runbook: what it does, and how it is done.

    `loop` is a list, or a template that gives one. A step that is not `resumable` is never begun again by a run that
    continues another.
    """

    id: str
    title: str
    action: Action
    loop: str | tuple[Value, ...] | None = None
    timeout: timedelta | None = None
    retry: Retry | None = None
    when: tuple[str, ...] = ()
    register: str | None = None
    outputs: Mapping[str, str]
    become: Become
    delegate_to: str | None = None
    run_once: bool = False
    environment: Mapping[str, str]
    resumable: bool = True
    undo: Undo | None = None
    position: Position

    @property
    def kind(self) -> StepKind:
        """The kind of its action."""
        return self.action.kind
