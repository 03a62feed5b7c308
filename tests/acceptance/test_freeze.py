"""A remote that shows an old state for ever: where the trust root asks, nothing that needs privileges goes on by it."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from opsascode.proof import KeyPurpose, MachineRole, PublicKey, TrustedMachine, cosign
from tests.acceptance.test_break_glass import glass, guardrail, smash
from tests.people import ALICE, BOB, BOBS_TOKEN, CAROL, DAVE, Hand
from tests.trust import PERSONS, apply_pack, install, person, role, team_root, trusted, with_roles, write_key
from tests.world import World, new_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import Answer

DAY = timedelta(hours=24)
STEP = "- id: say\n  title: Say hello\n  task: {ansible.builtin.ping: {}}"
SETTINGS = """
apiVersion: opsascode/v1
kind: Repository
metadata: {name: test-repository}
spec: {inventory: inventories/local.yml, ledger: {remote: origin}}
"""


class Watch:
    """A witness whose clock a test can set."""

    hand = Hand("watch")

    @property
    def public_key(self) -> PublicKey:
        return self.hand.key.public

    def sign(self, message: bytes) -> bytes:
        return self.hand.private.sign(message)


def team(home: Path, *, witnessed: bool) -> World:
    """A machine of a team: a wider guardrail waits on a branch, approved; nothing of it is applied yet."""
    world = new_world(home)
    for hand in (ALICE, BOB, CAROL, DAVE):
        write_key(hand, home / "keys" / hand.seed)
    subprocess.run(["git", "init", "--quiet", "--bare", home / "remote.git"], check=True)
    world.git("remote", "add", "origin", "../remote.git")
    world.public_key.parent.mkdir(mode=0o700, parents=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", world.public_key.with_suffix("")], check=True)
    own = PublicKey.from_openssh(world.public_key.read_text())
    machines = [TrustedMachine(name="one", key=own, roles=(MachineRole.RUNNER, MachineRole.LEDGER))]
    if witnessed:
        machines.append(TrustedMachine(name="w", key=Watch().public_key, roles=(MachineRole.WITNESS,)))
    keys = (trusted(BOB), trusted(BOBS_TOKEN, KeyPurpose.BREAK_GLASS))
    root = team_root(
        persons=tuple(person("bob", keys=keys) if each.id == "bob" else each for each in PERSONS),
        roles=with_roles(role("break-glass", 1, "bob")),
        machines=tuple(machines),
        witness_quorum=1 if witnessed else 0,
        max_staleness=DAY,
    )
    world.write("opsascode.yml", SETTINGS)
    world.write("policies/limits.yml", guardrail(2))
    world.runbook("hello", STEP, targets="{hosts: web1}")
    world.runbook("asks", STEP, targets="{hosts: web1}", approval="{required: 1}")
    install(world, root, apply=True)
    world.git("switch", "--quiet", "-c", "wider")
    world.write("policies/limits.yml", guardrail(4))
    world.commit("wider")
    world.git("switch", "--quiet", "main")
    for name, words in (("alice", ("--propose", "--reason", "INC-7")), ("bob", ()), ("carol", ())):
        said = world.ops("approve", "wider", "--as", name, "--key", home / "keys" / name, "-y", *words)
        assert said.code == 0, said.err
    return world


def vouch(world: World, when: datetime) -> None:
    """Have the newest checkpoint of the team's ledger cosigned, by a witness whose clock says this."""
    note = world.ops("ledger", "checkpoint", "--team", "--format", "json").json["checkpoint"]
    place = world.home / "lines"
    place.write_text(cosign(note, name="w", signer=Watch(), now=when))
    told = world.ops("ledger", "sync", "--cosignatures", place)
    assert "cosigned by w" in told.out, told


def copied(begun: World, place: Path) -> World:
    shutil.copytree(begun.home, place, symlinks=True)
    return World(home=place, environment=dict(begun.environment))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> World:
    return team(tmp_path_factory.mktemp("watched"), witnessed=True)


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory: pytest.TempPathFactory) -> World:
    return team(tmp_path_factory.mktemp("unwatched"), witnessed=False)


def weaker(world: World) -> Answer:
    world.git("merge", "--quiet", "--ff-only", "wider")
    return world.ops("policy", "apply", "--format", "json")


def asking(world: World) -> Answer:
    return world.ops("run", "asks", "-y", "--format", "json")


def breaking(world: World) -> Answer:
    return smash(world, glass(world))


ACTS = {"a weaker policy": weaker, "a run that people approve": asking, "broken glass": breaking}


def passes(name: str, answer: Answer) -> bool:
    """A run that asks people stops there; anything else is done."""
    return answer.code == 0 or (name == "a run that people approve" and "E_" not in answer.out and answer.code == 4)


@pytest.mark.parametrize("name", ACTS)
def test_what_needs_privileges_goes_on_where_the_ledger_was_vouched_for(
    watched: World, name: str, tmp_path: Path
) -> None:
    world = copied(watched, tmp_path / "home")
    vouch(world, datetime.now(UTC) - timedelta(hours=23))
    answer = ACTS[name](world)
    assert passes(name, answer), answer


STALE = {
    "nobody vouched for it": ("E_WITNESS", None),
    "too long ago": ("E_LEDGER_STALE", timedelta(hours=25)),
    "in times to come": ("E_LEDGER_STALE", -timedelta(hours=1)),
}


@pytest.mark.parametrize("age", STALE)
@pytest.mark.parametrize("name", ACTS)
def test_what_needs_privileges_stops_where_it_may_be_hidden(
    watched: World, name: str, age: str, tmp_path: Path
) -> None:
    world, (code, ago) = copied(watched, tmp_path / "home"), STALE[age]
    if ago is not None:
        vouch(world, datetime.now(UTC) - ago)
    answer = ACTS[name](world)
    assert answer.code == 4, answer
    assert code in answer.out + answer.err
    assert world.ops("policy", "status", "--format", "json").json["debts"] == []
    assert len(world.ops("policy", "history", "--format", "json").json) == 1


def test_what_needs_none_goes_on(watched: World, tmp_path: Path) -> None:
    world = copied(watched, tmp_path / "home")
    assert world.ops("run", "hello", "-y").code == 0
    world.write("policies/limits.yml", guardrail(1))
    world.commit("stricter")
    apply_pack(world)


def test_without_witnesses_the_remote_must_have_been_reached(unwatched: World, tmp_path: Path) -> None:
    world = copied(unwatched, tmp_path / "home")
    assert passes("a run that people approve", asking(world))
    (world.home / "remote.git").rename(world.home / "away.git")
    assert passes("a run that people approve", asking(world))  # it was, a moment ago
    seen = world.state / "team-seen.json"
    found = json.loads(seen.read_text())
    seen.write_text(json.dumps({**found, "seen": (datetime.now(UTC) - timedelta(hours=25)).isoformat()}))
    old = asking(world)
    assert (old.code, "E_LEDGER_STALE" in old.out) == (4, True), old
    seen.write_text(json.dumps({**found, "ledger": "opsascode/team/other"}))
    assert "E_LEDGER_STALE" in asking(world).out
    seen.unlink()
    assert "E_LEDGER_STALE" in asking(world).out
    (world.home / "away.git").rename(world.home / "remote.git")
    assert passes("a run that people approve", asking(world))


def test_whoever_takes_the_ledger_out_of_the_settings_shows_nothing(unwatched: World, tmp_path: Path) -> None:
    world = copied(unwatched, tmp_path / "home")
    world.write("opsascode.yml", SETTINGS.replace(", ledger: {remote: origin}", ""))
    world.git("commit", "--quiet", "--all", "--message", "no ledger")
    refused = asking(world)
    assert refused.code == 4, refused
    assert "E_LEDGER_STALE" in refused.out
    assert "E_NOT_APPLIED" in refused.out
