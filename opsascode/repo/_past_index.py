"""What was at each protected path, and when: a table that only grows, kept between two questions.

The table is made in memory from Git's objects. It is written as one file after the digest of its bytes and read back
only when that digest is right, the file and its directory are the user's own and nobody else can write there, and it is
of this very code, repository and protected set. So whatever damages it only means that it is made anew, and two who
write at once do not meet. Deleting it loses nothing.

Not here: what is asked of it (`_past_git`), and what documents mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import stat
import tempfile
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, TypeAlias

from opsascode.repo._past_words import holds, veils_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opsascode.repo._past_words import Words

_MOST_BYTES: Final = 1024 * 1024 * 1024
_DIGEST: Final = 32
_SAMPLE: Final = 65536
_SPACE: Final = 1 << 256
_TABLES: Final = """
CREATE TABLE about (key TEXT);
CREATE TABLE line (place INTEGER PRIMARY KEY, id TEXT UNIQUE, second INTEGER);
CREATE TABLE span (id INTEGER PRIMARY KEY, path TEXT, oid TEXT, place INTEGER, ended INTEGER);
CREATE TABLE scope (place INTEGER PRIMARY KEY, sum BLOB);
CREATE TABLE chunk (id INTEGER PRIMARY KEY, data BLOB);
CREATE TABLE text (oid TEXT PRIMARY KEY, chunk INTEGER, start INTEGER, size INTEGER, veiled INTEGER) WITHOUT ROWID;
CREATE TABLE said (oid TEXT PRIMARY KEY, said TEXT) WITHOUT ROWID;
"""
_ORDERS: Final = (
    "CREATE INDEX IF NOT EXISTS span_oid ON span (oid)",
    "CREATE INDEX IF NOT EXISTS scope_sum ON scope (sum)",
)


_Listed: TypeAlias = tuple[int, int, str, int]  # start, size, blob, whether veiled


class Row(NamedTuple):
    """One blob at one path: from which place in the line, to which, if it ended there."""

    path: str
    oid: str
    place: int
    ended: int | None


class Change(NamedTuple):
    """What one commit did to one path: mode and blob before and after, None where there was none."""

    place: int
    path: str
    before: tuple[str, str] | None
    after: tuple[str, str] | None


class PastIndex:
    """The table of one line of commits; places count its commits from 0."""

    def __init__(self, place: Path | None, key: str) -> None:
        """Read what is kept at a path, if it can be believed and is of this key, or begin anew."""
        self._file, self._key = place, key
        kept = None if place is None else _read(place)
        self._tables = _loaded(kept, key) if kept is not None else None
        self._changed = self._tables is None
        if self._tables is None:
            self._tables = _begun(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Keep what is new, unless something went wrong."""
        self._db.execute("COMMIT")
        if kind is None and self._changed and self._file is not None:
            _write(self._file, self._db.serialize())
        self._db.close()

    @property
    def _db(self) -> sqlite3.Connection:
        if self._tables is None:
            msg = "the table is closed"
            raise ValueError(msg)
        return self._tables

    def begin_anew(self) -> None:
        """Forget everything."""
        self._db.close()
        self._tables, self._changed = _begun(self._key), True

    def tip(self) -> tuple[int, str] | None:
        """Give the place and id of the newest commit."""
        found: tuple[int, str] | None = self._db.execute("SELECT place, id FROM line ORDER BY place DESC").fetchone()
        return found

    def place_of(self, commit: str) -> int | None:
        """Tell where on the line a commit is."""
        found = self._db.execute("SELECT place FROM line WHERE id = ?", (commit,)).fetchone()
        return None if found is None else int(found[0])

    def commits(self, places: Iterable[int]) -> dict[int, tuple[str, int]]:
        """Give id and second of the commits at some places."""
        found = {}
        for place in set(places):
            found[place] = self._db.execute("SELECT id, second FROM line WHERE place = ?", (place,)).fetchone()
        return found

    def extend(self, line: Sequence[tuple[str, int]], changes: Iterable[Change]) -> set[str]:
        """Add the commits that follow, and what they changed; gives the blobs that are new here."""
        self._changed = True
        first = self._count("SELECT count(*) FROM line")
        latest = self._count("SELECT coalesce(max(second), 0) FROM line")
        rows = []
        for place, (commit, second) in enumerate(line, start=first):
            latest = max(latest, second)
            rows.append((place, commit, latest))
        self._db.executemany("INSERT INTO line VALUES (?, ?, ?)", rows)
        spans = _Spans(self.at(first - 1), self._sum(first - 1), first)
        for change in changes:
            spans.take(change)
        self._db.executemany("UPDATE span SET ended = ? WHERE path = ? AND ended IS NULL", spans.closed)
        self._db.executemany("INSERT INTO span (path, oid, place, ended) VALUES (?, ?, ?, ?)", spans.rows())
        self._db.executemany("INSERT OR REPLACE INTO scope VALUES (?, ?)", spans.scopes())
        for order in _ORDERS:  # after the rows: so it takes half the time
            self._db.execute(order)
        return spans.blobs

    def at(self, place: int) -> dict[str, str]:
        """Give the blobs of all paths as of a place."""
        question = "SELECT path, oid FROM span WHERE place <= ? AND (ended IS NULL OR ended > ?)"
        return dict(self._db.execute(question, (place, place)))

    def is_scope(self, place: int, entries: Iterable[tuple[str, str, str]]) -> bool:
        """Tell whether the protected set as of a place is this one, of path, mode and blob."""
        return self._sum(place) == sum_of(entries)

    def scope_before(self, place: int, entries: Iterable[tuple[str, str, str]]) -> tuple[int, int] | None:
        """Find the last time before a place that the protected set was this one: from where, to where."""
        total = _packed(sum_of(entries))
        found = self._db.execute(
            "SELECT one.place, (SELECT min(place) FROM scope WHERE place > one.place) AS ended FROM scope AS one"
            " WHERE sum = ? AND ended <= ? ORDER BY one.place DESC",
            (total, place),
        ).fetchone()
        return None if found is None else (int(found[0]), int(found[1]))

    def rows(self, oids: Iterable[str], place: int) -> list[Row]:
        """Give where blobs were, as of a place."""
        question = "SELECT path, oid, place, ended FROM span WHERE oid = ? AND place <= ?"
        found = [Row(*each) for oid in set(oids) for each in self._db.execute(question, (oid, place))]
        return [each._replace(ended=None) if each.ended and each.ended > place else each for each in found]

    def unknown_texts(self, oids: Iterable[str]) -> list[str]:
        """Tell which texts are not kept here."""
        known = {oid for (oid,) in self._db.execute("SELECT oid FROM text")}
        return [each for each in oids if each not in known]

    def add_texts(self, texts: Mapping[str, bytes]) -> None:
        """Keep texts by their blobs, all in one piece: that is searched in no time."""
        if not texts:
            return
        self._changed = True
        chunk = self._count("SELECT count(*) FROM chunk")
        listed: list[_Listed] = []
        start = 0
        for oid, text in texts.items():
            listed.append((start, len(text), oid, 0))
            start += len(text) + 1
        data = b"\0".join(texts.values()) + b"\0"
        veiled = _holding(*veils_in(data), listed)
        rows = ((row[2], chunk, row[0], row[1], row in veiled) for row in listed)
        self._db.executemany("INSERT OR REPLACE INTO text VALUES (?, ?, ?, ?, ?)", rows)
        self._db.execute("INSERT INTO chunk VALUES (?, ?)", (chunk, data))

    def search(self, wanted: Sequence[Words]) -> dict[str, bytes]:
        """Find the texts that hold all words of one of the sets, or are veiled."""
        found: dict[str, bytes] = {}
        for chunk, data in self._db.execute("SELECT id, data FROM chunk") if wanted else ():
            listed = self._db.execute(
                "SELECT start, size, oid, veiled FROM text WHERE chunk = ? ORDER BY start", (chunk,)
            ).fetchall()
            rarest = {_rarest(words, data) for words in wanted}
            likely = set(listed) if b"" in rarest else _holding(data, rarest, listed)
            likely.update(row for row in listed if row[3])
            for start, size, oid, veiled in likely:
                text = data[start : start + size]
                if veiled or holds(text, wanted):
                    found[oid] = text
        return found

    def said(self, oid: str) -> Any:  # noqa: ANN401 - any plain value
        """Give what was remembered of a text, None for nothing."""
        found = self._db.execute("SELECT said FROM said WHERE oid = ?", (oid,)).fetchone()
        return None if found is None else json.loads(found[0])

    def remember(self, oid: str, said: Any) -> None:  # noqa: ANN401 - any plain value
        """Keep what a text says."""
        self._changed = True
        self._db.execute("INSERT OR REPLACE INTO said VALUES (?, ?)", (oid, json.dumps(said, separators=(",", ":"))))

    def _sum(self, place: int) -> int:
        found = self._db.execute(
            "SELECT sum FROM scope WHERE place <= ? ORDER BY place DESC LIMIT 1", (place,)
        ).fetchone()
        return 0 if found is None else int.from_bytes(found[0])

    def _count(self, question: str, *words: str) -> int:
        return int(self._db.execute(question, words).fetchone()[0])


def _rarest(words: Words, data: bytes) -> bytes:
    """Choose the word that is rarest in a sample; nothing for a set without words."""
    sample = data[:_SAMPLE] + data[len(data) // 2 :][:_SAMPLE]
    return min((each.data for each in words), key=lambda each: (sample.count(each), -len(each), each), default=b"")


def _holding(data: bytes, words: Iterable[bytes], listed: Sequence[_Listed]) -> set[_Listed]:
    """Find the texts, of those that were joined into one piece, that hold one of the words."""
    starts = [row[0] for row in listed]
    found: set[_Listed] = set()
    for word in words:
        at = data.find(word)
        while at >= 0:
            row = listed[bisect_right(starts, at) - 1]
            found.add(row)
            at = data.find(word, row[0] + row[1])
    return found


class _Spans:
    """Follows paths through changes."""

    def __init__(self, still: Mapping[str, str], total: int, first: int) -> None:
        self.closed: list[tuple[int, str]] = []
        self.blobs: set[str] = set()
        self._before = dict(still)
        self._still: dict[str, tuple[str, int]] = {}
        self._ended: list[tuple[str, str, int, int | None]] = []
        self._total = total
        self._scopes: dict[int, int] = {} if first else {0: 0}

    def take(self, change: Change) -> None:
        """Take the next change of a path."""
        place, path, before, after = change
        for sign, side in ((-1, before), (1, after)):
            if side is not None:
                self._total = (self._total + sign * _element(path, *side)) % _SPACE
        self._scopes[place] = self._total
        oid = None if after is None else after[1]
        known = self._before.get(path) or self._still.get(path, (None, 0))[0]
        if known == oid:
            return
        if path in self._before:
            del self._before[path]
            self.closed.append((place, path))
        elif path in self._still:
            self._ended.append((path, *self._still.pop(path), place))
        if oid is not None:
            self._still[path] = oid, place
            self.blobs.add(oid)

    def rows(self) -> list[tuple[str, str, int, int | None]]:
        """Give all new spans."""
        return [*self._ended, *((path, oid, place, None) for path, (oid, place) in self._still.items())]

    def scopes(self) -> list[tuple[int, bytes]]:
        """Give the sum as of each place where it changed."""
        return [(place, _packed(total)) for place, total in self._scopes.items()]


def sum_of(entries: Iterable[tuple[str, str, str]]) -> int:
    """Name a protected set, of path, mode and blob, by a sum that changes as its entries do.

    Two sets could be made to have one sum, at great cost; then one would be taken for the other's return, never the
    other way round.
    """
    return sum(_element(*each) for each in entries) % _SPACE


def _element(path: str, mode: str, oid: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{mode} {oid} {path}".encode(errors="surrogateescape")).digest())


def _packed(total: int) -> bytes:
    return total.to_bytes(_DIGEST)


def _begun(key: str) -> sqlite3.Connection:
    tables = sqlite3.connect(":memory:", isolation_level=None)
    tables.executescript(_TABLES)
    tables.execute("INSERT INTO about VALUES (?)", (key,))
    tables.execute("BEGIN")
    return tables


def _loaded(kept: bytes, key: str) -> sqlite3.Connection | None:
    """Give the table that was kept, if it is of this key."""
    tables = sqlite3.connect(":memory:", isolation_level=None)
    try:
        tables.deserialize(kept)
        if tables.execute("SELECT key FROM about").fetchone() == (key,):
            tables.execute("BEGIN")
            return tables
    except sqlite3.Error:
        pass
    tables.close()
    return None


def _read(place: Path) -> bytes | None:
    """Read a file that only the user can have written, and that is whole; anything else is not there."""
    try:
        if not _is_private(place.parent):
            return None
        handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(handle, "rb") as stream:  # noqa: PTH123 - opened above, without following
            state = os.fstat(handle)
            ours = state.st_uid == os.geteuid() and not state.st_mode & 0o022 and stat.S_ISREG(state.st_mode)
            if not ours or state.st_size > _MOST_BYTES:
                return None
            digest, data = stream.read(_DIGEST), stream.read()
    except OSError:
        return None
    return data if hashlib.sha256(data).digest() == digest else None


def _write(place: Path, data: bytes) -> None:
    """Keep bytes after their digest, in one go; where that cannot be, nothing is kept."""
    with contextlib.suppress(OSError):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(place.parent):
            return
        handle, name = tempfile.mkstemp(dir=place.parent, prefix=".past-")  # 0600
        try:
            with open(handle, "wb") as stream:  # noqa: PTH123 - opened by mkstemp
                stream.write(hashlib.sha256(data).digest() + data)
            Path(name).replace(place)
        except OSError:
            Path(name).unlink(missing_ok=True)


def _is_private(directory: Path) -> bool:
    """Tell whether only the user can write in a directory, which is no link."""
    state = directory.lstat()
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid() and not state.st_mode & 0o077
