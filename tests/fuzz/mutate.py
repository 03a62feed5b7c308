"""Bent bytes: by bits, by fields with a length, by JSON's structure, by what lies inside base64, and by sheer amount.

All randomness comes from the `Random` that is given: one seed, one sequence.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

TOKENS = (
    b"\x00", b"\n", b"\n\n", b"\r\n", b" ", b"\t", b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf",
    "\u202e".encode(), "\u2028".encode(), "\u0085".encode(), "\u00a0".encode(), "\u2014 ".encode(), "\u0663".encode(),
    "\U0001f600".encode(), b"\\ud800", b"\\udfff\\ud800", b"\\u0000", b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":",
    b"null", b"true", b"NaN", b"-Infinity", b"1e400", b"-0", b"0x10", b"1_000", b"9007199254740992", b"9" * 5000,
    b"=", b"==", b"-", b"_", b"+", b"/", b"SSHSIG", b"ssh-ed25519", b"sk-ssh-ed25519@openssh.com", b"sha256:", b"refs/",
    b"- ", b"? ", b"&a ", b"*a", b"!!python/object/apply:os.system ", b"!vault |\n", b"<<: ", b"%YAML 1.1\n---\n", b"...\n",
    b"---\n", b"|\n  ", b">-\n", b"{{ x }}", b"../../", b"0001-01-01T00:00:00Z", b"9999-12-31T23:59:59Z",
)  # fmt: skip
NUMBERS = (0, 1, 4, 31, 32, 33, 64, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{12,}={0,2}")
_DIGITS = re.compile(rb"[0-9]+")
_MOST_DEPTH = 3


class Pairs(list[tuple[str, Any]]):
    """A JSON object that may hold a key twice."""


class Raw(str):
    """JSON as it shall stand in the text."""

    __slots__ = ()


def bent(data: bytes, others: Sequence[bytes], chance: Random, most: int) -> bytes:
    """Bend some bytes one to four times; never longer than `most`."""
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        data = _once(data, others, chance, most)
    return data[:most]


def _once(data: bytes, others: Sequence[bytes], chance: Random, most: int, depth: int = 0) -> bytes:
    kinds: list[Callable[[], bytes]] = [
        lambda: _bits(data, chance),
        lambda: _cut(data, chance),
        lambda: _token(data, chance),
        lambda: _length_field(data, chance),
        lambda: _digits(data, chance),
        lambda: _lines(data, chance),
        lambda: _splice(data, chance.choice(others) if others else data, chance),
        lambda: _amount(data, chance, most),
    ]
    if depth < _MOST_DEPTH:
        kinds += [lambda: _inside_base64(data, others, chance, most, depth)] * 3
        kinds += [lambda: _structure(data, others, chance, most, depth)] * 6
    return chance.choice(kinds)()


def _place(data: bytes, chance: Random) -> int:
    return chance.randrange(len(data) + 1)


def _bits(data: bytes, chance: Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(data: bytes, chance: Random) -> bytes:
    """Leave out a part, put one in twice, or end early."""
    start, end = sorted((_place(data, chance), _place(data, chance)))
    return chance.choice((data[:start], data[:start] + data[end:], data[:end] + data[start:], data[start:end]))


def _token(data: bytes, chance: Random) -> bytes:
    at = _place(data, chance)
    token = chance.choice(TOKENS)
    return data[:at] + token + data[at + chance.choice((0, 0, 1, len(token))) :]


def _length_field(data: bytes, chance: Random) -> bytes:
    """Put a number where a length of four bytes may stand, or change the one that stands there a little."""
    if len(data) < 4:
        return data
    fields = [at for at in range(min(len(data) - 3, 512)) if data[at : at + 2] == b"\0\0"]
    at = chance.choice(fields) if fields and chance.random() < 0.8 else chance.randrange(len(data) - 3)
    number = int.from_bytes(data[at : at + 4])
    number = chance.choice((*NUMBERS, number + 1, number - 1, number * 2, len(data) - at - 4))
    return data[:at] + (number % 2**32).to_bytes(4) + data[at + 4 :]


def _digits(data: bytes, chance: Random) -> bytes:
    found = list(_DIGITS.finditer(data))
    if not found:
        return data
    one = chance.choice(found)
    new = str(chance.choice((*NUMBERS, 2**53 - 1, 2**53, 2**63, 10**20, 10**400, -1))).encode()
    return data[: one.start()] + new + data[one.end() :]


def _lines(data: bytes, chance: Random) -> bytes:
    """Repeat, drop, exchange or indent lines."""
    lines = data.split(b"\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    kind = chance.randrange(4)
    if kind == 0:
        lines.insert(other, lines[one])
    elif kind == 1:
        del lines[one]
    elif kind == 2:
        lines[one], lines[other] = lines[other], lines[one]
    else:
        lines[one] = chance.choice((b" ", b"  ", b"\t", b"    ")) + lines[one]
    return b"\n".join(lines)


def _splice(data: bytes, other: bytes, chance: Random) -> bytes:
    return data[: _place(data, chance)] + other[_place(other, chance) :]


def _amount(data: bytes, chance: Random, most: int) -> bytes:
    """Repeat a small part until there is no more room: what costs more than its size shows itself here."""
    start = _place(data, chance)
    part = chance.choice((data[start : start + chance.choice((1, 2, 3, 8, 40))], chance.choice(TOKENS))) or b"["
    room = max(0, most - len(data))
    count = chance.choice((2, 2, 40, 40, 1000, 8000, room // len(part)))
    return data[:start] + part * min(count, room // len(part)) + data[start:]


def _inside_base64(data: bytes, others: Sequence[bytes], chance: Random, most: int, depth: int) -> bytes:
    """Bend what a base64 text holds, or the way it is written."""
    found = list(_BASE64.finditer(data))
    if not found:
        return _bits(data, chance)
    one = chance.choice(found)
    text = one.group()
    if chance.random() < 0.25:
        text = chance.choice(
            (
                text.rstrip(b"="),
                text + b"=",
                text.replace(b"+", b"-").replace(b"/", b"_"),
                text[:-1] + b"B=",
                text + b"\n",
            )
        )
    else:
        plain = text.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
        plain = plain[: len(plain) - (len(plain) % 4 == 1)]
        held = base64.b64decode(plain + b"=" * (-len(plain) % 4))
        text = base64.b64encode(_once(held, others, chance, most * 3 // 4, depth + 1))
    return data[: one.start()] + text + data[one.end() :]


def _structure(data: bytes, others: Sequence[bytes], chance: Random, most: int, depth: int) -> bytes:
    """Change JSON as a tree: leave out, exchange, repeat, another type, another depth, another number, another text."""
    try:
        tree: Any = json.loads(data, object_pairs_hook=Pairs)
    except (ValueError, RecursionError):
        return _token(data, chance)
    places: list[tuple[Any, int]] = []
    _collect(tree, places)
    if not places:
        return write(_odd_value(chance, most)).encode(errors="surrogatepass")
    holder, index = chance.choice(places)
    named = isinstance(holder, Pairs)
    key, value = holder[index] if named else ("", holder[index])
    kind = chance.randrange(7)
    if kind == 0:
        del holder[index]
    elif kind == 1:
        holder.insert(chance.randrange(len(holder) + 1), holder[index])
    elif kind == 2 and named:
        holder[index] = (_odd_text(key, chance), value)
    else:
        new = _odd_value(chance, most)
        if kind == 3:
            other, at = chance.choice(places)
            new = other[at][1] if isinstance(other, Pairs) else other[at]
        elif kind >= 5 and isinstance(value, str):
            new = _odd_text(value, chance)
            if kind == 6 and value:
                inner = _once(value.encode(errors="surrogatepass"), others, chance, most, depth + 1)
                new = inner.decode(errors="replace")
        holder[index] = (key, new) if named else new
    try:
        return write(tree, escaped=chance.random() < 0.5).encode(errors="surrogatepass")
    except RecursionError:  # an element was put into itself
        return data


def _collect(tree: Any, places: list[tuple[Any, int]]) -> None:
    if isinstance(tree, list):
        for index, each in enumerate(tree):
            places.append((tree, index))
            _collect(each[1] if isinstance(tree, Pairs) else each, places)


def write(tree: Any, *, escaped: bool = True) -> str:
    """Write JSON with keys that stand twice, halves of surrogate pairs, and parts as they are."""
    if isinstance(tree, Raw):
        return tree
    if isinstance(tree, Pairs):
        return (
            "{" + ",".join(f"{json.dumps(k, ensure_ascii=escaped)}:{write(v, escaped=escaped)}" for k, v in tree) + "}"
        )
    if isinstance(tree, list):
        return "[" + ",".join(write(each, escaped=escaped) for each in tree) + "]"
    return json.dumps(tree, ensure_ascii=escaped)


def _odd_value(chance: Random, most: int) -> Any:
    deep = chance.choice((31, 32, 33, 200, 1000, min(most // 2, 100_000)))
    many = min(chance.choice((20, 20, 1000, 60_000, most)), most) // 8
    numbers = (
        0,
        -1,
        1,
        2**53 - 1,
        2**53,
        -(2**53),
        2**63,
        Raw("1.5"),
        Raw("1e5"),
        Raw("9" * 5000),
        Raw("-0"),
        Raw("01"),
    )
    return chance.choice(
        (
            None, True, False, "", [], Pairs(), {}, "x" * min(most, 70000),
            chance.choice(numbers),
            Raw("[" * deep + "]" * deep),
            Raw('{"a":' * deep + "1" + "}" * deep),
            Raw("[" + ",".join(['""'] * many) + "]"),
            Raw("{" + ",".join(f'"{each}":0' for each in range(many)) + "}"),
            Raw("{" + ",".join(f'"{each}":0' for each in (*range(many), many - 1)) + "}"),
        )
    )  # fmt: skip


def _odd_text(text: str, chance: Random) -> str:
    at = chance.randrange(len(text) + 1)
    odd = chance.choice(
        (
            "\0",
            "\n",
            "\u202e",
            "\u200b",
            "\u2028",
            "\ud800",
            "\udfff",
            "\U0001f600",
            "é",
            "é",
            " ",
            "/",
            "..",
            "%",
            "A" * 300,
        )
    )
    return chance.choice(
        (text[:at] + odd + text[at:], text[:at] + odd + text[at + 1 :], text + odd, text.upper(), odd, text[:at])
    )
