"""What should the rules of one promise do? Cases for `promtool test rules`.

Outage and recovery, slow burn, idle, no series, never failing, uneven load; and each threshold, from both sides. A case
takes as long as the windows it is about; none takes a month.

Not here: what a series looks like (`_feeds`), which rules there are (`_rules`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from opsascode.repo import AlertLevel, CalendarPeriod, CalendarUnit, Events, Raw
from opsascode.slo._alerts import (
    BUDGET_ALERTS,
    BURN_ALERTS,
    METRIC_LOST,
    NO_TRAFFIC,
    burn_alerts,
    lost_after,
    possible_pairs,
)
from opsascode.slo._budget import exact, plain, ratio
from opsascode.slo._burn import burn_windows
from opsascode.slo._feeds import Phase, constant, feed
from opsascode.slo._periods import standard_offset
from opsascode.slo._promql import labels, number, span
from opsascode.slo._queries import queries_of
from opsascode.slo._series import (
    CONSUMED,
    PERIOD,
    RATIO,
    REMAINING,
    SAMPLE_RECORD,
    WINDOW_LABEL,
    chosen,
    event_records,
    identity,
    quickest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opsascode.repo import ReliabilityPolicy, Target
    from opsascode.slo._burn import BurnWindow
    from opsascode.slo._feeds import Series

# Whole numbers: promtool adds steps up, and a sum of fractions that ends a little lower would be a counter's reset.
_MANY: Final = Decimal(10**9)
_FEW: Final = Decimal(10**7)
_ABOVE: Final = Decimal("1.02")
_BELOW: Final = Decimal("0.98")
_ONE: Final = Decimal(1)
_NONE: Final = Decimal(0)
_LONGEST_WAIT: Final = timedelta(hours=6)
_HEALTHY: Final = 30
_SPARE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """An expression without labels has a value at a time; None: there is nothing."""

    expr: str
    at: timedelta
    value: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One unit test: series this far apart, and what is expected; `about` are the promises it is for."""

    name: str
    about: tuple[str, ...]
    interval: timedelta
    series: tuple[Series, ...]
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One promise, and how far apart its rules are evaluated in tests."""

    policy: ReliabilityPolicy
    target: Target
    step: timedelta

    @property
    def name(self) -> str:
        """The policy and the promise."""
        return f"{self.policy.metadata.name}/{self.target.id}"

    @property
    def real(self) -> bool:
        """Whether series can be invented that its queries select."""
        return feed(self.target, (Phase(steps=1, total=Decimal(1), bad=Decimal(0)),)) is not None

    def cases(self) -> Iterator[Case]:
        """Give all cases."""
        yield from self._thresholds()
        yield self._no_series()
        yield from self._outage()
        yield from self._slow_burn()
        yield from self._idle()
        yield from self._never_failing()
        yield from self._uneven_load()

    # What is put in

    @property
    def _sampled(self) -> bool:
        return queries_of(self.target).step is not None

    @property
    def _pace(self) -> timedelta:
        """How far apart the samples lie: a slice needs several."""
        return self.step if self.target.slices is None else min(self.step, self.target.slices.length / 4)

    @property
    def _total(self) -> Decimal:
        return max(_MANY, Decimal(self.target.min_events))

    @property
    def _warm(self) -> timedelta:
        """How long a healthy service must have been seen so that there are enough samples."""
        return self.step * self.target.min_events if self._sampled else timedelta()

    def _phase(self, length: timedelta, bad: Decimal = Decimal(0), total: Decimal | None = None) -> Phase:
        events = self._total if total is None else total
        return Phase(steps=length // self._pace, total=events, bad=(bad * events).to_integral_value())

    def _series(self, *phases: Phase) -> tuple[Series, ...] | None:
        """Give series of the service itself, else the samples that would be recorded from them."""
        found = feed(self.target, phases)
        return found if found is not None or not self._sampled else self._samples(*phases)

    def _samples(self, *phases: Phase) -> tuple[Series, ...]:
        values = constant(phases, lambda each: plain(exact(each.bad) / exact(each.total)))
        return ((self._recorded(SAMPLE_RECORD, self._stamp()), values),)

    def _counts(self, *phases: Phase) -> tuple[Series, ...]:
        """Give the recorded counts; where bad events are a query, the rule itself records 0 for none."""
        bad, total = (self._recorded(each, self._stamp()) for each in event_records(self.policy))
        whole = ((total, constant(phases, lambda each: each.total)),)
        return whole if isinstance(self.target.indicator, Events) else ((bad, constant(phases, _bad)), *whole)

    def _ratios(self, *phases: Phase) -> tuple[Series, ...]:
        values = constant(phases, lambda each: plain(exact(each.bad) / exact(each.total)))
        return tuple((self._ratio_series(window), values) for window in self._windows)

    @property
    def _windows(self) -> tuple[timedelta, ...]:
        pairs = burn_windows(self.policy)
        return tuple(sorted({each.long for each in pairs} | {each.short for each in pairs}))

    def _ratio_series(self, window: timedelta) -> str:
        return self._recorded(f"{RATIO}{span(window)}", {WINDOW_LABEL: span(window)})

    def _recorded(self, name: str, more: Mapping[str, str]) -> str:
        return f"{name}{labels({**identity(self.policy, self.target), **more})}"

    def _stamp(self) -> dict[str, str]:
        window = self.policy.window
        return {PERIOD: str(_period_at(window, timedelta())[0])} if isinstance(window, CalendarPeriod) else {}

    # What is expected

    def _fires(self, name: str, at: timedelta, *, fires: bool, severity: str = "") -> Expectation:
        more = {**identity(self.policy, self.target), "severity": severity} if severity else {}
        series = labels({"alertname": name, "alertstate": "firing", "opsascode_id": self.name, **more})
        return Expectation(expr=f"count(ALERTS{series})", at=self._up(at), value="1" if fires else None)

    def _due(self, name: str, at: timedelta, *, due: bool) -> Expectation:
        """Expect an alert to be there, be it that it still waits."""
        series = labels({"alertname": name, "opsascode_id": self.name})
        return Expectation(expr=f"count(ALERTS{series})", at=at, value="1" if due else None)

    def _quiet(self, at: timedelta) -> tuple[Expectation, ...]:
        return tuple(self._fires(name, at, fires=False) for name in BURN_ALERTS.values())

    def _value(self, record: str, at: timedelta, value: str | None) -> Expectation:
        return Expectation(expr=f"max({record}{self._where})", at=self._up(at), value=value)

    def _near(self, record: str, at: timedelta, value: Fraction) -> Expectation:
        shown = number(plain(value, figures=9))
        return Expectation(
            expr=f"abs(max({record}{self._where}) / {shown} - 1) <= bool 0.02", at=self._up(at), value="1"
        )

    @property
    def _where(self) -> str:
        return chosen(self.policy, self.target)

    def _up(self, at: timedelta) -> timedelta:
        """Give the first time of an evaluation from a time on."""
        return -(-at // self.step) * self.step

    def _case(self, name: str, series: tuple[Series, ...], *expected: Expectation) -> Case:
        return Case(name=name, about=(self.name,), interval=self._pace, series=series, expectations=expected)

    # The cases

    def _thresholds(self) -> Iterator[Case]:
        """Hold each pair of windows a little above its threshold, a little below, and only one of both above.

        A step each is enough: an alert that waits is pending at once, and gone at once.
        """
        steps: list[dict[timedelta, Decimal]] = []
        expected: list[Expectation] = []
        for level, alert in BURN_ALERTS.items():
            pairs = possible_pairs(self.policy, self.target, level)
            limits = {each: each.threshold(self.target.target) for each in pairs}
            for pair in pairs:
                for short, long in ((_ABOVE, _ABOVE), (_BELOW, _BELOW), (_ABOVE, _NONE), (_NONE, _ABOVE)):
                    held = {pair.short: short * limits[pair], pair.long: long * limits[pair]}
                    due = any(held.get(each.short, _NONE) > limits[each] < held.get(each.long, _NONE) for each in pairs)
                    expected.append(self._due(alert, len(steps) * self.step, due=due))
                    steps.append(held)
        if expected:
            values = {
                each: [Phase(steps=1, total=_ONE, bad=held.get(each, _NONE)) for held in steps]
                for each in self._windows
            }
            series = tuple((self._ratio_series(each), constant(values[each], _bad)) for each in self._windows)
            yield replace(self._case("thresholds", series, *expected), interval=self.step)

    def _no_series(self) -> Case:
        lost = lost_after(self.policy, self.target)
        return self._case(
            "no series",
            (),
            self._fires(METRIC_LOST, lost - self.step, fires=False),
            self._fires(METRIC_LOST, lost + self.step, fires=True),
            self._value(f"{RATIO}{span(quickest(self.policy))}", lost, None),
            self._value(CONSUMED, lost, None),
            *self._quiet(lost + self.step),
        )

    def _outage(self) -> Iterator[Case]:
        """Let everything fail as long as the quickest alert needs, then nothing; it must end with the short window."""
        level = next((each for each in BURN_ALERTS if possible_pairs(self.policy, self.target, each)), None)
        if level is None:
            return
        alert, pairs = BURN_ALERTS[level], possible_pairs(self.policy, self.target, level)
        rule = next(each for each in burn_alerts(self.policy, self.target) if each.alert == alert)
        healthy = self._up(max(min(pairs[0].long, _HEALTHY * self.step), self._warm))
        full = max(pairs[0].short, _until(pairs[0], exact(pairs[0].threshold(self.target.target)), healthy))
        outage = self._up(full + (rule.wait or timedelta()) + _SPARE * self.step)
        back = self._up(max(each.short for each in pairs) + (rule.keep or timedelta()) + _SPARE * self.step)
        series = self._series(self._phase(healthy), self._phase(outage, _ONE), self._phase(back))
        if series is None:
            return
        yield self._case(
            "outage and recovery",
            series,
            *self._quiet(healthy - self.step),
            self._fires(alert, healthy + outage - self.step, fires=True, severity=level.value),
            self._fires(alert, healthy + outage + back - self.step, fires=False),
        )

    def _slow_burn(self) -> Iterator[Case]:
        """Burn so that people get a ticket and nobody is woken, where there is such a rate."""
        levels = {
            level: [each.threshold(self.target.target) for each in possible_pairs(self.policy, self.target, level)]
            for level in BURN_ALERTS
        }
        page = min(levels[AlertLevel.PAGE], default=Decimal(1))
        ticket = min(levels[AlertLevel.TICKET], default=page)
        slow = ticket < page
        share = plain((exact(page) + exact(ticket)) / 2) if slow else plain(exact(page) / 2)
        wait = max((each.wait or timedelta() for each in burn_alerts(self.policy, self.target)), default=timedelta())
        length = self._up(max(wait, quickest(self.policy)) + self._warm + _SPARE * self.step)
        phase = self._phase(length, share)
        series = self._samples(phase) if self._sampled else feed(self.target, (phase,)) or self._ratios(phase)
        at = length - self.step
        yield self._case(
            "slow burn",
            series,
            self._fires(BURN_ALERTS[AlertLevel.PAGE], at, fires=False),
            self._fires(BURN_ALERTS[AlertLevel.TICKET], at, fires=slow),
            *(self._near(f"{RATIO}{span(each)}", at, exact(share)) for each in self._windows),
        )

    def _idle(self) -> Iterator[Case]:
        """Let traffic end: there is no ratio, nobody is woken for it, and it is told as what it is."""
        if isinstance(self.target.indicator, Raw) or not self.real:
            return
        grace = self.policy.gate.grace
        busy, quick = self._up(10 * self.step + self._warm), quickest(self.policy)
        told = grace <= _LONGEST_WAIT
        length = self._up(quick + (grace if told else timedelta()) + _SPARE * self.step)
        series = feed(self.target, (self._phase(busy), self._phase(length, total=Decimal(0))))
        at = busy + length - self.step
        yield self._case(
            "idle",
            series or (),
            *self._quiet(at),
            self._value(f"{RATIO}{span(quick)}", busy - self.step, "0"),
            self._value(f"{RATIO}{span(quick)}", at, None),
            self._fires(METRIC_LOST, at, fires=False),
            self._fires(NO_TRAFFIC, busy - self.step, fires=False),
            *((self._fires(NO_TRAFFIC, at, fires=True),) if told else ()),
        )

    def _never_failing(self) -> Iterator[Case]:
        """Let errors never have been seen: their share is 0, and not unknown."""
        phase = self._phase(self._up(max(quickest(self.policy), self._warm) + 10 * self.step))
        series = self._series(phase) or (*self._ratios(phase), *self._counts(phase))
        at = phase.steps * self._pace - self.step
        yield self._case(
            "never failing",
            series,
            *self._quiet(at),
            *(self._value(f"{RATIO}{span(each)}", at, "0") for each in self._windows),
            self._value(CONSUMED, at, "0"),
            self._value(REMAINING, at, "1"),
        )

    def _uneven_load(self) -> Iterator[Case]:
        """Fail while busy, do well while quiet: events count, not hours; samples weigh the same by definition."""
        length = self._up(max(_HEALTHY * self.step, 4 * quickest(self.policy), self._warm))
        quiet = self._total if self._sampled else _FEW
        weight = Fraction(length // self._pace) * exact(self._total + quiet)
        aim = (exact(self.policy.thresholds.critical) + 1) / 2 * (1 - exact(self.target.target))
        share = plain(min(Fraction(1), aim * exact(self._total + quiet) / exact(self._total)))
        phases = (self._phase(length, share), self._phase(length, total=quiet))
        series = self._samples(*phases) if self._sampled else feed(self.target, phases) or self._counts(*phases)
        if isinstance(self.target.indicator, Events) and not self.real and not self._sampled:
            return
        at = self._up(2 * length - self.step)
        elapsed = Fraction(1)
        if isinstance(self.policy.window, CalendarPeriod):
            (before, _), (after, elapsed) = (_period_at(self.policy.window, each) for each in (timedelta(), at))
            if before != after:
                return
        gone = exact(share) * exact(self._total) * (length // self._pace) / weight / (1 - exact(self.target.target))
        consumed = gone * elapsed
        inside = exact(self.policy.thresholds.critical) * Fraction(103, 100) < consumed < Fraction(97, 100)
        yield self._case(
            "uneven load",
            series,
            self._near(CONSUMED, at, consumed),
            *(self._fires(name, at, fires=level == "critical") for level, name in BUDGET_ALERTS.items() if inside),
        )


def _bad(phase: Phase) -> Decimal:
    return phase.bad


def _until(pair: BurnWindow, limit: Fraction, healthy: timedelta) -> timedelta:
    """Give how long all must fail until that is more than a share of the long window, or of what was seen of it."""
    share = min(limit * ratio(pair.long, healthy), limit / (1 - limit))
    return timedelta(seconds=-(-share.numerator * int(healthy.total_seconds()) // share.denominator))


def _period_at(window: CalendarPeriod, since: timedelta) -> tuple[int, Fraction]:
    """Give the number of a period and the share of it that is over, at a time after the beginning of 1970."""
    local = datetime(1970, 1, 1) + since + standard_offset(window.timezone)  # noqa: DTZ001 - wall-clock time of the zone
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if window.unit is CalendarUnit.WEEK:
        monday = midnight - timedelta(days=midnight.weekday())
        return (monday - datetime(1969, 12, 29)).days // 7, ratio(local - monday, timedelta(days=7))  # noqa: DTZ001 - as above
    months = {CalendarUnit.MONTH: 1, CalendarUnit.QUARTER: 3, CalendarUnit.YEAR: 12}[window.unit]
    first = midnight.replace(month=(midnight.month - 1) // months * months + 1, day=1)
    years, month = divmod(first.month - 1 + months, 12)
    after = first.replace(year=first.year + years, month=month + 1)
    numbers = {
        CalendarUnit.MONTH: first.year * 100 + first.month,
        CalendarUnit.QUARTER: first.year * 10 + (first.month + 2) // 3,
        CalendarUnit.YEAR: first.year,
    }
    return numbers[window.unit], ratio(local - first, after - first)
