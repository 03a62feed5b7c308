"""Requests and approvals travel through real Git repositories, and nothing else there is touched or believed."""

from __future__ import annotations

import hashlib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import ResolveError
from opsascode.repo import ASKS_REF, Mailbox

if TYPE_CHECKING:
    from pathlib import Path

RUN = "20261121-120000-abcdef"


def git(place: Path, *words: str, data: bytes | None = None) -> str:
    environment = {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@localhost", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@localhost",
    }  # fmt: skip
    done = subprocess.run(["git", *words], cwd=place, env=environment, input=data, capture_output=True, check=True)
    return done.stdout.decode()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
    seed = tmp_path / "seed"
    git(tmp_path, "init", "--quiet", "--initial-branch=main", "seed")
    (seed / "file").write_text("content\n")
    git(seed, "add", "file")
    git(seed, "commit", "--quiet", "-m", "first")
    git(seed, "push", "--quiet", "../remote.git", "main")
    return tmp_path / "remote.git"


def clone(remote: Path, name: str) -> Path:
    git(remote.parent, "clone", "--quiet", str(remote), name)
    return remote.parent / name


def mailbox(place: Path, remote: str | None = "origin") -> Mailbox:
    found = Mailbox.of(place, remote)
    assert found is not None
    return found


def refs(place: Path) -> set[str]:
    return set(git(place, "for-each-ref", "--format=%(refname) %(objectname)").splitlines())


def test_what_one_leaves_the_other_finds(remote: Path) -> None:
    ours, theirs = mailbox(clone(remote, "one")), mailbox(clone(remote, "two"))
    ours.post_request(RUN, "0.1", b"please")
    theirs.fetch()
    assert [(each.run, each.name, each.content) for each in theirs.requests(RUN)] == [(RUN, "0.1", b"please")]
    theirs.post_approval(RUN, "sha256:" + digest(b"yes"), b"yes")
    assert ours.approvals(RUN) == ()
    ours.fetch()
    assert [each.content for each in ours.approvals(RUN)] == [b"yes"]
    assert ours.approvals("20261121-120000-other") == ()
    assert ours.requests("20261121-120000-other") == ()


def test_without_a_remote_it_stays_in_this_clone(remote: Path) -> None:
    place = clone(remote, "one")
    mailbox(place, None).post_request(RUN, "0.1", b"please")
    assert len(mailbox(place, None).requests()) == 1
    assert ASKS_REF not in git(remote, "for-each-ref")


def test_two_clones_that_race_lose_nothing(remote: Path) -> None:
    places = [clone(remote, f"clone-{number}") for number in range(4)]
    said = [(place, f"{place.name} {number}".encode()) for place in places for number in range(4)]

    def leave(each: tuple[Path, bytes]) -> None:
        place, content = each
        mailbox(place).post_approval(RUN, digest(content), content)

    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(leave, said))
    reader = mailbox(clone(remote, "reader"))
    reader.fetch()
    assert {each.content for each in reader.approvals(RUN)} == {content for _, content in said}
    # append-only: no commit of the chain lacks what an earlier one had
    commits = git(remote, "rev-list", "--topo-order", ASKS_REF).split()
    for commit in commits:
        for parent in git(remote, "rev-list", "--parents", "-1", commit).split()[1:]:
            gone = git(remote, "diff-tree", "-r", "--diff-filter=DM", parent, commit)
            assert gone == ""


def test_what_could_not_be_pushed_goes_along_with_the_next_post(remote: Path) -> None:
    place = clone(remote, "one")
    remote.rename(remote.with_name("away.git"))
    with pytest.raises(ResolveError, match="origin cannot be read"):
        mailbox(place).post_approval(RUN, digest(b"one"), b"one")
    remote.with_name("away.git").rename(remote)
    mailbox(place, None).post_approval(RUN, digest(b"two"), b"two")
    mailbox(place).post_approval(RUN, digest(b"three"), b"three")
    other = mailbox(clone(remote, "two"))
    other.fetch()
    assert {each.content for each in other.approvals(RUN)} == {b"two", b"three"}


def test_work_tree_index_and_other_refs_are_not_touched(remote: Path) -> None:
    one, two = clone(remote, "one"), clone(remote, "two")
    (one / "file").write_text("changed\n")
    (one / "staged").write_text("staged\n")
    git(one, "add", "staged")
    index = (one / ".git" / "index").read_bytes()
    before = refs(one)
    mailbox(two).post_request(RUN, "0.1", b"please")
    mailbox(one).post_approval(RUN, digest(b"yes"), b"yes")
    mailbox(one).fetch()
    assert (one / ".git" / "index").read_bytes() == index
    assert sorted(each.name for each in one.iterdir()) == [".git", "file", "staged"]
    assert not (one / ".git" / "FETCH_HEAD").exists()
    assert {each for each in refs(one) if "refs/opsascode/" not in each} == before
    assert {each.split()[0] for each in refs(one) - before} == {ASKS_REF, "refs/opsascode/remotes/origin/asks"}
    assert "refs/opsascode/remotes" not in git(remote, "for-each-ref")


def test_a_request_that_is_there_is_never_replaced(remote: Path) -> None:
    place = clone(remote, "one")
    mailbox(place).post_request(RUN, "0.1", b"first")
    mailbox(place).post_request(RUN, "0.1", b"second")
    assert [each.content for each in mailbox(place).requests(RUN)] == [b"first"]


def test_a_remote_whose_ref_was_taken_back_gets_everything_again(remote: Path) -> None:
    place = clone(remote, "one")
    mailbox(place).post_approval(RUN, digest(b"yes"), b"yes")
    git(remote, "update-ref", "-d", ASKS_REF)
    mailbox(place).post_approval(RUN, digest(b"more"), b"more")
    other = mailbox(clone(remote, "two"))
    other.fetch()
    assert {each.content for each in other.approvals(RUN)} == {b"yes", b"more"}


@pytest.mark.parametrize("name", ["-x", "../x", "a b", "", "ext::sh -c id", "x\ny"])
def test_a_remote_is_a_name_and_nothing_else(remote: Path, name: str) -> None:
    with pytest.raises(ResolveError, match="not the name of a Git remote"):
        Mailbox.of(clone(remote, "one"), name)


@pytest.mark.parametrize(
    ("run", "stage"), [("../x", "0.1"), (RUN, "../0.1"), (RUN, "0.1\n"), ("-x", "0.1"), ("a/b", "0.1"), (RUN, "x")]
)
def test_names_that_could_lead_elsewhere_are_refused(remote: Path, run: str, stage: str) -> None:
    with pytest.raises(ResolveError, match="no name for a request"):
        mailbox(clone(remote, "one")).post_request(run, stage, b"x")


def test_nothing_a_repository_or_its_environment_says_is_executed(
    remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, proof = clone(remote, "one"), tmp_path / "executed"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {proof}\nexit 1\n")
    program.chmod(0o755)
    hooks = place / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for hook in ("pre-push", "reference-transaction", "post-index-change", "pre-commit"):
        (hooks / hook).symlink_to(program)
    for key in (
        "core.sshCommand", "core.fsmonitor", "core.hooksPath", "core.pager", "gpg.program", "gpg.ssh.program",
        "remote.origin.uploadpack", "remote.origin.receivepack", "credential.helper", "core.askPass", "core.gitProxy",
        "core.editor", "uploadpack.packObjectsHook", "core.alternateRefsCommand",
    ):  # fmt: skip
        git(place, "config", key, str(hooks if key == "core.hooksPath" else program))
    git(place, "config", "commit.gpgSign", "true")
    git(place, "config", "push.gpgSign", "if-asked")
    for name in ("GIT_SSH_COMMAND", "GIT_SSH", "GIT_ASKPASS", "GIT_EDITOR", "GIT_PROXY_COMMAND", "GIT_EXEC_PATH"):
        monkeypatch.setenv(name, str(program))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    mailbox(place).post_approval(RUN, digest(b"yes"), b"yes")
    mailbox(place).fetch()
    git(place, "config", "remote.origin.url", "nobody@127.0.0.1:nowhere.git")
    with pytest.raises(ResolveError):
        mailbox(place).fetch()
    git(place, "config", "remote.origin.url", f"ext::{program}")
    with pytest.raises(ResolveError):
        mailbox(place).fetch()
    git(place, "config", "remote.origin.vcs", "ext")
    with pytest.raises(ResolveError):
        mailbox(place).fetch()
    assert not proof.exists()


def test_what_is_no_plain_file_of_ours_is_passed_over(remote: Path) -> None:
    place = clone(remote, "one")
    blob = git(place, "hash-object", "-w", "--stdin", data=b"x").strip()
    large = git(place, "hash-object", "-w", "--stdin", data=b"x" * 70000).strip()
    good, linked, big = (digest(each) for each in (b"good", b"link", b"big"))
    lines = [
        f"100644 blob {blob}\tapprovals/{RUN}/{good}.json",
        f"120000 blob {blob}\tapprovals/{RUN}/{linked}.json",
        f"100644 blob {large}\tapprovals/{RUN}/{big}.json",
        f"100644 blob {blob}\tapprovals/{RUN}/readme",
        f"100644 blob {blob}\telsewhere/{good}.json",
    ]
    git(place, "update-index", "--add", "--index-info", data="".join(f"{line}\n" for line in lines).encode())
    tree = git(place, "write-tree").strip()
    commit = git(place, "commit-tree", "-m", "junk", tree).strip()
    git(place, "push", "--quiet", "origin", f"{commit}:{ASKS_REF}")
    git(place, "reset", "--quiet", "--hard")
    box = mailbox(place)
    box.fetch()
    assert [each.name for each in box.approvals(RUN)] == [good]
    box.post_approval(RUN, digest(b"more"), b"more")
    assert len(box.approvals(RUN)) == 2
    assert "readme" in git(remote, "ls-tree", "-r", "--name-only", ASKS_REF)  # what is not ours is not taken away


def test_outside_git_there_is_no_mailbox(tmp_path: Path) -> None:
    assert Mailbox.of(tmp_path, "origin") is None


def test_a_remote_nobody_knows_is_a_clear_refusal(remote: Path) -> None:
    with pytest.raises(ResolveError, match="there is no Git remote upstream"):
        mailbox(clone(remote, "one"), "upstream").fetch()
