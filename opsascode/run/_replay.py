"""Which past decisions can be judged again, and what were they made from?

Runs that started, runs that guardrails refused, verdicts of gates and measurements, read from verified records. Each
holds what it was judged by; a record from before that was kept, or one whose lists were cut to keep it small, lacks it
and says so.

A check of a pull request has neither a key nor a ledger of its own: there the team's log is read from the ref that was
fetched into the clone, and believed as far as the trust root's machines have signed it.

Not here: judging them again (`policy`), where records lie (`_ledger_records`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import OpsError, UsageError
from opsascode.policy import GateJudged, GateQuestion, PlanJudged, RecordKind, SloTaken, Subject
from opsascode.repo import InvalidDocumentsError, LedgerRef, policies_of
from opsascode.run._gate_book import GATE_VERDICT
from opsascode.run._ledger_records import ledger_records
from opsascode.run._packs import moment_of_record
from opsascode.run._record import RUN_REFUSED, RUN_START
from opsascode.run._slo_book import SLO_SNAPSHOT
from opsascode.run._team_ledger import TeamLedger, open_team_log
from opsascode.slo import SloSnapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from opsascode.policy import Replayable
    from opsascode.proof import Json, PublicKey, TeamLog, TeamRecord, TrustChain
    from opsascode.repo import ObjectStore, ReliabilityPolicy
    from opsascode.run._state import State

REPLAYED: Final = (RUN_START, RUN_REFUSED, GATE_VERDICT, SLO_SNAPSHOT)
"""The kinds of records that hold a decision which can be made again."""
_OLD: Final = "it was recorded before what is judged was kept"
_CUT: Final = "its record was cut to keep it small"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedLog:
    """The team's log as it was fetched into a clone; `waiting` entries are not under a checkpoint, and not believed."""

    log: TeamLog
    waiting: int
    left_out: tuple[str, ...]


def open_fetched_log(root: Path, state: State, chain: TrustChain) -> FetchedLog:
    """Follow the team's log as it was fetched, without a key and without a network.

    Raises:
        LedgerError: it is not what was signed, or does not continue what was seen here.
        ResolveError: this is no Git repository.
    """
    log = open_team_log(state, chain)
    synced = TeamLedger(LedgerRef.here(root), log, signer=None, forks=state.directory / "forks").sync(None)
    return FetchedLog(log=log, waiting=synced.waiting, left_out=synced.left_out)


def read_replayables(
    state: State, *, keys: Sequence[PublicKey], team: TeamLog | None, since: datetime, repository: str = ""
) -> tuple[Replayable, ...]:
    """Give what was recorded since a moment and can be judged again, each record verified.

    Records that name another ops repository than `repository` are passed over, as machines may have several.

    Raises:
        LedgerError: an entry is not what was signed.
    """
    records = ledger_records(state, REPLAYED, keys=keys, team=team)
    read = [each for found in records if _is_of(repository, found) for each in _read(found)]
    asked = [one for each in read if isinstance(each, GateJudged) for one in _of_gate(each)]
    saved = [each for each in read if isinstance(each, SloTaken) and each.snapshot is not None]
    once = {(each.snapshot.policy, each.at): each for each in (*asked, *saved) if each.snapshot is not None}
    others = [each for each in read if not (isinstance(each, SloTaken) and each.snapshot is not None)]
    return tuple(each for each in (*others, *once.values()) if each.at >= since)


def measured_policies(
    store: ObjectStore, records: Iterable[Replayable], protected: Sequence[str], known: Iterable[ReliabilityPolicy]
) -> tuple[ReliabilityPolicy, ...]:
    """Give the reliability policies that measurements were taken for, from the commits they name.

    Those that are known already are not read again; what is not in this clone, or cannot be used, is left out.
    """
    have = {each.source.digest for each in known}
    commits = dict.fromkeys(
        each.commit for each in _snapshots(records) if each.commit is not None and each.digest not in have
    )
    found: list[ReliabilityPolicy] = []
    for commit in commits:
        try:
            here = store.commit_of(commit)
            found += policies_of(store.snapshot(here, protected)).reliability if here else ()
        except (InvalidDocumentsError, OpsError):
            continue
    return tuple(found)


def _snapshots(records: Iterable[Replayable]) -> Iterator[SloSnapshot]:
    for each in records:
        if isinstance(each, SloTaken) and each.snapshot is not None:
            yield each.snapshot
        elif isinstance(each, GateJudged) and each.question is not None:
            yield from each.question.snapshots


def _is_of(repository: str, found: TeamRecord) -> bool:
    named = found.record.statement.predicate.get("repository")
    return not repository or not isinstance(named, str) or named == repository


def _read(found: TeamRecord) -> Iterator[Replayable]:
    said = found.record.statement.predicate
    kind = found.record.statement.predicate_type
    if kind in {RUN_START, RUN_REFUSED}:
        yield _plan(found, said, RecordKind.RUN if kind == RUN_START else RecordKind.REFUSAL)
    elif kind == GATE_VERDICT:
        yield _gate(found, said)
    else:
        yield from _measurements(found, said)


def _plan(found: TeamRecord, said: Mapping[str, Json], kind: RecordKind) -> PlanJudged:
    subject, lacking = _subject(said.get("judged"))
    targets, runbook = _object(said.get("targets")), _object(said.get("runbook"))
    hosts = subject.host_count if subject else targets.get("hosts")
    limit = targets.get("limit")
    return PlanJudged(
        kind=kind,
        id=_name(found, said, "run" if kind is RecordKind.RUN else "id"),
        at=moment_of_record(said.get("started") or said.get("at")),
        runbook=str(runbook.get("name") or (subject.runbook if subject else "an unknown runbook")),
        hosts=hosts if isinstance(hosts, int) else 0,
        pattern=str(limit or targets.get("pattern") or ""),
        subject=subject,
        lacking=lacking,
    )


def _subject(judged: Json) -> tuple[Subject | None, str]:
    if judged is None:
        return None, _OLD
    try:
        subject = Subject.of_json(judged)
    except UsageError as error:
        return None, error.message
    return (None, _CUT) if subject.partial else (subject, "")


def _gate(found: TeamRecord, said: Mapping[str, Json]) -> GateJudged:
    question, lacking = None, _CUT
    if said.get("question") is not None:
        try:
            question, lacking = GateQuestion.of_json(said["question"]), ""
        except UsageError as error:
            lacking = error.message
    return GateJudged(
        id=_name(found, said, "id"),
        at=moment_of_record(said.get("asked")),
        service=str(said.get("service")),
        change_class=str(said.get("change_class")),
        verdict=str(said.get("verdict")),
        question=question,
        lacking=lacking,
    )


def _measurements(found: TeamRecord, said: Mapping[str, Json]) -> Iterator[SloTaken]:
    listed = said.get("snapshots")
    for number, each in enumerate(listed if isinstance(listed, list) else (), start=1):
        snapshot, lacking = None, ""
        try:
            snapshot = SloSnapshot.of_json(each)
        except UsageError as error:
            lacking = error.message
        at = snapshot.taken if snapshot else moment_of_record(said.get("recorded"))
        name = f"{_name(found, said, 'id')} {snapshot.policy if snapshot else number}"
        service = snapshot.service if snapshot else str(_object(each).get("service"))
        yield SloTaken(id=name, at=at, service=service, snapshot=snapshot, lacking=lacking)


def _of_gate(gate: GateJudged) -> Iterator[SloTaken]:
    """Give the measurements that a gate was asked with: alerts are judged by them too."""
    for each in gate.question.snapshots if gate.question else ():
        yield SloTaken(id=f"{gate.id} {each.policy}", at=each.taken, service=each.service, snapshot=each)


def _name(found: TeamRecord, said: Mapping[str, Json], key: str) -> str:
    """Name a record as it calls itself, else by its place in the ledger."""
    name = said.get(key)
    return name if isinstance(name, str) and name else f"entry {found.index}"


def _object(found: Json) -> Mapping[str, Json]:
    return found if isinstance(found, dict) else {}
