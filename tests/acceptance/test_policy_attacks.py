"""What a hostile insider tries through the installed command on a real repository: each from where the honest way passes.

Rows are those of the team's list of attacks; `tests/attacks/test_every_row.py` says which test shows which.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.test_policy_story import NAMES, Team, guardrail, pack
from tests.people import BOB
from tests.trust import (
    HANDS,
    approval_of_pack,
    install,
    next_root,
    pin_root,
    signed,
    team_root,
    without_role,
    write_key,
    write_root,
)
from tests.world import LOCAL_INVENTORY, World, new_world

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.world import Answer

FIRST, SECOND, THIRD = "20251014", "20251015", "20251016"
STEP = "- id: say\n  title: Say hello\n  task: {ansible.builtin.ping: {}}"


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Team:
    """A team that enforces at most 2 hosts; at most 1 is merged and approved, and waits to be applied."""
    team = Team(world=new_world(tmp_path_factory.mktemp("attacks")))
    world = team.world
    for name, hand in NAMES.items():
        write_key(hand, team.key(name))
    team.as_author("dave")
    world.write("policies/pack.yml", pack(FIRST))
    world.write("policies/limits.yml", guardrail(3))
    world.write("inventories/group_vars/all.yml", "greeting: hello\n")
    world.runbook("hello", STEP)
    install(world, team_root(), apply=True)
    for version, limit in ((SECOND, 2), (THIRD, 1)):
        branch = f"v{version}"
        team.change("dave", branch, {"policies/pack.yml": pack(version), "policies/limits.yml": guardrail(limit)})
        assert team.say("bob", branch).code == 0
        team.merge("dave", branch)
        if version == SECOND:
            assert team.apply().code == 0
    return team


@pytest.fixture
def team(begun: Team, tmp_path: Path) -> Team:
    shutil.copytree(begun.world.home, tmp_path / "home", symlinks=True)
    return Team(world=World(home=tmp_path / "home", environment=dict(begun.world.environment)))


def run(team: Team, hosts: str) -> Answer:
    return team.world.ops("run", "hello", "--limit", hosts, "-y")


def test_the_honest_way(team: Team) -> None:
    assert run(team, "web1,web2").code == 0
    assert run(team, "web").code == 4
    assert team.apply().code == 0
    assert team.applied() == THIRD
    assert run(team, "web1,web2").code == 4


# 26, 30, 31: Git's own ways to lie.


def _grafts(world: World) -> None:
    (world.root / ".git" / "info").mkdir(exist_ok=True)
    (world.root / ".git" / "info" / "grafts").write_text(world.git("rev-parse", "main"))


def _shallow(world: World) -> None:
    (world.root / ".git" / "shallow").write_text(world.git("rev-parse", "main~1"))


def _alternates(world: World) -> None:
    shutil.copytree(world.root / ".git" / "objects", world.home / "elsewhere")
    (world.root / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (world.root / ".git" / "objects" / "info" / "alternates").write_text(f"{world.home / 'elsewhere'}\n")


def _promised(world: World) -> None:
    world.git("config", "remote.origin.promisor", "true")
    world.git("config", "remote.origin.url", "../elsewhere")


UNSAFE = {"grafts": _grafts, "shallow": _shallow, "alternates": _alternates, "partial clone": _promised}


@pytest.mark.parametrize("name", UNSAFE)
def test_26_a_repository_that_is_not_whole_is_not_judged_and_nothing_runs_by_it(team: Team, name: str) -> None:
    UNSAFE[name](team.world)
    for words in (
        ("policy", "apply"),
        ("policy", "verify", "--head", f"v{THIRD}"),
        ("approve", f"v{THIRD}", "--as", "bob", "--key", team.key("bob"), "-y"),
        ("run", "hello", "--limit", "web1", "-y"),
    ):
        refused = team.world.ops(*words)
        assert refused.code == 5, refused
        assert "E_REPO_UNSAFE" in refused.err


def test_26_what_is_replaced_is_read_as_it_was(team: Team) -> None:
    world = team.world
    weak = world.home / "weak.yml"
    weak.write_text(guardrail(50))
    for commit in ("main", f"v{SECOND}"):
        old = world.git("rev-parse", f"{commit}:policies/limits.yml").strip()
        world.git("replace", old, world.git("hash-object", "-w", str(weak)).strip())
    assert "50" in world.git("show", f"v{SECOND}:policies/limits.yml")  # git itself is deceived
    assert run(team, "web").code == 4
    assert team.apply().code == 0
    assert run(team, "web1,web2").code == 4


def test_27_objects_with_other_content_under_their_names_are_found_out(team: Team) -> None:
    """As a collision would do it: Git reads an object of this name, and it holds something else."""
    world = team.world
    oid = world.git("rev-parse", f"v{SECOND}:policies/limits.yml").strip()
    place = world.root / ".git" / "objects" / oid[:2] / oid[2:]
    data = guardrail(50).encode()
    place.chmod(0o600)
    place.write_bytes(zlib.compress(b"blob %d\0" % len(data) + data))
    assert hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() != oid
    refused = run(team, "web1")
    assert refused.code == 5, refused
    assert "E_REPO" in refused.err


TRAPS = """
[core]
fsmonitor = {mark}
hooksPath = {hooks}
editor = {mark}
pager = {mark}
sshCommand = {mark}
alternateRefsCommand = {mark}
[gpg "ssh"]
program = {mark}
[gpg]
program = {mark}
format = ssh
[commit]
gpgSign = true
[user]
signingKey = x
[diff]
external = {mark}
[filter "x"]
clean = {mark}
smudge = {mark}
process = {mark}
required = true
[diff "x"]
textconv = {mark}
command = {mark}
[merge "x"]
driver = {mark}
[credential]
helper = {mark}
[interactive]
diffFilter = {mark}
"""
HOOKS = ("pre-commit", "post-commit", "post-checkout", "post-merge", "pre-merge-commit", "reference-transaction",
         "post-index-change", "pre-push", "fsmonitor-watchman", "pre-auto-gc", "commit-msg", "prepare-commit-msg")  # fmt: skip


def trap(world: World) -> Path:
    """A program that leaves a mark when anybody starts it."""
    mark, program = world.home / "mark", world.home / "trap"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >>{mark}\nexit 1\n')
    program.chmod(0o755)
    return mark


def all_verbs(team: Team) -> None:
    """Everything that reads Git, and in the end the honest way."""
    world = team.world
    for words in (
        ("policy", "status"), ("policy", "list"), ("policy", "history"), ("trust", "show"),
        ("policy", "diff", "--from", "version:prev", "--to", f"version:{THIRD}"),
        ("policy", "verify", "--head", "other", "--github"),
    ):  # fmt: skip
        assert world.ops(*words).code in {0, 4}, words
    assert team.say("bob", "other").code == 0
    assert world.ops("policy", "merge", "other").code == 0
    assert team.apply().code == 0
    assert team.applied() == THIRD
    assert run(team, "web1,web2").code == 4


def test_30_nothing_that_a_repository_configures_is_executed(team: Team) -> None:
    world = team.world
    team.change("dave", "other", {"policies/more.yml": guardrail(3, name="more")})
    mark, hooks = trap(world), world.home / "hooks"
    hooks.mkdir()
    for name in HOOKS:
        (hooks / name).symlink_to(world.home / "trap")
        (world.root / ".git" / "hooks").mkdir(exist_ok=True)
        (world.root / ".git" / "hooks" / name).unlink(missing_ok=True)
        (world.root / ".git" / "hooks" / name).symlink_to(world.home / "trap")
    (world.root / ".gitattributes").write_text(
        "* filter=x diff=x merge=x ident eol=crlf working-tree-encoding=UTF-16\n"
    )
    (world.root / ".git" / "info").mkdir(exist_ok=True)
    (world.root / ".git" / "info" / "attributes").write_text("* filter=x diff=x merge=x\n")
    with (world.root / ".git" / "config").open("a") as file:
        file.write(TRAPS.format(mark=world.home / "trap", hooks=hooks))
    subprocess.run(["git", "status"], cwd=world.root, env=world.variables(), capture_output=True, check=False)
    assert mark.exists()  # the traps do snap under plain git
    mark.unlink()
    all_verbs(team)
    assert not mark.exists(), mark.read_text()


def test_31_the_callers_environment_has_no_word(team: Team) -> None:
    world = team.world
    team.change("dave", "other", {"policies/more.yml": guardrail(3, name="more")})
    mark, wrong = trap(world), world.home / "wrong"
    subprocess.run(["git", "init", "--quiet", wrong], check=True)
    programs = world.home / "programs"
    programs.mkdir()
    for name in ("git", "sh", "env", "uname"):
        (programs / name).symlink_to(world.home / "trap")
    traces = world.home / "traces"
    traces.mkdir()
    world.environment |= {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "GIT_DIR": str(wrong / ".git"),
        "GIT_WORK_TREE": str(wrong),
        "GIT_INDEX_FILE": str(wrong / "index"),
        "GIT_OBJECT_DIRECTORY": str(wrong / ".git" / "objects"),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(wrong / ".git" / "objects"),
        "GIT_COMMON_DIR": str(wrong / ".git"),
        "GIT_NAMESPACE": "x",
        "GIT_REPLACE_REF_BASE": "refs/heads/",
        "GIT_GRAFT_FILE": str(world.home / "trap"),
        "GIT_SHALLOW_FILE": str(world.home / "trap"),
        "GIT_EXTERNAL_DIFF": str(world.home / "trap"),
        "GIT_SSH_COMMAND": str(world.home / "trap"),
        "GIT_ASKPASS": str(world.home / "trap"),
        "GIT_EDITOR": str(world.home / "trap"),
        "GIT_PAGER": str(world.home / "trap"),
        "GIT_EXEC_PATH": str(programs),
        "GIT_TEMPLATE_DIR": str(programs),
        "GIT_TRACE": str(traces / "trace"),
        "GIT_CONFIG_GLOBAL": str(world.home / "trap"),
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "core.fsmonitor",
        "GIT_CONFIG_VALUE_0": str(world.home / "trap"),
        "GIT_CONFIG_KEY_1": "core.hooksPath",
        "GIT_CONFIG_VALUE_1": str(programs),
        "GIT_CONFIG_PARAMETERS": f"'core.fsmonitor={world.home / 'trap'}'",
        # Every program that inherits these tells so, as one with a library of somebody's in LD_PRELOAD would not.
        "LD_DEBUG": "files",
        "LD_DEBUG_OUTPUT": str(traces / "loaded"),
    }
    all_verbs(team)
    assert not mark.exists(), mark.read_text()
    assert not (traces / "trace").exists()
    told = [each.read_text(errors="replace") for each in traces.glob("loaded.*")]
    assert told  # our own process inherits it, as nobody could prevent
    assert not [each for each in told if "transferring control: /usr/bin/git" in each or "/git-core/" in each]


# 28, 29: trees that Git would not write.


def raw_tree(world: World, *entries: tuple[str, bytes, str]) -> str:
    """Write a tree as bytes; nobody looks at its names."""
    data = b"".join(b"%b %b\0%b" % (mode.encode(), name, bytes.fromhex(oid)) for mode, name, oid in entries)
    return subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
        cwd=world.root, env=world.variables(), input=data, capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip


def with_entry(world: World, mode: str, name: bytes, oid: str) -> str:
    """Commit what main has, with one more entry in `policies/`; on a branch `odd`."""

    def listed(tree: str) -> list[tuple[str, bytes, str]]:
        lines = world.git("ls-tree", "-z", tree).split("\0")[:-1]
        found = [(*line.partition("\t")[0].split(" "), line.partition("\t")[2]) for line in lines]
        return [(each[0].removeprefix("0"), each[3].encode(), each[2]) for each in found]

    policies = raw_tree(world, *listed("main:policies"), (mode, name, oid))
    top = [(m, n, policies if n == b"policies" else o) for m, n, o in listed("main:")]
    commit = world.git("commit-tree", "-p", "main", "-m", "odd", raw_tree(world, *top)).strip()
    world.git("update-ref", "refs/heads/odd", commit)
    return commit


ODD: dict[str, tuple[str, bytes, str]] = {
    "a link": ("120000", b"zz.yml", "E_MODE"),
    "a submodule": ("160000", b"zz.yml", "E_MODE"),
    "a path that leads up": ("100644", b"..", "E_PATH"),
    "a path that leads into Git": ("100644", b".git", "E_PATH"),
    "a line break": ("100644", b"zz\nlimits.yml", "E_PATH"),
    "a text that turns": ("100644", "zz\u202elmy.yml".encode(), "E_PATH"),
    "no UTF-8": ("100644", b"zz\xff.yml", "E_PATH"),
    "the same in capitals": ("100644", b"zLIMITS.yml", ""),
    "twice": ("100644", b"limits.yml", "E_PATH"),
}


def _odd(team: Team, name: str) -> tuple[str, str]:
    world = team.world
    mode, path, code = ODD[name]
    content = world.home / "content"
    content.write_text(guardrail(1, name="zz"))
    oid = world.git("hash-object", "-w", str(content)).strip()
    return with_entry(world, mode, path, world.git("rev-parse", "main").strip() if mode == "160000" else oid), code


@pytest.mark.parametrize("name", ODD)
def test_28_29_a_tree_that_not_everybody_reads_the_same_is_refused(team: Team, name: str) -> None:
    world = team.world
    assert team.apply().code == 0
    commit, code = _odd(team, name)
    if not code:  # the honest variant: an ordinary name and mode, written in the same way
        assert team.say("bob", "odd").code == 0
        world.git("update-ref", "refs/heads/main", commit)
        assert team.apply().code == 0
        return
    for words in (
        ("policy", "verify", "--head", "odd"),
        ("approve", "odd", "--as", "bob", "--key", team.key("bob"), "-y"),
    ):
        refused = world.ops(*words)
        assert refused.code == 5, refused
        assert code in refused.err
        assert "\n" not in refused.err.partition(code)[0].strip()
        assert "\u202e" not in refused.err
    world.git("update-ref", "refs/heads/main", commit)
    assert code in team.apply().err
    assert team.applied() == THIRD


NAMES_OF_NOTHING = (
    "--upload-pack=x",
    "-c",
    "refs/heads/../main",
    "main@{1}",
    "main^{/x}",
    "a\nb",
    ":/fix",
    "main:policies",
)


@pytest.mark.parametrize("name", NAMES_OF_NOTHING)
def test_29_a_name_is_never_an_option_or_an_expression(team: Team, name: str) -> None:
    for words in (("policy", "verify", f"--head={name}"), ("policy", "apply", "--", name), ("approve", "--", name)):
        refused = team.world.ops(*words)
        assert refused.code == 2, refused
    assert team.applied() == SECOND


# 37: the work tree after the pack was applied.


def _gone(world: World) -> None:
    (world.root / "policies" / "limits.yml").unlink()


def _all_gone(world: World) -> None:
    shutil.rmtree(world.root / "policies")


def _looser(world: World) -> None:
    world.write("policies/limits.yml", guardrail(99))


def _broken(world: World) -> None:
    world.write("policies/limits.yml", "kind: [")


@pytest.mark.parametrize("edit", [_gone, _all_gone, _looser, _broken])
def test_37_guardrails_of_the_work_tree_mean_nothing(team: Team, edit: Callable[[World], None]) -> None:
    edit(team.world)
    assert run(team, "web1,web2").code == 0
    refused = run(team, "web")
    assert refused.code == 4, refused
    assert "small-steps" in refused.out + refused.err


def _host(world: World) -> None:
    world.write("inventories/local.yml", LOCAL_INVENTORY.replace("web3: {}", "web3: {}, web4: {}"))


def _variables(world: World) -> None:
    world.write("inventories/group_vars/all.yml", "greeting: goodbye\n")


def _more_variables(world: World) -> None:
    world.write("inventories/host_vars/web1.yml", "ansible_host: elsewhere.example.org\n")


def _linked_variables(world: World) -> None:
    (world.home / "vars").mkdir()
    (world.home / "vars" / "web1.yml").write_text("ansible_host: elsewhere.example.org\n")
    (world.root / "inventories" / "host_vars").symlink_to(world.home / "vars")


def _linked_file(world: World) -> None:
    place = world.root / "inventories" / "group_vars" / "all.yml"
    place.rename(world.home / "all.yml")
    place.symlink_to(world.home / "all.yml")


def _no_variables(world: World) -> None:
    shutil.rmtree(world.root / "inventories" / "group_vars")


def _other_inventory(world: World) -> None:
    world.write("other/hosts.yml", LOCAL_INVENTORY)
    world.write("opsascode.yml", (world.root / "opsascode.yml").read_text().replace("inventories/local", "other/hosts"))


EDITS = (_host, _variables, _more_variables, _linked_variables, _linked_file, _no_variables, _other_inventory)


@pytest.mark.parametrize("edit", EDITS)
def test_37_what_a_run_takes_from_the_work_tree_must_be_what_was_applied(
    team: Team, edit: Callable[[World], None]
) -> None:
    assert run(team, "web1").code == 0
    edit(team.world)
    refused = team.world.ops("run", "hello", "--limit", "web1", "-y", "--format", "json")
    assert refused.code == 4, refused
    assert "E_NOT_APPLIED" in refused.out


# 34: the settings say under which name a pin is looked up, and where the ledger lies.


def _renamed(world: World) -> None:
    world.write("opsascode.yml", (world.root / "opsascode.yml").read_text().replace("test-repository", "other"))


def _other_state(world: World) -> None:
    world.write("opsascode.yml", (world.root / "opsascode.yml").read_text().replace("spec: {", "spec: {state: .ops, "))


def _state_that_is_committed(world: World) -> None:
    """A whole state made elsewhere by an attacker, with a ledger and a key of theirs, and even the right pin."""
    _other_state(world)
    shutil.copytree(world.state, world.root / ".ops")
    (world.root / ".git" / "opsascode-moored.json").unlink()  # as in a fresh clone


def _pin_removed(world: World) -> None:
    (world.state / "trust.json").unlink()


def _pin_of_nobody(world: World) -> None:
    place = world.state / "trust.json"
    place.write_text(place.read_text().replace("test-repository", "other"))


def _pin_edited(world: World) -> None:
    place = world.state / "trust.json"
    found = json.loads(place.read_text())
    found["pins"]["test-repository"]["repository"] = "sha256:" + "0" * 64
    place.write_text(json.dumps(found))


def _pin_broken(world: World) -> None:
    (world.state / "trust.json").write_text("{")


def _mooring_broken(world: World) -> None:
    (world.root / ".git" / "opsascode-moored.json").write_text("{}")


@pytest.mark.parametrize("committed", [False, True], ids=["in the work tree", "pushed"])
@pytest.mark.parametrize("edit", [_renamed, _other_state, _state_that_is_committed])
def test_34_settings_do_not_lead_away_from_the_pin(team: Team, edit: Callable[[World], None], committed: bool) -> None:
    world = team.world
    assert run(team, "web").code == 4
    edit(world)
    if committed or edit is _state_that_is_committed:
        world.git("add", "--all", "--force")
        world.git("commit", "--quiet", "--message", "settings")
    _gone(world)
    for words in (("run", "hello", "--limit", "web", "-y"), ("policy", "apply"), ("policy", "status")):
        refused = world.ops(*words)
        assert refused.code == 5, refused
        assert "E_ROOT_PIN" in refused.err


@pytest.mark.parametrize("edit", [_pin_removed, _pin_of_nobody, _pin_edited, _pin_broken, _mooring_broken])
def test_22_without_its_pin_nothing_goes_on(team: Team, edit: Callable[[World], None]) -> None:
    edit(team.world)
    for words in (("run", "hello", "--limit", "web1", "-y"), ("policy", "apply")):
        refused = team.world.ops(*words)
        assert refused.code == 5, refused
        assert "E_ROOT_PIN" in refused.err


def test_22_a_new_pin_said_by_hand_is_believed_again(team: Team) -> None:
    digest = team.world.ops("trust", "show", "--format", "json").json["repository"]
    _pin_removed(team.world)
    assert run(team, "web1").code == 5
    assert team.world.ops("trust", "pin", digest).code == 0
    assert run(team, "web1").code == 0


def test_22_a_root_that_was_applied_is_the_oldest_that_counts(team: Team) -> None:
    """Somebody hides the newer version, and this machine's memory of it is lost: the ledger still knows."""
    world = team.world
    assert team.apply().code == 0
    before = world.git("rev-parse", "main").strip()
    write_root(world, signed(next_root(team_root(), roles=without_role("run-approver")), BOB, HANDS["carol"]), 2)
    team.as_author("alice")
    world.commit("trust root 2")
    assert team.apply().code == 0
    world.git("reset", "--quiet", "--hard", before)
    seen = json.loads((world.state / "trust.json").read_text())
    (world.state / "trust.json").write_text(json.dumps({**seen, "seen": {}}))
    world.runbook("asks", STEP, targets="{hosts: web1}", approval="{required: 1}")
    refused = world.ops("run", "asks", "-y")
    assert "E_ROOT_ROLLBACK" in refused.err, refused
    assert team.apply().code != 0


# 38, 39: the ledger's records of packs, and the receipts beside it.


def _segment(world: World) -> Path:
    return next((world.ledger / "segments").iterdir())


def _record_edited(world: World) -> None:
    lines = _segment(world).read_bytes().split(b"\n")
    at = max(number for number, line in enumerate(lines) if b'"payload"' in line)
    envelope = json.loads(lines[at])
    said = base64.b64decode(envelope["payload"]).replace(SECOND.encode(), FIRST.encode())
    envelope["payload"] = base64.b64encode(said).decode()
    lines[at] = json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()
    _segment(world).write_bytes(b"\n".join(lines))


def _record_removed(world: World) -> None:
    lines = _segment(world).read_bytes().split(b"\n")
    at = max(number for number, line in enumerate(lines) if b'"payload"' in line)
    _segment(world).write_bytes(b"\n".join(lines[:at]) + b"\n")


def _ledger_removed(world: World) -> None:
    shutil.rmtree(world.ledger)


LEDGER = {
    "edited": (_record_edited, {"E_SIGNATURE", "E_ENTRY_CHANGED"}),
    "removed with all behind it": (_record_removed, {"E_LEDGER_TRUNCATED"}),
    "removed with the whole ledger": (_ledger_removed, {"E_ORIGIN"}),
}


@pytest.mark.parametrize("name", LEDGER)
def test_38_39_the_record_of_the_applied_pack_stays_or_nothing_goes_on(team: Team, name: str) -> None:
    edit, codes = LEDGER[name]
    edit(team.world)
    assert run(team, "web1").code in {4, 5}
    world = team.world
    mine = world.home / "mine.json"
    mine.write_bytes(approval_of_pack(world, BOB)) if name == "removed with the whole ledger" else None
    refused = world.ops("policy", "apply", *(("--approval", mine) if mine.exists() else ()))
    assert refused.code == 5, refused
    assert any(code in refused.err for code in codes)


def test_39_a_ledger_that_is_gone_with_all_that_knew_it_is_no_way_back(team: Team) -> None:
    """Then this machine is a new one: nothing runs before somebody else approved what it shall begin with."""
    world = team.world
    shutil.rmtree(world.ledger)
    (world.state / "high-water").unlink()
    team.as_author("dave")
    world.write("policies/limits.yml", guardrail(50))
    world.commit("weak")
    nothing = run(team, "web")
    assert nothing.code == 4, nothing
    own = team.say("dave", "main")
    assert own.code == 4, own
    assert "E_SELF_APPROVAL" in own.err
    refused = team.apply()
    assert refused.code == 4, refused
    assert "E_THRESHOLD" in refused.err


Receipt = dict[str, Any]


def _envelopes(receipt: Receipt, folder: str) -> list[Receipt]:
    return [each for each in receipt["attachments"] if each["name"].startswith(folder)]


def _put(attachment: Receipt, data: bytes) -> None:
    attachment |= {"data": base64.b64encode(data).decode(), "sha256": hashlib.sha256(data).hexdigest()}


def _without_attestations(receipt: Receipt, team: Team) -> None:
    receipt["attachments"] = [each for each in receipt["attachments"] if not each["name"].startswith("attestations/")]


def _without_roots(receipt: Receipt, team: Team) -> None:
    receipt["attachments"] = [each for each in receipt["attachments"] if not each["name"].startswith("trust/")]


def _another_root(receipt: Receipt, team: Team) -> None:
    other = signed(team_root(salt="00" * 16))
    _put(_envelopes(receipt, "trust/")[0], other)


def _another_person(receipt: Receipt, team: Team) -> None:
    """The same words, signed by carol."""
    found = _envelopes(receipt, "attestations/")[0]
    payload = base64.b64decode(json.loads(base64.b64decode(found["data"]))["payload"])
    _put(found, HANDS["carol"].envelop(payload))


def _another_name(receipt: Receipt, team: Team) -> None:
    """The record says that carol allowed it."""
    envelope = json.loads(receipt["records"][0]["envelope"])
    said = base64.b64decode(envelope["payload"]).replace(b'"approved_by":["bob"]', b'"approved_by":["carol"]')
    envelope["payload"] = base64.b64encode(said).decode()
    receipt["records"][0]["envelope"] = json.dumps(envelope, sort_keys=True, separators=(",", ":"))


RECEIPTS = (_without_attestations, _without_roots, _another_root, _another_person, _another_name)


@pytest.mark.parametrize("edit", RECEIPTS)
def test_38_a_receipt_says_who_allowed_it_or_nothing(team: Team, edit: Callable[[Receipt, Team], None]) -> None:
    world = team.world
    told = world.ops("policy", "apply", "--format", "json").json
    digest = world.ops("trust", "show", "--format", "json").json["repository"]
    place = Path(told["receipt"])
    words = ("verify", place, "--key", world.public_key, "--root", digest)
    honest = world.ops(*words)
    assert (honest.code, "allowed by bob" in honest.out) == (0, True), honest
    receipt = json.loads(place.read_text())
    edit(receipt, team)
    place.write_text(json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    refused = world.ops(*words)
    assert refused.code == 5, refused
    assert "NOT VERIFIED" in refused.out + refused.err
    assert "allowed by carol" not in refused.out
    elsewhere = world.ops("verify", place, "--key", world.public_key, "--root", "sha256:" + "0" * 64)
    assert elsewhere.code == 5


# 12, 13, 15: an approval that is good elsewhere.


def _weak_and_approved(team: Team) -> tuple[Path, ...]:
    """A weaker policy on a branch, with everything signed that it needs, as files."""
    team.change("dave", "weak", {"policies/pack.yml": pack("20251017"), "policies/limits.yml": guardrail(9)})
    files = []
    for name, words in (("dave", ("--propose", "--reason", "x")), ("bob", ()), ("carol", ())):
        files.append(team.world.home / f"{name}.json")
        said = team.say(name, "weak", *words, "--out", str(files[-1]))
        assert said.code == 0, said.err
    return tuple(files)


def _given(files: tuple[Path, ...]) -> list[str]:
    return [word for each in files for word in ("--approval", str(each))]


def test_12_approvals_of_another_repository_with_the_same_objects_count_nothing(team: Team, tmp_path: Path) -> None:
    files = _weak_and_approved(team)
    verify = ("policy", "verify", "--head", "weak", *_given(files))
    assert team.world.ops(*verify).code == 0  # the honest variant
    shutil.copytree(team.world.home, tmp_path / "fork", symlinks=True)
    fork = World(home=tmp_path / "fork", environment=dict(team.world.environment))
    (fork.root / ".git" / "opsascode-moored.json").unlink()  # a clone of its own, on a machine of its own
    write_root(fork, signed(team_root(salt="00" * 16)))
    fork.git("commit", "--quiet", "--all", "--message", "another root")
    fork.git("switch", "--quiet", "weak")
    write_root(fork, signed(team_root(salt="00" * 16)))
    fork.git("commit", "--quiet", "--all", "--message", "another root")
    fork.git("switch", "--quiet", "main")
    digest = install(fork, team_root(salt="00" * 16), pin=False)
    pin_root(fork, digest)
    refused = fork.ops(*verify)
    assert refused.code == 4, refused
    assert "E_REPO" in refused.out


def test_13_approvals_for_one_branch_count_nothing_for_another(team: Team) -> None:
    files = _weak_and_approved(team)
    team.world.git("branch", "staging", "main")
    refused = team.world.ops("policy", "merge", "weak", "--into", "refs/heads/staging", *_given(files))
    assert refused.code == 4, refused
    assert "E_REF" in refused.err
    assert team.world.ops("policy", "merge", "weak", *_given(files)).code == 0


def test_15_approvals_die_when_the_base_moves_inside_of_what_is_protected(team: Team) -> None:
    files = _weak_and_approved(team)
    team.as_author("alice")
    team.world.write("README.md", "beside")
    team.world.commit("beside what is protected")
    assert team.world.ops("policy", "verify", "--head", "weak", *_given(files)).code == 0
    team.world.write("policies/more.yml", guardrail(3, name="more"))
    team.world.commit("inside")
    refused = team.world.ops("policy", "verify", "--head", "weak", *_given(files))
    assert refused.code == 4, refused
    assert {"E_TARGET", "E_BASE", "E_STALE"} & set(refused.out.replace(":", " ").split())


def test_16_the_same_approvals_allow_it_once(team: Team) -> None:
    files = _weak_and_approved(team)
    world = team.world
    assert team.apply().code == 0
    base = world.git("rev-parse", "main").strip()
    team.merge("alice", "weak")
    there = world.git("rev-parse", "main").strip()
    assert world.ops("policy", "apply", *_given(files)).code == 0
    unlocked = world.ops("policy", "unlock", "--reason", "x", "--as", "bob", "--key", team.key("bob"))
    assert unlocked.code in {0, 2}
    # Forward again with a new approval, and back once more with the old ones.
    team.change("dave", "strict", {"policies/pack.yml": pack("20251018"), "policies/limits.yml": guardrail(1)})
    assert team.say("bob", "strict").code == 0
    team.merge("dave", "strict")
    assert team.apply().code == 0
    for commit in (base, there):
        world.git("update-ref", "refs/heads/main", commit)
        refused = world.ops("policy", "apply", *_given(files))
        assert refused.code == 4, refused
        assert "R0" in refused.err or "R9" in refused.err
    assert team.applied() == "20251018"


# 43: two at once.


def test_43_two_who_apply_at_once_use_the_approvals_once(team: Team) -> None:
    world = team.world
    both = [world.start("policy", "apply", "--format", "json") for _ in range(4)]
    told = [each.communicate(timeout=120) for each in both]
    assert {each.returncode for each in both} == {0}, told
    events = sorted(json.loads(out)["event"] for out, _ in told)
    assert events == ["applied", "unchanged", "unchanged", "unchanged"]
    assert [each["version"] for each in world.ops("policy", "history", "--format", "json").json] == [
        THIRD,
        SECOND,
        FIRST,
    ]


# 48: what an attacker writes is shown, and does nothing.

HOSTILE = "\x1b[2J\u202e\x07"
COMMANDS = "::error::forged ##[add-mask]bob"
MARKUP = "[click](https://evil.example) ![x](https://evil.example/x.png) <b>@team</b> **allowed** `"


def _shown(answer: Answer) -> str:
    text = answer.out + answer.err
    assert not {*text} & {"\x1b", "\u202e", "\x07", "\r"}, text
    return text


def test_48_what_is_shown_to_those_who_decide_moves_nothing(team: Team) -> None:
    world = team.world
    written = f'"{MARKUP} {COMMANDS} \\e[2J\\u202e\\n::error::two"'
    hostile = guardrail(9).replace("spec:\n", f"spec:\n  applies_to: {{labels: {{team: {written}}}}}\n")
    team.change("dave", "hostile", {"policies/limits.yml": hostile, "policies/pack.yml": pack("20251017")})
    world.git("switch", "--quiet", "hostile")
    world.git("commit", "--quiet", "--amend", "--message", f"{HOSTILE} {COMMANDS}", "--cleanup=verbatim")
    world.git("switch", "--quiet", "main")
    summary = world.home / "summary.md"
    verified = world.ops("policy", "verify", "--head", "hostile", "--github", "--summary", summary)
    assert verified.code == 4
    assert "\\x1b[2J\\u202e" in _shown(verified)
    lines = verified.out.splitlines()
    assert all(
        line.startswith(("::error file=", "::error title=", "::warning title=")) for line in lines if "::" in line[:3]
    )
    assert not [line for line in lines if "##[" in line and not line.startswith("::")]
    report = summary.read_text()
    plain = re.sub(r"\\.", "", report)  # without what is escaped
    for markup in ("](", "![", "<b>", "@team", "**allowed**", "https://", "##["):
        assert markup not in plain, report
    for words in (("approve",), ("policy", "list"), ("policy", "diff", "--from", "applied", "--to", "hostile")):
        _shown(world.ops(*words))
    _shown(team.say("bob", "hostile", "--reason", HOSTILE))


def test_48_a_reason_that_moves_the_cursor_is_not_signed(team: Team) -> None:
    team.change("dave", "weak", {"policies/limits.yml": guardrail(9), "policies/pack.yml": pack("20251017")})
    refused = team.say("bob", "weak", "--reason", HOSTILE)
    assert refused.code != 0, refused
    _shown(refused)
    assert team.say("bob", "weak", "--reason", "fine").code == 0


def test_48_text_that_turns_is_refused_in_what_is_protected(team: Team) -> None:
    team.change("dave", "turned", {"inventories/local.yml": LOCAL_INVENTORY + "# \u202enif\n"})
    refused = team.world.ops("policy", "verify", "--head", "turned")
    assert refused.code == 4, refused
    assert "E_PARSE" in _shown(refused)


# 49: there is no way around.


def test_49_no_switch_skips_the_judgement(team: Team) -> None:
    for verb in ("apply", "merge", "verify", "rollback", "unlock", "break-glass"):
        told = team.world.ops("policy", verb, "--help").out
        assert not [
            word for word in ("--force", "--no-verify", "--skip", "--insecure", "--yes", "--trust") if word in told
        ]
    team.change("dave", "weak", {"policies/limits.yml": guardrail(9), "policies/pack.yml": pack("20251017")})
    team.merge("dave", "weak")
    switches = ("OPSASCODE_FORCE", "OPSASCODE_NO_VERIFY", "OPSASCODE_SKIP_POLICY", "NO_VERIFY", "SKIP", "CI", "DEBUG")
    assert team.world.ops("policy", "apply", "--force").code == 2
    refused = team.world.ops("policy", "apply", **dict.fromkeys(switches, "1"))
    assert refused.code == 4, refused
    assert "E_UNDECLARED_ROLLBACK" in refused.err
