"""What is declared? The door of the repository house: documents with positions, their checks, and the inventory.

Rooms are loaded when one of their names is first asked for, as some of them know heavy libraries.

Not here: whether anything may be done (`policy`) or how it is done (`run`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsascode.repo._ansible_settings import (
        ANSIBLE_SETTINGS,
        AnsibleSettings,
        read_ansible_settings,
        usable_ansible_settings,
    )
    from opsascode.repo._check import CheckReport, check_repository
    from opsascode.repo._documents import (
        HOST_LOCK,
        ApprovalNeeded,
        BetweenWaves,
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
        UndoScope,
        Wave,
    )
    from opsascode.repo._git import GitState, git_state
    from opsascode.repo._inventory import DOCUMENT_NAME, Inventory, inventory_environment, resolve_inventory
    from opsascode.repo._mailbox import ASKS_REF, Mailbox, Posted
    from opsascode.repo._parameter import CheckedValue, Limits, Parameter, ParameterType
    from opsascode.repo._people import People, Person
    from opsascode.repo._problem import InvalidDocumentsError, Problem, Severity, errors_among
    from opsascode.repo._quantities import parse_duration
    from opsascode.repo._repository import Repository, open_repository
    from opsascode.repo._requirements import CollectionsWanted, WantedCollection, read_requirements
    from opsascode.repo._sealed import Lookup, SealedFile, SealedKey, ask_ansible, is_sealed
    from opsascode.repo._source import SourceDocument, SourceFile, Value, load_mapping, load_source
    from opsascode.repo._step import (
        Action,
        ApprovalStep,
        Become,
        Check,
        CheckKind,
        CommandCheck,
        Comparison,
        ConditionCheck,
        HttpCheck,
        ManualStep,
        NotifyStep,
        PlaybookStep,
        PrometheusCheck,
        Question,
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
    from opsascode.repo._walk import PEOPLE_FILE

_ROOMS = {
    "_walk": ("PEOPLE_FILE",),
    "_ansible_settings": ("ANSIBLE_SETTINGS", "AnsibleSettings", "read_ansible_settings", "usable_ansible_settings"),
    "_check": ("CheckReport", "check_repository"),
    "_documents": (
        "ApprovalNeeded", "BetweenWaves", "Guardrail", "HOST_LOCK", "Kind", "Metadata", "OnFailure", "Requirements",
        "Runbook", "Scope", "Settings", "Source", "Targets", "UndoScope", "Wave",
    ),
    "_git": ("GitState", "git_state"),
    "_inventory": ("DOCUMENT_NAME", "Inventory", "inventory_environment", "resolve_inventory"),
    "_parameter": ("CheckedValue", "Limits", "Parameter", "ParameterType"),
    "_mailbox": ("ASKS_REF", "Mailbox", "Posted"),
    "_people": ("People", "Person"),
    "_problem": ("InvalidDocumentsError", "Problem", "Severity", "errors_among"),
    "_quantities": ("parse_duration",),
    "_repository": ("Repository", "open_repository"),
    "_requirements": ("CollectionsWanted", "WantedCollection", "read_requirements"),
    "_sealed": ("Lookup", "SealedFile", "SealedKey", "ask_ansible", "is_sealed"),
    "_source": ("SourceDocument", "SourceFile", "Value", "load_mapping", "load_source"),
    "_step": (
        "Action", "ApprovalStep", "Become", "Check", "CheckKind", "CommandCheck", "Comparison", "ConditionCheck",
        "HttpCheck", "ManualStep", "NotifyStep", "PlaybookStep", "PrometheusCheck", "Question", "Retry", "RoleStep",
        "RunbookStep", "Step", "StepKind", "TaskStep", "TcpCheck", "Undo", "Vantage",
    ),
}  # fmt: skip
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "ANSIBLE_SETTINGS",
    "ASKS_REF",
    "DOCUMENT_NAME",
    "HOST_LOCK",
    "PEOPLE_FILE",
    "Action",
    "AnsibleSettings",
    "ApprovalNeeded",
    "ApprovalStep",
    "Become",
    "BetweenWaves",
    "Check",
    "CheckKind",
    "CheckReport",
    "CheckedValue",
    "CollectionsWanted",
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
    "Lookup",
    "Mailbox",
    "ManualStep",
    "Metadata",
    "NotifyStep",
    "OnFailure",
    "Parameter",
    "ParameterType",
    "People",
    "Person",
    "PlaybookStep",
    "Posted",
    "Problem",
    "PrometheusCheck",
    "Question",
    "Repository",
    "Requirements",
    "Retry",
    "RoleStep",
    "Runbook",
    "RunbookStep",
    "Scope",
    "SealedFile",
    "SealedKey",
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
    "UndoScope",
    "Value",
    "Vantage",
    "WantedCollection",
    "Wave",
    "ask_ansible",
    "check_repository",
    "errors_among",
    "git_state",
    "inventory_environment",
    "is_sealed",
    "load_mapping",
    "load_source",
    "open_repository",
    "parse_duration",
    "read_ansible_settings",
    "read_requirements",
    "resolve_inventory",
    "usable_ansible_settings",
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
