"""The scope digest says what is protected and nothing else, and only paths that all read the same are protected."""

from __future__ import annotations

import hashlib

import pytest

from opsascode.repo import EMPTY_SNAPSHOT, ProtectedFile, UnsafeRepositoryError, is_protected, snapshot_of
from opsascode.repo._snapshot import literal_starts


def file(path: str, data: bytes = b"x", mode: str = "100644") -> ProtectedFile:
    return ProtectedFile.of(path, data, mode=mode)


def test_the_digest_is_over_sorted_lines_of_mode_path_and_bytes() -> None:
    one, two = file("policies/b.yml", b"two", "100755"), file("policies/a.yml", b"one")
    lines = (
        f"100644 14:policies/a.yml {hashlib.sha256(b'one').hexdigest()}\n"
        f"100755 14:policies/b.yml {hashlib.sha256(b'two').hexdigest()}\n"
    )
    expected = f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"
    assert snapshot_of("c", [one, two]).digest == snapshot_of("d", [two, one]).digest == expected
    assert snapshot_of("", []) == EMPTY_SNAPSHOT
    umlaut = snapshot_of("", [file("policies/ü.yml")])
    line = f"100644 15:policies/ü.yml {hashlib.sha256(b'x').hexdigest()}\n"
    assert umlaut.digest == f"sha256:{hashlib.sha256(line.encode()).hexdigest()}"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ([file("policies/a.yml", b"y")], False),
        ([file("policies/a.yml", mode="100755")], False),
        ([file("policies/b.yml")], False),
        ([file("policies/a.yml"), file("policies/b.yml")], False),
        ([], False),
        ([file("policies/a.yml")], True),
    ],
)
def test_every_change_of_what_is_protected_is_another_digest(change: list[ProtectedFile], same: bool) -> None:
    assert (snapshot_of("", change).digest == snapshot_of("", [file("policies/a.yml")]).digest) is same


@pytest.mark.parametrize(
    ("glob", "named", "not_named"),
    [
        ("policies/**", ("policies/a", "policies/b/c.yml"), ("policies", "other/policies/a", "Policies/a")),
        ("**/x.yml", ("x.yml", "a/x.yml", "a/b/x.yml"), ("ax.yml", "x.yml/a")),
        ("a/**/b", ("a/b", "a/c/b", "a/c/d/b"), ("a/cb", "a")),
        ("*.yml", ("a.yml", ".yml"), ("a/b.yml", "a.yaml", "a.yml\n")),
        ("a?c", ("abc", "a.c"), ("a/c", "ac", "abbc")),
        ("a[b].(c)", ("a[b].(c)",), ("ab.c", "ab.(c)")),
    ],
)
def test_globs(glob: str, named: tuple[str, ...], not_named: tuple[str, ...]) -> None:
    assert {path: is_protected(path, (glob,)) for path in (*named, *not_named)} == {
        **dict.fromkeys(named, True),
        **dict.fromkeys(not_named, False),
    }


def test_the_trust_root_is_always_protected_and_read_in_the_order_of_its_versions() -> None:
    assert is_protected("policies/trust/1.root.json", ())
    names = ("10.root.json", "2.root.json", "1.root.json", "x.root.json", "01.root.json", "3.root.json.bak")
    snapshot = snapshot_of("", [file(f"policies/trust/{name}", name.encode()) for name in names])
    assert snapshot.trust_envelopes() == (b"1.root.json", b"2.root.json", b"10.root.json")


def test_everything_a_glob_may_name_lies_below_its_start() -> None:
    assert literal_starts(("policies/**", "a/b/*.yml", "opsascode.yml")) == (
        "a/b",
        "opsascode.yml",
        "policies",
        "policies/trust",
    )
    assert literal_starts(("**/a",)) is None


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("../a", "E_PATH"), ("policies/../a", "E_PATH"), ("/policies/a", "E_PATH"), ("policies//a", "E_PATH"),
        ("policies/./a", "E_PATH"), ("-a", "E_PATH"), ("policies/a\nb", "E_PATH"), ("policies/a\0b", "E_PATH"),
        ("policies/\udc80", "E_PATH"), ("policies/.GIT/a", "E_PATH"), ("policies/a\\b", "E_PATH"), ("policies/a\u202eb", "E_PATH"), ("", "E_PATH"),
    ],
)  # fmt: skip
def test_paths_that_not_everybody_reads_the_same_are_refused(path: str, code: str) -> None:
    with pytest.raises(UnsafeRepositoryError) as told:
        snapshot_of("", [file("policies/fine.yml"), file(path)])
    assert told.value.code == code
    assert told.value.message.isprintable()


@pytest.mark.parametrize(
    "paths", [("policies/a.yml", "policies/A.yml"), ("policies/b/x", "policies/B/y"), ("p/ß", "p/SS")]
)
def test_paths_that_differ_in_case_only_are_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(UnsafeRepositoryError) as told:
        snapshot_of("", [file(each) for each in paths])
    assert told.value.code == "E_PATH"


@pytest.mark.parametrize("mode", ["120000", "160000", "100664", "100600", "040000"])
def test_only_ordinary_files_are_protected(mode: str) -> None:
    with pytest.raises(UnsafeRepositoryError) as told:
        snapshot_of("", [file("policies/a", mode=mode)])
    assert told.value.code == "E_MODE"
