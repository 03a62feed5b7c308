"""Expressions: the names they use, and that the quick way sees what Jinja sees."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.repo._expressions import condition_names, parsed_template, template_names


@pytest.mark.parametrize(
    ("text", "used", "guarded"),
    [
        ("plain", set(), set()),
        ("{{ a }} and {{ b.c }}", {"a", "b"}, set()),
        ("{{ a | default(b) }}", {"a", "b"}, {"a"}),
        ("{{ a.b.c | d('') }}", {"a"}, {"a"}),
        ("{% if a is defined %}{{ a }}{% endif %}", {"a"}, {"a"}),
        ("{% for x in xs %}{{ x }}{% endfor %}", {"xs"}, set()),
        ("{% set y = 1 %}{{ y }}", set(), set()),
        ("{# {{ a }} #}", set(), set()),
        ("{% raw %}{{ a }}{% endraw %}", set(), set()),
        ("{{ lookup('env', 'HOME') }}", {"lookup"}, set()),
    ],
)
def test_a_template_uses_names(text: str, used: set[str], guarded: set[str]) -> None:
    names = template_names(text)
    assert names.fault == ""
    assert (names.used, names.guarded) == (used, guarded)


@pytest.mark.parametrize("text", ["{{ a", "{{ }}", "{{{ a }}}", "{% if %}", "{{ a b }}", "{{ not }}", "{% endif %}"])
def test_an_unreadable_template_has_a_fault(text: str) -> None:
    assert template_names(text).fault


@pytest.mark.parametrize("text", ["a }} {{ b", "a b", "", "a >", "(a"])
def test_a_condition_is_one_expression(text: str) -> None:
    assert condition_names(text).fault


def test_names_in_texts_are_mentioned() -> None:
    assert template_names("{{ lookup('vars', 'service') }}").mentioned == {"vars", "service"}


@given(
    st.lists(
        st.sampled_from(
            ["{{", "}}", "{", "}", " a", " b.c", "-", "+", "#", "%", "x", " ", "true", "not", ".", "'", "\n"]
        ),
        max_size=12,
    )
)
def test_the_quick_way_sees_what_jinja_sees(parts: list[str]) -> None:
    text = "".join(parts)
    quick, slow = template_names(text), parsed_template(text)
    assert (quick.used, quick.guarded, bool(quick.fault)) == (slow.used, slow.guarded, bool(slow.fault))


@given(st.text(max_size=80))
def test_no_text_breaks_a_condition(text: str) -> None:
    condition_names(text)
