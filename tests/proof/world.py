"""A small world to prove things in: a machine with a real key, and a ledger on a real disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsascode.proof import PREDICATE_PREFIX, Ledger, Statement, ensure_machine_key, seal, sha256_digest

if TYPE_CHECKING:
    from pathlib import Path

    from opsascode.proof import Json, PublicKey, Signer

ORIGIN = "opsascode/test"


def statement(kind: str = "run-start", name: str = "run-1", **predicate: Json) -> Statement:
    """A statement that is right in every way."""
    return Statement(
        predicate_type=f"{PREDICATE_PREFIX}{kind}:v1",
        subject_name=name,
        subject_digest=sha256_digest(b"the plan"),
        predicate=predicate,
    )


class World:
    """One machine: its key, its ledger, its high-water mark."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ledger_directory = directory / "ledger"
        self.high_water = directory / "state" / "high-water"
        self.signer: Signer = ensure_machine_key(directory / "keys" / "machine", comment="machine@test")

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        return (self.signer.public_key,)

    def open(self) -> Ledger:
        return Ledger.open(self.ledger_directory, signer=self.signer, origin=ORIGIN, high_water=self.high_water)

    def seal(self, kind: str = "run-start", name: str = "run-1", **predicate: Json) -> bytes:
        return seal(statement(kind, name, **predicate), self.signer)

    def record_runs(self, count: int) -> list[bytes]:
        """Append `count` whole runs; return the envelopes in order."""
        sealed = [self.seal(kind, f"run-{n}") for n in range(count) for kind in ("run-start", "run-end")]
        with self.open() as ledger:
            for envelope in sealed:
                ledger.append(envelope)
        return sealed

    @property
    def segment(self) -> Path:
        """The last file of the ledger."""
        return max((self.ledger_directory / "segments").iterdir())
