"""How is the state of error budgets shown: as a table with bars, as JSON, as a table in Markdown?

A number is cut, never rounded to look better than it is: 99.9499 % is never shown as 99.95 %. Where there are no data
it says so and since when, and shows no number.

Not here: where the numbers are from (`slo`), what follows from them (`policy`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import escape_line, stamp, wants_colour

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from opsascode.policy import Due
    from opsascode.proof import Json
    from opsascode.repo import ReliabilityPolicy
    from opsascode.slo import BurnSeen, ServiceStatus, TargetStatus

NONE: Final = "-"
_WIDTH: Final = 20
_COLOURS: Final = {"ok": "green", "warn": "yellow", "critical": "red", "exhausted": "red", "no_data": "magenta"}
_HEADS: Final = ("PROMISE", "TARGET", "SO FAR", "BUDGET USED", "USED", "LEFT", "BURN", "GONE IN", "LEVEL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The state of one service, beside the policy it is judged by and what follows from it."""

    policy: ReliabilityPolicy
    status: ServiceStatus
    due: tuple[Due, ...] = ()

    @property
    def answered(self) -> bool:
        """Whether everything could be measured; no data is an answer, too."""
        return self.status.snapshot.unreachable is None and all(
            each.seen.problem is None for each in self.status.targets
        )


def status_lines(shown: Sequence[Shown]) -> Iterator[str]:
    """Show services as tables of one line a promise."""
    for number, each in enumerate(shown):
        if number:
            yield ""
        yield from _service_lines(each)


def _service_lines(shown: Shown) -> Iterator[str]:
    status, snapshot = shown.status, shown.status.snapshot
    named = "" if status.policy == status.service else f", policy {status.policy}"
    yield escape_line(f"{status.service}{named}: {window_words(shown.policy)}, at {stamp(status.taken)}")
    if snapshot.unreachable is not None:
        yield f"  {_styled('could not be measured', 'no_data')}: {escape_line(snapshot.unreachable)}"
    else:
        yield from _table(shown)
    for target in status.targets:
        for note in target_notes(target, unreachable=snapshot.unreachable is not None):
            yield escape_line(f"  {target.id}: {note}")
    for target in status.targets:
        for burn in firing(target):
            word = _styled(f"{burn.window.level.value} fires", "critical")
            yield f"  {word}: {escape_line(target.id)} {burn_words(burn)}"
    for one in shown.due:
        yield escape_line(f"  due: {one.sentence()}")
    for note in snapshot.warnings:
        yield escape_line(f"  warning: {note}")
    yield from (f"  note: {each}" for each in changed_notes(shown))


def _table(shown: Shown) -> Iterator[str]:
    rows = [_row(shown.policy, each) for each in shown.status.targets]
    widths = [max(len(row[column]) for row in (_HEADS, *rows)) for column in range(len(_HEADS))]
    for row in (_HEADS, *rows):
        cells = [
            f"{cell:<{width}}" if column in {0, 3} else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(row[:-1], widths, strict=False))
        ]
        last = row[-1] if row is _HEADS else _styled(row[-1], row[-1])
        yield f"  {'  '.join((*cells, last))}"


def _row(policy: ReliabilityPolicy, target: TargetStatus) -> tuple[str, ...]:
    return (
        escape_line(target.id),
        percent(target.target),
        share(target.objective, like=target.target),
        bar(target.consumed, policy.thresholds.warn, policy.thresholds.critical),
        used(target.consumed),
        left(target.consumed),
        factor(target.burn),
        gone_in(target),
        target.level.value,
    )


def bar(consumed: Decimal | None, warn: Decimal, critical: Decimal) -> str:
    """Draw how much of a budget is gone, with marks where it is to be warned of and critical."""
    full, empty, mark, passed, more = "█·╎▒▶" if _has_unicode() else "#-|+>"
    if consumed is None:
        return f"[{' ' * _WIDTH}]"
    filled = min(_WIDTH, int(consumed * _WIDTH))
    if consumed > 0 and not filled:
        filled = 1
    marks = {int(each * _WIDTH) for each in (warn, critical) if each < 1}
    cells = "".join(
        (passed if at in marks else full) if at < filled else (mark if at in marks else empty) for at in range(_WIDTH)
    )
    return f"[{cells}{more if consumed > 1 else ']'}"


def percent(value: Decimal) -> str:
    """Write a share as a percentage, exactly."""
    text = f"{value * 100:f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}%"


def share(value: Decimal | None, *, like: Decimal) -> str:
    """Write a share with two places more than the target has, cut."""
    if value is None:
        return NONE
    places = max(0, -int((like * 100).normalize().as_tuple().exponent)) + 2
    return f"{(value * 100).quantize(Decimal(1).scaleb(-places), ROUND_FLOOR):f}%"


def used(consumed: Decimal | None) -> str:
    """Write the share of the budget that is gone."""
    return NONE if consumed is None else f"{100 - _left(consumed):f}%"


def left(consumed: Decimal | None) -> str:
    """Write the share of the budget that is left; below zero where more is gone than there was."""
    return NONE if consumed is None else f"{_left(consumed):f}%"


def _left(consumed: Decimal) -> Decimal:
    return ((1 - consumed) * 100).quantize(Decimal("0.1"), ROUND_FLOOR)


def factor(burn: Decimal | None) -> str:
    """Write how many times faster than allowed a budget burns."""
    return NONE if burn is None else f"{burn.quantize(Decimal('0.01'), ROUND_HALF_EVEN):f}"


def gone_in(target: TargetStatus) -> str:
    """Say when the budget will be gone at the present burn."""
    if target.exhausted_in is None:
        return NONE
    return "now" if not target.exhausted_in else span_words(target.exhausted_in)


def span_words(length: timedelta) -> str:
    """Write a length by its two largest units."""
    seconds = int(length.total_seconds())
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s")]
    shown = [f"{number}{unit}" for number, unit in parts if number][:2]
    return " ".join(shown) or "0s"


def window_words(policy: ReliabilityPolicy) -> str:
    """Say over which window a budget runs."""
    from opsascode.repo import Rolling  # noqa: PLC0415 - keeps --help quick

    if isinstance(policy.window, Rolling):
        return f"the last {span_words(policy.window.length)}"
    return f"this {policy.window.unit.value} in {policy.window.timezone}"


def firing(target: TargetStatus) -> tuple[BurnSeen, ...]:
    """Give the burn alerts that fire."""
    return tuple(each for each in target.burns if each.firing)


def burn_words(burn: BurnSeen) -> str:
    """Say how fast a budget burns, and above which burn that is an alert."""
    pair = burn.window
    return (
        f"burns {factor(burn.long)} times too fast over {span_words(pair.long)} and {factor(burn.short)} over "
        f"{span_words(pair.short)} (alert above {factor(pair.factor)})"
    )


def target_notes(target: TargetStatus, *, unreachable: bool = False) -> Iterator[str]:
    """Say why there are no data, and what else must be known about a number."""
    seen = target.seen
    if unreachable:
        return
    if seen.problem is not None:
        yield f"cannot be measured: {seen.problem}"
    elif not seen.present:
        since = f"since {stamp(seen.last_data)}: its metric is gone" if seen.last_data else "its metric does not exist"
        yield f"no data {since}" if seen.last_data else f"no data: {since}"
    elif target.consumed is None:
        events = f"{seen.counted.total.quantize(Decimal(1)):f}" if seen.counted and seen.counted.total else "none"
        yield f"no data: too little happened in the window (events: {events})"
    if seen.target != target.target:
        yield f"measured when the target was {percent(seen.target)}"


def changed_notes(shown: Shown) -> Iterator[str]:
    """Say where the policy is no longer the one that was measured for."""
    snapshot = shown.status.snapshot
    if snapshot.digest != shown.policy.source.digest:
        since = f" (then of commit {snapshot.commit[:12]})" if snapshot.commit else ""
        yield escape_line(
            f"the policy has changed since it was measured{since}; it is judged by the one that holds now"
        )


def shown_json(shown: Shown) -> dict[str, Json]:
    """Give the state of a service for a program: decimals as text, lengths in seconds, moments as RFC 3339."""
    from opsascode.slo import moment_text  # noqa: PLC0415 - keeps --help quick

    status, snapshot = shown.status, shown.status.snapshot
    return {
        "service": status.service,
        "policy": status.policy,
        "level": status.level.value,
        "taken": moment_text(status.taken),
        "commit": snapshot.commit,
        "digest": snapshot.digest,
        "policy_changed": snapshot.digest != shown.policy.source.digest,
        "unreachable": snapshot.unreachable,
        "warnings": list(snapshot.warnings),
        "targets": [_target_json(each) for each in status.targets],
        "due": [each.to_json() for each in shown.due],
    }


def _target_json(target: TargetStatus) -> dict[str, Json]:
    seen = target.seen
    return {
        "id": target.id,
        "title": target.title,
        "target": _text(target.target),
        "measured_target": _text(seen.target),
        "level": target.level.value,
        "objective": _text(target.objective),
        "consumed": _text(target.consumed),
        "remaining": _text(target.remaining),
        "burn": _text(target.burn),
        "exhausted_in": None if target.exhausted_in is None else int(target.exhausted_in.total_seconds()),
        "window": {"start": _moment(seen.start), "end": _moment(seen.end)},
        "bad": _text(seen.counted.bad if seen.counted else None),
        "total": _text(seen.counted.total if seen.counted else None),
        "present": seen.present,
        "last_data": _moment(seen.last_data),
        "problem": seen.problem,
        "alerts": [_burn_json(each) for each in target.burns],
    }


def _burn_json(burn: BurnSeen) -> dict[str, Json]:
    return {
        "level": burn.window.level.value,
        "long": int(burn.window.long.total_seconds()),
        "short": int(burn.window.short.total_seconds()),
        "factor": _text(burn.window.factor),
        "burn_long": _text(burn.long),
        "burn_short": _text(burn.short),
        "firing": burn.firing,
    }


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Write a table in Markdown; text from elsewhere cannot end its cell."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'|'.join('---' for _ in heads)}|"
    for row in rows:
        yield f"| {' | '.join(markdown_text(each) for each in row)} |"


def markdown_text(text: str) -> str:
    """Write text from elsewhere so that Markdown shows it as it is."""
    special = str.maketrans({each: f"\\{each}" for each in "\\`*_[]<>|#"})
    return escape_line(text).translate(special)


def status_rows(shown: Shown) -> Sequence[Sequence[str]]:
    """Give the rows of a table without bars."""
    return [(row[0], row[1], row[2], *row[4:]) for row in (_row(shown.policy, each) for each in shown.status.targets)]


STATUS_HEADS: Final = ("Promise", "Target", "So far", "Budget used", "Left", "Burn", "Gone in", "Level")


def _styled(text: str, level: str) -> str:
    return click.style(text, fg=_COLOURS.get(level)) if wants_colour() else text


def _has_unicode() -> bool:
    """Whether what reads the output can show more than ASCII."""
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
    return encoding in {"utf8", "utf16", "utf32", "cp65001"}


def _text(number: Decimal | None) -> str | None:
    return None if number is None else f"{number:f}"


def _moment(at: datetime | None) -> str | None:
    from opsascode.slo import moment_text  # noqa: PLC0415 - keeps --help quick

    return None if at is None else moment_text(at)


def levels_of(shown: Sequence[Shown]) -> Mapping[str, int]:
    """Count services by the level of their budget."""
    found: dict[str, int] = {}
    for each in shown:
        found[each.status.level.value] = found.get(each.status.level.value, 0) + 1
    return found
