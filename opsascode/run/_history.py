"""What was run before? Past runs, folded from the ledger.

The ledger is the only memory: a run is known by its records (`run-start`, `run-ask`, `run-end`, `run-prune`). Lists
come from a table folded from them (`_history_index`); a run shown by itself is read from the ledger, its signatures
verified.

Not here: whether the ledger itself is whole (`proof.verify_ledger`), the files of a run (`_history_files`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from opsascode.errors import OpsError, UsageError
from opsascode.run._history_files import PLAN_FILE, RECEIPT_FILE, read_files
from opsascode.run._history_index import INDEX_NAME, RunIndex
from opsascode.run._state import LATEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from opsascode.proof import Json, LedgerReader
    from opsascode.run._history_files import RunFiles
    from opsascode.run._history_index import Row
    from opsascode.run._state import State

UNFINISHED: Final = "unfinished"
RUNNING: Final = "running"
WAITING: Final = "waiting"
_LIVES: Final = {"queued": RUNNING, "running": RUNNING, "waiting": WAITING}
_SHORTEST_PREFIX: Final = 4
_LARGEST_FAMILY: Final = 100
_COLUMNS: Final = (
    "run.id, run.run, runbook, mode, user, machine, cause, run.hosts, continues, undoes, started, last, "
    "run.outcome, ended, milliseconds, pruned, named"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run as a line of a list; `outcome` is `unfinished` without an end record, `mode` run, check or undo."""

    run: str
    runbook: str
    mode: str
    outcome: str
    started: datetime
    ended: datetime | None
    seconds: float | None
    hosts: int
    user: str
    machine: str
    trigger: str
    continues: str | None
    undoes: str | None
    pruned: datetime | None
    start_index: int
    end_index: int | None

    @property
    def is_prediction(self) -> bool:
        """Whether nothing was to be changed."""
        return self.mode == "check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which runs are asked for; `host` is a name, or a pattern with `*` and `?`; at most `number`, the newest."""

    runbook: str | None = None
    host: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run as its records tell it; `end` is `None` while it runs, and after a crash."""

    run: str
    start: Mapping[str, Json]
    end: Mapping[str, Json] | None
    start_index: int
    end_index: int | None
    asks: tuple[Mapping[str, Json], ...] = ()
    pruned: datetime | None = None

    def said(self, *path: str) -> Json:
        """Give what the start record says at a path, such as `runbook`, `name`; `None` when it says nothing there."""
        found: Json = dict(self.start)
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        return found

    @property
    def runbook(self) -> str:
        """The runbook's name."""
        return str(self.said("runbook", "name"))

    @property
    def mode(self) -> str:
        """What it was for: run, check (a prediction) or undo (of an earlier run)."""
        return str(self.said("mode") or "run")

    @property
    def outcome(self) -> str:
        """How it ended; `unfinished` without an end record."""
        return str(self.end["outcome"]) if self.end else UNFINISHED

    @property
    def started(self) -> datetime:
        """When it began."""
        return datetime.fromisoformat(str(self.start["started"]))

    @property
    def ended(self) -> datetime | None:
        """When it ended."""
        return datetime.fromisoformat(str(self.end["ended"])) if self.end else None

    @property
    def hosts(self) -> int:
        """How many hosts it was planned for."""
        number = self.said("targets", "hosts")
        return number if isinstance(number, int) else 0


class History:
    """The past runs of one ledger."""

    def __init__(
        self,
        state: State,
        ledger: LedgerReader,
        *,
        indexed: bool = False,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """Read from this ledger; `indexed`: keep a table of it in the state directory.

        Without a table every record is verified when the history is first asked. With a clock, runs whose controller
        is gone are told from those under way.
        """
        self._state, self._ledger, self._indexed, self._clock = state, ledger, indexed, clock
        self._opened: RunIndex | None = None
        self._lost: frozenset[str] | None = None

    @property
    def _index(self) -> RunIndex:
        if self._opened is None:
            place = self._state.directory / INDEX_NAME if self._indexed else None
            self._opened = RunIndex.open(place, self._ledger, self._state.run_directory)
        return self._opened

    def runs(self) -> tuple[PastRun, ...]:
        """Give all runs with their records, oldest first.

        Raises:
            LedgerError: an entry is not what was signed.
        """
        return self.read(self.list(Query())[::-1])

    def list(self, query: Query) -> tuple[RunSummary, ...]:
        """Give the runs that are asked for, the newest first; those without an end record are looked up in `_life`.

        Raises:
            LedgerError: a new entry is not what was signed, or the table and the ledger cannot be brought together.
        """
        alive = query.outcome in {RUNNING, WAITING}
        conditions, values = _conditions(query)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        limit = "" if query.number is None or alive else f" LIMIT {query.number:d}"
        rows = self._index.rows(f"SELECT {_COLUMNS} FROM run{where} ORDER BY run.id DESC{limit}", *values)  # noqa: S608 - values are bound
        found = tuple(_summary(row, self.life) for row in rows)
        return tuple(each for each in found if each.outcome == query.outcome)[: query.number] if alive else found

    def hosts_unknown(self) -> int:
        """Count the runs whose hosts nobody knows any more: neither plan nor results are there as recorded."""
        return next(int(row[0]) for row in self._index.rows("SELECT count(*) FROM run WHERE NOT named"))

    def finished(self) -> Iterator[tuple[str, str, str, float]]:
        """Give runbook, mode, outcome and seconds of each run that ended, shortest first."""
        question = "SELECT runbook, mode, outcome, milliseconds FROM run WHERE last IS NOT NULL ORDER BY milliseconds"
        for runbook, mode, outcome, milliseconds in self._index.rows(question):
            yield runbook, mode, outcome, milliseconds / 1000

    def tally(self, *, mode: str = "run") -> dict[str, int]:
        """Count the runs of each runbook, ended or not."""
        question = "SELECT runbook, count(*) FROM run WHERE mode = ? GROUP BY runbook"
        return dict(self._index.rows(question, mode))

    def last_of_each(self, *, mode: str = "run") -> tuple[RunSummary, ...]:
        """Give the last run of each runbook."""
        newest = "SELECT max(id) FROM run WHERE mode = ? GROUP BY runbook"
        rows = self._index.rows(f"SELECT {_COLUMNS} FROM run WHERE id IN ({newest}) ORDER BY runbook", mode)  # noqa: S608 - constants
        return tuple(_summary(row, self.life) for row in rows)

    def find(self, name: str) -> PastRun:
        """Find a run by its id, an unambiguous beginning of it, or `latest`.

        Raises:
            UsageError: no run, or several, are meant.
            LedgerError: its records are not what was signed.
        """
        return self.read((self.summary(name),))[0]

    def summary(self, name: str) -> RunSummary:
        """Find a run as `find` does, without reading its records."""
        if name == LATEST:
            matches = self.list(Query(number=1))
        else:
            begins = name if len(name) >= _SHORTEST_PREFIX else "\0"
            question = f"SELECT {_COLUMNS} FROM run WHERE run = ? OR substr(run, 1, ?) = ?"  # noqa: S608 - constants
            order = "ORDER BY run <> ?, id LIMIT 6"
            rows = self._index.rows(f"{question} {order}", name, len(begins), begins, name)
            matches = tuple(_summary(row, self.life) for row in rows)
        if matches and (len(matches) == 1 or matches[0].run == name):
            return matches[0]
        if matches:
            ids = ", ".join(past.run for past in matches[:5])
            raise UsageError(f"«{name}» is the beginning of several runs: {ids}", advice="give more of the id")
        raise UsageError(f"no run «{name}» is recorded here", advice="`opsascode runs list` shows the ids")

    def read(self, summaries: Iterable[RunSummary]) -> tuple[PastRun, ...]:
        """Give runs with their records, each one's signature verified.

        Raises:
            LedgerError: an entry is not what was signed.
        """
        chosen = tuple(summaries)
        asks = {each.run: self._asks(each.run) for each in chosen}
        wanted = {index for each in chosen for index in (each.start_index, each.end_index, *asks[each.run])}
        found = {
            logged.index: logged.record.statement.predicate
            for logged in self._ledger.pick([index for index in wanted if index is not None])
        }
        return tuple(
            PastRun(
                run=each.run,
                start=found[each.start_index],
                end=None if each.end_index is None else found[each.end_index],
                start_index=each.start_index,
                end_index=each.end_index,
                asks=tuple(found[index] for index in asks[each.run]),
                pruned=each.pruned,
            )
            for each in chosen
        )

    def unfinished(self) -> tuple[PastRun, ...]:
        """Give the runs without an end record, oldest first.

        Raises:
            LedgerError: an entry is not what was signed.
        """
        return self.read(self.list(Query(outcome=UNFINISHED))[::-1])

    def family(self, run: str) -> tuple[RunSummary, ...]:
        """Give the runs that this one continues, itself, those that continue it or take it back, oldest first."""
        found: dict[str, RunSummary] = {}
        pending = [run]
        while pending and len(found) < _LARGEST_FAMILY:
            name = pending.pop()
            question = f"SELECT {_COLUMNS} FROM run WHERE run = ? OR continues = ? OR undoes = ?"  # noqa: S608 - constants
            for row in self._index.rows(question, name, name, name):
                each = _summary(row, self.life)
                if each.run not in found:
                    found[each.run] = each
                    pending += [link for link in (each.run, each.continues, each.undoes) if link]
        return tuple(sorted(found.values(), key=lambda each: each.start_index))

    def _asks(self, run: str) -> tuple[int, ...]:
        return tuple(row[0] for row in self._index.rows("SELECT entry FROM ask WHERE run = ? ORDER BY entry", run))

    def life(self, run: str) -> str:
        """Say what a run without an end record is doing: `running`, `waiting`, or `unfinished` when nobody runs it."""
        try:
            dispatcher = self._state.dispatcher()
            if self._lost is None:
                self._lost = frozenset(
                    each.run for each in (dispatcher.abandoned(self._clock()) if self._clock else ())
                )
            life = None if run in self._lost else dispatcher.subscribe(run)
        except OpsError:  # a store that cannot be used says nothing of any run; the records still do
            return UNFINISHED
        return _LIVES.get(life.state.value, UNFINISHED) if life else UNFINISHED

    def directory(self, past: PastRun | RunSummary) -> Path:
        """Give the directory of a run's files."""
        return self._state.run_directory(past.run)

    def plan(self, past: PastRun) -> Path:
        """Give the place of a run's plan."""
        return self.directory(past) / PLAN_FILE

    def receipt(self, past: PastRun) -> Path:
        """Give the place of a run's receipt."""
        return self.directory(past) / RECEIPT_FILE

    def files(self, past: PastRun) -> RunFiles:
        """Read a run's files and hold each against the digest in its records."""
        return read_files(self.directory(past), past.start, past.end, past.pruned)


def _conditions(query: Query) -> tuple[list[str], list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    if query.runbook is not None:
        conditions.append("runbook = ?")
        values.append(query.runbook)
    if query.host is not None:
        touched = "SELECT touched.run FROM touched JOIN host ON host.id = touched.host WHERE host.name GLOB ?"
        conditions.append(f"run.id IN ({touched})")
        values.append(query.host)
    if query.outcome in {UNFINISHED, RUNNING, WAITING}:
        conditions.append("last IS NULL")
    elif query.outcome is not None:
        conditions.append("run.outcome = ?")
        values.append(query.outcome)
    if query.since is not None:
        conditions.append("started >= ?")
        values.append(_as_recorded(query.since))
    return conditions, values


def _as_recorded(moment: datetime) -> str:
    from opsascode.run._record import timestamp  # noqa: PLC0415 - one place knows how moments are written

    return timestamp(moment)


def _summary(row: Row, life: Callable[[str], str]) -> RunSummary:
    (index, run, runbook, mode, user, machine, cause, hosts, continues, undoes, *rest) = row
    started, last, outcome, ended, milliseconds, pruned, _ = rest
    return RunSummary(
        run=run,
        runbook=runbook,
        mode=mode,
        outcome=life(run) if last is None else outcome,
        started=datetime.fromisoformat(started),
        ended=datetime.fromisoformat(ended) if ended else None,
        seconds=None if milliseconds is None else milliseconds / 1000,
        hosts=hosts,
        user=user,
        machine=machine,
        trigger=cause,
        continues=continues,
        undoes=undoes,
        pruned=datetime.fromisoformat(pruned) if pruned else None,
        start_index=index,
        end_index=last,
    )
