"""A controller that is killed at any moment leaves nothing running, nothing locked, nothing false, and a way to go on."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.runs import alive, eventually, lines_of, mentioning, newest, run_of
from tests.killpoint import kill, walk
from tests.world import World, new_world

if TYPE_CHECKING:
    from pathlib import Path

RUNBOOK = """
- id: one
  task: {ansible.builtin.shell: "echo one >> {{ place }}/log"}
  undo: {task: {ansible.builtin.shell: "echo undo >> {{ place }}/log"}}
- id: gate
  task: {ansible.builtin.command: "test -e {{ place }}/open"}
"""
SLOW = """
- id: one
  task: {ansible.builtin.shell: "echo one >> {{ place }}/log"}
  undo: {task: {ansible.builtin.shell: "echo undo >> {{ place }}/log"}}
- id: slow
  task: {ansible.builtin.shell: "echo $$ > {{ place }}/pid; test -e {{ place }}/open || exec sleep 300"}
- id: last
  task: {ansible.builtin.shell: "echo last >> {{ place }}/log"}
"""
MOMENTS = 18
"""How many moments of a whole run (that fails and undoes what it did) are tried; it has about a hundred."""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world in which a run was done before, so that keys and ledger are there."""
    world = new_world(tmp_path_factory.mktemp("crash") / "home")
    world.runbook("work", RUNBOOK, parameters="{place: {type: string}}", targets="{hosts: db}", on_failure="undo")
    world.commit()
    assert world.ops("run", "work", "-e", f"place={world.home}", "-y").code == 1
    return world


@pytest.fixture(scope="module")
def labels(template: World) -> tuple[str, ...]:
    seen = walk(template, "run", "work", "-e", f"place={template.home}", "-y")
    assert seen.code == 1
    return seen.labels


def copy_of(template: World, home: Path) -> World:
    shutil.copytree(template.home, home, symlinks=True)
    (home / "log").unlink(missing_ok=True)
    return World(home=home)


def judge_after(world: World) -> str:
    """Everything that must hold after a kill, whenever it came; the outcome, or `nothing`."""
    before = len(world.ops("runs", "list", "--format", "json").json)
    eventually(lambda: not mentioning(str(world.home)), seconds=15, what="something of the run still lives")
    runs = world.ops("runs", "list", "--format", "json").json
    assert len(runs) == before
    assert world.ops("verify", "--all").code == 0
    if len(runs) == 2:
        assert not [path for path in (world.state / "runs").iterdir() if path.name not in {run["run"] for run in runs}]
        return "nothing"
    return str(runs[0]["outcome"])


@pytest.mark.parametrize("part", range(MOMENTS))
def test_a_kill_at_any_moment_is_found_and_closed(
    template: World, labels: tuple[str, ...], part: int, tmp_path: Path
) -> None:
    first = next(number for number, label in enumerate(labels, 1) if label.startswith("sqlite INSERT INTO run"))
    moment = first + (len(labels) - first) * part // (MOMENTS - 1)
    world = copy_of(template, tmp_path / "home")
    ended = kill(world, moment, "run", "work", "-e", f"place={world.home}", "-y")
    outcome = judge_after(world)
    assert outcome in {"nothing", "indeterminate", "failed"}, ended.label
    if outcome == "nothing":
        assert lines_of(world.home / "log") == [], ended.label
        assert world.ops("run", "work", "-e", f"place={world.home}", "-y").code == 1
        return
    (world.home / "open").touch()
    answer = world.ops("runs", "resume", "latest", "-y")
    assert answer.code == 0, f"{ended.label}: {answer.out}{answer.err}"
    log = lines_of(world.home / "log")
    assert log[-1] == "one" or log.count("one") == log.count("undo") + 1, ended.label
    assert world.ops("verify", "latest").code == 0


@pytest.mark.parametrize("which", [0, 1])
def test_a_kill_in_the_middle_of_an_append_loses_nothing_that_was_signed(
    template: World, labels: tuple[str, ...], which: int, tmp_path: Path
) -> None:
    moment = [number for number, label in enumerate(labels, 1) if label.startswith("pwrite") and "segments" in label][
        which
    ]
    world = copy_of(template, tmp_path / "home")
    kill(world, moment, "run", "work", "-e", f"place={world.home}", "-y", torn=True)
    assert judge_after(world) in ({"nothing"} if which == 0 else {"indeterminate", "failed"})


def test_a_kill_in_the_middle_of_a_task_is_told_and_the_task_is_over(world: World, tmp_path: Path) -> None:
    world.runbook("work", SLOW, parameters="{place: {type: string}}", targets="{hosts: db}", on_failure="undo")
    world.commit()
    process = world.start("run", "work", "-e", f"place={tmp_path}", "-y")
    run = run_of(world, process)
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    process.kill()
    process.communicate()
    listed = world.ops("runs", "list")
    assert listed.code == 0
    assert f"run {run} is closed as indeterminate" in listed.err
    assert f"opsascode runs resume {run}" in listed.err
    assert f"opsascode runs undo {run}" in listed.err
    assert not alive(int((tmp_path / "pid").read_text()))
    end = newest(world)["end"]
    assert end["outcome"] == "indeterminate"
    assert end["in_doubt"] == [{"host": "db1", "step": "slow"}]
    assert world.ops("verify", run).code == 0
    (tmp_path / "open").touch()
    answer = world.ops("runs", "resume", run, "-y")
    assert answer.code == 0, answer.out + answer.err
    assert lines_of(tmp_path / "log") == ["one", "last"]


def test_what_a_killed_run_completed_can_be_taken_back(world: World, tmp_path: Path) -> None:
    world.runbook("work", SLOW, parameters="{place: {type: string}}", targets="{hosts: db}")
    world.commit()
    process = world.start("run", "work", "-e", f"place={tmp_path}", "-y")
    eventually((tmp_path / "pid").exists)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    answer = world.ops("runs", "undo", "latest", "-y")
    assert answer.code == 0, answer.out + answer.err
    assert lines_of(tmp_path / "log") == ["one", "undo"]


def test_a_state_directory_that_cannot_be_written_is_refused_before_the_first_task(
    world: World, tmp_path: Path
) -> None:
    world.runbook("work", RUNBOOK, parameters="{place: {type: string}}", targets="{hosts: db}")
    world.commit()
    world.state.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(world.state, ignore_errors=True)
    world.state.write_text("this is a file")
    answer = world.ops("run", "work", "-e", f"place={tmp_path}", "-y")
    assert answer.code == 2, answer.out + answer.err
    assert str(world.state) in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "log").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_refused_before_or_closed_honestly(world: World, tmp_path: Path) -> None:
    world.runbook("work", RUNBOOK, parameters="{place: {type: string}}", targets="{hosts: db}")
    world.commit()
    world.state.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "small", world.state], check=False, capture_output=True
    )
    assert mounted.returncode == 0, mounted.stderr
    try:
        answer = world.ops("run", "work", "-e", f"place={tmp_path}", "-y")
        assert answer.code == 2, answer.out + answer.err
        assert "space" in answer.err.lower() or os.strerror(errno.ENOSPC) in answer.err
        assert not (tmp_path / "log").exists()
    finally:
        subprocess.run(["umount", world.state], check=True)
