"""How do the error budgets stand that guardrails ask about?

Prometheus is asked only for services that a rule names, and once in a command. Where it cannot be asked, or a service
has no reliability policy, the level is `no_data`: the guardrail's own list of levels says what follows.

Not here: measuring (`slo`), judging (`policy`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opsascode.errors import OpsError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opsascode.cli._context import Face
    from opsascode.policy import BudgetSeen
    from opsascode.repo import Policies
    from opsascode.slo import ServiceStatus


@dataclass(frozen=True, kw_only=True)
class BudgetDesk:
    """Answers for error budgets; what was measured is remembered."""

    face: Face
    _known: dict[str, BudgetSeen] = field(default_factory=dict)

    def of(self, policies: Policies) -> dict[str, BudgetSeen]:
        """Give the budgets of all services that a guardrail asks about."""
        from opsascode.policy import BudgetSeen, services_asked  # noqa: PLC0415 - keeps --help quick
        from opsascode.repo import BudgetLevel  # noqa: PLC0415 - keeps --help quick

        asked = sorted(services_asked(policies))
        missing = [service for service in asked if service not in self._known]
        if missing:
            measured = self._measure(policies, missing)
            unknown = BudgetSeen(level=BudgetLevel.NO_DATA)
            self._known.update({service: measured.get(service, unknown) for service in missing})
        return {service: self._known[service] for service in asked}

    def _measure(self, policies: Policies, services: Iterable[str]) -> dict[str, BudgetSeen]:
        from opsascode.cli._slo_desk import SloDesk  # noqa: PLC0415 - keeps --help quick

        promised = [each for service in services for each in policies.of_service(service)]
        if not promised:
            return {}
        desk = SloDesk(face=self.face)
        try:
            statuses = desk.statuses(promised, desk.snapshots(promised))
        except OpsError:
            return {}
        found: dict[str, list[ServiceStatus]] = {}
        for status in statuses:
            found.setdefault(status.service, []).append(status)
        return {service: _worst(each) for service, each in found.items()}


def _worst(statuses: list[ServiceStatus]) -> BudgetSeen:
    """Give the worst of what several promises for one service say; no data only where all have none."""
    from opsascode.policy import BudgetSeen  # noqa: PLC0415 - keeps --help quick
    from opsascode.repo import BudgetLevel  # noqa: PLC0415 - keeps --help quick

    order = (BudgetLevel.NO_DATA, BudgetLevel.OK, BudgetLevel.WARN, BudgetLevel.CRITICAL, BudgetLevel.EXHAUSTED)
    consumed = [each.consumed for status in statuses for each in status.targets if each.consumed is not None]
    worst = max((each.level for each in statuses), key=order.index)
    return BudgetSeen(level=worst, consumed=max(consumed, default=None))
