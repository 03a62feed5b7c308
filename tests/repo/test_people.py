"""The people file: read whole, or refused at the place that is wrong."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import DocumentError
from opsascode.repo import InvalidDocumentsError, People, check_repository, open_repository
from tests.people import ALICE, BOB, BOBS_TOKEN, Hand, text

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "apiVersion: opsascode/v1\nkind: People\nmetadata: {name: people}\nspec:\n  people:\n"
GOOD = f"""{HEAD}\
    alice:
      name: Alice Example
      accounts: [alice, github:Alice-X]
      roles: [incident-commander, reader]
      keys:
        - {ALICE.key.openssh("alice@laptop")}
    bob:
      roles: [incident-commander]
      keys:
        - {BOB.key.openssh()}
        - {BOBS_TOKEN.key.openssh("token")}
    ci:
      accounts: [runner, "DOMAIN\\\\svc$", "github:renovate[bot]"]
"""


def repository(root: Path, people: str | None, *, at: str = "policies/people.yml") -> Path:
    (root / "opsascode.yml").write_text("apiVersion: opsascode/v1\nkind: Repository\nmetadata: {name: ops}\n")
    if people is not None:
        (root / at).parent.mkdir(parents=True, exist_ok=True)
        (root / at).write_text(people)
    return root


def read(root: Path, people: str | None) -> People:
    return open_repository(repository(root, people)).people()


def problems(root: Path, people: str, *, at: str = "policies/people.yml") -> list[tuple[str, int, str]]:
    report = check_repository(open_repository(repository(root, people, at=at)))
    return [(each.code, each.position.line, each.message) for each in report.problems]


def test_without_the_file_there_is_nobody(tmp_path: Path) -> None:
    assert read(tmp_path, None) == People()
    assert People().keys == ()


def test_people_are_read_as_they_are_written(tmp_path: Path) -> None:
    people = read(tmp_path, GOOD)
    assert [each.id for each in people.persons] == ["alice", "bob", "ci"]
    alice, bob, ci = people.persons
    assert (alice.name, alice.roles) == ("Alice Example", ("incident-commander", "reader"))
    assert bob.name == "bob"
    assert bob.keys == (BOB.key, BOBS_TOKEN.key)
    assert alice.position is not None
    assert alice.position.line == 6
    assert people.owner(BOBS_TOKEN.key.keyid) == bob
    assert people.owner("SHA256:nobody") is None
    assert people.with_role("incident-commander") == (alice, bob)
    assert people.with_role(None) == (alice, bob)  # a person without a key signs nothing
    assert people.behind("runner") == (ci,)
    assert people.behind("DOMAIN\\svc$") == (ci,)
    assert people.behind("mallory") == ()
    assert problems(tmp_path, GOOD) == []


def test_names_at_a_forge_know_no_case_and_accounts_of_machines_do(tmp_path: Path) -> None:
    people = read(tmp_path, GOOD)
    assert [each.id for each in people.behind("github:alice-x")] == ["alice"]
    assert people.behind("Alice") == ()


@pytest.mark.parametrize(
    "name", ["Alice", "\u0430lice", "al ice", "-alice", "a" * 65, "al\u200bice", "álice", "alice\n"]
)
def test_an_id_is_plain(tmp_path: Path, name: str) -> None:
    found = problems(tmp_path, f"{HEAD}    {json.dumps(name)}: {{roles: [x]}}\n")
    assert [code for code, _, _ in found] == ["wrong-form"]
    with pytest.raises(InvalidDocumentsError):
        read(tmp_path, f"{HEAD}    {json.dumps(name)}: {{roles: [x]}}\n")


def weak(raw: bytes, *, on_token: bool) -> str:
    kind = b"sk-ssh-ed25519@openssh.com" if on_token else b"ssh-ed25519"
    wire = text(kind) + text(raw) + (text(b"ssh:") if on_token else b"")
    return f"{kind.decode()} {base64.b64encode(wire).decode()}"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ==", "E_KEY_TYPE"),
        ("ecdsa-sha2-nistp256 AAAA", "E_KEY_TYPE"),
        ("ssh-ed25519 AAAA", "E_KEY_TYPE"),
        ("ssh-ed25519 !!!!", "E_KEY"),
        ("just words", "E_KEY_TYPE"),
        (weak(bytes(32), on_token=False), "E_WEAK_KEY"),
        (weak(b"\1" + bytes(31), on_token=True), "E_WEAK_KEY"),
        (weak(b"\xff" * 32, on_token=False), "E_WEAK_KEY"),
        (weak(b"\2" * 31, on_token=False), "E_KEY_TYPE"),
    ],
)
def test_a_key_nobody_could_trust_is_refused_where_it_stands(tmp_path: Path, line: str, code: str) -> None:
    people = f"{HEAD}    alice:\n      keys:\n        - {line}\n"
    found = problems(tmp_path, people)
    assert [(code, line) for code, line, _ in found] == [(code, 8)]
    with pytest.raises(DocumentError, match="people cannot be used"):
        read(tmp_path, people)


@pytest.mark.parametrize(
    "other",
    [
        Hand("alice").key.openssh("another comment"),
        Hand("alice", on_token=True).key.openssh(),
        "  ".join(Hand("alice").key.openssh().split()),
    ],
    ids=["comment", "wrapped as a token's", "spaces"],
)
def test_one_key_belongs_to_one_person_however_it_is_written(tmp_path: Path, other: str) -> None:
    people = f"{HEAD}    alice: {{keys: ['{ALICE.key.openssh('alice')}']}}\n    bob: {{keys: ['{other}']}}\n"
    ((code, line, message),) = problems(tmp_path, people)
    assert (code, line) == ("E_KEY_REUSE", 7)
    assert "already a key of alice, on line 6" in message


def test_a_key_twice_for_one_person_is_refused_too(tmp_path: Path) -> None:
    key = ALICE.key.openssh()
    people = f"{HEAD}    alice: {{keys: ['{key}', '{key} again']}}\n"
    assert [code for code, _, _ in problems(tmp_path, people)] == ["E_KEY_REUSE"]


def test_an_account_of_two_people_is_a_warning_as_it_only_excludes_them(tmp_path: Path) -> None:
    people = f"{HEAD}    alice: {{accounts: [deploy]}}\n    bob: {{accounts: [deploy]}}\n"
    ((code, line, message),) = problems(tmp_path, people)
    assert (code, line) == ("shared-account", 7)
    assert "neither can approve" in message
    assert len(read(tmp_path, people).behind("deploy")) == 2


@pytest.mark.parametrize("at", ["policies/others.yml", "playbooks/people.yml", "policies/more/people.yml"])
def test_people_stand_in_one_place_only(tmp_path: Path, at: str) -> None:
    assert [code for code, _, _ in problems(tmp_path, GOOD, at=at)] == ["wrong-folder"]
    assert open_repository(tmp_path).people() == People()


def test_two_lists_of_people_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocumentsError, match="2 lists of people"):
        read(tmp_path, f"{GOOD}---\n{HEAD.replace('name: people', 'name: others')}    dave: {{}}\n")


@pytest.mark.parametrize(
    "people",
    [
        "",
        "[]\n",
        HEAD,
        f"{HEAD}    alice: []\n",
        f"{HEAD}    alice: {{admin: true}}\n",
        f"{HEAD}    alice: {{keys: x}}\n",
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, people: str) -> None:
    with pytest.raises(DocumentError):
        read(tmp_path, people)


def test_a_link_out_of_the_repository_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    root = repository(tmp_path / "root", None)
    (root / "policies").mkdir()
    (tmp_path / "people.yml").write_text(GOOD)
    (root / "policies/people.yml").symlink_to(tmp_path / "people.yml")
    with pytest.raises(InvalidDocumentsError, match="outside"):
        open_repository(root).people()
