"""Which processes of this machine are ours, and how are they ended?

Read from /proc, each time anew. A zombie is not alive.

Not here: processes of other hosts (`_sweep`), and when anything is ended (`_child`, `_engine`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PR_SET_CHILD_SUBREAPER: Final = 36
TICK: Final = 0.02
SWEEP_SECONDS: Final = 10.0


def sweep(find: Callable[[], Iterable[int]], *, seconds: float = SWEEP_SECONDS) -> bool:
    """SIGKILL what is found until nothing is found; False when something is still there after `seconds`."""
    deadline = time.monotonic() + seconds
    while found := tuple(find()):
        if time.monotonic() > deadline:
            return False
        for pid in found:
            send(pid, signal.SIGKILL)
        time.sleep(TICK)
    return True


def end_gently(find: Callable[[], Iterable[int]], *, deadline: float) -> bool:
    """SIGTERM once to each process that is found; SIGKILL after the deadline; False when something resists that too."""
    told: set[int] = set()
    while (found := set(find())) and time.monotonic() < deadline:
        for pid in found - told:
            told.add(pid)
            send(pid, signal.SIGTERM)
        time.sleep(TICK)
    return not found or sweep(find)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def parents_by_pid() -> dict[int, int]:
    """Each living process and its parent."""
    parents: dict[int, int] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            state, parent = Path(entry, "stat").read_bytes().rpartition(b")")[2].split(None, 2)[:2]
            if state not in {b"Z", b"X"}:
                parents[int(entry.name)] = int(parent)
    return parents


def children() -> set[int]:
    """Our living children."""
    me = os.getpid()
    return {pid for pid, parent in parents_by_pid().items() if parent == me}


def descendants(roots: set[int]) -> set[int]:
    """Every living process below `roots`, without those themselves."""
    parents = parents_by_pid()
    below: set[int] = set()
    while added := {pid for pid, parent in parents.items() if parent in roots or parent in below} - below:
        below |= added
    return below - roots


def marked(marker: bytes) -> set[int]:
    """Every living process whose environment holds the entry `marker`, and all below those."""
    found: set[int] = set()
    for pid in parents_by_pid():
        with contextlib.suppress(OSError):
            if marker in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found | descendants(found)


def adopted(marker: bytes, known: set[int]) -> set[int]:
    """Every living process that has become ours since we had the children `known`, and all below those.

    What a program of ours starts is in our session or is marked as of another stage; neither is taken for adopted.
    """
    session, found = os.getsid(0), set()
    name = marker.partition(b"=")[0] + b"="
    for pid in children() - known:
        with contextlib.suppress(OSError):
            marks = {
                entry for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if entry.startswith(name)
            }
            if os.getsid(pid) != session and marks <= {marker}:
                found.add(pid)
    return found | descendants(found)


def ssh_masters(sockets: str, pids: Iterable[int]) -> set[int]:
    """Those of `pids` that are ssh masters and serve a socket in the directory `sockets`."""
    title = f"ssh: {sockets}/".encode()
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title):
                found.add(pid)
    return found


def dismiss_ssh_masters(sockets: str, pids: Iterable[int]) -> None:
    """SIGTERM to the ssh masters that serve a socket in the directory `sockets`; they close it and leave."""
    for pid in ssh_masters(sockets, pids):
        send(pid, signal.SIGTERM)


def set_reaper(wanted: bool) -> None:  # noqa: FBT001 - the one thing it is about
    """Let processes whose parent ends below us become our children, or no longer."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def wipe(*directories: str) -> None:
    """Remove directories of ours with all they hold."""
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
