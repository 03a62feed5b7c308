"""Did enough people agree to let this change out although its gate blocks?

What they agree to is the blocked verdict itself, whose digest they sign: for one service, one class of changes and one
set of reasons, in one repository. It is judged like every other approval (`_approval`): a person counts once, whoever
asked does not count, one refusal is enough. It ends when the policy says, counted from the verdict that was shown, or
when the first of the signatures ends.

Not here: where requests and signatures come from (`run`), what an override lets through (`_gate`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from opsascode.errors import UsageError
from opsascode.policy._approval import judge_approvals
from opsascode.policy._forms import CLOCK_TOLERANCE, stamp
from opsascode.policy._gate_json import moment_in, object_in, objects_in, text_in
from opsascode.policy._gate_question import reason_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from opsascode.policy._approval import ApprovalNeed, ApprovalVerdict
    from opsascode.proof import Json
    from opsascode.repo import People

GATE_REQUEST: Final = "opsascode/gate/v1"
"""The format of a blocked verdict as people are shown it."""


class OverrideCode(StrEnum):
    """Why an override does not count."""

    FORM = "E_GATE_FORM"
    REPOSITORY = "E_GATE_REPO"
    SERVICE = "E_GATE_SERVICE"
    CHANGE_CLASS = "E_GATE_CLASS"
    NEW_REASON = "E_GATE_REASON"
    EXPIRED = "E_GATE_EXPIRED"
    NOT_YET = "E_GATE_NOT_YET"
    NEVER = "E_GATE_NEVER"
    PEOPLE = "E_GATE_PEOPLE"
    DECLINED = "E_GATE_DECLINED"
    UNKNOWN = "E_GATE_UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOverride:
    """What people agreed to: `keys` name the reasons they were shown, `approvals` their statements by digest."""

    id: str
    service: str
    change_class: str
    keys: frozenset[str]
    by: tuple[str, ...]
    approvals: tuple[str, ...]
    until: datetime

    def to_json(self) -> dict[str, Json]:
        """Give the override as plain JSON."""
        return {
            "id": self.id,
            "service": self.service,
            "change_class": self.change_class,
            "reasons": [*sorted(self.keys)],
            "by": list(self.by),
            "approvals": list(self.approvals),
            "until": stamp(self.until),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideFault:
    """Why an override does not count; `waits` where people have yet to answer, and nothing is wrong with it."""

    id: str
    code: str
    message: str
    mend: str = ""
    waits: bool = False

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON."""
        return {"id": self.id, "code": self.code, "message": self.message, "mend": self.mend, "waits": self.waits}


@dataclass(frozen=True, slots=True, kw_only=True)
class GateAsked:
    """What a blocked verdict says, as people are shown it: for what, when, and which reasons block."""

    id: str
    repository: str
    service: str
    change_class: str
    keys: frozenset[str]
    asked: datetime
    until: datetime

    @classmethod
    def of_json(cls, found: Mapping[str, Json]) -> GateAsked:
        """Read what people are shown.

        Raises:
            UsageError: it is no blocked verdict.
        """
        if found.get("format") != GATE_REQUEST:
            raise UsageError(f"it is not of format {GATE_REQUEST}")
        reasons = [object_in(each, "a reason") for each in objects_in(found, "reasons")]
        # Of a reason counts what people read, so its name is made of that, and not taken from beside it.
        keys = frozenset(
            reason_key(*(text_in(each, part) for part in ("code", "policy", "about")))
            for each in reasons
            if each.get("effect") == "block"
        )
        return cls(
            id=text_in(found, "gate"),
            repository=text_in(found, "repository"),
            service=text_in(found, "service"),
            change_class=text_in(found, "change_class"),
            keys=keys,
            asked=moment_in(found, "asked"),
            until=moment_in(found, "until"),
        )


def hear_override(
    shown: Mapping[str, Json], need: ApprovalNeed, envelopes: Sequence[bytes], people: People, now: datetime
) -> GateOverride | OverrideFault:
    """Judge what people said about a blocked verdict; `need` is what the policy asks for now."""
    name = need.run or ""
    try:
        asked = GateAsked.of_json(shown)
    except UsageError as error:
        return OverrideFault(id=name, code=OverrideCode.FORM, message=f"what was asked is not clear: {error.message}")
    fault = _misplaced(asked, need) or _untimely(asked, need, now)
    if fault is not None:
        return fault
    verdict = judge_approvals(need, envelopes, people, now)
    if not verdict.satisfied:
        return _not_agreed(name, verdict)
    return GateOverride(
        id=name,
        service=asked.service,
        change_class=asked.change_class,
        keys=asked.keys,
        by=tuple(each.person for each in verdict.counted),
        approvals=tuple(each.digest for each in verdict.counted),
        until=min(_end(asked, need), *(each.expires for each in verdict.counted)),
    )


def _misplaced(asked: GateAsked, need: ApprovalNeed) -> OverrideFault | None:
    if asked.id != need.run:
        message = f"it is filed as {need.run}, and people were shown {asked.id}"
        return OverrideFault(id=need.run or "", code=OverrideCode.FORM, message=message)
    if asked.repository != need.repository:
        message = f"it is for the repository {asked.repository!r}, not {need.repository!r}"
        return OverrideFault(id=asked.id, code=OverrideCode.REPOSITORY, message=message)
    return None


def _untimely(asked: GateAsked, need: ApprovalNeed, now: datetime) -> OverrideFault | None:
    if asked.asked > now + CLOCK_TOLERANCE:
        message = f"it was asked at {asked.asked:%Y-%m-%d %H:%M:%S} UTC, which is still to come"
        return OverrideFault(id=asked.id, code=OverrideCode.NOT_YET, message=message)
    end = _end(asked, need)
    if end <= now:
        message = f"it could be given until {end:%Y-%m-%d %H:%M:%S} UTC"
        return OverrideFault(id=asked.id, code=OverrideCode.EXPIRED, message=message, mend="ask again")
    return None


def _end(asked: GateAsked, need: ApprovalNeed) -> datetime:
    """Say when it ends at the latest: as people were shown, and not later than the policy allows now."""
    return min(asked.until, asked.asked + need.lifetime)


def _not_agreed(name: str, verdict: ApprovalVerdict) -> OverrideFault:
    if verdict.declined:
        return OverrideFault(id=name, code=OverrideCode.DECLINED, message=verdict.missing)
    faults = "; ".join(f"{each.message} [{each.code}]" for each in verdict.faults)
    message = f"{verdict.missing}; not counted: {faults}" if faults else verdict.missing
    return OverrideFault(id=name, code=OverrideCode.PEOPLE, message=message, waits=not verdict.faults)
