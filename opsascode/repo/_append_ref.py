"""How does something that only grows travel in Git, beside the branches and without touching them?

One ref holds a chain of commits over a tree of small files. With a remote it is fetched and pushed like any branch,
fast-forward only; two who write at once both keep what they wrote, for whoever comes second joins both and tries again.
Neither the work tree, nor the index, nor any other ref is touched (what was fetched stands under
`refs/opsascode/remotes/`). A bare repository is as good as a clone.

Everything in it may come from anybody who can push: it carries statements and proves nothing. Git runs as in `_git`;
for the way to the remote only file, ssh and https are open, with git's own programs at both ends, and nothing asks for
a password. Not here: what the files are called and mean (`_mailbox`, and whoever else has a ref), and whether they
count (`policy`).
"""

from __future__ import annotations

import os
import random
import re
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.errors import ResolveError
from opsascode.repo._git import SETTINGS, Git, git_program, open_git, readable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from subprocess import CompletedProcess

_REMOTE_REF: Final = "refs/opsascode/remotes/{}/{}"
_REMOTE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CREDENTIAL: Final = re.compile(r"credential\..*")
_ATTEMPTS: Final = 12
_IDENTITY: Final = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "opsascode"), ("EMAIL", "opsascode@localhost"))
}
_WAY: Final = {
    "GIT_ALLOW_PROTOCOL": "file:https:ssh",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oConnectTimeout=10",
    "GIT_SSH_VARIANT": "ssh",
}
_PASSED_ON: Final = ("SSH_AUTH_SOCK", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefForm:
    """What a ref is for: which paths are its own, how its commits are called, and words for messages.

    `noun` stands in "the … could not be left in Git"; `advice` says what to do when the remote cannot be reached.
    """

    ref: str
    paths: re.Pattern[str]
    subject: str
    noun: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefEntry:
    """One file in the tree of a ref."""

    path: str
    blob: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendRef:
    """One ref of one repository, and of its remote if there is one."""

    git: Git
    form: RefForm
    remote: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, root: Path, remote: str | None, form: RefForm) -> AppendRef | None:
        """Open the ref in the repository around a directory, or in the bare one it is; None where there is no Git.

        Raises:
            ResolveError: git is missing, or the remote's name is none.
        """
        git = open_git(root)
        bare = git is None and is_bare(root)
        if git is None and not bare:
            return None
        if remote is not None and not _REMOTE_NAME.fullmatch(remote):
            raise ResolveError(f"{remote!r} is not the name of a Git remote", advice="see spec.approvals.remote")
        return cls.of_bare(root, form, remote=remote) if git is None else cls(git=git, form=form, remote=remote)

    @classmethod
    def of_bare(
        cls, directory: Path, form: RefForm, *, remote: str | None = None, quarantine: Mapping[str, str] | None = None
    ) -> AppendRef:
        """Open the ref of a Git directory that is named, never looked for; a hook gives its quarantine along.

        Raises:
            ResolveError: git is missing.
        """
        place = directory.resolve()
        git = Git(program=git_program(), top=place, settings=SETTINGS)
        return cls(git=git, form=form, remote=remote, variables={"GIT_DIR": str(place), **(quarantine or {})})

    def add(self, files: Mapping[str, bytes]) -> None:
        """Leave files; one that is there already stays as it is.

        Raises:
            ResolveError: they cannot be written, or did not reach the remote; then the next time takes them along.
        """
        for path in files:
            if not self.form.paths.fullmatch(path):
                raise ResolveError(f"{path!r} is no name for {self.form.noun}")
        blobs = {path: self.write(content) for path, content in files.items()}
        self.grow(lambda ours, theirs: self._joined(ours, theirs, blobs), push=True)

    def fetch(self) -> None:
        """Take in what others left at the remote; without a remote nothing happens.

        Raises:
            ResolveError: the remote cannot be read.
        """
        if self.remote is not None:
            self.grow(lambda ours, theirs: self._joined(ours, theirs, {}), push=False)

    def grow(self, join: Callable[[str | None, str | None], str | None], *, push: bool) -> str | None:
        """Move the ref here, and with `push` at the remote, to what `join` makes of our tip and theirs.

        `join` is asked again when somebody was quicker. It gives a commit that descends from theirs and has what is
        ours in it, or None for nothing to do; what it gave in the end is returned.

        Raises:
            ResolveError: the remote cannot be read, or refuses again and again.
        """
        why = ""
        for attempt in range(_ATTEMPTS):
            theirs = self.fetched() if self.remote is not None else None
            ours = self.tip()
            tip = join(ours, theirs)
            if tip is None:
                return None
            why = self.move(tip, ours) or (self.pushed(tip) if push and tip != theirs else "")
            if not why:
                return tip
            time.sleep(random.uniform(0.01, 0.05) * (attempt + 1))  # noqa: S311 - so that two who collide part
        where = f" at {self.remote}" if self.remote else ""
        raise ResolveError(f"{self.form.noun} could not be left in Git{where}: {why}", advice=self.form.advice)

    def tip(self, ref: str | None = None) -> str | None:
        """Name the commit our ref, or another one, stands at."""
        told = self.ask(("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref or self.form.ref}^{{commit}}"))
        return readable(told.stdout).strip() or None if not told.returncode else None

    def entries(self, commit: str | None = None, below: Sequence[str] = ()) -> tuple[RefEntry, ...]:
        """List what our ref, or one commit, holds of ours, all or below some paths; anything else is passed over."""
        words = ("ls-tree", "-r", "-l", "-z", "--full-tree", "--end-of-options", commit or self.form.ref)
        told = self.ask((*words, *below))
        return tuple(self._listed(readable(told.stdout))) if not told.returncode else ()

    def contents(self, entries: Sequence[RefEntry]) -> tuple[bytes, ...]:
        """Read what entries hold, in their order.

        Raises:
            ResolveError: the repository lacks one of them.
        """
        if not entries:
            return ()
        asked = "".join(f"{each.blob}\n" for each in entries).encode()
        found = batched(self.ask(("cat-file", "--batch=%(objectsize)"), data=asked).stdout, len(entries))
        if found is None:
            raise ResolveError("the Git repository lacks something that was left in it", advice="git fsck")
        return found

    def write(self, content: bytes) -> str:
        """Keep content as a blob, and name it.

        Raises:
            ResolveError: the repository cannot be written.
        """
        return self._must(("hash-object", "-w", "-t", "blob", "--stdin"), data=content)

    def commit(self, base: str | None, files: Mapping[str, str], parents: Sequence[str]) -> str:
        """Make a commit over the tree of `base` with these blobs at these paths; no ref moves.

        Raises:
            ResolveError: the repository cannot be written.
        """
        with tempfile.TemporaryDirectory(prefix="opsascode-") as scratch:
            own = {"GIT_INDEX_FILE": str(Path(scratch) / "index"), **_IDENTITY}
            if base is not None:
                self._must(("read-tree", base), variables=own)
            lines = "".join(f"100644 blob {blob}\t{path}\n" for path, blob in sorted(files.items()))
            self._must(("update-index", "--add", "--index-info"), variables=own, data=lines.encode())
            tree = self._must(("write-tree",), variables=own)
            words = [word for parent in parents for word in ("-p", parent)]
            message = ("-m", self.form.subject, tree)
            return self._must(("commit-tree", "--no-gpg-sign", *words, *message), variables=own)

    def holds(self, newer: str, older: str) -> bool:
        """Whether one commit descends from, or is, another."""
        return self.ask(("merge-base", "--is-ancestor", older, newer)).returncode == 0

    def move(self, tip: str, before: str | None) -> str:
        """Move our ref, if it still stands where it stood; say why it did not move, or nothing."""
        if tip == before:
            return ""
        line = f"update {self.form.ref} {tip} {before}\n" if before else f"create {self.form.ref} {tip}\n"
        told = self.ask(("update-ref", "--stdin"), data=line.encode())
        return last_line(told) if told.returncode else ""

    def fetched(self) -> str | None:
        """Bring the remote's tip here, under a ref of its own, and name it; None where it has none.

        Without a remote, our own tip is all there is.

        Raises:
            ResolveError: the remote cannot be read.
        """
        if self.remote is None:
            return self.tip()
        address = self._address(push=False)
        told = self._travel(("ls-remote", "--upload-pack=git-upload-pack", "--", address, self.form.ref))
        if told.returncode:
            raise self._unreadable(told)
        listed = (line.split("\t") for line in readable(told.stdout).splitlines() if "\t" in line)
        there = next((commit for commit, name in listed if name == self.form.ref), None)
        kept = _REMOTE_REF.format(self.remote, self.form.ref.rpartition("/")[2])
        if there is None or there == self.tip(kept):
            return there
        words = (
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules",
            "--no-auto-maintenance", "--upload-pack=git-upload-pack", "--", address, f"+{self.form.ref}:{kept}",
        )  # fmt: skip
        told = self._travel(words)
        found = self.tip(kept)
        if told.returncode and (found is None or not self.holds(found, there)):
            raise self._unreadable(told)
        return found

    def ask(
        self, words: Sequence[str], *, variables: Mapping[str, str] | None = None, data: bytes = b""
    ) -> CompletedProcess[bytes]:
        """Ask git one question about this repository."""
        return self.git.ask(words, variables={**self.variables, **(variables or {})}, data=data)

    def _joined(self, ours: str | None, theirs: str | None, additions: Mapping[str, str]) -> str | None:
        """Give a commit that holds everything, made only where none does yet."""
        tips = [each for each in dict.fromkeys((theirs, ours)) if each is not None]
        if len(tips) > 1:
            tips = next(([one] for one, other in (tips, tips[::-1]) if self.holds(one, other)), tips)
        base = tips[0] if tips else None
        there = {each.path for each in self.entries(base)} if base is not None else set()
        more = {each.path: each.blob for tip in tips[1:] for each in self.entries(tip)}
        new = {path: blob for path, blob in {**more, **additions}.items() if path not in there}
        return self.commit(base, new, tips) if new or len(tips) > 1 else base

    def pushed(self, tip: str) -> str:
        """Push, and say why it was refused; somebody else's push in between is one reason."""
        if self.remote is None:
            return ""
        words = (
            "push", "--quiet", "--no-verify", "--no-signed", "--no-follow-tags", "--recurse-submodules=no", "--thin",
            "--receive-pack=git-receive-pack", "--", self._address(push=True), f"{tip}:{self.form.ref}",
        )  # fmt: skip
        told = self._travel(words)
        return last_line(told) if told.returncode else ""

    def _travel(self, words: Sequence[str]) -> CompletedProcess[bytes]:
        """Ask something of the remote: no helper but the user's own sees credentials."""
        settings = [(key, "") for key, _ in self._config() if _CREDENTIAL.fullmatch(key) and key.endswith(".helper")]
        helpers = [("credential.helper", each) for each in ("", *self.git.said_by_user("credential.helper"))]
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return self.git.ask(words, settings=(*settings, *helpers), variables={**_WAY, **passed_on, **self.variables})

    def _address(self, *, push: bool) -> str:
        keys = [f"remote.{self.remote}.{each}" for each in (("pushurl", "url") if push else ("url",))]
        said = dict(reversed([(key, value) for key, value in self._config() if key in keys]))
        for key in keys:
            if said.get(key):
                return said[key]
        raise ResolveError(
            f"there is no Git remote {self.remote} here", advice="see spec.approvals.remote of opsascode.yml"
        )

    def _config(self) -> Sequence[tuple[str, str]]:
        """List the repository's own settings in order."""
        if not self.variables:
            return self.git.config()
        pairs = (each.partition("\n") for each in self._must(("config", "--list", "-z")).split("\0") if each)
        return [(key, value) for key, _, value in pairs]

    def _unreadable(self, told: CompletedProcess[bytes]) -> ResolveError:
        return ResolveError(f"the Git remote {self.remote} cannot be read: {last_line(told)}", advice=self.form.advice)

    def _must(self, words: Sequence[str], *, variables: Mapping[str, str] | None = None, data: bytes = b"") -> str:
        told = self.ask(words, variables=variables, data=data)
        if told.returncode:
            raise ResolveError(f"git cannot keep {self.form.noun}: {last_line(told)}")
        return readable(told.stdout).strip()

    def _listed(self, listed: str) -> Iterator[RefEntry]:
        for line in listed.split("\0"):
            about, _, path = line.partition("\t")
            words = about.split()
            if len(words) == 4 and words[:2] == ["100644", "blob"] and self.form.paths.fullmatch(path):  # noqa: PLR2004 - mode, type, name, size
                yield RefEntry(path=path, blob=words[2], size=int(words[3]))


def batched(told: bytes, count: int) -> tuple[bytes, ...] | None:
    """Take apart what `cat-file --batch=%(objectsize)` gives for so many objects; None when one is missing."""
    at, found = 0, []
    for _ in range(count):
        end = told.find(b"\n", at)
        size = told[at:end]
        if end < 0 or not size.isdigit():
            return None
        found.append(told[end + 1 : end + 1 + int(size)])
        at = end + 2 + int(size)
    return tuple(found)


def last_line(told: CompletedProcess[bytes]) -> str:
    """Say in one line why git did not do what it was asked."""
    lines = [line for line in readable(told.stderr).splitlines() if line.strip() and not line.startswith("hint:")]
    reason = next((line for line in lines if line.startswith(("fatal:", "error:", " !"))), lines[-1] if lines else "")
    return reason.removeprefix("fatal:").removeprefix("error:").strip() or f"git ended with {told.returncode}"


def is_bare(place: Path) -> bool:
    """Whether a directory is itself a bare repository."""
    return (place / "HEAD").is_file() and (place / "objects").is_dir() and (place / "refs").is_dir()
