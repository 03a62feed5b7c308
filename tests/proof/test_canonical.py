from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.errors import ProofError
from opsascode.proof import canonical_bytes, parse_strict, sha256_digest

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_is_read_back_and_written_the_same(value: object) -> None:
    written = canonical_bytes(value)
    assert parse_strict(written, max_bytes=10**6) == value
    assert canonical_bytes(parse_strict(written, max_bytes=10**6)) == written
    assert json.loads(written) == value


@given(st.dictionaries(TEXT, st.integers(0, 9), max_size=8))
def test_keys_are_in_the_order_of_their_utf16_units(value: dict[str, int]) -> None:
    pairs = json.loads(canonical_bytes(value), object_pairs_hook=list)
    assert [key for key, _ in pairs] == sorted(value, key=lambda key: key.encode("utf-16-be"))


def test_the_sorting_example_of_rfc_8785_comes_out_in_its_order() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\u00f6"]
    pairs = json.loads(canonical_bytes(dict.fromkeys(keys, 0)), object_pairs_hook=list)
    assert [key for key, _ in pairs] == ["\r", "1", "\x80", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_strings_are_escaped_as_rfc_8785_says() -> None:
    assert canonical_bytes('€$\x0f\nA\'B"\\\\"/\x7f') == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/\x7f"'.encode()


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), 2**53, -(2**53), {1: 2}, {None: 1}, b"bytes", {"a": {1, 2}}, "\ud800", {"\udfff": 1}, [[1.5]]],
    ids=repr,
)
def test_what_has_no_single_form_is_not_written(value: object) -> None:
    with pytest.raises(ProofError):
        canonical_bytes(value)


def test_nesting_has_an_end_in_both_directions() -> None:
    deep: object = 1
    for _ in range(32):
        deep = [deep]
    assert parse_strict(canonical_bytes(deep)) == deep
    with pytest.raises(ProofError, match="deeper"):
        canonical_bytes([deep])
    with pytest.raises(ProofError, match="deeper"):
        parse_strict(b"[" * 33 + b"]" * 33)


def test_a_flat_list_of_many_is_not_deep() -> None:
    value = [[n] for n in range(100)]
    assert parse_strict(canonical_bytes(value)) == value


def test_a_digest_names_its_algorithm() -> None:
    assert sha256_digest(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_stumble(data: bytes) -> None:
    try:
        value = parse_strict(data)
    except ProofError:
        return
    assert parse_strict(canonical_bytes(value), max_bytes=10**6) == value
