"""What do OpenSLO v1 documents promise (https://openslo.com)?

SLOs of one service with one window and the same alerts become one policy. Objectives become promises: ratio metrics of
Prometheus counters as counters of ours, whatever else Prometheus computes as a ratio that is sampled. What another
source than Prometheus measures cannot be carried over. The annotations that our own export writes are believed as far
as the rest of the document still says what they say.

Not here: lengths, windows and metrics (`_openslo_metrics`, `_openslo_words`), alert policies (`_openslo_alerts`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from opsascode.repo import CalendarPeriod, CalendarUnit, Rolling, Target, TimeSlices, parse_duration
from opsascode.slo._exchange import (
    Draft,
    Reading,
    Wishes,
    id_of,
    named,
    service_of,
    share_of,
    team_of,
    texts_of,
)
from opsascode.slo._openslo_alerts import Alerts
from opsascode.slo._openslo_metrics import Measure, measure_of
from opsascode.slo._openslo_words import (
    API,
    POLICY,
    PROMISE,
    UNITS,
    indicator_of,
    length_of,
    length_text,
    metric_of,
    parse_length,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opsascode.repo import Events, Histogram, Raw, SourceDocument
    from opsascode.slo._exchange import Where
    from opsascode.slo._openslo_alerts import Alerting

_KNOWN: Final = frozenset({"Service", "SLI", "SLO", "AlertPolicy", "AlertCondition", "AlertNotificationTarget"})
_ALMOST_ALL: Final = Decimal("0.9999999")
_ID: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_FIRST_MONTHS: Final = (1, 4, 7, 10)


def is_openslo(document: SourceDocument) -> bool:
    """Say whether a document is one of OpenSLO v1."""
    return document.at(("apiVersion",)) == API


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """All documents of one import, by kind and name."""

    by_name: Mapping[tuple[str, str], Reading]

    @classmethod
    def of(cls, readings: Iterable[Reading]) -> Library:
        """Take documents in."""
        return cls(by_name={(each.text("kind"), each.text("metadata", "name")): each for each in readings})

    def find(self, kind: str, name: str) -> Reading | None:
        """Find a document."""
        return self.by_name.get((kind, name))


def read_openslo(readings: list[Reading], wishes: Wishes) -> tuple[Draft, ...]:
    """Make drafts of all SLOs among some documents."""
    library = Library.of(readings)
    drafts: dict[Any, Draft] = {}
    for reading in readings:
        kind = reading.text("kind")
        if kind == "SLO":
            _slo(reading, library, wishes, drafts)
        elif kind == "DataSource":
            why = "the address of Prometheus stands in opsascode.yml (prometheus), credentials in its environment"
            reading.notes.lost(reading.place("kind"), f"the data source {reading.text('metadata', 'name')}", why)
        elif kind not in _KNOWN:
            reading.notes.lost(reading.place("kind"), f"the document of kind {kind}", "it is not known here")
    return tuple(each for each in drafts.values() if each.targets)


def _slo(reading: Reading, library: Library, wishes: Wishes, drafts: dict[Any, Draft]) -> None:
    name = reading.text("metadata", "name")
    words = _words(reading, POLICY)
    window = _window(reading)
    if window is None:
        return
    if reading.text("spec", "budgetingMethod") not in ("Occurrences", "Timeslices"):
        why = "a budget counts events (Occurrences) or slices of time (Timeslices)"
        reading.notes.lost(reading.place("spec", "budgetingMethod"), f"the SLO {name}", why)
        return
    alerting = Alerts(reading=reading, find=library.find, window=window).read(words)
    known = {
        "service", "description", "indicator", "indicatorRef", "timeWindow", "budgetingMethod", "objectives",
        "alertPolicies",
    }  # fmt: skip
    reading.unknown(known, "it is not known here", "spec")
    draft = _draft_of(reading, library, wishes, drafts, (words, window, alerting))
    for index in range(len(reading.sequence("spec", "objectives"))):
        target = _target(reading, library, ("spec", "objectives", index), draft)
        if target is not None:
            draft.targets.append(target)


def _draft_of(
    reading: Reading,
    library: Library,
    wishes: Wishes,
    drafts: dict[Any, Draft],
    about: tuple[Mapping[str, Any], Rolling | CalendarPeriod, Alerting],
) -> Draft:
    """Find the policy that an SLO belongs to, or begin it."""
    words, window, alerting = about
    service = _service(reading, words)
    own = words.get("name")
    key = (own, service, str(window), alerting.windows, alerting.told)
    if key in drafts:
        return drafts[key]
    known = {each.name for each in drafts.values()}
    base = named(own if isinstance(own, str) else service)
    name, count = base, 1
    while name in known:
        count += 1
        name = f"{base[:60]}-{count}"
    draft = Draft(name=name, service=service, window=window, alerting=alerting.windows)
    _fill(draft, reading, library, wishes, (words, alerting))
    drafts[key] = draft
    return draft


def _fill(
    draft: Draft, reading: Reading, library: Library, wishes: Wishes, about: tuple[Mapping[str, Any], Alerting]
) -> None:
    """Say what the policy is called, who is told, and what an annotation keeps for it."""
    words, alerting = about
    spec, metadata = words.get("spec"), words.get("metadata")
    if isinstance(spec, dict) and isinstance(metadata, dict) and spec.get("escalation_chain"):
        draft.about, draft.rest = dict(metadata), dict(spec)
        return
    found = library.find("Service", reading.text("spec", "service"))
    title = found.text("metadata", "displayName") if found else ""
    description = (found.text("spec", "description") if found else "") or reading.text("spec", "description")
    labels = texts_of(reading.mapping("metadata", "labels"))
    draft.about |= {"title": title[:200]} if title else {}
    draft.about |= {"description": description} if description else {}
    draft.about |= {"labels": labels} if labels else {}
    for key in reading.mapping("metadata", "labels"):
        if key not in labels:
            reading.notes.lost(
                reading.place("metadata", "labels", key), f"the label {key}", "a label has one value here"
            )
    if reading.mapping("metadata", "annotations"):
        reading.notes.lost(
            reading.place("metadata", "annotations"), "what the annotations say", "nothing reads them here"
        )
    told = (wishes.notify,) if wishes.notify else alerting.told
    draft.chain = [{"notify": whom} for whom in told]
    if not told:
        whom = team_of(labels.get("owner") or labels.get("team") or draft.service)
        draft.chain = [{"notify": whom}]
        reading.notes.guessed(
            reading.place("spec"),
            f"OpenSLO does not say whom to tell: the escalation chain says {whom}",
            "correct escalation_chain, or import with --notify",
        )


def _service(reading: Reading, words: Mapping[str, Any]) -> str:
    own = words.get("service")
    written = reading.text("spec", "service")
    service = own if isinstance(own, str) and service_of(own) == own else service_of(written)
    if service not in {written, own}:
        reading.notes.changed(reading.place("spec", "service"), f"the service {written} is called {service} here")
    return service


def _words(reading: Reading, annotation: str) -> Mapping[str, Any]:
    """Read an annotation of ours; what cannot be read counts as not there, and is noted."""
    text = reading.at("metadata", "annotations", annotation)
    if not isinstance(text, str):
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        reading.notes.lost(reading.place("metadata", "annotations", annotation), annotation, "it is no JSON of ours")
        return {}
    return found


def _window(reading: Reading) -> Rolling | CalendarPeriod | None:
    """Read the window of the budget; None, with a note, where ours has none like it."""
    where: Where = ("spec", "timeWindow", 0)
    name = reading.text("metadata", "name")
    text = reading.text(*where, "duration")
    found = parse_length(text)
    if found is None:
        reading.notes.lost(reading.place("spec", "timeWindow"), f"the SLO {name}", "its window is no length")
        return None
    count, unit = found
    if not reading.mapping(*where, "calendar"):
        if unit in "MQY":
            days = (length_of(text) or timedelta()).days
            reading.notes.changed(reading.place(*where), f"a rolling window of {text} is one of {days} days here")
        return Rolling(length=length_of(text) or timedelta())
    if unit == "m" and count == 1:  # the published example of a calendar month says so
        reading.notes.changed(reading.place(*where, "duration"), "1m in a calendar is taken for a month")
        unit = "M"
    if unit not in UNITS or count != 1:
        why = f"a calendar window is one week, month, quarter or year, not {text}"
        reading.notes.lost(reading.place(*where), f"the SLO {name}", why)
        return None
    return _calendar(reading, (*where, "calendar"), UNITS[unit])


def _calendar(reading: Reading, where: Where, unit: CalendarUnit) -> CalendarPeriod:
    zone = reading.text(*where, "timeZone") or "UTC"
    try:
        ZoneInfo(zone)
    except (OSError, ValueError):
        reading.notes.changed(reading.place(*where, "timeZone"), f"there is no time zone {zone}; UTC is written")
        zone = "UTC"
    text = reading.text(*where, "startTime")
    try:
        start = datetime.fromisoformat(text)
    except ValueError:
        start = None
    if start is None or start != start.replace(hour=0, minute=0, second=0, microsecond=0) or not _begins(start, unit):
        what = f"a calendar window that begins at {text or 'no time'} begins with the {unit.value} here, at midnight"
        reading.notes.changed(reading.place(*where), what)
    return CalendarPeriod(unit=unit, timezone=zone)


def _begins(start: datetime, unit: CalendarUnit) -> bool:
    """Say whether a day is the first of a period."""
    if unit is CalendarUnit.WEEK:
        return start.weekday() == 0
    months = {CalendarUnit.QUARTER: _FIRST_MONTHS, CalendarUnit.YEAR: (1,)}
    return start.day == 1 and start.month in months.get(unit, range(1, 13))


def _target(reading: Reading, library: Library, where: Where, draft: Draft) -> Target | None:
    """Make one promise; None where it cannot be promised here, which is noted."""
    name = reading.text("metadata", "name")
    share = _share(reading, where)
    if share is None:
        why = "its target is no share above 0 and below 1 with at most seven places"
        reading.notes.lost(reading.place(*where), f"an objective of {name}", why)
        return None
    reading.unknown(
        {"displayName", "op", "value", "target", "targetPercent", "timeSliceTarget", "timeSliceWindow"},
        "it is not known here",
        *where,
    )
    slices = _slices(reading, where)
    if slices is None and reading.text("spec", "budgetingMethod") == "Timeslices":
        return None
    measure = measure_of(reading, library.find, where)
    if measure is None:
        return None
    words = _words(reading, PROMISE)
    title = reading.text(*where, "displayName") or reading.text("metadata", "displayName")
    own = _own(words, measure)
    several = len(reading.sequence("spec", "objectives")) > 1
    identity = id_of(f"{name}-{title}" if several and title else name, [each.id for each in draft.targets], share)
    made = Target(
        id=identity,
        title=title[:200] or identity,
        target=share,
        indicator=own or measure.indicator,
        indicator_name=identity,
        slices=slices,
        position=reading.place(*where),
    )
    return made if own is None else _restored(words, made, draft)


def _own(words: Mapping[str, Any], measure: Measure) -> Events | Histogram | Raw | None:
    """Give the indicator of our own annotation, where the metrics of the document are still what it asks."""
    found = indicator_of(words.get("counts"))
    named = all(isinstance(words.get(each), str) and _ID.fullmatch(words[each]) for each in ("id", "indicator"))
    if found is None or not named:
        return None
    return found if measure.written == metric_of(found) else None


def _restored(words: Mapping[str, Any], made: Target, draft: Draft) -> Target:
    """Build a promise that our own export wrote."""
    slices, own = made.slices, words.get("slices")
    if slices is not None and isinstance(own, str) and _own_length(own) and length_text(_own_length(own)) is None:
        slices = replace(slices, length=_own_length(own))
    least, title = words.get("min_events", 0), words.get("title")
    identity = id_of(words["id"], [each.id for each in draft.targets], made.target)
    return replace(
        made,
        id=identity,
        title=title if isinstance(title, str) and title else identity,
        indicator_name=words["indicator"],
        slices=slices,
        min_events=least if isinstance(least, int) and least > 0 else 0,
    )


def _own_length(text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError:
        return timedelta()


def _share(reading: Reading, where: Where) -> Decimal | None:
    target = reading.decimal(*where, "target")
    percentage = reading.decimal(*where, "targetPercent")
    if target is not None:
        return share_of(target)
    return None if percentage is None else share_of(percentage.scaleb(-2))


def _slices(reading: Reading, where: Where) -> TimeSlices | None:
    """Read how slices are judged; None where there are none, or none like ours, which is noted."""
    if reading.text("spec", "budgetingMethod") != "Timeslices":
        return None
    written = reading.text(*where, "timeSliceWindow")
    length = length_of(f"{written}m" if written.isdigit() else written)
    target = reading.decimal(*where, "timeSliceTarget")
    if target == 1:
        reading.notes.changed(
            reading.place(*where, "timeSliceTarget"), "a slice is good from 99.99999% on here, not only at 100%"
        )
        target = _ALMOST_ALL
    share = None if target is None else share_of(target)
    if not length or share is None:
        why = "slices need a timeSliceWindow and a timeSliceTarget above 0 with at most seven places"
        reading.notes.lost(reading.place(*where), f"an objective of {reading.text('metadata', 'name')}", why)
        return None
    return TimeSlices(length=length, target=share)
