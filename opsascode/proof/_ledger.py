"""How does a record become part of the ledger, for good?

An append, under the lock: 1. take in what other processes appended; 2. verify the record; 3. write it, with a
signed checkpoint behind it, at the end of the last segment; 4. wait for the disk; 5. raise the high-water mark; 6.
report.

Rules: nothing at or below a signed checkpoint is ever repaired: it holds, or we stop. What stands behind the last
checkpoint was never reported as done: whole, rightly signed records there are adopted, a torn rest is cut off and
kept, and a signed `ledger-recovery` record says so. An error of the disk stops the ledger; it is not tried again.

Not here: which records may be appended when (`run`), and checking the whole ledger (`_verify`).
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from opsascode.proof import _merkle
from opsascode.proof._canonical import sha256_digest
from opsascode.proof._codes import Code, CodedLedgerError, CodedProofError
from opsascode.proof._envelope import PREDICATE_PREFIX, Record, Statement, is_as_sealed, open_envelope, seal
from opsascode.proof._highwater import HighWater, MarkFile, read_mark
from opsascode.proof._keys import sync_directory
from opsascode.proof._merkle import CompactRange
from opsascode.proof._note import Checkpoint, NoteKey, checkpoint_text, open_checkpoint, sign_note
from opsascode.proof._reader import LedgerReader, Nodes
from opsascode.proof._recovery import examine_tail, keep_cut
from opsascode.proof._segments import (
    CHECKPOINT_PREFIX,
    SEGMENT_ENTRIES,
    Header,
    checkpoint_line,
    create_header,
    find_tail,
    last_checkpoint,
    list_segments,
    read_checkpoint_line,
    read_header,
    segment_path,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opsascode.proof._keys import PublicKey, Signer

RECOVERY_TYPE = PREDICATE_PREFIX + "ledger-recovery:v1"
_GROUP = 256
"""Records under one checkpoint, so that the end of a segment stays small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a record went."""

    index: int
    leaf_hash: bytes


class Ledger(LedgerReader):
    """A ledger that this machine appends to. Threads and processes may share one directory."""

    def __init__(self, directory: Path, *, header: Header, signer: Signer, keys: Sequence[PublicKey]) -> None:
        """Use `open` instead."""
        super().__init__(directory, origin=header.origin, keys=keys, nodes=Nodes(directory / "nodes"))
        self._signer = signer
        self._note_key = header.key
        self._range = CompactRange()
        self._segment = 0
        self._end = 0
        self._file = -1
        self._path, self._inode = "", 0
        self._stopped = ""
        self._thread_lock = threading.Lock()
        self._lock_file = -1
        self._lock_owner = 0

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        signer: Signer,
        high_water: Path,
        origin: str | None = None,
        keys: Sequence[PublicKey] = (),
    ) -> Self:
        """Open the ledger to append to it, making it if it is not there.

        The signer's key signs checkpoints and recovery records; `keys` are those of others whose records may come in.
        `origin` names a new ledger (default `opsascode/` and 128 random bits); for one that exists it must be its own.

        Raises:
            LedgerError: the ledger is not the one this machine has seen, not this signer's, or damaged.
        """
        try:
            (directory / "segments").mkdir(mode=0o750, parents=True, exist_ok=True)
            with _locked(directory):
                header = _header(directory, signer, origin)
                everybody = (signer.public_key, *(key for key in keys if key != signer.public_key))
                ledger = cls(directory, header=header, signer=signer, keys=everybody)
                try:
                    ledger._start(high_water)
                except BaseException:
                    ledger.close()
                    raise
        except OSError as error:
            raise CodedLedgerError(Code.LEDGER_IO, f"the ledger {directory} cannot be opened: {error}") from error
        return ledger

    def append(self, envelope: bytes) -> Entry:
        """Add one record; when this returns, it and the checkpoint over it are on the disk.

        Raises:
            ProofError: the envelope does not verify with a key of this ledger; nothing was written.
            LedgerError: the ledger is damaged, or the disk failed. The record is then not proven, and every later
                append is refused until the ledger is opened again.
        """
        return self.append_many((envelope,))[0]

    def append_many(self, envelopes: Sequence[bytes]) -> tuple[Entry, ...]:
        """Add records in order; up to 256 wait for the disk together.

        Raises:
            ProofError: an envelope does not verify; nothing was written.
            LedgerError: as for `append`; the records before the one it names may have been added.
        """
        for envelope in envelopes:
            self._check_record(envelope)
        entries: list[Entry] = []
        with self._thread_lock, self._locked():
            self._catch_up()
            at = 0
            while at < len(envelopes):
                room = SEGMENT_ENTRIES - (self._range.size - self._segment)
                if room <= 0:
                    self._switch(self._range.size, create=True)
                    continue
                group = envelopes[at : at + min(room, _GROUP)]
                entries += self._commit(group)
                at += len(group)
        return tuple(entries)

    def close(self) -> None:
        """Let go of all files; nothing needs to be written for it."""
        for descriptor in (self._file, self._lock_file):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock_file = -1
        self._nodes.close()
        if hasattr(self, "_mark"):
            self._mark.close()
            del self._mark

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_record(self, envelope: bytes) -> Record:
        record = open_envelope(envelope, self._keys)
        if b"\n" in envelope or envelope.startswith(CHECKPOINT_PREFIX):
            raise CodedProofError(Code.PARSE, "an envelope in a ledger is one line")
        named = record.statement.predicate.get("ledger", self.origin)
        if named != self.origin:
            raise CodedProofError(Code.ORIGIN, f"the record was made for the ledger {named!r}, not {self.origin}")
        return record

    def _check_unfinished(self, envelope: bytes) -> Record:
        record = self._check_record(envelope)
        if not is_as_sealed(record):
            raise CodedProofError(Code.PARSE, "the envelope is not written the way records are sealed")
        return record

    def _is_entry(self, envelope: bytes) -> bool:
        return self._nodes.holds(_merkle.leaf_hash(envelope), self._size)

    # Opening and catching up.

    def _start(self, high_water: Path) -> None:
        """Find the last checkpoint, verify it, hold it against the mark, then take in what stands behind it."""
        mark = read_mark(high_water)
        segments = list_segments(self.directory)
        tail = find_tail(segments)
        if tail.note is not None:
            self._adopt_checkpoint(tail.note)
        if any(segment.first not in {0, self._size} for segment in segments if segment.first > tail.segment):
            raise CodedLedgerError(Code.CHECKPOINT, f"segments of {self.directory} are covered by no checkpoint")
        self._check_mark(mark)
        self._load_range()
        self._switch(tail.segment, create=True)
        self._end = tail.offset
        self._mark = MarkFile(high_water)
        self._catch_up(reason="" if mark or not self._size else "the high-water mark was missing")
        if mark is None or mark.size < self._size:
            self._raise_mark()

    def _adopt_checkpoint(self, note: str) -> None:
        try:
            checkpoint = open_checkpoint(note, (self._note_key.key,), origin=self.origin)
        except CodedProofError as error:
            raise CodedLedgerError(
                error.code, f"the last checkpoint of {self.directory} does not hold: {error}"
            ) from None
        self._note, self._size, self._root = note, checkpoint.size, checkpoint.root

    def _check_mark(self, mark: HighWater | None) -> None:
        """Refuse a ledger that is older than, or another than, the one this machine saw."""
        if mark is None:
            return
        if mark.origin != self.origin:
            raise CodedLedgerError(Code.ORIGIN, f"the high-water mark is of {mark.origin}, not of {self.origin}")
        if mark.size > self._size:
            raise CodedLedgerError(
                Code.LEDGER_TRUNCATED,
                f"the ledger has {self._size} signed entries, but {mark.size} were seen on this machine",
                index=self._size,
                advice="entries were taken away: restore them from a copy",
            )
        if mark.size and not self._continues(mark):
            raise CodedLedgerError(
                Code.LEDGER_FORK, f"the first {mark.size} entries are not those seen on this machine: another history"
            )

    def _continues(self, mark: HighWater) -> bool:
        if mark.size == self._size:
            return mark.root == self._root
        for attempt in ("as it is", "made again"):
            if attempt == "made again":
                self._rebuild_nodes()
            try:
                proof = _merkle.consistency_proof(mark.size, self._size, self._nodes.at)
            except LookupError:
                continue
            if _merkle.verify_consistency(mark.size, self._size, mark.root, self._root, proof):
                return True
        return False

    def _load_range(self) -> None:
        """Take the subtree hashes from the file if they lead to the signed root, else make them from the entries."""
        try:
            found = CompactRange(self._size, _merkle.peaks(self._size, self._nodes.at))
        except LookupError:
            found = CompactRange()
        self._range = found if found.size == self._size and found.root() == self._root else self._rebuild_nodes()

    def _catch_up(self, reason: str = "") -> None:
        """Take in what stands behind the last checkpoint we know; tidy up after an interrupted append."""
        if self._stopped:
            raise CodedLedgerError(Code.LEDGER_IO, self._stopped, advice="open the ledger again once the disk is well")
        while True:
            try:
                found = os.stat(self._path)  # noqa: PTH116 - a pathlib stat costs five times as much, at every append
            except OSError as error:
                raise CodedLedgerError(Code.LEDGER_TRUNCATED, f"{self._path} is gone: {error.strerror}") from None
            if found.st_ino != self._inode or found.st_size < self._end:
                raise CodedLedgerError(Code.LEDGER_TRUNCATED, f"{self._path} was replaced or cut while it was open")
            rest = (
                self._ingest(os.pread(self._file, found.st_size - self._end, self._end))
                if found.st_size > self._end
                else b""
            )
            if rest or reason:
                self._recover(rest, reason)
                return
            full = self._range.size - self._segment >= SEGMENT_ENTRIES
            if not full or not segment_path(self.directory, self._range.size).exists():
                return
            self._switch(self._range.size, create=False)

    def _ingest(self, data: bytes) -> bytes:
        """Take in whole groups of entries and their checkpoints; return what stands behind the last of them."""
        span = last_checkpoint(data, at_start=True)
        if span is None:
            return data
        grown, hashes = self._range.copy(), list[bytes]()
        for line in data[: span[0]].split(b"\n")[:-1]:
            if not line.startswith(CHECKPOINT_PREFIX):
                hashes += grown.append(_merkle.leaf_hash(line))
        self._adopt_checkpoint(read_checkpoint_line(data[span[0] : span[1]]))
        if (grown.size, grown.root()) != (self._size, self._root):
            first = self._range.size
            raise CodedLedgerError(
                Code.ENTRY_CHANGED, f"the entries from {first} on do not lead to the root that was signed", index=first
            )
        self._nodes.write(self._range.size, hashes)
        self._range = grown
        self._end += span[1]
        return data[span[1] :]

    def _recover(self, rest: bytes, reason: str) -> None:
        """Adopt, cut and record what an interrupted append left (see `_recovery`)."""
        if rest:
            self._rebuild_nodes()
            reason = "an append was interrupted"
        found = examine_tail(rest, self._size, self._check_unfinished, self._is_entry)
        if found.cut:
            keep_cut(self.directory, self._size, found.cut)
        statement = Statement(
            predicate_type=RECOVERY_TYPE,
            subject_name=self.origin,
            subject_digest=sha256_digest(found.cut),
            predicate={
                "ledger": self.origin,
                "reason": reason,
                "size": self._size,
                "adopted": [one.digest for one in found.adopted],
                "cut_bytes": len(found.cut),
            },
        )
        self._commit((*(one.envelope for one in found.adopted), seal(statement, self._signer)), over=len(rest))

    # Writing.

    def _commit(self, envelopes: Sequence[bytes], *, over: int = 0) -> list[Entry]:
        """Write the records and the checkpoint over them in one go, and wait for the disk.

        `over` says how many bytes of an interrupted append stand there and are written over.
        """
        start, grown = self._range.size, self._range.copy()
        hashes: list[bytes] = []
        entries: list[Entry] = []
        for index, envelope in enumerate(envelopes, start):
            leaf = _merkle.leaf_hash(envelope)
            hashes += grown.append(leaf)
            entries.append(Entry(index=index, leaf_hash=leaf))
        root = grown.root()
        text = checkpoint_text(Checkpoint(origin=self.origin, size=grown.size, root=root))
        note = sign_note(text, self.origin, self._signer)
        content = b"\n".join((*envelopes, checkpoint_line(note)))
        self._write(content, over=over)
        self._end += len(content)
        self._range, self._note, self._size, self._root = grown, note, grown.size, root
        self._nodes.write(start, hashes)
        self._raise_mark()
        return entries

    def _write(self, content: bytes, *, over: int) -> None:
        """Put the bytes at the end and on the disk; if that fails, take them back as far as possible and stop."""
        try:
            written = os.pwrite(self._file, content, self._end)
            while written < len(content):
                written += _more(os.pwrite(self._file, content[written:], self._end + written))
            if over > len(content):
                os.ftruncate(self._file, self._end + len(content))
            os.fdatasync(self._file)
        except OSError as error:
            self._stopped = (
                f"the disk of the ledger failed ({error.strerror or error}); the record is not in the ledger"
            )
            # After a failed sync the kernel may show pages that are not on the disk: they must not be read as proven.
            try:
                os.ftruncate(self._file, self._end)
            except OSError:
                self._stopped += ", and its bytes could not be taken back"
            raise CodedLedgerError(Code.LEDGER_IO, self._stopped, advice="free or replace the disk") from error

    def _raise_mark(self) -> None:
        try:
            self._mark.raise_to(HighWater(origin=self.origin, size=self._size, root=self._root))
        except OSError as error:
            self._stopped = f"the high-water mark cannot be raised: {error.strerror}"
            raise CodedLedgerError(Code.HIGH_WATER, self._stopped) from error

    def _switch(self, first: int, *, create: bool) -> None:
        """Go on in the segment that starts with entry `first`."""
        path = segment_path(self.directory, first)
        created = create and not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o640)
        if created:
            sync_directory(path.parent)
        if self._file >= 0:
            os.close(self._file)
        self._file, self._segment, self._end = descriptor, first, 0
        self._path, self._inode = str(path), os.fstat(descriptor).st_ino

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the directory; a forked child takes its own, for a lock goes with the open file."""
        if self._lock_owner != os.getpid():
            self._lock_file = _open_lock(self.directory)
            self._lock_owner = os.getpid()
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)


def _header(directory: Path, signer: Signer, origin: str | None) -> Header:
    """Read which log this is, or say so in a new one."""
    if not (directory / "ledger.json").exists():
        if list_segments(directory):
            raise CodedLedgerError(Code.LEDGER_FORMAT, f"{directory} has entries but no ledger.json")
        name = origin or f"opsascode/{secrets.token_hex(16)}"
        create_header(directory, Header(origin=name, key=NoteKey(name=name, key=signer.public_key)))
    header = read_header(directory)
    if origin is not None and header.origin != origin:
        raise CodedLedgerError(Code.ORIGIN, f"{directory} is the ledger {header.origin}, not {origin}")
    if header.key.key != signer.public_key:
        raise CodedLedgerError(
            Code.KEY,
            f"{directory} is signed by {header.key.key.keyid}, and this machine has {signer.public_key.keyid}",
            advice="use the key that began this ledger, or begin a new one",
        )
    return header


def _open_lock(directory: Path) -> int:
    return os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = _open_lock(directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _more(written: int) -> int:
    if written == 0:
        raise OSError(errno.ENOSPC, "no space left on the device")
    return written
