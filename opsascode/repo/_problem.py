"""What is wrong in a document, where, and how is it mended?

A problem is a value: finding one is the ordinary result of a check, never an exception. The words here are the ones all
rooms of this house use to say it. How problems are laid out for people or machines is the command line's business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from opsascode.errors import DocumentError, Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DocumentPath = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_SHOWN_AT_MOST = 60
_LISTED_AT_MOST = 20


class Severity(Enum):
    """How much a problem matters: an error makes the document invalid, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong at one place: a stable `code`, a sentence saying what is wrong, and how to mend it."""

    position: Position
    code: str
    message: str
    mend: str = ""
    document_path: str = ""
    severity: Severity = Severity.ERROR

    def sort_key(self) -> tuple[Position, str, str]:
        """Order problems as a reader meets them: by file, line and column."""
        return self.position, self.code, self.message


class InvalidDocumentsError(DocumentError):
    """Documents of the ops repository are invalid; `problems` holds every one of them."""

    def __init__(self, problems: Sequence[Problem], *, what: str = "") -> None:
        """Lead with the first problem's sentence and list the others below it."""
        self.problems = tuple(problems)
        first = self.problems[0]
        lines = [f"{what}: {first.message}" if what else first.message]
        lines += [f"{each.position}: {each.message}" for each in self.problems[1:_LISTED_AT_MOST]]
        if len(self.problems) > _LISTED_AT_MOST:
            lines.append(f"and {len(self.problems) - _LISTED_AT_MOST} more")
        super().__init__("\n".join(lines), position=first.position, advice=first.mend)


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sort problems by place and drop exact repetitions."""
    return tuple(sorted(set(problems), key=Problem.sort_key))


def errors_among(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Keep the problems that make a document invalid."""
    return tuple(problem for problem in problems if problem.severity is Severity.ERROR)


def path_text(path: DocumentPath) -> str:
    """Write a path in a document the way people read it: `spec.steps[2].task["ansible.builtin.copy"]`."""
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif _PLAIN_KEY.match(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f'["{step}"]')
    return "".join(parts)


def quoted(value: object) -> str:
    """Show a value inside a sentence: in guillemets, on one line, cut where it would drown the sentence."""
    text = value if isinstance(value, str) else _plain(value)
    text = text.replace("\n", "\\n")
    return f"«{text if len(text) <= _SHOWN_AT_MOST else text[: _SHOWN_AT_MOST - 1] + '…'}»"


def _plain(value: object) -> str:
    """Spell a plain value as YAML would, so that nobody reads Python's words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def did_you_mean(word: str, known: Iterable[str], *, list_up_to: int = 12) -> str:
    """Suggest the known word nearest to a mistyped one, or list the known words when there are few.

    An empty text means that nothing useful can be suggested.
    """
    import difflib  # noqa: PLC0415 - only a mistake needs it

    words = sorted(set(known))
    folded = {_folded(each): each for each in words}
    near = folded.get(_folded(word))
    if near is None:
        found = difflib.get_close_matches(word[:100], words, n=1, cutoff=0.6)
        near = found[0] if found else None
    if near is not None:
        return f"did you mean {quoted(near)}?"
    if words and len(words) <= list_up_to:
        return f"use one of: {', '.join(words)}"
    return ""


def _folded(word: str) -> str:
    """Ignore case and word separators, the commonest difference between two spellings of one key."""
    return re.sub(r"[-_\s]", "", word).lower()
