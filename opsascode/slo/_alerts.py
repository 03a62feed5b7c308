"""Who is woken by what, and what are they told? The alerts of a promise.

Texts are plain language, the same at each evaluation; what changes (`now`) stands in an annotation of its own. A text
of a policy is never a template: its braces are written so that Prometheus prints them.

Not here: recording rules (`_rules`), routing alerts to people.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from opsascode.repo import AlertLevel, Events, Notify, Raw, RemediationCause
from opsascode.slo._budget import exact, plain, ratio
from opsascode.slo._burn import burn_windows
from opsascode.slo._promql import number, span
from opsascode.slo._queries import queries_of, query_rate, total_rate
from opsascode.slo._series import CONSUMED, RATIO, PromRule, chosen, identity, period_window, quickest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.repo import ReliabilityPolicy, Target
    from opsascode.slo._burn import BurnWindow

BURN_ALERTS: Final = {AlertLevel.PAGE: "SloBudgetBurnsFast", AlertLevel.TICKET: "SloBudgetBurns"}
METRIC_LOST: Final = "SloMetricLost"
NO_TRAFFIC: Final = "SloNoTraffic"
COUNTS_WRONG: Final = "SloCountsWrong"
BUDGET_ALERTS: Final = {"warn": "SloBudgetWarn", "critical": "SloBudgetCritical", "exhausted": "SloBudgetExhausted"}

_MINUTE: Final = timedelta(minutes=1)
_PATIENCE: Final = timedelta(minutes=15)
_LOST_AT_LEAST: Final = timedelta(minutes=5)
_TOO_MANY: Final = Decimal("1.01")
_NOW: Final = "{{ $value | humanizePercentage }}"


def burn_alerts(policy: ReliabilityPolicy, target: Target) -> Iterator[PromRule]:
    """Give one alert for each level that has a pair of windows which can fire."""
    for level, name in BURN_ALERTS.items():
        pairs = possible_pairs(policy, target, level)
        if not pairs:
            continue
        quick = min(each.short for each in pairs)
        yield PromRule(
            alert=name,
            expr="\nor\n".join(_pair(policy, target, each) for each in pairs),
            labels={**_base(policy, target), "severity": level.value},
            annotations={
                **_told(policy, target, level.value),
                "summary": _line(f"{policy.service}: the error budget of {target.title} burns too fast"),
                "description": _line(_burning(policy, target, pairs)),
                "now": f"{_NOW} of events are bad",
            },
            wait=wait_of(quick),
            keep=min(quick, _PATIENCE),
        )


def data_alerts(policy: ReliabilityPolicy, target: Target) -> Iterator[PromRule]:
    """Give the alerts that say why a promise cannot be judged: lost metric, no traffic, counts that cannot be."""
    base, service = _base(policy, target), policy.service
    level = _blind_level(policy, target)
    yield PromRule(
        alert=METRIC_LOST,
        expr=f"absent({queries_of(target).series})",
        labels={**base, "severity": level.value},
        annotations={
            **_told(policy, target, level.value),
            "summary": _line(f"{service}: the metric of {target.title} is lost"),
            "description": _line(
                "Prometheus has no series of it at all: an outage would not be seen. Look at the targets and at the "
                "names in the policy."
            ),
        },
        wait=lost_after(policy, target),
    )
    wrong: str | None
    if isinstance(target.indicator, Raw):
        wrong = f"({target.indicator.query}) > {_TOO_MANY} or ({target.indicator.query}) < -0.01"
    else:
        yield PromRule(
            alert=NO_TRAFFIC,
            expr=f"{total_rate(target.indicator, quickest(policy))} == 0",
            labels={**base, "severity": AlertLevel.TICKET.value},
            annotations={
                **_told(policy, target, AlertLevel.TICKET.value),
                "summary": _line(f"{service}: no traffic for {target.title}"),
                "description": _line(
                    f"The metric is there, but nothing was counted for {span(policy.gate.grace)}: there are no data to "
                    "judge by."
                ),
            },
            wait=policy.gate.grace,
        )
        wrong = _wrong(policy, target)
    if wrong:
        yield PromRule(
            alert=COUNTS_WRONG,
            expr=wrong,
            labels={**base, "severity": AlertLevel.TICKET.value},
            annotations={
                **_told(policy, target, AlertLevel.TICKET.value),
                "summary": _line(f"{service}: the counts of {target.title} cannot be right"),
                "description": "A part is greater than the whole: the queries do not count the same events.",
            },
            wait=_PATIENCE,
        )


def budget_alerts(policy: ReliabilityPolicy, target: Target) -> Iterator[PromRule]:
    """Give one alert for each level of the budget; only that of the current level fires."""
    warn, critical = policy.thresholds.warn, policy.thresholds.critical
    bounds = {"warn": (warn, critical), "critical": (critical, Decimal(1)), "exhausted": (Decimal(1), None)}
    for level, (least, below) in bounds.items():
        until = "" if below is None else f" < {number(below)}"
        share = f"{number(plain(exact(least) * 100))}%"
        yield PromRule(
            alert=BUDGET_ALERTS[level],
            expr=f"{CONSUMED}{chosen(policy, target)} >= {number(least)}{until}",
            labels={**_base(policy, target), "opsascode_level": level, "severity": AlertLevel.TICKET.value},
            annotations={
                **_told(policy, target, level),
                "summary": _line(f"{policy.service}: {share} of the error budget of {target.title} is gone"),
                "description": _line(_gone(policy, target, level)),
                "now": f"{_NOW} of the budget is gone",
            },
        )


def possible_pairs(policy: ReliabilityPolicy, target: Target, level: AlertLevel) -> tuple[BurnWindow, ...]:
    """Give the pairs of a level that can fire, the quickest first."""
    return tuple(each for each in burn_windows(policy) if each.level is level and each.possible(target.target))


def wait_of(quick: timedelta) -> timedelta:
    """Give how long a burn must go on: two fifths of its short window, at most a quarter of an hour."""
    return min(timedelta(seconds=int(quick.total_seconds() * 2 / 5)), _PATIENCE)


def lost_after(policy: ReliabilityPolicy, target: Target) -> timedelta:
    """Give how long a metric may be missing: as long as a total outage needs to be an alert, at least five minutes."""
    pairs = [each for level in BURN_ALERTS for each in possible_pairs(policy, target, level)]
    needed = [ratio(each.long, _MINUTE) * exact(each.threshold(target.target)) for each in pairs]
    minutes = min((-(-each.numerator // each.denominator) for each in needed), default=60)
    return max(_LOST_AT_LEAST, minutes * _MINUTE)


def escalation(policy: ReliabilityPolicy) -> str:
    """Say who is told and what is started, in order."""
    steps = []
    for number_, step in enumerate(policy.escalation_chain, start=1):
        when = f" after {span(step.after)}" if step.after else ""
        what = f"tell {step.whom}" if isinstance(step, Notify) else f"start {step.runbook or 'remediation'}"
        steps.append(f"{number_}. {what}{when}")
    return "; ".join(steps)


def _blind_level(policy: ReliabilityPolicy, target: Target) -> AlertLevel:
    return AlertLevel.PAGE if possible_pairs(policy, target, AlertLevel.PAGE) else AlertLevel.TICKET


def _pair(policy: ReliabilityPolicy, target: Target, pair: BurnWindow) -> str:
    where, limit = chosen(policy, target), number(pair.threshold(target.target))
    short, long = (
        f"max without(opsascode_window) ({RATIO}{span(length)}{where} > {limit})" for length in (pair.short, pair.long)
    )
    return f"({short}\nand\n{long})"


def _wrong(policy: ReliabilityPolicy, target: Target) -> str | None:
    """Compare a part with the whole over the quickest window; a histogram counts its own parts."""
    indicator = target.indicator
    if not isinstance(indicator, Events):
        return None
    window = quickest(policy)
    part = query_rate(indicator.bad if indicator.bad is not None else indicator.good or "", window)
    return f"{part} > {_TOO_MANY} * {total_rate(indicator, window)}"


def _told(policy: ReliabilityPolicy, target: Target, cause: str) -> dict[str, str]:
    """Give what every alert tells: the policy, who is told next, and which runbooks may help."""
    runbooks = [
        each.runbook
        for each in policy.remediation
        if RemediationCause(cause) in each.causes and (not each.targets or target.id in each.targets)
    ]
    helps = {"runbook": _line(", ".join(runbooks))} if runbooks else {}
    return {"policy": _line(policy.source.path), "escalation": _line(escalation(policy)), **helps}


def _burning(policy: ReliabilityPolicy, target: Target, pairs: Sequence[BurnWindow]) -> str:
    ways = " or ".join(f"{number(each.factor)} times over {span(each.long)} and {span(each.short)}" for each in pairs)
    return f"The promise is {_promise(policy, target)}. Its budget burns faster than allowed: {ways}."


def _gone(policy: ReliabilityPolicy, target: Target, level: str) -> str:
    what = "nothing is left" if level == "exhausted" else "what is left must be saved"
    return f"The promise is {_promise(policy, target)}. Of its error budget, {what}."


def _promise(policy: ReliabilityPolicy, target: Target) -> str:
    unit = "slices of time" if target.slices is not None else "events"
    return f"{number(plain(exact(target.target) * 100))}% good {unit} in {period_window(policy)}"


def _base(policy: ReliabilityPolicy, target: Target) -> dict[str, str]:
    """Give the labels of a promise; those of an alert are templates, too."""
    return {name: _line(value) for name, value in identity(policy, target).items()}


def _line(text: str) -> str:
    """Keep a text from being a template."""
    return text.replace("{{", '{{"{{"}}')
