"""How does a new ops repository get its Git history?

A directory that lies in no Git repository becomes one, with the branch `main` and one commit, as if its owner had typed
it: with their own name, signing and hooks. A name is never invented: where Git knows none, nothing is committed. Where
there is a Git repository already, it belongs to somebody, and nothing is done to it.

Not here: reading repositories (`_git`), which trusts nobody's settings. Here the repository is our own, one moment old.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import ResolveError
from opsascode.repo._git import find_top, git_program, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

BRANCH: Final = "main"
_TIMEOUT_SECONDS: Final = 120
_KEPT: Final = ("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What became of the history: `made` is whether the Git repository is new, `why` says why nothing was committed."""

    made: bool
    top: Path | None
    commit: str | None = None
    why: str = ""


def begin_history(root: Path, paths: Iterable[str], message: str) -> Begun:
    """Make a directory a Git repository with these files in one commit, unless it lies in one already."""
    top = find_top(root)
    if top is not None:
        return Begun(made=False, top=top, why="it lies in a Git repository already")
    try:
        git = _Own(program=git_program(), root=root)
    except ResolveError as error:
        return Begun(made=False, top=None, why=error.message)
    told = git.say("init", "--quiet", "--initial-branch", BRANCH)
    if told.returncode:
        return Begun(made=False, top=None, why=_reason(told))
    if git.say("-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT").returncode:
        return Begun(made=True, top=root, why="Git does not know your name and e-mail address")
    told = git.say("add", "--force", "--", *paths)  # whatever else lies there, or is ignored elsewhere, is not ours
    if not told.returncode:
        told = git.say("-c", "user.useConfigOnly=true", "commit", "--quiet", "--message", message)
    if told.returncode:
        return Begun(made=True, top=root, why=_reason(told))
    return Begun(made=True, top=root, commit=readable(git.say("rev-parse", "HEAD").stdout).strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """Git as its owner would call it here."""

    program: str
    root: Path

    def say(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key.startswith(_KEPT)}
        command: Sequence[str] = (self.program, "--no-pager", *words)
        try:
            return subprocess.run(  # noqa: S603 - absolute program, fixed words, in a repository we have just made
                command,
                cwd=self.root,
                env={**kept, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 1, b"", b"git gave no answer")


def _reason(told: subprocess.CompletedProcess[bytes]) -> str:
    lines = [line.strip() for line in readable(told.stderr).splitlines() if line.strip()]
    return lines[-1].removeprefix("fatal: ").removeprefix("error: ") if lines else "git gave no reason"
