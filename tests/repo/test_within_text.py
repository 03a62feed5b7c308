"""A place within a text of a YAML file is exact, or it is where the text begins."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from opsascode.repo import load_source
from opsascode.repo._within_text import offset_of, position_within

WORDS = st.lists(
    st.sampled_from(["plan.hosts", ">", "3", "'a'", '"b"', "&&", "\n", "ü", "(", " ", "  ", "x"]), min_size=1
)
STYLES = st.sampled_from([None, "'", '"', "|", ">"])


@given(WORDS.map(" ".join), STYLES, st.integers(15, 200))
def test_a_place_is_exact_or_the_start(text: str, style: str | None, width: int) -> None:
    data = yaml.dump({"a": {"if": text}}, default_style=style, width=width, allow_unicode=True).encode()
    document = load_source(data, "a.yml").documents[0]
    value = document.at(("a", "if"))
    if not isinstance(value, str):
        return
    start, lines = document.position(("a", "if")), data.decode().splitlines()
    for offset, character in enumerate(value):
        found = position_within(data, start, value, offset)
        there = lines[found.line - 1][found.column - 1 : found.column]
        written = there in {character, "\\"} or (character in " \n" and not there.strip())
        assert found == start or written


def test_every_style_of_one_line_is_exact() -> None:
    for written in ("plan.hst > 3", '"plan.hst > 3"', "'plan.hst > 3'"):
        data = f"if: {written}".encode()
        start = load_source(data, "a.yml").documents[0].position(("if",))
        assert position_within(data, start, "plan.hst > 3", 9).column == data.decode().index(">") + 1


def test_the_end_of_a_text_is_right_behind_it() -> None:
    data = b"if: plan.hosts >\nx: 1\n"
    start = load_source(data, "a.yml").documents[0].position(("if",))
    assert position_within(data, start, "plan.hosts >", 12).column == 17


def test_a_text_that_is_not_what_stands_there_is_answered_with_its_start() -> None:
    data = b"if: something\n"
    start = load_source(data, "a.yml").documents[0].position(("if",))
    assert position_within(data, start, "another", 3) == start


def test_lines_and_columns_are_offsets() -> None:
    assert offset_of("ab\ncd", 1, 1) == 0
    assert "ab\ncd"[offset_of("ab\ncd", 2, 2)] == "d"
