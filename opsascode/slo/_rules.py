"""Which rules does Prometheus need for a policy? Recording rules, and alerts that wake the right people.

- The share of bad events is recorded for each window of the alerts. The period's share is weighted by events: the sum
  of bad events over the sum of all, never the mean of ratios, which counts a quiet night like a busy day.
- A page or a ticket fires where a pair of windows burns too fast, the quick or the slow one. A pair whose threshold is
  1 or more can never fire: it is left out, and told (`dropped`).
- A metric that is lost is told apart from a service without traffic: `absent` of the series against a rate of 0.
- Ratios are never NaN: without traffic there is no sample.
- All rules of a promise stand in two groups, in the order in which they need each other; the budget is worked out at
  half the pace, as its window is long.

Every series carries `opsascode_service`, `opsascode_slo`, `opsascode_policy` and `opsascode_id`. Nothing here depends
on a commit: the same policies give the same rules.

Not here: names of series (`_series`), alerts (`_alerts`), calendar windows (`_periods`), unit tests (`_rule_tests`),
YAML (`_written`).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from opsascode.repo import CalendarPeriod, Rolling
from opsascode.slo._alerts import budget_alerts, burn_alerts, data_alerts
from opsascode.slo._budget import exact, nominal_length, plain, ratio
from opsascode.slo._burn import burn_windows, impossible_windows
from opsascode.slo._periods import elapsed_share, key_vector, longest
from opsascode.slo._promql import number, span
from opsascode.slo._queries import bad_rate, event_ratio, queries_of, total_rate
from opsascode.slo._series import (
    BURN,
    CONSUMED,
    PERIOD,
    RATIO,
    REMAINING,
    SAMPLE_RECORD,
    WINDOW_LABEL,
    PromRule,
    RuleGroup,
    chosen,
    event_records,
    identity,
    period_window,
    quickest,
    step_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opsascode.repo import Policies, ReliabilityPolicy, Target
    from opsascode.slo._burn import BurnWindow

_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_NAME: Final = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppedWindow:
    """A pair of windows that got no alert: its threshold, a share of bad events, is 1 or more."""

    policy: ReliabilityPolicy
    target: Target
    window: BurnWindow

    @property
    def message(self) -> str:
        """Say it in a sentence."""
        threshold = number(plain(exact(self.window.threshold(self.target.target)) * 100))
        return (
            f"{self.policy.metadata.name}/{self.target.id}: no {self.window.level.value} over "
            f"{span(self.window.long)}/{span(self.window.short)}: it asks for more than {threshold}% bad events"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFile:
    """All rules of one service; `name` is the service as a file may be called."""

    name: str
    service: str
    policies: tuple[ReliabilityPolicy, ...]
    groups: tuple[RuleGroup, ...]
    dropped: tuple[DroppedWindow, ...]


def rule_files(policies: Policies) -> tuple[RuleFile, ...]:
    """Give the rules of all reliability policies, a file for each service, in the order of their names."""
    services: dict[str, list[ReliabilityPolicy]] = {}
    for policy in policies.reliability:
        services.setdefault(policy.service, []).append(policy)
    names = file_names(sorted(services))
    return tuple(_file(names[service], service, services[service]) for service in sorted(services))


def file_names(services: Sequence[str]) -> Mapping[str, str]:
    """Give each service a name for its files: safe everywhere, no two alike even where case does not count."""
    plainly = {service: _UNSAFE.sub("-", service)[:_LONGEST_NAME].strip("-") or "service" for service in services}
    shared = Counter(name.lower() for name in plainly.values())
    return {
        service: name
        if name == service and shared[name.lower()] == 1
        else f"{name}-{hashlib.sha256(service.encode()).hexdigest()[:8]}"
        for service, name in plainly.items()
    }


def _file(name: str, service: str, policies: Sequence[ReliabilityPolicy]) -> RuleFile:
    return RuleFile(
        name=name,
        service=service,
        policies=tuple(policies),
        groups=tuple(group for policy in policies for target in policy.targets for group in _groups(policy, target)),
        dropped=tuple(each for policy in policies for each in _dropped(policy)),
    )


def _dropped(policy: ReliabilityPolicy) -> Iterator[DroppedWindow]:
    for target in policy.targets:
        for window in impossible_windows(policy, target):
            yield DroppedWindow(policy=policy, target=target, window=window)


def _groups(policy: ReliabilityPolicy, target: Target) -> Iterator[RuleGroup]:
    step, name = step_of(policy, target), f"opsascode {policy.metadata.name}/{target.id}"
    yield RuleGroup(
        name=f"{name} burn",
        interval=step,
        rules=(
            *_counts(policy, target),
            *_ratios(policy, target),
            *burn_alerts(policy, target),
            *data_alerts(policy, target),
        ),
    )
    yield RuleGroup(
        name=f"{name} budget",
        interval=step * 2,
        rules=(*_facts(policy, target), *_budget(policy, target), *budget_alerts(policy, target)),
    )


def _counts(policy: ReliabilityPolicy, target: Target) -> Iterator[PromRule]:
    """Record what the budget is summed from: events a second, or samples."""
    base = identity(policy, target)
    if queries_of(target).step is not None:
        yield PromRule(record=SAMPLE_RECORD, expr=_stamped(policy, queries_of(target).sample), labels=base)
        return
    bad, total = event_records(policy)
    window = quickest(policy)
    yield PromRule(record=bad, expr=_stamped(policy, bad_rate(target.indicator, window)), labels=base)
    yield PromRule(record=total, expr=_stamped(policy, total_rate(target.indicator, window)), labels=base)


def _stamped(policy: ReliabilityPolicy, expr: str) -> str:
    """Mark a series with the calendar period it belongs to, so that a period can be summed alone."""
    if isinstance(policy.window, Rolling):
        return expr
    return f'count_values("{PERIOD}", {key_vector(policy.window)}) * on() group_left() ({expr})'


def _ratios(policy: ReliabilityPolicy, target: Target) -> Iterator[PromRule]:
    pairs = burn_windows(policy)
    long = {each.long for each in pairs}
    for window in sorted(long | {each.short for each in pairs}):
        least = target.min_events if window in long else 0
        yield PromRule(
            record=f"{RATIO}{span(window)}",
            expr=_ratio(policy, target, window, least),
            labels={**identity(policy, target), WINDOW_LABEL: span(window)},
        )


def _ratio(policy: ReliabilityPolicy, target: Target, window: timedelta, least: int) -> str:
    if queries_of(target).step is None:
        return event_ratio(target.indicator, window, least=least)
    samples = f"{SAMPLE_RECORD}{chosen(policy, target)}[{span(window)}]"
    enough = f">= {least}" if least else "> 0"
    return f"sum(sum_over_time({samples})) / (sum(count_over_time({samples})) {enough})"


def _facts(policy: ReliabilityPolicy, target: Target) -> Iterator[PromRule]:
    """Record what is promised, for dashboards."""
    base = identity(policy, target)
    days = plain(ratio(nominal_length(policy.window), _DAY))
    for record, value in (
        ("slo:objective:ratio", target.target),
        ("slo:error_budget:ratio", plain(1 - exact(target.target))),
        ("slo:time_period:days", days),
    ):
        yield PromRule(record=record, expr=f"vector({number(value)})", labels=base)
    promised = {
        "opsascode_objective": f"{number(plain(exact(target.target) * 100))}%",
        "opsascode_period": period_window(policy),
    }
    yield PromRule(record="opsascode_slo_info", expr="vector(1)", labels={**base, **promised})


def _budget(policy: ReliabilityPolicy, target: Target) -> Iterator[PromRule]:
    base, where = identity(policy, target), chosen(policy, target)
    budget = number(plain(1 - exact(target.target)))
    window = period_window(policy)
    pairs = burn_windows(policy)
    if pairs:
        fastest = f"{RATIO}{span(pairs[0].long)}{where}"
        yield PromRule(record=BURN, expr=f"max without(opsascode_window) ({fastest}) / {budget}", labels=base)
    yield PromRule(
        record=f"slo:sli_error:ratio_period{window}",
        expr=_period_ratio(policy, target),
        labels={**base, WINDOW_LABEL: window},
    )
    share = f"max without(opsascode_window) (slo:sli_error:ratio_period{window}{where}) / {budget}"
    if isinstance(policy.window, CalendarPeriod):
        yield PromRule(record="slo:period_elapsed:ratio", expr=elapsed_share(policy.window), labels=base)
        share = f"{share} * slo:period_elapsed:ratio{where}"
    yield PromRule(record=CONSUMED, expr=share, labels=base)
    yield PromRule(record=REMAINING, expr=f"1 - {CONSUMED}{where}", labels=base)


def _period_ratio(policy: ReliabilityPolicy, target: Target) -> str:
    """Weigh the whole budget window by events (or by samples)."""
    where = chosen(policy, target)
    sampled = queries_of(target).step is not None
    bad, total = (SAMPLE_RECORD, SAMPLE_RECORD) if sampled else event_records(policy)
    counted = "count_over_time" if sampled else "sum_over_time"
    length = span(policy.window.length if isinstance(policy.window, Rolling) else longest(policy.window))
    above, below = f"sum_over_time({bad}{where}[{length}])", f"{counted}({total}{where}[{length}])"
    if isinstance(policy.window, CalendarPeriod):
        current = f' and on({PERIOD}) count_values("{PERIOD}", {key_vector(policy.window)})'
        above, below = f"{above}{current}", f"{below}{current}"
    return f"sum({above}) / (sum({below}) {_enough(policy, target, sampled=sampled)})"


def _enough(policy: ReliabilityPolicy, target: Target, *, sampled: bool) -> str:
    """Compare with the fewest events of a window: rates are summed as often as they are recorded."""
    if not target.min_events:
        return "> 0"
    least = exact(Decimal(target.min_events))
    return f">= {number(plain(least if sampled else least / ratio(step_of(policy, target), _SECOND)))}"
