"""What did an interrupted append leave behind the last checkpoint, and what may be kept of it?

Rules: a whole line that is a record exactly as `seal` writes it, signed by a key of this ledger, made for this
ledger and not in it yet, was an append that lacked only its checkpoint: it is adopted. An incomplete last line, or
a checkpoint that never became whole, is cut. Any other whole line was put there by nobody who appends: we stop.

Not here: writing any of it (`_ledger`).
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.proof._codes import Code, CodedLedgerError, CodedProofError
from opsascode.proof._keys import sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opsascode.proof._envelope import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """What stood behind the last checkpoint: records to adopt, and bytes to cut."""

    adopted: tuple[Record, ...] = ()
    cut: bytes = b""


def examine_tail(
    rest: bytes, size: int, check: Callable[[bytes], Record], known: Callable[[bytes], bool]
) -> Unfinished:
    """Divide the bytes behind the checkpoint over `size` entries; `check` refuses, and `known` knows, an envelope.

    Raises:
        LedgerError: a whole line among them is not an append of this ledger.
    """
    *lines, torn = rest.split(b"\n")
    adopted: list[Record] = []
    for index, line in enumerate(lines, size):
        try:
            record = check(line)
        except CodedProofError as error:
            raise CodedLedgerError(
                error.code,
                f"the line behind the last checkpoint is no record of this ledger: {error}",
                index=index,
                advice="nothing that appends wrote it: keep a copy of it, then remove it by hand",
            ) from None
        if known(line) or record in adopted:
            raise CodedLedgerError(Code.LEDGER_TORN, "the line behind the last checkpoint copies an entry", index=index)
        adopted.append(record)
    return Unfinished(adopted=tuple(adopted), cut=torn)


def keep_cut(directory: Path, size: int, cut: bytes) -> None:
    """Keep the bytes that are cut off, durable before they are; named by what they are, so that twice is once."""
    folder = directory / "cut"
    folder.mkdir(mode=0o750, exist_ok=True)
    path = folder / f"{size:012d}-{hashlib.sha256(cut).hexdigest()[:16]}"
    with path.open("wb") as file:
        file.write(cut)
        file.flush()
        os.fsync(file.fileno())
    sync_directory(folder)
    sync_directory(directory)
