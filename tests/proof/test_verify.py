from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsascode.errors import ProofError
from opsascode.proof import (
    CodedProofError,
    LedgerReader,
    make_receipt,
    open_envelope,
    seal,
    sha256_digest,
    verify_ledger,
    verify_receipt,
)
from tests.proof.world import ORIGIN, World, statement

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A ledger of three runs that nobody appends to any more."""
    world = World(tmp_path_factory.mktemp("finished"))
    world.record_runs(3)
    return world


@settings(max_examples=150)
@given(data=st.data())
def test_no_byte_of_the_truth_can_be_changed_unseen(finished: World, data: st.DataObject) -> None:
    whole = finished.segment.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != whole[place]))
    finished.segment.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
    try:
        verdict = verify_ledger(
            finished.ledger_directory, keys=finished.keys, high_water=finished.high_water, every_checkpoint=True
        )
    finally:
        finished.segment.write_bytes(whole)
    assert not verdict.ok
    # A line is two thirds of an entry and its checkpoint: the fault is named within one entry of where it lies.
    entry = whole.count(b"\n", 0, place) // 2
    assert any(fault.index is not None and abs(fault.index - entry) <= 1 for fault in verdict.faults)


@settings(max_examples=100)
@given(data=st.data())
def test_no_line_that_matters_can_be_taken_away_doubled_or_moved_unseen(finished: World, data: st.DataObject) -> None:
    whole = finished.segment.read_bytes()
    lines = whole.splitlines(keepends=True)
    entries = lines[0::2]
    order = data.draw(st.lists(st.sampled_from(range(6)), max_size=7).filter(lambda one: one != list(range(6))))
    kept = data.draw(st.booleans())
    changed = [line for n in order for line in ((lines[2 * n], lines[2 * n + 1]) if kept else (entries[n],))]
    finished.segment.write_bytes(b"".join(changed) + (b"" if kept else lines[-1]))
    try:
        verdict = verify_ledger(finished.ledger_directory, keys=finished.keys, high_water=finished.high_water)
    finally:
        finished.segment.write_bytes(whole)
    assert not verdict.ok


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_no_bytes_make_a_verifier_stumble(finished: World, data: bytes) -> None:
    assert not verify_receipt(data, finished.keys).ok
    with pytest.raises(ProofError):
        open_envelope(data, finished.keys)


@settings(max_examples=100)
@given(data=st.data())
def test_no_byte_of_a_receipt_can_be_changed_unseen(finished: World, data: st.DataObject) -> None:
    reader = LedgerReader.read(finished.ledger_directory, keys=finished.keys)
    receipt = make_receipt(reader, (2, 3), {"plan": b"the plan"})
    place = data.draw(st.integers(0, len(receipt) - 2))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != receipt[place]))
    changed = receipt[:place] + bytes([byte]) + receipt[place + 1 :]
    before, after = verify_receipt(receipt, finished.keys), verify_receipt(changed, finished.keys)
    assert before.ok
    if after.ok:
        # Only the label of an attachment is signed by nobody.
        assert after.records == before.records
        assert [one.data for one in after.attachments] == [one.data for one in before.attachments]


def test_a_receipt_shows_records_and_attachments_to_whoever_has_the_key(world: World) -> None:
    journal = bytes(range(256)) * 16 * 1024  # 4 MiB
    with world.open() as ledger:
        ledger.append(world.seal("run-start"))
        ledger.append(world.seal("run-end", journal={"digest": sha256_digest(journal)}))
        receipt = make_receipt(ledger, (0, 1), {"plan": b"the plan", "journal.jsonl": journal})
    verdict = verify_receipt(receipt, world.keys, origin=ORIGIN)
    assert verdict.ok
    assert [(one.index, one.record.statement.kind) for one in verdict.records] == [(0, "run-start"), (1, "run-end")]
    assert [(one.name, one.named_by, one.data == journal) for one in verdict.attachments] == [
        ("plan", "records[1].subject", False),
        ("journal.jsonl", "records[1].predicate.journal.digest", True),
    ]
    assert {fault.code for fault in verify_receipt(receipt, world.keys, origin="opsascode/other").faults} == {
        "E_ORIGIN",
        "E_ATTACHMENT",
    }


def test_a_receipt_proves_nothing_to_whoever_has_another_key(finished: World, tmp_path: Path) -> None:
    reader = LedgerReader.read(finished.ledger_directory, keys=finished.keys)
    verdict = verify_receipt(make_receipt(reader, (0, 1), {}), World(tmp_path).keys)
    assert verdict.records == ()
    assert [(fault.index, fault.code) for fault in verdict.faults] == [(0, "E_SIGNATURE"), (1, "E_SIGNATURE")]


def test_a_receipt_ends_at_its_cap(finished: World) -> None:
    reader = LedgerReader.read(finished.ledger_directory, keys=finished.keys)
    with pytest.raises(ProofError, match="at most"):
        make_receipt(reader, (0,), {"large": bytes(50 * 1024 * 1024)})


def test_a_record_too_large_for_the_ledger_is_not_sealed(world: World) -> None:
    with pytest.raises(ProofError, match="attachment"):
        seal(statement(text="x" * 60000), world.signer)


@pytest.mark.parametrize(
    "change",
    [
        {"predicate_type": "run-start"},
        {"subject_name": "a\nb"},
        {"subject_name": ""},
        {"subject_digest": "0" * 64},
        {"predicate": {"share": 0.5}},
    ],
    ids=repr,
)
def test_what_no_verifier_would_take_is_not_sealed(world: World, change: dict[str, object]) -> None:
    parts = {name: getattr(statement(), name) for name in statement().__slots__}
    with pytest.raises(CodedProofError):
        seal(type(statement())(**{**parts, **change}), world.signer)


def test_the_door_costs_nothing_until_it_is_used() -> None:
    program = "import opsascode.proof, sys, json; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
    assert not [name for name in loaded if name.startswith(("cryptography", "opsascode.proof.", "hashlib"))]


def test_the_door_has_what_it_names_and_nothing_else() -> None:
    door = __import__("opsascode.proof", fromlist=["proof"])
    assert all(getattr(door, name) is not None for name in door.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = door.nothing
