"""A trust root says the same before it is signed and after it is read, and cannot be bent into another valid one unseen."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.proof import (
    BREAK_GLASS,
    POLICY_APPROVER,
    ROLLBACK_APPROVER,
    ROOT_ROLE,
    ROOT_TYPE,
    RUN_APPROVER,
    TRUST_SCOPE,
    CodedProofError,
    Distrust,
    KeyPurpose,
    MachineRole,
    Statement,
    TrustedMachine,
    TrustRoot,
    canonical_bytes,
    root_faults,
    sha256_digest,
    teams_among,
)
from tests.people import ALICE, BOB, BOBS_TOKEN, CAROL, DAVE, EVE, Hand
from tests.trust import PERSONS, SALT, person, role, team_root, trusted, with_roles

CI = TrustedMachine(name="ci", key=Hand("ci").key.public, roles=(MachineRole.LEDGER, MachineRole.RUNNER))
WATCH = TrustedMachine(name="watch", key=Hand("watch").key.public, roles=(MachineRole.WITNESS,))
BRIDGE = TrustedMachine(name="hub", key=Hand("hub").key.public, roles=(MachineRole.BRIDGE,))

RICH_BOB = person(
    "bob",
    teams=("dev", "ops"),
    forge={"github": 7, "gitlab": 8},
    keys=(trusted(BOB), trusted(BOBS_TOKEN, KeyPurpose.BREAK_GLASS)),
)
RICH = team_root(
    version=2,
    previous="sha256:" + "ab" * 32,
    persons=tuple(RICH_BOB if each.id == "bob" else each for each in PERSONS),
    machines=(CI, WATCH, BRIDGE),
    roles=with_roles(role(BREAK_GLASS, 1, "bob"), role("incident-commander", 1, "dave", teams=0)),
    bridge_most=2,
    witness_quorum=1,
    max_staleness=timedelta(hours=36),
    rollback_window=timedelta(days=90),
    distrust=(Distrust(keyid=EVE.key.keyid, from_entry=120),),
)
"""A root in which every part is used."""


def statement_of(predicate: dict[str, Any]) -> Statement:
    """The statement of an edited content, with the subject that belongs to it."""
    digest = sha256_digest(canonical_bytes(predicate))
    return Statement(predicate_type=ROOT_TYPE, subject_name="trust-root", subject_digest=digest, predicate=predicate)


def content(root: TrustRoot) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(canonical_bytes(dict(root.statement().predicate)))
    return found


@pytest.mark.parametrize("root", [team_root(), RICH], ids=["plain", "rich"])
def test_what_is_read_is_what_was_written(root: TrustRoot) -> None:
    assert root_faults(root) == ()
    assert TrustRoot.of(root.statement()) == root
    assert TrustRoot.of(statement_of(content(root))) == root


def test_the_content_is_written_in_one_form_whatever_order_it_was_made_in() -> None:
    turned = replace(
        RICH,
        persons=tuple(
            replace(
                each,
                teams=tuple(reversed(each.teams)),
                accounts=tuple(reversed(each.accounts)),
                keys=tuple(replace(key, purposes=tuple(reversed(key.purposes))) for key in reversed(each.keys)),
            )
            for each in reversed(RICH.persons)
        ),
        machines=tuple(replace(each, roles=tuple(reversed(each.roles))) for each in reversed(RICH.machines)),
        roles=tuple(replace(each, persons=tuple(reversed(each.persons))) for each in reversed(RICH.roles)),
        protected=tuple(reversed(RICH.protected)),
        expires=RICH.expires.astimezone(timezone(timedelta(hours=5))),
    )
    assert turned == RICH
    assert turned.statement() == RICH.statement()


def test_the_content_is_what_the_formats_say() -> None:
    assert content(team_root()) == {
        "version": 1,
        "previous": None,
        "expires": "2099-01-01T00:00:00Z",
        "ref": "refs/heads/main",
        "protected": ["inventories/**", "opsascode.yml", "policies/**"],
        "persons": {
            name: {
                "name": name.capitalize(),
                "teams": [],
                "accounts": sorted([name, f"github:{name}-x"]),
                "emails": [f"{name}@example.org"],
                "forge": {},
                "keys": [{"key": hand.key.openssh(), "purposes": ["approval", "root"]}],
            }
            for name, hand in (("alice", ALICE), ("bob", BOB), ("carol", CAROL), ("dave", DAVE))
        },
        "machines": {},
        "roles": {
            "root": {"threshold": 2, "teams": 0, "persons": ["alice", "bob", "carol"]},
            "rollback-approver": {"threshold": 2, "teams": 0, "persons": ["alice", "bob", "carol", "dave"]},
            "policy-approver": {"threshold": 1, "teams": 0, "persons": ["alice", "bob", "carol", "dave"]},
            "run-approver": {"threshold": 1, "teams": 0, "persons": ["alice", "bob", "carol", "dave"]},
        },
        "bridge_most": 1,
        "witness_quorum": 0,
        "max_staleness_hours": None,
        "rollback_window_days": 180,
        "distrust": {},
        "salt": SALT,
    }


def test_the_salt_alone_makes_another_repository() -> None:
    assert team_root().statement().subject_digest != team_root(salt="00" * 16).statement().subject_digest


def test_everything_that_is_wrong_is_said_at_once_and_nothing_of_it_can_be_signed() -> None:
    wrong = team_root(
        version=0,
        ref="main",
        protected=("../**",),
        salt="salt",
        bridge_most=3,
        persons=(*PERSONS, person("Eve", DAVE)),
        roles=with_roles(role(ROOT_ROLE, 1, "alice", "mallory")),
    )
    faults = root_faults(wrong)
    assert faults[0].code == "E_KEY_REUSE"
    said = "\n".join(map(str, faults))
    for part in ("'Eve'", "version is 0", "'main'", "'../**'", "salt", "bridge_most", "threshold 1", "'mallory'"):
        assert part in said
    with pytest.raises(CodedProofError, match="; and 4 more") as caught:
        wrong.statement()
    assert caught.value.code == "E_KEY_REUSE"


def test_everything_that_is_wrong_with_the_form_is_said_at_once() -> None:
    found = content(team_root())
    found["version"], found["ref"], found["persons"]["bob"]["emails"] = True, 7, {}
    found["roles"]["root"]["threshold"] = "2"
    with pytest.raises(CodedProofError) as caught:
        TrustRoot.of(statement_of(found))
    for part in ("version", "ref", "emails of person 'bob'", "threshold of role 'root'"):
        assert part in caught.value.message


def test_people_keys_and_machines_are_found() -> None:
    assert RICH.person("bob") == RICH_BOB
    assert RICH.person("Bob") is None
    assert RICH.role(ROOT_ROLE) == role(ROOT_ROLE, 2, "alice", "bob", "carol")
    assert [each.id for each in RICH.members(ROLLBACK_APPROVER)] == ["alice", "bob", "carol", "dave"]
    assert RICH.members("nobody") == ()
    assert RICH.owner(BOBS_TOKEN.key.keyid) == RICH_BOB
    assert RICH.owner(EVE.key.keyid) is None
    assert RICH.keys(KeyPurpose.BREAK_GLASS) == (BOBS_TOKEN.key,)
    assert BOBS_TOKEN.key not in RICH.keys(KeyPurpose.APPROVAL)
    assert {*RICH.keys(KeyPurpose.ROOT)} == {ALICE.key, BOB.key, CAROL.key, DAVE.key}
    assert RICH.machine_keys(MachineRole.RUNNER) == (CI.key,)
    assert RICH.machine_keys(MachineRole.BRIDGE) == (BRIDGE.key,)
    assert RICH.at_forge("github", 7) == RICH_BOB
    assert RICH.at_forge("github", 8) is None
    assert RICH.scope == ("inventories/**", "opsascode.yml", "policies/**", TRUST_SCOPE)
    assert {role.name for role in RICH.roles} >= {POLICY_APPROVER, RUN_APPROVER}


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("bob", ["bob"]),
        ("Bob", []),
        ("github:bob-x", ["bob"]),
        ("github:BOB-X", ["bob"]),
        ("bob@example.org", ["bob"]),
        ("Bob@Example.ORG", ["bob"]),
        ("bob@example.com", []),
        ("", []),
    ],
)
def test_accounts_and_addresses_lead_to_everybody_who_may_be_behind_them(name: str, ids: list[str]) -> None:
    assert [each.id for each in RICH.behind(name)] == ids


def test_a_shared_address_leads_to_all_who_share_it() -> None:
    shared = tuple(replace(each, emails=("ops@example.org",)) for each in PERSONS)
    root = team_root(persons=shared)
    assert root_faults(root) == ()
    assert [each.id for each in root.behind("OPS@example.org")] == ["alice", "bob", "carol", "dave"]


@pytest.mark.parametrize(
    ("teams", "count"),
    [
        ((), 0),
        (((),), 0),
        ((("a",), ("a",)), 1),
        ((("a",), ("b",)), 2),
        ((("a", "b"),), 1),
        ((("a", "b"), ("a",)), 2),
        ((("a", "b"), ("a", "b"), ("a", "b")), 2),
        ((("a", "b"), ("b", "c"), ("a",)), 3),
        ((("a", "b", "c"), ("a",), ("a",)), 2),
    ],
)
def test_a_person_stands_for_one_team_at_a_time(teams: tuple[tuple[str, ...], ...], count: int) -> None:
    people = [person(f"p{n}", ALICE, teams=each) for n, each in enumerate(teams)]
    assert teams_among(people) == count
    assert teams_among(list(reversed(people))) == count


def test_nobody_is_locked_out_when_one_leaves_a_team() -> None:
    of = {"alice": "ops", "bob": "ops", "carol": "dev", "dave": "dev"}
    persons = tuple(replace(each, teams=(of[each.id],)) for each in PERSONS)
    two = team_root(persons=persons, roles=with_roles(role(ROOT_ROLE, 2, *of, teams=2)))
    assert root_faults(two) == ()
    three = replace(two, roles=with_roles(role(ROOT_ROLE, 2, "alice", "bob", "carol", teams=2)))
    assert [str(each.code) for each in root_faults(three)] == ["E_ROOT"]  # without carol, there is no other team


def test_times_are_of_a_zone_and_whole_seconds() -> None:
    assert root_faults(team_root(expires=datetime(2099, 1, 1)))  # noqa: DTZ001 - the naive one is the case
    assert root_faults(team_root(expires=datetime(2099, 1, 1, microsecond=1, tzinfo=UTC)))


GOOD = content(RICH)


def read(predicate: dict[str, Any]) -> TrustRoot | CodedProofError:
    try:
        return TrustRoot.of(statement_of(predicate))
    except CodedProofError as error:
        return error


def places(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a value at which something stands."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(deeper for key, item in items for deeper in places(item, (*place, key)))]


PLACES = [each for each in places(GOOD) if each]
values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(2**53) + 1, max_value=2**53 - 1),
    st.text(max_size=70),
    st.sampled_from(["alice", "refs/heads/x", "policies/**", "runner", "root", ALICE.key.openssh(), SALT]),
    st.lists(st.sampled_from(["alice", "bob", "carol", "root", "approval"]), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(min_value=0, max_value=9), max_size=2),
)


@given(st.sampled_from(PLACES), values)
def test_a_root_with_one_part_replaced_is_refused_or_is_a_valid_root_that_says_so(
    place: tuple[str | int, ...], value: Any
) -> None:
    bent = json.loads(json.dumps(GOOD))
    found = bent
    for step in place[:-1]:
        found = found[step]
    found[place[-1]] = value
    root = read(bent)
    if isinstance(root, CodedProofError):
        assert str(root.code) in {"E_ROOT", "E_KEY_REUSE", "E_KEY", "E_KEY_TYPE", "E_WEAK_KEY", "E_PARSE"}
        assert root.message.isprintable()
    else:
        # Nothing is dropped, rounded or corrected: what was read says exactly what was signed.
        assert root_faults(root) == ()
        assert root.statement() == statement_of(bent)
        assert (root == RICH) == (bent == GOOD)


@given(st.sampled_from([each for each in PLACES if isinstance(each[-1], str)]), st.text(min_size=1, max_size=5))
def test_no_part_can_be_added_where_the_format_names_them(place: tuple[str | int, ...], name: str) -> None:
    bent = json.loads(json.dumps(GOOD))
    found = bent
    for step in place[:-1]:
        found = found[step]
    if name in found:
        return
    found[name] = []
    with pytest.raises(CodedProofError):
        TrustRoot.of(statement_of(bent))


@given(st.sampled_from(PLACES))
def test_what_is_left_away_is_missed_or_shown(place: tuple[str | int, ...]) -> None:
    bent = json.loads(json.dumps(GOOD))
    found = bent
    for step in place[:-1]:
        found = found[step]
    del found[place[-1]]
    try:
        root = TrustRoot.of(statement_of(bent))
    except CodedProofError:
        return
    assert root != RICH
    assert root.statement() == statement_of(bent)


def nested(depth: int) -> st.SearchStrategy[Any]:
    """Any JSON of at most so many levels."""
    plain = st.one_of(st.none(), st.booleans(), st.integers(min_value=-9, max_value=9), st.text(max_size=5))
    if not depth:
        return plain
    inner = nested(depth - 1)
    return st.one_of(plain, st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4))


json_values = nested(3)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), json_values, max_size=13), st.booleans())
def test_no_content_makes_the_reader_do_anything_but_refuse(parts: dict[str, Any], whole: bool) -> None:
    made = GOOD | parts if whole else parts
    try:
        root = TrustRoot.of(statement_of(made))
    except CodedProofError:
        return
    assert root.statement() == statement_of(made)
