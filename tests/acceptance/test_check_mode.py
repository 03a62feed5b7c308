"""`run --check --diff` predicts, says that it does, and shows what would change; the plan is one object from first to last."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.acceptance.runs import newest, statuses

if TYPE_CHECKING:
    from pathlib import Path

    from tests.world import World

PARAMETERS = "{place: {type: string}, token: {type: string, secret: true}}"
STEPS = """
- id: page
  task: {ansible.builtin.copy: {content: "hello\\ntoken={{ token }}\\n", dest: "{{ place }}/page", mode: "0600"}}
- id: served
  check: {command: "test -e {{ place }}/page"}
- id: touched
  task: {ansible.builtin.command: "touch {{ place }}/touched"}
"""
SECRET = {"OPSASCODE_PARAM_TOKEN": "correct-horse-battery"}


def test_a_prediction_shows_the_difference_hides_secrets_and_changes_nothing(world: World, tmp_path: Path) -> None:
    world.runbook("page", STEPS, parameters=PARAMETERS, targets="{hosts: db}")
    world.commit()
    answer = world.ops("run", "page", "--check", "--diff", "-e", f"place={tmp_path}", **SECRET)
    assert answer.code == 0, answer.out + answer.err
    assert answer.out.startswith("Prediction ")
    assert "+hello" in answer.out
    assert "+token=[secret]" in answer.out
    assert SECRET["OPSASCODE_PARAM_TOKEN"] not in answer.out
    assert "a prediction, nothing was changed: 1 host, 1 would change" in answer.out
    assert not (tmp_path / "page").exists()
    assert not (tmp_path / "touched").exists()
    record = newest(world)
    assert record["start"]["mode"] == "check"
    assert record["end"]["outcome"] == "succeeded"
    assert statuses(world)["db1"]["served"] == "ignored", "what a prediction did not make cannot be there"


def test_no_change_ends_green(world: World, tmp_path: Path) -> None:
    world.runbook("page", STEPS.partition("- id: touched")[0], parameters=PARAMETERS, targets="{hosts: db}")
    world.commit()
    assert world.ops("run", "page", "-e", f"place={tmp_path}", "-y", **SECRET).code == 0
    answer = world.ops("run", "page", "--check", "--diff", "-e", f"place={tmp_path}", **SECRET)
    assert answer.code == 0
    assert "1 host, 0 would change" in answer.out


def test_plan_prediction_and_run_are_one_object_with_one_digest(world: World, tmp_path: Path) -> None:
    world.runbook("page", STEPS, parameters=PARAMETERS, targets="{hosts: db}")
    world.commit()
    plan = tmp_path / "plan.json"
    assert world.ops("plan", "page", "-e", f"place={tmp_path}", "--out", plan, **SECRET).code == 0
    assert world.ops("run", plan, "--check", **SECRET).code == 0
    predicted = newest(world)["start"]["plan"]
    assert world.ops("run", plan, "-y", **SECRET).code == 0
    assert newest(world)["start"]["plan"] == predicted
    assert (tmp_path / "touched").exists()


def test_a_prediction_is_not_resumed_taken_back_or_counted(world: World, tmp_path: Path) -> None:
    world.runbook("page", STEPS, parameters=PARAMETERS, targets="{hosts: db}")
    world.commit()
    assert world.ops("run", "page", "--check", "-e", f"place={tmp_path}", **SECRET).code == 0
    for verb in ("resume", "undo"):
        answer = world.ops("runs", verb, "latest", "-y", **SECRET)
        assert answer.code == 4
    assert json.loads(world.ops("status", "--format", "json").out)["runbooks"] == []


def test_a_prediction_needs_no_host_for_itself(world: World, tmp_path: Path) -> None:
    world.runbook(
        "slow",
        '- {id: slow, task: {ansible.builtin.shell: "touch {{ place }}/on; sleep 30"}}',
        parameters="{place: {type: string}}",
        targets="{hosts: db}",
    )
    world.runbook("page", STEPS, parameters=PARAMETERS, targets="{hosts: db}")
    world.commit()
    process = world.start("run", "slow", "-e", f"place={tmp_path}", "-y")
    try:
        assert world.ops("run", "page", "--check", "-e", f"place={tmp_path}", **SECRET).code == 0
    finally:
        process.terminate()
        process.communicate(timeout=30)
