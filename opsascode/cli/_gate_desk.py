"""What do the gate and incidents share: the books of this machine and of the team, and who may overrule a gate.

Not here: what a verb does with them, and how anything is shown.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import escape_line
from opsascode.cli._execute import actor
from opsascode.cli._slo_desk import SloDesk
from opsascode.errors import OpsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from opsascode.cli._context import Face
    from opsascode.policy import GateOverride, GateQuestion, GateVerdict, OverrideFault
    from opsascode.proof import PublicKey, Signer, TeamLog
    from opsascode.repo import People
    from opsascode.run import Actor, GateBook, GateCircumstances, IncidentBook, Overrides


@dataclass(frozen=True, kw_only=True)
class GateDesk:
    """The gate's side of one clone, as this command found it."""

    face: Face

    @cached_property
    def slo(self) -> SloDesk:
        """Give the policies that hold, and what measures them."""
        return SloDesk(face=self.face)

    @cached_property
    def actor(self) -> Actor:
        """Say who asks."""
        return actor()

    @property
    def repository(self) -> str:
        """Name the ops repository."""
        from opsascode.run import repository_name  # noqa: PLC0415 - keeps --help quick

        return repository_name(self.face.repository)

    @property
    def shared(self) -> bool:
        """Whether the team keeps one ledger."""
        return self.face.repository.settings.ledger_remote is not None

    def take_in(self) -> None:
        """Take in what others recorded; where that cannot be, say so and go on, unless this repository insists.

        Raises:
            OpsError: the team's ledger cannot be read, and this repository asks for it.
        """
        if not self.shared:
            return
        from opsascode.cli._ledger_team import open_team  # noqa: PLC0415 - keeps --help quick

        try:
            open_team(self.face).sync(None)
        except OpsError as error:
            if self.face.repository.settings.ledger_require:
                raise
            click.echo(f"what others recorded is not known here: {escape_line(str(error))}", err=True)

    def share(self) -> None:
        """Bring what was recorded to the team's ledger, where there is one."""
        if self.shared:
            self.face.policies.share()

    def signer(self) -> Signer:
        """Give the machine key that records are signed with.

        Raises:
            ProofError: it cannot be read, is weak, or is readable by others.
        """
        return self.face.state.signer(os.environ)

    def circumstances(self, name: str, now: datetime) -> GateCircumstances:
        """Say under which id something is recorded, by whom and when, and from where its policies are."""
        from opsascode.run import GateCircumstances, detect_trigger  # noqa: PLC0415 - keeps --help quick

        return GateCircumstances(
            id=name, actor=self.actor, trigger=detect_trigger(os.environ), commit=self.slo.commit, now=now
        )

    def _keys(self) -> tuple[PublicKey, ...]:
        return self.face.state.ledger_keys(os.environ)

    def _team(self) -> TeamLog | None:
        from opsascode.run import open_team_log  # noqa: PLC0415 - keeps --help quick

        return open_team_log(self.face.state, self.face.trusted()) if self.shared else None

    def book(self) -> GateBook:
        """Give what gates said, as far as it is here now."""
        from opsascode.run import GateBook  # noqa: PLC0415 - keeps --help quick

        return GateBook(state=self.face.state, repository=self.repository, keys=self._keys(), team=self._team())

    def incidents(self) -> IncidentBook:
        """Give the incidents, as far as they are here now."""
        from opsascode.run import IncidentBook  # noqa: PLC0415 - keeps --help quick

        return IncidentBook(state=self.face.state, repository=self.repository, keys=self._keys(), team=self._team())

    def overrides(self, question: GateQuestion, files: Sequence[bytes]) -> Overrides:
        """Give what people were asked about a gate, with the mailbox where there is one."""
        from opsascode.cli._approve import open_exchange  # noqa: PLC0415 - keeps --help quick
        from opsascode.run import Overrides  # noqa: PLC0415 - keeps --help quick

        exchange = open_exchange(self.face)
        exchange.refresh()
        return Overrides(
            exchange=exchange,
            repository=self.repository,
            service=question.service,
            change_class=question.change_class,
            change=question.change,
            files=tuple(files),
        )

    def people(self) -> People | OverrideFault:
        """Give the people who may overrule a gate, or why nobody can be asked here."""
        from opsascode.policy import OverrideFault  # noqa: PLC0415 - keeps --help quick

        try:
            stale = self.face.staleness()
            if stale is not None:
                return OverrideFault(id="", code=stale.code, message=stale.message, mend=stale.mend)
            return self.face.people()
        except OpsError as error:
            code = str(getattr(error, "code", ""))
            return OverrideFault(id="", code=code, message=error.message, mend=error.advice)

    def heard(
        self, verdict: GateVerdict, overrides: Overrides, now: datetime
    ) -> tuple[GateOverride | OverrideFault, ...]:
        """Give what people said about a gate that blocks, judged by what the policy asks for now."""
        from opsascode.policy import OverrideFault  # noqa: PLC0415 - keeps --help quick

        if verdict.needed is None:
            return ()
        people = self.people()
        if isinstance(people, OverrideFault):
            return (people,) if overrides.files else ()
        return overrides.hear(verdict.needed, people, self.actor, now)
