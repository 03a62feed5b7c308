"""What was there before on the protected ref, and is not any more, of all that a candidate brings?

States are those of the line of first parents up to the state that is trusted now (OLD): what a merge brought counts as
it came to the line. Something is *superseded* when a state had it and OLD does not have it: bytes at their path, a
document's meaning anywhere. Only what concerns the candidate is told: the files it has other than OLD, and the
documents in them.

`past_of` is the plain definition, over snapshots. `_past_git` answers the same from Git's objects, quickly.

Not here: what follows from it (`policy`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from opsascode.repo._meaning import Unreadable, meanings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

    from opsascode.repo._form import FieldPath
    from opsascode.repo._meaning import DocumentMeaning
    from opsascode.repo._snapshot import ProtectedFile, Snapshot

DocumentKey: TypeAlias = tuple[str, str]  # kind and name
ValueKey: TypeAlias = "tuple[str, str, FieldPath]"  # kind, name and path of the field


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Where something was last: its path, the commit that brought it, the commit that superseded it, and when.

    `when` is what that commit says, but never earlier than what the commits before it say. `what` is for people.
    """

    path: str
    commit: str
    superseded_by: str
    when: datetime
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What was superseded, as far as it concerns one candidate.

    `scopes` by scope digest, `files` by the SHA-256 of their bytes, `documents`, `nameless` and `rules` by the digests
    of their meanings. `values` are protected leaves of documents the candidate changes, other than OLD's, newest first;
    None stands for no value. `versions` are all that a document of that name ever had, OLD's included, oldest first.
    """

    scopes: Mapping[str, Seen] = field(default_factory=dict)
    files: Mapping[str, Seen] = field(default_factory=dict)
    documents: Mapping[str, Seen] = field(default_factory=dict)
    nameless: Mapping[str, Seen] = field(default_factory=dict)
    rules: Mapping[str, Seen] = field(default_factory=dict)
    values: Mapping[ValueKey, tuple[tuple[Any, Seen], ...]] = field(default_factory=dict)
    versions: Mapping[DocumentKey, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One state of the ref: its protected set, and when its commit says it was made."""

    snapshot: Snapshot
    when: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One blob at one path, from the commit that brought it to the one that superseded it; places count the states."""

    path: str
    oid: str
    commit: str
    place: int
    ended: str | None = None
    ended_place: int = -1
    ended_when: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is compared of a document's meaning."""

    kind: str
    name: str
    version: str | None
    digest: str
    nameless: str
    rules: Mapping[str, str]
    values: Mapping[FieldPath, Any]
    protected: frozenset[FieldPath]

    @property
    def key(self) -> DocumentKey:
        """Its kind and name."""
        return self.kind, self.name

    @classmethod
    def of(cls, meaning: DocumentMeaning) -> Said:
        """Take it from the whole meaning."""
        return cls(
            kind=meaning.kind,
            name=meaning.name,
            version=meaning.version,
            digest=meaning.digest,
            nameless=meaning.nameless,
            rules=meaning.rules,
            values={path: meaning.leaves[path] for path in meaning.protected if path in meaning.leaves},
            protected=meaning.protected,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """What of a candidate is not as in OLD: the files, and what the documents in them say."""

    files: tuple[ProtectedFile, ...]
    documents: tuple[Said, ...]

    @classmethod
    def of(cls, candidate: Snapshot, old: Mapping[str, str]) -> Concern:
        """Find it; `old` gives OLD's blobs by path."""
        files = tuple(each for path, each in candidate.files.items() if old.get(path) != each.oid)
        return cls(files=files, documents=tuple(said for each in files for said in said_in(each)))


def said_in(file: ProtectedFile) -> tuple[Said, ...]:
    """Give what the documents of a file say; nothing where nobody can tell."""
    found = meanings(file)
    return () if isinstance(found, Unreadable) else tuple(Said.of(each) for each in found)


def past_of(
    states: Sequence[State], candidate: Snapshot, *, window: timedelta | None = None, now: datetime | None = None
) -> Past:
    """Say it plainly: `states` from the first to OLD, the last; values only within `window` before `now`, if given."""
    if not states:
        return Past()
    blobs = {each.oid: each for state in states for each in state.snapshot.files.values()}
    old = {path: each.oid for path, each in states[-1].snapshot.files.items()}
    story = Story(
        concern=Concern.of(candidate, old),
        spans=tuple(_spans(states)),
        says=lambda span: said_in(blobs[span.oid]),
        since=None if window is None or now is None else now - window,
    )
    return story.told(_scopes(states, candidate))


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All spans that may matter, to be told as far as they concern the candidate."""

    concern: Concern
    spans: Sequence[Span]
    says: Callable[[Span], Sequence[Said]]
    since: datetime | None

    def told(self, scopes: Mapping[str, Seen]) -> Past:
        """Tell it, newest first wherever one thing was seen more than once."""
        ended = sorted((each for each in self.spans if each.ended), key=_newest)
        still = [each for each in self.spans if not each.ended]
        said = [(span, each) for span in ended for each in self.says(span)]
        now = [(span, each) for span in still for each in self.says(span)]
        wanted = self.concern.documents
        return Past(
            scopes=scopes,
            files=self._files(ended, {each.oid for each in still}),
            documents=_digests(said, now, wanted, lambda each: {each.digest: _named(each)}),
            nameless=_digests(said, now, wanted, lambda each: {each.nameless: _named(each)}),
            rules=_digests(
                said,
                now,
                wanted,
                lambda each: {digest: f"{rule} of {_named(each)}" for rule, digest in each.rules.items()},
            ),
            values=self._values(said, [each for _, each in now]),
            versions=_versions([*said, *now], wanted),
        )

    def _files(self, ended: Iterable[Span], still: set[str]) -> dict[str, Seen]:
        """Give bytes that stood at that very path, or anywhere and nowhere now."""
        found: dict[str, Seen] = {}
        wanted: dict[str, list[ProtectedFile]] = {}
        for file in self.concern.files:
            wanted.setdefault(file.oid, []).append(file)
        for span in ended:
            for file in wanted.get(span.oid, ()):
                if file.path == span.path or span.oid not in still:
                    found.setdefault(file.digest, seen(span, span.path))
        return found

    def _values(
        self, said: Iterable[tuple[Span, Said]], now: Iterable[Said]
    ) -> dict[ValueKey, tuple[tuple[Any, Seen], ...]]:
        """Give the protected leaves that had other values than now, each value where it was last."""
        protected: dict[DocumentKey, set[FieldPath]] = {}
        for each in self.concern.documents:
            protected.setdefault(each.key, set()).update(each.protected)
        current: dict[DocumentKey, list[Said]] = {}
        for each in now:
            current.setdefault(each.key, []).append(each)
        found: dict[ValueKey, list[tuple[Any, Seen]]] = {}
        for span, each in said:
            if each.key not in protected or (self.since and span.ended_when and span.ended_when < self.since):
                continue
            for path in protected[each.key] | each.protected:
                value = each.values.get(path)
                told = found.setdefault((*each.key, path), [])
                known = [other for other, _ in told] + [one.values.get(path) for one in current.get(each.key, ())]
                if not any(_same(value, other) for other in known):
                    told.append((value, seen(span, f"{'.'.join(map(str, path))} of {_named(each)}")))
        return {key: tuple(told) for key, told in found.items() if told}


def seen(span: Span, what: str) -> Seen:
    """Say where something was that ended."""
    if span.ended is None or span.ended_when is None:
        msg = f"{span.path} is still there"
        raise ValueError(msg)
    return Seen(path=span.path, commit=span.commit, superseded_by=span.ended, when=span.ended_when, what=what)


def _digests(
    said: Iterable[tuple[Span, Said]],
    now: Iterable[tuple[Span, Said]],
    wanted: Iterable[Said],
    named: Callable[[Said], Mapping[str, str]],
) -> dict[str, Seen]:
    """Give what was said, is said again by the candidate, and is not said now."""
    again = {digest for each in wanted for digest in named(each)} - {
        digest for _, each in now for digest in named(each)
    }
    found: dict[str, Seen] = {}
    for span, each in said:
        for digest, what in named(each).items():
            if digest in again and digest not in found:
                found[digest] = seen(span, what)
    return found


def _versions(said: Iterable[tuple[Span, Said]], wanted: Iterable[Said]) -> dict[DocumentKey, tuple[str, ...]]:
    keys = {each.key for each in wanted}
    found: dict[DocumentKey, dict[str, None]] = {}
    for _, each in sorted(said, key=lambda pair: (pair[0].place, pair[0].path)):
        if each.key in keys and each.version is not None:
            found.setdefault(each.key, {}).setdefault(each.version)
    return {key: tuple(versions) for key, versions in found.items()}


def _spans(states: Sequence[State]) -> Iterator[Span]:
    """Follow each path through the states."""
    still: dict[str, Span] = {}
    latest = states[0].when
    for place, state in enumerate(states):
        latest = max(latest, state.when)
        files, commit = state.snapshot.files, state.snapshot.commit
        for path, span in list(still.items()):
            if path not in files or files[path].oid != span.oid:
                yield Span(
                    path=path,
                    oid=span.oid,
                    commit=span.commit,
                    place=span.place,
                    ended=commit,
                    ended_place=place,
                    ended_when=latest,
                )
                del still[path]
        for path, file in files.items():
            if path not in still:
                still[path] = Span(path=path, oid=file.oid, commit=commit, place=place)
    yield from still.values()


def _scopes(states: Sequence[State], candidate: Snapshot) -> dict[str, Seen]:
    """Find the last time that the whole protected set was the candidate's."""
    if states[-1].snapshot.digest == candidate.digest:
        return {}
    found: dict[str, Seen] = {}
    brought, latest = states[0].snapshot.commit, states[0].when
    for before, after in pairwise(states):
        latest = max(latest, after.when)
        if before.snapshot.digest == after.snapshot.digest:
            continue
        if before.snapshot.digest == candidate.digest:
            found[candidate.digest] = scope_seen(brought, after.snapshot.commit, latest)
        brought = after.snapshot.commit
    return found


def scope_seen(brought: str, superseded_by: str, when: datetime) -> Seen:
    """Say where a whole protected set was."""
    return Seen(path="", commit=brought, superseded_by=superseded_by, when=when, what="the whole protected set")


def _newest(span: Span) -> tuple[int, int, str]:
    return -span.ended_place, -span.place, span.path


def _named(each: Said) -> str:
    return f"{each.kind.lower()} {each.name}"


def _same(one: object, other: object) -> bool:
    """Compare plain values; true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)
