"""Is it sure enough that nothing newer is hidden from this machine, for something that needs privileges?

Whoever keeps the remote can show an old state of it for ever: then a person who was removed still approves here, and
what was revoked still counts. Where the trust root says how long the team's ledger may be unseen (`max_staleness`), it
is looked at right before a way back or down, before a glass is broken, and before a run that people must approve.

Rules: with a quorum of witnesses, that many must have cosigned the newest checkpoint within that time; their clocks
decide, and no remote's. Without one, this machine must have reached the remote within it: that finds a remote which is
cut off, and none which lies. What was found last counts while the remote cannot be reached. Where no ledger of the team
is named, nothing can be shown, so it is refused. The date of the newest commit is not asked: its author writes it, and
a quiet repository is not a hidden one.

Not here: whether the ledger continues what was seen before (`_team_ledger`, `proof`).
"""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from opsascode.errors import ResolveError
from opsascode.policy import Reason
from opsascode.proof import Code, CodedProofError, LedgerReader, canonical_bytes, newest_word, parse_strict
from opsascode.run._record import timestamp
from opsascode.run._team_ledger import TeamLedger

if TYPE_CHECKING:
    from pathlib import Path

    from opsascode.proof import Signer, TrustChain
    from opsascode.repo import Repository
    from opsascode.run._state import State

_FILE: Final = "team-seen.json"
_MOST_BYTES: Final = 4096
_SKEW: Final = timedelta(minutes=5)
_MEND: Final = "opsascode ledger sync; with witnesses, have the newest checkpoint cosigned: opsascode ledger checkpoint"


def staleness(
    repository: Repository, state: State, chain: TrustChain, signer: Signer, *, now: datetime
) -> Reason | None:
    """Say why what is known here may be too old for something that needs privileges; None where it is not.

    Raises:
        LedgerError: the team's ledger is not a continuation of what was seen here.
    """
    root = chain.current.root
    if root.max_staleness is None:
        return None
    team = TeamLedger.of(repository, state, signer, chain)
    if team is None:
        return _stale("the trust root asks how old the team's ledger is, and opsascode.yml names none")
    place = state.directory / _FILE
    try:
        seen, why = _look(team, state, signer, root.witness_quorum, now), ""
        _remember(place, team.log.origin, seen)
    except ResolveError as error:
        seen, why = _remembered(place, team.log.origin), f" ({error.message})"
    except CodedProofError as error:
        if error.code != Code.WITNESS:
            raise
        return Reason(code=error.code, message=error.message, source="trust root", mend=_MEND)
    if seen is not None and now - root.max_staleness <= seen <= now + _SKEW:
        return None
    hours = root.max_staleness // timedelta(hours=1)
    last = f"vouched for at {timestamp(seen)}" if seen else "never vouched for"
    return _stale(f"the team's ledger was last {last}{why}; {hours} hours ago is the most, as more may be hidden")


def _look(team: TeamLedger, state: State, signer: Signer, quorum: int, now: datetime) -> datetime | None:
    """Look at the remote; give the moment as of which it is known to be the whole ledger."""
    if quorum:
        return newest_word(team.witnessed(), team.witnesses, quorum)
    local = LedgerReader.read(state.ledger_directory, keys=(signer.public_key,)) if state.has_ledger() else None
    team.sync(local)
    return now


def _stale(message: str) -> Reason:
    return Reason(code=Code.LEDGER_STALE, message=message, source="trust root", mend=_MEND)


def _remember(place: Path, origin: str, seen: datetime | None) -> None:
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # then it is only not known when the remote cannot be reached
        draft.write_bytes(canonical_bytes({"ledger": origin, "seen": timestamp(seen) if seen else None}) + b"\n")
        draft.replace(place)


def _remembered(place: Path, origin: str) -> datetime | None:
    try:
        found = parse_strict(place.read_bytes(), max_bytes=_MOST_BYTES)
        if not isinstance(found, dict) or found.get("ledger") != origin:
            return None
        return datetime.fromisoformat(str(found.get("seen"))).astimezone(UTC)
    except (OSError, CodedProofError, ValueError):
        return None
