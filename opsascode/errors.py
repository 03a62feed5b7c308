"""What can go wrong, in the caller's words, and the exit code each failure ends with.

A refusal or a failed run is *not* an error: those are values (`policy.Refusal`, `run.Outcome`). An error means that
we could not even answer. Nothing here prints or exits; only `cli` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The process exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INVALID = 3
    REFUSED = 4
    INTEGRITY = 5
    INDETERMINATE = 6
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A place in a file: path as the user would type it, line and column counted from 1."""

    path: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class OpsError(Exception):
    """Something opsascode was asked for could not be answered."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, message: str = "", *, position: Position | None = None, advice: str = "") -> None:
        """Keep what happened, where, and how to mend it; an empty message becomes the class's own sentence."""
        self.message = message or (type(self).__doc__ or "").strip()
        self.position = position
        self.advice = advice
        super().__init__(self.message)

    def __str__(self) -> str:
        where = f"{self.position}: " if self.position else ""
        advice = f" ({self.advice})" if self.advice else ""
        return f"{where}{self.message}{advice}"


class UsageError(OpsError):
    """The command was given words it cannot use."""

    exit_code = ExitCode.USAGE


class DocumentError(OpsError):
    """A document of the ops repository is invalid."""

    exit_code = ExitCode.INVALID


class ResolveError(OpsError):
    """A runbook could not be resolved into a plan."""

    exit_code = ExitCode.USAGE


class EngineError(OpsError):
    """Ansible could not be started."""


class ProofError(OpsError):
    """A signature, key or signed statement is not what it must be."""

    exit_code = ExitCode.INTEGRITY


class LedgerError(ProofError):
    """The ledger is not the one that was signed."""
