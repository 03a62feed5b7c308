"""How does a run go from stage to stage, and what follows when a stage does not succeed?

Stages come in the order of the plan: Ansible, questions to people, pauses, checks between waves. A failure within
`max_fail_percent` leaves the failed hosts behind and goes on; any other ends the run as the runbook says. What is to
be undone is taken from the journals: what was completed, in reverse order, host by host, in the runbook's scope.

Not here: records, leases and locks around all this (`_perform`); supervising Ansible (`_engine`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from opsascode.proof import sha256_digest
from opsascode.repo import OnFailure, UndoScope
from opsascode.run._compiler import PLAYBOOK_DIRECTORY
from opsascode.run._journal import HostStatus
from opsascode.run._plan import StageKind
from opsascode.run._question import put_question
from opsascode.run._record import Phase, Purpose, StageRecord
from opsascode.run._resolve import rest_of, undo_of
from opsascode.run._site import write_new
from opsascode.run._stage import StageOrder
from opsascode.run._tasks import UNDO_PREFIX
from opsascode.run._trail import StageBegun
from opsascode.run._verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opsascode.run._engine import StageResult
    from opsascode.run._journal import JournalEvent
    from opsascode.run._resolve import Stage
    from opsascode.run._site import Site

GRACE_SECONDS: Final = 10.0
_TICK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """The run is over: how, why, and whether people declined it."""

    outcome: Outcome
    reason: str
    declined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """The run waits for people, and nobody here can answer: what is missing."""

    stage: str
    missing: str


Course: TypeAlias = Halt | Suspension


class Conduct:
    """One run on its way; `site` is where it happens and whom it can ask."""

    def __init__(self, site: Site) -> None:
        """Begin where the site's results end."""
        self._site = site
        self._order = site.order
        self._resolution = site.order.resolution
        self._plan = site.order.resolution.plan
        self._results = site.results
        self._failed = False
        self._notes: list[str] = []
        self._undone_all = False
        self._undone_any = False
        self._deadline = _deadline(site)

    @property
    def undone(self) -> bool:
        """Whether something was undone, and no undo failed."""
        return self._undone_any and self._undone_all

    def forward(self) -> Course:
        """Carry out the stages that are left."""
        for stage in self._resolution.stages:
            course = self._carry_out(stage)
            if course is not None:
                return course
        outcome = Outcome.FAILED if self._failed else Outcome.SUCCEEDED
        return Halt(outcome=outcome, reason="; ".join(self._notes) or self._summary())

    def backward(self) -> Course:
        """Undo all that the run it takes back completed."""
        held_by = self._site.secure()
        if held_by:
            return Halt(outcome=Outcome.FAILED, reason=f"nothing was undone: {held_by}")
        halt = self._undo(self._plan.hosts, self._resolution.stages[-1], Halt(outcome=Outcome.SUCCEEDED, reason=""))
        if self.undone:
            return Halt(outcome=Outcome.SUCCEEDED, reason="what was completed has been undone")
        worse = {Outcome.SUCCEEDED: Outcome.FAILED}
        return Halt(outcome=worse.get(halt.outcome, halt.outcome), reason=halt.reason.lstrip("; "))

    def _summary(self) -> str:
        said = self._results.summary()
        if self._order.purpose is not Purpose.CHECK:
            return said
        return f"a prediction, nothing was changed: {said.replace('changed', 'would change')}"

    def _carry_out(self, stage: Stage) -> Course | None:
        if stage.kind in {StageKind.ANSIBLE, StageKind.CHECKS}:
            return self._work(stage)
        if self._order.purpose is Purpose.CHECK or not self._follows(stage):
            return None
        return self._pause(stage) if stage.kind is StageKind.PAUSE else self._ask(stage)

    def _follows(self, stage: Stage) -> bool:
        """Whether anything is left to do after this stage, for which it is there."""
        stages = self._resolution.stages
        later = stages[stages.index(stage) + 1 :]
        wanted = [each for each in later if each.kind is StageKind.ANSIBLE]
        return not wanted or any(self._left_of(each) for each in wanted)

    def _left_of(self, stage: Stage) -> tuple[bytes, tuple[str, ...]] | None:
        """Give what is left of a stage; a host that failed takes no further steps."""
        acts = stage.kind is StageKind.ANSIBLE
        done = {host: self._results.done(host) if acts else frozenset[str]() for host in stage.hosts}
        return rest_of(self._resolution, stage, done, left_out=self._results.bad_hosts(stage.hosts))

    def _work(self, stage: Stage) -> Course | None:
        if stage.kind is StageKind.CHECKS and not self._follows(stage):
            return None
        rest = self._left_of(stage)
        if rest is None:
            return None
        if self._seconds_left() == 0:
            return self._end_of(stage, Halt(outcome=Outcome.CANCELED, reason=self._too_long()))
        held_by = self._site.secure()
        if held_by:
            return Suspension(stage=stage.id, missing=held_by)
        playbook, hosts = rest
        result = self._start(Phase.FORWARD, stage, hosts, playbook)
        return None if result.outcome is Outcome.SUCCEEDED else self._weigh(stage, result)

    def _weigh(self, stage: Stage, result: StageResult) -> Course | None:
        """Decide what follows from a stage that did not succeed."""
        waves = len(self._plan.waves)
        why = self._site.pulse.canceled_by or (self._too_long() if result.timed_out else result.reason)
        reason = f"wave {stage.wave} of {waves}: {why}" if waves > 1 else why
        halt = Halt(outcome=result.outcome, reason=reason)
        if result.outcome is not Outcome.FAILED:
            return self._end_of(stage, halt)
        bad = self._results.bad_hosts(stage.hosts)
        if bad and self._tolerates(stage, bad):
            self._note(f"{reason}, which is within max_fail_percent")
            if self._wants_undo():
                self._undo(bad, stage, halt)
            return None
        if self._resolution.runbook.on_failure is OnFailure.CONTINUE:
            self._note(reason)
            return None
        return self._end_of(stage, halt)

    def _tolerates(self, stage: Stage, bad: tuple[str, ...]) -> bool:
        tolerance = self._resolution.runbook.targets.max_fail_percent
        if tolerance is None or stage.kind is StageKind.CHECKS:
            return False
        wave = self._plan.waves[stage.wave - 1]
        return len(self._results.bad_hosts(wave)) * 100 <= tolerance * len(wave) and len(bad) < len(wave)

    def _note(self, reason: str) -> None:
        self._failed = True
        self._notes.append(reason)

    def _end_of(self, stage: Stage, halt: Halt) -> Halt:
        """End the run here, with undo where the runbook asks for it and nobody said otherwise."""
        halt = Halt(outcome=halt.outcome, reason="; ".join((*self._notes, halt.reason)), declined=halt.declined)
        if halt.outcome not in {Outcome.FAILED, Outcome.CANCELED} or not self._wants_undo():
            return halt
        return self._undo(self._scope(stage, halt.outcome), stage, halt)

    def _wants_undo(self) -> bool:
        runbook, manner = self._resolution.runbook, self._order.circumstances.manner
        return (
            runbook.on_failure is OnFailure.UNDO
            and self._order.purpose is Purpose.RUN
            and manner.undo
            and self._site.pulse.undo_wanted
        )

    def _scope(self, stage: Stage, outcome: Outcome) -> tuple[str, ...]:
        scope = self._resolution.runbook.undo_scope
        waves = self._plan.waves[: stage.wave]
        if scope is UndoScope.ALL:
            return tuple(host for wave in waves for host in wave)
        hosts = waves[-1] if waves else ()
        if scope is UndoScope.FAILED_HOSTS and outcome is Outcome.FAILED:
            return self._results.bad_hosts(hosts) or hosts
        return hosts

    def _undo(self, hosts: Iterable[str], stage: Stage, halt: Halt) -> Halt:
        completed = self._results.to_undo(hosts)
        header = (f"Undo of run {self._site.run}.",)
        playbook_and_hosts = undo_of(self._resolution, completed, header=header)
        if playbook_and_hosts is None:
            return Halt(outcome=halt.outcome, reason=f"{halt.reason}; nothing had to be undone", declined=halt.declined)
        playbook, affected = playbook_and_hosts
        result = self._start(Phase.UNDO, stage, affected, playbook)
        failed = self._failed_undos(affected)
        done = result.outcome is Outcome.SUCCEEDED and not failed
        self._undone_all = done and (self._undone_all or not self._undone_any)
        self._undone_any = True
        if done:
            said = "what was completed has been undone"
            return Halt(outcome=halt.outcome, reason=f"{halt.reason}; {said}", declined=halt.declined)
        named = ", ".join(failed[:5]) + (f" and {len(failed) - 5} more" if len(failed) > 5 else "")  # noqa: PLR2004 - as many as fit a line
        worst = Outcome.INDETERMINATE if result.outcome is Outcome.INDETERMINATE else halt.outcome
        why = named or result.reason or "see the undo steps"
        return Halt(outcome=worst, reason=f"{halt.reason}; UNDO FAILED: {why}", declined=halt.declined)

    def _failed_undos(self, hosts: Iterable[str]) -> list[str]:
        good = {HostStatus.OK, HostStatus.CHANGED, HostStatus.SKIPPED}
        return [
            f"{result.step.removeprefix(UNDO_PREFIX)} on {host}"
            for host in hosts
            for result in self._results.of(host)
            if result.step.startswith(UNDO_PREFIX) and result.status not in good
        ]

    def _pause(self, stage: Stage) -> Course | None:
        self._site.watch.on_notice(f"pause of {stage.seconds:g} s after wave {stage.wave}")
        until = time.monotonic() + stage.seconds
        while (left := until - time.monotonic()) > 0:
            if self._site.unwanted(Phase.FORWARD):
                why = self._site.pulse.canceled_by or "it was canceled"
                return self._end_of(stage, Halt(outcome=Outcome.CANCELED, reason=f"{why} in the pause"))
            if self._seconds_left() == 0:
                return self._end_of(stage, Halt(outcome=Outcome.CANCELED, reason=self._too_long()))
            time.sleep(min(left, _TICK_SECONDS))
        return None

    def _ask(self, stage: Stage) -> Course | None:
        if stage.ask is None or stage.id in self._site.answered:
            return None
        begun = time.monotonic()
        answer = put_question(self._site, stage.ask)
        if self._deadline is not None:  # people's time is not the run's
            self._deadline += time.monotonic() - begun
        if answer.missing:
            return Suspension(stage=stage.id, missing=answer.missing)
        if answer.granted:
            return None
        return self._end_of(stage, Halt(outcome=Outcome.CANCELED, reason=answer.reason, declined=answer.declined))

    def _start(self, phase: Phase, stage: Stage, hosts: tuple[str, ...], playbook: bytes) -> StageResult:
        """Start Ansible for one stage and keep what came of it."""
        site = self._site
        site.watch.on_stage(phase, stage.wave, hosts)
        begun = StageBegun(
            phase=phase,
            stage=site.label(phase, stage.id),
            wave=stage.wave,
            hosts=hosts,
            playbook=sha256_digest(playbook),
        )
        directory = site.directory / begun.directory
        directory.mkdir(mode=0o700)
        write_new(directory / "playbook.yml", playbook)
        site.trail.begin(begun)
        self._results.begin(hosts)
        order = self._stage_order(phase, hosts, playbook, begun)
        result = site.engine.run(order, on_event=self._take, cancel=lambda: site.unwanted(phase))
        record = StageRecord(
            phase=phase,
            stage=begun.stage,
            wave=stage.wave,
            playbook=begun.playbook,
            journal=result.journal_digest,
            outcome=result.outcome.value,
            reason=result.reason,
        )
        site.trail.end(record)
        site.stages.append(record)
        if result.outcome in {Outcome.CANCELED, Outcome.INDETERMINATE}:
            site.in_doubt.extend(self._results.in_doubt())
        return result

    def _stage_order(self, phase: Phase, hosts: tuple[str, ...], playbook: bytes, begun: StageBegun) -> StageOrder:
        site, manner, provisions = self._site, self._order.circumstances.manner, self._resolution.provisions
        settings, content = self._order.repository.settings, self._site.content
        kept = self._results.kept()
        forward = phase is Phase.FORWARD
        return StageOrder(
            playbook=playbook,
            inventory=self._resolution.inventory.document,
            hosts=hosts,
            secrets=self._resolution.secrets,
            kept={host: kept[host] for host in hosts if host in kept},
            directory=site.directory / begun.directory,
            project=self._order.repository.root,
            content=content / PLAYBOOK_DIRECTORY,
            settings=provisions.settings.rendered(self._order.repository.root, content),
            roles_path=provisions.roles_path(settings, content),
            collections_path=provisions.collections_path(settings, content),
            environment=site.environment,
            access=manner.access,
            facts=site.facts,
            inherit=site.inherit,
            leftovers=site.take_leftovers(),
            tags=manner.tags if forward else (),
            skip_tags=manner.skip_tags if forward else (),
            forks=manner.forks or provisions.settings.forks or 5,
            check=self._order.purpose is Purpose.CHECK,
            diff=manner.diff,
            verbosity=manner.verbosity,
            timeout_seconds=self._seconds_left() if forward else None,
            grace_seconds=GRACE_SECONDS,
        )

    def _take(self, event: JournalEvent) -> None:
        self._results.add(event)
        self._site.watch.on_event(event)

    def _seconds_left(self) -> float | None:
        """Give what is left of the run's own time limit; `None` when it has none."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _too_long(self) -> str:
        limit = self._resolution.timeout
        return f"the run took longer than its timeout of {limit.total_seconds() if limit else 0:g} seconds"


def _deadline(site: Site) -> float | None:
    limit = site.order.resolution.timeout
    return None if limit is None else time.monotonic() + limit.total_seconds()
