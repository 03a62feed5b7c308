"""Looking back through the installed command: lists, figures, words of hosts, and what is left after pruning.

Histories are made by real records in a real ledger; runs that are watched are real, in another process.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.run.histories import Machine, Told
from tests.trust import install
from tests.world import COMMAND, World, new_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
LONG = "line\n" * 3000 + "the end"


@pytest.fixture
def past(world: World) -> tuple[World, Machine]:
    """A world whose state directory holds a past of six runs."""
    machine = Machine(world.state)
    machine.record(
        Told(run="20260101-000000-aaaaaa", runbook="restart", started=NOW - 200 * DAY, seconds=4, texts=(LONG,)),
        Told(run="20260102-000000-bbbbbb", runbook="restart", started=NOW - 199 * DAY, seconds=8, outcome="failed",
             hosts={"web1": "ok", "web2": "failed"}),
        Told(run="20260401-000000-cccccc", runbook="restart", started=NOW - 3 * DAY, seconds=6,
             continues="20260102-000000-bbbbbb", hosts={"web2": "changed"}),
        Told(run="20260402-000000-dddddd", runbook="drain", started=NOW - 2 * DAY, seconds=60, mode="check",
             hosts={"db1": "ok"}),
        Told(run="20260403-000000-eeeeee", runbook="drain", started=NOW - DAY, seconds=90, hosts={"db1": "ok"},
             texts=("\x1b[31mred\x1b[0m and \u202eturned",)),
        Told(run="20260404-000000-ffffff", runbook="drain", started=NOW, outcome=None, hosts={"db1": "ok"}),
    )  # fmt: skip
    return world, machine


def listed(world: World, *words: str) -> list[str]:
    return [each["run"][-6:] for each in world.ops("runs", "list", "--format", "json", *words).json]


# runs list


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), ["ffffff", "eeeeee", "dddddd", "cccccc", "bbbbbb", "aaaaaa"]),
        (("-n", "2"), ["ffffff", "eeeeee"]),
        (("--runbook", "restart"), ["cccccc", "bbbbbb", "aaaaaa"]),
        (("--host", "web2"), ["cccccc", "bbbbbb"]),
        (("--host", "db*", "--outcome", "succeeded"), ["eeeeee", "dddddd"]),
        (("--outcome", "unfinished"), []),
        (("--outcome", "running"), []),
        (("--outcome", "waiting"), []),
        (("--since", "7d"), ["ffffff", "eeeeee", "dddddd", "cccccc"]),
        (("--since", f"{NOW - 2 * DAY:%Y-%m-%d}"), ["ffffff", "eeeeee", "dddddd"]),
        (("--runbook", "nosuch"), []),
    ],
)
def test_runs_are_found_by_what_people_remember(
    past: tuple[World, Machine], words: tuple[str, ...], found: list[str]
) -> None:
    assert listed(past[0], *words) == found


def test_a_list_is_a_table_that_marks_predictions_and_links(past: tuple[World, Machine]) -> None:
    lines = past[0].ops("runs", "list").out.splitlines()
    assert lines[0].split() == ["RUN", "STARTED,", "UTC", "OUTCOME", "HOSTS", "TOOK", "RUNBOOK"]
    assert [line.endswith("drain (prediction)") for line in lines].count(True) == 1
    assert any(line.endswith("restart (continues 20260102-000000-bbbbbb)") for line in lines)
    assert max(len(line) for line in lines if "(" not in line) <= 80


@pytest.mark.parametrize("since", ["yesterday", "7x", "2026-13-01", "999999999d", ""])
def test_a_time_that_is_none_is_told(past: tuple[World, Machine], since: str) -> None:
    answer = past[0].ops("runs", "list", "--since", since)
    assert (answer.code, answer.out) == (2, "")
    assert "is no time" in answer.err


def test_deleting_the_table_loses_nothing(past: tuple[World, Machine]) -> None:
    world, machine = past
    before = world.ops("runs", "list", "--format", "json").out
    status = world.ops("status", "--format", "json").out
    machine.table.unlink()
    assert world.ops("runs", "list", "--format", "json").out == before
    assert world.ops("status", "--format", "json").out == status


def test_a_table_that_lies_deceives_neither_show_nor_verify(past: tuple[World, Machine]) -> None:
    world, machine = past
    world.ops("runs", "list")
    _update(machine, "UPDATE run SET outcome = 'succeeded' WHERE outcome = 'failed'")
    shown = world.ops("runs", "show", "20260102", "--format", "json").json
    assert shown["outcome"] == "failed"
    assert "bbbbbb: failed" in world.ops("verify", "--all").out


def _update(machine: Machine, statement: str) -> None:
    database = sqlite3.connect(machine.table)
    database.execute(statement)
    database.commit()
    database.close()


def test_two_commands_may_open_the_past_at_once(past: tuple[World, Machine]) -> None:
    world, machine = past
    world.ops("runs", "list")  # what was cut short is closed first
    machine.table.unlink(missing_ok=True)
    many = [world.start("runs", "list", "--format", "json") for _ in range(6)]
    outs = {process.communicate(timeout=60)[0] for process in many}
    assert len(outs) == 1
    assert len(json.loads(outs.pop())) == 6


# runs show


def test_show_tells_times_per_host_and_step_and_links(past: tuple[World, Machine]) -> None:
    world, _ = past
    shown = world.ops("runs", "show", "20260102", "--format", "json").json
    assert shown["timing"]["web2"] == {"seconds": 8.0, "steps": {"restart": 8.0}}
    assert shown["links"] == {
        "continues": None,
        "undoes": None,
        "continued_by": ["20260401-000000-cccccc"],
        "undone_by": [],
    }
    text = world.ops("runs", "show", "20260102").out
    assert "  web2  8.0s in all" in text
    assert "continued  by 20260401-000000-cccccc: succeeded" in text
    assert "(a prediction: nothing was changed)" in world.ops("runs", "show", "20260402").out


# runs logs


def test_logs_show_what_a_host_said_without_harm(past: tuple[World, Machine]) -> None:
    world, _ = past
    answer = world.ops("runs", "logs", "20260403")
    assert answer.code == 0
    assert "\x1b" not in answer.out
    assert "\u202e" not in answer.out
    assert "\\u001b[31mred" in answer.out


def test_long_texts_are_shown_whole_when_asked(past: tuple[World, Machine]) -> None:
    world, _ = past
    short = world.ops("runs", "logs", "20260101", "web1").out
    assert "the end" not in short
    assert f"{len(LONG):,} bytes in all: --full shows all of it" in short
    assert "the end" in world.ops("runs", "logs", "20260101", "web1", "--full").out
    raw = world.ops("runs", "logs", "20260101", "web1", "--step", "restart", "--raw")
    assert raw.out == LONG
    assert world.ops("runs", "logs", "20260101", "--raw").code == 2


def test_logs_of_a_changed_journal_are_not_shown(past: tuple[World, Machine]) -> None:
    world, machine = past
    journal = machine.directory("20260101-000000-aaaaaa") / "forward-1.1" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"said", b"sait"))
    answer = world.ops("runs", "logs", "20260101")
    assert (answer.code, answer.out) == (5, "")
    assert "has been changed" in answer.err


# runs prune


def test_pruning_is_told_beforehand_done_once_and_told_ever_after(past: tuple[World, Machine]) -> None:
    world, machine = past
    asked = world.ops("runs", "prune", "--older-than", "90d", "--dry-run")
    assert asked.out.count("restart") == 2
    assert (machine.directory("20260101-000000-aaaaaa") / "forward-1.1" / "journal.jsonl").exists()
    done = world.ops("runs", "prune", "--older-than", "90d", "--format", "json").json
    assert done["pruned"] == ["20260101-000000-aaaaaa", "20260102-000000-bbbbbb"]
    assert done["bytes"] > len(LONG)
    shown = world.ops("runs", "show", "20260101")
    assert shown.code == 0
    assert f"journals and outputs were pruned on {datetime.now(UTC):%Y-%m-%d}" in shown.out
    verified = world.ops("verify", "20260101")
    assert verified.code == 0
    assert "plan and results as recorded" in verified.out
    assert "pruned on" in verified.out
    assert world.ops("verify", "--all").code == 0
    assert "pruned on" in world.ops("runs", "logs", "20260101").err
    assert world.ops("runs", "prune", "--older-than", "90d").out.startswith("freed 0 B")


def test_what_is_missing_without_pruning_is_a_fault(past: tuple[World, Machine]) -> None:
    world, machine = past
    world.ops("runs", "prune", "--older-than", "90d")
    (machine.directory("20260403-000000-eeeeee") / "forward-1.1" / "journal.jsonl").unlink()
    (machine.directory("20260101-000000-aaaaaa") / "results.json").unlink()
    assert world.ops("runs", "show", "20260403").code == 5
    assert world.ops("verify", "20260403").code == 5
    assert world.ops("verify", "20260101").code == 5


# status, and show runbook


def test_status_gives_figures_from_real_runs_only(past: tuple[World, Machine]) -> None:
    told = past[0].ops("status", "--format", "json").json
    drain, restart = told["runbooks"]
    assert (restart["runs"], restart["success_rate"]) == (3, pytest.approx(2 / 3))
    assert (restart["p50_seconds"], restart["p95_seconds"], restart["last_outcome"]) == (6, 8, "succeeded")
    assert (drain["runs"], drain["p50_seconds"], drain["last_outcome"]) == (2, 90, "indeterminate")
    assert told["active"] == []
    text = past[0].ops("status").out
    assert re.search(r"^restart +3 +67% +6\.0s +8\.0s ", text, re.MULTILINE)


def test_show_runbook_tells_what_it_does_and_how_it_did(past: tuple[World, Machine]) -> None:
    world, _ = past
    world.runbook(
        "drain",
        """
        - id: stop
          title: Stop it
          task: {ansible.builtin.command: 'true {{ service }}'}
          undo: {task: {ansible.builtin.command: 'true'}}
        """,
        parameters="{service: {type: string, default: web, description: Which one}}",
        targets="{hosts: db, max_hosts: 3, waves: [1, '50%', '100%']}",
        on_failure="undo",
    )
    text = world.ops("show", "runbook", "drain").out
    for words in (
        'service (string, default "web"): Which one',
        "db, at most 3 hosts",
        "1, then 50%, then 100%",
        "[can be undone]",
        "20260403-000000-eeeeee",
    ):
        assert words in text
    told = world.ops("show", "runbook", "drain", "--format", "json").json
    assert (told["figures"]["runs"], len(told["last_runs"])) == (2, 3)
    assert world.ops("show", "runbook", "nosuch").code == 2


def test_where_nothing_was_run_there_is_nothing_to_tell(world: World) -> None:
    assert world.ops("status").out.endswith("nothing was run here yet\n")
    assert world.ops("status", "--format", "json").json["runbooks"] == []
    assert world.ops("runs", "list", "--format", "json").json == []
    for verb in ("show", "watch", "logs"):
        assert world.ops("runs", verb).code == 2
    assert not world.ledger.exists()


# runs watch, with real runs


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with a runbook that waits for a file, and one that fails."""
    world = new_world(tmp_path_factory.mktemp("live") / "home")
    world.runbook(
        "slow",
        f"""
        - id: begin
          task: {{ansible.builtin.shell: 'touch {world.home}/begun; echo begun'}}
        - id: wait
          task: {{ansible.builtin.shell: 'while [ ! -e {world.home}/go ]; do sleep 0.1; done; echo done'}}
        """,
        targets="{hosts: web1}",
    )
    world.runbook("bad", "- id: bad\n  task: {ansible.builtin.command: 'false'}", targets="{hosts: web1}")
    world.commit()
    return world


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert true()


@pytest.fixture
def under_way(live: World) -> Iterator[subprocess.Popen[str]]:
    for name in ("begun", "go"):
        (live.home / name).unlink(missing_ok=True)
    with live.start("run", "slow", "-y") as process:
        try:
            wait_until((live.home / "begun").exists)
            yield process
        finally:
            (live.home / "go").touch()
            process.communicate(timeout=60)


def test_a_run_of_another_process_is_watched_to_its_end(live: World, under_way: subprocess.Popen[str]) -> None:
    watching = live.start("runs", "watch")
    assert live.ops("runs", "list", "-n", "1", "--format", "json").json[0]["outcome"] == "running"
    assert "running" in live.ops("status").out
    time.sleep(1)
    (live.home / "go").touch()
    out, err = watching.communicate(timeout=60)
    assert under_way.wait(timeout=60) == 0
    assert (watching.returncode, err) == (0, "")
    assert re.search(r"begin +web1 +changed", out)
    assert re.search(r"wait +web1 +changed", out)
    assert out.splitlines()[-1].startswith("succeeded in ")


def test_ctrl_c_only_stops_looking(live: World, under_way: subprocess.Popen[str]) -> None:
    watching = live.start("runs", "watch", "--format", "json")
    assert watching.stdout is not None
    assert json.loads(watching.stdout.readline())["event"] == "stage"
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=30)
    assert watching.returncode == 130
    assert "goes on" in err
    assert "Traceback" not in err
    (live.home / "go").touch()
    assert under_way.wait(timeout=60) == 0


def test_words_of_a_run_under_way_can_be_read(live: World, under_way: subprocess.Popen[str]) -> None:
    answer = live.ops("runs", "logs", "latest", "web1", "--step", "begin")
    assert "    begun" in answer.out
    assert "not sealed" in answer.err
    (live.home / "go").touch()
    assert under_way.wait(timeout=60) == 0


def test_a_run_that_has_ended_is_shown_again_with_its_exit_code(live: World) -> None:
    assert live.ops("run", "bad", "-y").code == 1
    answer = live.ops("runs", "watch")
    assert answer.code == 1
    assert re.search(r"bad +web1 +FAILED", answer.out)
    assert answer.out.splitlines()[-1].startswith("failed in ")
    lines = live.ops("runs", "watch", "--format", "json").lines
    assert [lines[0]["event"], lines[-1]["event"], lines[-1]["outcome"]] == ["stage", "end", "failed"]


def test_a_run_whose_controller_was_killed_is_not_watched_for_ever(
    live: World, under_way: subprocess.Popen[str]
) -> None:
    watching = live.start("runs", "watch")
    under_way.kill()
    under_way.wait()
    _, err = watching.communicate(timeout=60)
    assert watching.returncode == 6
    assert "is closed as indeterminate" in err or "nobody carries out run" in err
    assert live.ops("runs", "list", "-n", "1", "--format", "json").json[0]["outcome"] == "indeterminate"
    (live.home / "go").touch()


def test_a_run_that_waits_for_people_says_for_whom(world: World) -> None:
    world.runbook("ask", "- id: one\n  task: {ansible.builtin.command: 'true'}", approval="{required: 2}")
    install(world, apply=True)
    assert world.ops("run", "ask", "-y").code == 4
    (active,) = world.ops("status", "--format", "json").json["active"]
    assert (active["state"], active["waits_for"]) == ("waiting", "2 people to approve «Run Test ask»")
    assert listed(world, "--outcome", "waiting") == listed(world, "--outcome", "unfinished") == listed(world)
    assert "  waits for  2 people to approve" in world.ops("runs", "show").out
    watching = world.start("runs", "watch")
    assert watching.stdout is not None
    lines = [watching.stdout.readline() for _ in range(2)]
    watching.send_signal(signal.SIGINT)
    watching.communicate(timeout=30)
    assert lines[1] == "waiting for 2 people to approve «Run Test ask»\n"
    assert world.ops("runs", "prune", "--older-than", "0s").out.endswith("of 0 runs\n")


def test_raw_words_are_kept_from_a_terminal(past: tuple[World, Machine]) -> None:
    world, _ = past
    main, side = os.openpty()
    done = subprocess.run(
        [COMMAND, "runs", "logs", "20260403", "db1", "--step", "restart", "--raw"],
        cwd=world.root, env=world.variables(), stdin=subprocess.DEVNULL, stdout=side, stderr=subprocess.PIPE,
        text=True, check=False,
    )  # fmt: skip
    os.close(side)
    os.close(main)
    assert done.returncode == 2
    assert "not shown raw at a terminal" in done.stderr
