"""What does one person sign who breaks the glass, and what is owed for it?

A broken glass is a debt: two others who may approve a way back must ratify it within three days. Time alone never
settles a debt; it only makes it overdue. Debts are a fold over the ledger, in its order.

Not here: whether the glass may be broken, and whether a ratification counts (`_break_glass`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from opsascode.policy._change import CHANGE_SUBJECT, Change, subject_change
from opsascode.policy._forms import (
    DIGEST_FORM,
    NONCE_FORM,
    PERSON_FORM,
    ApprovalError,
    honest_text_of,
)
from opsascode.proof import PREDICATE_PREFIX, JsonParts, Statement, stamp

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opsascode.proof import Json

BREAK_GLASS_TYPE: Final = f"{PREDICATE_PREFIX}break-glass:v1"
RATIFICATION_TYPE: Final = f"{PREDICATE_PREFIX}ratification:v1"
RATIFY_WITHIN: Final = timedelta(hours=72)
RATIFIERS: Final = 2
WEEK: Final = timedelta(days=7)

_MOST_NAMES: Final = 1000
_MOST_TEXT: Final = 1024
_INCIDENT_FORM: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._:/#-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlass:
    """What one person signs in an emergency; `paths` are the protected files that change."""

    person: str
    incident: str
    change: Change
    paths: tuple[str, ...]
    hosts: tuple[str, ...]
    reason: str
    issued: datetime
    expires: datetime
    nonce: str

    def statement(self) -> Statement:
        """Give the statement to sign; its subject is the change."""
        predicate: dict[str, Json] = {
            "person": self.person,
            "incident": self.incident,
            "change": self.change.to_json(),
            "paths": list(self.paths),
            "hosts": list(self.hosts),
            "reason": self.reason,
            "issued": stamp(self.issued),
            "expires": stamp(self.expires),
            "nonce": self.nonce,
        }
        return Statement(
            predicate_type=BREAK_GLASS_TYPE,
            subject_name=CHANGE_SUBJECT,
            subject_digest=self.change.id,
            predicate=predicate,
        )

    @classmethod
    def of(cls, statement: Statement) -> BreakGlass:
        """Read what was signed.

        Raises:
            ApprovalError: it does not have exactly the parts of such a statement, each of its form.
        """
        parts = JsonParts.of(statement.predicate, ApprovalError, _GLASS_PARTS)
        reason = honest_text_of(parts, "reason")
        if not reason.strip():
            raise ApprovalError("it gives no reason")
        return cls(
            person=parts.matching("person", PERSON_FORM),
            incident=parts.matching("incident", _INCIDENT_FORM),
            change=subject_change(statement),
            paths=_names(parts, "paths"),
            hosts=_names(parts, "hosts"),
            reason=reason,
            issued=parts.moment("issued"),
            expires=parts.moment("expires"),
            nonce=parts.matching("nonce", NONCE_FORM),
        )

    def covers(self, host: str, now: datetime) -> bool:
        """Say whether it means anything for a host now."""
        return host in self.hosts and self.issued <= now < self.expires


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratification:
    """What somebody else signs who looked at it afterwards; `glass` is the digest of what was signed then."""

    person: str
    glass: str
    reason: str
    issued: datetime
    expires: datetime
    nonce: str

    def statement(self) -> Statement:
        """Give the statement to sign; its subject is the statement that broke the glass."""
        predicate: dict[str, Json] = {
            "person": self.person,
            "glass": self.glass,
            "reason": self.reason,
            "issued": stamp(self.issued),
            "expires": stamp(self.expires),
            "nonce": self.nonce,
        }
        return Statement(
            predicate_type=RATIFICATION_TYPE,
            subject_name="break-glass",
            subject_digest=self.glass,
            predicate=predicate,
        )

    @classmethod
    def of(cls, statement: Statement) -> Ratification:
        """Read what was signed.

        Raises:
            ApprovalError: it does not have exactly the parts of such a statement, each of its form.
        """
        parts = JsonParts.of(statement.predicate, ApprovalError, _RATIFICATION_PARTS)
        if parts.value["glass"] != statement.subject_digest:
            raise ApprovalError("its subject is another statement than the one it ratifies")
        return cls(
            person=parts.matching("person", PERSON_FORM),
            glass=parts.matching("glass", DIGEST_FORM),
            reason=honest_text_of(parts, "reason"),
            issued=parts.moment("issued"),
            expires=parts.moment("expires"),
            nonce=parts.matching("nonce", NONCE_FORM),
        )


_GLASS_PARTS: Final = frozenset(
    {
        "person", "incident", "change", "paths", "hosts", "reason", "issued", "expires", "nonce",
    }
)  # fmt: skip
_RATIFICATION_PARTS: Final = frozenset({"person", "glass", "reason", "issued", "expires", "nonce"})


def _names(parts: JsonParts, key: str) -> tuple[str, ...]:
    """Read a list of names: sorted, each once, none that looks like something else."""
    names = parts.texts(key, _MOST_TEXT)
    if list(names) != sorted(set(names)) or not 1 <= len(names) <= _MOST_NAMES:
        raise ApprovalError(f"its {key} are no sorted list of 1 to {_MOST_NAMES} names")
    if any(not each or not each.isprintable() for each in names):
        raise ApprovalError(f"its {key} hold a name that cannot be shown")
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """A broken glass that two others have not looked at yet; `digest` is of what was signed."""

    digest: str
    entry: int
    person: str
    incident: str
    change: str
    paths: tuple[str, ...]
    opened: datetime
    due: datetime
    ratified_by: tuple[str, ...] = ()

    def is_overdue(self, now: datetime) -> bool:
        """Say whether it should have been ratified by now."""
        return now >= self.due


@dataclass(frozen=True, slots=True, kw_only=True)
class Debts:
    """What is owed: `open` still in time, `overdue` not; `recent` are the entries of the last seven days."""

    open: tuple[Debt, ...] = ()
    overdue: tuple[Debt, ...] = ()
    recent: tuple[int, ...] = ()

    @property
    def all(self) -> tuple[Debt, ...]:
        """All that is owed, the oldest first."""
        return tuple(sorted((*self.overdue, *self.open), key=lambda each: each.entry))

    def of(self, person: str) -> tuple[Debt, ...]:
        """Give what one person owes."""
        return tuple(each for each in self.all if each.person == person)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedStatement:
    """A statement as the ledger has it: entry, when it was recorded, the digest of what was signed, and its content."""

    entry: int
    when: datetime
    digest: str
    statement: Statement


def debts_of(entries: Iterable[LoggedStatement], now: datetime) -> Debts:
    """Fold the ledger's records of broken glass and ratifications, whatever else there is among them."""
    owed: dict[str, Debt] = {}
    recent: list[int] = []
    for logged in sorted(entries, key=lambda each: each.entry):
        if logged.statement.predicate_type == BREAK_GLASS_TYPE:
            glass = BreakGlass.of(logged.statement)
            if logged.when > now - WEEK:
                recent.append(logged.entry)
            owed.setdefault(logged.digest, _debt(logged, glass))
        elif logged.statement.predicate_type == RATIFICATION_TYPE:
            said = Ratification.of(logged.statement)
            debt = owed.get(said.glass)
            if debt is not None and said.person != debt.person:
                names = tuple(sorted({*debt.ratified_by, said.person}))
                owed[said.glass] = replace(debt, ratified_by=names)
    left = [each for each in owed.values() if len(each.ratified_by) < RATIFIERS]
    return Debts(
        open=tuple(each for each in left if not each.is_overdue(now)),
        overdue=tuple(each for each in left if each.is_overdue(now)),
        recent=tuple(recent),
    )


def _debt(logged: LoggedStatement, glass: BreakGlass) -> Debt:
    return Debt(
        digest=logged.digest,
        entry=logged.entry,
        person=glass.person,
        incident=glass.incident,
        change=glass.change.id,
        paths=glass.paths,
        opened=logged.when,
        due=logged.when + RATIFY_WITHIN,
    )
