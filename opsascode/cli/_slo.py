"""`opsascode slo`: objectives, error budgets, rules for Prometheus, and the gate before a change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opsascode.cli._lazy import LazyGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERBS: Final[Mapping[str, tuple[str, str]]] = {
    "status": ("opsascode.cli._slo_status", "Show how much of each error budget is gone, and how fast it burns."),
    "report": ("opsascode.cli._slo_report", "Write a report for a review: table, burn-down, what is due."),
    "rules": ("opsascode.cli._slo_rules", "Write rules, their tests and dashboards for Prometheus and Grafana."),
    "gate": ("opsascode.cli._slo_gate", "Say whether a change may go out now, or how it did afterwards."),
    "import": ("opsascode.cli._slo_import", "Turn OpenSLO and Sloth documents into reliability policies."),
    "export": ("opsascode.cli._slo_export", "Turn reliability policies into OpenSLO documents."),
}


command = LazyGroup(
    name="slo", table=_VERBS, help="Service-level objectives: budgets, alerts, and the gate before a change."
)
