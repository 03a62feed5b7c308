from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsascode.errors import LedgerError, ProofError
from opsascode.proof import Ledger, LedgerReader, open_envelope, verify_ledger, verify_proof
from opsascode.proof import _ledger as rooms
from opsascode.proof._keys import KeySigner
from opsascode.proof._segments import checkpoint_line
from tests.proof.world import ORIGIN, World

if TYPE_CHECKING:
    from collections.abc import Callable

APPENDER = """
import pathlib, sys
sys.path.insert(0, sys.argv[1])
from tests.proof.world import World
world = World(pathlib.Path(sys.argv[2]))
with world.open() as ledger:
    for n in range(int(sys.argv[4])):
        ledger.append(world.seal("run-start", f"{sys.argv[3]}-{n}"))
        print(n, flush=True)
"""


def faults(world: World) -> list[str]:
    verdict = verify_ledger(world.ledger_directory, keys=world.keys, high_water=world.high_water)
    return [str(fault) for fault in verdict.faults]


def kinds(ledger: LedgerReader, start: int = 0) -> list[str]:
    return [one.record.statement.kind for one in ledger.records(start=start)]


def start_appender(world: World, name: str, count: int) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", APPENDER, root, world.directory, name, str(count)],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_was_appended_is_there_byte_for_byte(world: World) -> None:
    sealed = world.record_runs(3)
    with world.open() as ledger:
        assert ledger.size == 6
        assert list(ledger.entries()) == sealed
        assert list(ledger.entries(4)) == sealed[4:]
        assert [ledger.entry(n) for n in range(6)] == sealed
        assert [(one.index, one.record) for one in ledger.records()] == [
            (n, open_envelope(one, world.keys)) for n, one in enumerate(sealed)
        ]
    assert faults(world) == []


def test_each_entry_is_a_line_of_the_file_exactly(world: World) -> None:
    sealed = world.record_runs(2)
    lines = world.segment.read_bytes().split(b"\n")
    assert lines[0::2] == [*sealed, b""]
    assert all(line.startswith(b'{"checkpoint":"opsascode/test\\n') for line in lines[1::2])


def test_every_entry_has_a_proof_that_stands_alone(world: World) -> None:
    sealed = world.record_runs(5)
    with world.open() as ledger:
        reader = LedgerReader.read(world.ledger_directory, keys=world.keys)
        for n, envelope in enumerate(sealed):
            proof = ledger.prove(n)
            assert verify_proof(envelope, proof, world.keys, origin=ORIGIN)[0] == n
            assert reader.prove(n) == proof


def test_a_reader_needs_only_the_public_key_and_may_not_write(world: World, tmp_path: Path) -> None:
    sealed = world.record_runs(1)
    (world.ledger_directory / "nodes").unlink()
    (world.ledger_directory / "lock").unlink()
    for path in [world.ledger_directory, *world.ledger_directory.rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    reader = LedgerReader.read(world.ledger_directory, keys=world.keys)
    assert (reader.origin, reader.size, list(reader.entries())) == (ORIGIN, 2, sealed)
    assert verify_proof(sealed[1], reader.prove(1), world.keys)[0] == 1
    assert verify_ledger(world.ledger_directory, keys=world.keys).ok
    stranger = World(tmp_path / "stranger")
    with pytest.raises(LedgerError, match="no known key signed"):
        LedgerReader.read(world.ledger_directory, keys=stranger.keys)


def test_an_empty_ledger_has_nothing_to_show(world: World) -> None:
    with world.open() as ledger:
        assert (ledger.size, list(ledger.entries())) == (0, [])
        for ask in (ledger.checkpoint, lambda: ledger.entry(0), lambda: ledger.prove(0)):
            with pytest.raises(LedgerError):
                ask()
    assert faults(world) == []
    assert LedgerReader.read(world.ledger_directory, keys=world.keys).size == 0


def test_a_new_ledger_names_itself_once(world: World) -> None:
    first, second = (
        Ledger.open(world.ledger_directory, signer=world.signer, high_water=world.high_water) for _ in range(2)
    )
    assert first.origin == second.origin
    assert len(first.origin) == len("opsascode/") + 32
    with pytest.raises(LedgerError, match="is the ledger opsascode/"):
        world.open()


def test_another_key_does_not_continue_a_ledger(world: World, tmp_path: Path) -> None:
    world.record_runs(1)
    other = World(tmp_path / "other")
    with pytest.raises(LedgerError, match="is signed by"):
        Ledger.open(world.ledger_directory, signer=other.signer, high_water=world.high_water)


def test_records_of_others_come_in_only_with_their_key(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    with world.open() as ledger, pytest.raises(ProofError, match="no known key signed"):
        ledger.append(other.seal())
    with Ledger.open(
        world.ledger_directory, signer=world.signer, high_water=world.high_water, keys=other.keys
    ) as ledger:
        ledger.append(other.seal())
    keys = (*world.keys, *other.keys)
    assert verify_ledger(world.ledger_directory, keys=keys, high_water=world.high_water).ok


def test_a_record_made_for_another_ledger_stays_out(world: World) -> None:
    with world.open() as ledger, pytest.raises(ProofError, match="was made for the ledger"):
        ledger.append(world.seal(ledger="opsascode/other"))
    assert faults(world) == []


def test_many_records_share_a_checkpoint_and_a_segment_ends_where_it_should(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "SEGMENT_ENTRIES", 4)
    sealed = [world.seal(name=f"run-{n}") for n in range(11)]
    with world.open() as ledger, world.open() as beside:
        ledger.append_many(sealed[:6])
        beside.append_many(sealed[6:7])
        ledger.append_many(sealed[7:])
        assert beside.append_many(()) == ()
        assert beside.size == 11
    names = [path.name for path in sorted((world.ledger_directory / "segments").iterdir())]
    assert names == ["000000000000.jsonl", "000000000004.jsonl", "000000000008.jsonl"]
    with world.open() as ledger:
        assert [ledger.entry(n) for n in range(11)] == sealed
        assert verify_proof(sealed[5], ledger.prove(5), world.keys)[0] == 5
    assert faults(world) == []


@pytest.mark.parametrize("damage", ["gone", "empty", "short", "wrong"])
def test_the_file_of_hashes_can_be_lost_or_ruined(world: World, damage: str) -> None:
    sealed = world.record_runs(4)
    nodes = world.ledger_directory / "nodes"
    good = nodes.read_bytes()
    spoil = {"empty": b"", "short": good[:-40], "wrong": b"\0" * 32 + good[32:]}
    nodes.unlink() if damage == "gone" else nodes.write_bytes(spoil[damage])
    with world.open() as ledger:
        for n, envelope in enumerate(sealed):
            assert verify_proof(envelope, ledger.prove(n), world.keys)[0] == n
        ledger.append(world.seal(name="run-9"))
    assert nodes.read_bytes()[: len(good)] == good
    assert faults(world) == []


def test_processes_that_append_at_once_lose_nothing(world: World) -> None:
    with world.open():
        pass
    started = [start_appender(world, f"p{n}", 25) for n in range(4)]
    for process in started:
        process.communicate(timeout=120)
        assert process.returncode == 0
    names = [
        one.record.statement.subject_name
        for one in LedgerReader.read(world.ledger_directory, keys=world.keys).records()
    ]
    assert sorted(names) == sorted(f"p{p}-{n}" for p in range(4) for n in range(25))
    assert faults(world) == []


def test_a_killed_appender_loses_nothing_it_reported(world: World) -> None:
    process = start_appender(world, "killed", 100_000)
    assert process.stdout
    for _ in range(20):
        process.stdout.readline()
    process.kill()
    reported = 20 + process.communicate()[0].count("\n")
    with world.open() as ledger:
        names = [one.record.statement.subject_name for one in ledger.records()]
    assert names[:reported] == [f"killed-{n}" for n in range(reported)]
    assert faults(world) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 3), st.floats(0, 1)), min_size=1, max_size=5))
def test_torn_at_any_byte_it_opens_with_all_that_was_reported(
    worlds: Callable[[], World], life: list[tuple[int, float]]
) -> None:
    world = worlds()
    reported: list[bytes] = []
    for turn, (count, tear) in enumerate(life):
        sealed = [world.seal(name=f"run-{turn}-{n}") for n in range(count)]
        with world.open() as ledger:
            assert [one for one in ledger.entries() if one in reported] == reported
            before = world.segment.stat().st_size
            marked = world.high_water.read_bytes()
            ledger.append_many(sealed)
        whole = world.segment.stat().st_size
        # Everything was written, but the machine stopped after this many bytes; the mark was not raised yet.
        kept = before + round((whole - before) * tear)
        os.truncate(world.segment, kept)
        if kept == whole:
            reported += sealed
        else:
            world.high_water.write_bytes(marked)
    with world.open() as ledger:
        found = list(ledger.entries())
        assert [one for one in found if one in reported] == reported
        assert verify_proof(found[-1], ledger.prove(len(found) - 1), world.keys)[0] == len(found) - 1 if found else True
    assert faults(world) == []


def test_an_interrupted_append_is_recorded_and_its_bytes_are_kept(world: World) -> None:
    world.record_runs(1)
    whole, torn = world.seal(name="run-8"), world.seal(name="run-9")[:100]
    with world.segment.open("ab") as file:
        file.write(whole + b"\n" + torn)
    assert faults(world) != []
    with world.open() as ledger:
        assert kinds(ledger, 2) == ["run-start", "ledger-recovery"]
        assert ledger.entry(2) == whole
        told = next(iter(ledger.records(start=3))).record.statement
        assert told.predicate["adopted"] == [open_envelope(whole, world.keys).digest]
        assert told.predicate["cut_bytes"] == 100
    assert [path.read_bytes() for path in (world.ledger_directory / "cut").iterdir()] == [torn]
    assert faults(world) == []


def test_a_torn_checkpoint_is_cut_and_its_record_adopted_under_an_open_ledger_too(world: World) -> None:
    with world.open() as ledger:
        ledger.append(world.seal(name="run-0"))
        size = world.segment.stat().st_size
        with world.open() as other:
            other.append(world.seal(name="run-1"))
        os.truncate(world.segment, world.segment.stat().st_size - 7)
        assert world.segment.stat().st_size > size
        ledger.append(world.seal(name="run-2"))
        assert kinds(ledger) == ["run-start", "run-start", "ledger-recovery", "run-start"]
    assert faults(world) == []


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("copy", "copies an entry"),
        ("rewritten copy", "not written the way"),
        ("stranger", "no known key signed"),
        ("foreign", "was made for the ledger"),
        ("noise", "not JSON"),
        ("unsigned checkpoint", "does not hold"),
    ],
)
def test_what_nobody_appended_is_not_adopted(world: World, tmp_path: Path, what: str, says: str) -> None:
    sealed = world.record_runs(1)
    line = {
        "copy": sealed[0],
        "rewritten copy": sealed[0].replace(b'"keyid":"SHA256', b'"keyid":"sha256'),
        "stranger": World(tmp_path / "stranger").seal(),
        "foreign": world.seal(name="run-7", ledger="opsascode/other"),
        "noise": b"noise",
        "unsigned checkpoint": checkpoint_line("opsascode/test\n3\n" + "A" * 43 + "=\n\n— a AAAAAAAA\n")[:-1],
    }[what]
    with world.segment.open("ab") as file:
        file.write(line + b"\n")
    before = world.segment.read_bytes()
    with pytest.raises(LedgerError, match=says):
        world.open()
    assert world.segment.read_bytes() == before
    assert faults(world) != []


@pytest.mark.parametrize("left", ["nothing", "an empty file"])  # whoever is killed may leave either
def test_a_lost_mark_is_made_again_and_that_is_recorded(world: World, left: str) -> None:
    world.record_runs(1)
    world.high_water.unlink()
    if left == "an empty file":
        world.high_water.touch()
    assert "mark of this machine is missing" in faults(world)[0]
    with world.open() as ledger:
        assert kinds(ledger, 2) == ["ledger-recovery"]
    assert faults(world) == []


@pytest.mark.parametrize("content", [b" ", b"{}", b'{"origin":"x","root":"00","size":1}', b"\xff", b"1" * 600])
def test_a_ruined_mark_stops_us(world: World, content: bytes) -> None:
    world.record_runs(1)
    world.high_water.write_bytes(content)
    with pytest.raises(LedgerError, match="is no high-water mark"):
        world.open()
    assert "is no high-water mark" in faults(world)[0]


def test_a_mark_that_lags_behind_is_good_enough(world: World) -> None:
    sealed = [world.seal(name=f"run-{n}") for n in range(9)]
    with world.open() as ledger:
        for envelope in sealed[:3]:
            ledger.append(envelope)
        lagging = world.high_water.read_bytes()
        ledger.append_many(sealed[3:])
    world.high_water.write_bytes(lagging)
    assert faults(world) == []
    (world.ledger_directory / "nodes").write_bytes(b"")
    with world.open() as ledger:
        assert ledger.size == 9
    assert world.high_water.read_bytes() != lagging


def test_a_full_disk_stops_the_ledger_and_leaves_it_whole(world: World) -> None:
    sealed = world.record_runs(1)
    ledger = world.open()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = world.segment.stat().st_size + 900
    large = world.seal(name="run-9", text="x" * 2000)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(LedgerError, match="disk of the ledger failed") as caught:
            ledger.append(large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert caught.value.code == "E_LEDGER_IO"
    with pytest.raises(LedgerError, match="disk of the ledger failed"):
        ledger.append(large)
    assert faults(world) == []
    with world.open() as again:
        assert list(again.entries()) == sealed
        again.append(large)
    assert faults(world) == []


def test_a_failed_sync_is_not_tried_again_and_its_record_is_not_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = world.record_runs(1)
    calls = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    with world.open() as ledger:
        monkeypatch.setattr(os, "fdatasync", fail)
        for _ in range(2):
            with pytest.raises(LedgerError, match="Input/output error"):
                ledger.append(world.seal(name="run-9"))
        monkeypatch.undo()
    assert len(calls) == 1
    with world.open() as ledger:
        assert list(ledger.entries()) == sealed


def test_a_forked_child_takes_its_own_lock(world: World) -> None:
    with world.open() as ledger:
        ledger.append(world.seal(name="run-0"))
        child = os.fork()
        if child == 0:
            for n in range(20):
                ledger.append(world.seal(name=f"child-{n}"))
            os._exit(0)
        for n in range(20):
            ledger.append(world.seal(name=f"parent-{n}"))
        assert os.waitpid(child, 0)[1] == 0
    assert faults(world) == []
    assert LedgerReader.read(world.ledger_directory, keys=world.keys).size == 41


def test_a_ledger_replaced_under_our_hands_is_noticed(world: World) -> None:
    with world.open() as ledger:
        ledger.append(world.seal(name="run-0"))
        segment = world.segment
        content = segment.read_bytes()
        segment.unlink()
        with pytest.raises(LedgerError, match="is gone"):
            ledger.append(world.seal(name="run-1"))
        segment.write_bytes(content)
        with pytest.raises(LedgerError, match="replaced or cut"):
            ledger.append(world.seal(name="run-1"))


def test_runs_that_never_ended_are_named(world: World) -> None:
    world.record_runs(1)
    with world.open() as ledger:
        ledger.append(world.seal(name="run-lost"))
    verdict = verify_ledger(world.ledger_directory, keys=world.keys, high_water=world.high_water, every_checkpoint=True)
    assert (verdict.ok, verdict.open_runs, verdict.size) == (True, ("run-lost",), 3)


def test_the_ledger_of_two_machines_is_refused_before_it_begins(world: World, tmp_path: Path) -> None:
    world.record_runs(1)
    (world.ledger_directory / "ledger.json").unlink()
    with pytest.raises(LedgerError, match=r"no ledger\.json"):
        world.open()
    assert "holds no ledger" in faults(world)[0]
    assert isinstance(world.signer, KeySigner)


def test_threads_that_share_a_ledger_lose_nothing(world: World) -> None:
    with world.open() as ledger, ThreadPoolExecutor(4) as pool:
        sealed = [world.seal(name=f"run-{n}") for n in range(60)]
        entries = list(pool.map(ledger.append, sealed))
        assert sorted(entry.index for entry in entries) == list(range(60))
        assert [ledger.entry(entry.index) for entry in entries] == sealed
    assert faults(world) == []
