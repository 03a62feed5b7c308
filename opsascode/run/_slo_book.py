"""What was measured, kept in the ledger: `slo-snapshot:v1`, the snapshots of some policies at one moment.

So it can be said later, and proven, what was known when something was decided, and a change of a policy can be tried on
what really happened. Snapshots are whole: with the commit, the digest and the targets they were measured for. As many
share a record as keep it small.

Not here: measuring (`slo`), replaying (`_replay`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import UsageError
from opsascode.proof import PREDICATE_PREFIX, Json, Statement, canonical_bytes, seal, sha256_digest
from opsascode.run._ledger_records import ledger_records
from opsascode.run._record import timestamp
from opsascode.slo import SloSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from opsascode.proof import PublicKey, Signer, TeamLog
    from opsascode.run._state import State

SLO_SNAPSHOT: Final = f"{PREDICATE_PREFIX}slo-snapshot:v1"
"""Its predicate: ledger, repository, snapshots (a list of SloSnapshot.to_json), actor, recorded."""
_SHARED: Final = 24 * 1024
_MOST: Final = 44 * 1024  # an entry is at most 64 KiB, a third of which is Base64


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSnapshot:
    """A snapshot as it stands in a ledger; `digest` names its record."""

    snapshot: SloSnapshot
    actor: str
    ledger: str
    index: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SloBook:
    """The snapshots of one repository that this machine recorded; with `team`, those of other machines as well."""

    state: State
    repository: str
    keys: tuple[PublicKey, ...]
    team: TeamLog | None = None

    def record(self, snapshots: Sequence[SloSnapshot], signer: Signer, *, actor: str, now: datetime) -> tuple[int, ...]:
        """Record snapshots; gives the places of the records in the ledger.

        Raises:
            UsageError: one is too large for a record; then none is recorded.
            LedgerError: they could not be recorded.
        """
        shared = tuple(_share(snapshots))
        with self.state.ledger(signer) as ledger:
            about: dict[str, Json] = {
                "ledger": ledger.origin,
                "repository": self.repository,
                "actor": actor,
                "recorded": timestamp(now),
            }
            return tuple(ledger.append(seal(_statement(about, each), signer)).index for each in shared)

    def read(self) -> Iterator[RecordedSnapshot]:
        """Give the snapshots in the order of the ledger; what this release cannot read is left out.

        Raises:
            LedgerError: the ledger is damaged, or not the one this machine knows.
        """
        for found in ledger_records(self.state, (SLO_SNAPSHOT,), keys=self.keys, team=self.team):
            predicate = found.record.statement.predicate
            listed = predicate.get("snapshots")
            if predicate.get("repository") != self.repository or not isinstance(listed, list):
                continue
            for each in listed:
                with suppress(UsageError):
                    yield RecordedSnapshot(
                        snapshot=SloSnapshot.of_json(each),
                        actor=str(predicate.get("actor", "")),
                        ledger=found.ledger,
                        index=found.index,
                        digest=found.record.digest,
                    )


def _statement(about: dict[str, Json], snapshots: list[Json]) -> Statement:
    """State what was measured; the subject is the snapshots themselves, by the digest of their canonical JSON."""
    return Statement(
        predicate_type=SLO_SNAPSHOT,
        subject_name="slo-snapshots",
        subject_digest=sha256_digest(canonical_bytes(snapshots)),
        predicate={**about, "snapshots": snapshots},
    )


def _share(snapshots: Iterable[SloSnapshot]) -> Iterator[list[Json]]:
    """Put snapshots together, as many as keep a record small."""
    shared: list[Json] = []
    size = 0
    for each in snapshots:
        content = each.to_json()
        own = len(canonical_bytes(content))
        if own > _MOST:
            raise UsageError(
                f"what was measured for {each.policy} is too large for a record: {own} bytes, at most {_MOST}",
                advice="split the policy into several ones with fewer promises",
            )
        if shared and size + own > _SHARED:
            yield shared
            shared, size = [], 0
        shared.append(content)
        size += own
    if shared:
        yield shared
