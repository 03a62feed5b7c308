"""What is carried over from a document of another tool, and what is not?

A foreign document becomes drafts of reliability policies: promises of one service over one window with one set of
alerts. Whatever cannot be carried over, or means something else here, is noted at its position: nothing is left out
silently. Decimals are taken from the text of the file, so that 99.95 never becomes 99.95000000000000284.

Not here: what the documents of a tool mean (`_sloth`, `_openslo`), writing files (`cli`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo import Problem, Severity, latency_share
from opsascode.slo._document import Plain, alert_document, targets_document, whole_document, window_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opsascode.errors import Position
    from opsascode.repo import AlertWindow, CalendarPeriod, Rolling, SourceDocument, Target

Where = tuple[str | int, ...]
MOST_PLACES: Final = 7  # of a share: a percentage has at most five
_NUMBER: Final = re.compile(r"[\"']?([-+]?[0-9]*\.?[0-9]*(?:[eE][-+]?[0-9]+)?)[\"']?\s*(?:[,}\]#]|$)")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_LONGEST: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Documents of reliability policies, and notes on what they do not hold of what was read."""

    documents: tuple[Plain, ...]
    notes: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person says of an import: the window where a document names none, and whom to tell."""

    window: Rolling
    notify: str | None = None


@dataclass(slots=True, kw_only=True)
class Draft:
    """A policy that is being put together."""

    name: str
    service: str
    window: Rolling | CalendarPeriod
    alerting: tuple[AlertWindow, ...] = ()
    about: Plain = field(default_factory=dict)
    chain: list[Plain] = field(default_factory=list)
    rest: Plain = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)

    def document(self) -> Plain:
        """Write it as a document; the gate and whatever else nobody said is left to the defaults."""
        targets, indicators = targets_document(self.targets)
        spec: Plain = {
            "service": self.service,
            "window": window_document(self.window),
            "slo_targets": targets,
            "indicators": indicators,
        }
        if self.alerting:
            spec["alerting"] = [alert_document(each) for each in self.alerting]
        spec["escalation_chain"] = self.chain
        spec |= {key: value for key, value in self.rest.items() if key not in spec or key == "escalation_chain"}
        return whole_document({"name": self.name, **self.about}, spec)


class Notes:
    """What was not carried over, or not as it was written."""

    def __init__(self) -> None:
        """Start without a note."""
        self.found: list[Problem] = []

    def lost(self, place: Position, what: str, why: str) -> None:
        """Note something that the policy does not hold."""
        self._note(place, "not-carried", f"{what} is not carried over: {why}", "write it by hand where it matters")

    def changed(self, place: Position, what: str, mend: str = "look whether it is meant so") -> None:
        """Note something that means not quite the same here."""
        self._note(place, "carried-differently", what, mend)

    def guessed(self, place: Position, what: str, mend: str) -> None:
        """Note something that the document does not say and a policy must."""
        self._note(place, "guessed", what, mend)

    def _note(self, place: Position, code: str, message: str, mend: str) -> None:
        self.found.append(Problem(position=place, code=code, message=message, mend=mend, severity=Severity.WARNING))

    @property
    def in_order(self) -> tuple[Problem, ...]:
        """All notes by their places, each once."""
        return tuple(sorted(set(self.found), key=Problem.sort_key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One foreign document with the lines of its file."""

    document: SourceDocument
    lines: tuple[str, ...]
    notes: Notes

    def at(self, *where: str | int) -> Any:  # noqa: ANN401 - whatever stands there
        """Give the plain value at a place, None where there is none."""
        return self.document.at(where)

    def mapping(self, *where: str | int) -> Mapping[str, Any]:
        """Give the mapping at a place; an empty one where something else stands there."""
        found = self.document.at(where)
        return found if isinstance(found, dict) else {}

    def sequence(self, *where: str | int) -> list[Any]:
        """Give the list at a place; an empty one where something else stands there."""
        found = self.document.at(where)
        return found if isinstance(found, list) else []

    def text(self, *where: str | int) -> str:
        """Give the text at a place; a number or a truth as it is spelled; empty where there is none."""
        found = self.document.at(where)
        if isinstance(found, bool):
            return "true" if found else "false"
        if isinstance(found, int | float):
            exact = self.decimal(*where)
            return "" if exact is None else f"{exact:f}"
        return found if isinstance(found, str) else ""

    def place(self, *where: str | int) -> Position:
        """Give the position of a key, or of the nearest there is."""
        return self.document.key_position(where) if where else self.document.position()

    def decimal(self, *where: str | int) -> Decimal | None:
        """Give the number at a place exactly as it is written; None where there is none."""
        value = self.document.at(where)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        place = self.document.position(where)
        line = self.lines[place.line - 1] if place.line <= len(self.lines) else ""
        match = _NUMBER.match(line[place.column - 1 :])
        for text in ([match[1]] if match else []) + [str(value)]:
            try:
                found = Decimal(text)
            except ArithmeticError:
                continue
            if found.is_finite() and (isinstance(value, str) or float(found) == value):
                return found
        return None

    def unknown(self, known: Iterable[str], why: str, *where: str | int) -> None:
        """Note every key of a mapping that is not among the known ones."""
        names = set(known)
        for key in self.mapping(*where):
            if key not in names:
                self.notes.lost(self.place(*where, key), path_text((*where, key)), why)


def share_of(number: Decimal) -> Decimal | None:
    """Give a share that a document can say: above 0, below 1, with at most seven places; else None."""
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or not 0 < number < 1:
        return None
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return number if -exponent - zeros <= MOST_PLACES else None


def named(text: str, *, least: str = "slo") -> str:
    """Make a name of a text: lower-case letters, digits, dots and dashes, at most 63 of them."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")[:_LONGEST].rstrip("._-") or least


def id_of(text: str, taken: Iterable[str], share: Decimal) -> str:
    """Make an id of a text that none of those taken has; an id that speaks of another share is no good either."""
    base = re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")
    base = base if base[:1].isalpha() else f"slo-{base}".rstrip("-")
    said = latency_share(base)
    if said is not None and said != share:
        base = f"{base}-target"
    base = base[:_LONGEST]
    used, found, count = set(taken), base, 1
    while found in used:
        count += 1
        tail = f"-{count}"
        found = base[: _LONGEST - len(tail)] + tail
    return found


def service_of(text: str) -> str:
    """Make the name of a service of a text."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:_LONGEST].rstrip("._-") or "service"


def team_of(text: str) -> str:
    """Make a team that can be told of a text."""
    return f"team:{re.sub(r'[^A-Za-z0-9._@-]+', '-', text).strip('._@-')[:100] or 'service'}"


def texts_of(found: Mapping[str, Any]) -> dict[str, str]:
    """Give the labels that are single values, as texts."""
    return {
        key: ("true" if value is True else "false" if value is False else str(value))
        for key, value in found.items()
        if isinstance(value, str | int | float)
    }


def path_text(where: Where) -> str:
    """Write a place in a document the way people read it."""
    parts: list[str] = []
    for step in where:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        else:
            plain = _PLAIN_KEY.match(step)
            parts.append((f".{step}" if parts else step) if plain else f'["{step}"]')
    return "".join(parts)
