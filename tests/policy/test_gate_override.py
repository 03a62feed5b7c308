"""Attacks on the override of a gate: each is data, and each leaves the gate shut with a reason."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.policy import (
    GATE_REQUEST,
    Answer,
    Approval,
    ApprovalNeed,
    GateOverride,
    OverrideFault,
    hear_override,
    unknown_accounts,
)
from opsascode.proof import canonical_bytes, sha256_digest
from tests.people import ALICE, BOB, BOBS_TOKEN, CAROL, DAVE, EVE, NOW, PEOPLE, Form, Hand, approval

if TYPE_CHECKING:
    from collections.abc import Mapping

GATE = "gate-20261121-115900-abcdef"
LIFETIME = timedelta(hours=4)
REASON = {"code": "BUDGET", "effect": "block", "policy": "shop", "about": "availability", "message": "84 % is consumed"}


def shown(**changes: Any) -> dict[str, Any]:
    """A blocked verdict as people are shown it."""
    made = {
        "format": GATE_REQUEST, "gate": GATE, "repository": "ops", "service": "shop", "change_class": "deploy",
        "change": "shop 1.4.2", "reasons": [REASON], "asked": "2026-11-21T11:55:00Z", "until": "2026-11-21T15:55:00Z",
    }  # fmt: skip
    return {**made, **changes}


def digest(plan: Mapping[str, Any]) -> str:
    return sha256_digest(canonical_bytes(dict(plan)))


def need(plan: Mapping[str, Any], **changes: Any) -> ApprovalNeed:
    """What the policy asks for: two people who may approve runs; alice asked."""
    made = ApprovalNeed(
        plan=digest(plan), stage="0.1", run=GATE, repository="ops", requester="alice", required=2, lifetime=LIFETIME
    )
    return replace(made, **changes)


def signed(hand: Hand, person: str, plan: Mapping[str, Any], /, *, form: Form | None = None, **changes: Any) -> bytes:
    """What a person signed about a blocked verdict, right in every way unless bent."""
    made = approval(person, plan=digest(plan), run=GATE, role=None, expires=NOW + timedelta(minutes=55))
    return hand.envelope(replace(made, **changes), form)


def heard(plan: Mapping[str, Any], *envelopes: bytes, now: datetime = NOW, **changes: Any) -> Any:
    return hear_override(plan, need(plan, **changes), envelopes, PEOPLE, now)


def test_two_people_who_did_not_ask_overrule_it() -> None:
    plan = shown()
    found = heard(plan, signed(BOB, "bob", plan), signed(CAROL, "carol", plan))
    assert isinstance(found, GateOverride)
    assert (found.id, found.service, found.change_class, found.change) == (GATE, "shop", "deploy", "shop 1.4.2")
    assert found.by == ("bob", "carol")
    assert found.keys == {"BUDGET:shop:availability"}
    assert len(found.approvals) == 2
    assert found.until == NOW + timedelta(minutes=55), "the first signature to end"


def test_it_ends_when_the_policy_says_whatever_the_signatures_say() -> None:
    plan = shown()
    late: dict[str, Any] = {"issued": NOW, "expires": NOW + LIFETIME}
    found = heard(plan, signed(BOB, "bob", plan, **late), signed(CAROL, "carol", plan, **late))
    assert isinstance(found, GateOverride)
    assert found.until == datetime.fromisoformat("2026-11-21T15:55:00Z"), "four hours after the verdict"


def test_a_key_on_a_token_signs_as_well() -> None:
    plan = shown()
    assert isinstance(heard(plan, signed(BOBS_TOKEN, "bob", plan), signed(CAROL, "carol", plan)), GateOverride)


@dataclass(frozen=True)
class Attack:
    """What somebody tries: who signs what, what the request says, and the words of the answer."""

    name: str
    answer: str
    hands: tuple[tuple[Hand, str, dict[str, Any]], ...] = ()
    about: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)
    need: dict[str, Any] = field(default_factory=dict)
    form: Form | None = None
    waits: bool = False


BOTH: tuple[tuple[Hand, str, dict[str, Any]], ...] = ((BOB, "bob", {}), (CAROL, "carol", {}))
OTHER = {"plan": "sha256:" + "cd" * 32}
ATTACKS = (
    Attack("nobody signed", "0 of 2 approvals", waits=True),
    Attack("one person is not two", "1 of 2 approvals", ((BOB, "bob", {}),), waits=True),
    Attack("one person twice", "1 of 2 approvals", ((BOB, "bob", {}), (BOB, "bob", {"nonce": "1" * 32})), waits=True),
    Attack("one person with two keys", "1 of 2", ((BOB, "bob", {}), (BOBS_TOKEN, "bob", {"nonce": "1" * 32})), waits=True),
    Attack("who asked signs", "alice started this", ((ALICE, "alice", {}), (BOB, "bob", {}))),
    Attack("who asks now signed before", "bob started this", BOTH, need={"aliases": ("bob",)}),
    Attack("who asked, by the name at the forge", "alice started this", ((ALICE, "alice", {}), (BOB, "bob", {})),
           need={"requester": "github:alice-x"}, about={"requester": "github:alice-x"}),
    Attack("an account nobody is behind asks", "no person of the trust root has it", BOTH,
           need={"requester": "nobody"}, about={"requester": "nobody"}),
    Attack("a stranger signs as bob", "1 of 2", ((EVE, "bob", {}), (CAROL, "carol", {}))),
    Attack("dave signs as bob", "E_PERSON", ((DAVE, "bob", {}), (CAROL, "carol", {}))),
    Attack("a signature for something else", "1 of 2", BOTH, form=Form(namespace=b"file")),
    Attack("a signature that is bent", "0 of 2", BOTH, form=Form(malleate=True)),
    Attack("signatures about another verdict", "another plan", BOTH, about=OTHER),
    Attack("signatures about a run", "for run 20261121-115959-abcdef", BOTH, about={"run": "20261121-115959-abcdef"}),
    Attack("signatures about another gate", "for run gate-20261121-115900-ffffff", BOTH,
           about={"run": "gate-20261121-115900-ffffff"}),
    Attack("signatures that were shown another requester", "was shown that", BOTH, about={"requester": "dave"}),
    Attack("signatures about another stage", "for stage 0.2", BOTH, about={"stage": "0.2"}),
    Attack("signatures for another repository", "for the repository 'other'", BOTH, about={"repository": "other"}),
    Attack("signatures that ended", "expired at", BOTH, about={
        "issued": NOW - timedelta(hours=2), "expires": NOW - timedelta(hours=1)}),
    Attack("signatures from tomorrow", "still to come", BOTH, about={
        "issued": NOW + timedelta(days=1), "expires": NOW + timedelta(days=1, hours=1)}),
    Attack("signatures that stand for a week", "is the most", BOTH, about={
        "issued": NOW, "expires": NOW + timedelta(days=7)}),
    Attack("the policy got shorter meanwhile", "0:50:00 is the most", BOTH, need={"lifetime": timedelta(minutes=50)}),
    Attack("the policy asks for more people now", "2 of 3 approvals", BOTH, need={"required": 3}, waits=True),
    Attack("the policy asks for another role now", "as run-approver where incident-commander is asked", BOTH,
           need={"role": "incident-commander"}),
    Attack("a role the person does not have", "does not have the role", ((DAVE, "dave", {}), (BOB, "bob", {})),
           about={"role": "incident-commander"}, need={"role": "incident-commander"}),
    Attack("one of them declined", "declined by carol", ((BOB, "bob", {}), (CAROL, "carol", {"decision": Answer.DECLINE}),
           (DAVE, "dave", {}))),
    Attack("whoever declined approves as well", "declined by carol", (
        (BOB, "bob", {}), (CAROL, "carol", {"decision": Answer.DECLINE}), (CAROL, "carol", {"nonce": "2" * 32}))),
    Attack("a request of another repository", "it is for the repository 'other'", BOTH, shown={"repository": "other"}),
    Attack("a request filed under another name", "people were shown gate-20261121-110000-000000", BOTH,
           shown={"gate": "gate-20261121-110000-000000"}),
    Attack("a request of yesterday", "it could be given until", BOTH, shown={"asked": "2026-11-20T11:55:00Z"}),
    Attack("a request that ended sooner than the policy", "it could be given until 2026-11-21 11:58", BOTH,
           shown={"until": "2026-11-21T11:58:00Z"}),
    Attack("a request of tomorrow", "still to come", BOTH, shown={"asked": "2026-11-22T11:55:00Z"}),
    Attack("a request of no form", "what was asked is not clear", BOTH, shown={"format": "opsascode/plan/v1"}),
    Attack("a request that names no change", "what was asked is not clear", BOTH, shown={"change": None}),
    Attack("signatures about another change", "another plan", BOTH, about={"plan": digest(shown(change="shop 1.4.1"))}),
    Attack("a request without reasons", "what was asked is not clear", BOTH, shown={"reasons": None}),
    Attack("a reason without a name", "what was asked is not clear", BOTH, shown={"reasons": [{"effect": "block"}]}),
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name.replace(" ", "-"))
def test_an_attack_leaves_the_gate_shut_and_is_named(attack: Attack) -> None:
    plan = shown(**attack.shown)
    envelopes = [
        signed(hand, person, plan, form=attack.form if number == 0 or attack.name.endswith("bent") else None,
               **{**attack.about, **more})
        for number, (hand, person, more) in enumerate(attack.hands)
    ]  # fmt: skip
    found = heard(plan, *envelopes, **attack.need)
    assert isinstance(found, OverrideFault), attack.name
    assert attack.answer in found.message, found.message
    assert found.waits == attack.waits
    assert found.code.startswith("E_GATE_")


def test_every_attack_has_a_name_of_its_own() -> None:
    assert len({each.name for each in ATTACKS}) == len(ATTACKS)


@pytest.mark.parametrize("junk", [b"", b"{}", b"\x00" * 100, b'{"payload": "", "payloadType": "x", "signatures": []}'])
def test_junk_beside_good_signatures_changes_nothing(junk: bytes) -> None:
    plan = shown()
    found = heard(plan, junk, signed(BOB, "bob", plan), signed(CAROL, "carol", plan), junk)
    assert isinstance(found, GateOverride)


def test_reasons_are_named_by_what_people_read_not_by_a_name_beside_it() -> None:
    plan = shown(reasons=[{**REASON, "key": "INCIDENT:shop:inc-20261121-110000-aaaaaa"}])
    found = heard(plan, signed(BOB, "bob", plan), signed(CAROL, "carol", plan))
    assert isinstance(found, GateOverride)
    assert found.keys == {"BUDGET:shop:availability"}


def test_notes_and_warnings_that_were_shown_are_not_overridden() -> None:
    plan = shown(reasons=[REASON, {**REASON, "code": "NO_DATA", "effect": "pass"}])
    found = heard(plan, signed(BOB, "bob", plan), signed(CAROL, "carol", plan))
    assert isinstance(found, GateOverride)
    assert found.keys == {"BUDGET:shop:availability"}


@pytest.mark.parametrize(("accounts", "words"), [
    (("alice", "github:alice-x"), ""),
    (("alice", "github:mallory-x"), "asked as 'github:mallory-x', and no person of the trust root has the account"),
    (("nobody", "github:mallory-x", "nobody"), "asked as 'nobody' and 'github:mallory-x', and no person"),
], ids=str)  # fmt: skip
def test_an_account_that_nobody_is_behind_is_named_before_anybody_signs(accounts: tuple[str, ...], words: str) -> None:
    found = unknown_accounts(PEOPLE, accounts)
    assert (found is None) == (not words)
    if found is not None:
        assert found.code == "E_REQUESTER"
        assert words in found.message
        unknown = [each for each in dict.fromkeys(accounts) if not PEOPLE.behind(each)]
        assert " ".join(f"--account PERSON={each}" for each in unknown) in found.mend


def test_an_account_cannot_write_a_command_into_the_advice() -> None:
    found = unknown_accounts(PEOPLE, ("github:x; touch y",))
    assert found is not None
    assert "--account 'PERSON=github:x; touch y';" in found.mend


def test_what_people_sign_is_an_approval_like_any_other() -> None:
    made = approval("bob", plan=digest(shown()), run=GATE)
    assert Approval.of(made.statement()) == made
