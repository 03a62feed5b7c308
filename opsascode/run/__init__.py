"""What will be done, and doing it: the door of the run house.

`resolve` makes a plan, `perform` carries it out through Ansible and seals what came of it, `History` reads past runs.

Not here: whether a plan may run (`policy`), the documents (`repo`), signatures and ledger (`proof`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsascode.run._access import Access, VaultSecret, require_sshpass
    from opsascode.run._affected import affected
    from opsascode.run._allowed import allowances
    from opsascode.run._asks import (
        Answered,
        AskKind,
        AskRequest,
        Desk,
        Unanswered,
        WrittenRequest,
        asks_of_plan,
        kept_approvals,
        need_of,
        read_approval_files,
        read_request,
    )
    from opsascode.run._collections import find_collections, install_collections
    from opsascode.run._doubt import Doubt
    from opsascode.run._drift import (
        DRIFT_RECORDS,
        DRIFT_TARGET,
        RunbookDrift,
        RunbookEvidence,
        evidence_of,
        reviewed_by_pack,
        runbook_drift,
    )
    from opsascode.run._enforce import NotAppliedError, Rules, rules_of_pack, rules_of_snapshot, rules_of_work_tree
    from opsascode.run._engine import RunnerEngine
    from opsascode.run._environment import minimal_environment
    from opsascode.run._exchange import GATE_ID, Exchange
    from opsascode.run._figures import Figures, figures, percentile
    from opsascode.run._follow import AnswerSeen, AskSeen, Follower, Sight, StageSeen, waits_for
    from opsascode.run._fresh import staleness
    from opsascode.run._gate_asks import Overrides
    from opsascode.run._gate_book import GateBook, GateCircumstances
    from opsascode.run._history import UNFINISHED, WAITING, History, PastRun, Query, RunSummary
    from opsascode.run._history_files import PastStage, RunFiles
    from opsascode.run._incident_book import Incident, IncidentBook
    from opsascode.run._journal import Ended, Evidence, HostResult, HostStatus, JournalEvent, Retried, TaskStarted
    from opsascode.run._judging import Judgement, Memory, TransitionJudge, chain_of_snapshot
    from opsascode.run._ledger_records import ledger_records
    from opsascode.run._life import LifeState
    from opsascode.run._moored import moor, require_moored
    from opsascode.run._pack_book import PackBook, record_applied
    from opsascode.run._pack_log import PackLog
    from opsascode.run._pack_names import PackVersion, find_pack, pack_versions, version_of
    from opsascode.run._packs import (
        AppliedPack,
        PackName,
        Unlock,
        glass_statement,
        root_seen_statement,
        unlock_request,
        unlock_statement,
    )
    from opsascode.run._past import NotNow, Past, past_to_resume, past_to_undo
    from opsascode.run._perform import LockedOut, RunReport, Waiting, perform, take_up
    from opsascode.run._pins import Pins, RootPin, UnpinnedError, held_back, pin_statement, trusted_chain
    from opsascode.run._plan import APPLIED_PACK, AskedApproval, MovedError, Plan, read_plan, what_moved
    from opsascode.run._record import RUN_REFUSED, Actor, Phase, Purpose, Refused, Tools, refused_statement
    from opsascode.run._recover import Rescue
    from opsascode.run._replay import measured_policies, open_fetched_log, read_replayables
    from opsascode.run._resolve import Request, Resolution, resolve
    from opsascode.run._results import StepResult
    from opsascode.run._retention import Prunable, PrunableGate, prunable, prunable_gates, prune
    from opsascode.run._site import Circumstances, Manner, Means, Order, Watch, repository_name
    from opsascode.run._slo_book import SLO_SNAPSHOT, SloBook
    from opsascode.run._spoken import Spoken, spoken, spoken_so_far
    from opsascode.run._state import LATEST, State
    from opsascode.run._subject import Starter, detect_trigger, subject_of
    from opsascode.run._tasks import UNDO_PREFIX
    from opsascode.run._team_ledger import (
        Publisher,
        Synced,
        TeamLedger,
        open_team_log,
    )

_ROOMS = {
    "_tasks": ("UNDO_PREFIX",),
    "_affected": ("affected",),
    "_allowed": ("allowances",),
    "_asks": (
        "Answered",
        "AskKind",
        "AskRequest",
        "Desk",
        "Unanswered",
        "WrittenRequest",
        "asks_of_plan",
        "glass_statement",
        "kept_approvals",
        "need_of",
        "read_approval_files",
        "read_request",
    ),
    "_life": ("LifeState",),
    "_recover": ("Rescue",),
    "_past": ("NotNow", "Past", "past_to_resume", "past_to_undo"),
    "_site": ("Circumstances", "Manner", "Means", "Order", "Watch", "repository_name"),
    "_access": ("Access", "VaultSecret", "require_sshpass"),
    "_collections": ("find_collections", "install_collections"),
    "_drift": (
        "DRIFT_RECORDS",
        "DRIFT_TARGET",
        "RunbookDrift",
        "RunbookEvidence",
        "evidence_of",
        "reviewed_by_pack",
        "runbook_drift",
    ),
    "_engine": ("RunnerEngine",),
    "_environment": ("minimal_environment",),
    "_exchange": ("GATE_ID", "Exchange"),
    "_figures": ("Figures", "figures", "percentile"),
    "_follow": ("AnswerSeen", "AskSeen", "Follower", "Sight", "StageSeen", "waits_for"),
    "_gate_asks": ("Overrides",),
    "_gate_book": ("GateBook", "GateCircumstances"),
    "_incident_book": ("Incident", "IncidentBook"),
    "_history": ("UNFINISHED", "WAITING", "History", "PastRun", "Query", "RunSummary"),
    "_history_files": ("PastStage", "RunFiles"),
    "_retention": ("Prunable", "PrunableGate", "prunable", "prunable_gates", "prune"),
    "_journal": ("Evidence", "Ended", "HostResult", "HostStatus", "JournalEvent", "Retried", "TaskStarted"),
    "_doubt": ("Doubt",),
    "_enforce": ("NotAppliedError", "Rules", "rules_of_pack", "rules_of_snapshot", "rules_of_work_tree"),
    "_judging": ("Judgement", "Memory", "TransitionJudge", "chain_of_snapshot"),
    "_pack_book": ("PackBook", "record_applied"),
    "_pack_names": ("PackVersion", "find_pack", "pack_versions", "version_of"),
    "_pack_log": ("PackLog",),
    "_packs": (
        "AppliedPack",
        "PackName",
        "Unlock",
        "glass_statement",
        "root_seen_statement",
        "unlock_request",
        "unlock_statement",
    ),
    "_fresh": ("staleness",),
    "_moored": ("moor", "require_moored"),
    "_pins": ("Pins", "RootPin", "UnpinnedError", "held_back", "pin_statement", "trusted_chain"),
    "_perform": ("LockedOut", "RunReport", "Waiting", "perform", "take_up"),
    "_plan": ("APPLIED_PACK", "AskedApproval", "MovedError", "Plan", "read_plan", "what_moved"),
    "_record": ("RUN_REFUSED", "Actor", "Phase", "Purpose", "Refused", "Tools", "refused_statement"),
    "_replay": ("measured_policies", "open_fetched_log", "read_replayables"),
    "_resolve": ("Request", "Resolution", "resolve"),
    "_results": ("StepResult",),
    "_slo_book": ("SLO_SNAPSHOT", "SloBook"),
    "_spoken": ("Spoken", "spoken", "spoken_so_far"),
    "_state": ("LATEST", "State"),
    "_subject": ("Starter", "detect_trigger", "subject_of"),
    "_team_ledger": (
        "Publisher",
        "Synced",
        "TeamLedger",
        "open_team_log",
    ),
    "_ledger_records": ("ledger_records",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "APPLIED_PACK",
    "DRIFT_RECORDS",
    "DRIFT_TARGET",
    "GATE_ID",
    "LATEST",
    "RUN_REFUSED",
    "SLO_SNAPSHOT",
    "UNDO_PREFIX",
    "UNFINISHED",
    "WAITING",
    "Access",
    "Actor",
    "AnswerSeen",
    "Answered",
    "AppliedPack",
    "AskKind",
    "AskRequest",
    "AskSeen",
    "AskedApproval",
    "Circumstances",
    "Desk",
    "Doubt",
    "Ended",
    "Evidence",
    "Exchange",
    "Figures",
    "Follower",
    "GateBook",
    "GateCircumstances",
    "History",
    "HostResult",
    "HostStatus",
    "Incident",
    "IncidentBook",
    "JournalEvent",
    "Judgement",
    "LifeState",
    "LockedOut",
    "Manner",
    "Means",
    "Memory",
    "MovedError",
    "NotAppliedError",
    "NotNow",
    "Order",
    "Overrides",
    "PackBook",
    "PackLog",
    "PackName",
    "PackVersion",
    "Past",
    "PastRun",
    "PastStage",
    "Phase",
    "Pins",
    "Plan",
    "Prunable",
    "PrunableGate",
    "Publisher",
    "Purpose",
    "Query",
    "Refused",
    "Request",
    "Rescue",
    "Resolution",
    "Retried",
    "RootPin",
    "Rules",
    "RunFiles",
    "RunReport",
    "RunSummary",
    "RunbookDrift",
    "RunbookEvidence",
    "RunnerEngine",
    "Sight",
    "SloBook",
    "Spoken",
    "StageSeen",
    "Starter",
    "State",
    "StepResult",
    "Synced",
    "TaskStarted",
    "TeamLedger",
    "Tools",
    "TransitionJudge",
    "Unanswered",
    "Unlock",
    "UnpinnedError",
    "VaultSecret",
    "Waiting",
    "Watch",
    "WrittenRequest",
    "affected",
    "allowances",
    "asks_of_plan",
    "chain_of_snapshot",
    "detect_trigger",
    "evidence_of",
    "figures",
    "find_collections",
    "find_pack",
    "glass_statement",
    "held_back",
    "install_collections",
    "kept_approvals",
    "ledger_records",
    "measured_policies",
    "minimal_environment",
    "moor",
    "need_of",
    "open_fetched_log",
    "open_team_log",
    "pack_versions",
    "past_to_resume",
    "past_to_undo",
    "percentile",
    "perform",
    "pin_statement",
    "prunable",
    "prunable_gates",
    "prune",
    "read_approval_files",
    "read_plan",
    "read_replayables",
    "read_request",
    "record_applied",
    "refused_statement",
    "repository_name",
    "require_moored",
    "require_sshpass",
    "resolve",
    "reviewed_by_pack",
    "root_seen_statement",
    "rules_of_pack",
    "rules_of_snapshot",
    "rules_of_work_tree",
    "runbook_drift",
    "spoken",
    "spoken_so_far",
    "staleness",
    "subject_of",
    "take_up",
    "trusted_chain",
    "unlock_request",
    "unlock_statement",
    "version_of",
    "waits_for",
    "what_moved",
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
