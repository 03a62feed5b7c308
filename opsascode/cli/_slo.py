"""`opsascode slo`: objectives, error budgets, rules for Prometheus, and the gate before a change."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

import click

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


class _LazyVerbs(click.Group):
    """A group whose verbs live in modules that are imported only when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's own
        if cmd_name not in _VERBS:
            return None
        command = importlib.import_module(_VERBS[cmd_name][0]).command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _VERBS.items()])


command = _LazyVerbs("slo", help="Service-level objectives: budgets, alerts, and the gate before a change.")
