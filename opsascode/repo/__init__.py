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
        usable_ansible_settings,
    )
    from opsascode.repo._append_ref import AppendRef, RefForm
    from opsascode.repo._attestations import ATTESTATIONS_REF, Attestations
    from opsascode.repo._branches import Branches, Made
    from opsascode.repo._calendar import Calendar, CalendarWindow, Open
    from opsascode.repo._check import CheckReport, check_repository
    from opsascode.repo._conditions import FACTS, Condition, Facts, Unanswerable, condition_problem
    from opsascode.repo._documents import (
        HOST_LOCK,
        ApprovalNeeded,
        BetweenWaves,
        Kind,
        Metadata,
        OnFailure,
        PolicyPack,
        PrometheusSettings,
        Runbook,
        Settings,
        Source,
        Targets,
        UndoScope,
        Wave,
    )
    from opsascode.repo._form import Absence, Safety
    from opsascode.repo._git import GitState, git_state
    from opsascode.repo._guardrails import (
        ApprovalsAsked,
        BudgetCondition,
        BudgetLevel,
        Combine,
        Effect,
        Guardrail,
        Requirements,
        Rule,
        Scope,
        What,
        When,
        Where,
        Who,
    )
    from opsascode.repo._inventory import DOCUMENT_NAME, Inventory, inventory_environment, resolve_inventory
    from opsascode.repo._ledger_ref import (
        CHECKPOINT_FILE,
        COSIGNED_FILE,
        LEDGER_REF,
        LedgerRef,
        LedgerTip,
        group_files,
        group_path,
    )
    from opsascode.repo._mailbox import ASKS_REF, Mailbox
    from opsascode.repo._meaning import DocumentMeaning, Unreadable, meanings
    from opsascode.repo._objects import CommitFacts, Identity, ObjectStore
    from opsascode.repo._pack import PACK_FILE, pack_of, policies_of
    from opsascode.repo._parameter import CheckedValue, Limits, Parameter, ParameterType
    from opsascode.repo._past import Past, Seen, State, past_of
    from opsascode.repo._past_git import gather_past
    from opsascode.repo._people import People, Person, people_of
    from opsascode.repo._policies import Policies
    from opsascode.repo._problem import InvalidDocumentsError, Problem, Severity, did_you_mean, errors_among, quoted
    from opsascode.repo._promise_words import latency_share
    from opsascode.repo._push import OWN_REFS, Push, RefUpdate
    from opsascode.repo._quantities import parse_duration
    from opsascode.repo._reliability import (
        AlertLevel,
        AlertWindow,
        CalendarPeriod,
        CalendarUnit,
        Criterion,
        Events,
        Fallback,
        GateRules,
        Histogram,
        HistogramUnit,
        Notify,
        OverrideNeeded,
        Raw,
        ReliabilityPolicy,
        Remediation,
        RemediationCause,
        RemediationMode,
        Rolling,
        ScalingHint,
        Scoring,
        Target,
        Thresholds,
        TimeSlices,
        TriggerStep,
    )
    from opsascode.repo._remembered import remembered
    from opsascode.repo._repository import Repository, open_repository
    from opsascode.repo._requirements import WantedCollection, read_requirements
    from opsascode.repo._scaffold import directory_as_name, editor_schemas, new_repository, place
    from opsascode.repo._scaffold_git import Begun, begin_history
    from opsascode.repo._sealed import Lookup, SealedFile, SealedKey, ask_ansible, is_sealed
    from opsascode.repo._server import GitServer
    from opsascode.repo._severity import SeverityLevel, SeverityScheme
    from opsascode.repo._snapshot import (
        EMPTY_SNAPSHOT,
        ProtectedFile,
        Snapshot,
        UnsafeRepositoryError,
        is_protected,
        snapshot_of,
    )
    from opsascode.repo._source import SourceDocument, Value, load_mapping, load_source
    from opsascode.repo._static_groups import static_groups
    from opsascode.repo._step import (
        Action,
        ApprovalStep,
        Become,
        CheckKind,
        CommandCheck,
        Comparison,
        ConditionCheck,
        HttpCheck,
        ManualStep,
        NotifyStep,
        PlaybookStep,
        PrometheusCheck,
        RoleStep,
        RunbookStep,
        Step,
        StepKind,
        TaskStep,
        TcpCheck,
        Undo,
        Vantage,
    )
    from opsascode.repo._trust import TRUST_FOLDER, committed_trust, trust_path, trust_version
    from opsascode.repo._whole import whole_of

_ROOMS = {
    "_whole": ("whole_of",),
    "_ansible_settings": ("ANSIBLE_SETTINGS", "AnsibleSettings", "usable_ansible_settings"),
    "_append_ref": ("AppendRef", "RefForm"),
    "_attestations": ("ATTESTATIONS_REF", "Attestations"),
    "_branches": ("Branches", "Made"),
    "_check": ("CheckReport", "check_repository"),
    "_documents": (
        "ApprovalNeeded", "BetweenWaves", "HOST_LOCK", "Kind", "Metadata", "OnFailure", "PolicyPack",
        "PrometheusSettings", "Runbook", "Settings", "Source", "Targets", "UndoScope", "Wave",
    ),
    "_git": ("GitState", "git_state"),
    "_inventory": ("DOCUMENT_NAME", "Inventory", "inventory_environment", "resolve_inventory"),
    "_parameter": ("CheckedValue", "Limits", "Parameter", "ParameterType"),
    "_form": ("Absence", "Safety"),
    "_meaning": ("DocumentMeaning", "Unreadable", "meanings"),
    "_objects": ("CommitFacts", "Identity", "ObjectStore"),
    "_pack": ("PACK_FILE", "pack_of", "policies_of"),
    "_past": ("Past", "Seen", "State", "past_of"),
    "_past_git": ("gather_past",),
    "_snapshot": (
        "EMPTY_SNAPSHOT", "ProtectedFile", "Snapshot", "UnsafeRepositoryError", "is_protected",
        "snapshot_of",
    ),
    "_static_groups": ("static_groups",),
    "_ledger_ref": (
        "CHECKPOINT_FILE", "COSIGNED_FILE", "LEDGER_REF", "LedgerRef", "LedgerTip", "group_files", "group_path",
    ),
    "_mailbox": ("ASKS_REF", "Mailbox"),
    "_people": ("People", "Person", "people_of"),
    "_problem": ("InvalidDocumentsError", "Problem", "Severity", "did_you_mean", "errors_among", "quoted"),
    "_push": ("OWN_REFS", "Push", "RefUpdate"),
    "_server": ("GitServer",),
    "_quantities": ("parse_duration",),
    "_promise_words": ("latency_share",),
    "_remembered": ("remembered",),
    "_repository": ("Repository", "open_repository"),
    "_requirements": ("WantedCollection", "read_requirements"),
    "_scaffold": ("directory_as_name", "editor_schemas", "new_repository", "place"),
    "_scaffold_git": ("Begun", "begin_history"),
    "_sealed": ("Lookup", "SealedFile", "SealedKey", "ask_ansible", "is_sealed"),
    "_source": ("SourceDocument", "Value", "load_mapping", "load_source"),
    "_step": (
        "Action", "ApprovalStep", "Become", "CheckKind", "CommandCheck", "Comparison", "ConditionCheck",
        "HttpCheck", "ManualStep", "NotifyStep", "PlaybookStep", "PrometheusCheck", "RoleStep",
        "RunbookStep", "Step", "StepKind", "TaskStep", "TcpCheck", "Undo", "Vantage",
    ),
    "_trust": ("TRUST_FOLDER", "committed_trust", "trust_path", "trust_version"),
    "_calendar": ("Calendar", "CalendarWindow", "Open"),
    "_conditions": ("Condition", "FACTS", "Facts", "Unanswerable", "condition_problem"),
    "_guardrails": (
        "ApprovalsAsked", "BudgetCondition", "BudgetLevel", "Combine", "Effect", "Guardrail", "Requirements", "Rule",
        "Scope", "What", "When", "Where", "Who",
    ),
    "_policies": ("Policies",),
    "_reliability": (
        "AlertLevel", "AlertWindow", "CalendarPeriod", "CalendarUnit", "Criterion", "Events", "Fallback", "GateRules",
        "Histogram", "HistogramUnit", "Notify", "OverrideNeeded", "Raw", "ReliabilityPolicy", "Remediation",
        "RemediationCause", "RemediationMode", "Rolling", "ScalingHint", "Scoring", "Target", "Thresholds",
        "TimeSlices", "TriggerStep",
    ),
    "_severity": ("SeverityLevel", "SeverityScheme"),
}  # fmt: skip
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "ANSIBLE_SETTINGS", "ASKS_REF", "ATTESTATIONS_REF", "CHECKPOINT_FILE", "COSIGNED_FILE",
    "DOCUMENT_NAME", "EMPTY_SNAPSHOT", "FACTS", "HOST_LOCK", "LEDGER_REF", "OWN_REFS", "PACK_FILE", "TRUST_FOLDER",
    "Absence", "Action", "AlertLevel", "AlertWindow", "AnsibleSettings", "AppendRef", "ApprovalNeeded", "ApprovalStep",
    "ApprovalsAsked", "Attestations", "Become", "Begun", "BetweenWaves", "Branches", "BudgetCondition", "BudgetLevel",
    "Calendar", "CalendarPeriod", "CalendarUnit", "CalendarWindow", "CheckKind", "CheckReport", "CheckedValue",
    "Combine", "CommandCheck", "CommitFacts", "Comparison", "Condition", "ConditionCheck",
    "Criterion", "DocumentMeaning", "Effect", "Events", "Facts", "Fallback",
    "GateRules", "GitServer", "GitState", "Guardrail", "Histogram", "HistogramUnit", "HttpCheck", "Identity",
    "InvalidDocumentsError", "Inventory", "Kind", "LedgerRef", "LedgerTip", "Limits", "Lookup", "Made", "Mailbox",
    "ManualStep", "Metadata", "Notify", "NotifyStep", "ObjectStore", "OnFailure", "Open", "OverrideNeeded", "Parameter",
    "ParameterType", "Past", "People", "Person", "PlaybookStep", "Policies", "PolicyPack", "Problem",
    "PrometheusCheck", "PrometheusSettings", "ProtectedFile", "Push", "Raw", "RefForm",
    "RefUpdate", "ReliabilityPolicy", "Remediation", "RemediationCause", "RemediationMode", "Repository",
    "Requirements", "RoleStep", "Rolling", "Rule", "Runbook", "RunbookStep", "Safety", "ScalingHint", "Scope",
    "Scoring", "SealedFile", "SealedKey", "Seen", "Settings", "Severity", "SeverityLevel", "SeverityScheme", "Snapshot",
    "Source", "SourceDocument", "State", "Step", "StepKind", "Target", "Targets", "TaskStep", "TcpCheck",
    "Thresholds", "TimeSlices", "TriggerStep", "Unanswerable", "Undo", "UndoScope", "Unreadable",
    "UnsafeRepositoryError", "Value", "Vantage", "WantedCollection", "Wave", "What", "When", "Where", "Who",
    "ask_ansible", "begin_history", "check_repository", "committed_trust", "condition_problem", "did_you_mean",
    "directory_as_name", "editor_schemas", "errors_among", "gather_past", "git_state", "group_files", "group_path",
    "inventory_environment", "is_protected", "is_sealed", "latency_share", "load_mapping", "load_source", "meanings",
    "new_repository", "open_repository", "pack_of", "parse_duration", "past_of", "people_of", "place", "policies_of",
    "quoted", "read_requirements", "remembered", "resolve_inventory", "snapshot_of",
    "static_groups", "trust_path", "trust_version", "usable_ansible_settings", "whole_of",
]  # fmt: skip


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562: any of the names above
    """Load the room a name lives in when the name is first asked for (PEP 562)."""
    room = _ROOM_OF.get(name)
    if room is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{room}"), name)
    globals()[name] = value
    return value
