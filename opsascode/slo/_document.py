"""How is a reliability policy written as a document? The way back from the type to plain values.

Everything is written out: what a document may leave out because it is the default stands there too, so that a reader
needs no table of defaults. Shares become percentages, exactly.

Not here: reading documents (`repo`), YAML (`_written`).
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo import Events, Histogram, HistogramUnit, Notify, Raw, Rolling

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opsascode.repo import (
        AlertWindow,
        CalendarPeriod,
        Criterion,
        GateRules,
        ReliabilityPolicy,
        Remediation,
        Scoring,
        Target,
        TimeSlices,
        TriggerStep,
    )

Plain = dict[str, Any]  # a mapping of plain values and exact decimals
NEVER: Final = "never"
_UNITS: Final = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_MILLISECONDS: Final = Decimal(1000)


def document_of(policy: ReliabilityPolicy) -> Plain:
    """Write a policy as a document."""
    metadata = policy.metadata
    about: Plain = {"name": metadata.name}
    about |= {"title": metadata.title} if metadata.title else {}
    about |= {"description": metadata.description} if metadata.description else {}
    about |= {"owners": list(metadata.owners)} if metadata.owners else {}
    about |= {"labels": dict(metadata.labels)} if metadata.labels else {}
    about |= {"version": metadata.version} if metadata.version else {}
    targets, indicators = targets_document(policy.targets)
    spec = {
        "service": policy.service,
        "window": window_document(policy.window),
        "slo_targets": targets,
        "indicators": indicators,
        **rest_document(policy),
    }
    return whole_document(about, spec)


def whole_document(metadata: Plain, spec: Plain) -> Plain:
    """Put a document together."""
    return {"apiVersion": "opsascode/v1", "kind": "ReliabilityPolicy", "metadata": metadata, "spec": spec}


def rest_document(policy: ReliabilityPolicy) -> Plain:
    """Write everything that is not a promise: thresholds, alerts, escalation, gate, scaling, remediation."""
    rest: Plain = {
        "error_budget_thresholds": {
            "warn": percent(policy.thresholds.warn),
            "critical": percent(policy.thresholds.critical),
        }
    }
    if policy.alerting:
        rest["alerting"] = [alert_document(each) for each in policy.alerting]
    rest["escalation_chain"] = [_step(each) for each in policy.escalation_chain]
    rest["gate"] = _gate(policy.gate)
    if policy.scaling:
        rest["scaling"] = [
            {"at": each.at.value, "resource": each.resource, "percent": f"{plain(each.percent)}%"}
            for each in policy.scaling
        ]
    if policy.remediation:
        rest["remediation"] = [_remediation(each) for each in policy.remediation]
    return rest


def targets_document(targets: Iterable[Target]) -> tuple[Plain, Plain]:
    """Write promises and what they count."""
    promises: Plain = {}
    indicators: Plain = {}
    for target in targets:
        promises[target.id] = target_document(target)
        indicators[target.indicator_name] = indicator_document(target.indicator)
    return promises, indicators


def target_document(target: Target) -> Plain:
    """Write one promise in its long form."""
    from opsascode.repo import latency_share  # noqa: PLC0415 - a regular expression that only writing needs

    written: Plain = {} if latency_share(target.id) is not None else {"target": percent(target.target)}
    if isinstance(target.indicator, Histogram):
        written["threshold_ms"] = in_milliseconds(target.indicator)
    written["indicator"] = target.indicator_name
    if target.title and target.title != target.id:
        written["title"] = target.title
    if target.slices is not None:
        written["method"] = method_document(target.slices)
    if target.min_events:
        written["min_events"] = target.min_events
    return written


def in_milliseconds(indicator: Histogram) -> Decimal:
    """Give the bound of a histogram in milliseconds, whatever its metric counts in."""
    seconds = indicator.unit is HistogramUnit.SECONDS
    return tidy(indicator.threshold * _MILLISECONDS if seconds else indicator.threshold)


def method_document(slices: TimeSlices) -> Plain:
    """Write how slices of time are judged."""
    return {"slices": duration(slices.length), "target": percent(slices.target)}


def indicator_document(indicator: Events | Histogram | Raw) -> Plain:
    """Write what is counted."""
    if isinstance(indicator, Raw):
        return {"raw": indicator.query, "of": "failures" if indicator.of_failures else "successes"}
    if isinstance(indicator, Histogram):
        written: Plain = {"histogram": indicator.metric}
        written |= {"selector": dict(indicator.selector)} if indicator.selector else {}
        written |= {"native": True} if indicator.native else {}
        return written | ({} if indicator.unit is HistogramUnit.SECONDS else {"unit": indicator.unit.value})
    side = {"bad": indicator.bad} if indicator.bad is not None else {"good": indicator.good}
    return {**side, "total": indicator.total}


def window_document(window: Rolling | CalendarPeriod) -> str | Plain:
    """Write the window of a budget."""
    if isinstance(window, Rolling):
        return duration(window.length)
    return {"calendar": window.unit.value, "timezone": window.timezone}


def alert_document(alert: AlertWindow) -> Plain:
    """Write one pair of windows."""
    return {
        "level": alert.level.value,
        "long": duration(alert.long),
        "short": duration(alert.short),
        "budget": percent(alert.budget),
    }


def _step(step: Notify | TriggerStep) -> Plain:
    if isinstance(step, Notify):
        written: Plain = {"notify": step.whom}
    else:
        written = {"trigger": f"runbook:{step.runbook}" if step.runbook else "auto_remediate"}
    return written if step.after is None else {**written, "after": duration(step.after)}


def _gate(gate: GateRules) -> Plain:
    override = gate.override
    written: Plain = {
        "warn_at": gate.warn_at.value if gate.warn_at else NEVER,
        "block_at": gate.block_at.value if gate.block_at else NEVER,
        "exempt": list(gate.exempt),
        "block_on_page": gate.block_on_page,
        "incident_rank": NEVER if gate.incident_rank is None else gate.incident_rank,
        "freeze": list(gate.freeze),
        "no_data": {"grace": duration(gate.grace), "then": gate.unknown.value},
        "override": NEVER
        if override is None
        else {
            "required": override.required,
            **({"role": override.role} if override.role else {}),
            "lifetime": duration(override.lifetime),
        },
    }
    return written if gate.scoring is None else {**written, "scoring": _scoring(gate.scoring)}


def _scoring(scoring: Scoring) -> Plain:
    return {
        "window": duration(scoring.window),
        "pass": percent(scoring.passes),
        "warn": percent(scoring.warns),
        "compare_with": scoring.compare_with,
        "criteria": [_criterion(each) for each in scoring.criteria],
    }


def _criterion(criterion: Criterion) -> Plain:
    written: Plain = {"name": criterion.name, "query": criterion.query}
    written |= {"pass": list(criterion.passes)} if criterion.passes else {}
    written |= {"warn": list(criterion.warns)} if criterion.warns else {}
    return {**written, "weight": criterion.weight, "key": criterion.key}


def _remediation(remediation: Remediation) -> Plain:
    return {
        "name": remediation.name,
        "on": [each.value for each in remediation.causes],
        **({"targets": list(remediation.targets)} if remediation.targets else {}),
        "runbook": remediation.runbook,
        **({"with": dict(remediation.parameters)} if remediation.parameters else {}),
        "mode": remediation.mode.value,
        "most": remediation.most,
        "within": duration(remediation.within),
    }


def percent(share: Decimal) -> str:
    """Write a share as a percentage, exactly: 0.9995 is 99.95%."""
    return f"{plain(share.scaleb(2))}%"


def plain(number: Decimal) -> str:
    """Write a decimal without an exponent and without zeros at its end."""
    return f"{tidy(number):f}"


def tidy(number: Decimal) -> Decimal:
    """Drop zeros at the end and the exponent; the number stays exactly what it is."""
    text = f"{number:f}"
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def duration(length: timedelta) -> str:
    """Write a length in the largest unit that says it exactly: 90m, not 1h30m."""
    seconds, rest = divmod(length, timedelta(seconds=1))
    if rest:
        return f"{length // timedelta(milliseconds=1)}ms"
    return next(f"{seconds // size}{unit}" for unit, size in _UNITS if seconds % size == 0)
