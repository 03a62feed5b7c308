"""How does a valid reliability policy become its type, and what holds where it is silent?

Short forms become long ones here, percentages exact shares. Like all builders this one translates documents without
problems and judges nothing.

Not here: problems (`_reliability_rules`), windows for alerts where a policy names none (`slo`).
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._build import build_metadata
from opsascode.repo._guardrails import BudgetLevel
from opsascode.repo._promise_words import DEFAULT_WINDOW, default_indicator, latency_share, usual_indicator
from opsascode.repo._quantities import parse_duration, parse_percent, parse_share
from opsascode.repo._reliability import (
    AlertLevel,
    AlertWindow,
    CalendarPeriod,
    CalendarUnit,
    Criterion,
    Events,
    Fallback,
    GateRules,
    Histogram,
    HistogramUnit,
    Notify,
    OverrideNeeded,
    Raw,
    ReliabilityPolicy,
    Remediation,
    RemediationCause,
    RemediationMode,
    Rolling,
    ScalingHint,
    Scoring,
    Target,
    Thresholds,
    TimeSlices,
    TriggerStep,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.repo._documents import Source
    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument

Written = dict[str, Any]  # a mapping the schema has accepted

DEFAULT_THRESHOLDS: Final = Thresholds(warn=Decimal("0.5"), critical=Decimal("0.8"))
DEFAULT_EXEMPT: Final = ("rollback", "security", "reliability")
DEFAULT_GRACE: Final = timedelta(hours=1)
DEFAULT_OVERRIDE: Final = OverrideNeeded(required=2, role=None, lifetime=timedelta(hours=4))
NEVER: Final = "never"
_MILLISECONDS: Final = Decimal(1000)
_DEFAULT_MOST: Final = 3
_DEFAULT_WITHIN: Final = timedelta(hours=1)
_DEFAULT_SCORING_WINDOW: Final = timedelta(minutes=10)


def build_reliability(document: SourceDocument, source: Source) -> ReliabilityPolicy:
    """Build a reliability policy from a document without problems."""
    written: Any = document.value
    spec: Written = written["spec"]
    metadata = build_metadata(document)
    service = spec.get("service", metadata.name)
    return ReliabilityPolicy(
        metadata=metadata,
        service=service,
        window=_window(spec.get("window")),
        targets=tuple(_target(name, document, service) for name in spec["slo_targets"]),
        thresholds=_thresholds(spec.get("error_budget_thresholds", {})),
        alerting=tuple(_alert(each) for each in spec.get("alerting", ())),
        escalation_chain=tuple(
            _step(each, document, ("spec", "escalation_chain", index))
            for index, each in enumerate(spec["escalation_chain"])
        ),
        gate=_gate(spec.get("gate", {}), document),
        remediation=tuple(
            _remediation(each, document, ("spec", "remediation", index))
            for index, each in enumerate(spec.get("remediation", ()))
        ),
        scaling=tuple(
            _scaling(each, document, ("spec", "scaling", index)) for index, each in enumerate(spec.get("scaling", ()))
        ),
        source=source,
        position=document.position(),
    )


def _window(written: str | Written | None) -> Rolling | CalendarPeriod:
    if isinstance(written, dict):
        return CalendarPeriod(unit=CalendarUnit(written["calendar"]), timezone=written.get("timezone", "UTC"))
    return Rolling(length=DEFAULT_WINDOW if written is None else parse_duration(written))


def _thresholds(written: Written) -> Thresholds:
    return Thresholds(
        warn=parse_share(written["warn"]) if "warn" in written else DEFAULT_THRESHOLDS.warn,
        critical=parse_share(written["critical"]) if "critical" in written else DEFAULT_THRESHOLDS.critical,
    )


def _target(name: str, document: SourceDocument, service: str) -> Target:
    spec: Any = document.at(("spec",))
    promised: Any = spec["slo_targets"][name]
    of_requests = latency_share(name)
    short = "target" if of_requests is None else "threshold_ms"
    long: Written = promised if isinstance(promised, dict) else {short: promised}
    indicator = long.get("indicator", usual_indicator(bound="threshold_ms" in long))
    bound = Decimal(repr(long["threshold_ms"])) if "threshold_ms" in long else None
    return Target(
        id=name,
        title=long.get("title") or name,
        target=parse_share(long["target"]) if of_requests is None else of_requests,
        indicator=_indicator(indicator, spec.get("indicators", {}).get(indicator), service, bound),
        indicator_name=indicator,
        slices=_slices(long.get("method", spec.get("method"))),
        min_events=long.get("min_events", spec.get("min_events", 0)),
        position=document.key_position(("spec", "slo_targets", name)),
    )


def _indicator(name: str, written: Written | None, service: str, bound: Decimal | None) -> Events | Histogram | Raw:
    """Build an indicator; the usual two are known where they are not written."""
    found = default_indicator(name, service) if written is None else written
    if "total" in found:
        return Events(good=found.get("good"), bad=found.get("bad"), total=found["total"])
    if "raw" in found:
        return Raw(query=found["raw"], of_failures=found.get("of", "failures") == "failures")
    if bound is None:
        msg = f"the indicator {name} is a histogram, and nothing says how long a request may take"
        raise ValueError(msg)
    unit = HistogramUnit(found.get("unit", HistogramUnit.SECONDS.value))
    return Histogram(
        metric=found["histogram"],
        selector=dict(found.get("selector", {})),
        threshold=bound / _MILLISECONDS if unit is HistogramUnit.SECONDS else bound,
        native=found.get("native", False),
        unit=unit,
    )


def _slices(written: str | Written | None) -> TimeSlices | None:
    if not isinstance(written, dict):
        return None
    return TimeSlices(length=parse_duration(written["slices"]), target=parse_share(written["target"]))


def _alert(written: Written) -> AlertWindow:
    return AlertWindow(
        level=AlertLevel(written["level"]),
        long=parse_duration(written["long"]),
        short=parse_duration(written["short"]),
        budget=parse_share(written["budget"]),
    )


def _step(written: Written, document: SourceDocument, where: DocumentPath) -> Notify | TriggerStep:
    after = _duration(written.get("after"))
    if "notify" in written:
        return Notify(whom=written["notify"], after=after, position=document.position((*where, "notify")))
    _, is_runbook, runbook = written["trigger"].partition("runbook:")
    return TriggerStep(
        runbook=runbook if is_runbook else None, after=after, position=document.position((*where, "trigger"))
    )


def _gate(written: Written, document: SourceDocument) -> GateRules:
    no_data = written.get("no_data", {})
    rank = written.get("incident_rank", 1)
    grace = _duration(no_data.get("grace"))
    where: DocumentPath = ("spec", "gate") if written else ("spec",)
    return GateRules(
        warn_at=_level(written.get("warn_at", "warn")),
        block_at=_level(written.get("block_at", "critical")),
        exempt=tuple(written.get("exempt", DEFAULT_EXEMPT)),
        block_on_page=written.get("block_on_page", True),
        incident_rank=None if rank == NEVER else rank,
        freeze=tuple(written.get("freeze", ())),
        grace=DEFAULT_GRACE if grace is None else grace,
        unknown=Fallback(no_data.get("then", "block")),
        override=_override(written.get("override", {})),
        scoring=_scoring(written["scoring"], document) if "scoring" in written else None,
        position=document.key_position(where),
    )


def _level(written: str) -> BudgetLevel | None:
    return None if written == NEVER else BudgetLevel(written)


def _override(written: str | Written) -> OverrideNeeded | None:
    if not isinstance(written, dict):
        return None
    return OverrideNeeded(
        required=written.get("required", DEFAULT_OVERRIDE.required),
        role=written.get("role"),
        lifetime=_duration(written.get("lifetime")) or DEFAULT_OVERRIDE.lifetime,
    )


def _scoring(written: Written, document: SourceDocument) -> Scoring:
    where: DocumentPath = ("spec", "gate", "scoring", "criteria")
    return Scoring(
        window=_duration(written.get("window")) or _DEFAULT_SCORING_WINDOW,
        passes=parse_share(written.get("pass", "90%")),
        warns=parse_share(written.get("warn", "75%")),
        compare_with=written.get("compare_with", 3),
        criteria=tuple(
            Criterion(
                name=each["name"],
                query=each["query"],
                passes=tuple(each.get("pass", ())),
                warns=tuple(each.get("warn", ())),
                weight=each.get("weight", 1),
                key=each.get("key", False),
                position=document.position((*where, index)),
            )
            for index, each in enumerate(written["criteria"])
        ),
    )


def _remediation(written: Written, document: SourceDocument, where: DocumentPath) -> Remediation:
    parameters: Mapping[str, Any] = written.get("with", {})
    return Remediation(
        name=written["name"],
        causes=tuple(RemediationCause(each) for each in written["on"]),
        targets=tuple(written.get("targets", ())),
        runbook=written["runbook"],
        parameters=dict(parameters),
        mode=RemediationMode(written.get("mode", RemediationMode.APPROVE.value)),
        most=written.get("most", _DEFAULT_MOST),
        within=_duration(written.get("within")) or _DEFAULT_WITHIN,
        position=document.position(where),
    )


def _scaling(written: Written, document: SourceDocument, where: DocumentPath) -> ScalingHint:
    return ScalingHint(
        at=BudgetLevel(written["at"]),
        resource=written["resource"],
        percent=parse_percent(written["percent"]),
        position=document.position(where),
    )


def _duration(written: str | None) -> timedelta | None:
    return None if written is None else parse_duration(written)
