"""The lives of runs on one machine: a file that may be lost or damaged, and processes that may be killed or stopped."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import textwrap
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.run._life import Holder, Lease, LifeError, LifeState, Liveness, Taken
from opsascode.run._local import LocalDispatcher
from tests.run.test_life import ABOUT, NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


# The file.


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state" / "life.sqlite"


def dispatcher(place: Path) -> LocalDispatcher:
    return LocalDispatcher(place)


def leased(dispatcher: LocalDispatcher, run: str = "r1") -> Lease:
    dispatcher.submit(run, ABOUT, NOW)
    lease = dispatcher.claim(run, Holder.of_this_process(), NOW)
    assert isinstance(lease, Lease)
    return lease


def test_the_file_is_private_and_nothing_is_made_by_looking(place: Path) -> None:
    assert dispatcher(place).subscribe("r1") is None
    assert dispatcher(place).abandoned(NOW) == ()
    assert not place.parent.exists()
    kept = dispatcher(place)
    leased(kept)
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in place.parent.iterdir()} == {0o600}


def test_each_late_write_is_kept_once(place: Path) -> None:
    kept = dispatcher(place)
    lease = leased(kept)
    assert kept.finish(lease, LifeState.FAILED, NOW)
    for _ in range(3):
        assert kept.renew(lease, NOW).lost
        assert not kept.finish(lease, LifeState.SUCCEEDED, NOW)
    assert [(late.epoch, late.write, late.state) for late in kept.late("r1")] == [
        (1, "renew", ""),
        (1, "finish", "succeeded"),
    ]
    assert kept.late("r2") == ()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"x" * 8192),
    "cut": lambda path: os.truncate(path, 5000),
    "middle": lambda path: path.write_bytes(path.read_bytes()[:4096] + b"\xff" * 4096 + path.read_bytes()[8192:]),
    "tables": lambda path: change(path, "DROP TABLE run"),
    "columns": lambda path: change(path, "ALTER TABLE run DROP COLUMN beats"),
    "state": lambda path: change(path, "UPDATE run SET state = 'sleeping'"),
    "holder": lambda path: change(path, "UPDATE run SET holder = '[]'"),
    "version": lambda path: change(path, "PRAGMA user_version = 0"),
}


def change(path: Path, words: str) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(words)
    database.close()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside_and_the_next_run_lives(place: Path, damage: str) -> None:
    kept = dispatcher(place)
    leased(kept)
    kept.close()
    DAMAGES[damage](place)
    found = dispatcher(place)
    assert found.subscribe("r1") is None
    assert found.abandoned(NOW) == ()
    lease = leased(found, "r2")
    assert not found.renew(lease, NOW).lost
    assert found.subscribe("r1") is None
    assert place.with_name("life.sqlite.damaged").exists()


def test_a_write_to_a_damaged_file_is_done_on_a_new_one(place: Path) -> None:
    kept = dispatcher(place)
    leased(kept)
    kept.close()
    DAMAGES["garbage"](place)
    assert leased(dispatcher(place), "r2").epoch == 1


def test_a_holder_whose_file_was_deleted_goes_on_in_the_next_one(place: Path) -> None:
    kept, other = dispatcher(place), dispatcher(place)
    lease = leased(kept)
    place.unlink()
    assert other.subscribe("r1") is None
    assert not kept.renew(lease, NOW).lost
    life = other.subscribe("r1")
    assert life
    assert (life.state, life.epoch, life.about) == (LifeState.RUNNING, 1, ABOUT)
    other.cancel("r1", "bob", undo=True, now=NOW)
    assert kept.renew(lease, NOW).cancel
    for path in place.parent.iterdir():
        path.unlink()
    assert kept.finish(lease, LifeState.SUCCEEDED, NOW)
    life = other.subscribe("r1")
    assert life
    assert life.state is LifeState.SUCCEEDED


def test_an_epoch_of_a_lost_file_does_not_pass_for_the_same_epoch_of_the_next(place: Path) -> None:
    kept, other = dispatcher(place), dispatcher(place)
    old = leased(kept)
    place.unlink()
    new = leased(other)
    assert (new.epoch, new.holder) == (old.epoch, old.holder)
    assert kept.renew(old, NOW).lost
    assert not kept.finish(old, LifeState.FAILED, NOW)
    assert not other.renew(new, NOW).lost


def test_what_stands_beside_a_deleted_file_does_not_come_back_in_the_next(place: Path) -> None:
    kept = dispatcher(place)
    leased(kept)
    beside = place.with_name("life.sqlite-wal")
    content = beside.read_bytes()
    kept.close()
    place.unlink()
    beside.write_bytes(content)
    found = dispatcher(place)
    leased(found, "r2")
    assert found.subscribe("r1") is None


def test_a_file_of_a_newer_version_is_left_alone(place: Path) -> None:
    leased(dispatcher(place))
    change(place, "PRAGMA user_version = 2")
    for verb in (lambda found: found.subscribe("r1"), lambda found: found.submit("r2", ABOUT, NOW)):
        with pytest.raises(LifeError, match="newer version of opsascode"):
            verb(dispatcher(place))
    assert not place.with_name("life.sqlite.damaged").exists()


def test_what_is_no_file_is_refused(place: Path) -> None:
    place.parent.mkdir()
    place.symlink_to("/etc/passwd")
    with pytest.raises(LifeError, match="no regular file"):
        dispatcher(place).submit("r1", ABOUT, NOW)


def test_a_file_that_somebody_keeps_does_not_end_the_run_before_its_lease(place: Path) -> None:
    times = [0.0]
    kept = LocalDispatcher(place, clock=lambda: times[0])
    lease = leased(kept)
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    times[0] = 9.0
    began = time.monotonic()
    assert not kept.renew(lease, NOW).lost
    assert time.monotonic() - began < 1
    times[0] = 10.0
    assert kept.renew(lease, NOW).lost
    other.execute("ROLLBACK")
    other.close()
    assert not kept.renew(lease, NOW).lost


def test_a_full_file_system_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "life.sqlite"
    leased(dispatcher(place))
    change(place, "CREATE TABLE filling (x)")
    found = dispatcher(place)
    assert found.subscribe("r1")
    found._file.read(lambda database: database.execute("PRAGMA max_page_count = 1"))

    def fill() -> None:
        for number in range(1000):
            found.submit(f"n{number}", ABOUT, NOW)

    with pytest.raises(LifeError, match=r"cannot be used: .*full"):
        fill()
    assert found.subscribe("r1")


def test_threads_share_one_dispatcher(place: Path) -> None:
    kept = dispatcher(place)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            lease = leased(kept, f"r{number}")
            for _ in range(50):
                assert not kept.renew(lease, NOW).lost
            assert kept.finish(lease, LifeState.SUCCEEDED, NOW)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


# Processes.

HEAD = """
import json, os, sys, time
from datetime import UTC, datetime
from pathlib import Path
from opsascode.run._life import Holder, Lease, LifeState, Submission
from opsascode.run._local import LocalDispatcher
NOW = datetime.now(UTC)
kept = LocalDispatcher(Path(sys.argv[1]))
def say(what): print(json.dumps(what), flush=True)
"""


def process(script: str, place: Path) -> subprocess.Popen[str]:
    code = HEAD + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def said(child: subprocess.Popen[str]) -> Any:
    assert child.stdout
    return json.loads(child.stdout.readline())


def tell(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin
    child.stdin.write(line + "\n")
    child.stdin.flush()


def end(child: subprocess.Popen[str]) -> None:
    assert child.stdin
    assert child.stdout
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()


HOLDING = """
kept.submit("r1", Submission(plan="", runbook="", hosts=1, user=""), NOW)
lease = kept.claim("r1", Holder.of_this_process(), NOW)
say(isinstance(lease, Lease))
while True:
    word = sys.stdin.readline().strip()
    if word == "renew": say(kept.renew(lease, NOW).lost)
    if word == "finish": say(kept.finish(lease, LifeState.SUCCEEDED, NOW))
    if word == "hold": kept._file.write(lambda database: (database.execute("UPDATE run SET state = 'failed'"), say("in"), time.sleep(1000)))
    if not word: break
"""


@pytest.fixture
def holding(place: Path) -> Iterator[subprocess.Popen[str]]:
    child = process(HOLDING, place)
    assert said(child) is True
    yield child
    end(child)


def test_a_claim_survives_sigkill_and_the_next_one_wins(place: Path, holding: subprocess.Popen[str]) -> None:
    kept = dispatcher(place)
    assert isinstance(kept.claim("r1", Holder.of_this_process(), NOW), Taken)
    assert kept.abandoned(NOW) == ()
    holding.kill()
    holding.wait()
    (life,) = kept.abandoned(NOW)
    assert (life.run, life.epoch) == ("r1", 1)
    lease = kept.claim("r1", Holder.of_this_process(), NOW)
    assert isinstance(lease, Lease)
    assert lease.epoch == 2


def test_a_holder_killed_while_it_writes_leaves_no_half_of_it(place: Path, holding: subprocess.Popen[str]) -> None:
    tell(holding, "hold")
    assert said(holding) == "in"
    kept = dispatcher(place)
    life = kept.subscribe("r1")
    assert life
    assert life.state is LifeState.RUNNING
    holding.kill()
    holding.wait()
    assert isinstance(kept.claim("r1", Holder.of_this_process(), NOW), Lease)


def test_a_stopped_holder_is_not_abandoned_and_goes_on_when_it_wakes(
    place: Path, holding: subprocess.Popen[str]
) -> None:
    holding.send_signal(signal.SIGSTOP)
    later = LocalDispatcher(place, clock=lambda: time.clock_gettime(time.CLOCK_BOOTTIME) + 1000)
    assert later.abandoned(NOW) == ()
    assert isinstance(later.claim("r1", Holder.of_this_process(), NOW), Taken)
    holding.send_signal(signal.SIGCONT)
    tell(holding, "renew")
    assert said(holding) is False


def test_a_stopped_holder_that_was_replaced_all_the_same_cannot_write(
    place: Path, holding: subprocess.Popen[str]
) -> None:
    holding.send_signal(signal.SIGSTOP)
    elsewhere = LocalDispatcher(
        place,
        clock=lambda: time.clock_gettime(time.CLOCK_BOOTTIME) + 11,
        judge=lambda _holder: Liveness.UNKNOWN,  # as seen from another container
    )
    lease = elsewhere.claim("r1", Holder.of_this_process(), NOW)
    assert isinstance(lease, Lease)
    holding.send_signal(signal.SIGCONT)
    tell(holding, "renew")
    assert said(holding) is True
    tell(holding, "finish")
    assert said(holding) is False
    assert [late.write for late in elsewhere.late("r1")] == ["renew", "finish"]
    assert elsewhere.finish(lease, LifeState.INDETERMINATE, NOW)


def test_of_two_processes_that_claim_at_once_exactly_one_wins(place: Path) -> None:
    script = """
    for number in range(50):
        at = float(sys.stdin.readline())
        while time.monotonic() < at: pass
        say(isinstance(kept.claim(f"r{number}", Holder.of_this_process(), NOW), Lease))
    sys.stdin.readline()
    """
    kept = dispatcher(place)
    children = [process(script, place) for _ in range(2)]
    try:
        for number in range(50):
            kept.submit(f"r{number}", ABOUT, NOW)
            at = time.monotonic() + 0.02
            for child in children:
                tell(child, str(at))
            assert sorted(said(child) for child in children) == [False, True]
            life = kept.subscribe(f"r{number}")
            assert life
            assert life.epoch == 1
    finally:
        for child in children:
            end(child)


def test_many_processes_make_the_file_at_once(place: Path) -> None:
    script = """
    name = sys.stdin.readline().strip()
    kept.submit(name, Submission(plan="", runbook="", hosts=1, user=""), NOW)
    say(kept.subscribe(name) is not None)
    """
    for round_ in range(3):
        for path in place.parent.glob("*"):
            path.unlink()
        children = [process(script, place) for _ in range(4)]
        for number, child in enumerate(children):
            tell(child, f"r{round_}-{number}")
        assert [said(child) for child in children] == [True] * 4
        kept = dispatcher(place)
        assert all(kept.subscribe(f"r{round_}-{number}") for number in range(4))
        for child in children:
            end(child)


def test_a_reader_sees_whole_states_only_while_others_write(place: Path) -> None:
    script = """
    for number in range(200):
        kept.submit(f"r{number}", Submission(plan="p", runbook="b", hosts=number, user="u"), NOW)
        lease = kept.claim(f"r{number}", Holder.of_this_process(), NOW)
        kept.renew(lease, NOW)
        kept.finish(lease, LifeState.SUCCEEDED, NOW)
    say("done")
    """
    child = process(script, place)
    kept, chosen, seen, slowest = dispatcher(place), random.Random(1), 0, 0.0  # noqa: S311 - which run to look at
    while child.poll() is None and seen < 5000:
        number = chosen.randrange(200)
        began = time.perf_counter()
        life = kept.subscribe(f"r{number}")
        slowest = max(slowest, time.perf_counter() - began)
        seen += life is not None
        assert life is None or (life.about.hosts == number and life.epoch == (life.state is not LifeState.QUEUED))
        assert kept.abandoned(NOW) == () or child.poll() is not None
    child.wait()
    end(child)
    assert seen
    assert slowest < 2


# Speed. Figures are for people; the limits only catch what has become a different kind of slow.


def test_renewing_and_hearing_of_a_cancel_is_quick(place: Path) -> None:
    times = [0.0]
    kept = LocalDispatcher(place, clock=lambda: times[0])
    lease = leased(kept)
    looks, writes = [], []
    for _ in range(200):
        looks.append(timed(lambda: kept.renew(lease, NOW)))
        times[0] += 2.5
        writes.append(timed(lambda: kept.renew(lease, NOW)))
    assert statistics.median(looks) < 0.001
    assert statistics.median(writes) < 0.001


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
