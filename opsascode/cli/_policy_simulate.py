"""`opsascode policy simulate`: what would other policies have decided about what really happened?

Documents are read from Git's objects, but for those of the work tree and of another repository's directory; nothing of
a candidate is executed. With --base it is a check of a pull request, where no machine key is: the rules compared with
are those of the base, and the records those of the team's ledger as it was fetched.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._change import merged
from opsascode.cli._files import append_report
from opsascode.cli._github import summary_option
from opsascode.cli._options import format_option, root_option
from opsascode.cli._policy import find, protected_of
from opsascode.cli._policy_desk import PolicyDesk
from opsascode.cli._runs import moment_before
from opsascode.cli._simulate_text import Told, simulation_json, simulation_lines, simulation_markdown
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from opsascode.cli._context import Face
    from opsascode.policy import Replayable
    from opsascode.proof import TeamLog, TrustChain
    from opsascode.repo import Policies

CURRENT: Final = "current"
TREE: Final = "tree"
_SAME: Final = "both hold the same policies"
_NAME_BASE: Final = f"{_SAME}; --base names the branch that a change is to be merged into"
_FAILS: Final = {
    "newly-allowed": ("newly allowed", "gate verdict looser", "needs less approval"),
    "newly-denied": ("newly denied", "gate verdict stricter", "needs approval"),
}


@click.command()
@click.option(
    "--pack",
    "selector",
    default=TREE,
    show_default=True,
    metavar="SELECTOR|DIR",
    help="The candidate: tree, current, version:V, commit:ID, tag:NAME, or the directory of another ops repository.",
)
@click.option("--since", default="90d", show_default=True, metavar="7d|DATE", help="Replay what was recorded since.")
@click.option("--base", metavar="COMMIT", help="Compare with this commit, and take the candidate as merged into it.")
@root_option
@summary_option
@click.option("--markdown", is_flag=True, help="Write Markdown for a pull request.")
@click.option(
    "--fail-on",
    type=click.Choice([*_FAILS, "any"]),
    help="End with exit code 1 where the candidate is looser (newly-allowed), stricter (newly-denied), or either.",
)
@format_option
@click.pass_obj
def simulate(  # noqa: PLR0913 - one parameter for each option
    face: Face,
    /,
    *,
    selector: str,
    since: str,
    base: str | None,
    pin: str | None,
    summary: Path | None,
    markdown: bool,
    fail_on: str | None,
) -> int:
    """Replay what was recorded against other policies: what would be decided otherwise, and by which rule.

    Each record is judged at its own time by the policies in force and by the candidate, so that what differs comes from
    the policies alone. Exit code 0, also where something differs.
    """
    if markdown and face.json:
        raise UsageError("--markdown and --format json exclude each other", advice="write it beside: --summary FILE")
    begin = moment_before(since, datetime.now(UTC))
    desk = _Desk(policy=PolicyDesk(face=face, root_digest=pin), base=base)
    told = _simulated(desk, selector, begin)
    if face.json:
        click.echo(json.dumps(simulation_json(told)))
    elif markdown:
        click.echo(simulation_markdown(told), nl=False)
    else:
        click.echo("\n".join(simulation_lines(told)))
    append_report(summary, simulation_markdown(told))
    return ExitCode.FAILED if _fails(told, fail_on) else ExitCode.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """Policies, and what they are called."""

    policies: Policies
    title: str


@dataclass(frozen=True, kw_only=True)
class _Desk:
    """Where policies and records come from."""

    policy: PolicyDesk
    base: str | None

    @property
    def face(self) -> Face:
        return self.policy.face

    @cached_property
    def base_commit(self) -> str | None:
        """The commit of --base; with --root alone it is what is checked out.

        Raises:
            UsageError: there is none of that name.
        """
        if self.base is None and self.policy.root_digest is None:
            return None
        return self.policy.commit(self.base or "HEAD")

    @cached_property
    def chain(self) -> TrustChain | None:
        """The trust root, as it is believed here; None where nobody says which one."""
        from opsascode.proof import read_chain  # noqa: PLC0415 - keeps --help quick
        from opsascode.repo import committed_trust  # noqa: PLC0415 - keeps --help quick

        if self.policy.root_digest is not None:
            place = self.base_commit or "HEAD"
            return read_chain(committed_trust(self.face.repository.root, place), pin=self.policy.root_digest)
        return self.face.trusted() if self.policy.pin else None

    @cached_property
    def current(self) -> _Candidate:
        """The policies in force: those of --base, of the applied pack, or without a pin, those that are committed."""
        if self.base_commit is not None:
            return self.of_commit(self.base_commit, f"commit {self.base_commit[:12]}")
        if self.policy.pin is None:
            head = self.policy.commit("HEAD")
            return self.of_commit(head, f"what is committed, commit {head[:12]}")
        rules = self.face.rules_for(())
        if rules.snapshot is None:
            raise UsageError("there is nothing to compare with", advice="opsascode policy apply")
        return _Candidate(policies=rules.policies, title=f"the applied pack, commit {rules.snapshot.commit[:12]}")

    def candidate(self, selector: str) -> _Candidate:
        """Read what a selector means.

        Raises:
            UsageError: it means nothing here.
            InvalidDocumentsError: policies of it cannot be used.
        """
        if selector == CURRENT:
            return self.current
        if selector == TREE:
            return _Candidate(policies=self.face.repository.policies(), title="the work tree")
        place = Path(selector).expanduser()
        if place.is_dir():
            return _of_directory(place)
        if self.base_commit is None:
            commit = find(self.policy, selector)
            return self.of_commit(commit, f"{selector}, commit {commit[:12]}")
        head = self.policy.commit(selector.removeprefix("commit:"))
        whole = merged(self.policy, self.base_commit, head)
        return self.of_commit(whole, f"commit {head[:12]}, merged into {self.base_commit[:12]}")

    def of_commit(self, commit: str, title: str) -> _Candidate:
        """Read the policies of a commit from Git's objects."""
        from opsascode.repo import InvalidDocumentsError, policies_of  # noqa: PLC0415 - keeps --help quick

        snapshot = self.policy.store.snapshot(commit, self.protected)
        try:
            return _Candidate(policies=policies_of(snapshot), title=title)
        except InvalidDocumentsError as error:
            raise InvalidDocumentsError(error.problems, what=f"{title}: its policies cannot be used") from error

    @cached_property
    def protected(self) -> tuple[str, ...]:
        """Which paths make a pack."""
        return self.chain.current.root.protected if self.chain else protected_of(self.policy)

    def records(self, since: datetime) -> tuple[tuple[Replayable, ...], tuple[str, ...]]:
        """Give what was recorded, and what is to be said about it."""
        from opsascode.run import read_replayables  # noqa: PLC0415 - keeps --help quick

        state = self.face.state
        keys = state.ledger_keys(os.environ)
        team, notes = self._team()
        if team is None and not state.has_ledger():
            notes = (*notes, "nothing was recorded on this machine")
        name = self.face.repository.settings.name
        return read_replayables(state, keys=keys, team=team, since=since, repository=name), notes

    def _team(self) -> tuple[TeamLog | None, tuple[str, ...]]:
        """Give the team's log as far as it can be believed here."""
        from opsascode.run import open_fetched_log, open_team_log  # noqa: PLC0415 - keeps --help quick

        shared = self.face.repository.settings.ledger_remote is not None
        if self.chain is None:
            said = "no trust root is believed in here, so that the team's ledger is not read"
            return None, (said,) if shared else ()
        if self.policy.root_digest is not None:
            fetched = open_fetched_log(self.face.repository.root, self.face.state, self.chain)
            waits = f"{fetched.waiting} entries of the team's ledger wait for a checkpoint, and are not replayed"
            return fetched.log, ((waits,) if fetched.waiting else ()) + fetched.left_out
        if not shared:
            return None, ()
        return open_team_log(self.face.state, self.chain), (
            "records of other machines are those of the last `opsascode ledger sync`",
        )


def _of_directory(place: Path) -> _Candidate:
    """Read the policies of another ops repository.

    Raises:
        UsageError: there are none, as in any directory that was named by mistake; none at all would allow everything.
    """
    from opsascode.repo import Policies, open_repository  # noqa: PLC0415 - keeps --help quick

    policies = open_repository(place).policies()
    if policies == Policies():
        raise UsageError(f"there are no policies in the directory {place}", advice="name that of an ops repository")
    return _Candidate(policies=policies, title=f"the directory {place}")


def _simulated(desk: _Desk, selector: str, since: datetime) -> Told:
    from opsascode.policy import simulate as replay  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import measured_policies  # noqa: PLC0415 - keeps --help quick

    current, candidate = desk.current, desk.candidate(selector)
    records, notes = desk.records(since)
    if selector != CURRENT and candidate.policies == current.policies:
        notes = (*notes, _SAME if desk.base_commit else _NAME_BASE)
    known = (*current.policies.reliability, *candidate.policies.reliability)
    measured = measured_policies(desk.policy.store, records, desk.protected, known) if records else ()
    return Told(
        simulation=replay(records, current.policies, candidate.policies, measured=measured),
        candidate=candidate.title,
        current=current.title,
        since=since,
        itself=selector == CURRENT,
        notes=notes,
    )


def _fails(told: Told, fail_on: str | None) -> bool:
    if fail_on is None:
        return False
    changes = {each.change.value for each in told.differences}
    return bool(changes) if fail_on == "any" else not changes.isdisjoint(_FAILS[fail_on])
