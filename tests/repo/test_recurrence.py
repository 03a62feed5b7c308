"""On which days does a rule repeat a window: as another implementation of RFC 5545 says, and never for long."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta
from itertools import islice

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given
from hypothesis import strategies as st

from opsascode.repo._recurrence import DAYS, Recurrence, RuleFault, days_between, occurs_first, read_rule

FIRST = datetime(2020, 1, 1, 9, 30)  # noqa: DTZ001 - wall-clock time


def rule(text: str) -> Recurrence:
    found = read_rule(text)
    assert isinstance(found, Recurrence), found
    return found


def days(text: str, first: datetime, years: int = 7) -> list[date]:
    return [*days_between(rule(text), first, first.date(), first.date() + timedelta(days=366 * years))]


def told_by_dateutil(text: str, first: datetime, most: int) -> list[date]:
    """The first days, and no more than these: it looks for a day that never comes up to the year 9999."""
    return [each.date() for each in islice(rrulestr(text, dtstart=first), most)]


def _some(values: st.SearchStrategy[int], name: str, most: int = 4) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=most, unique=True).map(
        lambda each: f";{name}={','.join(map(str, each))}"
    )


_NOTHING = st.just("")
_SIGNED_DAYS = st.integers(-31, 31).filter(bool)
_WEEKDAYS = st.lists(st.sampled_from(DAYS), min_size=1, unique=True).map(lambda each: f";BYDAY={','.join(each)}")
_NTH_DAYS = st.lists(
    st.tuples(st.integers(-5, 5).filter(bool), st.sampled_from(DAYS)), min_size=1, max_size=3, unique=True
).map(lambda each: f";BYDAY={','.join(f'{number}{day}' for number, day in each)}")
_MONTHS = _some(st.integers(1, 12), "BYMONTH")
_POSITIONS = _some(st.integers(-12, 12).filter(bool), "BYSETPOS", 3)
_END = st.one_of(
    _NOTHING,
    st.integers(1, 400).map(lambda each: f";COUNT={each}"),
    st.datetimes(datetime(2020, 1, 1), datetime(2025, 1, 1)).map(lambda each: f";UNTIL={each:%Y%m%dT%H%M%S}"),  # noqa: DTZ001 - wall-clock time
)
_STEP = st.one_of(_NOTHING, st.integers(1, 9).map(lambda each: f";INTERVAL={each}"))
_START_OF_WEEK = st.one_of(_NOTHING, st.sampled_from(DAYS).map(lambda each: f";WKST={each}"))


def _joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts, _STEP, _END).map("".join)


# Weeks 1, 52 and 53 are left out: around New Year the other one numbers some days otherwise than ISO 8601 does.
RULES = st.one_of(
    _joined(
        st.just("FREQ=DAILY"),
        st.one_of(_NOTHING, _WEEKDAYS),
        st.one_of(_NOTHING, _MONTHS),
        st.one_of(_NOTHING, _some(_SIGNED_DAYS, "BYMONTHDAY")),
    ),
    _joined(st.just("FREQ=WEEKLY"), st.one_of(_NOTHING, _WEEKDAYS), st.one_of(_NOTHING, _MONTHS), _START_OF_WEEK),
    _joined(
        st.just("FREQ=MONTHLY"),
        st.one_of(_WEEKDAYS, _NTH_DAYS),
        st.one_of(_NOTHING, _some(_SIGNED_DAYS, "BYMONTHDAY", 8)),
        st.one_of(_NOTHING, _MONTHS),
        st.one_of(_NOTHING, _POSITIONS),
    ),
    _joined(st.just("FREQ=MONTHLY"), st.one_of(_NOTHING, _some(_SIGNED_DAYS, "BYMONTHDAY")), st.one_of(_NOTHING, _MONTHS)),
    _joined(
        st.just("FREQ=YEARLY"),
        st.one_of(_WEEKDAYS, _NTH_DAYS, _some(_SIGNED_DAYS, "BYMONTHDAY"), _some(st.integers(-366, 366).filter(bool), "BYYEARDAY")),
        st.one_of(_NOTHING, _MONTHS),
        st.one_of(_NOTHING, _POSITIONS),
    ),
    _joined(st.just("FREQ=YEARLY"), _some(st.integers(2, 51), "BYWEEKNO"), st.one_of(_NOTHING, _WEEKDAYS)),
    _joined(st.just("FREQ=YEARLY"), st.one_of(_NOTHING, _MONTHS)),
)  # fmt: skip


@given(RULES, st.datetimes(datetime(2019, 12, 20), datetime(2021, 3, 5)))  # noqa: DTZ001 - wall-clock time
def test_days_are_those_of_another_implementation(text: str, first: datetime) -> None:
    first = first.replace(microsecond=0)
    found = days(text, first)
    more = int("COUNT" in text and len(found) == rule(text).count)  # nor has it one more
    assert found == told_by_dateutil(text, first, len(found) + more)


@given(st.text() | st.lists(st.sampled_from(["FREQ=", "DAILY", ";", "BYDAY=", "MO", "-", "1", ",", "COUNT=", "UNTIL=", "2026", "T"])).map("".join))  # fmt: skip
def test_any_text_is_a_rule_or_has_a_fault_within_it(text: str) -> None:
    found = read_rule(text)
    assert isinstance(found, Recurrence) or (0 <= found.offset <= len(text) and found.message)


TOLD = {
    "the last Friday of a month": ("FREQ=MONTHLY;BYDAY=-1FR;COUNT=2", [date(2020, 1, 31), date(2020, 2, 28)]),
    "the last working day": (
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;COUNT=3",
        [date(2020, 1, 31), date(2020, 2, 28), date(2020, 3, 31)],
    ),
    "a leap day": ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;COUNT=3", [date(2020, 2, 29), date(2024, 2, 29)]),
    "a week that few years have": ("FREQ=YEARLY;BYWEEKNO=53;BYDAY=MO", [date(2020, 12, 28), date(2026, 12, 28)]),
    "up to and with a moment": ("FREQ=DAILY;UNTIL=20200102T093000", [date(2020, 1, 1), date(2020, 1, 2)]),
    "up to right before one": ("FREQ=DAILY;UNTIL=20200102T092959", [date(2020, 1, 1)]),
    "weekdays with and without a number": (
        "FREQ=MONTHLY;BYDAY=WE,1MO;COUNT=3", [date(2020, 1, 1), date(2020, 1, 6), date(2020, 1, 8)],
    ),
    "every second year": ("FREQ=YEARLY;INTERVAL=2;COUNT=2", [date(2020, 1, 1), date(2022, 1, 1)]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), TOLD.values(), ids=TOLD)
def test_days_of_rules_that_people_write(text: str, wanted: list[date]) -> None:
    assert days(text, FIRST) == wanted


FAULTS = {
    "FREQ=HOURLY": (5, "windows repeat by days, not HOURLY"),
    "FREQ=WEEKLI": (5, "«WEEKLI» is no frequency"),
    "BYDAY=MO": (0, "the rule does not say how often: «FREQ» is missing"),
    "FREQ=DAILY;BYHOUR=9": (11, "«BYHOUR» is not used: windows begin at the time of their start"),
    "FREQ=DAILY;FREQ=DAILY": (11, "«FREQ» stands here a second time"),
    "FREQ=DAILY;COUNT=0": (17, "«COUNT» must be a whole number from 1, not «0»"),
    "FREQ=DAILY;COUNT=9999999999": (17, "«COUNT» must be a whole number from 1, not «9999999999»"),
    "FREQ=DAILY;INTERVAL=-1": (20, "«INTERVAL» must be a whole number from 1, not «-1»"),
    "FREQ=DAILY;UNTIL=20270101": (17, "«UNTIL» must be a wall-clock time such as 20261231T235959, without Z, not «20270101»"),
    "FREQ=DAILY;UNTIL=20270230T000000": (17, "«UNTIL» must be a wall-clock time such as 20261231T235959, without Z, not «20270230T000000»"),
    "FREQ=DAILY;UNTIL=20270101T000000;COUNT=2": (11, "a rule ends by COUNT or by UNTIL, not by both"),
    "FREQ=WEEKLY;BYDAY=1MO": (12, "a weekday with a number needs FREQ=MONTHLY or YEARLY, without BYWEEKNO"),
    "FREQ=WEEKLY;BYMONTHDAY=1": (12, "«BYMONTHDAY» cannot stand in a rule that is WEEKLY"),
    "FREQ=WEEKLY;BYDAY=MO;BYSETPOS=1": (21, "«BYSETPOS» cannot stand in a rule that is WEEKLY"),
    "FREQ=MONTHLY;BYWEEKNO=3": (13, "«BYWEEKNO» cannot stand in a rule that is MONTHLY"),
    "FREQ=YEARLY;BYWEEKNO=3;WKST=SU": (23, "weeks have numbers from Monday only"),
    "FREQ=MONTHLY;BYSETPOS=1": (13, "«BYSETPOS» chooses among days, and no other part says which"),
    "FREQ=MONTHLY;BYMONTHDAY=32": (24, "«BYMONTHDAY» must be days of the month, from 1 or from -1, not «32»"),
    "FREQ=MONTHLY;BYMONTH=0": (21, "«BYMONTH» must be months from 1 to 12, not «0»"),
    "FREQ=DAILY;BYEASTER=1": (11, "there is no part «BYEASTER»"),
    "FREQ=DAILY;": (11, "«» is no part of a rule"),
    "RRULE:FREQ=DAILY": (0, "a rule begins with FREQ="),
    "freq=daily": (0, "there is no part «freq»"),
    "FREQ=DAILY;BYDAY=" + "MO," * 80: (0, "a rule of more than 200 characters"),
}  # fmt: skip


@pytest.mark.parametrize("text", FAULTS, ids=lambda each: each[:40])
def test_what_is_not_used_is_refused_at_its_place(text: str) -> None:
    found = read_rule(text)
    assert isinstance(found, RuleFault)
    assert (found.offset, found.message) == FAULTS[text]


@pytest.mark.parametrize(
    "text",
    ["FREQ=DAILY;COUNT=999999999", "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
     "FREQ=DAILY;INTERVAL=999999999", "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=366", "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=9"],
)  # fmt: skip
def test_no_rule_takes_long_however_much_it_asks(text: str) -> None:
    begun = time.perf_counter()
    [*days_between(rule(text), FIRST, date(2120, 1, 1), date(2121, 1, 1))]
    occurs_first(rule(text), FIRST.date())
    assert time.perf_counter() - begun < 5


def test_weeks_are_those_of_iso_8601_around_new_year() -> None:
    for week in (1, 52, 53):
        found = {each for each in days(f"FREQ=YEARLY;BYWEEKNO={week}", FIRST) if each.year < FIRST.year + 6}
        every = (FIRST.date() + timedelta(days=number) for number in range(365 * 6 + 2))
        assert found == {each for each in every if each.isocalendar().week == week and each.year < FIRST.year + 6}


def test_a_count_ends_a_rule_where_it_is_used_up() -> None:
    last = FIRST.date() + timedelta(days=99_999)
    text = "FREQ=DAILY;COUNT=100000"
    assert [*days_between(rule(text), FIRST, last - timedelta(days=1), last + timedelta(days=9))] == [
        last - timedelta(days=1), last,
    ]  # fmt: skip
    assert [*days_between(rule(text), FIRST, date(2500, 1, 1), date(2500, 2, 1))] == []
