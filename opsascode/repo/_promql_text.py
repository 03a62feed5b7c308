"""Can a text stand inside a query to Prometheus?

Counters are written as selectors (`http_requests_total{code=~"5.."}`), or as expressions in which `$window` stands for
the window that is asked about. Either becomes part of a longer query, so nothing may reach out of it: no bracket or
quote left open or closed too often, no comment that swallows what follows.

Not here: whether Prometheus knows the metric (`check --live`), writing queries (`slo`).
"""

from __future__ import annotations

import re
from typing import Final

from opsascode.repo._problem import quoted

WINDOW: Final = "$window"

_STRING: Final = re.compile(r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`""")
_MATCHER: Final = rf"\s*[a-zA-Z_][a-zA-Z0-9_]*\s*(?:=~|!~|!=|=)\s*(?:{_STRING.pattern})\s*"
_SELECTOR: Final = re.compile(
    rf"\s*(?:[a-zA-Z_:][a-zA-Z0-9_:]*\s*(?:\{{\s*(?:{_MATCHER}(?:,{_MATCHER})*,?\s*)?\}})?"
    rf"|\{{{_MATCHER}(?:,{_MATCHER})*,?\s*\}})\s*\Z"
)
_PAIRS: Final = {"(": ")", "[": "]", "{": "}"}
_EXAMPLE: Final = 'http_requests_total{job="shop"}'


def events_fault(text: str) -> tuple[str, str] | None:
    """Say why a text cannot count events, and how to mend it; None where it can."""
    if _SELECTOR.match(text):
        return None
    fault = expression_fault(text)
    if fault is not None:
        return fault
    if WINDOW not in _STRING.sub(" ", text):
        message = f"{quoted(text)} is neither a selector nor an expression with {WINDOW}"
        return message, f"write the counter alone, such as {_EXAMPLE}: rate and sum are added"
    return ratio_fault(text.replace(WINDOW, "5m"))


def ratio_fault(text: str) -> tuple[str, str] | None:
    """Say why a text cannot be asked as it is, and how to mend it; None where it can."""
    fault = expression_fault(text)
    if fault is None and "$" in _STRING.sub(" ", text):
        return f"{quoted(text)} holds a $, which nothing fills in here", "write the query as Prometheus takes it"
    return fault


def expression_fault(text: str) -> tuple[str, str] | None:
    """Say what would reach out of an expression, and how to mend it."""
    if not text.strip():
        return "the query is empty", "write one, such as " + _EXAMPLE
    bare = _STRING.sub(" ", text)
    if re.search(r"[\"'`]", bare):
        return f"{quoted(text)} has a quote that is not closed", "close it"
    if "#" in bare:
        return f"{quoted(text)} holds a comment, which would swallow what follows", "write it as a comment of YAML"
    waiting: list[str] = []
    for character in bare:
        if character in _PAIRS:
            waiting.append(_PAIRS[character])
        elif character in _PAIRS.values() and (not waiting or waiting.pop() != character):
            return f"{quoted(text)} closes {quoted(character)} that nothing opens", "delete it, or open it"
    if waiting:
        return f"{quoted(text)} leaves a bracket open", f"close it with {waiting[-1]}"
    return None
