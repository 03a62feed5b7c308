"""Which incidents are open? What people declared and ended, kept in the ledger of this machine and of the team.

Each event is one entry, signed by the machine key, with the account that spoke. An incident is open from its first
event until one that resolves it; what comes after that changes nothing, and an event about an incident that nobody
declared neither.

Not here: what an open incident stops (`policy`), finding incidents by alerts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from opsascode.errors import UsageError
from opsascode.policy import OpenIncident
from opsascode.proof import PREDICATE_PREFIX, Statement, canonical_bytes, seal, sha256_digest
from opsascode.run._ledger_records import ledger_records
from opsascode.run._record import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opsascode.proof import Json, PublicKey, Signer, TeamLog, TeamRecord
    from opsascode.run._record import Actor
    from opsascode.run._state import State

INCIDENT_EVENT: Final = f"{PREDICATE_PREFIX}incident-event:v1"
INCIDENT_ID: Final = re.compile(r"inc-[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
MOST_TITLE: Final = 200
MOST_NOTE: Final = 2000
LEAST_URGENT: Final = 4
_OPENED, _RESOLVED = "opened", "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An incident, and how it ended: when, by whom, and with which note."""

    opening: OpenIncident
    resolved: datetime | None = None
    resolved_by: str = ""
    note: str = ""

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON."""
        return {
            **self.opening.to_json(),
            "resolved": None if self.resolved is None else timestamp(self.resolved),
            "resolved_by": self.resolved_by,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentBook:
    """The incidents of one repository."""

    state: State
    repository: str
    keys: tuple[PublicKey, ...]
    team: TeamLog | None = None

    def incidents(self) -> tuple[Incident, ...]:
        """Give all incidents, the oldest first.

        Raises:
            LedgerError: the ledger is damaged, or not the one this machine knows.
        """
        return fold_incidents(
            ledger_records(self.state, (INCIDENT_EVENT,), keys=self.keys, team=self.team), self.repository
        )

    def open(self, service: str | None = None) -> tuple[OpenIncident, ...]:
        """Give the incidents that are open, of one service or of all."""
        return tuple(
            each.opening
            for each in self.incidents()
            if each.resolved is None and service in {None, each.opening.service}
        )

    def declare(self, opening: OpenIncident, actor: Actor, signer: Signer) -> int:
        """Record that an incident is open; gives its place in the ledger.

        Raises:
            UsageError: its rank or title cannot be.
        """
        if not 0 <= opening.rank <= LEAST_URGENT:
            raise UsageError(f"a rank is a number from 0, the worst, to {LEAST_URGENT}, not {opening.rank}")
        title = opening.title
        if not title.strip() or len(title) > MOST_TITLE or not title.isprintable():
            raise UsageError(f"a title is one line of at most {MOST_TITLE} characters")
        event: dict[str, Json] = {"service": opening.service, "rank": opening.rank, "title": title, "note": ""}
        return self._append(_OPENED, opening.id, event, actor, opening.opened, signer)

    def resolve(self, name: str, note: str, actor: Actor, signer: Signer, *, now: datetime) -> int:
        """Record that an open incident is over; gives its place in the ledger.

        Raises:
            UsageError: no such incident is open.
        """
        found = self.find(name)
        if found.resolved is not None:
            raise UsageError(f"the incident {found.opening.id} was resolved already, by {found.resolved_by}")
        if len(note) > MOST_NOTE:
            raise UsageError(f"a note of {len(note)} characters, and {MOST_NOTE} is the most")
        opening = found.opening
        about: dict[str, Json] = {"service": opening.service, "rank": opening.rank}
        event = {**about, "title": opening.title, "note": note}
        return self._append(_RESOLVED, opening.id, event, actor, now, signer)

    def find(self, name: str) -> Incident:
        """Find an incident by the beginning of its id, with or without `inc-`.

        Raises:
            UsageError: there is none, or more than one.
        """
        known = self.incidents()
        found = [each for each in known if name and each.opening.id.startswith((name, f"inc-{name}"))]
        if len(found) != 1:
            why = f"no incident {name!r} was declared" if not found else f"several incidents begin with {name!r}"
            raise UsageError(why, advice="opsascode incident list --all")
        return found[0]

    def _append(
        self, event: str, name: str, about: Mapping[str, Json], actor: Actor, at: datetime, signer: Signer
    ) -> int:
        with self.state.ledger(signer) as ledger:
            predicate: dict[str, Json] = {
                **about,
                "incident": name,
                "event": event,
                "actor": actor.to_json(),
                "at": timestamp(at),
                "repository": self.repository,
                "ledger": ledger.origin,
            }
            statement = Statement(
                predicate_type=INCIDENT_EVENT,
                subject_name=name,
                subject_digest=sha256_digest(canonical_bytes(predicate)),
                predicate=predicate,
            )
            return ledger.append(seal(statement, signer)).index


def fold_incidents(records: Iterable[TeamRecord], repository: str) -> tuple[Incident, ...]:
    """Tell which incidents there are from events in the order of the ledger; those of other repositories are not."""
    opened: dict[str, OpenIncident] = {}
    ended: dict[str, Mapping[str, Json]] = {}
    for one in records:
        event = one.record.statement.predicate
        name = event.get("incident")
        if event.get("repository") != repository or event.get("ledger") != one.ledger or not isinstance(name, str):
            continue
        if event.get("event") == _OPENED:
            opening = _opening(name, event)
            if opening is not None:
                opened.setdefault(name, opening)
        elif event.get("event") == _RESOLVED:
            ended.setdefault(name, event)
    found = (_incident(each, ended.get(each.id)) for each in opened.values())
    return tuple(sorted(found, key=lambda each: each.opening.opened))  # of one second, in the order of the ledger


def _opening(name: str, event: Mapping[str, Json]) -> OpenIncident | None:
    service, rank, title = event.get("service"), event.get("rank"), event.get("title")
    at = _moment(event)
    if not INCIDENT_ID.fullmatch(name) or not isinstance(service, str) or not isinstance(title, str) or at is None:
        return None
    if isinstance(rank, bool) or not isinstance(rank, int):
        return None
    return OpenIncident(id=name, service=service, rank=rank, title=title, opened=at, by=_user(event))


def _incident(opening: OpenIncident, end: Mapping[str, Json] | None) -> Incident:
    if end is None:
        return Incident(opening=opening)
    return Incident(
        opening=opening,
        resolved=_moment(end) or opening.opened,
        resolved_by=_user(end),
        note=str(end.get("note", "")),
    )


def _moment(event: Mapping[str, Json]) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(event.get("at")))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


def _user(event: Mapping[str, Json]) -> str:
    actor = event.get("actor")
    return str(actor.get("user", "")) if isinstance(actor, dict) else ""
