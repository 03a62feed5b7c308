"""What git says of a directory is told truly, and nothing in a repository is executed to find it out."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import ResolveError
from opsascode.repo import GitState, _git, git_state

if TYPE_CHECKING:
    from pathlib import Path

CLEAN = {
    "PATH": os.defpath, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.net", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.net",
}  # fmt: skip


def git(directory: Path, *words: str, **environment: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=directory, env={**CLEAN, **environment}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    git(directory, "init", "-q", "-b", "main")
    (directory / "tracked").write_text("one\n")
    (directory / ".gitignore").write_text("*.ignored\n")
    git(directory, "add", ".")
    git(directory, "commit", "-q", "-m", "first")
    return directory


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return made(tmp_path / "repository")


def head(repository: Path) -> str:
    return git(repository, "rev-parse", "HEAD")


def test_a_clean_repository(repository: Path) -> None:
    expected = GitState(commit=head(repository), branch="main", top=repository)
    assert git_state(repository) == expected
    (repository / "below" / "deep").mkdir(parents=True)
    assert git_state(repository / "below" / "deep") == expected


@pytest.mark.parametrize(
    ("name", "dirty"), [("tracked", True), ("new file", True), ("umlaut-ü\nline", True), ("new.ignored", False)]
)
def test_a_changed_or_new_file_is_dirty_and_an_ignored_one_is_not(name: str, dirty: bool, repository: Path) -> None:
    (repository / name).write_text("two\n")
    state = git_state(repository)
    assert (state.dirty, state.changed) == (dirty, (name,) if dirty else ())


def test_staged_removed_and_renamed_files_are_dirty(repository: Path) -> None:
    git(repository, "mv", "tracked", "renamed to")
    (repository / ".gitignore").unlink()
    assert set(git_state(repository).changed) == {"tracked", "renamed to", ".gitignore"}


def test_a_file_touched_but_not_changed_is_clean(repository: Path) -> None:
    os.utime(repository / "tracked", (0, 0))
    assert not git_state(repository).dirty


def test_only_some_of_many_changes_are_named(repository: Path) -> None:
    for number in range(100):
        (repository / f"new{number}").touch()
    assert len(git_state(repository).changed) == 20


def test_before_the_first_commit_there_is_no_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk")
    assert git_state(tmp_path) == GitState(branch="trunk", top=tmp_path)


def test_outside_of_a_repository_there_is_nothing(tmp_path: Path) -> None:
    assert git_state(tmp_path) == GitState()


def test_a_bare_repository_in_a_directory_is_not_taken_for_one(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "bare")
    assert git_state(tmp_path / "bare") == GitState()


def test_a_detached_head_has_a_commit_and_no_branch(repository: Path) -> None:
    git(repository, "checkout", "-q", "--detach")
    state = git_state(repository)
    assert (state.commit, state.branch) == (head(repository), None)


def test_a_merge_conflict_is_dirty(repository: Path) -> None:
    git(repository, "checkout", "-q", "-b", "side")
    (repository / "tracked").write_text("side\n")
    git(repository, "commit", "-q", "-am", "side")
    git(repository, "checkout", "-q", "main")
    (repository / "tracked").write_text("main\n")
    git(repository, "commit", "-q", "-am", "main")
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "merge", "side")
    assert git_state(repository).changed == ("tracked",)


def test_a_worktree_has_its_own_branch_and_top(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", "-b", "other", str(tmp_path / "other"))
    (tmp_path / "other" / "new").touch()
    assert git_state(tmp_path / "other") == GitState(
        commit=head(repository), branch="other", dirty=True, changed=("new",), top=tmp_path / "other"
    )
    assert not git_state(repository).dirty


def test_a_submodule_counts_by_its_commit_and_answers_for_itself(repository: Path, tmp_path: Path) -> None:
    made(tmp_path / "library")
    git(
        repository,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(tmp_path / "library"),
        "library",
    )
    git(repository, "commit", "-q", "-m", "library")
    inner = repository / "library"
    assert git_state(inner).top == inner
    (inner / "new").touch()
    assert git_state(inner).dirty
    assert not git_state(repository).dirty
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "inner")
    assert git_state(repository).changed == ("library",)


def test_replaced_objects_are_ignored(repository: Path) -> None:
    (repository / "tracked").write_text("two\n")
    git(repository, "commit", "-q", "-am", "second")
    git(repository, "replace", "HEAD", "HEAD~1")
    state = git_state(repository)
    assert (state.commit, state.dirty) == (head(repository), False)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://user:secret@example.net/a/b.git", "https://example.net/a/b.git"),
        ("https://secret@example.net:8443/a.git?token=secret", "https://example.net:8443/a.git"),
        ("ssh://git:secret@example.net/a.git", "ssh://git@example.net/a.git"),
        ("git@example.net:a/b.git", "git@example.net:a/b.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
    ],
)
def test_the_remote_is_told_without_credentials(address: str, shown: str, repository: Path) -> None:
    git(repository, "config", "remote.origin.url", address)
    assert git_state(repository).remote == shown


def test_the_callers_environment_has_no_word(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = git_state(repository)
    other = made(tmp_path / "other")
    canary, program = trap(tmp_path)
    (tmp_path / "git").write_text(program.read_text())
    (tmp_path / "git").chmod(0o755)
    (tmp_path / ".gitconfig").write_text(f"[core]\nfsmonitor = {program}\n")
    hostile = {
        "GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other), "GIT_INDEX_FILE": str(tmp_path / "index"),
        "GIT_OBJECT_DIRECTORY": str(tmp_path), "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(program), "GIT_CONFIG_PARAMETERS": f"'core.fsmonitor={program}'",
        "GIT_EXEC_PATH": str(tmp_path), "GIT_TRACE": str(canary), "GIT_EXTERNAL_DIFF": str(program),
        "GIT_CONFIG_GLOBAL": str(tmp_path / ".gitconfig"), "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path),
        "GIT_NAMESPACE": "x", "PATH": str(tmp_path),
        "GIT_CEILING_DIRECTORIES": str(repository), "GIT_LITERAL_PATHSPECS": "1",
    }  # fmt: skip
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    assert git_state(repository) == expected
    assert not canary.exists()


def trap(directory: Path) -> tuple[Path, Path]:
    """A program, and the file that is there once it ran."""
    canary, program = directory / "canary", directory / "program"
    program.write_text(f"#!/bin/sh\n/usr/bin/touch {canary}\nexec /bin/cat\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return canary, program


HOSTILE = {
    "fsmonitor": "[core]\nfsmonitor = {0}\n",
    "hooks": "[core]\nhooksPath = {1}\n",
    "clean filter": '[filter "x"]\nclean = {0}\nsmudge = {0}\nrequired = true\n',
    "process filter": '[filter "x"]\nprocess = {0}\nrequired = true\n',
    "filter with a name of its own": '[filter "x"]\nclean = \n[filter "a=b.c"]\nclean = {0}\n',
    "filter from an included file": "[include]\npath = more\n",
    "diff and textconv": '[diff]\nexternal = {0}\n[diff "x"]\ntextconv = {0}\ncommand = {0}\n',
    "pager": "[core]\npager = {0}\n[pager]\nstatus = {0}\nconfig = {0}\n[color]\nui = always\n",
    "aliases": "[alias]\nstatus = !{0}\nconfig = !{0}\n",
    "transport of a promised object": (
        "[core]\nrepositoryformatversion = 1\nsshCommand = {0}\n[extensions]\npartialClone = origin\n"
        '[remote "origin"]\nurl = ssh://example.net/x\npromisor = true\nuploadpack = {0}\n'
        '[protocol "ssh"]\nallow = always\n'
    ),
    "credentials and editors": "[credential]\nhelper = {0}\n[core]\naskPass = {0}\neditor = {0}\n[gpg]\nprogram={0}\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_a_repository_configures_is_executed(name: str, repository: Path, tmp_path: Path) -> None:
    canary, program = trap(tmp_path)
    (repository / ".gitattributes").write_text("* filter=x diff=x\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "attributes")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-index-change", "fsmonitor-watchman", "reference-transaction"):
        (hooks / hook).symlink_to(program)
    (repository / ".git" / "more").write_text(f'[filter "x"]\nclean = {program}\n')
    (repository / ".git" / "info" / "attributes").write_text("tracked filter=a=b.c\n" if "own" in name else "")
    with (repository / ".git" / "config").open("a") as stream:
        stream.write(HOSTILE[name].format(program, hooks))
    (repository / "tracked").write_text("two\n")
    os.utime(repository / ".gitignore", (0, 0))
    if "promised" in name:
        tree = git(repository, "rev-parse", "HEAD^{tree}")
        (repository / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
        with pytest.raises(ResolveError, match="git cannot use this repository"):
            git_state(repository)
    else:
        assert "tracked" in git_state(repository).changed
    assert not canary.exists()


@pytest.mark.parametrize("words", ["status", "diff"])
def test_the_traps_of_these_tests_do_snap_under_plain_git(words: str, repository: Path, tmp_path: Path) -> None:
    canary, program = trap(tmp_path)
    (repository / ".gitattributes").write_text("* filter=x\n")
    git(repository, "config", "filter.x.clean", str(program))
    (repository / "tracked").write_text("two\n")
    git(repository, words)
    assert canary.exists()


def test_settings_that_hide_changes_have_no_word(repository: Path) -> None:
    git(repository, "config", "status.showUntrackedFiles", "no")
    git(repository, "config", "core.excludesFile", str(repository / "tracked"))
    (repository / "tracked").write_text("*\n")
    (repository / "new").touch()
    assert git_state(repository).changed == ("tracked", "new")


def test_a_damaged_repository_is_one_clear_error(tmp_path: Path) -> None:
    (made(tmp_path / "around") / "inner" / ".git").mkdir(parents=True)
    with pytest.raises(ResolveError, match="git cannot use this repository") as caught:
        git_state(tmp_path / "around" / "inner")
    assert caught.value.position is not None
    assert caught.value.position.path == str(tmp_path / "around" / "inner")


def test_a_repository_of_somebody_else_is_one_clear_error_until_the_user_allows_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(_git.ENVIRONMENT, "GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    git(repository, "config", "safe.directory", "*")
    with pytest.raises(ResolveError, match="belongs to another user") as caught:
        git_state(repository)
    assert f"safe.directory {repository}" in caught.value.advice
    (tmp_path / ".gitconfig").write_text(f"[safe]\ndirectory = {repository}\n")
    assert git_state(repository).branch == "main"
