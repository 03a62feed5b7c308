"""Objects are read as they are, nothing is executed, and a repository that is not whole is refused."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import ResolveError
from opsascode.repo import ObjectStore, UnsafeRepositoryError
from tests.repo.pasts import CLEAN, PROTECTED, Repository, git, guardrail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def made(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path.resolve() / "ops")
    repository.commit({"policies/a.yml": guardrail(), "README.md": "text\n", "opsascode.yml": "x\n"})
    repository.commit({"policies/b/c.yml": guardrail("other"), "docs/page.md": "more\n"})
    return repository


def test_a_snapshot_holds_the_protected_files_of_a_commit_and_nothing_else(made: Repository) -> None:
    store = ObjectStore.of(made.place)
    head = made.head()
    snapshot = store.snapshot(head, PROTECTED)
    assert sorted(snapshot.files) == ["opsascode.yml", "policies/a.yml", "policies/b/c.yml"]
    assert snapshot.commit == head
    assert snapshot.files["policies/a.yml"].data == guardrail().encode()
    assert store.files(head, ("docs/*",)).keys() == {"docs/page.md"}
    (made.place / "policies" / "a.yml").write_text("changed, and not committed")
    made.commit({"README.md": "what is beside it may change\n", "policies/a.yml": guardrail()})
    assert store.snapshot(made.head(), PROTECTED).digest == snapshot.digest


def test_a_bare_repository_is_as_good_and_gives_the_same_digest(made: Repository, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", "--no-local", str(made.place), "bare.git")
    bare = ObjectStore.of(tmp_path / "bare.git")
    head = made.head()
    assert bare.snapshot(head, PROTECTED) == ObjectStore.of(made.place).snapshot(head, PROTECTED)
    assert bare.refs("refs/heads/") == {"refs/heads/main": head}


def test_a_working_tree_beside_the_first_reads_the_same_objects(made: Repository, tmp_path: Path) -> None:
    git(made.place, "worktree", "add", "-q", "--detach", str(tmp_path / "second"))
    store = ObjectStore.of(tmp_path / "second")
    assert store.directory == made.place / ".git"
    assert store.commit_of("main") == made.head()


def test_names_stand_for_commits_only_where_they_can_mean_one(made: Repository) -> None:
    store, head = ObjectStore.of(made.place), made.head()
    first = git(made.place, "rev-parse", "HEAD~1")
    git(made.place, "tag", "-m", "x", "v1", first)
    git(made.place, "branch", "both", head)
    git(made.place, "tag", "both", first)
    named = {name: store.commit_of(name) for name in ("main", "refs/heads/main", "HEAD", "v1", head, head[:10])}
    assert named == {"main": head, "refs/heads/main": head, "HEAD": head, "v1": first, head: head, head[:10]: head}
    refused = (
        "both",
        "no-such",
        "--help",
        "-n1",
        "main~1",
        "main:README.md",
        "main^{tree}",
        "a..b",
        "@{-1}",
        "a\nb",
        "",
    )
    assert {name: store.commit_of(name) for name in refused} == dict.fromkeys(refused)
    assert store.commit_of("refs/tags/both") == first


def test_lines_and_commits_in_between(made: Repository) -> None:
    start = made.head()
    made.git("checkout", "-q", "-b", "side")
    side = made.commit({"policies/side.yml": guardrail("side")})
    made.git("checkout", "-q", "main")
    other = made.commit({"README.md": "other\n"})
    merge = made.merge("side")
    store = ObjectStore.of(made.place)
    assert store.first_parents(merge, start) == (other, merge)
    assert store.first_parents(merge)[-3:] == (start, other, merge)
    assert store.first_parents(merge, side) == store.first_parents(merge)
    assert {each.id for each in store.commits(merge, start)} == {merge, other, side}
    facts = {each.id: each for each in store.commits(merge, start)}
    assert facts[merge].parents == (other, side)
    assert (facts[side].author.email, facts[side].committer.email) == ("a@example.net", "c@example.net")
    assert (facts[merge].subject, facts[merge].when.year) == ("a merge", 2025)
    assert store.is_ancestor(side, merge)
    assert not store.is_ancestor(merge, side)


def test_the_line_of_first_parents_tells_which_commits_changed_what_is_protected(made: Repository) -> None:
    start = made.head()
    made.git("checkout", "-q", "-b", "side")
    side = made.commit({"policies/side.yml": guardrail("side")})
    made.git("checkout", "-q", "main")
    made.commit({"README.md": "other\n"})
    merge = made.merge("side")
    beside = made.commit({"docs/page.md": "nothing protected\n"})
    store = ObjectStore.of(made.place)
    assert store.changed_by(beside, start, PROTECTED) == (merge,)
    assert store.changed_by(side, start, ("policies/side.yml",)) == (side,)
    assert store.changed_by(beside, None, ("policies/b/*.yml",)) == (start,)
    assert store.unchanged_since(beside, PROTECTED) == (merge, beside)
    assert store.unchanged_since(merge, PROTECTED) == (merge,)
    assert store.unchanged_since(beside, ("nowhere/**",)) == store.first_parents(beside)
    assert store.facts(merge).parents == (*store.facts(merge).parents[:1], side)


def shallow(made: Repository, place: Path) -> Path:
    git(place, "clone", "-q", "--depth", "1", f"file://{made.place}", "cut")
    return place / "cut"


def alternates(made: Repository, place: Path) -> Path:
    git(place, "clone", "-q", "--shared", str(made.place), "cut")
    return place / "cut"


def partial(made: Repository, place: Path) -> Path:
    git(made.place, "config", "uploadpack.allowFilter", "true")
    git(place, "clone", "-q", "--filter=blob:none", "--no-checkout", f"file://{made.place}", "cut")
    return place / "cut"


def grafts(made: Repository, place: Path) -> Path:
    (made.place / ".git" / "info" / "grafts").write_text(f"{made.head()}\n")
    return made.place


@pytest.mark.parametrize("attack", [shallow, alternates, partial, grafts], ids=lambda each: each.__name__)
def test_a_repository_that_is_not_whole_is_refused(
    attack: Callable[[Repository, Path], Path], made: Repository, tmp_path: Path
) -> None:
    ObjectStore.of(made.place)
    with pytest.raises(UnsafeRepositoryError) as told:
        ObjectStore.of(attack(made, tmp_path))
    assert told.value.code == "E_REPO_UNSAFE"
    assert told.value.advice


def test_replaced_objects_are_ignored(made: Repository) -> None:
    store, head = ObjectStore.of(made.place), made.head()
    before = store.snapshot(head, PROTECTED)
    git(made.place, "replace", head, made.commit({"policies/a.yml": guardrail(max_hosts=500)}))
    blob = before.files["policies/a.yml"].oid
    other = git(made.place, "hash-object", "-w", "--stdin", data=b"evil")
    git(made.place, "replace", "-f", blob, other)
    assert git(made.place, "cat-file", "blob", blob) == "evil"
    assert ObjectStore.of(made.place).snapshot(head, PROTECTED) == before


def test_settings_of_the_repository_execute_nothing(made: Repository, tmp_path: Path) -> None:
    script, proof = tmp_path / "evil.sh", tmp_path / "executed"
    script.write_text(f"#!/bin/sh\ntouch {proof}\ncat\n")
    script.chmod(0o755)
    for key in ("core.fsmonitor", "gpg.program", "gpg.ssh.program", "diff.external", "core.pager", "core.sshCommand",
                "filter.x.smudge", "filter.x.clean", "diff.x.textconv"):  # fmt: skip
        git(made.place, "config", key, str(script))
    for key in ("log.showSignature", "core.commitGraph"):
        git(made.place, "config", key, "true")
    made.place.joinpath(".gitattributes").write_text("* filter=x diff=x ident eol=crlf working-tree-encoding=UTF-16\n")
    head = made.head()
    store = ObjectStore.of(made.place)
    assert store.snapshot(head, PROTECTED).files["policies/a.yml"].data == guardrail().encode()
    store.commits(head, None)
    store.first_parents(head)
    assert not proof.exists()


def test_the_callers_variables_have_no_word(made: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GIT_DIR", "GIT_OBJECT_DIRECTORY", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert ObjectStore.of(made.place).commit_of("main") is not None


def tree(place: Path, *entries: str) -> str:
    """Commit a tree made of lines as ls-tree prints them, whatever they are."""
    made = git(place, "mktree", "-z", "--missing", data="".join(f"{each}\0" for each in entries).encode())
    return git(place, "commit-tree", "-m", "x", made)


def inside(place: Path, name: str, mode: str = "100644") -> str:
    """Commit one entry below policies/."""
    blob = git(place, "hash-object", "-w", "--stdin", data=b"x")
    entry = f"commit {git(place, 'rev-parse', 'HEAD')}" if mode == "160000" else f"blob {blob}"
    below = git(place, "mktree", "-z", "--missing", data=f"{mode} {entry}\t{name}\0".encode())
    return tree(place, f"040000 tree {below}\tpolicies")


@pytest.mark.parametrize(
    ("name", "mode", "code"),
    [
        ("link.yml", "120000", "E_MODE"),
        ("module", "160000", "E_MODE"),
        ("a\nb.yml", "100644", "E_PATH"),
        ("a\tb.yml", "100644", "E_PATH"),
        ("a\\b.yml", "100644", "E_PATH"),
    ],
)
def test_what_is_no_ordinary_file_is_refused(name: str, mode: str, code: str, made: Repository) -> None:
    store = ObjectStore.of(made.place)
    assert store.snapshot(inside(made.place, "fine.yml"), PROTECTED).files.keys() == {"policies/fine.yml"}
    with pytest.raises(UnsafeRepositoryError) as told:
        store.snapshot(inside(made.place, name, mode), PROTECTED)
    assert told.value.code == code
    assert "\n" not in told.value.message


def raw_tree(place: Path, *entries: tuple[str, str, str]) -> str:
    """Write a tree that git itself would not, byte for byte."""
    data = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(oid) for mode, name, oid in entries)
    return git(place, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", data=data)


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("..",), "E_PATH"),
        (("a.yml", "a.yml"), "E_PATH"),
        (("A.yml", "a.yml"), "E_PATH"),
        ((".git",), "E_PATH"),
    ],
    ids=str,
)
def test_trees_that_git_would_not_write_are_refused(names: tuple[str, ...], code: str, made: Repository) -> None:
    blob = git(made.place, "hash-object", "-w", "--stdin", data=b"x")

    def commit(*named: str) -> str:
        below = raw_tree(made.place, *(("100644", each, blob) for each in named))
        return git(made.place, "commit-tree", "-m", "x", raw_tree(made.place, ("40000", "policies", below)))

    store = ObjectStore.of(made.place)
    assert store.snapshot(commit("A.yml", "b.yml"), PROTECTED).files.keys() == {"policies/A.yml", "policies/b.yml"}
    with pytest.raises(UnsafeRepositoryError) as told:
        store.snapshot(commit(*names), PROTECTED)
    assert told.value.code == code


def test_a_link_in_place_of_a_protected_folder_is_refused(made: Repository) -> None:
    blob = git(made.place, "hash-object", "-w", "--stdin", data=b"/etc")
    with pytest.raises(UnsafeRepositoryError) as told:
        ObjectStore.of(made.place).snapshot(tree(made.place, f"120000 blob {blob}\tpolicies"), PROTECTED)
    assert told.value.code == "E_MODE"
    assert ObjectStore.of(made.place).snapshot(tree(made.place, f"120000 blob {blob}\tlatest"), PROTECTED).files == {}


def test_where_there_is_no_repository_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(ResolveError):
        ObjectStore.of(tmp_path)


def test_a_hook_sees_the_objects_that_arrive_and_no_other_place(made: Repository, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "server.git")
    server = tmp_path / "server.git"
    said = tmp_path / "said"
    hook = server / "hooks" / "pre-receive"
    hook.write_text(
        f'#!/bin/sh\nenv | grep ^GIT_ > {said}\nread old new ref\ncp -r "$GIT_QUARANTINE_PATH" {tmp_path}/kept\nexit 1\n'
    )
    hook.chmod(0o755)
    pushed = subprocess.run(
        ["git", "push", "-q", str(server), "main"], cwd=made.place, env=CLEAN, capture_output=True, check=False
    )
    assert pushed.returncode != 0
    variables = dict(line.split("=", 1) for line in said.read_text().splitlines())
    arriving = variables["GIT_QUARANTINE_PATH"]
    (tmp_path / "kept").rename(arriving)  # as it was while the hook ran
    head = made.head()
    assert ObjectStore.of(server, quarantine=variables).snapshot(head, PROTECTED).files
    with pytest.raises((UnsafeRepositoryError, ResolveError)):
        ObjectStore.of(server).snapshot(head, PROTECTED)
    for name in ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"):
        with pytest.raises(UnsafeRepositoryError):
            ObjectStore.of(server, quarantine={**variables, name: str(made.place / ".git" / "objects")})
