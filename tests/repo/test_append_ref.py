"""A ref of one's own that only grows: joined, raced for, read in a bare repository, whoever else writes to it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import ResolveError
from opsascode.repo import AppendRef, RefForm
from tests.repo.test_mailbox import clone, git, refs
from tests.repo.test_mailbox import remote as remote  # noqa: PLC0414 - a fixture of the neighbour

if TYPE_CHECKING:
    from pathlib import Path

FORM = RefForm(
    ref="refs/opsascode/notes",
    paths=re.compile(r"[a-z0-9]{1,20}(/[a-z0-9]{1,20}){0,2}"),
    subject="notes",
    noun="a note",
    advice="try again",
)


def opened(place: Path, remote: str | None = "origin") -> AppendRef:
    found = AppendRef.of(place, remote, FORM)
    assert found is not None
    return found


def held(ref: AppendRef) -> dict[str, bytes]:
    entries = ref.entries()
    return {each.path: content for each, content in zip(entries, ref.contents(entries), strict=True)}


def test_several_files_come_in_one_commit_and_stay(remote: Path) -> None:
    one = opened(clone(remote, "one"))
    one.add({"a": b"1", "b/c": b""})
    one.add({"a": b"other", "d": b"3\n"})
    assert held(one) == {"a": b"1", "b/c": b"", "d": b"3\n"}
    assert git(remote, "rev-list", "--count", FORM.ref).strip() == "2"


def test_nothing_new_makes_no_commit(remote: Path) -> None:
    one = opened(clone(remote, "one"))
    one.add({"a": b"1"})
    before = refs(remote)
    one.add({"a": b"1"})
    one.fetch()
    assert refs(remote) == before


def test_a_bare_repository_is_as_good_as_a_clone(remote: Path) -> None:
    opened(clone(remote, "one")).add({"a": b"1"})
    server = opened(remote, None)
    assert held(server) == {"a": b"1"}
    server.add({"b": b"2"})
    two = opened(clone(remote, "two"))
    two.fetch()
    assert held(two) == {"a": b"1", "b": b"2"}
    assert held(AppendRef.of_bare(remote, FORM)) == held(two)


def test_what_lies_below_a_path_or_in_an_earlier_commit(remote: Path) -> None:
    one = opened(clone(remote, "one"))
    one.add({"a/b": b"1", "a/c": b"2", "ab": b"3"})
    earlier = one.tip()
    one.add({"a/d": b"4"})
    assert [each.path for each in one.entries(below=("a/",))] == ["a/b", "a/c", "a/d"]
    assert [each.path for each in one.entries(earlier, ("a/",))] == ["a/b", "a/c"]
    assert [each.path for each in one.entries(below=("nowhere/",))] == []
    assert one.entries("0" * 40) == ()


def test_whoever_re_sequences_joins_by_a_rule_of_their_own(remote: Path) -> None:
    """As a ledger does: entries get their number when it is known who came first, and nothing is lost."""
    places = [clone(remote, f"clone-{number}") for number in range(4)]

    def append(place: Path, text: bytes) -> None:
        ref = opened(place)
        blob = ref.write(text)

        def behind(ours: str | None, theirs: str | None) -> str:
            """Ours was never pushed if theirs does not hold it: then it is made anew behind theirs."""
            number = len(ref.entries(theirs)) if theirs else 0
            return ref.commit(theirs, {f"entry/{number}": blob}, [theirs] if theirs else [])

        ref.grow(behind, push=True)

    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(append, places, [f"from {each.name}".encode() for each in places]))
    reader = opened(clone(remote, "reader"))
    reader.fetch()
    assert sorted(held(reader)) == [f"entry/{number}" for number in range(4)]
    assert set(held(reader).values()) == {f"from {each.name}".encode() for each in places}


@pytest.mark.parametrize("path", ["../x", "A", "a//b", "a/b/c/d/e", "", "a\n", "a/../b", "-"])
def test_a_path_that_is_not_its_own_is_refused(remote: Path, path: str) -> None:
    with pytest.raises(ResolveError, match="is no name for a note"):
        opened(clone(remote, "one")).add({path: b"x"})


def test_a_remote_that_refuses_is_said_after_a_while(remote: Path) -> None:
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho not here >&2\nexit 1\n")
    hook.chmod(0o755)
    one = opened(clone(remote, "one"))
    with pytest.raises(ResolveError, match="could not be left in Git at origin"):
        one.add({"a": b"1"})
    assert held(one) == {"a": b"1"}  # and goes along with the next one
    hook.unlink()
    one.add({"b": b"2"})
    assert git(remote, "ls-tree", "-r", "--name-only", FORM.ref).split() == ["a", "b"]


def test_a_blob_that_is_missing_is_told(remote: Path) -> None:
    place = clone(remote, "one")
    one = opened(place, None)
    one.add({"a": b"1"})
    (entry,) = one.entries()
    (place / ".git" / "objects" / entry.blob[:2] / entry.blob[2:]).unlink()
    with pytest.raises(ResolveError, match="lacks something"):
        one.contents([entry])


def test_outside_git_there_is_none(tmp_path: Path) -> None:
    assert AppendRef.of(tmp_path, None, FORM) is None
