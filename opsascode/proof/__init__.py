"""What is proven? Bytes, keys, signed statements, and the append-only ledger. Knows nothing of operations.

Loading this door loads no room: each name is fetched when it is first asked for, so that a command that verifies
nothing does not pay for cryptography.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opsascode.proof._canonical import Json, canonical_bytes, parse_strict, sha256_digest
    from opsascode.proof._codes import Code, CodedLedgerError, CodedProofError, Fault
    from opsascode.proof._envelope import (
        PAYLOAD_TYPE,
        PREDICATE_PREFIX,
        Record,
        Statement,
        open_envelope,
        payload_digest,
        pre_authentication,
        read_unverified,
        seal,
        statement_payload,
        wrap,
    )
    from opsascode.proof._keys import PublicKey, Signer, Verifier, ensure_machine_key, load_signer
    from opsascode.proof._ledger import Entry, Ledger
    from opsascode.proof._note import Checkpoint, NoteKey, open_checkpoint
    from opsascode.proof._reader import Bookmark, LedgerReader, LoggedRecord
    from opsascode.proof._receipt import Attachment, ProvenRecord, ReceiptVerdict, make_receipt, verify_receipt
    from opsascode.proof._sshsig import APPROVAL_NAMESPACE, PersonKey, armor, dearmor, open_by_person, signed_key
    from opsascode.proof._tlog import verify_proof
    from opsascode.proof._verify import LedgerVerdict, verify_ledger

__all__ = [
    "APPROVAL_NAMESPACE",
    "PAYLOAD_TYPE",
    "PREDICATE_PREFIX",
    "Attachment",
    "Bookmark",
    "Checkpoint",
    "Code",
    "CodedLedgerError",
    "CodedProofError",
    "Entry",
    "Fault",
    "Json",
    "Ledger",
    "LedgerReader",
    "LedgerVerdict",
    "LoggedRecord",
    "NoteKey",
    "PersonKey",
    "ProvenRecord",
    "PublicKey",
    "ReceiptVerdict",
    "Record",
    "Signer",
    "Statement",
    "Verifier",
    "armor",
    "canonical_bytes",
    "dearmor",
    "ensure_machine_key",
    "load_signer",
    "make_receipt",
    "open_by_person",
    "open_checkpoint",
    "open_envelope",
    "parse_strict",
    "payload_digest",
    "pre_authentication",
    "read_unverified",
    "seal",
    "sha256_digest",
    "signed_key",
    "statement_payload",
    "verify_ledger",
    "verify_proof",
    "verify_receipt",
    "wrap",
]

_ROOMS = {
    "_canonical": ("Json", "canonical_bytes", "parse_strict", "sha256_digest"),
    "_codes": ("Code", "CodedLedgerError", "CodedProofError", "Fault"),
    "_envelope": (
        "PAYLOAD_TYPE", "PREDICATE_PREFIX", "Record", "Statement", "open_envelope", "payload_digest",
        "pre_authentication", "read_unverified", "seal", "statement_payload", "wrap",
    ),
    "_keys": ("PublicKey", "Signer", "Verifier", "ensure_machine_key", "load_signer"),
    "_ledger": ("Entry", "Ledger"),
    "_note": ("Checkpoint", "NoteKey", "open_checkpoint"),
    "_reader": ("Bookmark", "LedgerReader", "LoggedRecord"),
    "_receipt": ("Attachment", "ProvenRecord", "ReceiptVerdict", "make_receipt", "verify_receipt"),
    "_sshsig": ("APPROVAL_NAMESPACE", "PersonKey", "armor", "dearmor", "open_by_person", "signed_key"),
    "_tlog": ("verify_proof",),
    "_verify": ("LedgerVerdict", "verify_ledger"),
}  # fmt: skip
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
