"""What is wrong within one calendar that no schema can say?

Zones and days that do not exist, windows without an end or with two, rules that do not repeat what stands there.

Not here: what a rule may say (`_recurrence`), windows that the clock moves (`policy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._calendar_build import time_of_day, wall_clock
from opsascode.repo._guardrail_rules import shared_name
from opsascode.repo._problem import Problem, did_you_mean, path_text, quoted
from opsascode.repo._quantities import parse_duration
from opsascode.repo._recurrence import RuleFault, days_between, occurs_first, read_rule
from opsascode.repo._within_text import position_within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument

_YEARS: Final = range(1970, 3000)
_LONGEST: Final = timedelta(days=366)
_LOOKED_AT: Final = 400  # occurrences, and no later than this after the first:
_AHEAD: Final = timedelta(days=366 * 5)
_BESIDE: Final = {
    "end": "start", "duration": "start", "rrule": "start", "from": "days", "to": "days"
}  # fmt: skip


def calendar_problems(document: SourceDocument, data: bytes) -> Iterator[Problem]:
    """Find everything wrong with a calendar by itself; `data` are the bytes it was read from."""
    yield from _zone(document)
    windows = document.at(("spec", "windows"))
    names: dict[str, int] = {}
    for index, window in enumerate(windows if isinstance(windows, list) else ()):
        if isinstance(window, dict):
            where: DocumentPath = ("spec", "windows", index)
            yield from shared_name(document, window.get("name"), where, names)
            yield from _Window(document, data, window, where).problems()


def _zone(document: SourceDocument) -> Iterator[Problem]:
    name = document.at(("spec", "timezone"))
    if not isinstance(name, str) or not _looks_like_zone(name) or document.is_unread(("spec", "timezone")):
        return
    from zoneinfo import ZoneInfo, available_timezones  # noqa: PLC0415 - only calendars have one

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        mend = did_you_mean(name, available_timezones(), list_up_to=0) or "write one such as Europe/Berlin or UTC"
        yield Problem(
            position=document.position(("spec", "timezone")),
            document_path="spec.timezone",
            code="unknown-timezone",
            message=f"there is no time zone {quoted(name)}",
            mend=mend,
        )


def _looks_like_zone(name: str) -> bool:
    return name == "UTC" or "/" in name


@dataclass(frozen=True)
class _Window:
    """One window under judgement; the values may be of any shape."""

    document: SourceDocument
    data: bytes
    window: dict[str, Any]
    where: DocumentPath

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong, from its form to its meaning; what is wrong in form has none."""
        found = [*self._form()]
        yield from found
        if found:
            return
        if "days" in self.window:
            yield from self._weekly()
            return
        bad = [*self._days()]
        yield from bad
        length = None if bad else self._length()
        if isinstance(length, Problem):
            yield length
        elif length is not None and "rrule" in self.window:
            yield from self._rule(length)

    def _form(self) -> Iterator[Problem]:
        """Report keys that are missing, or have no meaning beside the others."""
        window = self.window
        if "start" not in window and "days" not in window:
            mend = "write start and end, or days with from and to"
            yield self._say((), "missing-key", "the window does not say when it is", mend)
        elif "start" in window and "days" in window:
            message = f"{quoted('days')} cannot stand beside {quoted('start')}"
            mend = "write start and end with an rrule, or days with from and to"
            yield self._say(("days",), "misplaced-key", message, mend, key=True)
        else:
            for key, other in _BESIDE.items():
                if key in window and other not in window:
                    message = f"{quoted(key)} only has a meaning beside {quoted(other)}"
                    yield self._say((key,), "misplaced-key", message, "leave it out", key=True)
            yield from self._missing()

    def _missing(self) -> Iterator[Problem]:
        window = self.window
        if "days" in window:
            for key in ("from", "to"):
                if key not in window:
                    message = f"{quoted(key)} is missing in the window"
                    yield self._say((), "missing-key", message, f"write {key}: …")
        elif "end" in window and "duration" in window:
            message = f"{quoted('duration')} cannot stand beside {quoted('end')}"
            yield self._say(("duration",), "misplaced-key", message, "leave out one of them", key=True)
        elif "end" not in window and "duration" not in window:
            yield self._say((), "missing-key", "the window does not end", "write end: … or duration: …")

    def _weekly(self) -> Iterator[Problem]:
        if self.window["from"] == self.window["to"] and _is_time(self.window["from"]):
            message, mend = "the window begins and ends at one time", "for whole days write from 00:00 to 24:00"
            yield self._say(("to",), "contradiction", message, mend)

    def _days(self) -> Iterator[Problem]:
        """Report days and times that do not exist, or that nobody means."""
        for key in ("start", "end"):
            written = self.window.get(key)
            if not isinstance(written, str):
                continue
            try:
                year = wall_clock(written).year
            except ValueError:
                if len(written) in {16, 19}:  # anything else is a problem of its own
                    yield self._say((key,), "wrong-value", f"there is no time {quoted(written)}", "")
                continue
            if year not in _YEARS:
                message = f"{quoted(key)} must be between {_YEARS[0]} and {_YEARS[-1]}"
                yield self._say((key,), "out-of-bounds", message, "")

    def _length(self) -> timedelta | Problem | None:
        """Give how long the window is; None where that cannot be told."""
        try:
            start = wall_clock(self.window["start"])
            if "end" in self.window:
                length, key = wall_clock(self.window["end"]) - start, "end"
            else:
                length, key = parse_duration(self.window["duration"]), "duration"
        except (ValueError, TypeError, OverflowError):
            return None
        if length <= timedelta():
            message = f"the window ends {'when it begins' if not length else 'before it begins'}"
            return self._say((key,), "contradiction", message, "write a later end" if key == "end" else "write more")
        if length > _LONGEST and (key == "duration" or "rrule" in self.window):
            return self._say((key,), "out-of-bounds", f"the window is longer than {_LONGEST.days} days", "")
        return length

    def _rule(self, length: timedelta) -> Iterator[Problem]:
        """Report a rule that cannot be read, does not begin with the window, or begins anew before it ends."""
        text = self.window["rrule"]
        if not isinstance(text, str) or not text or self.document.is_unread((*self.where, "rrule")):
            return
        rule = read_rule(text)
        if isinstance(rule, RuleFault):
            position = position_within(self.data, self.document.position((*self.where, "rrule")), text, rule.offset)
            where = path_text((*self.where, "rrule"))
            yield Problem(
                position=position, document_path=where, code="wrong-rule", message=rule.message, mend=rule.mend
            )
            return
        start = wall_clock(self.window["start"])
        first = occurs_first(rule, start.date())
        if first != start.date():
            message = f"the rule does not repeat {start.date()}, with which the window begins"
            mend = f"write start: {first}T{start:%H:%M}" if first else "no day is what the rule asks for"
            yield self._say(("rrule",), "contradiction", message, mend)
            return
        if rule.until is not None and rule.until < start:
            yield self._say(
                ("rrule",), "contradiction", "the rule ends before the window begins", "write a later UNTIL"
            )
            return
        days = islice(days_between(rule, start, start.date(), (start + _AHEAD).date()), _LOOKED_AT)
        shortest = min((after - before for before, after in pairwise(days)), default=None)
        if shortest is not None and shortest < length:
            message = f"the window begins anew after {shortest.days} days, before it ends"
            yield self._say(("rrule",), "overlap", message, "make it shorter, or repeat it less often")

    def _say(self, path: DocumentPath, code: str, message: str, mend: str, *, key: bool = False) -> Problem:
        where = (*self.where, *path)
        position = self.document.key_position(where) if key else self.document.position(where)
        return Problem(position=position, document_path=path_text(where), code=code, message=message, mend=mend)


def _is_time(text: object) -> bool:
    try:
        return isinstance(text, str) and time_of_day(text) >= timedelta()
    except ValueError:
        return False
