"""How does a ledger lie on disk?

    ledger.json              which log this is: format, origin, verifier key (only a hint: bring your own keys)
    segments/<first>.jsonl   the truth: one envelope a line, exactly as it was sealed, and after every append the signed
                             checkpoint that covers it, as {"checkpoint":"<note>"}
    nodes                    hashes of all whole subtrees (see `_merkle`); can be deleted and is made again
    cut/                     bytes of interrupted appends, kept when they were taken off the end of a segment
    lock                     taken (flock) by whoever appends

Rules: an entry and its checkpoint are one write to one file, so one wait for the disk makes both durable, and
whatever stands after the last checkpoint was never reported as done. Lines are only ever added.

Not here: whether any of it is true (`_verify`), and appending (`_ledger`).
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.proof._canonical import canonical_bytes, parse_strict
from opsascode.proof._codes import Code, CodedLedgerError, CodedProofError
from opsascode.proof._envelope import MAX_ENVELOPE
from opsascode.proof._keys import sync_directory
from opsascode.proof._note import NoteKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = "opsascode-ledger/v1"
SEGMENT_ENTRIES = 4096
CHECKPOINT_PREFIX = b'{"checkpoint":"'
_MAX_LINE = MAX_ENVELOPE + 1
_TAIL = 65536
_HEADER_KEYS = {"format", "origin", "vkey"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the ledger says it is."""

    origin: str
    key: NoteKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One file of the ledger: index of its first entry, and how many of its bytes to look at."""

    first: int
    path: Path
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Where the signed part of a ledger ends: the last checkpoint, and the segment and offset right behind it."""

    note: str | None
    segment: int
    offset: int


def segment_path(directory: Path, first: int) -> Path:
    """Name the segment that starts with entry `first`."""
    return directory / "segments" / f"{first:012d}.jsonl"


def list_segments(directory: Path) -> tuple[Segment, ...]:
    """List the segments in order, with their sizes now.

    Raises:
        LedgerError: something else lies among them.
    """
    found = []
    for path in sorted((directory / "segments").iterdir()) if (directory / "segments").is_dir() else ():
        if (
            path.suffix != ".jsonl"
            or not path.stem.isdecimal()
            or path.name != segment_path(directory, int(path.stem)).name
        ):
            raise CodedLedgerError(
                Code.LEDGER_FORMAT, f"{path} does not belong to a ledger", advice="move it elsewhere"
            )
        found.append(Segment(first=int(path.stem), path=path, size=path.stat().st_size))
    return tuple(found)


def read_lines(segment: Segment, offset: int = 0) -> Iterator[bytes]:
    """Read the lines of a segment, newlines included; only the last may lack one.

    Raises:
        LedgerError: a line is longer than any entry may be.
    """
    left = segment.size - offset
    with segment.path.open("rb") as file:
        file.seek(offset)
        while left > 0 and (line := file.readline(min(_MAX_LINE, left))):
            left -= len(line)
            if left and not line.endswith(b"\n"):
                raise CodedLedgerError(Code.LEDGER_FORMAT, f"{segment.path} has a line longer than any entry may be")
            yield line


def checkpoint_line(note: str) -> bytes:
    """Write a checkpoint as a line of a segment."""
    return b'{"checkpoint":%b}\n' % json.dumps(note, ensure_ascii=False).encode()


def read_checkpoint_line(line: bytes) -> str:
    """Read the note out of a line that starts with `CHECKPOINT_PREFIX`.

    Raises:
        ProofError: it is no such line.
    """
    found = parse_strict(line)
    note = found.get("checkpoint") if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(note, str):
        raise CodedProofError(Code.CHECKPOINT, "a checkpoint line has exactly one note")
    return note


def find_tail(segments: tuple[Segment, ...]) -> Tail:
    """Find the last complete checkpoint line, reading only the end of the last segments."""
    for segment in reversed(segments):
        for window in (_TAIL, segment.size):
            start = max(0, segment.size - window)
            with segment.path.open("rb") as file:
                file.seek(start)
                data = file.read(segment.size - start)
            found = last_checkpoint(data, at_start=start == 0)
            if found is not None:
                begin, end = found
                note = read_checkpoint_line(data[begin:end])
                return Tail(note=note, segment=segment.first, offset=start + end)
            if start == 0:
                break
        if segment is not segments[-1]:
            raise CodedLedgerError(Code.CHECKPOINT, f"{segment.path} has no checkpoint", index=segment.first)
    return Tail(note=None, segment=0, offset=0)


def last_checkpoint(data: bytes, *, at_start: bool) -> tuple[int, int] | None:
    """Find begin and end of the last whole checkpoint line."""
    stop = data.rfind(b"\n") + 1
    while stop:
        begin = data.rfind(b"\n", 0, stop - 1) + 1
        if begin == 0 and not at_start:
            return None
        if data.startswith(CHECKPOINT_PREFIX, begin):
            return begin, stop
        stop = begin
    return None


def read_header(directory: Path) -> Header:
    """Read which log this is.

    Raises:
        LedgerError: there is no ledger, or its header is not one.
    """
    path = directory / "ledger.json"
    try:
        found = parse_strict(path.read_bytes())
    except FileNotFoundError:
        raise CodedLedgerError(Code.LEDGER_FORMAT, f"{directory} holds no ledger (no ledger.json)") from None
    except OSError as error:
        raise CodedLedgerError(Code.LEDGER_IO, f"{path} cannot be read: {error.strerror}") from error
    except CodedProofError as error:
        raise CodedLedgerError(Code.LEDGER_FORMAT, f"{path}: {error}") from None
    if not isinstance(found, dict) or found.keys() != _HEADER_KEYS or found["format"] != FORMAT:
        raise CodedLedgerError(Code.LEDGER_FORMAT, f"{path} is not the header of a ledger in format {FORMAT}")
    origin, vkey = found["origin"], found["vkey"]
    if not isinstance(origin, str) or not isinstance(vkey, str):
        raise CodedLedgerError(Code.LEDGER_FORMAT, f"{path}: its origin and vkey are no texts")
    try:
        key = NoteKey.from_vkey(vkey)
    except CodedProofError as error:
        raise CodedLedgerError(error.code, f"{path}: {error}") from None
    if key.name != origin:
        raise CodedLedgerError(Code.ORIGIN, f"{path}: its key is named {key.name}, not {origin}")
    return Header(origin=origin, key=key)


def create_header(directory: Path, header: Header) -> None:
    """Write the header of a new ledger, whole and durable. The caller holds the lock."""
    draft = directory / ".ledger.json"
    with draft.open("wb") as file:
        file.write(canonical_bytes({"format": FORMAT, "origin": header.origin, "vkey": header.key.vkey()}) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(directory / "ledger.json")
    sync_directory(directory)


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Keep appends out for a moment, where the lock may be opened at all (a read-only copy has no appenders)."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
