"""How is Ansible run so that it ends when it must? This process starts it and answers for all that comes of it.

Started by `_engine` as a plain script, so it imports the standard library and ansible_runner only. The job arrives as
one line of JSON on standard input; afterwards one byte, or the end of that input because our parent died, means: stop.
The report leaves as one line of JSON on standard output, which nothing below us holds.

- Secret variables lie in a directory in memory until Ansible has read them, when the callback removes the file. No
  argument list, environment or disk sees them (a disk only where there is no directory in memory).
- We are the reaper of our descendants, so whatever a task detaches from stays findable below us.
- To stop is: SIGTERM to Ansible, which passes it on; SIGTERM to what remains; after the grace SIGKILL to every
  descendant until none lives. ansible-runner's own way to cancel leaves workers behind and is never used.
- When Ansible exits by itself nothing is killed, for a task may have started a service on this machine on purpose; only
  the ssh masters of this stage are told to leave.
- The private directory is gone when we are.

Not here: the environment (`_environment`), the settings of Ansible (`_engine`), the verdict (`_journal`).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import locale
import os
import re
import select
import shlex
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PR_SET_CHILD_SUBREAPER: Final = 36
OUTPUT_LIMIT: Final = 16 * 1024 * 1024
MASK: Final = "[secret]"
_TICK: Final = 0.02
_SWEEP_SECONDS: Final = 10.0


def main() -> None:
    """Run one stage and report."""
    job = json.loads(sys.stdin.buffer.readline())
    set_reaper(wanted=True)
    _settle_locale()
    stop = Stop(grace=job["grace"])
    report: dict[str, object] = {"rc": None, "error": ""}
    try:
        arguments = _lend_secrets(job)
        if not stop.asked:
            with contextlib.redirect_stdout(sys.stderr):
                report["rc"] = _run_ansible(job, arguments, stop)
    except BaseException as error:  # noqa: BLE001  # reason: whatever happens is reported, then the clean-up still runs
        report["error"] = f"{type(error).__name__}: {error}"
    stop.finish(normal=report["rc"] is not None)
    report |= {"stopped": stop.asked, "down": stop.down}
    dismiss_ssh_masters(job["volatile"], descendants({os.getpid()}))
    keep_output(Path(job["private"]), Path(job["output"]), job["pattern"])
    wipe(job["private"], job["volatile"])
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()  # until our parent no longer takes over what we leave behind, or is dead


def _run_ansible(job: dict[str, Any], arguments: list[str], stop: Stop) -> int | None:
    """Run the playbook to its end, however that comes.

    ansible-runner polls a pty for the output; the callback plugin closes that pty once it is loaded, so ansible-runner
    then simply waits for Ansible to exit.
    """
    import ansible_runner  # noqa: PLC0415  # reason: 60 ms that a stop during start need not wait for

    _close_at_once()
    ansible_runner.plugins.clear()
    runner = ansible_runner.run(
        private_data_dir=job["private"],
        ident=job["ident"],
        project_dir=job["project"],
        playbook=job["playbook"],
        inventory=job["inventory"],
        limit=job["limit"],
        forks=job["forks"],
        verbosity=job["verbosity"],
        cmdline=shlex.join(arguments) or None,
        settings={"pexpect_timeout": 0.2},
        suppress_env_files=True,
        fact_cache_type="memory",
        rotate_artifacts=0,
        quiet=True,
        event_handler=_discard,
        cancel_callback=stop.never,
    )
    rc = runner.rc
    return rc if isinstance(rc, int) else None


def _close_at_once() -> None:
    """Spare each stage the 100 ms that ptyprocess sleeps when it closes the pty of a process that has ended already."""
    from ptyprocess import PtyProcess  # type: ignore[import-untyped]  # noqa: PLC0415 - untyped; as late as ansible_runner

    PtyProcess.delayafterclose = property(lambda _self: 0.0, lambda _self, _value: None)


def _discard(_event: dict[str, Any]) -> bool:
    return False


class Stop:
    """Watches for the wish to stop, and carries it out beside the main thread, which waits for Ansible."""

    def __init__(self, *, grace: float) -> None:
        self.asked = False
        self.down = True
        self._grace = grace
        self._finished = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @staticmethod
    def never() -> bool:
        """Tell ansible-runner that nothing is canceled: it must not kill, we do."""
        return False

    def finish(self, *, normal: bool) -> None:
        """Say that Ansible is no longer being run; returns when a stop under way is complete.

        When Ansible did not exit by itself (`normal`), for somebody killed it, what it has left behind is ended.
        """
        self._finished.set()
        os.write(self._wake_write, b"f")
        self._thread.join()
        if not normal and not self.asked:
            self._end_all()

    def _signalled(self, _number: int, _frame: object) -> None:
        os.write(self._wake_write, b"s")

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll()]
        if 0 in ready or os.read(self._wake_read, 1) == b"s":
            self.asked = True
            self._end_all()

    def _end_all(self) -> None:
        """TERM to our direct children, then to what outlives them; KILL to everything after the grace."""
        me = os.getpid()
        told: set[int] = set()
        deadline = time.monotonic() + self._grace
        while time.monotonic() < deadline:
            below = descendants({me})
            if not below and self._finished.is_set():
                break
            for pid in children() - told:
                told.add(pid)
                _send(pid, signal.SIGTERM)
            time.sleep(_TICK)
        self.down = sweep(lambda: descendants({me}))
        self._finished.wait(_SWEEP_SECONDS)
        self.down = self.down and sweep(lambda: descendants({me}))


def sweep(find: Callable[[], Iterable[int]], *, seconds: float = _SWEEP_SECONDS) -> bool:
    """SIGKILL what is found until nothing is found; False when something is still there after `seconds`."""
    deadline = time.monotonic() + seconds
    while found := tuple(find()):
        if time.monotonic() > deadline:
            return False
        for pid in found:
            _send(pid, signal.SIGKILL)
        time.sleep(_TICK)
    return True


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def parents_by_pid() -> dict[int, int]:
    """Each living process and its parent; zombies are not alive."""
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


def dismiss_ssh_masters(sockets: str, pids: Iterable[int]) -> None:
    """SIGTERM to the ssh masters that serve a socket in the directory `sockets`; they close it and leave."""
    title = f"ssh: {sockets}/".encode()
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(title):
                _send(pid, signal.SIGTERM)


def keep_output(private: Path, target: Path, pattern: str | None) -> None:
    """Keep what Ansible printed: before our callback was loaded and after; secrets replaced, the end if too long."""
    early = b"".join(path.read_bytes() for path in sorted(private.glob("artifacts/*/stdout")))
    late = private / "output"
    data = early.replace(b"\r\n", b"\n") + (late.read_bytes() if late.is_file() else b"")
    text = data.decode("utf-8", "replace")
    if pattern:
        text = re.sub(pattern, MASK, text)
    kept = text.encode()[-OUTPUT_LIMIT:]
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(kept)


def wipe(*directories: str) -> None:
    """Remove directories of ours with all they hold."""
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


def _lend_secrets(job: dict[str, Any]) -> list[str]:
    """Put the secret variables, and the pattern that finds them in texts, where Ansible and our callback read them.

    Gives the further arguments for Ansible. Ansible insists on a real file for variables; the pattern stays in a memory
    file of this process.
    """
    arguments: list[str] = job["arguments"]
    if job["secrets"] is not None:
        path = Path(job["volatile"], "variables")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(job["secrets"])
        os.environ["OPSASCODE_VARIABLES"] = str(path)
        arguments = [*arguments, "--extra-vars", f"@{path}"]
    if job["pattern"] is not None:
        os.environ["OPSASCODE_SECRETS"] = _memory_file("pattern", job["pattern"])
    return arguments


def _memory_file(name: str, text: str) -> str:
    descriptor = os.memfd_create(name)
    os.write(descriptor, text.encode())
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def set_reaper(wanted: bool) -> None:  # noqa: FBT001 - the one thing it is about
    """Let processes whose parent ends below us become our children, or no longer."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0)


def _settle_locale() -> None:
    """Ansible refuses to start under a locale that is not installed; C.UTF-8 always is."""
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        os.environ["LC_ALL"] = "C.UTF-8"


if __name__ == "__main__":
    main()
