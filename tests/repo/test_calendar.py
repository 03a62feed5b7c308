"""When is a window open, whatever the clock does: gaps, folds, New Year, leap days, midnight."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsascode.errors import Position
from opsascode.repo import Calendar, CalendarWindow, Metadata, Source, load_source
from opsascode.repo._calendar_build import build_calendar
from opsascode.repo._calendar_rules import calendar_problems

HERE = Position(path="policies/calendar.yml")
MINUTE = timedelta(minutes=1)


def calendar(*windows: str, zone: str = "Europe/Berlin") -> Calendar:
    """A calendar as people write it; each window is flow text."""
    lines = ["apiVersion: opsascode/v1", "kind: Calendar", "metadata: {name: c}", "spec:", f"  timezone: {zone}"]
    data = "\n".join([*lines, "  windows:", *(f"    - {{{each}}}" for each in windows), ""]).encode()
    document = load_source(data, "policies/calendar.yml").documents[0]
    assert [*calendar_problems(document, data)] == []
    return build_calendar(document, Source.of("policies/calendar.yml", data))


def made(zone: str, window: CalendarWindow) -> Calendar:
    """A calendar made of one window."""
    metadata = Metadata(name="c", title="c", labels={}, position=HERE)
    source = Source.of("policies/calendar.yml", b"")
    return Calendar(metadata=metadata, timezone=zone, windows=(window,), source=source, position=HERE)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def spans(found: Calendar, start: str, end: str) -> list[tuple[str, str]]:
    """The occurrences in a span, each as its start and end in UTC."""
    return [
        (f"{each.start:%Y-%m-%dT%H:%M}", f"{each.end:%Y-%m-%dT%H:%M}")
        for each in found.occurrences(utc(start), utc(end))
    ]


CLOCKS = {
    "Berlin, in the hour left out: as much later": (
        "Europe/Berlin", "start: 2026-03-29T02:15, end: 2026-03-29T02:45", ("2026-03-29T01:15", "2026-03-29T01:45"),
    ),
    "Berlin, over the hour left out: an hour shorter": (
        "Europe/Berlin", "start: 2026-03-28T22:00, duration: 8h", ("2026-03-28T21:00", "2026-03-29T04:00"),
    ),
    "Berlin, into the hour left out": (
        "Europe/Berlin", "start: 2026-03-29T01:00, end: 2026-03-29T02:30", ("2026-03-29T00:00", "2026-03-29T01:30"),
    ),
    "Berlin, out of the hour left out: it keeps its length": (
        "Europe/Berlin", "start: 2026-03-29T02:30, end: 2026-03-29T03:00", ("2026-03-29T01:30", "2026-03-29T02:00"),
    ),
    "Berlin, in the hour that comes twice: the first": (
        "Europe/Berlin", "start: 2026-10-25T02:15, end: 2026-10-25T02:45", ("2026-10-25T00:15", "2026-10-25T00:45"),
    ),
    "Berlin, over the hour that comes twice: an hour longer": (
        "Europe/Berlin", "start: 2026-10-24T22:00, duration: 8h", ("2026-10-24T20:00", "2026-10-25T05:00"),
    ),
    "New York, in the hour left out": (
        "America/New_York", "start: 2026-03-08T02:30, duration: 15m", ("2026-03-08T07:30", "2026-03-08T07:45"),
    ),
    "New York, in the hour that comes twice": (
        "America/New_York", "start: 2026-11-01T01:30, duration: 1h", ("2026-11-01T05:30", "2026-11-01T07:30"),
    ),
    "Lord Howe, in the half hour left out": (
        "Australia/Lord_Howe", "start: 2026-10-04T02:10, duration: 10m", ("2026-10-03T15:40", "2026-10-03T15:50"),
    ),
    "Lord Howe, in the half hour that comes twice": (
        "Australia/Lord_Howe", "start: 2026-04-05T01:45, duration: 30m", ("2026-04-04T14:45", "2026-04-04T15:45"),
    ),
    "Apia, on the day that was left out": (
        "Pacific/Apia", "start: 2011-12-30T12:00, duration: 1h", ("2011-12-30T22:00", "2011-12-30T23:00"),
    ),
    "UTC": ("UTC", "start: 2026-03-29T02:15, end: 2026-03-29T02:45", ("2026-03-29T02:15", "2026-03-29T02:45")),
}  # fmt: skip


@pytest.mark.parametrize(("zone", "window", "wanted"), CLOCKS.values(), ids=CLOCKS)
def test_the_clock_moves_windows_as_it_is_said(zone: str, window: str, wanted: tuple[str, str]) -> None:
    found = calendar(f"name: w, {window}", zone=zone)
    assert spans(found, "2011-01-01", "2027-01-01") == [wanted]
    start, end = (utc(each) for each in wanted)
    assert [bool(found.open_at(each)) for each in (start - MINUTE, start, end - MINUTE, end)] == [
        False, True, True, False,
    ]  # fmt: skip


REPEATED = {
    "a freeze over New Year, year by year": (
        "start: 2024-12-20T18:00, end: 2025-01-04T06:00, rrule: FREQ=YEARLY", ("2026-12-31T12:00", "2027-01-02"),
        [("2026-12-20T17:00", "2027-01-04T05:00")],
    ),
    "a leap day, in leap years only": (
        "start: 2024-02-29T00:00, duration: 1d, rrule: FREQ=YEARLY", ("2025-01-01", "2029-01-01"),
        [("2028-02-28T23:00", "2028-02-29T23:00")],
    ),
    "the last moment of UNTIL": (
        "start: 2026-06-01T09:00, duration: 1h, rrule: FREQ=DAILY;UNTIL=20260602T090000", ("2026-05-01", "2026-07-01"),
        [("2026-06-01T07:00", "2026-06-01T08:00"), ("2026-06-02T07:00", "2026-06-02T08:00")],
    ),
    "as often as COUNT says": (
        "start: 2026-06-01T09:00, duration: 1h, rrule: FREQ=WEEKLY;COUNT=2", ("2026-05-01", "2026-12-01"),
        [("2026-06-01T07:00", "2026-06-01T08:00"), ("2026-06-08T07:00", "2026-06-08T08:00")],
    ),
    "at the same wall clock in summer and winter": (
        "start: 2026-03-28T09:00, duration: 1h, rrule: FREQ=DAILY;COUNT=3", ("2026-03-01", "2026-04-01"),
        [("2026-03-28T08:00", "2026-03-28T09:00"), ("2026-03-29T07:00", "2026-03-29T08:00"),
         ("2026-03-30T07:00", "2026-03-30T08:00")],
    ),
    "weekly over midnight, Sunday into Monday": (
        'days: [sun], from: "22:00", to: "02:00"', ("2026-07-01", "2026-07-08"),
        [("2026-07-05T20:00", "2026-07-06T00:00")],
    ),
    "weekly, a whole day": (
        'days: [wed], from: "00:00", to: "24:00"', ("2026-07-01", "2026-07-07"), [("2026-06-30T22:00", "2026-07-01T22:00")],
    ),
    "weekly, begun the day before the span": (
        'days: [tue], from: "18:00", to: "06:00"', ("2026-07-01T01:00", "2026-07-01T02:00"),
        [("2026-06-30T16:00", "2026-07-01T04:00")],
    ),
    "monthly, on the last Friday": (
        "start: 2026-01-30T16:00, duration: 62h, rrule: FREQ=MONTHLY;BYDAY=-1FR", ("2026-06-27", "2026-06-28"),
        [("2026-06-26T14:00", "2026-06-29T04:00")],
    ),
    "once, and never before or after": (
        "start: 2026-06-01T09:00, end: 2026-06-01T10:00", ("2026-06-01T08:00", "2030-01-01"), [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("window", "span", "wanted"), REPEATED.values(), ids=REPEATED)
def test_windows_repeat(window: str, span: tuple[str, str], wanted: list[tuple[str, str]]) -> None:
    assert spans(calendar(f"name: w, {window}"), *span) == wanted


def first_moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """Find the moment of a wall-clock time by looking at every minute of two days: an independent way."""
    guess = wall.replace(tzinfo=UTC) - timedelta(days=1)
    minutes = [guess + timedelta(minutes=number) for number in range(2 * 24 * 60)]
    walls = [each.astimezone(zone).replace(tzinfo=None) for each in minutes]
    if wall in walls:
        return minutes[walls.index(wall)]
    index = next(number for number, each in enumerate(walls) if each > wall)
    skipped = walls[index] - walls[index - 1] - MINUTE
    return minutes[walls.index(wall + skipped)]


NEAR_A_CHANGE = st.sampled_from(
    [
        ("Europe/Berlin", "2026-03-29T02:00"), ("Europe/Berlin", "2026-10-25T02:00"),
        ("America/New_York", "2026-03-08T02:00"), ("America/New_York", "2026-11-01T01:00"),
        ("Australia/Lord_Howe", "2026-10-04T02:00"), ("Australia/Lord_Howe", "2026-04-05T01:00"),
        ("Africa/Casablanca", "2026-03-22T02:00"), ("America/St_Johns", "2026-11-01T01:00"),
    ]
)  # fmt: skip


@settings(max_examples=60)
@given(NEAR_A_CHANGE, st.integers(-300, 300), st.integers(1, 600), st.integers(-2, 2))
def test_windows_near_a_change_of_the_clock_are_where_every_minute_says(
    near: tuple[str, str], offset: int, length: int, day: int
) -> None:
    name, change = near
    start = datetime.fromisoformat(change) + timedelta(minutes=offset)
    repeated = CalendarWindow(
        name="w",
        start=start - timedelta(days=30),
        end=start - timedelta(days=30) + timedelta(minutes=length),
        rule="FREQ=DAILY;COUNT=100",
        position=HERE,
    )
    begun = start + timedelta(days=day)
    zone = ZoneInfo(name)
    wanted = first_moment(begun, zone), first_moment(begun + timedelta(minutes=length), zone)
    if wanted[1] <= wanted[0]:
        wanted = wanted[0], wanted[0] + timedelta(minutes=length)
    found = [(each.start, each.end) for each in made(name, repeated).occurrences(wanted[0], wanted[1])]
    assert wanted in found


WINDOWS = st.lists(
    st.sampled_from(
        [
            'name: night, days: [mon, wed, sun], from: "22:00", to: "06:00"',
            'name: hours, days: [mon, tue, wed, thu, fri], from: "09:00", to: "17:00"',
            "name: xmas, start: 2025-12-20T18:00, end: 2026-01-04T06:00, rrule: FREQ=YEARLY",
            "name: second, start: 2026-01-02T00:30, duration: 90m, rrule: FREQ=DAILY;INTERVAL=2",
            "name: payday, start: 2026-01-30T02:30, duration: 2d, rrule: FREQ=MONTHLY;BYDAY=-1FR",
            "name: once, start: 2026-03-29T01:30, end: 2026-03-29T03:30",
        ]
    ),
    min_size=1,
    unique=True,
)


@given(
    WINDOWS,
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 2, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
)
def test_between_two_changes_nothing_opens_or_closes(windows: list[str], zone: str, moment: datetime) -> None:
    found = calendar(*windows, zone=zone)
    horizon = timedelta(days=3)
    change = found.next_change(moment, horizon)
    last = change or moment + horizon
    inside = moment + (last - moment) * 0.5

    def state(at: datetime) -> list[tuple[str, datetime]]:
        return [(each.window, each.start) for each in found.occurrences(at, at + timedelta(microseconds=1))]

    assert state(moment) == state(inside) == state(last - timedelta(microseconds=1))
    assert change is None or state(change) != state(moment)
    opened = found.open_at(moment)
    assert (opened is not None) == bool(state(moment))
    assert opened is None or opened.start <= moment < opened.end
    inner = found.occurrences(moment, last)
    assert [(each.window, each.start) for each in inner] == state(moment)


def test_of_several_open_windows_the_one_that_ends_last_is_given() -> None:
    short, long = (
        "name: short, start: 2026-06-01T09:00, duration: 1h",
        "name: long, start: 2026-06-01T08:00, duration: 9h, reason: move",
    )
    opened = calendar(short, long).open_at(utc("2026-06-01T07:30"))
    assert opened is not None
    assert (opened.window, opened.reason) == ("long", "move")


def test_the_next_change_is_a_start_or_an_end_up_to_and_with_the_horizon() -> None:
    found = calendar("name: w, start: 2026-06-01T09:00, duration: 1h")
    start = utc("2026-06-01T07:00")
    assert found.next_change(start - timedelta(hours=2), timedelta(hours=2)) == start
    assert found.next_change(start - timedelta(hours=2), timedelta(minutes=119)) is None
    assert found.next_change(start, timedelta(hours=2)) == start + timedelta(hours=1)
    assert found.next_change(start + timedelta(hours=1), timedelta(days=900)) is None


def test_a_time_without_a_zone_is_refused() -> None:
    found = calendar("name: w, start: 2026-06-01T09:00, duration: 1h")
    with pytest.raises(ValueError, match="aware"):
        found.open_at(datetime(2026, 6, 1, 9))  # noqa: DTZ001 - that is what is tested


@pytest.mark.parametrize("moment", [datetime.min, datetime.max], ids=["the first", "the last"])  # noqa: DTZ901 - the test adds it
def test_the_ends_of_time_are_answered(moment: datetime) -> None:
    found = calendar(
        "name: w, start: 2026-06-01T09:00, duration: 1h, rrule: FREQ=DAILY",
        'name: x, days: [mon], from: "22:00", to: "06:00"',
    )
    found.open_at(moment.replace(tzinfo=UTC))
    assert found.next_change(utc("9999-12-31"), timedelta(days=1)) is None


def test_a_rule_that_began_long_ago_with_an_enormous_count_answers_at_once() -> None:
    found = calendar("name: w, start: 1970-01-01T09:00, duration: 1h, rrule: FREQ=DAILY;COUNT=999999999")
    begun = time.perf_counter()
    assert found.open_at(utc("2500-01-01T08:30"))
    for number in range(1000):
        found.open_at(utc("2500-01-01") + timedelta(hours=number))
    assert time.perf_counter() - begun < 5
