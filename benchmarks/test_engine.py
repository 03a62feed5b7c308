"""What does the engine cost beside plain ansible-playbook?

Run by itself on a quiet machine: `pytest benchmarks/test_engine.py -s`. Engine and plain runs are interleaved.
Processor time is user and system time of a process and all it waited for; of several rounds the least counts, for other
load only ever adds. Plain runs use a YAML inventory, as people do.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 5
ENGINE = """\
import json, os, resource, sys
from pathlib import Path
from opsascode.run import RunnerEngine, StageOrder, minimal_environment
root, hosts = Path(sys.argv[1]), tuple(json.loads(sys.argv[2]))
variables = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
inventory = {"all": {"hosts": {host: {} for host in hosts}, "vars": variables}}
events = []
result = RunnerEngine().run(
    StageOrder(
        playbook=(root / "play.json").read_bytes(), inventory=json.dumps(inventory).encode(), hosts=hosts,
        directory=root / sys.argv[3], project=root, environment=minimal_environment(os.environ),
    ),
    on_event=events.append, cancel=lambda: False,
)
assert result.outcome.value == "succeeded", result
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(events))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    wall: float
    processor: float


class Contest:
    """The same playbook, alternately by the engine and by plain ansible-playbook."""

    def __init__(self, root: Path, hosts: int, tasks: Sequence[object]) -> None:
        self.root = root
        self.names = [f"host{number:03}" for number in range(hosts)]
        (root / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        lines = [
            "all:",
            "  vars: {ansible_connection: local, ansible_python_interpreter: /usr/bin/python3}",
            "  hosts:",
        ]
        (root / "hosts.yml").write_text("\n".join([*lines, *(f"    {name}: {{}}" for name in self.names)]) + "\n")
        self.told = ""

    def engine(self, number: int) -> Cost:
        return self._measure([sys.executable, "-c", ENGINE, str(self.root), json.dumps(self.names), f"run{number}"])

    def plain(self) -> Cost:
        ansible = Path(sys.executable).with_name("ansible-playbook")
        return self._measure([str(ansible), "-i", "hosts.yml", "play.json"])

    def ratios(self) -> tuple[float, float]:
        """Wall time by medians, processor time by minima; prints both."""
        pairs = [(self.engine(number), self.plain()) for number in range(ROUNDS)]
        walls = [statistics.median(pair[side].wall for pair in pairs) for side in (0, 1)]
        processor = [min(pair[side].processor for pair in pairs) for side in (0, 1)]
        print(f"\nwall {walls[0]:.2f} s against {walls[1]:.2f} s: {walls[0] / walls[1]:.3f}")
        print(f"processor {processor[0]:.2f} s against {processor[1]:.2f} s: {processor[0] / processor[1]:.3f}")
        return walls[0] / walls[1], processor[0] / processor[1]

    def _measure(self, command: Sequence[str]) -> Cost:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, cwd=self.root, capture_output=True, check=True, text=True, env=os.environ)
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
        self.told = done.stdout
        return Cost(wall=wall, processor=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def test_ten_commands_on_one_host(tmp_path: Path) -> None:
    wall, _ = Contest(tmp_path, 1, [{"ansible.builtin.command": "true"}] * 10).ratios()
    assert wall < 1.25


def test_five_messages_on_a_hundred_hosts(tmp_path: Path) -> None:
    _, processor = Contest(tmp_path, 100, [{"ansible.builtin.debug": {"msg": f"hello {n}"}} for n in range(5)]).ratios()
    assert processor < 1.06


def test_memory_does_not_grow_with_the_journal(tmp_path: Path) -> None:
    contest = Contest(tmp_path, 20, [{"ansible.builtin.debug": {"msg": "x" * 7000}}] * 20)
    contest.engine(0)
    mebibytes, events = map(float, contest.told.split())
    print(f"\n{mebibytes:.0f} MiB after {events:.0f} events")
    assert mebibytes < 60
