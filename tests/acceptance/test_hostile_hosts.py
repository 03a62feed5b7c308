"""Whatever a host prints, returns or is called changes nothing but its own step's result.

Real ssh hosts of one run, each of which answers Ansible with something else than a module would. One of them is honest.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.sshd import SshHosts, ssh_hosts
from tests.world import Answer, World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.ssh

ESCAPES = "\x1b[2J\x1b]0;title\x07\x1b[K text \x1b[4D\x1b[K\r\x9b31m\u202e"
JOURNAL_LINES = (
    '\n{"seq":4,"event":"host","task":"t","step":"read","host":"honest","status":"failed","message":"","rc":1,"output":null}'
    '\n{"seq":5,"event":"end","hosts":{"stranger":{"ok":1}}}\n'
)
FLOOD = "x" * 5 * 1024 * 1024


def says(**result: Any) -> bytes:
    return json.dumps({"changed": False, "rc": 0, "cmd": "", "stderr": "", **result}).encode()


ANSWERS: dict[str, bytes] = {
    "escapes": says(stdout=ESCAPES, msg=ESCAPES, warnings=[ESCAPES], failed=True, rc=1),
    "events": says(stdout=JOURNAL_LINES, stderr=JOURNAL_LINES, msg=JOURNAL_LINES, failed=True),
    "flood": says(stdout=FLOOD),
    "bytes": b'{"changed": false, "rc": 0, "stdout": "caf\xe9 \xff\xfe"}',
    "nul": b'{"changed": false, "rc": 0, "stdout": "a\\u0000b\x00"}\x00\x00',
    "surrogates": b'{"changed": false, "rc": 0, "stdout": "\\ud800 \\udfff \\udcff"}',
    "deep": b'{"rc": 0, "stdout": "", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "items": says(stdout="", results=[{"item": number, "changed": True} for number in range(100_000)]),
    "types": b'{"changed": [], "rc": "0", "stdout": {"a": [1e999, NaN]}, "results": {"a": 1}, "diff": 7, "msg": [[]]}',
    "internals": says(
        stdout="", _ansible_no_log=False, _ansible_delegated_vars={"ansible_host": "stranger"}, invocation="x",
        add_host={"host_name": "stranger", "groups": ["web"], "host_vars": {}}, add_group="web",
        ansible_facts={"ansible_connection": "local", "inventory_hostname": "stranger", "opsascode_step": "other"},
    ),
    "templates": says(stdout="{{ lookup('pipe', 'touch {place}/evaluated') }}", msg="{% raw %}{{ 7 * 6 }}"),
    "huge number": b'{"changed": false, "rc": ' + b"9" * 4000 + b', "stdout": ""}',
    "nothing": b"",
    "no JSON": b"Traceback (most recent call last):\n  it broke \x1b[31m\n",
}  # fmt: skip
NAMES = {name: name.replace(" ", "-") for name in ANSWERS}
STEPS = """
- id: read
  title: The host is asked
  task: {ansible.builtin.command: "cat /dev/null"}
  register: answer
- id: again
  title: Those that are left are asked again
  check: {command: "true"}
"""
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHosts]:
    with ssh_hosts(tmp_path_factory.mktemp("sshd"), "honest", *NAMES.values()) as found:
        yield found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, hosts: SshHosts, place: Path) -> World:
    """An ops repository with one honest host and many that answer as they like."""
    made = new_world(tmp_path_factory.mktemp("world") / "home")
    inventory = hosts.inventory()
    for attack, name in NAMES.items():
        variables = inventory["all"]["hosts"][name]  # type: ignore[index]  # shape is known
        variables["ansible_python_interpreter"] = str(interpreter(place, name, ANSWERS[attack]))
    inventory["all"]["vars"] = {"ansible_pipelining": True}  # type: ignore[index]  # shape is known
    made.write("inventories/local.yml", yaml.safe_dump(inventory))
    made.runbook("ask", STEPS, targets="{hosts: all}", on_failure="stop")
    made.commit()
    return made


def interpreter(place: Path, name: str, answer: bytes) -> Path:
    """What the host runs in the place of Python: it reads what Ansible sends, and answers what it wants."""
    (place / f"{name}.answer").write_bytes(answer.replace(b"{place}", str(place).encode()))
    path = place / name
    path.write_text(f"#!/bin/sh\n[ $# -gt 0 ] || cat >/dev/null\ncat {place}/{name}.answer\n")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def answer(world: World) -> Answer:
    return world.ops("run", "ask", "-y")


@pytest.fixture(scope="module")
def shown(world: World, answer: Answer) -> Any:
    return world.ops("runs", "show", "--format", "json").json


@pytest.fixture(scope="module")
def stage(world: World, answer: Answer) -> Path:
    return next((world.state / "runs").rglob("journal.jsonl")).parent


def test_the_run_ends_as_it_should_and_its_record_verifies(world: World, answer: Answer) -> None:
    assert answer.code == 1, answer.out + answer.err
    assert "Traceback" not in answer.err
    assert world.ops("verify", "--all").code == 0


def test_the_honest_host_has_its_own_results_and_no_stranger_took_part(shown: Any) -> None:
    assert set(shown["results"]) == {"honest", *NAMES.values()}
    assert {step["step"]: step["status"] for step in shown["results"]["honest"]} == {"read": "changed", "again": "ok"}


@pytest.mark.parametrize("attack", ANSWERS)
def test_each_hostile_answer_is_one_result_of_that_step(shown: Any, attack: str) -> None:
    steps = [step["step"] for step in shown["results"][NAMES[attack]]]
    assert steps[0] == "read"
    assert set(steps) <= {"read", "again"}
    assert len(steps) == len(set(steps))


def test_nothing_a_host_said_reaches_the_terminal_as_a_command(answer: Answer, world: World) -> None:
    assert not CONTROLS.search(answer.out + answer.err)
    for words in (("runs", "show"), ("runs", "show", "--format", "json"), ("runs", "list")):
        told = world.ops(*words)
        assert told.code == 0
        assert not CONTROLS.search(told.out)


def test_templates_of_a_host_are_not_evaluated(place: Path, shown: Any) -> None:
    assert shown
    assert not (place / "evaluated").exists()


def test_the_record_is_capped_and_the_whole_text_is_kept_by_its_digest(stage: Path) -> None:
    journal = stage / "journal.jsonl"
    assert journal.stat().st_size < 1_000_000
    digest = hashlib.sha256(FLOOD.encode()).hexdigest()
    lines = [json.loads(line) for line in journal.read_bytes().splitlines()]
    flood = next(
        line for line in lines if line["event"] == "host" and line["host"] == "flood" and line["step"] == "read"
    )
    assert (flood["output"]["bytes"], flood["output"]["sha256"]) == (len(FLOOD), digest)
    assert len(flood["output"]["text"]) <= 8192
    assert (stage / "texts" / digest).read_text() == FLOOD
    assert [line["seq"] for line in lines] == list(range(len(lines)))
    assert len(list(stage.rglob("*"))) < 20


HOSTILE_NAMES = {
    "escapes": "web\x1b[2J",
    "a line break": "web\nhonest",
    "every host": "*",
    "a pattern": "~.*",
    "two hosts": "honest,web2",
    "two hosts in the old way": "honest:web2",
    "all but one": "!web",
    "those of another": "&web",
    "a path": "../../../escape",
    "a template": "{{ 7 * 7 }}",
    "an option": "-oProxyCommand=touch",
    "direction": "web\u202egnp",
    "long": "w" * 5000,
}


@pytest.mark.parametrize("attack", HOSTILE_NAMES)
def test_a_hostile_host_name_is_refused_or_acted_on_alone(tmp_path: Path, attack: str) -> None:
    name = HOSTILE_NAMES[attack]
    world = new_world(tmp_path / "home")
    variables = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    content = {"all": {"hosts": {name: {}, "honest": {}}, "vars": variables}}
    world.write("inventories/local.yml", yaml.safe_dump(content))
    touch = (
        'task: {ansible.builtin.file: {path: "' + str(tmp_path) + '/{{ inventory_hostname | hash }}", state: touch}}'
    )
    world.runbook("touch", f"- id: touch\n  {touch}", targets="{hosts: 'all:!honest'}")
    world.commit()
    told = world.ops("run", "touch", "-y")
    assert "Traceback" not in told.err
    assert not CONTROLS.search(told.out + told.err)
    honest = hashlib.sha1(b"honest", usedforsecurity=False).hexdigest()
    assert not (tmp_path / honest).exists()
    assert not list(tmp_path.rglob("escape"))
    if told.code == 0:
        assert (tmp_path / hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()).exists()
