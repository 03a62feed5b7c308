"""A stop stops: Ctrl-C, SIGTERM, `runs cancel` and time limits leave no process, here or on the host, and a closed record."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.runs import alive, eventually, lines_of, newest, run_of
from tests.sshd import ssh_hosts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import World

PLACE = "{place: {type: string}}"
STUBBORN = """
- id: one
  task: {ansible.builtin.shell: "echo one >> {{ place }}/log"}
  undo: {task: {ansible.builtin.shell: "echo undo >> {{ place }}/log"}}
- id: slow
  task:
    ansible.builtin.shell: |
      trap '' TERM HUP INT
      sleep 300 &
      echo $! > {{ place }}/{{ inventory_hostname }}.child.pid
      echo $$ > {{ place }}/{{ inventory_hostname }}.pid
      sleep 301; sleep 302
"""
COOPERATIVE = """
- id: one
  task: {ansible.builtin.shell: "echo one >> {{ place }}/log"}
  undo: {task: {ansible.builtin.shell: "echo undo >> {{ place }}/log"}}
- id: slow
  task: {ansible.builtin.shell: "echo $$ > {{ place }}/{{ inventory_hostname }}.pid; exec sleep 300"}
"""


def pids(place: Path) -> list[int]:
    return [int(path.read_text()) for path in place.glob("*.pid") if path.read_text().strip()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_and_undoes(world: World, tmp_path: Path, number: signal.Signals) -> None:
    world.runbook("work", COOPERATIVE, parameters=PLACE, on_failure="undo", targets="{hosts: web}")
    world.commit()
    process = world.start("run", "work", "-e", f"place={tmp_path}", "-y")
    eventually(lambda: len(pids(tmp_path)) == 3)
    asked = time.monotonic()
    process.send_signal(number)
    eventually(lambda: not any(alive(pid) for pid in pids(tmp_path)), seconds=3)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, out + err
    assert time.monotonic() - asked < 12
    end = newest(world)["end"]
    assert (end["outcome"], end["undone"]) == ("canceled", True)
    assert lines_of(tmp_path / "log").count("undo") == 3
    assert world.ops("verify", "--all").code == 0


def test_runs_cancel_stops_a_run_of_another_process_and_says_who_did(world: World, tmp_path: Path) -> None:
    world.runbook("work", COOPERATIVE, parameters=PLACE, on_failure="undo", targets="{hosts: db}")
    world.commit()
    process = world.start("run", "work", "-e", f"place={tmp_path}", "-y")
    run = run_of(world, process)
    eventually(lambda: pids(tmp_path))
    asked = time.monotonic()
    answer = world.ops("runs", "cancel", run)
    assert answer.code == 0, answer.err
    assert "canceled" in answer.out
    assert not any(alive(pid) for pid in pids(tmp_path))
    process.communicate(timeout=20)
    assert time.monotonic() - asked < 10
    assert process.returncode == 130
    end = newest(world)["end"]
    assert end["reason"].startswith("canceled by ")
    assert end["undone"] is True
    again = world.ops("runs", "cancel", run)
    assert again.code == 2
    assert "is over: canceled" in again.err


def test_runs_cancel_without_undo_leaves_what_was_done(world: World, tmp_path: Path) -> None:
    world.runbook("work", COOPERATIVE, parameters=PLACE, on_failure="undo", targets="{hosts: db}")
    world.commit()
    process = world.start("run", "work", "-e", f"place={tmp_path}", "-y")
    run = run_of(world, process)
    eventually(lambda: pids(tmp_path))
    assert world.ops("runs", "cancel", "--no-undo", run).code == 0
    process.communicate(timeout=20)
    assert lines_of(tmp_path / "log") == ["one"]
    assert newest(world)["end"]["undone"] is False


def test_many_requests_to_stop_corrupt_nothing(world: World, tmp_path: Path) -> None:
    world.runbook("work", COOPERATIVE, parameters=PLACE, on_failure="undo", targets="{hosts: web}")
    world.commit()
    process = world.start("run", "work", "-e", f"place={tmp_path}", "-y")
    eventually(lambda: len(pids(tmp_path)) == 3)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    process.communicate()
    assert process.returncode == 130
    assert newest(world)["end"]["outcome"] == "canceled"
    assert world.ops("verify", "--all").code == 0
    assert world.ops("verify", "latest").code == 0


@pytest.mark.ssh
def test_a_task_that_ignores_term_is_gone_from_the_ssh_host_too(world: World, tmp_path: Path) -> None:
    with ssh_hosts(tmp_path / "ssh", "far1", "far2") as hosts:
        world.write("inventories/local.yml", json.dumps(hosts.inventory()))
        world.runbook("work", STUBBORN, parameters=PLACE, on_failure="undo", targets="{hosts: all}")
        world.commit()
        process = world.start("run", "work", "-e", f"place={tmp_path}", "-y")
        eventually(lambda: len(pids(tmp_path)) == 4)
        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        eventually(lambda: not any(alive(pid) for pid in pids(tmp_path)), seconds=12 + 2)
        quiet = time.monotonic() - asked
        out, err = process.communicate(timeout=40)
        assert process.returncode == 130, out + err
        assert quiet < 12, "grace and two seconds"
        assert lines_of(tmp_path / "log").count("undo") == 2
    assert newest(world)["end"]["outcome"] == "canceled"


@pytest.mark.ssh
def test_a_step_that_takes_too_long_does_not_go_on_behind_our_back(world: World, tmp_path: Path) -> None:
    with ssh_hosts(tmp_path / "ssh", "far1") as hosts:
        world.write("inventories/local.yml", json.dumps(hosts.inventory()))
        world.runbook("work", f"{STUBBORN}  timeout: 2s\n", parameters=PLACE, targets="{hosts: all}")
        world.commit()
        answer = world.ops("run", "work", "-e", f"place={tmp_path}", "-y")
        assert answer.code == 1, answer.out + answer.err
        assert pids(tmp_path)
        assert not any(alive(pid) for pid in pids(tmp_path))
