"""How does a valid calendar become its type?

Only documents without problems come here (see `_build`). Not here: judging anything.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._build import build_metadata
from opsascode.repo._calendar import Calendar, CalendarWindow
from opsascode.repo._quantities import parse_duration

if TYPE_CHECKING:
    from opsascode.repo._documents import Source
    from opsascode.repo._source import SourceDocument

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FIRST_MONDAY: Final = datetime(1970, 1, 5)  # noqa: DTZ001 - wall-clock time on purpose


def build_calendar(document: SourceDocument, source: Source) -> Calendar:
    """Build a calendar from a document without problems."""
    written: Any = document.value
    spec = written["spec"]
    return Calendar(
        metadata=build_metadata(document),
        timezone=spec["timezone"],
        windows=tuple(_window(window, document, index) for index, window in enumerate(spec["windows"])),
        source=source,
        position=document.position(),
    )


def wall_clock(text: str) -> datetime:
    """Read a wall-clock time such as 2026-12-20T18:00.

    Raises:
        ValueError: there is no such day or time.
    """
    return datetime.fromisoformat(text)


def time_of_day(text: str) -> timedelta:
    """Read a time of day as what has passed of it; 24:00 is its end."""
    hours, minutes = text.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def _window(window: dict[str, Any], document: SourceDocument, index: int) -> CalendarWindow:
    weekdays = tuple(sorted(WEEKDAYS.index(each) for each in window.get("days", ())))
    if weekdays:
        start = _FIRST_MONDAY + timedelta(days=weekdays[0]) + time_of_day(window["from"])
        length = time_of_day(window["to"]) - time_of_day(window["from"])
        end = start + (length if length > timedelta() else length + timedelta(days=1))
    else:
        start = wall_clock(window["start"])
        end = wall_clock(window["end"]) if "end" in window else start + parse_duration(window["duration"])
    return CalendarWindow(
        name=window["name"],
        start=start,
        end=end,
        rule=window.get("rrule"),
        weekdays=weekdays,
        reason=window.get("reason", ""),
        position=document.position(("spec", "windows", index)),
    )
