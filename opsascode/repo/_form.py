"""What do the JSON Schemas say of the meaning of a document's fields?

Beside what is valid, our schemas say for a field which direction is the safe one (`x-opsascode-safety`), what it means
that it is absent (`x-opsascode-absent`), whether an old value must not come back unseen (`x-opsascode-protected`), that
it has no effect (`x-opsascode-effect: none`), which spellings of it are one (`x-opsascode-meaning`), which of its
words count as true (`x-opsascode-true`), that the order of named items means something (`x-opsascode-ordered`), that
each of its words includes all before it (`x-opsascode-ladder`), and what a short form is short for
(`x-opsascode-short`: the field, by the type of what is written, or all fields, by a word). None of it changes what is
valid.

Not here: documents themselves (`_meaning`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opsascode.repo._quantities import parse_duration, parse_percent
from opsascode.repo._schema import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from decimal import Decimal

    from opsascode.repo._documents import Kind

FieldPath: TypeAlias = tuple[str | int, ...]

_WORD: Final = "x-opsascode-"
_MOST_DEPTH: Final = 12
_ESCAPE: Final = "\\"


class Safety(StrEnum):
    """Which direction of a field is the safe one; `UNCLEAR` where any other value may be the less safe one."""

    HIGHER_IS_SAFER = "higher-is-safer"
    LOWER_IS_SAFER = "lower-is-safer"
    SUPERSET_IS_SAFER = "superset-is-safer"
    SUBSET_IS_SAFER = "subset-is-safer"
    TRUE_IS_SAFER = "true-is-safer"
    UNCLEAR = "unclear"
    NEUTRAL = "neutral"


class Absence(StrEnum):
    """What it means that a field is not there."""

    LOOSEST = "loosest"
    STRICTEST = "strictest"


class Spelling(StrEnum):
    """Which spellings of a value are one."""

    PERCENT = "percent"
    SHARES = "shares"
    DURATION = "duration"
    LIST = "list"


_SETS: Final = frozenset({Safety.SUPERSET_IS_SAFER, Safety.SUBSET_IS_SAFER})


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What the schema says of one value: of its fields or items, and of itself; a leaf is taken as a whole."""

    fields: Mapping[str, Form] = field(default_factory=dict)
    other: Form | None = None
    items: Form | None = None
    is_leaf: bool = False
    safety: Safety = Safety.NEUTRAL
    absent: Absence | None = None
    protected: bool = False
    effect: bool = True
    ordered: bool = False
    spelling: Spelling | None = None
    true_words: tuple[str, ...] = ()
    ladder: tuple[str | int, ...] = ()
    short: Mapping[str, Any] = field(default_factory=dict)
    default: Any = None
    has_default: bool = False


FREE: Final = Form()
"""What is said of a value that no schema describes."""


@cache
def form_of(kind: Kind) -> Form:
    """Read the schema of a kind of documents."""
    schema = load_schema(kind)
    return _form(schema, schema.get("$defs", {}), 0)


@cache
def leaves_of(kind: Kind) -> Mapping[FieldPath, Form]:
    """Give the leaves below `spec` that stand at one path, whatever else a document holds."""
    spec = form_of(kind).fields.get("spec", FREE)
    return {("spec", *path): form for path, form in _leaves(spec) if form.effect}


def normal(value: Any, form: Form) -> Any:  # noqa: ANN401 - any plain value
    """Give a leaf in its normal form: one spelling, whole numbers as integers, sets in order."""
    if form.spelling is not None:
        return _respelled(value, form.spelling)
    if form.true_words:
        return value in form.true_words
    if value in form.ladder:
        return [str(each) for each in form.ladder[: form.ladder.index(value) + 1]]
    if form.safety not in _SETS:
        return plain(value)
    if isinstance(value, dict):
        return sorted(_pair(key, each) for key, each in value.items())
    return sorted(set(value)) if isinstance(value, list) else plain(value)


def lengthened(value: Any, form: Form) -> Any:  # noqa: ANN401 - any plain value
    """Give the long form of a value where a short one is written."""
    if isinstance(value, dict | bool) or not form.short:
        return value
    if isinstance(value, str) and value in form.short:
        return form.short[value]
    word = form.short.get("string" if isinstance(value, str) else "number")
    return value if word is None else {word: value}


def _respelled(value: Any, spelling: Spelling) -> Any:  # noqa: ANN401 - any plain value
    """Give one spelling for all that mean the same."""
    if isinstance(value, dict):
        return plain(value)
    if spelling is Spelling.PERCENT:
        return _number(parse_percent(value))
    if spelling is Spelling.DURATION:
        seconds = parse_duration(value).total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    if spelling is Spelling.SHARES:
        return [f"{_number(parse_percent(each))}%" if isinstance(each, str) else int(each) for each in value]
    return [value] if isinstance(value, str) else plain(value)


def _pair(key: str, value: str) -> str:
    """Write a label as one text that no other label has."""
    return f"{key.replace(_ESCAPE, _ESCAPE * 2).replace('=', _ESCAPE + '=')}={value}"


def plain(value: Any) -> Any:  # noqa: ANN401 - any plain value
    """Write whole numbers as integers, however deep."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _form(schema: Any, definitions: Mapping[str, Any], depth: int) -> Form:  # noqa: ANN401 - a schema, or a boolean
    """Read one schema; conditions and alternatives say nothing of meanings."""
    if not isinstance(schema, dict) or depth > _MOST_DEPTH:
        return FREE
    if "$ref" in schema:
        return _form(definitions[schema["$ref"].removeprefix("#/$defs/")], definitions, depth + 1)
    words = {key.removeprefix(_WORD): each for key, each in schema.items() if key.startswith(_WORD)}
    other, items = schema.get("additionalProperties"), schema.get("items")
    form = Form(
        fields={key: _form(each, definitions, depth + 1) for key, each in schema.get("properties", {}).items()},
        other=_form(other, definitions, depth + 1) if isinstance(other, dict) else None,
        items=_form(items, definitions, depth + 1) if isinstance(items, dict) else None,
        is_leaf="safety" in words,
        safety=Safety(words.get("safety", Safety.NEUTRAL)),
        absent=Absence(words["absent"]) if "absent" in words else None,
        protected=words.get("protected", False),
        effect=words.get("effect") != "none",
        ordered=words.get("ordered", False),
        spelling=Spelling(words["meaning"]) if "meaning" in words else None,
        true_words=tuple(words.get("true", ())),
        ladder=tuple(words.get("ladder", ())),
        short=words.get("short", {}),
    )
    if "default" not in schema:
        return form
    return replace(form, default=normal(schema["default"], form), has_default=True)


def _leaves(form: Form) -> Iterator[tuple[FieldPath, Form]]:
    """Walk down to what is no mapping of named fields."""
    for key, each in form.fields.items():
        if each.fields and not each.is_leaf:
            yield from (((key, *path), leaf) for path, leaf in _leaves(each))
        elif each.is_leaf:
            yield (key,), each
