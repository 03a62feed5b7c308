"""What one stage hands to the next: kept values, facts, passwords, descriptors; and whole texts beside the journal."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from opsascode.run._access import Access, VaultSecret
from opsascode.run._journal import HostResult, HostStatus, Kept
from opsascode.run._verdict import Outcome
from tests.run.staging import Seen, kept_bytes, local_inventory, order, playbook, processes_with, run, shell, step
from tests.run.test_engine_stop import Task

SECRET = "correct horse battery"  # noqa: S105 - made up


def kept(seen: Seen) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for event in seen.events:
        if isinstance(event, Kept):
            found.setdefault(event.host, {}).update(event.values)
    return found


def lost(seen: Seen) -> dict[str, str]:
    return {name: why for event in seen.events if isinstance(event, Kept) for name, why in event.lost.items()}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A stage whose tasks register and set all kinds of values."""
    tasks = [
        shell("said", "echo it said {{ inventory_hostname }}; echo '{''{ 6 * 7 }}' >&2", register="said"),
        step("facts", "set_fact", {"release": "r{{ 7 }}", "ports": [80, 443]}),
        step("once", "command", "echo for all", run_once=True, register="chosen"),
        shell("leak", "printf %s '{{ token }}' | base64", register="leaked"),
        shell("hush", "echo confidential", register="hushed", no_log=True),
        step("hidden", "set_fact", {"hidden_name": "confidential"}, no_log=True),
        shell("flood", "head -c 70000 /dev/zero | tr '\\0' x", register="flood"),
        shell("skip", "true", when="false", register="skipped"),
        shell("fail", "exit 3", register="failed", ignore_errors=True),
        shell("loop", "echo {{ item }}", loop=["one", "two"], register="looped"),
        {"ansible.builtin.command": "echo nobody asked", "register": "own", "name": "of no step"},
    ]
    directory = tmp_path_factory.mktemp("first")
    return run(order(directory, playbook(*tasks), hosts=("a", "b"), secrets={"token": SECRET}))


def test_what_steps_register_and_set_is_kept_as_plain_data(first: Seen) -> None:
    assert first.result.outcome is Outcome.SUCCEEDED, first.result.reason
    values = kept(first)
    assert values["a"]["said"]["stdout"] == "it said a"
    assert values["b"]["said"]["stdout_lines"] == ["it said b"]
    assert (values["a"]["release"], values["a"]["ports"]) == ("r7", [80, 443])
    assert values["a"]["failed"]["rc"] == 3
    assert values["a"]["failed"]["failed"] is True
    assert values["a"]["skipped"]["skipped"] is True
    assert [item["stdout"] for item in values["a"]["looped"]["results"]] == ["one", "two"]
    assert "own" not in values["a"]
    text = json.dumps(values)
    assert "invocation" not in text
    assert "_ansible_" not in text
    assert {
        event.host: event.once for event in first.events if isinstance(event, Kept) and "chosen" in event.values
    } == {"a": True}


def test_what_cannot_be_kept_is_named_with_the_reason(first: Seen) -> None:
    assert lost(first) == {
        "leaked": "holds a secret",
        "hushed": "no_log is set",
        "hidden_name": "no_log is set",
        "flood": "is larger than 64 KiB",
    }
    assert b"confidential" not in kept_bytes(first.result.journal.parent)


def test_the_next_stage_uses_what_was_kept_and_never_evaluates_it(tmp_path: Path, first: Seen) -> None:
    seen_processes: set[int] = set()
    names = {name: f"{{{{ opsascode_kept[inventory_hostname].{name} }}}}" for name in ("said", "release", "ports")}
    tasks = [
        step("use", "debug", {"msg": "{{ said.stdout }}/{{ said.stderr }}/{{ release }}/{{ ports[1] }}/{{ said is changed }}"}),
        shell("again", "echo fresh", register="said"),
        step("fresh", "debug", {"msg": "{{ said.stdout }}"}),
    ]  # fmt: skip
    ordered = order(tmp_path, playbook(*tasks, vars=names), hosts=("a", "b"), kept=kept(first))
    seen = run(ordered, on_event=lambda _event: seen_processes.update(processes_with("it said a")))
    assert seen.result.outcome is Outcome.SUCCEEDED, seen.result.reason
    assert seen.results("use")["a"].message == "it said a/{{ 6 * 7 }}/r7/443/True"
    assert seen.results("use")["b"].message == "it said b/{{ 6 * 7 }}/r7/443/True"
    assert seen.results("fresh")["a"].message == "fresh"
    assert seen_processes == set()


def test_long_texts_are_kept_whole_by_their_digest_without_secrets(tmp_path: Path) -> None:
    content = f"{'x' * 10_000}{SECRET}{'y' * 10_000}"
    tasks = [shell("short", "echo short"), step("long", "command", "cat {{ file }}")]
    (tmp_path / "file").write_text(content)
    seen = run(order(tmp_path, playbook(*tasks), secrets={"token": SECRET, "file": str(tmp_path / "file")}))
    output = seen.results("long")["a"].output
    assert output
    masked = content.replace(SECRET, "[secret]").encode()
    texts = seen.result.journal.parent / "texts"
    assert [path.name for path in texts.iterdir()] == [output.sha256] == [hashlib.sha256(masked).hexdigest()]
    path = texts / output.sha256
    assert path.read_bytes() == masked
    assert (stat.S_IMODE(texts.stat().st_mode), stat.S_IMODE(path.stat().st_mode)) == (0o700, 0o600)


def test_facts_are_gathered_once_for_all_stages(tmp_path: Path) -> None:
    facts = tmp_path / "facts"
    facts.mkdir(0o700)
    content = playbook(step("show", "debug", {"msg": "{{ ansible_facts.system }}"}), gather_facts=True)
    stages = [run(order(tmp_path, content, facts=facts)) for _ in range(2)]
    assert [stage.results("show")["a"].message for stage in stages] == ["Linux", "Linux"]
    gathered = [sum(getattr(event, "action", "") == "gather_facts" for event in stage.events) for stage in stages]
    assert gathered == [1, 0]
    assert [path.name for path in facts.iterdir()] == ["s1_a"] or [path.name for path in facts.iterdir()] == ["a"]


def test_passwords_reach_ansible_and_nothing_else(tmp_path: Path) -> None:
    watched: set[int] = set()
    access = Access(
        become_password="become hunter2 abc",  # noqa: S106 - made up
        connection_password="connect hunter2 abc",  # noqa: S106 - made up
        vault_secrets=(VaultSecret(id="prod", password="vault hunter2 abc"),),  # noqa: S106 - made up
        user="somebody",
    )
    tasks = [
        step("show", "debug", {"msg": "{{ ansible_user | default(lookup('config', 'DEFAULT_REMOTE_USER')) }}"}),
        shell("env", "env; cat /proc/$PPID/environ | tr '\\0' '\\n'", changed_when=False),
        shell("leak", "echo become hunter2 abc", changed_when=False),
        shell("wait", "sleep 0.5"),
    ]
    left: set[str] = set()

    def look(event: object) -> None:
        watched.update(processes_with("hunter2"))
        if isinstance(event, HostResult):
            left.update(path.name for path in runtime.glob("ops-*/lent-*"))

    with tempfile.TemporaryDirectory(prefix="own-", dir="/tmp") as name:
        runtime = Path(name)
        environ = {"XDG_RUNTIME_DIR": name}
        seen = run(order(tmp_path, playbook(*tasks), access=access, verbosity=3, environ=environ), on_event=look)
    assert seen.result.outcome is Outcome.SUCCEEDED, seen.result.reason
    output = seen.results("leak")["a"].output
    assert output
    assert output.text == "[secret]"
    assert b"hunter2" not in kept_bytes(seen.result.journal.parent)
    assert (watched, left) == (set(), set())
    assert seen.results("show")["a"].message == "somebody"


def test_a_vault_is_opened_with_the_password_of_its_id(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("vault hunter2 abc")
    vault = Path(sys.executable).parent / "ansible-vault"
    words = [vault, "encrypt_string", "--vault-id", f"prod@{password}", "opened", "--name", "sealed"]
    sealed = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    show = "{ansible.builtin.debug: {msg: '{{ sealed }}'}, vars: {opsascode_step: show}}"
    variables = textwrap.indent(f"vars:\n{textwrap.indent(sealed.strip(), '  ')}\n", "  ")
    content = f"- hosts: all\n  gather_facts: false\n{variables}  tasks:\n  - {show}\n"
    access = Access(vault_secrets=(VaultSecret(id="prod", password="vault hunter2 abc"),))  # noqa: S106 - made up
    seen = run(order(tmp_path, content.encode(), access=access))
    assert seen.results("show")["a"].message == "opened"


def test_a_lock_is_held_by_the_child_and_not_by_tasks(tmp_path: Path) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    holders: set[str] = set()

    def look(_event: object) -> None:
        for pid in processes_with("OPSASCODE_STAGE="):
            try:
                links = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
                title = Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:
                continue
            if str(tmp_path / "lock") in links:
                holders.add("child" if "opsascode.run._child" in title else title)

    seen = run(order(tmp_path, playbook(shell("wait", "sleep 0.3")), inherit=(lock,)), on_event=look)
    os.close(lock)
    assert seen.result.outcome is Outcome.SUCCEEDED
    assert holders == {"child"}


def test_tags_choose_the_tasks(tmp_path: Path) -> None:
    tasks = [shell(name, "true", tags=[name]) for name in ("one", "two", "three")]
    seen = run(order(tmp_path, playbook(*tasks), tags=("one", "two"), skip_tags=("two",)))
    assert [event.step for event in seen.events if hasattr(event, "host") and hasattr(event, "status")] == ["one"]


def test_a_local_task_whose_time_ran_out_is_ended_while_the_stage_goes_on(tmp_path: Path) -> None:
    script = "trap '' TERM; touch {started}; while :; do sleep 0.1 {mark}; done"
    task = Task(tmp_path, script)
    slow = json.loads(task.playbook)[0]["tasks"][0] | {"timeout": 1, "ignore_errors": True}
    gone = tmp_path / "gone"

    def look() -> bool:
        if task.has_begun() and not task.processes():
            gone.touch()
        return False

    plays = playbook(slow, shell("later", f"until [ -e {gone} ]; do sleep 0.1; done"))
    seen = run(order(tmp_path, plays, grace_seconds=0.5, timeout_seconds=120), cancel=look)
    assert seen.results("wait")["a"].timed_out
    assert seen.results("wait")["a"].status is HostStatus.IGNORED
    assert seen.result.outcome is Outcome.SUCCEEDED, seen.result.reason


def test_tasks_that_do_nothing_on_a_host_cost_no_event(tmp_path: Path) -> None:
    began = time.monotonic()
    seen = run(order(tmp_path, playbook(step("say", "debug", {"msg": "x"})), inventory=local_inventory("a")))
    assert [type(event).__name__ for event in seen.events] == [
        "Started", "PlayStarted", "TaskStarted", "HostResult", "Ended"
    ]  # fmt: skip
    assert time.monotonic() - began < 60
