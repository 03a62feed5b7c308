"""What do the policy verbs share: the repository's objects, the pinned root, the book of packs, signed statements.

Not here: what a verb does with them, and how anything is shown.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import escape_line
from opsascode.cli._context import cache_directory
from opsascode.errors import OpsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opsascode.cli._context import Face
    from opsascode.policy import Change, SeenCheckpoint
    from opsascode.proof import TrustRoot
    from opsascode.repo import Attestations, ObjectStore
    from opsascode.run import Doubt, Judgement, Memory, PackBook, PackLog, RootPin, TransitionJudge


@dataclass(frozen=True, kw_only=True)
class PolicyDesk:
    """The policy side of one clone.

    `files` are statements handed over as files, `accounts` those of whoever pushes or opens a change. `root_digest` is
    believed in place of a pin, where a check of a pull request says it.
    """

    face: Face
    files: tuple[bytes, ...] = ()
    accounts: tuple[str, ...] = ()
    root_digest: str | None = None

    @cached_property
    def store(self) -> ObjectStore:
        """Give the repository's objects; the ops repository must be the whole of it."""
        from opsascode.repo import ObjectStore  # noqa: PLC0415 - keeps --help quick

        root = self.face.repository.root
        if not (root / ".git").exists():
            raise UsageError(
                f"{root} is not the top of a Git repository, and policies are judged by Git's objects",
                advice="git init there, or move opsascode.yml to the top of its repository",
            )
        return ObjectStore.of(root)

    def commit(self, name: str, *, advice: str = "git fetch") -> str:
        """Give the full id of the commit that a ref, branch, tag or id stands for.

        Raises:
            UsageError: there is none of that name; `advice` helps where others may have it.
        """
        found = self.store.commit_of(name)
        if found is not None:
            return found
        if not self.store.refs("refs/"):
            message = f"nothing is committed in {self.face.repository.root}, and policies are judged by Git's objects"
            raise UsageError(message, advice="git add --all && git commit")
        if name == "HEAD":
            raise UsageError("HEAD stands on a branch without a commit", advice="git switch to one that has some")
        raise UsageError(f"there is no commit {name[:100]!r} in this clone", advice=advice)

    @cached_property
    def pin(self) -> RootPin | None:
        """Give which trust root this machine believes in.

        Raises:
            ProofError: it is not the one this clone went by, or a file of pins is damaged.
        """
        from opsascode.run import Pins, RootPin, require_moored  # noqa: PLC0415 - keeps --help quick

        if self.root_digest is not None:
            return RootPin(repository=self.root_digest, place="the command line")
        found = Pins(self.face.state).read()
        require_moored(self.face.repository, self.face.state, found)
        return found

    @property
    def needed_pin(self) -> RootPin:
        """Give the pin where nothing can be said without one.

        Raises:
            ProofError: there is none, and what is to be done depends on whether a trust root is committed.
        """
        from opsascode.run import UnpinnedError  # noqa: PLC0415 - keeps --help quick

        if self.pin is None:
            self.face.trusted()
            raise UnpinnedError("this machine does not know which trust root to believe in")
        return self.pin

    @cached_property
    def attestations(self) -> Attestations | None:
        """Give what people left in Git, with that of the remote where there is one and it can be reached."""
        from opsascode.repo import Attestations  # noqa: PLC0415 - keeps --help quick

        found = Attestations.of(self.face.repository.root, self.face.repository.settings.approvals_remote)
        if found is not None and found.remote is not None:
            try:
                found.fetch()
            except OpsError as error:  # what is here already may be enough; what is missing only ever makes a no
                click.echo(f"what others signed cannot be fetched: {escape_line(str(error))}", err=True)
        return found

    @cached_property
    def book(self) -> PackBook:
        """Give the book of packs of this machine."""
        from opsascode.run import PackBook, open_team_log  # noqa: PLC0415 - keeps --help quick

        state = self.face.state
        keys = state.ledger_keys(os.environ)
        shared = self.face.repository.settings.ledger_remote is not None
        pin = self.needed_pin.repository
        if not shared:
            return PackBook(state=state, repository=pin, keys=keys)
        team = open_team_log(state, self.face.trusted())
        return PackBook(state=state, repository=pin, keys=keys, team=team, doubt=self._doubt())

    def _doubt(self) -> Doubt:
        """Give what looks at records of other machines: by the objects here, and by what people left in Git."""
        from opsascode.proof import LedgerReader  # noqa: PLC0415 - keeps --help quick
        from opsascode.run import Doubt, TransitionJudge  # noqa: PLC0415 - keeps --help quick

        state = self.face.state
        own = ""
        if state.has_ledger():
            own = LedgerReader.read(state.ledger_directory, keys=state.public_keys(os.environ)).origin
        return Doubt(
            own=own,
            chain=self.face.trusted(),
            judge=lambda now: TransitionJudge(
                store=self.store,
                pin=self.needed_pin.repository,
                now=now,
                attestations=self.signed,
                cache=self.cache(),
            ),
            notes=state.directory / "judged.json",
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one on this machine who moves packs; nothing of the log may be looked at before."""
        with self.book.alone(lambda: click.echo("another command moves policy packs here: waiting for it", err=True)):
            yield

    def leave(self, way: Sequence[Judgement]) -> None:
        """Leave statements that came as files where other machines find them, which judge the same again."""
        from opsascode.proof import payload_digest  # noqa: PLC0415 - keeps --help quick

        files = {payload_digest(each): each for each in self.files}
        used = [(each.decision.change.target_scope, digest) for each in way for digest in each.decision.consumed]
        for scope, digest in used:
            if digest not in files or self.attestations is None:
                continue
            try:
                self.attestations.post(scope, digest, files[digest])
            except OpsError as error:
                click.echo(f"a statement stays on this machine: {escape_line(str(error))}", err=True)

    def share(self) -> None:
        """Bring what was recorded to the team's ledger, and what others recorded here, where there is such a ledger.

        Raises:
            UnpublishedError: it cannot be reached, and this repository asks for it.
        """
        from opsascode.run import Publisher  # noqa: PLC0415 - keeps --help quick

        state = self.face.state
        if self.face.repository.settings.ledger_remote is None:
            return
        signer = state.signer(os.environ)
        publisher = Publisher.of(self.face.repository, state, signer)
        if publisher is None:
            return
        with state.ledger(signer) as ledger:
            publisher.publish_start(ledger)
            missing = publisher.publish_end(ledger)
        if missing:
            click.echo(escape_line(missing), err=True)

    @cached_property
    def log(self) -> PackLog:
        """Give what happened to the pack; nothing where no trust root is pinned."""
        from opsascode.run import PackLog  # noqa: PLC0415 - keeps --help quick

        return self.book.read() if self.pin else PackLog()

    @cached_property
    def root(self) -> TrustRoot:
        """Give the trust root as it is committed and believed."""
        if self.root_digest is None:
            return self.face.trusted().current.root
        from opsascode.proof import read_chain  # noqa: PLC0415 - keeps --help quick
        from opsascode.repo import committed_trust  # noqa: PLC0415 - keeps --help quick

        return read_chain(committed_trust(self.face.repository.root, "HEAD"), pin=self.root_digest).current.root

    def signed(self, change: Change) -> Sequence[bytes]:
        """Give everything that was signed about a change, unjudged."""
        left = self.attestations.of_change(change.target_scope) if self.attestations else ()
        return (*self.files, *left)

    def seen_checkpoint(self) -> SeenCheckpoint | None:
        """Give the checkpoint of this machine's ledger, which whoever signs here becomes a witness of."""
        state = self.face.state
        if not state.has_ledger():
            return None
        import base64  # noqa: PLC0415 - keeps --help quick

        from opsascode.policy import SeenCheckpoint  # noqa: PLC0415 - keeps --help quick
        from opsascode.proof import LedgerReader  # noqa: PLC0415 - keeps --help quick

        ledger = LedgerReader.read(state.ledger_directory, keys=state.public_keys(os.environ))
        return SeenCheckpoint(origin=ledger.origin, size=ledger.size, root=base64.b64encode(ledger.root).decode())

    def judge(self, *, now: datetime | None = None, remembers: bool = True) -> TransitionJudge:
        """Make the judge of transitions; a check of what might be merged remembers nothing."""
        from opsascode.run import TransitionJudge  # noqa: PLC0415 - keeps --help quick

        return TransitionJudge(
            store=self.store,
            pin=self.needed_pin.repository,
            now=now or datetime.now(UTC),
            attestations=self.signed,
            accounts=self.accounts,
            memory=self.memory() if remembers else self._floor(),
            cache=self.cache(),
        )

    def memory(self) -> Memory:
        """Tell what this machine remembers of earlier transitions."""
        from opsascode.policy import debts_of  # noqa: PLC0415 - keeps --help quick
        from opsascode.run import Memory  # noqa: PLC0415 - keeps --help quick

        current = self.log.current
        return Memory(
            least=max(1, self.needed_pin.version, *(each.root_version for each in self.log.packs)),
            newest=current.pack.commit if current else None,
            consumed=self.log.consumed,
            debts=debts_of(self.log.statements, datetime.now(UTC)).all,
            seen_roots=self.log.seen_roots,
        )

    def _floor(self) -> Memory:
        from opsascode.run import Memory  # noqa: PLC0415 - keeps --help quick

        return Memory(least=max(1, self.needed_pin.version))

    def cache(self) -> Path:
        """Give the directory of what can be made again."""
        directory = cache_directory() / "policy"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return directory


def read_files(paths: Sequence[Path]) -> tuple[bytes, ...]:
    """Read signed statements that were handed over as files.

    Raises:
        UsageError: one cannot be read.
    """
    from opsascode.run import read_approval_files  # noqa: PLC0415 - keeps --help quick

    return read_approval_files(paths)
