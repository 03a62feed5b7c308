"""One person acts at once, for named hosts and a while; two others look at it afterwards, and until then it is owed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.policy import BreakGlass, change_of, classify
from opsascode.proof import KeyPurpose, statement_payload
from opsascode.repo import ObjectStore
from opsascode.run import TransitionJudge
from tests.people import ALICE, BOB, BOBS_TOKEN, CAROL, DAVE, Form
from tests.trust import PERSONS, apply_pack, install, person, role, team_root, trusted, with_roles, write_key
from tests.world import World, new_world

if TYPE_CHECKING:
    from pathlib import Path

    from tests.people import Hand
    from tests.world import Answer

ALL_HOSTS = ("db1", "web1", "web2", "web3")


def guardrail(limit: int) -> str:
    return (
        "apiVersion: opsascode/v1\nkind: Guardrail\nmetadata: {name: small-steps}\n"
        f"spec:\n  require: {{max_hosts: {limit}}}\n  reason: A mistake must not take everything with it.\n"
    )


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world where no run may touch more than two hosts, and bob has a security key for breaking the glass."""
    world = new_world(tmp_path_factory.mktemp("glass"))
    for hand in (ALICE, BOB, CAROL, DAVE):
        write_key(hand, world.home / "keys" / hand.seed)
    world.write("policies/limits.yml", guardrail(2))
    world.runbook("hello", "- id: say\n  title: Say hello\n  task: {ansible.builtin.ping: {}}")
    keys = (trusted(BOB), trusted(BOBS_TOKEN, KeyPurpose.BREAK_GLASS))
    persons = tuple(person("bob", keys=keys) if each.id == "bob" else each for each in PERSONS)
    install(world, team_root(persons=persons, roles=with_roles(role("break-glass", 1, "bob"))), apply=True)
    world.git("switch", "--quiet", "-c", "wider")
    world.write("policies/limits.yml", guardrail(4))
    world.commit("wider")
    world.git("switch", "--quiet", "main")
    return world


@pytest.fixture
def world(begun: World, tmp_path: Path) -> World:
    shutil.copytree(begun.home, tmp_path / "home", symlinks=True)
    return World(home=tmp_path / "home", environment=dict(begun.environment))


def glass(world: World, hand: Hand = BOBS_TOKEN, form: Form | None = None, **changes: Any) -> Path:
    """What bob signs with his token, as a file; changed as said."""
    now = datetime.now(UTC).replace(microsecond=0)
    judge = TransitionJudge(store=ObjectStore.of(world.root), pin=None, now=now, attestations=lambda _: ())
    old, new = judge.gather(world.git("rev-parse", "main").strip(), world.git("rev-parse", "wider").strip())
    classified = classify(old, new)
    made = BreakGlass(
        person="bob",
        incident="INC-7",
        change=change_of(old, new, classified),
        paths=tuple(sorted(each.path for each in classified.diff.files)),
        hosts=ALL_HOSTS,
        reason="nothing goes through any more",
        issued=now,
        expires=now + timedelta(hours=1),
        nonce="1" * 32,
    )
    place = world.home / "glass.json"
    place.write_bytes(hand.envelop(statement_payload(replace(made, **changes).statement()), form))
    return place


def smash(world: World, signed: Path) -> Answer:
    return world.ops("policy", "break-glass", "--to", "wider", "--signed", signed)


def test_glass_holds_for_its_hosts_and_is_owed_until_two_others_ratify(world: World) -> None:
    assert world.ops("run", "hello", "--limit", "web", "-y").code == 4
    broken = smash(world, glass(world, hosts=("web1", "web2", "web3")))
    assert broken.code == 0, broken.err
    assert "ratify" in broken.out
    # On its hosts the other pack holds; together with any other host, the applied one.
    allowed = world.ops("run", "hello", "-y")
    assert allowed.code == 0, allowed.err
    status = world.ops("policy", "status", "--format", "json").json
    assert [each["person"] for each in status["glass"]] == ["bob"]
    (debt,) = status["debts"]
    assert debt["overdue"] is False
    assert "owed" in world.ops("policy", "status").out
    entry = str(debt["entry"])
    own = world.ops("policy", "ratify", entry, "--as", "bob", "--key", world.home / "keys" / "bob")
    assert own.code == 4
    assert "E_SELF_APPROVAL" in own.err
    again = smash(world, glass(world, nonce="2" * 32))
    assert again.code == 4
    assert "E_DEBT" in again.err
    for name, settled in (("alice", False), ("carol", True)):
        said = world.ops(
            "policy", "ratify", entry, "--as", name, "--key", world.home / "keys" / name, "--reason", "seen",
            "--format", "json",
        )  # fmt: skip
        assert said.code == 0, said.err
        assert said.json["settled"] is settled
    assert world.ops("policy", "status", "--format", "json").json["debts"] == []


HOSTILE: dict[str, tuple[str, dict[str, Any]]] = {
    "nobody touched the token": ("E_USER_PRESENCE", {"form": Form(flags=0)}),
    "another person's key": ("E_PERSON", {"hand": ALICE}),
    "an ordinary key of the same person": ("E_KEY_TYPE", {"hand": BOB}),
    "for five hours": ("E_TTL", {"expires": datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)}),
    "its time is over": (
        "E_EXPIRED",
        {
            "issued": datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3),
            "expires": datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2),
        },
    ),
    "about other files": ("E_TARGET", {"paths": ("policies/other.yml",)}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_glass_stays_whole(world: World, name: str) -> None:
    code, changes = HOSTILE[name]
    refused = smash(world, glass(world, **changes))
    assert refused.code == 4, refused
    assert code in refused.err
    assert world.ops("run", "hello", "--limit", "web", "-y").code == 4
    assert world.ops("policy", "status", "--format", "json").json["debts"] == []


def test_hosts_that_were_not_named_go_by_the_applied_pack(world: World) -> None:
    assert smash(world, glass(world, hosts=("db1",))).code == 0
    assert world.ops("run", "hello", "-y").code == 4


def test_the_next_applied_pack_ends_it(world: World) -> None:
    assert smash(world, glass(world)).code == 0
    assert world.ops("run", "hello", "-y").code == 0
    world.write("policies/limits.yml", guardrail(1))
    world.commit("narrower")
    apply_pack(world)
    assert world.ops("run", "hello", "-y").code == 4
