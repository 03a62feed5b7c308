"""The one place where a run happens: permit, claim, locks, start record, stages, end record, receipt.

1. The permit must cover this very plan, now. 2. The run is claimed and its hosts are locked, or the answer says who
holds them. 3. Content is copied and checked against the plan. 4. `run-start` is in a signed checkpoint before the first
task. 5. Stage after stage is carried out (`_conduct`). 6. `run-end` seals what came of it, whatever came of it, also
when Ansible could not be started. A run that waits for people has no end yet: it is suspended and taken up again.

Not here: deciding (`policy`), resolving (`_resolve`), supervising Ansible (`_engine`), showing progress (`cli`).
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from opsascode.errors import EngineError, LedgerError, ResolveError
from opsascode.policy import permit_covers
from opsascode.proof import make_receipt, open_envelope, seal
from opsascode.repo import inventory_environment
from opsascode.run._asks import APPROVALS_DIRECTORY
from opsascode.run._compiler import PLAYBOOK_DIRECTORY
from opsascode.run._conduct import Conduct, Halt, Suspension
from opsascode.run._content import materialise
from opsascode.run._history_files import PLAN_FILE, RECEIPT_FILE, RESULTS_FILE
from opsascode.run._life import Holder, LifeError, LifeState, Submission, Taken
from opsascode.run._locks import Busy, Held
from opsascode.run._plan import StageKind
from opsascode.run._record import Ending, Links, Phase, Purpose, RunSubject, end_statement, start_statement
from opsascode.run._results import Results, results_summary
from opsascode.run._site import Pulse, Site, write_new
from opsascode.run._team_ledger import Publisher, UnpublishedError
from opsascode.run._trail import Trail, replay, single_steps
from opsascode.run._verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.proof import Json
    from opsascode.run._life import Lease
    from opsascode.run._locks import Holding
    from opsascode.run._past import Past
    from opsascode.run._site import Means, Order

_WAIT_TICK: Final = 0.25
_LIFE_OF: Final = {
    Outcome.SUCCEEDED: LifeState.SUCCEEDED,
    Outcome.FAILED: LifeState.FAILED,
    Outcome.CANCELED: LifeState.CANCELED,
    Outcome.INDETERMINATE: LifeState.INDETERMINATE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What came of a run; `entries` are the ledger indexes of its records."""

    run: str
    outcome: Outcome
    reason: str
    undone: bool
    declined: bool
    results: Results
    outputs: Mapping[str, Json]
    started: datetime
    ended: datetime
    directory: Path
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The run waits for people, at a stage; nothing of it is under way."""

    run: str
    stage: str
    missing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedOut:
    """Other runs hold hosts or names that this run needs; nothing was run."""

    run: str
    holdings: tuple[Holding, ...]


Answer: TypeAlias = RunReport | Waiting | LockedOut


def perform(order: Order, means: Means, *, past: Past | None = None) -> Answer:
    """Carry out a permitted plan and leave a sealed record; `past` is the run it continues or takes back.

    Raises:
        ResolveError: the permit does not cover the plan (any more), or pinned content has moved; nothing was run.
        EngineError: Ansible could not be started; the record says so.
        LedgerError: the record could not be written; before the start record nothing is run.
    """
    now = order.circumstances.clock()
    _check_permit(order, now)
    return _Run(order, means, past).carry_out(now)


def take_up(order: Order, means: Means, *, start: Mapping[str, Json], entry: int) -> Answer:
    """Go on with a run that waited for people; `start` is the predicate of its start record, at ledger index `entry`.

    Raises:
        ResolveError: as for `perform`; the run goes on waiting.
    """
    now = order.circumstances.clock()
    _check_permit(order, now)
    return _Run(order, means, None).take_up(start, entry)


def _check_permit(order: Order, now: datetime) -> None:
    if not permit_covers(order.permit, order.resolution.plan.digest, now=now):
        raise ResolveError("the permit does not cover this plan any more", advice="plan and judge again")


class _Run:
    """One run from its claim to its end record."""

    def __init__(self, order: Order, means: Means, past: Past | None) -> None:
        self._order, self._means, self._past = order, means, past
        self._about = order.circumstances
        self._run = order.circumstances.run
        self._plan = order.resolution.plan
        self._ledger = means.state.ledger(means.signer)
        self._directory = means.state.run_directory(self._run)
        self._held: Held | None = None
        self._publisher = Publisher.of(order.repository, means.state, means.signer)

    def carry_out(self, started: datetime) -> Answer:
        """Begin a run and carry it out."""
        dispatcher = self._means.dispatcher
        about = Submission(
            plan=self._plan.digest, runbook=self._plan.runbook, hosts=len(self._plan.hosts), user=self._about.actor.user
        )
        dispatcher.submit(self._run, about, started)
        lease = self._claim()
        try:
            busy = None if self._asks_first() else self._lock()
            if busy:
                dispatcher.finish(lease, LifeState.VOID, self._about.clock())
                return LockedOut(run=self._run, holdings=busy.holdings)
            subject, entry, digest = self._begin(started)
        except BaseException:
            self._forget(lease)
            raise
        results = (
            self._past.replay.results if self._past else Results(self._run, single_steps(self._order.resolution.flats))
        )
        if self._past:
            results.take_over(self._run)
        site = self._site(lease, subject, results)
        site.entries.append(entry)
        if self._past:
            site.leftovers = tuple(self._past.replay.marks)
            site.earlier_runs, site.earlier_approvals = self._past.chain, self._past.approvals
        return self._finish(site, lease, started, digest)

    def take_up(self, start: Mapping[str, Json], entry: int) -> Answer:
        """Go on with a run that waited."""
        lease = self._claim()
        try:
            before = replay((self._directory,), self._run, single=single_steps(self._order.resolution.flats))
            site = self._site(lease, RunSubject.of_start(start), before.results)
            site.stages.extend(before.stages)
            site.answers.extend(before.answers)
            site.approvals.update(read_approvals(self._directory))
            site.entries.extend((entry, *before.entries))
            shutil.rmtree(site.content, ignore_errors=True)
            self._prepare(site.content)
            busy = None if self._waits_at_start(site) else self._lock()
        except BaseException:
            self._means.dispatcher.suspend(lease, self._about.clock())
            self._release()
            raise
        if busy:
            self._means.dispatcher.suspend(lease, self._about.clock())
            return LockedOut(run=self._run, holdings=busy.holdings)
        started = datetime.fromisoformat(str(start["started"]))
        digest = open_envelope(self._ledger.entry(entry), (self._means.signer.public_key,)).digest
        return self._finish(site, lease, started, digest)

    def _claim(self) -> Lease:
        found = self._means.dispatcher.claim(self._run, Holder.of_this_process(), self._about.clock())
        if isinstance(found, Taken):
            raise ResolveError(
                f"the run {self._run} is being carried out by {found.describe()}",
                advice=f"watch it with `opsascode runs watch {self._run}`",
            )
        return found

    def _asks_first(self) -> bool:
        stages = self._order.resolution.stages
        return self._order.purpose is Purpose.RUN and stages[0].kind in {StageKind.APPROVAL, StageKind.MANUAL}

    def _waits_at_start(self, site: Site) -> bool:
        return self._asks_first() and not site.stages and self._order.resolution.stages[0].id not in site.answered

    def _lock(self) -> Busy | None:
        """Hold everything this run needs; wait as long as its circumstances allow."""
        until = time.monotonic() + self._about.manner.wait_seconds
        predicts = self._order.purpose is Purpose.CHECK  # it is in nobody's way, and known to live all the same
        names = () if predicts else self._means.state.scoped(self._order.resolution.locks)
        told = False
        while True:
            found = self._means.locks.hold(self._run, names, self._plan.runbook)
            if isinstance(found, Held):
                self._held = found
                return None
            if time.monotonic() >= until or self._means.watch.cancel(Phase.FORWARD):
                return found
            if not told:
                told = True
                self._means.watch.on_notice(f"waiting for {found.describe()}")
            time.sleep(_WAIT_TICK)

    def _secure(self, site: Site) -> str:
        """Make sure of the locks right before Ansible is started; say who holds them when that cannot be."""
        busy = None if self._held else self._lock()
        if busy:
            return busy.describe()
        site.inherit = (self._held.descriptor,) if self._held else ()
        return ""

    def _begin(self, started: datetime) -> tuple[RunSubject, int, str]:
        """Make the run's directory and write the start record; nothing has been run before it is durable."""
        self._directory.mkdir(mode=0o700, parents=True)
        write_new(self._directory / PLAN_FILE, self._plan.content)
        self._prepare(self._directory / "content")
        about, purpose = self._about, self._order.purpose
        subject = RunSubject.of_plan(self._run, self._plan, ledger=self._ledger.origin, purpose=purpose)
        past = self._past.run if self._past else None
        undo = purpose is Purpose.UNDO
        links = Links(continues=None if undo else past, undoes=past if undo else None)
        statement = start_statement(
            subject,
            self._order.permit,
            actor=about.actor,
            trigger=about.trigger,
            tools=about.tools,
            links=links,
            now=started,
        )
        envelope = seal(statement, self._means.signer)
        entry = self._ledger.append(envelope)
        return subject, entry.index, open_envelope(envelope, (self._means.signer.public_key,)).digest

    def _prepare(self, content: Path) -> None:
        (content / PLAYBOOK_DIRECTORY).mkdir(mode=0o700, parents=True)
        materialise(self._order.repository.root, self._plan.trees, content)
        self._order.resolution.provisions.install(content, self._about.environment)

    def _forget(self, lease: Lease) -> None:
        """Leave nothing of a run that never started."""
        shutil.rmtree(self._directory, ignore_errors=True)
        self._end_life(lease, LifeState.VOID)
        self._release()

    def _site(self, lease: Lease, subject: RunSubject, results: Results) -> Site:
        inventory = inventory_environment(self._order.repository.root, digest=self._plan.inventory_digest)
        means = self._means
        site = Site(
            order=self._order,
            run=self._run,
            subject=subject,
            directory=self._directory,
            content=self._directory / "content",
            environment={**self._about.environment, **inventory},
            facts=_facts_directory() if self._order.resolution.gather_facts else None,
            results=results,
            trail=Trail(self._directory),
            ledger=self._ledger,
            signer=means.signer,
            engine=means.engine,
            desk=means.desk,
            watch=means.watch,
            pulse=Pulse(means.dispatcher, lease, self._about.clock),
        )
        site.secure = lambda: self._secure(site)
        return site

    def _finish(self, site: Site, lease: Lease, started: datetime, digest: str) -> Answer:
        """Carry out the stages; close the run, or leave it waiting. Whatever happens, the run does not stay open."""
        failure: BaseException | None = None
        conduct = Conduct(site)
        try:
            self._publish_start()
            course = conduct.backward() if self._order.purpose is Purpose.UNDO else conduct.forward()
        except BaseException as error:  # noqa: BLE001 - whatever happens after the start record, an end record follows
            course, failure = _ending_of(error), error
        finally:
            for directory in (site.content, site.facts):
                if directory:
                    shutil.rmtree(directory, ignore_errors=True)
        if isinstance(course, Suspension):
            self._means.dispatcher.suspend(lease, self._about.clock())
            self._release()
            return Waiting(run=self._run, stage=course.stage, missing=course.missing)
        if site.pulse.lost:
            self._release()
            raise LedgerError(
                f"another process has taken over the run {self._run}: what happened here is not part of its record",
                advice=f"see `opsascode runs show {self._run}`",
            )
        report = self._close(site, conduct, course, started, digest)
        self._publish_end()
        self._end_life(lease, _LIFE_OF[report.outcome])
        self._release()
        if failure is not None:
            raise failure
        return report

    def _close(self, site: Site, conduct: Conduct, halt: Halt, started: datetime, digest: str) -> RunReport:
        ended = self._about.clock()
        outputs = self._order.resolution.outputs
        document = site.results.document([stage.to_json() for stage in site.stages], outputs)
        write_new(self._directory / RESULTS_FILE, document)
        statement = end_statement(
            site.subject,
            ending=Ending(
                outcome=halt.outcome.value,
                reason=halt.reason,
                undone=conduct.undone,
                started=started,
                ended=ended,
                in_doubt=tuple(site.in_doubt),
            ),
            stages=site.stages,
            results=results_summary(document, site.results.counts()),
            start_record=digest,
        )
        site.entries.append(self._ledger.append(seal(statement, self._means.signer)).index)
        attachments = {
            PLAN_FILE: self._plan.content,
            RESULTS_FILE: document,
            **{f"{APPROVALS_DIRECTORY}/{name}": data for name, data in site.approvals.items()},
        }
        write_new(self._directory / RECEIPT_FILE, make_receipt(self._ledger, site.entries, attachments))
        return RunReport(
            run=self._run,
            outcome=halt.outcome,
            reason=halt.reason,
            undone=conduct.undone,
            declined=halt.declined,
            results=site.results,
            outputs=site.results.outputs(outputs),
            started=started,
            ended=ended,
            directory=self._directory,
            entries=tuple(site.entries),
        )

    def _publish_start(self) -> None:
        if self._publisher:
            self._publisher.publish_start(self._ledger)

    def _publish_end(self) -> None:
        missing = self._publisher.publish_end(self._ledger) if self._publisher else ""
        if missing:
            self._means.watch.on_notice(missing)

    def _end_life(self, lease: Lease, state: LifeState) -> None:
        """Say that the run is over; where that cannot be written, the next command sees it by the ledger."""
        with contextlib.suppress(OSError, LifeError):
            self._means.dispatcher.finish(lease, state, self._about.clock())

    def _release(self) -> None:
        if self._held:
            self._held.release()
            self._held = None


def _ending_of(error: BaseException) -> Halt:
    if isinstance(error, UnpublishedError):
        return Halt(outcome=Outcome.FAILED, reason=error.message)
    if isinstance(error, EngineError):
        return Halt(outcome=Outcome.FAILED, reason=f"Ansible could not be started: {error.message}")
    return Halt(outcome=Outcome.INDETERMINATE, reason=f"the run was cut short by {type(error).__name__}")


def _facts_directory() -> Path:
    """Make a private directory for facts, in memory where there is one: facts can hold what a host knows of secrets."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes it private
    return Path(tempfile.mkdtemp(prefix="ops-facts-", dir=memory if memory.is_dir() else None))


def read_approvals(directory: Path) -> dict[str, bytes]:
    """Give the approvals in a run's directory by their file names."""
    return {path.name: path.read_bytes() for path in sorted((directory / APPROVALS_DIRECTORY).glob("*.json"))}
