"""Parameters: values from the command line, judged as JSON Schema does, and secrets kept out of sentences."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.errors import Position
from opsascode.repo import Parameter
from opsascode.repo._build import build_limits


def parameter(*, secret: bool = False, **schema: Any) -> Parameter:
    return Parameter(name="p", limits=build_limits(schema), secret=secret, position=Position(path="x.yml"))


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "true", "true"),
        ({"type": "string"}, "", ""),
        ({"type": "integer"}, "7", 7),
        ({"type": "integer"}, " -7 ", -7),
        ({"type": "number"}, "7", 7),
        ({"type": "number"}, "0.5", 0.5),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "boolean"}, "Yes", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "array"}, "a, b", ["a", "b"]),
        ({"type": "array"}, "", []),
        ({"type": "array"}, '["a,b", "c"]', ["a,b", "c"]),
        ({"type": "array", "items": {"type": "integer"}}, "1,2", [1, 2]),
    ],
)
def test_a_text_becomes_a_value_of_its_type(schema: dict[str, Any], text: str, value: object) -> None:
    checked = parameter(**schema).from_text(text)
    assert checked.ok
    assert checked.value == value
    assert type(checked.value) is type(value)


@pytest.mark.parametrize(
    ("schema", "text", "words"),
    [
        ({"type": "integer"}, "7.5", "not a whole number"),
        ({"type": "integer"}, "", "not a whole number"),
        ({"type": "integer"}, "9" * 5000, "not a whole number"),
        ({"type": "number"}, "nan", "not a number"),
        ({"type": "boolean"}, "1", "not true or false"),
        ({"type": "array"}, "[1, 2", "not a list"),
        ({"type": "array"}, "[" * 100_000, "not a list"),
        ({"type": "array", "items": {"type": "integer"}}, "1,x", "not a list"),
        ({"type": "array", "maxItems": 1}, "a,b", "more than the 1 allowed"),
        ({"type": "array", "minItems": 1}, "", "fewer than the 1 needed"),
        ({"type": "string", "minLength": 2}, "a", "at least 2"),
        ({"type": "string", "maxLength": 2}, "abc", "at most 2"),
        ({"type": "string", "pattern": "^[a-z]+$"}, "a1", "does not match the pattern"),
        ({"type": "string", "pattern": r"^\d+$"}, "١٢", "does not match the pattern"),
        ({"type": "string", "enum": ["blue", "green"]}, "bleu", "did you mean «blue»"),
        ({"type": "integer", "minimum": 1}, "0", "less than 1"),
        ({"type": "integer", "maximum": 1}, "2", "more than 1"),
    ],
)
def test_a_text_that_does_not_fit_is_answered_with_a_sentence(schema: dict[str, Any], text: str, words: str) -> None:
    assert any(words in fault for fault in parameter(**schema).from_text(text).faults)


@given(st.text())
def test_a_secret_is_in_no_sentence(text: str) -> None:
    secret = "hunter2" + text
    checked = parameter(secret=True, type="string", maxLength=3, pattern="^[0-9]$", enum=["a"]).from_text(secret)
    assert len(checked.faults) == 3
    assert "hunter2" not in " ".join(checked.faults)


def test_true_is_not_one() -> None:
    assert not parameter(type="integer", enum=[1]).check(True).ok
    assert not parameter(type="boolean").check(1).ok


def test_a_whole_float_is_an_integer() -> None:
    checked = parameter(type="integer").check(3.0)
    assert checked.ok
    assert type(checked.value) is int


def test_a_pattern_is_searched_for() -> None:
    assert parameter(type="string", pattern="b").check("abc").ok
    assert parameter(type="string", pattern="[$]").check("a$b").ok
    assert parameter(type="string", pattern=r"\$$").check("a$").ok
