"""Who looks for what a stage left running on other hosts, and when?

Runs in the child that supervises Ansible, so that it is done also when nobody above the child lives any more: when a
result says that time ran out, while the stage goes on; when the stage is broken off; and for what an earlier stage
left, before this one begins. Each is a start of `ansible-playbook` of its own, with a journal of its own.

When the child is killed too, or the machine stops, nobody sweeps until somebody comes back: `_sweep.leftovers` reads
from the journal what to look for then. What was confirmed stands in sweep.json beside the journal.

Not here: which tasks are in doubt and how they are found on a host (`_sweep`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opsascode.run._journal import stream_journal
from opsascode.run._lending import Lender
from opsascode.run._processes import descendants, end_gently, marked, send
from opsascode.run._sweep import (
    MARK_VARIABLE,
    SHORTEST_NOTICE,
    SWEEP_NAME,
    Doubt,
    find_doubts,
    left_by_others,
    sweep_playbook,
    unconfirmed,
    untraceable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_TICK: Final = 0.05
_LOOK_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 20.0
_CHUNK: Final = 1 << 20
_TIMED_OUT: Final = b'"timed_out":true'
_ENDED: Final = b',"event":"end",'
_MOST_FORKS: Final = 50


class Sweeper:
    """Sweeps for one stage, with secrets from `lender`; `unswept` names the places where something may still run."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.unswept: dict[str, str] = {}
        self.lender = Lender(job)
        self._job = job
        self._journal = Path(job["journal"])
        self._grace = float(job["grace"])
        self._late: int | None = None
        self._done: set[tuple[str, str]] = set()
        self._quiet: set[tuple[str, str]] = set()
        self._running: subprocess.Popen[bytes] | None = None
        self._starts = 0
        self._enough = threading.Event()
        self._watcher: threading.Thread | None = None
        self._last: threading.Thread | None = None

    def watch(self) -> None:
        """Begin to look for results that say that time ran out."""
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def processes(self) -> set[int]:
        """Give the processes of a sweep under way."""
        running = self._running
        return {running.pid} | descendants({running.pid}) if running else set()

    def note_stop(self) -> None:
        """Take note that from now on bad news from a host may come of our stopping."""
        with suppress(OSError):
            self._late = self._journal.read_bytes().count(b"\n")

    def begin(self, deadline: float) -> None:
        """Sweep all that is in doubt, beside the caller; once. SIGKILL is due at `deadline` of the monotonic clock."""
        if self._last is None:
            self._last = threading.Thread(target=self._finish, args=(deadline,), daemon=True)
            self._last.start()

    def end(self) -> None:
        """Wait until every sweep is over, and write down what came of them."""
        self._enough.set()
        for thread in (self._watcher, self._last):
            if thread:
                thread.join()
        if self._quiet or self.unswept:
            self._write_down()

    def clear_leftovers(self) -> str:
        """End what earlier stages left; gives why the stage must not begin, or an empty text.

        A host that is out of reach is no reason: the stage cannot reach it either.
        """
        doubts = left_by_others(self._job["leftovers"])
        if not doubts:
            return ""
        found = self._sweep(doubts, time.monotonic() + self._grace)
        resisting = {place: why for place, why in found.items() if "could not be reached" not in why}
        return "; ".join(f"{place}: {why}" for place, why in sorted(resisting.items()))

    def _watch(self) -> None:
        offset, rest = 0, b""
        while True:
            last = self._enough.wait(_LOOK_SECONDS)
            with suppress(OSError), self._journal.open("rb") as file:
                file.seek(offset)
                while data := file.read(_CHUNK):
                    offset += len(data)
                    said, rest = rest + data, data[-len(_TIMED_OUT) :]
                    if _TIMED_OUT in said and self._late is None:
                        self._timed_out()
            if last:
                return

    def _timed_out(self) -> None:
        """End what runs of the tasks that Ansible itself has given up."""
        now = time.monotonic()
        self._take([doubt for doubt in self._doubts() if doubt.given_up], now + self._grace)

    def _finish(self, deadline: float) -> None:
        self._enough.set()
        if self._watcher:
            self._watcher.join()
        self._take(self._doubts(), deadline)

    def _doubts(self) -> list[Doubt]:
        if not self._journal.is_file():
            return []
        found = find_doubts(stream_journal(self._journal), late=self._late)
        return [doubt for doubt in found if (doubt.task, doubt.host) not in self._done]

    def _take(self, doubts: list[Doubt], deadline: float) -> None:
        if not doubts:
            return
        self._done |= {(doubt.task, doubt.host) for doubt in doubts}
        local = threading.Thread(target=self._end_local, args=(doubts, deadline), daemon=True)
        local.start()
        self.unswept |= untraceable(doubts)
        self._sweep([doubt for doubt in doubts if doubt.sought], deadline)
        local.join()

    def _end_local(self, doubts: Iterable[Doubt], deadline: float) -> None:
        """End the marked processes below us on this machine."""
        marks = [f"{MARK_VARIABLE}={doubt.mark}".encode() for doubt in doubts if doubt.local]
        if not marks:
            return

        def find() -> set[int]:
            return set().union(*(marked(mark) for mark in marks)) & descendants({os.getpid()})

        if not end_gently(find, deadline=max(deadline, time.monotonic() + SHORTEST_NOTICE)):
            self.unswept["this machine"] = "some processes could not be ended"

    def _sweep(self, doubts: Iterable[Doubt], deadline: float) -> dict[str, str]:
        """Sweep other hosts; gives the places that are not certainly quiet now."""
        doubts = tuple(doubts)
        if not doubts:
            return {}
        self._starts += 1
        base = Path(self._job["private"], f"sweep-{self._starts}")
        base.mkdir(mode=0o700)
        left = deadline - time.monotonic()
        (base / "playbook.yml").write_bytes(
            sweep_playbook(doubts, deadline=time.time() + left, longest=max(left, SHORTEST_NOTICE))
        )
        (base / "limit").write_text("".join(f"{place}\n" for place in {doubt.place: 0 for doubt in doubts}))
        (base / "journal").touch(0o600)
        places = {doubt.place for doubt in doubts}
        self._start_ansible(base, forks=min(len(places), _MOST_FORKS), patience=max(left, 0) + _PATIENCE_SECONDS)
        found = unconfirmed(doubts, stream_journal(base / "journal"))
        self.unswept |= found
        self._quiet |= {(doubt.place, doubt.mark) for doubt in doubts if doubt.place not in found}
        return found

    def _start_ansible(self, base: Path, *, forks: int, patience: float) -> None:
        with ExitStack() as stack:
            environment, arguments = self.lender.lend(stack)
            log = stack.enter_context((base / "log").open("wb"))
            command = ["ansible-playbook", "-i", self._job["inventory"], "--limit", f"@{base / 'limit'}"]
            environment |= {
                "ANSIBLE_CALLBACK_PLUGINS": environment["AWX_LIB_DIRECTORY"],
                "ANSIBLE_STDOUT_CALLBACK": "awx_display",
                "OPSASCODE_JOURNAL": str(base / "journal"),
                "OPSASCODE_OUTPUT": str(base / "output"),
                "OPSASCODE_TEXTS": str(base / "texts"),
            }
            process = subprocess.Popen(  # noqa: S603 - our own words only
                [*command, "--forks", str(forks), *arguments, str(base / "playbook.yml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._job["project"],
                env=environment,
            )
            self._running = process
            _wait(process, base / "journal", patience)
            self._running = None

    def _write_down(self) -> None:
        told = {"quiet": sorted(self._quiet), "unswept": self.unswept}
        path = self._journal.parent / SWEEP_NAME
        with suppress(OSError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")


def _wait(process: subprocess.Popen[bytes], journal: Path, patience: float) -> None:
    """Wait until a sweep has written down its end; it has nothing to do after that, nor when it took too long."""
    deadline = time.monotonic() + patience
    while process.poll() is None:
        if time.monotonic() > deadline or _ENDED in journal.read_bytes():
            below: Callable[[], set[int]] = partial(descendants, {process.pid})
            for pid in (process.pid, *below()):
                send(pid, signal.SIGKILL)
        time.sleep(_TICK)
