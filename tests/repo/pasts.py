"""Real Git repositories with a past, written a commit at a time."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROTECTED = ("policies/**", "inventories/**", "opsascode.yml")
START = 1_760_000_000
DAY = 86_400
CLEAN = {
    "PATH": os.defpath, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.net", "GIT_COMMITTER_NAME": "c", "GIT_COMMITTER_EMAIL": "c@example.net",
}  # fmt: skip


def git(directory: Path, *words: str, data: bytes = b"", **environment: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=directory, env={**CLEAN, **environment}, capture_output=True, input=data, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def guardrail(name: str = "deny-drop", *, version: str = "", **require: object) -> str:
    """A guardrail's text; without requirements: at most 5 hosts."""
    wanted = "".join(f"    {key}: {value}\n" for key, value in (require or {"max_hosts": 5}).items())
    said = f"  version: {version}\n" if version else ""
    return (
        f"apiVersion: opsascode/v1\nkind: Guardrail\nmetadata:\n  name: {name}\n{said}"
        f"spec:\n  require:\n{wanted}  reason: so that nothing is lost\n"
    )


class Repository:
    """A repository whose commits are a day apart."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir(parents=True)
        git(place, "init", "-q", "-b", "main")
        self._day = 0

    def commit(self, files: Mapping[str, str | None], *, day: int | None = None) -> str:
        """Write, or with None delete, files, and commit them; gives the id."""
        for path, text in files.items():
            file = self.place / path
            if text is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        git(self.place, "add", "-A")
        return self.git("commit", "-q", "--allow-empty", "-m", "a change", day=day) or self.head()

    def merge(self, *words: str) -> str:
        self.git("merge", "-q", "--no-ff", "-m", "a merge", *words)
        return self.head()

    def head(self) -> str:
        return git(self.place, "rev-parse", "HEAD")

    def git(self, *words: str, day: int | None = None) -> str:
        self._day += 1
        when = f"{START + (self._day if day is None else day) * DAY} +0000"
        return git(self.place, *words, GIT_AUTHOR_DATE=when, GIT_COMMITTER_DATE=when)
