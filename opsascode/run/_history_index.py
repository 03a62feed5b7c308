"""Which runs are there, without reading the whole ledger again?

A table of all runs beside the ledger, folded from it. Each time it is opened, only the entries it has not seen are read
and verified, and what it saw and what is new must lead to the signed root together; where they do not, it is thrown
away and made again. Deleting it loses nothing. Hosts come from the plan and the results that the records name by
digest.

Its rows are believed: who can write the user's own files can make a list lie, but neither a run shown by itself nor
`verify`, which read the records.

Not here: what a run's own files say (`_history_files`), and which questions people ask (`_history`).
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opsascode.errors import LedgerError, UsageError
from opsascode.proof import Bookmark
from opsascode.run._history_files import PLAN_FILE, RESULTS_FILE, read_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from opsascode.proof import Json, LedgerReader, LoggedRecord

    Row: TypeAlias = tuple[Any, ...]
    Said: TypeAlias = Mapping[str, Json]

INDEX_NAME: Final = "history.sqlite"
_VERSION: Final = 1
_WAIT_SECONDS: Final = 15.0
_MILLISECOND: Final = timedelta(milliseconds=1)
_RANK: Final = {"skipped": 0, "ok": 1, "changed": 2, "ignored": 3, "failed": 4, "unreachable": 5}
_TABLES: Final = """
CREATE TABLE bookmark (origin TEXT, size INTEGER, peaks BLOB, segment INTEGER, place INTEGER);
CREATE TABLE run (
  id INTEGER PRIMARY KEY, run TEXT UNIQUE, runbook TEXT, mode TEXT, user TEXT, machine TEXT, cause TEXT, plan TEXT,
  hosts INTEGER, continues TEXT, undoes TEXT, started TEXT,
  last INTEGER, outcome TEXT, ended TEXT, milliseconds INTEGER, results TEXT, pruned TEXT, named INTEGER DEFAULT 0
);
CREATE INDEX run_by_runbook ON run (runbook);
CREATE INDEX run_open ON run (id) WHERE last IS NULL;
CREATE TABLE ask (run TEXT, entry INTEGER, PRIMARY KEY (run, entry)) WITHOUT ROWID;
CREATE TABLE host (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE touched (host INTEGER, run INTEGER, outcome TEXT, PRIMARY KEY (host, run)) WITHOUT ROWID;
CREATE INDEX touched_by_run ON touched (run);
"""


class _StaleError(Exception):
    """The table is not of this ledger."""


class RunIndex:
    """The table of runs, as far as one ledger goes."""

    def __init__(self, database: sqlite3.Connection, directory_of: Callable[[str], Path]) -> None:
        """Use `open` instead."""
        self._database, self._directory_of = database, directory_of
        self._fresh: set[str] = set()

    @classmethod
    def open(cls, place: Path | None, ledger: LedgerReader, directory_of: Callable[[str], Path]) -> RunIndex:
        """Open the table and take in what is new in the ledger.

        With no place, or where it cannot be written, all of the ledger is read into memory.

        Raises:
            LedgerError: an entry does not verify, or the entries do not lead to the signed root.
        """
        for anew in (False, True) if place else ():
            try:
                return cls._updated(_connect(place, anew=anew), ledger, directory_of)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:  # another process is making it
                    break
            except (OSError, sqlite3.Error, _StaleError):
                continue
        return cls._updated(_created(sqlite3.connect(":memory:", isolation_level=None)), ledger, directory_of)

    @classmethod
    def _updated(
        cls, database: sqlite3.Connection, ledger: LedgerReader, directory_of: Callable[[str], Path]
    ) -> RunIndex:
        index = cls(database, directory_of)
        try:
            index._update(ledger)
        except BaseException:
            index.close()
            raise
        return index

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def __del__(self) -> None:
        self.close()

    def rows(self, question: str, *values: object) -> Iterator[Row]:
        """Ask the table."""
        with closing(self._database.execute(question, values)) as found:
            yield from found

    # Taking in what is new.

    def _update(self, ledger: LedgerReader) -> None:
        known = self._bookmark()
        if known and known.size == ledger.size:
            _unread(ledger, known)
            return
        with _writing(self._database):
            known = self._bookmark()
            try:
                unread = ledger.unread(known)
                for logged in unread:
                    self._fold(logged)
                for run in self._fresh:
                    self._name_hosts(run)
                self._keep(unread.bookmark())
            except LedgerError as error:
                if known:
                    raise _StaleError from error
                raise

    def _bookmark(self) -> Bookmark | None:
        for origin, size, peaks, segment, place in self.rows("SELECT * FROM bookmark"):
            return Bookmark(origin=origin, size=size, peaks=peaks, segment=segment, offset=place)
        return None

    def _keep(self, mark: Bookmark) -> None:
        values = (mark.origin, mark.size, mark.peaks, mark.segment, mark.offset)
        self._database.execute("DELETE FROM bookmark")
        self._database.execute("INSERT INTO bookmark VALUES (?, ?, ?, ?, ?)", values)

    def _fold(self, logged: LoggedRecord) -> None:
        said = logged.record.statement.predicate
        match logged.record.statement.kind:
            case "run-start":
                self._begin(logged.index, said)
            case "run-end":
                self._end(logged.index, said)
            case "run-ask":
                values = (_text(said, "run"), logged.index)
                self._database.execute("INSERT OR IGNORE INTO ask VALUES (?, ?)", values)
            case "run-prune":
                runs = said.get("runs")
                pruned = [(_text(said, "pruned"), run) for run in (runs if isinstance(runs, list) else ())]
                self._database.executemany("UPDATE run SET pruned = ? WHERE run = ? AND pruned IS NULL", pruned)
            case _:
                pass

    def _begin(self, index: int, said: Said) -> None:
        """Take in a start. The first of one name counts: the ledger allows no second."""
        hosts = _part(said, "targets").get("hosts")
        actor = _part(said, "actor")
        row = (
            index,
            _text(said, "run"),
            _text(_part(said, "runbook"), "name"),
            _text(said, "mode") or "run",
            _text(actor, "user"),
            _text(actor, "machine"),
            _text(said, "trigger"),
            _text(said, "plan"),
            hosts if isinstance(hosts, int) else 0,
            _text(said, "continues") or None,
            _text(said, "undoes") or None,
            _text(said, "started"),
        )
        columns = "id, run, runbook, mode, user, machine, cause, plan, hosts, continues, undoes, started"
        places = ", ".join("?" * len(row))
        self._database.execute(f"INSERT OR IGNORE INTO run ({columns}) VALUES ({places})", row)  # noqa: S608 - constants
        self._fresh.add(row[1])

    def _end(self, index: int, said: Said) -> None:
        run = _text(said, "run")
        took = datetime.fromisoformat(_text(said, "ended")) - datetime.fromisoformat(_text(said, "started"))
        digest = _text(_part(said, "results"), "digest")
        row = (index, _text(said, "outcome"), _text(said, "ended"), took // _MILLISECOND, digest, run)
        change = "UPDATE run SET last = ?, outcome = ?, ended = ?, milliseconds = ?, results = ?"
        self._database.execute(f"{change} WHERE run = ? AND last IS NULL", row)
        self._fresh.add(run)

    def _name_hosts(self, run: str) -> None:
        """Note which hosts a run touched, as its results say; which it was meant for, as long as there are none."""
        for number, plan, results in self.rows("SELECT id, plan, results FROM run WHERE run = ?", run):
            with suppress(UsageError):
                touched = _touched(self._directory_of(run), plan, results)
                if touched is None:
                    return
                self._database.execute("DELETE FROM touched WHERE run = ?", (number,))
                names = [(name,) for name in touched]
                self._database.executemany("INSERT OR IGNORE INTO host (name) VALUES (?)", names)
                self._database.executemany(
                    "INSERT OR IGNORE INTO touched SELECT id, ?, ? FROM host WHERE name = ?",
                    [(number, outcome, name) for name, outcome in touched.items()],
                )
                self._database.execute("UPDATE run SET named = 1 WHERE id = ?", (number,))


def _unread(ledger: LedgerReader, known: Bookmark) -> None:
    """Hold a table that has as many entries as the ledger against it."""
    try:
        ledger.unread(known).bookmark()
    except LedgerError as error:
        raise _StaleError from error


def _touched(directory: Path, plan: str, results: str | None) -> dict[str, str | None] | None:
    """Give hosts with how each ended; None when neither results nor plan are there as recorded."""
    data = read_named(directory / RESULTS_FILE, results) if results else None
    if data is not None:
        hosts = _part(json.loads(data), "hosts")
        return {name: _worst(steps) for name, steps in hosts.items()}
    data = read_named(directory / PLAN_FILE, plan)
    waves = json.loads(data).get("waves") if data is not None else None
    return {str(host): None for wave in waves for host in wave} if isinstance(waves, list) else None


def _worst(steps: Json) -> str:
    statuses = [_text(step, "status") for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    return max(statuses, key=lambda status: _RANK.get(status, 0), default="skipped")


def _part(said: Said, key: str) -> dict[str, Json]:
    value = said.get(key)
    return value if isinstance(value, dict) else {}


def _text(said: Said, key: str) -> str:
    value = said.get(key)
    return value if isinstance(value, str) else ""


def _connect(place: Path | None, *, anew: bool) -> sqlite3.Connection:
    """Open the file, made private to the user; `anew` throws away what is there.

    Raises:
        OSError: it cannot be made.
        sqlite3.Error: it is no database of ours.
    """
    if place is None:
        raise FileNotFoundError
    if anew:
        place.unlink(missing_ok=True)
    os.close(os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(place, timeout=_WAIT_SECONDS, isolation_level=None)
    try:
        return _created(database)
    except BaseException:
        database.close()
        raise


def _created(database: sqlite3.Connection) -> sqlite3.Connection:
    """Make the tables where there are none."""
    if _version(database) == 0:
        with _writing(database):
            if _version(database) == 0:
                for statement in _TABLES.split(";")[:-1]:
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {_VERSION}")
    if _version(database) != _VERSION:
        raise sqlite3.DatabaseError("a table of another version")
    return database


def _version(database: sqlite3.Connection) -> int:
    with closing(database.execute("PRAGMA user_version")) as found:
        return int(found.fetchone()[0])


@contextmanager
def _writing(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
