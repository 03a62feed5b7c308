"""Which records of these kinds are there, wherever they were made?

Those of the team's log, in its order, and behind them those of this machine that are not in it yet; each once. What was
read before is remembered by kind, so that only the records asked for are opened; they are verified each time. The notes
are signed with this machine's key: a place that is left out of them would hide a record.

Not here: what the records mean.
"""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING

from opsascode.errors import OpsError
from opsascode.proof import (
    Bookmark,
    CodedLedgerError,
    CodedProofError,
    LedgerReader,
    TeamRecord,
    canonical_bytes,
    parse_strict,
    pre_authentication,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from opsascode.proof import Json, PublicKey, TeamLog
    from opsascode.run._state import State

_MAX_NOTES = 1 << 30
_NOTES_TYPE = "application/vnd.opsascode.kinds+json"


def ledger_records(
    state: State, kinds: Collection[str], *, keys: Sequence[PublicKey], team: TeamLog | None = None
) -> Iterator[TeamRecord]:
    """Give the verified records of these predicate types; `keys` are those of this machine's own ledger.

    Raises:
        LedgerError: an entry is not what was signed.
    """
    seen: set[str] = set()
    if team is not None:
        for one in team.records(kinds):
            if one.record.digest not in seen:
                seen.add(one.record.digest)
                yield one
    if not state.has_ledger():
        return
    local = LedgerReader.read(state.ledger_directory, keys=keys)
    known = team.known(local.origin) if team is not None else 0
    notes = _Notes(state, keys)
    for logged in local.pick([at for at in _places(local, kinds, notes) if at >= known]):
        if logged.record.digest not in seen:
            seen.add(logged.record.digest)
            yield TeamRecord(ledger=local.origin, index=logged.index, team_index=None, record=logged.record)


def _places(ledger: LedgerReader, kinds: Collection[str], notes: _Notes) -> list[int]:
    """Say where in the ledger records of these kinds are, reading what was not read before."""
    bookmark, places = notes.read()
    try:
        unread = ledger.unread(bookmark)
        fresh = [(logged.index, logged.record.statement.predicate_type) for logged in unread]
        read = unread.bookmark()
    except CodedLedgerError:
        if bookmark is None:
            raise
        places, unread = {}, ledger.unread(None)  # the notes were of another ledger, or were changed
        fresh = [(logged.index, logged.record.statement.predicate_type) for logged in unread]
        read = unread.bookmark()
    for index, kind in fresh:
        places.setdefault(kind, []).append(index)
    if fresh:
        notes.write(read, places)
    return sorted(at for kind in set(kinds) for at in places.get(kind, ()))


class _Notes:
    """What is remembered beside the ledger, under a signature of this machine's key."""

    def __init__(self, state: State, keys: Sequence[PublicKey]) -> None:
        self._state, self._keys = state, keys
        self._place = state.directory / "kinds.json"

    def read(self) -> tuple[Bookmark | None, dict[str, list[int]]]:
        """Give what was read before; nothing where it cannot be believed."""
        try:
            signature, _, content = self._place.read_bytes().partition(b"\n")
            message = pre_authentication(_NOTES_TYPE, content)
            if not any(key.verify(message, bytes.fromhex(signature.decode())) for key in self._keys):
                return None, {}
            return _read_content(content)
        except (OSError, CodedProofError, KeyError, TypeError, ValueError):
            return None, {}

    def write(self, read: Bookmark, places: dict[str, list[int]]) -> None:
        """Remember what was read; where that cannot be, it is read again next time."""
        content = _write_content(read, places)
        draft = self._place.with_name(f".{self._place.name}.{os.getpid()}")
        with suppress(OSError, OpsError):
            signature = self._state.signer(os.environ).sign(pre_authentication(_NOTES_TYPE, content))
            draft.write_bytes(signature.hex().encode() + b"\n" + content)
            draft.replace(self._place)


def _read_content(content: bytes) -> tuple[Bookmark | None, dict[str, list[int]]]:
    found = parse_strict(content, max_bytes=_MAX_NOTES)
    about, steps = (found["bookmark"], found["kinds"]) if isinstance(found, dict) else (None, None)
    if not isinstance(about, dict) or not isinstance(steps, dict):
        return None, {}
    bookmark = Bookmark(
        origin=str(about["origin"]),
        size=_number(about["size"]),
        peaks=bytes.fromhex(str(about["peaks"])),
        segment=_number(about["segment"]),
        offset=_number(about["offset"]),
    )
    return bookmark, {kind: _places_of(each) for kind, each in steps.items()}


def _write_content(read: Bookmark, places: dict[str, list[int]]) -> bytes:
    # Places are kept as steps, which are short.
    steps: dict[str, Json] = {
        kind: [at - before for before, at in zip((0, *each), each, strict=False)] for kind, each in places.items()
    }
    about: Json = {
        "origin": read.origin,
        "size": read.size,
        "peaks": read.peaks.hex(),
        "segment": read.segment,
        "offset": read.offset,
    }
    return canonical_bytes({"bookmark": about, "kinds": steps})


def _number(found: Json) -> int:
    if type(found) is not int:
        raise TypeError(found)
    return found


def _places_of(steps: Json) -> list[int]:
    if not isinstance(steps, list):
        raise TypeError(steps)
    return list(accumulate(map(_number, steps)))
