"""Would a gate have said something else, would anybody have been woken, and which runbook would have been started?

A measurement says only what was measured: counts of one indicator over one window say nothing about another one, and a
burn over a window that nobody asked for is not known. Then the record cannot be replayed. Another target, another
threshold or another factor is no such thing: these are judged by the same counts.

Gates are compared without overrides, on both sides: an override is about the reasons of its day. Remediations are
started as often as their own limits allow, as if one measurement after the other had come in.

Not here: measuring and burn rates (`slo`), deciding as such (`_gate`, `_due`), guardrails (`_simulate_plans`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.policy._due import DueKind, due
from opsascode.policy._gate import NoPolicyError, decide_gate
from opsascode.policy._gate_question import Verdict
from opsascode.policy._replayed import Answer, ChangeKind, DecidingRule, Difference
from opsascode.repo import AlertLevel
from opsascode.slo import burn_windows, status_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta
    from decimal import Decimal

    from opsascode.policy._due import Due
    from opsascode.policy._gate import GateVerdict
    from opsascode.policy._replayed import GateJudged, SloTaken
    from opsascode.repo import Policies, ReliabilityPolicy, Remediation, Target
    from opsascode.slo import BurnSeen, ServiceStatus, SloSnapshot, TargetSeen

_BADNESS: Final = {None: 0, Verdict.PASS: 1, Verdict.WARN: 2, Verdict.BLOCK: 3}
_NO_POLICY: Final = "no policy is about this service"
_NOTHING: Final = "nothing started"
_FEW: Final = 1000
_ALERTS: Final = (
    (AlertLevel.PAGE, ChangeKind.PAGES, ChangeKind.PAGES_NO_MORE),
    (AlertLevel.TICKET, ChangeKind.TICKETS, ChangeKind.TICKETS_NO_MORE),
)


class SloReplay:
    """Judges gates and measurements by the current reliability policies and by those of a candidate.

    Measurements are to be given in the order of time, as remediations have limits.
    """

    def __init__(self, current: Policies, candidate: Policies, measured: Iterable[ReliabilityPolicy]) -> None:
        """Take both, and earlier policies that measurements were taken for."""
        self._current, self._candidate = _Side(current), _Side(candidate)
        known = (*measured, *current.reliability, *candidate.reliability)
        self._measured = {(each.source.digest, each.metadata.name): each for each in known}

    def replay_gate(self, record: GateJudged) -> Answer:
        """Ask both gates the same question again."""
        question = record.question
        if question is None:
            return Answer(unknown=record.lacking)
        for side in (self._current, self._candidate):
            taken = {each.policy: each for each in question.snapshots}
            for policy in side.policies.of_service(record.service):
                name = policy.metadata.name
                unknown = self._unknown(policy, taken[name]) if name in taken else f"{name} was not measured then"
                if unknown:
                    return Answer(unknown=unknown)
        before, after = self._current.gate(record), self._candidate.gate(record)
        return Answer(
            differences=tuple(_gate_difference(record, before, after)),
            since=tuple(_gate_since(record, before)),
        )

    def replay_snapshot(self, record: SloTaken) -> Answer:
        """Judge what was measured by both."""
        snapshot = record.snapshot
        if snapshot is None:
            return Answer(unknown=record.lacking)
        pair = (self._current.policy(snapshot.policy), self._candidate.policy(snapshot.policy))
        for policy in pair:
            unknown = self._unknown(policy, snapshot) if policy else ""
            if unknown:
                return Answer(unknown=unknown)
        before, after = self._current.judge(pair[0], snapshot), self._candidate.judge(pair[1], snapshot)
        return Answer(differences=(*_alerts(record, before, after), *_starts(record, before, after)))

    def _unknown(self, policy: ReliabilityPolicy, snapshot: SloSnapshot) -> str:
        """Say what a policy asks about that was not measured; nothing where all of it was."""
        if snapshot.unreachable is not None:
            return ""
        asked = self._measured.get((snapshot.digest, snapshot.policy))
        if asked is None:
            return "the policy that was measured for is not in this clone"
        if asked.window != policy.window:
            return "it was measured over another window"
        seen = {each.id: each for each in snapshot.targets}
        return next(filter(None, (_unmeasured(policy, each, asked, seen) for each in policy.targets)), "")


@dataclass(frozen=True, slots=True)
class _Start:
    """A runbook that is to be started, and how: by itself, after an approval, by hand, or by the escalation chain."""

    due: Due
    mode: str

    @property
    def words(self) -> str:
        return f"runbook {self.due.runbook}, {self.mode}"


class _Judged:
    """What one pack makes of one measurement: alerts by promise and level, and the remediations it starts."""

    def __init__(self, status: ServiceStatus | None, policy: ReliabilityPolicy | None) -> None:
        self.policy = policy
        self.targets = {each.id: each for each in status.targets} if status else {}
        self.started: dict[str, _Start] = {}

    def firing(self, target: str, level: AlertLevel) -> tuple[BurnSeen, ...]:
        """Give the pairs of windows of a level in which a promise burns too fast."""
        found = self.targets.get(target)
        return tuple(each for each in found.burns if each.firing and each.window.level is level) if found else ()


class _Side:
    """The reliability policies of one pack, and which remediations it has started so far."""

    def __init__(self, policies: Policies) -> None:
        self.policies = policies
        self._by_name = {each.metadata.name: each for each in policies.reliability}
        self._starts: dict[tuple[str, str], list[datetime]] = {}

    def policy(self, name: str) -> ReliabilityPolicy | None:
        """Find a policy by its name."""
        return self._by_name.get(name)

    def gate(self, record: GateJudged) -> GateVerdict | None:
        """Ask the gate; None where no policy is about the service."""
        if record.question is None:
            return None
        try:
            return decide_gate(self.policies, record.question, now=record.at)
        except NoPolicyError:
            return None

    def judge(self, policy: ReliabilityPolicy | None, snapshot: SloSnapshot) -> _Judged:
        """Judge a measurement, and start what is due and not started too often already."""
        if policy is None:
            return _Judged(None, None)
        status = status_of(policy, snapshot)
        judged = _Judged(status, policy)
        for each in due(policy, status):
            if each.remediation is not None and self._may_start(policy, each.remediation, snapshot.taken):
                judged.started[f"remediation {each.remediation.name}"] = _Start(each, each.remediation.mode.value)
            elif each.kind is DueKind.TRIGGER and each.runbook is not None:
                judged.started[f"escalation to {each.runbook}"] = _Start(each, "escalation")
        return judged

    def _may_start(self, policy: ReliabilityPolicy, remediation: Remediation, at: datetime) -> bool:
        starts = self._starts.setdefault((policy.metadata.name, remediation.name), [])
        starts[:] = [each for each in starts if at - each < remediation.within]
        if len(starts) >= remediation.most:
            return False
        starts.append(at)
        return True


def _unmeasured(
    policy: ReliabilityPolicy, target: Target, asked: ReliabilityPolicy, seen: dict[str, TargetSeen]
) -> str:
    """Say what is not known about one promise."""
    found, before = seen.get(target.id), asked.target(target.id)
    if found is None or before is None:
        return f"{target.id} was not measured then"
    if (before.indicator, before.slices) != (target.indicator, target.slices):
        return f"{target.id} was measured by another indicator"
    if not found.present:
        return ""
    asked_for = (length for each in burn_windows(policy) for length in (each.long, each.short))
    missing = next((each for each in asked_for if each not in found.rates), None)
    return "" if missing is None else f"the burn of {target.id} over {_length(missing)} was not measured then"


def _gate_difference(record: GateJudged, before: GateVerdict | None, after: GateVerdict | None) -> Iterator[Difference]:
    was, would = _verdict(before), _verdict(after)
    if was is would:
        return
    stricter = _BADNESS[would] > _BADNESS[was]
    found, gone = (after, False) if stricter else (before, True)
    change = ChangeKind.GATE_STRICTER if stricter else ChangeKind.GATE_LOOSER
    yield _difference(
        record, change, record.change_class, (_word(was), _word(would)), tuple(_gate_rules(found, gone=gone))
    )


def _gate_since(record: GateJudged, now: GateVerdict | None) -> Iterator[Difference]:
    """Tell where the gate says something else now than it did then; an override of then does not count now."""
    if _word(_verdict(now)) != record.verdict:
        looser = record.verdict == Verdict.BLOCK.value or _verdict(now) is Verdict.PASS
        change = ChangeKind.GATE_LOOSER if looser else ChangeKind.GATE_STRICTER
        yield _difference(
            record,
            change,
            record.change_class,
            (record.verdict, _word(_verdict(now))),
            tuple(_gate_rules(now, gone=False)),
        )


def _gate_rules(verdict: GateVerdict | None, *, gone: bool) -> Iterator[DecidingRule]:
    if verdict is None:
        yield DecidingRule(source="reliability policies", message=_NO_POLICY, gone=gone)
        return
    for each in verdict.reasons:
        if each.effect is not Verdict.PASS:
            yield DecidingRule(source=each.source, message=each.message, position=each.position, gone=gone)


def _verdict(found: GateVerdict | None) -> Verdict | None:
    return found.verdict if found else None


def _word(verdict: Verdict | None) -> str:
    return verdict.value if verdict else "no policy"


def _alerts(record: SloTaken, before: _Judged, after: _Judged) -> Iterator[Difference]:
    """Tell for each promise whether an alert fires on one side only."""
    for target in dict.fromkeys((*before.targets, *after.targets)):
        for level, comes, goes in _ALERTS:
            was, would = before.firing(target, level), after.firing(target, level)
            if bool(was) is bool(would):
                continue
            judged = after if would else before
            rules = tuple(_burn_rule(judged, target, each, gone=bool(was)) for each in was or would)
            words = ("quiet", level.value) if would else (level.value, "quiet")
            yield _difference(record, comes if would else goes, target, words, rules)


def _burn_rule(judged: _Judged, target: str, burn: BurnSeen, *, gone: bool) -> DecidingRule:
    window, promise = burn.window, judged.policy.target(target) if judged.policy else None
    message = (
        f"burns {_figure(burn.long)} times over {_length(window.long)} and {_figure(burn.short)} times over "
        f"{_length(window.short)}, and {_figure(window.factor)} is the most"
    )
    source = f"reliability policy {judged.policy.metadata.name}" if judged.policy else "reliability policy"
    return DecidingRule(source=source, message=message, position=promise.position if promise else None, gone=gone)


def _starts(record: SloTaken, before: _Judged, after: _Judged) -> Iterator[Difference]:
    """Tell which runbooks would be started on one side only, or in another way."""
    for name in dict.fromkeys((*before.started, *after.started)):
        was, would = before.started.get(name), after.started.get(name)
        words = (was.words if was else _NOTHING, would.words if would else _NOTHING)
        if words[0] == words[1]:
            continue
        change = ChangeKind.REMEDIATES if would else ChangeKind.REMEDIATES_NO_MORE
        found, judged = (would, after) if would else (was, before)
        source = f"reliability policy {judged.policy.metadata.name}" if judged.policy else "reliability policy"
        message = "; ".join(str(each) for each in found.due.causes) if found else ""
        position = found.due.position if found else None
        rule = DecidingRule(source=source, message=f"{name}, as {message}", position=position, gone=would is None)
        yield _difference(record, change, name, words, (rule,))


def _difference(
    record: GateJudged | SloTaken,
    change: ChangeKind,
    where: str,
    words: tuple[str, str],
    rules: tuple[DecidingRule, ...],
) -> Difference:
    before, after = words
    return Difference(
        change=change,
        kind=record.kind,
        id=record.id,
        at=record.at,
        about=record.service,
        where=where,
        before=before,
        after=after,
        rules=rules,
    )


def _figure(number: Decimal | None) -> str:
    return "?" if number is None else f"{number:.3g}".rstrip(".") if number < _FEW else f"{number:.0f}"


def _length(span: timedelta) -> str:
    """Write a length as policies do: 5m, 1h, 3d."""
    seconds = int(span.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
