"""Does this text prove that an entry is in a log?

Rules: the form is c2sp.org/tlog-proof@v1; the proof is checked against the checkpoint inside it, and the checkpoint
against a key the reader already has. Extra data is not accepted: nobody signs it.

Not here: what the entry says.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from opsascode.proof._codes import Code, CodedProofError
from opsascode.proof._merkle import HASH_BYTES, leaf_hash, verify_inclusion
from opsascode.proof._note import Checkpoint, open_checkpoint, strict_base64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.proof._keys import PublicKey

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile("index (0|[1-9][0-9]{0,17})", re.ASCII)
_MAX_PROOF = 65536
_MAX_HASHES = 63


def write_proof(index: int, hashes: Sequence[bytes], checkpoint: str) -> str:
    """Write the proof of one entry."""
    lines = [PROOF_HEADER, f"index {index}", *(base64.b64encode(one).decode() for one in hashes)]
    return "\n".join(lines) + "\n\n" + checkpoint


def read_proof(proof: str) -> tuple[int, tuple[bytes, ...], str]:
    """Take a proof apart into index, hashes and checkpoint; nothing is verified.

    Raises:
        ProofError: it is not of that form.
    """
    if len(proof) > _MAX_PROOF:
        raise CodedProofError(Code.PROOF, f"a proof of {len(proof)} characters where at most {_MAX_PROOF} are allowed")
    head, blank, checkpoint = proof.partition("\n\n")
    lines = head.split("\n")
    if not blank or lines[0] != PROOF_HEADER:
        raise CodedProofError(Code.PROOF, f"not a proof of the form {PROOF_HEADER}")
    found = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
    if found is None:
        raise CodedProofError(Code.PROOF, "the proof's second line is not its index")
    if len(lines) - 2 > _MAX_HASHES:
        raise CodedProofError(Code.PROOF, "the proof has more hashes than any log needs")
    hashes = tuple(strict_base64(line, Code.PROOF) for line in lines[2:])
    if any(len(one) != HASH_BYTES for one in hashes):
        raise CodedProofError(Code.PROOF, "a line of the proof is no SHA-256")
    return int(found[1]), hashes, checkpoint


def verify_proof(
    entry: bytes,
    proof: str,
    keys: Sequence[PublicKey],
    *,
    origin: str | None = None,
    seen: dict[str, Checkpoint] | None = None,
) -> tuple[int, Checkpoint]:
    """Return the entry's index and the checkpoint, once the entry is proven to be in the log one of the keys signs.

    `seen` remembers checkpoints that were verified with the same keys and origin: a receipt repeats one many times.

    Raises:
        ProofError: any part does not hold.
    """
    index, hashes, note = read_proof(proof)
    checkpoint = seen.get(note) if seen is not None else None
    if checkpoint is None:
        checkpoint = open_checkpoint(note, keys, origin=origin)
        if seen is not None:
            seen[note] = checkpoint
    if not verify_inclusion(leaf_hash(entry), index, checkpoint.size, hashes, checkpoint.root):
        raise CodedProofError(
            Code.PROOF, f"the record is not entry {index} of {checkpoint.origin} at size {checkpoint.size}"
        )
    return index, checkpoint
