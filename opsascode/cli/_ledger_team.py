"""`opsascode ledger` for teams: the log in which all machines' records come together, its witnesses, and forks."""

from __future__ import annotations

import json
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import escape_line
from opsascode.cli._options import format_option
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.cli._context import Face
    from opsascode.proof import AddCheckpoint, PublicKey, Witness
    from opsascode.run import Synced, TeamLedger

_MAX_FILE = 262144


@click.command()
@click.option(
    "--cosignatures",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="Put what `opsascode ledger witness` printed under the team's checkpoint (`-`: standard input).",
)
@format_option
@click.pass_obj
def sync(face: Face, files: Sequence[str]) -> int:
    """Bring this machine's records to the team's ledger, and take in those of others.

    Exit code 5: the remote's ledger is not a continuation of what this machine saw.
    """
    from opsascode.proof import LedgerReader  # noqa: PLC0415 - keeps --help quick

    team, state = open_team(face), face.state
    keys = state.public_keys(os.environ)
    synced = team.sync(LedgerReader.read(state.ledger_directory, keys=keys) if state.has_ledger() else None)
    names = [one.name for file in files for one in team.cosign(_read(file))]
    if face.json:
        click.echo(json.dumps({**_about(synced), "witnesses": names}))
        return ExitCode.DONE
    click.echo(f"{_entries(synced.sent)} handed over, {_entries(synced.received)} of others taken in")
    waiting = f", {synced.waiting} more wait for one" if synced.waiting else ""
    click.echo(f"the team's ledger has {_entries(synced.size)} under a checkpoint{waiting}")
    if files:
        click.echo(f"cosigned by {', '.join(map(escape_line, names))}" if names else "no known witness cosigned it")
    for said in synced.left_out:
        click.echo(f"left out: {escape_line(said)}", err=True)
    return ExitCode.DONE


@click.command()
@click.option("--key", required=True, type=click.Path(), metavar="FILE", help="The witness's private key.")
@click.option(
    "--state", required=True, type=click.Path(), metavar="DIR", help="Where the witness remembers what it saw."
)
@click.option("--name", default="", metavar="NAME", help="What the witness is called [default: this machine's name].")
@click.option(
    "--log-key",
    "words",
    multiple=True,
    metavar="FILE|KEY",
    help="A public key that signs the log's checkpoints [default: the ledgers of the trust root].",
)
@click.argument("request", type=click.Path(), metavar="CHECKPOINT")
@format_option
@click.pass_obj
def witness(face: Face, /, request: str, *, key: str, state: str, name: str, words: Sequence[str]) -> int:
    """Cosign a CHECKPOINT (file, or - for standard input) if it continues what this witness saw.

    CHECKPOINT is what `ledger checkpoint --team --since SIZE` prints; a bare checkpoint will do the first time. What is
    printed goes back to `ledger sync --cosignatures`.

    The forms are those of c2sp.org/tlog-witness and c2sp.org/tlog-cosignature. Exit code 5: it is not cosigned.
    """
    from opsascode.proof import Witness, load_signer  # noqa: PLC0415 - keeps --help quick

    signer = load_signer(f"file:{Path(key).expanduser().absolute()}", base=Path("/"), environ={})
    keys = [public_key(word) for word in words] or _ledger_keys(face)
    seen_by = Witness(Path(state).expanduser(), name=name or socket.gethostname(), signer=signer)
    line = seen_by.add_checkpoint(_request(_read(request), seen_by), keys, datetime.now(UTC))
    click.echo(json.dumps({"cosignatures": [line]}) if face.json else line, nl=face.json)
    return ExitCode.DONE


def open_team(face: Face) -> TeamLedger:
    """Open the team's ledger that opsascode.yml names.

    Raises:
        UsageError: it names none.
    """
    from opsascode.run import TeamLedger  # noqa: PLC0415 - keeps --help quick

    if face.repository.settings.ledger_remote is None:
        raise UsageError(
            "opsascode.yml names no ledger for the team: records stay on this machine",
            advice="spec: {ledger: {remote: origin}}",
        )
    team = TeamLedger.of(face.repository, face.state, face.state.signer(os.environ), face.trusted())
    if team is None:
        raise UsageError("opsascode.yml names no ledger for the team")
    return team


def team_checkpoint(face: Face, since: int | None) -> str:
    """Give the team's newest checkpoint with its cosignatures, or what a witness that saw `since` entries needs."""
    team = open_team(face)
    team.sync(None)
    if since is not None:
        return team.log.request(since)
    note, cosigned = team.log.checkpoint(), team.cosigned()
    same = cosigned is not None and cosigned.partition("\n\n")[0] == note.partition("\n\n")[0]
    return cosigned if cosigned is not None and same else note


def witnessed_checkpoint(face: Face, age: str | None) -> str:
    """Give the newest checkpoint that enough witnesses cosigned, not longer ago than `age`."""
    from opsascode.repo import parse_duration  # noqa: PLC0415 - keeps --help quick

    try:
        oldest = datetime.now(UTC) - parse_duration(age) if age else None
    except ValueError:
        raise UsageError(f"«{age}» is no duration", advice="write --max-age 24h") from None
    return open_team(face).witnessed(oldest=oldest)


def team_log_lines(face: Face, number: int) -> int:
    """List the newest records of all machines, from this machine's copy."""
    from opsascode.run import open_team_log  # noqa: PLC0415 - keeps --help quick

    found = list(open_team_log(face.state, face.trusted()).records())[-number:]
    answers = []
    for one in found:
        statement = one.record.statement
        about = {"team_index": one.team_index, "ledger": one.ledger, "index": one.index,
                 "predicate_type": statement.predicate_type, "subject": statement.subject_name,
                 "digest": one.record.digest, "keyid": one.record.keyid}  # fmt: skip
        if face.json:
            answers.append({**about, "predicate": dict(statement.predicate)})
            continue
        outcome = escape_line(str(statement.predicate.get("outcome", "")))
        subject, ledger = escape_line(statement.subject_name), escape_line(one.ledger.removeprefix("opsascode/"))[:12]
        click.echo(f"{one.team_index:>6}  {ledger:<12} {one.index:>6}  {statement.kind:<14}  {subject:<24}  {outcome}")
    if face.json:
        click.echo(json.dumps(answers))
    return ExitCode.DONE


def fork_facts(face: Face, content: bytes, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Say what a fork proof proves: facts, or why it proves nothing; without keys, with those of the trust root."""
    from opsascode.errors import ProofError  # noqa: PLC0415 - keeps --help quick
    from opsascode.proof import verify_fork  # noqa: PLC0415 - likewise

    try:
        found = verify_fork(content, [public_key(word) for word in words] or _ledger_keys(face))
    except ProofError as error:
        return [], [error.message]
    return [f"FORK: {found.describe()}", "no honest log can have both: find out who showed the other one"], []


def public_key(word: str) -> PublicKey:
    """Read a public key: a `ssh-ed25519 ...` line, or a file with one.

    Raises:
        UsageError: the file cannot be read.
    """
    from opsascode.proof import PublicKey  # noqa: PLC0415 - keeps --help quick

    return PublicKey.from_openssh(word if word.startswith("ssh-") else _read(word))


def _ledger_keys(face: Face) -> Sequence[PublicKey]:
    from opsascode.proof import MachineRole  # noqa: PLC0415 - keeps --help quick

    return face.trusted().current.root.machine_keys(MachineRole.LEDGER)


def _request(text: str, seen_by: Witness) -> AddCheckpoint:
    """Read what is asked; a bare checkpoint is asked as one that needs no proof."""
    from opsascode.proof import read_checkpoint, read_request  # noqa: PLC0415 - keeps --help quick

    if text.startswith("old "):
        return read_request(text)
    checkpoint = read_checkpoint(text)
    seen = seen_by.seen(checkpoint.origin)
    old = seen.size if seen and seen.size == checkpoint.size else 0
    return read_request(f"old {old}\n\n{text}")


def _read(name: str) -> str:
    try:
        data = sys.stdin.buffer.read(_MAX_FILE) if name == "-" else Path(name).expanduser().read_bytes()[:_MAX_FILE]
        return data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name} cannot be read: {error}") from error


def _entries(number: int) -> str:
    return f"{number} {'entry' if number == 1 else 'entries'}"


def _about(synced: Synced) -> dict[str, object]:
    return {
        "sent": synced.sent,
        "received": synced.received,
        "size": synced.size,
        "waiting": synced.waiting,
        "left_out": list(synced.left_out),
    }
