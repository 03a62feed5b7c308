"""Where is it measured? A fresh home: an ops repository in Git, its inventories and the playbooks to compare with."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from measure import Place

BIN = Path(sys.executable).parent
OPSASCODE, ANSIBLE = BIN / "opsascode", BIN / "ansible-playbook"
HOSTS, GROUPS, ONE = 10_000, 20, "host00042"

_VARIABLES = "  vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}"
_SETTINGS = """\
apiVersion: opsascode/v1
kind: Repository
metadata: {name: measured}
spec: {inventory: inventories/one.yml}
"""


def new_place(home: Path) -> Place:
    """Make a home with nothing in it, and an empty repository."""
    repository, scratch = home / "repository", home / "scratch"
    repository.mkdir(parents=True)
    scratch.mkdir()
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    environment = {
        **kept,
        "HOME": str(home),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    return Place(directory=repository, environment=environment, scratch=scratch)


def ops_place(home: Path) -> Place:
    """Make an ops repository of three runbooks, each with an inventory and its playbook as plain Ansible takes it."""
    place = new_place(home)
    root = place.directory
    (root / "playbooks").mkdir()
    (root / "inventories").mkdir()
    (root / "opsascode.yml").write_text(_SETTINGS)
    (root / ".gitignore").write_text("/*.yml\n!/opsascode.yml\n")
    _inventory(root / "inventories/one.yml", ["web1"])
    _inventory(root / "inventories/hundred.yml", [f"host{number:03}" for number in range(100)])
    _inventory(root / "inventories/thousand.yml", [f"host{number:04}" for number in range(1000)])
    _large_inventory(root / "inventories/large.yml")
    _runbook(root, "ten", ["{ansible.builtin.command: 'true'}"] * 10)
    _runbook(root, "five", [f"{{ansible.builtin.debug: {{msg: hello {number}}}}}" for number in range(5)])
    shown = "{{ ansible_host }} {{ tier }} {{ rack }} {{ group_names | join('+') }} {{ groups | length }}"
    _runbook(root, "say", [f'{{ansible.builtin.debug: {{msg: "{shown}"}}}}'])
    place.answer("git", "init", "--quiet", "--initial-branch", "main")
    place.answer("git", "add", "--all")
    author = ("-c", "user.name=Alex Example", "-c", "user.email=alex@example.org")
    place.answer("git", *author, "commit", "--quiet", "--message", "begin")
    for runbook, words in (
        ("ten", ["-i", "inventories/one.yml"]),
        ("five", ["-i", "inventories/hundred.yml"]),
        ("say", ["-i", "inventories/large.yml", "--limit", ONE]),
    ):
        (root / f"{runbook}.yml").write_text(place.answer(OPSASCODE, "plan", runbook, *words, "--playbook"))
    many = place.answer(OPSASCODE, "plan", "five", "-i", "inventories/thousand.yml", "--playbook")
    (root / "five-thousand.yml").write_text(many)
    return place


def ten_playbooks(directory: Path) -> Path:
    """Write ten playbooks of one task each, as those have who call ansible-runner step by step."""
    directory.mkdir()
    task = {"ansible.builtin.command": "true"}
    for number in range(10):
        play = {"hosts": "web1", "gather_facts": False, "tasks": [{"name": f"step {number}", **task}]}
        (directory / f"{number}.yml").write_text(json.dumps([play]))
    return directory


def _runbook(root: Path, name: str, tasks: list[str]) -> None:
    lines = [
        "apiVersion: opsascode/v1",
        "kind: Runbook",
        f"metadata: {{name: {name}, title: Measure {name}, version: 1.0.0}}",
        "spec:",
        "  targets: {hosts: all, variables: [tier, rack]}" if name == "say" else "  targets: {hosts: all}",
        "  steps:",
    ]
    for number, task in enumerate(tasks):
        lines += [f"    - id: step-{number}", f"      task: {task}"]
    (root / "playbooks" / f"{name}.yml").write_text("\n".join(lines) + "\n")


def _inventory(path: Path, names: list[str]) -> None:
    path.write_text("\n".join(["all:", _VARIABLES, "  hosts:", *(f"    {name}: {{}}" for name in names)]) + "\n")


def _large_inventory(path: Path) -> None:
    lines = ["all:", _VARIABLES, "  children:"]
    for group in range(GROUPS):
        lines += [f"    group{group:02}:", f"      vars: {{tier: t{group}}}", "      hosts:"]
        lines += [
            f"        host{host:05}: {{ansible_host: 10.0.{host // 256}.{host % 256}, rack: r{host % 40}}}"
            for host in range(group, HOSTS, GROUPS)
        ]
    path.write_text("\n".join(lines) + "\n")
