"""How far did this machine see the ledger grow?

Rules: the mark lies outside the ledger's directory, so that taking back the ledger together with its checkpoints
does not take back the mark. It only ever rises. It is written in place and not waited for: after a power cut it may
lag behind, which hides nothing that a mark of that size would not show anyway. Whoever is killed between making the
file and writing it leaves an empty one, which is as good as none.

Not here: comparing the mark with a ledger (`_ledger` before it appends, `_verify`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.proof._canonical import canonical_bytes, parse_strict
from opsascode.proof._codes import Code, CodedLedgerError, CodedProofError

if TYPE_CHECKING:
    from pathlib import Path

_FILE_BYTES = 512
"""One sector: it is replaced as a whole."""
_KEYS = {"origin", "size", "root"}
_ROOT = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HighWater:
    """The largest state of a log seen here."""

    origin: str
    size: int
    root: bytes


def read_mark(path: Path) -> HighWater | None:
    """Read the mark; None if there is none.

    Raises:
        LedgerError: it cannot be read, or is no mark.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CodedLedgerError(Code.HIGH_WATER, f"{path} cannot be read: {error.strerror}") from error
    if not content:
        return None
    mark = _parse(content)
    if mark is None:
        raise CodedLedgerError(
            Code.HIGH_WATER,
            f"{path} is no high-water mark",
            advice="verify the ledger against an older receipt or checkpoint, then remove the file",
        )
    return mark


def _parse(content: bytes) -> HighWater | None:
    try:
        found = parse_strict(content, max_bytes=_FILE_BYTES)
    except CodedProofError:
        return None
    if not isinstance(found, dict) or found.keys() != _KEYS:
        return None
    origin, size, root = found["origin"], found["size"], found["root"]
    if not isinstance(origin, str) or type(size) is not int or size < 0:
        return None
    if not isinstance(root, str) or not _ROOT.fullmatch(root):
        return None
    return HighWater(origin=origin, size=size, root=bytes.fromhex(root))


def write_mark(mark: HighWater) -> bytes:
    """Write the mark as the one sector that its file is."""
    text = canonical_bytes({"origin": mark.origin, "size": mark.size, "root": mark.root.hex()})
    return text.ljust(_FILE_BYTES - 1) + b"\n"


class MarkFile:
    """Keeps the mark's file open, to raise it after every append."""

    __slots__ = ("_descriptor",)

    def __init__(self, path: Path) -> None:
        """Open the file, making it (empty) and its directory if they are not there.

        Raises:
            OSError: it cannot be made.
        """
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def raise_to(self, mark: HighWater) -> None:
        """Write the mark.

        Raises:
            OSError: it cannot be written.
        """
        os.pwrite(self._descriptor, write_mark(mark), 0)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
