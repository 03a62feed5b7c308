"""Did enough people agree to let this change out although its gate blocks?

What they agree to is the blocked verdict itself, whose digest they sign: for one change of one service, of one class,
and one set of reasons, in one repository. A change is what `--change` names it, letter by letter. Where nothing was
named, people agreed to what nobody named: that lets no named change through, nor does a named one let through what
does not say its name. It is judged like every other approval (`_approval`): a person counts once, whoever
asked does not count, one refusal is enough. It ends when the policy says, counted from the verdict that was shown, or
when the first of the signatures ends.

Not here: where requests and signatures come from (`run`), what an override lets through (`_gate`).
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from opsascode.errors import UsageError
from opsascode.policy._approval import ApprovalCode, judge_approvals
from opsascode.policy._forms import CLOCK_TOLERANCE
from opsascode.policy._gate_question import reason_key
from opsascode.proof import JsonParts, stamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from opsascode.policy._approval import ApprovalNeed, ApprovalVerdict
    from opsascode.proof import Json
    from opsascode.repo import People

GATE_REQUEST: Final = "opsascode/gate/v1"
"""The format of a blocked verdict as people are shown it."""
_SHOWN: Final = 100


class GateSubject(Protocol):
    """What a gate is asked about: one change, of one class, of one service."""

    @property
    def service(self) -> str:
        """Which service changes."""

    @property
    def change_class(self) -> str:
        """What kind of change it is."""

    @property
    def change(self) -> str:
        """What is to go out, in the words of who asks; empty where they named nothing."""


class OverrideCode(StrEnum):
    """Why an override does not count."""

    FORM = "E_GATE_FORM"
    REPOSITORY = "E_GATE_REPO"
    SERVICE = "E_GATE_SERVICE"
    CHANGE_CLASS = "E_GATE_CLASS"
    CHANGE = "E_GATE_CHANGE"
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
    change: str
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
            "change": self.change,
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
    change: str
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
        parts = JsonParts.of(found, UsageError)
        # Of a reason counts what people read, so its name is made of that, and not taken from beside it.
        keys = frozenset(
            reason_key(*(each.text(part) for part in ("code", "policy", "about")))
            for each in parts.objects("reasons")
            if each.value.get("effect") == "block"
        )
        return cls(
            id=parts.text("gate"),
            repository=parts.text("repository"),
            service=parts.text("service"),
            change_class=parts.text("change_class"),
            change=parts.text("change"),
            keys=keys,
            asked=parts.moment("asked"),
            until=parts.moment("until"),
        )


def unknown_accounts(people: People, accounts: Sequence[str]) -> OverrideFault | None:
    """Say why nobody's answer can count for what these accounts ask; None where a person is behind each of them."""
    unknown = [each for each in dict.fromkeys(accounts) if not people.behind(each)]
    if not unknown:
        return None
    named = " and ".join(map(repr, unknown))
    word, it = ("account", "it") if len(unknown) == 1 else ("accounts", "them")
    message = f"nobody's answer would count: this is asked as {named}, and no person of the trust root has the {word}"
    words = " ".join(f"--account {shlex.quote(f'PERSON={each}')}" for each in unknown)
    mend = f"give {it} to who works under {it}: opsascode trust propose {words}; once that version holds, ask again"
    return OverrideFault(id="", code=ApprovalCode.REQUESTER, message=message, mend=mend)


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
        change=asked.change,
        keys=asked.keys,
        by=tuple(each.person for each in verdict.counted),
        approvals=tuple(each.digest for each in verdict.counted),
        until=min(_end(asked, need), *(each.expires for each in verdict.counted)),
    )


def for_something_else(given: GateAsked | GateOverride, question: GateSubject) -> OverrideFault | None:
    """Say why what people were asked, or agreed to, is about another question than this one; None where it is not."""
    if given.service != question.service:
        code, message = OverrideCode.SERVICE, f"it is for the service {given.service}, not {question.service}"
    elif given.change_class != question.change_class:
        message = f"it is for changes of class {given.change_class}, not {question.change_class}"
        code = OverrideCode.CHANGE_CLASS
    elif given.change != question.change:
        message = f"it is for {_named(given.change)}, not for {_named(question.change)}"
        code = OverrideCode.CHANGE
    else:
        return None
    return OverrideFault(id=given.id, code=code, message=message, mend="people must agree to this one too")


def _named(change: str) -> str:
    """Name a change, apart from others: with its length where it is too long to be shown."""
    if not change:
        return "a gate asked without --change"
    return f"the change {change[:_SHOWN]!r}" + (f"… of {len(change)} characters" if len(change) > _SHOWN else "")


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
