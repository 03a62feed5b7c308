"""When is a window of a calendar open?

Windows are written in wall-clock time of one zone. An hour that the clock leaves out moves forward by as much as the
clock does; of an hour that comes twice, the first counts. A length is wall-clock time too: eight hours from 18:00 end
at 02:00, whatever the clock does in between. An occurrence that the clock would turn around (its start moved past its
end) keeps its written length: it is never lost.

Not here: on which days a rule repeats a window (`_recurrence`), what is wrong with a calendar (`_calendar_rules`), what
is forbidden or asked while a window is open (`policy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from opsascode.repo._recurrence import RuleFault, days_between, read_rule

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from opsascode.errors import Position
    from opsascode.repo._documents import Metadata, Source
    from opsascode.repo._recurrence import Recurrence

_MARGIN: Final = timedelta(days=2)  # more than any zone is away from UTC, and than any clock is turned
_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9990, 1, 1, tzinfo=UTC)
_INSTANT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """One occurrence of a window, in UTC: from its start up to, not including, its end."""

    window: str
    start: datetime
    end: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarWindow:
    """A window in the calendar's own wall-clock time: `start` and `end` are naive; `rule` repeats it (RFC 5545).

    A weekly window has the weekdays on which it begins, from Monday (0), and the times of the first of them as `start`
    and `end`.
    """

    name: str
    start: datetime
    end: datetime
    rule: str | None = None
    weekdays: tuple[int, ...] = ()
    reason: str = ""
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Named windows in one time zone."""

    metadata: Metadata
    timezone: str
    windows: tuple[CalendarWindow, ...]
    source: Source
    position: Position

    def open_at(self, moment: datetime) -> Open | None:
        """Give the window that is open at an aware moment, the one that ends last; None where none is."""
        at = min(_aware(moment), _LATEST)
        found = self.occurrences(at, at + _INSTANT)
        return max(found, key=lambda each: each.end, default=None)

    def occurrences(self, start: datetime, end: datetime) -> tuple[Open, ...]:
        """Give every occurrence that overlaps a span of aware moments, in order."""
        since, until = (min(max(_aware(each), _EARLIEST), _LATEST) for each in (start, end))
        found = [each for window in self.windows for each in self._of(window, since, until)]
        return tuple(sorted(found, key=lambda each: (each.start, each.end, each.window)))

    def next_change(self, moment: datetime, horizon: timedelta) -> datetime | None:
        """Give the next moment at which a window opens or closes, None where there is none up to the horizon."""
        last = min(_aware(moment), _LATEST - horizon) + horizon
        changes = (each for one in self.occurrences(moment, last + _INSTANT) for each in (one.start, one.end))
        return min((each for each in changes if moment < each <= last), default=None)

    def _of(self, window: CalendarWindow, since: datetime, until: datetime) -> Iterator[Open]:
        """Give the occurrences of one window."""
        zone, length = _zone(self.timezone), window.end - window.start
        first, last = (each.astimezone(zone).replace(tzinfo=None) for each in (since, until))
        for day in _days(window, (first - length - _MARGIN).date(), (last + _MARGIN).date()):
            begun = datetime.combine(day, window.start.time())
            start, end = _moment(begun, zone), _moment(begun + length, zone)
            if end <= start:
                end = start + length
            if start < until and since < end:
                yield Open(window=window.name, start=start, end=end, reason=window.reason)


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        msg = "a calendar needs an aware time"
        raise ValueError(msg)
    return moment


def _moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """Give the moment of a wall-clock time: the first of two, and as much later as the clock skips."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _days(window: CalendarWindow, since: date, until: date) -> Iterator[date]:
    """Give the days on which a window begins."""
    if window.rule is not None:
        yield from days_between(_rule(window.rule), window.start, since, until)
    elif window.weekdays:
        for number in range((until - since).days + 1):
            day = since + timedelta(days=number)
            if day.weekday() in window.weekdays:
                yield day
    elif since <= window.start.date() <= until:
        yield window.start.date()


@lru_cache(maxsize=1024)
def _rule(text: str) -> Recurrence:
    found = read_rule(text)
    if isinstance(found, RuleFault):
        raise ValueError(found.message)  # noqa: TRY004 - a document without problems has no such rule
    return found


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
