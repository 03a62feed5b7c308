"""In which forms may a secret value turn up in text?

As it is, as a JSON or Python string, in URLs, in base64 (also inside a longer encoded text) and in hexadecimal; a
value of several lines also line by line. All forms become one pattern, used by the callback for the journal and by the
child for Ansible's own output.

Not here: encryption, or any promise about what a task does with a secret on purpose, such as reversing it.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opsascode.proof import Json

MASK: Final = "[secret]"
_LONG_ENOUGH_TO_ENCODE: Final = 4
_LONG_ENOUGH_AS_LINE: Final = 8


def secret_pattern(secrets: Mapping[str, Json]) -> str | None:
    """Give a regular expression that matches each form of each secret value, longest first; None without secrets."""
    forms = {form for value in _texts(secrets.values()) for form in _forms(value) if form.strip()}
    if not forms:
        return None
    return "|".join(_loose(form) for form in sorted(forms, key=lambda form: (-len(form), form)))


def _texts(values: Iterable[Json]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from _texts(value.values())
        elif isinstance(value, list):
            yield from _texts(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield str(value)


def _forms(value: str) -> Iterator[str]:
    yield value
    if len(value) < _LONG_ENOUGH_TO_ENCODE:
        return
    yield value.strip()
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    for safe in ("", "/"):
        yield quote(value, safe=safe)
        yield quote_plus(value, safe=safe)
    data = value.encode("utf-8", "surrogatepass")
    yield data.hex()
    yield from _base64_forms(data)
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line.strip()) >= _LONG_ENOUGH_AS_LINE)


def _base64_forms(data: bytes) -> Iterator[str]:
    """Base64 of the value wherever it begins in the encoded text: only the characters that depend on it alone."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode().rstrip("=")
        for shift in (0, 1, 2):
            first, last = -(-shift * 4 // 3), (shift + len(data)) * 4 // 3
            inner = encode(bytes(shift) + data).decode()[first:last]
            if len(inner) > _LONG_ENOUGH_TO_ENCODE:
                yield inner


def _loose(form: str) -> str:
    """Give the form as a pattern in which white space stands for any: Ansible may wrap, a terminal adds returns."""
    return r"\s+".join(map(re.escape, form.split()))
