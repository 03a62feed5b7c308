"""What asks for less than before is told from what asks for more, and nothing slips through between."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.proof import (
    BREAK_GLASS,
    POLICY_APPROVER,
    ROLLBACK_APPROVER,
    ROOT_ROLE,
    Distrust,
    KeyPurpose,
    MachineRole,
    RootChange,
    TrustedKey,
    TrustedMachine,
    TrustedPerson,
    TrustRoot,
    loosens,
    root_changes,
    root_faults,
    teams_among,
)
from tests.people import BOB, BOBS_TOKEN, DAVE, EVE, Hand
from tests.trust import EXPIRES, PERSONS, ROLES, person, role, team_root, trusted, with_roles

RUNNER = TrustedMachine(name="ci", key=Hand("ci").key.public, roles=(MachineRole.RUNNER,))
LEDGER = replace(RUNNER, roles=(MachineRole.LEDGER, MachineRole.RUNNER))
WITNESS = TrustedMachine(name="watch", key=Hand("watch").key.public, roles=(MachineRole.WITNESS,))
BRIDGE = TrustedMachine(name="hub", key=Hand("hub").key.public, roles=(MachineRole.BRIDGE,))
KNOWN = Distrust(keyid=EVE.key.keyid, from_entry=120)
BASE = team_root()
CREWS = {"alice": ("ops",), "bob": ("ops",), "carol": ("dev",), "dave": ("dev",)}


def people(**changed: TrustedPerson | None) -> tuple[TrustedPerson, ...]:
    """The persons, some replaced or added, or removed with None."""
    found = {each.id: each for each in PERSONS} | changed
    return tuple(each for each in found.values() if each is not None)


def bob(**changes: Any) -> tuple[TrustedPerson, ...]:
    return people(bob=replace(person("bob"), **changes))


def without(name: str) -> tuple[Any, ...]:
    return tuple(each for each in ROLES if each.name != name)


TEAMS = people(**{name: person(name, teams=teams) for name, teams in CREWS.items()})
QUOTA = with_roles(role(ROOT_ROLE, 2, *CREWS, teams=2))

# Each pair: what the two versions differ in, what is said, and whether the way there weakens, and the way back.
PAIRS: list[tuple[str, dict[str, Any], dict[str, Any], bool, bool]] = [
    ("expires", {}, {"expires": EXPIRES + timedelta(days=30)}, False, False),
    ("ref", {}, {"ref": "refs/heads/production"}, True, True),
    ("a protected path more", {}, {"protected": (*BASE.protected, "docs/**")}, False, True),
    ("a wider protected path", {"protected": ("policies/a/**",)}, {"protected": ("policies/**",)}, False, True),
    ("everything is protected", {}, {"protected": ("**",)}, False, True),
    (
        "a path that only looks wider",
        {"protected": ("policies/a/**",)},
        {"protected": ("policies/*/**",)},
        True,
        True,
    ),
    ("a display name", {}, {"persons": bob(name="Robert")}, False, False),
    ("a person with a key", {}, {"persons": people(eve=person("eve"))}, True, False),
    ("a person without a key", {}, {"persons": people(eve=replace(person("eve"), keys=()))}, False, False),
    (
        "a person with only a number at a forge",
        {},
        {"persons": people(eve=replace(person("eve"), keys=(), forge={"github": 9}))},
        True,
        False,
    ),
    ("a key", {}, {"persons": people(bob=person("bob", BOB, BOBS_TOKEN))}, True, False),
    ("a new key for an old one", {}, {"persons": people(bob=person("bob", BOBS_TOKEN))}, True, True),
    ("a purpose of a key", {}, {"persons": people(dave=person("dave", keys=(trusted(DAVE, KeyPurpose.APPROVAL),)))}, False, True),
    ("an account", {}, {"persons": bob(accounts=("bob", "bobby", "github:bob-x"))}, False, True),
    ("an address", {}, {"persons": bob(emails=("bob@example.org", "bob@home.example"))}, False, True),
    ("another address", {}, {"persons": bob(emails=("bob@home.example",))}, True, True),
    ("a number at a forge", {}, {"persons": bob(forge={"github": 7})}, True, True),
    ("another number at a forge", {"persons": bob(forge={"github": 7})}, {"persons": bob(forge={"github": 8})}, True, True),
    ("a team where no role asks for teams", {}, {"persons": bob(teams=("ops",))}, False, False),
    (
        "a team where a role asks for teams",
        {"persons": TEAMS, "roles": QUOTA},
        {"persons": tuple(replace(each, teams=("dev", "ops")) if each.id == "bob" else each for each in TEAMS), "roles": QUOTA},
        True,
        False,
    ),
    ("a threshold", {}, {"roles": with_roles(role(ROLLBACK_APPROVER, 3, *CREWS))}, False, True),
    ("a person in a role", {}, {"roles": with_roles(role(ROOT_ROLE, 2, *CREWS))}, True, False),
    ("teams of a role", {"persons": TEAMS, "roles": with_roles(role(ROOT_ROLE, 2, *CREWS))}, {"persons": TEAMS, "roles": QUOTA}, False, True),
    ("no role for changes forward", {}, {"roles": without(POLICY_APPROVER)}, True, False),
    ("no role for runs", {}, {"roles": without("run-approver")}, False, True),
    (
        "break-glass",
        {"persons": people(bob=person("bob", keys=(trusted(BOB), trusted(BOBS_TOKEN, KeyPurpose.BREAK_GLASS))))},
        {
            "persons": people(bob=person("bob", keys=(trusted(BOB), trusted(BOBS_TOKEN, KeyPurpose.BREAK_GLASS)))),
            "roles": with_roles(role(BREAK_GLASS, 1, "bob")),
        },
        True,
        False,
    ),
    ("a runner", {}, {"machines": (RUNNER,)}, False, False),
    ("a ledger", {}, {"machines": (LEDGER,)}, True, False),
    ("a witness", {}, {"machines": (WITNESS,)}, True, False),
    ("a bridge", {}, {"machines": (BRIDGE,)}, True, False),
    ("a runner becomes a ledger", {"machines": (RUNNER,)}, {"machines": (LEDGER,)}, True, False),
    ("a runner's key", {"machines": (RUNNER,)}, {"machines": (replace(RUNNER, key=Hand("ci 2").key.public),)}, False, False),
    ("a bridge's key", {"machines": (BRIDGE,)}, {"machines": (replace(BRIDGE, key=Hand("hub 2").key.public),)}, True, True),
    ("approvals over the bridge", {}, {"bridge_most": 2}, True, False),
    ("witnesses asked for", {"machines": (WITNESS,)}, {"machines": (WITNESS,), "witness_quorum": 1}, False, True),
    ("how old the ledger may be", {}, {"max_staleness": timedelta(hours=24)}, False, True),
    ("an older ledger", {"max_staleness": timedelta(hours=24)}, {"max_staleness": timedelta(hours=25)}, True, False),
    ("the window", {}, {"rollback_window": timedelta(days=90)}, True, False),
    ("distrust", {}, {"distrust": (KNOWN,)}, False, True),
    ("distrust from an earlier entry", {"distrust": (KNOWN,)}, {"distrust": (replace(KNOWN, from_entry=9),)}, False, True),
    ("the salt", {}, {"salt": "00" * 16}, False, False),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "there", "back"), [each[1:] for each in PAIRS], ids=[each[0] for each in PAIRS])
def test_a_change_weakens_or_does_not_in_each_direction(
    old: dict[str, Any], new: dict[str, Any], there: bool, back: bool
) -> None:
    before, after = team_root(**old), team_root(**new)
    assert (root_faults(before), root_faults(after)) == ((), ())
    assert loosens(before, after) == there
    assert loosens(after, before) == back
    for changes in (root_changes(before, after), root_changes(after, before)):
        assert changes
        assert all(each.what.isprintable() for each in changes)
        assert list(changes) == sorted(changes, key=lambda each: not each.weakens)
    assert root_changes(before, before) == ()


def test_changes_are_said_in_words() -> None:
    new = team_root(
        ref="refs/heads/production",
        persons=people(bob=person("bob", BOB, BOBS_TOKEN), dave=None),
        roles=with_roles(
            role(ROOT_ROLE, 2, "alice", "bob", "carol"),
            role(ROLLBACK_APPROVER, 2, "alice", "bob", "carol"),
            role(POLICY_APPROVER, 2, "alice", "bob", "carol"),
            role("run-approver", 1, "alice"),
        ),
    )
    assert root_changes(BASE, new) == (
        RootChange(what=f"person bob: key {BOBS_TOKEN.key.keyid} added for approval, root", weakens=True),
        RootChange(what="the protected branch is refs/heads/production, before refs/heads/main", weakens=True),
        RootChange(what="person dave removed", weakens=False),
        RootChange(what="role policy-approver: threshold: 2, before 1", weakens=False),
        RootChange(what="role policy-approver: person dave removed", weakens=False),
        RootChange(what="role rollback-approver: person dave removed", weakens=False),
        RootChange(what="role run-approver: person bob removed", weakens=False),
        RootChange(what="role run-approver: person carol removed", weakens=False),
        RootChange(what="role run-approver: person dave removed", weakens=False),
    )


KEYS = {name: (Hand(name).key, Hand(f"{name} 2").key) for name in CREWS}
PURPOSES = st.sampled_from([(KeyPurpose.ROOT,), (KeyPurpose.APPROVAL,), (KeyPurpose.APPROVAL, KeyPurpose.ROOT)])


@st.composite
def roots(draw: st.DrawFn) -> TrustRoot:
    """Roots of the same four names, of which each may have other keys, teams, addresses and roles."""
    persons = tuple(
        TrustedPerson(
            id=name,
            name=name,
            keys=tuple(TrustedKey(key=each, purposes=draw(PURPOSES)) for each in keys if draw(st.booleans())),
            teams=tuple(draw(st.sets(st.sampled_from(["dev", "ops"])))),
            emails=tuple(draw(st.sets(st.sampled_from([f"{name}@a.example", "ops@a.example"])))),
        )
        for name, keys in KEYS.items()
    )
    members = draw(st.sets(st.sampled_from(sorted(CREWS)), min_size=1))
    held = role(ROOT_ROLE, draw(st.integers(1, 3)), *members, teams=draw(st.integers(0, 2)))
    return team_root(persons=persons, roles=(held,))


def enough(root: TrustRoot, keyids: frozenset[str]) -> bool:
    """Whether these keys are enough for a change of the root, said in the most obvious way."""
    held = root.role(ROOT_ROLE)
    assert held is not None
    able = [(each, {key.keyid for key in each.keys_for(KeyPurpose.ROOT)}) for each in root.members(ROOT_ROLE)]
    signed = [each for each, keys in able if keys & keyids]
    return len(signed) >= held.threshold and teams_among(signed) >= held.teams


@st.composite
def steps(draw: st.DrawFn) -> tuple[TrustRoot, TrustRoot]:
    """Two roots, of which the second takes over most of the first."""
    old, other = draw(roots()), draw(roots())
    few = st.sampled_from([True, False, False, False])
    persons = [theirs if draw(few) else mine for mine, theirs in zip(old.persons, other.persons, strict=True)]
    return old, replace(old, persons=tuple(persons), roles=other.roles if draw(few) else old.roles)


@given(steps())
def test_where_nothing_weakens_nobody_can_do_what_they_could_not_before(step: tuple[TrustRoot, TrustRoot]) -> None:
    old, new = step
    if loosens(old, new):
        return
    for chosen in itertools.product(*((None, *keys) for keys in KEYS.values())):
        keyids = frozenset(each.keyid for each in chosen if each is not None)
        assert enough(old, keyids) or not enough(new, keyids)
    for address in ("ops@a.example", *(f"{name}@a.example" for name in CREWS)):
        assert {each.id for each in old.behind(address)} <= {each.id for each in new.behind(address)}


@given(roots(), st.data())
def test_taking_away_keys_members_and_adding_to_what_is_asked_never_weakens(
    old: TrustRoot, data: st.DataObject
) -> None:
    held = old.role(ROOT_ROLE)
    assert held is not None
    kept = tuple(each for each in held.persons if data.draw(st.booleans()))
    more = data.draw(st.integers(0, 2))
    stricter = replace(held, persons=kept, threshold=held.threshold + more)
    persons = tuple(
        replace(each, keys=tuple(key for key in each.keys if data.draw(st.booleans()))) for each in old.persons
    )
    assert not loosens(old, replace(old, persons=persons, roles=(stricter,)))
