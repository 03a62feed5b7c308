"""Approvals of an attacker never add up: each attack starts where two honest people would be enough, and takes one away."""

from __future__ import annotations

import base64
import json
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from opsascode.policy import APPROVAL, Answer, ApprovalCode, ApprovalNeed, judge_approvals
from opsascode.proof import PAYLOAD_TYPE, Code, canonical_bytes, payload_digest, statement_payload
from tests import people
from tests.people import NOW, PEOPLE, PLAN, ROLE, RUN, Form, Hand, approval

ATTACKS = json.loads((Path(__file__).parent / "approvals.json").read_text())
NEED = ApprovalNeed(
    plan=PLAN,
    stage="0.1",
    run=RUN,
    repository="ops",
    requester="alice",
    required=2,
    role=ROLE,
    lifetime=timedelta(hours=1),
)


def need_of(case: dict[str, Any]) -> ApprovalNeed:
    changes = dict(case.get("need", {}))
    if "lifetime_hours" in changes:
        changes["lifetime"] = timedelta(hours=changes.pop("lifetime_hours"))
    if "aliases" in changes:
        changes["aliases"] = tuple(changes["aliases"])
    return replace(NEED, **changes)


def hand_of(case: dict[str, Any]) -> Hand:
    found: Hand = getattr(people, case.get("hand", case["by"]).upper())
    return found


def form_of(case: dict[str, Any]) -> Form:
    changes = dict(case.get("form", {}))
    for field in fields(Form):
        if isinstance(changes.get(field.name), str):
            value = changes[field.name]
            changes[field.name] = bytes.fromhex(value) if field.name == "behind" else value.encode()
    return replace(Form(), **changes)


def payload_of(case: dict[str, Any]) -> bytes:
    changes = dict(case.get("approval", {}))
    if "decision" in changes:
        changes["decision"] = Answer(changes["decision"])
    if "minutes" in case:
        begin, end = case["minutes"]
        changes |= {"issued": NOW + timedelta(minutes=begin), "expires": NOW + timedelta(minutes=end)}
    payload = statement_payload(approval(case["by"], **changes).statement())
    if "swap" in case:
        before, after = (each.encode() for each in case["swap"])
        assert payload.count(before) == 1
        payload = payload.replace(before, after)
    return payload


def envelopes_of(case: dict[str, Any]) -> list[bytes]:
    if "raw" in case:
        return [case["raw"].encode() * case["times"]]
    envelope = hand_of(case).envelop(
        payload_of(case), form_of(case), payload_type=case.get("payload_type", PAYLOAD_TYPE)
    )
    written = json.loads(envelope)
    if "payload_type" in case:
        written["payloadType"] = case["payload_type"]
    if "signatures" in case:
        written["signatures"] *= case["signatures"]
    if "cut" in case:
        blob = base64.b64decode(written["signatures"][0]["sig"])
        written["signatures"][0]["sig"] = base64.b64encode(blob[: -case["cut"]]).decode()
    if case.get("respell"):
        written["signatures"][0] = {"sig": written["signatures"][0]["sig"]}
        return [json.dumps(written, indent=1).encode()]
    changed = {"payload_type", "signatures", "cut"} & case.keys()
    envelope = canonical_bytes(written) if changed else envelope
    return [envelope[:-1] + b" " * number + b"}" for number in range(case.get("flood", 1))]


@pytest.mark.parametrize("case", ATTACKS, ids=[f"{each['attack']}-{each['name']}" for each in ATTACKS])
def test_attack(case: dict[str, Any]) -> None:
    bob = people.BOB.envelope(approval("bob", **case.get("honest", {})))
    carol = people.CAROL.envelope(approval("carol", **case.get("honest", {})))
    honest = replace(NEED, **case.get("honest", {}))
    assert judge_approvals(honest, [bob, carol], PEOPLE, NOW).satisfied  # the honest variant passes

    if "shown" in case:  # the honest people were shown the same as the attacker
        bob = people.BOB.envelope(approval("bob", **case["shown"]))
        carol = people.CAROL.envelope(approval("carol", **case["shown"]))
    attack = envelopes_of(case)
    used = frozenset({payload_digest(attack[0])}) if case.get("used") else frozenset()
    given = attack if case.get("alone") else [*attack, bob, *attack]
    verdict = judge_approvals(need_of(case), given, PEOPLE, NOW, used=used)
    assert not verdict.satisfied
    assert [fault.code for fault in verdict.faults] == case["codes"]
    assert bool(verdict.declined) == case.get("declined", False)
    assert verdict.missing
    assert all(fault.message for fault in verdict.faults)
    if case.get("declined"):
        assert not judge_approvals(need_of(case), [*given, carol], PEOPLE, NOW).satisfied


def test_every_code_of_the_table_is_one_of_ours() -> None:
    known = {*map(str, ApprovalCode), *map(str, Code)}
    assert {code for case in ATTACKS for code in case["codes"]} <= known
    assert APPROVAL == "urn:opsascode:approval:v1"
