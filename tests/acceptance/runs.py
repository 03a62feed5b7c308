"""What the acceptance tests ask about runs, in one place."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.world import World


def newest(world: World) -> dict[str, Any]:
    """The newest run, as the ledger has it."""
    found = world.ops("runs", "show", "latest", "--format", "json").json
    assert isinstance(found, dict)
    return found


def statuses(world: World, run: str = "latest") -> dict[str, dict[str, str]]:
    """Host to step to status."""
    shown = world.ops("runs", "show", run, "--format", "json").json
    return {host: {step["step"]: step["status"] for step in steps} for host, steps in shown["results"].items()}


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def eventually(true: Callable[[], object], *, seconds: float = 20.0, what: str = "") -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, what or "it did not come true"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def mentioning(text: str) -> list[int]:
    """The living processes whose command line mentions a text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and alive(int(entry.name)):
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in words:
                found.append(int(entry.name))
    return found


def run_of(world: World, process: subprocess.Popen[str]) -> str:
    """The id of the run that a started command carries out, as soon as its directory is there."""
    places = world.state / "runs"
    before = set()
    eventually(lambda: places.is_dir() and set(places.iterdir()) - before, what=f"no run of {process.pid}")
    return max(places.iterdir(), key=lambda place: place.name).name
