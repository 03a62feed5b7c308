"""What every command shares: where the repository is, how to answer, and the houses opened once.

Not here: what any command does with them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opsascode.cli._budgets import BudgetDesk
    from opsascode.cli._policy_desk import PolicyDesk
    from opsascode.policy import Reason
    from opsascode.proof import TrustChain
    from opsascode.repo import People, Repository
    from opsascode.run import Rules, State


class OutputFormat(Enum):
    """How a command answers."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, kw_only=True)
class Face:
    """The global options, and the repository and state they point to."""

    directory: Path
    output: OutputFormat

    @property
    def json(self) -> bool:
        """Whether the answer is for a program."""
        return self.output is OutputFormat.JSON

    @property
    def on_terminal(self) -> bool:
        """Whether a person watches standard output."""
        return sys.stdout.isatty()

    @cached_property
    def repository(self) -> Repository:
        """The ops repository around the chosen directory."""
        from opsascode.repo import open_repository  # noqa: PLC0415 - keeps --help quick

        return open_repository(self.directory)

    @cached_property
    def state(self) -> State:
        """The state of this user on this machine: key, ledger, runs."""
        from opsascode.run import State  # noqa: PLC0415 - keeps --help quick

        return State.of(self.repository, os.environ)

    def rules_for(self, hosts: Sequence[str]) -> Rules:
        """Give what is enforced here for a run on some hosts: the applied pack, a broken glass's, or the work tree.

        The work tree's own policies hold only where no trust root is pinned.

        Raises:
            NotAppliedError: a trust root is pinned, and no pack was applied yet.
            ProofError: the pack cannot be read as it was applied.
        """
        from datetime import UTC, datetime  # noqa: PLC0415 - keeps --help quick

        from opsascode.run import (  # noqa: PLC0415 - keeps --help quick
            NotAppliedError,
            Pins,
            rules_of_pack,
            rules_of_work_tree,
        )

        desk = self.policies
        if desk.pin is None:
            return rules_of_work_tree(self.repository)
        name = desk.log.in_force(hosts, datetime.now(UTC))
        if name is None:
            raise NotAppliedError(
                "a trust root is pinned here, and no policy pack was applied yet: nothing may run",
                advice="opsascode policy apply",
            )
        rules = rules_of_pack(desk.store, name, pin=desk.pin.repository)
        if rules.root is not None and rules.root.root.version > desk.pin.version:
            # Others may have applied it: whoever shows an older root from here on is not believed.
            Pins(self.state).raise_to(rules.root, repository=desk.pin.repository, ref=rules.root.root.ref)
        return rules

    @cached_property
    def policies(self) -> PolicyDesk:
        """Give the policy side of this clone, as this command found it."""
        from opsascode.cli._policy_desk import PolicyDesk  # noqa: PLC0415 - keeps --help quick

        return PolicyDesk(face=self)

    @cached_property
    def budgets(self) -> BudgetDesk:
        """Give what answers for error budgets; each is measured once in a command."""
        from opsascode.cli._budgets import BudgetDesk  # noqa: PLC0415 - keeps --help quick

        return BudgetDesk(face=self)

    def trusted(self) -> TrustChain:
        """Give the trust root as it is committed now and as this machine believes it; read anew each time.

        Raises:
            ProofError: there is none, none is pinned here, or what is committed does not hold.
        """
        from opsascode.run import trusted_chain  # noqa: PLC0415 - keeps --help quick

        return trusted_chain(self.repository, self.state)

    def staleness(self) -> Reason | None:
        """Say why what is known here may be too old for something that needs privileges; None where it is not."""
        from datetime import UTC, datetime  # noqa: PLC0415 - keeps --help quick

        from opsascode.run import staleness  # noqa: PLC0415 - keeps --help quick

        chain = self.trusted()
        if chain.current.root.max_staleness is None:
            return None
        return staleness(self.repository, self.state, chain, self.state.signer(os.environ), now=datetime.now(UTC))

    def ruling(self) -> TrustChain:
        """Give the trust root by which runs are approved: a looser version counts only once it is applied.

        Raises:
            ProofError: as `trusted`, or what was recorded about packs cannot be read.
        """
        from opsascode.run import held_back  # noqa: PLC0415 - keeps --help quick

        current = self.policies.log.current
        return held_back(self.trusted(), current.root_version) if current else self.trusted()

    def people(self) -> People:
        """Give the people of the trust root by which runs are approved now.

        Raises:
            ProofError: as `trusted`.
        """
        from opsascode.repo import people_of  # noqa: PLC0415 - keeps --help quick

        newest = self.ruling().current
        return people_of(newest.root, newest.digest)


def cache_directory() -> Path:
    """Give the directory for everything that may be deleted at any time (XDG Base Directory)."""
    from pathlib import Path  # noqa: PLC0415 - keeps --help quick

    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "opsascode"
