"""Policy packs from day to day: reading, comparing, applying, and what a run may be made of afterwards."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.people import ALICE, BOB, CAROL, DAVE
from tests.trust import (
    ROLES,
    apply_pack,
    install,
    next_root,
    role,
    signed,
    team_root,
    with_roles,
    write_key,
    write_root,
)
from tests.world import World, new_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import Answer


def pack(version: str, spec: str = "{}") -> str:
    return f"apiVersion: opsascode/v1\nkind: PolicyPack\nmetadata: {{name: pack, version: '{version}'}}\nspec: {spec}\n"


def guardrail(limit: int, name: str = "small-steps") -> str:
    return (
        f"apiVersion: opsascode/v1\nkind: Guardrail\nmetadata: {{name: {name}}}\n"
        f"spec:\n  require: {{max_hosts: {limit}}}\n  reason: A mistake must not take everything with it.\n"
    )


PUSH = """
    - id: push
      title: Bring the pack where it is enforced
      task: {ansible.builtin.copy: {src: '{{ pack_directory }}/policies/limits.yml', dest: '%s/{{ inventory_hostname }}.yml'}}
      undo: {task: {ansible.builtin.file: {path: '%s/{{ inventory_hostname }}.yml', state: absent}}}
    - id: seen
      title: It is enforced
      check: {command: "test ! -e %s/refuses", expect: {rc: [0]}}
"""


@dataclass(kw_only=True)
class Team:
    """A world in which a pack is applied, and bob may approve what dave writes."""

    world: World
    home: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home = self.world.home

    def commit(self, files: dict[str, str], message: str = "change") -> str:
        for path, text in files.items():
            self.world.write(path, text)
        return self.world.commit(message)

    def branch(self, name: str, files: dict[str, str]) -> str:
        self.world.git("switch", "--quiet", "-c", name, "main")
        commit = self.commit(files, name)
        self.world.git("switch", "--quiet", "main")
        return commit

    def say(self, name: str, what: str, *words: str | Path) -> Answer:
        return self.world.ops("approve", what, "--as", name, "--key", self.home / "keys" / name, "-y", *words)

    def merge(self, name: str) -> None:
        self.world.git("merge", "--quiet", "--no-ff", "-m", f"merge {name}", name)


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = new_world(tmp_path_factory.mktemp("packs"))
    for hand in (ALICE, BOB, CAROL, DAVE):
        write_key(hand, world.home / "keys" / hand.seed)
    for kind in ("AUTHOR", "COMMITTER"):
        world.environment[f"GIT_{kind}_EMAIL"] = "dave@example.org"
        world.environment[f"GIT_{kind}_NAME"] = "Dave"
    world.write("policies/pack.yml", pack("1.0.0"))
    world.write("policies/limits.yml", guardrail(4))
    world.runbook("hello", "- id: say\n  title: Say hello\n  task: {ansible.builtin.ping: {}}")
    install(world, team_root(), apply=True)
    return world


@pytest.fixture
def team(begun: World, tmp_path: Path) -> Team:
    shutil.copytree(begun.home, tmp_path / "home", symlinks=True)
    world = World(home=tmp_path / "home", environment=dict(begun.environment))
    settings = world.root / "opsascode.yml"
    settings.write_text(settings.read_text().replace(str(begun.home), str(world.home)))
    if world.git("status", "--porcelain").strip():
        world.commit("where the locks lie")
        apply_pack(world)
    return Team(world=world)


def test_reading_verbs_tell_versions_content_and_difference(team: Team) -> None:
    world = team.world
    team.commit({"policies/pack.yml": pack("1.1.0"), "policies/limits.yml": guardrail(3)}, "narrower")
    listed = world.ops("policy", "list", "--format", "json").json
    assert [(each["version"], bool(each["applied"])) for each in listed] == [("1.1.0", False), ("1.0.0", True)]
    text = world.ops("policy", "list").out
    assert "* 1.0.0" in text
    assert "never applied" in text
    shown = world.ops("policy", "show", "version:1.0.0")
    assert "policies/limits.yml: Guardrail small-steps" in shown.out
    difference = world.ops(
        "policy", "diff", "--from", "version:1.0.0", "--to", "version:1.1.0", "--format", "json"
    ).json
    (limit,) = [each for each in difference["changes"] if "max_hosts" in each["field"]]
    assert (limit["before"], limit["after"], limit["direction"]) == (4, 3, "stricter")
    assert "stricter" in world.ops("policy", "diff").out
    back = world.ops("policy", "diff", "--from", "version:1.1.0", "--to", "applied")
    assert "looser" in back.out
    status = world.ops("policy", "status")
    assert "1 change ahead" in status.out
    assert "version 1.0.0" in world.ops("status").out
    for wrong in ("version:9", "version:prev", "tag:none", "commit:ffffffff"):
        answer = world.ops("policy", "show", wrong)
        assert answer.code == 2, wrong
        assert "Traceback" not in answer.err


def test_only_the_applied_pack_is_enforced(team: Team) -> None:
    world = team.world
    assert world.ops("run", "hello", "-y").code == 0
    # What lies in the work tree decides nothing: neither a stricter nor a looser guardrail does.
    world.write("policies/limits.yml", guardrail(1))
    assert world.ops("run", "hello", "-y").code == 0
    (world.root / "policies" / "limits.yml").unlink()
    assert world.ops("run", "hello", "-y").code == 0
    world.git("checkout", "--quiet", "policies")
    team.commit({"policies/limits.yml": guardrail(1)})
    assert world.ops("run", "hello", "-y").code == 0
    apply_pack(world)
    refused = world.ops("run", "hello", "-y")
    assert refused.code == 4
    assert "small-steps" in refused.err


def test_a_protected_inventory_must_be_the_applied_one(team: Team, tmp_path: Path) -> None:
    world = team.world
    inventory = world.root / "inventories" / "local.yml"
    inventory.write_text(inventory.read_text().replace("web3: {}", "web3: {}, web4: {}"))
    changed = world.ops("run", "hello", "-y")
    assert changed.code == 4
    assert "inventories/local.yml is not as in the applied policy pack" in changed.err
    own = tmp_path / "own.ini"
    own.write_text("[web]\nweb1 ansible_connection=local\n")
    foreign = world.ops("run", "hello", "-i", own, "-y")
    assert foreign.code == 4
    assert "could hide hosts from guardrails" in foreign.err
    told = world.ops("plan", "hello", "--format", "json").json
    assert [each["code"] for each in told["verdict"]["reasons"]] == ["E_NOT_APPLIED"]


def test_nothing_runs_before_a_pack_is_applied(tmp_path: Path) -> None:
    world = new_world(tmp_path)
    world.runbook("hello", "- id: say\n  title: Say hello\n  task: {ansible.builtin.ping: {}}")
    install(world, team_root())
    refused = world.ops("run", "hello", "-y")
    assert refused.code == 4
    assert "no policy pack was applied yet" in refused.err
    assert "NOTHING is applied yet" in world.ops("policy", "status").out
    unsigned = world.ops("policy", "apply")
    assert unsigned.code == 4
    assert "E_THRESHOLD" in unsigned.err
    apply_pack(world)
    assert world.ops("run", "hello", "-y").code == 0


def test_a_pack_that_cannot_be_used_is_not_applied(team: Team) -> None:
    team.branch("broken", {"policies/more.yml": "kind: Guardrail\nspec: [\n"})
    said = team.say("bob", "broken", "--propose", "--reason", "x")
    assert said.code == 0, said.err
    assert "cannot be read" in said.out
    assert [team.say(name, "broken").code for name in ("alice", "carol")] == [0, 0]
    team.merge("broken")
    refused = team.world.ops("policy", "apply")
    assert refused.code == 3, refused.out + refused.err
    assert "policies/more.yml" in refused.err
    assert team.world.ops("run", "hello", "-y").code == 0


def test_who_shall_agree_is_shown_which_hosts_and_runbooks_it_reaches(team: Team) -> None:
    for_web = guardrail(2, "web-steps").replace("spec:\n", "spec:\n  applies_to: {groups: [web], runbooks: ['hel*']}\n")
    team.branch("narrower", {"policies/web.yml": for_web})
    said = team.say("bob", "narrower")
    assert "affects   3 hosts (web1, web2, web3); 1 runbook (hello)" in said.out
    team.branch("everywhere", {"policies/limits.yml": guardrail(3)})
    said = team.say("bob", "everywhere")
    assert "affects   4 hosts (db1, web1, web2, web3); 1 runbook (hello)" in said.out


def test_an_approval_goes_on_counting_while_the_base_moves_beside_it(team: Team) -> None:
    team.branch("narrower", {"policies/limits.yml": guardrail(3)})
    assert team.say("bob", "narrower").code == 0
    team.commit({"README.md": "nothing protected"}, "docs")
    team.merge("narrower")
    applied = team.world.ops("policy", "apply", "--format", "json")
    assert applied.code == 0, applied.out + applied.err
    assert applied.json["allowed_by"] == ["bob"]


def test_an_approval_dies_when_the_base_moves_within_what_is_protected(team: Team) -> None:
    team.branch("narrower", {"policies/limits.yml": guardrail(3)})
    assert team.say("bob", "narrower").code == 0
    team.commit({"policies/more.yml": guardrail(3, "more")}, "more")
    team.merge("narrower")
    refused = team.world.ops("policy", "apply")
    assert refused.code == 4
    assert "E_THRESHOLD" in refused.err


def test_several_changes_are_applied_in_one_go_each_by_its_own_approval(team: Team) -> None:
    for limit, name in ((3, "first"), (2, "second")):
        team.branch(name, {"policies/limits.yml": guardrail(limit), "policies/pack.yml": pack(f"1.{9 - limit}.0")})
        assert team.say("bob" if name == "first" else "carol", name).code == 0
        team.merge(name)
    applied = team.world.ops("policy", "apply", "--format", "json")
    assert applied.code == 0, applied.out + applied.err
    assert applied.json["allowed_by"] == ["bob", "carol"]
    assert len(applied.json["changes"]) == 2


def test_an_approval_can_travel_as_a_file_and_a_refusal_stops(team: Team, tmp_path: Path) -> None:
    team.branch("narrower", {"policies/limits.yml": guardrail(3)})
    file = tmp_path / "approval.json"
    assert team.say("bob", "narrower", "--out", file).code == 0
    team.merge("narrower")
    assert team.world.ops("policy", "apply").code == 4
    assert team.world.ops("policy", "apply", "--approval", file).code == 0
    team.branch("next", {"policies/limits.yml": guardrail(2)})
    waiting = team.world.ops("approve", "--list")
    assert "next  forward" in waiting.out
    assert "waits for alice, bob, carol" in waiting.out
    assert "dave" not in waiting.out.partition("waits for")[2].partition(":")[0]
    assert team.say("bob", "next").code == 0
    assert team.say("carol", "next", "--decline").code == 2
    assert team.say("carol", "next", "--decline", "--reason", "too narrow").code == 0
    team.merge("next")
    refused = team.world.ops("policy", "apply")
    assert refused.code == 4
    assert "E_DECLINED" in refused.err
    assert "too narrow" in refused.err


def test_the_bound_runbook_brings_the_pack_to_what_enforces_it_and_a_failure_applies_nothing(team: Team) -> None:
    world, place = team.world, team.home / "enforced"
    place.mkdir()
    steps = PUSH % ((str(place),) * 3)
    world.runbook("push-pack", steps, parameters="{pack_directory: {type: string}}")
    files = {"policies/limits.yml": guardrail(3), "policies/pack.yml": pack("1.1.0", "{enforce: {runbook: push-pack}}")}
    team.commit(files, "bound")
    apply_pack(world)
    assert {each.name for each in place.iterdir()} == {"web1.yml", "web2.yml", "web3.yml"}
    assert (place / "web1.yml").read_text() == guardrail(3)
    (newest, *_) = world.ops("policy", "history", "--format", "json").json
    assert newest["enforced_by"] == world.ops("runs", "show", "latest", "--format", "json").json["run"]
    (place / "refuses").touch()
    again = guardrail(3).replace("everything", "all of it")
    team.branch(
        "next",
        {"policies/limits.yml": again, "policies/pack.yml": pack("1.2.0", "{enforce: {runbook: push-pack}}")},
    )
    assert team.say("bob", "next").code == 0
    team.merge("next")
    failed = world.ops("policy", "apply")
    assert failed.code == 1, failed.out + failed.err
    assert "nothing is applied" in failed.err
    assert world.ops("policy", "history", "--format", "json").json[0]["version"] == "1.1.0"
    (place / "refuses").unlink()
    assert world.ops("policy", "apply").code == 0
    assert (place / "web1.yml").read_text() == again


def test_a_stricter_trust_root_is_taken_at_once_and_travels_alone(team: Team) -> None:
    world, first = team.world, team_root()
    fewer = tuple(each for each in ROLES if each.name != "run-approver")
    second = next_root(first, roles=(*fewer, role("run-approver", 1, "alice", "bob", "carol")))
    write_root(world, signed(second), 2)
    world.write("policies/limits.yml", guardrail(3))
    world.commit("root and more")
    mixed = world.ops("policy", "apply")
    assert mixed.code == 4
    assert "E_MIXED_TRUST_CHANGE" in mixed.err
    world.git("checkout", "--quiet", "HEAD~1", "--", "policies/limits.yml")
    world.commit("root alone")
    applied = world.ops("policy", "apply", "--format", "json")
    assert applied.code == 0, applied.out + applied.err
    assert applied.json["classes"] == ["trust"]
    assert applied.json["root_version"] == 2


def test_a_looser_trust_root_waits_a_day(team: Team) -> None:
    world, first = team.world, team_root()
    second = next_root(first, roles=with_roles(role("policy-approver", 1, "alice")))
    looser = next_root(first, roles=tuple(each for each in second.roles if each.name != "policy-approver"))
    write_root(world, signed(looser), 2)
    world.commit("nobody approves policies any more")
    waits = world.ops("policy", "apply")
    assert waits.code == 4
    assert "E_COOL_DOWN" in waits.err
    again = world.ops("policy", "apply")
    assert again.code == 4
    seen = [each for each in world.ops("ledger", "log", "--format", "json").json if "root-seen" in str(each)]
    assert len(seen) == 1


def test_the_check_of_a_pull_request_reports_and_annotates(team: Team, tmp_path: Path) -> None:
    team.branch("looser", {"policies/limits.yml": guardrail(40)})
    summary = tmp_path / "summary.md"
    pin = team.world.ops("trust", "show", "--format", "json").json["repository"]
    answer = team.world.ops(
        "policy", "verify", "--base", "main", "--head", "looser", "--root", pin, "--summary", summary, "--github",
        "--account", "github:dave-x",
    )  # fmt: skip
    assert answer.code == 4
    assert "::error file=policies/limits.yml,line=3,title=policy R7::" in answer.out
    report = summary.read_text()
    assert (
        "| looser | guardrail small-steps | `spec.require.max\\_hosts` | 4 | 40 |" in report or "| looser |" in report
    )
    assert "E_UNDECLARED_ROLLBACK" in report
    wrong = team.world.ops("policy", "verify", "--head", "looser", "--root", "sha256:" + "0" * 64)
    assert wrong.code == 5
    assert "E_ROOT_PIN" in wrong.err


def asked(world: World) -> str:
    """Start a run that asks, and name it."""
    assert world.ops("run", "asks", "-y").code == 4
    return str(world.ops("runs", "list", "--format", "json").json[0]["run"])


def test_a_looser_trust_root_approves_no_run_before_it_is_applied(team: Team) -> None:
    """A person who is added to the approvers of runs must wait; one who is taken away is gone at once."""
    world, first = team.world, team_root()
    world.runbook(
        "asks",
        "- id: go\n  approval: {required: 1}\n- id: say\n  title: Say hello\n  task: {ansible.builtin.ping: {}}",
    )
    world.commit("a runbook that asks")
    fewer = next_root(first, roles=with_roles(role("run-approver", 1, "alice", "bob", "dave")))
    write_root(world, signed(fewer), 2)
    world.commit("carol approves no runs any more")
    assert team.say("carol", asked(world)).code == 4
    assert world.ops("runs", "cancel").code == 0
    assert world.ops("policy", "apply").code == 0
    write_root(world, signed(next_root(fewer, roles=ROLES)), 3)
    world.commit("carol approves runs again")
    run = asked(world)
    refused = team.say("carol", run)
    assert refused.code == 4, refused
    assert "does not have the role" in refused.err
    assert team.say("bob", run).code == 0
