"""What does a condition in CEL ask, and what is the answer? The only door to the CEL library.

A condition is an expression of the Common Expression Language (https://cel.dev) over the facts listed here; its answer
is true or false. It is compiled once, when it is first asked. Where there is no answer (a key that is not there, a
division by zero, a fact nobody knows, too much work, no library), that is a value with its reason, never an exception:
whoever asks decides what follows, and fails closed.

Equal facts have equal answers, so a few are remembered by the facts a condition reads: many plans are alike in them.

Not here: where conditions stand (`_guardrails`), what they may go around (`_condition_tree`), what their faults are
called (`_condition_words`), and what the facts of a run are (`policy`).
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from itertools import count
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._condition_tree import Tree, read_tree

if TYPE_CHECKING:
    from opsascode.errors import Position

FACTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "plan.runbook": "string",
        "plan.labels": "map(string, string)",
        "plan.hosts": "int",
        "plan.total": "int",
        "plan.percent": "double",
        "plan.groups": "list(string)",
        "plan.environments": "list(string)",
        "plan.tags": "list(string)",
        "plan.modules": "list(string)",
        "plan.opaque": "bool",
        "plan.dirty": "bool",
        "plan.predicts": "bool",
        "plan.approvals": "int",
        "who.trigger": "string",
        "who.account": "string",
        "who.roles": "list(string)",
        "now": "timestamp",
        "budget.level": "map(string, string)",
        "budget.consumed": "map(string, double)",
    }
)
"""Everything a condition can ask about, with its type in CEL."""

MAX_LENGTH: Final = 2000
MISSING_LIBRARY: Final = "a condition in CEL needs opsascode[reliability]: pip install 'opsascode[reliability]'"
MAX_WORK: Final = 10_000_000
"""What a condition may look at, all in all, in values and sixteenths of characters: two tenths of a second or so."""
_CACHED: Final = 4096
_REMEMBERED: Final = 1024
_SMALL: Final = 32
_MANY: Final = object()
_NUMBERS: Final = count()

_STATUS: Final = re.compile(r"\A[A-Z_]+: |( \[[A-Z_]+\])+\Z")
_UNKNOWN_FACT: Final = re.compile(r"No value with name \"([^\"]*)\" found")
_NO_KEY: Final = re.compile(r"Key not found in map : (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswerable:
    """Why a condition has no answer for these facts: a missing key, a division by zero, too much work."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong in a condition: at a line and column of its text (both from 1), and how to mend it."""

    line: int
    column: int
    message: str
    mend: str = ""


class _Reads:
    """The facts that some conditions read: the same object for the same facts. Equal facts have one token."""

    __slots__ = ("names", "tokens")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.tokens: dict[tuple[Any, ...], int] = {}


class Facts:
    """The facts of one run in the form the library asks them, made when the first condition needs them.

    Whoever asks many conditions about one run makes one of these: it is translated once, not once for each condition.
    """

    __slots__ = ("_activation", "_alike", "_sizes", "_tokens", "_values")

    def __init__(self, values: Mapping[str, Any]) -> None:
        """Take facts by their dotted names; those that are not known are left out, or None."""
        self._values = values
        self._activation: Any = None
        self._alike: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._tokens: dict[_Reads, int | None] = {}

    def activation(self) -> Any:  # noqa: ANN401 - the library's class
        """Give the facts to the library."""
        if self._activation is None:
            known = {name: _plain(value) for name, value in self._values.items() if name in FACTS and _known(value)}
            self._activation = _environment().Activation(known)
        return self._activation

    def token(self, reads: _Reads) -> int | None:
        """Give a number for what these facts are, None where comparing them would cost more than asking again."""
        try:
            return self._tokens[reads]
        except KeyError:
            token = self._tokens[reads] = self._new_token(reads)
            return token

    def size(self, name: str) -> int:
        """Say how much there is to look at in a fact."""
        if name not in self._sizes:
            self._sizes[name] = _size(self._values.get(name))
        return self._sizes[name]

    def _new_token(self, reads: _Reads) -> int | None:
        for name in reads.names:
            if name not in self._alike:
                self._alike[name] = _alike(self._values.get(name))
        found = tuple([self._alike[name] for name in reads.names])
        if any(each is _MANY for each in found):
            return None
        if len(reads.tokens) >= _REMEMBERED:
            reads.tokens.clear()
        return reads.tokens.setdefault(found, next(_NUMBERS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition that was found to be of type bool over the known facts."""

    text: str
    position: Position

    @property
    def reads(self) -> frozenset[str]:
        """The facts it asks for; none where it cannot be read here."""
        compiled = _compiled(self.text)
        return frozenset() if isinstance(compiled, Fault) else frozenset(compiled.reads.names)

    def holds(self, facts: Facts | Mapping[str, Any]) -> bool | Unanswerable:
        """Say whether it holds for these facts, by their dotted names."""
        compiled = _compiled(self.text)
        if isinstance(compiled, Fault):
            return Unanswerable(reason=compiled.message)
        known = facts if isinstance(facts, Facts) else Facts(facts)
        token = known.token(compiled.reads)
        if token is None:
            return _asked(compiled, known)
        answer = compiled.remembered.get(token)
        if answer is None:
            answer = _asked(compiled, known)
            if len(compiled.remembered) >= _REMEMBERED:
                compiled.remembered.clear()
            compiled.remembered[token] = answer
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    """A condition that can be asked: the library's, the facts it reads, what it looks at repeatedly, and answers."""

    expression: Any
    reads: _Reads
    work: tuple[tuple[str | int, ...], ...]
    remembered: dict[int, bool | Unanswerable] = field(default_factory=dict)


def condition_problem(text: str) -> Fault | None:
    """Say what is wrong with a condition, None where it can be asked."""
    compiled = _compiled(text)
    if isinstance(compiled, Fault):
        return compiled
    found = _asked(compiled, Facts(_EXAMPLE))
    if isinstance(found, Unanswerable) and _NEVER.search(found.reason):
        return Fault(line=1, column=1, message=f"the condition never has an answer: {found.reason}")
    return None


def library_is_there() -> bool:
    """Tell whether conditions can be judged here at all."""
    return importlib.util.find_spec("cel_expr_python") is not None


def _asked(compiled: _Compiled, facts: Facts) -> bool | Unanswerable:
    """Ask the library."""
    if compiled.work:  # bounded before it begins: once the library has begun, nothing stops it
        sizes = (prod(each if isinstance(each, int) else facts.size(each) for each in work) for work in compiled.work)
        if sum(sizes) > MAX_WORK:
            return Unanswerable(reason="it looks at too much, with facts as many as these")
    try:
        value = compiled.expression.eval(facts.activation()).value()
    except (RuntimeError, ValueError, TypeError, OverflowError, MemoryError) as error:
        value = str(error)
    return value if isinstance(value, bool) else Unanswerable(reason=_reason(str(value)))


def _reason(text: str) -> str:
    """Say in our words why there is no answer."""
    plain = _STATUS.sub("", text)
    if match := _UNKNOWN_FACT.search(plain):
        return f"nobody knows {match[1]} of this plan"
    if match := _NO_KEY.search(plain):
        return f"there is no key {match[1]}"
    if "budget exceeded" in plain:
        return "it goes around too often"
    return plain


@cache
def _environment() -> Any:  # noqa: ANN401 - the library's class
    """Declare the facts to the library; only where a condition is asked, as loading it takes a few milliseconds."""
    from cel_expr_python import cel  # noqa: PLC0415 - an extra, which most commands do without

    text, number = cel.Type.STRING, cel.Type.DOUBLE
    types = {
        "string": text,
        "int": cel.Type.INT,
        "double": number,
        "bool": cel.Type.BOOL,
        "timestamp": cel.Type.TIMESTAMP,
        "list(string)": cel.Type.List(text),
        "map(string, string)": cel.Type.Map(text, text),
        "map(string, double)": cel.Type.Map(text, number),
    }
    return cel.NewEnv(variables={name: types[kind] for name, kind in FACTS.items()})


@lru_cache(maxsize=_CACHED)
def _compiled(text: str) -> _Compiled | Fault:
    """Compile a text once."""
    from opsascode.repo._condition_words import fault_of, too_much, wrong_type  # noqa: PLC0415 - it knows our `Fault`

    if len(text) > MAX_LENGTH:
        return Fault(line=1, column=1, message=f"the condition is longer than {MAX_LENGTH} characters")
    try:
        expression = _environment().compile(text)
    except ImportError:
        return Fault(line=1, column=1, message=MISSING_LIBRARY)
    except RuntimeError as error:
        return fault_of(str(error), text, FACTS)
    kind = str(expression.return_type())
    if kind != "BOOL":
        return wrong_type(kind)
    tree: Tree = read_tree(expression.serialize())
    if tree.too_much is not None:
        return too_much(tree.too_much, text)
    collections = {name for name, kind in FACTS.items() if kind.startswith(("list", "map")) or kind == "string"}
    work = (tuple(each for each in one if isinstance(each, int) or each in collections) for one in tree.work)
    return _Compiled(
        expression=expression,
        reads=_reads(tuple(sorted(tree.reads & FACTS.keys()))),
        work=tuple(each for each in work if len(each) > 1 or (each and isinstance(each[0], int))),
    )


@lru_cache(maxsize=_CACHED)
def _reads(names: tuple[str, ...]) -> _Reads:
    return _Reads(names)


def _known(value: object) -> bool:
    """Tell whether a fact is one: a time without a zone is none."""
    return value is not None and not (isinstance(value, datetime) and value.tzinfo is None)


def _plain(value: object) -> object:
    """Give a fact as the library takes it."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, AbstractSet):
        return sorted(value)
    return list(value) if isinstance(value, tuple) else value


def _alike(value: Any) -> Any:  # noqa: ANN401 - any fact
    """Give a fact in a form that can be compared quickly; true is not 1."""
    if isinstance(value, Mapping):
        return tuple(sorted(value.items())) if len(value) <= _SMALL else _MANY
    if isinstance(value, list | tuple | AbstractSet):
        return tuple(sorted(value) if isinstance(value, AbstractSet) else value) if len(value) <= _SMALL else _MANY
    return (type(value).__name__, value) if not isinstance(value, str) else value


def _size(value: Any) -> int:  # noqa: ANN401 - any fact
    """Count values, and characters at a sixteenth."""
    if isinstance(value, str):
        return 1 + len(value) // 16
    if isinstance(value, Mapping):
        return sum(map(_size, value)) + sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, list | tuple | AbstractSet) else 1


_NEVER: Final = re.compile(r"regular expression|Invalid timezone|goes around too often|looks at too much")
_EXAMPLES: Final[Mapping[str, Any]] = {
    "string": "example",
    "int": 3,
    "double": 7.5,
    "bool": False,
    "timestamp": datetime(2026, 1, 1, tzinfo=UTC),
    "list(string)": ["example"],
    "map(string, string)": {"example": "ok"},
    "map(string, double)": {"example": 0.5},
}
_EXAMPLE: Final[Mapping[str, Any]] = {name: _EXAMPLES[kind] for name, kind in FACTS.items()}
