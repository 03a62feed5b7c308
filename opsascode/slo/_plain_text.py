"""How do plain values stand in a YAML file that people go on to edit?

Blocks, two spaces, lists one deeper; texts plain where that is safe, else quoted; several lines as a block; decimals as
they are, digit by digit. Our own reader reads the very values back.

Not here: rules for Prometheus (`_written`).
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from opsascode.slo._written import scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SAFE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*( [A-Za-z0-9_./()-]+)*\Z")
_LENGTH: Final = re.compile(r"[0-9]+(\.[0-9]+)?(ms|%|[smhdwMQY])\Z")
_BLOCK: Final = re.compile(r"[^\s#](?:[\x20-\x7e\n]*[^\s])\Z")
_WORDS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def documents_text(documents: Iterable[dict[str, Any]], *, head: str = "") -> str:
    """Write documents into one file, each after a line of dashes but for the first."""
    texts = ["\n".join(_mapping(each, "")) for each in documents]
    return head + "\n---\n".join(texts) + "\n"


def _mapping(pairs: dict[str, Any], indent: str) -> Iterator[str]:
    for key, value in pairs.items():
        yield from _entry(f"{indent}{_text(str(key))}:", value, indent)


def _entry(start: str, value: Any, indent: str) -> Iterator[str]:  # noqa: ANN401 - any plain value
    """Write what follows a key."""
    if isinstance(value, dict) and value:
        yield start
        yield from _mapping(value, f"{indent}  ")
    elif isinstance(value, list) and value:
        yield start
        for each in value:
            yield from _item(each, f"{indent}  ")
    elif isinstance(value, str) and "\n" in value and _block(value):
        yield f"{start} |-"
        yield from (f"{indent}  {line}" if line else "" for line in value.split("\n"))
    else:
        yield f"{start} {_scalar(value)}"


def _item(value: Any, indent: str) -> Iterator[str]:  # noqa: ANN401 - any plain value
    """Write one item of a list; a mapping begins on the line of its dash."""
    if isinstance(value, dict) and value:
        lines = list(_mapping(value, f"{indent}  "))
        yield f"{indent}- {lines[0].lstrip(' ')}"
        yield from lines[1:]
    elif isinstance(value, list) and value:
        yield f"{indent}-"
        for each in value:
            yield from _item(each, f"{indent}  ")
    else:
        yield f"{indent}- {_scalar(value)}"


def _block(text: str) -> bool:
    lines = text.split("\n")
    return bool(_BLOCK.match(text)) and all(line == line.rstrip() for line in lines) and "---" not in lines


def _scalar(value: Any) -> str:  # noqa: ANN401 - any plain value
    if isinstance(value, str):
        return _text(value)
    return f"{value:f}" if isinstance(value, Decimal) else json.dumps(value)


def _text(text: str) -> str:
    """Write a text; words, lengths and percentages need no quotes."""
    if _LENGTH.fullmatch(text) or (_SAFE.fullmatch(text) and text.lower() not in _WORDS):
        return text
    return scalar(text)
