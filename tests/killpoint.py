"""Kill the command at any of the moments when it asks the operating system to change something.

The command runs in a Python of its own, which numbers everything that reaches the disk or starts a process, and sends
itself SIGKILL right before the chosen one. Nothing in the product knows of it. Moments are: a file opened for writing or
made, written to (`os.write`), synchronised, renamed, linked, removed; a directory made or removed; a lock; a process
started; a statement of SQLite that changes something. `torn` writes half of the data of a write before the end.

    seen = walk(world, "run", "restart", "-y")     # undisturbed: seen.code, seen.labels
    kill(world, 17, "run", "restart", "-y")        # Ended: what it was about to do, None when it came to its end before
    kill(world, "pwrite .*/segments/", "run", "restart", "-y")

What Ansible does below is not numbered: it runs in processes of its own. The first run of a world makes more (keys,
ledger), and polls (a lease renewed) make numbers differ: the label that counts is the one given.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.world import World

CHANGING = frozenset({"BEGIN", "COMMIT", "CREATE", "DELETE", "DROP", "INSERT", "PRAGMA", "REPLACE", "UPDATE"})
FILE_EVENTS = {
    "os.link": "link",
    "os.mkdir": "mkdir",
    "os.remove": "remove",
    "os.rename": "rename",
    "os.rmdir": "rmdir",
    "os.truncate": "truncate",
    "fcntl.flock": "flock",
    "subprocess.Popen": "Popen",
}
ON_DESCRIPTORS = ("fsync", "fdatasync", "ftruncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ELSEWHERE = ("/dev/", "/proc/")
RANDOM = re.compile(
    r"[0-9]{8}-[0-9]{6}-[0-9a-f]{6}|[0-9a-f]{8,}|tmp\w{8}|ops-\w{4,}-?\w{8}|(?<=\.)[\w-]{12,}(?=\.lock)"
)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended; `label` is the moment it was killed at, `None` when it came to its end."""

    code: int
    out: str
    err: str
    labels: tuple[str, ...]
    label: str | None


def walk(world: World, *words: str) -> Ended:
    """Run a command undisturbed, and name every moment at which it could be killed."""
    return kill(world, 0, *words)


def kill(world: World, moment: int | str, *words: str, torn: bool = False, **environment: str) -> Ended:
    """Kill a command before it does its `moment`th thing, counted from 1; half-way through it when `torn`.

    `moment` may also be a pattern: then it is the first thing whose label it is found in.
    """
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        with (Path(directory) / "out").open("wb+") as out, (Path(directory) / "err").open("wb+") as err:
            done = subprocess.run(  # no pipes: what outlives the command would keep them open
                [sys.executable, __file__, str(moment), str(int(torn)), str(log), *words],
                cwd=world.root,
                env={**world.variables(), "PYTHONDONTWRITEBYTECODE": "1", **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=120,
                check=False,
            )
        labels = tuple(json.loads(line) for line in log.read_text("utf-8").splitlines())
        killed = done.returncode == -signal.SIGKILL
        if killed:
            assert moment == len(labels) or re.search(str(moment), labels[-1]), "something else killed it"
        return Ended(
            code=done.returncode,
            out=Path(out.name).read_text("utf-8"),
            err=Path(err.name).read_text("utf-8"),
            labels=labels,
            label=labels[-1] if killed else None,
        )


# Inside the process that is to be killed.


class Moments:
    """Numbers what this process does, and ends it at the chosen one."""

    def __init__(self, moment: str, *, torn: bool, log: Path) -> None:
        self.number = int(moment) if moment.isdecimal() else -1
        self.pattern = None if moment.isdecimal() else re.compile(moment)
        self.torn = torn
        self.count = itertools.count(1)
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.write, self.pwrite = os.write, os.pwrite

    def reach(self, label: str, half: Callable[[], object] = lambda: None) -> None:
        now, label = next(self.count), RANDOM.sub("*", label)
        self.write(self.log, json.dumps(label).encode() + b"\n")
        if now == self.number or (self.pattern and self.pattern.search(label)):
            if self.torn:
                half()
            die()

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """What the interpreter itself says of everything that opens, moves or removes a file, or starts a process."""
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes) and flags & WRITING and not os.fsdecode(path).startswith(ELSEWHERE):
                self.reach(f"open {os.fsdecode(path)}")
        elif event == "fcntl.fcntl" and arguments[1] == fcntl.F_OFD_SETLK:
            self.reach(f"lock {name_of(arguments[0])}")
        elif event in FILE_EVENTS:
            self.reach(f"{FILE_EVENTS[event]} {shown(event, arguments)}")

    def watch(self) -> None:
        os.write, os.pwrite = self.counted_write, self.counted_pwrite
        for name in ON_DESCRIPTORS:
            setattr(os, name, self.counted(getattr(os, name)))
        sqlite3.connect = self.counted_connect(sqlite3.connect)  # type: ignore[assignment] # the same, with more to say
        sys.addaudithook(self.hear)

    def counted_write(self, descriptor: int, data: Any) -> int:
        if descriptor > 2:  # what is said to people changes nothing
            half = bytes(data)[: len(data) // 2]
            self.reach(f"write {name_of(descriptor)}", lambda: self.write(descriptor, half))
        return self.write(descriptor, data)

    def counted_pwrite(self, descriptor: int, data: Any, place: int) -> int:
        half = bytes(data)[: len(data) // 2]
        self.reach(f"pwrite {name_of(descriptor)}", lambda: self.pwrite(descriptor, half, place))
        return self.pwrite(descriptor, data, place)

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def reached(descriptor: int, *arguments: Any) -> Any:
            self.reach(f"{function.__name__} {name_of(descriptor)}")
            return function(descriptor, *arguments)

        return reached

    def counted_connect(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        moments = self

        class Counted(sqlite3.Connection):
            def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
                word = statement.split(None, 1)[0].upper()
                if word in CHANGING:
                    moments.reach(f"sqlite {re.split('[(=]', statement)[0].strip()}"[:60])
                return super().execute(statement, *values)

            def executescript(self, script: str) -> sqlite3.Cursor:
                moments.reach("sqlite script")
                return super().executescript(script)

        return lambda *words, **named: connect(*words, **{"factory": Counted, **named})


def name_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").partition(":[")[0]  # noqa: PTH115 - as quick as can be
    except OSError:
        return "?"


def shown(event: str, arguments: tuple[Any, ...]) -> str:
    first = arguments[0]
    if event == "subprocess.Popen":
        return Path(os.fsdecode(first)).name
    return name_of(first) if isinstance(first, int) else os.fsdecode(first)


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL was survived")


def main() -> None:
    moment, torn, log, *words = sys.argv[1:]
    sys.path[0] = str(Path(__file__).parents[1])
    from opsascode.__main__ import main as command  # noqa: PLC0415 - after the path is set

    sys.argv = [shutil.which("opsascode") or "opsascode", *words]
    Moments(moment, torn=bool(int(torn)), log=Path(log)).watch()
    command()


if __name__ == "__main__":
    main()
