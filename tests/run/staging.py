"""One stage through the real engine, for tests: what is ordered, and all that can be seen of it afterwards."""

from __future__ import annotations

import itertools
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsascode.run._engine import RunnerEngine, StageResult
from opsascode.run._environment import minimal_environment
from opsascode.run._journal import HostResult
from opsascode.run._stage import StageOrder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opsascode.run._journal import JournalEvent

PYTHON = "/usr/bin/python3"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A stage that was run."""

    result: StageResult
    events: tuple[JournalEvent, ...]

    def results(self, step: str) -> dict[str, HostResult]:
        """The last result of each host for a step."""
        return {event.host: event for event in self.events if isinstance(event, HostResult) and event.step == step}


def local_inventory(*hosts: str) -> dict[str, Any]:
    variables = {"ansible_connection": "local", "ansible_python_interpreter": PYTHON}
    return {"all": {"hosts": {host: {} for host in hosts}, "vars": variables}}


def playbook(*tasks: Mapping[str, Any], **play: Any) -> bytes:
    return json.dumps([{"hosts": "all", "gather_facts": False, "tasks": list(tasks), **play}]).encode()


def step(name: str, module: str, arguments: Any = None, **keywords: Any) -> dict[str, Any]:
    """A task of the step `name`."""
    return {"name": name, f"ansible.builtin.{module}": arguments, "vars": {"opsascode_step": name}, **keywords}


def shell(name: str, script: str, **keywords: Any) -> dict[str, Any]:
    return step(name, "shell", {"cmd": script}, **keywords)


def order(directory: Path, plays: bytes, *, hosts: Sequence[str] = ("a",), **options: Any) -> StageOrder:
    directory = directory / f"stage-{next(_numbers)}"
    project = directory / "project"
    project.mkdir(parents=True)
    inventory = options.pop("inventory", None) or local_inventory(*hosts)
    environ = {**os.environ, **options.pop("environ", {})}
    return StageOrder(
        playbook=plays,
        inventory=json.dumps(inventory).encode(),
        hosts=tuple(hosts),
        directory=directory / "kept",
        environment=minimal_environment(environ, options.pop("allow", ())),
        **{"project": project, "grace_seconds": 1.0, **options},
    )


def run(
    ordered: StageOrder,
    *,
    on_event: Callable[[JournalEvent], None] = lambda _event: None,
    cancel: Callable[[], bool] = lambda: False,
) -> Seen:
    events: list[JournalEvent] = []

    def take(event: JournalEvent) -> None:
        events.append(event)
        on_event(event)

    return Seen(result=RunnerEngine().run(ordered, on_event=take, cancel=cancel), events=tuple(events))


def processes_with(text: str) -> set[int]:
    """Living processes, other than this one, that have `text` in their arguments or environment."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            alive = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] not in "ZX"
            said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if alive and text.encode() in said:
            found.add(int(entry.name))
    return found


def kept_bytes(directory: Path) -> bytes:
    """Every byte of every file below a directory, and their names."""
    paths = sorted(directory.rglob("*"))
    return b"\0".join(os.fsencode(path) + b"\0" + (path.read_bytes() if path.is_file() else b"") for path in paths)


if __name__ == "__main__":  # a caller that a test can kill: the order is on standard input
    given = json.loads(sys.stdin.read())
    where = {"hosts": (given["host"],), "inventory": given["inventory"]} if "host" in given else {}
    run(order(Path(given["directory"]), given["playbook"].encode(), **where), cancel=lambda: False)
