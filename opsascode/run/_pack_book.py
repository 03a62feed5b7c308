"""Where is it kept which policy pack is enforced, and how does something new get into it?

The book is this machine's ledger; nothing else decides. Beside it, for each applied pack, lies a receipt: the record,
its proof, everything that people signed for it, and the whole trust root, so that one file shows offline who allowed
it.

Not here: what the records mean (`_packs`), judging (`_judging`).
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from opsascode.policy import TransitionClass
from opsascode.proof import MAX_ENVELOPE, make_receipt, payload_digest, seal, sha256_digest
from opsascode.repo import pack_of
from opsascode.run._ledger_records import ledger_records
from opsascode.run._pack_log import PackLog, fold_packs
from opsascode.run._pack_names import version_of
from opsascode.run._packs import POLICY_RECORDS, AppliedPack, PackName, Step
from opsascode.run._site import write_new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from opsascode.policy import Change, Decision
    from opsascode.proof import Ledger, PublicKey, Signer, Statement, TeamLog, TrustChain
    from opsascode.repo import Snapshot
    from opsascode.run._doubt import Doubt
    from opsascode.run._judging import Judgement
    from opsascode.run._state import State

_DIRECTORY: Final = "packs"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackBook:
    """What one machine knows about the pack of one repository, named by the digest of its first trust root.

    With `team`, what other machines recorded counts as well, as far as `doubt` believes it.
    """

    state: State
    repository: str
    keys: tuple[PublicKey, ...]
    team: TeamLog | None = None
    doubt: Doubt | None = None

    def read(self) -> PackLog:
        """Tell everything that happened to the pack.

        Raises:
            LedgerError: the ledger is damaged, or not the one this machine knows.
        """
        records = ledger_records(self.state, POLICY_RECORDS, keys=self.keys, team=self.team)
        return fold_packs(records, self.repository, self.doubt)

    @contextmanager
    def alone(self, waits: Callable[[], None]) -> Iterator[None]:
        """Be the only one on this machine who moves packs: what is judged is what the ledger says until it is recorded.

        Else two at once would both use the same approvals. `waits` is called where somebody else is at it.
        """
        directory = self.state.directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "packs.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waits()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def add(self, statement: Statement, signer: Signer) -> int:
        """Record something about the pack; gives its place in the ledger."""
        with self.state.ledger(signer) as ledger:
            return ledger.append(seal(statement, signer)).index

    def apply(
        self, pack: AppliedPack, signer: Signer, *, signed: Sequence[bytes], roots: Sequence[bytes]
    ) -> tuple[AppliedPack, Path]:
        """Record that a pack is enforced from now on, and write the receipt; gives the entry and the file."""
        with self.state.ledger(signer) as ledger:
            entry = ledger.append(seal(pack.statement(ledger.origin), signer)).index
            return replace(pack, entry=entry), self._receipt(ledger, entry, signed, roots)

    def origin(self, signer: Signer) -> str:
        """Name the ledger that records about the pack go to."""
        with self.state.ledger(signer) as ledger:
            return ledger.origin

    def receipt_path(self, entry: int) -> Path:
        """Say where the receipt of an applied pack lies."""
        return self.state.directory / _DIRECTORY / f"{entry}.receipt.json"

    def _receipt(self, ledger: Ledger, entry: int, signed: Sequence[bytes], roots: Sequence[bytes]) -> Path:
        attachments = {
            **{f"attestations/{payload_digest(each).removeprefix('sha256:')}.json": each for each in signed},
            **{f"trust/{number}.root.json": each for number, each in enumerate(roots, start=1)},
        }
        path = self.receipt_path(entry)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(path, make_receipt(ledger, (entry,), attachments))
        return path


def record_applied(  # noqa: PLR0913 - an entry is made of all of this
    book: PackBook,
    way: Sequence[Judgement],
    *,
    chain: TrustChain,
    signer: Signer,
    reason: str,
    run: str | None,
    actor: str,
    signed: Callable[[Change], Sequence[bytes]],
    now: datetime,
) -> tuple[AppliedPack, Path]:
    """Write down that the end of an allowed way is enforced from now on; gives the entry and its receipt.

    Raises:
        LedgerError: it could not be recorded; then nothing has changed.
    """
    first, last = way[0], way[-1]
    used = [_used(each.decision, signed) for each in way]
    pack = AppliedPack(
        pack=_name(last.new.snapshot),
        previous=_name(first.old.snapshot) if first.old.commit else None,
        repository=chain.repository,
        ref=last.new.ref,
        root_version=chain.current.root.version,
        root_digest=chain.current.digest,
        roots=tuple(sha256_digest(each.envelope) for each in chain.roots),
        steps=tuple(
            Step.of_decision(
                each.decision, (sha256_digest(one) for one in envelopes), since=next(iter(each.old.since), None)
            )
            for each, envelopes in zip(way, used, strict=True)
        ),
        reason=reason,
        locked=_locks(way),
        enforced_by=run,
        actor=actor,
        applied=now,
    )
    envelopes = tuple(dict.fromkeys(each for some in used for each in some))
    return book.apply(pack, signer, signed=envelopes, roots=[each.envelope for each in chain.roots])


def _used(decision: Decision, signed: Callable[[Change], Sequence[bytes]]) -> tuple[bytes, ...]:
    """Find the signed files behind the statements that count."""
    wanted = set(decision.consumed)
    found = {payload_digest(each): each for each in signed(decision.change) if len(each) <= MAX_ENVELOPE}
    return tuple(each for digest, each in sorted(found.items()) if digest in wanted)


def _locks(way: Sequence[Judgement]) -> bool:
    """Tell whether a way back locks the pack: the pack that was in force says so."""
    back = any(TransitionClass.ROLLBACK in each.decision.classification.classes for each in way)
    before = way[0].old.snapshot
    pack = pack_of(before) if before.commit else None
    return back and (pack is None or pack.locks_on_rollback)


def _name(snapshot: Snapshot) -> PackName:
    return PackName(commit=snapshot.commit, scope=snapshot.digest, version=version_of(snapshot))
