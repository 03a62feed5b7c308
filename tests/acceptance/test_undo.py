"""Undo: in reverse order of what was completed, host by host; on failure, on cancel, on a failed check, and by hand."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.acceptance.runs import eventually, lines_of, newest, statuses

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import World

PLACE = "{place: {type: string}}"


def steps(*names: str, last: str) -> str:
    """Steps that write down what they do and what is undone, and a last one."""
    each = "\n".join(
        f"""- id: {name}
  task: {{ansible.builtin.shell: "echo {name} {{{{ inventory_hostname }}}} >> {{{{ place }}}}/log"}}
  undo: {{task: {{ansible.builtin.shell: "echo undo-{name} {{{{ inventory_hostname }}}} >> {{{{ place }}}}/log"}}}}"""
        for name in names
    )
    return f"{each}\n{last}"


FAILS_ON_WEB2 = """- id: gate
  task: {ansible.builtin.command: "test {{ inventory_hostname }} != web2"}"""
FAILED_CHECK = """- id: gate
  check: {command: "test {{ inventory_hostname }} != web2"}"""
SLOW = """- id: slow
  task: {ansible.builtin.command: "sleep 60"}"""


def run(world: World, text: str, place: Path, *options: str, **spec: str) -> int:
    world.runbook("work", text, parameters=PLACE, **spec)
    world.commit()
    return world.ops("run", "work", "-e", f"place={place}", "-y", *options).code


def undone(place: Path) -> list[str]:
    return [line for line in lines_of(place / "log") if line.startswith("undo-")]


def test_a_failed_check_undoes_in_reverse_order_on_every_host_of_the_wave(world: World, tmp_path: Path) -> None:
    assert run(world, steps("one", "two", last=FAILED_CHECK), tmp_path, on_failure="undo") == 1
    each = undone(tmp_path)
    assert [line.split()[0] for line in each] == ["undo-two"] * 3 + ["undo-one"] * 3
    assert "what was completed has been undone" in newest(world)["end"]["reason"]
    assert newest(world)["end"]["undone"] is True


def test_only_failed_hosts_are_taken_back_when_the_runbook_says_so(world: World, tmp_path: Path) -> None:
    spec = {"on_failure": "undo", "undo_scope": "failed-hosts"}
    assert run(world, steps("one", last=FAILS_ON_WEB2), tmp_path, **spec) == 1
    assert undone(tmp_path) == ["undo-one web2"]


def test_all_waves_are_taken_back_when_the_runbook_says_so(world: World, tmp_path: Path) -> None:
    spec = {"on_failure": "undo", "undo_scope": "all", "targets": "{hosts: web, waves: [1]}"}
    assert run(world, steps("one", last=FAILS_ON_WEB2), tmp_path, **spec) == 1
    assert sorted(undone(tmp_path)) == ["undo-one web1", "undo-one web2"]


def test_the_wave_alone_is_taken_back_unless_said_otherwise(world: World, tmp_path: Path) -> None:
    spec = {"on_failure": "undo", "targets": "{hosts: web, waves: [1]}"}
    assert run(world, steps("one", last=FAILS_ON_WEB2), tmp_path, **spec) == 1
    assert undone(tmp_path) == ["undo-one web2"]


def test_nothing_is_undone_when_the_person_says_so(world: World, tmp_path: Path) -> None:
    assert run(world, steps("one", last=FAILS_ON_WEB2), tmp_path, "--no-undo", on_failure="undo") == 1
    assert undone(tmp_path) == []
    assert newest(world)["end"]["undone"] is False


def test_a_run_is_taken_back_by_hand_later(world: World, tmp_path: Path) -> None:
    assert run(world, steps("one", "two", last=FAILS_ON_WEB2), tmp_path) == 1
    before = newest(world)["run"]
    answer = world.ops("runs", "undo", before, "-y")
    assert answer.code == 0, answer.out + answer.err
    assert len(undone(tmp_path)) == 6
    record = newest(world)
    assert record["start"]["undoes"] == before
    assert record["start"]["mode"] == "undo"
    assert record["end"]["undone"] is True
    again = world.ops("runs", "undo", before, "-y")
    assert again.code == 4
    assert "undone already" in again.err


def test_a_run_that_succeeded_can_be_taken_back_too(world: World, tmp_path: Path) -> None:
    assert run(world, steps("one", last=""), tmp_path) == 0
    assert world.ops("runs", "undo", "latest", "-y").code == 0
    assert len(undone(tmp_path)) == 3


def test_a_failing_undo_is_named_with_its_host_and_the_others_go_on(world: World, tmp_path: Path) -> None:
    text = """
    - id: one
      task: {ansible.builtin.shell: "echo one {{ inventory_hostname }} >> {{ place }}/log"}
      undo: {task: {ansible.builtin.shell: "echo undo-one {{ inventory_hostname }} >> {{ place }}/log"}}
    - id: two
      task: {ansible.builtin.shell: "true"}
      undo:
        task: {ansible.builtin.command: "test {{ inventory_hostname }} != web3"}
        retry: {attempts: 2, delay: 1s}
        timeout: 10s
    - id: gate
      task: {ansible.builtin.command: "false"}
    """
    assert run(world, text, tmp_path, on_failure="undo") == 1
    assert len(undone(tmp_path)) == 3
    end = newest(world)["end"]
    assert "UNDO FAILED: two on web3" in end["reason"]
    assert end["undone"] is False
    assert statuses(world)["web1"]["undo.two"] == "changed"


def test_an_undo_is_checked(world: World, tmp_path: Path) -> None:
    text = """
    - id: one
      task: {ansible.builtin.command: "true"}
      undo:
        task: {ansible.builtin.command: "true"}
        check: {command: "test -e {{ place }}/never"}
    - id: gate
      task: {ansible.builtin.command: "false"}
    """
    assert run(world, text, tmp_path, on_failure="undo", targets="{hosts: db}") == 1
    assert "UNDO FAILED: one on db1" in newest(world)["end"]["reason"]


def test_an_undo_knows_what_its_step_registered(world: World, tmp_path: Path) -> None:
    text = """
    - id: one
      task: {ansible.builtin.command: "echo backup-of-{{ inventory_hostname }}"}
      register: made
      undo: {task: {ansible.builtin.shell: "echo undo-{{ made.stdout }} >> {{ place }}/log"}}
    - id: gate
      task: {ansible.builtin.command: "false"}
    """
    assert run(world, text, tmp_path, on_failure="undo") == 1
    assert sorted(undone(tmp_path)) == [f"undo-backup-of-web{number}" for number in (1, 2, 3)]


def test_a_canceled_run_is_undone_and_a_second_request_stops_the_undo(world: World, tmp_path: Path) -> None:
    text = """
    - id: one
      task: {ansible.builtin.command: "true"}
      undo: {task: {ansible.builtin.shell: "touch {{ place }}/undoing && sleep 60"}}
    """
    world.runbook(
        "work",
        text + SLOW.replace("\n", "\n    ").replace("- id", "- id"),
        parameters=PLACE,
        on_failure="undo",
        targets="{hosts: db}",
    )
    world.commit()
    process = world.start("run", "work", "-e", f"place={tmp_path}", "-y")
    eventually(
        lambda: (
            "slow"
            in "".join(str(path) + path.read_text() for path in world.state.glob("runs/*/forward-1.1/journal.jsonl"))
        )
    )
    process.send_signal(signal.SIGINT)
    eventually((tmp_path / "undoing").exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    end = newest(world)["end"]
    assert end["outcome"] == "canceled"
    assert "UNDO FAILED" in end["reason"]
    assert world.ops("verify", "--all").code == 0
