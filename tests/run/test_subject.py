"""Facts about a plan that guardrails judge: the name of an inventory, questions at the start, records that stay small."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from opsascode.policy import BlastRadius, Reason, Subject, Trigger
from opsascode.run._judged import JUDGED_BYTES, bounded_reasons, bounded_subject
from opsascode.run._plan import AskedApproval
from opsascode.run._subject import environment_of

SUBJECT = Subject(
    plan_digest="sha256:aa",
    runbook="service-restart",
    labels={},
    blast_radius=BlastRadius(),
    host_count=4,
    inventory_total=100,
    groups=frozenset({"all"}),
    dirty=False,
    trigger=Trigger.MANUAL,
)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("inventories/production.yml", "production"),
        ("inventories/production", "production"),
        ("inventories/production/hosts.yml", "production"),
        ("inventories/production/group_vars/../hosts", "production"),
        ("elsewhere/staging/hosts.ini", "staging"),
        ("elsewhere/staging.ini", "staging"),
        ("hosts", "hosts"),
        ("web1,", "ad-hoc"),
    ],
)
def test_an_environment_is_the_name_of_its_inventory(source: str, name: str) -> None:
    assert environment_of(source) == name


def test_a_small_subject_is_recorded_whole() -> None:
    assert Subject.of_json(bounded_subject(SUBJECT)) == SUBJECT


@pytest.mark.parametrize(
    "large",
    [
        {"groups": frozenset(f"group-{number}" for number in range(5000))},
        {"modules": frozenset({"m" * 100_000})},
        {"labels": {f"label-{number}": "x" * 400 for number in range(100)}},
        {"opaque": ("o" * 100_000,)},
    ],
)
def test_a_large_subject_is_cut_and_says_so(large: dict[str, object]) -> None:
    found = bounded_subject(replace(SUBJECT, **large))  # type: ignore[arg-type]  # each name is a field of a subject
    assert len(json.dumps(found)) < JUDGED_BYTES * 1.1
    assert Subject.of_json(found).partial
    assert found["hosts"] == 4


def test_reasons_are_told_as_far_as_they_fit() -> None:
    many = tuple(Reason(code="denied", message="x" * 400, source="guardrail a", rule=f"r{n}") for n in range(50))
    some, whole = bounded_reasons(many, most=3000)
    assert not whole
    assert 0 < len(some) < 50
    assert bounded_reasons(many[:2], most=3000)[1]
    assert bounded_reasons(many, most=-5) == ([], False)


def test_an_approval_that_a_guardrail_asks_is_read_back() -> None:
    asked = AskedApproval(required=2, role=None, by="guardrail a", reason="two look")
    assert AskedApproval.of_json(asked.to_json()) == asked
    for bad in ({"required": 0}, {"required": True}, {"role": 3}, {"by": None}):
        with pytest.raises(TypeError, match="cannot be read"):
            AskedApproval.of_json({**asked.to_json(), **bad})
