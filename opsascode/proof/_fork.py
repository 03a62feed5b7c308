"""Did somebody show two histories of one log? Here is the proof, for anybody who has the log's keys.

A fork proof is one JSON file: two checkpoints of one origin, each signed by a key of the log, the smaller one first.
Where they are of one size, their roots differ, and that is all. Where they are not, it also holds the root that the
larger one has at the smaller one's size, and the RFC 6962 proof that it has: it differs from the smaller one's root.

Rules: the proof needs nothing but itself and the log's public keys. It says that two histories were signed, not who
meant to: a key that was misused, or a place that took back what it had accepted.

Not here: noticing a fork (`_team_log`), and what to do about it.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.proof import _merkle
from opsascode.proof._canonical import canonical_bytes, parse_strict
from opsascode.proof._codes import Code, CodedProofError
from opsascode.proof._merkle import HASH_BYTES
from opsascode.proof._note import NoteKey, open_checkpoint, open_note, strict_base64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.proof._keys import PublicKey
    from opsascode.proof._note import Checkpoint

FORK_FORMAT = "opsascode-fork-proof/v1"
_KEYS = {"format", "checkpoints", "root", "proof"}
_MAX_FILE = 262144


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkProof:
    """What was proven: two states that cannot both be of one history, and the keys that signed each."""

    smaller: Checkpoint
    larger: Checkpoint
    signers: tuple[tuple[str, ...], tuple[str, ...]]

    def describe(self) -> str:
        """Say it in one sentence."""
        at = f"{self.smaller.size} and {self.larger.size} entries"
        if self.smaller.size == self.larger.size:
            at = f"{self.smaller.size} entries"
        by = " and ".join(sorted({keyid for keyids in self.signers for keyid in keyids}))
        return f"two histories of {self.smaller.origin} were signed, with {at}, by {by}"


def write_fork(smaller: str, larger: str, *, root: bytes | None = None, proof: Sequence[bytes] = ()) -> bytes:
    """Write a fork proof: two checkpoints, and what shows that the larger one does not continue the smaller one."""
    return canonical_bytes(
        {
            "format": FORK_FORMAT,
            "checkpoints": [smaller, larger],
            "root": None if root is None else base64.b64encode(root).decode(),
            "proof": [base64.b64encode(one).decode() for one in proof],
        }
    )


def is_fork(content: bytes) -> bool:
    """Say whether a file wants to be a fork proof."""
    return content[:_MAX_FILE].find(f'"format":"{FORK_FORMAT}"'.encode()) >= 0


def verify_fork(content: bytes, keys: Sequence[PublicKey]) -> ForkProof:
    """Say what a fork proof proves, once it does; `keys` are those that sign the log's checkpoints.

    Raises:
        ProofError: it proves no fork.
    """
    found = parse_strict(content, max_bytes=_MAX_FILE)
    if not isinstance(found, dict) or found.keys() != _KEYS or found["format"] != FORK_FORMAT:
        raise CodedProofError(Code.PARSE, "not a fork proof")
    notes, root, hashes = found["checkpoints"], found["root"], found["proof"]
    if not isinstance(notes, list) or len(notes) != 2 or not isinstance(hashes, list):  # noqa: PLR2004 - two states
        raise CodedProofError(Code.PARSE, "a fork proof has two checkpoints and a list of hashes")
    texts = [one if isinstance(one, str) else "" for one in notes]
    smaller = open_checkpoint(texts[0], keys)
    larger = open_checkpoint(texts[1], keys, origin=smaller.origin)
    prefix = larger.root
    if smaller.size < larger.size:
        prefix = _hash(root)
        proof = [_hash(one) for one in hashes]
        if not _merkle.verify_consistency(smaller.size, larger.size, prefix, larger.root, proof):
            raise CodedProofError(Code.PROOF, "the proof does not show what the larger state holds at the smaller one")
    if smaller.size > larger.size or prefix == smaller.root:
        raise CodedProofError(Code.PROOF, "the two states may be of one history: this proves no fork")
    return ForkProof(
        smaller=smaller,
        larger=larger,
        signers=(_signers(texts[0], smaller.origin, keys), _signers(texts[1], smaller.origin, keys)),
    )


def _signers(note: str, origin: str, keys: Sequence[PublicKey]) -> tuple[str, ...]:
    return tuple(one.key.keyid for one in open_note(note, [NoteKey(name=origin, key=key) for key in keys])[1])


def _hash(found: object) -> bytes:
    raw = strict_base64(found, Code.PROOF) if isinstance(found, str) else b""
    if len(raw) != HASH_BYTES:
        raise CodedProofError(Code.PROOF, "a hash of the fork proof is no SHA-256")
    return raw
