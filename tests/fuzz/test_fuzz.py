"""A short search on every run of the tests, always the same, and every input that was once answered wrongly."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import OpsError
from opsascode.proof import CodedProofError, Handover, parse_strict, verify_receipt
from opsascode.repo import load_source
from tests.fuzz import corpus
from tests.fuzz.guard import BrokenError, Finding, examine, from_hexdump
from tests.fuzz.mutate import bent
from tests.fuzz.targets import TARGETS, Target

if TYPE_CHECKING:
    from collections.abc import Callable

INPUTS = 50
MOST = 48 * 1024
"""Small, so that it takes a tenth of a second or so for each target."""

REFUSED_AS_THEY_STAND = {
    "statement": 1,  # an object that is no statement
    "note": 1,  # a line of a witness is no checkpoint
    "key": 2,  # what is no verifier key is refused by the last reader
    "proof": 1,  # the proof of another entry
    "forge": 3,  # a list of reviews is no event, and an event no review
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_what_nobody_bent_is_accepted(target: Target) -> None:
    """No input is refused for a wrong reason: most of what is bent was good before."""
    refused = 0
    for each in target.seeds():
        try:
            target.run(each)
        except OpsError:
            refused += 1
    assert refused <= REFUSED_AS_THEY_STAND.get(target.name, 0) or target.name == "forge"


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_every_answer_is_a_value_or_an_error_of_ours(target: Target) -> None:
    chance, seeds = Random(target.name), [each for each in target.seeds() if len(each) <= MOST]  # noqa: S311 - to be repeated
    for _ in range(INPUTS):
        data = bent(chance.choice(seeds), seeds, chance, min(MOST, target.most))
        finding = examine(target.name, target.run, data)
        assert finding is None, f"{finding.what}\n{finding.told}\n{finding.hexdump()[:4000]}"


# What was once answered wrongly: too late, or with more than was asked for.

MANY = 200_000
KEYS = ",".join(f'"{each}":0' for each in (*range(MANY), MANY - 1))
SLOW: dict[str, tuple[str, bytes]] = {
    "a key twice at the end of a long object": ("receipt", b"{" + KEYS.encode() + b"}"),
    "a key twice at the end of an envelope": ("envelope", b"{" + KEYS[-60_000:].partition(",")[2].encode() + b"}"),
    "a receipt of nothing but lists": (
        "receipt",
        b'{"format":"x","records":[' + b"[],[]," * 2**20 + b'[]],"attachments":[]}',
    ),
    "a receipt of nothing but objects": ("receipt", b'{"format":"x","records":[' + b'{"a":[]},' * 2**20 + b"[]]}"),
    "an answer of a witness with more lines than a note has": ("note", "— x AAAAAAA=\n".encode() * 4000),
    "a document of nothing but lists": ("yaml", b"- - - - - - - - a\n" * 58_000),
}


@pytest.mark.parametrize("case", SLOW)
def test_no_input_costs_many_times_its_size(case: str) -> None:
    name, data = SLOW[case]
    assert len(data) <= max(TARGETS[name].most, 64 * 2**20)
    assert examine(name, TARGETS[name].run, data) is None


def test_a_key_twice_is_named_but_not_at_any_length() -> None:
    with pytest.raises(CodedProofError, match="appears twice") as told:
        parse_strict(b'{"' + b"x" * 30_000 + b'":1,"' + b"x" * 30_000 + b'":2}')
    assert len(told.value.message) < 200


def test_a_receipt_with_more_values_than_any_run_has_is_refused_before_it_is_read() -> None:
    verdict = verify_receipt(b"[" + b"0," * 2**18 + b"0]", [])
    assert [each.code for each in verdict.faults] == ["E_RECEIPT"]
    assert "more values" in verdict.faults[0].message


def test_a_document_with_more_values_than_any_has_is_left_unread() -> None:
    assert load_source(b"[" + b"a," * 99_998 + b"a]", "x.yml").problems == ()
    (problem,) = load_source(b"[" + b"a," * 99_999 + b"a]", "x.yml").problems
    assert (problem.code, problem.position.line) == ("too-large", 1)


@pytest.mark.parametrize("team", [None, 7, ["opsascode/team"]])
def test_a_hand_over_names_its_log_in_one_way(team: object) -> None:
    made = corpus.handover().statement()
    with pytest.raises(CodedProofError):
        Handover.of(replace(made, predicate={**made.predicate, "team": team}))


@pytest.mark.parametrize("around", ["", " ", "\n\t\r "])
def test_white_space_around_json_is_all_that_may_stand_there(around: str) -> None:
    written = f"{around}[1]{around}".encode()
    assert parse_strict(written) == [1]
    for bad in (written + b",", written + b"\x0b", b"\x0b" + written, "\u00a0".encode() + written, around.encode()):
        with pytest.raises(CodedProofError):
            parse_strict(bad)


# The guard itself.


def hangs(_data: bytes) -> None:
    while True:
        pass


def swallows(_data: bytes) -> None:
    while True:
        with contextlib.suppress(Exception):  # as careless code does
            hangs(b"")


def accepts(_data: bytes) -> None:
    raise BrokenError("nobody signed this")


def refuses(_data: bytes) -> None:
    raise OpsError


def fills(_data: bytes) -> None:
    bytearray(b"x") * (60 * 2**20)


@pytest.mark.parametrize(
    ("run", "what"),
    [
        (hangs, "no answer"),
        (swallows, "no answer"),
        (accepts, "nobody signed"),
        (refuses, None),
        (len, None),
        (fills, "MiB"),
    ],
)
def test_the_guard_sees_what_is_no_answer(
    run: Callable[[bytes], None], what: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.fuzz.guard.MOST_SECONDS", 0.2)
    monkeypatch.setattr("tests.fuzz.guard.MOST_MEMORY", 50 * 2**20)
    finding = examine("any", run, b"data")
    assert (finding is None) == (what is None)
    assert what is None or what in finding.what  # type: ignore[union-attr] # the line before says which


def test_an_input_is_read_back_from_its_hexdump() -> None:
    data = bytes(range(256)) * 3 + b"#|"
    dump = "# any, seed 1: 'x'\n" + Finding(target="any", data=data, what="x").hexdump()
    assert from_hexdump(dump) == data


def test_the_same_seed_bends_the_same_way() -> None:
    seeds = [*corpus.envelopes(), corpus.receipt()]

    def listed() -> list[bytes]:
        chance = Random(7)  # noqa: S311 - to be repeated
        return [bent(chance.choice(seeds), seeds, chance, MOST) for _ in range(40)]

    assert listed() == listed()
    assert len(set(listed())) > 35
