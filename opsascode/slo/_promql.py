"""How is PromQL written? Lengths, strings, numbers and selectors, in the one form Prometheus itself prints them.

A rule that is written as Prometheus prints it can be compared with what `/api/v1/rules` says is loaded.

Not here: what is asked (`_queries`), asking it (`_prometheus`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from decimal import Decimal

WINDOW: Final = "$window"

Matcher: TypeAlias = tuple[str, str, str]
"""A label, an operator such as `=~`, and a value."""

_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_NAME: Final = re.compile(r"\s*(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)?\s*(?P<open>\{)?\s*")
_MATCHER: Final = re.compile(
    r"""(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<operator>=~|!~|!=|=)\s*
    (?P<value>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)\s*(?P<end>,\s*\}|,|\})\s*""",
    re.VERBOSE,
)
_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE: Final = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)")


@lru_cache(maxsize=4096)
def span(length: timedelta) -> str:
    """Write a length: `30d`, `1h30m`, `5m`."""
    rest = length // timedelta(milliseconds=1)
    parts = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


@lru_cache(maxsize=4096)
def quoted(text: str) -> str:
    r"""Write a string as Prometheus prints it: `"`, `\` and what cannot be printed are escaped."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{"".join(_escaped(each) for each in text)}"'


def number(value: Decimal) -> str:
    """Write a number without an exponent."""
    return f"{value:f}"


def labels(pairs: Mapping[str, str]) -> str:
    """Write matchers for equality, sorted as Prometheus prints them."""
    return f"{{{','.join(sorted(f'{name}={quoted(value)}' for name, value in pairs.items()))}}}"


@lru_cache(maxsize=4096)
def selector(text: str) -> str | None:
    """Give a selector such as `name{label="value"}` in Prometheus' own form; None where the text is something else."""
    found = parsed_selector(text)
    return None if found is None else with_matchers(*found)


@lru_cache(maxsize=4096)
def parsed_selector(text: str) -> tuple[str, tuple[Matcher, ...]] | None:
    """Read a selector into its name (may be empty) and its matchers; None where the text is something else."""
    head = _NAME.match(text)
    if head is None or not (head["name"] or head["open"]):
        return None
    if not head["open"]:
        return (head["name"], ()) if head.end() == len(text) else None
    matchers = _matchers(text[head.end() :])
    if matchers is None or not (head["name"] or matchers):
        return None
    return head["name"] or "", tuple(matchers)


def with_matchers(name: str, matchers: Iterable[Matcher]) -> str:
    """Write a selector of a metric from label, operator and value."""
    inner = ",".join(sorted(f"{label}{operator}{quoted(value)}" for label, operator, value in matchers))
    return f"{name}{{{inner}}}" if inner else name


def _matchers(text: str) -> list[Matcher] | None:
    """Read what follows an opening brace, up to its end; None where it is no list of matchers."""
    if text.rstrip() == "}":
        return []
    found, at = [], 0
    while match := _MATCHER.match(text, at):
        found.append((match["label"], match["operator"], _unquoted(match["value"])))
        at = match.end()
        if match["end"].endswith("}"):
            return found if at == len(text) else None
    return None


def _unquoted(text: str) -> str:
    inner = text[1:-1]
    return inner if text.startswith("`") else _ESCAPE.sub(_meant, inner)


def _meant(match: re.Match[str]) -> str:
    body = match[0][1:]
    if body[0] in "xuU":
        return chr(int(body[1:], 16))
    if len(body) > 1:
        return chr(int(body, 8))
    return _ESCAPES.get(body, body)


def _escaped(character: str) -> str:
    if character in {'"', "\\"}:
        return f"\\{character}"
    if character.isprintable():
        return character
    short = next((name for name, meant in _ESCAPES.items() if meant == character), None)
    if short:
        return f"\\{short}"
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - as Go's %q writes them
