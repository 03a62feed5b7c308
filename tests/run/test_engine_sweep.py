"""What a broken-off stage began on other hosts is ended there too, over real ssh, and nothing else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.run._journal import HostBegan, HostStatus, TaskStarted, read_journal
from opsascode.run._sweep import find_doubts, leftovers
from opsascode.run._verdict import Outcome
from tests.run.staging import order, playbook, processes_with, run, shell, step
from tests.run.test_engine_stop import Task, child_of, wait_until
from tests.sshd import SshHosts, ssh_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.run._stage import StageOrder

pytestmark = pytest.mark.ssh

COOPERATIVE = "touch {started}; exec sleep 1000 {mark}"
STUBBORN = """
trap '' TERM INT HUP
setsid sh -c "trap '' TERM HUP; exec sleep 1001 {mark}" &
env -i sh -c "trap '' TERM HUP; exec sleep 1002 {mark}" &
touch {started}
while :; do sleep 0.1 {mark}; done
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHosts]:
    with ssh_hosts(tmp_path_factory.mktemp("sshd"), "web1", "web2") as found:
        yield found


@pytest.fixture
def ended() -> Iterator[list[str]]:
    """Marks of processes that are ended when the test is over, whatever came of it."""
    marks: list[str] = []
    yield marks
    for mark in marks:
        for pid in processes_with(mark):
            os.kill(pid, signal.SIGKILL)


def over_ssh(
    directory: Path, machines: SshHosts, plays: bytes, *, pipelining: bool = True, **options: Any
) -> StageOrder:
    inventory = options.pop("inventory", None) or machines.inventory()
    inventory["all"]["vars"] = {"ansible_pipelining": pipelining}
    return order(directory, plays, inventory=inventory, **{"hosts": ("web1",), **options})


@pytest.fixture
def slowness() -> float:
    """How many times slower than on an idle machine Ansible starts just now; tests may share their processors."""
    began = time.monotonic()
    subprocess.run([Path(sys.executable).parent / "ansible-playbook", "--version"], check=True, capture_output=True)
    return max(1.0, (time.monotonic() - began) / 0.3)


class Moments:
    """When the stage was asked to stop, and when it was quiet."""

    def __init__(self, task: Task) -> None:
        self.asked = 0.0
        self._task = task

    def cancel(self) -> bool:
        if not self.asked and self._task.has_begun():
            self.asked = time.monotonic()
        return bool(self.asked)


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "by file"])
@pytest.mark.parametrize("kind", [COOPERATIVE, STUBBORN], ids=["cooperative", "stubborn"])
def test_a_canceled_task_leaves_no_process_on_its_host(
    tmp_path: Path, hosts: SshHosts, ended: list[str], slowness: float, kind: str, pipelining: bool
) -> None:
    task = Task(tmp_path, kind)
    ended.append(task.mark)
    moments = Moments(task)
    ordered = over_ssh(tmp_path, hosts, task.playbook, pipelining=pipelining, grace_seconds=1.0)
    seen = run(ordered, cancel=moments.cancel)
    quiet = time.monotonic() - moments.asked
    assert task.processes() == set()
    assert (seen.result.outcome, seen.result.reason) == (Outcome.CANCELED, "it was canceled")
    assert quiet < 3.0 * slowness  # for the stubborn one: grace + 2 s


def test_a_request_reaches_ansible_within_a_second(
    tmp_path: Path, hosts: SshHosts, ended: list[str], slowness: float
) -> None:
    task = Task(tmp_path, COOPERATIVE)
    ended.append(task.mark)
    moments, gone = Moments(task), []

    def watch() -> None:
        wait_until(task.has_begun)
        leader = json.loads((ordered.directory / "journal.jsonl").read_bytes().splitlines()[0])["pid"]
        wait_until(lambda: not is_ansible(leader))
        gone.append(time.monotonic())

    ordered = over_ssh(tmp_path, hosts, task.playbook, grace_seconds=1.0)
    thread = threading.Thread(target=watch)
    thread.start()
    run(ordered, cancel=moments.cancel)
    thread.join()
    assert gone[0] - moments.asked < 1 * slowness


def is_ansible(pid: int) -> bool:
    try:
        return b"ansible-playbook" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def test_only_the_hosts_in_doubt_are_swept_and_what_earlier_tasks_started_lives_on(
    tmp_path: Path, hosts: SshHosts, ended: list[str]
) -> None:
    task, service = Task(tmp_path, STUBBORN), Task(tmp_path / "service", "")
    ended += [task.mark, service.mark]
    waiting = json.loads(task.playbook)[0]["tasks"][0] | {"when": "inventory_hostname == 'web2'"}
    start = shell("start", f"setsid nohup sleep 1003 {service.mark} >/dev/null 2>&1 &")
    ordered = over_ssh(tmp_path, hosts, playbook(start, waiting), hosts=hosts.names, grace_seconds=0.5)
    seen = run(ordered, cancel=task.has_begun)
    assert seen.result.outcome is Outcome.CANCELED
    assert task.processes() == set()
    assert len(service.processes()) == 2
    swept = json.loads((ordered.directory / "sweep.json").read_text())
    assert [place for place, _ in swept["quiet"]] == ["web2"]


def test_what_a_step_whose_time_ran_out_began_is_ended_while_the_others_go_on(
    tmp_path: Path, hosts: SshHosts, ended: list[str]
) -> None:
    task = Task(tmp_path, STUBBORN)
    ended.append(task.mark)
    slow = json.loads(task.playbook)[0]["tasks"][0] | {"timeout": 2, "ignore_errors": True}
    gone = tmp_path / "gone"

    def look() -> bool:
        if task.has_begun() and not task.processes():
            gone.touch()
        return False

    plays = playbook(slow, shell("later", f"until [ -e {gone} ]; do sleep 0.1; done"))
    seen = run(over_ssh(tmp_path, hosts, plays, grace_seconds=0.5, timeout_seconds=120), cancel=look)
    assert seen.results("wait")["web1"].timed_out
    assert seen.result.outcome is Outcome.SUCCEEDED, seen.result.reason
    assert seen.results("later")["web1"].status is HostStatus.CHANGED
    assert not seen.results("later")["web1"].timed_out


def test_where_the_host_is_gone_it_is_said_that_something_may_still_run(tmp_path: Path, ended: list[str]) -> None:
    task = Task(tmp_path, STUBBORN)
    ended.append(task.mark)
    with (
        ssh_hosts(tmp_path / "sshd", "web1") as hosts,
        tempfile.TemporaryDirectory(prefix="own-", dir="/tmp") as runtime,
    ):
        server = int((tmp_path / "sshd" / "sshd.pid").read_text())

        def lose() -> None:
            wait_until(task.has_begun)
            os.kill(server, signal.SIGSTOP)
            wait_until(lambda: moments.asked)
            time.sleep(0.1)
            for pid in processes_with(f"ssh: {runtime}/"):
                os.kill(pid, signal.SIGKILL)

        moments = Moments(task)
        inventory = hosts.inventory()
        inventory["all"]["hosts"]["web1"]["ansible_ssh_timeout"] = 1  # type: ignore[index]  # shape is known
        ordered = over_ssh(
            tmp_path, hosts, task.playbook, inventory=inventory, grace_seconds=0.5, environ={"XDG_RUNTIME_DIR": runtime}
        )
        thread = threading.Thread(target=lose)
        thread.start()
        seen = run(ordered, cancel=moments.cancel)
        thread.join()
        os.kill(server, signal.SIGCONT)
    assert task.processes()
    assert seen.result.outcome is Outcome.INDETERMINATE
    assert seen.result.reason.startswith("it was canceled; something may still run on web1 (it could not be reached: ")
    assert list(seen.result.unswept) == ["web1"]
    assert leftovers(ordered.directory)[0][0] == "web1"


def test_when_we_are_killed_the_child_sweeps_the_hosts_too(tmp_path: Path, hosts: SshHosts, ended: list[str]) -> None:
    task = Task(tmp_path, STUBBORN)
    ended.append(task.mark)
    given = {
        "directory": str(tmp_path),
        "playbook": task.playbook.decode(),
        "inventory": hosts.inventory(),
        "host": "web1",
    }
    caller = subprocess.Popen(
        [sys.executable, "-m", "tests.run.staging"], stdin=subprocess.PIPE, start_new_session=True
    )
    assert caller.stdin
    caller.stdin.write(json.dumps(given).encode())
    caller.stdin.close()
    wait_until(task.has_begun)
    caller.kill()
    caller.wait()
    wait_until(lambda: not task.processes(), 10)
    wait_until(lambda: not list(tmp_path.glob("stage-*/kept/.private-*")))
    assert leftovers(next(tmp_path.rglob("journal.jsonl")).parent) == ()


def test_when_the_child_is_killed_the_hosts_are_swept_all_the_same(
    tmp_path: Path, hosts: SshHosts, ended: list[str]
) -> None:
    task = Task(tmp_path, STUBBORN)
    ended.append(task.mark)
    killed: list[int] = []

    def cancel() -> bool:
        if task.has_begun() and not killed:
            killed.append(child_of(ordered.directory))
            os.kill(killed[0], signal.SIGKILL)
        return False

    ordered = over_ssh(tmp_path, hosts, task.playbook, grace_seconds=0.5)
    seen = run(ordered, cancel=cancel)
    assert task.processes() == set()
    assert seen.result.outcome is Outcome.INDETERMINATE
    assert seen.result.reason == "the process that ran Ansible vanished: it was killed"


def test_what_an_earlier_stage_left_is_ended_before_the_next_one_begins(
    tmp_path: Path, hosts: SshHosts, ended: list[str]
) -> None:
    task = Task(tmp_path, STUBBORN)
    ended.append(task.mark)
    mark = "00aa.0-1"
    environment = {"PATH": os.environ["PATH"], "OPSASCODE_TASK": mark}
    left = subprocess.Popen(["sh", "-c", task.script], env=environment, start_new_session=True)
    wait_until(task.has_begun)
    look = shell("look", f"pgrep -fc 'sleep [0-9.]* {task.mark}' || true")
    ordered = over_ssh(tmp_path, hosts, playbook(look), leftovers=(("web1", mark),), grace_seconds=0.5)
    seen = run(ordered)
    assert seen.result.outcome is Outcome.SUCCEEDED, seen.result.reason
    output = seen.results("look")["web1"].output
    assert output
    assert output.text == "0"
    assert left.wait(5) == -signal.SIGKILL


def test_doubts_are_the_tasks_begun_and_not_known_to_have_ended(
    tmp_path: Path, hosts: SshHosts, ended: list[str]
) -> None:
    task = Task(tmp_path, COOPERATIVE)
    ended.append(task.mark)
    delegated = {**json.loads(task.playbook)[0]["tasks"][0], "delegate_to": "{{ 'web2' }}", "become": False}
    ordered = over_ssh(tmp_path, hosts, playbook(step("first", "ping"), delegated), grace_seconds=0.5)
    seen = run(ordered, cancel=task.has_begun)
    assert seen.result.outcome is Outcome.CANCELED
    assert task.processes() == set()
    (doubt,) = find_doubts(read_journal(seen.result.journal)[0])
    assert (doubt.host, doubt.place, doubt.traced, doubt.local, doubt.become) == ("web1", "web2", True, False, False)
    assert [event.step for event in seen.events if isinstance(event, TaskStarted)] == ["first", "wait"]
    assert [event.place for event in seen.events if isinstance(event, HostBegan)] == ["web1", "web2"]
