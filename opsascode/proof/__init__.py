"""What is proven? Bytes, keys, signed statements, and the append-only ledger. Knows nothing of operations.

Loading this door loads no room: each name is fetched when it is first asked for, so that a command that verifies
nothing does not pay for cryptography.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opsascode.proof._canonical import Json, canonical_bytes, parse_strict, sha256_digest
    from opsascode.proof._codes import Code, CodedLedgerError, CodedProofError
    from opsascode.proof._cosign import (
        AddCheckpoint,
        Cosignature,
        Witness,
        WitnessRefusedError,
        add_lines,
        cosign,
        cosignatures,
        newest_word,
        read_request,
        require_quorum,
    )
    from opsascode.proof._envelope import (
        MAX_ENVELOPE,
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
    from opsascode.proof._fork import is_fork, verify_fork, write_fork
    from opsascode.proof._handover import Handover, TeamFold, TeamKeys, hand_over
    from opsascode.proof._json_parts import JsonParts, read_stamp, stamp
    from opsascode.proof._keys import PublicKey, Signer, ensure_machine_key, load_signer
    from opsascode.proof._ledger import Ledger
    from opsascode.proof._note import Checkpoint, NoteKey, open_checkpoint, read_checkpoint
    from opsascode.proof._reader import Bookmark, LedgerReader, LoggedRecord
    from opsascode.proof._receipt import ProvenRecord, ReceiptVerdict, make_receipt, verify_receipt
    from opsascode.proof._root import ROOT_TYPE, TrustRoot
    from opsascode.proof._root_chain import SignedRoot, TrustChain, pending_root, read_chain
    from opsascode.proof._root_changes import RootChange, loosens, meet, root_changes
    from opsascode.proof._root_envelope import add_signature, join_signatures
    from opsascode.proof._root_parts import (
        BREAK_GLASS,
        DEFAULT_PROTECTED,
        POLICY_APPROVER,
        ROLLBACK_APPROVER,
        ROOT_ROLE,
        RUN_APPROVER,
        TRUST_SCOPE,
        Distrust,
        KeyPurpose,
        MachineRole,
        Role,
        TrustedKey,
        TrustedMachine,
        TrustedPerson,
        teams_among,
    )
    from opsascode.proof._root_rules import root_faults
    from opsascode.proof._sshsig import APPROVAL_NAMESPACE, PersonKey, armor, dearmor, open_by_person
    from opsascode.proof._team_log import LedgerForkError, TeamLog, TeamRecord
    from opsascode.proof._tlog import verify_proof
    from opsascode.proof._verify import verify_ledger

__all__ = [
    "APPROVAL_NAMESPACE",
    "BREAK_GLASS",
    "DEFAULT_PROTECTED",
    "MAX_ENVELOPE",
    "PAYLOAD_TYPE",
    "POLICY_APPROVER",
    "PREDICATE_PREFIX",
    "ROLLBACK_APPROVER",
    "ROOT_ROLE",
    "ROOT_TYPE",
    "RUN_APPROVER",
    "TRUST_SCOPE",
    "AddCheckpoint",
    "Bookmark",
    "Checkpoint",
    "Code",
    "CodedLedgerError",
    "CodedProofError",
    "Cosignature",
    "Distrust",
    "Handover",
    "Json",
    "JsonParts",
    "KeyPurpose",
    "Ledger",
    "LedgerForkError",
    "LedgerReader",
    "LoggedRecord",
    "MachineRole",
    "NoteKey",
    "PersonKey",
    "ProvenRecord",
    "PublicKey",
    "ReceiptVerdict",
    "Record",
    "Role",
    "RootChange",
    "SignedRoot",
    "Signer",
    "Statement",
    "TeamFold",
    "TeamKeys",
    "TeamLog",
    "TeamRecord",
    "TrustChain",
    "TrustRoot",
    "TrustedKey",
    "TrustedMachine",
    "TrustedPerson",
    "Witness",
    "WitnessRefusedError",
    "add_lines",
    "add_signature",
    "armor",
    "canonical_bytes",
    "cosign",
    "cosignatures",
    "dearmor",
    "ensure_machine_key",
    "hand_over",
    "is_fork",
    "join_signatures",
    "load_signer",
    "loosens",
    "make_receipt",
    "meet",
    "newest_word",
    "open_by_person",
    "open_checkpoint",
    "open_envelope",
    "parse_strict",
    "payload_digest",
    "pending_root",
    "pre_authentication",
    "read_chain",
    "read_checkpoint",
    "read_request",
    "read_stamp",
    "read_unverified",
    "require_quorum",
    "root_changes",
    "root_faults",
    "seal",
    "sha256_digest",
    "stamp",
    "statement_payload",
    "teams_among",
    "verify_fork",
    "verify_ledger",
    "verify_proof",
    "verify_receipt",
    "wrap",
    "write_fork",
]

_ROOMS = {
    "_canonical": ("Json", "canonical_bytes", "parse_strict", "sha256_digest"),
    "_codes": ("Code", "CodedLedgerError", "CodedProofError"),
    "_envelope": (
        "MAX_ENVELOPE", "PAYLOAD_TYPE", "PREDICATE_PREFIX", "Record", "Statement", "open_envelope", "payload_digest",
        "pre_authentication", "read_unverified", "seal", "statement_payload", "wrap",
    ),
    "_json_parts": ("JsonParts", "read_stamp", "stamp"),
    "_keys": ("PublicKey", "Signer", "ensure_machine_key", "load_signer"),
    "_ledger": ("Ledger",),
    "_note": ("read_checkpoint", "Checkpoint", "NoteKey", "open_checkpoint"),
    "_reader": ("Bookmark", "LedgerReader", "LoggedRecord"),
    "_receipt": ("ProvenRecord", "ReceiptVerdict", "make_receipt", "verify_receipt"),
    "_root": ("ROOT_TYPE", "TrustRoot"),
    "_root_chain": ("SignedRoot", "TrustChain", "pending_root", "read_chain"),
    "_root_changes": ("RootChange", "loosens", "meet", "root_changes"),
    "_root_envelope": ("add_signature", "join_signatures"),
    "_root_parts": (
        "BREAK_GLASS", "DEFAULT_PROTECTED", "POLICY_APPROVER", "ROLLBACK_APPROVER", "ROOT_ROLE",
        "RUN_APPROVER", "TRUST_SCOPE", "Distrust", "KeyPurpose", "MachineRole", "Role", "TrustedKey",
        "TrustedMachine", "TrustedPerson", "teams_among",
    ),
    "_root_rules": ("root_faults",),
    "_sshsig": ("APPROVAL_NAMESPACE", "PersonKey", "armor", "dearmor", "open_by_person"),
    "_cosign": (
        "AddCheckpoint", "Cosignature", "Witness", "WitnessRefusedError", "add_lines", "cosign", "cosignatures",
        "newest_word", "read_request", "require_quorum",
    ),
    "_fork": ("is_fork", "verify_fork", "write_fork"),
    "_handover": ("Handover", "TeamFold", "TeamKeys", "hand_over"),
    "_team_log": ("LedgerForkError", "TeamLog", "TeamRecord"),
    "_tlog": ("verify_proof",),
    "_verify": ("verify_ledger",),
}  # fmt: skip
_HOME = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
