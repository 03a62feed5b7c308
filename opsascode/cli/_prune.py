"""`opsascode runs prune`: let go of what old runs left behind, without a hole in the ledger."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import count, escape_line
from opsascode.cli._options import format_option
from opsascode.cli._runs import command as runs
from opsascode.cli._runs import moment_before, need_history
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.cli._context import Face
    from opsascode.run import Prunable

_SHOWN: Final = 20
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


@runs.command("prune")
@click.option("--older-than", metavar="90d|DATE", required=True, help="Only runs that ended before then.")
@click.option("--keep", metavar="N", type=click.IntRange(0), default=0, help="Never touch the newest N runs.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@format_option
@click.pass_obj
def prune(face: Face, /, older_than: str, keep: int, *, dry_run: bool) -> int:
    """Remove journals, outputs and texts of old finished runs.

    Plan, results, receipt and every record stay. A signed record names the runs first, so that `runs show` and `verify`
    can tell what was pruned from what was taken away.
    """
    from opsascode.run import prunable  # noqa: PLC0415 - keeps --help quick

    now = datetime.now(UTC)
    chosen = prunable(need_history(face), before=moment_before(older_than, now), keep=keep)
    freed = sum(each.bytes for each in chosen) if dry_run else _prune(face, chosen, now)
    if face.json:
        names = [each.run.run for each in chosen]
        click.echo(json.dumps({"pruned": names, "bytes": freed, "dry_run": dry_run}))
        return ExitCode.DONE
    for each in chosen[:_SHOWN] if dry_run else ():
        click.echo(f"{each.run.run}  {_size(each.bytes):>9}  {escape_line(each.run.runbook)}")
    if dry_run and len(chosen) > _SHOWN:
        click.echo(f"and {len(chosen) - _SHOWN} more")
    verb = "would free" if dry_run else "freed"
    click.echo(f"{verb} {_size(freed)}: journals, outputs and texts of {count(len(chosen), 'run')}")
    return ExitCode.DONE


def _prune(face: Face, chosen: Sequence[Prunable], now: datetime) -> int:
    from opsascode.cli._execute import account  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Actor, prune  # noqa: PLC0415 - keeps --help quick

    if not chosen:
        return 0
    signer = face.state.signer(os.environ)
    actor = Actor(user=account(), machine=socket.gethostname())
    with face.state.ledger(signer) as ledger:
        return prune(chosen, ledger=ledger, signer=signer, actor=actor, now=now)


def _size(number: float) -> str:
    for unit in _UNITS:
        if number < 1024 or unit == _UNITS[-1]:  # noqa: PLR2004 - the next unit
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return ""
