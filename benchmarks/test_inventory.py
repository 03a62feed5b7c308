"""How much faster is one host out of 10,000 with a resolved inventory than with the inventory itself?

Run by itself: `pytest benchmarks/test_inventory.py -s`. Plain and resolved runs are interleaved, the ratio is of
medians.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

HOSTS, GROUPS, ROUNDS = 10_000, 20, 3
ONE = "host00042"
PLAYBOOK = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: "{{ ansible_host }} {{ tier }}"}
"""
RESOLVE = """\
import json, resource, sys, time
from pathlib import Path
from opsascode.repo import DOCUMENT_NAME, inventory_environment, resolve_inventory
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
root, limit = Path(sys.argv[1]), sys.argv[2]
asked = {"pattern": "all", "limit": limit, "environment": {}, "root": root, "cache": root / "cache"}
found = resolve_inventory(["hosts.yml"], **asked)
seconds = time.perf_counter() - start
mebibytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
(root / "inventory").mkdir(exist_ok=True)
(root / "inventory" / DOCUMENT_NAME).write_bytes(found.document)
print(json.dumps([seconds, mebibytes, dict(inventory_environment(root, digest=found.digest)), found.hosts]))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("big")
    lines = ["all:", "  children:"]
    for group in range(GROUPS):
        lines += [f"    group{group:02}:", f"      vars: {{tier: t{group}}}", "      hosts:"]
        lines += [
            f"        host{host:05}: {{ansible_host: 10.0.{host // 256}.{host % 256}, rack: r{host % 40}}}"
            for host in range(group, HOSTS, GROUPS)
        ]
    (root / "hosts.yml").write_text("\n".join(lines) + "\n")
    (root / "play.yml").write_text(PLAYBOOK)
    return root


def resolve(root: Path, limit: str) -> tuple[float, float, dict[str, str], list[str]]:
    command = [sys.executable, "-c", RESOLVE, str(root), limit]
    seconds, mebibytes, environment, hosts = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return seconds, mebibytes, environment, hosts


def play(root: Path, inventory: str, environment: dict[str, str]) -> float:
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", inventory, "--limit", ONE, "play.yml"]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=root, env={**os.environ, **environment}, capture_output=True, check=True)
    assert b"ok=1" in done.stdout
    return time.perf_counter() - start


def test_one_host_of_ten_thousand(root: Path) -> None:
    cold, *_ = resolve(root, ONE)
    plain, ours, warm, extra = [], [], [], 0.0
    for _ in range(ROUNDS):
        plain.append(play(root, "hosts.yml", {}))
        seconds, extra, environment, hosts = resolve(root, ONE)
        assert hosts == [ONE]
        warm.append(seconds)
        ours.append(seconds + play(root, "inventory", environment))
    reselect, *_ = resolve(root, "host00043")
    ratio = statistics.median(plain) / statistics.median(ours)
    print(
        f"\ncold {cold:.2f} s, warm {statistics.median(warm) * 1000:.1f} ms and {extra:.1f} MiB more, another host"
        f" {reselect:.2f} s; plain {statistics.median(plain):.2f} s, ours {statistics.median(ours):.2f} s: {ratio:.1f}x"
    )
    assert statistics.median(warm) <= 0.15
    assert extra < 60
    assert ratio >= 4
