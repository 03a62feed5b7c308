"""How is a branch made that takes protected files back, and how is a verified change merged, without a work tree?

By plumbing only: trees are made in an index of their own, commits from trees, and a ref moves only from where it was
said to stand. The work tree and the user's index are never touched, so a branch that somebody has checked out is not
moved. Git runs as in `_git`; the merge drivers a repository names are never run (what they would merge is a conflict).

The trust root travels alone: files under `policies/trust/` stay as they are whatever is taken back.

Not here: whether any of it is allowed (`policy`), and what counts as protected (`_snapshot`).
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.errors import ResolveError
from opsascode.repo._append_ref import is_bare, last_line
from opsascode.repo._git import SETTINGS, Git, git_program, open_git, readable
from opsascode.repo._trust import TRUST_FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from subprocess import CompletedProcess

    from opsascode.repo._objects import Identity
    from opsascode.repo._snapshot import Snapshot

_OBJECT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DRIVER: Final = re.compile(r"merge\..*\.driver", re.DOTALL)
_GONE: Final = "0" * 40
_CONFLICT: Final = 1
_FILES_NAMED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a commit says of itself, beside its tree and parents."""

    message: str
    by: Identity
    when: datetime

    def variables(self) -> dict[str, str]:
        """Give author and committer as git reads them."""
        date = f"@{int(self.when.timestamp())} +0000"
        parts = (("NAME", self.by.name), ("EMAIL", self.by.email), ("DATE", date))
        return {f"GIT_{who}_{part}": value for who in ("AUTHOR", "COMMITTER") for part, value in parts}


@dataclass(frozen=True, slots=True, kw_only=True)
class Branches:
    """The branches of one repository, bare or with a work tree."""

    git: Git
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path) -> Branches:
        """Open the repository around a directory, or the bare one it is.

        Raises:
            ResolveError: there is none, or git is missing.
        """
        git = open_git(root)
        if git is not None:
            return cls(git=git)
        if not is_bare(root):
            raise ResolveError(f"there is no Git repository around {root}", advice="git init")
        place = root.resolve()
        bare = Git(program=git_program(), top=place, settings=SETTINGS)
        return cls(git=bare, variables={"GIT_DIR": str(place)})

    def identity(self, environ: Mapping[str, str]) -> Identity:
        """Tell who commits here, as git itself would: environment, this repository, then the user's settings.

        Raises:
            ResolveError: nobody said.
        """
        from opsascode.repo._objects import Identity  # noqa: PLC0415 - known to this method only

        found = {key: self._said(key, environ) for key in ("name", "email")}
        missing = [f"user.{key}" for key, value in found.items() if not value]
        if missing:
            raise ResolveError(
                f"Git does not know who you are: {' and '.join(missing)} not set",
                advice="git config --global user.name 'Your Name' and git config --global user.email you@example.org",
            )
        return Identity(name=found["name"], email=found["email"])

    def restored_commit(self, old: Snapshot, target: Snapshot, made: Made) -> str:
        """Make a commit after `old` whose protected files are exactly those of `target`; no ref moves.

        Raises:
            ResolveError: there is nothing to take back, or git cannot make it.
        """
        wanted = {path: each for path, each in target.files.items() if not _of_trust(path)}
        there = {path: each for path, each in old.files.items() if not _of_trust(path)}
        gone = [f"0 {_GONE}\t{path}\0" for path in there.keys() - wanted.keys()]
        back = [
            f"{each.mode} {each.oid}\t{path}\0"
            for path, each in wanted.items()
            if path not in there or (there[path].mode, there[path].oid) != (each.mode, each.oid)
        ]
        if not gone and not back:
            raise ResolveError(
                f"nothing to take back: the protected files of {target.commit[:12]} are those of {old.commit[:12]}"
            )
        return self._commit(self._tree(old.commit, (*sorted(gone), *sorted(back))), (old.commit,), made)

    def merge_commit(self, base: str, head: str, made: Made) -> str:
        """Merge `head` into `base` with a commit of two parents, never a fast-forward; no ref moves.

        Raises:
            ResolveError: they conflict, have no common history, or there is nothing to merge.
        """
        for each in (base, head):
            _whole(each)
        if not self._ask(("merge-base", "--is-ancestor", head, base)).returncode:
            raise ResolveError(f"nothing to merge: {head[:12]} is in {base[:12]} already")
        told = self._merged(base, head)
        if told.returncode == _CONFLICT:
            names = sorted(set(readable(told.stdout).split("\0")[1:]) - {""})
            some = ", ".join(names[:_FILES_NAMED])
            raise ResolveError(
                f"{head[:12]} cannot be merged into {base[:12]} without a decision about {some or 'some files'}",
                advice="make the change anew on top of the branch, and have the result approved",
            )
        if told.returncode:
            raise ResolveError(f"git cannot merge {head[:12]} into {base[:12]}: {last_line(told)}")
        return self._commit(readable(told.stdout).split("\0")[0].strip(), (base, head), made)

    def create_branch(self, name: str, commit: str) -> str:
        """Make a branch at a commit, and give its full ref.

        Raises:
            ResolveError: the name is none or taken.
        """
        ref = f"refs/heads/{name}"
        if name.startswith("-") or self._ask(("check-ref-format", ref)).returncode:
            raise ResolveError(f"{name!r} cannot be the name of a branch")
        told = self._ask(("update-ref", "--stdin"), data=f"create {ref} {_whole(commit)}\n".encode())
        if told.returncode:
            raise ResolveError(
                f"the branch {name} cannot be made: {last_line(told)}",
                advice="give another name, or delete the branch that is there",
            )
        return ref

    def move_ref(self, ref: str, new: str, old: str | None) -> None:
        """Move a ref from one commit to another, if it still stands where it was said to stand; None for a new ref.

        Raises:
            ResolveError: it stands elsewhere, or somebody has it checked out.
        """
        if not ref.startswith("refs/") or self._ask(("check-ref-format", ref)).returncode:
            raise ResolveError(f"{ref!r} is no full name of a ref", advice="such as refs/heads/main")
        place = self.checked_out(ref)
        if place is not None:
            raise ResolveError(
                f"{ref} is checked out in {place}, and no work tree is ever touched", advice="git switch --detach"
            )
        words = f"update {ref} {_whole(new)} {_whole(old)}\n" if old else f"create {ref} {_whole(new)}\n"
        told = self._ask(("update-ref", "--stdin"), data=words.encode())
        if told.returncode:
            raise ResolveError(f"{ref} did not move: {last_line(told)}", advice="somebody was quicker: begin again")

    def checked_out(self, ref: str) -> str | None:
        """Name a work tree that has this ref checked out."""
        told = self._ask(("worktree", "list", "--porcelain", "-z"))
        for about in readable(told.stdout).split("\0\0"):
            lines = about.split("\0")
            if f"branch {ref}" in lines:
                return next((line.removeprefix("worktree ") for line in lines if line.startswith("worktree ")), "")
        return None

    def _said(self, key: str, environ: Mapping[str, str]) -> str:
        told = self._ask(("config", "--get-all", "-z", f"user.{key}"))
        ours = readable(told.stdout).split("\0")[:-1]
        said = [*self.git.said_by_user(f"user.{key}"), *ours, environ.get(f"GIT_COMMITTER_{key.upper()}", "")]
        last = next((each for each in reversed(said) if each.strip()), "")
        return re.sub(r"[<>\x00-\x1f\x7f]", "", last).strip()

    def _tree(self, base: str, lines: Sequence[str]) -> str:
        """Make the tree of `base` with these lines of an index laid over it."""
        with tempfile.TemporaryDirectory(prefix="opsascode-") as scratch:
            own = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            self._must(("read-tree", _whole(base)), variables=own)
            raw = "".join(lines).encode(errors="surrogateescape")
            self._must(("update-index", "--add", "-z", "--index-info"), variables=own, data=raw)
            return self._must(("write-tree",), variables=own)

    def _commit(self, tree: str, parents: Sequence[str], made: Made) -> str:
        words = [word for parent in parents for word in ("-p", _whole(parent))]
        message = made.message.rstrip("\n").encode() + b"\n"
        return self._must(("commit-tree", "--no-gpg-sign", *words, tree), variables=made.variables(), data=message)

    def _merged(self, base: str, head: str) -> CompletedProcess[bytes]:
        told = self._must(("config", "--list", "--name-only", "-z"))
        # A driver that fails is a conflict; one that is empty would silently keep our side.
        drivers = [(key, "false") for key in told.split("\0") if _DRIVER.fullmatch(key)]
        words = ("merge-tree", "--write-tree", "-z", "--name-only", "--no-messages", base, head)
        settings = (*drivers, ("merge.renormalize", "false"))
        return self.git.ask(words, settings=settings, variables=self.variables)

    def _ask(
        self, words: Sequence[str], *, variables: Mapping[str, str] | None = None, data: bytes = b""
    ) -> CompletedProcess[bytes]:
        return self.git.ask(words, variables={**self.variables, **(variables or {})}, data=data)

    def _must(self, words: Sequence[str], *, variables: Mapping[str, str] | None = None, data: bytes = b"") -> str:
        told = self._ask(words, variables=variables, data=data)
        if told.returncode:
            raise ResolveError(f"git cannot make the commit: {last_line(told)}")
        return readable(told.stdout).strip()


def _of_trust(path: str) -> bool:
    return path.startswith(f"{TRUST_FOLDER}/")


def _whole(commit: str) -> str:
    if not _OBJECT.fullmatch(commit):
        raise ResolveError(f"{commit[:80]!r} is no full commit id")
    return commit
