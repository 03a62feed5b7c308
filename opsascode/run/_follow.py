"""What is a run doing, that another process carries out?

Its trail says which starts of Ansible and which questions there were, the journals what happens in them; both are read
while they grow. What is read of a run under way is not sealed yet, and is for display only.

Not here: showing it (`cli`), and what a run did once it has to be relied on (`_trail.replay`).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from opsascode.run._asks import APPROVALS_DIRECTORY
from opsascode.run._history_files import JOURNAL_FILE, stage_directory, stage_name
from opsascode.run._journal import JournalReader
from opsascode.run._trail import TRAIL_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from opsascode.proof import Json
    from opsascode.run._journal import JournalEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSeen:
    """Ansible is about to be started for these hosts."""

    phase: str
    stage: str
    wave: int
    hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskSeen:
    """People are being asked."""

    stage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSeen:
    """People have answered."""

    stage: str
    granted: bool
    by: tuple[str, ...]
    note: str


Sight: TypeAlias = "StageSeen | AskSeen | AnswerSeen | JournalEvent"


class Follower:
    """Reads the trail and the journals of one run as they grow."""

    def __init__(self, directory: Path) -> None:
        """Begin with the run's first line."""
        self._directory = directory
        self._offset = 0
        self._place: Path | None = None
        self._journal = -1
        self._reader: JournalReader | None = None

    def look(self) -> Iterator[Sight]:
        """Give what happened since the last look, in order."""
        yield from self._events()
        for line in self._lines():
            yield from self._events()
            match line.get("event"):
                case "begin":
                    self.close()
                    self._place = self._directory / stage_directory(line) / JOURNAL_FILE
                    yield _stage_seen(line)
                    yield from self._events()
                case "ask":
                    yield AskSeen(stage=stage_name(line))
                case "answer":
                    yield _answer_seen(line)
                case _:
                    pass

    def close(self) -> None:
        """Let go of the journal under way."""
        if self._journal >= 0:
            os.close(self._journal)
        self._journal, self._reader, self._place = -1, None, None

    def _events(self) -> Iterator[JournalEvent]:
        if self._reader is None and self._place is not None:
            try:
                self._journal = os.open(self._place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                return
            self._reader = JournalReader(self._journal)
        if self._reader is not None:
            yield from self._reader.read()

    def _lines(self) -> Iterator[Mapping[str, Any]]:
        """Give the lines of the trail that are whole and new."""
        for line in _whole_lines(self._directory, self._offset):
            self._offset += len(line) + 1
            yield json.loads(line)


def _whole_lines(directory: Path, offset: int = 0) -> list[bytes]:
    try:
        with (directory / TRAIL_FILE).open("rb") as file:
            file.seek(offset)
            return file.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return []


def _stage_seen(line: Mapping[str, Any]) -> StageSeen:
    return StageSeen(
        phase=str(line.get("phase")),
        stage=stage_name(line),
        wave=int(line.get("wave") or 0),
        hosts=tuple(map(str, line.get("hosts") or ())),
    )


def _answer_seen(line: Mapping[str, Any]) -> AnswerSeen:
    return AnswerSeen(
        stage=stage_name(line),
        granted=line.get("granted") is True,
        by=tuple(map(str, line.get("by") or ())),
        note=str(line.get("note") or ""),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitsFor:
    """What a run waits for: `required` people must agree (`given` have sent something), or a manual step be done."""

    stage: str
    kind: str
    step: str
    title: str
    required: int
    role: str | None
    given: int

    def sentence(self) -> str:
        """Say it to a person."""
        if self.kind == "manual":
            return f"the manual step «{self.title}» to be confirmed"
        people = f"{self.required} {'person' if self.required == 1 else 'people'}"
        role = f" with the role {self.role}" if self.role else ""
        given = f" ({self.given} answered so far)" if self.given else ""
        return f"{people}{role} to approve «{self.title}»{given}"


def waits_for(directory: Path, plan: bytes | None) -> WaitsFor | None:
    """Tell what a run in this directory waits for, going by its plan; `None` when it asks nobody."""
    stage: str | None = None
    for line in map(json.loads, _whole_lines(directory)):
        stage = stage_name(line) if line.get("event") == "ask" else None
    if stage is None:
        return None
    ask = next((ask for ask in _asks(plan) if ask.get("stage") == stage), {})
    required, role = ask.get("required"), ask.get("role")
    return WaitsFor(
        stage=stage,
        kind=str(ask.get("kind") or "approval"),
        step=str(ask.get("step") or ""),
        title=str(ask.get("title") or f"stage {stage}"),
        required=required if isinstance(required, int) else 1,
        role=role if isinstance(role, str) else None,
        given=_given(directory),
    )


def _asks(plan: bytes | None) -> Iterator[Mapping[str, Json]]:
    stages = json.loads(plan).get("stages") if plan else None
    for stage in stages if isinstance(stages, list) else ():
        ask = stage.get("ask") if isinstance(stage, dict) else None
        if isinstance(ask, dict):
            yield ask


def _given(directory: Path) -> int:
    try:
        return sum(name.endswith(".json") for name in os.listdir(directory / APPROVALS_DIRECTORY))  # noqa: PTH208 - names are enough
    except OSError:
        return 0
