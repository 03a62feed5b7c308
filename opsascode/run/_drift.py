"""Which runbooks are not what was last reviewed, rehearsed or run?

Of each runbook there is the newest evidence: a run that succeeded, a prediction that succeeded (a rehearsal), people
who approved a run, or the applied pack where it holds the runbook. Where its file has other bytes now than that
evidence names, the runbook has drifted; where there is no evidence at all, it counts as drifted and says so. Evidence
of other machines counts as their records do.

What lies beside the file, such as roles, is not looked at here: a plan pins it, and a run takes it from the plan.

Not here: the applied pack against the branch, rules in Prometheus (the face puts them together).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from opsascode.repo import InvalidDocumentsError
from opsascode.run._packs import moment_of_record
from opsascode.run._record import RUN_ASK, RUN_END, RUN_START, Purpose
from opsascode.run._verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from opsascode.proof import Json, TeamRecord
    from opsascode.repo import Repository, Snapshot

DRIFT_RECORDS: Final = (RUN_START, RUN_ASK, RUN_END)
"""The kinds of records that are evidence of what a runbook was."""
DRIFT_TARGET: Final = 0.10
"""At most this share of the runbooks should have drifted."""


class EvidenceKind(Enum):
    """What a runbook's content was looked at for."""

    RUN = "run"
    REHEARSAL = "rehearsal"
    REVIEW = "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookEvidence:
    """What a runbook's file was, by the digest of its bytes, when it was run, rehearsed or reviewed; `by` names it."""

    kind: EvidenceKind
    at: datetime
    digest: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookDrift:
    """One runbook as it is now, and its newest evidence; `why` is empty where it has not drifted."""

    runbook: str
    path: str
    digest: str
    last: RunbookEvidence | None
    why: str

    @property
    def drifted(self) -> bool:
        """Whether it is not what was last looked at."""
        return bool(self.why)


def runbook_drift(
    repository: Repository, evidence: Mapping[str, Sequence[RunbookEvidence]], reviewed: Mapping[str, RunbookEvidence]
) -> tuple[RunbookDrift, ...]:
    """Compare every runbook of the work tree with its newest evidence, in the order of their names.

    `evidence` is by names of runbooks, `reviewed` by the paths of their files.
    """
    return tuple(_drift(repository, name, evidence.get(name, ()), reviewed) for name in repository.runbook_names())


def evidence_of(records: Iterable[TeamRecord]) -> dict[str, list[RunbookEvidence]]:
    """Collect evidence from records, by the names of runbooks.

    Raises:
        LedgerError: a record is not of its form.
    """
    found: dict[str, list[RunbookEvidence]] = {}
    runs: dict[str, tuple[str, str]] = {}
    for logged in records:
        said, kind = logged.record.statement.predicate, logged.record.statement.predicate_type
        run = str(said.get("run"))
        if kind == RUN_START:
            runs[run] = _runbook(said)
            continue
        name, digest = runs.get(run, ("", "")) if kind == RUN_ASK else _runbook(said)
        each = _of_ask(said) if kind == RUN_ASK else _of_end(said)
        if each is not None and digest:
            found.setdefault(name, []).append(RunbookEvidence(kind=each[0], at=each[1], digest=digest, by=f"run {run}"))
    return found


def reviewed_by_pack(applied: Snapshot, at: datetime) -> dict[str, RunbookEvidence]:
    """Take the files of an applied pack for reviewed, by their paths: people signed what is in it."""
    by = f"commit {applied.commit[:12]}"
    return {
        path: RunbookEvidence(kind=EvidenceKind.REVIEW, at=at, digest=file.digest, by=by)
        for path, file in applied.files.items()
    }


def _drift(
    repository: Repository, name: str, evidence: Sequence[RunbookEvidence], reviewed: Mapping[str, RunbookEvidence]
) -> RunbookDrift:
    path, digest, why = "", "", ""
    try:
        source = repository.runbook(name).source
        path, digest = source.path, source.digest
    except InvalidDocumentsError as error:
        path, why = error.problems[0].position.path, "it cannot be used: see opsascode check"
    every = [*evidence, *([reviewed[path]] if path in reviewed else [])]
    last = max(every, key=lambda each: each.at, default=None)
    if last is None:
        why = why or "never rehearsed, run or reviewed"
    elif last.digest != digest:
        why = why or f"changed since its last {last.kind.value}"
    return RunbookDrift(runbook=name, path=path, digest=digest, last=last, why=why)


def _of_end(said: Mapping[str, Json]) -> tuple[EvidenceKind, datetime] | None:
    """Take a run that succeeded for evidence, whether it changed anything or was a rehearsal; an undo is none."""
    if said.get("outcome") != Outcome.SUCCEEDED.value or said.get("mode") == Purpose.UNDO.value:
        return None
    kind = EvidenceKind.REHEARSAL if said.get("mode") == Purpose.CHECK.value else EvidenceKind.RUN
    return kind, moment_of_record(said.get("ended"))


def _of_ask(said: Mapping[str, Json]) -> tuple[EvidenceKind, datetime] | None:
    """Take people who approved a run for a review: they have looked at its plan."""
    if said.get("granted") is not True or said.get("kind") != "approval":
        return None
    return EvidenceKind.REVIEW, moment_of_record(said.get("at"))


def _runbook(said: Mapping[str, Json]) -> tuple[str, str]:
    about = said.get("runbook")
    if not isinstance(about, dict):
        return "", ""
    return str(about.get("name") or ""), str(about.get("digest") or "")
