"""How does a valid document become its type?

Only documents without problems come here, so the values have the shapes the schema promises; a wrong shape would be a
defect of this house and fails loudly (`KeyError`, `TypeError`) instead of building half a document.

Not here: judging anything.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from opsascode.repo._documents import (
    DEFAULT_LIFETIME,
    HOST_LOCK,
    ApprovalNeeded,
    BetweenWaves,
    Enforce,
    Metadata,
    OnFailure,
    PolicyPack,
    Runbook,
    Source,
    Targets,
    UndoScope,
    Wave,
    optional_duration,
    optional_percent,
)
from opsascode.repo._names import TASK_KEYWORDS
from opsascode.repo._parameter import Limits, Parameter, ParameterType
from opsascode.repo._step import (
    Action,
    ApprovalStep,
    Become,
    Check,
    CommandCheck,
    Comparison,
    ConditionCheck,
    HttpCheck,
    ManualStep,
    NotifyStep,
    PlaybookStep,
    PrometheusCheck,
    Retry,
    RoleStep,
    RunbookStep,
    Step,
    TaskStep,
    TcpCheck,
    Undo,
    Vantage,
)

if TYPE_CHECKING:
    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument

Written = dict[str, Any]  # a mapping the schema has accepted

EXPECTATION = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(\S.*?)\s*\Z", re.DOTALL)
_DEFAULT_DELAY = timedelta(seconds=1)


def build_runbook(document: SourceDocument, source: Source) -> Runbook:
    """Build a runbook from a document without problems."""
    written: Any = document.value
    spec: Written = written["spec"]
    steps = spec["steps"]
    return Runbook(
        metadata=build_metadata(document),
        severity=tuple(spec.get("severity", ())),
        prerequisites=tuple(spec.get("prerequisites", ())),
        estimated_duration=optional_duration(spec.get("estimated_duration")),
        parameters=tuple(
            build_parameter(name, schema, document, ("spec", "parameters", name))
            for name, schema in spec.get("parameters", {}).items()
        ),
        targets=_targets(document),
        timeout=optional_duration(spec.get("timeout")),
        locks=tuple(spec.get("lock", (HOST_LOCK,))),
        approval=_approval_needed(spec.get("approval", {})),
        on_failure=OnFailure(spec.get("on_failure", "stop")),
        undo_scope=UndoScope(spec.get("undo_scope", "wave")),
        steps=tuple(_step(step, document, ("spec", "steps", index)) for index, step in enumerate(steps)),
        source=source,
        position=document.position(),
    )


def build_pack(document: SourceDocument, source: Source) -> PolicyPack:
    """Build a policy pack from a document without problems."""
    written: Any = document.value
    spec: Written = written.get("spec", {})
    enforce: Written | None = spec.get("enforce")
    return PolicyPack(
        metadata=build_metadata(document),
        enforce=None
        if enforce is None
        else Enforce(
            runbook=enforce["runbook"], parameters=dict(enforce.get("parameters", {})), limit=enforce.get("limit")
        ),
        locks_on_rollback=spec.get("on_policy_rollback", "lock") == "lock",
        source=source,
        position=document.position(),
    )


def build_parameter(name: str, schema: Written, document: SourceDocument, where: DocumentPath) -> Parameter:
    """Build one declared parameter."""
    return Parameter(
        name=name,
        limits=build_limits(schema),
        description=schema.get("description", ""),
        required="default" not in schema,
        default=schema.get("default"),
        secret=schema.get("secret", False),
        position=document.key_position(where),
    )


def build_limits(schema: Written) -> Limits:
    """Build what values of a parameter, or of its items, must keep to."""
    return Limits(
        type=ParameterType(schema["type"]),
        pattern=schema.get("pattern"),
        min_length=schema.get("minLength"),
        max_length=schema.get("maxLength"),
        minimum=schema.get("minimum"),
        maximum=schema.get("maximum"),
        min_items=schema.get("minItems"),
        max_items=schema.get("maxItems"),
        choices=tuple(schema.get("enum", ())),
        items=build_limits(schema["items"]) if "items" in schema else None,
    )


def build_metadata(document: SourceDocument) -> Metadata:
    """Build who a document is."""
    written: Any = document.value
    metadata: Written = written["metadata"]
    return Metadata(
        name=metadata["name"],
        title=metadata.get("title") or metadata["name"],
        description=metadata.get("description", ""),
        owners=tuple(metadata.get("owners", ())),
        labels=dict(metadata.get("labels", {})),
        version=metadata.get("version"),
        position=document.position(("metadata", "name")),
    )


def _targets(document: SourceDocument) -> Targets:
    written: Any = document.value
    targets: Written = written["spec"]["targets"]
    return Targets(
        hosts=targets["hosts"],
        max_hosts=targets.get("max_hosts"),
        max_percent=optional_percent(targets.get("max_percent")),
        waves=tuple(Wave.of(size) for size in targets.get("waves", ("100%",))),
        max_fail_percent=optional_percent(targets.get("max_fail_percent")),
        between_waves=_between_waves(document),
        variables=tuple(targets.get("variables", ())),
        position=document.key_position(("spec", "targets")),
    )


def _between_waves(document: SourceDocument) -> BetweenWaves | None:
    where: DocumentPath = ("spec", "targets", "between_waves")
    between: Any = document.at(where)
    if between is None:
        return None
    confirm = between.get("confirm", False)
    return BetweenWaves(
        pause=optional_duration(between.get("pause")),
        checks=tuple(
            _step(check, document, (*where, "checks", index)) for index, check in enumerate(between.get("checks", ()))
        ),
        confirm=confirm if isinstance(confirm, str) else "Go on with the next wave?" if confirm else None,
    )


def _approval_needed(approval: Written) -> ApprovalNeeded:
    return ApprovalNeeded(
        required=approval.get("required", 0), role=approval.get("role"), lifetime=_lifetime(approval.get("expires"))
    )


def _lifetime(written: object) -> timedelta:
    return optional_duration(written) or DEFAULT_LIFETIME


def _step(step: Written, document: SourceDocument, where: DocumentPath) -> Step:
    undo = step.get("undo")
    title = step.get("title") or step["id"]
    return Step(
        id=step["id"],
        title=title,
        action=_action(step),
        loop=_loop(step.get("loop")),
        timeout=optional_duration(step.get("timeout")),
        retry=_retry(step.get("retry")),
        when=_texts(step.get("when")),
        register=step.get("register"),
        outputs=dict(step.get("outputs", {})),
        become=_become(step),
        delegate_to=step.get("delegate_to"),
        run_once=step.get("run_once", False),
        environment=dict(step.get("environment", {})),
        resumable=step.get("resume") != "never",
        undo=None if undo is None else _undo(undo, title, document, (*where, "undo")),
        position=document.position(where),
    )


def _undo(undo: Written, title: str, document: SourceDocument, where: DocumentPath) -> Undo:
    return Undo(
        title=undo.get("title") or f"Undo: {title}",
        action=_task(undo["task"]) if "task" in undo else _role(undo["role"]),
        check=_check(undo["check"]) if "check" in undo else None,
        timeout=optional_duration(undo.get("timeout")),
        retry=_retry(undo.get("retry")),
        when=_texts(undo.get("when")),
        become=_become(undo),
        delegate_to=undo.get("delegate_to"),
        environment=dict(undo.get("environment", {})),
        position=document.position(where),
    )


def _action(step: Written) -> Action:  # noqa: PLR0911 - one return for each kind of step
    if "task" in step:
        return _task(step["task"])
    if "check" in step:
        return _check(step["check"])
    if "playbook" in step:
        return PlaybookStep(path=step["playbook"])
    if "role" in step:
        return _role(step["role"])
    if "runbook" in step:
        return RunbookStep(name=step["runbook"], parameters=dict(step.get("with", {})))
    if "approval" in step or "manual" in step:
        return _question(step)
    return NotifyStep(message=step["notify"]["message"])


def _question(step: Written) -> ApprovalStep | ManualStep:
    if "manual" in step:
        manual = step["manual"]
        return ManualStep(instructions=manual["instructions"], note_required=manual.get("note") == "required")
    approval = step["approval"]
    return ApprovalStep(
        required=approval.get("required", 1),
        role=approval.get("role"),
        lifetime=_lifetime(approval.get("expires")),
        message=approval.get("message", ""),
    )


def _loop(loop: str | list[Any] | None) -> str | tuple[Any, ...] | None:
    return tuple(loop) if isinstance(loop, list) else loop


def _task(task: Written) -> TaskStep:
    module = next(key for key in task if key not in TASK_KEYWORDS)
    keywords = {key: value for key, value in task.items() if key != module}
    return TaskStep(module=module, arguments=task[module], keywords=keywords)


def _role(role: str | Written) -> RoleStep:
    if isinstance(role, str):
        return RoleStep(name=role, variables={})
    return RoleStep(name=role["name"], tasks_from=role.get("tasks_from"), variables=dict(role.get("vars", {})))


def _check(check: Written) -> Check:
    expect = check.get("expect", {})
    vantage = Vantage(check.get("from", "host"))
    if "http" in check:
        return HttpCheck(
            url=check["http"],
            method=check.get("method", "GET"),
            headers=dict(check.get("headers", {})),
            status=_integers(expect.get("status", 200)),
            contains=expect.get("contains"),
            validate_certs=check.get("validate_certs", True),
            vantage=vantage,
        )
    if "tcp" in check:
        host, _, port = check["tcp"].rpartition(":")
        return TcpCheck(host=host.strip("[]"), port=port, vantage=vantage)
    if "command" in check:
        command = check["command"]
        return CommandCheck(
            command=command if isinstance(command, str) else tuple(command),
            rc=_integers(expect.get("rc", 0)),
            contains=expect.get("contains"),
            matches=expect.get("matches"),
        )
    if "prometheus" in check:
        match = EXPECTATION.match(expect)
        if match is None:
            msg = f"{expect!r} is no comparison"
            raise ValueError(msg)
        return PrometheusCheck(query=check["prometheus"], comparison=Comparison(match[1]), threshold=match[2])
    return ConditionCheck(conditions=_texts(check["that"]), message=check.get("message"))


def _retry(retry: Written | None) -> Retry | None:
    if retry is None:
        return None
    delay = optional_duration(retry.get("delay"))
    return Retry(attempts=retry["attempts"], delay=_DEFAULT_DELAY if delay is None else delay)


def _become(step: Written) -> Become:
    return Become(enabled=step.get("become"), user=step.get("become_user"), method=step.get("become_method"))


def _texts(value: str | list[str] | None) -> tuple[str, ...]:
    """Read what may be written as one text or a list of them."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _integers(value: int | list[int]) -> tuple[int, ...]:
    """Read what may be written as one number or a list of them."""
    return (value,) if isinstance(value, int) else tuple(value)
