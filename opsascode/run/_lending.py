"""How does Ansible get to read secrets that no argument list, environment or disk may hold?

Each start of Ansible is lent files of mode 0600 in a directory in memory: the secret variables with what earlier stages
kept, and the passwords. Our callback overwrites and removes them once Ansible has read them; whatever is left is
overwritten and removed when the loan is over. The pattern that finds secrets in texts stays in a memory file of ours.

Not here: what is secret (`_stage`, `_access`).
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextlib import ExitStack


class Lender:
    """Lends the secrets of one job, as often as Ansible is started."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._directory = Path(job["volatile"])
        self._variables: str | None = job["secrets"]
        self._passwords: list[tuple[str, str, str]] = job["passwords"]
        self._arguments: list[str] = job["access"]
        self._pattern = _memory_file("pattern", job["pattern"]) if job["pattern"] is not None else None

    def lend(self, stack: ExitStack) -> tuple[dict[str, str], list[str]]:
        """Write the files for one start; gives its environment and arguments. `stack` takes the files back."""
        environment, arguments = dict(os.environ), list(self._arguments)
        lent: list[Path] = []
        if self._variables is not None:
            lent.append(self._write(self._variables))
            arguments += ["--extra-vars", f"@{lent[-1]}"]
        for option, prefix, password in self._passwords:
            lent.append(self._write(password))
            arguments += [option, f"{prefix}{lent[-1]}"]
        for path in lent:
            stack.callback(destroy, path)
        environment["OPSASCODE_LENT"] = os.pathsep.join(map(str, lent))
        if self._pattern is not None:
            environment["OPSASCODE_SECRETS"] = self._pattern
        return environment, arguments

    def _write(self, text: str) -> Path:
        path = self._directory / f"lent-{secrets.token_hex(8)}"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        return path


def destroy(path: Path) -> None:
    """Overwrite a file and remove it; nothing when it is gone already."""
    with suppress(FileNotFoundError):
        with path.open("r+b", buffering=0) as file:
            file.write(bytes(path.stat().st_size))
        path.unlink()


def _memory_file(name: str, text: str) -> str:
    descriptor = os.memfd_create(name)
    os.write(descriptor, text.encode())
    return f"/proc/{os.getpid()}/fd/{descriptor}"
