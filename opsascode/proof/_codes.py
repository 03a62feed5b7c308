"""In one word a machine can match: what exactly is wrong with a proof?

Rules: a code never changes its meaning; the sentence beside it is for people and may. What was asked about bytes
that may be hostile is answered with a `Fault` (a value); what makes going on impossible is raised, with the same
codes.

Not here: exit codes (`opsascode.errors`), and the judging itself (each room judges what it knows).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from opsascode.errors import LedgerError, ProofError


class Code(StrEnum):
    """The machine codes of everything `proof` can find wrong."""

    PARSE = "E_PARSE"
    TYPE = "E_TYPE"
    STATEMENT = "E_STATEMENT"
    SIGNATURE = "E_SIGNATURE"
    KEY = "E_KEY"
    KEY_TYPE = "E_KEY_TYPE"
    KEY_FILE = "E_KEY_FILE"
    WEAK_KEY = "E_WEAK_KEY"
    NAMESPACE = "E_NAMESPACE"
    USER_PRESENCE = "E_USER_PRESENCE"
    KEY_REUSE = "E_KEY_REUSE"
    THRESHOLD = "E_THRESHOLD"
    ROOT = "E_ROOT"
    ROOT_PIN = "E_ROOT_PIN"
    ROOT_VERSION = "E_ROOT_VERSION"
    ROOT_ROLLBACK = "E_ROOT_ROLLBACK"
    REPOSITORY = "E_REPO"
    NOTE = "E_NOTE"
    CHECKPOINT = "E_CHECKPOINT"
    ORIGIN = "E_ORIGIN"
    PROOF = "E_PROOF"
    RECEIPT = "E_RECEIPT"
    ATTACHMENT = "E_ATTACHMENT"
    DUP_RUN = "E_DUP_RUN"
    RUN_UNSTARTED = "E_RUN_UNSTARTED"
    ENTRY_CHANGED = "E_ENTRY_CHANGED"
    ENTRY_REMOVED = "E_ENTRY_REMOVED"
    ENTRY_ADDED = "E_ENTRY_ADDED"
    ENTRY_MOVED = "E_ENTRY_MOVED"
    LEDGER_FORMAT = "E_LEDGER_FORMAT"
    LEDGER_FORK = "E_LEDGER_FORK"
    LEDGER_TORN = "E_LEDGER_TORN"
    LEDGER_TRUNCATED = "E_LEDGER_TRUNCATED"
    LEDGER_IO = "E_LEDGER_IO"
    HIGH_WATER = "E_HIGH_WATER"
    HANDOVER = "E_HANDOVER"
    WITNESS = "E_WITNESS"
    DISTRUSTED = "E_DISTRUSTED"
    LEDGER_STALE = "E_LEDGER_STALE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong; `index` is the entry of the ledger, or record of the receipt, it is about, if any."""

    index: int | None = None
    code: Code
    message: str

    def __str__(self) -> str:
        where = "" if self.index is None else f"entry {self.index}: "
        return f"{where}{self.message} [{self.code}]"


class CodedProofError(ProofError):
    """A signature, key or signed statement is not what it must be."""

    def __init__(self, code: Code, message: str, *, advice: str = "") -> None:
        """Keep the machine code beside the sentence."""
        super().__init__(message, advice=advice)
        self.code = code


class CodedLedgerError(LedgerError):
    """The ledger is not the one that was signed."""

    def __init__(self, code: Code, message: str, *, index: int | None = None, advice: str = "") -> None:
        """Keep the machine code, and which entry it is about, beside the sentence."""
        super().__init__(message, advice=advice)
        self.code = code
        self.index = index
