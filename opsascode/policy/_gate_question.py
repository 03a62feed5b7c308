"""What is a gate asked, and what are reasons made of?

A question holds everything that a gate is judged by, but the policies. It is kept with the verdict, so that the same
can be judged again, also by other policies.

Not here: finding the reasons (`_gate_reasons`), the verdict (`_gate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final

from opsascode.errors import UsageError
from opsascode.proof import JsonParts, stamp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from opsascode.errors import Position
    from opsascode.proof import Json
    from opsascode.slo import SloSnapshot


class Verdict(Enum):
    """What a gate says."""

    PASS = "pass"  # noqa: S105 - no password, but the word of a gate
    WARN = "warn"
    BLOCK = "block"


_BADNESS: Final = {Verdict.PASS: 0, Verdict.WARN: 1, Verdict.BLOCK: 2}


class GateCode(StrEnum):
    """Why a gate warns or blocks."""

    BUDGET = "BUDGET"
    PAGE = "PAGE"
    INCIDENT = "INCIDENT"
    FREEZE = "FREEZE"
    NO_DATA = "NO_DATA"
    UNREACHABLE = "UNREACHABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIncident:
    """An incident that was declared and not resolved; rank 0 is the worst."""

    id: str
    service: str
    rank: int
    title: str
    opened: datetime
    by: str = ""

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON."""
        return {
            "id": self.id,
            "service": self.service,
            "rank": self.rank,
            "title": self.title,
            "opened": stamp(self.opened),
            "by": self.by,
        }

    @classmethod
    def of_json(cls, found: Json) -> OpenIncident:
        """Read it back.

        Raises:
            UsageError: it is not the JSON of an incident.
        """
        parts = JsonParts.of(found, UsageError, what="an incident")
        return cls(
            id=parts.text("id"),
            service=parts.text("service"),
            rank=parts.number("rank"),
            title=parts.text("title"),
            opened=parts.moment("opened"),
            by=parts.text("by"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GateQuestion:
    """Everything a gate is judged by, but the policies: kept with the verdict, so that it can be judged again.

    `snapshots` hold one measurement for each policy of the service; `incidents` all that are open on it. `change` says
    in words what is to go out.
    """

    service: str
    change_class: str
    snapshots: tuple[SloSnapshot, ...]
    incidents: tuple[OpenIncident, ...] = ()
    asked: datetime
    change: str = ""

    def to_json(self) -> dict[str, Json]:
        """Give the question as plain JSON."""
        return {
            "service": self.service,
            "change_class": self.change_class,
            "snapshots": [each.to_json() for each in self.snapshots],
            "incidents": [each.to_json() for each in self.incidents],
            "asked": stamp(self.asked),
            "change": self.change,
        }

    @classmethod
    def of_json(cls, found: Json) -> GateQuestion:
        """Read a question back.

        Raises:
            UsageError: it is not the JSON of a question.
        """
        from opsascode.slo import SloSnapshot  # noqa: PLC0415 - reading back is rare

        parts = JsonParts.of(found, UsageError, what="a gate's question")
        return cls(
            service=parts.text("service"),
            change_class=parts.text("change_class"),
            snapshots=tuple(SloSnapshot.of_json(each) for each in parts.items("snapshots")),
            incidents=tuple(OpenIncident.of_json(each) for each in parts.items("incidents")),
            asked=parts.moment("asked"),
            change=parts.text("change"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReason:
    """One reason, and what it does by itself (PASS: a note).

    `about` names what it is about within its code: the promise, the incident, the window of a calendar. `ends` is when
    it ends by itself, where that is known; `mend` says what would change the answer.
    """

    code: GateCode
    effect: Verdict
    policy: str
    about: str
    message: str
    position: Position
    mend: str = ""
    ends: datetime | None = None

    @property
    def source(self) -> str:
        """Who says so."""
        return f"reliability policy {self.policy}"

    @property
    def key(self) -> str:
        """What people agree to when they override it: this reason, whatever its figures become."""
        return reason_key(self.code.value, self.policy, self.about)

    def to_json(self) -> dict[str, Json]:
        """Give the reason as plain JSON."""
        return {
            "code": self.code.value,
            "effect": self.effect.value,
            "policy": self.policy,
            "about": self.about,
            "key": self.key,
            "message": self.message,
            "source": self.source,
            "position": str(self.position),
            "mend": self.mend,
            "ends": None if self.ends is None else stamp(self.ends),
        }


def reason_key(code: str, policy: str, about: str) -> str:
    """Name a reason apart from its figures."""
    return f"{code}:{policy}:{about}"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Give the worst of some verdicts."""
    return max(verdicts, key=_BADNESS.__getitem__, default=Verdict.PASS)
