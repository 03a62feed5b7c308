"""What is in the ledger, and how is it proven to somebody else?

Rules: only what a verified checkpoint covers is given out, and a proof is checked before it is handed over. Reading
needs public keys and no lock beyond the moment in which the sizes are read. Who has read a ledger before goes on behind
a bookmark, and what was read before and now must lead to the signed root together.

Not here: checking every entry (`_verify`), and appending (`_ledger`).
"""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.proof import _merkle
from opsascode.proof._codes import Code, CodedLedgerError, CodedProofError
from opsascode.proof._envelope import Record, open_envelope
from opsascode.proof._merkle import HASH_BYTES, CompactRange
from opsascode.proof._note import open_checkpoint
from opsascode.proof._segments import CHECKPOINT_PREFIX, find_tail, list_segments, read_header, read_lines, reading
from opsascode.proof._tlog import write_proof

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from opsascode.proof._keys import PublicKey, Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRecord:
    """A record with its place in the ledger."""

    index: int
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Bookmark:
    """How far somebody has read a ledger: `size` entries, for which `peaks` stand (RFC 6962 subtrees, largest first).

    The next entry stands at or behind `offset` in the segment that starts with entry `segment`.
    """

    origin: str
    size: int
    peaks: bytes
    segment: int
    offset: int


class Nodes:
    """The hashes of all whole subtrees, kept in a file, or in memory where no file may be written."""

    __slots__ = ("_descriptor", "_memory")

    def __init__(self, path: Path | None) -> None:
        """Use the file, making it if it is not there; with None, use memory."""
        self._memory = bytearray()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = -1 if path is None else os.open(path, flags, 0o640)

    def at(self, level: int, index: int) -> bytes:
        """Give the hash of the whole subtree `(level, index)`.

        Raises:
            LookupError: it is not there.
        """
        start = _merkle.position(level, index) * HASH_BYTES
        if self._descriptor < 0:
            found = bytes(self._memory[start : start + HASH_BYTES])
        else:
            found = os.pread(self._descriptor, HASH_BYTES, start)
        if len(found) != HASH_BYTES:
            raise LookupError(index)
        return found

    def write(self, size: int, hashes: Sequence[bytes]) -> None:
        """Write what became known when the log grew from `size`."""
        start = _merkle.hashes_written(size) * HASH_BYTES
        content = b"".join(hashes)
        if self._descriptor < 0:
            self._memory[start : start + len(content)] = content
        else:
            os.pwrite(self._descriptor, content, start)

    def holds(self, leaf: bytes, size: int) -> bool:
        """Say whether the hash is among those of the first `size` entries, at whatever cost."""
        length = _merkle.hashes_written(size) * HASH_BYTES
        known = bytes(self._memory[:length]) if self._descriptor < 0 else os.pread(self._descriptor, length, 0)
        place = known.find(leaf)
        while place % HASH_BYTES and place >= 0:
            place = known.find(leaf, place + 1)
        return place >= 0

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class LedgerReader:
    """A ledger up to a checkpoint that one of the given keys signed."""

    def __init__(self, directory: Path, *, origin: str, keys: Sequence[PublicKey], nodes: Nodes) -> None:
        """Use `read` instead."""
        self.directory = directory
        self.origin = origin
        self._keys = tuple(keys)
        self._nodes = nodes
        self._note = ""
        self._size = 0
        self._root = _merkle.EMPTY_ROOT

    @staticmethod
    def read(directory: Path, *, keys: Sequence[PublicKey]) -> LedgerReader:
        """Look at a ledger without being able to append; its last checkpoint must be signed by one of the keys.

        Raises:
            LedgerError: there is no ledger, or its last checkpoint does not hold.
        """
        header = read_header(directory)
        reader = LedgerReader(directory, origin=header.origin, keys=keys, nodes=Nodes(None))
        with reading(directory):
            tail = find_tail(list_segments(directory))
        if tail.note is not None:
            try:
                checkpoint = open_checkpoint(tail.note, keys, origin=header.origin)
            except CodedProofError as error:
                raise CodedLedgerError(
                    error.code, f"the last checkpoint of {directory} does not hold: {error}"
                ) from None
            reader._note, reader._size, reader._root = tail.note, checkpoint.size, checkpoint.root
        return reader

    @property
    def size(self) -> int:
        """How many entries the ledger has."""
        return self._size

    @property
    def root(self) -> bytes:
        """Hash over all entries (RFC 6962, 2.1)."""
        return self._root

    def checkpoint(self) -> str:
        """Give the signed note that covers all entries.

        Raises:
            LedgerError: the ledger is empty and nothing was ever signed.
        """
        if not self._note:
            raise CodedLedgerError(Code.CHECKPOINT, "the ledger is empty: there is no checkpoint yet")
        return self._note

    def entry(self, index: int) -> bytes:
        """Give one entry's envelope, byte for byte.

        Raises:
            LedgerError: there is no such entry.
        """
        self._check_index(index)
        return next(self.entries(index))

    def entries(self, start: int = 0) -> Iterator[bytes]:
        """Give the envelopes from `start` on, in order, as they stood when the iteration began."""
        size = self._size
        segments = list_segments(self.directory)
        position = max(0, bisect_right([segment.first for segment in segments], start) - 1)
        for segment in segments[position:]:
            index = segment.first
            for line in read_lines(segment):
                if index >= size:
                    return
                if line.startswith(CHECKPOINT_PREFIX):
                    continue
                if index >= start:
                    yield line[:-1]
                index += 1

    def records(self, keys: Sequence[Verifier] | None = None, start: int = 0) -> Iterator[LoggedRecord]:
        """Give the records from `start` on, each one's signature verified.

        Raises:
            LedgerError: an entry does not verify.
        """
        for index, envelope in enumerate(self.entries(start), start):
            yield _logged(index, envelope, keys or self._keys)

    def pick(self, indexes: Collection[int]) -> Iterator[LoggedRecord]:
        """Give the records at these places, in order; only their signatures are verified.

        Raises:
            LedgerError: there is no such entry, or it does not verify.
        """
        wanted = set(indexes)
        if not wanted:
            return
        for index in (min(wanted), max(wanted)):
            self._check_index(index)
        last = max(wanted)
        for index, envelope in enumerate(self.entries(min(wanted)), min(wanted)):
            if index in wanted:
                yield _logged(index, envelope, self._keys)
            if index == last:
                return

    def unread(self, bookmark: Bookmark | None) -> Unread:
        """Give what stands behind the bookmark; with None, everything.

        Raises:
            LedgerError: the bookmark is not of this ledger, or of more entries than it has.
        """
        return Unread(self, self._keys, bookmark)

    def prove(self, index: int) -> str:
        """Prove that entry `index` is in the ledger: a `c2sp.org/tlog-proof@v1` text against the current checkpoint.

        Raises:
            LedgerError: there is no such entry, or the ledger does not lead to its own checkpoint.
        """
        self._check_index(index)
        leaf = _merkle.leaf_hash(self.entry(index))
        proof = self._inclusion(index, leaf)
        if proof is None:
            self._rebuild_nodes()
            proof = self._inclusion(index, leaf)
        if proof is None:
            raise CodedLedgerError(Code.ENTRY_CHANGED, f"entry {index} does not lead to the signed root", index=index)
        return write_proof(index, proof, self._note)

    def _inclusion(self, index: int, leaf: bytes) -> list[bytes] | None:
        try:
            proof = _merkle.inclusion_proof(index, self._size, self._nodes.at)
        except LookupError:
            return None
        return proof if _merkle.verify_inclusion(leaf, index, self._size, proof, self._root) else None

    def _rebuild_nodes(self) -> CompactRange:
        """Make the subtree hashes again from the entries, which must lead to the signed root."""
        found = CompactRange()
        for envelope in self.entries():
            size = found.size
            self._nodes.write(size, found.append(_merkle.leaf_hash(envelope)))
        if found.size != self._size or found.root() != self._root:
            raise CodedLedgerError(
                Code.ENTRY_CHANGED,
                f"the entries of {self.directory} do not lead to the root that was signed",
                advice="opsascode verify --all names the entries",
            )
        return found

    def _check_index(self, index: int) -> None:
        if not 0 <= index < self._size:
            raise CodedLedgerError(Code.PROOF, f"the ledger has {self._size} entries: there is no entry {index}")


class Unread:
    """The entries behind a bookmark, each one's signature verified; read them all, then take the next bookmark."""

    def __init__(self, reader: LedgerReader, keys: Sequence[Verifier], bookmark: Bookmark | None) -> None:
        """Use `LedgerReader.unread` instead."""
        start = bookmark or Bookmark(origin=reader.origin, size=0, peaks=b"", segment=0, offset=0)
        whole = len(start.peaks) == HASH_BYTES * start.size.bit_count()
        if start.origin != reader.origin or not 0 <= start.size <= reader.size or not whole:
            raise CodedLedgerError(Code.LEDGER_FORK, "what was read before is not of this ledger")
        self._reader, self._keys = reader, keys
        self._segment, self._offset = start.segment, start.offset
        hashes = range(0, len(start.peaks), HASH_BYTES)
        self._range = CompactRange(start.size, [start.peaks[at : at + HASH_BYTES] for at in hashes])

    def __iter__(self) -> Iterator[LoggedRecord]:
        """Give the records in order; raises LedgerError at one that does not verify."""
        for segment in list_segments(self._reader.directory):
            if segment.first < self._segment:
                continue
            if segment.first > self._segment:
                self._segment, self._offset = segment.first, 0
            for line in read_lines(segment, self._offset):
                if self._range.size == self._reader.size:
                    return
                self._offset += len(line)
                if line.startswith(CHECKPOINT_PREFIX):
                    continue
                envelope = line[:-1]
                logged = _logged(self._range.size, envelope, self._keys)
                self._range.append(_merkle.leaf_hash(envelope))
                yield logged

    def bookmark(self) -> Bookmark:
        """Say how far was read, once everything was.

        Raises:
            LedgerError: what was read before and now does not lead to the signed root.
        """
        if self._range.size != self._reader.size or self._range.root() != self._reader.root:
            raise CodedLedgerError(
                Code.ENTRY_CHANGED,
                f"the entries of {self._reader.directory} do not lead to the root that was signed",
                advice="opsascode verify --all names the entries",
            )
        return Bookmark(
            origin=self._reader.origin,
            size=self._range.size,
            peaks=b"".join(self._range.peaks),
            segment=self._segment,
            offset=self._offset,
        )


def _logged(index: int, envelope: bytes, keys: Sequence[Verifier]) -> LoggedRecord:
    try:
        return LoggedRecord(index=index, record=open_envelope(envelope, keys))
    except CodedProofError as error:
        raise CodedLedgerError(error.code, f"entry {index}: {error}", index=index) from None
