"""Which calendar period is it, and how much of it is over? In PromQL, which knows only UTC.

A period is a number, such as 202603 for March 2026; series are marked with it, so that each period is summed alone.

Exact: the lengths of months, quarters and years (leap years too), and where periods begin in UTC and in zones without
daylight saving. Approximated: where daylight saving holds, a period begins an hour late, as the zone's standard time is
used all year; and events are counted over the shortest window of the alerts, so that as much of a period's beginning
belongs to the one before. What is measured directly (`_measure`) begins exactly at local midnight.

Not here: periods as moments (`_budget`).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from opsascode.repo import CalendarUnit

if TYPE_CHECKING:
    from opsascode.repo import CalendarPeriod

_DAY: Final = 86_400
_WEEK: Final = 604_800
_SINCE_MONDAY: Final = 259_200  # 1970 began on a Thursday
_LONGEST: Final = {CalendarUnit.WEEK: 7, CalendarUnit.MONTH: 31, CalendarUnit.QUARTER: 92, CalendarUnit.YEAR: 366}
_ANY_YEAR: Final = 2026


def longest(window: CalendarPeriod) -> timedelta:
    """Give the greatest length a period of this unit has."""
    return timedelta(days=_LONGEST[window.unit])


def standard_offset(timezone: str) -> timedelta:
    """Give how far the standard time of a zone is ahead of UTC: the lesser of winter and summer."""
    zone = ZoneInfo(timezone)
    seen = (datetime(_ANY_YEAR, month, 1, tzinfo=zone).utcoffset() for month in (1, 7))
    return min(each for each in seen if each is not None)


def key_vector(window: CalendarPeriod) -> str:
    """Give the number of the current period, as a vector of one sample without labels."""
    now = _now(window)
    match window.unit:
        case CalendarUnit.WEEK:
            return f"floor(({now} + {_SINCE_MONDAY}) / {_WEEK})"
        case CalendarUnit.MONTH:
            return f"year({now}) * 100 + month({now})"
        case CalendarUnit.QUARTER:
            return f"year({now}) * 10 + {_quarter(now)}"
        case CalendarUnit.YEAR:
            return f"year({now})"


def elapsed_share(window: CalendarPeriod) -> str:
    """Give the share of the current period that is over, as a vector of one sample without labels."""
    now = _now(window)
    today = f"({now} % {_DAY}) / {_DAY}"
    match window.unit:
        case CalendarUnit.WEEK:
            return f"(({now} + {_SINCE_MONDAY}) % {_WEEK}) / {_WEEK}"
        case CalendarUnit.MONTH:
            return f"(day_of_month({now}) - 1 + {today}) / days_in_month({now})"
        case CalendarUnit.QUARTER:
            quarter, first = _quarter(now), f"(90 + {_leap(now)})"
            before = f"({quarter} >= bool 2) * {first} + ({quarter} >= bool 3) * 91 + ({quarter} == bool 4) * 92"
            length = f"({quarter} == bool 1) * {first} + ({quarter} == bool 2) * 91 + ({quarter} >= bool 3) * 92"
            return f"(day_of_year({now}) - 1 - ({before}) + {today}) / ({length})"
        case CalendarUnit.YEAR:
            return f"(day_of_year({now}) - 1 + {today}) / (365 + {_leap(now)})"


def _now(window: CalendarPeriod) -> str:
    offset = int(standard_offset(window.timezone).total_seconds())
    if not offset:
        return "vector(time())"
    return f"vector(time() {'+' if offset > 0 else '-'} {abs(offset)})"


def _quarter(now: str) -> str:
    return f"ceil(month({now}) / 3)"


def _leap(now: str) -> str:
    """Give 1 in a leap year, else 0."""
    year = f"year({now})"
    return f"(({year} % 4 == bool 0) - ({year} % 100 == bool 0) + ({year} % 400 == bool 0))"
