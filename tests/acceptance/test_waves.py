"""Waves: a canary first, checks and pauses between them, a share of failures that is tolerated, and never more hosts than planned."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from tests.acceptance.runs import eventually, lines_of, newest, statuses

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import World

PLACE = "{place: {type: string}}"
NOTE = """
- id: note
  task: {ansible.builtin.shell: "echo {{ inventory_hostname }} >> {{ place }}/log"}
- id: gate
  task: {ansible.builtin.command: "test ! -e {{ place }}/{{ inventory_hostname }}.broken"}
- id: last
  task: {ansible.builtin.shell: "echo last {{ inventory_hostname }} >> {{ place }}/log"}
"""


def run(world: World, place: Path, targets: str, *options: str, steps: str = NOTE, **spec: str) -> int:
    world.runbook("work", steps, parameters=PLACE, targets=targets, **spec)
    world.commit()
    return world.ops("run", "work", "-e", f"place={place}", "-y", *options).code


def test_a_canary_that_fails_spares_all_the_others(world: World, tmp_path: Path) -> None:
    (tmp_path / "web1.broken").touch()
    assert run(world, tmp_path, "{hosts: web, waves: [1, '100%']}") == 1
    assert lines_of(tmp_path / "log") == ["web1"]
    assert newest(world)["end"]["reason"].startswith("wave 1 of 2: 1 host failed: web1")


def test_a_tolerated_share_of_failures_lets_the_next_wave_begin(world: World, tmp_path: Path) -> None:
    (tmp_path / "web1.broken").touch()
    code = run(world, tmp_path, "{hosts: 'web:db', waves: [2, 2], max_fail_percent: 50}")
    assert code == 1, "a host failed, and the exit code says so"
    assert sorted(line for line in lines_of(tmp_path / "log") if line.startswith("last")) == [
        "last db1",
        "last web2",
        "last web3",
    ]
    assert "within max_fail_percent" in newest(world)["end"]["reason"]


def test_one_failure_too_many_stops_the_wave_at_once(world: World, tmp_path: Path) -> None:
    for host in ("web1", "web2"):
        (tmp_path / f"{host}.broken").touch()
    assert run(world, tmp_path, "{hosts: 'web:db', waves: [3, 1], max_fail_percent: 40}") == 1
    assert [line for line in lines_of(tmp_path / "log") if line.startswith("last")] == []
    assert "db1" not in lines_of(tmp_path / "log")


def test_hosts_that_failed_within_the_tolerance_are_taken_back(world: World, tmp_path: Path) -> None:
    (tmp_path / "web1.broken").touch()
    steps = NOTE.replace(
        "- id: gate",
        '  undo: {task: {ansible.builtin.shell: "echo undo {{ inventory_hostname }} >> {{ place }}/log"}}\n- id: gate',
    )
    assert run(world, tmp_path, "{hosts: web, max_fail_percent: 50}", steps=steps, on_failure="undo") == 1
    assert [line for line in lines_of(tmp_path / "log") if line.startswith("undo")] == ["undo web1"]
    assert statuses(world)["web2"]["last"] == "changed"


def test_checks_between_waves_look_at_all_hosts_so_far(world: World, tmp_path: Path) -> None:
    between = "between_waves: {checks: [{id: soak, check: {command: 'sh -c \"echo soak {{ inventory_hostname }} >> {{ place }}/log\"'}}]}"
    assert run(world, tmp_path, f"{{hosts: web, waves: [1, 1, 1], {between}}}") == 0
    soaked = [line for line in lines_of(tmp_path / "log") if line.startswith("soak")]
    assert soaked[0] == "soak web1"
    assert sorted(soaked[1:]) == ["soak web1", "soak web2"]


def test_a_check_that_fails_between_waves_ends_the_run(world: World, tmp_path: Path) -> None:
    between = "between_waves: {checks: [{id: soak, check: {command: 'test ! -e {{ place }}/stop'}}]}"
    (tmp_path / "stop").touch()
    assert run(world, tmp_path, f"{{hosts: web, waves: [1, 2], {between}}}") == 1
    assert lines_of(tmp_path / "log") == ["web1", "last web1"]


def test_a_pause_between_waves_is_kept_and_can_be_canceled(world: World, tmp_path: Path) -> None:
    begun = time.monotonic()
    assert run(world, tmp_path, "{hosts: web, waves: [1, 2], between_waves: {pause: 2s}}") == 0
    assert time.monotonic() - begun > 2
    world.runbook("work", NOTE, parameters=PLACE, targets="{hosts: web, waves: [1, 2], between_waves: {pause: 10m}}")
    world.commit()
    process = world.start("run", "work", "-e", f"place={tmp_path}", "-y")
    assert process.stdout
    lines = iter(process.stdout.readline, "")
    assert any("pause of 600 s after" in line for line in lines)
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert time.monotonic() - asked < 5
    assert process.returncode == 130
    assert "in the pause" in newest(world)["end"]["reason"]


def test_a_run_has_a_time_limit_of_its_own(world: World, tmp_path: Path) -> None:
    steps = '- {id: slow, task: {ansible.builtin.shell: "echo slow >> {{ place }}/log; sleep 60"}}'
    begun = time.monotonic()
    assert run(world, tmp_path, "{hosts: db}", steps=steps, timeout="2s") == 130
    assert time.monotonic() - begun < 15
    end = newest(world)["end"]
    assert end["outcome"] == "canceled"
    assert "its timeout of 2 seconds" in end["reason"]


def test_a_limit_never_widens_a_plan_and_a_grown_inventory_is_refused(world: World, tmp_path: Path) -> None:
    world.runbook("work", NOTE, parameters=PLACE, targets="{hosts: web}")
    world.commit()
    plan = tmp_path / "plan.json"
    assert world.ops("plan", "work", "-e", f"place={tmp_path}", "--limit", "web1:db1", "--out", plan).code == 0
    world.write(
        "inventories/local.yml",
        (world.root / "inventories/local.yml").read_text().replace("web3: {}", "web3: {}, web4: {}"),
    )
    answer = world.ops("run", plan, "-y")
    assert answer.code == 4
    assert lines_of(tmp_path / "log") == []
    assert world.ops("run", "work", "-e", f"place={tmp_path}", "--limit", "web1:db1", "-y").code == 0
    assert lines_of(tmp_path / "log") == ["web1", "last web1"]


def test_an_undo_of_a_canceled_wave_is_waited_for(world: World, tmp_path: Path) -> None:
    steps = """
    - id: one
      task: {ansible.builtin.shell: "echo one >> {{ place }}/log"}
      undo: {task: {ansible.builtin.shell: "sleep 1; echo undo >> {{ place }}/log"}}
    - id: slow
      task: {ansible.builtin.shell: "touch {{ place }}/slow; sleep 60"}
    """
    world.runbook("work", steps, parameters=PLACE, targets="{hosts: db}", on_failure="undo")
    world.commit()
    process = world.start("run", "work", "-e", f"place={tmp_path}", "-y")
    eventually((tmp_path / "slow").exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=40)
    assert process.returncode == 130
    assert lines_of(tmp_path / "log") == ["one", "undo"]
    assert newest(world)["end"]["undone"] is True
