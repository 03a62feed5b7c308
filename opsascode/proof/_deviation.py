"""Which entries deviate from those that were signed?

The file of subtree hashes holds the hash of every entry. Nobody signs that file, but once its hashes lead to the
signed root, they are as good as signed: then each deviating entry can be named, and how it deviates.

Not here: finding out that something deviates (`_verify`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsascode.proof._codes import Code, Fault
from opsascode.proof._merkle import HASH_BYTES, CompactRange, position

if TYPE_CHECKING:
    from pathlib import Path

    from opsascode.proof._note import Checkpoint


def name_deviations(found: bytes, signed: Checkpoint, nodes: Path) -> tuple[Fault, ...] | None:
    """Compare the leaf hashes found with those that were signed; None where the latter are not to be had."""
    expected = _signed_leaves(nodes, signed)
    return None if expected is None else _compare(_split(found), expected)


def _signed_leaves(nodes: Path, signed: Checkpoint) -> list[bytes] | None:
    try:
        content = nodes.read_bytes()
    except OSError:
        return None
    leaves = []
    grown = CompactRange()
    for index in range(signed.size):
        start = position(0, index) * HASH_BYTES
        leaf = content[start : start + HASH_BYTES]
        leaves.append(leaf)
        grown.append(leaf)
    return leaves if grown.root() == signed.root else None


def _compare(found: list[bytes], expected: list[bytes]) -> tuple[Fault, ...]:
    here, there = set(found), set(expected)
    lost = {index for index, leaf in enumerate(expected) if leaf not in here}
    strange = {index for index, leaf in enumerate(found) if leaf not in there}
    faults = []
    if len(found) == len(expected) and lost == strange:
        # Nothing shifted: each strange entry stands where one is lost.
        faults += [_fault(index, Code.ENTRY_CHANGED, "the entry is not the one that was signed") for index in lost]
    else:
        faults += [_fault(index, Code.ENTRY_REMOVED, "the entry that was signed here is gone") for index in lost]
        faults += [_fault(index, Code.ENTRY_ADDED, "the entry here was never signed") for index in strange]
    kept = [(index, leaf) for index, leaf in enumerate(found) if leaf in there]
    order = [leaf for leaf in expected if leaf in here]
    for (index, leaf), right in zip(kept, order, strict=False):
        if leaf != right:
            faults.append(_fault(index, Code.ENTRY_MOVED, "the entry here was signed at another place"))
    faults += [_fault(index, Code.ENTRY_ADDED, "the entry here is a copy") for index, _ in kept[len(order) :]]
    return tuple(faults)


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[start : start + HASH_BYTES] for start in range(0, len(hashes), HASH_BYTES)]


def _fault(index: int, code: Code, message: str) -> Fault:
    return Fault(index=index, code=code, message=message)
