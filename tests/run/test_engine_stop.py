"""However a stage is broken off, nothing of it runs on, and the outcome says no more than is known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from opsascode.run._journal import Ended, HostStatus, Started
from opsascode.run._stage import clear_remains
from opsascode.run._verdict import Outcome
from tests.run.staging import order, playbook, processes_with, run, shell, step

COOPERATIVE = "touch {started}; exec sleep 1000 {mark}"
STUBBORN = """
trap '' TERM INT HUP
setsid sh -c "trap '' TERM; exec sleep 1001 {mark}" &
(env -i setsid nohup sleep 1002 {mark} &)
touch {started}
while :; do sleep 0.1 {mark}; done
"""


class Task:
    """A task that tells when it has begun, and whose processes can be found by a mark of its own."""

    def __init__(self, directory: Path, script: str) -> None:
        directory.mkdir(exist_ok=True)
        self.started = directory / "started"
        self.mark = f"{uuid.uuid4().int % 10**12}d"  # sleep takes several times; this one is never reached
        self.script = script.format(started=self.started, mark=self.mark)
        self.playbook = playbook(shell("wait", self.script))

    def has_begun(self) -> bool:
        return self.started.exists()

    def processes(self) -> set[int]:
        return processes_with(self.mark)


def wait_until(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]  # a callable
        assert time.monotonic() < deadline
        time.sleep(0.02)


def private_directories(directory: Path) -> list[Path]:
    return list(directory.glob(".private-*"))


@pytest.mark.parametrize("script", [COOPERATIVE, STUBBORN], ids=["cooperative", "stubborn"])
def test_a_canceled_stage_leaves_no_process(tmp_path: Path, script: str) -> None:
    task = Task(tmp_path, script)
    began = time.monotonic()
    seen = run(order(tmp_path, task.playbook, grace_seconds=0.5), cancel=task.has_begun)
    assert (seen.result.outcome, seen.result.reason) == (Outcome.CANCELED, "it was canceled")
    assert task.processes() == set()
    assert time.monotonic() - began < 15
    assert not private_directories(seen.result.journal.parent)


def test_a_stage_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    task = Task(tmp_path, COOPERATIVE)
    seen = run(order(tmp_path, task.playbook, timeout_seconds=1.5))
    assert (seen.result.outcome, seen.result.timed_out) == (Outcome.CANCELED, True)
    assert seen.result.reason == "it took longer than 1.5 seconds"
    assert task.processes() == set()


def test_a_stage_canceled_before_ansible_runs_does_nothing(tmp_path: Path) -> None:
    target = tmp_path / "target"
    seen = run(order(tmp_path, playbook(shell("touch", f"touch {target}"))), cancel=lambda: True)
    assert seen.result.outcome is Outcome.CANCELED
    assert not target.exists()


def test_a_cancel_that_comes_too_late_does_not_hide_success(tmp_path: Path) -> None:
    ended: list[object] = []
    content = playbook(step("say", "debug", {"msg": "x"}))
    seen = run(
        order(tmp_path, content),
        on_event=lambda event: ended.append(event) if isinstance(event, Ended) else None,
        cancel=lambda: bool(ended),
    )
    assert seen.result.outcome in {Outcome.SUCCEEDED, Outcome.CANCELED}
    assert (seen.result.outcome is Outcome.SUCCEEDED) == (seen.result.rc == 0)


@pytest.mark.parametrize("error", [ValueError("broken display"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_an_error_of_the_caller_stops_the_stage_and_comes_through(tmp_path: Path, error: BaseException) -> None:
    task = Task(tmp_path, COOPERATIVE)
    ordered = order(tmp_path, task.playbook)

    def cancel() -> bool:
        if task.has_begun():
            raise error
        return False

    with pytest.raises(type(error)):
        run(ordered, cancel=cancel)
    assert task.processes() == set()
    assert not private_directories(ordered.directory)
    assert (ordered.directory / "output.log").exists()


def test_an_error_while_handing_on_an_event_stops_the_stage_too(tmp_path: Path) -> None:
    task = Task(tmp_path, COOPERATIVE)

    def on_event(_event: object) -> None:
        raise ValueError("broken display")

    with pytest.raises(ValueError, match="broken display"):
        run(order(tmp_path, task.playbook), on_event=on_event)
    assert task.processes() == set()


def test_when_we_are_killed_the_stage_ends_and_cleans_up(tmp_path: Path) -> None:
    task = Task(tmp_path, STUBBORN)
    given = json.dumps({"directory": str(tmp_path), "playbook": task.playbook.decode()})
    caller = subprocess.Popen(
        [sys.executable, "-m", "tests.run.staging"], stdin=subprocess.PIPE, start_new_session=True
    )
    assert caller.stdin
    caller.stdin.write(given.encode())
    caller.stdin.close()
    wait_until(task.has_begun)
    caller.kill()
    caller.wait()
    wait_until(lambda: not task.processes())
    wait_until(lambda: not list(tmp_path.glob("stage-*/kept/.private-*")))


def test_when_the_child_is_killed_the_outcome_is_unknown_and_nothing_runs_on(tmp_path: Path) -> None:
    task = Task(tmp_path, STUBBORN)
    ordered = order(tmp_path, task.playbook)

    def kill_child() -> None:
        wait_until(task.has_begun)
        os.kill(child_of(ordered.directory), signal.SIGKILL)

    thread = threading.Thread(target=kill_child)
    thread.start()
    seen = run(ordered)
    thread.join()
    assert seen.result.outcome is Outcome.INDETERMINATE
    assert seen.result.reason.startswith("the process that ran Ansible vanished")
    assert task.processes() == set()
    assert not private_directories(ordered.directory)


def test_when_ansible_is_killed_the_outcome_is_unknown_and_nothing_runs_on(tmp_path: Path) -> None:
    task = Task(tmp_path, COOPERATIVE)

    def kill_ansible(event: object) -> None:
        if isinstance(event, Started):
            wait_until(task.has_begun)
            os.kill(json.loads(journal_of(tmp_path).read_bytes().splitlines()[0])["pid"], signal.SIGKILL)

    seen = run(order(tmp_path, task.playbook), on_event=kill_ansible)
    assert seen.result.outcome is Outcome.INDETERMINATE
    assert "was killed before its end" in seen.result.reason
    assert task.processes() == set()


def test_after_all_were_killed_the_remains_can_be_cleared(tmp_path: Path) -> None:
    task = Task(tmp_path, COOPERATIVE)
    given = json.dumps({"directory": str(tmp_path), "playbook": task.playbook.decode()})
    caller = subprocess.Popen(
        [sys.executable, "-m", "tests.run.staging"], stdin=subprocess.PIPE, start_new_session=True
    )
    assert caller.stdin
    caller.stdin.write(given.encode())
    caller.stdin.close()
    wait_until(task.has_begun)
    directory = journal_of(tmp_path).parent
    child = child_of(directory)
    caller.send_signal(signal.SIGSTOP)
    os.kill(child, signal.SIGKILL)
    caller.kill()
    caller.wait()
    assert clear_remains(directory)
    assert task.processes() == set()
    assert not private_directories(directory)


@pytest.mark.parametrize("damage", ["cut", "gap", "garbage"])
def test_a_journal_that_was_tampered_with_makes_the_outcome_unknown(tmp_path: Path, damage: str) -> None:
    def tamper(event: object) -> None:
        if not isinstance(event, Started):
            return
        journal = journal_of(tmp_path)
        if damage == "cut":
            os.truncate(journal, 0)
            return
        line = b'{"seq":7,"event":"end","hosts":{}}\n' if damage == "gap" else b"\xff{\n"
        with journal.open("ab") as file:
            file.write(line)

    content = playbook(shell("wait", "sleep 0.5"), step("say", "debug", {"msg": "x"}))
    seen = run(order(tmp_path, content), on_event=tamper)
    assert seen.result.outcome is Outcome.INDETERMINATE
    assert seen.result.reason.startswith("the journal is damaged")


def test_a_service_that_a_task_starts_on_this_machine_outlives_the_stage(tmp_path: Path) -> None:
    task = Task(tmp_path, "setsid nohup sleep 1003 {mark} >/dev/null 2>&1 & touch {started}")
    seen = run(order(tmp_path, task.playbook))
    survivors = task.processes()
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    assert seen.result.outcome is Outcome.SUCCEEDED
    assert seen.results("wait")["a"].status is HostStatus.CHANGED
    assert len(survivors) == 1


def journal_of(directory: Path) -> Path:
    return next(directory.rglob("journal.jsonl"))


def child_of(directory: Path) -> int:
    """The process that runs ansible-runner for the stage in `directory`."""
    ident = private_directories(directory)[0].name.removeprefix(".private-")
    return next(
        pid for pid in processes_with(ident) if b"opsascode.run._child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
