"""What is declared? The door of the repository house: documents with positions, their checks, and the inventory.

Rooms are loaded when one of their names is first asked for, as some of them know heavy libraries.

Not here: whether anything may be done (`policy`) or how it is done (`run`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsascode.repo._check import CheckReport, check_repository
    from opsascode.repo._documents import (
        Guardrail,
        Kind,
        Metadata,
        OnFailure,
        Requirements,
        Runbook,
        Scope,
        Settings,
        Source,
        Targets,
        Wave,
    )
    from opsascode.repo._git import GitState, git_state
    from opsascode.repo._inventory import DOCUMENT_NAME, Inventory, inventory_environment, resolve_inventory
    from opsascode.repo._parameter import CheckedValue, Limits, Parameter, ParameterType
    from opsascode.repo._problem import InvalidDocumentsError, Problem, Severity
    from opsascode.repo._repository import Repository, open_repository
    from opsascode.repo._source import SourceDocument, SourceFile, Value, load_mapping, load_source
    from opsascode.repo._step import (
        Action,
        Become,
        Check,
        CheckKind,
        CommandCheck,
        Comparison,
        ConditionCheck,
        HttpCheck,
        NotifyStep,
        PlaybookStep,
        PrometheusCheck,
        Retry,
        RoleStep,
        RunbookStep,
        Step,
        StepKind,
        TaskStep,
        TcpCheck,
        Undo,
        Vantage,
    )

_ROOMS = {
    "_check": ("CheckReport", "check_repository"),
    "_documents": (
        "Guardrail", "Kind", "Metadata", "OnFailure", "Requirements", "Runbook", "Scope", "Settings", "Source",
        "Targets", "Wave",
    ),
    "_git": ("GitState", "git_state"),
    "_inventory": ("DOCUMENT_NAME", "Inventory", "inventory_environment", "resolve_inventory"),
    "_parameter": ("CheckedValue", "Limits", "Parameter", "ParameterType"),
    "_problem": ("InvalidDocumentsError", "Problem", "Severity"),
    "_repository": ("Repository", "open_repository"),
    "_source": ("SourceDocument", "SourceFile", "Value", "load_mapping", "load_source"),
    "_step": (
        "Action", "Become", "Check", "CheckKind", "CommandCheck", "Comparison", "ConditionCheck", "HttpCheck",
        "NotifyStep", "PlaybookStep", "PrometheusCheck", "Retry", "RoleStep", "RunbookStep", "Step", "StepKind",
        "TaskStep", "TcpCheck", "Undo", "Vantage",
    ),
}  # fmt: skip
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "DOCUMENT_NAME",
    "Action",
    "Become",
    "Check",
    "CheckKind",
    "CheckReport",
    "CheckedValue",
    "CommandCheck",
    "Comparison",
    "ConditionCheck",
    "GitState",
    "Guardrail",
    "HttpCheck",
    "InvalidDocumentsError",
    "Inventory",
    "Kind",
    "Limits",
    "Metadata",
    "NotifyStep",
    "OnFailure",
    "Parameter",
    "ParameterType",
    "PlaybookStep",
    "Problem",
    "PrometheusCheck",
    "Repository",
    "Requirements",
    "Retry",
    "RoleStep",
    "Runbook",
    "RunbookStep",
    "Scope",
    "Settings",
    "Severity",
    "Source",
    "SourceDocument",
    "SourceFile",
    "Step",
    "StepKind",
    "Targets",
    "TaskStep",
    "TcpCheck",
    "Undo",
    "Value",
    "Vantage",
    "Wave",
    "check_repository",
    "git_state",
    "inventory_environment",
    "load_mapping",
    "load_source",
    "open_repository",
    "resolve_inventory",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: any of the names above
    """Load the room a name lives in when the name is first asked for (PEP 562)."""
    room = _ROOM_OF.get(name)
    if room is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{room}"), name)
    globals()[name] = value
    return value
