"""How is the file that holds the lives of runs opened, made, kept whole and replaced?

The only room that speaks to SQLite for the life of runs. Rules:

- The file is 0600 and appears complete under its name. It is made, and a damaged one set aside, under a lock.
- Work is done in one transaction. Where it finds the file damaged, or not ours, it is done again on a new one.
- Whoever has a file open that is no longer the one under that name notices before each piece of work.
- Write-ahead logging where only this machine can reach the file (measured: 0.02 ms a write instead of 0.09 to 1.3, and
  no reader waits); SQLite's ordinary journal elsewhere, for the former needs shared memory.

Not here: what is written (`_local`).
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import stat
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar
from urllib.parse import quote

from opsascode.run._life import LifeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Database: TypeAlias = sqlite3.Connection
Answer = TypeVar("Answer")

VERSION: Final = 1
_PATIENCE_MS: Final = 5000
_IMPATIENCE_MS: Final = 100
_DAMAGED: Final = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_NOTADB,
    }
)
_UNREACHABLE: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
_ATTEMPTS: Final = 3
_BESIDE: Final = ("-wal", "-shm", "-journal")
_OF_ONE_MACHINE: Final = frozenset(
    {"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "reiserfs", "tmpfs", "xfs", "zfs"}
)
_TABLES: Final = f"""
CREATE TABLE run (
  run TEXT PRIMARY KEY, state TEXT NOT NULL, epoch INTEGER NOT NULL, about TEXT NOT NULL, holder TEXT, cancel TEXT,
  submitted TEXT NOT NULL, changed TEXT NOT NULL, token TEXT NOT NULL, clock TEXT NOT NULL, deadline REAL NOT NULL,
  beats INTEGER NOT NULL
);
CREATE INDEX run_under_way ON run (state) WHERE state IN ('queued', 'running');
CREATE TABLE late (
  number INTEGER PRIMARY KEY, run TEXT, epoch INTEGER, token TEXT, write TEXT, state TEXT, at TEXT,
  UNIQUE (run, epoch, token, write, state)
);
CREATE TABLE sighting (
  run TEXT PRIMARY KEY, epoch INTEGER, token TEXT, beats INTEGER, clock TEXT, seen REAL
);
PRAGMA user_version = {VERSION};
"""


class DamagedError(Exception):
    """The file is not one of ours."""


class LifeFile:
    """One file, opened when it is first needed; for any number of threads."""

    def __init__(self, place: Path) -> None:
        """Use the file `place`."""
        self._place = place
        self._database: Database | None = None
        self._inode: tuple[int, int] | None = None
        self._mutex = threading.RLock()

    def close(self) -> None:
        """Let go of the file."""
        with self._mutex:
            if self._database is not None:
                self._database.close()
            self._database = self._inode = None

    def __del__(self) -> None:
        self.close()

    def read(self, work: Callable[[Database], Answer]) -> Answer | None:
        """Ask the file; `None` when there is none, or none that can be read from here.

        Raises:
            LifeError: it is of a newer version, or kept by another process for too long.
        """

        def asking() -> Answer | None:
            database = self._opened()
            return None if database is None else work(database)

        with self._mutex:
            try:
                return self._on_whole_file(asking)
            except sqlite3.Error as error:
                if _code(error) in _UNREACHABLE:
                    return None
                raise self._unusable(str(error)) from error

    def write(self, work: Callable[[Database], Answer], *, patiently: bool = True) -> Answer:
        """Do the work in one transaction, all of it or nothing.

        Raises:
            LifeError: the file cannot be written, is of a newer version, or is kept by another process for too long.
        """

        def writing() -> Answer:
            database = self._opened() or self._made()
            database.execute(f"PRAGMA busy_timeout = {_PATIENCE_MS if patiently else _IMPATIENCE_MS:d}")
            database.execute("BEGIN IMMEDIATE")
            try:
                answer = work(database)
                database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
                raise
            return answer

        with self._mutex:
            try:
                return self._on_whole_file(writing)
            except sqlite3.Error as error:
                raise self._unusable(str(error)) from error
            except OSError as error:
                raise self._unusable(error.strerror or str(error)) from error

    def _on_whole_file(self, work: Callable[[], Answer]) -> Answer:
        """Do the work; on a new file when this one is damaged."""
        for _ in range(_ATTEMPTS):
            try:
                return work()
            except DamagedError:
                self._set_aside()
            except sqlite3.Error as error:
                if _code(error) not in _DAMAGED:
                    raise
                self._set_aside()
        raise self._unusable("it is damaged again and again")

    # Opening, making and replacing.

    def _opened(self) -> Database | None:
        """Give the file that has the name now, `None` when there is none."""
        inode = _inode(self._place)
        if inode != self._inode:
            self.close()
        if inode is None:
            return None
        if self._database is None:
            self._inode = inode
            place = f"file:{quote(str(self._place))}?mode=rw"
            patience = _PATIENCE_MS / 1000
            database = sqlite3.connect(place, uri=True, timeout=patience, isolation_level=None, check_same_thread=False)
            try:
                self._check_version(database)
            except BaseException:
                database.close()
                raise
            self._database = database
        return self._database

    def _check_version(self, database: Database) -> None:
        database.execute("PRAGMA synchronous = NORMAL")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            advice = "use that version, or remove the file when nothing runs; the ledger stays as it is"
            raise LifeError(f"{self._place} was written by a newer version of opsascode", advice=advice)
        if version < VERSION:
            raise DamagedError

    def _made(self) -> Database:
        """Make the file, unless somebody just did, and open it."""
        self._place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            if _inode(self._place) is None:
                draft = self._place.with_name(f".{self._place.name}.draft")
                draft.unlink(missing_ok=True)
                _remove_beside(draft)
                _remove_beside(self._place)
                os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
                _fill(draft)
                draft.rename(self._place)
        database = self._opened()
        if database is None:
            raise self._unusable("it vanishes as soon as it is made")
        return database

    def _set_aside(self) -> None:
        """Give the damaged file another name, unless somebody did; what is beside it must not be taken for the next."""
        inode = self._inode or _inode(self._place)
        self.close()
        with suppress(OSError), self._alone():
            if inode is not None and _inode(self._place) == inode:
                self._place.replace(self._place.with_name(f"{self._place.name}.damaged"))
                _remove_beside(self._place)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._place.with_name(f"{self._place.name}.lock"), flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _unusable(self, why: str) -> LifeError:
        advice = f"is there space, and may {self._place.parent} be written? The file may be removed when nothing runs"
        return LifeError(f"{self._place}, which says which runs are under way, cannot be used: {why}", advice=advice)


def on_this_machine_only(directory: Path) -> bool:
    """Whether no other machine can reach the directory, as far as the kind of its file system says."""
    wanted = os.path.realpath(directory)
    best, kind = "", ""
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
            fields, _, rest = line.partition(" - ")
            point = _unescaped(fields.split(" ")[4])
            covers = wanted == point or wanted.startswith(point.rstrip("/") + "/")
            if covers and len(point) >= len(best):  # of several on one point the last is on top
                best, kind = point, rest.split(" ")[0]
    return kind in _OF_ONE_MACHINE


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _remove_beside(place: Path) -> None:
    """Remove what SQLite would take for the rest of a file of that name."""
    for ending in _BESIDE:
        place.with_name(place.name + ending).unlink(missing_ok=True)


def _fill(draft: Path) -> None:
    """Make a whole file under a name nobody knows."""
    database = sqlite3.connect(draft, isolation_level=None)
    try:
        if on_this_machine_only(draft.parent):
            database.execute("PRAGMA journal_mode = WAL")
        database.executescript(_TABLES)
    finally:
        database.close()


def _inode(place: Path) -> tuple[int, int] | None:
    try:
        found = place.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise LifeError(f"{place} is no regular file")
    return found.st_dev, found.st_ino


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
