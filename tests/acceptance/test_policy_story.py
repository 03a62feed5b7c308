"""The whole story: three versions are applied, one insider tries everything, two others allow a rollback.

Everything is real: Git, ssh-keygen, the installed command, the ledger. Each attempt starts where the honest way passes.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.people import ALICE, BOB, CAROL, DAVE
from tests.trust import install, pin_root, signed, team_root, write_key
from tests.world import World, new_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import Answer

VERSIONS = ("20251014", "20251015", "20251016")
LIMITS = (20, 15, 10)
NAMES = {"alice": ALICE, "bob": BOB, "carol": CAROL, "dave": DAVE}


def pack(version: str) -> str:
    return f"apiVersion: opsascode/v1\nkind: PolicyPack\nmetadata: {{name: pack, version: '{version}'}}\nspec: {{}}\n"


def guardrail(limit: int, *, name: str = "small-steps") -> str:
    return (
        f"apiVersion: opsascode/v1\nkind: Guardrail\nmetadata: {{name: {name}}}\n"
        f"spec:\n  require: {{max_hosts: {limit}}}\n  reason: A mistake must not take everything with it.\n"
    )


@dataclass(kw_only=True)
class Team:
    """A world with a team: each person commits under their own address and signs with their own key."""

    world: World

    def key(self, name: str) -> Path:
        return self.world.home / "keys" / name

    def as_author(self, name: str) -> None:
        for role in ("AUTHOR", "COMMITTER"):
            self.world.environment[f"GIT_{role}_NAME"] = name.capitalize()
            self.world.environment[f"GIT_{role}_EMAIL"] = f"{name}@example.org"

    def change(self, name: str, branch: str, files: dict[str, str | None]) -> str:
        """Commit a change of files on a branch of its own, off main."""
        self.as_author(name)
        self.world.git("switch", "--quiet", "-c", branch, "main")
        for path, text in files.items():
            if text is None:
                self.world.git("rm", "--quiet", path)
            else:
                self.world.write(path, text)
        commit = self.world.commit(f"{branch} by {name}")
        self.world.git("switch", "--quiet", "main")
        return commit

    def say(self, name: str, what: str, *words: str) -> Answer:
        return self.world.ops("approve", what, "--as", name, "--key", str(self.key(name)), "-y", *words)

    def merge(self, name: str, branch: str) -> None:
        """Merge as Git does, whoever may think what of it."""
        self.as_author(name)
        self.world.git("merge", "--quiet", "--no-ff", "-m", f"merge {branch}", branch)

    def apply(self, *words: str) -> Answer:
        return self.world.ops("policy", "apply", *words)

    def applied(self) -> str:
        return str(self.world.ops("policy", "history", "--format", "json").json[0]["version"])


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Team:
    """A team whose third version is applied."""
    team = Team(world=new_world(tmp_path_factory.mktemp("story")))
    for name, hand in NAMES.items():
        write_key(hand, team.key(name))
    team.as_author("dave")
    team.world.write("policies/pack.yml", pack(VERSIONS[0]))
    team.world.write("policies/limits.yml", guardrail(LIMITS[0]))
    pin_root(team.world, install(team.world, team_root(), pin=False))
    assert team.say("bob", "main", "--reason", "the first").code == 0
    assert team.apply("--reason", "begin").code == 0
    for version, limit in zip(VERSIONS[1:], LIMITS[1:], strict=True):
        branch = f"v{version}"
        team.change("dave", branch, {"policies/pack.yml": pack(version), "policies/limits.yml": guardrail(limit)})
        said = team.say("bob", branch)
        assert said.code == 0, said.err
        team.merge("dave", branch)
        applied = team.apply()
        assert applied.code == 0, applied.err
    return team


def test_three_versions_are_applied_with_who_allowed_them(begun: Team) -> None:
    told = begun.world.ops("policy", "history", "--format", "json").json
    assert [each["version"] for each in told] == ["20251016", "20251015", "20251014"]
    assert [each["allowed_by"] for each in told] == [["bob"], ["bob"], ["bob"]]


# One insider, dave: may push, may approve, has two keys. Each attempt is merged by Git as if nobody looked.


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What the insider does to the repository, and the words that must be in the refusal."""

    code: str
    level: str
    files: dict[str, str | None]


ATTEMPTS = {
    "exactly what was": Attempt(
        code="E_UNDECLARED_ROLLBACK",
        level="R1",
        files={"policies/pack.yml": pack(VERSIONS[1]), "policies/limits.yml": guardrail(LIMITS[1])},
    ),
    "bumped version": Attempt(
        code="E_UNDECLARED_ROLLBACK",
        level="R2",
        files={"policies/pack.yml": pack("20251017"), "policies/limits.yml": guardrail(LIMITS[1])},
    ),
    "other spelling": Attempt(
        code="E_UNDECLARED_ROLLBACK",
        level="R3",
        files={
            "policies/pack.yml": pack("20251017"),
            "policies/limits.yml": "# quite new\n"
            + guardrail(LIMITS[1]).replace("{max_hosts: 15}", "\n    max_hosts: 15"),
        },
    ),
    "renamed file": Attempt(
        code="E_UNDECLARED_ROLLBACK",
        level="R2",
        files={
            "policies/pack.yml": pack("20251017"),
            "policies/limits.yml": None,
            "policies/fresh.yml": guardrail(LIMITS[1]),
        },
    ),
    "renamed document": Attempt(
        code="E_UNDECLARED_ROLLBACK",
        level="R3",
        files={
            "policies/pack.yml": pack("20251017"),
            "policies/limits.yml": guardrail(LIMITS[1], name="other-steps"),
        },
    ),
    "never seen, and weaker": Attempt(
        code="E_UNDECLARED_ROLLBACK",
        level="R7",
        files={"policies/pack.yml": pack("20251017"), "policies/limits.yml": guardrail(50)},
    ),
    "nothing left": Attempt(
        code="E_UNDECLARED_ROLLBACK",
        level="R7",
        files={"policies/pack.yml": pack("20251017"), "policies/limits.yml": None},
    ),
    "lower version": Attempt(
        code="E_UNDECLARED_ROLLBACK",
        level="R6",
        files={"policies/pack.yml": pack("20251001")},
    ),
}


@pytest.fixture
def team(begun: Team, tmp_path: Path) -> Team:
    """A copy of the team, so that each attempt starts from the third version."""
    shutil.copytree(begun.world.home, tmp_path / "home", symlinks=True)
    copy = World(home=tmp_path / "home", environment=dict(begun.world.environment))
    return Team(world=copy)


@pytest.mark.parametrize("name", ATTEMPTS)
def test_a_lone_insider_does_not_take_a_policy_back(team: Team, name: str) -> None:
    attempt = ATTEMPTS[name]
    team.change("dave", "attempt", dict(attempt.files))
    assert team.say("dave", "attempt", "--propose", "--reason", "harmless").code == 0
    refused = team.say("dave", "attempt")
    assert refused.code == 4, refused
    assert "E_SELF_APPROVAL" in refused.err
    team.merge("dave", "attempt")
    answer = team.apply()
    assert answer.code == 4, answer
    assert attempt.level in answer.err
    assert "E_THRESHOLD" in answer.err
    assert team.applied() == VERSIONS[2]


@pytest.mark.parametrize("name", ATTEMPTS)
def test_what_nobody_proposed_is_found_out_with_its_evidence(team: Team, name: str) -> None:
    attempt = ATTEMPTS[name]
    team.change("dave", "attempt", dict(attempt.files))
    verified = team.world.ops("policy", "verify", "--head", "attempt")
    assert verified.code == 4
    assert attempt.code in verified.out
    assert attempt.level in verified.out


def test_a_force_push_is_no_way_back(team: Team) -> None:
    team.as_author("dave")
    team.world.git("reset", "--quiet", "--hard", "main~1")
    answer = team.apply()
    assert answer.code == 4
    assert "R0" in answer.err or "R9" in answer.err
    assert team.applied() == VERSIONS[2]


def test_a_merge_that_takes_our_side_is_judged_by_its_content(team: Team) -> None:
    team.as_author("dave")
    world = team.world
    world.git("switch", "--quiet", "-c", "side", "main~1")
    world.write("README.md", "nothing to see")
    world.commit("docs")
    world.git("merge", "--quiet", "-s", "ours", "-m", "docs again", "main")
    world.git("switch", "--quiet", "main")
    world.git("merge", "--quiet", "--ff-only", "side")
    answer = team.apply()
    assert answer.code == 4
    assert "R1" in answer.err
    assert team.applied() == VERSIONS[2]


def test_a_forged_author_does_not_make_room_for_the_insider(team: Team) -> None:
    """Git believes any author: so a proposal must be signed, and its signer never counts among the two."""
    team.as_author("nobody")
    world = team.world
    world.git("switch", "--quiet", "-c", "forged", "main")
    world.write("policies/limits.yml", guardrail(50))
    world.write("policies/pack.yml", pack("20251017"))
    world.commit("by nobody")
    world.git("switch", "--quiet", "main")
    assert team.say("dave", "forged", "--propose", "--reason", "x").code == 0
    assert team.say("bob", "forged").code == 0
    assert team.say("dave", "forged").code == 4
    team.merge("nobody", "forged")
    answer = team.apply()
    assert answer.code == 4
    assert "E_THRESHOLD" in answer.err
    assert "1/2" in answer.err


def test_an_edited_trust_root_is_no_trust_root(team: Team) -> None:
    place = team.world.root / "policies" / "trust" / "1.root.json"
    other = team_root(roles=tuple(each for each in team_root().roles if each.name != "policy-approver"))
    place.write_bytes(signed(other) + b"\n")
    team.as_author("dave")
    team.world.commit("the root, edited")
    answer = team.apply()
    assert answer.code in {4, 5}
    assert "pinned" in answer.err or "E_ROOT" in answer.err
    assert team.applied() == VERSIONS[2]


def test_two_others_allow_a_rollback_and_one_file_tells_who(team: Team, tmp_path: Path) -> None:
    world = team.world
    team.as_author("alice")
    made = world.ops(
        "policy", "rollback", "--to", "version:prev", "--reason", "INC-7 denies everybody", "--as", "alice",
        "--key", str(team.key("alice")),
    )  # fmt: skip
    assert made.code == 0, made.err
    branch = (
        f"rollback/{VERSIONS[1]}"
        if world.git("branch", "--list", f"rollback/{VERSIONS[1]}").strip()
        else world.git("branch", "--format=%(refname:short)", "--list", "rollback/*").strip()
    )
    assert team.say("alice", branch).code == 4
    assert team.say("bob", branch, "--reason", "seen").code == 0
    early = world.ops("policy", "merge", branch)
    assert early.code == 4
    assert "1/2" in early.err
    assert team.say("carol", branch).code == 0
    merged = world.ops("policy", "merge", branch)
    assert merged.code == 0, merged.err
    commit = next(word for word in merged.out.split() if len(word) == 40)
    world.git("merge", "--quiet", "--ff-only", commit)
    applied = world.ops("policy", "apply", "--reason", "INC-7", "--format", "json")
    assert applied.code == 0, applied.err
    told = applied.json
    assert told["version"] == VERSIONS[1]
    assert told["classes"] == ["rollback", "weakening"]
    assert told["allowed_by"] == ["bob", "carol"]
    assert told["proposed_by"] == ["alice"]
    assert told["locked"] is True

    # One file, on a machine that knows nothing but the machine's public key and the digest of the trust root.
    elsewhere = new_world(tmp_path / "elsewhere")
    pin = world.ops("trust", "show", "--format", "json").json
    receipt = told["receipt"]
    shown = elsewhere.ops("verify", receipt, "--key", str(world.public_key), "--root", pin["repository"])
    assert shown.code == 0, shown.out + shown.err
    assert "allowed by bob" in shown.out
    assert "allowed by carol" in shown.out
    assert "proposed by alice" in shown.out

    # Locked until somebody unlocks it.
    team.change("dave", "next", {"policies/pack.yml": pack("20251020"), "policies/limits.yml": guardrail(9)})
    assert team.say("bob", "next").code == 0
    team.merge("dave", "next")
    locked = team.apply()
    assert locked.code == 4
    assert "E_LOCKED" in locked.err
    unlocked = world.ops(
        "policy", "unlock", "--reason", "mended", "--as", "bob", "--key", str(team.key("bob")), "--format", "json"
    )
    assert unlocked.code == 0, unlocked.err
    assert json.loads(unlocked.out)["person"] == "bob"
    assert team.apply().code == 0
    assert team.applied() == "20251020"
