"""What every command shares: where the repository is, how to answer, and the houses opened once.

Not here: what any command does with them.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from opsascode.repo import Repository
    from opsascode.run import State


class OutputFormat(Enum):
    """How a command answers."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, kw_only=True)
class Face:
    """The global options, and the repository and state they point to."""

    directory: Path
    output: OutputFormat

    @property
    def json(self) -> bool:
        """Whether the answer is for a program."""
        return self.output is OutputFormat.JSON

    @property
    def on_terminal(self) -> bool:
        """Whether a person watches standard output."""
        return sys.stdout.isatty()

    @cached_property
    def repository(self) -> Repository:
        """The ops repository around the chosen directory."""
        from opsascode.repo import open_repository  # noqa: PLC0415 - keeps --help quick

        return open_repository(self.directory)

    @cached_property
    def state(self) -> State:
        """The state of this user on this machine: key, ledger, runs."""
        from opsascode.run import State  # noqa: PLC0415 - keeps --help quick

        return State.of(self.repository, os.environ)


def cache_directory() -> Path:
    """Give the directory for everything that may be deleted at any time (XDG Base Directory)."""
    from pathlib import Path  # noqa: PLC0415 - keeps --help quick

    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "opsascode"
