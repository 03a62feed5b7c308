"""Which commit is this, and is anything different from it?

Asked of git itself, with two processes of its plumbing, and nothing a repository can say is ever executed: no hook,
file system monitor, filter, signature program or transport. Only the repository's own configuration is read, through an
environment built from nothing, so neither the caller's `GIT_*` variables nor machine and home settings have a word.
Replaced objects (`refs/replace`) are ignored.

Two consequences, both on the careful side: a file under a content filter (such as large file storage) counts as changed
once its time stamp differs from the index, and only the repository's own ignore rules excuse an untracked file. Not
here: what is inside submodules (only the commit they stand at counts), and reading old versions of files.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from opsascode.errors import Position, ResolveError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TIMEOUT_SECONDS = 60
CHANGED_AT_MOST = 20

_PLACES = ("/usr/bin", "/usr/local/bin", "/bin", "/opt/homebrew/bin", "/run/current-system/sw/bin")
_FILTER = re.compile(r"filter\.(?P<name>.*)\.[a-z]+\Z", re.DOTALL)
_FIELDS_BEFORE_PATH = {"1": 8, "2": 9, "u": 10, "?": 1}
SETTINGS = {
    "core.attributesFile": "/dev/null",
    "core.excludesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.pager": "cat",
    "core.untrackedCache": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",
    "submodule.recurse": "false",
}
ENVIRONMENT = {
    "PATH": os.defpath,
    "LC_ALL": "C",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_GRAFT_FILE": "/dev/null",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GitState:
    """What git says of a directory: `commit` is None without a repository or before its first commit.

    `dirty` means tracked changes or untracked files that are not ignored; `changed` names some of them, relative to
    `top`, for messages. `remote` is the address of `origin` without credentials.
    """

    commit: str | None = None
    branch: str | None = None
    dirty: bool = False
    changed: tuple[str, ...] = ()
    remote: str | None = None
    top: Path | None = None


def git_state(root: Path) -> GitState:
    """Where the repository around `root` stands, or an empty state where there is none.

    Raises:
        ResolveError: git is missing, or refuses the repository (damaged, or owned by somebody else).
    """
    top = find_top(root)
    if top is None:
        return GitState()
    git = Git(program=git_program(), top=top, settings=SETTINGS)
    config = git.config()
    told = git.status(config)
    if b"dubious ownership" in told.stderr and git.is_allowed_by_user():
        git = git.trusted()
        config = git.config()
        told = git.status(config)
    if told.returncode:
        raise _refused(told.stderr, top)
    commit, branch, changed = _parse_status(readable(told.stdout))
    return GitState(
        commit=commit,
        branch=branch,
        dirty=bool(changed),
        changed=changed[:CHANGED_AT_MOST],
        remote=_remote(config),
        top=top,
    )


def open_git(root: Path) -> Git | None:
    """Give the Git repository around a directory to ask, None where there is none.

    Raises:
        ResolveError: git is missing.
    """
    top = find_top(root)
    if top is None:
        return None
    git = Git(program=git_program(), top=top, settings=SETTINGS)
    if b"dubious ownership" in git.ask(("rev-parse", "--git-dir")).stderr and git.is_allowed_by_user():
        return git.trusted()
    return git


def find_top(root: Path) -> Path | None:
    """Find the closest directory with a `.git` in it: a bare repository lying in the tree is never taken for one."""
    start = root.resolve()
    return next((each for each in (start, *start.parents) if os.path.lexists(each / ".git")), None)


def git_program() -> str:
    """Git by its absolute path: a search along the caller's PATH could find another program."""
    for place in _PLACES:
        found = Path(place, "git")
        if os.access(found, os.X_OK):
            return str(found)
    raise ResolveError("git is not installed", advice=f"it is looked for in {', '.join(_PLACES)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Git:
    """One repository, asked through git's plumbing in an environment built from nothing."""

    program: str
    top: Path
    settings: Mapping[str, str]

    def config(self) -> Sequence[tuple[str, str]]:
        """List the repository's own settings in order, keys as git spells them."""
        listed = self.ask(["config", "--list", "-z"])
        if listed.returncode:
            raise _refused(listed.stderr, self.top)
        pairs = (entry.partition("\n") for entry in readable(listed.stdout).split("\0") if entry)
        return [(key, value) for key, _, value in pairs]

    def status(self, config: Sequence[tuple[str, str]]) -> subprocess.CompletedProcess[bytes]:
        """Ask for the machine-readable status, with every filter the repository names made empty."""
        emptied = {
            f"filter.{found['name']}.{verb}": value
            for found in (_FILTER.match(key) for key, _ in config)
            if found
            for verb, value in (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))
        }
        question = (
            "status", "--porcelain=v2", "--branch", "-z", "--no-renames", "--no-ahead-behind",
            "--untracked-files=normal", "--ignore-submodules=dirty",
        )  # fmt: skip
        return self.ask(question, settings=emptied.items())

    def trusted(self) -> Git:
        """Give the same, taken for safe although it belongs to another user."""
        return replace(self, settings={**self.settings, "safe.directory": str(self.top)})

    def is_allowed_by_user(self) -> bool:
        """Whether the user's or machine's settings name this directory safe: a repository cannot say so of itself."""
        return not {"*", str(self.top)}.isdisjoint(self.said_by_user("safe.directory"))

    def said_by_user(self, key: str) -> Sequence[str]:
        """Give what the user's and the machine's settings say, and the repository's own do not."""
        home = {name: os.environ[name] for name in ("HOME", "XDG_CONFIG_HOME") if name in os.environ}
        environment = {"PATH": os.defpath, "LC_ALL": "C", "GIT_CEILING_DIRECTORIES": "/", **home}
        told = self._run(("config", "--get-all", "-z", key), environment, Path("/"))
        return readable(told.stdout).split("\0")[:-1]

    def ask(
        self,
        question: Sequence[str],
        *,
        settings: Iterable[tuple[str, str]] = (),
        variables: Mapping[str, str] | None = None,
        data: bytes = b"",
    ) -> subprocess.CompletedProcess[bytes]:
        """Ask one question, with further settings and variables, and bytes on its standard input."""
        environment = {
            **ENVIRONMENT,
            "GIT_CEILING_DIRECTORIES": str(self.top.parent),
            **as_variables((*self.settings.items(), *settings)),
        }
        if "HOME" in os.environ:
            environment["HOME"] = os.environ["HOME"]  # an include in the repository's own configuration may name it
        return self._run(question, {**environment, **(variables or {})}, self.top, data)

    def _run(
        self, question: Sequence[str], environment: Mapping[str, str], directory: Path, data: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(  # noqa: S603 - absolute program, fixed words, an environment built from nothing
                [self.program, "--no-pager", *question],
                cwd=directory,
                env=environment,
                input=data,
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                start_new_session=True,  # Ctrl-C is for the caller to hear
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ResolveError(
                f"git gave no answer within {TIMEOUT_SECONDS} seconds", position=Position(path=str(self.top))
            ) from None


def as_variables(settings: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Give settings to one git process: as variables any name can be spelled, as `-c` one with `=` could not."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for index, (key, value) in enumerate(settings):
        variables |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
    return variables


def _parse_status(told: str) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Commit, branch and changed paths of `git status --porcelain=v2 --branch -z`."""
    commit = branch = None
    changed = []
    for entry in told.split("\0"):
        kind, _, rest = entry.partition(" ")
        if rest.startswith("branch.oid ") and "(initial)" not in rest:
            commit = rest.removeprefix("branch.oid ")
        elif rest.startswith("branch.head ") and "(detached)" not in rest:
            branch = rest.removeprefix("branch.head ")
        elif kind in _FIELDS_BEFORE_PATH:
            changed.append(entry.split(" ", _FIELDS_BEFORE_PATH[kind])[-1])
    return commit, branch, tuple(changed)


def _remote(config: Sequence[tuple[str, str]]) -> str | None:
    """Tell the address of `origin` as far as it may be shown: no password, no token, no query."""
    address = next((value for key, value in config if key == "remote.origin.url"), "")
    if "://" not in address:
        return address or None
    parts = urlsplit(address)
    user, found, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0] if parts.scheme.startswith(("ssh", "git+ssh")) else ""
    return urlunsplit((parts.scheme, f"{name}{found}{host}" if name else host, parts.path, "", ""))


def _refused(words: bytes, top: Path) -> ResolveError:
    told = readable(words)
    if "dubious ownership" in told:
        return ResolveError(
            "this Git repository belongs to another user, so git refuses to read it",
            position=Position(path=str(top)),
            advice=f"git config --global --add safe.directory {top}",
        )
    first = next((line for line in told.splitlines() if line.startswith("fatal:")), told.strip() or "no reason given")
    return ResolveError(
        f"git cannot use this repository: {first.removeprefix('fatal:').strip()}", position=Position(path=str(top))
    )


def readable(raw: bytes) -> str:
    """Read what git says, whatever bytes are in it."""
    return raw.decode(errors="backslashreplace")
