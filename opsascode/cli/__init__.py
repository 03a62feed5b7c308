"""The speaking face: the verbs, their words and exit codes.

Commands are looked up by name and their modules imported only when they run, so that `--help` answers at once.
Every `OpsError` becomes one sentence and its exit code here; nothing below this house prints or exits.

Not here: any rule about runbooks, plans, policies or proofs.
"""

from __future__ import annotations

from opsascode.cli._main import run_command_line

__all__ = ["run_command_line"]
