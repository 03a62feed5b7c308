"""How long does it take from a request to stop until nothing of a run lives, over real ssh, on the host as well?

One task does what it is told, one ignores SIGTERM and has a child in the background. What is measured: SIGTERM to the
command, until no process of the task is left on the host. The undo that follows is not part of it.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Line, seconds
from ssh_hosts import sshd
from worlds import OPSASCODE, new_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Place

GRACE = 10.0
_ROUNDS = 3
_HEAD = """\
apiVersion: opsascode/v1
kind: Runbook
metadata: {{name: {name}, title: Measure a stop, version: 1.0.0}}
spec:
"""
_SETTINGS = """\
apiVersion: opsascode/v1
kind: Repository
metadata: {name: measured-stop}
spec: {inventory: inventories/ssh.yml}
"""
_STEP = "  targets: {{hosts: all}}\n  steps:\n    - id: slow\n      task:\n        ansible.builtin.shell: |\n{script}"
_SCRIPTS = {
    "cooperative": "echo $$ > {place}/pids\nexec sleep 300\n",
    "stubborn": (
        "trap '' TERM HUP INT\nsleep 300 & echo $! > {place}/child\necho $$ > {place}/pids\nsleep 301; sleep 302\n"
    ),
}


def cancel(scratch: Path) -> Iterator[Line]:
    """Measure both kinds of task."""
    print("cancel to quiet …", file=sys.stderr, flush=True)
    place = new_place(scratch)
    with sshd(scratch / "sshd", ["127.0.1.1"]) as inventory:
        _repository(place, inventory)
        for name, limit in (("cooperative", 3.0), ("stubborn", GRACE + 2)):
            took = statistics.median(_stop(place, name) for _ in range(_ROUNDS))
            yield Line(
                what=f"cancel to quiet, {name} task over ssh",
                ours=seconds(took),
                peer=f"grace {GRACE:g} s",
                target=f"< {limit:g} s",
                holds=took < limit,
            )


def _repository(place: Place, inventory: dict[str, object]) -> None:
    root = place.directory
    for name in ("playbooks", "inventories"):
        (root / name).mkdir()
    (root / "opsascode.yml").write_text(_SETTINGS)
    (root / "inventories/ssh.yml").write_text(json.dumps(inventory))
    for name, script in _SCRIPTS.items():
        lines = "".join(f"          {line}\n" for line in script.format(place=place.scratch).splitlines())
        text = _HEAD.format(name=name) + _STEP.format(script=lines)
        (root / f"playbooks/{name}.yml").write_text(text)


def _stop(place: Place, name: str) -> float:
    marks = [place.scratch / "pids", place.scratch / "child"]
    for mark in marks:
        mark.unlink(missing_ok=True)
    words = (OPSASCODE, "run", name, "--yes")
    process = subprocess.Popen(
        words, cwd=place.directory, env=place.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (marks[0].exists() and marks[0].read_text().strip()):
        time.sleep(0.02)
    pids = [int(mark.read_text()) for mark in marks if mark.exists()]
    asked = time.monotonic()
    process.send_signal(signal.SIGTERM)
    while any(_lives(pid) for pid in pids):
        time.sleep(0.01)
    took = time.monotonic() - asked
    process.wait()
    return took


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False
