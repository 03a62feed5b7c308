"""Where does a Git server keep the hook that looks at every push, and is it the hook that git would run?

Git runs `hooks/pre-receive` of the repository unless `core.hooksPath` says otherwise. A hook that somebody else wrote
is never replaced. What arrives is checked by git itself first (`receive.fsckObjects`).

Not here: what the hook says (`cli`), and what it judges.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import ResolveError, UsageError
from opsascode.repo._append_ref import is_bare, last_line
from opsascode.repo._git import SETTINGS, Git, git_program, readable

if TYPE_CHECKING:
    from pathlib import Path

_HOOK: Final = "pre-receive"
_VALUE: Final = re.compile(r"[^\x00-\x1f\x7f]{0,500}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GitServer:
    """A repository that others push to; `directory` is its Git directory."""

    directory: Path

    @classmethod
    def of(cls, place: Path) -> GitServer:
        """Find the Git directory: the place itself when it is a bare repository, else its `.git`.

        Raises:
            UsageError: there is none.
        """
        for each in (place, place / ".git"):
            if is_bare(each):
                return cls(directory=each.resolve())
        raise UsageError(
            f"{place} is no Git repository", advice="give the path of the bare repository, such as ops.git"
        )

    @property
    def hooks(self) -> Path:
        """The directory whose hooks git runs, as far as this repository says."""
        return self.directory / "hooks"

    def install(self, files: dict[str, tuple[str, int]], *, mark: str) -> None:
        """Write the hook and what lies beside it, by name their text and mode; `mark` is in each hook of ours.

        Raises:
            UsageError: git would run the hooks of another place, or a hook of somebody else is there.
            ResolveError: it cannot be written.
        """
        elsewhere = self._elsewhere()
        if elsewhere:
            raise UsageError(
                f"git runs the hooks of {elsewhere} here (core.hooksPath), and not those of {self.hooks}",
                advice="unset it for this repository, or call «opsascode policy hook receive» from the hook there",
            )
        hook = self.hooks / _HOOK
        if os.path.lexists(hook) and (hook.is_symlink() or mark not in hook.read_text(errors="replace")):
            raise UsageError(
                f"{hook} is a hook of somebody else, and stays as it is",
                advice="move it away and install again; to keep both, write a hook that hands its input to each",
            )
        try:
            self.hooks.mkdir(exist_ok=True)
            for name, (text, mode) in files.items():
                self._write(name, text, mode)
        except OSError as error:
            raise ResolveError(f"{error.filename} cannot be written: {error.strerror}") from error

    def set(self, key: str, value: str) -> None:
        """Write one of the repository's own settings.

        Raises:
            ResolveError: it cannot be written.
        """
        if not _VALUE.fullmatch(value):
            raise ResolveError(f"{key} cannot be {value!r}")
        told = self._git().ask(("config", "--file", str(self.directory / "config"), "--replace-all", key, value))
        if told.returncode:
            raise ResolveError(f"{key} cannot be set: {last_line(told)}")

    def said(self, key: str) -> str | None:
        """Give one of the repository's own settings."""
        told = self._git().ask(("config", "--file", str(self.directory / "config"), "--get", key))
        return readable(told.stdout).rstrip("\n") if not told.returncode else None

    def _elsewhere(self) -> str:
        """Tell where else hooks are looked for, by this repository, the user or the machine."""
        said = [*self._git().said_by_user("core.hooksPath"), self.said("core.hooksPath") or ""]
        found = next((each for each in reversed(said) if each), "")
        return "" if not found or (self.directory / found).resolve() == self.hooks.resolve() else found

    def _write(self, name: str, text: str, mode: int) -> None:
        draft = self.hooks / f".{name}.{secrets.token_hex(6)}"
        try:
            descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(file.fileno(), mode)  # whatever the umask of the one who installs: others push, too
            draft.replace(self.hooks / name)
        finally:
            draft.unlink(missing_ok=True)

    def _git(self) -> Git:
        return Git(program=git_program(), top=self.directory, settings=SETTINGS)
