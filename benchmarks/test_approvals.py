"""What does one approval cost to verify, from its bytes to what it counts for; beside what nobody can go below?

The floor is one Ed25519 verification of the same machine in the same minute; the peer is `ssh-keygen -Y verify` of the
same signature, which is a process of its own. `pytest benchmarks/test_approvals.py` prints all of them.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from opsascode.policy import ApprovalNeed, Said, judge_approvals
from opsascode.policy._say import Asked, Say, hear
from opsascode.proof import APPROVAL_NAMESPACE, PAYLOAD_TYPE, armor, pre_authentication, statement_payload
from tests.fuzz import corpus
from tests.people import ALICE, BOB, NOW, PEOPLE, PLAN, ROLE, RUN, allowed_signers, approval

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    from tests.people import Hand

NEED = ApprovalNeed(plan=PLAN, stage="0.1", run=RUN, repository="ops", requester="alice", role=ROLE)
ROUNDS = 30


def heard(benchmark: BenchmarkFixture, person: str, hand: Hand) -> None:
    """Judge one statement about a change, by the key of one of four people and three machines."""
    envelope = hand.envelop(statement_payload(corpus.say(person, Said.APPROVE).statement()))
    asked = Asked.of(
        corpus.change(),
        corpus.roots()[0],
        since=frozenset(),
        effects=corpus.EFFECTS,
        used=frozenset(),
        now=NOW,
    )
    assert isinstance(benchmark(hear, asked, envelope), Say)


def test_approval_of_a_change(benchmark: BenchmarkFixture) -> None:
    heard(benchmark, "bob", BOB)


def test_approval_by_a_token(benchmark: BenchmarkFixture) -> None:
    heard(benchmark, "dave", corpus.TOKEN)


def test_approval_of_a_run(benchmark: BenchmarkFixture) -> None:
    envelopes = [BOB.envelope(approval("bob"))]
    assert benchmark(judge_approvals, NEED, envelopes, PEOPLE, NOW).satisfied


def test_floor_verify(benchmark: BenchmarkFixture) -> None:
    message = bytes(180)  # as many as an SSHSIG signs
    assert benchmark(ALICE.key.public.verify, message, ALICE.private.sign(message))


def test_ssh_keygen_verify(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    message = pre_authentication(PAYLOAD_TYPE, statement_payload(approval("bob").statement()))
    (tmp_path / "signature").write_text(armor(BOB.sign(message)))
    (tmp_path / "people").write_text(allowed_signers(PEOPLE))
    words = ["ssh-keygen", "-Y", "verify", "-f", "people", "-I", "bob", "-n", APPROVAL_NAMESPACE, "-s", "signature"]

    def verify() -> int:
        return subprocess.run(words, cwd=tmp_path, input=message, check=False, capture_output=True).returncode

    assert benchmark.pedantic(verify, rounds=ROUNDS, warmup_rounds=2) == 0
