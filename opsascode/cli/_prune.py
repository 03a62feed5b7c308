"""`opsascode runs prune`: let go of what old runs and gates left behind, without a hole in the ledger."""

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
    from opsascode.run import Prunable, PrunableGate

_SHOWN: Final = 20
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")


@runs.command("prune")
@click.option("--older-than", metavar="90d|DATE", required=True, help="Only what ended before then.")
@click.option(
    "--keep",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    help="Never touch the newest N runs, and the newest N questions of gates.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@format_option
@click.pass_obj
def prune(face: Face, /, older_than: str, keep: int, *, dry_run: bool) -> int:
    """Remove journals, outputs and texts of old finished runs, and questions of gates that nobody answered in time.

    Plan, results, receipt, what people signed and every record stay. A signed record names the runs first, so that
    `runs show` and `verify` can tell what was pruned from what was taken away. A gate that can still be overridden is
    never touched.
    """
    from opsascode.run import prunable, prunable_gates  # noqa: PLC0415 - keeps --help quick

    now = datetime.now(UTC)
    before = moment_before(older_than, now)
    chosen = prunable(need_history(face), before=before, keep=keep)
    gates = prunable_gates(face.state, before=before, now=now, keep=keep)
    freed = sum(each.bytes for each in chosen) + sum(each.bytes for each in gates)
    if not dry_run:
        _prune(face, chosen, gates, now)
    if face.json:
        told = {"pruned": [each.run.run for each in chosen], "gates": [each.gate for each in gates]}
        click.echo(json.dumps({**told, "bytes": freed, "dry_run": dry_run}))
        return ExitCode.DONE
    going = [(each.run.run, each.bytes, each.run.runbook) for each in chosen]
    going += [(each.gate, each.bytes, "a question of a gate") for each in gates]
    for name, size, what in going[:_SHOWN] if dry_run else ():
        click.echo(f"{name}  {_size(size):>9}  {escape_line(what)}")
    if dry_run and len(going) > _SHOWN:
        click.echo(f"and {len(going) - _SHOWN} more")
    verb = "would free" if dry_run else "freed"
    more = f", and {count(len(gates), 'question')} of gates" if gates else ""
    click.echo(f"{verb} {_size(freed)}: journals, outputs and texts of {count(len(chosen), 'run')}{more}")
    return ExitCode.DONE


def _prune(face: Face, chosen: Sequence[Prunable], gates: Sequence[PrunableGate], now: datetime) -> None:
    from opsascode.cli._execute import account  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Actor, prune  # noqa: PLC0415 - keeps --help quick

    if not chosen and not gates:
        return
    signer = face.state.signer(os.environ)
    actor = Actor(user=account(), machine=socket.gethostname())
    with face.state.ledger(signer) as ledger:
        prune(chosen, gates, ledger=ledger, signer=signer, actor=actor, now=now)


def _size(number: float) -> str:
    for unit in _UNITS:
        if number < 1024 or unit == _UNITS[-1]:  # noqa: PLR2004 - the next unit
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return ""
