"""`opsascode runs resume` goes on where a run stopped, host by host, or says why it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.acceptance.runs import lines_of, newest, statuses

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import World

TOKEN = {"OPSASCODE_PARAM_TOKEN": "a-well-kept-secret"}
STEPS = """
- id: first
  task: {ansible.builtin.shell: "echo first {{ inventory_hostname }} >> {{ place }}/log"}
- id: second
  task: {ansible.builtin.shell: "test -e {{ place }}/{{ inventory_hostname }}.ready && echo second {{ inventory_hostname }} >> {{ place }}/log"}
- id: third
  task: {ansible.builtin.shell: "echo third {{ inventory_hostname }} >> {{ place }}/log"}
"""


def failed_on_web2(world: World, place: Path, **spec: str) -> str:
    """A run whose second step failed on web2 only; the run's id."""
    world.runbook("work", STEPS, parameters="{place: {type: string}}", **spec)
    world.commit()
    for host in ("web1", "web3"):
        (place / f"{host}.ready").touch()
    assert world.ops("run", "work", "-e", f"place={place}", "-y").code == 1
    return str(newest(world)["run"])


def test_a_resumed_run_does_on_each_host_what_was_not_completed_there(world: World, tmp_path: Path) -> None:
    run = failed_on_web2(world, tmp_path)
    before = lines_of(tmp_path / "log")
    (tmp_path / "web2.ready").touch()
    answer = world.ops("runs", "resume", run, "-y")
    assert answer.code == 0, answer.out + answer.err
    assert lines_of(tmp_path / "log")[len(before) :] == ["second web2", "third web2"]
    resumed = newest(world)
    assert resumed["start"]["continues"] == run
    assert resumed["start"]["plan"] == resumed["end"]["plan"]
    every = {"first": "changed", "second": "changed", "third": "changed"}
    assert statuses(world) == {"web1": every, "web2": every, "web3": every}
    assert world.ops("verify", "--all").code == 0
    assert world.ops("verify", "latest").code == 0


def test_a_run_is_continued_once_and_a_finished_one_not_at_all(world: World, tmp_path: Path) -> None:
    run = failed_on_web2(world, tmp_path)
    (tmp_path / "web2.ready").touch()
    assert world.ops("runs", "resume", run, "-y").code == 0
    again = world.ops("runs", "resume", run, "-y")
    assert again.code == 4
    assert "continued already" in again.err
    finished = world.ops("runs", "resume", "latest", "-y")
    assert finished.code == 4
    assert "nothing is left to do" in finished.err


def test_a_plan_that_moved_is_not_continued_and_everything_that_moved_is_named(world: World, tmp_path: Path) -> None:
    run = failed_on_web2(world, tmp_path)
    before = lines_of(tmp_path / "log")
    world.runbook("work", STEPS.replace("echo third", "echo fourth"), parameters="{place: {type: string}}")
    world.commit("move")
    answer = world.ops("runs", "resume", run, "-y")
    assert answer.code == 4
    assert "repository.commit was" in answer.err
    assert "runbook.digest was" in answer.err
    assert "Traceback" not in answer.err
    assert lines_of(tmp_path / "log") == before


def test_an_inventory_that_grew_is_not_continued(world: World, tmp_path: Path) -> None:
    run = failed_on_web2(world, tmp_path)
    world.write(
        "inventories/local.yml",
        (world.root / "inventories/local.yml").read_text().replace("web3: {}", "web3: {}, web4: {}"),
    )
    answer = world.ops("runs", "resume", run, "-y")
    assert answer.code == 4
    assert "web4" in answer.err


def test_a_step_that_must_not_be_tried_again_stands_in_the_way(world: World, tmp_path: Path) -> None:
    steps = STEPS.replace("- id: second\n", "- id: second\n  resume: never\n")
    world.runbook("work", steps, parameters="{place: {type: string}}")
    world.commit()
    assert world.ops("run", "work", "-e", f"place={tmp_path}", "-y").code == 1
    answer = world.ops("runs", "resume", "latest", "-y")
    assert answer.code == 4
    assert "step second had begun on web1, and says `resume: never`" in answer.err
    assert [line for line in lines_of(tmp_path / "log") if line.startswith("third")] == []


def test_what_an_earlier_step_registered_is_still_known(world: World, tmp_path: Path) -> None:
    world.runbook(
        "keep",
        """
        - id: ask
          task: {ansible.builtin.command: "echo answer-of-{{ inventory_hostname }}"}
          register: answer
          outputs: {found: "{{ answer.stdout }}"}
        - id: gate
          task: {ansible.builtin.command: "test -e {{ place }}/open"}
        - id: use
          task: {ansible.builtin.shell: "echo {{ found }} {{ answer.rc }} >> {{ place }}/log"}
        """,
        parameters="{place: {type: string}}",
    )
    world.commit()
    assert world.ops("run", "keep", "-e", f"place={tmp_path}", "-y").code == 1
    (tmp_path / "open").touch()
    answer = world.ops("runs", "resume", "latest", "-y")
    assert answer.code == 0, answer.out + answer.err
    assert sorted(lines_of(tmp_path / "log")) == [f"answer-of-web{number} 0" for number in (1, 2, 3)]


def test_secrets_are_asked_for_again_and_never_stored(world: World, tmp_path: Path) -> None:
    world.runbook(
        "sealed",
        """
        - id: gate
          task: {ansible.builtin.command: "test -e {{ place }}/open"}
        - id: use
          task: {ansible.builtin.shell: "echo {{ token | hash('sha256') }} >> {{ place }}/log"}
        """,
        parameters="{place: {type: string}, token: {type: string, secret: true}}",
    )
    world.commit()
    answer = world.ops("run", "sealed", "-e", f"place={tmp_path}", "-y", **TOKEN)
    assert answer.code == 1
    (tmp_path / "open").touch()
    missing = world.ops("runs", "resume", "latest", "-y")
    assert missing.code == 2
    assert "token: is required" in missing.err
    answer = world.ops("runs", "resume", "latest", "-y", **TOKEN)
    assert answer.code == 0, answer.out + answer.err
    assert len(set(lines_of(tmp_path / "log"))) == 1


def test_a_run_in_waves_goes_on_with_the_wave_it_stopped_in(world: World, tmp_path: Path) -> None:
    run = failed_on_web2(world, tmp_path, targets="{hosts: web, waves: [1, 1, 1]}")
    assert lines_of(tmp_path / "log") == ["first web1", "second web1", "third web1", "first web2"]
    (tmp_path / "web2.ready").touch()
    answer = world.ops("runs", "resume", run, "-y")
    assert answer.code == 0, answer.out + answer.err
    assert lines_of(tmp_path / "log")[4:] == ["second web2", "third web2", "first web3", "second web3", "third web3"]


def test_after_an_undo_it_starts_again_with_what_was_undone(world: World, tmp_path: Path) -> None:
    world.runbook(
        "back",
        """
        - id: note
          task: {ansible.builtin.shell: "echo do >> {{ place }}/log"}
          undo: {task: {ansible.builtin.shell: "echo undo >> {{ place }}/log"}}
        - id: gate
          task: {ansible.builtin.command: "test -e {{ place }}/open"}
        """,
        parameters="{place: {type: string}}",
        targets="{hosts: db}",
        on_failure="undo",
    )
    world.commit()
    assert world.ops("run", "back", "-e", f"place={tmp_path}", "-y").code == 1
    (tmp_path / "open").touch()
    answer = world.ops("runs", "resume", "latest", "-y")
    assert answer.code == 0, answer.out + answer.err
    assert lines_of(tmp_path / "log") == ["do", "undo", "do"]


def test_json_tells_the_same(world: World, tmp_path: Path) -> None:
    failed_on_web2(world, tmp_path)
    (tmp_path / "web2.ready").touch()
    answer = world.ops("--format", "json", "runs", "resume", "latest", "-y")
    last: dict[str, Any] = answer.lines[-1]
    assert last["event"] == "end"
    assert last["outcome"] == "succeeded"
