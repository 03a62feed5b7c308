"""Runs that ask people, through the installed command: real keys of ssh-keygen, real terminals, real Git remotes."""

from __future__ import annotations

import base64
import json
import os
import pwd
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.proof import armor, parse_strict, pre_authentication
from tests.acceptance.test_command_line import at_terminal
from tests.sshd import ssh_agent
from tests.trust import (
    HANDS,
    PERSONS,
    apply_pack,
    install,
    person,
    pin_root,
    role,
    team_root,
    with_roles,
    without_role,
    write_key,
)
from tests.world import Answer, World, new_world

if TYPE_CHECKING:
    from collections.abc import Callable

ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
ROLE = "incident-commander"
BEFORE = f"{{required: 2, role: {ROLE}, expires: 4h}}"
GREET = "- {id: greet, task: {ansible.builtin.debug: {msg: hello}}}"
PAUSED = f"""
- {{id: first, task: {{ansible.builtin.debug: {{msg: before}}}}}}
- {{id: sure, approval: {{required: 1, role: {ROLE}, message: Is the canary fine?}}}}
- {{id: last, task: {{ansible.builtin.debug: {{msg: after}}}}}}
"""


class Team:
    """A world with a trust root of people, and their keys in files beside it; alice is who runs the tests."""

    def __init__(self, world: World, *accounts: str) -> None:
        self.world, self.keys = world, world.home / "keys"
        for name in ("alice", "bob", "carol", "dave"):
            write_key(HANDS[name], self.keys / name)
        self.root = team_root(
            persons=(person("alice", accounts=accounts or (ACCOUNT,)), *PERSONS[1:]),
            roles=with_roles(role(ROLE, 1, "alice", "bob", "carol"), of=without_role("policy-approver")),
        )
        self.world.runbook("deploy", GREET, targets="{hosts: web1}", approval=BEFORE)
        self.world.runbook("paused", PAUSED, targets="{hosts: web1}")
        self.digest = install(self.world, self.root, apply=True)

    def public(self, name: str) -> str:
        return (self.keys / f"{name}.pub").read_text().strip()

    def approve(self, what: object, name: str, *words: str) -> Answer:
        return self.world.ops("approve", str(what), "--as", name, "--key", self.keys / name, "-y", *words)

    def waiting(self, runbook: str = "deploy") -> str:
        """Start a run that must wait, and give its id."""
        answer = self.world.ops("run", runbook, "-y")
        assert answer.code == 4, answer.out + answer.err
        return self.runs()[-1]

    def runs(self) -> list[str]:
        return sorted(each.name for each in (self.world.state / "runs").iterdir())

    def shown(self, run: str) -> Any:
        return self.world.ops("runs", "show", run, "--format", "json").json


@pytest.fixture
def team(world: World) -> Team:
    return Team(world)


def test_a_run_waits_for_two_people_exits_4_and_goes_on(team: Team) -> None:
    answer = team.world.ops("run", "deploy")
    (run,) = team.runs()
    told = answer.out + answer.err
    assert answer.code == 4
    assert f"0 of 2 approvals; 2 more people with the role {ROLE} must approve (of bob, carol)" in told
    assert f"opsascode approve {run}" in told
    assert f"opsascode runs resume {run}" in told

    first = team.approve(run, "bob")
    assert first.code == 0
    assert "approved by bob" in first.out
    assert f"started by  {ACCOUNT}" in first.out
    assert "wave 1 of 1: 1 host: web1" in first.out
    again = team.world.ops("runs", "resume", run)
    assert again.code == 4
    assert "1 of 2 approvals" in again.out + again.err

    assert team.approve(run, "carol").code == 0
    done = team.world.ops("runs", "resume", run)
    assert done.code == 0, done.out + done.err
    assert "hello" in done.out
    assert team.runs() == [run]
    assert team.shown(run)["outcome"] == "succeeded"
    assert team.world.ops("verify", run).code == 0


def test_an_approval_in_the_middle_of_a_run(team: Team) -> None:
    run = team.waiting("paused")
    shown = team.approve(run, "bob", "--reason", "the canary is fine")
    assert "| Is the canary fine?" in shown.out
    done = team.world.ops("runs", "resume", run)
    assert done.code == 0, done.out + done.err
    assert "after" in done.out
    assert "before" not in done.out  # what was done is not done again
    assert "the canary is fine" in json.dumps(team.shown(run))


@pytest.mark.parametrize(
    ("name", "why"),
    [("alice", "alice started this, and cannot approve it"), ("dave", f"does not have the role {ROLE}")],
)
def test_who_may_not_is_told_before_signing(team: Team, name: str, why: str) -> None:
    run = team.waiting()
    answer = team.approve(run, name)
    assert answer.code == 4
    assert why in answer.err
    assert not (team.world.state / "runs" / run / "approvals").exists()


def test_what_the_requester_signs_before_the_run_is_not_counted(team: Team, tmp_path: Path) -> None:
    """Nobody has started a plan that lies in a file, so Alice may sign it; the run knows who started it."""
    plan = tmp_path / "plan.json"
    assert team.world.ops("plan", "deploy", "--out", plan).code == 0
    for name in ("alice", "bob"):
        assert team.approve(plan, name).code == 0
    answer = team.world.ops("run", plan)
    assert answer.code == 4
    assert "alice started this and cannot approve it" in answer.out + answer.err
    assert "1 of 2 approvals" in answer.out + answer.err


def test_a_refusal_ends_the_run_with_its_reason(team: Team) -> None:
    run = team.waiting()
    assert team.approve(run, "bob").code == 0
    answer = team.world.ops("approve", run, "--key", team.keys / "carol", "--decline", "-y")
    assert answer.code == 2
    assert "needs a reason" in answer.err
    assert team.approve(run, "carol", "--decline", "--reason", "the window is closed").code == 0
    done = team.world.ops("runs", "resume", run)
    assert done.code == 4
    assert "declined by carol: the window is closed" in done.out + done.err
    assert "hello" not in done.out
    assert team.shown(run)["outcome"] == "canceled"


def test_an_answer_travels_as_a_file(team: Team, tmp_path: Path) -> None:
    run = team.waiting()
    request = team.world.state / "runs" / run / "asks" / "0.1.json"
    files = []
    for name in ("bob", "carol"):
        other = replace(team.world, environment={"XDG_STATE_HOME": str(tmp_path / name)})  # another machine
        pin_root(other, team.digest)
        copy = tmp_path / f"{name}-request.json"
        copy.write_bytes(request.read_bytes())
        out = tmp_path / f"{name}.json"
        answer = other.ops("approve", copy, "--key", team.keys / name, "--out", out, "-y")
        assert answer.code == 0, answer.err
        files += ["--approval", str(out)]
    done = team.world.ops("runs", "resume", run, *files)
    assert done.code == 0, done.out + done.err


def test_a_request_somebody_changed_is_not_signed(team: Team, tmp_path: Path) -> None:
    run = team.waiting()
    written = (team.world.state / "runs" / run / "asks" / "0.1.json").read_text()
    for before, after, why in (
        ('"web1"', '"web2"', "another plan than it holds"),
        ('"required":2', '"required":1', ""),
        ('"repository":"test-repository"', '"repository":"fork"', "asked by the repository 'fork'"),
    ):
        changed = tmp_path / "request.json"
        changed.write_text(written.replace(before, after, 1))
        assert changed.read_text() != written
        answer = team.world.ops("approve", changed, "--key", team.keys / "bob", "--out", tmp_path / "out", "-y")
        assert answer.code in {2, 4}
        assert why in answer.err
        assert not (tmp_path / "out").exists()


def test_a_plan_is_approved_before_any_run_and_its_approval_lets_one_run_pass(team: Team, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    assert team.world.ops("plan", "deploy", "--out", plan).code == 0
    for name in ("bob", "carol"):
        answer = team.approve(plan, name)
        assert answer.code == 0, answer.err
        assert "none yet: it counts for the first run of this plan" in answer.out
    done = team.world.ops("run", plan)
    assert done.code == 0, done.out + done.err
    second = team.world.ops("run", plan)
    assert second.code == 4
    assert "was used by another run already" in second.out + second.err


def test_a_plan_that_was_approved_and_then_changed_is_not_run_on_that_approval(team: Team, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    assert team.world.ops("plan", "deploy", "--out", plan).code == 0
    files = []
    for name in ("bob", "carol"):
        assert team.approve(plan, name, "--out", str(tmp_path / name)).code == 0
        files += ["--approval", str(tmp_path / name)]
    team.world.runbook("deploy", GREET.replace("hello", "goodbye"), targets="{hosts: web1}", approval=BEFORE)
    team.world.commit()
    answer = team.world.ops("run", "deploy", *files)
    assert answer.code == 4
    assert "is for another plan" in answer.out + answer.err
    assert "goodbye" not in answer.out


def test_an_approval_that_has_run_out_is_no_approval(team: Team) -> None:
    team.world.runbook("quick", GREET, targets="{hosts: web1}", approval=f"{{required: 1, role: {ROLE}, expires: 1s}}")
    team.world.commit()
    run = team.waiting("quick")
    assert team.approve(run, "bob").code == 0
    time.sleep(1.5)
    answer = team.world.ops("runs", "resume", run)
    assert answer.code == 4
    assert "the approval of bob expired" in answer.out + answer.err


def test_an_account_that_belongs_to_nobody_cannot_be_let_through(world: World) -> None:
    team = Team(world, "elsewhere")
    run = team.waiting()
    assert team.approve(run, "bob").code == 0
    assert team.approve(run, "carol").code == 0
    answer = team.world.ops("runs", "resume", run)
    told = answer.out + answer.err
    assert answer.code == 4
    assert f"the account '{ACCOUNT}' started this, and no person of the trust root has it" in told
    assert "add it to the accounts of its person" in told


def test_an_approval_can_be_verified_without_opsascode(team: Team, tmp_path: Path) -> None:
    run = team.waiting()
    out = tmp_path / "approval.json"
    assert team.approve(run, "bob", "--out", str(out)).code == 0
    envelope = json.loads(out.read_text())
    payload = base64.b64decode(envelope["payload"])
    (tmp_path / "sig").write_text(armor(base64.b64decode(envelope["signatures"][0]["sig"])))
    (tmp_path / "allowed").write_text(f"bob {team.public('bob')}\n")
    told = subprocess.run(
        [
            "ssh-keygen",
            "-Y",
            "verify",
            "-f",
            tmp_path / "allowed",
            "-n",
            "approval@opsascode",
            "-I",
            "bob",
            "-s",
            tmp_path / "sig",
        ],
        input=pre_authentication(envelope["payloadType"], payload),
        capture_output=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    statement: Any = parse_strict(payload)
    assert statement["predicateType"] == "urn:opsascode:approval:v1"
    assert statement["predicate"]["run"] == run
    assert statement["subject"][0]["digest"]["sha256"] == team.shown(run)["start"]["plan"].removeprefix("sha256:")


# Through Git, from another machine


def clone_of(team: Team, tmp_path: Path, name: str) -> World:
    """Another person's machine: a clone of their own, a home of their own, a key in ~/.ssh."""
    home = tmp_path / name
    home.mkdir()
    made = World(home=home)
    subprocess.run(["git", "clone", "--quiet", tmp_path / "remote.git", made.root], check=True, env=made.variables())
    (home / ".ssh").mkdir()
    for suffix in ("", ".pub"):
        (home / ".ssh" / f"id_ed25519{suffix}").write_bytes((team.keys / f"{name}{suffix}").read_bytes())
    (home / ".ssh" / "id_ed25519").chmod(0o600)
    pin_root(made, team.digest)
    return made


@pytest.fixture
def remote(team: Team, tmp_path: Path) -> Team:
    settings = team.world.root / "opsascode.yml"
    settings.write_text(settings.read_text().replace("spec: {", "spec: {approvals: {remote: origin}, "))
    team.world.commit()
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", tmp_path / "remote.git"], check=True)
    team.world.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    team.world.git("push", "--quiet", "origin", "main")
    apply_pack(team.world)
    return team


def test_two_people_approve_from_their_own_machines_through_git(remote: Team, tmp_path: Path) -> None:
    run = remote.waiting()
    before = remote.world.git("status", "--porcelain=v2", "--branch")
    for name in ("bob", "carol"):
        theirs = clone_of(remote, tmp_path, name)
        waits = theirs.ops("approve", "--list")
        assert run in waits.out
        answer = theirs.ops("approve", run, "-y")  # person and key are found in ~/.ssh
        assert answer.code == 0, answer.err
        assert f"approved by {name}" in answer.out
        assert "Git remote origin" in answer.out
        assert theirs.git("status", "--porcelain") == ""
    done = remote.world.ops("runs", "resume", run)
    assert done.code == 0, done.out + done.err
    assert remote.world.git("status", "--porcelain=v2", "--branch") == before
    assert "nothing waits" in remote.world.ops("approve", "--list").out


def test_a_remote_that_cannot_be_reached_is_told_and_nothing_is_lost(remote: Team, tmp_path: Path) -> None:
    (tmp_path / "remote.git").rename(tmp_path / "away.git")
    run = remote.waiting()
    answer = remote.approve(run, "bob")
    assert answer.code == 0
    assert "the Git remote origin cannot be read" in answer.err
    assert remote.approve(run, "carol").code == 0
    assert remote.world.ops("runs", "resume", run).code == 0


def test_the_list_says_what_waits_for_whom(team: Team) -> None:
    assert "nothing waits" in team.world.ops("approve", "--list").out
    run = team.waiting()
    assert team.approve(run, "bob").code == 0
    shown = team.world.ops("approve", "--list")
    assert shown.code == 0
    assert f"waits for carol: opsascode approve {run}" in shown.out
    (waiting,) = team.world.ops("approve", "--list", "--format", "json").json
    assert waiting["approved_by"] == ["bob"]
    assert waiting["waits_for"] == ["carol"]
    assert waiting["ask"]["required"] == 2


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("nosuch",), 2, "no run 'nosuch' asks anything"),
        (("RUN", "--as", "mallory"), 2, "knows no mallory"),
        (("RUN", "--as", "bob"), 2, "no key of bob is in ~/.ssh or ssh-agent"),
        (("RUN", "--key", "KEYS/nosuch"), 2, "no key that the trust root lists"),
        (("RUN", "--as", "bob", "--key", "KEYS/carol"), 2, "is no key of bob"),
        (("RUN", "--key", "KEYS/bob"), 2, "say -y"),
        (("RUN", "--key", "KEYS/bob", "-y", "--stage", "3.1"), 2, "about stage 3.1"),
        (("RUN", "--key", "KEYS/bob", "-y", "--out", "no/such/place"), 2, "no/such/place"),
        (("opsascode.yml", "-y"), 2, "plan file"),
        (("RUN", "--key", "KEYS/bob", "-y", "--reason", "x" * 2001), 2, "2001 characters"),
    ],
)
def test_a_mistake_is_one_sentence(shared_team: tuple[Team, str], words: tuple[str, ...], code: int, why: str) -> None:
    team, run = shared_team
    answer = team.world.ops("approve", *(each.replace("KEYS", str(team.keys)).replace("RUN", run) for each in words))
    assert answer.code == code
    assert why in answer.err
    assert "Traceback" not in answer.err
    assert not (team.world.state / "runs" / run / "approvals").exists()


@pytest.fixture(scope="module")
def shared_team(tmp_path_factory: pytest.TempPathFactory) -> tuple[Team, str]:
    team = Team(new_world(tmp_path_factory.mktemp("approvals") / "home"))
    return team, team.waiting()


# Keys elsewhere than in a file without a passphrase


def test_a_key_in_ssh_agent_signs_where_only_the_public_half_lies(team: Team, tmp_path: Path) -> None:
    run = team.waiting()
    with ssh_agent(tmp_path, team.keys / "bob") as agent:
        (team.keys / "bob").rename(tmp_path / "elsewhere")
        by_file = team.world.ops("approve", run, "--key", team.keys / "bob.pub", "-y", SSH_AUTH_SOCK=agent)
        found = team.world.ops("approve", run, "--as", "bob", "-y", SSH_AUTH_SOCK=agent)
    assert by_file.code == 0, by_file.err
    assert found.code == 0, found.err
    assert "ssh-agent" in found.out


def test_ssh_keygen_asks_for_the_passphrase_at_the_terminal(team: Team) -> None:
    run = team.waiting()
    words = ("ssh-keygen", "-q", "-p", "-P", "", "-N", "a passphrase", "-f", team.keys / "bob")
    subprocess.run(words, check=True)
    seen = at_terminal(
        team.world, "approve", run, "--key", str(team.keys / "bob"),
        types={"Approve this? [y/N]": "y\n", "Enter passphrase": "a passphrase\n"},
    )  # fmt: skip
    assert seen.code == 0, seen.screen
    assert "approved by bob" in seen.screen
    no_terminal = team.world.ops("approve", run, "--key", team.keys / "bob", "-y")
    assert no_terminal.code == 2
    assert "ssh-keygen did not sign" in no_terminal.err


def test_no_at_the_prompt_signs_nothing(team: Team) -> None:
    run = team.waiting()
    seen = at_terminal(team.world, "approve", run, "--key", str(team.keys / "bob"), types={"[y/N]": "n\n"})
    assert seen.code == 4
    assert "nothing was signed" in seen.screen
    assert not (team.world.state / "runs" / run / "approvals").exists()


# At the terminal where the run waits


def meanwhile(team: Team, act: Callable[[str], None]) -> threading.Thread:
    """Do something elsewhere as soon as a run has asked."""

    def wait() -> None:
        runs = team.world.state / "runs"
        while not (asked := list(runs.glob("*/asks/*.json")) if runs.is_dir() else []):
            time.sleep(0.1)
        act(asked[0].parent.parent.name)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_the_terminal_shows_answers_from_elsewhere_as_they_arrive(team: Team) -> None:
    def both(run: str) -> None:
        for name in ("bob", "carol"):
            assert team.approve(run, name).code == 0

    thread = meanwhile(team, both)
    seen = at_terminal(team.world, "run", "deploy", "-y")
    thread.join()
    assert seen.code == 0, seen.screen
    assert "The run waits for approval" in seen.screen
    assert "opsascode approve " in seen.screen
    assert "Who may: bob, carol" in seen.screen
    assert "approved by bob" in seen.screen
    assert "approved by carol" in seen.screen  # on a busy machine both may arrive between two looks
    assert "hello" in seen.screen or "succeeded" in seen.screen


def test_others_may_sign_at_the_same_terminal(team: Team) -> None:
    seen = at_terminal(
        team.world, "run", "deploy", "-y",
        types={
            "0 of 2 approvals": f"alice {team.keys}/alice\nbob {team.keys}/bob\n",
            "Approve as bob": "y\n",
            "1 of 2 approvals": f"carol {team.keys}/carol\n",
            "Approve as carol": "y\n",
        },
    )  # fmt: skip
    assert seen.code == 0, seen.screen
    assert "alice started this, and cannot approve it" in seen.screen


def test_a_refusal_at_the_terminal(team: Team) -> None:
    seen = at_terminal(
        team.world, "run", "deploy", "-y",
        types={"0 of 2": f"decline bob {team.keys}/bob\n", "Decline as bob": "y\n", "Reason:": "not on a Friday\n"},
    )  # fmt: skip
    assert seen.code == 4
    assert "declined by bob: not on a Friday" in seen.screen
    assert "hello" not in seen.screen


def test_ctrl_c_while_a_run_waits_stops_it(team: Team) -> None:
    begin = time.monotonic()
    seen = at_terminal(team.world, "run", "deploy", "-y", types={"0 of 2 approvals": "\x03"})
    assert seen.code == 130, seen.screen
    assert time.monotonic() - begin < 30
    (run,) = team.runs()
    assert team.shown(run)["outcome"] == "canceled"


def test_a_run_whose_controller_is_killed_while_it_waits_goes_on_with_what_was_approved(team: Team) -> None:
    process: list[int] = []

    def kill(run: str) -> None:
        assert team.approve(run, "bob").code == 0
        life = [int(each) for each in _controllers(team.world.root)]
        process.extend(life)
        for pid in life:
            os.kill(pid, signal.SIGKILL)

    thread = meanwhile(team, kill)
    at_terminal(team.world, "run", "deploy", "-y")
    thread.join()
    assert process
    (run,) = team.runs()
    assert team.approve(run, "carol").code == 0
    done = team.world.ops("runs", "resume", run)
    assert done.code == 0, done.out + done.err


def _controllers(root: Path) -> list[str]:
    """The processes of `opsascode run` that work in this test's own repository."""
    found = []
    for place in Path("/proc").iterdir():
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            if (place / "cwd").readlink() == root and b"run" in words and any(b"opsascode" in each for each in words):
                found.append(place.name)
        except (OSError, ValueError):
            continue
    return found


# Manual steps


def manual(team: Team, note: str) -> None:
    team.world.runbook(
        "byhand",
        f"""
        - {{id: turn, title: Turn the key, manual: {{instructions: "Go to the rack\\nand turn it", note: {note}}}}}
        - {{id: greet, task: {{ansible.builtin.debug: {{msg: hello}}}}}}
        """,
        targets="{hosts: web1}",
    )
    team.world.commit()


def test_a_manual_step_is_shown_and_confirmed_with_a_note(team: Team) -> None:
    manual(team, "required")
    waits = team.world.ops("run", "byhand")
    assert waits.code == 4
    assert "confirm it at a terminal" in waits.out + waits.err
    (run,) = team.runs()
    assert team.world.ops("approve", run, "--key", team.keys / "bob", "-y").code == 2
    seen = at_terminal(
        team.world, "runs", "resume", run, types={"Is it done?": "y\n", "Note (needed):": "\nturned at ten\n"}
    )
    assert seen.code == 0, seen.screen
    assert "| and turn it" in seen.screen
    assert "turned at ten" in json.dumps(team.shown(run))


def test_a_manual_step_may_be_refused_with_a_reason(team: Team) -> None:
    manual(team, "optional")
    seen = at_terminal(team.world, "run", "byhand", "-y", types={"Is it done?": "n\n", "Why not?": "the key is lost\n"})
    assert seen.code == 4
    assert "the key is lost" in seen.screen
    (run,) = team.runs()
    assert team.shown(run)["outcome"] == "canceled"


# What is shown


def test_nothing_in_a_plan_moves_the_cursor_of_who_approves(team: Team) -> None:
    team.world.runbook(
        "hostile",
        r"""
        - {id: sure, title: "harmless \e[2J\e[1;1H", approval: {required: 1, message: "fine \u202e erom"}}
        - {id: greet, title: "x\x9b2J", task: {ansible.builtin.debug: {msg: hello}}}
        """,
        targets="{hosts: web1}",
    )
    team.world.commit()
    run = team.waiting("hostile")
    shown = team.approve(run, "bob", "--reason", "\x1b[2J ok")
    assert shown.code == 0
    for text in (shown.out, team.world.ops("approve", "--list").out, team.world.ops("runs", "resume", run).out):
        assert not {"\x1b", "\u202e", "\x9b"} & set(text)
