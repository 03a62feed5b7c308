"""What speaks against a change now, by one policy: budgets, pages, incidents, freezes, and what is not known?

A measurement older than the grace of the gate is none, and one from the future neither. A calendar that is not there,
or a promise that was not measured, counts as what is not known.

Not here: what follows from the reasons (`_gate`).
"""

from __future__ import annotations

from datetime import UTC, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Final

from opsascode.policy._forms import CLOCK_TOLERANCE
from opsascode.policy._gate_question import GateCode, GateReason, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from opsascode.policy._gate_question import GateQuestion
    from opsascode.repo import BudgetLevel, GateRules, Open, Policies, ReliabilityPolicy
    from opsascode.slo import ServiceStatus, SloSnapshot, TargetStatus

_INSTANT: Final = timedelta(microseconds=1)
_ORDER: Final = ("ok", "warn", "critical", "exhausted")


def reasons_of(
    policy: ReliabilityPolicy, policies: Policies, question: GateQuestion, now: datetime
) -> Iterator[GateReason]:
    """Give every reason that one policy has against the change, and notes about what is not known yet."""
    yield from _measured(policy, question, now)
    yield from _incidents(policy, question)
    yield from _freezes(policy, policies, now)


def unknown_words(asked: Sequence[ReliabilityPolicy], reasons: Sequence[GateReason]) -> str:
    """Say how the gate fails where something is not known, or nothing where all is known."""
    without = {each.policy for each in reasons if each.code in {GateCode.NO_DATA, GateCode.UNREACHABLE}}
    said = {_fails(each.gate) for each in asked if each.metadata.name in without}
    if not said:
        return ""
    return "fails closed" if "fails closed" in said else "fails open"


def _fails(gate: GateRules) -> str:
    return "fails closed" if gate.unknown.value == "block" else "fails open"


def _measured(policy: ReliabilityPolicy, question: GateQuestion, now: datetime) -> Iterator[GateReason]:
    from opsascode.slo import status_of  # noqa: PLC0415 - a gate without a measurement needs no judgement of one

    name = policy.metadata.name
    meant = (name, policy.service)
    snapshot = next((each for each in question.snapshots if (each.policy, each.service) == meant), None)
    if snapshot is None:
        yield _unknown(policy, GateCode.UNREACHABLE, "", "nothing was measured for it")
    elif snapshot.unreachable is not None:
        yield _unknown(policy, GateCode.UNREACHABLE, "", f"Prometheus cannot be asked: {snapshot.unreachable}")
    elif (stale := _untimely(snapshot, policy.gate, now)) is not None:
        yield _unknown(policy, GateCode.NO_DATA, "", stale)
    else:
        yield from _by_target(policy, status_of(policy, snapshot), now)


def _untimely(snapshot: SloSnapshot, gate: GateRules, now: datetime) -> str | None:
    age = now - snapshot.taken
    if age > gate.grace:
        return f"it was measured {span(age)} ago, and {span(gate.grace)} is the grace"
    if -age > CLOCK_TOLERANCE:
        return f"it was measured at {moment(snapshot.taken)}, which is still to come"
    return None


def _by_target(policy: ReliabilityPolicy, status: ServiceStatus, now: datetime) -> Iterator[GateReason]:
    from opsascode.repo import AlertLevel  # noqa: PLC0415 - the door of a house is opened when it is needed

    found = {each.id: each for each in status.targets}
    for target in policy.targets:
        seen = found.get(target.id)
        if seen is None:
            yield _unknown(policy, GateCode.NO_DATA, target.id, f"{target.id} was not measured")
            continue
        if seen.seen.problem is not None:
            yield _unknown(policy, GateCode.NO_DATA, target.id, f"{target.id} cannot be measured: {seen.seen.problem}")
        elif seen.level.value == "no_data" or not seen.seen.present:
            yield _silent(policy, seen, now)
        if seen.consumed is not None:
            yield from _budget(policy, seen, seen.consumed)
        if policy.gate.block_on_page and seen.firing(AlertLevel.PAGE):
            yield _page(policy, seen)


def _silent(policy: ReliabilityPolicy, target: TargetStatus, now: datetime) -> GateReason:
    """Judge a promise without data: since when, and how long that may be."""
    seen, grace = target.seen, policy.gate.grace
    last = seen.last_data or (now if seen.present else None)
    if last is None:
        return _unknown(policy, GateCode.NO_DATA, target.id, f"{target.id} has no data: its metric is not there")
    silence = max(now - last, timedelta())
    if silence > grace:
        since = f"{span(silence)}, since {moment(last)}"
        message = f"{target.id} has had no data for {since}, and {span(grace)} is the grace"
        return _unknown(policy, GateCode.NO_DATA, target.id, message)
    return GateReason(
        code=GateCode.NO_DATA,
        effect=Verdict.PASS,
        policy=policy.metadata.name,
        about=target.id,
        message=f"{target.id} has {'too little data' if seen.present else 'no new data'}; its metric was last seen "
        f"{span(silence)} ago, within the grace of {span(grace)}",
        position=policy.gate.position,
    )


def _unknown(policy: ReliabilityPolicy, code: GateCode, about: str, why: str) -> GateReason:
    return GateReason(
        code=code,
        effect=Verdict(policy.gate.unknown.value),
        policy=policy.metadata.name,
        about=about,
        message=f"{why}: the gate {_fails(policy.gate)}",
        position=policy.gate.position,
        mend="make it measurable again; gate.no_data says what holds until then",
    )


def _budget(policy: ReliabilityPolicy, target: TargetStatus, consumed: Decimal) -> Iterator[GateReason]:
    gate = policy.gate
    for effect, least in ((Verdict.BLOCK, gate.block_at), (Verdict.WARN, gate.warn_at)):
        if least is None or _ORDER.index(target.level.value) < _ORDER.index(least.value):
            continue
        bound = _bound(policy, least)
        yield GateReason(
            code=GateCode.BUDGET,
            effect=effect,
            policy=policy.metadata.name,
            about=target.id,
            message=f"{percent(consumed)} of the error budget of {target.id} is consumed, "
            f"{least.value} is {percent(bound)}",
            position=gate.position,
            mend=f"below {percent(bound)} it passes{_exempted(gate)}",
        )
        return


def _bound(policy: ReliabilityPolicy, level: BudgetLevel) -> Decimal:
    known = {"warn": policy.thresholds.warn, "critical": policy.thresholds.critical}
    return known.get(level.value, Decimal(1))


def _page(policy: ReliabilityPolicy, target: TargetStatus) -> GateReason:
    burning = next(each for each in target.burns if each.firing and each.window.level.value == "page")
    window = burning.window
    rates = f"{_rate(burning.long)} over {span(window.long)} and {_rate(burning.short)} over {span(window.short)}"
    return GateReason(
        code=GateCode.PAGE,
        effect=Verdict.BLOCK,
        policy=policy.metadata.name,
        about=target.id,
        message=f"the error budget of {target.id} burns fast enough to page: {rates}, "
        f"{_rate(window.factor)} is the limit",
        position=policy.gate.position,
        mend=f"once the burn over {span(window.short)} is below {_rate(window.factor)}, the page ends"
        f"{_exempted(policy.gate)}",
    )


def _incidents(policy: ReliabilityPolicy, question: GateQuestion) -> Iterator[GateReason]:
    least = policy.gate.incident_rank
    for each in question.incidents:
        if least is None or each.service != question.service or each.rank > least:
            continue
        yield GateReason(
            code=GateCode.INCIDENT,
            effect=Verdict.BLOCK,
            policy=policy.metadata.name,
            about=each.id,
            message=f"the incident {each.id} of rank {each.rank} is open since {moment(each.opened)}: {each.title}",
            position=policy.gate.position,
            mend=f"end it: opsascode incident resolve {each.id}{_exempted(policy.gate)}",
        )


def _freezes(policy: ReliabilityPolicy, policies: Policies, now: datetime) -> Iterator[GateReason]:
    for name in policy.gate.freeze:
        calendar = policies.calendar(name)
        if calendar is None:
            yield GateReason(
                code=GateCode.FREEZE,
                effect=Verdict.BLOCK,
                policy=policy.metadata.name,
                about=name,
                message=f"the calendar {name}, which says when changes are frozen, is not there: the gate fails closed",
                position=policy.gate.position,
                mend="add the calendar to policies/, or take its name from gate.freeze",
            )
            continue
        # All of them: one that ends sooner must not hide behind one that people agreed to pass over.
        for window in calendar.occurrences(now, now + _INSTANT):
            yield _frozen(policy, name, window)


def _frozen(policy: ReliabilityPolicy, calendar: str, window: Open) -> GateReason:
    why = f": {window.reason}" if window.reason else ""
    return GateReason(
        code=GateCode.FREEZE,
        effect=Verdict.BLOCK,
        policy=policy.metadata.name,
        about=f"{calendar}/{window.window}/{window.start:%Y-%m-%dT%H:%M:%SZ}",
        message=f"changes are frozen by the window {window.window} of the calendar {calendar} "
        f"until {moment(window.end)}{why}",
        position=policy.gate.position,
        mend=f"wait until {moment(window.end)}{_exempted(policy.gate)}",
        ends=window.end,
    )


def _exempted(gate: GateRules) -> str:
    return f"; changes of class {', '.join(gate.exempt)} pass" if gate.exempt else ""


def percent(share: Decimal) -> str:
    """Write a share as people read it, never rounded up: 84 %, 79.9 %."""
    found = (share * 100).quantize(Decimal("0.1"), rounding=ROUND_DOWN)
    return f"{found.to_integral_value() if found == found.to_integral_value() else found} %"


def span(length: timedelta) -> str:
    """Write a length of time with its two largest units: 2h 10m, 30d."""
    left, parts = max(int(length.total_seconds()), 0), []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, seconds)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2]) or "0s"


def moment(at: datetime) -> str:
    """Write a moment in UTC to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _rate(rate: Decimal | None) -> str:
    if rate is None:
        return "none"
    found = rate.quantize(Decimal("0.1"), rounding=ROUND_DOWN)
    return f"{found.to_integral_value() if found == found.to_integral_value() else found}"
