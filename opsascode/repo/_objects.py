"""What do Git's objects hold, read so that nothing the repository says is executed or believed?

Only plumbing is asked, through the hardened `Git` of this house: trees by `ls-tree`, bytes by `cat-file`, the line of
commits by `rev-list`, all by full ids, or by names on standard input. No working tree, index, hook, filter, signature
program or transport is ever involved; replaced objects and grafts are ignored, as is the commit graph file.

A repository of which a part is missing, or comes from elsewhere, is refused: shallow, grafted, with alternates, partly
cloned. In the hook of a server the objects that are just arriving are named by `quarantine`, and only those count.

Not here: what the files mean (`_meaning`) and what was there before (`_past`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from opsascode.errors import Position, ResolveError
from opsascode.repo._git import SETTINGS, readable
from opsascode.repo._object_safety import QUARANTINE, common_directory, git_for, refuse_unsafe
from opsascode.repo._snapshot import (
    MODES,
    ProtectedFile,
    Snapshot,
    UnsafeRepositoryError,
    check_paths,
    is_protected,
    literal_starts,
    mode_fault,
    shown_path,
    snapshot_of,
)
from opsascode.repo._trust import TRUST_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from subprocess import CompletedProcess

    from opsascode.repo._git import Git

MOST_FILE_BYTES: Final = 16 * 1024 * 1024
MOST_FILES: Final = 50_000
_MOST_BYTES: Final = 512 * 1024 * 1024
_MOST_COMMITS: Final = 100_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND: Final = 250_000_000_000
_SETTINGS: Final = {**SETTINGS, "core.commitGraph": "false", "core.multiPackIndex": "false"}
_FULL_ID: Final = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_SHORT_ID: Final = re.compile(r"[0-9a-f]{7,64}\Z")
_REF: Final = re.compile(
    r"(?!.*(?:\.\.|//|@\{|\.lock(?:/|\Z)|/\.|\.(?:/|\Z)|/\Z))[A-Za-z0-9_][A-Za-z0-9._/@+%=,#-]{0,249}\Z"
)
_ENTRY: Final = re.compile(r"([0-7]{6}) (?:blob|commit) ([0-9a-f]{40,64}) +([0-9]+|-|BAD)\t(.*)\Z", re.DOTALL)
_IDENTITY: Final = re.compile(
    r"(?P<name>[^<>]*?) ?<(?P<email>[^<>]*)> (?P<seconds>-?[0-9]{1,18}) (?P<zone>[-+][0-9]{4})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whom a commit names as author or committer: a claim, never a proof."""

    name: str
    email: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFacts:
    """What a commit says of itself; `when` is the committer's own claim."""

    id: str
    parents: tuple[str, ...]
    author: Identity
    committer: Identity
    subject: str
    when: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One protected path of a commit's tree; `size` is that of the bytes."""

    path: str
    mode: str
    oid: str
    size: int


class ObjectStore:
    """The objects of one Git repository, bare or with a working tree; `directory` is where they lie."""

    def __init__(self, git: Git, directory: Path, variables: Mapping[str, str]) -> None:
        self.directory = directory
        self._git, self._variables = git, variables

    @classmethod
    def of(cls, top_or_bare: Path, *, quarantine: Mapping[str, str] | None = None) -> ObjectStore:
        """Open the repository around a directory, or the bare one it is.

        Raises:
            UnsafeRepositoryError: E_REPO_UNSAFE, as said above.
            ResolveError: there is no repository, git is missing, or it refuses the repository.
        """
        git, variables = git_for(top_or_bare, _SETTINGS)
        common = common_directory(git, variables)
        arriving = {key: value for key, value in (quarantine or {}).items() if key in QUARANTINE}
        refuse_unsafe(git, common, arriving)
        return cls(git, common, {**variables, **arriving, "GIT_LITERAL_PATHSPECS": "1"})

    def commit_of(self, name: str) -> str | None:
        """Give the full id of the commit a full ref, branch, tag, remote branch or id stands for.

        An id may be shortened to 7 digits. A name that two of them have stands for none: write the full ref.
        """
        if _FULL_ID.match(name):
            return self._commits_named([name])[0]
        if not _REF.match(name):
            return None
        if name == "HEAD" or name.startswith("refs/"):
            return self._commits_named([name])[0]
        places = [f"refs/{kind}/{name}" for kind in ("heads", "tags", "remotes")]
        found = {each for each in self._commits_named(places) if each is not None}
        if not found and _SHORT_ID.match(name):
            found = {each for each in self._commits_named([name]) if each is not None}
        return found.pop() if len(found) == 1 else None

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Tell whether one commit can be reached from another, or is that one."""
        told = self._ask("merge-base", "--is-ancestor", _full(older), _full(newer))
        if told.returncode not in {0, 1}:
            raise self._unreadable(told.stderr)
        return told.returncode == 0

    def first_parents(self, new: str, until: str | None = None) -> tuple[str, ...]:
        """Give the line of first parents up to a commit, oldest first.

        Only what comes after `until` where that is on the line; where it is not, all of the line.
        """
        line = self.line(new, until)
        if until is not None and line is None:
            line = self.line(new, None)
        return tuple(commit for commit, _, _ in line or ())

    def line(self, new: str, until: str | None) -> tuple[tuple[str, str | None, int], ...] | None:
        """Give the line of first parents, oldest first: id, first parent, second; None when `until` is not on it."""
        if until == new:
            return ()
        words = [_full(new)] if until is None else [_full(new), f"^{_full(until)}"]
        told = self._good("rev-list", "--first-parent", "--parents", "--timestamp", "--reverse", *words, "--")
        found = []
        for each in readable(told).splitlines():
            second, commit, *parents = each.split(" ")
            found.append((commit, parents[0] if parents else None, int(second)))
        if until is not None and (not found or found[0][1] != until):
            return None
        return tuple(found)

    def commits(self, new: str, not_reachable_from: str | None) -> tuple[CommitFacts, ...]:
        """Give every commit that one has and another has not, on whatever line, newest first.

        Raises:
            UnsafeRepositoryError: there are more of them than can be looked at.
        """
        words = [_full(new)] + ([f"^{_full(not_reachable_from)}"] if not_reachable_from else [])
        told = self._good("rev-list", "--topo-order", f"--max-count={_MOST_COMMITS + 1}", *words, "--")
        ids = readable(told).split()
        if len(ids) > _MOST_COMMITS:
            raise UnsafeRepositoryError("E_REPO_UNSAFE", f"more than {_MOST_COMMITS} commits lie in between")
        return tuple(_commit_facts(each, data) for each, data in self._objects(ids, "commit"))

    def entries(self, commit: str, globs: Sequence[str]) -> tuple[Entry, ...]:
        """List the protected paths of a commit, whatever their modes; links that could stand for them are refused."""
        starts = literal_starts(globs)
        tops = sorted({each.partition("/")[0] for each in starts or ()})
        told = self._good("ls-tree", "-r", "-l", "-z", "--full-tree", _full(commit), *tops)
        found = []
        for line in readable_paths(told).split("\0")[:-1]:
            match = _ENTRY.match(line)
            if match is None:
                raise UnsafeRepositoryError("E_MODE", f"the tree has an entry that is no file: {shown_path(line)}")
            mode, oid, size, path = match.groups()
            if is_protected(path, globs):
                found.append(Entry(path=path, mode=mode, oid=oid, size=int(size) if size.isdigit() else 0))
            elif mode not in MODES and _is_above(path, starts or ()):
                raise mode_fault(path, mode)
        return tuple(found)

    def files(self, commit: str, globs: Sequence[str]) -> dict[str, ProtectedFile]:
        """Give the protected files of a commit by their paths.

        Raises:
            UnsafeRepositoryError: E_MODE or E_PATH for what is no ordinary file; E_REPO_UNSAFE for far too much.
        """
        return dict(self.snapshot(commit, globs).files)

    def snapshot(self, commit: str, protected: Sequence[str], *, beside: Snapshot | None = None) -> Snapshot:
        """Give the protected set of a commit; files that one `beside` it has as well are not read again.

        Raises:
            UnsafeRepositoryError: E_MODE or E_PATH for what is no ordinary file; E_REPO_UNSAFE for far too much.
        """
        entries = self.entries(commit, protected)
        check_paths((each.path, each.mode) for each in entries)
        self._refuse_too_much(entries)
        known = {(each.path, each.mode, each.oid): each for each in (beside.files.values() if beside else ())}
        data = self.blobs({each.oid for each in entries if (each.path, each.mode, each.oid) not in known})
        return snapshot_of(
            _full(commit),
            (
                known.get((each.path, each.mode, each.oid))
                or ProtectedFile.of(each.path, data[each.oid], mode=each.mode, oid=each.oid)
                for each in entries
            ),
        )

    def blobs(self, oids: Iterable[str]) -> dict[str, bytes]:
        """Give the bytes of blobs by their ids.

        Raises:
            UnsafeRepositoryError: one is missing.
        """
        return dict(self._objects(list(oids), "blob"))

    def sizes(self, oids: Sequence[str]) -> dict[str, int]:
        """Give the sizes of blobs by their ids, without reading them."""
        told = self._good("cat-file", "--batch-check=%(objectname) %(objectsize)", "--buffer", data=_lines(oids))
        pairs = (line.partition(" ") for line in readable(told).splitlines())
        return {oid: int(size) for oid, _, size in pairs if size.isdigit()}

    def changes(self, line: Sequence[tuple[str, str | None, int]], tops: Sequence[str] | None) -> bytes:
        """Give what git's plumbing says of each commit against its first parent: raw, with NUL, commit by commit."""
        pairs = "".join(f"{commit} {parent}\n" if parent else f"{commit}\n" for commit, parent, _ in line)
        words = ("diff-tree", "--stdin", "-r", "--root", "-m", "--raw", "-z", "--no-renames", "--no-abbrev")
        return self._good(*words, "--", *(tops or ()), data=pairs.encode())

    def facts(self, commit: str) -> CommitFacts:
        """Give what one commit says of itself."""
        ((oid, data),) = self._objects([_full(commit)], "commit")
        return _commit_facts(oid, data)

    def changed_by(self, new: str, until: str | None, globs: Sequence[str]) -> tuple[str, ...]:
        """Name the commits on the line of first parents that changed what the globs name, oldest first."""
        ends = [_full(new)] + ([f"^{_full(until)}"] if until else [])
        return tuple(self._moving(("--reverse", *ends), globs))

    def unchanged_since(self, commit: str, globs: Sequence[str]) -> tuple[str, ...]:
        """Name the commits, this one too, since which nothing the globs name has changed on the first-parent line."""
        last = self._moving(("--max-count=1", _full(commit)), globs)
        if not last:
            return self.first_parents(commit)
        return (*last, *self.first_parents(commit, last[0]))

    def _moving(self, words: Sequence[str], globs: Sequence[str]) -> list[str]:
        """Ask for commits on the line of first parents that changed what the globs name."""
        told = self._git.ask(
            ("rev-list", "--first-parent", *words, "--", *_pathspecs(globs)),
            variables={**self._variables, "GIT_LITERAL_PATHSPECS": "0"},
        )
        if told.returncode:
            raise self._unreadable(told.stderr)
        return readable(told.stdout).split()

    def refs(self, prefix: str) -> dict[str, str]:
        """Give the refs below a prefix such as `refs/heads/`, and the ids of what they point to."""
        if not _REF.match(prefix.removesuffix("/")):
            return {}
        told = self._good("for-each-ref", "--format=%(objectname) %(refname)", "--end-of-options", prefix)
        return {name: oid for oid, _, name in (line.partition(" ") for line in readable(told).splitlines())}

    def _commits_named(self, names: Sequence[str]) -> list[str | None]:
        told = self._good("cat-file", "--batch-check", data="".join(f"{each}^{{commit}}\n" for each in names).encode())
        found = [line.split(" ") for line in readable(told).splitlines()]
        return [each[0] if len(each) == 3 and each[1] == "commit" else None for each in found]  # noqa: PLR2004 - id, type, size

    def _objects(self, ids: Sequence[str], kind: str) -> Iterator[tuple[str, bytes]]:
        """Read objects of one kind in one go."""
        if not ids:
            return
        told = self._good("cat-file", "--batch", "--buffer", data=_lines(ids))
        at = 0
        for wanted in ids:
            end = told.index(b"\n", at)
            oid, *about = told[at:end].decode().split(" ")
            if oid != wanted or about[:1] != [kind]:
                message = f"the object {wanted} is not there, or is no {kind}"
                raise UnsafeRepositoryError("E_REPO_UNSAFE", message, advice="git fsck tells what is damaged")
            size = int(about[1])
            yield wanted, told[end + 1 : end + 1 + size]
            at = end + 2 + size

    def _refuse_too_much(self, entries: Sequence[Entry]) -> None:
        big = next((each for each in entries if each.size > MOST_FILE_BYTES), None)
        if big is not None:
            message = f"the protected file {shown_path(big.path)} has {big.size} bytes; {MOST_FILE_BYTES} are the most"
        elif len(entries) > MOST_FILES or sum(each.size for each in entries) > _MOST_BYTES:
            message = f"there are {len(entries)} protected files; {MOST_FILES} and {_MOST_BYTES} bytes are the most"
        else:
            return
        raise UnsafeRepositoryError("E_REPO_UNSAFE", message, advice="protect less, or take it out of the repository")

    def _ask(self, *words: str, data: bytes = b"") -> CompletedProcess[bytes]:
        return self._git.ask(words, variables=self._variables, data=data)

    def _good(self, *words: str, data: bytes = b"") -> bytes:
        told = self._ask(*words, data=data)
        if told.returncode:
            raise self._unreadable(told.stderr)
        return told.stdout

    def _unreadable(self, words: bytes) -> ResolveError:
        first = readable(words).strip().partition("\n")[0].removeprefix("fatal: ") or "no reason given"
        return ResolveError(f"git cannot read this repository: {first}", position=Position(path=str(self._git.top)))


def readable_paths(told: bytes) -> str:
    """Read what git says of paths, keeping bytes that are no UTF-8 so that they are found out later."""
    return told.decode(errors="surrogateescape")


def _is_above(path: str, starts: Sequence[str]) -> bool:
    """Tell whether a link at this path would stand for a folder of the protected set."""
    return any(f"{start}/".startswith(f"{path}/") for start in starts)


def _full(commit: str) -> str:
    if not _FULL_ID.match(commit):
        raise UnsafeRepositoryError("E_REF", f"{shown_path(commit)} is no full commit id")
    return commit


def _pathspecs(globs: Sequence[str]) -> tuple[str, ...]:
    """Write globs as git's own, which mean the same."""
    return tuple(f":(top,glob){each}" for each in dict.fromkeys((*globs, f"{TRUST_FOLDER}/**")))


def _lines(ids: Iterable[str]) -> bytes:
    return "".join(f"{each}\n" for each in ids).encode()


def _commit_facts(commit: str, data: bytes) -> CommitFacts:
    """Read a commit object's own words."""
    head, _, message = data.partition(b"\n\n")
    fields: dict[str, list[str]] = {}
    for line in readable(head).split("\n"):
        key, _, value = line.partition(" ")
        fields.setdefault(key, []).append(value)
    author, _ = _identity(fields, "author")
    committer, when = _identity(fields, "committer")
    return CommitFacts(
        id=commit,
        parents=tuple(fields.get("parent", ())),
        author=author,
        committer=committer,
        subject=readable(message).strip().partition("\n")[0],
        when=when,
    )


def _identity(fields: Mapping[str, list[str]], key: str) -> tuple[Identity, datetime]:
    match = _IDENTITY.match(fields.get(key, [""])[0])
    if match is None:
        return Identity(name="", email=""), _EPOCH
    return Identity(name=match["name"], email=match["email"]), moment(int(match["seconds"]))


def moment(second: int) -> datetime:
    """Give the moment a commit claims, within what a calendar can hold."""
    return _EPOCH + timedelta(seconds=min(max(second, 0), _LAST_SECOND))
