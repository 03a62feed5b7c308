"""What will be done, and doing it: the door of the run house.

`resolve` makes a plan, `perform` carries it out through Ansible and seals what came of it, `History` reads past runs.

Not here: whether a plan may run (`policy`), the documents (`repo`), signatures and ledger (`proof`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsascode.run._engine import Engine, RunnerEngine, StageResult
    from opsascode.run._environment import minimal_environment
    from opsascode.run._history import History, PastRun, RunFiles
    from opsascode.run._journal import Ended, HostResult, HostStatus, JournalEvent, Retried, TaskStarted
    from opsascode.run._perform import Circumstances, Order, RunReport, Watch, perform
    from opsascode.run._plan import MovedError, Plan, PlannedStep, read_plan, what_moved
    from opsascode.run._record import Actor, Phase, Tools
    from opsascode.run._resolve import Request, Resolution, detect_trigger, resolve, split_waves, subject_of
    from opsascode.run._results import Results, StepResult
    from opsascode.run._stage import StageOrder
    from opsascode.run._state import LATEST, State
    from opsascode.run._verdict import Outcome

_ROOMS = {
    "_engine": ("Engine", "RunnerEngine", "StageResult"),
    "_environment": ("minimal_environment",),
    "_history": ("History", "PastRun", "RunFiles"),
    "_journal": ("Ended", "HostResult", "HostStatus", "JournalEvent", "Retried", "TaskStarted"),
    "_perform": ("Circumstances", "Order", "RunReport", "Watch", "perform"),
    "_plan": ("MovedError", "Plan", "PlannedStep", "read_plan", "what_moved"),
    "_record": ("Actor", "Phase", "Tools"),
    "_resolve": ("Request", "Resolution", "detect_trigger", "resolve", "split_waves", "subject_of"),
    "_results": ("Results", "StepResult"),
    "_stage": ("StageOrder",),
    "_state": ("LATEST", "State"),
    "_verdict": ("Outcome",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "LATEST",
    "Actor",
    "Circumstances",
    "Ended",
    "Engine",
    "History",
    "HostResult",
    "HostStatus",
    "JournalEvent",
    "MovedError",
    "Order",
    "Outcome",
    "PastRun",
    "Phase",
    "Plan",
    "PlannedStep",
    "Request",
    "Resolution",
    "Results",
    "Retried",
    "RunFiles",
    "RunReport",
    "RunnerEngine",
    "StageOrder",
    "StageResult",
    "State",
    "StepResult",
    "TaskStarted",
    "Tools",
    "Watch",
    "detect_trigger",
    "minimal_environment",
    "perform",
    "read_plan",
    "resolve",
    "split_waves",
    "subject_of",
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
