"""What did each host say in a run, word for word?

The journal holds the beginning of what a host gave; the whole text lies beside it, named by its digest, when it was
longer. A text is believed when its bytes have the digest that the journal names, and a journal when the record names
its digest; journals of a run under way are not sealed yet.

Not here: showing it without harm (`cli`), how it comes into a journal (`ansible/`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.proof import sha256_digest
from opsascode.run._follow import Follower, StageSeen
from opsascode.run._journal import HostResult, TaskStarted, read_journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from opsascode.run._history_files import PastStage
    from opsascode.run._journal import Evidence

_TEXTS_DIRECTORY: Final = "texts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What one host gave in one task; `texts` is where longer texts of its stage lie."""

    phase: str
    stage: str
    task: str
    result: HostResult
    texts: Path

    def whole(self, evidence: Evidence) -> bytes | None:
        """Give all of a text; `None` when only its beginning was kept, or what lies there is not what was said."""
        beginning = evidence.text.encode(errors="surrogateescape")
        if _is_of(beginning, evidence):
            return beginning
        try:
            descriptor = os.open(self.texts / _bare(evidence.sha256), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                data = file.read()
        except OSError:
            return None
        return data if _is_of(data, evidence) else None


def spoken(stages: Iterable[PastStage]) -> Iterator[Spoken]:
    """Give what was said in the stages of a run that ended, as far as their journals are there as recorded."""
    for stage in stages:
        if stage.journal is None:
            continue
        tasks: dict[str, str] = {}
        events, _ = read_journal(stage.journal)
        for event in events:
            if isinstance(event, TaskStarted):
                tasks[event.task] = event.name
            elif isinstance(event, HostResult):
                yield Spoken(
                    phase=stage.phase,
                    stage=stage.stage,
                    task=tasks.get(event.task, ""),
                    result=event,
                    texts=stage.directory / _TEXTS_DIRECTORY,
                )


def spoken_so_far(directory: Path) -> Iterator[Spoken]:
    """Give what was said so far in a run under way; nothing of it is sealed."""
    tasks: dict[str, str] = {}
    phase = stage = ""
    follower = Follower(directory)
    try:
        for sight in follower.look():
            match sight:
                case StageSeen():
                    phase, stage = sight.phase, sight.stage
                case TaskStarted():
                    tasks[sight.task] = sight.name
                case HostResult():
                    texts = directory / f"{phase}-{stage}" / _TEXTS_DIRECTORY
                    name = tasks.get(sight.task, "")
                    yield Spoken(phase=phase, stage=stage, task=name, result=sight, texts=texts)
                case _:
                    pass
    finally:
        follower.close()


def _is_of(data: bytes, evidence: Evidence) -> bool:
    return _bare(sha256_digest(data)) == _bare(evidence.sha256)


def _bare(digest: str) -> str:
    return digest.removeprefix("sha256:").replace("/", "")
