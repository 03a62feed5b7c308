"""Does a window of a calendar begin or end at a time that the clock leaves out, or shows twice?

Looked at are the clock changes of the next two years. A time that is left out moves forward with the clock, of one that
comes twice the first counts; whoever wrote 02:30 may have meant neither. A window that begins or ends exactly at the
change is the same moment both ways, and nothing is said of it.

Not here: when windows are open (`repo`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from opsascode.repo import Problem, Severity, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opsascode.repo import Calendar, CalendarWindow

_AHEAD: Final = timedelta(days=730)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChange:
    """A change of a clock: `first` up to `last` in wall-clock time are left out, or come twice."""

    first: datetime
    last: datetime
    twice: bool

    def holds(self, wall: datetime) -> bool:
        """Say whether a time is left out, or comes twice; the moment of a jump forward is itself no doubt."""
        return (self.first <= wall if self.twice else self.first < wall) and wall < self.last


def clock_problems(calendars: Iterable[Calendar], *, now: datetime) -> Iterator[Problem]:
    """Report every window whose start or end meets a clock change, with the first date at which it does."""
    for calendar in calendars:
        changes = clock_changes(calendar.timezone, now.astimezone(UTC).date())
        for window in calendar.windows:
            yield from _of_window(calendar, window, changes)


@lru_cache(maxsize=256)
def clock_changes(zone: str, since: date) -> tuple[ClockChange, ...]:
    """Give the clock changes of a zone in the two years from a day on."""
    place = ZoneInfo(zone)
    start = datetime(since.year, since.month, since.day, tzinfo=UTC)
    found, at = [], start
    before = _offset(start, place)
    while at < start + _AHEAD:
        following = at + _DAY
        after = _offset(following, place)
        if after != before:
            moment = _moment_of_change(at, following, place)
            twice = after < before
            first, last = (moment + each for each in sorted((before, after)))
            found.append(ClockChange(first=_wall(first), last=_wall(last), twice=twice))
        at, before = following, after
    return tuple(found)


def _moment_of_change(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """Find the second at which the clock changes between two moments."""
    was = _offset(before, zone)
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=int((after - before).total_seconds()) // 2)
        before, after = (middle, after) if _offset(middle, zone) == was else (before, middle)
    return after


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _wall(shifted: datetime) -> datetime:
    return shifted.replace(tzinfo=None)


def _of_window(calendar: Calendar, window: CalendarWindow, changes: tuple[ClockChange, ...]) -> Iterator[Problem]:
    told: set[tuple[str, bool]] = set()
    for change in changes:
        for edge, length in (("starts", timedelta()), ("ends", window.end - window.start)):
            if (edge, change.twice) in told:
                continue
            wall = _edge_at(calendar, window, change, length)
            if wall is not None:
                told.add((edge, change.twice))
                yield _finding(calendar, window, change, edge, wall)


def _edge_at(calendar: Calendar, window: CalendarWindow, change: ClockChange, length: timedelta) -> datetime | None:
    """Give the start (or what lies `length` after one) that a change of the clock meets; None where there is none."""
    time = (window.start + length).time()
    for day in {change.first.date(), change.last.date()}:
        wall = datetime.combine(day, time)
        if change.holds(wall) and _begins(calendar, window, wall - length):
            return wall
    return None


def _begins(calendar: Calendar, window: CalendarWindow, wall: datetime) -> bool:
    """Say whether a window has an occurrence that begins at a wall-clock time."""
    if window.rule is None and not window.weekdays:
        return window.start == wall
    moment = wall.replace(tzinfo=ZoneInfo(calendar.timezone), fold=0).astimezone(UTC)
    alone = replace(calendar, windows=(window,))
    return any(each.start == moment for each in alone.occurrences(moment, moment + timedelta(seconds=1)))


def _finding(calendar: Calendar, window: CalendarWindow, change: ClockChange, edge: str, wall: datetime) -> Problem:
    size = change.last - change.first
    if change.twice:
        clock = f"the clock in {calendar.timezone} goes from {change.last:%H:%M} back to {change.first:%H:%M}"
        what = f"the window {quoted(window.name)} {edge} at {wall:%H:%M}, which comes twice; the first counts"
        mend = f"write a time before {change.first:%H:%M}, or {change.last:%H:%M} or later"
    else:
        clock = f"the clock in {calendar.timezone} goes from {change.first:%H:%M} to {change.last:%H:%M}"
        what = (
            f"the window {quoted(window.name)} {edge} at {wall:%H:%M}, which does not come; "
            f"it {edge} at {wall + size:%H:%M} then"
        )
        mend = f"write {change.first:%H:%M} or earlier, or {change.last:%H:%M} or later"
    return Problem(
        position=window.position,
        code="window-clock-change",
        severity=Severity.WARNING,
        message=f"on {wall:%Y-%m-%d} {clock}, and {what}",
        mend=mend,
    )
