"""What did the protected ref hold before, told from Git's objects in a second or two?

The same answer as `past_of` gives, without reading twenty thousand trees: git's plumbing says what each commit changed
against its first parent, a table keeps from when to when each blob was at each path, and of all old texts only those
are read as documents that hold the words of what the candidate brings. The table can be kept between two questions;
then only new commits are asked for. What it says of the state that is trusted now must add up to that very tree.

Not here: the definition (`_past`), the table (`_past_index`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from opsascode.repo._analysis import analysis_key
from opsascode.repo._meaning import MEANING_VERSION, Unreadable, is_document, meanings, meanings_in
from opsascode.repo._objects import moment, readable_paths
from opsascode.repo._past import Concern, Past, Said, Seen, Span, Story, scope_seen
from opsascode.repo._past_index import Change, PastIndex, Row
from opsascode.repo._past_words import words_of
from opsascode.repo._snapshot import UnsafeRepositoryError, is_protected, literal_starts
from opsascode.repo._source import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from opsascode.repo._objects import ObjectStore
    from opsascode.repo._snapshot import Snapshot

_NO_MODE = "000000"


def gather_past(  # noqa: PLR0913 - what is asked of what, within which time, with which help
    store: ObjectStore,
    old_commit: str,
    protected: Sequence[str],
    candidate: Snapshot,
    *,
    window: timedelta | None = None,
    now: datetime | None = None,
    index: Path | None = None,
) -> Past:
    """Tell what was superseded up to a commit, as far as it concerns a candidate.

    Values only within `window` before `now`, if both are given. `index` is a directory of the user's own for what may
    be kept.

    Raises:
        UnsafeRepositoryError: what git says of the line does not add up.
    """
    name = hashlib.sha256("\0".join((str(store.directory), *sorted(protected))).encode()).hexdigest()[:24]
    place = None if index is None else index / f"past-{name}.index"
    with PastIndex(place, f"{MEANING_VERSION} {analysis_key()}") as table:
        at = _Gathering(store=store, table=table, protected=protected).reach(old_commit)
        since = None if window is None or now is None else now - window
        return _Telling(table, at).told(candidate, since)


class _Gathering:
    """Brings the table up to a commit."""

    def __init__(self, *, store: ObjectStore, table: PastIndex, protected: Sequence[str]) -> None:
        self._store, self._table, self._protected = store, table, protected

    def reach(self, commit: str) -> int:
        """Give the commit's place in the table, having added what was missing."""
        entries = [(each.path, each.mode, each.oid) for each in self._store.entries(commit, self._protected)]
        at = self._known(commit)
        if at is not None and self._table.is_scope(at, entries):
            return at
        self._table.begin_anew()
        at = self._known(commit)
        if at is None or not self._table.is_scope(at, entries):
            message = "what git says of this repository's history does not lead to what it says the commit holds"
            raise UnsafeRepositoryError("E_REPO_UNSAFE", message, advice="git fsck tells what is damaged")
        return at

    def _known(self, commit: str) -> int | None:
        at = self._table.place_of(commit)
        if at is not None:
            return at
        tip = self._table.tip()
        line = self._store.line(commit, None if tip is None else tip[1])
        if not line:
            return None
        first = 0 if tip is None else tip[0] + 1
        places = {each: place for place, (each, _, _) in enumerate(line, start=first)}
        told = self._store.changes(line, self._tops())
        paths: dict[str, set[str]] = {}
        changes = list(self._changes(told, places, paths))
        arrived = self._table.extend([(each, second) for each, _, second in line], changes)
        self._read(sorted({oid for oid in arrived if any(is_document(path) for path in paths[oid])}))
        return self._table.place_of(commit)

    def _tops(self) -> list[str] | None:
        starts = literal_starts(self._protected)
        return None if starts is None else sorted({each.partition("/")[0] for each in starts})

    def _changes(self, told: bytes, places: Mapping[str, int], paths: dict[str, set[str]]) -> Iterator[Change]:
        """Read what git's plumbing says of the commits: an id, then for each path what was and what is."""
        words = iter(readable_paths(told).split("\0"))
        place = 0
        for word in words:
            if not word.startswith(":"):
                place = places.get(word, place)
                continue
            path = next(words)
            if not is_protected(path, self._protected):
                continue
            old_mode, mode, old, oid, _ = word[1:].split(" ")
            if mode != _NO_MODE:
                paths.setdefault(oid, set()).add(path)
            yield Change(
                place,
                path,
                None if old_mode == _NO_MODE else (old_mode, old),
                None if mode == _NO_MODE else (mode, oid),
            )

    def _read(self, oids: Sequence[str]) -> None:
        """Read the texts of documents; what no reader would take is left out."""
        sizes = self._store.sizes(oids)
        wanted = [oid for oid in oids if sizes.get(oid, MAX_BYTES + 1) <= MAX_BYTES]
        self._table.add_texts(self._store.blobs(self._table.unknown_texts(wanted)))


class _Telling:
    """Tells what the table knows as of a place."""

    def __init__(self, table: PastIndex, at: int) -> None:
        self._table, self._at = table, at
        self._texts: Mapping[str, bytes] = {}
        self._said: dict[str, tuple[Said, ...]] = {}

    def told(self, candidate: Snapshot, since: datetime | None) -> Past:
        """Tell what concerns a candidate."""
        concern = Concern.of(candidate, self._table.at(self._at))
        readable = [each for each in concern.files if not isinstance(meanings(each), Unreadable)]
        texts = self._table.search([words for each in readable for words in words_of(each)])
        self._texts = texts
        rows = self._table.rows(texts.keys() | {each.oid for each in concern.files}, self._at)
        commits = self._table.commits({each for row in rows for each in (row.place, row.ended) if each is not None})
        story = Story(
            concern=concern,
            spans=[_span(row, commits) for row in rows],
            says=lambda span: self._says(span) if span.oid in texts else (),
            since=since,
        )
        return story.told(self._scopes(candidate))

    def _says(self, span: Span) -> tuple[Said, ...]:
        if not is_document(span.path):
            return ()
        if span.oid not in self._said:
            remembered = self._table.said(span.oid)
            if remembered is None:
                found = meanings_in(span.path, self._texts[span.oid])
                said = () if isinstance(found, Unreadable) else tuple(Said.of(each) for each in found)
                self._table.remember(span.oid, [_plain(each) for each in said])
            else:
                said = tuple(_from_plain(each) for each in remembered)
            self._said[span.oid] = said
        return self._said[span.oid]

    def _scopes(self, candidate: Snapshot) -> dict[str, Seen]:
        entries = [(each.path, each.mode, each.oid) for each in candidate.files.values()]
        if self._table.is_scope(self._at, entries):
            return {}
        found = self._table.scope_before(self._at, entries)
        if found is None:
            return {}
        commits = self._table.commits(found)
        brought, (ended, second) = commits[found[0]][0], commits[found[1]]
        return {candidate.digest: scope_seen(brought, ended, moment(second))}


def _span(row: Row, commits: Mapping[int, tuple[str, int]]) -> Span:
    brought = commits[row.place][0]
    if row.ended is None:
        return Span(path=row.path, oid=row.oid, commit=brought, place=row.place)
    ended, second = commits[row.ended]
    return Span(
        path=row.path,
        oid=row.oid,
        commit=brought,
        place=row.place,
        ended=ended,
        ended_place=row.ended,
        ended_when=moment(second),
    )


def _plain(said: Said) -> Any:  # noqa: ANN401 - what JSON can hold
    values = [[list(path), value] for path, value in said.values.items()]
    about = [said.kind, said.name, said.version, said.digest, said.nameless]
    return [*about, dict(said.rules), values, [list(path) for path in said.protected]]


def _from_plain(plain: Any) -> Said:  # noqa: ANN401 - what JSON can hold
    kind, name, version, digest, nameless, rules, values, protected = plain
    return Said(
        kind=kind,
        name=name,
        version=version,
        digest=digest,
        nameless=nameless,
        rules=rules,
        values={tuple(path): value for path, value in values},
        protected=frozenset(tuple(path) for path in protected),
    )
