"""How reliable is it, and how much may still go wrong? The door of the slo house.

Budgets and burn rates are pure numbers here; rules, tests and dashboards are texts made from policies. One room asks
Prometheus. Rooms are loaded when one of their names is first asked for.

Not here: what a policy document looks like (`repo`), whether anything may be done (`policy`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opsascode.slo._answer import PrometheusError, QueryRefusedError, instant
    from opsascode.slo._budget import nominal_length, period_of
    from opsascode.slo._burn import BurnWindow, burn_windows, default_windows, impossible_windows
    from opsascode.slo._course import Course, Moment, courses
    from opsascode.slo._dashboard import dashboard, dashboard_text
    from opsascode.slo._document import document_of
    from opsascode.slo._exchange import Carried, Wishes
    from opsascode.slo._import import import_slos
    from opsascode.slo._live import check_live
    from opsascode.slo._loaded import Loading, compare_loaded
    from opsascode.slo._measure import ask_value, measure, unreachable
    from opsascode.slo._openslo_export import export_openslo
    from opsascode.slo._picture import BurnDown, burn_down_svg
    from opsascode.slo._place import Placed, PlacedFile, compare, file_texts, place
    from opsascode.slo._plain_text import documents_text
    from opsascode.slo._prometheus import PrometheusClient
    from opsascode.slo._queries import bucket_edges, queries_of, query_problem
    from opsascode.slo._rule_tests import rule_tests
    from opsascode.slo._rules import RuleFile, file_names, rule_files
    from opsascode.slo._series import PromRule, RuleGroup
    from opsascode.slo._snapshot import (
        Counted,
        SloSnapshot,
        TargetSeen,
        moment_of,
        moment_text,
        snapshots_json,
        snapshots_of_json,
    )
    from opsascode.slo._status import BurnSeen, ServiceStatus, TargetStatus, status_of
    from opsascode.slo._written import rules_text, unit_tests_text

_ROOMS = {
    "_dashboard": ("dashboard", "dashboard_text"),
    "_place": ("Placed", "PlacedFile", "compare", "file_texts", "place"),
    "_rule_tests": ("rule_tests",),
    "_written": ("rules_text", "unit_tests_text"),
    "_budget": ("nominal_length", "period_of"),
    "_burn": ("BurnWindow", "burn_windows", "default_windows", "impossible_windows"),
    "_queries": ("bucket_edges", "queries_of", "query_problem"),
    "_rules": ("RuleFile", "file_names", "rule_files"),
    "_series": ("PromRule", "RuleGroup"),
    "_snapshot": (
        "Counted", "SloSnapshot", "TargetSeen", "moment_of", "moment_text", "snapshots_json", "snapshots_of_json",
    ),
    "_status": ("BurnSeen", "ServiceStatus", "TargetStatus", "status_of"),
    "_answer": ("PrometheusError", "QueryRefusedError", "instant"),
    "_prometheus": ("PrometheusClient",),
    "_loaded": ("Loading", "compare_loaded"),
    "_measure": ("ask_value", "measure", "unreachable"),
    "_course": ("Course", "Moment", "courses"),
    "_picture": ("BurnDown", "burn_down_svg"),
    "_live": ("check_live",),
    "_document": ("document_of",),
    "_exchange": ("Carried", "Wishes"),
    "_import": ("import_slos",),
    "_openslo_export": ("export_openslo",),
    "_plain_text": ("documents_text",),
}  # fmt: skip
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "BurnDown", "BurnSeen", "BurnWindow", "Carried", "Counted", "Course",
    "Loading", "Moment", "Placed", "PlacedFile", "PromRule", "PrometheusClient", "PrometheusError",
    "QueryRefusedError", "RuleFile", "RuleGroup", "ServiceStatus",
    "SloSnapshot", "TargetSeen", "TargetStatus", "Wishes", "ask_value", "bucket_edges", "burn_down_svg", "burn_windows",
    "check_live", "compare", "compare_loaded", "courses", "dashboard", "dashboard_text", "default_windows",
    "document_of", "documents_text", "export_openslo", "file_names", "file_texts", "import_slos",
    "impossible_windows", "instant", "measure", "moment_of", "moment_text", "nominal_length", "period_of",
    "place", "queries_of", "query_problem", "rule_files", "rule_tests", "rules_text",
    "snapshots_json", "snapshots_of_json", "status_of", "unit_tests_text", "unreachable",
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
