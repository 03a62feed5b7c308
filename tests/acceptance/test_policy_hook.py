"""A plain Git server whose pre-receive hook judges pushes: real `git push`, over the file and the SSH transport."""

from __future__ import annotations

import getpass
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from opsascode.policy import ChangeStatement, Said, effects_of
from opsascode.proof import payload_digest, statement_payload
from opsascode.repo import ATTESTATIONS_REF, Attestations, ObjectStore
from opsascode.run import TransitionJudge
from tests.sshd import ssh_hosts
from tests.trust import HANDS, install, next_root, signed, team_root, with_roles, write_key, write_root
from tests.world import Answer, World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opsascode.run import Judgement
    from tests.sshd import SshHosts

MAIN = "refs/heads/main"
ROOT = team_root(roles=tuple(each for each in with_roles() if each.name != "policy-approver"))
PACK = """
    apiVersion: opsascode/v1
    kind: Guardrail
    metadata: {name: small-steps}
    spec:
      applies_to: {runbooks: [deploy]}
      require: {max_hosts: %d}
      reason: A mistake must stay small.
    """


@dataclass(kw_only=True)
class Server:
    """A clone, and a bare repository with the hook, reached over one of the transports."""

    world: World
    bare: Path
    digest: str
    environment: dict[str, str] = field(default_factory=dict)

    def git(self, *words: str, **environment: str) -> Answer:
        done = subprocess.run(
            ["git", *words],
            cwd=self.world.root,
            env={**self.world.variables(), **self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Answer(code=done.returncode, out=done.stdout, err=done.stderr)

    def push(self, *refs: str, **environment: str) -> Answer:
        return self.git("push", "--quiet", "origin", *refs, **environment)

    def at(self, ref: str = MAIN) -> str:
        """Where a ref stands at the server."""
        told = subprocess.run(
            ["git", "rev-parse", "--verify", "-q", ref], cwd=self.bare, capture_output=True, text=True, check=False
        )
        return told.stdout.strip()

    def pack(self, max_hosts: int, **files: str) -> str:
        """Commit a guardrail that allows so many hosts."""
        self.world.write("policies/limits.yml", PACK % max_hosts)
        for name, text in files.items():
            self.world.write(name, text)
        return self.world.commit(f"{max_hosts} hosts")

    def judged(self, base: str, head: str) -> Judgement:
        store = ObjectStore.of(self.world.root)
        judge = TransitionJudge(store=store, pin=self.digest, now=datetime.now(UTC), attestations=lambda _: ())
        return judge.judge(base, head)

    def say(self, name: str, said: Said, judgement: Judgement) -> None:
        """Leave in this clone what a person signs about a change."""
        now = datetime.now(UTC).replace(microsecond=0)
        statement = ChangeStatement(
            person=name,
            decision=said,
            change=judgement.decision.change,
            reason="INC-1",
            effects=effects_of(judgement.decision.classification.diff),
            issued=now,
            expires=now + timedelta(hours=1),
            nonce="0" * 32,
        )
        envelope = HANDS[name].envelop(statement_payload(statement.statement()))
        here = Attestations.of(self.world.root, None)
        assert here is not None
        here.post(judgement.decision.change.target_scope, payload_digest(envelope), envelope)

    def agree(self, base: str, head: str, *approvers: str, proposer: str = "alice") -> None:
        judgement = self.judged(base, head)
        self.say(proposer, Said.PROPOSE, judgement)
        for name in approvers:
            self.say(name, Said.APPROVE, judgement)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHosts]:
    with ssh_hosts(tmp_path_factory.mktemp("sshd"), "server") as hosts:
        yield hosts


def new_server(home: Path, *, digest: str | None = None) -> Server:
    world = new_world(home / "home")
    world.write("policies/limits.yml", PACK % 10)
    made = install(world, ROOT)
    bare = home / "ops.git"
    world.git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    world.git("remote", "add", "origin", str(bare))
    done = world.ops("policy", "hook", "install", str(bare), "--root", digest or made)
    assert done.code == 0, done.err
    return Server(world=world, bare=bare, digest=made)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Server:
    made = new_server(tmp_path_factory.mktemp("server"))
    assert made.push("main").code == 0
    made.pack(5)
    assert made.push("main").code == 0
    return made


@pytest.fixture
def server(made_once: Server, tmp_path: Path) -> Server:
    """Reached as a file, with the trust root on it and a pack of 10 hosts, then one of 5; a copy for each test."""
    shutil.copytree(made_once.bare.parent, tmp_path, dirs_exist_ok=True, symlinks=True)
    made = Server(world=World(home=tmp_path / "home"), bare=tmp_path / "ops.git", digest=made_once.digest)
    made.world.git("remote", "set-url", "origin", str(made.bare))
    return made


@pytest.fixture(params=["file", pytest.param("ssh", marks=pytest.mark.ssh)])
def any_server(server: Server, request: pytest.FixtureRequest) -> Server:
    if request.param == "ssh":
        hosts = request.getfixturevalue("sshd")
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{hosts.ports['server']}{server.bare}"
        server.world.git("remote", "set-url", "origin", url)
        server.environment["GIT_SSH_COMMAND"] = f"ssh -oBatchMode=yes -i {hosts.key} {hosts.arguments()}"
    return server


def assert_refused(server: Server, done: Answer, before: str, *words: str, ref: str = MAIN) -> None:
    assert done.code != 0
    assert server.at(ref) == before
    assert "pre-receive hook declined" in done.err
    said = [line for line in done.err.splitlines() if line.startswith("remote: ") and line.strip() != "remote:"]
    assert said
    assert all(line.startswith("remote: opsascode: ") for line in said), done.err
    text = " ".join(line.removeprefix("remote: opsascode: ").strip() for line in said)
    for word in words:
        assert word in text


def test_the_honest_way(any_server: Server) -> None:
    server = any_server
    newest = server.pack(3, docs="x")
    assert server.push("main").code == 0
    assert server.at() == newest
    server.world.git("switch", "--quiet", "-c", "feature", "HEAD~1")
    server.pack(50)
    assert server.push("feature", "--tags").code == 0  # whatever a branch that is not protected holds
    server.world.git("commit", "--quiet", "--amend", "-m", "other")
    assert server.push("+feature").code == 0
    assert server.push(":feature").code == 0


def test_a_lone_revert_is_refused_with_what_was_found(any_server: Server) -> None:
    server, before = any_server, any_server.at()
    server.world.git("revert", "--no-edit", "HEAD")
    done = server.push("main")
    assert_refused(
        server, done, before, "E_UNDECLARED_ROLLBACK", "policies/limits.yml", "rollback", "next: others look"
    )


def test_a_force_push_is_a_rollback(any_server: Server) -> None:
    server, before = any_server, any_server.at()
    server.world.git("reset", "--quiet", "--hard", "HEAD~1")
    assert_refused(server, server.push("+main"), before, "R0", "rollback")


def test_the_protected_ref_cannot_be_deleted(any_server: Server) -> None:
    server, before = any_server, any_server.at()
    assert_refused(server, server.push(":main"), before, "E_REF", "cannot be deleted")


def test_two_others_let_it_pass_and_it_may_come_in_one_push(any_server: Server) -> None:
    server, before = any_server, any_server.at()
    server.world.git("revert", "--no-edit", "HEAD")
    tip = server.world.git("rev-parse", "HEAD").strip()
    server.agree(before, tip, "bob")
    assert_refused(server, server.push("main", ATTESTATIONS_REF), before, "E_THRESHOLD")
    assert server.at(ATTESTATIONS_REF) == ""
    server.agree(before, tip, "carol")
    assert server.push("main", ATTESTATIONS_REF).code == 0
    assert server.at() == tip


def test_approvals_may_come_before_and_after_a_first_try(any_server: Server) -> None:
    server, before = any_server, any_server.at()
    server.world.git("revert", "--no-edit", "HEAD")
    tip = server.world.git("rev-parse", "HEAD").strip()
    server.agree(before, tip, "bob")
    assert server.push(ATTESTATIONS_REF).code == 0
    assert_refused(server, server.push("main"), before, "E_THRESHOLD")
    server.agree(before, tip, "dave")
    assert server.push(ATTESTATIONS_REF).code == 0
    assert server.push("main").code == 0
    assert server.at() == tip


def test_one_more_byte_than_was_approved_is_refused(server: Server) -> None:
    before = server.at()
    server.world.git("revert", "--no-edit", "HEAD")
    server.agree(before, server.world.git("rev-parse", "HEAD").strip(), "bob", "carol")
    server.world.write("policies/limits.yml", PACK % 10 + "# one more\n")
    server.world.git("commit", "--quiet", "--all", "--amend", "--no-edit")
    assert_refused(server, server.push("main", ATTESTATIONS_REF), before, "E_")


def test_what_was_signed_only_grows(any_server: Server) -> None:
    server, before = any_server, any_server.at()
    server.world.git("revert", "--no-edit", "HEAD")
    tip = server.world.git("rev-parse", "HEAD").strip()
    server.agree(before, tip, "bob")
    assert server.push(ATTESTATIONS_REF).code == 0
    there = server.at(ATTESTATIONS_REF)
    done = server.push(f":{ATTESTATIONS_REF}")
    assert_refused(server, done, there, "E_REF", "deleted", ref=ATTESTATIONS_REF)
    empty = server.world.git("hash-object", "-t", "tree", "-w", "/dev/null").strip()
    alone = server.world.git("commit-tree", "-m", "x", empty).strip()
    done = server.push(f"+{alone}:{ATTESTATIONS_REF}")
    assert_refused(server, done, there, "E_REF", "replaced", ref=ATTESTATIONS_REF)
    after = server.world.git("commit-tree", "-m", "x", "-p", there, empty).strip()
    done = server.push(f"{after}:{ATTESTATIONS_REF}")
    assert_refused(server, done, there, "E_REF", "changed or removed", ref=ATTESTATIONS_REF)
    server.say("carol", Said.APPROVE, server.judged(before, tip))
    assert server.push(ATTESTATIONS_REF).code == 0


def test_all_of_a_push_or_nothing(server: Server) -> None:
    before = server.at()
    server.world.git("branch", "feature")
    server.world.git("revert", "--no-edit", "HEAD")
    assert_refused(server, server.push("main", "feature"), before, "E_UNDECLARED_ROLLBACK")
    assert server.at("refs/heads/feature") == ""


def test_many_refs_at_once_are_read_at_once(server: Server) -> None:
    names = [f"refs/heads/many-{number}" for number in range(300)]
    tip = server.pack(4)
    lines = "".join(f"create {name} {tip}\n" for name in names)
    subprocess.run(["git", "update-ref", "--stdin"], cwd=server.world.root, input=lines.encode(), check=True)
    began = time.monotonic()
    assert server.push("main", *names).code == 0
    assert time.monotonic() - began < 10
    assert server.at(names[-1]) == server.at() == tip


def test_a_name_that_stands_for_the_protected_ref_is_that_ref(server: Server) -> None:
    before = server.at()
    subprocess.run(["git", "symbolic-ref", "refs/heads/alias", MAIN], cwd=server.bare, check=True)
    server.world.git("revert", "--no-edit", "HEAD")
    assert_refused(server, server.push("main:alias"), before, "E_UNDECLARED_ROLLBACK")


def test_a_merge_that_drops_what_is_there_is_refused(server: Server) -> None:
    before = server.at()
    server.world.git("switch", "--quiet", "-c", "old", "HEAD~1")
    server.world.git("merge", "--quiet", "-s", "ours", "-m", "looks harmless", "main")
    assert_refused(server, server.push("old:main"), before, "E_UNDECLARED_ROLLBACK")


def test_the_trust_root_travels_alone(server: Server) -> None:
    before = server.at()
    write_root(
        server.world,
        signed(
            next_root(ROOT, expires=datetime(2098, 1, 1, tzinfo=UTC)),
        ),
        2,
    )
    server.pack(4)
    assert_refused(server, server.push("main"), before, "E_MIXED_TRUST_CHANGE")
    server.world.git("reset", "--quiet", "--hard", before)
    write_root(server.world, signed(next_root(ROOT, expires=datetime(2098, 1, 1, tzinfo=UTC))), 2)
    tip = server.world.commit("trust root 2")
    assert server.push("main").code == 0
    assert server.at() == tip


def test_a_looser_trust_root_waits_a_day_from_when_it_is_first_seen(server: Server) -> None:
    before = server.at()
    looser = next_root(ROOT, protected=("policies/**", "opsascode.yml"))
    write_root(server.world, signed(looser), 2)
    tip = server.world.commit("trust root 2")
    assert_refused(server, server.push("main"), before, "E_COOL_DOWN", "first seen here")
    assert_refused(server, server.push("main"), before, "E_COOL_DOWN")
    seen = server.bare / "opsascode" / "seen.json"
    began = datetime.now(UTC) - timedelta(hours=25)
    seen.write_text(seen.read_text().replace(f"{datetime.now(UTC):%Y-%m-%d}", f"{began:%Y-%m-%d}"))
    subprocess.run(["sed", "-i", f"s/T[0-9:.]*+00:00/T{began:%H:%M:%S}+00:00/", seen], check=True)
    assert server.push("main").code == 0
    assert server.at() == tip


def test_a_trust_root_that_one_person_signed_changes_nothing(server: Server) -> None:
    lax = next_root(ROOT, ref="refs/heads/elsewhere")
    write_root(server.world, signed(lax, HANDS["alice"]), 2)
    before = server.world.commit("trust root 2, to be signed by others")
    assert server.push("main").code == 0  # a proposal lies where it will stand
    server.world.git("revert", "--no-edit", "HEAD~1")
    assert_refused(server, server.push("main"), before, "E_UNDECLARED_ROLLBACK")
    assert_refused(server, server.push(":main"), before, "cannot be deleted")


def test_the_trust_root_cannot_be_taken_away(server: Server) -> None:
    before = server.at()
    server.world.git("rm", "-r", "--quiet", "policies/trust")
    server.world.commit("no more rules")
    assert_refused(server, server.push("main"), before, "E_")
    server.world.git("switch", "--quiet", "--orphan", "fresh")
    server.world.write("README", "begin anew")
    server.world.commit("begin anew")
    assert_refused(server, server.push("+fresh:main"), before, "E_")


def test_a_link_in_a_protected_place_is_refused(server: Server) -> None:
    before = server.at()
    (server.world.root / "policies" / "more.yml").symlink_to("/etc/passwd")
    server.world.commit("a link")
    assert_refused(server, server.push("main"), before, "E_MODE")


def test_objects_that_are_none_are_refused_by_git_itself(server: Server) -> None:
    before = server.at()
    blob = server.world.git("hash-object", "-w", "/dev/null").strip()
    tree = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
        cwd=server.world.root, input=b"100644 ..\0" + bytes.fromhex(blob), capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip
    commit = server.world.git("commit-tree", "-p", before, "-m", "x", tree).strip()
    done = server.push(f"{commit}:main")
    assert done.code != 0
    assert server.at() == before
    assert "fsck" in done.err.lower() or "index-pack" in done.err or "unpack" in done.err


def test_another_trust_root_than_the_pinned_one_is_never_taken(tmp_path: Path) -> None:
    server = new_server(tmp_path, digest="sha256:" + "1" * 64)
    assert_refused(server, server.push("main"), "", "E_ROOT_PIN")
    server.world.git("rm", "-r", "--quiet", "policies/trust")
    server.world.commit("without")
    assert server.push("main:refs/heads/feature").code == 0


def test_a_ref_comes_into_being_with_the_pinned_trust_root(tmp_path: Path) -> None:
    server = new_server(tmp_path)
    done = server.push("main")
    assert done.code == 0
    assert f"is protected from now on by the trust root {server.digest}" in done.err


def signing(server: Server, name: str, *, tmp: Path) -> dict[str, str]:
    """The environment in which git signs pushes with a person's key."""
    key = write_key(HANDS[name], tmp / "keys" / name)
    settings = {"gpg.format": "ssh", "user.signingKey": str(key), "push.gpgSign": "true"}
    numbered = enumerate(settings.items())
    pairs = {
        f"GIT_CONFIG_{part}_{number}": word
        for number, pair in numbered
        for part, word in zip(("KEY", "VALUE"), pair, strict=True)
    }
    return {"GIT_CONFIG_COUNT": str(len(settings)), **pairs}


def test_whoever_signs_the_push_is_no_approver_of_it(any_server: Server, tmp_path: Path) -> None:
    server, before = any_server, any_server.at()
    done = server.world.ops("policy", "hook", "install", str(server.bare), "--root", server.digest, "--signed-pushes")
    assert done.code == 0, done.err
    server.world.git("revert", "--no-edit", "HEAD")
    tip = server.world.git("rev-parse", "HEAD").strip()
    server.agree(before, tip, "bob", "carol")
    by_carol = signing(server, "carol", tmp=tmp_path)
    assert_refused(server, server.push("main", ATTESTATIONS_REF, **by_carol), before, "E_SELF_APPROVAL", "carol")
    by_dave = signing(server, "dave", tmp=tmp_path)
    assert server.push("main", ATTESTATIONS_REF, **by_dave).code == 0
    assert server.at() == tip


def test_who_the_web_server_says_pushes_is_no_approver_of_it(server: Server) -> None:
    before = server.at()
    server.world.git("revert", "--no-edit", "HEAD")
    server.agree(before, server.world.git("rev-parse", "HEAD").strip(), "bob", "carol")
    done = server.push("main", ATTESTATIONS_REF, REMOTE_USER="carol")
    assert_refused(server, done, before, "E_SELF_APPROVAL", "carol")
    assert server.push("main", ATTESTATIONS_REF, REMOTE_USER="dave").code == 0


@pytest.mark.ssh
def test_the_key_of_the_login_tells_who_pushes_where_sshd_says_it(server: Server, tmp_path: Path) -> None:
    before = server.at()
    told = tmp_path / "auth"
    told.write_text(f"publickey {HANDS['bob'].key.openssh()}\n")
    server.world.git("revert", "--no-edit", "HEAD")
    server.agree(before, server.world.git("rev-parse", "HEAD").strip(), "bob", "carol")
    done = server.push("main", ATTESTATIONS_REF, SSH_USER_AUTH=str(told))
    assert_refused(server, done, before, "E_SELF_APPROVAL", "bob")


def test_a_hook_of_somebody_else_stays(tmp_path: Path) -> None:
    server = new_server(tmp_path)
    hook = server.bare / "hooks" / "pre-receive"
    again = server.world.ops("policy", "hook", "install", str(server.bare), "--root", server.digest)
    assert again.code == 0, again.err
    hook.write_text("#!/bin/sh\nexit 0\n")
    done = server.world.ops("policy", "hook", "install", str(server.bare), "--root", server.digest)
    assert (done.code, hook.read_text()) == (2, "#!/bin/sh\nexit 0\n")
    assert "a hook of somebody else" in done.err


def test_an_installation_that_git_would_not_run_is_refused(tmp_path: Path) -> None:
    server = new_server(tmp_path)
    subprocess.run(["git", "config", "core.hooksPath", "/elsewhere"], cwd=server.bare, check=True)
    done = server.world.ops("policy", "hook", "install", str(server.bare), "--root", server.digest)
    assert done.code == 2
    assert "core.hooksPath" in done.err
    for words in (
        (str(tmp_path), "--root", server.digest),
        (str(server.bare), "--root", "sha256:x"),
        (str(server.bare), "--root", server.digest, "--opsascode", "/nowhere/opsascode"),
    ):
        assert server.world.ops("policy", "hook", "install", *words).code == 2


@pytest.mark.parametrize("content", [None, "", "sha256:abc\n", "x" * 100])
def test_without_its_pin_the_hook_takes_nothing(server: Server, content: str | None) -> None:
    before, pin = server.at(), server.bare / "hooks" / "opsascode.root"
    pin.unlink()
    if content is not None:
        pin.write_text(content)
    server.pack(4)
    assert server.push("main").code != 0
    assert server.at() == before


def test_outside_a_push_the_hook_says_so(server: Server) -> None:
    pin = server.bare / "hooks" / "opsascode.root"
    done = server.world.ops("policy", "hook", "receive", "--root-file", str(pin))
    assert done.code == 2
    assert "pre-receive hook" in done.err


def test_a_push_takes_less_than_a_second_more(server: Server) -> None:
    """Counted in processor time of everything the push starts, so that a busy machine does not matter."""

    def pushed(max_hosts: int) -> float:
        server.pack(max_hosts)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert server.push("main").code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    with_hook = min(pushed(number) for number in (4, 3, 2))
    hook = server.bare / "hooks" / "pre-receive"
    hook.rename(hook.with_name("away"))
    without = min(pushed(number) for number in (9, 8, 7))
    assert with_hook - without < 1, f"{with_hook:.2f} s with the hook, {without:.2f} s without"
