"""What was found about a whole repository the last time, and does it still hold?

The answer of one question is kept beside the cache of the check, as safely, for the very key it was found by. It is
never needed for a right answer.

Not here: the cache of single files, and whose files are believed (`_check`).
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from opsascode.errors import Position
from opsascode.repo._check import read_cache, write_cache
from opsascode.repo._problem import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def remembered(
    cache: Path | None, root: Path, key: str, find: Callable[[], tuple[Problem, ...]]
) -> tuple[Problem, ...]:
    """Give what was found by this key for a repository, or find it and keep it."""
    if cache is None:
        return find()
    place = cache / f"lint-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"
    kept = read_cache(place)
    if key in kept:
        try:
            return tuple(_problem(each) for each in kept[key])
        except (TypeError, ValueError, KeyError, IndexError):
            pass
    found = find()
    write_cache(place, {key: [_plain(each) for each in found]})
    return found


def _plain(problem: Problem) -> list[Any]:
    place = problem.position
    words = [problem.code, problem.message, problem.mend, problem.document_path, problem.severity.value]
    return [place.path, place.line, place.column, *words]


def _problem(plain: list[Any]) -> Problem:
    path, line, column, code, message, mend, document_path, severity = plain
    return Problem(
        position=Position(path=path, line=line, column=column),
        code=code,
        message=message,
        mend=mend,
        document_path=document_path,
        severity=Severity(severity),
    )
