"""Every stored attack gets the answer it must get, and making the attacks again changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.errors import ProofError
from opsascode.proof import PublicKey, open_envelope, verify_ledger, verify_proof, verify_receipt
from tests.attacks.make_proof_attacks import MACHINE, TABLES, load, table

if TYPE_CHECKING:
    from pathlib import Path

KEYS = (MACHINE.public_key,)


def cases(name: str) -> Any:
    found = [one for one in load(name) if "name" in one]
    return pytest.mark.parametrize("case", found, ids=[f"{one['attack']}-{one['name']}" for one in found])


@pytest.mark.parametrize("name", TABLES)
def test_the_stored_attacks_are_those_the_script_makes(name: str) -> None:
    assert load(name) == json.loads(table(name))


@cases("proof_envelopes")
def test_envelope(case: dict[str, Any]) -> None:
    def ask() -> str:
        return open_envelope(
            (case["envelope"] + case.get("behind", "") * 65536).encode(), KEYS, predicate_types=case.get("wanted")
        ).digest

    if case["codes"]:
        with pytest.raises(ProofError) as caught:
            ask()
        assert [caught.value.code] == case["codes"]
        assert caught.value.message
    else:
        assert ask() == open_envelope(load("proof_envelopes")[0]["envelope"].encode(), KEYS).digest


@cases("proof_keys")
def test_key(case: dict[str, Any]) -> None:
    def ask() -> PublicKey:
        return PublicKey.from_openssh(case["openssh"]) if "openssh" in case else PublicKey(bytes.fromhex(case["raw"]))

    if case["codes"]:
        with pytest.raises(ProofError) as caught:
            ask()
        assert [caught.value.code] == case["codes"]
    else:
        assert ask() == MACHINE.public_key


@cases("proof_proofs")
def test_proof(case: dict[str, Any]) -> None:
    def ask() -> int:
        return verify_proof(
            case["entry"].encode(), case["proof"] + case.get("behind", "") * 65536, KEYS, origin=case["origin"]
        )[1].size

    if case["codes"]:
        with pytest.raises(ProofError) as caught:
            ask()
        assert [caught.value.code] == case["codes"]
    else:
        assert ask() == 6


@cases("proof_receipts")
def test_receipt(case: dict[str, Any]) -> None:
    verdict = verify_receipt(case["receipt"].encode(), KEYS)
    assert [fault.code for fault in verdict.faults] == case["codes"]
    assert verdict.ok == (not case["codes"])


@cases("proof_ledgers")
def test_ledger(case: dict[str, Any], tmp_path: Path) -> None:
    given = {**load("proof_ledgers")[0]["base"], **case}
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "000000000000.jsonl").write_text(given["segment"])
    (tmp_path / "nodes").write_bytes(bytes.fromhex(given["nodes"]))
    for name in ("ledger.json", "mark"):
        if given[name]:
            (tmp_path / name).write_text(given[name])
    mark = tmp_path / "mark" if given["mark"] else None
    verdict = verify_ledger(tmp_path, keys=KEYS, high_water=mark, every_checkpoint=True)
    found = [fault.code + ("" if fault.index is None else f"@{fault.index}") for fault in verdict.faults]
    assert sorted(found) == sorted(case["codes"])
    assert verdict.ok == (not case["codes"])
