"""What does a person see of a service in Grafana? One dashboard, made only of recorded series.

Each promise has a row: what is left of its budget, how fast it burns against the factors of its alerts, and the share
of bad events. Which Prometheus is asked, a person chooses at the top; the dashboard finds itself again by its `uid`.

Not here: where the series come from (`_rules`).
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo import AlertLevel
from opsascode.slo._budget import exact, plain
from opsascode.slo._burn import burn_windows
from opsascode.slo._promql import labels, number, span
from opsascode.slo._series import BURN, CONSUMED, RATIO, REMAINING, chosen, period_window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.repo import ReliabilityPolicy, Target
    from opsascode.slo._rules import RuleFile

UID_PREFIX: Final = "opsascode-"
_SCHEMA: Final = 39
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH: Final = 24
_HEIGHT: Final = 7
_ROW: Final = 1
_COLOURS: Final = {AlertLevel.PAGE: "red", AlertLevel.TICKET: "orange"}

Panel = dict[str, Any]


def dashboard_text(file: RuleFile) -> str:
    """Write the dashboard of one service."""
    return json.dumps(dashboard(file), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def dashboard(file: RuleFile) -> Panel:
    """Give the dashboard of one service as Grafana imports it."""
    panels = list(_panels(file))
    return {
        "uid": f"{UID_PREFIX}{hashlib.sha256(file.service.encode()).hexdigest()[:16]}",
        "title": f"Reliability of {file.service}",
        "tags": ["opsascode", "slo"],
        "schemaVersion": _SCHEMA,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-7d", "to": "now"},
        "timezone": "utc",
        "annotations": {"list": []},
        "links": [],
        "templating": {
            "list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [{**panel, "id": place} for place, panel in enumerate(panels, start=1)],
    }


def _panels(file: RuleFile) -> Iterator[Panel]:
    alerts = f"ALERTS{labels({'alertstate': 'firing', 'opsascode_service': file.service})}"
    yield {
        "type": "table",
        "title": "What fires now",
        "datasource": _SOURCE,
        "gridPos": _place(0, 0, _WIDTH, _HEIGHT),
        "targets": [{**_question("A", alerts, ""), "format": "table", "instant": True}],
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"showHeader": True},
    }
    top = _HEIGHT
    for policy in file.policies:
        for target in policy.targets:
            yield from _promise(policy, target, top)
            top += _ROW + _HEIGHT


def _promise(policy: ReliabilityPolicy, target: Target, top: int) -> Iterator[Panel]:
    where, percent = chosen(policy, target), number(plain(exact(target.target) * 100))
    yield {
        "type": "row",
        "title": f"{policy.metadata.name}: {target.title}, {percent}% in {period_window(policy)}",
        "collapsed": False,
        "gridPos": _place(0, top, _WIDTH, _ROW),
        "panels": [],
    }
    below = top + _ROW
    yield {
        "type": "stat",
        "title": "Budget left",
        "datasource": _SOURCE,
        "gridPos": _place(0, below, 4, _HEIGHT),
        "targets": [_question("A", f"{REMAINING}{where}", "left")],
        "fieldConfig": _field("percentunit", _left_steps(policy)),
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"},
    }
    yield _graph("Budget gone", below, (4, 6), [_question("A", f"{CONSUMED}{where}", "gone")], _gone_steps(policy))
    yield _graph("Burn rate", below, (10, 6), [_question("A", f"{BURN}{where}", "burn")], _burn_steps(policy), "none")
    lengths = sorted({each for pair in burn_windows(policy) for each in (pair.short, pair.long)})
    questions = [
        _question(chr(ord("A") + place), f"{RATIO}{span(length)}{where}", span(length))
        for place, length in enumerate(lengths[:26])
    ]
    budget = number(plain(1 - exact(target.target)))
    yield _graph("Bad events", below, (16, 8), questions, [_step(None, "green"), _step(budget, "orange")])


def _graph(
    title: str, top: int, at: tuple[int, int], questions: list[Panel], steps: list[Panel], unit: str = "percentunit"
) -> Panel:
    left, width = at
    return {
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "gridPos": _place(left, top, width, _HEIGHT),
        "targets": questions,
        "fieldConfig": _field(unit, steps, custom={"thresholdsStyle": {"mode": "line"}}),
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def _question(ref: str, expr: str, legend: str) -> Panel:
    return {"refId": ref, "datasource": _SOURCE, "expr": expr, "legendFormat": legend}


def _field(unit: str, steps: list[Panel], custom: Panel | None = None) -> Panel:
    thresholds = {"mode": "absolute", "steps": steps}
    return {"defaults": {"unit": unit, "thresholds": thresholds, "custom": custom or {}}, "overrides": []}


def _left_steps(policy: ReliabilityPolicy) -> list[Panel]:
    warn, critical = policy.thresholds.warn, policy.thresholds.critical
    return [
        _step(None, "red"),
        _step(number(plain(1 - exact(critical))), "orange"),
        _step(number(plain(1 - exact(warn))), "green"),
    ]


def _gone_steps(policy: ReliabilityPolicy) -> list[Panel]:
    thresholds = policy.thresholds
    return [
        _step(None, "green"),
        _step(number(thresholds.warn), "orange"),
        _step(number(thresholds.critical), "red"),
    ]


def _burn_steps(policy: ReliabilityPolicy) -> list[Panel]:
    pairs = sorted(burn_windows(policy), key=lambda each: each.factor)
    return [_step(None, "green"), *(_step(number(each.factor), _COLOURS[each.level]) for each in pairs)]


def _step(value: str | None, colour: str) -> Panel:
    """Give a step of a scale; Grafana takes numbers only, so that an exact decimal ends here."""
    return {"value": None if value is None else float(value), "color": colour}


def _place(left: int, top: int, width: int, height: int) -> Panel:
    return {"x": left, "y": top, "w": width, "h": height}
