"""The trust root through the installed command: real keys, a real ssh-agent, real Git."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.proof import armor, parse_strict, pre_authentication, read_chain
from tests.acceptance.test_approvals import ACCOUNT, GREET
from tests.acceptance.test_approvals import Team as Approvers
from tests.people import ALICE, BOB, CAROL, DAVE, EVE, Hand
from tests.sshd import ssh_agent
from tests.trust import (
    HANDS,
    PERSONS,
    apply_pack,
    install,
    next_root,
    person,
    pin_root,
    signed,
    team_root,
    trusted,
    write_key,
    write_root,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import Answer, World

THREE = ("alice", "bob", "carol")


@dataclass
class Ceremony:
    """An empty ops repository, and everybody's keys in files."""

    world: World

    def __post_init__(self) -> None:
        self.keys = self.world.home / "keys"
        for name, hand in HANDS.items():
            write_key(hand, self.keys / name, comment=f"{name}@laptop")

    def ops(self, *words: str, by: str | None = None, **more: str) -> Answer:
        """Run a verb of `trust`; `by` signs with their key and does not ask."""
        signing = ("--key", str(self.keys / by), "-y") if by else ()
        return self.world.ops("trust", *words, *signing, **more)

    def people(self, *names: str) -> list[str]:
        return [word for name in names or THREE for word in ("--person", f"{name}={self.keys}/{name}.pub")]

    def init(self, *words: str) -> str:
        """Make version 1, signed by alice and bob, committed and pinned; give its digest."""
        first = self.ops("init", *self.people(), *words, by="alice")
        assert first.code == 0, first.err
        second = self.ops("sign", by="bob")
        assert second.code == 0, second.err
        self.world.commit("trust root 1")
        digest = str(self.shown()["current"]["digest"])
        assert self.ops("pin", digest).code == 0
        return digest

    def shown(self) -> Any:
        answer = self.ops("show", "--format", "json")
        assert answer.out, answer.err
        return answer.json


@pytest.fixture
def team(world: World) -> Ceremony:
    return Ceremony(world)


def test_three_people_make_a_trust_root_and_two_of_them_sign_it(team: Ceremony) -> None:
    first = team.ops("init", *team.people(), "--email", "alice=alice@example.org", by="alice")
    assert first.code == 0, first.err
    assert "not yet complete: 1 of 2 persons with the role root have signed; 1 more must (of bob, carol)" in first.out
    assert "opsascode trust sign" in first.out
    assert "bob has no e-mail address here" in first.err
    waiting = team.shown()
    assert waiting["current"] is None
    assert waiting["pending"]["waits_for"] == ["bob", "carol"]
    assert "waits for    bob, carol" in team.ops("show").out

    second = team.ops("sign", by="carol")
    assert second.code == 0, second.err
    assert "signed by alice, carol" in second.out
    digest = team.shown()["pending"]["digest"]
    assert f"opsascode trust pin {digest}" in second.out

    team.world.commit("trust root")
    assert "nothing is pinned on this machine" in team.ops("show").out
    assert team.ops("pin", digest).code == 0
    shown = team.shown()
    assert shown["repository"] == digest == shown["pin"]["repository"]
    assert shown["faults"] == []
    assert {name: found["threshold"] for name, found in shown["current"]["roles"].items()} == {
        "root": 2, "rollback-approver": 2, "policy-approver": 1, "run-approver": 1,
    }  # fmt: skip
    assert all(found["persons"] == list(THREE) for found in shown["current"]["roles"].values())
    assert shown["current"]["persons"]["alice"]["emails"] == ["alice@example.org"]
    assert shown["current"]["persons"]["bob"]["accounts"] == ["bob"]


def test_what_was_made_is_what_anybody_can_verify(team: Ceremony) -> None:
    digest = team.init()
    envelope = (team.world.root / "policies/trust/1.root.json").read_bytes().strip()
    chain = read_chain([envelope], pin=digest)
    assert chain.current.signers == ("alice", "bob")
    found: Any = parse_strict(envelope)
    import base64  # noqa: PLC0415 - of use here only

    allowed = team.world.home / "allowed"
    allowed.write_text(team.ops("show", "--allowed-signers").out)
    assert 'namespaces="approval@opsascode"' in allowed.read_text()
    for each in found["signatures"]:
        signature = team.world.home / "sig"
        signature.write_text(armor(base64.b64decode(each["sig"])))
        who = chain.current.root.owner(each["keyid"])
        assert who is not None
        words = ("ssh-keygen", "-Y", "verify", "-f", allowed, "-n", "approval@opsascode", "-I", who.id, "-s", signature)
        message = pre_authentication(found["payloadType"], base64.b64decode(found["payload"]))
        told = subprocess.run(words, input=message, capture_output=True, check=False)
        assert told.returncode == 0, told.stderr


CEREMONY = """
ref: main
expires: 2098-01-31
protected: [policies/**, inventories/**, opsascode.yml, playbooks/**]
rollback_window: 30d
max_staleness: 24h
bridge: 2
persons:
  alice: {name: Alice Example, teams: [db], emails: [alice@example.org], accounts: [alice, 'github:alice-x'], keys: [alice.pub]}
  bob: {teams: [web], forge: {github: 4711}, keys: [bob.pub]}
  carol: {teams: [web], keys: [carol.pub]}
  ci: {name: CI, accounts: [runner]}
roles:
  root: {persons: [alice, bob, carol]}
  rollback-approver: {threshold: 2, persons: [alice, bob, carol]}
  incident-commander: {threshold: 1, persons: [carol]}
machines:
  runner-1: {key: machine.pub, roles: [runner, ledger]}
"""


def test_a_whole_team_comes_from_one_file(team: Ceremony) -> None:
    write_key(Hand("machine"), team.keys / "machine")
    file = team.keys / "ceremony.yml"
    file.write_text(CEREMONY)
    answer = team.ops("init", "--from", str(file), by="alice")
    assert answer.code == 0, answer.err
    found = team.shown()["pending"]
    assert found["expires"] == "2098-01-31T00:00:00Z"
    assert found["protected"] == ["inventories/**", "opsascode.yml", "playbooks/**", "policies/**"]
    assert found["persons"]["bob"]["forge"] == {"github": 4711}
    assert found["persons"]["ci"]["keys"] == []
    assert found["roles"]["incident-commander"] == {"threshold": 1, "persons": ["carol"], "teams": 0}
    assert found["machines"]["runner-1"]["roles"] == ["ledger", "runner"]
    assert (found["rollback_window_days"], found["bridge_most"]) == (30, 2)


def test_everything_wrong_in_the_file_is_said_where_it_stands(team: Ceremony) -> None:
    file = team.keys / "ceremony.yml"
    wrong = CEREMONY.replace("keys: [bob.pub]", "kys: [bob.pub]").replace("threshold: 2", "threshold: two")
    wrong = wrong.replace("machine.pub", "nosuch.pub").replace("2098-01-31", "2098-02-31")
    file.write_text(wrong)
    answer = team.ops("init", "--from", str(file), by="alice")
    assert answer.code == 3
    for place, why in (
        (":3:10:", "no day of the calendar"),
        (":10:46:", "nothing here is called «kys»"),
        (":15:34:", "it must be an integer"),
        (":18:19:", "nosuch.pub cannot be read"),
    ):
        assert f"ceremony.yml{place}" in answer.err
        assert why in answer.err
    assert not (team.world.root / "policies/trust").exists()


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (["--person", "alice=KEYS/alice.pub", "--person", "bob=KEYS/bob.pub"], 3, "3 persons are needed"),
        (["--person", "alice=KEYS/alice.pub", "--person", "bob=KEYS/alice.pub", "--person", "carol=KEYS/carol.pub"], 3, "[E_KEY_REUSE]"),
        (["PEOPLE", "--threshold", "root=1"], 3, "at least 2 must agree"),
        (["PEOPLE", "--threshold", "root=3"], 3, "one may leave"),
        (["PEOPLE", "--threshold", "root=3", "--role", "boss=mallory", "--protect", "../x"], 3, "'mallory', who is no person"),
        (["PEOPLE", "--threshold", "root=two"], 2, "no threshold"),
        (["PEOPLE", "--threshold", "boss=2"], 2, "no role boss"),
        (["PEOPLE", "--person", "dave"], 2, "NAME=VALUE"),
        (["PEOPLE", "--person", "dave=KEYS/nosuch"], 2, "nosuch.pub cannot be read"),
        (["PEOPLE", "--person", "Dave=KEYS/dave.pub"], 3, "that is no name here"),
        (["PEOPLE", "--add-key", "alice=x"], 2, "No such option"),
        (["PEOPLE", "--expires", "soon"], 2, "no duration or day"),
        (["PEOPLE", "--machine", "m=KEYS/dave.pub"], 2, "does not say what the machine"),
        (["PEOPLE", "--machine", "m=KEYS/dave.pub:runner,witness"], 3, "a witness or a bridge is nothing else"),
        (["PEOPLE", "--machine", "m=KEYS/alice.pub:runner"], 3, "[E_KEY_REUSE]"),
        (["PEOPLE", "--email", "mallory=m@example.org"], 2, "knows no mallory"),
        ([], 2, "needs persons"),
        (["PEOPLE", "--person", "dave=agent:nosuch"], 2, "ssh-agent holds no key «nosuch»"),
    ],
)  # fmt: skip
def test_what_could_not_be_trusted_is_not_made(team: Ceremony, words: list[str], code: int, why: str) -> None:
    meant = [
        one for each in words for one in (team.people() if each == "PEOPLE" else [each.replace("KEYS", str(team.keys))])
    ]
    answer = team.ops("init", *meant, by="alice")
    assert answer.code == code, answer.err
    assert why in answer.err
    assert "Traceback" not in answer.err
    assert not (team.world.root / "policies/trust").exists()


def test_every_fault_is_said_at_once(team: Ceremony) -> None:
    answer = team.ops(
        "init", *team.people(), "--threshold", "root=3", "--role", "boss=mallory", "--protect", "../x", by="alice"
    )
    assert answer.code == 3
    for why in ("needs 4", "'mallory'", "'../x'"):
        assert why in answer.err


def test_a_weak_key_or_one_of_another_type_is_refused(team: Ceremony, tmp_path: Path) -> None:
    import base64  # noqa: PLC0415 - of use here only

    wire = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([1]) + bytes(31)
    (tmp_path / "weak.pub").write_text(f"ssh-ed25519 {base64.b64encode(wire).decode()} weak\n")
    words = ("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", tmp_path / "rsa")
    subprocess.run(words, check=True)
    for name, why in (("weak", "small order"), ("rsa", "a key of type 'ssh-rsa'")):
        answer = team.ops("init", *team.people(), "--person", f"dave={tmp_path}/{name}.pub", by="alice")
        assert answer.code == 5
        assert "dave: " in answer.err
        assert why in answer.err


def test_keys_may_lie_in_ssh_agent_alone(team: Ceremony, tmp_path: Path) -> None:
    with ssh_agent(tmp_path, team.keys / "bob") as agent:
        (team.keys / "bob").unlink()
        (team.keys / "bob.pub").unlink()
        people = [*team.people("alice", "carol"), "--person", f"bob=agent:{BOB.key.keyid}"]
        made = team.ops("init", *people, by="alice", SSH_AUTH_SOCK=agent)
        assert made.code == 0, made.err
        found = team.ops("sign", "-y", SSH_AUTH_SOCK=agent)
        assert found.code == 0, found.err
        assert "ssh-agent" in found.out
    assert "signed by alice, bob" in found.out


def test_a_proposal_counts_once_enough_have_signed(team: Ceremony) -> None:
    digest = team.init()
    words = ("propose", "--add-person", f"dave={team.keys}/dave.pub", "--role", "rollback-approver=+dave")
    made = team.ops(*words, by="alice")
    assert made.code == 0, made.err
    assert "WEAKER" in made.out
    assert "person dave added" in made.out
    team.world.commit("propose")  # an incomplete version lies where it will stay, and has no effect
    shown = team.shown()
    assert shown["version"] == 1
    assert shown["pending"]["signers"] == ["alice"]
    assert any(each["weakens"] and "dave" in each["what"] for each in shown["pending"]["changes"])
    assert team.ops("sign", by="alice").code == 4
    assert team.ops("sign", by="dave").code == 4

    agreed = team.ops("sign", by="bob")
    assert agreed.code == 0, agreed.err
    assert "it counts once it is: opsascode policy apply" in agreed.out
    team.world.commit("trust root 2")
    after = team.shown()
    assert after["version"] == 2
    assert after["repository"] == digest
    assert after["newest_seen"]["version"] == 2
    assert after["current"]["previous"] == digest


@pytest.mark.parametrize(
    ("words", "told", "part", "value"),
    [
        (["--role", "root=+dave", "--add-person", "dave=KEYS/dave.pub"], "role root", ("roles", "root", "persons"), ["alice", "bob", "carol", "dave"]),
        (["--add-key", "bob=KEYS/eve.pub:approval"], "key", ("version",), 2),
        (["--role", "policy-approver=alice"], "policy-approver", ("roles", "policy-approver", "persons"), ["alice"]),
        (["--threshold", "policy-approver=2"], "policy-approver", ("roles", "policy-approver", "threshold"), 2),
        (["--protect", "playbooks/**"], "playbooks/**", ("protected",), ["inventories/**", "opsascode.yml", "playbooks/**", "policies/**"]),
        (["--unprotect", "inventories/**"], "inventories/**", ("protected",), ["opsascode.yml", "policies/**"]),
        (["--expires", "2097-01-01"], "", ("expires",), "2097-01-01T00:00:00Z"),
        (["--bridge", "0"], "bridge", ("bridge_most",), 0),
        (["--machine", "runner-1=KEYS/eve.pub:runner,ledger"], "runner-1", ("machines", "runner-1", "roles"), ["ledger", "runner"]),
        (["--remove-role", "policy-approver"], "policy-approver", ("roles",), None),
        (["--ref", "trunk"], "trunk", ("ref",), "refs/heads/trunk"),
        (["--email", "bob=b@example.org"], "b@example.org", ("persons", "bob", "emails"), ["b@example.org", "bob@example.org"]),
    ],
)  # fmt: skip
def test_everything_can_be_proposed(
    ready: Ceremony, words: list[str], told: str, part: tuple[str, ...], value: object
) -> None:
    answer = ready.ops("propose", *(each.replace("KEYS", str(ready.keys)) for each in words), by="alice")
    assert answer.code == 0, answer.err
    assert told in answer.out
    found = ready.shown()["pending"]
    for step in part:
        found = found[step]
    if value is not None:
        assert found == value


@pytest.fixture(scope="module")
def shared_team(tmp_path_factory: pytest.TempPathFactory) -> Ceremony:
    from tests.world import new_world  # noqa: PLC0415 - as the world of one module

    team = Ceremony(new_world(tmp_path_factory.mktemp("trust") / "home"))
    install(team.world, team_root(persons=PERSONS[:3], roles=_roles_of(THREE)))
    return team


@pytest.fixture
def ready(shared_team: Ceremony) -> Ceremony:
    """The team of the module with version 1 in force, and nothing proposed."""
    (shared_team.world.root / "policies/trust/2.root.json").unlink(missing_ok=True)
    return shared_team


def _roles_of(names: tuple[str, ...]) -> Any:
    from tests.trust import role  # noqa: PLC0415 - of use here only

    thresholds = (("root", 2), ("rollback-approver", 2), ("policy-approver", 1), ("run-approver", 1))
    return tuple(role(name, number, *names) for name, number in thresholds)


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        ([], 2, "nothing would change"),
        (["--remove-person", "mallory"], 2, "knows no mallory"),
        (["--remove-person", "carol"], 3, "needs 3"),
        (["--revoke-key", "SHA256:nosuch"], 2, "nobody has the key"),
        (["--add-person", "bob=KEYS/eve.pub"], 2, "is a person already"),
        (["--role", "root=+bob"], 2, "has the role already"),
        (["--role", "root=-mallory"], 2, "does not have the role"),
        (["--unprotect", "docs/**"], 2, "not among the protected paths"),
        (["--remove-machine", "m"], 2, "no machine m"),
        (["--distrust", "x"], 2, "no key and entry"),
        (["--add-key", "bob=KEYS/eve.pub:break-glass"], 3, "no security key"),
        (["--remove-role", "root"], 3, "lacks the role root"),
    ],
)
def test_a_proposal_that_cannot_be_is_refused(ready: Ceremony, words: list[str], code: int, why: str) -> None:
    answer = ready.ops("propose", *(each.replace("KEYS", str(ready.keys)) for each in words), by="alice")
    assert answer.code == code, answer.err
    assert why in answer.err
    assert not (ready.world.root / "policies/trust/2.root.json").exists()


def test_a_second_proposal_waits_for_the_first(ready: Ceremony) -> None:
    assert ready.ops("propose", "--bridge", "0", by="alice").code == 0
    answer = ready.ops("propose", "--bridge", "2", by="bob")
    assert answer.code == 2
    assert "version 2 is proposed already, and signed by alice" in answer.err


def test_copies_signed_apart_are_joined(ready: Ceremony, tmp_path: Path) -> None:
    assert ready.ops("propose", "--bridge", "0", by="alice").code == 0
    file = ready.world.root / "policies/trust/2.root.json"
    before = file.read_bytes()
    copy = tmp_path / "copy.json"
    copy.write_bytes(before)
    assert ready.ops("sign", str(copy), by="carol").code == 0
    assert file.read_bytes() == before
    joined = ready.ops("sign", "--with", str(copy))
    assert joined.code == 0, joined.err
    assert "signed by alice, carol" in joined.out
    assert file.read_bytes() == copy.read_bytes()


def test_a_copy_of_something_else_is_not_joined(ready: Ceremony, tmp_path: Path) -> None:
    assert ready.ops("propose", "--bridge", "0", by="alice").code == 0
    other = tmp_path / "other.json"
    other.write_bytes(signed(next_root(team_root(), bridge_most=2), BOB, CAROL))
    answer = ready.ops("sign", "--with", str(other))
    assert answer.code == 2
    assert "is another version than" in answer.err


def test_a_proposal_nobody_of_the_team_signed_is_not_even_shown(ready: Ceremony) -> None:
    root = team_root(persons=PERSONS[:3], roles=_roles_of(THREE))
    mine = next_root(root, persons=(person("eve", EVE), *root.persons), roles=_roles_of(("alice", "carol", "eve")))
    write_root(ready.world, signed(mine, EVE), 2)
    answer = ready.ops("show")
    assert answer.code == 5
    assert "eve" not in answer.out.replace("everybody", "")
    assert "[E_SIGNATURE]" in answer.out
    assert ready.ops("sign", by="bob").code == 5


# Pins


def test_nothing_is_believed_before_it_is_pinned(world: World) -> None:
    digest = install(world, pin=False)
    world.runbook("deploy", GREET, targets="{hosts: web1}", approval="{required: 1}")
    world.commit()
    refused = world.ops("run", "deploy")
    assert refused.code == 4
    assert "does not know which trust root to believe in" in refused.err
    assert "opsascode trust pin sha256:" in refused.err
    assert digest not in refused.err  # what the repository says of itself vouches for nothing
    pinned = world.ops("trust", "pin", digest)
    assert pinned.code == 0, pinned.err
    assert world.ops("verify", "--all").code == 0
    (entry,) = world.ops("ledger", "log", "--format", "json").json
    assert entry["predicate_type"] == "urn:opsascode:trust-pin:v1"
    assert entry["predicate"]["pin"] == digest
    assert (entry["predicate"]["by"], entry["predicate"]["tofu"]) == (ACCOUNT, False)
    assert world.ops("runs", "list").code == 0
    assert world.ops("trust", "pin", digest).code == 0  # once more changes nothing
    assert len(world.ops("ledger", "log", "--format", "json").json) == 1
    apply_pack(world)
    assert world.ops("plan", "deploy").code == 0


def test_without_a_trust_root_a_run_that_asks_is_refused(world: World) -> None:
    world.runbook("deploy", GREET, targets="{hosts: web1}", approval="{required: 1}")
    world.runbook("free", GREET, targets="{hosts: web1}")
    world.commit()
    answer = world.ops("plan", "deploy")
    assert answer.code == 4
    assert "opsascode trust init" in answer.err
    assert world.ops("plan", "free").code == 0
    assert world.ops("trust", "show").code == 2


def test_a_wrong_pin_is_refused(world: World) -> None:
    digest = install(world, pin=False)
    wrong = "sha256:" + "ab" * 32
    answer = world.ops("trust", "pin", wrong)
    assert answer.code == 5
    assert digest in answer.err
    assert world.ops("trust", "pin", "ab").code == 5
    assert world.ops("trust", "pin").code == 2
    assert world.ops("trust", "pin", digest).code == 0
    other = world.ops("trust", "pin", wrong)
    assert other.code == 5
    pin_root(world, wrong)
    refused = world.ops("trust", "show")
    assert refused.code == 5
    assert "[E_ROOT_PIN]" in refused.out


def test_trust_on_first_use_is_recorded_and_told(world: World) -> None:
    digest = install(world, pin=False)
    answer = world.ops("trust", "pin", "--tofu")
    assert answer.code == 0
    assert "nobody vouched for it" in answer.out
    assert "taken from the repository itself" in world.ops("trust", "show").out
    (entry,) = world.ops("ledger", "log", "--format", "json").json
    assert entry["predicate"]["tofu"] is True
    assert world.ops("trust", "pin", digest).code == 0
    assert "warning: the pin was taken" not in world.ops("trust", "show").out
    assert [each["predicate"]["tofu"] for each in world.ops("ledger", "log", "--format", "json").json] == [True, False]


def test_another_pin_takes_more_than_a_word(world: World) -> None:
    first = install(world)
    world.git("rm", "-q", "-r", "policies/trust")
    again = install(world, team_root(salt="7b" * 16), pin=False)
    answer = world.ops("trust", "pin", again)
    assert answer.code == 2
    assert f"this machine believes in {first} already" in answer.err
    assert world.ops("trust", "pin", again, "--replace").code == 0


def test_an_old_version_replayed_is_refused(world: World) -> None:
    """Whoever holds the branch puts back the version in which their key still counted."""
    first = team_root()
    install(world, first, apply=True)
    before = world.git("rev-parse", "HEAD").strip()
    second = next_root(
        first, persons=tuple(each for each in first.persons if each.id != "dave"), roles=_roles_of(THREE)
    )
    install(world, second)
    assert world.ops("trust", "show", "--format", "json").json["version"] == 2
    world.git("reset", "-q", "--hard", before)
    answer = world.ops("trust", "show")
    assert answer.code == 5
    assert "[E_ROOT_ROLLBACK]" in answer.out
    assert "version 2 was seen before" in answer.out
    world.runbook("deploy", GREET, targets="{hosts: web1}", approval="{required: 1}")
    world.commit()
    assert world.ops("run", "deploy").code == 5


def test_another_version_two_is_refused_although_it_is_signed(world: World) -> None:
    first = team_root()
    install(world, first)
    before = world.git("rev-parse", "HEAD").strip()
    install(world, next_root(first, bridge_most=0))
    assert world.ops("trust", "show").code == 0
    world.git("reset", "-q", "--hard", before)
    install(world, next_root(first, bridge_most=2))
    answer = world.ops("trust", "show")
    assert answer.code == 5
    assert "is another one than this machine saw before" in answer.out


def test_what_is_not_committed_counts_for_nothing(world: World) -> None:
    """Who starts a run cannot write into the working tree who may approve it."""
    digest = install(world)
    other = team_root(persons=(person("eve", EVE), *PERSONS))
    write_root(world, signed(other, ALICE, BOB))
    write_root(world, signed(next_root(team_root(), bridge_most=0)), 2)
    shown = world.ops("trust", "show", "--format", "json").json
    assert shown["repository"] == digest
    assert shown["version"] == 1
    assert "eve" not in shown["current"]["persons"]


def test_the_protected_branch_speaks_whatever_is_checked_out(world: World) -> None:
    first = team_root()
    install(world, first)
    world.git("checkout", "-q", "-b", "feature")
    world.git("checkout", "-q", "main")
    install(world, next_root(first, bridge_most=0))
    world.git("checkout", "-q", "feature")
    assert world.ops("trust", "show", "--format", "json").json["version"] == 2


def test_a_link_in_place_of_a_version_is_refused(world: World) -> None:
    install(world)
    place = world.root / "policies/trust/1.root.json"
    place.rename(world.root / "elsewhere.json")
    place.symlink_to("../../elsewhere.json")
    world.commit()
    answer = world.ops("trust", "show")
    assert answer.code == 5
    assert "is no plain file" in answer.err + answer.out


# Runs and the trust root


@pytest.fixture
def approvers(world: World) -> Approvers:
    return Approvers(world)


def test_runs_of_version_one_verify_after_a_rotation(approvers: Approvers) -> None:
    run = approvers.waiting()
    for name in ("bob", "carol"):
        assert approvers.approve(run, name).code == 0
    done = approvers.world.ops("runs", "resume", run)
    assert done.code == 0, done.out + done.err
    rotated = next_root(
        approvers.root,
        persons=tuple(
            person(each.id, EVE, accounts=each.accounts) if each.id == "bob" else each
            for each in approvers.root.persons
        ),
    )
    install(approvers.world, rotated, hands=(ALICE, CAROL))
    verified = approvers.world.ops("verify", run)
    assert verified.code == 0, verified.out
    assert "stage 0.1 approved by bob, carol, as version 1 of the trust root says" in verified.out
    assert approvers.shown(run)["outcome"] == "succeeded"


def test_an_approval_dies_with_its_key(approvers: Approvers) -> None:
    run = approvers.waiting()
    for name in ("bob", "carol"):
        assert approvers.approve(run, name).code == 0
    revoked = next_root(
        approvers.root,
        persons=tuple(
            person(each.id, EVE, accounts=each.accounts) if each.id == "bob" else each
            for each in approvers.root.persons
        ),
    )
    install(approvers.world, revoked, hands=(ALICE, CAROL))
    approvers.world.git("checkout", "-q", "HEAD~1")  # the very commit the run was planned at
    answer = approvers.world.ops("runs", "resume", run)
    assert answer.code == 4
    assert "trust.version was 1, now 2" in answer.out + answer.err
    canceled = approvers.world.ops("runs", "cancel", run)
    assert canceled.code == 0, canceled.out + canceled.err
    assert approvers.shown(run)["outcome"] == "canceled"


def test_a_run_that_succeeded_can_be_taken_back_after_a_rotation(approvers: Approvers) -> None:
    approvers.world.runbook(
        "change",
        "- {id: one, task: {ansible.builtin.debug: {msg: done}}, undo: {task: {ansible.builtin.debug: {msg: undone}}}}",
        targets="{hosts: web1}",
        approval="{required: 1}",
    )
    approvers.world.commit()
    run = approvers.waiting("change")
    assert approvers.approve(run, "dave").code == 0
    assert approvers.world.ops("runs", "resume", run).code == 0
    install(approvers.world, next_root(approvers.root, bridge_most=0))
    approvers.world.git("checkout", "-q", "HEAD~1")
    answer = approvers.world.ops("runs", "undo", run, "-y")
    assert answer.code == 0, answer.out + answer.err


def test_a_run_without_a_role_asks_for_run_approvers(approvers: Approvers) -> None:
    from tests.trust import role, with_roles  # noqa: PLC0415 - of use here only

    narrow = next_root(approvers.root, roles=with_roles(role("run-approver", 1, "carol")))
    install(approvers.world, narrow)
    approvers.world.runbook("any", GREET, targets="{hosts: web1}", approval="{required: 1}")
    approvers.world.commit()
    run = approvers.waiting("any")
    refused = approvers.approve(run, "bob")
    assert refused.code == 4
    assert "bob does not have the role run-approver" in refused.err
    assert approvers.approve(run, "carol").code == 0
    assert approvers.world.ops("runs", "resume", run).code == 0


def test_a_key_for_the_root_alone_approves_no_run(approvers: Approvers) -> None:
    from opsascode.proof import KeyPurpose  # noqa: PLC0415 - of use here only

    kept = tuple(
        person("bob", accounts=("bob",), keys=(trusted(BOB, KeyPurpose.ROOT), trusted(EVE, KeyPurpose.APPROVAL)))
        if each.id == "bob" else each
        for each in approvers.root.persons
    )  # fmt: skip
    install(approvers.world, next_root(approvers.root, persons=kept))
    run = approvers.waiting()
    answer = approvers.approve(run, "bob")
    assert answer.code == 2
    assert "is no key of bob" in answer.err
    # A key that is added waits until the version that adds it is applied.
    write_key(EVE, approvers.keys / "token")
    waits = approvers.world.ops("approve", run, "--key", approvers.keys / "token", "-y")
    assert waits.code == 2
    assert "no key that the trust root lists" in waits.err


def test_what_would_be_signed_is_shown_and_can_be_refused(team: Ceremony) -> None:
    from tests.acceptance.test_command_line import at_terminal  # noqa: PLC0415 - of use here only

    team.init()
    assert team.ops("propose", "--threshold", "policy-approver=2", by="alice").code == 0
    assert team.ops("sign", "--key", str(team.keys / "bob")).code == 2
    seen = at_terminal(team.world, "trust", "sign", "--key", str(team.keys / "bob"), types={"Sign this? [y/N]": "n\n"})
    assert seen.code == 4
    assert "role policy-approver" in seen.screen
    assert team.shown()["pending"]["signers"] == ["alice"]


def test_nothing_in_a_name_moves_the_cursor(team: Ceremony) -> None:
    answer = team.ops("init", *team.people(), "--name", "alice=\x1b[2Jboss", by="alice")
    assert answer.code == 3
    assert "\x1b" not in answer.err + answer.out


def test_json_for_programs(team: Ceremony) -> None:
    made = team.ops("init", *team.people(), "--format", "json", by="alice")
    body = json.loads(made.out)
    assert body["complete"] is False
    assert body["waits_for"] == ["bob", "carol"]
    assert body["file"] == "policies/trust/1.root.json"
    done = json.loads(team.ops("sign", "--format", "json", by="bob").out)
    assert done["complete"] is True
    assert done["digest"] == body["digest"]
    assert {HANDS["dave"], DAVE} == {DAVE}
