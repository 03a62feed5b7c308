"""At which line and column of a file does a character of a text stand?

A position tells where a value begins. A text may be quoted, fold over lines or be a block, so a place within it is
found by reading it again, character by character, as YAML does. Where that does not lead to the very text, the answer
is where it begins: a place is exact, or it is the value's.

Not here: reading YAML (`_source`).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.errors import Position

_BREAK: Final = re.compile(r"\r\n|\r|\n")
_ESCAPES: Final = {'"': '"', "\\": "\\", "/": "/", "t": "\t", "n": "\n", " ": " "}


def position_within(data: bytes, start: Position, text: str, offset: int) -> Position:
    """Give the position of the character at an offset of a text that begins at a position of a file."""
    lines = _BREAK.split(data.decode(errors="replace"))
    if start.line > len(lines):
        return start
    after, count = start, 0
    for index, (character, place) in enumerate(_characters(lines, start)):
        if index >= len(text) or character != text[index]:
            break
        if index == offset:
            return place
        after, count = replace(place, column=place.column + 1), index + 1
    return after if offset == count == len(text) else start


def offset_of(text: str, line: int, column: int) -> int:
    """Give the offset of a line and a column, both from 1."""
    return sum(len(each) + 1 for each in text.split("\n")[: line - 1]) + column - 1


def _characters(lines: list[str], start: Position) -> Iterator[tuple[str, Position]]:
    """Read a scalar: each of its characters with its place."""
    opening = lines[start.line - 1][start.column - 1 : start.column]
    if opening in {"|", ">"}:
        yield from _block(lines, start, fold=opening == ">")
        return
    quote = opening if opening in {"'", '"'} else ""
    number, column = start.line, start.column - 1 + len(quote)
    while number <= len(lines):
        line = lines[number - 1].rstrip()
        while column < len(line):
            place = replace(start, line=number, column=column + 1)
            character, width = _one(line[column : column + 2], quote)
            if not width:
                return
            yield character, place
            column += width
        yield " ", replace(start, line=number, column=len(line) + 1)
        number += 1
        column = len(lines[number - 1]) - len(lines[number - 1].lstrip()) if number <= len(lines) else 0


def _one(ahead: str, quote: str) -> tuple[str, int]:
    """Read one character, and how many are written for it; none at the closing quote."""
    if quote == "'" and ahead == "''":
        return "'", 2
    if quote == '"' and ahead[0] == "\\":
        return _ESCAPES.get(ahead[1:], "\0"), 2
    return ("", 0) if ahead[0] == quote else (ahead[0], 1)


def _block(lines: list[str], start: Position, *, fold: bool) -> Iterator[tuple[str, Position]]:
    """Read a block scalar, which begins on the line below."""
    indent = -1
    for number in range(start.line + 1, len(lines) + 1):
        line = lines[number - 1]
        if indent < 0 and line.strip():
            indent = len(line) - len(line.lstrip(" "))
        for column in range(max(indent, 0), len(line)):
            yield line[column], replace(start, line=number, column=column + 1)
        yield " " if fold else "\n", replace(start, line=number, column=len(line) + 1)
