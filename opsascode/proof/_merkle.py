"""Is this entry in that log, and is that log a continuation of this one?

Rules: hashing and proofs are those of RFC 6962, section 2.1, with SHA-256. Whole subtrees are addressed by `(level,
index)`: the subtree of 2**level leaves starting at leaf index * 2**level. Its hash is found at `position(level,
index)` when all hashes are written in the order in which they become known, so that one growing file serves every
proof, and the tree is never read as a whole.

Not here: files, signatures, and what an entry means.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

HashAt: TypeAlias = "Callable[[int, int], bytes]"
"""Gives the hash of the whole subtree `(level, index)`."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash an entry as a leaf (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent (RFC 6962, 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def position(level: int, index: int) -> int:
    """Place of a whole subtree's hash among all, as they become known: leaf 0, leaf 1, (1, 0), leaf 2, and so on."""
    last_leaf = ((index + 1) << level) - 1
    return 2 * last_leaf - last_leaf.bit_count() + level


def hashes_written(size: int) -> int:
    """How many hashes a log of this size has written."""
    return 2 * size - size.bit_count()


class CompactRange:
    """The whole subtrees covering the first `size` leaves: all that is needed to append and to know the root."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        """Continue from known peaks, largest subtree first."""
        self.size = size
        self.peaks = list(peaks)

    def append(self, leaf: bytes) -> list[bytes]:
        """Add a leaf hash; return every hash that became known: the leaf's, then the parents it completed."""
        written = [leaf]
        size = self.size
        while size & 1:
            leaf = node_hash(self.peaks.pop(), leaf)
            written.append(leaf)
            size >>= 1
        self.peaks.append(leaf)
        self.size += 1
        return written

    def root(self) -> bytes:
        """Hash of the whole log (RFC 6962, 2.1)."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def copy(self) -> CompactRange:
        """Branch off, to try an append without losing this state."""
        return CompactRange(self.size, self.peaks)


def peaks(size: int, at: HashAt) -> list[bytes]:
    """Hashes of the whole subtrees covering the first `size` leaves, largest first."""
    return _range(0, size, at)


def inclusion_proof(index: int, size: int, at: HashAt) -> list[bytes]:
    """Prove that leaf `index` is in the tree of `size` leaves: hashes from the leaf's sibling to the root's child.

    Raises:
        ValueError: there is no such leaf in a tree of that size.
    """
    if not 0 <= index < size:
        raise ValueError(f"a log of {size} entries has no entry {index}")
    proof: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            proof.append(_subtree(middle, stop, at))
            stop = middle
        else:
            proof.append(_subtree(start, middle, at))
            start = middle
    return proof[::-1]


def consistency_proof(old: int, new: int, at: HashAt) -> list[bytes]:
    """Prove that the tree of `new` leaves continues that of `old` (RFC 6962, 2.1.2).

    Raises:
        ValueError: `old` is 0 (nothing to prove) or beyond `new`.
    """
    if not 0 < old <= new:
        raise ValueError(f"a log of {new} entries cannot continue one of {old}")
    proof: list[bytes] = []
    start, stop, known = 0, new, True
    while old - start != stop - start:
        middle = start + _split(stop - start)
        if old <= middle:
            proof.append(_subtree(middle, stop, at))
            stop = middle
        else:
            proof.append(_subtree(start, middle, at))
            start, known = middle, False
    if not known:
        proof.append(_subtree(start, stop, at))
    return proof[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Say whether the proof leads from this leaf at this index to this root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size or not _all_hashes(proof):
        return False
    node, last, current = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            current = node_hash(sibling, current)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and current == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Say whether the proof shows the newer tree to continue the older one (RFC 9162, 2.1.4.2)."""
    if not 0 < old <= new or not _all_hashes(proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    # A whole old tree is its own first hash, and is left out of the proof.
    path = [old_root, *proof] if old.bit_count() == 1 else list(proof)
    if not path:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    seen_old = seen_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            seen_old, seen_new = node_hash(sibling, seen_old), node_hash(sibling, seen_new)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            seen_new = node_hash(seen_new, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and seen_old == old_root and seen_new == new_root


def _all_hashes(proof: Sequence[bytes]) -> bool:
    return all(len(one) == HASH_BYTES for one in proof)


def _split(size: int) -> int:
    """Give the largest power of two below `size` (RFC 6962, 2.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def _subtree(start: int, stop: int, at: HashAt) -> bytes:
    return CompactRange(stop - start, _range(start, stop, at)).root()


def _range(start: int, stop: int, at: HashAt) -> list[bytes]:
    """Whole subtrees from `start` to `stop`, where `start` is a multiple of the largest of them."""
    found: list[bytes] = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        found.append(at(level, start >> level))
        start += 1 << level
    return found
