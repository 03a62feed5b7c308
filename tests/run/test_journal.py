"""A journal proves what it proves, and every kind of damage is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.run._journal import (
    HostBegan,
    HostCounts,
    HostResult,
    HostStatus,
    JournalReader,
    Kept,
    parse_event,
    read_journal,
)

if TYPE_CHECKING:
    from pathlib import Path

START = {"event": "start", "ansible": "2.19.14", "python": "3.11.7", "pid": 7}
PLAY = {"event": "play", "name": "all", "hosts": 1}
TASK = {"event": "task", "task": "t1", "step": "one", "name": "restart", "action": "service"}
HOST: dict[str, Any] = {
    "event": "host", "task": "t1", "step": "one", "host": "a", "status": "changed", "message": "done", "rc": 0,
    "output": {"text": "x", "bytes": 1, "sha256": "2d"},
    "started": "2026-01-01T00:00:00.000+00:00", "ended": "2026-01-01T00:00:01.000+00:00",
}  # fmt: skip
BEGIN = {"event": "begin", "task": "t1", "step": "one", "host": "a", "place": "b"}
KEEP: dict[str, Any] = {
    "event": "keep",
    "task": "t1",
    "step": "one",
    "host": "a",
    "values": {"x": [1]},
    "lost": {"y": "no"},
}
END = {"event": "end", "hosts": {"a": {"ok": 1, "changed": 1, "failures": 0, "unreachable": 0, "skipped": 0,
                                       "rescued": 0, "ignored": 0}}}  # fmt: skip
WHOLE = (START, PLAY, TASK, HOST, END)


def lines(*events: dict[str, Any], first: int = 0) -> list[bytes]:
    return [json.dumps({"seq": seq, **event}).encode() + b"\n" for seq, event in enumerate(events, first)]


def write(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def test_a_whole_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    events, journal = read_journal(write(tmp_path / "j", *lines(*WHOLE)))
    assert (journal.fault, journal.torn, journal.ended) == ("", False, True)
    assert (journal.events, journal.tasks, journal.results, journal.batch_hosts) == (5, 1, 1, 1)
    assert journal.hosts == {"a": HostCounts(ok=1, changed=1)}
    result = events[3]
    assert isinstance(result, HostResult)
    assert (result.status, result.step, result.rc, result.diff) == (HostStatus.CHANGED, "one", 0, None)


def test_without_its_end_the_results_seen_are_counted(tmp_path: Path) -> None:
    _, journal = read_journal(write(tmp_path / "j", *lines(START, PLAY, TASK, HOST)))
    assert (journal.ended, journal.fault) == (False, "")
    assert journal.hosts == {"a": HostCounts(ok=1, changed=1)}


GOOD = lines(*WHOLE)
DAMAGE = {
    "a line is missing": ([*GOOD[:2], *GOOD[3:]], "event 2 is missing: 3 came instead"),
    "the beginning is missing": (GOOD[1:], "event 0 is missing: 1 came instead"),
    "a line came twice": ([*GOOD[:2], GOOD[1], *GOOD[2:]], "event 2 is missing: 1 came instead"),
    "two lines are swapped": ([GOOD[0], GOOD[2], GOOD[1], *GOOD[3:]], "event 1 is missing: 2 came instead"),
    "it starts twice": ([GOOD[0], *lines(START, first=1)], "event 1 is out of place"),
    "it does not start": (lines(PLAY, TASK), "event 0 is out of place"),
    "something follows the end": ([*GOOD, *lines(HOST, first=5)], "event 5 came after the end"),
    "no JSON": ([GOOD[0], b"{\n"], "line 2 is not an event"),
    "no object": ([GOOD[0], b"[]\n"], "line 2 is not an event"),
    "no text": ([GOOD[0], b"\xff\xfe\n"], "line 2 is not an event"),
    "deep nesting": ([GOOD[0], b"[" * 100_000 + b"\n"], "line 2 is not an event"),
    "an empty line": ([GOOD[0], b"\n", *GOOD[1:]], "line 2 is not an event"),
    "an unknown event": ([GOOD[0], *lines({"event": "new"}, first=1)], "line 2 is not an event"),
    "an unknown status": ([GOOD[0], *lines({**HOST, "status": "fine"}, first=1)], "line 2 is not an event"),
    "a number that is a text": ([b'{"seq":"0","event":"start"}\n'], "line 1 is not an event"),
    "a count that is a text": ([GOOD[0], *lines({"event": "end", "hosts": {"a": {"ok": "1"}}}, first=1)], "line 2"),
    "a count nobody knows": ([GOOD[0], *lines({"event": "end", "hosts": {"a": {"fine": 1}}}, first=1)], "line 2"),
    "kept values that are none": ([GOOD[0], *lines({**KEEP, "values": 7}, first=1)], "line 2 is not an event"),
    "a reason that is no text": ([GOOD[0], *lines({**KEEP, "lost": {"y": 7}}, first=1)], "line 2 is not an event"),
    "an endless line": ([GOOD[0], b"x" * 5_000_000], "line 2 is too long"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_seen_and_nothing_after_it_is_handed_on(tmp_path: Path, name: str) -> None:
    parts, fault = DAMAGE[name]
    events, journal = read_journal(write(tmp_path / "j", *parts))
    assert journal.fault.startswith(fault)
    assert events == tuple(parse_event(line) for line in GOOD[: len(events)])


@pytest.mark.parametrize("cut", range(1, len(GOOD[-1])))
def test_a_torn_last_line_is_no_event(tmp_path: Path, cut: int) -> None:
    events, journal = read_journal(write(tmp_path / "j", *GOOD[:-1], GOOD[-1][:cut]))
    assert (len(events), journal.torn, journal.ended, journal.fault) == (4, True, False, "")


def test_a_journal_is_read_while_it_grows_even_byte_by_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "j")
    descriptor = os.open(path, os.O_RDONLY)
    reader, seen = JournalReader(descriptor), []
    with path.open("ab", buffering=0) as file:
        for byte in b"".join(GOOD):
            file.write(bytes([byte]))
            seen += reader.read()
    journal = reader.finish()
    os.close(descriptor)
    assert (tuple(seen), journal) == read_journal(path)


def test_bytes_that_vanish_after_they_were_read_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "j", *GOOD)
    descriptor = os.open(path, os.O_RDONLY)
    reader = JournalReader(descriptor)
    assert len(list(reader.read())) == 5
    os.truncate(path, 10)
    assert reader.finish().fault == "it was changed while it was read"
    os.close(descriptor)


def test_what_began_and_what_is_kept_is_told(tmp_path: Path) -> None:
    events, journal = read_journal(
        write(tmp_path / "j", *lines(START, PLAY, TASK, BEGIN, {**HOST, "timed_out": True}, KEEP))
    )
    began, result, kept = events[3:]
    assert began == HostBegan(seq=3, task="t1", step="one", host="a", place="b", local=False)
    assert isinstance(result, HostResult)
    assert result.timed_out
    assert kept == Kept(seq=5, task="t1", step="one", host="a", once=False, values={"x": [1]}, lost={"y": "no"})
    assert (journal.fault, journal.results) == ("", 1)


MEASURE = """
import os, resource, sys
from opsascode.run._journal import JournalReader
reader, seen = JournalReader(os.open(sys.argv[1], os.O_RDONLY)), 0
for _event in reader.read():
    seen += 1
    if seen == 2000:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reader.finish()
print(seen, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_does_not_grow_with_the_number_of_events(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with path.open("wb") as file:
        file.writelines(lines(START, PLAY, TASK))
        result = {**HOST, "output": {**HOST["output"], "text": "x" * 500}}
        for number in range(60_000):
            file.write(lines({**result, "host": f"h{number % 1000}"}, first=3 + number)[0])
    told = subprocess.run([sys.executable, "-c", MEASURE, path], check=True, capture_output=True, text=True)
    seen, grown = map(int, told.stdout.split())
    assert seen == 60_003
    assert grown < 4
