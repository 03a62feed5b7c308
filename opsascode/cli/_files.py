"""How are the files read and written that a command line names?

Rules: one that cannot be is an error of the command line: its exit code is never that of an answer. What is read has a
size. A file that is added to keeps what it holds.

Not here: what the files hold, and those of the state directory and of the repository.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opsascode.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_file(path: Path, most: int, *, what: str = "", advice: str = "") -> bytes:
    """Read a file of at most so many bytes; `what` names it in an error, beside its path.

    Raises:
        UsageError: it cannot be read, or is larger.
    """
    named = f"{what} {path}".lstrip()
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UsageError(f"{named} cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise UsageError(f"{named} has more than {most} bytes", advice=advice)
    return data


def write_file(path: Path, content: bytes | str, what: str) -> None:
    """Write what was asked for, which `what` names, to a file.

    Raises:
        UsageError: it cannot be written.
    """
    with _writing(path, what):
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_into(folder: Path, name: str, content: bytes | str, what: str) -> Path:
    """Write a file of that name into a directory, which is made where there is none, and give its path.

    Raises:
        UsageError: it cannot be written.
    """
    with _writing(folder, what):
        folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / name, content, what)
    return folder / name


def append_report(path: Path | None, text: str) -> None:
    """Add a report to the end of a file, where one was asked for; called last, so that the answer itself is not lost.

    Raises:
        UsageError: it cannot be written.
    """
    if path is None:
        return
    with _writing(path, "the report"), path.open("a", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def _writing(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{what} cannot be written to {path}: {error.strerror}") from error
