"""Which bytes stand for a value, and which value do these bytes stand for?

Rules: what we write follows RFC 8785, restricted to integers (no floats: they differ between languages); what we
read is strict JSON, so that no two readers can see two different values in the same bytes. A digest is always of
bytes.

Not here: what a value means, and any signature over it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from typing import NoReturn, TypeAlias

from opsascode.proof._codes import Code, CodedProofError

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"

MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1
"""The largest integer every JSON reader keeps exactly (RFC 7493, 2.2)."""

_SPACE = " \t\n\r"
_BOM = b"\xef\xbb\xbf"
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BEYOND_SURROGATES = re.compile("[\ue000-\U0010ffff]")


def sha256_digest(data: bytes) -> str:
    """Name bytes by their SHA-256, as `sha256:<64 hex digits>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical_bytes(value: Json) -> bytes:
    """Write a value the one way RFC 8785 writes it.

    Raises:
        ProofError: the value holds a float, an integer beyond 2**53 - 1, a key that is no string, a lone surrogate, or
            is nested deeper than 32.
    """
    if _needs_utf16_order(value, MAX_DEPTH):
        value = _in_utf16_order(value)
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), check_circular=False)
    else:
        text = _ENCODER.encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise CodedProofError(Code.PARSE, "a text holds half a surrogate pair, which UTF-8 cannot write") from None


def parse_strict(data: bytes, *, max_bytes: int = 65536) -> Json:
    """Read JSON that has only one possible reading.

    Raises:
        ProofError: more than `max_bytes`, not UTF-8, a byte order mark, a key twice in one object, a float, NaN,
            Infinity, an integer beyond 2**53 - 1, a lone surrogate, or nesting deeper than 32.
    """
    if len(data) > max_bytes:
        raise CodedProofError(Code.PARSE, f"{len(data)} bytes of JSON where at most {max_bytes} are allowed")
    if data.startswith(_BOM):
        raise CodedProofError(Code.PARSE, "the JSON starts with a byte order mark")
    try:
        text = data.decode()
        value = _scan(text)
    except UnicodeDecodeError as error:
        raise CodedProofError(Code.PARSE, f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise CodedProofError(Code.PARSE, f"JSON nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise CodedProofError(Code.PARSE, f"not JSON: {error}") from None
    # A value cannot be deeper than it has opening brackets: almost every record is cleared without a walk.
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _check_depth(value, MAX_DEPTH)
    if _ESCAPED_SURROGATE.search(data):
        _check_surrogates(value)
    return value


def _scan(text: str) -> Json:
    """Read JSON; what we wrote has no white space around it and needs no search for it, a third of the time."""
    value: Json
    start = len(text) - len(text.lstrip(_SPACE)) if text[:1] in _SPACE else 0
    value, end = _DECODER.raw_decode(text, start)
    if end != len(text) and text[end:].strip(_SPACE):
        raise json.JSONDecodeError("Extra data", text, end)
    return value


def _needs_utf16_order(value: object, depth: int) -> bool:
    """Check that every part may be written; say whether keys may sort differently by UTF-16 units."""
    if value is None or isinstance(value, (str, bool)):
        return False
    if isinstance(value, int):
        _check_integer(value)
        return False
    if depth == 0:
        raise CodedProofError(Code.PARSE, f"a value nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        found = False
        for key, item in value.items():
            if not isinstance(key, str):
                raise CodedProofError(Code.PARSE, f"the key {key!r} of an object is no text")
            found |= not key.isascii() and _BEYOND_SURROGATES.search(key) is not None
            found |= _needs_utf16_order(item, depth - 1)
        return found
    if isinstance(value, (list, tuple)):
        return any([_needs_utf16_order(item, depth - 1) for item in value])  # noqa: C419 - every item must be checked
    what = type(value).__name__
    raise CodedProofError(Code.PARSE, f"a {what} cannot be part of what is signed", advice="use integers or text")


def _in_utf16_order(value: Json) -> Json:
    """Rebuild the value with keys in the order of RFC 8785, 3.2.3."""
    if isinstance(value, dict):
        ordered = sorted(value, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return {key: _in_utf16_order(value[key]) for key in ordered}
    if isinstance(value, (list, tuple)):
        return [_in_utf16_order(item) for item in value]
    return value


def _check_integer(number: int) -> None:
    if not -MAX_INTEGER <= number <= MAX_INTEGER:
        raise CodedProofError(Code.PARSE, f"the integer {number} is beyond 2**53 - 1", advice="write it as text")


def _check_depth(value: Json, depth: int) -> None:
    if not isinstance(value, (dict, list)):
        return
    if depth == 0:
        raise CodedProofError(Code.PARSE, f"JSON nested deeper than {MAX_DEPTH}")
    for item in value.values() if isinstance(value, dict) else value:
        _check_depth(item, depth - 1)


def _check_surrogates(value: Json) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise CodedProofError(Code.PARSE, "a text holds half a surrogate pair") from None


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        count = Counter(name for name, _ in pairs)
        twice = max(count, key=count.__getitem__)
        raise CodedProofError(Code.PARSE, f"the key {twice[:80]!r} appears twice in one object")
    return found


def _integer(text: str) -> int:
    if len(text) > len(str(-MAX_INTEGER)):
        raise CodedProofError(Code.PARSE, f"the integer {text[:20]}… is beyond 2**53 - 1")
    number = int(text)
    _check_integer(number)
    return number


def _no_float(text: str) -> NoReturn:
    raise CodedProofError(Code.PARSE, f"{text[:40]} is no integer", advice="only integers are signed")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, check_circular=False)
_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_no_float, parse_constant=_no_float
)
