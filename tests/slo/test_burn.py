"""Windows, factors and thresholds; budget windows by the calendar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.repo import AlertLevel, AlertWindow, CalendarUnit
from opsascode.slo import burn_windows, default_windows, impossible_windows, nominal_length, period_of
from opsascode.slo._budget import exact, plain
from tests.slo.promises import BAD_TOTAL, DAY, HOUR, calendar, policy, rolling, target

MINUTE = timedelta(minutes=1)
PAGE, TICKET = AlertLevel.PAGE, AlertLevel.TICKET
LONE = target("availability", "0.9995", BAD_TOTAL)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago")
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


def seen(days: int) -> list[tuple[AlertLevel, timedelta, timedelta, str]]:
    return [
        (each.level, each.long, each.short, str(each.factor))
        for each in burn_windows(policy(LONE, window=rolling(days)))
    ]


def test_a_month_has_the_windows_of_the_workbook() -> None:
    assert seen(30) == [
        (PAGE, HOUR, 5 * MINUTE, "14.4"),
        (PAGE, 6 * HOUR, 30 * MINUTE, "6"),
        (TICKET, DAY, 2 * HOUR, "3"),
        (TICKET, 3 * DAY, 6 * HOUR, "1"),
    ]


def test_four_weeks_keep_the_shares_of_the_budget() -> None:
    assert [factor for *_, factor in seen(28)] == ["13.44", "5.6", "2.8", "0.933333333333"]


def test_a_week_has_larger_shares_so_that_factors_stay_useful() -> None:
    assert seen(7) == [
        (PAGE, HOUR, 5 * MINUTE, "16.8"),
        (PAGE, 6 * HOUR, 30 * MINUTE, "5.6"),
        (TICKET, DAY, 2 * HOUR, "2.8"),
    ]


def test_a_quarter_keeps_about_the_factors_of_a_month() -> None:
    found = [Decimal(factor) for *_, factor in seen(90)]
    assert all(
        abs(one / Decimal(other) - 1) < Decimal("0.05") for one, other in zip(found, (14.4, 6, 3, 1), strict=True)
    )


@pytest.mark.parametrize(
    ("share", "thresholds"),
    [("0.9995", ("0.0072", "0.003", "0.0015", "0.0005")), ("0.95", ("0.72", "0.3", "0.15", "0.05"))],
)
def test_a_threshold_is_factor_times_budget(share: str, thresholds: tuple[str, ...]) -> None:
    assert tuple(str(each.threshold(Decimal(share))) for each in burn_windows(policy(LONE))) == thresholds


def test_what_asks_for_more_than_everything_is_impossible() -> None:
    ninety = target("ninety", "0.9", BAD_TOTAL)
    (lost,) = impossible_windows(policy(ninety), ninety)
    assert (lost.long, lost.threshold(ninety.target)) == (HOUR, Decimal("1.44"))
    assert impossible_windows(policy(LONE), LONE) == ()


def test_all_of_all_events_is_impossible_too_as_nothing_is_above_it() -> None:
    window = AlertWindow(level=PAGE, long=HOUR, short=5 * MINUTE, budget=Decimal(1) / 72)
    exactly = policy(target("x", "0.9", BAD_TOTAL), alerting=(window,))
    (found,) = burn_windows(exactly)
    assert found.possible(Decimal("0.9")) == (found.factor < 10)


def test_windows_that_a_policy_names_replace_the_usual_ones() -> None:
    mine = AlertWindow(level=TICKET, long=2 * HOUR, short=10 * MINUTE, budget=Decimal("0.1"))
    (found,) = burn_windows(policy(LONE, alerting=(mine,)))
    assert (found.level, found.factor) == (TICKET, Decimal(36))


@given(st.integers(1, 800))
def test_usual_windows_fit_and_get_slower(days: int) -> None:
    usual = default_windows(days * DAY)
    assert usual
    assert all(each.short < each.long < days * DAY and 0 < each.budget < 1 for each in usual)
    assert [each.long for each in usual] == sorted(each.long for each in usual)
    factors = [each.factor for each in burn_windows(policy(LONE, window=rolling(days)))]
    assert factors == sorted(factors, reverse=True)
    assert {each.level for each in usual} == {PAGE, TICKET}


@given(st.integers(1, 400), st.integers(1, 10**6))
def test_factors_are_free_of_the_scale_of_time(days: int, thousandths: int) -> None:
    budget = Decimal(thousandths).scaleb(-6)
    one, two = (
        burn_windows(
            policy(
                LONE,
                window=rolling(days * scale),
                alerting=(AlertWindow(level=PAGE, long=HOUR * scale, short=MINUTE * scale, budget=budget),),
            )
        )[0].factor
        for scale in (1, 7)
    )
    assert one == two


@given(st.fractions())
def test_a_fraction_becomes_a_decimal_that_is_never_above_it(number: Fraction) -> None:
    shown = plain(number)
    assert shown.is_finite()
    assert 0 <= number - exact(shown) < Fraction(1, 10**12)
    assert "E" not in str(shown) or abs(shown) < Decimal("1e-6")


@given(MOMENTS, st.sampled_from(CalendarUnit), st.sampled_from(ZONES))
def test_a_moment_lies_in_its_period_and_periods_follow_each_other(at: datetime, unit: CalendarUnit, zone: str) -> None:
    window = calendar(unit, zone)
    start, end = period_of(window, at)
    assert start <= at < end
    assert period_of(window, start) == (start, end)
    assert period_of(window, end)[0] == end
    assert period_of(window, start - timedelta(microseconds=1))[1] == start
    local = start.astimezone(ZoneInfo(zone))
    assert local.hour * 60 + local.minute in {0, 30, 60}  # a midnight that is skipped begins later


@pytest.mark.parametrize(
    ("unit", "at", "days"),
    [
        (CalendarUnit.MONTH, "2026-02-10", 28),
        (CalendarUnit.MONTH, "2024-02-29", 29),
        (CalendarUnit.MONTH, "2026-12-31", 31),
        (CalendarUnit.QUARTER, "2026-03-31", 90),
        (CalendarUnit.QUARTER, "2024-01-01", 91),
        (CalendarUnit.QUARTER, "2026-11-21", 92),
        (CalendarUnit.YEAR, "2024-05-05", 366),
        (CalendarUnit.WEEK, "2026-11-21", 7),
    ],
)
def test_periods_are_as_long_as_in_the_calendar(unit: CalendarUnit, at: str, days: int) -> None:
    start, end = period_of(calendar(unit), datetime.fromisoformat(f"{at}T12:00:00+00:00"))
    assert end - start == days * DAY


def test_a_month_with_a_change_of_the_clock_is_an_hour_shorter_or_longer() -> None:
    lengths = [
        end - start
        for month in (3, 10)
        for start, end in [
            period_of(calendar(CalendarUnit.MONTH, "Europe/Berlin"), datetime(2026, month, 15, tzinfo=UTC))
        ]
    ]
    assert lengths == [31 * DAY - HOUR, 31 * DAY + HOUR]


def test_a_rolling_window_ends_now_and_a_naive_moment_is_refused() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert period_of(rolling(30), now) == (now - 30 * DAY, now)
    with pytest.raises(ValueError, match="aware"):
        period_of(rolling(30), now.replace(tzinfo=None))


def test_calendar_windows_have_nominal_lengths_for_alerts() -> None:
    assert [nominal_length(calendar(unit)).days for unit in CalendarUnit] == [7, 30, 90, 365]
