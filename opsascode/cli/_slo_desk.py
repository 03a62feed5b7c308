"""What do the verbs of `opsascode slo` and the gate share: policies that hold, Prometheus, snapshots, statuses.

Not here: what a verb does with them, and how anything is shown.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from opsascode.cli._files import read_file
from opsascode.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opsascode.cli._context import Face
    from opsascode.cli._slo_shown import Shown
    from opsascode.repo import Policies, ReliabilityPolicy
    from opsascode.run import Rules
    from opsascode.slo import PrometheusClient, ServiceStatus, SloSnapshot


@dataclass(frozen=True, kw_only=True)
class SloDesk:
    """The reliability side of one clone, as this command found it."""

    face: Face

    @cached_property
    def rules(self) -> Rules:
        """Give what is enforced here: the applied pack, or the work tree where no trust root is pinned.

        Raises:
            NotAppliedError: a trust root is pinned, and no pack was applied yet.
            InvalidDocumentsError: a document in `policies/` has problems.
        """
        return self.face.rules_for(())

    @cached_property
    def policies(self) -> Policies:
        """Give the policies that hold."""
        return self.rules.policies

    @cached_property
    def commit(self) -> str | None:
        """Give the commit the policies are from; None where there is none yet."""
        from opsascode.repo import git_state  # noqa: PLC0415 - keeps --help quick

        if self.rules.snapshot is not None:
            return self.rules.snapshot.commit
        return git_state(self.face.repository.root).commit

    def of_services(self, names: Sequence[str]) -> tuple[ReliabilityPolicy, ...]:
        """Give the policies of some services, by the service's name or the policy's; of all where none is named.

        Raises:
            UsageError: there is none of that name, or none at all.
        """
        from opsascode.repo import did_you_mean, quoted  # noqa: PLC0415 - keeps --help quick

        every = self.policies.reliability
        if not every:
            raise UsageError(
                "there is no reliability policy here", advice="write one in policies/, kind ReliabilityPolicy"
            )
        for name in names:
            if not any(name in {each.service, each.metadata.name} for each in every):
                known = {each.service for each in every}
                message = f"no reliability policy is about the service {quoted(name)}"
                raise UsageError(message, advice=did_you_mean(name, known))
        wanted = set(names)
        return tuple(each for each in every if not names or wanted & {each.service, each.metadata.name})

    def client(self) -> PrometheusClient:
        """Give the Prometheus that the repository names.

        Raises:
            PrometheusError: none is named, or its credentials are not where they should be.
        """
        from opsascode.slo import PrometheusClient, PrometheusError  # noqa: PLC0415 - keeps --help quick

        repository = self.face.repository
        if repository.settings.prometheus is None:
            raise PrometheusError(
                "no Prometheus is named here", advice="write spec.prometheus: {url: …} in opsascode.yml"
            )
        return PrometheusClient.of(repository.settings.prometheus, root=repository.root, environment=os.environ)

    def snapshots(
        self, policies: Sequence[ReliabilityPolicy] | None = None, at: datetime | None = None
    ) -> tuple[SloSnapshot, ...]:
        """Measure policies (default: all); where Prometheus cannot be asked, the snapshots say why."""
        from opsascode.slo import PrometheusError, measure, unreachable  # noqa: PLC0415 - keeps --help quick

        asked = self.policies.reliability if policies is None else policies
        now = datetime.now(UTC)
        moment = (at or now).replace(microsecond=0)
        if not asked:
            return ()
        try:
            return measure(asked, self.client(), moment, now=now, commit=self.commit)
        except PrometheusError as error:
            return unreachable(asked, str(error), moment, commit=self.commit)

    def statuses(
        self, policies: Sequence[ReliabilityPolicy], snapshots: Sequence[SloSnapshot]
    ) -> tuple[ServiceStatus, ...]:
        """Judge snapshots by the policies of their names; a policy without a snapshot has no status."""
        from opsascode.slo import status_of  # noqa: PLC0415 - keeps --help quick

        taken = {each.policy: each for each in snapshots}
        return tuple(
            status_of(policy, taken[policy.metadata.name]) for policy in policies if policy.metadata.name in taken
        )

    def shown(self, policies: Sequence[ReliabilityPolicy], snapshots: Sequence[SloSnapshot]) -> tuple[Shown, ...]:
        """Judge snapshots, and say what is due by them."""
        from opsascode.cli._slo_shown import Shown  # noqa: PLC0415 - keeps --help quick
        from opsascode.policy import due  # noqa: PLC0415 - keeps --help quick

        named = {each.metadata.name: each for each in policies}
        return tuple(
            Shown(policy=named[each.policy], status=each, due=due(named[each.policy], each))
            for each in self.statuses(policies, snapshots)
        )

    def record(self, snapshots: Sequence[SloSnapshot]) -> tuple[int, ...]:
        """Put snapshots into the ledger of this machine, and the team's where there is one; gives their places.

        Raises:
            LedgerError: they could not be recorded.
        """
        from opsascode.cli._execute import account  # noqa: PLC0415 - keeps --help quick
        from opsascode.run import SloBook, repository_name  # noqa: PLC0415 - keeps --help quick

        state = self.face.state
        keys = state.ledger_keys(os.environ)
        book = SloBook(state=state, repository=repository_name(self.face.repository), keys=keys)
        signer = state.signer(os.environ)
        places = book.record(snapshots, signer, actor=account(), now=datetime.now(UTC))
        self.face.policies.share()
        return places


def read_snapshots(path: Path) -> tuple[SloSnapshot, ...]:
    """Read a file of snapshots.

    Raises:
        UsageError: it cannot be read, or is no such file.
    """
    from opsascode.errors import ProofError  # noqa: PLC0415 - keeps --help quick
    from opsascode.proof import parse_strict  # noqa: PLC0415 - keeps --help quick
    from opsascode.slo import snapshots_of_json  # noqa: PLC0415 - keeps --help quick

    data = read_file(path, _MOST_FILE)
    try:
        return snapshots_of_json(parse_strict(data, max_bytes=_MOST_FILE))
    except ProofError as error:
        raise UsageError(f"{path} is no file of snapshots: {error.message}") from error


_MOST_FILE = 64 * 1024 * 1024


def read_moment(text: str | None, now: datetime) -> datetime | None:
    """Read the word of `--at`.

    Raises:
        UsageError: it is no moment with an offset, or lies ahead.
    """
    from opsascode.slo import moment_of  # noqa: PLC0415 - keeps --help quick

    if text is None:
        return None
    found = moment_of(text)
    if found > now:
        raise UsageError(f"--at {text} lies ahead: nothing was measured then yet")
    return found
