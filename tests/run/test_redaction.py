"""A secret is found in text in whatever form it is likely to take."""

from __future__ import annotations

import base64
import json
import re
import shlex
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.run._redaction import secret_pattern

SECRET = 'p4ss "wörd"\\/&'  # noqa: S105 - made up
FORMS = {
    "plain": SECRET,
    "JSON": json.dumps({"k": SECRET}),
    "JSON with letters kept": json.dumps(SECRET, ensure_ascii=False),
    "Python": repr([SECRET]),
    "URL": quote(SECRET),
    "URL, slashes too": quote(SECRET, safe=""),
    "form": quote_plus(SECRET),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    "hexadecimal": SECRET.encode().hex(),
    "shell": shlex.quote(SECRET),
    "wrapped": SECRET.replace(" ", "\n    "),
}


def masked(text: str, secret: str) -> str:
    pattern = secret_pattern({"name": secret})
    assert pattern
    return re.sub(pattern, "[secret]", text)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_found(form: str) -> None:
    said = masked(f"before {FORMS[form]} after", SECRET)
    assert said.startswith("before ")
    assert said.endswith(" after")
    assert "[secret]" in said
    assert len(said) < 40


@given(st.text(min_size=6).filter(str.strip), st.binary(max_size=9), st.binary(max_size=9))
def test_base64_is_found_wherever_the_secret_lies_in_what_was_encoded(secret: str, before: bytes, after: bytes) -> None:
    data = secret.encode("utf-8", "surrogatepass")
    encoded = base64.b64encode(before + data + after).decode()
    assert masked(encoded, secret) != encoded


@given(st.text(min_size=1).filter(str.strip))
def test_whatever_the_secret_it_does_not_survive_as_it_is(secret: str) -> None:
    assert secret.strip() not in masked(f"<{secret}>", secret).replace("[secret]", "")


def test_lines_of_a_secret_are_found_alone_and_with_other_line_ends() -> None:
    key = "-----BEGIN-----\nabcdefgh12345\nshort\n-----END-----\n"
    assert masked("abcdefgh12345 short", key) == "[secret] short"
    assert masked(key.replace("\n", "\r\n"), key) == "[secret]\r\n"


def test_values_inside_values_count_and_no_secret_is_no_pattern() -> None:
    assert re.fullmatch(str(secret_pattern({"a": {"b": ["inner"], "c": 4711}})), "inner")
    assert re.fullmatch(str(secret_pattern({"a": {"b": ["inner"], "c": 4711}})), "4711")
    assert secret_pattern({}) is None
    assert secret_pattern({"flag": True, "empty": ""}) is None
