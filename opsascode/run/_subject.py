"""Which facts about a plan do guardrails judge?

Most follow from the plan and what it was resolved from. Who starts it, what for, and how error budgets stand is told by
whoever judges. Not here: judging (`policy`), asking for roles and budgets (`cli`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from opsascode.policy import BlastRadius, BudgetSeen, Subject, Trigger
from opsascode.repo import ApprovalsAsked
from opsascode.run._asks import AskKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opsascode.repo import Inventory, Runbook
    from opsascode.run._cut import Stage
    from opsascode.run._modules import Uses
    from opsascode.run._resolve import Resolution

_INVENTORIES: Final = "inventories"
_FILES_OF_A_FOLDER: Final = frozenset({"hosts", "inventory", "main"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """Who starts a run and what for: the trigger, the account and its roles, whether it predicts or takes back."""

    trigger: Trigger = Trigger.MANUAL
    account: str = ""
    roles: frozenset[str] = frozenset()
    predicts: bool = False
    undoes: bool = False
    budgets: Mapping[str, BudgetSeen] = field(default_factory=dict)

    def starts(self, subject: Subject) -> Subject:
        """Give a subject with these facts."""
        return replace(
            subject,
            trigger=self.trigger,
            account=self.account,
            roles=self.roles,
            predicts=self.predicts,
            undoes=self.undoes,
            budgets=self.budgets,
        )


def subject_of(resolution: Resolution, starter: Starter) -> Subject:
    """Give the facts about a plan that guardrails judge."""
    plan = resolution.plan
    subject = unasked_subject(
        resolution.runbook, resolution.inventory, resolution.uses, dirty=plan.dirty or plan.commit is None
    )
    return starter.starts(replace(subject, plan_digest=plan.digest, approvals=_approvals(resolution.stages)))


def unasked_subject(runbook: Runbook, inventory: Inventory, uses: Uses, *, dirty: bool) -> Subject:
    """Give the facts that are known before a plan asks anything."""
    targets = runbook.targets
    return Subject(
        plan_digest="",
        runbook=runbook.metadata.name,
        labels=runbook.metadata.labels,
        blast_radius=BlastRadius(
            max_hosts=targets.max_hosts, max_percent=targets.max_percent, position=targets.position
        ),
        host_count=len(inventory.hosts),
        inventory_total=inventory.total,
        groups=frozenset({"all"}.union(*inventory.groups.values())),
        dirty=dirty,
        trigger=Trigger.MANUAL,
        position=runbook.position,
        environments=frozenset(map(environment_of, inventory.sources)),
        tags=uses.tags,
        modules=uses.modules,
        opaque=uses.opaque,
    )


def environment_of(source: str) -> str:
    """Name an inventory: `inventories/production.yml` and `inventories/production/hosts.yml` are `production`.

    A list of hosts written on the command line is `ad-hoc`.
    """
    if "," in source:
        return "ad-hoc"
    path = PurePosixPath(source)
    parts = path.parts
    if _INVENTORIES in parts[:-1]:
        return PurePosixPath(parts[parts.index(_INVENTORIES) + 1]).stem
    folder = path.stem in _FILES_OF_A_FOLDER and path.parent.name
    return path.parent.name if folder else path.stem


def detect_trigger(environ: Mapping[str, str]) -> Trigger:
    """Tell a CI job (it sets CI=true) from a person at a terminal."""
    return Trigger.CI if environ.get("CI", "").lower() in {"1", "true"} else Trigger.MANUAL


def _approvals(stages: Iterable[Stage]) -> tuple[ApprovalsAsked, ...]:
    """Give what is asked before anything is done."""
    asks = (stage.ask for stage in stages if stage.wave == 0)
    return tuple(
        ApprovalsAsked(required=ask.required, role=ask.role) for ask in asks if ask and ask.kind is AskKind.APPROVAL
    )
