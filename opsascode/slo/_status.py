"""How much of each error budget is gone, how fast does it burn, and what is due? Pure judgement of a snapshot.

Not here: measuring (`_measure`), what a gate makes of it (`policy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from opsascode.repo import BudgetLevel
from opsascode.slo._budget import bad_share, consumed_share, exact, period_of, plain, ratio
from opsascode.slo._burn import burn_windows
from opsascode.slo._snapshot import Counted, TargetSeen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from opsascode.repo import AlertLevel, ReliabilityPolicy, Target, Thresholds
    from opsascode.slo._burn import BurnWindow
    from opsascode.slo._snapshot import SloSnapshot

_ORDER: Final = (BudgetLevel.OK, BudgetLevel.WARN, BudgetLevel.CRITICAL, BudgetLevel.EXHAUSTED)
_FOREVER: Final = timedelta(days=36525)


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnSeen:
    """One pair of windows as it was measured: burn rates (None: no traffic), and whether both are above the factor."""

    window: BurnWindow
    long: Decimal | None
    short: Decimal | None
    firing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetStatus:
    """Where one promise stands.

    `objective` is the share of good events so far, `consumed` and `remaining` are shares of the budget (remaining may
    be negative); all None with level NO_DATA. `exhausted_in` is None where it does not burn, zero where it is gone.
    """

    id: str
    title: str
    target: Decimal
    level: BudgetLevel
    objective: Decimal | None
    consumed: Decimal | None
    remaining: Decimal | None
    burn: Decimal | None
    exhausted_in: timedelta | None
    burns: tuple[BurnSeen, ...]
    seen: TargetSeen

    def firing(self, level: AlertLevel) -> bool:
        """Say whether a burn alert of this level fires."""
        return any(each.firing and each.window.level is level for each in self.burns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """Where all promises of one policy stand; `level` is the worst of them (NO_DATA only where all have none)."""

    policy: str
    service: str
    level: BudgetLevel
    targets: tuple[TargetStatus, ...]
    taken: datetime
    snapshot: SloSnapshot


def status_of(policy: ReliabilityPolicy, snapshot: SloSnapshot) -> ServiceStatus:
    """Judge what was measured by the targets of a policy, which may be another than the one it was measured for.

    The burn of a promise is that of the long window of its fastest pair. It is exhausted after remaining / burn of the
    window; what leaves a rolling window meanwhile is not counted. A promise nobody measured has no data.
    """
    seen = {each.id: each for each in snapshot.targets}
    windows = burn_windows(policy)
    targets = tuple(
        _judged(policy, each, seen.get(each.id) or _unseen(policy, each, snapshot), windows, snapshot.taken)
        for each in policy.targets
    )
    return ServiceStatus(
        policy=policy.metadata.name,
        service=policy.service,
        level=worst(each.level for each in targets),
        targets=targets,
        taken=snapshot.taken,
        snapshot=snapshot,
    )


def worst(levels: Iterable[BudgetLevel]) -> BudgetLevel:
    """Give the worst level; no data only where there is nothing else."""
    known = [each for each in levels if each is not BudgetLevel.NO_DATA]
    return max(known, key=_ORDER.index, default=BudgetLevel.NO_DATA)


def level_of(thresholds: Thresholds, consumed: Fraction) -> BudgetLevel:
    """Give the level of a budget of which this share is gone; a threshold counts as soon as it is reached."""
    if consumed >= 1:
        return BudgetLevel.EXHAUSTED
    if consumed >= exact(thresholds.critical):
        return BudgetLevel.CRITICAL
    return BudgetLevel.WARN if consumed >= exact(thresholds.warn) else BudgetLevel.OK


def _judged(
    policy: ReliabilityPolicy, target: Target, seen: TargetSeen, windows: tuple[BurnWindow, ...], taken: datetime
) -> TargetStatus:
    length = seen.end - seen.start
    burns = tuple(_burn_seen(each, target.target, seen.rates) for each in windows)
    bad = bad_share(seen.counted)
    if bad is None or seen.counted is None or seen.counted.total < target.min_events or length <= timedelta():
        return _without_data(target, seen, burns)
    gone = consumed_share(bad, target.target, ratio(_clamped(taken - seen.start, length), length))
    consumed = plain(gone)
    burn = _burn(seen.rates.get(windows[0].long), target.target) if windows else None
    return TargetStatus(
        id=target.id,
        title=target.title,
        target=target.target,
        level=level_of(policy.thresholds, gone),
        objective=plain(1 - bad),
        consumed=consumed,
        remaining=plain(1 - exact(consumed)),
        burn=None if burn is None else plain(burn),
        exhausted_in=_exhausted_in(1 - gone, burn, length),
        burns=burns,
        seen=seen,
    )


def _without_data(target: Target, seen: TargetSeen, burns: tuple[BurnSeen, ...]) -> TargetStatus:
    return TargetStatus(
        id=target.id,
        title=target.title,
        target=target.target,
        level=BudgetLevel.NO_DATA,
        objective=None,
        consumed=None,
        remaining=None,
        burn=None,
        exhausted_in=None,
        burns=burns,
        seen=seen,
    )


def _burn_seen(window: BurnWindow, target: Decimal, rates: Mapping[timedelta, Decimal | None]) -> BurnSeen:
    long, short = _burn(rates.get(window.long), target), _burn(rates.get(window.short), target)
    factor = exact(window.factor)
    return BurnSeen(
        window=window,
        long=None if long is None else plain(long),
        short=None if short is None else plain(short),
        firing=long is not None and short is not None and long > factor and short > factor,
    )


def _burn(rate: Decimal | None, target: Decimal) -> Fraction | None:
    """Give how many times faster than allowed the budget burns at a share of bad events; None where it is unknown."""
    bad = None if rate is None else bad_share(Counted(bad=rate, total=Decimal(1)))
    return None if bad is None else consumed_share(bad, target, Fraction(1))


def _exhausted_in(remaining: Fraction, burn: Fraction | None, length: timedelta) -> timedelta | None:
    if remaining <= 0:
        return timedelta()
    if not burn:
        return None
    seconds = remaining / burn * ratio(length, timedelta(seconds=1))
    return timedelta(seconds=int(seconds)) if seconds < _FOREVER.total_seconds() else None


def _clamped(elapsed: timedelta, length: timedelta) -> timedelta:
    """Keep a moment within its window: clocks differ a little between here and Prometheus."""
    return min(max(elapsed, timedelta()), length)


def _unseen(policy: ReliabilityPolicy, target: Target, snapshot: SloSnapshot) -> TargetSeen:
    start, end = period_of(policy.window, snapshot.taken)
    return TargetSeen(id=target.id, target=target.target, start=start, end=end, counted=None, rates={}, present=False)
