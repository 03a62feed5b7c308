"""Which tasks are in doubt, and what the answers of a sweep say of them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from opsascode.run._journal import Evidence, HostBegan, HostResult, HostStatus, Started, TaskStarted
from opsascode.run._sweep import Doubt, find_doubts, left_by_others, leftovers, sweep_playbook, unconfirmed, untraceable

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)
START = Started(seq=0, ident="ab", ansible="2.19.14", python="3.11")
TASK = TaskStarted(seq=1, task="1-2", step="s", name="plain", action="command", once=False, traced=True)
BEGAN = HostBegan(seq=2, task="1-2", step="s", host="a", place="a", local=False)
RESULT = HostResult(
    seq=3, task="1-2", step="s", host="a", status=HostStatus.OK, message="", rc=0, output=None, started=NOW, ended=NOW,
    delegate=None, item_count=None, diff=None,
)  # fmt: skip
BAD = replace(RESULT, status=HostStatus.UNREACHABLE)
DOUBT = Doubt(task="1-2", host="a", place="a", mark="ab.1-2", traced=True, local=False, become=False)

EVENTS = {
    "begun and never heard of again": ((BEGAN,), None, 1),
    "done": ((BEGAN, RESULT), None, 0),
    "failed": ((BEGAN, replace(RESULT, status=HostStatus.FAILED)), None, 0),
    "its time ran out": ((BEGAN, replace(RESULT, status=HostStatus.FAILED, timed_out=True)), None, 1),
    "lost before the stop": ((BEGAN, BAD), 4, 0),
    "lost because of the stop": ((BEGAN, BAD), 3, 1),
    "done in spite of the stop": ((BEGAN, RESULT), 3, 0),
    "never begun": ((), None, 0),
}


@pytest.mark.parametrize("name", EVENTS)
def test_a_task_is_in_doubt_until_something_certain_is_known(name: str) -> None:
    events, late, count = EVENTS[name]
    found = find_doubts((START, TASK, *events), late=late)
    assert len(found) == count
    assert {(doubt.place, doubt.mark) for doubt in found} <= {("a", "ab.1-2")}


def said(task: str, text: str | None, status: HostStatus = HostStatus.OK, message: str = "") -> tuple[object, ...]:
    output = Evidence(text=text, bytes=len(text), sha256="") if text is not None else None
    begun = replace(TASK, task=task, name=task)
    return begun, replace(RESULT, task=task, output=output, status=status, message=message)


QUIET, ROOT = "opsascode-sweep quiet 1000 0", "opsascode-sweep quiet 0 0"
REST, BLIND = "opsascode-sweep rest 1000 2", "opsascode-sweep blind 1000 0"
LOST = said("plain", None, HostStatus.IGNORED, "no route")
SUDO = said("become", None, HostStatus.IGNORED, "Missing sudo password")
ANSWERS: dict[str, tuple[tuple[object, ...], bool | None, str]] = {
    "quiet": (said("plain", QUIET), False, ""),
    "quiet among a greeting": (said("plain", f"Welcome!\r\n{QUIET}\r\nbye"), False, ""),
    "quiet as root, of a task of another user": (said("plain", ROOT), True, ""),
    "quiet for both": ((*said("plain", QUIET), *said("become", ROOT)), True, ""),
    "quiet, the other user could not be asked": ((*said("plain", QUIET), *SUDO), True, "what another user runs"),
    "quiet, nobody knows of another user": ((*said("plain", QUIET), *SUDO), None, ""),
    "some resist": (said("plain", REST), False, "2 of its processes could not be ended"),
    "some resisted the first": ((*said("plain", REST), *said("become", ROOT)), False, ""),
    "some resist both": ((*said("plain", REST), *said("become", "opsascode-sweep rest 0 1")), False, "1 of its"),
    "blind": (said("plain", BLIND), False, "its processes cannot be seen"),
    "out of reach": (LOST, False, "it could not be reached: no route"),
    "nonsense": (said("plain", "powershell: no such thing", message="rc 1"), False, "it could not be reached: rc 1"),
    "silence": ((), False, "it did not answer"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_believed_only_when_it_says_that_all_is_quiet(name: str) -> None:
    events, become, why = ANSWERS[name]
    found = unconfirmed([replace(DOUBT, become=become)], events)  # type: ignore[arg-type]  # events, all of them
    assert found.get("a", "")[: len(why)] == why
    assert bool(found) == bool(why)


def test_where_there_is_no_trace_it_is_said() -> None:
    doubts = (DOUBT, replace(DOUBT, place="b", traced=False), replace(DOUBT, place=""), replace(DOUBT, local=True))
    assert list(untraceable(doubts)) == ["b", "the host a delegated to"]


def test_marks_of_others_are_marks_or_are_left_out() -> None:
    assert [doubt.mark for doubt in left_by_others((("a", "ab.1-2"), ("a", "'; rm -rf /"), ("a", "")))] == ["ab.1-2"]


def test_leftovers_are_what_no_sweep_has_confirmed(tmp_path: Path) -> None:
    lines = [
        {"seq": 0, "event": "start", "ident": "ab", "ansible": "2", "python": "3"},
        {"seq": 1, "event": "task", "task": "1-2", "step": "s", "name": "x", "action": "command", "traced": True},
        {"seq": 2, "event": "begin", "task": "1-2", "step": "s", "host": "a"},
        {"seq": 3, "event": "begin", "task": "1-2", "step": "s", "host": "b"},
        {"seq": 4, "event": "begin", "task": "1-2", "step": "s", "host": "c", "local": True},
    ]
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert leftovers(tmp_path) == (("a", "ab.1-2"), ("b", "ab.1-2"))
    (tmp_path / "sweep.json").write_text('{"quiet": [["a", "ab.1-2"]], "unswept": {"b": "gone"}}')
    assert leftovers(tmp_path) == (("b", "ab.1-2"),)
    (tmp_path / "sweep.json").write_text("{")
    assert len(leftovers(tmp_path)) == 2


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "busybox sh"])
def test_the_script_is_plain_shell(shell: str) -> None:
    script = json.loads(sweep_playbook((DOUBT,), deadline=0, longest=1))[0]["vars"]["opsascode_script"]
    body = script.replace("{{ opsascode_marks[inventory_hostname] }}", "ab.1-2")
    first, _, rest = body.partition("left=")
    body = f"{first}left=0\n{rest.partition(chr(10))[2]}"
    try:
        done = subprocess.run([*shell.split(), "-c", body], capture_output=True, text=True, check=False, timeout=20)
    except FileNotFoundError:
        pytest.skip(f"there is no {shell} here")
    assert done.stdout.split()[:2] == ["opsascode-sweep", "quiet"], done.stderr
