"""Who may approve is what the trust root says, and the trust root is what was committed."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import ProofError
from opsascode.proof import KeyPurpose
from opsascode.repo import (
    People,
    check_repository,
    committed_trust,
    open_repository,
    people_of,
    trust_path,
    trust_version,
)
from tests.people import ALICE, BOB, BOBS_TOKEN, EVE
from tests.trust import PERSONS, person, role, signed, team_root, trusted, with_roles, write_root
from tests.world import World, new_world

if TYPE_CHECKING:
    from pathlib import Path


def people(*changed: object, **changes: object) -> People:
    root = team_root(persons=(*PERSONS, *changed), **changes)
    return people_of(root, "sha256:" + "ab" * 32)


def test_people_are_what_the_trust_root_says() -> None:
    found = people(person("ci", EVE, keys=(), accounts=("runner", "DOMAIN\\svc$"), emails=()))
    alice = found.person("alice")
    assert alice is not None
    assert alice.accounts == ("alice", "github:alice-x", "alice@example.org")
    assert set(alice.roles) == {"root", "rollback-approver", "policy-approver", "run-approver"}
    assert (found.version, found.digest) == (1, "sha256:" + "ab" * 32)
    assert found.owner(ALICE.key.keyid) == alice
    assert found.owner("SHA256:nobody") is None
    assert found.person("mallory") is None
    (ci,) = found.behind("runner")
    assert ci.keys == ()
    assert found.behind("DOMAIN\\svc$") == (ci,)
    assert ci not in found.with_role(None)  # a person without a key signs nothing


def test_names_at_a_forge_and_addresses_know_no_case_and_accounts_of_machines_do() -> None:
    for account in ("github:ALICE-X", "Alice@Example.org", "alice"):
        assert [each.id for each in people().behind(account)] == ["alice"]
    assert people().behind("Alice") == ()


def test_no_role_means_the_role_of_those_who_approve_runs() -> None:
    found = people(roles=with_roles(role("run-approver", 1, "carol"), role("incident-commander", 1, "bob")))
    assert [each.id for each in found.with_role(None)] == ["carol"]
    assert [each.id for each in found.with_role("incident-commander")] == ["bob"]
    assert found.with_role("no-such-role") == ()


def test_only_keys_for_the_purpose_count() -> None:
    bob = person("bob", keys=(trusted(BOB, KeyPurpose.ROOT), trusted(BOBS_TOKEN, KeyPurpose.APPROVAL)))
    root = team_root(persons=(PERSONS[0], bob, *PERSONS[2:]))
    approving = people_of(root, "").person("bob")
    holding = people_of(root, "", KeyPurpose.ROOT).person("bob")
    assert approving is not None
    assert approving.keys == (BOBS_TOKEN.key,)
    assert holding is not None
    assert holding.keys == (BOB.key,)


# What is committed


@pytest.fixture
def world(tmp_path: Path) -> World:
    return new_world(tmp_path / "home")


def test_versions_come_in_order_and_other_names_do_not_count(world: World) -> None:
    contents = {number: signed(team_root(salt=f"{number:032x}")) for number in (1, 2, 10)}
    for number, content in contents.items():
        write_root(world, content, number)
    for name in ("01.root.json", "x.root.json", "1.root.json.bak", "README.md"):
        (world.root / "policies/trust" / name).write_text("no version")
    world.commit()
    assert committed_trust(world.root, "HEAD") == tuple(contents.values())
    assert committed_trust(world.root, "refs/heads/main") == tuple(contents.values())


def test_the_working_tree_says_nothing(world: World) -> None:
    write_root(world, signed(team_root()))
    assert committed_trust(world.root, "HEAD") == ()
    world.git("add", "--all")
    assert committed_trust(world.root, "HEAD") == ()


def test_where_there_is_no_commit_there_is_nothing(world: World, tmp_path: Path) -> None:
    assert committed_trust(world.root, "refs/heads/nosuch") == ()
    assert committed_trust(world.root, "--help") == ()
    assert committed_trust(tmp_path, "HEAD") == ()


def test_a_replaced_object_is_not_believed(world: World) -> None:
    write_root(world, signed(team_root()))
    world.commit()
    before = committed_trust(world.root, "HEAD")
    blob = world.git("rev-parse", "HEAD:policies/trust/1.root.json").strip()
    (world.root / "other").write_text("other")
    world.git("replace", blob, world.git("hash-object", "-w", "other").strip())
    assert committed_trust(world.root, "HEAD") == before


def test_a_repository_below_the_top_of_git_has_its_own(tmp_path: Path) -> None:
    top = new_world(tmp_path / "home")
    write_root(World(home=top.root), signed(team_root()))  # in `repo` below the top
    top.commit()
    assert committed_trust(top.root, "HEAD") == ()
    assert len(committed_trust(top.root / "repo", "HEAD")) == 1


def test_a_link_or_a_module_is_no_version(world: World) -> None:
    place = write_root(world, signed(team_root()))
    world.commit()
    place.rename(world.root / "there.json")
    place.symlink_to("../../there.json")
    world.commit()
    with pytest.raises(ProofError, match="no plain file, but of mode 120000") as caught:
        committed_trust(world.root, "HEAD")
    assert getattr(caught.value, "code", "") == "E_MODE"


def test_a_version_without_end_is_not_read(world: World) -> None:
    write_root(world, b"x" * 70000)
    world.commit()
    with pytest.raises(ProofError, match="70001 bytes"):
        committed_trust(world.root, "HEAD")


def test_places_and_versions_are_one_and_the_same() -> None:
    assert trust_path(12) == "policies/trust/12.root.json"
    assert trust_version("policies/trust/12.root.json") == 12
    for path in (
        "policies/trust/012.root.json",
        "policies/12.root.json",
        "policies/trust/x/1.root.json",
        "1.root.json",
    ):
        assert trust_version(path) is None


def test_the_former_list_of_people_is_refused_where_it_stands(world: World) -> None:
    """A file that looks as if it had a say must not lie about unnoticed."""
    world.write("policies/people.yml", "apiVersion: opsascode/v1\nkind: People\nmetadata: {name: people}\nspec: {}\n")
    report = check_repository(open_repository(world.root))
    assert [str(each.position) for each in report.problems] == ["policies/people.yml:2:7"]


def test_a_check_does_not_trip_over_the_trust_root(world: World) -> None:
    write_root(world, signed(team_root()))
    world.commit()
    assert check_repository(open_repository(world.root)).problems == ()
    subprocess.run(["git", "fsck", "--strict"], cwd=world.root, check=True, capture_output=True)
