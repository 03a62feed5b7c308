"""Budgets as numbers: laws that hold for any counts, and the levels of a policy."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from opsascode.repo import AlertLevel, BudgetLevel, CalendarUnit, Thresholds
from opsascode.slo import Counted, SloSnapshot, TargetSeen, burn_windows, period_of, status_of
from tests.slo.promises import BAD_TOTAL, DAY, calendar, policy, rolling, target

if TYPE_CHECKING:
    from opsascode.repo import CalendarPeriod, ReliabilityPolicy, Rolling
    from opsascode.slo import TargetStatus

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LEVELS = (BudgetLevel.OK, BudgetLevel.WARN, BudgetLevel.CRITICAL, BudgetLevel.EXHAUSTED)
SHARES = st.decimals("0.5", "0.99999", places=5)
COUNTS = st.decimals(0, 10**12, places=3)
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
ODD = st.sampled_from([Decimal("NaN"), Decimal("Infinity"), Decimal("-Infinity"), Decimal(-1), Decimal("1e300")])


def promise(
    share: str | Decimal = "0.9995", window: Rolling | CalendarPeriod | None = None, **more: Any
) -> ReliabilityPolicy:
    return policy(target("availability", str(share), BAD_TOTAL, **more), window=window or rolling(30))


def snapshot(
    policy: ReliabilityPolicy, counted: Counted | None, taken: datetime = NOW, **rates: Decimal
) -> SloSnapshot:
    """One promise as it was measured; `rate` is the share of bad events in every window of the alerts."""
    start, end = period_of(policy.window, taken)
    lengths = {length for pair in burn_windows(policy) for length in (pair.long, pair.short)}
    one = TargetSeen(
        id="availability",
        target=policy.targets[0].target,
        start=start,
        end=end,
        counted=counted,
        rates={length: rates.get("rate") for length in lengths},
        present=counted is not None,
    )
    return SloSnapshot(
        policy="shop", service="shop", commit=None, digest=policy.source.digest, taken=taken, targets=(one,)
    )


def judged(
    policy: ReliabilityPolicy, bad: Decimal | str, total: Decimal | str = "100000", **rates: Decimal
) -> TargetStatus:
    (found,) = status_of(policy, snapshot(policy, Counted(bad=Decimal(bad), total=Decimal(total)), **rates)).targets
    return found


@pytest.mark.parametrize(
    ("bad", "consumed", "level"),
    [
        ("0", "0", BudgetLevel.OK),
        ("24.999", "0.49998", BudgetLevel.OK),
        ("25", "0.5", BudgetLevel.WARN),
        ("39.9999999999999999", "0.799999999999", BudgetLevel.WARN),
        ("40", "0.8", BudgetLevel.CRITICAL),
        ("50", "1", BudgetLevel.EXHAUSTED),
        ("75", "1.5", BudgetLevel.EXHAUSTED),
    ],
)
def test_a_level_begins_exactly_at_its_threshold(bad: str, consumed: str, level: BudgetLevel) -> None:
    found = judged(promise(), bad)
    assert (str(found.consumed), found.level) == (consumed, level)


def test_remaining_may_be_negative() -> None:
    assert str(judged(promise(), "75").remaining) == "-0.5"


def test_minutes_of_a_month() -> None:
    """99.95 % of 30 days are 21.6 minutes: half of them is to be warned of, 17.28 are critical."""
    minutes = str(30 * 24 * 60)
    assert judged(promise(), "10.8", minutes).level is BudgetLevel.WARN
    assert judged(promise(), "17.28", minutes).level is BudgetLevel.CRITICAL
    assert judged(promise(), "17.27999", minutes).level is BudgetLevel.WARN


@given(SHARES, COUNTS, COUNTS)
def test_consumed_and_remaining_are_a_whole(share: Decimal, one: Decimal, other: Decimal) -> None:
    bad, total = sorted((one, other))
    assume(total > 0)
    found = judged(promise(share), bad, total)
    assert found.consumed is not None
    assert found.remaining is not None
    assert found.objective is not None
    assert found.consumed + found.remaining == 1
    assert 0 <= found.objective <= 1
    assert found.consumed >= 0


@given(SHARES, COUNTS, COUNTS, COUNTS)
def test_more_bad_events_never_leave_more_budget(share: Decimal, one: Decimal, two: Decimal, three: Decimal) -> None:
    less, more, total = sorted((one, two, three))
    assume(total > 0)
    before, after = judged(promise(share), less, total), judged(promise(share), more, total)
    assert before.consumed is not None
    assert after.consumed is not None
    assert before.consumed <= after.consumed
    assert LEVELS.index(before.level) <= LEVELS.index(after.level)


@given(SHARES, st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_only_shares_count_not_how_many_events_there_are(share: Decimal, bad: int, good: int, scale: int) -> None:
    one, two = (judged(promise(share), Decimal(bad * each), Decimal((bad + good) * each)) for each in (1, scale))
    assert (one.consumed, one.level, one.objective) == (two.consumed, two.level, two.objective)


@given(SHARES, COUNTS, COUNTS)
def test_a_higher_promise_never_leaves_more_budget(share: Decimal, one: Decimal, other: Decimal) -> None:
    bad, total = sorted((one, other))
    assume(total > 0)
    low, high = judged(promise(share), bad, total), judged(promise((share + 1) / 2), bad, total)
    assert low.consumed is not None
    assert high.consumed is not None
    assert low.consumed <= high.consumed


@given(SHARES, COUNTS | ODD, COUNTS | ODD, COUNTS | ODD)
def test_no_number_is_ever_not_a_number(share: Decimal, bad: Decimal, total: Decimal, rate: Decimal) -> None:
    found = judged(promise(share), bad, total, rate=rate)
    shown = (found.objective, found.consumed, found.remaining, found.burn, *(each.long for each in found.burns))
    assert all(each is None or each.is_finite() for each in shown)
    assert (found.level is BudgetLevel.NO_DATA) == (found.consumed is None)
    assert found.exhausted_in is None or found.exhausted_in >= timedelta()


@given(SHARES, st.integers(1, 400))
def test_a_burn_of_one_takes_a_whole_budget_the_whole_window(share: Decimal, days: int) -> None:
    found = judged(promise(share, rolling(days)), "0", rate=1 - share)
    assert found.burn == 1
    assert found.exhausted_in == days * DAY


@given(SHARES, st.sampled_from(CalendarUnit), MOMENTS)
def test_an_even_burn_of_one_is_exhausted_at_the_end_of_a_calendar_period(
    share: Decimal, unit: CalendarUnit, at: datetime
) -> None:
    mine, taken = promise(share, calendar(unit, "Europe/Berlin")), at.replace(microsecond=0)
    start, end = period_of(mine.window, taken)
    assume(taken - start > timedelta(minutes=1))
    counted = Counted(bad=(1 - share) * 1000, total=Decimal(1000))
    (found,) = status_of(mine, snapshot(mine, counted, taken, rate=1 - share)).targets
    assert found.exhausted_in == end - taken
    assert found.consumed is not None
    assert abs(found.consumed - Decimal((taken - start) / (end - start))) < Decimal("1e-9")


def test_a_period_that_has_just_begun_is_not_exhausted_by_its_first_error() -> None:
    mine = promise("0.9995", calendar(CalendarUnit.MONTH))
    taken = datetime(2026, 11, 1, 0, 10, tzinfo=UTC)
    (found,) = status_of(mine, snapshot(mine, Counted(bad=Decimal(600), total=Decimal(600)), taken)).targets
    assert found.level is BudgetLevel.OK  # ten minutes of 21.6
    assert found.consumed == Decimal("0.462962962962")


@pytest.mark.parametrize(
    "counted", [None, Counted(bad=Decimal(0), total=Decimal(0)), Counted(bad=Decimal(1), total=Decimal(99))]
)
def test_without_enough_events_there_are_no_data(counted: Counted | None) -> None:
    mine = promise(min_events=100)
    status = status_of(mine, snapshot(mine, counted))
    (found,) = status.targets
    assert (status.level, found.level, found.consumed, found.burn) == (
        BudgetLevel.NO_DATA,
        BudgetLevel.NO_DATA,
        None,
        None,
    )


def test_a_promise_nobody_measured_has_no_data_and_hides_no_other() -> None:
    mine = promise()
    two = replace(mine, targets=(*mine.targets, target("other", "0.9", BAD_TOTAL)))
    status = status_of(two, snapshot(mine, Counted(bad=Decimal(25), total=Decimal(100000))))
    assert [each.level for each in status.targets] == [BudgetLevel.WARN, BudgetLevel.NO_DATA]
    assert status.level is BudgetLevel.WARN


def test_what_was_measured_is_judged_by_the_target_of_now() -> None:
    found = snapshot(promise("0.9995"), Counted(bad=Decimal(25), total=Decimal(100000)))
    assert status_of(promise("0.9995"), found).level is BudgetLevel.WARN
    stricter = status_of(promise("0.9999"), found)
    assert stricter.level is BudgetLevel.EXHAUSTED
    assert stricter.targets[0].seen.target == Decimal("0.9995")


def test_thresholds_of_the_policy_count() -> None:
    mine = replace(promise(), thresholds=Thresholds(warn=Decimal("0.1"), critical=Decimal("0.2")))
    assert judged(mine, "5").level is BudgetLevel.WARN
    assert judged(mine, "10").level is BudgetLevel.CRITICAL


@pytest.mark.parametrize(
    ("rate", "page", "ticket"),
    [
        ("0.0005", False, False),
        ("0.00051", False, True),
        ("0.003", False, True),
        ("0.00301", True, True),
        ("1", True, True),
    ],
)
def test_an_alert_fires_above_its_threshold(rate: str, page: bool, ticket: bool) -> None:
    found = judged(promise(), "0", rate=Decimal(rate))
    assert (found.firing(AlertLevel.PAGE), found.firing(AlertLevel.TICKET)) == (page, ticket)


def test_an_alert_needs_both_of_its_windows() -> None:
    mine = promise()
    seen = snapshot(mine, Counted(bad=Decimal(0), total=Decimal(1)))
    for missing in (None, Decimal(0)):
        pair = burn_windows(mine)[0]
        rates = {**dict.fromkeys(seen.targets[0].rates, missing), pair.long: Decimal("0.5")}
        (found,) = status_of(mine, replace(seen, targets=(replace(seen.targets[0], rates=rates),))).targets
        assert not found.firing(AlertLevel.PAGE)
        assert found.burn == 1000


def test_a_budget_that_is_gone_or_does_not_burn() -> None:
    assert judged(promise(), "50").exhausted_in == timedelta()
    assert judged(promise(), "10", rate=Decimal(0)).exhausted_in is None
    assert judged(promise(), "10").exhausted_in is None
