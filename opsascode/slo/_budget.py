"""How long is a budget window, and which share of a budget is gone? Exact numbers, and how they become decimals.

Shares are worked out as fractions. A decimal that is given out is cut after 12 places, always down: it never shows a
threshold as reached that was not. There is no NaN and no infinity: what is not finite is no data.

A calendar window begins at midnight of its time zone, and its budget is for the whole of it. Of a window that has only
begun, the events to come are taken to be as many in an hour as those so far: what is consumed is
`bad / total / (1 - target) * elapsed / length`. For a rolling window the last factor is 1.

Not here: levels and alerts (`_status`, `_burn`).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from opsascode.repo import CalendarUnit, Rolling

if TYPE_CHECKING:
    from opsascode.repo import CalendarPeriod
    from opsascode.slo._snapshot import Counted

PLACES: Final = 12
_NOMINAL: Final = {
    CalendarUnit.WEEK: timedelta(days=7),
    CalendarUnit.MONTH: timedelta(days=30),
    CalendarUnit.QUARTER: timedelta(days=90),
    CalendarUnit.YEAR: timedelta(days=365),
}
_MONTHS: Final = {CalendarUnit.MONTH: 1, CalendarUnit.QUARTER: 3, CalendarUnit.YEAR: 12}


def exact(number: Decimal) -> Fraction:
    """Give a finite decimal as a fraction."""
    return Fraction(number)


def ratio(one: timedelta, other: timedelta) -> Fraction:
    """Give how many times one length is the other, exactly."""
    return Fraction(one // timedelta.resolution, other // timedelta.resolution)


def plain(number: Fraction, *, figures: int | None = None) -> Decimal:
    """Give a fraction as a decimal without needless zeros, cut after 12 places or rounded to some figures."""
    if figures is not None:
        few = Context(prec=figures)
        return _tidy(few.divide(Decimal(number.numerator), Decimal(number.denominator)))
    scaled = number.numerator * 10**PLACES // number.denominator
    return _tidy(Decimal(scaled).scaleb(-PLACES, Context(prec=max(28, len(str(scaled)) + 1), rounding=ROUND_FLOOR)))


def nominal_length(window: Rolling | CalendarPeriod) -> timedelta:
    """Give the length of a budget window; a month counts 30 days, a quarter 90, a year 365."""
    return window.length if isinstance(window, Rolling) else _NOMINAL[window.unit]


def period_of(window: Rolling | CalendarPeriod, at: datetime) -> tuple[datetime, datetime]:
    """Give the start and the end, in UTC, of the budget window that a moment lies in.

    Raises:
        ValueError: the moment is naive.
    """
    if at.tzinfo is None:
        msg = "period_of needs an aware time"
        raise ValueError(msg)
    if isinstance(window, Rolling):
        return (at - window.length).astimezone(UTC), at.astimezone(UTC)
    zone = ZoneInfo(window.timezone)
    today = at.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    if window.unit is CalendarUnit.WEEK:
        first = today - timedelta(days=today.weekday())
        return _utc(first, zone), _utc(first + timedelta(days=7), zone)
    months = _MONTHS[window.unit]
    first = today.replace(month=(today.month - 1) // months * months + 1, day=1)
    years, month = divmod(first.month - 1 + months, 12)
    return _utc(first, zone), _utc(first.replace(year=first.year + years, month=month + 1), zone)


def bad_share(counted: Counted | None) -> Fraction | None:
    """Give the share of bad events between 0 and 1; None where nothing was counted.

    Prometheus extrapolates counters at the edges of a window, so that a little more than all may seem to be bad.
    """
    if counted is None or not counted.bad.is_finite() or not counted.total.is_finite() or counted.total <= 0:
        return None
    return min(max(exact(counted.bad) / exact(counted.total), Fraction(0)), Fraction(1))


def consumed_share(bad: Fraction, target: Decimal, elapsed: Fraction) -> Fraction:
    """Give the share of the budget that is gone: may be more than 1; `elapsed` is the share of its window so far."""
    return bad / (1 - exact(target)) * elapsed


def _utc(local: datetime, zone: ZoneInfo) -> datetime:
    """Give midnight of a zone in UTC; where daylight saving skips it, this is the moment after the gap (PEP 495)."""
    return local.replace(tzinfo=zone).astimezone(UTC)


def _tidy(number: Decimal) -> Decimal:
    """Drop trailing zeros, and write no exponent."""
    if not number:
        return Decimal(0)
    short = number.normalize(Context(prec=max(28, len(number.as_tuple().digits))))
    return Decimal(f"{short:f}")
