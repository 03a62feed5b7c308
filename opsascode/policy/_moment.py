"""Which windows of calendars are open at a moment, when does that change, and how is it said?

Calendars are asked once a moment, however many rules ask them. A calendar that nobody wrote, or that cannot be read
here, has no answer: whoever asked it must take the careful side.

Not here: recurrence rules and time zones (`repo`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from opsascode.errors import OpsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.policy._guardrail import Subject
    from opsascode.repo import Calendar, Facts, Open

HORIZON: Final = timedelta(days=366)
_MOST_WINDOWS: Final = 50
_MINUTES_A_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """Why nobody can say whether a calendar is open."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window that is open: its calendar and its name, and until when."""

    name: str
    end: datetime
    timezone: str
    reason: str

    @property
    def until(self) -> str:
        """Say when it closes, in its own time zone."""
        return said_time(self.end, self.timezone)


class Moment:
    """A moment at which calendars are asked; `kept` are the facts of the plan that is judged just now."""

    def __init__(self, now: datetime, calendars: Mapping[str, Calendar]) -> None:
        """Take an aware moment, and the calendars by their names."""
        self.now = now
        self._calendars = calendars
        self.kept: tuple[Subject, Facts] | None = None
        self._open: dict[str, Window | Unknown | None] = {}
        self._together: dict[tuple[str, ...], Window | Unknown | None] = {}

    def open(self, names: Sequence[str]) -> Window | Unknown | None:
        """Give a window of these calendars that is open, the one that ends last; unknown where none is known to be."""
        key = tuple(names)
        if key not in self._together:
            self._together[key] = self._last(key)
        return self._together[key]

    def _last(self, names: Sequence[str]) -> Window | Unknown | None:
        found = [self._one(name) for name in names]
        windows = [each for each in found if isinstance(each, Window)]
        if windows:
            return max(windows, key=lambda each: each.end)
        return next((each for each in found if isinstance(each, Unknown)), None)

    def closing(self, names: Sequence[str]) -> Window | None:
        """Give the window with whose end none of these calendars is open any more; None where that is too far away."""
        last, at = self.open(names), self
        for _ in range(_MOST_WINDOWS):
            if not isinstance(last, Window) or last.end - self.now > HORIZON:
                return None
            at = Moment(last.end, self._calendars)
            following = at.open(names)
            if following is None:
                return last
            last = following if isinstance(following, Window) else None
        return None

    def opening(self, names: Sequence[str]) -> tuple[datetime, Window] | None:
        """Give when one of these calendars opens next, and its window; None where that is more than a year away."""
        found: list[tuple[datetime, Window]] = []
        for name in names:
            calendar = self._calendars.get(name)
            at = _next_change(calendar, self.now, HORIZON) if calendar else None
            window = self.at(at).open((name,)) if at else None
            if at and isinstance(window, Window):
                found.append((at, window))
        return min(found, key=lambda each: each[0], default=None)

    def next_change(self, names: Sequence[str], within: timedelta) -> datetime | None:
        """Give when one of these calendars opens or closes next within a span."""
        calendars = [self._calendars[name] for name in names if name in self._calendars]
        found = [each for each in (_next_change(one, self.now, within) for one in calendars) if each is not None]
        return min(found, default=None)

    def at(self, other: datetime) -> Moment:
        """Give another moment of the same calendars."""
        return Moment(other, self._calendars)

    def _one(self, name: str) -> Window | Unknown | None:
        if name not in self._open:
            self._open[name] = self._ask(name)
        return self._open[name]

    def _ask(self, name: str) -> Window | Unknown | None:
        calendar = self._calendars.get(name)
        if calendar is None:
            return Unknown(reason=f"there is no calendar {name}")
        try:
            found = calendar.open_at(self.now)
        except OpsError as error:
            return Unknown(reason=f"the calendar {name} cannot be read: {error}")
        return None if found is None else _window(name, calendar, found)


def said_span(span: timedelta) -> str:
    """Say how long something takes: its two largest units, minutes rounded up."""
    minutes = max(1, -(-int(span.total_seconds()) // 60))
    days, rest = divmod(minutes, _MINUTES_A_DAY)
    hours, left = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {left} min" if left else f"{hours} h"
    return f"{minutes} min"


def said_time(moment: datetime, timezone: str) -> str:
    """Say a moment in a time zone, in UTC where that is not known here."""
    try:
        return f"{moment.astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M} {timezone}"
    except (ZoneInfoNotFoundError, ValueError):
        return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _window(name: str, calendar: Calendar, found: Open) -> Window:
    return Window(name=f"{name}/{found.window}", end=found.end, timezone=calendar.timezone, reason=found.reason)


def _next_change(calendar: Calendar, now: datetime, within: timedelta) -> datetime | None:
    try:
        return calendar.next_change(now, within)
    except OpsError:
        return None
