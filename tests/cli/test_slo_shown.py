"""Numbers of budgets are never shown as better than they are, and their bars are as long as what is gone."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.cli._slo_shown import bar, left, markdown_table, percent, share, span_words, used

shares = st.decimals(0, 1000, places=12)


def number(text: str) -> Decimal:
    return Decimal(text.removesuffix("%"))


@given(shares)
def test_what_is_left_is_never_shown_as_more_and_what_is_used_never_as_less(consumed: Decimal) -> None:
    assert number(left(consumed)) <= (1 - consumed) * 100
    assert number(used(consumed)) >= consumed * 100
    assert number(left(consumed)) + number(used(consumed)) == 100


@given(st.decimals("0.5", 1, places=12))
def test_an_objective_is_never_shown_as_more_than_it_is(value: Decimal) -> None:
    assert number(share(value, like=Decimal("0.9995"))) <= value * 100


@pytest.mark.parametrize(
    ("value", "like", "shown"),
    [("0.99949999", "0.9995", "99.9499%"), ("1", "0.99", "100.00%"), ("0.9731", "0.95", "97.31%")],
)
def test_an_objective_has_two_places_more_than_its_target(value: str, like: str, shown: str) -> None:
    assert share(Decimal(value), like=Decimal(like)) == shown


@given(shares, st.decimals("0.01", "0.98", places=2), st.booleans())
def test_a_bar_is_always_as_wide(consumed: Decimal, warn: Decimal, none: bool) -> None:
    shown = bar(None if none else consumed, warn, Decimal("0.99"))
    assert len(shown) == 22


def test_a_bar_of_nothing_and_of_more_than_all() -> None:
    warn, critical = Decimal("0.5"), Decimal("0.8")
    nothing, little, most, more = (bar(Decimal(each), warn, critical) for each in ("0", "0.0001", "1", "1.0001"))
    assert nothing != little
    assert most != more
    assert most[1:-1] == more[1:-1]


@pytest.mark.parametrize(
    ("length", "shown"),
    [(timedelta(0), "0s"), (timedelta(seconds=59), "59s"), (timedelta(days=1, hours=3, minutes=5), "1d 3h"),
     (timedelta(days=30), "30d"), (timedelta(hours=2, seconds=3), "2h 3s")],
)  # fmt: skip
def test_lengths_are_said_by_their_two_largest_units(length: timedelta, shown: str) -> None:
    assert span_words(length) == shown


def test_percentages_are_exact() -> None:
    assert [percent(Decimal(each)) for each in ("0.9995", "0.5", "0.99", "0.999999")] == [
        "99.95%", "50%", "99%", "99.9999%",
    ]  # fmt: skip


def test_text_from_elsewhere_cannot_end_its_cell_nor_be_a_link() -> None:
    (*_, row) = markdown_table(("a",), [["x | y\n<b> [l](u) `c` *e*"]])
    assert row == "| x \\| y ⏎ \\<b\\> \\[l\\](u) \\`c\\` \\*e\\* |"
