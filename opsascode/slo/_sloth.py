"""What does a document of Sloth promise? `version: prometheus/v1`, and the same as a PrometheusServiceLevel.

Sloth asks Prometheus with expressions in which `{{.window}}` stands for a window. Where they add up rates of counters,
the counters become an indicator of ours, which weighs by events over the whole budget window. Every other expression
becomes a ratio over five minutes that is averaged over time, as Sloth itself does with all of them; that is noted.

Not here: what ours does with it (`_queries`, `_rules`), the shape of notes (`_exchange`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from opsascode.repo import AlertLevel, Raw, Target
from opsascode.slo._burn import default_windows
from opsascode.slo._counters import TEMPLATE, events_of, histogram_of, sum_of, windowed
from opsascode.slo._exchange import Draft, Reading, Wishes, id_of, named, service_of, share_of, team_of, texts_of

if TYPE_CHECKING:
    from opsascode.errors import Position
    from opsascode.repo import AlertWindow, Events, Histogram, SourceDocument
    from opsascode.slo._exchange import Where

VERSION: Final = "prometheus/v1"
GROUP: Final = "sloth.slok.dev/v1"
_KIND: Final = "PrometheusServiceLevel"
_SAMPLED: Final = "5m"
_HUNDRED: Final = Decimal(100)
_ALERTS: Final = {AlertLevel.PAGE: ("page_alert", "pageAlert"), AlertLevel.TICKET: ("ticket_alert", "ticketAlert")}
_EVENTS: Final = (("error_query", "errorQuery"), ("total_query", "totalQuery"))
_OWN_NAMES: Final = "alerts have the names, labels and texts of ours"


def is_sloth(document: SourceDocument) -> bool:
    """Say whether a document is one of Sloth's."""
    return document.at(("version",)) == VERSION or (
        document.at(("apiVersion",)) == GROUP and document.at(("kind",)) == _KIND
    )


def read_sloth(reading: Reading, wishes: Wishes) -> tuple[Draft, ...]:
    """Make drafts of a document; SLOs whose alerts are switched off differently become policies of their own."""
    top: Where = ("spec",) if reading.at("kind") == _KIND else ()
    service = service_of(reading.text(*top, "service") or reading.text("metadata", "name"))
    if service != reading.text(*top, "service"):
        reading.notes.changed(reading.place(*top, "service"), f"the service is called {service} here")
    known = {"version", "service", "labels", "slos", "apiVersion", "kind", "metadata", "spec"}
    reading.unknown(known, "plugins and other extensions are not known here", *top)
    drafts: dict[tuple[AlertWindow, ...], Draft] = {}
    for index in range(len(reading.sequence(*top, "slos"))):
        where = (*top, "slos", index)
        alerting, kind = _alerting(reading, wishes, where)
        if alerting not in drafts:
            drafts[alerting] = _draft(reading, wishes, top, service)
            drafts[alerting].name = named(f"{service}{kind}")
            drafts[alerting].alerting = alerting
        target = _target(reading, where, drafts[alerting])
        if target is not None:
            drafts[alerting].targets.append(target)
    return tuple(each for each in drafts.values() if each.targets)


def _draft(reading: Reading, wishes: Wishes, top: Where, service: str) -> Draft:
    labels = texts_of(reading.mapping(*top, "labels"))
    owner = labels.get("owner") or labels.get("team")
    whom = wishes.notify or team_of(owner or service)
    if wishes.notify is None:
        reading.notes.guessed(
            reading.place(*top, "labels", "owner") if owner else reading.place(*top, "service"),
            f"Sloth does not say whom to tell: the escalation chain says {whom}",
            "correct escalation_chain, or import with --notify",
        )
    about = {"owners": [team_of(owner)]} if owner else {}
    return Draft(
        name=named(service),
        service=service,
        window=wishes.window,
        about={**about, **({"labels": labels} if labels else {})},
        chain=[{"notify": whom}],
    )


def _alerting(reading: Reading, wishes: Wishes, where: Where) -> tuple[tuple[AlertWindow, ...], str]:
    """Give the alerts that are not switched off, none where all are there; and what the policy is called by them."""
    alerting = (*where, "alerting")
    off = {}
    for level, names in _ALERTS.items():
        name = next((each for each in names if reading.at(*alerting, each) is not None), names[0])
        off[level] = reading.at(*alerting, name, "disable") is True
        reading.unknown({"disable"}, _OWN_NAMES, *alerting, name)
    reading.unknown({"page_alert", "ticket_alert", "pageAlert", "ticketAlert"}, _OWN_NAMES, *alerting)
    if not any(off.values()):
        return (), ""
    if all(off.values()):
        reading.notes.changed(
            reading.place(*alerting),
            "alerts are switched off in Sloth; here every promise has alerts",
            "leave the rules of this policy out of Prometheus, if nobody shall be told",
        )
        return (), ""
    kept = AlertLevel.TICKET if off[AlertLevel.PAGE] else AlertLevel.PAGE
    pairs = tuple(each for each in default_windows(wishes.window.length) if each.level is kept)
    return pairs, f"-{kept.value}-only"


def _target(reading: Reading, where: Where, draft: Draft) -> Target | None:
    """Make one promise; None where it cannot be promised here, which is noted."""
    name = reading.text(*where, "name")
    objective = reading.decimal(*where, "objective")
    share = None if objective is None else share_of(objective / _HUNDRED)
    if share is None:
        reading.notes.lost(
            reading.place(*where, "objective"),
            f"the SLO {name}",
            "its objective is no percentage above 0 and below 100 with at most five places",
        )
        return None
    indicator = _indicator(reading, where, name)
    if indicator is None:
        return None
    for key in ("labels", "plugins"):
        if reading.at(*where, key):
            reading.notes.lost(reading.place(*where, key), f"{key} of the SLO {name}", "a promise has none here")
    known = {"name", "objective", "description", "sli", "alerting", "labels", "plugins"}
    reading.unknown(known, "it is not known here", *where)
    identity = id_of(name, [each.id for each in draft.targets], share)
    if identity != name:
        reading.notes.changed(reading.place(*where, "name"), f"the SLO {name} has the id {identity} here")
    description = reading.text(*where, "description").strip()
    title = (description.splitlines() or [""])[0][:200]
    if title != description:
        reading.notes.lost(
            reading.place(*where, "description"), f"the whole description of {name}", "a title is one line"
        )
    return Target(
        id=identity,
        title=title or identity,
        target=share,
        indicator=indicator,
        indicator_name=identity,
        position=reading.place(*where),
    )


def _indicator(reading: Reading, where: Where, name: str) -> Events | Histogram | Raw | None:
    sli = (*where, "sli")
    error, total = (_query(reading, (*sli, "events"), *names) for names in _EVENTS)
    ratio = _query(reading, (*sli, "raw"), "error_ratio_query", "errorRatioQuery")
    if ratio and not error:
        _say_sampled(reading, reading.place(*sli, "raw"), name)
        return Raw(query=_plain(windowed(ratio, _SAMPLED)), of_failures=True)
    if not error or not total:
        reading.notes.lost(
            reading.place(*sli), f"the SLO {name}", "only events and raw are known here, not what a plugin asks"
        )
        return None
    bad, every = sum_of(error), sum_of(total)
    if bad is None or every is None:
        _say_sampled(reading, reading.place(*sli, "events"), name)
        query = f"({_plain(windowed(error, _SAMPLED))}) / (({_plain(windowed(total, _SAMPLED))}) > 0)"
        return Raw(query=query, of_failures=True)
    if bad.grouped or every.grouped:
        reading.notes.changed(
            reading.place(*sli, "events"),
            f"the SLO {name} keeps series apart by labels; here all of them are added up to one promise",
        )
    if not (TEMPLATE.search(error) and TEMPLATE.search(total)):
        reading.notes.changed(
            reading.place(*sli, "events"),
            f"a query of {name} has no {{{{.window}}}}; here its counter is asked over every window",
        )
    events = events_of(bad, every, bad=True)
    return histogram_of(events) or events


def _query(reading: Reading, where: Where, *names: str) -> str:
    return next((found for each in names if (found := reading.text(*where, each).strip())), "")


def _say_sampled(reading: Reading, place: Position, name: str) -> None:
    reading.notes.changed(
        place,
        f"the query of {name} does not add up rates of counters: it is taken as a ratio over {_SAMPLED}, averaged over "
        "time and not weighted by events",
        "name counters of bad and of all events, if there are any",
    )


def _plain(query: str) -> str:
    """Write a query on one line."""
    return " ".join(query.split())
