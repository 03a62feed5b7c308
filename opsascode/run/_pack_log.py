"""What happened to the policy pack, told by the ledger's records in their order?

`policy-apply` moves the applied pack, `policy-unlock` lifts the lock that a rollback left, `root-seen` remembers when a
looser trust root was first met, and broken glass puts another pack in force for some hosts and a while. What other
machines recorded counts as far as it holds.

Not here: the records themselves (`_packs`), and looking at those of others (`_doubt`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opsascode.policy import BREAK_GLASS_TYPE, RATIFICATION_TYPE, BreakGlass, LoggedStatement
from opsascode.proof import (
    BREAK_GLASS,
    POLICY_APPROVER,
    ROLLBACK_APPROVER,
    payload_digest,
    read_unverified,
)
from opsascode.run._packs import (
    GLASS_BROKEN,
    GLASS_RATIFIED,
    POLICY_APPLY,
    POLICY_UNLOCK,
    ROOT_SEEN,
    UNLOCK_REQUEST,
    AppliedPack,
    BrokenGlass,
    PackName,
    Unlock,
    moment_of_record,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from opsascode.proof import TeamRecord
    from opsascode.run._doubt import Doubt


@dataclass(frozen=True, slots=True, kw_only=True)
class PackLog:
    """Everything that happened to the pack of one repository, oldest first.

    `glass` are the packs of broken glass that no applied pack followed, `statements` what people signed about any.
    `doubted` names records of other machines that did not hold.
    """

    packs: tuple[AppliedPack, ...] = ()
    unlocks: tuple[Unlock, ...] = ()
    consumed: frozenset[str] = frozenset()
    seen_roots: Mapping[str, datetime] = field(default_factory=dict)
    glass: tuple[BrokenGlass, ...] = ()
    statements: tuple[LoggedStatement, ...] = ()
    locked: bool = False
    doubted: tuple[str, ...] = ()

    @property
    def current(self) -> AppliedPack | None:
        """The pack that is enforced, but where a glass is broken."""
        return self.packs[-1] if self.packs else None

    def in_force(self, hosts: Iterable[str], now: datetime) -> PackName | None:
        """Give the pack that is enforced for a run on these hosts now."""
        targets = tuple(hosts)
        broken = next((each for each in reversed(self.glass) if targets and each.covers(targets, now)), None)
        if broken is not None:
            return broken.pack
        return self.current.pack if self.current else None


def fold_packs(records: Iterable[TeamRecord], repository: str, doubt: Doubt | None = None) -> PackLog:
    """Tell what the records say about the pack of one repository; others are passed over.

    `doubt` looks at records of other machines; without it there are only those of this one.

    Raises:
        LedgerError: a record is not of its form.
        ProofError: a record of another machine cannot be judged here.
    """
    fold = _Fold(doubt)
    for logged in records:
        if logged.record.statement.predicate.get("repository") == repository:
            fold.take(logged)
    return PackLog(
        packs=tuple(fold.packs),
        unlocks=tuple(fold.unlocks),
        consumed=frozenset(fold.consumed),
        seen_roots=fold.seen,
        glass=tuple(fold.glass),
        statements=tuple(fold.statements),
        locked=fold.locked,
        doubted=tuple(fold.doubted),
    )


class _Fold:
    """What the records said so far."""

    def __init__(self, doubt: Doubt | None) -> None:
        self.doubt = doubt
        self.packs: list[AppliedPack] = []
        self.unlocks: list[Unlock] = []
        self.consumed: set[str] = set()
        self.seen: dict[str, datetime] = {}
        self.glass: list[BrokenGlass] = []
        self.statements: list[LoggedStatement] = []
        self.doubted: list[str] = []
        self.locked = False

    def take(self, logged: TeamRecord) -> None:
        """Take in the next record, if it is this machine's own or holds when it is looked at."""
        statement = logged.record.statement
        if not self._is_believed(logged):
            self.doubted.append(f"{statement.kind}, entry {logged.index} of {logged.ledger}")
        elif statement.predicate_type == POLICY_APPLY:
            self.packs.append(AppliedPack.of(statement.predicate, logged.index))
            self.consumed |= {each for step in self.packs[-1].steps for each in step.attestations}
            self.locked = self.packs[-1].locked
            self.glass.clear()
        elif statement.predicate_type == POLICY_UNLOCK:
            self.unlocks.append(Unlock.of(statement.predicate))
            self.locked = False
        elif statement.predicate_type == ROOT_SEEN:
            self.seen.setdefault(str(statement.predicate.get("root")), moment_of_record(statement.predicate.get("at")))
        else:
            self.statements.append(_signed(logged))
            if statement.predicate_type == GLASS_BROKEN:
                self.glass.append(_broken(logged, self.statements[-1]))
                self.consumed.add(self.statements[-1].digest)

    def _is_believed(self, logged: TeamRecord) -> bool:
        said, kind = logged.record.statement.predicate, logged.record.statement.predicate_type
        if self.doubt is None or logged.ledger == self.doubt.own or kind == ROOT_SEEN:
            return True
        if kind == POLICY_APPLY:
            before = self.packs[-1] if self.packs else None
            return self.doubt.believes_pack(before, AppliedPack.of(said, logged.index), logged.record.digest)
        envelope = str(said.get("request")).encode()
        asked, roles = _REQUESTS[kind]
        if not self.doubt.believes_request(envelope, asked, roles):
            return False
        return kind != GLASS_BROKEN or _broken(logged, _signed(logged)).is_as_signed


_REQUESTS: Final = {
    POLICY_UNLOCK: (UNLOCK_REQUEST, (POLICY_APPROVER, ROLLBACK_APPROVER)),
    GLASS_BROKEN: (BREAK_GLASS_TYPE, (BREAK_GLASS,)),
    GLASS_RATIFIED: (RATIFICATION_TYPE, (ROLLBACK_APPROVER,)),
}
"""What a person must have signed for a record, and which role they must have for it."""


def _signed(logged: TeamRecord) -> LoggedStatement:
    """Read what a person signed from the record that holds it; it was verified before it was recorded."""
    said = logged.record.statement.predicate
    envelope = str(said.get("request")).encode()
    return LoggedStatement(
        entry=logged.index,
        when=moment_of_record(said.get("at")),
        digest=payload_digest(envelope),
        statement=read_unverified(envelope),
    )


def _broken(logged: TeamRecord, signed: LoggedStatement) -> BrokenGlass:
    glass = BreakGlass.of(signed.statement)
    pack = PackName.of(logged.record.statement.predicate.get("pack"))
    return BrokenGlass(
        pack=pack,
        is_as_signed=pack.scope == glass.change.target_scope,
        person=glass.person,
        hosts=glass.hosts,
        expires=glass.expires,
        digest=signed.digest,
        entry=logged.index,
    )
