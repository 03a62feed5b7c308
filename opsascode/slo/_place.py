"""How do generated files come into a directory, and what differs there from what would be written?

A file takes the place of an older one in one step, so that Prometheus never reads half of it. Files that were not
written here are never touched: where one is in the way, nothing is written at all. Nothing is removed: files of a
service that no policy speaks of any more are told.

Not here: what the files say (`_written`, `_dashboard`).
"""

from __future__ import annotations

import difflib
import os
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.errors import OpsError, UsageError
from opsascode.slo._dashboard import UID_PREFIX, dashboard_text
from opsascode.slo._rule_tests import rule_tests
from opsascode.slo._written import MARK, rules_text, unit_tests_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opsascode.slo._rules import RuleFile

_ENDINGS: Final = (".rules.yml", ".test.yml", ".dashboard.json")
_MODE: Final = 0o644


class Placed(Enum):
    """What happened (or would happen) to a file; one that is left over stands there for no policy."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    LEFT_OVER = "left over"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFile:
    """One file, and how it differs from what stands there."""

    name: str
    state: Placed
    difference: tuple[str, ...] = ()


def file_texts(files: Sequence[RuleFile]) -> Mapping[str, str]:
    """Give the names and texts of all files of some services: rules, their unit tests, a dashboard each."""
    texts: dict[str, str] = {}
    for file in files:
        made = (rules_text(file), unit_tests_text(rule_tests(file)), dashboard_text(file))
        texts.update({f"{file.name}{ending}": text for ending, text in zip(_ENDINGS, made, strict=True)})
    return texts


def compare(directory: Path, texts: Mapping[str, str], *, complete: bool) -> tuple[PlacedFile, ...]:
    """Say what would change; with `complete`, other files of ours there are left over.

    Raises:
        UsageError: a file that was not written here is in the way.
    """
    found = {name: _read(directory / name) for name in sorted(texts)}
    strange = [name for name, text in found.items() if text is not None and not _is_ours(name, text)]
    if strange:
        raise UsageError(
            f"{directory / strange[0]} was not written by opsascode slo rules",
            advice="move it away, or choose another DIR",
        )
    changes = (_change(name, found[name], texts[name]) for name in sorted(texts))
    return (*changes, *(_left_over(directory, texts) if complete else ()))


def place(directory: Path, texts: Mapping[str, str], *, complete: bool) -> tuple[PlacedFile, ...]:
    """Write what differs, and say what was done.

    Raises:
        UsageError: a file that was not written here is in the way.
        OpsError: it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        done = compare(directory, texts, complete=complete)
        for each in done:
            if each.state is Placed.WRITTEN:
                _write(directory / each.name, texts[each.name])
    except OSError as error:
        raise OpsError(f"{directory} cannot be written: {error.strerror}") from error
    return done


def _change(name: str, before: str | None, after: str) -> PlacedFile:
    if before == after:
        return PlacedFile(name=name, state=Placed.UNCHANGED)
    lines = difflib.unified_diff(
        (before or "").splitlines(),
        after.splitlines(),
        f"{name} (there)",
        f"{name} (by the policies)",
        lineterm="",
        n=1,
    )
    return PlacedFile(name=name, state=Placed.WRITTEN, difference=tuple(lines))


def _left_over(directory: Path, texts: Mapping[str, str]) -> Iterator[PlacedFile]:
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        if path.name not in texts and path.name.endswith(_ENDINGS) and path.is_file():
            text = _read(path)
            if text is not None and _is_ours(path.name, text):
                yield PlacedFile(name=path.name, state=Placed.LEFT_OVER)


def _is_ours(name: str, text: str) -> bool:
    return f'"uid": "{UID_PREFIX}' in text if name.endswith(".json") else text.startswith(MARK)


def _read(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OpsError(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    """Write a draft beside the file, and let it take its place."""
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".draft-")
    try:
        with open(handle, "w", encoding="utf-8", newline="") as stream:  # noqa: PTH123 - opened by mkstemp
            stream.write(text)
            stream.flush()
            os.fchmod(handle, _MODE)
            os.fsync(handle)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
