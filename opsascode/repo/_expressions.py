"""Which variables does a template or a condition use, and can it be read at all?

Jinja is parsed, never evaluated: no text of a document runs here. Each distinct text is parsed once. The commonest
templates, plain text around `{{ name }}`, are recognised without Jinja, as loading and running it would cost more than
all the rest of a check; a test holds both ways to the same answers.

Not here: whether a name is known (`_rules`). Filters and tests are Ansible's to know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_OPENING = re.compile(r"\{[{%#]")
_SIMPLE = re.compile(r"\{\{[-+]?\s*([A-Za-z_][A-Za-z0-9_]*)(?:\.[A-Za-z_][A-Za-z0-9_]*)*\s*-?\}\}", re.ASCII)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_RESERVED = frozenset({"and", "else", "false", "False", "if", "in", "is", "none", "None", "not", "or", "true", "True"})
_CACHED = 16384


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What an expression uses: variables; those it asks about first (`is defined`, `default`); words that may name one.

    A `fault` says why the expression cannot be read; then nothing is known about its names.
    """

    used: frozenset[str] = frozenset()
    guarded: frozenset[str] = frozenset()
    mentioned: frozenset[str] = frozenset()
    fault: str = ""


_NOTHING = Names()


def is_template(text: str) -> bool:
    """Tell whether Ansible would look for Jinja in a text."""
    return "{" in text and _OPENING.search(text) is not None


@lru_cache(maxsize=_CACHED)
def template_names(text: str) -> Names:
    """Read a text that may hold templates."""
    openings = [match.start() for match in _OPENING.finditer(text)]
    if not openings:
        return _NOTHING
    simple = list(_SIMPLE.finditer(text))
    if [match.start() for match in simple] == openings:
        used = frozenset(match[1] for match in simple)
        if not used & _RESERVED:
            return Names(used=used)
    return parsed_template(text)


@lru_cache(maxsize=_CACHED)
def condition_names(text: str) -> Names:
    """Read a text that is one expression as a whole, such as `when`."""
    if _WORD.match(text) and text not in _RESERVED:
        return Names(used=frozenset({text}))
    return _read(_parse_condition, text)


def parsed_template(text: str) -> Names:
    """Read a template with Jinja itself."""
    return _read(_parse_template, text)


def _parse_template(text: str) -> Any:  # noqa: ANN401 - jinja2 is imported late
    return _environment().parse(text)


def _parse_condition(text: str) -> Any:  # noqa: ANN401 - jinja2 is imported late
    """Parse as `Environment.compile_expression` does, without compiling."""
    from jinja2.parser import Parser  # noqa: PLC0415 - see the module's first words

    parser = Parser(_environment(), text, state="variable")
    expression = parser.parse_expression()
    if not parser.stream.eos:
        parser.fail("the expression ends here, but the text goes on", parser.stream.current.lineno)
    return expression


@cache
def _environment() -> Any:  # noqa: ANN401 - jinja2 is imported late
    from jinja2 import Environment  # noqa: PLC0415 - see the module's first words

    return Environment()  # noqa: S701 - nothing is ever rendered; Ansible adds no extensions either


def _read(parse: Callable[[str], Any], text: str) -> Names:
    """Parse and collect names; whatever Jinja thinks of the text becomes a value."""
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - see the module's first words

    try:
        return _names(parse(text))
    except TemplateSyntaxError as error:
        return Names(fault=(error.message or "it is not readable").rstrip("."))
    except RecursionError:
        return Names(fault="it nests too deeply")
    except ValueError as error:  # Jinja reads numbers with int(), which refuses thousands of digits
        return Names(fault=str(error).split(";")[0])


def _names(tree: Any) -> Names:  # noqa: ANN401 - jinja2 is imported late
    """Collect names from a syntax tree; a stack of our own, as chains of operators nest as deep as they are long."""
    from jinja2 import nodes  # noqa: PLC0415 - see the module's first words

    used: set[str] = set()
    local: set[str] = set()
    guarded: set[str] = set()
    mentioned: set[str] = set()
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, nodes.Name):
            (used if node.ctx == "load" else local).add(node.name)
        elif isinstance(node, nodes.Const):
            if isinstance(node.value, str) and _WORD.match(node.value):
                mentioned.add(node.value)
        elif (isinstance(node, nodes.Test) and node.name in {"defined", "undefined"}) or (
            isinstance(node, nodes.Filter) and node.name in {"default", "d"}
        ):
            guarded |= _root(node.node)
        elif isinstance(node, nodes.Macro):
            local.add(node.name)
        stack.extend(node.iter_child_nodes())
    return Names(used=frozenset(used - local), guarded=frozenset(guarded), mentioned=frozenset(mentioned))


def _root(node: Any) -> set[str]:  # noqa: ANN401 - jinja2 is imported late
    """Give the variable that an attribute chain such as `a.b['c']` starts from."""
    from jinja2 import nodes  # noqa: PLC0415 - see the module's first words

    while isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Filter) and node.node is not None:
        node = node.node
    return {node.name} if isinstance(node, nodes.Name) else set()
