"""Which burn is an alert? Multiwindow, multi-burn-rate conditions (Google SRE workbook, chapter 5).

Both windows of a pair must burn faster than its factor: the long one says that it matters, the short one that it still
goes on. A pair whose threshold is 1 or more can never fire, as no more than all events are bad; it is told apart.

The usual pairs follow from the length of the budget window. 28 days and more have those of the workbook; up to 62 days
the shares of the budget are kept, beyond that the factors of 30 days, so that a long window does not wait longer for a
page. Shorter windows get larger shares over fewer pairs, for the same shares would give factors below 1.

Not here: rules for Prometheus (`_rules`), what was measured (`_snapshot`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opsascode.repo import AlertLevel, AlertWindow
from opsascode.slo._budget import exact, nominal_length, plain, ratio

if TYPE_CHECKING:
    from opsascode.repo import ReliabilityPolicy, Target

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)

# Level, long, short, share of the budget; the least length of a budget window that has them.
_WORKBOOK: Final = (
    (AlertLevel.PAGE, _HOUR, 5 * _MINUTE, Decimal("0.02")),
    (AlertLevel.PAGE, 6 * _HOUR, 30 * _MINUTE, Decimal("0.05")),
    (AlertLevel.TICKET, _DAY, 2 * _HOUR, Decimal("0.1")),
    (AlertLevel.TICKET, 3 * _DAY, 6 * _HOUR, Decimal("0.1")),
)
_FORTNIGHT: Final = (
    (AlertLevel.PAGE, _HOUR, 5 * _MINUTE, Decimal("0.04")),
    (AlertLevel.PAGE, 6 * _HOUR, 30 * _MINUTE, Decimal("0.1")),
    (AlertLevel.TICKET, 2 * _DAY, 4 * _HOUR, Decimal("0.2")),
)
_WEEK: Final = (
    (AlertLevel.PAGE, _HOUR, 5 * _MINUTE, Decimal("0.1")),
    (AlertLevel.PAGE, 6 * _HOUR, 30 * _MINUTE, Decimal("0.2")),
    (AlertLevel.TICKET, _DAY, 2 * _HOUR, Decimal("0.4")),
)
_DAYS: Final = (
    (AlertLevel.PAGE, _HOUR, 5 * _MINUTE, Decimal("0.3")),
    (AlertLevel.PAGE, 3 * _HOUR, 15 * _MINUTE, Decimal("0.5")),
    (AlertLevel.TICKET, 12 * _HOUR, _HOUR, Decimal("0.8")),
)
_TIERS: Final = ((21 * _DAY, _WORKBOOK), (10 * _DAY, _FORTNIGHT), (5 * _DAY, _WEEK), (timedelta(), _DAYS))
_USUAL: Final = 30 * _DAY
_LONG: Final = 62 * _DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnWindow:
    """A pair of windows, and the burn rate above which both must be: budget * period / long, exactly."""

    level: AlertLevel
    long: timedelta
    short: timedelta
    factor: Decimal

    def threshold(self, target: Decimal) -> Decimal:
        """Give the share of bad events that is this burn for a target; from 1 on it can never be reached."""
        return _threshold(self.factor, target)

    def possible(self, target: Decimal) -> bool:
        """Say whether this burn can be reached at all."""
        return exact(self.factor) * (1 - exact(target)) < 1


def default_windows(length: timedelta) -> tuple[AlertWindow, ...]:
    """Give the usual pairs for a budget window of this length; those that do not fit in it are left out."""
    tier = next(pairs for least, pairs in _TIERS if length >= least)
    return tuple(
        AlertWindow(level=level, long=long, short=short, budget=_share(budget, length))
        for level, long, short, budget in tier
        if long < length
    )


def burn_windows(policy: ReliabilityPolicy) -> tuple[BurnWindow, ...]:
    """Give the pairs of windows of a policy with their factors, the fastest first.

    A calendar window counts with its nominal length (a month has 30 days), so that thresholds do not change with it.
    """
    return _pairs(nominal_length(policy.window), policy.alerting)


@lru_cache(maxsize=1024)
def _pairs(length: timedelta, alerting: tuple[AlertWindow, ...]) -> tuple[BurnWindow, ...]:
    pairs = [
        BurnWindow(
            level=each.level,
            long=each.long,
            short=each.short,
            factor=plain(exact(each.budget) * ratio(length, each.long)),
        )
        for each in alerting or default_windows(length)
    ]
    return tuple(sorted(pairs, key=lambda each: (each.long, each.short, each.level is not AlertLevel.PAGE)))


def impossible_windows(policy: ReliabilityPolicy, target: Target) -> tuple[BurnWindow, ...]:
    """Give the pairs that can never fire for a promise, as they ask for more bad events than there are."""
    return tuple(each for each in burn_windows(policy) if not each.possible(target.target))


@lru_cache(maxsize=4096)
def _threshold(factor: Decimal, target: Decimal) -> Decimal:
    return plain(exact(factor) * (1 - exact(target)))


def _share(budget: Decimal, length: timedelta) -> Decimal:
    """Keep the factor of 30 days in a longer window: the share of the budget there, to two figures."""
    if length <= _LONG:
        return budget
    return plain(exact(budget) * ratio(_USUAL, length), figures=2)
