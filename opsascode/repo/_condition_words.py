"""How is a fault of a condition said so that whoever wrote it can mend it?

The library says what it expected in its own terms; here stands what to type. Where a fault names a fact, its place is
where the name begins.

Not here: finding faults (`_conditions`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from opsascode.repo._conditions import Fault
from opsascode.repo._problem import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

_EACH: Final = re.compile(r"ERROR: <input>:(-?[0-9]+):(-?[0-9]+): (.*?)(?=\n|\s\[INVALID_ARGUMENT\]|\Z)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD: Final = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'")
_SYNTAX: Final = re.compile(r"Syntax error: (.*)", re.DOTALL)
_BETWEEN: Final = re.compile(r", (?![^()]*\))")
_WORDS: Final = {"@in": "in", "_[_]": "[ ]"}
_INSTEAD: Final = {
    "=": "compare with ==",
    "and": "write && for and",
    "or": "write || for or",
    "not": "write ! for not",
}
_NUMBERS: Final = frozenset({"int", "uint", "double"})
_TIME: Final = "google.protobuf.Timestamp"
_MACROS: Final = frozenset({"all", "exists", "exists_one", "filter", "map", "has"})
_FUNCTIONS: Final = (
    "all", "contains", "double", "duration", "endsWith", "exists", "exists_one", "filter", "getDayOfMonth",
    "getDayOfWeek", "getFullYear", "getHours", "getMinutes", "getMonth", "has", "int", "matches", "size", "startsWith",
    "string", "timestamp",
)  # fmt: skip


def fault_of(error: str, text: str, facts: Mapping[str, str]) -> Fault:
    """Turn the library's complaint into ours; of several, the first, or the one about the form of a call."""
    found = [(max(1, int(line)), max(1, int(column)), said) for line, column, said in _EACH.findall(error)]
    if "recursion" in error:
        return Fault(line=1, column=1, message="the condition nests too deeply", mend="make several rules of it")
    calls = [each for each in found if (name := _UNDECLARED.match(each[2])) and name[1] in _MACROS]
    line, column, said = (calls or found or [(1, 1, error)])[0]
    if undeclared := _UNDECLARED.match(said):
        return _undeclared(undeclared[1], (line, column), text, facts)
    message, mend = f"the condition cannot be read: {said}", ""
    if overload := _OVERLOAD.match(said):
        message, mend = _overload(overload[1], overload[2])
    elif syntax := _SYNTAX.match(said):
        message, mend = _syntax(syntax[1])
    return Fault(line=line, column=column, message=message, mend=mend)


def wrong_type(kind: str) -> Fault:
    """Say that a condition is something else than true or false."""
    known = kind.lower().replace("dyn", "a value of any type")
    message = f"a condition must be true or false, not {known}"
    return Fault(line=1, column=1, message=message, mend="compare it with something, such as == or >")


def too_much(found: tuple[int, str], text: str) -> Fault:
    """Say that a condition might take more than a moment."""
    offset, message = found
    before = text[:offset]
    mend = "write it as one text" if "pattern" in message else "go around a fact: exists, all, exists_one or filter"
    line, column = before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1
    return Fault(line=line, column=column, message=message, mend=mend)


def _undeclared(name: str, place: tuple[int, int], text: str, facts: Mapping[str, str]) -> Fault:
    """Say that nobody knows a name, at the place where it begins."""
    line, column = place
    lines = text.split("\n")
    written = lines[line - 1] if line <= len(lines) else ""
    if written[column - 1 : column] == "(":  # a call: the library points at its bracket
        start = column - len(name) if written[: column - 1].endswith(name) else column
        message, mend = _call(name)
        return Fault(line=line, column=start, message=message, mend=mend)
    ends = (column - 1, *(column - 1 - match.start() for match in re.finditer(r"\.", name)))
    start = next((at for at in ends if at >= 0 and written.startswith(name, at)), column - 1) + 1
    house = name.partition(".")[0]
    near = [each for each in facts if each.startswith(f"{house}.")]
    whole = next((each for each in facts if each.endswith(f".{name}")), "")
    mend = did_you_mean(whole or name, () if name == house and not whole else near or facts, list_up_to=0)
    if not mend:
        mend = f"use one of: {', '.join(near or facts)}"
    return Fault(line=line, column=start, message=f"there is no fact {quoted(name)}", mend=mend)


def _call(name: str) -> tuple[str, str]:
    if name in _MACROS:
        return f"{quoted(name)} is not written as it must be", "write it so: plan.groups.exists(each, each == 'web')"
    if name in _FUNCTIONS:
        return f"{quoted(name)} cannot be called so", ""
    return f"there is no function {quoted(name)}", did_you_mean(name, _FUNCTIONS, list_up_to=30)


def _overload(function: str, types: str) -> tuple[str, str]:
    """Say which operator or function does not fit which types."""
    named = types.replace(_TIME, "timestamp").replace("google.protobuf.Duration", "duration")
    kinds = _BETWEEN.split(named[1:-1])
    if function == "_?_:_":
        return f"both answers of «? :» must be of one type, not {' and '.join(kinds[1:])}", ""
    word = _WORDS.get(function, function.strip("_"))
    if len(kinds) == 1:
        return f"{quoted(word)} cannot stand before {kinds[0]}", ""
    mend = ""
    if len(set(kinds)) > 1 and set(kinds) <= _NUMBERS:
        mend = "write 3.0 where a double is meant, or convert: double(…), int(…)"
    elif "timestamp" in kinds:
        mend = 'write a time as timestamp("2026-12-31T00:00:00Z")'
    return f"{quoted(word)} cannot stand between {' and '.join(kinds)}", mend


def _syntax(said: str) -> tuple[str, str]:
    """Say where a text is no condition, and what is meant by the words that people write instead."""
    short, *_ = said.split(" expecting ", maxsplit=1)
    found = re.search(r"'(.*)'", short, re.DOTALL)
    word = found[1].strip() if found else short
    if word == "<EOF>":
        return "the condition ends where more must follow", ""
    if word[:1] in {"'", '"'}:
        return "a quoted text is not closed", "write its closing quote"
    return f"the condition cannot be read at {quoted(word)}", _INSTEAD.get(word, "")
