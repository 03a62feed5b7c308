"""On which days does a rule repeat a window (RRULE of RFC 5545, https://www.rfc-editor.org/rfc/rfc5545#section-3.3.10)?

Rules repeat whole days: DAILY, WEEKLY, MONTHLY or YEARLY; the time of day is that of the window's start. The first day
must itself be one of the rule's, else two readers count differently. UNTIL is wall-clock time. What is not used here is
refused, never ignored.

A day is tested, not counted up to: a question about one year costs that year, however long ago the rule began, however
large its COUNT, and if it never comes true at all. With COUNT the earlier years are counted once. (The well-known
library looks for a day that never comes up to the year 9999, for sixteen seconds, whatever UNTIL says.)

Not here: time zones and windows (`_calendar`).
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import Enum
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from opsascode.repo._problem import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAX_RULE: Final = 200
DAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

_DAY_NAME: Final = re.compile(r"([+-]?[0-9]{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,3}")
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_MOMENT: Final = re.compile(r"[0-9]{8}T[0-9]{6}")
_WEEK: Final = 7
_SEARCHED_YEARS: Final = 400  # the calendar repeats itself after them


class Frequency(Enum):
    """What a rule counts in."""

    DAILY = "DAILY"
    WEEKLY = "WEEKLY"
    MONTHLY = "MONTHLY"
    YEARLY = "YEARLY"


_FINER: Final = ("SECONDLY", "MINUTELY", "HOURLY")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFault:
    """What is wrong with a rule, at an offset of its text."""

    offset: int
    message: str
    mend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """A rule as read. `days` are weekdays from Monday (0), each with the ordinal within month or year, 0 for every."""

    frequency: Frequency
    interval: int = 1
    count: int | None = None
    until: datetime | None = None
    days: tuple[tuple[int, int], ...] = ()
    month_days: tuple[int, ...] = ()
    year_days: tuple[int, ...] = ()
    weeks: tuple[int, ...] = ()
    months: tuple[int, ...] = ()
    positions: tuple[int, ...] = ()
    week_start: int = 0


def read_rule(text: str) -> Recurrence | RuleFault:
    """Read a rule such as `FREQ=WEEKLY;BYDAY=SA,SU`, or say what is wrong with it."""
    if len(text) > MAX_RULE:
        return RuleFault(offset=0, message=f"a rule of more than {MAX_RULE} characters", mend="write a shorter one")
    parts: dict[str, tuple[str, int]] = {}
    offset = 0
    for part in text.split(";"):
        fault = _part_fault(part, parts)
        if fault is not None:
            return RuleFault(offset=offset, message=fault[0], mend=fault[1])
        key, _, value = part.partition("=")
        parts[key] = value, offset
        offset += len(part) + 1
    return _read(parts)


def occurs_first(rule: Recurrence, first: date) -> date | None:
    """Find the first day of a rule at or after a day, None where it has none in all the years there are to look at."""
    for year in range(first.year, min(first.year + _SEARCHED_YEARS, 9999)):
        for day in _days_of(rule, first, year):
            return day
    return None


def days_between(rule: Recurrence, first: datetime, since: date, until: date) -> Iterator[date]:
    """Give the days of a rule that begins at a moment, from one day up to and with another."""
    last = until if rule.until is None else min(until, rule.until.date())
    for year in range(max(since.year, first.year), last.year + 1):
        days = _days_of(rule, first.date(), year)
        if rule.count is not None:
            days = days[: max(0, rule.count - _earlier(rule, first.date(), year))]
        for day in days[bisect_left(days, since) : bisect_right(days, last)]:
            if rule.until is None or datetime.combine(day, first.time()) <= rule.until:
                yield day


def _part_fault(part: str, parts: dict[str, tuple[str, int]]) -> tuple[str, str] | None:
    key, sign, value = part.partition("=")
    if key.startswith("RRULE:"):
        return "a rule begins with FREQ=", "leave out RRULE:"
    if not sign or not value:
        return f"«{part}» is no part of a rule", "write parts such as FREQ=WEEKLY, divided by one semicolon"
    if key in parts:
        return f"«{key}» stands here a second time", "keep one of the two"
    if key in {"BYHOUR", "BYMINUTE", "BYSECOND"}:
        return f"«{key}» is not used: windows begin at the time of their start", "write a window for each time of day"
    if key not in _READERS and key != "FREQ":
        return f"there is no part «{key}»", did_you_mean(key, ["FREQ", *_READERS])
    return None


def _read(parts: dict[str, tuple[str, int]]) -> Recurrence | RuleFault:
    """Read the parts, each known and there once."""
    if "FREQ" not in parts:
        return RuleFault(offset=0, message="the rule does not say how often: «FREQ» is missing", mend="write FREQ=…")
    word, offset = parts.pop("FREQ")
    known = [each.value for each in Frequency]
    if word not in known:
        finer = word in _FINER
        message = f"windows repeat by days, not {word}" if finer else f"«{word}» is no frequency"
        mend = f"use one of: {', '.join(known)}" if finer else did_you_mean(word, known)
        return RuleFault(offset=offset + len("FREQ="), message=message, mend=mend)
    read: dict[str, object] = {}
    for key, (value, offset) in parts.items():
        name, reader, wanted = _READERS[key]
        found = reader(value)
        if found is None:
            return RuleFault(offset=offset + len(key) + 1, message=f"«{key}» must be {wanted}, not «{value}»")
        read[name] = found
    rule = Recurrence(frequency=Frequency(word), **read)  # type: ignore[arg-type] # each reader gives what its field holds
    return _misfit(rule, parts) or rule


def _misfit(rule: Recurrence, parts: dict[str, tuple[str, int]]) -> RuleFault | None:
    """Refuse parts that RFC 5545 does not allow together, or to which readers give different meanings."""
    frequency = rule.frequency
    yearly, monthly = frequency is Frequency.YEARLY, frequency is Frequency.MONTHLY
    allowed = {
        "BYWEEKNO": yearly,
        "BYYEARDAY": yearly,
        "BYMONTHDAY": frequency is not Frequency.WEEKLY,
        "BYSETPOS": yearly or monthly,
    }
    for key, possible in allowed.items():
        if key in parts and not possible:
            message = f"«{key}» cannot stand in a rule that is {frequency.value}"
            return RuleFault(offset=parts[key][1], message=message, mend="leave it out")
    if any(ordinal for _, ordinal in rule.days) and (not (yearly or monthly) or rule.weeks):
        message = "a weekday with a number needs FREQ=MONTHLY or YEARLY, without BYWEEKNO"
        return RuleFault(offset=parts["BYDAY"][1], message=message, mend="leave out the number")
    if rule.positions and not (rule.days or rule.month_days or rule.year_days or rule.weeks or rule.months):
        message = "«BYSETPOS» chooses among days, and no other part says which"
        return RuleFault(offset=parts["BYSETPOS"][1], message=message, mend="write BYDAY=… too, or leave it out")
    if rule.weeks and rule.week_start:
        return RuleFault(offset=parts["WKST"][1], message="weeks have numbers from Monday only", mend="leave out WKST")
    if rule.count is not None and rule.until is not None:
        message = "a rule ends by COUNT or by UNTIL, not by both"
        return RuleFault(offset=parts["UNTIL"][1], message=message, mend="leave out one of them")
    return None


def _whole(value: str) -> int | None:
    return int(value) if _COUNT.fullmatch(value) and int(value) > 0 else None


def _moment(value: str) -> datetime | None:
    if not _MOMENT.fullmatch(value):
        return None
    try:
        return datetime.strptime(value, "%Y%m%dT%H%M%S")  # noqa: DTZ007 - wall-clock time on purpose
    except ValueError:
        return None


def _weekdays(value: str) -> tuple[tuple[int, int], ...] | None:
    found = [_DAY_NAME.fullmatch(each) for each in value.split(",")]
    if not all(each and (each[1] is None or 0 < abs(int(each[1])) <= 53) for each in found):  # noqa: PLR2004 - weeks
        return None
    return tuple((DAYS.index(each[2]), int(each[1] or 0)) for each in found if each)


def _numbers(least: int, most: int, *, signed: bool) -> Callable[[str], tuple[int, ...] | None]:
    def read(value: str) -> tuple[int, ...] | None:
        words = value.split(",")
        if not all(_NUMBER.fullmatch(each) for each in words):
            return None
        numbers = tuple(int(each) for each in words)
        return numbers if all(least <= (abs(each) if signed else each) <= most for each in numbers) else None

    return read


_READERS: Final[dict[str, tuple[str, Callable[[str], object | None], str]]] = {
    "INTERVAL": ("interval", _whole, "a whole number from 1"),
    "COUNT": ("count", _whole, "a whole number from 1"),
    "UNTIL": ("until", _moment, "a wall-clock time such as 20261231T235959, without Z"),
    "BYDAY": ("days", _weekdays, "weekdays such as MO,FR or 1MO or -1FR"),
    "BYMONTHDAY": ("month_days", _numbers(1, 31, signed=True), "days of the month, from 1 or from -1"),
    "BYYEARDAY": ("year_days", _numbers(1, 366, signed=True), "days of the year, from 1 or from -1"),
    "BYWEEKNO": ("weeks", _numbers(1, 53, signed=True), "weeks of the year, from 1 or from -1"),
    "BYMONTH": ("months", _numbers(1, 12, signed=False), "months from 1 to 12"),
    "BYSETPOS": ("positions", _numbers(1, 366, signed=True), "positions, from 1 or from -1"),
    "WKST": ("week_start", lambda value: DAYS.index(value) if value in DAYS else None, "a weekday such as MO"),
}


@lru_cache(maxsize=4096)
def _days_of(rule: Recurrence, first: date, year: int) -> tuple[date, ...]:
    """Give the days of a rule in one year, from its first day on; COUNT and UNTIL are the caller's."""
    if rule.frequency is Frequency.YEARLY and (year - first.year) % rule.interval:
        return ()
    rule = _with_defaults(rule, first)
    months = [
        [date(year, month, day) for day in range(1, calendar.monthrange(year, month)[1] + 1)] for month in range(1, 13)
    ]
    sets = [[day for month in months for day in month]] if rule.frequency is Frequency.YEARLY else months
    found = []
    for days in sets:
        matching = [day for day in days if _is_in_step(rule, first, day) and _matches(rule, day)]
        found += [day for day in _chosen(matching, rule.positions) if day >= first]
    return tuple(found)


@lru_cache(maxsize=1024)
def _counted(rule: Recurrence, first: date, decade: int) -> tuple[int, ...]:
    """Count the days of a rule before each year of a decade; a decade asks the one before it."""
    before = 0 if decade * 10 <= first.year else _counted(rule, first, decade - 1)[-1]
    years = range(decade * 10, decade * 10 + 10)
    found = (len(_days_of(rule, first, year)) if first.year <= year <= 9999 else 0 for year in years)  # noqa: PLR2004 - the last year there is
    return tuple(accumulate(found, initial=before))


def _earlier(rule: Recurrence, first: date, year: int) -> int:
    """Count the days of a rule before a year; decade after decade, as each asks the one before it."""
    for decade in range(first.year // 10, year // 10):
        _counted(rule, first, decade)
    return _counted(rule, first, year // 10)[year % 10]


def _with_defaults(rule: Recurrence, first: date) -> Recurrence:
    """Fill in what a rule takes from its first day."""
    if rule.days or rule.month_days or rule.year_days or rule.weeks:
        return rule
    if rule.frequency is Frequency.YEARLY:
        return replace(rule, months=rule.months or (first.month,), month_days=(first.day,))
    if rule.frequency is Frequency.MONTHLY:
        return replace(rule, month_days=(first.day,))
    return replace(rule, days=((first.weekday(), 0),)) if rule.frequency is Frequency.WEEKLY else rule


def _is_in_step(rule: Recurrence, first: date, day: date) -> bool:
    """Tell whether a day is in a period that the interval does not leave out."""
    if rule.interval == 1 or rule.frequency is Frequency.YEARLY:
        return True
    if rule.frequency is Frequency.DAILY:
        return (day - first).days % rule.interval == 0
    if rule.frequency is Frequency.MONTHLY:
        return ((day.year - first.year) * 12 + day.month - first.month) % rule.interval == 0
    weeks = (_week_of(day, rule.week_start) - _week_of(first, rule.week_start)).days // _WEEK
    return weeks % rule.interval == 0


def _week_of(day: date, week_start: int) -> date:
    return day - timedelta(days=(day.weekday() - week_start) % _WEEK)


def _matches(rule: Recurrence, day: date) -> bool:
    """Tell whether a day is what every BY part asks for."""
    return (
        (not rule.months or day.month in rule.months)
        and (not rule.month_days or _either(day.day, calendar.monthrange(day.year, day.month)[1], rule.month_days))
        and (not rule.year_days or _either(_year_day(day), 365 + calendar.isleap(day.year), rule.year_days))
        and (not rule.weeks or _either(day.isocalendar().week, _weeks_in(day.isocalendar().year), rule.weeks))
        and (not rule.days or any(_is_weekday(rule, day, *each) for each in rule.days))
    )


def _either(number: int, most: int, wanted: tuple[int, ...]) -> bool:
    """Tell whether a number is asked for, counted from the start or from the end."""
    return number in wanted or number - most - 1 in wanted


def _year_day(day: date) -> int:
    return day.timetuple().tm_yday


def _weeks_in(year: int) -> int:
    return date(year, 12, 28).isocalendar().week


def _is_weekday(rule: Recurrence, day: date, weekday: int, ordinal: int) -> bool:
    """Tell whether a day is a weekday, the one with this ordinal in its month, or in its year."""
    if day.weekday() != weekday or not ordinal:
        return day.weekday() == weekday
    if rule.frequency is Frequency.MONTHLY or rule.months:
        place, most = day.day, calendar.monthrange(day.year, day.month)[1]
    else:
        place, most = _year_day(day), 365 + calendar.isleap(day.year)
    return ordinal == ((place - 1) // _WEEK + 1 if ordinal > 0 else -((most - place) // _WEEK + 1))


def _chosen(days: list[date], positions: tuple[int, ...]) -> list[date]:
    if not positions:
        return days
    return sorted({days[each - (each > 0)] for each in positions if -len(days) <= each <= len(days)})
