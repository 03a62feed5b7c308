"""What was run before? Past runs, folded from the ledger, and the files each left behind.

The ledger is the only memory: a run is known by its `run-start` and `run-end` records. What lies in a run's directory
(plan, results, journals, receipt) is looked up by the digests in those records and never believed without them.

Not here: whether the ledger itself is whole (`proof.verify_ledger`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from opsascode.errors import LedgerError, ProofError, UsageError
from opsascode.proof import Json, open_envelope, sha256_digest
from opsascode.run._perform import PLAN_FILE, RECEIPT_FILE, RESULTS_FILE
from opsascode.run._record import RUN_END, RUN_START
from opsascode.run._stage import JOURNAL_NAME
from opsascode.run._state import LATEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from opsascode.proof import LedgerReader, PublicKey
    from opsascode.run._state import State

_SHORTEST_PREFIX: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """One run as its records tell it; `end` is `None` while it runs, and after a crash."""

    run: str
    start: Mapping[str, Json]
    end: Mapping[str, Json] | None
    start_index: int
    end_index: int | None

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
    def outcome(self) -> str:
        """How it ended; `unfinished` without an end record."""
        return str(self.end["outcome"]) if self.end else "unfinished"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """The files of one run, and what is wrong with any of them, in sentences."""

    plan: bytes | None
    results: bytes | None
    faults: tuple[str, ...]


class History:
    """The past runs of one ledger."""

    def __init__(self, state: State, ledger: LedgerReader, keys: Sequence[PublicKey]) -> None:
        """Read from this ledger, believing these keys."""
        self._state, self._ledger, self._keys = state, ledger, keys

    def runs(self) -> tuple[PastRun, ...]:
        """Give all runs, oldest first.

        Raises:
            LedgerError: an entry is not what was signed.
        """
        found: dict[str, PastRun] = {}
        for index, kind, predicate in self._records():
            run = str(predicate.get("run"))
            if kind == RUN_START:
                found[run] = PastRun(run=run, start=predicate, end=None, start_index=index, end_index=None)
            elif kind == RUN_END and run in found:
                begun = found[run]
                found[run] = PastRun(
                    run=run, start=begun.start, end=predicate, start_index=begun.start_index, end_index=index
                )
        return tuple(found.values())

    def find(self, name: str) -> PastRun:
        """Find a run by its id, an unambiguous beginning of it, or `latest`.

        Raises:
            UsageError: no run, or several, are meant.
        """
        runs = self.runs()
        if name == LATEST and runs:
            return runs[-1]
        exact = [past for past in runs if past.run == name]
        close = [past for past in runs if len(name) >= _SHORTEST_PREFIX and past.run.startswith(name)]
        matches = exact or close
        if len(matches) == 1:
            return matches[0]
        if matches:
            ids = ", ".join(past.run for past in matches[:5])
            raise UsageError(f"«{name}» is the beginning of several runs: {ids}", advice="give more of the id")
        raise UsageError(f"no run «{name}» is recorded here", advice="`opsascode runs list` shows the ids")

    def directory(self, past: PastRun) -> Path:
        """Give the directory of a run's files."""
        return self._state.run_directory(past.run)

    def receipt(self, past: PastRun) -> Path:
        """Give the place of a run's receipt."""
        return self.directory(past) / RECEIPT_FILE

    def files(self, past: PastRun) -> RunFiles:
        """Read a run's files and hold each against the digest in its records."""
        directory = self.directory(past)
        faults: list[str] = []
        plan = _read(directory / PLAN_FILE, str(past.start["plan"]), faults)
        results = None
        if past.end:
            results = _read(directory / RESULTS_FILE, str(_part(past.end, "results")["digest"]), faults)
            for stage in _stages(past.end):
                place = directory / f"{stage['phase']}-{stage['wave']}" / JOURNAL_NAME
                _read(place, str(stage["journal"]), faults)
        return RunFiles(plan=plan, results=results, faults=tuple(faults))

    def _records(self) -> Iterator[tuple[int, str, Mapping[str, Json]]]:
        for index, envelope in enumerate(self._ledger.entries()):
            try:
                statement = open_envelope(envelope, self._keys).statement
            except ProofError as error:
                raise LedgerError(f"ledger entry {index} is not what was signed: {error.message}") from error
            yield index, statement.predicate_type, statement.predicate


def _read(path: Path, digest: str, faults: list[str]) -> bytes | None:
    name = f"{path.parent.name}/{path.name}"
    try:
        data = path.read_bytes()
    except OSError as error:
        faults.append(f"{name} cannot be read: {error.strerror}")
        return None
    if sha256_digest(data) != digest:
        faults.append(f"{name} has been changed: its digest is not the one in the record")
        return None
    return data


def _part(predicate: Mapping[str, Json], key: str) -> dict[str, Json]:
    value = predicate.get(key)
    return value if isinstance(value, dict) else {}


def _stages(end: Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    stages = end.get("stages")
    for stage in stages if isinstance(stages, list) else ():
        if isinstance(stage, dict):
            yield stage
