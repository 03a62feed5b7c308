"""Branches and merges by plumbing: exactly the protected files of another commit, and no work tree is ever touched."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import ResolveError
from opsascode.repo import Branches, Identity, Made, ObjectStore
from tests.repo.test_mailbox import git

if TYPE_CHECKING:
    from pathlib import Path

PROTECTED = ("policies/**", "inventories/**", "opsascode.yml")
MADE = Made(
    message="Roll back\n\nINC-1",
    by=Identity(name="Alice Ä", email="alice@example.org"),
    when=datetime(2026, 11, 21, 12, 0, tzinfo=UTC),
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "repo")
    return tmp_path / "repo"


def commit(place: Path, **files: str | None) -> str:
    """Commit files by their paths (`__` is a slash, `_dot_` a point), None for one that goes."""
    for key, text in files.items():
        path = place / key.replace("__", "/").replace("_dot_", ".")
        if text is None:
            path.unlink()
            with contextlib.suppress(OSError):
                path.parent.rmdir()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--allow-empty", "-m", "x")
    return git(place, "rev-parse", "HEAD").strip()


def everything(place: Path) -> dict[str, bytes]:
    """The work tree, the index and every ref."""
    files = {str(each): each.read_bytes() for each in place.rglob("*") if each.is_file() and ".git" not in each.parts}
    refs = git(place, "for-each-ref").encode()
    return {**files, "index": (place / ".git" / "index").read_bytes(), "refs": refs}


def tree(place: Path, commit: str) -> dict[str, str]:
    listed = git(place, "ls-tree", "-r", "--format=%(path) %(objectmode) %(objectname)", commit).splitlines()
    return {line.partition(" ")[0]: line.partition(" ")[2] for line in listed}


def test_protected_files_are_exactly_those_of_the_other_commit(place: Path) -> None:
    first = commit(place, policies__a="1", policies__b="1", policies__trust__1_dot_root_dot_json="v1", docs="1")
    (place / "policies" / "b").chmod(0o755)
    wanted = commit(place, policies__b="old")
    base = commit(
        place,
        policies__a="2",
        policies__b=None,
        policies__new__c="3",
        opsascode_dot_yml="new",
        policies__trust__2_dot_root_dot_json="v2",
        docs="2",
        playbooks__p="2",
    )
    store, before = ObjectStore.of(place), everything(place)
    branches = Branches.of(place)
    made = branches.restored_commit(store.snapshot(base, PROTECTED), store.snapshot(wanted, PROTECTED), MADE)
    assert everything(place) == before
    found, old, new = tree(place, made), tree(place, wanted), tree(place, base)
    assert set(found) == {
        "policies/a", "policies/b", "policies/trust/1.root.json", "policies/trust/2.root.json", "docs", "playbooks/p",
    }  # fmt: skip
    assert {path: found[path] for path in ("policies/a", "policies/b")} == {
        path: old[path] for path in ("policies/a", "policies/b")
    }
    assert found["policies/b"].startswith("100755")
    kept = ("docs", "playbooks/p", "policies/trust/1.root.json", "policies/trust/2.root.json")
    assert {path: found[path] for path in kept} == {path: new[path] for path in kept}
    facts = git(place, "log", "-1", "--format=%P|%an|%ae|%cn|%ce|%ad|%B", "--date=iso-strict", made).strip()
    who = "Alice Ä|alice@example.org"
    assert facts == f"{base}|{who}|{who}|2026-11-21T12:00:00+00:00|Roll back\n\nINC-1"
    assert first != made


def test_nothing_to_take_back_is_refused(place: Path) -> None:
    one = commit(place, policies__a="1", policies__trust__1_dot_root_dot_json="v1")
    two = commit(place, docs="2", policies__trust__2_dot_root_dot_json="v2")
    store = ObjectStore.of(place)
    with pytest.raises(ResolveError, match="nothing to take back"):
        Branches.of(place).restored_commit(store.snapshot(two, PROTECTED), store.snapshot(one, PROTECTED), MADE)


def test_a_file_where_a_folder_was_and_the_other_way_round(place: Path) -> None:
    one = commit(place, policies__a="1", policies__b__c="1")
    commit(place, policies__a=None, policies__b__c=None)
    two = commit(place, policies__a__x="2", policies__b="2")
    store = ObjectStore.of(place)
    there, back = store.snapshot(two, PROTECTED), store.snapshot(one, PROTECTED)
    made = Branches.of(place).restored_commit(there, back, MADE)
    assert tree(place, made) == tree(place, one)


def test_a_branch_is_made_once_and_named_like_one(place: Path) -> None:
    one, branches = commit(place, a="1"), Branches.of(place)
    assert branches.create_branch("rollback/inc-1", one) == "refs/heads/rollback/inc-1"
    with pytest.raises(ResolveError, match="cannot be made"):
        branches.create_branch("rollback/inc-1", one)
    for name in ("-x", "a..b", "a b", "x.lock", "", "/", "a\nb", "@{x"):
        with pytest.raises(ResolveError, match="cannot be the name of a branch"):
            branches.create_branch(name, one)
    with pytest.raises(ResolveError, match="no full commit id"):
        branches.create_branch("ok", "main")
    assert git(place, "for-each-ref", "--format=%(refname)", "refs/heads/").split() == [
        "refs/heads/main", "refs/heads/rollback/inc-1",
    ]  # fmt: skip


def diverged(place: Path, ours: dict[str, str], theirs: dict[str, str]) -> tuple[str, str]:
    commit(place, policies__a="1\n", policies__b="1\n")
    git(place, "switch", "--quiet", "-c", "side")
    head = commit(place, **theirs)
    git(place, "switch", "--quiet", "main")
    return commit(place, **ours), head


def test_a_merge_has_two_parents_and_touches_nothing(place: Path) -> None:
    base, head = diverged(place, {"docs": "2"}, {"policies__a": "2\n"})
    before = everything(place)
    made = Branches.of(place).merge_commit(base, head, MADE)
    assert everything(place) == before
    assert git(place, "log", "-1", "--format=%P", made).split() == [base, head]
    assert tree(place, made) == {**tree(place, base), "policies/a": tree(place, head)["policies/a"]}


def test_what_could_be_a_fast_forward_is_a_merge_all_the_same(place: Path) -> None:
    base = commit(place, a="1")
    head = commit(place, a="2")
    made = Branches.of(place).merge_commit(base, head, MADE)
    assert git(place, "log", "-1", "--format=%P", made).split() == [base, head]
    assert tree(place, made) == tree(place, head)


def test_conflicts_unrelated_histories_and_nothing_to_merge_are_said(place: Path) -> None:
    base, head = diverged(place, {"policies__a": "2\n"}, {"policies__a": "3\n"})
    branches = Branches.of(place)
    with pytest.raises(ResolveError, match="without a decision about policies/a"):
        branches.merge_commit(base, head, MADE)
    with pytest.raises(ResolveError, match="nothing to merge"):
        branches.merge_commit(base, base, MADE)
    git(place, "switch", "--quiet", "--orphan", "alone")
    alone = commit(place, other="1")
    with pytest.raises(ResolveError, match="unrelated histories"):
        branches.merge_commit(base, alone, MADE)


@pytest.mark.parametrize("driver", ["touch ../executed", "true", ""])
def test_a_merge_driver_of_the_repository_is_never_run(place: Path, driver: str) -> None:
    base, head = diverged(place, {"policies__a": "1\n2\n"}, {"policies__a": "0\n1\n"})
    (place / ".gitattributes").write_text("policies/* merge=evil\n")
    (place / ".git" / "info").mkdir(exist_ok=True)
    (place / ".git" / "info" / "attributes").write_text("policies/* merge=evil filter=evil\n")
    git(place, "config", "merge.evil.driver", driver)
    git(place, "config", "merge.evil.recursive", "evil")
    git(place, "config", "filter.evil.clean", "touch ../executed")
    git(place, "config", "merge.renormalize", "true")
    with pytest.raises(ResolveError, match="without a decision"):
        Branches.of(place).merge_commit(base, head, MADE)
    assert not (place.parent / "executed").exists()


def test_a_ref_moves_only_from_where_it_was_said_to_stand(place: Path) -> None:
    one = commit(place, a="1")
    two = commit(place, a="2")
    branches = Branches.of(place)
    ref = branches.create_branch("x", one)
    with pytest.raises(ResolveError, match="did not move"):
        branches.move_ref(ref, one, two)
    branches.move_ref(ref, two, one)
    assert git(place, "rev-parse", ref).strip() == two
    branches.move_ref("refs/heads/y", one, None)
    with pytest.raises(ResolveError, match="did not move"):
        branches.move_ref("refs/heads/y", two, None)
    for name in ("main", "refs/heads/a..b", "-x", "refs/heads/a\nb"):
        with pytest.raises(ResolveError, match="no full name of a ref"):
            branches.move_ref(name, two, one)


def test_a_branch_that_is_checked_out_stays_where_it_is(place: Path) -> None:
    one = commit(place, a="1")
    two = commit(place, a="2")
    git(place, "worktree", "add", "--quiet", "-b", "other", "../other", one)
    branches = Branches.of(place)
    for ref, new, old in (("refs/heads/main", one, two), ("refs/heads/other", two, one)):
        with pytest.raises(ResolveError, match="is checked out in"):
            branches.move_ref(ref, new, old)
        assert git(place, "rev-parse", ref).strip() == old
    git(place, "switch", "--quiet", "--detach")
    branches.move_ref("refs/heads/main", one, two)


def test_a_bare_repository_has_branches_too(place: Path) -> None:
    one = commit(place, policies__a="1")
    two = commit(place, policies__a="2")
    git(place.parent, "clone", "--quiet", "--bare", "repo", "bare.git")
    bare = place.parent / "bare.git"
    store, branches = ObjectStore.of(bare), Branches.of(bare)
    made = branches.restored_commit(store.snapshot(two, PROTECTED), store.snapshot(one, PROTECTED), MADE)
    branches.move_ref("refs/heads/main", made, two)
    assert git(bare, "show", "main:policies/a") == "1"


def test_who_commits_is_who_git_says(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    branches = Branches.of(place)
    with pytest.raises(ResolveError, match=r"user\.name and user\.email not set"):
        branches.identity({})
    (tmp_path / ".gitconfig").write_text("[user]\n name = Home\n email = home@example.org\n")
    assert branches.identity({}) == Identity(name="Home", email="home@example.org")
    git(place, "config", "user.email", "here@example.org")
    assert branches.identity({}) == Identity(name="Home", email="here@example.org")
    said = {"GIT_COMMITTER_NAME": "En <v>\n", "GIT_COMMITTER_EMAIL": "env@example.org"}
    assert branches.identity(said) == Identity(name="En v", email="env@example.org")


def test_outside_git_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(ResolveError, match="no Git repository"):
        Branches.of(tmp_path)
