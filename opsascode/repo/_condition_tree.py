"""What does a compiled condition read, and could asking it take more than a moment?

The library bounds how often a condition goes around a list, but not how large the values grow that it makes on the way:
each step of a chain may double them. So a condition goes around facts and written lists only, and makes no lists of new
values; what it looks at is then never larger than its facts. Nor does the library count what is done each time around,
such as looking for a value in a long list, or reading a pattern anew: that is estimated from the sizes of the facts
before the condition is asked. The compiled form is read as the library writes it, in protocol buffers
(cel.expr.CheckedExpr, https://github.com/google/cel-spec).

Not here: compiling (`_conditions`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

_Fields: TypeAlias = dict[int, list["int | bytes"]]

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_CHECKED, _EXPRESSION, _SOURCE, _POSITIONS = (
    2,
    4,
    5,
    4,
)  # Any.value, CheckedExpr.expr, .source_info, SourceInfo.positions
_ID, _CONSTANT, _IDENTIFIER, _SELECT, _CALL, _LIST, _STRUCT, _LOOP = range(2, 10)  # Expr
_PARTS: Final = {
    _SELECT: (1,),  # operand
    _CALL: (1, 3),  # target, arguments
    _LIST: (1,),  # elements
}
_ENTRY_PARTS: Final = (3, 4)  # key and value of an entry of a map
_TEXT: Final = 6  # Constant.string_value
_MANY_IN_FEW: Final = re.compile(rb"[{]|\\[pP]|\(\?")
_COST, _COSTLY = 30, 500_000  # measured: 0.4 us a character, and up to 7 ms
_RANGE, _FIRST, _STEP = 2, 4, 6  # Comprehension.iter_range, .accu_init, .loop_step
_BODY: Final = (_FIRST, 5, _STEP, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What is known of a compiled condition: the names it reads, and what is too much in it, with the offset of it.

    Each of `work` is what it looks at again and again: the names that are gone around, or how many written values, and
    the name that is looked at, or what it costs to read a pattern. Their sizes, multiplied, are the work.
    """

    reads: frozenset[str]
    work: tuple[tuple[str | int, ...], ...] = ()
    too_much: tuple[int, str] | None = None


def read_tree(serialized: bytes) -> Tree:
    """Read a compiled condition as the library writes it."""
    checked = _fields(_bytes(_fields(serialized), _CHECKED))
    positions = _positions(checked)
    reads: set[str] = set()
    work: list[tuple[str | int, ...]] = []
    faults: list[tuple[int, str]] = []
    pending: list[tuple[bytes, tuple[str | int, ...]]] = [(_bytes(checked, _EXPRESSION), ())]
    while pending:
        data, around = pending.pop()
        expression = _fields(data)
        if _IDENTIFIER in expression:
            name = _name(expression)
            reads.add(name)
            work += [(*around, name)] if around else []
        if _LOOP in expression:
            loop = _fields(_bytes(expression, _LOOP))
            fault = _fault(loop)
            faults += [(positions.get(_number(expression, _ID), 0), fault)] if fault else []
            pending.append((_bytes(loop, _RANGE), around))
            pending += ((each, (*around, _size(loop))) for part in _BODY for each in _all(loop, part))
        else:
            for cost in _patterns(expression):
                work.append((*around, cost))
                written = "the pattern of matches is not written out, so it may be any"
                faults += [] if cost else [(positions.get(_number(expression, _ID), 0), written)]
            pending += ((each, around) for each in _inner(expression))
    return Tree(reads=frozenset(reads), work=tuple(work), too_much=min(faults, default=None))


def _fault(loop: _Fields) -> str:
    """Say what is too much in one going around."""
    around = _fields(_bytes(loop, _RANGE))
    written = all(_CONSTANT in _fields(each) for each in _all(_fields(_bytes(around, _LIST)), 1))
    if _IDENTIFIER not in around and not (_LIST in around and written):
        return "it goes around what it has made itself, which may be of any size"
    if _LIST in _fields(_bytes(loop, _FIRST)):
        variable = _bytes(loop, 1).decode()
        if any(_name(each) != variable for each in _kept(_bytes(loop, _STEP))):
            return "it makes a list of new values, which may be of any size"
    return ""


def _size(loop: _Fields) -> str | int:
    """Name what is gone around, or count what is written there."""
    around = _fields(_bytes(loop, _RANGE))
    return _name(around) or len(_all(_fields(_bytes(around, _LIST)), 1))


def _patterns(expression: _Fields) -> Iterator[int]:
    """Estimate what it costs to read the pattern of a `matches`; nothing where it is not written out."""
    call = _fields(_bytes(expression, _CALL))
    if _bytes(call, 2) == b"matches":
        constant = _fields(_bytes(_fields(_all(call, 3)[-1]), _CONSTANT))
        pattern = _bytes(constant, _TEXT)
        many = len(_MANY_IN_FEW.findall(pattern))  # a few characters that stand for very many
        yield _COST * (len(pattern) + 10) + _COSTLY * many if _TEXT in constant else 0


def _name(expression: _Fields) -> str:
    return _bytes(_fields(_bytes(expression, _IDENTIFIER)), 1).decode()


def _kept(step: bytes) -> Iterator[_Fields]:
    """Give what a step puts on its list: the elements of lists written in the step itself, not below another one."""
    expression = _fields(step)
    if _LIST in expression:
        yield from (_fields(each) for each in _all(_fields(_bytes(expression, _LIST)), 1))
    elif _CALL in expression:
        call = _fields(_bytes(expression, _CALL))
        arguments = _all(call, 3)
        chosen = arguments[1:] if _bytes(call, 2) == b"_?_:_" else arguments
        for each in chosen:
            yield from _kept(each)


def _inner(expression: _Fields) -> Iterator[bytes]:
    """Give the expressions right below one that is no loop."""
    for kind, parts in _PARTS.items():
        for inner in _all(expression, kind):
            fields = _fields(inner)
            yield from (each for part in parts for each in _all(fields, part))
    for struct in _all(expression, _STRUCT):
        for entry in _all(_fields(struct), 2):
            fields = _fields(entry)
            yield from (each for part in _ENTRY_PARTS for each in _all(fields, part))


def _positions(checked: _Fields) -> dict[int, int]:
    """Give the offsets in the text of all expressions, by their ids."""
    pairs = (_fields(each) for each in _all(_fields(_bytes(checked, _SOURCE)), _POSITIONS))
    return {_number(each, 1): _number(each, 2) for each in pairs}


def _fields(data: bytes) -> _Fields:
    """Read the fields of one message."""
    found: _Fields = {}
    index = 0
    while index < len(data):
        tag, index = _varint(data, index)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == _VARINT:
            value, index = _varint(data, index)
        elif wire == _BYTES:
            size, index = _varint(data, index)
            value, index = data[index : index + size], index + size
        else:
            size = {_FIXED_64: 8, _FIXED_32: 4}[wire]
            value, index = data[index : index + size], index + size
        found.setdefault(number, []).append(value)
    return found


def _varint(data: bytes, index: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[index]
        index += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that more follows
            return value, index


def _all(fields: _Fields, number: int) -> list[bytes]:
    return [each for each in fields.get(number, ()) if isinstance(each, bytes)]


def _bytes(fields: _Fields, number: int) -> bytes:
    return next(iter(_all(fields, number)), b"")


def _number(fields: _Fields, number: int) -> int:
    return next((each for each in fields.get(number, ()) if isinstance(each, int)), 0)
