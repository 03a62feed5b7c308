"""What has a run done so far, for whoever has to go on with it?

A run writes one line when a start of Ansible begins and one when it ended, and one for each answer of people. Whoever
comes later (the same run after a wait, a resume, an undo, the closing of a run whose controller was killed) replays
these lines and the journals they name.

Not here: what follows from it (`_conduct`, `_recover`); the records that are sealed (`_record`).
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from opsascode.errors import LedgerError
from opsascode.repo import PlaybookStep, RoleStep, TaskStep
from opsascode.run._compose import FlatStep
from opsascode.run._journal import read_journal
from opsascode.run._record import AskRecord, Phase, StageRecord
from opsascode.run._results import Results
from opsascode.run._stage import JOURNAL_NAME
from opsascode.run._sweep import leftovers
from opsascode.run._verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opsascode.run._compose import Binding

TRAIL_FILE: Final = "stages.jsonl"
_INCLUDES: Final = re.compile(r"(?:ansible\.(?:builtin|legacy)\.)?(?:include|import)_(?:tasks|role)|block")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBegun:
    """A start of Ansible that is about to be made."""

    phase: Phase
    stage: str
    wave: int
    hosts: tuple[str, ...]
    playbook: str

    @property
    def directory(self) -> str:
        """The name of its directory in the run's."""
        return f"{self.phase.value}-{self.stage}"


class Trail:
    """The lines of one run; each is durable before what it says is done."""

    def __init__(self, directory: Path) -> None:
        """Use the file in the run's directory, made with the first line."""
        self._path = directory / TRAIL_FILE

    def begin(self, begun: StageBegun) -> None:
        """Write that Ansible is about to be started."""
        about = {"phase": begun.phase.value, "stage": begun.stage, "wave": begun.wave}
        self._add({"event": "begin", **about, "hosts": list(begun.hosts), "playbook": begun.playbook})

    def end(self, record: StageRecord) -> None:
        """Write how a start of Ansible ended."""
        self._add({"event": "end", **record.to_json()})

    def ask(self, stage: str) -> None:
        """Write that people are being asked, and nothing of the run is under way."""
        self._add({"event": "ask", "stage": stage})

    def answer(self, answer: AskRecord, entry: int) -> None:
        """Write what people answered, and the ledger entry that says so."""
        self._add({"event": "answer", "entry": entry, **answer.to_json()})

    def _add(self, fields: dict[str, object]) -> None:
        line = json.dumps(fields, separators=(",", ":")).encode() + b"\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.write(descriptor, line)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)


@dataclass(slots=True)
class Replay:
    """What a run did, folded from its trail and journals.

    `entries` are the ledger entries of the answers. `broken` is the stage that began and has no end: its controller was
    killed. `waiting` is the stage of the question
    that was not answered yet. `marks` are (host, mark of the task's processes) of what may still run there.
    """

    results: Results
    stages: list[StageRecord] = field(default_factory=list)
    answers: list[AskRecord] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    broken: StageBegun | None = None
    waiting: str | None = None
    marks: list[tuple[str, str]] = field(default_factory=list)
    in_doubt: list[tuple[str, str]] = field(default_factory=list)


def replay(directories: Sequence[Path], run: str, *, single: frozenset[str] = frozenset()) -> Replay:
    """Read what a run did out of its directory, or several that went on from each other, the oldest first.

    `single` are the steps that are one task.

    Raises:
        LedgerError: a journal is not the one whose end was written down.
    """
    found = Replay(results=Results(run, single))
    for directory in directories:
        _replay_one(found, directory)
    return found


def single_steps(flats: Sequence[FlatStep | Binding]) -> frozenset[str]:
    """Give the steps that are one Ansible task, whose result on a host is therefore the end of the step there."""
    return frozenset(
        flat.id
        for flat in flats
        if isinstance(flat, FlatStep)
        and not flat.step.outputs
        and not isinstance(flat.step.action, (RoleStep, PlaybookStep))
        and not (isinstance(flat.step.action, TaskStep) and _INCLUDES.fullmatch(flat.step.action.module))
    )


def _replay_one(found: Replay, directory: Path) -> None:
    for fields in _lines(directory / TRAIL_FILE):
        match fields["event"]:
            case "begin":
                found.broken, found.waiting = _begun(fields), None
            case "end":
                _take_stage(found, directory, _ended(fields))
            case "ask":
                found.waiting = str(fields["stage"])
            case "answer":
                found.waiting = None
                found.answers.append(_answer(fields))
                found.entries.append(fields["entry"])
            case _:
                pass
    if found.broken:
        _take_broken(found, directory, found.broken)


def _take_stage(found: Replay, directory: Path, record: StageRecord) -> None:
    """Fold in a stage that came to its end."""
    begun, found.broken = found.broken, None
    hosts = begun.hosts if begun else ()
    if record.journal and _fold(found, directory / record.directory / JOURNAL_NAME, hosts) != record.journal:
        raise LedgerError(f"the journal of stage {record.directory} is not the one that was written down")
    found.stages.append(record)
    if record.outcome in {Outcome.CANCELED.value, Outcome.INDETERMINATE.value}:
        found.in_doubt.extend(found.results.in_doubt())


def _take_broken(found: Replay, directory: Path, begun: StageBegun) -> None:
    """Fold in a stage that was cut short: as much as its journal has."""
    place = directory / begun.directory / JOURNAL_NAME
    digest = _fold(found, place, begun.hosts) if place.is_file() else ""
    found.in_doubt.extend(found.results.in_doubt())
    found.stages.append(
        StageRecord(
            phase=begun.phase,
            stage=begun.stage,
            wave=begun.wave,
            playbook=begun.playbook,
            journal=digest,
            outcome=Outcome.INDETERMINATE.value,
            reason="the process that watched over it was killed",
        )
    )


def _fold(found: Replay, journal: Path, hosts: tuple[str, ...]) -> str:
    found.results.begin(hosts)
    events, proven = read_journal(journal)
    for event in events:
        found.results.add(event)
    found.marks.extend(leftovers(journal.parent))
    return proven.digest


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Give the lines that were written whole."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.split(b"\n")[:-1]:
        yield json.loads(line)


def _begun(fields: dict[str, Any]) -> StageBegun:
    return StageBegun(
        phase=Phase(fields["phase"]),
        stage=fields["stage"],
        wave=fields["wave"],
        hosts=tuple(fields["hosts"]),
        playbook=fields["playbook"],
    )


def _ended(fields: dict[str, Any]) -> StageRecord:
    return StageRecord(
        phase=Phase(fields["phase"]),
        stage=fields["stage"],
        wave=fields["wave"],
        playbook=fields["playbook"],
        journal=fields["journal"],
        outcome=fields["outcome"],
        reason=fields["reason"],
    )


def _answer(fields: dict[str, Any]) -> AskRecord:
    return AskRecord(
        stage=fields["stage"],
        kind=fields["kind"],
        step=fields["step"],
        granted=fields["granted"],
        by=tuple(fields["by"]),
        approvals=tuple(fields["approvals"]),
        note=fields["note"],
        at=datetime.fromisoformat(fields["at"]),
    )
