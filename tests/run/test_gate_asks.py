"""How a gate's question is put to people, and which questions and answers are meant when it is asked again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.policy import GateOverride, OverrideFault, decide_gate
from opsascode.proof import LedgerReader
from opsascode.run import Actor, Exchange, Overrides, State, prunable_gates, prune
from tests.people import BOB, CAROL, PEOPLE, approval
from tests.policy.gates import NOW, document, policies, question
from tests.run.histories import Machine

if TYPE_CHECKING:
    from pathlib import Path

    from opsascode.policy import GateQuestion, GateVerdict
    from opsascode.run import AskRequest

ALICE = Actor(user="alice", machine="laptop")
DAY = timedelta(days=1)


@dataclass
class Gate:
    """The gate of one shop that blocks, on a machine with a state directory."""

    state: State
    asked: int = 0
    exchange: Exchange = field(init=False)

    def __post_init__(self) -> None:
        self.exchange = Exchange(state=self.state)

    def question(self, change: str) -> GateQuestion:
        known = policies(document())
        return replace(question(known, {"availability": {"bad": 84, "total": 100000}}), change=change)

    def verdict(self, change: str) -> GateVerdict:
        return decide_gate(policies(document()), self.question(change), now=NOW)

    def overrides(self, change: str, *files: bytes) -> Overrides:
        return Overrides(
            exchange=self.exchange, repository="ops", service="shop", change_class="deploy", change=change, files=files
        )

    def ask(self, change: str, ago: timedelta = timedelta()) -> AskRequest:
        """Put the question to people, as long ago as that."""
        self.asked += 1
        verdict = replace(self.verdict(change), asked=NOW - ago)
        name = f"gate-{verdict.asked:%Y%m%d-%H%M%S}-{self.asked:06x}"
        return self.overrides(change).ask(verdict, name, commit=None, actor=ALICE)

    def sign(self, request: AskRequest, *names: str) -> tuple[bytes, ...]:
        hands = {"bob": BOB, "carol": CAROL}
        about: dict[str, Any] = {
            "plan": request.plan_digest, "run": request.run, "role": None, "issued": request.asked,
            "expires": request.asked + timedelta(hours=4),
        }  # fmt: skip
        return tuple(hands[name].envelope(replace(approval(name), **about)) for name in names)

    def answer(self, request: AskRequest, *names: str) -> None:
        for each in self.sign(request, *names):
            self.exchange.leave(request.run, request.plan_digest, each)

    def heard(self, change: str, *files: bytes) -> tuple[GateOverride | OverrideFault, ...]:
        needed = self.verdict(change).needed
        assert needed is not None
        return self.overrides(change, *files).hear(needed, PEOPLE, ALICE, NOW)

    def file(self, request: AskRequest) -> Path:
        place = self.overrides("").place(request)
        assert place is not None
        return place

    @property
    def kept(self) -> list[str]:
        return sorted(each.name for each in (self.state.directory / "gates").iterdir())


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "state")


@pytest.fixture
def gate(machine: Machine) -> Gate:
    return Gate(machine.state)


# Which change.


def test_what_people_signed_lets_their_change_out_and_no_other(gate: Gate) -> None:
    request = gate.ask("shop 1.4.2")
    gate.answer(request, "bob", "carol")
    (given,) = gate.heard("shop 1.4.2")
    assert isinstance(given, GateOverride)
    assert (given.change, given.by) == ("shop 1.4.2", ("bob", "carol"))
    for other, words in (
        ("shop 1.4.3", "not for the change 'shop 1.4.3'"),
        ("", "not for a gate asked without --change"),
    ):
        (fault,) = gate.heard(other)
        assert isinstance(fault, OverrideFault)
        assert (fault.id, fault.code) == (request.run, "E_GATE_CHANGE")
        assert fault.message == f"it is for the change 'shop 1.4.2', {words}"


def test_what_was_agreed_to_without_a_name_lets_no_named_change_out(gate: Gate) -> None:
    request = gate.ask("")
    gate.answer(request, "bob", "carol")
    assert isinstance(gate.heard("")[0], GateOverride)
    (fault,) = gate.heard("shop 1.4.2")
    assert isinstance(fault, OverrideFault)
    assert fault.code == "E_GATE_CHANGE"


def test_one_signature_for_another_change_is_said_to_be_that_and_not_to_lack_a_second(gate: Gate) -> None:
    request = gate.ask("shop 1.4.2")
    (signed,) = gate.sign(request, "bob")
    (fault,) = gate.heard("shop 1.4.3", gate.file(request).read_bytes(), signed)
    assert isinstance(fault, OverrideFault)
    assert (fault.code, fault.waits) == ("E_GATE_CHANGE", False)


def test_who_asks_about_another_change_asks_anew(gate: Gate) -> None:
    request = gate.ask("shop 1.4.2")
    found = gate.overrides("shop 1.4.2").standing(gate.verdict("shop 1.4.2"), ALICE, NOW)
    assert found is not None
    assert found.request == request
    for other in ("shop 1.4.3", ""):
        assert gate.overrides(other).standing(gate.verdict(other), ALICE, NOW) is None


def test_a_question_that_was_brought_as_a_file_stands(gate: Gate, tmp_path: Path) -> None:
    request = gate.ask("shop 1.4.2")
    elsewhere = Gate(Machine(tmp_path / "elsewhere").state)
    brought = gate.file(request).read_bytes()
    found = elsewhere.overrides("shop 1.4.2", brought).standing(gate.verdict("shop 1.4.2"), ALICE, NOW)
    assert found is not None
    assert found.request == request
    assert elsewhere.overrides("shop 1.4.2").place(request) is None
    for bent in (
        replace(elsewhere.overrides("shop 1.4.3", brought)),
        replace(elsewhere.overrides("shop 1.4.2", brought), repository="x"),
    ):
        assert bent.standing(gate.verdict("shop 1.4.2"), ALICE, NOW) is None


def test_questions_about_many_other_changes_do_not_push_an_answer_away(gate: Gate) -> None:
    request = gate.ask("shop 1.4.2", ago=timedelta(hours=1))
    gate.answer(request, "bob", "carol")
    for number in range(25):
        gate.answer(gate.ask(f"shop 2.{number}"), "bob")
    assert isinstance(gate.heard("shop 1.4.2")[0], GateOverride)


def test_what_ended_for_another_change_is_not_spoken_of(gate: Gate) -> None:
    gate.answer(gate.ask("shop 1.4.2", ago=timedelta(hours=5)), "bob", "carol")
    assert gate.heard("shop 1.4.3") == ()
    (fault,) = gate.heard("shop 1.4.2")
    assert isinstance(fault, OverrideFault)
    assert fault.code == "E_GATE_EXPIRED"


# Who asks.


def test_nothing_is_in_vain_where_people_are_behind_every_account(gate: Gate) -> None:
    assert gate.overrides("").in_vain(PEOPLE, ALICE) is None
    found = gate.overrides("").in_vain(PEOPLE, replace(ALICE, detail="mallory-x", login="mallory"))
    assert found is not None
    assert found.code == "E_REQUESTER"
    assert "opsascode trust propose --account PERSON=github:mallory-x --account PERSON=mallory;" in found.mend


# What goes when the disk is kept free.


def going(gate: Gate, *, days: int = 0, keep: int = 0) -> list[str]:
    return [each.gate for each in prunable_gates(gate.state, before=NOW - days * DAY, now=NOW, keep=keep)]


def test_what_nobody_answered_goes_when_it_can_be_overridden_no_more(gate: Gate) -> None:
    old, newer = gate.ask("1", ago=20 * DAY), gate.ask("2", ago=10 * DAY)
    ended, still = gate.ask("3", ago=timedelta(hours=5)), gate.ask("4", ago=timedelta(hours=3))
    assert going(gate) == [old.run, newer.run, ended.run]
    assert going(gate, days=15) == [old.run]
    assert going(gate, keep=2) == [old.run, newer.run]
    assert going(gate, keep=4) == []
    far = prunable_gates(gate.state, before=NOW + 900 * DAY, now=NOW)
    assert still.run not in {each.gate for each in far}, "whatever was asked for, what can be overridden stays"


def test_what_people_signed_stays(gate: Gate) -> None:
    signed, declined = gate.ask("1", ago=20 * DAY), gate.ask("2", ago=20 * DAY)
    gate.answer(signed, "bob", "carol")
    gate.answer(declined, "bob")
    assert going(gate) == []


def test_what_is_no_question_stays(gate: Gate, tmp_path: Path) -> None:
    place = gate.file(gate.ask("1", ago=20 * DAY))
    place.write_text("{}")
    gates = gate.state.directory / "gates"
    (gates / "notes").mkdir()
    (gates / "gate-20261301-120000-abcdef").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (gates / "gate-20261101-120000-abcdef").symlink_to(tmp_path / "elsewhere")
    assert going(gate) == []


def test_a_removal_that_was_interrupted_goes_on(gate: Gate) -> None:
    request = gate.ask("1", ago=20 * DAY)
    gate.file(request).unlink()
    assert going(gate) == [request.run]


def test_what_goes_is_named_in_the_ledger_first(gate: Gate, machine: Machine) -> None:
    old, still = gate.ask("1", ago=20 * DAY), gate.ask("2")
    size = gate.file(old).stat().st_size
    chosen = prunable_gates(gate.state, before=NOW, now=NOW)
    with machine.state.ledger(machine.signer) as ledger:
        assert prune((), chosen, ledger=ledger, signer=machine.signer, actor=ALICE, now=NOW) == size
    assert gate.kept == [still.run]
    reader = LedgerReader.read(machine.state.ledger_directory, keys=machine.state.public_keys({}))
    (record,) = (each.record.statement.predicate for each in reader.pick([0]))
    assert (record["runs"], record["gates"]) == ([], [old.run])
