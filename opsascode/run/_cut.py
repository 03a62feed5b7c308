"""Which stages is a run cut into?

A stage is one start of Ansible, one question to people, one pause, or the checks between two waves; its id is its wave
and its number within it. The steps of a wave are cut at each question. Wave 0 holds what is asked before anything.

What is left of a stage is compiled from the same parts as the whole: host by host from the first step that is not
completed on, so that nothing is done twice. With nothing completed, it is the very playbook of the plan.

Not here: what the words of a runbook mean for a plan (`_resolve`), or going from stage to stage (`_conduct`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from opsascode.errors import DocumentError
from opsascode.proof import RUN_APPROVER
from opsascode.repo import ApprovalStep, ManualStep
from opsascode.run._asks import Ask, AskKind
from opsascode.run._compiler import KEPT_VARIABLE, Frame, Piece, compile_pieces, render, task_play
from opsascode.run._compose import Binding, FlatStep, known_text
from opsascode.run._plan import StageKind
from opsascode.run._tasks import pause_task

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from opsascode.repo import BetweenWaves, Runbook, Value
    from opsascode.run._plan import AskedApproval

BETWEEN_PREFIX = "between."
Flat = FlatStep | Binding


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: its kind, the hosts it is about, and what it does: a playbook, a question, or seconds of waiting.

    `steps` are the ids of its steps, `flats` the same with their bindings, `earlier` the names that earlier stages of
    the wave leave for it.
    """

    id: str
    wave: int
    kind: StageKind
    hosts: tuple[str, ...]
    playbook: bytes = field(default=b"", repr=False)
    steps: tuple[str, ...] = ()
    ask: Ask | None = None
    seconds: float = 0.0
    flats: tuple[Flat, ...] = field(default=(), repr=False)
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutter:
    """Cuts one run into stages; knows all that is the same in each of them."""

    runbook: Runbook
    frame: Frame
    flats: tuple[Flat, ...]
    waves: tuple[tuple[str, ...], ...]
    values: Mapping[str, Value]
    asked: tuple[AskedApproval, ...] = ()

    def stages(self) -> tuple[Stage, ...]:
        """Give all stages in order.

        Raises:
            DocumentError: a question to people depends on a condition, which only Ansible could answer, host by host.
        """
        return tuple(self._stages())

    def rest(
        self, stage: Stage, completed: Mapping[str, Collection[str]], left_out: Collection[str] = ()
    ) -> tuple[bytes, tuple[str, ...]] | None:
        """Give what is left of a stage and the hosts in it, or nothing when nothing is.

        `completed` are the steps that each host need not take again. Hosts that are `left_out` take no step at all.
        """
        done_once = _done_once(stage, completed)
        begins = {
            host: _begin(stage.flats, {*completed.get(host, ()), *done_once})
            for host in stage.hosts
            if host not in left_out
        }
        active = tuple(host for host, begin in begins.items() if begin < len(stage.flats))
        if not active:
            return None
        pieces: list[Piece] = []
        for index, flat in enumerate(stage.flats):
            hosts = tuple(host for host in active if begins[host] <= index)
            if not hosts or flat.id in done_once:
                continue
            begun = max(begins[host] for host in hosts)
            before = [each for each in stage.flats if each.id in done_once]
            kept = (*stage.earlier, *names_of(stage.flats[:begun]), *names_of(before))
            pieces.append(Piece(flat=flat, hosts=hosts, all_hosts=active, kept=tuple(dict.fromkeys(kept))))
        return self._render(self._plays(stage, pieces)), active

    def whole(self, stages: Iterable[Stage]) -> bytes:
        """Give one playbook of all stages, which asks whoever runs it by hand where a run asks people."""
        plays: list[dict[str, object]] = []
        known: set[str] = set()
        for stage in stages:
            if stage.flats:
                gather = self.frame.gather_facts and not known.issuperset(stage.hosts)
                plays += self._plays(stage, _all(stage, ()), gather_facts=gather)
                known.update(stage.hosts)
            else:
                plays.append(task_play(self.frame, stage.hosts, _pause(stage)))
        return self._render(plays)

    def _render(self, plays: Sequence[Mapping[str, object]]) -> bytes:
        source = self.runbook.source
        continues = any(KEPT_VARIABLE in str(play.get("vars")) for play in plays)
        use = (
            f"Goes on where another playbook stopped; {KEPT_VARIABLE} holds what that one left for each host."
            if continues
            else "Runs with plain ansible-playbook when it lies in the repository's playbooks/ directory."
        )
        return render(plays, header=(f"Compiled from {source.path} ({source.digest}).", use))

    def _stages(self) -> Iterator[Stage]:
        everybody = tuple(host for wave in self.waves for host in wave)
        for ask in starting_asks(self.runbook, self.asked):
            yield Stage(id=ask.stage, wave=0, kind=StageKind.APPROVAL, hosts=everybody, ask=ask)
        for wave in range(1, len(self.waves) + 1):
            for part, stage in enumerate((*self._wave(wave), *self._after(wave)), start=1):
                yield self._numbered(stage, f"{wave}.{part}")

    def _numbered(self, stage: Stage, name: str) -> Stage:
        """Give a stage its id, and with it its playbook or the stage its question is asked in."""
        if stage.ask:
            return replace(stage, id=name, ask=replace(stage.ask, stage=name))
        if not stage.flats:
            return replace(stage, id=name)
        return replace(stage, id=name, playbook=self._render(self._plays(stage, _all(stage, stage.earlier))))

    def _wave(self, wave: int) -> Iterator[Stage]:
        """Cut the steps of one wave at its questions; a question that is asked once is asked in the first wave."""
        waiting: list[Flat] = []
        earlier: tuple[str, ...] = ()
        for flat in self.flats:
            if not isinstance(flat, FlatStep) or not flat.asks:
                waiting.append(flat)
            elif not (flat.step.run_once and wave > 1):
                if any(isinstance(each, FlatStep) for each in waiting):
                    part, waiting = _without_last_bindings(waiting)
                    yield self._part(wave, part, earlier)
                    earlier = (*earlier, *names_of(part))
                yield self._question(wave, flat)
        if any(isinstance(each, FlatStep) for each in waiting):
            yield self._part(wave, waiting, earlier)

    def _part(self, wave: int, flats: Sequence[Flat], earlier: Sequence[str]) -> Stage:
        return Stage(
            id="",
            wave=wave,
            kind=StageKind.ANSIBLE,
            hosts=self.waves[wave - 1],
            steps=tuple(flat.id for flat in flats if isinstance(flat, FlatStep)),
            flats=tuple(flats),
            earlier=tuple(dict.fromkeys(earlier)),
        )

    def _question(self, wave: int, flat: FlatStep) -> Stage:
        if flat.conditions:
            raise DocumentError(
                f"step {flat.id} asks people, and whether it is reached depends on a condition",
                position=flat.step.position,
                advice="take when away from the steps that run this runbook",
            )
        action, known = flat.step.action, {**self.values, **flat.scope}
        approval = action if isinstance(action, ApprovalStep) else None
        manual = action if isinstance(action, ManualStep) else None
        said = approval.message if approval else manual.instructions if manual else ""
        ask = Ask(
            stage="",
            wave=wave,
            kind=AskKind.APPROVAL if approval else AskKind.MANUAL,
            step=flat.id,
            title=known_text(flat.step.title, known),
            instructions=known_text(said, known),
            required=approval.required if approval else 1,
            role=approval.role if approval else None,
            note_needed=manual is not None and manual.note_required,
            **({"lifetime": approval.lifetime} if approval else {}),
        )
        kind = StageKind.APPROVAL if approval else StageKind.MANUAL
        return Stage(id="", wave=wave, kind=kind, hosts=self.waves[wave - 1], steps=(flat.id,), ask=ask)

    def _after(self, wave: int) -> Iterator[Stage]:
        """Give what comes between a wave and the next: time to pass, a look at all hosts so far, a person's word."""
        between = self.runbook.targets.between_waves
        if between is None or wave == len(self.waves):
            return
        hosts = tuple(host for each in self.waves[:wave] for host in each)
        if between.pause:
            seconds = between.pause.total_seconds()
            yield Stage(id="", wave=wave, kind=StageKind.PAUSE, hosts=hosts, seconds=seconds)
        if between.checks:
            flats = between_checks(between, wave)
            yield Stage(
                id="",
                wave=wave,
                kind=StageKind.CHECKS,
                hosts=hosts,
                steps=tuple(flat.id for flat in flats),
                flats=flats,
                earlier=names_of(self.flats),
            )
        if between.confirm:
            title = f"Wave {wave} of {len(self.waves)} is done"
            ask = Ask(
                stage="",
                wave=wave,
                kind=AskKind.MANUAL,
                step=f"{BETWEEN_PREFIX}{wave}",
                title=title,
                instructions=known_text(between.confirm, self.values),
            )
            yield Stage(id="", wave=wave, kind=StageKind.MANUAL, hosts=hosts, ask=ask)

    def _plays(
        self, stage: Stage, pieces: Sequence[Piece], *, gather_facts: bool | None = None
    ) -> list[dict[str, object]]:
        checks = stage.kind is StageKind.CHECKS
        tolerance = None if checks else self.runbook.targets.max_fail_percent
        frame = self.frame if gather_facts is None else replace(self.frame, gather_facts=gather_facts)
        plays = compile_pieces(frame, pieces, max_fail_percent=tolerance)
        where = f"after wave {stage.wave}" if checks else f"wave {stage.wave}"
        if len(self.waves) > 1:
            for play in plays:
                play["name"] = f"{play['name']} ({where} of {len(self.waves)})"
        return plays


def starting_asks(runbook: Runbook, asked: Iterable[AskedApproval]) -> tuple[Ask, ...]:
    """Give what is asked before anything is done: once for each role, the largest number that anybody asks of it.

    The runbook's own question comes first; what a guardrail asks of the same role only raises its number.
    """
    need, title = runbook.approval, f"Run {runbook.metadata.title}"
    found: dict[str, Ask] = {}
    if need.required:
        found[need.role or RUN_APPROVER] = Ask(
            stage="",
            wave=0,
            kind=AskKind.APPROVAL,
            step="",
            title=title,
            required=need.required,
            role=need.role,
            lifetime=need.lifetime,
        )
    for each in asked:
        role = each.role or RUN_APPROVER
        ask = found.get(role) or Ask(stage="", wave=0, kind=AskKind.APPROVAL, step="", title=title, role=each.role)
        why = f"{each.by}: {each.reason}"
        told = f"{ask.instructions}\n{why}" if ask.instructions else why
        found[role] = replace(ask, required=max(ask.required, each.required), instructions=told)
    return tuple(replace(ask, stage=f"0.{number}") for number, ask in enumerate(found.values(), start=1))


def between_checks(between: BetweenWaves, wave: int) -> tuple[FlatStep, ...]:
    """Give the checks after a wave as steps; each wave's have ids of their own, as they are looked at anew."""
    return tuple(
        FlatStep(id=f"{BETWEEN_PREFIX}{wave}.{check.id}", step=check, scope={}, conditions=())
        for check in between.checks
    )


def names_of(flats: Iterable[Flat]) -> tuple[str, ...]:
    """Give the names that steps leave for later ones."""
    return tuple(dict.fromkeys(name for flat in flats for name in flat.names))


def _all(stage: Stage, kept: tuple[str, ...]) -> list[Piece]:
    return [Piece(flat=flat, hosts=stage.hosts, all_hosts=stage.hosts, kept=kept) for flat in stage.flats]


def _done_once(stage: Stage, completed: Mapping[str, Collection[str]]) -> set[str]:
    """Give the steps that one host does for all, and that one has done."""
    once = [flat.id for flat in stage.flats if isinstance(flat, FlatStep) and flat.once]
    return {step for step in once if any(step in completed.get(host, ()) for host in stage.hosts)}


def _begin(flats: Sequence[Flat], done: Collection[str]) -> int:
    """Give where a host begins: its first step not done, with the bindings right before it."""
    pending = (index for index, flat in enumerate(flats) if isinstance(flat, FlatStep) and flat.id not in done)
    begin = next(pending, len(flats))
    while 0 < begin < len(flats) and isinstance(flats[begin - 1], Binding):
        begin -= 1
    return begin


def _without_last_bindings(flats: list[Flat]) -> tuple[list[Flat], list[Flat]]:
    """Cut the last bindings off: they belong to the steps that follow, whatever is asked in between."""
    last = max(index for index, flat in enumerate(flats) if isinstance(flat, FlatStep))
    return flats[: last + 1], flats[last + 1 :]


def _pause(stage: Stage) -> dict[str, object]:
    """Give the task that stands for a question or a pause in a playbook run by hand."""
    if stage.ask is None:
        return {"name": f"Pause after wave {stage.wave}", "ansible.builtin.pause": {"seconds": int(stage.seconds)}}
    ask = stage.ask
    need = f"Needs {ask.required} approval(s)" + (f" by {ask.role}" if ask.role else "")
    lines = [ask.title, ask.instructions, need if ask.kind is AskKind.APPROVAL else "", "Enter goes on, Ctrl-C a stops"]
    return pause_task(ask.step or "approval", ask.title, "\n".join(line for line in lines if line))
