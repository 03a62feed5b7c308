"""What was recorded can be proven, here and elsewhere, and nothing of it can be changed unseen."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.world import World, new_world

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOUCH = """
- id: say
  task: {ansible.builtin.command: "echo hello"}
"""


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world with three runs, one of them failed."""
    world = new_world(tmp_path_factory.mktemp("history") / "home")
    world.runbook("one", TOUCH, targets="{hosts: web1}")
    world.runbook("two", "- id: fail\n  task: {ansible.builtin.command: 'false'}", targets="{hosts: web1}")
    world.commit()
    assert [world.ops("run", name, "-y").code for name in ("one", "two", "one")] == [0, 1, 0]
    return world


@pytest.fixture
def copy(history: World, tmp_path: Path) -> World:
    """A copy of that world which a test may do harm to."""
    shutil.copytree(history.home, tmp_path / "home", symlinks=True)
    return World(home=tmp_path / "home")


def segment(world: World) -> Path:
    (only,) = (world.ledger / "segments").glob("*.jsonl")
    return only


def test_every_run_verifies_and_says_what_holds(history: World) -> None:
    for run in history.ops("runs", "list", "--format", "json").json:
        answer = history.ops("verify", run["run"])
        assert answer.code == 0, answer.out
        assert "verified" in answer.out
    whole = history.ops("verify", "--all")
    assert whole.code == 0
    assert "6 entries" in whole.out


def test_runs_are_listed_newest_first_and_found_by_the_beginning_of_their_id(history: World) -> None:
    runs = history.ops("runs", "list", "--format", "json").json
    assert [run["outcome"] for run in runs] == ["succeeded", "failed", "succeeded"]
    assert history.ops("runs", "show", runs[1]["run"]).code == 0
    latest = history.ops("runs", "show", "latest", "--format", "json").json
    assert latest["run"] == runs[0]["run"]
    assert history.ops("runs", "show", "2026").code == 2
    missing = history.ops("runs", "show", "nosuchrun")
    assert missing.code == 2
    assert "no run" in missing.err


def test_the_ledger_can_be_read_and_an_entry_proven(history: World) -> None:
    log = history.ops("ledger", "log", "--format", "json").json
    assert [line["predicate_type"].split(":")[2] for line in log] == ["run-start", "run-end"] * 3
    proof = history.ops("ledger", "prove", "4").out
    checkpoint = history.ops("ledger", "checkpoint").out
    assert proof.startswith("c2sp.org/tlog-proof@v1\nindex 4\n")
    assert proof.endswith(checkpoint)
    assert history.ops("ledger", "prove", "6").code == 2


def test_a_receipt_verifies_on_another_machine_with_nothing_but_the_public_key(history: World, tmp_path: Path) -> None:
    run = history.ops("runs", "list", "--format", "json").json[0]["run"]
    elsewhere = World(home=tmp_path / "elsewhere")
    elsewhere.root.mkdir(parents=True)
    receipt, key = elsewhere.root / "receipt.json", elsewhere.root / "machine.pub"
    shutil.copy(history.state / "runs" / run / "receipt.json", receipt)
    shutil.copy(history.public_key, key)
    answer = elsewhere.ops("verify", receipt, "--key", key)
    assert answer.code == 0, answer.out + answer.err
    assert f"run-end of {run} (succeeded)" in answer.out
    assert "results.json" in answer.out
    assert not elsewhere.state.exists()
    other = new_world(tmp_path / "other")
    other.runbook("one", TOUCH, targets="{hosts: web1}")
    assert other.ops("run", "one", "-y").code == 0
    assert elsewhere.ops("verify", receipt, "--key", other.public_key).code == 5


def _flip(path: Path, where: int) -> None:
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("part", ["results.json", "plan.json"])
def test_a_receipt_with_another_attachment_does_not_verify(copy: World, part: str) -> None:
    run = copy.ops("runs", "list", "--format", "json").json[0]["run"]
    receipt = copy.state / "runs" / run / "receipt.json"
    body = json.loads(receipt.read_bytes())
    for attachment in body["attachments"]:
        if attachment["name"] == part:
            attachment["data"] = base64.b64encode(
                base64.b64decode(attachment["data"]).replace(b"web1", b"web2")
            ).decode()
    receipt.write_text(json.dumps(body))
    answer = copy.ops("verify", receipt)
    assert answer.code == 5
    assert part in answer.out


def _lines(world: World, change: Callable[[list[bytes]], list[bytes]]) -> None:
    path = segment(world)
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


HARM: dict[str, Callable[[World], object]] = {
    "a byte of an entry": lambda world: _flip(segment(world), 200),
    "an entry removed": lambda world: _lines(world, lambda lines: lines[:4] + lines[6:]),
    "entries swapped": lambda world: _lines(world, lambda lines: [lines[2], *lines[1:2], lines[0], *lines[3:]]),
    "the tail cut": lambda world: _lines(world, lambda lines: lines[: len(lines) // 2]),
    "everything gone": lambda world: _lines(world, lambda _: []),
}


@pytest.mark.parametrize("harm", HARM)
def test_any_change_to_the_ledger_is_told_with_exit_code_5(copy: World, harm: str) -> None:
    HARM[harm](copy)
    answer = copy.ops("verify", "--all")
    assert answer.code == 5, answer.out + answer.err
    assert "NOT VERIFIED" in answer.out or answer.err.startswith("error: ")
    assert "Traceback" not in answer.err


def test_verify_names_the_entry_that_was_changed(copy: World) -> None:
    lines = segment(copy).read_bytes().splitlines(keepends=True)
    entries = [index for index, line in enumerate(lines) if b"payload" in line]
    offset = sum(len(line) for line in lines[: entries[3]]) + 120
    _flip(segment(copy), offset)
    answer = copy.ops("verify", "--all")
    assert answer.code == 5
    assert "entry 3" in answer.out


@pytest.mark.parametrize("name", ["plan.json", "results.json", "forward-1.1/journal.jsonl"])
def test_a_changed_file_of_a_run_is_named(copy: World, name: str) -> None:
    run = copy.ops("runs", "list", "--format", "json").json[0]["run"]
    _flip(copy.state / "runs" / run / name, 20)
    answer = copy.ops("verify", run)
    assert answer.code == 5
    assert name in answer.out
    assert copy.ops("runs", "show", run).code == 5


def test_the_machine_key_is_private_and_a_readable_one_is_refused(copy: World) -> None:
    key = copy.state / "keys" / "machine"
    assert key.stat().st_mode & 0o777 == 0o600
    assert subprocess.run(["ssh-keygen", "-lf", copy.public_key], check=True, capture_output=True).stdout
    key.chmod(0o644)
    answer = copy.ops("run", "one", "-y")
    assert answer.code == 5
    assert "chmod 600" in answer.err


def test_a_key_from_the_environment_signs_without_a_file(world: World) -> None:
    key = world.home / "ci-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    world.write("opsascode.yml", """
        apiVersion: opsascode/v1
        kind: Repository
        metadata: {name: test-repository}
        spec: {inventory: inventories/local.yml, keys: {machine: "env:CI_KEY"}}
        """)  # fmt: skip
    world.runbook("one", TOUCH, targets="{hosts: web1}")
    world.commit()
    answer = world.ops("run", "one", "-y", CI_KEY=key.read_text())
    assert answer.code == 0, answer.err
    assert not (world.state / "keys").exists()
    receipt = next(world.state.glob("runs/*/receipt.json"))
    assert world.ops("verify", receipt, "--key", key.with_suffix(".pub")).code == 0
    assert world.ops("verify", "--all").code == 5  # no key in the environment


def test_runs_of_two_processes_at_once_are_both_recorded(world: World) -> None:
    world.runbook("one", TOUCH, targets="{hosts: web}")
    world.commit()
    both = [world.start("run", "one", "-y", "--limit", host) for host in ("web1", "web2")]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
    assert world.ops("verify", "--all").code == 0
    assert len(world.ops("runs", "list", "--format", "json").json) == 2
