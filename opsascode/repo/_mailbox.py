"""Where do people on different machines leave requests and approvals for each other?

In the Git repository, under a ref of its own: `refs/opsascode/asks` holds a chain of commits over a tree that only
grows, `requests/<run>/<stage>.json` and `approvals/<run>/<digest>.json`. With a remote it is fetched and pushed like
any branch; two people who write at once both keep what they wrote. Neither the work tree, nor the index, nor any other
ref is touched (what was fetched stands under `refs/opsascode/remotes/`).

Everything in it may come from anybody who can push: it carries statements and proves nothing. Git runs as in `_git`;
for the way to the remote only file, ssh and https are open, with git's own programs at both ends, and nothing asks for
a password. Not here: what the files mean (`run`), and whether they count (`policy`).
"""

from __future__ import annotations

import os
import random
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.errors import ResolveError
from opsascode.repo._git import SETTINGS, Git, find_top, git_program, readable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from subprocess import CompletedProcess

ASKS_REF: Final = "refs/opsascode/asks"
_REMOTE_REF: Final = "refs/opsascode/remotes/{}/asks"
_PATH: Final = re.compile(
    r"requests/(?P<asked>[a-z0-9][a-z0-9-]{0,63})/(?P<stage>[0-9]{1,6}\.[0-9]{1,6})\.json"
    r"|approvals/(?P<answered>[a-z0-9][a-z0-9-]{0,63})/(?P<digest>[0-9a-f]{64})\.json"
)
_REMOTE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CREDENTIAL: Final = re.compile(r"credential\..*")
_ATTEMPTS: Final = 12
_RUNS_READ: Final = 200
_APPROVALS_READ: Final = 4096
_MAX_APPROVAL: Final = 65536
_MAX_REQUEST: Final = 17 * 1024 * 1024
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
class Posted:
    """Something somebody left: for a request `name` is its stage, for an approval its digest."""

    run: str
    name: str
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    path: str
    blob: str
    size: int


class Mailbox:
    """The asks of one clone, and of its remote if there is one."""

    def __init__(self, git: Git, remote: str | None) -> None:
        self._git, self._remote = git, remote

    @classmethod
    def of(cls, root: Path, remote: str | None) -> Mailbox | None:
        """Open the mailbox of the repository around a directory; None where there is no Git.

        Raises:
            ResolveError: git is missing, or the remote's name is none.
        """
        top = find_top(root)
        if top is None:
            return None
        if remote is not None and not _REMOTE_NAME.fullmatch(remote):
            raise ResolveError(f"{remote!r} is not the name of a Git remote", advice="see spec.approvals.remote")
        git = Git(program=git_program(), top=top, settings=SETTINGS)
        if b"dubious ownership" in git.ask(("rev-parse", "--git-dir")).stderr and git.is_allowed_by_user():
            git = git.trusted()
        return cls(git, remote)

    @property
    def remote(self) -> str | None:
        """The name of the remote that others read, if there is one."""
        return self._remote

    def post_request(self, run: str, stage: str, content: bytes) -> None:
        """Leave a request; one that is there already stays as it is.

        Raises:
            ResolveError: it cannot be written, or did not reach the remote; then the next post takes it along.
        """
        self._post(f"requests/{run}/{stage}.json", content)

    def post_approval(self, run: str, digest: str, content: bytes) -> None:
        """Leave an approval, named by the digest of its statement.

        Raises:
            ResolveError: as for a request.
        """
        self._post(f"approvals/{run}/{digest.removeprefix('sha256:')}.json", content)

    def requests(self, run: str | None = None) -> tuple[Posted, ...]:
        """Give the requests of a run, or of the latest runs."""
        asked = [(str(found["asked"]), each) for each in self._entries(ASKS_REF) if (found := _parts(each))["asked"]]
        latest = sorted({each for each, _ in asked}, reverse=True)[:_RUNS_READ]
        runs = {run} if run is not None else set(latest)
        chosen = [entry for each, entry in asked if each in runs and entry.size <= _MAX_REQUEST]
        return tuple(
            Posted(run=str(_parts(entry)["asked"]), name=str(_parts(entry)["stage"]), content=content)
            for entry, content in zip(chosen, self._contents(chosen), strict=True)
        )

    def approvals(self, run: str) -> tuple[Posted, ...]:
        """Give what was left as approvals for a run, unjudged.

        Raises:
            ResolveError: there are so many that somebody is hiding one among them.
        """
        chosen = [
            each for each in self._entries(ASKS_REF) if _parts(each)["answered"] == run and each.size <= _MAX_APPROVAL
        ]
        if len(chosen) > _APPROVALS_READ:
            raise ResolveError(
                f"{len(chosen)} approvals are left for {run}, which nobody can need",
                advice="find out who pushed them, and bring the right ones as files: --approval FILE",
            )
        return tuple(
            Posted(run=run, name=str(_parts(entry)["digest"]), content=content)
            for entry, content in zip(chosen, self._contents(chosen), strict=True)
        )

    def fetch(self) -> None:
        """Take in what others left at the remote; without a remote nothing happens.

        Raises:
            ResolveError: the remote cannot be read.
        """
        if self._remote is not None:
            self._grow({})

    def _post(self, path: str, content: bytes) -> None:
        if not _PATH.fullmatch(path):
            raise ResolveError(f"{path!r} is no name for a request or an approval")
        blob = self._must(("hash-object", "-w", "-t", "blob", "--stdin"), data=content)
        self._grow({path: blob}, push=True)

    def _grow(self, additions: Mapping[str, str], *, push: bool = False) -> None:
        """Join what is here, what is at the remote and what is new; try again when somebody was quicker."""
        why = ""
        for attempt in range(_ATTEMPTS):
            theirs = self._fetched() if self._remote is not None else None
            ours = self._tip(ASKS_REF)
            tip = self._joined(ours, theirs, additions)
            if tip is None:
                return
            why = self._moved(tip, ours) or (self._pushed(tip) if push and tip != theirs else "")
            if not why:
                return
            time.sleep(random.uniform(0.01, 0.05) * (attempt + 1))  # noqa: S311 - so that two who collide part
        where = f" at {self._remote}" if self._remote else ""
        raise ResolveError(
            f"the request or approval could not be left in Git{where}: {why}",
            advice="see spec.approvals.remote of opsascode.yml, or use files: opsascode approve --out FILE",
        )

    def _joined(self, ours: str | None, theirs: str | None, additions: Mapping[str, str]) -> str | None:
        """Give a commit that holds everything, made only where none does yet."""
        tips = [each for each in dict.fromkeys((theirs, ours)) if each is not None]
        if len(tips) > 1:
            tips = next(([one] for one, other in (tips, tips[::-1]) if self._holds(one, other)), tips)
        base = tips[0] if tips else None
        there = {each.path for each in self._entries(base)} if base is not None else set()
        more = {each.path: each.blob for tip in tips[1:] for each in self._entries(tip)}
        new = {path: blob for path, blob in {**more, **additions}.items() if path not in there}
        return self._commit(base, new, tips) if new or len(tips) > 1 else base

    def _commit(self, base: str | None, new: Mapping[str, str], parents: Sequence[str]) -> str:
        with tempfile.TemporaryDirectory(prefix="opsascode-") as scratch:
            own = {"GIT_INDEX_FILE": str(Path(scratch) / "index"), **_IDENTITY}
            if base is not None:
                self._must(("read-tree", base), variables=own)
            lines = "".join(f"100644 blob {blob}\t{path}\n" for path, blob in sorted(new.items()))
            self._must(("update-index", "--add", "--index-info"), variables=own, data=lines.encode())
            tree = self._must(("write-tree",), variables=own)
            words = [word for parent in parents for word in ("-p", parent)]
            return self._must(("commit-tree", "--no-gpg-sign", *words, "-m", "opsascode asks", tree), variables=own)

    def _moved(self, tip: str, before: str | None) -> str:
        """Move our ref, if it still stands where it stood."""
        if tip == before:
            return ""
        line = f"update {ASKS_REF} {tip} {before}\n" if before else f"create {ASKS_REF} {tip}\n"
        told = self._git.ask(("update-ref", "--stdin"), data=line.encode())
        return _last_line(told) if told.returncode else ""

    def _pushed(self, tip: str) -> str:
        """Push, and say why it was refused; somebody else's push in between is one reason."""
        if self._remote is None:
            return ""
        words = (
            "push", "--quiet", "--no-verify", "--no-signed", "--no-follow-tags", "--recurse-submodules=no", "--thin",
            "--receive-pack=git-receive-pack", "--", self._address(push=True), f"{tip}:{ASKS_REF}",
        )  # fmt: skip
        told = self._travel(words)
        return _last_line(told) if told.returncode else ""

    def _fetched(self) -> str | None:
        """Bring the remote's tip here, under a ref of its own, and name it; None where it has none."""
        address = self._address(push=False)
        told = self._travel(("ls-remote", "--upload-pack=git-upload-pack", "--", address, ASKS_REF))
        if told.returncode:
            raise ResolveError(
                f"the Git remote {self._remote} cannot be read: {_last_line(told)}",
                advice="see spec.approvals.remote of opsascode.yml, or use files: opsascode approve --out FILE",
            )
        there = next((line.split("\t")[0] for line in readable(told.stdout).splitlines() if "\t" in line), None)
        kept = _REMOTE_REF.format(self._remote)
        if there is None or there == self._tip(kept):
            return there
        words = (
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules",
            "--no-auto-maintenance", "--upload-pack=git-upload-pack", "--", address, f"+{ASKS_REF}:{kept}",
        )  # fmt: skip
        told = self._travel(words)
        found = self._tip(kept)
        if told.returncode and found is None:
            raise ResolveError(f"the Git remote {self._remote} cannot be read: {_last_line(told)}")
        return found

    def _travel(self, words: Sequence[str]) -> CompletedProcess[bytes]:
        """Ask something of the remote: no helper but the user's own sees credentials."""
        settings = [
            (key, "") for key, _ in self._git.config() if _CREDENTIAL.fullmatch(key) and key.endswith(".helper")
        ]
        helpers = [("credential.helper", each) for each in ("", *self._git.said_by_user("credential.helper"))]
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return self._git.ask(words, settings=(*settings, *helpers), variables={**_WAY, **passed_on})

    def _address(self, *, push: bool) -> str:
        keys = [f"remote.{self._remote}.{each}" for each in (("pushurl", "url") if push else ("url",))]
        said = dict(reversed([(key, value) for key, value in self._git.config() if key in keys]))
        for key in keys:
            if said.get(key):
                return said[key]
        raise ResolveError(
            f"there is no Git remote {self._remote} here", advice="see spec.approvals.remote of opsascode.yml"
        )

    def _entries(self, commit: str) -> tuple[_Entry, ...]:
        """List what a commit holds of ours; whatever else is in the tree is passed over."""
        told = self._git.ask(("ls-tree", "-r", "-l", "-z", "--full-tree", commit))
        return tuple(_entries(readable(told.stdout))) if not told.returncode else ()

    def _contents(self, entries: Sequence[_Entry]) -> tuple[bytes, ...]:
        if not entries:
            return ()
        asked = "".join(f"{each.blob}\n" for each in entries).encode()
        told = self._git.ask(("cat-file", "--batch=%(objectsize)"), data=asked)
        rest, found = told.stdout, []
        for _ in entries:
            size, _, rest = rest.partition(b"\n")
            if not size.isdigit():
                raise ResolveError("the Git repository lacks something that was left in it", advice="git fsck")
            found.append(rest[: int(size)])
            rest = rest[int(size) + 1 :]
        return tuple(found)

    def _tip(self, ref: str) -> str | None:
        told = self._git.ask(("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"))
        return readable(told.stdout).strip() or None if not told.returncode else None

    def _holds(self, newer: str, older: str) -> bool:
        return self._git.ask(("merge-base", "--is-ancestor", older, newer)).returncode == 0

    def _must(self, words: Sequence[str], *, variables: Mapping[str, str] | None = None, data: bytes = b"") -> str:
        told = self._git.ask(words, variables=variables, data=data)
        if told.returncode:
            raise ResolveError(f"git cannot keep the request or approval: {_last_line(told)}")
        return readable(told.stdout).strip()


def _entries(listed: str) -> Iterator[_Entry]:
    for line in listed.split("\0"):
        about, _, path = line.partition("\t")
        words = about.split()
        if len(words) == 4 and words[:2] == ["100644", "blob"] and _PATH.fullmatch(path):  # noqa: PLR2004 - mode, type, name, size
            yield _Entry(path=path, blob=words[2], size=int(words[3]))


def _parts(entry: _Entry) -> dict[str, str | None]:
    found = _PATH.fullmatch(entry.path)
    return found.groupdict() if found else {}


def _last_line(told: CompletedProcess[bytes]) -> str:
    lines = [line for line in readable(told.stderr).splitlines() if line.strip() and not line.startswith("hint:")]
    reason = next((line for line in lines if line.startswith(("fatal:", "error:", " !"))), lines[-1] if lines else "")
    return reason.removeprefix("fatal:").removeprefix("error:").strip() or f"git ended with {told.returncode}"
