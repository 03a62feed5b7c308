"""`opsascode ledger`: the log itself, its checkpoint, and proofs that an entry is in it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import escape_line
from opsascode.cli._ledger_team import sync, team_checkpoint, team_log_lines, witness, witnessed_checkpoint
from opsascode.cli._options import format_option
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from opsascode.cli._context import Face
    from opsascode.proof import LedgerReader


@click.group()
def command() -> None:
    """Read the ledger: what is in it, its signed checkpoint, and proofs; share it with a team."""


command.add_command(sync)
command.add_command(witness)


@command.command()
@click.option(
    "-n", "--number", type=click.IntRange(1), default=50, show_default=True, help="At most this many, the newest last."
)
@click.option("--team", is_flag=True, help="Those of all machines, as the last `ledger sync` found them.")
@format_option
@click.pass_obj
def log(face: Face, number: int, *, team: bool) -> int:
    """List the newest entries: index, what each states, whose it is, and its digest."""
    if team:
        return team_log_lines(face, number)
    from opsascode.proof import open_envelope  # noqa: PLC0415 - keeps --help quick

    ledger = _open(face)
    keys = face.state.public_keys(os.environ)
    answers = []
    for index in range(max(0, ledger.size - number), ledger.size):
        record = open_envelope(ledger.entry(index), keys)
        statement = record.statement
        about = {
            "index": index,
            "predicate_type": statement.predicate_type,
            "subject": statement.subject_name,
            "digest": record.digest,
            "keyid": record.keyid,
        }
        if face.json:
            answers.append({**about, "predicate": dict(statement.predicate)})
        else:
            outcome = escape_line(str(statement.predicate.get("outcome", "")))
            subject = escape_line(statement.subject_name)
            click.echo(f"{index:>6}  {statement.kind:<14}  {subject:<24}  {outcome:<13}  {record.digest}")
    if face.json:
        click.echo(json.dumps(answers))
    return ExitCode.DONE


@command.command()
@click.argument("index", type=click.IntRange(0))
@format_option
@click.pass_obj
def prove(face: Face, index: int) -> int:
    """Print the proof that entry INDEX is in the ledger (c2sp.org/tlog-proof@v1)."""
    ledger = _open(face)
    if index >= ledger.size:
        raise UsageError(f"the ledger has {ledger.size} entries, 0 to {ledger.size - 1}; there is no entry {index}")
    _tell(face, "proof", ledger.prove(index))
    return ExitCode.DONE


@command.command()
@click.option("--team", is_flag=True, help="That of the team's ledger, with the cosignatures of its witnesses.")
@click.option(
    "--since", type=click.IntRange(0), metavar="SIZE", help="With the proof for a witness that saw SIZE entries."
)
@click.option("--witnessed", is_flag=True, help="The newest one that the trust root's quorum of witnesses cosigned.")
@click.option("--max-age", "age", metavar="DURATION", help="Refuse it when the witnesses saw it longer ago (24h).")
@format_option
@click.pass_obj
def checkpoint(face: Face, *, team: bool, since: int | None, witnessed: bool, age: str | None) -> int:
    """Print the signed checkpoint (c2sp.org/tlog-checkpoint): keep a copy elsewhere as a witness."""
    if not team and (since is not None or witnessed or age):
        raise UsageError("--since, --witnessed and --max-age are for the team's ledger", advice="add --team")
    if witnessed or age:
        _tell(face, "checkpoint", witnessed_checkpoint(face, age))
        return ExitCode.DONE
    if team:
        _tell(face, "checkpoint", team_checkpoint(face, since))
        return ExitCode.DONE
    _tell(face, "checkpoint", _open(face).checkpoint())
    return ExitCode.DONE


def _tell(face: Face, name: str, text: str) -> None:
    """Print a signed text as it is, to the byte; for programs as one JSON string."""
    click.echo(json.dumps({name: text}) if face.json else text, nl=face.json)


def _open(face: Face) -> LedgerReader:
    from opsascode.proof import LedgerReader  # noqa: PLC0415 - keeps --help quick

    state = face.state
    if not state.has_ledger():
        raise UsageError(f"there is no ledger in {state.directory} yet", advice="the first run makes it")
    return LedgerReader.read(state.ledger_directory, keys=state.public_keys(os.environ))
