"""The reader: what it gives, where it says things stand, what it refuses; and that no bytes can break it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from opsascode.repo import InvalidDocumentsError, load_mapping, load_source


def value_of(text: str) -> Any:
    source = load_source(text.encode(), "x.yml")
    assert source.problems == ()
    return source.documents[0].value


def codes(data: bytes) -> list[str]:
    return [problem.code for problem in load_source(data, "x.yml").problems]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("~", None), ("null", None), ("Null", None), ("", None), ('""', ""), ("'null'", "null"), ("true", True),
        ("TRUE", True), ("False", False), ("yes", "yes"), ("no", "no"), ("on", "on"), ("1", 1), ("-12", -12),
        ("+3", 3), ("0", 0), ("-0", 0), ("010", "010"), ("0644", "0644"), ("0o17", 15), ("0x1F", 31), ("0b1", "0b1"),
        ("1_000", "1_000"), ("1:30", "1:30"), ("2001-01-01", "2001-01-01"), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0),
        ("1e3", 1000.0), ("1.5e-3", 0.0015), ("01.5", "01.5"), ("1.2.3", "1.2.3"), ("=", "="), ("1a", "1a"),
        ("'1'", "1"), ("-a", "-a"), ("+", "+"), ("...a", "...a"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(written: str, meant: object) -> None:
    assert value_of(f"a: {written}\n") == {"a": meant}
    assert type(value_of(f"a: {written}\n")["a"]) is type(meant)


def test_every_key_and_value_has_its_position() -> None:
    source = load_source(b"a:\n  - x\n  - {key: value}\n---\nb: |\n  text\n", "dir/x.yml")
    first, second = source.documents
    assert str(first.position()) == "dir/x.yml:1:1"
    assert str(first.position(("a",))) == "dir/x.yml:2:3"
    assert str(first.key_position(("a",))) == "dir/x.yml:1:1"
    assert str(first.position(("a", 1, "key"))) == "dir/x.yml:3:11"
    assert str(first.key_position(("a", 1, "key"))) == "dir/x.yml:3:6"
    assert str(first.key_position(("a", 1))) == "dir/x.yml:3:5"
    assert str(second.position(("b",))) == "dir/x.yml:5:4"


def test_a_path_that_leads_nowhere_has_the_position_of_its_nearest_container() -> None:
    document = load_source(b"a:\n  b: 1\n", "x.yml").documents[0]
    assert str(document.position(("a", "missing", 3))) == "x.yml:2:3"
    assert document.at(("a", "missing", 3)) is None


def test_columns_count_characters() -> None:
    document = load_source("{ä: ö, b: c}".encode(), "x.yml").documents[0]
    assert document.position(("b",)).column == 11


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: 1\na: 2\n", "duplicate-key"),
        ("a: &x 1\n", "anchor"),
        ("a: *x\n", "alias"),
        ("<<: {a: 1}\n", "merge-key"),
        ("a: !!str 1\n", "tag"),
        ("a: !vault |\n  0\n", "tag"),
        ("!!map {a: 1}\n", "tag"),
        ("1: a\n", "key-not-text"),
        ("true: a\n", "key-not-text"),
        ("~: a\n", "key-not-text"),
        ("? [a]\n: b\n", "key-not-text"),
        ("a: {{ b }}\n", "key-not-text"),
        ("%YAML 1.1\n---\na: 1\n", "directive"),
        ("a: .inf\n", "number"),
        ("a: .nan\n", "number"),
        ("a: 1e999\n", "number"),
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("---\n---\n", "empty"),
    ],
)
def test_what_documents_do_without_is_refused(text: str, code: str) -> None:
    assert codes(text.encode()) == [code]


def test_all_problems_are_found_in_one_pass() -> None:
    assert codes(b"a: &x 1\nb: *x\n1: 2\na: 3\nc: !t d\n") == [
        "anchor",
        "alias",
        "key-not-text",
        "duplicate-key",
        "tag",
    ]


def test_the_first_of_two_equal_keys_counts() -> None:
    assert load_source(b"a: 1\na: 2\n", "x.yml").documents[0].value == {"a": 1}


def test_what_was_refused_is_known_to_be_unread() -> None:
    document = load_source(b"a: *x\nb: {c: *y}\nd: 1\n", "x.yml").documents[0]
    assert document.is_unread(("a",))
    assert document.is_unread(("b", "c"))
    assert not document.is_unread(("d",))


@pytest.mark.parametrize(
    ("text", "words", "mend"),
    [
        ("a:\n\tb: 1\n", "a tab cannot indent YAML", "indent with spaces"),
        ("a: @b\n", "a text cannot start with «@»", "quote the text"),
        ("a: b: c\n", "a «: » appears where a text goes on", "quote the text"),
        ('a: "b\n', "a quoted text is not closed", "closing quote"),
        ("a: [1, 2\nb: 3\n", "a list in [ ] is not closed", "«]»"),
        ("a: {b: 1\nc: 2", "a mapping in { } is not closed", "«}»"),
        ('a: "\\q"\n', "this backslash escape does not exist", "single quotes"),
        ("a: {{ b }} c\n", "not readable as YAML", "quote a template as a whole"),
    ],
)
def test_a_syntax_error_says_how_to_mend_it(text: str, words: str, mend: str) -> None:
    problem = load_source(text.encode(), "x.yml").problems[-1]
    assert problem.code == "syntax"
    assert words in problem.message
    assert mend in problem.mend


def test_problems_are_listed_up_to_a_number_worth_reading() -> None:
    problems = load_source(b"".join(b"%d: x\n" % number for number in range(500)), "x.yml").problems
    assert len(problems) == 101
    assert problems[-1].code == "too-many"


def test_a_parameter_file_is_one_mapping() -> None:
    assert load_mapping(b"a: 1\n", "p.yml") == {"a": 1}
    for data in (b"- a\n", b"a: 1\n---\nb: 2\n", b"a: *x\n"):
        with pytest.raises(InvalidDocumentsError):
            load_mapping(data, "p.yml")


@given(st.binary(max_size=300))
@example(b"\xef\xbb\xbfa: 1")
@example(b"a: \xff")
@example(b"\x00")
@example(b"a: \xc2\x85b")
@example(b"- ? : - ? :")
def test_no_bytes_break_the_reader(data: bytes) -> None:
    source = load_source(data, "x.yml")
    assert source.documents or source.problems
    for problem in source.problems:
        assert problem.position.line >= 1
        assert problem.position.column >= 1


@given(st.text(alphabet="ab:{}[]&*!|>'\"%@`#,?- \n\t~01.<", max_size=60))
def test_no_yaml_breaks_the_reader(text: str) -> None:
    source = load_source(text.encode(), "x.yml")
    assert source.documents or source.problems


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]))
)
KEYS = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]), max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_what_is_written_is_read_back(value: dict[str, object]) -> None:
    # JSON is YAML 1.2 (but for the escapes of surrogate pairs); its floats are floats in the core schema too
    source = load_source(json.dumps(value, ensure_ascii=False).encode(), "x.yml")
    assert source.problems == ()
    assert source.documents[0].value == value


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_the_pure_parser_reads_the_same(value: dict[str, object]) -> None:
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=None)
    with_libyaml = load_source(text.encode(), "x.yml")
    try:
        libyaml, yaml.__with_libyaml__ = yaml.__with_libyaml__, False  # type: ignore[misc] # a constant, as if libyaml were missing
        pure = load_source(text.encode(), "x.yml")
    finally:
        yaml.__with_libyaml__ = libyaml  # type: ignore[misc] # as above
    assert [each.value for each in pure.documents] == [each.value for each in with_libyaml.documents]
    assert [(each.position, each.code) for each in pure.problems] == [
        (each.position, each.code) for each in with_libyaml.problems
    ]


def test_the_door_loads_no_heavy_library() -> None:
    code = "import sys, opsascode.repo; print([m for m in ('yaml', 'jsonschema', 'jinja2') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
