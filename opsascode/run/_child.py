"""How is Ansible run so that it ends when it must? This process starts it and answers for all that comes of it.

Started by `_engine` as a process of its own, so it imports little until it needs it. The job arrives as
one line of JSON on standard input; afterwards one byte, or the end of that input because our parent died, means: stop.
The report leaves as one line of JSON on standard output, which nothing below us holds.

- Secrets lie in a directory in memory until Ansible has read them (`_lending`).
- We are the reaper of our descendants, so whatever a task detaches from stays findable below us.
- To stop is: SIGTERM to Ansible, which passes it on; SIGTERM to what remains; after the grace SIGKILL to every
  descendant until none lives. ansible-runner's own way to cancel leaves workers behind and is never used.
- As soon as Ansible is gone, what it left on other hosts is swept (`_sweeper`), through the ssh masters that are still
  there; they leave last.
- When Ansible exits by itself nothing is killed, for a task may have started a service on this machine on purpose; only
  the ssh masters of this stage are told to leave.
- The private directory is gone when we are.

Not here: the environment (`_environment`), the settings of Ansible (`_engine`), the verdict (`_journal`).
"""

from __future__ import annotations

import contextlib
import json
import locale
import os
import re
import select
import shlex
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from opsascode.run._processes import (
    SWEEP_SECONDS,
    TICK,
    children,
    descendants,
    dismiss_ssh_masters,
    send,
    set_reaper,
    ssh_masters,
    sweep,
    wipe,
)
from opsascode.run._sweeper import Sweeper

OUTPUT_LIMIT: Final = 16 * 1024 * 1024
MASK: Final = "[secret]"
_FAREWELL_SECONDS: Final = 0.5


def main() -> None:
    """Run one stage and report."""
    job = json.loads(sys.stdin.buffer.readline())
    set_reaper(wanted=True)
    for descriptor in job["inherit"]:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's own signature
    _settle_locale()
    sweeper = Sweeper(job)
    stop = Stop(job, sweeper)
    report: dict[str, object] = {"rc": None, "error": "", "unready": ""}
    try:
        report["unready"] = sweeper.clear_leftovers()
        if not stop.asked and not report["unready"] and job["playbook"]:
            sweeper.watch()
            report["rc"] = _lend_and_run(job, stop, sweeper)
    except BaseException as error:  # noqa: BLE001  # reason: whatever happens is reported, then the clean-up still runs
        report["error"] = f"{type(error).__name__}: {error}"
    stop.finish(report["rc"])
    report |= {"stopped": stop.asked, "down": stop.down, "unswept": sweeper.unswept}
    dismiss_ssh_masters(job["volatile"], descendants({os.getpid()}))
    keep_output(Path(job["private"]), Path(job["output"]), job["pattern"])
    wipe(job["private"], job["volatile"])
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()  # until our parent no longer takes over what we leave behind, or is dead


def _lend_and_run(job: dict[str, Any], stop: Stop, sweeper: Sweeper) -> int | None:
    with contextlib.ExitStack() as stack:
        environment, arguments = sweeper.lender.lend(stack)
        os.environ.update(environment)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        return None if stop.asked else _run_ansible(job, [*job["arguments"], *arguments], stop)


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

    def __init__(self, job: dict[str, Any], sweeper: Sweeper) -> None:
        self.asked = False
        self.down = True
        self._grace: float = job["grace"]
        self._sockets: str = job["volatile"]
        self._sweeper = sweeper
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

    def finish(self, rc: object) -> None:
        """Say that Ansible is no longer being run; returns when a stop under way is complete.

        When Ansible did not exit by itself, for somebody killed it, what it has left behind is ended. When it gave up,
        what it began and nobody heard of again may run on other hosts.
        """
        self._finished.set()
        os.write(self._wake_write, b"f")
        self._thread.join()
        if rc is None and not self.asked:
            self._end_all()
        elif rc:
            self._sweeper.begin(time.monotonic() + self._grace)
        self._sweeper.end()

    def _signalled(self, _number: int, _frame: object) -> None:
        os.write(self._wake_write, b"s")

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll()]
        if 0 in ready or os.read(self._wake_read, 1) == b"s":
            self.asked = True
            self._sweeper.note_stop()
            self._end_all()

    def _end_all(self) -> None:
        """TERM to our direct children, then to what outlives them; KILL to everything after the grace.

        Other hosts are swept from the moment Ansible itself is gone, for then it begins nothing there any more.
        """
        told: set[int] = set()
        deadline = time.monotonic() + self._grace
        while time.monotonic() < deadline:
            if self._finished.is_set():
                self._sweeper.begin(deadline)
                if not self._below():
                    break
            for pid in (children() & self._below()) - told:
                told.add(pid)
                send(pid, signal.SIGTERM)
            time.sleep(TICK)
        self.down = sweep(self._below)
        self._finished.wait(SWEEP_SECONDS)
        self._sweeper.begin(deadline)
        self._sweeper.end()
        self.down = self._dismiss_all() and self.down

    def _below(self) -> set[int]:
        """Every process below us but those that sweep other hosts, and the ssh masters they need."""
        below = descendants({os.getpid()})
        masters = ssh_masters(self._sockets, children())
        return below - self._sweeper.processes() - masters - descendants(masters)

    def _dismiss_all(self) -> bool:
        """Let the ssh masters leave, then end whatever is still there."""
        me = os.getpid()
        dismiss_ssh_masters(self._sockets, descendants({me}))
        deadline = time.monotonic() + _FAREWELL_SECONDS
        while descendants({me}) and time.monotonic() < deadline:
            time.sleep(TICK)
        return sweep(lambda: descendants({me}))


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


def _settle_locale() -> None:
    """Ansible refuses to start under a locale that is not installed; C.UTF-8 always is."""
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        os.environ["LC_ALL"] = "C.UTF-8"
