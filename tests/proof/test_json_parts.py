"""What is read of a JSON object is what it must be, or is refused in the words of whoever reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.errors import UsageError
from opsascode.proof import JsonParts, read_stamp, stamp

if TYPE_CHECKING:
    from collections.abc import Callable


class Word(Enum):
    """Two words."""

    YES = "yes"
    NO = "no"


def parts(**value: Any) -> JsonParts:
    return JsonParts.of(value, lambda why: UsageError(f"the letter cannot be read: {why}"))


def test_what_is_right_is_given() -> None:
    found = parts(
        text="a\nb", line="a b", list=["a"], number=0, share="0.10", at="2026-01-31T12:00:00Z", word="no", truth=False,
        inner={"a": 1}, many=[{"a": 2}], none=None,
    )  # fmt: skip
    assert (found.text("text"), found.line("line"), found.texts("list")) == ("a\nb", "a b", ("a",))
    assert (found.number("number"), found.decimal("share"), found.truth("truth")) == (0, Decimal("0.10"), False)
    assert found.moment("at") == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert found.word("word", Word) is Word.NO
    assert found.object("inner", frozenset("a")).number("a") == 1
    assert [each.number("a") for each in found.objects("many")] == [2]
    assert (found.maybe("none", found.text), found.maybe("line", found.line, 3)) == (None, "a b")


@pytest.mark.parametrize(("value", "read", "said"), [
    (1, lambda each: each.text("x"), "its x is no text"),
    ("abc", lambda each: each.text("x", 2), "its x is no text of at most 2 characters"),
    ("a\u202eb", lambda each: each.line("x"), "cannot be shown"),
    ("a\nb", lambda each: each.line("x"), "cannot be shown"),
    ("ab\n", lambda each: each.matching("x", re.compile("[ab]*")), "not of the form"),
    (["a", 1], lambda each: each.texts("x"), "a part of its x is no text"),
    ({}, lambda each: each.items("x"), "its x is no list"),
    ([], lambda each: each.object("x"), "its x is no object"),
    ([1], lambda each: each.objects("x"), "a part of its x is no object"),
    ({"a": 1, "c": 2}, lambda each: each.object("x", frozenset("ab")), "its x lacks b and has 'c' too many"),
    (True, lambda each: each.number("x"), "no whole number from 0 on"),
    (-1, lambda each: each.number("x"), "no whole number from 0 on"),
    (1, lambda each: each.truth("x"), "neither true nor false"),
    ([], lambda each: each.word("x", Word), "its x is none of yes, no"),
    ("much", lambda each: each.decimal("x"), "no number"),
    ("NaN", lambda each: each.decimal("x"), "no finite number"),
    ("1e401", lambda each: each.decimal("x"), "no finite number"),
    ("9" * 501, lambda each: each.decimal("x"), "at most 500"),
    ("2026-01-31T12:00:00+00:00", lambda each: each.moment("x"), "no time such as"),
    ("2026-1-31T12:00:00Z", lambda each: each.moment("x"), "no time such as"),
    (1, lambda each: each.maybe("x", each.text), "its x is no text"),
    (1, lambda each: each.maybe("y", each.text), "it lacks y"),
    (1, lambda each: each.text("y"), "its y is no text"),
])  # fmt: skip
def test_what_is_wrong_is_refused_in_the_readers_words(value: Any, read: Callable[[JsonParts], Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        read(parts(x=value))
    assert caught.value.message.startswith("the letter cannot be read: ")


@pytest.mark.parametrize("found", [None, [], "x", 1])
def test_what_is_no_object_is_refused(found: Any) -> None:
    with pytest.raises(ValueError, match="a letter is no object"):
        JsonParts.of(found, ValueError, what="a letter")


def test_a_moment_is_written_in_one_way() -> None:
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert read_stamp(stamp(moment)) == moment
    for text in ("2026-01-31T12:00:00", "2026-01-31 12:00:00Z", "0001-1-1T00:00:00Z", "9999-99-99T00:00:00Z", ""):
        assert read_stamp(text) is None
