"""A trust root of an attacker never counts: each attack starts from versions that count, and bends one thing.

A case has versions that were before (`before`), and the one the attacker brings. `set` and `drop` edit its content,
`hands` sign it. The honest variant is the same case without its attack: `honest` says what is different there.
"""

from __future__ import annotations

import base64
import copy
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from opsascode.proof import (
    PAYLOAD_TYPE,
    Code,
    CodedProofError,
    canonical_bytes,
    payload_digest,
    pre_authentication,
    read_chain,
    sha256_digest,
)
from tests.people import ALICE, BOB, BOBS_TOKEN, CAROL, DAVE, EVE, Form, Hand
from tests.trust import PERSONS, person, team_root

ATTACKS = json.loads((Path(__file__).parent / "trust_roots.json").read_text())
HANDS = {
    "alice": ALICE,
    "bob": BOB,
    "carol": CAROL,
    "dave": DAVE,
    "eve": EVE,
    "bobs_token": BOBS_TOKEN,
    "alice_on_token": Hand("alice", on_token=True),
    "eve_on_token": Hand("eve", on_token=True),
    "runner": Hand("runner"),
    "witness": Hand("witness"),
}
BOTH_OF_BOB = tuple(person("bob", BOB, BOBS_TOKEN) if each.id == "bob" else each for each in PERSONS)
FIRST: dict[str, Any] = dict(team_root(persons=BOTH_OF_BOB).statement().predicate)


def keyed(value: Any) -> Any:
    """Put the key of a hand where its name stands behind an @."""
    if isinstance(value, str) and value.startswith("@"):
        name, _, comment = value[1:].partition(" ")
        return HANDS[name].key.openssh(comment)
    if isinstance(value, list):
        return [keyed(each) for each in value]
    return {name: keyed(each) for name, each in value.items()} if isinstance(value, dict) else value


def edited(predicate: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(predicate)
    for place, value in spec.get("set", []):
        found: Any = made
        for step in place[:-1]:
            found = found[step]
        found[place[-1]] = keyed(value)
    for place in spec.get("drop", []):
        found = made
        for step in place[:-1]:
            found = found[step]
        del found[place[-1]]
    return made


def payload_of(predicate: dict[str, Any], spec: dict[str, Any]) -> bytes:
    # JSON as Python writes it, so that floats and unsorted keys can stand in it.
    content = json.dumps(predicate, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    for before, after in spec.get("swap", []):
        assert content.count(before.encode()) == 1, (before, content)
        content = content.replace(before.encode(), after.encode())
    digest = sha256_digest(canonical_bytes(json.loads(content)) if spec.get("subject_of") else content)
    digest = spec.get("subject_digest", digest).removeprefix("sha256:")
    return (
        b'{"_type":"https://in-toto.io/Statement/v1","predicate":%b,"predicateType":"%b",'
        b'"subject":[{"digest":{"sha256":"%b"},"name":"%b"}]}%b'
    ) % (
        content,
        spec.get("predicate_type", "urn:opsascode:trust-root:v1").encode(),
        digest.encode(),
        spec.get("subject", "trust-root").encode(),
        b" " * spec.get("indent", 0),
    )


def form_of(changes: dict[str, Any]) -> Form:
    made = dict(changes)
    for field in fields(Form):
        if isinstance(made.get(field.name), str):
            value = made[field.name]
            made[field.name] = bytes.fromhex(value) if field.name == "behind" else value.encode()
    return replace(Form(), **made)


def envelope_of(payload: bytes, spec: dict[str, Any]) -> bytes:
    if "raw" in spec:
        return bytes(spec["raw"].encode() * spec["repeat"])
    payload_type = spec.get("payload_type", PAYLOAD_TYPE)
    signatures = []
    for name in spec.get("hands", ["alice", "bob"]):
        hand = HANDS[name]
        form = form_of(spec["form"]) if name == spec.get("bent") else None
        blob = hand.sign(pre_authentication(spec.get("signed_type", payload_type), payload), form)
        blob = blob[: -spec["cut"]] if name == spec.get("bent") and "cut" in spec else blob
        written = base64.b64encode(blob).decode()
        written += spec.get("behind", "") if name == spec.get("bent") else ""
        signatures.append({"keyid": spec.get("keyid", hand.key.keyid), "sig": written})
    signatures *= spec.get("repeat", 1)
    if spec.get("respell"):
        signatures.append({"sig": signatures[0]["sig"]})
    found = {"payload": base64.b64encode(payload).decode(), "payloadType": payload_type, "signatures": signatures}
    return canonical_bytes(found)


def versions_of(case: dict[str, Any], before: list[dict[str, Any]], last: dict[str, Any]) -> list[bytes]:
    """Sign version 1, those before, and the last one, each following the one before it; or only version 1, so bent."""
    first = case.get("first", {})
    specs = [first | last] if case.get("alone") else [first, *before, last]
    predicate = FIRST
    envelopes: list[bytes] = []
    for spec in specs:
        if envelopes:
            predicate = predicate | {"version": len(envelopes) + 1, "previous": payload_digest(envelopes[-1])}
        predicate = edited(predicate, spec)
        envelopes.append(envelope_of(payload_of(predicate, spec), spec))
    return envelopes


def shown(envelopes: list[bytes], order: list[int] | None) -> list[bytes]:
    return envelopes if order is None else [envelopes[version - 1] for version in order]


@pytest.mark.parametrize("case", ATTACKS, ids=[f"{each['attack']}-{each['name']}" for each in ATTACKS])
def test_attack(case: dict[str, Any]) -> None:
    before = case.get("before", [])
    honest = versions_of(case, before, case.get("honest", {}))
    pin = payload_digest(honest[0])
    chain = read_chain(honest, pin=pin, least=len(honest), pending="refuse")  # the honest variant passes
    assert chain.current.root.version == len(honest)

    attack = shown(versions_of(case, case.get("before_attack", before), case["last"]), case.get("order"))
    wanted = case.get("pin", pin)
    with pytest.raises(CodedProofError) as caught:
        read_chain(attack, pin=wanted, least=case.get("least", 1), pending="refuse")
    assert caught.value.code == case["code"], caught.value
    assert caught.value.message
    assert caught.value.message.isprintable()
    # Left alone, a version that lacks signatures has no effect; anything else still stops everything.
    try:
        left = read_chain(attack, pin=wanted, least=case.get("least", 1))
    except CodedProofError:
        return
    assert [each.digest for each in left.roots] == [each.digest for each in chain.roots[:-1]]


def test_every_code_of_the_table_is_one_of_ours_and_no_case_is_twice() -> None:
    assert {case["code"] for case in ATTACKS} <= {*map(str, Code)}
    names = [(case["attack"], case["name"]) for case in ATTACKS]
    assert len({*names}) == len(names)
