"""The one place where a run happens: permit, start record, stages, undo, end record, receipt.

1. The permit must cover this very plan, now. 2. Content is copied and checked against the plan. 3. `run-start` is in a
signed checkpoint before the first task. 4. Wave after wave runs; a failure ends the run as the runbook says, with undo
where it asks for it. 5. `run-end` seals what came of it, whatever came of it, also when Ansible could not be started.

Not here: deciding (`policy`), resolving (`_resolve`), supervising Ansible (`_engine`), showing progress (`cli`).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import EngineError, ResolveError
from opsascode.policy import permit_covers
from opsascode.proof import make_receipt, open_envelope, seal, sha256_digest
from opsascode.repo import OnFailure, inventory_environment
from opsascode.run._compiler import PLAYBOOK_DIRECTORY, compile_undo, parameter_variables, render
from opsascode.run._compose import FlatStep
from opsascode.run._content import ROLES_DIRECTORIES, materialise
from opsascode.run._record import Ending, Phase, RunSubject, StageRecord, end_statement, start_statement
from opsascode.run._results import Results, results_summary
from opsascode.run._stage import StageOrder
from opsascode.run._tasks import UNDO_PREFIX
from opsascode.run._verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from pathlib import Path

    from opsascode.policy import Permit, Trigger
    from opsascode.proof import Signer
    from opsascode.repo import Repository
    from opsascode.run._engine import Engine, StageResult
    from opsascode.run._journal import JournalEvent
    from opsascode.run._record import Actor, Tools
    from opsascode.run._resolve import Resolution
    from opsascode.run._state import State

PLAN_FILE: Final = "plan.json"
RESULTS_FILE: Final = "results.json"
RECEIPT_FILE: Final = "receipt.json"
GRACE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Who starts the run, why, with what tools, and when; identity, clock and environment come from the face."""

    run: str
    actor: Actor
    trigger: Trigger
    tools: Tools
    clock: Callable[[], datetime]
    environment: Mapping[str, str]
    forks: int = 5
    verbosity: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be run, by whose leave, and in which circumstances."""

    repository: Repository
    resolution: Resolution
    permit: Permit
    circumstances: Circumstances


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What the face wants to hear while the run goes on, and how it asks for a stop of the phase under way."""

    on_stage: Callable[[Phase, int, tuple[str, ...]], None]
    on_event: Callable[[JournalEvent], None]
    cancel: Callable[[Phase], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What came of a run; `entries` are the ledger indexes of its start and end records."""

    run: str
    outcome: Outcome
    reason: str
    undone: bool
    results: Results
    started: datetime
    ended: datetime
    directory: Path
    entries: tuple[int, int]


def perform(order: Order, *, state: State, signer: Signer, engine: Engine, watch: Watch) -> RunReport:
    """Carry out a permitted plan and leave a sealed record.

    Raises:
        ResolveError: the permit does not cover the plan (any more), or pinned content has moved; nothing was run.
        EngineError: Ansible could not be started; the record says so.
        LedgerError: the record could not be written; before the start record nothing is run.
    """
    now = order.circumstances.clock()
    if not permit_covers(order.permit, order.resolution.plan.digest, now=now):
        raise ResolveError("the permit does not cover this plan any more", advice="plan and judge again")
    return _Run(order, state, signer, engine, watch).carry_out(now)


class _Run:
    """One run under way: its directory, its stages so far and their results."""

    def __init__(self, order: Order, state: State, signer: Signer, engine: Engine, watch: Watch) -> None:
        self._order, self._engine, self._watch, self._signer = order, engine, watch, signer
        self._resolution, self._plan = order.resolution, order.resolution.plan
        self._run = order.circumstances.run
        self._ledger = state.ledger(signer)
        self._directory = state.run_directory(self._run)
        self._results = Results(self._run)
        self._stages: list[StageRecord] = []
        self._undone = False
        inventory = inventory_environment(order.repository.root, digest=self._plan.inventory_digest)
        self._environment = {**order.circumstances.environment, **inventory}

    def carry_out(self, started: datetime) -> RunReport:
        content = self._directory / "content"
        self._directory.mkdir(mode=0o700, parents=True)
        try:
            self._prepare(content)
            start, digest = self._begin(started)
        except BaseException:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise
        failure: BaseException | None = None
        try:
            outcome, reason = self._forward(content)
        except BaseException as error:  # noqa: BLE001 - whatever happens after the start record, an end record follows
            outcome, reason, failure = *_ending_of(error), error
        finally:
            shutil.rmtree(content, ignore_errors=True)
        report = self._end(outcome, reason, started, start, digest)
        if failure is not None:
            raise failure
        return report

    def _prepare(self, content: Path) -> None:
        (content / PLAYBOOK_DIRECTORY).mkdir(mode=0o700, parents=True)
        materialise(self._order.repository.root, self._plan.trees, content)
        _write(self._directory / PLAN_FILE, self._plan.content)

    def _begin(self, now: datetime) -> tuple[int, str]:
        about = self._order.circumstances
        statement = start_statement(
            self._subject(), self._order.permit, actor=about.actor, trigger=about.trigger, tools=about.tools, now=now
        )
        envelope = seal(statement, self._signer)
        entry = self._ledger.append(envelope)
        return entry.index, open_envelope(envelope, (self._signer.public_key,)).digest

    def _forward(self, content: Path) -> tuple[Outcome, str]:
        worst, why = Outcome.SUCCEEDED, ""
        total = len(self._resolution.stages)
        for stage in self._resolution.stages:
            result = self._start_ansible(Phase.FORWARD, stage.wave, stage.hosts, stage.playbook, content)
            if result.outcome is Outcome.SUCCEEDED:
                continue
            worst = result.outcome
            why = f"wave {stage.wave} of {total}: {result.reason}" if total > 1 else result.reason
            on_failure = self._resolution.runbook.on_failure
            if result.outcome is Outcome.FAILED and on_failure is OnFailure.CONTINUE:
                continue
            if on_failure is OnFailure.UNDO and result.outcome in {Outcome.FAILED, Outcome.CANCELED}:
                return self._undo(stage.wave, stage.hosts, content, worst, why)
            return worst, why
        return worst, why or self._results.summary()

    def _undo(
        self, wave: int, hosts: tuple[str, ...], content: Path, outcome: Outcome, why: str
    ) -> tuple[Outcome, str]:
        resolution = self._resolution
        completed = self._results.completed(hosts)
        plays = compile_undo(
            resolution.runbook,
            resolution.flats,
            completed,
            variables=parameter_variables(resolution.runbook, resolution.values),
            gather_facts=resolution.gather_facts,
        )
        if not plays:
            return outcome, f"{why}; nothing had to be undone"
        undoable = {flat.id for flat in resolution.flats if isinstance(flat, FlatStep) and flat.step.undo}
        affected = tuple(host for host in hosts if undoable.intersection(completed[host]))
        playbook = render(plays, header=(f"Undo of run {self._run}, wave {wave}.",))
        result = self._start_ansible(Phase.UNDO, wave, affected, playbook, content)
        self._undone = result.outcome is Outcome.SUCCEEDED and not self._failed_undos()
        if self._undone:
            return outcome, f"{why}; what was completed has been undone"
        worst = Outcome.INDETERMINATE if result.outcome is Outcome.INDETERMINATE else outcome
        return worst, f"{why}; UNDO FAILED: {result.reason or 'see the undo steps'}"

    def _failed_undos(self) -> bool:
        return any(result.step.startswith(UNDO_PREFIX) for _, result in self._results.failures())

    def _start_ansible(
        self, phase: Phase, wave: int, hosts: tuple[str, ...], playbook: bytes, content: Path
    ) -> StageResult:
        about, settings = self._order.circumstances, self._order.repository.settings
        self._watch.on_stage(phase, wave, hosts)
        directory = self._directory / f"{phase.value}-{wave}"
        directory.mkdir(mode=0o700)
        _write(directory / "playbook.yml", playbook)
        order = StageOrder(
            playbook=playbook,
            inventory=self._resolution.inventory.document,
            hosts=hosts,
            secrets=self._resolution.secrets,
            directory=directory,
            project=self._order.repository.root,
            content=content / PLAYBOOK_DIRECTORY,
            roles_path=tuple(content / name for name in (*settings.roles_path, *ROLES_DIRECTORIES)),
            collections_path=tuple(content / name for name in settings.collections_path),
            environment=self._environment,
            forks=about.forks,
            check=False,
            diff=False,
            verbosity=about.verbosity,
            timeout_seconds=None,
            grace_seconds=GRACE_SECONDS,
        )
        result = self._engine.run(order, on_event=self._take, cancel=lambda: self._watch.cancel(phase))
        self._stages.append(
            StageRecord(
                phase=phase,
                wave=wave,
                playbook=sha256_digest(playbook),
                journal=result.journal_digest,
                outcome=result.outcome.value,
                reason=result.reason,
            )
        )
        return result

    def _subject(self) -> RunSubject:
        return RunSubject(run=self._run, plan=self._plan, ledger=self._ledger.origin)

    def _take(self, event: JournalEvent) -> None:
        self._results.add(event)
        self._watch.on_event(event)

    def _end(self, outcome: Outcome, reason: str, started: datetime, start: int, digest: str) -> RunReport:
        ended = self._order.circumstances.clock()
        document = self._results.document()
        _write(self._directory / RESULTS_FILE, document)
        statement = end_statement(
            self._subject(),
            ending=Ending(outcome=outcome.value, reason=reason, undone=self._undone, started=started, ended=ended),
            stages=self._stages,
            results=results_summary(document, self._results.counts()),
            start_record=digest,
        )
        end = self._ledger.append(seal(statement, self._signer)).index
        attachments = {PLAN_FILE: self._plan.content, RESULTS_FILE: document}
        _write(self._directory / RECEIPT_FILE, make_receipt(self._ledger, (start, end), attachments))
        return RunReport(
            run=self._run,
            outcome=outcome,
            reason=reason,
            undone=self._undone,
            results=self._results,
            started=started,
            ended=ended,
            directory=self._directory,
            entries=(start, end),
        )


def _ending_of(error: BaseException) -> tuple[Outcome, str]:
    if isinstance(error, EngineError):
        return Outcome.FAILED, f"Ansible could not be started: {error.message}"
    return Outcome.INDETERMINATE, f"the run was cut short by {type(error).__name__}"


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
