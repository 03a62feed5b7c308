"""What would a plan pin of the repository's content now, and which file of it is not as it was?

The content is what a plan pins apart from policies and the inventory: runbooks, settings, archives of collections, and
the directories of roles, playbooks, templates, files and variables. A record names such a directory by one digest. The
files of the commit it was made from name what differs in it, but only where they have that very digest: so no file is
ever named for a change that was there already, uncommitted.

Not here: which records are compared (`_drift`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias

from opsascode.errors import DocumentError, OpsError
from opsascode.proof import sha256_digest
from opsascode.repo import (
    ANSIBLE_SETTINGS,
    InvalidDocumentsError,
    ObjectStore,
    read_requirements,
    usable_ansible_settings,
)
from opsascode.run._collections import ARCHIVE_DIRECTORY, CollectionArchive
from opsascode.run._content import ContentFile, content_files, content_names, files_digest
from opsascode.run._provisions import Provisions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from opsascode.proof import Json
    from opsascode.repo import Repository

Covers: TypeAlias = "Callable[[str], bool]"
"""Whether a path is among those that a review is about."""
_NOTHING: Final = files_digest({})
_ELSEWHERE: Final = "elsewhere"
_SKIPPED: Final = "__pycache__"
_SUBMODULE: Final = "160000"
_NO_MODE: Final = "000000"
_MOST_BYTES: Final = 256 * 1024 * 1024


class Change(Enum):
    """How a file is not as it was; of a directory it may only be known that something in it is not."""

    CHANGED = "{path} changed"
    NEW = "{path} is new"
    GONE = "{path} is gone"
    WITHIN = "something in {path} changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A file, or directory, that is not as it was."""

    path: str
    how: Change = Change.CHANGED

    def __str__(self) -> str:
        """Say it."""
        return self.how.value.format(path=self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a plan pinned of the repository's content: single files, and whole directories, by their digests."""

    pins: Mapping[str, str]
    trees: Mapping[str, str]

    @classmethod
    def of_json(cls, found: Json) -> Content | None:
        """Read it from a record; None where the record does not say, or says it in another form."""
        if not isinstance(found, dict):
            return None
        pins, trees = _digests(found.get("pins")), _digests(found.get("trees"))
        return None if pins is None or trees is None else cls(pins=pins, trees=trees)


class ContentNow:
    """The content of a repository as it lies there; whatever is asked for is read once."""

    def __init__(self, repository: Repository, commits: Sequence[str] = ()) -> None:
        """Take the repository, and the commits that records name."""
        self._repository, self._root = repository, repository.root
        self._pins: dict[str, str] = {}
        self._trees: dict[str, Mapping[str, ContentFile] | DocumentError] = {}
        self._past = _Past(repository.root, commits)
        self._named: dict[tuple[str, str], tuple[Changed, ...]] = {}

    def changes(self, then: Content) -> Iterator[Changed]:
        """Name what of the content is not as it was then."""
        for path in dict.fromkeys((*then.pins, *self._files, *self._archives)):
            how = _how(then.pins.get(path, ""), self.pin(path))
            if how is not None:
                yield Changed(path=path, how=how)
        for name in dict.fromkeys((*then.trees, *self._directories())):
            then_digest = then.trees.get(name, _NOTHING)
            if (name, then_digest) not in self._named:
                self._named[name, then_digest] = tuple(self._changes_in(name, then_digest))
            yield from self._named[name, then_digest]

    def changes_from(self, reviewed: Mapping[str, ContentFile], names: Sequence[str], covers: Covers) -> list[Changed]:
        """Name what is not as it was reviewed in these files and directories, as far as the review covers it."""
        found: dict[str, Changed] = {}
        for name in names:
            now = self.tree(name)
            if isinstance(now, DocumentError):
                found |= {each.path: each for each in self._changes_in(name, "")}
                continue
            before = {path: file for path, file in reviewed.items() if path == name or path.startswith(f"{name}/")}
            here = {path: file for path, file in now.items() if covers(path)}
            found |= {each.path: each for each in compared(before, here)}
        return list(found.values())

    def is_covered(self, name: str, covers: Covers) -> bool:
        """Tell whether a review covers every file in a directory, or the one file it is."""
        now = self.tree(name)
        if isinstance(now, DocumentError):
            return False
        return all(map(covers, now)) if now else covers(name) or covers(f"{name}/any")

    def pin(self, path: str) -> str:
        """Give the digest of a file or an archive; empty where there is none."""
        if path not in self._pins:
            archive = self._archives.get(path)
            self._pins[path] = _file_digest(self._root / path) if archive is None else archive.digest
        return self._pins[path]

    def tree(self, name: str) -> Mapping[str, ContentFile] | DocumentError:
        """Give the files in a directory, or what makes it one that no run can use."""
        if name not in self._trees:
            self._trees[name] = self._read(name)
        return self._trees[name]

    def places(self, playbooks: Sequence[str]) -> tuple[str, ...]:
        """Name where content of every plan lies, or would lie, and that of some playbooks: files and directories."""
        archives = (f"{ARCHIVE_DIRECTORY}/{each.path.name}" for each in self._archives.values())
        return (*self._directories(playbooks), *self._files, *archives)

    @cached_property
    def _files(self) -> tuple[str, ...]:
        settings = self._repository.settings.source
        return (*((settings.path,) if settings else ()), ANSIBLE_SETTINGS)

    def _directories(self, playbooks: Sequence[str] = ()) -> tuple[str, ...]:
        settings = self._repository.settings
        extra = (*settings.roles_path, *settings.collections_path, *self._provisions.directories)
        return content_names(extra, playbooks)

    @cached_property
    def _provisions(self) -> Provisions:
        try:
            return Provisions(settings=usable_ansible_settings(self._root))
        except InvalidDocumentsError:  # the file is pinned by itself: it was not like this when a plan was made
            return Provisions()

    @cached_property
    def _archives(self) -> Mapping[str, CollectionArchive]:
        """The collections that are wanted, by what a plan calls them.

        Of an archive that is not in the repository, but in a user's cache, the name and version are the content.
        """
        found = {}
        for wanted in read_requirements(self._root).collections:
            path = self._root / ARCHIVE_DIRECTORY / wanted.archive
            archive = CollectionArchive(
                name=wanted.name, version=wanted.version, path=path, digest=_file_digest(path) or _ELSEWHERE
            )
            found[archive.pin.path] = archive
        return found

    def _read(self, name: str) -> Mapping[str, ContentFile] | DocumentError:
        if not (self._root / name).exists():
            return {}
        try:
            return content_files(self._root, name)
        except DocumentError as error:
            return error
        except OSError as error:
            return DocumentError(str(error.strerror))

    def _changes_in(self, name: str, then: str) -> Iterator[Changed]:
        """Name what is not as it was in a directory of which that was the digest."""
        now = self.tree(name)
        if isinstance(now, DocumentError):
            yield Changed(path=now.position.path) if now.position else Changed(path=name, how=Change.WITHIN)
            return
        if files_digest(now) == then:
            return
        before = {} if then == _NOTHING else self._past.files(name, then)
        if before is None:
            yield Changed(path=name, how=Change.WITHIN if now else Change.GONE)
            return
        yield from compared(before, now)


class _Past:
    """The files of directories as of some commits; none where the repository cannot be read, or is not whole.

    Git is asked once about all commits: what one of them holds, and in what the others differ from it.
    """

    def __init__(self, root: Path, commits: Sequence[str]) -> None:
        self._root, self._commits = root, commits
        self._known: dict[str, Mapping[str, Mapping[str, ContentFile]]] = {}

    def files(self, name: str, digest: str) -> Mapping[str, ContentFile] | None:
        """Give the files of a directory when they had this digest, if that was at one of the commits."""
        if name not in self._known:
            try:
                self._known[name] = self._by_digest(name)
            except OpsError:
                self._known[name] = {}
        return self._known[name].get(digest)

    def _by_digest(self, name: str) -> dict[str, Mapping[str, ContentFile]]:
        store = ObjectStore.of(self._root)
        commits = tuple(store.sizes(tuple(dict.fromkeys(self._commits))))
        listed = _listed(store, commits, f"{self._prefix}{name}") if commits else ()
        oids = {oid for entries in listed for _, oid in entries.values()}
        if sum(store.sizes(tuple(oids)).values()) > _MOST_BYTES:
            return {}
        digests = {oid: hashlib.sha256(data).hexdigest() for oid, data in store.blobs(oids).items()}
        states = (
            {
                path.removeprefix(self._prefix): ContentFile(mode=mode, digest=digests[oid])
                for path, (mode, oid) in entries.items()
            }
            for entries in listed
        )
        return {files_digest(files): files for files in states}

    @cached_property
    def _prefix(self) -> str:
        """Where the ops repository lies in its Git repository."""
        top = next(each for each in (self._root, *self._root.parents) if (each / ".git").exists())
        return "" if top == self._root else f"{self._root.relative_to(top).as_posix()}/"


def _listed(store: ObjectStore, commits: Sequence[str], place: str) -> list[dict[str, tuple[str, str]]]:
    """List modes and ids by path below a place for each commit; submodules and what no plan pins are left out."""
    first, *others = commits
    base = {
        each.path: (each.mode, each.oid)
        for each in store.entries(first, (place, f"{place}/**"))
        if _is_content(each.path, each.mode, place)
    }
    found = [base]
    words = iter(
        store.changes([(each, first, 0) for each in others], [place]).decode(errors="surrogateescape").split("\0")
    )
    for word in words:
        if not word.startswith(":"):
            found += [dict(base)] if word else []
            continue
        _, mode, _, oid, _ = word[1:].split(" ")
        path = next(words)
        found[-1].pop(path, None)
        if mode != _NO_MODE and _is_content(path, mode, place):
            found[-1][path] = (mode, oid)
    return found


def _is_content(path: str, mode: str, place: str) -> bool:
    return mode != _SUBMODULE and f"{path}/".startswith(f"{place}/") and _SKIPPED not in path.split("/")


def compared(before: Mapping[str, ContentFile], now: Mapping[str, ContentFile]) -> Iterator[Changed]:
    """Name the files that are not as they were, in the order of their paths."""
    for path in sorted(before.keys() | now.keys()):
        if path not in before:
            yield Changed(path=path, how=Change.NEW)
        elif path not in now:
            yield Changed(path=path, how=Change.GONE)
        elif before[path] != now[path]:
            yield Changed(path=path)


def _how(then: str, now: str) -> Change | None:
    """Tell how a single file differs by its digests, of which an empty one is that of no file."""
    if then == now or (then and now == _ELSEWHERE):
        return None
    return Change.NEW if not then else Change.CHANGED if now else Change.GONE


def _file_digest(path: Path) -> str:
    try:
        return sha256_digest(path.read_bytes()) if path.is_file() else ""
    except OSError:
        return ""


def _digests(found: Json) -> dict[str, str] | None:
    """Read digests by paths; a path that leads out of the repository is no form of one."""
    if not isinstance(found, dict):
        return None
    digests = {path: digest for path, digest in found.items() if isinstance(digest, str) and _is_inside(path)}
    return digests if len(digests) == len(found) else None


def _is_inside(path: str) -> bool:
    return not path.startswith("/") and ".." not in path.split("/") and "\0" not in path
