"""One version follows from the other, signed by enough persons of both; a proposal has no effect until it is."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.proof import (
    APPROVAL_NAMESPACE,
    PAYLOAD_TYPE,
    ROOT_ROLE,
    CodedProofError,
    KeyPurpose,
    TrustRoot,
    add_signature,
    armor,
    dearmor,
    join_signatures,
    open_by_person,
    payload_digest,
    pending_root,
    pre_authentication,
    read_chain,
    statement_payload,
    wrap,
)
from tests.people import ALICE, BOB, BOBS_TOKEN, CAROL, DAVE, EVE, Form, Hand
from tests.trust import (
    PERSONS,
    ROLES,
    chain_of,
    digest_of,
    next_root,
    person,
    role,
    signed,
    team_root,
    with_roles,
    write_key,
)

if TYPE_CHECKING:
    from pathlib import Path

ONE = team_root()
TWO = next_root(ONE, bridge_most=0)
THREE = next_root(TWO, ref="refs/heads/production")
EVERYBODY = {"alice": ALICE, "bob": BOB, "carol": CAROL, "dave": DAVE}


def test_versions_are_read_one_by_one_up_to_the_last() -> None:
    envelopes = [signed(ONE), signed(TWO, BOB, CAROL), signed(THREE, ALICE, BOB, CAROL)]
    chain = read_chain(envelopes, pin=digest_of(ONE), least=3, pending="refuse")
    assert [each.root for each in chain.roots] == [ONE, TWO, THREE]
    assert [each.digest for each in chain.roots] == [payload_digest(each) for each in envelopes]
    assert [each.signers for each in chain.roots] == [("alice", "bob"), ("bob", "carol"), ("alice", "bob", "carol")]
    assert [each.envelope for each in chain.roots] == envelopes
    assert chain.current.root == THREE
    assert chain.repository == digest_of(ONE)
    assert chain.at(2).root == TWO
    assert pending_root(envelopes, chain) is None


@pytest.mark.parametrize("version", [-1, 0, 2])
def test_there_is_no_version_outside_of_the_chain(version: int) -> None:
    with pytest.raises(CodedProofError) as caught:
        chain_of(ONE).at(version)
    assert caught.value.code == "E_ROOT_VERSION"


def test_a_chain_extends_those_it_begins_with_and_no_other() -> None:
    one, two = chain_of(ONE), chain_of(ONE, TWO)
    other = chain_of(ONE, next_root(ONE, bridge_most=2))
    assert two.extends(one)
    assert two.extends(two)
    assert not one.extends(two)
    assert not other.extends(two)
    assert not two.extends(chain_of(team_root(salt="00" * 16)))


def test_a_proposal_has_no_effect_until_enough_have_signed() -> None:
    envelopes = [signed(ONE), signed(TWO, BOB)]
    chain = read_chain(envelopes)
    assert chain.current.root == ONE
    proposed = pending_root(envelopes, chain)
    assert proposed is not None
    assert proposed.root == TWO
    assert proposed.signers == ("bob",)
    assert proposed.able == ("alice", "carol")
    assert proposed.missing == "1 of 2 persons with the role root have signed; 1 more must (of alice, carol)"
    with pytest.raises(CodedProofError, match="1 more must") as caught:
        read_chain(envelopes, pending="refuse")
    assert caught.value.code == "E_THRESHOLD"

    envelopes[1] = signed(TWO, CAROL, onto=envelopes[1])
    grown = read_chain(envelopes, pending="refuse")
    assert grown.current.root == TWO
    assert pending_root(envelopes, chain) is None  # it counts, for whoever reads the chain again


def test_what_is_missing_is_said_for_both_versions_where_it_differs() -> None:
    new = next_root(ONE, roles=with_roles(role(ROOT_ROLE, 3, "alice", "bob", "carol", "dave")))
    envelopes = [signed(ONE), signed(new, ALICE)]
    proposed = pending_root(envelopes, read_chain(envelopes))
    assert proposed is not None
    assert proposed.missing == (
        "of version 1, 1 of 2 persons with the role root have signed; 1 more must (of bob, carol); "
        "of version 2, 1 of 3 persons with the role root have signed; 2 more must (of bob, carol, dave)"
    )
    envelopes = [signed(ONE), signed(new, ALICE, BOB)]
    proposed = pending_root(envelopes, read_chain(envelopes))
    assert proposed is not None
    assert proposed.missing == (
        "of version 2, 2 of 3 persons with the role root have signed; 1 more must (of carol, dave)"
    )


def test_a_proposal_that_could_never_count_stops_everything() -> None:
    stale = replace(TWO, previous="sha256:" + "ab" * 32)
    for envelopes in ([signed(ONE), signed(stale)], [signed(ONE), signed(TWO, EVE)], [signed(ONE), b"{}"]):
        with pytest.raises(CodedProofError):
            read_chain(envelopes)
        with pytest.raises(CodedProofError):
            pending_root(envelopes, chain_of(ONE))


def test_version_1_is_never_a_proposal() -> None:
    with pytest.raises(CodedProofError) as caught:
        read_chain([signed(ONE, ALICE)])
    assert caught.value.code == "E_THRESHOLD"


@pytest.mark.parametrize("signers", list(itertools.chain.from_iterable(
    itertools.combinations(EVERYBODY, count) for count in range(1, 5)
)), ids=" ".join)  # fmt: skip
def test_a_version_counts_when_thresholds_of_both_versions_are_met(signers: tuple[str, ...]) -> None:
    roles = with_roles(role(ROOT_ROLE, 2, "bob", "carol", "dave"))
    new = next_root(ONE, roles=roles)  # alice leaves the role, dave comes
    envelopes = [signed(ONE), signed(new, *(EVERYBODY[each] for each in signers))]
    old_met = len({"alice", "bob", "carol"} & {*signers}) >= 2
    new_met = len({"bob", "carol", "dave"} & {*signers}) >= 2
    if not {"alice", "bob", "carol"} & {*signers}:
        with pytest.raises(CodedProofError) as caught:  # nothing is read that nobody known has signed
            read_chain(envelopes)
        assert caught.value.code == "E_SIGNATURE"
    else:
        assert (read_chain(envelopes).current.root == new) == (old_met and new_met)


def test_a_new_key_of_a_person_counts_for_the_version_that_brings_it() -> None:
    fresh = person("carol", Hand("carol's new key"))
    new = next_root(ONE, persons=(*(each for each in PERSONS if each.id != "carol"), fresh))
    old_key = read_chain([signed(ONE), signed(new, ALICE, CAROL)])
    assert old_key.current.root == ONE  # carol's old key speaks for version 1, but only alice for version 2
    both = read_chain([signed(ONE), signed(new, ALICE, CAROL, Hand("carol's new key"))])
    assert both.current.root == new
    assert both.current.signers == ("alice", "carol")


def test_what_was_signed_with_a_key_stays_to_be_judged_after_the_key_is_revoked() -> None:
    without = tuple(replace(each, keys=()) if each.id == "dave" else each for each in PERSONS)
    chain = chain_of(ONE, next_root(ONE, persons=without))
    payload = statement_payload(TWO.statement())
    record = open_by_person(DAVE.envelop(payload), chain.at(1).root.keys(KeyPurpose.APPROVAL))
    owner = chain.at(1).root.owner(record.keyid)
    assert owner is not None
    assert owner.id == "dave"
    assert chain.current.root.owner(record.keyid) is None
    with pytest.raises(CodedProofError):
        open_by_person(DAVE.envelop(payload), chain.current.root.keys(KeyPurpose.APPROVAL))


def test_one_bent_signature_does_not_take_the_others_away() -> None:
    whole = signed(TWO, ALICE, BOB)
    payload = statement_payload(TWO.statement())
    message = pre_authentication(PAYLOAD_TYPE, payload)
    bent = add_signature(whole, payload, CAROL.key.keyid, CAROL.sign(message, Form(namespace=b"git")))
    chain = read_chain([signed(ONE), bent], pending="refuse")
    assert chain.current.signers == ("alice", "bob")
    assert chain.current.digest == digest_of(TWO)


def test_a_hint_decides_nothing() -> None:
    written = json.loads(signed(TWO, ALICE, BOB))
    for each in written["signatures"]:
        each["keyid"] = CAROL.key.keyid
    assert read_chain([signed(ONE), json.dumps(written).encode()]).current.signers == ("alice", "bob")


def test_white_space_around_an_envelope_changes_nothing_that_counts() -> None:
    spaced = read_chain([b" " + signed(ONE) + b"\n", signed(TWO) + b"\n"], pin=digest_of(ONE))
    assert [each.digest for each in spaced.roots] == [digest_of(ONE), digest_of(TWO)]


def test_versions_are_not_read_without_end() -> None:
    with pytest.raises(CodedProofError, match="at most 1000") as caught:
        read_chain([signed(ONE)] * 1001)
    assert caught.value.code == "E_ROOT"


@given(st.permutations([ALICE, BOB, CAROL, BOBS_TOKEN]))
def test_the_envelope_is_the_same_whoever_signs_first(hands: list[Hand]) -> None:
    assert signed(ONE, *hands) == signed(ONE, ALICE, BOB, CAROL, BOBS_TOKEN)


def test_copies_signed_apart_are_joined() -> None:
    apart = join_signatures(signed(ONE, ALICE, CAROL), signed(ONE, BOB, CAROL))
    assert apart == signed(ONE, ALICE, BOB, CAROL)
    with pytest.raises(CodedProofError, match="different content"):
        join_signatures(signed(ONE), signed(TWO))


def test_a_signature_replaces_the_one_under_its_key_id() -> None:
    payload = statement_payload(ONE.statement())
    bent = wrap(payload, keyid=ALICE.key.keyid, signature=b"nonsense")
    assert signed(ONE, ALICE, onto=bent) == signed(ONE, ALICE)
    assert signed(ONE, ALICE) == ALICE.envelop(payload)  # one signature is the one form every record has


def test_no_more_signatures_are_taken_than_are_read() -> None:
    hands = [Hand(f"hand {number}") for number in range(17)]
    assert len(json.loads(signed(ONE, *hands[:16]))["signatures"]) == 16
    with pytest.raises(CodedProofError) as caught:
        signed(ONE, *hands)
    assert caught.value.code == "E_PARSE"


def test_a_root_that_is_too_large_is_refused_when_it_is_written() -> None:
    many = [person(f"person-{number}", Hand(f"person {number}"), accounts=("x" * 250,)) for number in range(120)]
    with pytest.raises(CodedProofError, match="at most 65535 fit"):
        signed(team_root(persons=(*PERSONS, *many)))


WHOLE = signed(TWO, ALICE, BOB)


@given(st.integers(min_value=0, max_value=len(WHOLE) - 1), st.integers(min_value=1, max_value=255))
def test_no_byte_can_be_changed_so_that_another_root_counts(place: int, change: int) -> None:
    bent = bytearray(WHOLE)
    bent[place] ^= change
    try:
        chain = read_chain([signed(ONE), bytes(bent)], pin=digest_of(ONE))
    except CodedProofError:
        return
    assert chain.current.root in (ONE, TWO)  # a bent signature leaves a proposal, a bent hint changes nothing
    assert chain.current.digest in (digest_of(ONE), digest_of(TWO))


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_no_bytes_make_the_reader_do_anything_but_refuse(envelopes: list[bytes]) -> None:
    with pytest.raises(CodedProofError):
        read_chain(envelopes)
    with pytest.raises(CodedProofError):
        read_chain([signed(ONE), *envelopes, b"x"])


moves = st.lists(
    st.tuples(
        st.sets(st.sampled_from(sorted(EVERYBODY)), min_size=3),
        st.integers(min_value=2, max_value=3),
        st.sets(st.sampled_from(sorted(EVERYBODY)), min_size=1),
    ),
    max_size=4,
)


@given(moves)
def test_whatever_is_proposed_the_chain_only_grows_by_what_both_versions_agree_to(
    steps: list[tuple[set[str], int, set[str]]],
) -> None:
    last, envelopes, expected = ONE, [signed(ONE)], 1
    for members, threshold, signers in steps:
        wanted = min(threshold, len(members) - 1)
        new = next_root(last, roles=with_roles(role(ROOT_ROLE, wanted, *sorted(members))))
        before = last.role(ROOT_ROLE)
        assert before is not None
        envelope = signed(new, *(EVERYBODY[each] for each in sorted(signers)))
        enough = len(signers & {*before.persons}) >= before.threshold and len(signers & members) >= wanted
        if not signers & {*before.persons}:
            continue
        chain = read_chain([*envelopes, envelope], pin=digest_of(ONE), least=expected)
        assert chain.current.root == (new if enough else last)
        if enough:
            last, envelopes, expected = new, [*envelopes, envelope], expected + 1


def keygen(*words: object, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ssh-keygen", *map(str, words)], input=data, capture_output=True, check=False)


@pytest.mark.parametrize("hand", [ALICE, BOBS_TOKEN], ids=["file", "token"])
def test_ssh_keygen_alone_verifies_who_signed_a_root(tmp_path: Path, hand: Hand) -> None:
    persons = tuple(person("bob", BOB, BOBS_TOKEN) if each.id == "bob" else each for each in PERSONS)
    root = team_root(persons=persons)
    envelope = signed(root, ALICE, BOBS_TOKEN)
    written: Any = json.loads(envelope)
    message = pre_authentication(written["payloadType"], base64.b64decode(written["payload"]))
    blob = next(each["sig"] for each in written["signatures"] if each["keyid"] == hand.key.keyid)
    allowed = "".join(f"{each.id} {one.key.openssh()}\n" for each in root.persons for one in each.keys)
    (tmp_path / "allowed").write_text(allowed)
    (tmp_path / "sig").write_text(armor(base64.b64decode(blob)))
    owner = root.owner(hand.key.keyid)
    assert owner is not None
    words = ("-Y", "verify", "-f", tmp_path / "allowed", "-n", APPROVAL_NAMESPACE, "-s", tmp_path / "sig", "-I")
    told = keygen(*words, owner.id, data=message)
    assert told.returncode == 0, told.stderr
    assert keygen(*words, "carol", data=message).returncode != 0
    assert keygen(*words, owner.id, data=message + b"x").returncode != 0


def test_what_ssh_keygen_signs_counts(tmp_path: Path) -> None:
    payload = statement_payload(ONE.statement())
    (tmp_path / "message").write_bytes(pre_authentication(PAYLOAD_TYPE, payload))
    envelope = None
    for hand in (ALICE, BOB):
        key = write_key(hand, tmp_path / hand.seed)
        told = keygen("-Y", "sign", "-f", key, "-n", APPROVAL_NAMESPACE, tmp_path / "message")
        assert told.returncode == 0, told.stderr
        made = tmp_path / "message.sig"
        envelope = add_signature(envelope, payload, hand.key.keyid, dearmor(made.read_bytes()))
        made.unlink()
    assert envelope == signed(ONE)  # byte for byte
    assert read_chain([envelope]).current.signers == ("alice", "bob")


def test_a_root_is_no_approval_and_an_approval_no_root() -> None:
    with pytest.raises(CodedProofError) as caught:
        open_by_person(signed(ONE), [ALICE.key], predicate_types=("urn:opsascode:approval:v1",))
    assert caught.value.code == "E_TYPE"


def ten_versions() -> list[bytes]:
    """Ten versions of ten persons with two keys each, of whom three must sign."""
    names = [f"person-{number}" for number in range(10)]
    persons = tuple(person(each, Hand(each), Hand(f"{each} on a token", on_token=True)) for each in names)
    roles = tuple(replace(each, persons=tuple(names), threshold=min(3, each.threshold + 1)) for each in ROLES)
    root: TrustRoot = team_root(persons=persons, roles=roles)
    envelopes = []
    for _ in range(10):
        envelopes.append(signed(root, *(Hand(each) for each in names[:3])))
        root = next_root(root, bridge_most=1 - root.bridge_most)
    return envelopes


def test_ten_versions_of_ten_persons_are_read() -> None:
    envelopes = ten_versions()
    assert len(read_chain(envelopes, pin=payload_digest(envelopes[0]), least=10).roots) == 10
