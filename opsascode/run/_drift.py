"""Which runbooks are not what was last reviewed, rehearsed or run?

Of each runbook there is the newest evidence: a run that succeeded, a prediction that succeeded (a rehearsal), people
who approved a run, or the applied pack where it holds the runbook. What counts is the runbook's file and all else that
a plan of it pins of the repository's content: composed runbooks, settings, and the directories of roles, playbooks,
templates, files and variables, each as a whole. Policies and inventories are no content of a runbook. Where anything of
it has other bytes now, the runbook has drifted; where there is no evidence at all, it counts as drifted and says so.
Evidence of other machines counts as their records do.

A record may name the file alone: older ones do, and those of more content than fits. An applied pack knows what is
inside it; for what lies beside it the newest run counts. What nothing tells is said to be not compared: it is no drift.

Not here: the content as such (`_pinned`), the applied pack against the branch, rules in Prometheus (the face puts them
together).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from opsascode.repo import InvalidDocumentsError, PlaybookStep, RunbookStep, is_protected
from opsascode.run._content import ContentFile
from opsascode.run._packs import moment_of_record
from opsascode.run._pinned import Changed, Content, ContentNow
from opsascode.run._record import RUN_ASK, RUN_END, RUN_START, Purpose
from opsascode.run._verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from opsascode.proof import Json, TeamRecord
    from opsascode.repo import Repository, Runbook, Snapshot

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
    """What a runbook was when it was run, rehearsed or reviewed; `by` names it.

    `digest` is that of its file. `content` is all that its plan pinned, None where nothing tells; `commit` is the one
    the plan was made from, whether or not something was changed beside it.
    """

    kind: EvidenceKind
    at: datetime
    digest: str
    by: str
    path: str = ""
    content: Content | None = None
    commit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReview:
    """The applied pack as a review: people signed what is in it; `protected` says which paths that is about."""

    commit: str
    at: datetime
    files: Mapping[str, ContentFile]
    protected: tuple[str, ...]

    def covers(self, path: str) -> bool:
        """Tell whether the pack is about a path."""
        return is_protected(path, self.protected)

    def of_file(self, path: str) -> RunbookEvidence | None:
        """Take it for evidence of a runbook's file; None where it does not hold it."""
        file = self.files.get(path)
        return self.evidence(f"sha256:{file.digest}") if file else None

    def evidence(self, digest: str = "") -> RunbookEvidence:
        """Take it for evidence."""
        return RunbookEvidence(kind=EvidenceKind.REVIEW, at=self.at, digest=digest, by=f"commit {self.commit[:12]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunbookDrift:
    """One runbook as it is now, and its newest evidence; `why` is empty where it has not drifted.

    `differs` names the files, and `not_compared` says which part of the content no evidence tells anything about.
    """

    runbook: str
    path: str
    digest: str
    last: RunbookEvidence | None
    why: str
    differs: tuple[str, ...] = ()
    not_compared: str = ""

    @property
    def drifted(self) -> bool:
        """Whether it is not what was last looked at."""
        return bool(self.why)


def runbook_drift(
    repository: Repository, evidence: Mapping[str, Sequence[RunbookEvidence]], review: PackReview | None
) -> tuple[RunbookDrift, ...]:
    """Compare every runbook of the work tree with its newest evidence, in the order of their names.

    `evidence` is by names of runbooks.
    """
    names = repository.runbook_names()
    newest = {name: max(evidence[name], key=lambda each: each.at) for name in names if evidence.get(name)}
    commits = [each.commit for each in newest.values() if each.commit is not None and each.content is not None]
    look = _Look(repository, review, commits)
    return tuple(look.drift(name, newest.get(name)) for name in names)


def evidence_of(records: Iterable[TeamRecord]) -> dict[str, list[RunbookEvidence]]:
    """Collect evidence from records, by the names of runbooks.

    Raises:
        LedgerError: a record is not of its form.
    """
    found: dict[str, list[RunbookEvidence]] = {}
    started: dict[str, Mapping[str, Json]] = {}
    for logged in records:
        said, kind = logged.record.statement.predicate, logged.record.statement.predicate_type
        run = str(said.get("run"))
        if kind == RUN_START:
            started[run] = said
            continue
        each = _of_ask(said) if kind == RUN_ASK else _of_end(said)
        start = started.get(run, {})
        about = _object((start if kind == RUN_ASK else said).get("runbook"))
        if each is None or not about.get("digest"):
            continue
        commit = _object(start.get("repository")).get("commit")
        found.setdefault(str(about.get("name") or ""), []).append(
            RunbookEvidence(
                kind=each[0],
                at=each[1],
                digest=str(about["digest"]),
                by=f"run {run}",
                path=str(about.get("path") or ""),
                content=Content.of_json(start.get("content")),
                commit=commit if isinstance(commit, str) else None,
            )
        )
    return found


def reviewed_by_pack(applied: Snapshot, at: datetime, protected: Sequence[str]) -> PackReview:
    """Take an applied pack for a review of the files in it."""
    files = {
        path: ContentFile(mode=file.mode, digest=file.digest.removeprefix("sha256:"))
        for path, file in applied.files.items()
    }
    return PackReview(commit=applied.commit, at=at, files=files, protected=tuple(protected))


class _Look:
    """One look at all runbooks: whatever several of them share is read once."""

    def __init__(self, repository: Repository, review: PackReview | None, commits: Sequence[str]) -> None:
        self._repository, self._review = repository, review
        self._now = ContentNow(repository, commits)
        self._runbooks: dict[str, Runbook] = {}

    def drift(self, name: str, ran: RunbookEvidence | None) -> RunbookDrift:
        """Compare one runbook with its newest evidence: a run, or the applied pack."""
        try:
            runbook = self._runbook(name)
        except InvalidDocumentsError as error:
            path, why = error.problems[0].position.path, "it cannot be used: see opsascode check"
            return RunbookDrift(runbook=name, path=path, digest="", last=self._last(ran, path), why=why)
        path, digest = runbook.source.path, runbook.source.digest
        last = self._last(ran, path)
        if last is None:
            why = "never rehearsed, run or reviewed"
            return RunbookDrift(runbook=name, path=path, digest=digest, last=None, why=why)
        found = [(last, [Changed(path=path)] if last.digest != digest else []), *self._beside(runbook, ran)]
        return RunbookDrift(
            runbook=name,
            path=path,
            digest=digest,
            last=last,
            why="; ".join(_why(changes, since) for since, changes in _merged(found)),
            differs=tuple(each.path for _, changes in found for each in changes),
            not_compared=self._not_compared(runbook, ran),
        )

    def _last(self, ran: RunbookEvidence | None, path: str) -> RunbookEvidence | None:
        """Give the newest evidence of a runbook's file."""
        reviewed = self._review.of_file(path) if self._review else None
        return max(filter(None, (ran, reviewed)), key=lambda each: each.at, default=None)

    def _newer_review(self, ran: RunbookEvidence | None) -> PackReview | None:
        """Give the applied pack where it is newer than the newest run: a run saw what was applied before."""
        return self._review if self._review and (ran is None or self._review.at > ran.at) else None

    def _beside(self, runbook: Runbook, ran: RunbookEvidence | None) -> Iterator[tuple[RunbookEvidence, list[Changed]]]:
        """Name what lies beside a runbook's file and is not as it was, by the evidence that tells."""
        own, review = {runbook.source.path}, self._newer_review(ran)
        if review is not None:
            names = [each for each in self._names(runbook) if each not in own]
            found = self._now.changes_from(review.files, names, review.covers)
            yield review.evidence(), [each for each in found if each.path not in own]
        if ran is not None and ran.content is not None:
            others = [each for each in self._now.changes(ran.content) if each.path not in own | {ran.path}]
            yield ran, [each for each in others if not (review and self._now.is_covered(each.path, review.covers))]

    def _not_compared(self, runbook: Runbook, ran: RunbookEvidence | None) -> str:
        """Say which part of the content no evidence tells anything about; nothing where all of it was compared."""
        if ran is not None and ran.content is not None:
            return ""
        review = self._newer_review(ran)
        if review is None:
            return f"what lies beside its file: the record of {ran.by} does not name it" if ran else ""
        there = [each for each in self._names(runbook) if self._now.tree(each)]
        beside = [each for each in there if not self._now.is_covered(each, review.covers)]
        if not beside:
            return ""
        return f"what lies beside its file and outside of the applied pack, such as {beside[0]}: no record names it"

    def _names(self, runbook: Runbook) -> tuple[str, ...]:
        """Name the files and directories that a plan of a runbook may pin, whether or not they are there."""
        closure = {runbook.name: runbook}
        waiting = [runbook]
        while waiting:
            for step in waiting.pop().steps:
                if isinstance(step.action, RunbookStep) and step.action.name not in closure:
                    closure[step.action.name] = self._runbook(step.action.name)
                    waiting.append(closure[step.action.name])
        steps = [step.action for each in closure.values() for step in each.steps]
        playbooks = [each.path for each in steps if isinstance(each, PlaybookStep)]
        sources = (each.source.path for each in closure.values())
        return tuple(dict.fromkeys((*sources, *self._now.places(playbooks))))

    def _runbook(self, name: str) -> Runbook:
        if name not in self._runbooks:
            self._runbooks[name] = self._repository.runbook(name)
        return self._runbooks[name]


def _merged(
    found: Iterable[tuple[RunbookEvidence, list[Changed]]],
) -> list[tuple[RunbookEvidence, list[Changed]]]:
    """Put together what changed since the same kind of evidence."""
    kinds: dict[EvidenceKind, tuple[RunbookEvidence, list[Changed]]] = {}
    for since, changes in found:
        if changes:
            kinds.setdefault(since.kind, (since, []))[1].extend(changes)
    return list(kinds.values())


def _why(changes: Sequence[Changed], since: RunbookEvidence) -> str:
    """Say what changed: the first file by its name, and how many others."""
    more = f", and {len(changes) - 1} more" if len(changes) > 1 else ""
    return f"{changes[0]} since its last {since.kind.value}{more}"


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


def _object(found: Json) -> Mapping[str, Json]:
    return found if isinstance(found, dict) else {}
