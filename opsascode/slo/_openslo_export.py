"""How are reliability policies written as OpenSLO v1 (https://openslo.com)?

One Service for each service, one SLO for each promise, one AlertPolicy for each pair of windows, one target for each
who is told. OpenSLO knows one window for an alert, no budget levels, no gate and no remediation: those ride in
annotations in our own form and come back by import, and that is noted once a policy.

Not here: reading OpenSLO (`_openslo`), YAML (`_plain_text`).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from opsascode.repo import Notify
from opsascode.slo._budget import nominal_length
from opsascode.slo._burn import burn_windows, default_windows
from opsascode.slo._document import duration, percent, rest_document, tidy, window_document
from opsascode.slo._exchange import Carried, Notes
from opsascode.slo._openslo_words import (
    API,
    BUDGET,
    POLICY,
    PROMISE,
    SHORT,
    counts_of,
    length_text,
    metric_of,
    window_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opsascode.repo import AlertWindow, ReliabilityPolicy, Target
    from opsascode.slo._burn import BurnWindow
    from opsascode.slo._document import Plain

_LONGEST: Final = 63
_LABEL: Final = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?")
_MOST_DESCRIPTION: Final = 1050


class _Names:
    """The names that documents have, and those of services."""

    def __init__(self) -> None:
        self.services: dict[str, str] = {}
        self._taken: set[str] = set()

    def service(self, text: str) -> str:
        """Give the name of a service, always the same."""
        if text not in self.services:
            self.services[text] = self.fresh(text)
        return self.services[text]

    def fresh(self, text: str) -> str:
        """Make a name as RFC 1123 wants it that no other document has."""
        base = found = plain_name(text)
        count = 1
        while found in self._taken:
            count += 1
            tail = f"-{count}"
            found = base[: _LONGEST - len(tail)] + tail
        self._taken.add(found)
        return found


def export_openslo(policies: Iterable[ReliabilityPolicy]) -> Carried:
    """Write policies as OpenSLO documents, and note what other readers will not see."""
    notes = Notes()
    documents: list[Plain] = []
    names = _Names()
    for policy in policies:
        if policy.service not in names.services:
            documents.append(_document("Service", names.service(policy.service), policy.service, {}))
        documents += _of_policy(policy, names, notes)
    return Carried(documents=tuple(documents), notes=notes.in_order)


def _of_policy(policy: ReliabilityPolicy, names: _Names, notes: Notes) -> Iterator[Plain]:
    window = window_of(policy.window)
    if window is None:
        notes.lost(policy.position, f"the policy {policy.metadata.name}", "OpenSLO has no windows of seconds")
        return
    targets = [step.whom for step in policy.escalation_chain if isinstance(step, Notify)]
    told: dict[str, str] = {}
    for whom in dict.fromkeys(targets):
        told[whom] = names.fresh(f"{policy.metadata.name}-{whom}")
        yield _document("AlertNotificationTarget", told[whom], "", {"target": whom})
    alerts = []
    written = policy.alerting or default_windows(nominal_length(policy.window))
    for pair, burn in zip(sorted(written, key=_order), burn_windows(policy), strict=True):
        alert = _alert(policy, pair, burn, list(told.values()), names)
        if alert is None:
            what = f"the alert over {duration(pair.long)} of {policy.metadata.name}"
            notes.lost(policy.position, what, "OpenSLO has no windows of seconds")
        else:
            alerts.append(alert)
    yield from alerts
    references = [{"alertPolicyRef": each["metadata"]["name"]} for each in alerts]
    for target in policy.targets:
        yield _slo(policy, target, window, references, names, notes)
    notes.changed(
        policy.position,
        f"OpenSLO has no word for thresholds, short windows, gate, remediation and scaling of {policy.metadata.name}: "
        "they are in annotations, which only opsascode reads",
        "nothing needs to be done",
    )


def _order(pair: AlertWindow) -> tuple[object, object, bool]:
    return pair.long, pair.short, pair.level.value != "page"


def _alert(
    policy: ReliabilityPolicy, pair: AlertWindow, burn: BurnWindow, told: list[str], names: _Names
) -> Plain | None:
    long = length_text(pair.long)
    if long is None:
        return None
    name = names.fresh(f"{policy.metadata.name}-{pair.level.value}-{long}")
    condition = _document(
        "AlertCondition",
        names.fresh(f"{name}-burn"),
        "",
        {
            "severity": pair.level.value,
            "condition": {
                "kind": "burnrate",
                "threshold": tidy(burn.factor),
                "lookbackWindow": long,
                "alertAfter": "0m",
            },
        },
        {SHORT: duration(pair.short), BUDGET: percent(pair.budget)},
    )
    del condition["apiVersion"]
    return _document(
        "AlertPolicy",
        name,
        "",
        {
            "alertWhenBreaching": True,
            "alertWhenResolved": False,
            "alertWhenNoData": False,
            "conditions": [condition],
            "notificationTargets": [{"targetRef": each} for each in told],
        },
    )


def _slo(
    policy: ReliabilityPolicy, target: Target, window: Plain, alerts: list[Plain], names: _Names, notes: Notes
) -> Plain:
    objective: Plain = {"displayName": target.title, "target": tidy(target.target)}
    if target.slices is not None:
        length = length_text(target.slices.length)
        objective["timeSliceTarget"] = tidy(target.slices.target)
        objective["timeSliceWindow"] = length or "1m"
        if length is None:
            what = f"the slices of {target.id} in {policy.metadata.name}"
            notes.lost(target.position, what, "OpenSLO has none of seconds, 1m is written")
    spec: Plain = {
        "service": names.service(policy.service),
        "indicator": {
            "metadata": {"name": plain_name(f"{policy.metadata.name}-{target.indicator_name}")},
            "spec": {"ratioMetric": metric_of(target.indicator)},
        },
        "timeWindow": [window],
        "budgetingMethod": "Occurrences" if target.slices is None else "Timeslices",
        "objectives": [objective],
    }
    if alerts:
        spec["alertPolicies"] = alerts
    if policy.metadata.description:
        spec = {"description": policy.metadata.description[:_MOST_DESCRIPTION], **spec}
    name = names.fresh(f"{policy.metadata.name}-{target.id}")
    annotations = {POLICY: _json(_policy_words(policy)), PROMISE: _json(_promise_words(target))}
    document = _document("SLO", name, target.title, spec, annotations)
    labels = {key: value for key, value in policy.metadata.labels.items() if _LABEL.fullmatch(key)}
    document["metadata"] |= {"labels": labels} if labels else {}
    return document


def _policy_words(policy: ReliabilityPolicy) -> Plain:
    """Give what OpenSLO has no word for, in our own form."""
    metadata = policy.metadata
    about: Plain = {"title": metadata.title} if metadata.title else {}
    about |= {"description": metadata.description} if metadata.description else {}
    about |= {"owners": list(metadata.owners)} if metadata.owners else {}
    about |= {"labels": dict(metadata.labels)} if metadata.labels else {}
    about |= {"version": metadata.version} if metadata.version else {}
    rest = rest_document(policy)
    rest.pop("alerting", None)
    return {
        "name": metadata.name,
        "service": policy.service,
        "window": window_document(policy.window),
        "usual_alerts": not policy.alerting,
        "metadata": about,
        "spec": rest,
    }


def _promise_words(target: Target) -> Plain:
    words: Plain = {"id": target.id, "indicator": target.indicator_name, "counts": counts_of(target.indicator)}
    words |= {"title": target.title} if target.title != target.id else {}
    words |= {"min_events": target.min_events} if target.min_events else {}
    return words | ({} if target.slices is None else {"slices": duration(target.slices.length)})


def _document(kind: str, name: str, title: str, spec: Plain, annotations: dict[str, str] | None = None) -> Plain:
    metadata: Plain = {"name": name}
    metadata |= {"displayName": title} if title and title != name else {}
    metadata |= {"annotations": annotations} if annotations else {}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def plain_name(text: str) -> str:
    """Write a text with small letters, digits and dashes only, at most 63 of them."""
    letters = "".join(each if each.isascii() and each.isalnum() else "-" for each in text.lower())
    return letters.strip("-")[:_LONGEST].rstrip("-") or "x"


def _json(words: Plain) -> str:
    return json.dumps(words, separators=(",", ":"), ensure_ascii=False)
