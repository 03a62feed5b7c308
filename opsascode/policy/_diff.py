"""What is different between two policy packs, field by field, and which way does each difference lead?

Stricter, looser or neutral is what the schema says of a field (`x-opsascode-safety`); what cannot be told is unclear,
and whoever judges takes that for looser. A document is known by kind and name, wherever it lies; a guardrail that only
changes its name is the same guardrail. Only files that differ are read. Beside the fields stands the effect on hosts.

Not here: whether it goes back to something that was there before (`_classify`), how values of a field compare
(`_direction`), which hosts lose a guardrail (`_effect`), and how it is shown.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from opsascode.policy._direction import ABSENT, Direction, field_direction, same
from opsascode.policy._effect import EffectLoss, Groups, losses
from opsascode.proof import canonical_bytes, sha256_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opsascode.proof import Json
    from opsascode.repo import DocumentMeaning, ProtectedFile, Snapshot, Unreadable

DocumentKey: TypeAlias = tuple[str, str]
"""Kind and name."""

GUARDRAIL: Final = "Guardrail"
_SINGLE: Final = frozenset({"PolicyPack", "Repository"})
"""Kinds of which there is one at most, so that no document means all defaults."""
_NAME: Final = ("metadata", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldChange:
    """One field of one document, before and after; None is both absent and null."""

    file: str
    document: str
    field: str
    before: Json
    after: Json
    direction: Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """A protected file that is not the same: the digest of its bytes before and after, None where there is none."""

    path: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackDiff:
    """Everything that is different. `added` and `removed` name documents, as `guardrail production-small-steps`.

    `unreadable` are files whose documents cannot be read, before or after, with why.
    """

    changes: tuple[FieldChange, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    files: tuple[FileChange, ...] = ()
    lost: tuple[EffectLoss, ...] = ()
    unreadable: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The documents of the files that differ, on one side; `plain` are such files without any document."""

    documents: Mapping[DocumentKey, DocumentMeaning]
    unreadable: tuple[Unreadable, ...]
    plain: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A difference with what it was made from; `renamed` tells the old name of a guardrail by its new one."""

    diff: PackDiff
    old: Side
    new: Side
    renamed: Mapping[DocumentKey, DocumentKey] = field(default_factory=dict)


def diff_packs(old: Snapshot, new: Snapshot, *, groups: tuple[Groups | None, Groups | None] | None = None) -> PackDiff:
    """Give the difference; with the groups of each host before and after, also which hosts lose a guardrail."""
    return compare_packs(old, new, groups=groups).diff


def compare_packs(
    old: Snapshot, new: Snapshot, *, groups: tuple[Groups | None, Groups | None] | None = None
) -> Comparison:
    """Give the difference, and the documents it is about."""
    files = tuple(_file_changes(old, new))
    before = _side([old.files[each.path] for each in files if each.before is not None])
    after = _side([new.files[each.path] for each in files if each.after is not None])
    renamed = _renamed(before, after)
    gone = before.documents.keys() - after.documents.keys() - {*renamed.values()}
    fresh = after.documents.keys() - before.documents.keys() - renamed.keys()
    changes = [*_field_changes(before, after, renamed)]
    for key in sorted(fresh):
        if key[0] in _SINGLE:
            changes += _from_nothing(after.documents[key])
    unreadable = {each.path: each.reason for each in (*before.unreadable, *after.unreadable)}
    diff = PackDiff(
        changes=tuple(changes),
        added=tuple(named(key) for key in sorted(fresh)),
        removed=tuple(named(key) for key in sorted(gone)),
        files=files,
        lost=_lost(old, new, (before, after), groups),
        unreadable=tuple(sorted(unreadable.items())),
    )
    return Comparison(diff=diff, old=before, new=after, renamed=renamed)


def named(key: DocumentKey) -> str:
    """Name a document for people: `policy pack ours`."""
    kind, name = key
    return f"{re.sub(r'(?<=[a-z])(?=[A-Z])', ' ', kind).lower()} {name}"


def effects_of(diff: PackDiff) -> str:
    """Give the digest of a difference, by which an approver says what they were shown."""
    whole: dict[str, Json] = {
        "changes": [
            [each.file, each.document, each.field, _written(each.before), _written(each.after), each.direction.value]
            for each in diff.changes
        ],
        "added": [*diff.added],
        "removed": [*diff.removed],
        "files": [[each.path, each.before, each.after] for each in diff.files],
        "lost": [[each.host, each.guardrail, each.gone] for each in diff.lost],
        "unreadable": [[*each] for each in diff.unreadable],
    }
    return sha256_digest(canonical_bytes(whole))


def _written(value: Json) -> str:
    """Write a value as text; documents may hold numbers that are no integers."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True)


def _file_changes(old: Snapshot, new: Snapshot) -> Iterator[FileChange]:
    if old.digest == new.digest:
        return
    for path in sorted(old.files.keys() | new.files.keys()):
        before, after = old.files.get(path), new.files.get(path)
        if before is None or after is None or (before.digest, before.mode) != (after.digest, after.mode):
            yield FileChange(
                path=path,
                before=None if before is None else before.digest,
                after=None if after is None else after.digest,
            )


def _side(files: Iterable[ProtectedFile]) -> Side:
    """Read the documents of some files; two of one name are as bad as one that cannot be read."""
    from opsascode.repo import Unreadable  # noqa: PLC0415 - reading documents is not needed to judge guardrails

    documents: dict[DocumentKey, DocumentMeaning] = {}
    unreadable: list[Unreadable] = []
    plain: set[str] = set()
    for file in files:
        found = _meant(file)
        if isinstance(found, Unreadable):
            unreadable.append(found)
            continue
        if not found:
            plain.add(file.path)
        for each in found:
            if documents.setdefault((each.kind, each.name), each) is not each:
                reason = f"it is the second document called {named((each.kind, each.name))}"
                unreadable.append(Unreadable(path=file.path, reason=reason))
    return Side(documents=documents, unreadable=tuple(unreadable), plain=frozenset(plain))


@lru_cache(maxsize=2048)
def _meant(file: ProtectedFile) -> tuple[DocumentMeaning, ...] | Unreadable:
    """Read a file once: the same bytes at the same path always mean the same."""
    from opsascode.repo import meanings  # noqa: PLC0415 - see above

    return meanings(file)


def _renamed(old: Side, new: Side) -> dict[DocumentKey, DocumentKey]:
    """Find guardrails that are what they were but for their name; nothing selects a guardrail by that."""
    gone = {
        each.nameless: key
        for key, each in sorted(old.documents.items(), reverse=True)
        if key not in new.documents and key[0] == GUARDRAIL
    }
    found: dict[DocumentKey, DocumentKey] = {}
    for key, each in sorted(new.documents.items()):
        if key not in old.documents and key[0] == GUARDRAIL and each.nameless in gone:
            found[key] = gone.pop(each.nameless)
    return found


def _field_changes(old: Side, new: Side, renamed: Mapping[DocumentKey, DocumentKey]) -> Iterator[FieldChange]:
    for key, after in sorted(new.documents.items()):
        before = old.documents.get(renamed.get(key, key))
        if before is None or before.digest == after.digest:
            continue
        for path in sorted(before.leaves.keys() | after.leaves.keys(), key=_order):
            was, now = before.leaves.get(path, ABSENT), after.leaves.get(path, ABSENT)
            if not same(was, now):
                yield _change(after, path, (was, now), field_direction(before, after, path))
        if key in renamed:
            yield _change(after, _NAME, (before.name, after.name), Direction.NEUTRAL)


def _from_nothing(document: DocumentMeaning) -> Iterator[FieldChange]:
    """Compare a document with none, where none means that everything is as it is by default."""
    from opsascode.repo import ProtectedFile, Unreadable  # noqa: PLC0415 - see above

    text = f"apiVersion: opsascode/v1\nkind: {document.kind}\nmetadata: {{name: {document.name}}}\nspec: {{}}\n"
    bare = _meant(ProtectedFile.of(document.path, text.encode()))
    if isinstance(bare, Unreadable):  # a kind that cannot stand without anything has no defaults to compare with
        return
    for path in sorted(document.leaves.keys() | bare[0].leaves.keys(), key=_order):
        was, now = bare[0].leaves.get(path, ABSENT), document.leaves.get(path, ABSENT)
        if not same(was, now):
            yield _change(document, path, (was, now), field_direction(bare[0], document, path))


def _change(
    document: DocumentMeaning, path: tuple[str | int, ...], values: tuple[object, object], direction: Direction
) -> FieldChange:
    before, after = values
    return FieldChange(
        file=document.path,
        document=named((document.kind, document.name)),
        field=".".join(map(str, path)),
        before=_plain(before),
        after=_plain(after),
        direction=direction,
    )


def _plain(value: object) -> Json:
    """Write a value of a document as JSON."""
    if value is ABSENT or value is None:
        return None
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | str) else str(value)


def _order(path: tuple[str | int, ...]) -> tuple[str, ...]:
    return tuple(f"{each:09d}" if isinstance(each, int) else each for each in path)


def _lost(
    old: Snapshot, new: Snapshot, sides: tuple[Side, Side], groups: tuple[Groups | None, Groups | None] | None
) -> tuple[EffectLoss, ...]:
    """Ask for the effect, where there may be one: a guardrail changes, or the groups of a host."""
    if groups is None or not groups[0] or groups[1] is None:
        return ()  # where there was no host, none can lose anything
    touched = any(kind == GUARDRAIL for side in sides for kind, _ in side.documents)
    if not touched and groups[0] == groups[1]:
        return ()
    return losses(_guardrails(old), _guardrails(new), groups[0], groups[1])


def _guardrails(snapshot: Snapshot) -> list[DocumentMeaning]:
    read = (_meant(each) for each in snapshot.files.values())
    return [each for found in read if isinstance(found, tuple) for each in found if each.kind == GUARDRAIL]
