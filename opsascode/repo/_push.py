"""Which refs would a push under way change, and does each of those that only grow only grow?

Asked in the `pre-receive` hook of a Git server, where what was pushed lies in quarantine: objects are read from there,
and no ref has moved yet. A ref that stands for another one is taken for that other one, for Git moves it.

Not here: which of them are protected, and whether they may move.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.errors import ResolveError
from opsascode.repo._append_ref import batched, last_line
from opsascode.repo._git import SETTINGS, Git, git_program, readable
from opsascode.repo._trust import TRUST_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from subprocess import CompletedProcess

OWN_REFS: Final = "refs/opsascode/"
_LINE: Final = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) ([0-9a-f]{40}|[0-9a-f]{64}) (refs/[^\x00-\x20\x7f]+)")
_QUARANTINE: Final = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")
_VERSION: Final = re.compile(r"[1-9][0-9]{0,8}\.root\.json")
_MOST_LINES: Final = 100_000
_MOST_VERSIONS: Final = 1000
_MOST_BYTES: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class RefUpdate:
    """One ref, the commit or other object it stands at, and the one it would stand at; None where there is none."""

    ref: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A push under way: the server's Git directory, its quarantine, and the updates asked for."""

    directory: Path
    quarantine: Mapping[str, str]
    updates: tuple[RefUpdate, ...]

    @classmethod
    def of(cls, environ: Mapping[str, str], lines: bytes) -> Push:
        """Read what git hands to the hook: its environment, and lines `old SP new SP ref`.

        Raises:
            ResolveError: this is no hook of a push.
        """
        if not environ.get("GIT_DIR"):
            raise ResolveError("this is for git to call, in the pre-receive hook of a server")
        directory = Path(environ["GIT_DIR"]).resolve()
        quarantine = {name: str(Path(environ[name]).resolve()) for name in _QUARANTINE if environ.get(name)}
        listed = lines.splitlines()
        if len(listed) > _MOST_LINES:
            raise ResolveError(f"{len(listed)} refs in one push, where at most {_MOST_LINES} are read")
        empty = cls(directory=directory, quarantine=quarantine, updates=())
        aliases = empty._aliases()
        updates = tuple(_update(line, aliases) for line in listed)
        return cls(directory=directory, quarantine=quarantine, updates=updates)

    def trust_trees(self) -> Mapping[str, str]:
        """Name for each commit that a ref leaves or reaches the tree with its trust root, where it has one."""
        commits = tuple(
            dict.fromkeys(each for update in self.updates for each in (update.old, update.new) if each is not None)
        )
        asked = "".join(f"{each}^{{commit}}:{TRUST_FOLDER}\n" for each in commits)
        told = self._ask(("cat-file", "--batch-check=%(objecttype) %(objectname)"), data=asked.encode())
        found = zip(commits, readable(told.stdout).splitlines(), strict=False)
        return {commit: line.removeprefix("tree ") for commit, line in found if line.startswith("tree ")}

    def trust_files(self, tree: str) -> tuple[bytes, ...] | None:
        """Give the versions of a trust root that lie in a tree, unverified; None when they cannot all be read."""
        told = self._ask(("ls-tree", "-z", "-l", "--full-tree", tree))
        listed = (line.partition("\t") for line in readable(told.stdout).split("\0"))
        blobs = [about.split()[2:4] for about, _, name in listed if _VERSION.fullmatch(name) and " blob " in about]
        if told.returncode or len(blobs) > _MOST_VERSIONS or any(int(size) > _MOST_BYTES for _, size in blobs):
            return None
        asked = "".join(f"{blob}\n" for blob, _ in blobs).encode()
        return batched(self._ask(("cat-file", "--batch=%(objectsize)"), data=asked).stdout, len(blobs))

    def shrinking(self, update: RefUpdate, *, rewritten: bool = False) -> str:
        """Say why a ref that only grows would not, or nothing; where files may be `rewritten`, they still must stay."""
        if update.new is None:
            return "it would be deleted"
        if update.old is None:
            return ""
        if self._ask(("merge-base", "--is-ancestor", update.old, update.new)).returncode:
            return "what it holds would be replaced, not added to"
        lost = "--diff-filter=D" if rewritten else "--diff-filter=a"
        told = self._ask(("diff-tree", "-r", "-z", "--no-renames", "--name-only", lost, update.old, update.new))
        if told.returncode:
            return f"git cannot compare it: {last_line(told)}"
        gone = readable(told.stdout).split("\0")[:-1]
        return f"{gone[0]!r} would be changed or removed" if gone else ""

    def blob(self, name: str) -> bytes:
        """Read an object that git named to the hook, such as the certificate of a signed push."""
        told = self._ask(("cat-file", "blob", name)) if re.fullmatch("[0-9a-f]{40,64}", name) else None
        return told.stdout if told is not None and not told.returncode else b""

    def _aliases(self) -> Mapping[str, str]:
        told = self._ask(("for-each-ref", "--format=%(refname) %(symref)"))
        pairs = (line.split(" ") for line in readable(told.stdout).splitlines() if not line.endswith(" "))
        return {pair[0]: pair[1] for pair in pairs if len(pair) == 2}  # noqa: PLR2004 - a name and what it stands for

    def _ask(self, words: Iterable[str], *, data: bytes = b"") -> CompletedProcess[bytes]:
        git = Git(program=git_program(), top=self.directory, settings=SETTINGS)
        return git.ask(tuple(words), variables={"GIT_DIR": str(self.directory), **self.quarantine}, data=data)


def _update(line: bytes, aliases: Mapping[str, str]) -> RefUpdate:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ResolveError(f"git handed over a line that cannot be read: {readable(line[:200])!r}")
    old, new, ref = (readable(each) for each in found.groups())
    seen: set[str] = set()
    while ref in aliases and ref not in seen:
        seen.add(ref)
        ref = aliases[ref]
    return RefUpdate(ref=ref, old=_object(old), new=_object(new))


def _object(name: str) -> str | None:
    return name if name.strip("0") else None
