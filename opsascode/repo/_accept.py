"""Is this value surely valid, quickly?

Compiles the part of JSON Schema that our own schemas use into plain functions: a valid document, the ordinary case, is
recognised a dozen times faster than by a general validator, and commands need not load one. Only yes or no comes out:
whatever is not accepted here is judged and explained by `jsonschema` (see `_schema`), and a test holds the two to the
same verdicts. A keyword that is not known here is an error when the schema is compiled, never silently skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from opsascode.repo._parameter import ecma_pattern

Accept = Callable[[Any], bool]
Schema = Mapping[str, Any]

_ANNOTATIONS: Final = frozenset({"$schema", "$id", "$defs", "title", "description", "default", "then"})
_OUR_ANNOTATIONS: Final = frozenset(
    f"x-opsascode-{word}"
    for word in ("absent", "effect", "hint", "ladder", "meaning", "ordered", "protected", "safety", "short", "true")
)


def compile_schema(schema: Schema) -> Accept:
    """Compile a schema into a function that tells whether a plain value is valid.

    Raises:
        ValueError: the schema uses a keyword that this compiler does not know.
    """
    return _Compiler(schema.get("$defs", {})).all_of(schema)


class _Compiler:
    """Compiles one schema; definitions are compiled once and found by name."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._compiled: dict[str, Accept] = {}

    def all_of(self, schema: Schema | bool) -> Accept:  # noqa: FBT001 - JSON Schema has boolean schemas
        """Compile one schema object: the conjunction of its keywords."""
        if isinstance(schema, bool):
            return _always if schema else _never
        words = [word for word in schema if word not in _ANNOTATIONS | _OUR_ANNOTATIONS]
        return _conjunction([self._keyword(word, schema[word], schema) for word in words])

    def _keyword(self, word: str, wanted: Any, schema: Schema) -> Accept:  # noqa: ANN401 - keywords hold any JSON value
        """Compile one keyword."""
        if word in _TESTS:
            return _TESTS[word](wanted)
        if word in _WITH_SCHEMAS:
            return _WITH_SCHEMAS[word](self, wanted, schema)
        msg = f"the keyword {word} is not known to this compiler"
        raise ValueError(msg)

    def ref(self, target: str, _schema: Schema) -> Accept:
        """Compile `$ref` to a definition of the same file."""
        name = target.removeprefix("#/$defs/")
        if name not in self._compiled:
            self._compiled[name] = self.all_of(self._definitions[name])
        return self._compiled[name]

    def properties(self, wanted: Mapping[str, Any], _schema: Schema) -> Accept:
        """Compile `properties`."""
        tests = {key: self.all_of(each) for key, each in wanted.items()}

        def accept(value: Any) -> bool:  # noqa: ANN401 - judges any plain value
            if isinstance(value, dict):
                for key, child in value.items():
                    if key in tests and not tests[key](child):
                        return False
            return True

        return accept

    def additional(self, wanted: Any, schema: Schema) -> Accept:  # noqa: ANN401 - a schema or a boolean
        """Compile `additionalProperties`."""
        named = frozenset(schema.get("properties", ()))
        if wanted is False:
            return lambda value: not isinstance(value, dict) or value.keys() <= named
        test = self.all_of(wanted)
        return lambda value: not isinstance(value, dict) or all(test(value[key]) for key in value if key not in named)

    def names(self, wanted: Any, _schema: Schema) -> Accept:  # noqa: ANN401 - a schema or a boolean
        """Compile `propertyNames`."""
        test = self.all_of(wanted)
        return lambda value: not isinstance(value, dict) or all(map(test, value))

    def items(self, wanted: Any, _schema: Schema) -> Accept:  # noqa: ANN401 - a schema or a boolean
        """Compile `items`."""
        test = self.all_of(wanted)

        def accept(value: Any) -> bool:  # noqa: ANN401 - judges any plain value
            return not isinstance(value, list) or all(map(test, value))

        return accept

    def each(self, wanted: list[Any], _schema: Schema) -> Accept:
        """Compile `allOf`."""
        return _conjunction([self.all_of(part) for part in wanted])

    def exactly_one(self, wanted: list[Any], _schema: Schema) -> Accept:
        """Compile `oneOf`."""
        tests = [self.all_of(part) for part in wanted]
        return lambda value: sum(test(value) for test in tests) == 1

    def condition(self, wanted: Any, schema: Schema) -> Accept:  # noqa: ANN401 - a schema or a boolean
        """Compile `if` with its `then`."""
        test, then = self.all_of(wanted), self.all_of(schema.get("then", True))
        return lambda value: not test(value) or then(value)

    def dependent(self, wanted: Mapping[str, Any], _schema: Schema) -> Accept:
        """Compile `dependentSchemas`."""
        tests = [(key, self.all_of(each)) for key, each in wanted.items()]

        def accept(value: Any) -> bool:  # noqa: ANN401 - judges any plain value
            if isinstance(value, dict):
                for key, test in tests:
                    if key in value and not test(value):
                        return False
            return True

        return accept


def _always(_value: object) -> bool:
    return True


def _never(_value: object) -> bool:
    return False


def _conjunction(tests: list[Accept]) -> Accept:
    """Join tests by «and»; a loop, as this is where nearly all the time goes."""
    if len(tests) == 1:
        return tests[0]

    def accept(value: Any) -> bool:  # noqa: ANN401 - judges any plain value
        for test in tests:  # noqa: SIM110 - a generator inside all() is half as fast
            if not test(value):
                return False
        return True

    return accept


def _type(wanted: str | list[str]) -> Accept:
    tests = [_TYPES[name] for name in ([wanted] if isinstance(wanted, str) else wanted)]
    return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)


def _is_number(value: Any) -> bool:  # noqa: ANN401 - judges any plain value
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:  # noqa: ANN401 - judges any plain value
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401 - judges any plain values
    """Compare as JSON Schema does: true is not 1. Ours are scalars; about lists jsonschema has the last word."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _enum(wanted: list[Any]) -> Accept:
    if all(isinstance(choice, str) for choice in wanted):
        words = frozenset(wanted)
        return lambda value: isinstance(value, str) and value in words
    return lambda value: any(_same(value, choice) for choice in wanted)


def _pattern(wanted: str) -> Accept:
    search = ecma_pattern(wanted).search
    return lambda value: not isinstance(value, str) or search(value) is not None


def _unique(wanted: bool) -> Accept:  # noqa: FBT001 - the keyword's value
    def accept(value: Any) -> bool:  # noqa: ANN401 - judges any plain value
        if not wanted or not isinstance(value, list):
            return True
        # scalars of one class compare as Python's sets do; anything else is left to the general validator
        kinds = {item.__class__ for item in value}
        return len(kinds) <= 1 and not kinds & {dict, list} and len(set(value)) == len(value)

    return accept


_TYPES: Final[Mapping[str, Accept]] = {
    "string": lambda value: isinstance(value, str),
    "integer": _is_integer,
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "null": lambda value: value is None,
}
_TESTS: Final[Mapping[str, Callable[[Any], Accept]]] = {
    "type": _type,
    "enum": _enum,
    "const": lambda wanted: lambda value: _same(value, wanted),
    "pattern": _pattern,
    "minLength": lambda wanted: lambda value: not isinstance(value, str) or len(value) >= wanted,
    "maxLength": lambda wanted: lambda value: not isinstance(value, str) or len(value) <= wanted,
    "minimum": lambda wanted: lambda value: not _is_number(value) or value >= wanted,
    "maximum": lambda wanted: lambda value: not _is_number(value) or value <= wanted,
    "exclusiveMinimum": lambda wanted: lambda value: not _is_number(value) or value > wanted,
    "minItems": lambda wanted: lambda value: not isinstance(value, list) or len(value) >= wanted,
    "uniqueItems": _unique,
    "minProperties": lambda wanted: lambda value: not isinstance(value, dict) or len(value) >= wanted,
    "required": lambda wanted: lambda value: not isinstance(value, dict) or all(key in value for key in wanted),
    "dependentRequired": lambda wanted: (
        lambda value: (
            not isinstance(value, dict)
            or all(other in value for key, others in wanted.items() if key in value for other in others)
        )
    ),
}
_WITH_SCHEMAS: Final[Mapping[str, Callable[[_Compiler, Any, Schema], Accept]]] = {
    "$ref": _Compiler.ref,
    "properties": _Compiler.properties,
    "additionalProperties": _Compiler.additional,
    "propertyNames": _Compiler.names,
    "items": _Compiler.items,
    "allOf": _Compiler.each,
    "oneOf": _Compiler.exactly_one,
    "if": _Compiler.condition,
    "dependentSchemas": _Compiler.dependent,
}
