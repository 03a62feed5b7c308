r"""What may a runbook be told, and is this value one it accepts?

A parameter is declared in the words of JSON Schema, and its values are judged as JSON Schema judges them: `pattern` is
searched for, lengths count characters. Two differences to Python are closed on purpose: `$` matches only at the very
end (never before a trailing line break), and `\d`, `\w` match ASCII only, as ECMA 262 has it.

A value that does not fit is answered by sentences, never by an exception. A secret's value is in none of them.
Not here: which parameters a runbook uses (rules), where their values come from (command line, plan).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from opsascode.repo._problem import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.errors import Position
    from opsascode.repo._source import Value

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}\Z")
_NUMBER = re.compile(r"[-+]?[0-9]{1,18}(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,2})?\Z")
_TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class ParameterType(Enum):
    """The types a parameter can have."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ARRAY = "array"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedValue:
    """A value beside everything that is wrong with it; usable when `faults` is empty."""

    value: Value
    faults: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the parameter accepts the value."""
        return not self.faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What values of one type must keep to; `None` (or no choices) sets no limit."""

    type: ParameterType
    pattern: str | None = None
    min_length: int | None = None
    max_length: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    min_items: int | None = None
    max_items: int | None = None
    choices: tuple[Value, ...] = ()
    items: Limits | None = None

    def faults(self, value: Value, *, shown: bool = True) -> Iterator[str]:
        """Say everything that is wrong with a value; with `shown` off, without repeating it."""
        what = quoted(value) if shown else "the value"
        if not _has_type(value, self.type):
            yield f"{what} is not {_ARTICLES[self.type]}"
            return
        if self.choices and not any(_same(value, choice) for choice in self.choices):
            words = [choice if isinstance(choice, str) else str(choice).lower() for choice in self.choices]
            hint = (did_you_mean(str(value), words) if shown else "") or f"use one of: {', '.join(words[:12])}"
            yield f"{what} is not one of the allowed values ({hint})"
        if isinstance(value, str):
            yield from self._text_faults(value, what)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if self.minimum is not None and value < self.minimum:
                yield f"{what} is less than {self.minimum}"
            if self.maximum is not None and value > self.maximum:
                yield f"{what} is more than {self.maximum}"
        elif isinstance(value, list):
            yield from self._list_faults(value, shown=shown)

    def _text_faults(self, value: str, what: str) -> Iterator[str]:
        if self.min_length is not None and len(value) < self.min_length:
            yield f"{what} has {len(value)} characters; at least {self.min_length} are needed"
        if self.max_length is not None and len(value) > self.max_length:
            yield f"{what} has {len(value)} characters; at most {self.max_length} are allowed"
        if self.pattern is not None and not ecma_pattern(self.pattern).search(value):
            yield f"{what} does not match the pattern {self.pattern}"

    def _list_faults(self, value: list[Value], *, shown: bool) -> Iterator[str]:
        if self.min_items is not None and len(value) < self.min_items:
            yield f"{len(value)} items are fewer than the {self.min_items} needed"
        if self.max_items is not None and len(value) > self.max_items:
            yield f"{len(value)} items are more than the {self.max_items} allowed"
        if self.items is not None:
            for index, item in enumerate(value):
                for fault in self.items.faults(item, shown=shown):
                    yield f"item {index + 1}: {fault}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One declared parameter of a runbook; `required` means that it has no default."""

    name: str
    limits: Limits
    description: str = ""
    required: bool = True
    default: Value = None
    secret: bool = False
    position: Position

    @property
    def type(self) -> ParameterType:
        """The type of its values."""
        return self.limits.type

    def check(self, value: Value) -> CheckedValue:
        """Judge a value that already has a type, such as one out of a plan or a `with:`."""
        if self.type is ParameterType.INTEGER and isinstance(value, float) and value.is_integer():
            value = int(value)  # JSON Schema counts 3.0 as an integer
        return CheckedValue(value=value, faults=tuple(self.limits.faults(value, shown=not self.secret)))

    def from_text(self, text: str) -> CheckedValue:
        """Read and judge a value written on a command line.

        A list is written as JSON (`["a", "b"]`) or with commas (`a,b`).
        """
        value = _from_text(text, self.limits)
        if isinstance(value, _Unreadable):
            what = "the value" if self.secret else quoted(text)
            return CheckedValue(value=None, faults=(f"{what} is not {_ARTICLES[self.type]}",))
        return self.check(value)


class _Unreadable:
    """Stands for a text that has no value of the wanted type."""


_ARTICLES = {
    ParameterType.STRING: "a text",
    ParameterType.INTEGER: "a whole number",
    ParameterType.NUMBER: "a number",
    ParameterType.BOOLEAN: "true or false",
    ParameterType.ARRAY: "a list",
}


def _from_text(text: str, limits: Limits) -> Value | _Unreadable:
    """Read a text as a value of the wanted type, or say that it has none."""
    if limits.type is ParameterType.STRING:
        return text
    if limits.type is ParameterType.BOOLEAN:
        return _TRUTH.get(text.strip().lower(), _Unreadable())
    if limits.type is ParameterType.ARRAY:
        return _list_from_text(text, limits)
    stripped = text.strip()
    if _INTEGER.match(stripped):
        return int(stripped)
    if limits.type is ParameterType.NUMBER and _NUMBER.match(stripped):
        return float(stripped)
    return _Unreadable()


def _list_from_text(text: str, limits: Limits) -> Value | _Unreadable:
    """Read a list: JSON when it looks like JSON, otherwise comma-separated items."""
    if text.strip().startswith("["):
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return _Unreadable()
        return value if isinstance(value, list) else _Unreadable()
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    items: list[Value] = []
    for part in parts:
        item = _from_text(part, limits.items) if limits.items else part
        if isinstance(item, _Unreadable):
            return _Unreadable()
        items.append(item)
    return items


def _refuse_constant(name: str) -> Value:
    raise ValueError(name)


def _has_type(value: Value, wanted: ParameterType) -> bool:
    if wanted is ParameterType.STRING:
        return isinstance(value, str)
    if wanted is ParameterType.BOOLEAN:
        return isinstance(value, bool)
    if wanted is ParameterType.ARRAY:
        return isinstance(value, list)
    if isinstance(value, bool):
        return False
    if wanted is ParameterType.INTEGER:
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, int | float)


def _same(one: Value, other: Value) -> bool:
    """Compare as JSON Schema does: true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


@lru_cache(maxsize=1024)
def ecma_pattern(pattern: str) -> re.Pattern[str]:
    r"""Compile a JSON Schema pattern, with `$` meaning the very end of the text as in ECMA 262.

    Raises:
        re.error: Python cannot read the pattern.
    """
    parts: list[str] = []
    escaped = in_class = False
    for character in pattern:
        if not escaped and not in_class and character == "$":
            parts.append(r"\Z")
            continue
        if not escaped and character == "[":
            in_class = True
        elif not escaped and character == "]":
            in_class = False
        escaped = character == "\\" and not escaped
        parts.append(character)
    return re.compile("".join(parts), re.ASCII)
