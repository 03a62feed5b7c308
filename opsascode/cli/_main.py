"""Which command was meant, and how does the process end?"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Final

import click

from opsascode import __version__
from opsascode.cli._console import escape_text
from opsascode.cli._context import Face, OutputFormat
from opsascode.cli._lazy import LazyGroup
from opsascode.errors import ExitCode, OpsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "init": ("opsascode.cli._init", "Make a new ops repository."),
    "check": ("opsascode.cli._check", "Check the documents of an ops repository."),
    "plan": ("opsascode.cli._plan", "Resolve a runbook into a plan and show what would be done."),
    "run": ("opsascode.cli._run", "Run a runbook, or exactly the plan in a file."),
    "approve": ("opsascode.cli._approve", "Approve or decline what a run asks, or the start of a plan."),
    "runs": ("opsascode.cli._runs", "List and show past runs."),
    "status": ("opsascode.cli._status", "Show runs under way, locks held, and how well each runbook does."),
    "show": ("opsascode.cli._show", "Show a runbook: what it does, and how well it has done."),
    "slo": ("opsascode.cli._slo", "Service-level objectives: budgets, alerts, and the gate before a change."),
    "incident": ("opsascode.cli._incident", "Declare, list and end incidents."),
    "policy": ("opsascode.cli._policy", "Policy packs: what is enforced, what was before, and how it may change."),
    "verify": ("opsascode.cli._verify", "Verify a run, a receipt or the whole ledger."),
    "trust": ("opsascode.cli._trust", "Say whom to trust: make, show, propose, sign and pin the trust root."),
    "ledger": ("opsascode.cli._ledger", "Read the ledger: log, prove, checkpoint."),
}


@click.command(
    cls=LazyGroup, table=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, "-V", "--version", prog_name="opsascode")
@click.option("--repo", "directory", type=click.Path(), default="", metavar="DIR",
              help="The ops repository [default: the one around the current directory].")  # fmt: skip
@click.option("--format", "output", type=click.Choice([form.value for form in OutputFormat]), default="text",
              help="How to answer: text for people, json for programs.")  # fmt: skip
@click.pass_context
def _root(ctx: click.Context, directory: str, output: str) -> None:
    """Run runbooks from Git through Ansible, and prove afterwards what was done."""
    from pathlib import Path  # noqa: PLC0415 - keeps --help quick

    ctx.obj = Face(directory=Path(directory), output=OutputFormat(output))


def run_command_line(arguments: Sequence[str]) -> int:  # noqa: PLR0911 - one return for each way to end
    """Run one command and give its exit code; every failure is one sentence on standard error."""
    try:
        result = _root.main(args=list(arguments), prog_name="opsascode", standalone_mode=False)
    except click.ClickException as error:
        if _wants_json(arguments):
            _tell(UsageError(error.format_message()), arguments)
        else:
            error.show()
        return int(ExitCode.USAGE)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return int(ExitCode.INTERRUPTED)
    except OpsError as error:
        _tell(error, arguments)
        return int(error.exit_code)
    except SystemExit:  # click's own, when whoever read the output has left: `opsascode runs list | head -1`
        return int(ExitCode.DONE)
    except OSError as error:
        click.echo(f"error: {error.strerror or error}: {escape_text(str(error.filename or ''))}".rstrip(": "), err=True)
        return int(ExitCode.FAILED)
    except Exception as error:
        if os.environ.get("OPSASCODE_DEBUG"):
            raise
        name = type(error).__name__
        click.echo(f"error: this is a defect in opsascode: {name}: {escape_text(str(error))}", err=True)
        click.echo("  set OPSASCODE_DEBUG=1 to see where, and report it with that text", err=True)
        return int(ExitCode.INDETERMINATE)
    return int(result) if isinstance(result, int) else int(ExitCode.DONE)


def _tell(error: OpsError, arguments: Sequence[str]) -> None:
    code = str(getattr(error, "code", ""))
    if _wants_json(arguments):
        import json  # noqa: PLC0415 - keeps --help quick

        place = error.position
        body = {
            "error": type(error).__name__,
            "code": code or None,
            "message": error.message,
            "position": {"path": place.path, "line": place.line, "column": place.column} if place else None,
            "mend": error.advice,
            "exit_code": int(error.exit_code),
        }
        click.echo(json.dumps(body), err=True)
        return
    where = f"{error.position}: " if error.position else ""
    shown = f" [{code}]" if code and f"[{code}]" not in error.message else ""
    click.echo(f"error: {escape_text(where + error.message)}{shown}", err=True)
    if error.advice:
        click.echo(f"  {escape_text(error.advice)}", err=True)


def _wants_json(arguments: Sequence[str]) -> bool:
    words = list(arguments)
    return "--format=json" in words or any(
        first == "--format" and second == "json" for first, second in itertools.pairwise(words)
    )
