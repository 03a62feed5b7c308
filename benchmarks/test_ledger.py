"""What a record costs: to seal, to append for good, to verify; beside the floor nobody can go below.

The floor of an append is its waiting for the disk and one signature, that of a verification one Ed25519 verification:
both are measured here too, by the same machine in the same minute. `pytest benchmarks/test_ledger.py` prints all of
them; `make bench` shows those that something is promised about.
"""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING

import pytest

from opsascode.proof import (
    Ledger,
    Statement,
    ensure_machine_key,
    make_receipt,
    open_envelope,
    seal,
    sha256_digest,
    verify_ledger,
    verify_receipt,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from opsascode.proof import Signer

ORIGIN = "opsascode/benchmark"
RECORDS = 2000


def statement(number: int) -> Statement:
    """A record of about 1.3 KiB, as that of a run on twenty hosts."""
    return Statement(
        predicate_type="urn:opsascode:run-start:v1",
        subject_name=f"run-{number}",
        subject_digest=sha256_digest(b"plan"),
        predicate={
            "ledger": ORIGIN,
            "commit": "0" * 40,
            "hosts": [f"host{n}.example.com" for n in range(20)],
            "parameters": {"service": "api", "min_rps": 100, "note": "x" * 60},
        },
    )


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    return ensure_machine_key(tmp_path / "machine", comment="benchmark")


@pytest.fixture
def ledger(tmp_path: Path, signer: Signer) -> Ledger:
    return Ledger.open(tmp_path / "ledger", signer=signer, origin=ORIGIN, high_water=tmp_path / "mark")


def test_floor_sign(benchmark: BenchmarkFixture, signer: Signer) -> None:
    benchmark(signer.sign, bytes(1300))


def test_floor_verify(benchmark: BenchmarkFixture, signer: Signer) -> None:
    signature = signer.sign(bytes(1300))
    assert benchmark(signer.public_key.verify, bytes(1300), signature)


def test_floor_wait_for_the_disk(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "floor", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def write() -> None:
        os.write(descriptor, bytes(1600))
        os.fdatasync(descriptor)

    benchmark.pedantic(write, rounds=RECORDS)
    os.close(descriptor)


def test_seal(benchmark: BenchmarkFixture, signer: Signer) -> None:
    assert 1250 < len(benchmark(seal, statement(0), signer)) < 1400


def test_open_envelope(benchmark: BenchmarkFixture, signer: Signer) -> None:
    benchmark(open_envelope, seal(statement(0), signer), (signer.public_key,))


def test_append_durable(benchmark: BenchmarkFixture, ledger: Ledger, signer: Signer) -> None:
    numbers = count()
    benchmark.pedantic(ledger.append, setup=lambda: ((seal(statement(next(numbers)), signer),), {}), rounds=RECORDS)
    assert ledger.size == RECORDS


def test_append_hundred_together(benchmark: BenchmarkFixture, ledger: Ledger, signer: Signer) -> None:
    numbers = count()

    def hundred() -> tuple[tuple[list[bytes]], dict[str, object]]:
        return ([seal(statement(next(numbers)), signer) for _ in range(100)],), {}

    benchmark.pedantic(ledger.append_many, setup=hundred, rounds=20)


def test_verify_all_records(benchmark: BenchmarkFixture, tmp_path: Path, ledger: Ledger, signer: Signer) -> None:
    for number in range(RECORDS):
        ledger.append(seal(statement(number), signer))
    verdict = benchmark.pedantic(
        verify_ledger,
        args=(tmp_path / "ledger",),
        kwargs={"keys": (signer.public_key,), "high_water": tmp_path / "mark"},
        rounds=10,
    )
    benchmark.extra_info["records"] = RECORDS
    assert verdict.ok


def test_open_a_ledger_of_two_thousand(
    benchmark: BenchmarkFixture, tmp_path: Path, ledger: Ledger, signer: Signer
) -> None:
    ledger.append_many([seal(statement(number), signer) for number in range(RECORDS)])
    benchmark(lambda: Ledger.open(tmp_path / "ledger", signer=signer, high_water=tmp_path / "mark").close())


def test_receipt_of_one_run(benchmark: BenchmarkFixture, ledger: Ledger, signer: Signer) -> None:
    ledger.append_many([seal(statement(number), signer) for number in range(RECORDS)])
    receipt = make_receipt(ledger, (RECORDS - 2, RECORDS - 1), {"plan": b"plan"})
    assert benchmark(verify_receipt, receipt, (signer.public_key,)).ok
