"""`opsascode verify`: is what was recorded still what was signed?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import escape_line, wants_colour
from opsascode.cli._options import format_option
from opsascode.cli._runs import open_history
from opsascode.cli._verify_people import verify_people
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.cli._context import Face
    from opsascode.proof import ProvenRecord, PublicKey
    from opsascode.run import PastRun


@click.command()
@click.argument("what", metavar="[RUN|RECEIPT]", required=False)
@click.option("--all", "everything", is_flag=True, help="Verify every entry of the ledger and the files of every run.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="FILE|KEY",
    help="A public key (file or `ssh-ed25519 ...` line) to verify a receipt with; needed on another machine.",
)
@click.option(
    "--root", metavar="DIGEST", help="The first trust root, by which people are told [default: what is pinned here]."
)
@format_option
@click.pass_obj
def command(face: Face, /, what: str | None, *, everything: bool, keys: Sequence[str], root: str | None) -> int:
    """Verify a RUN (id or `latest`), a RECEIPT file, or with --all the whole ledger.

    Exit code 5: something is not what was signed.
    """
    if (what is None) != everything:
        raise UsageError("say what to verify: a run, a receipt file, or --all")
    if what is not None and Path(what).is_file():
        return _verify_receipt(face, Path(what), keys, root)
    if keys:
        raise UsageError(f"there is no receipt file {what}", advice="--key is only for verifying a receipt")
    return _verify_ledger(face, what)


def _verify_receipt(face: Face, path: Path, words: Sequence[str], root: str | None) -> int:
    from opsascode.cli._ledger_team import fork_facts  # noqa: PLC0415 - few files are a fork proof
    from opsascode.proof import is_fork, verify_receipt  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Pins, allowances  # noqa: PLC0415 - keeps --help quick

    if is_fork(path.read_bytes()):
        return _answer(face, str(path), *fork_facts(face, path.read_bytes(), words))
    keys = [_public_key(word) for word in words] or [*face.state.public_keys(os.environ)]
    verdict = verify_receipt(path.read_bytes(), keys)
    facts = [] if verdict.faults else [*_record_lines(verdict.records)]
    facts += (
        []
        if verdict.faults
        else [
            f"{attachment.name}: {attachment.digest}, as {attachment.named_by} says"
            for attachment in verdict.attachments
        ]
    )
    faults = [str(fault) for fault in verdict.faults]
    pin = None if root else Pins(face.state).read()
    for each in () if faults else allowances(verdict, pin=root or (pin.repository if pin else None)):
        facts += each.facts
        faults += each.faults
    return _answer(face, str(path), facts, faults)


def _verify_ledger(face: Face, name: str | None) -> int:
    from opsascode.proof import verify_ledger  # noqa: PLC0415 - keeps --help quick

    state = face.state
    if not state.has_ledger():
        raise UsageError(f"there is no ledger in {state.directory} yet", advice="the first run makes it")
    verdict = verify_ledger(state.ledger_directory, keys=state.public_keys(os.environ), high_water=state.high_water)
    faults = [str(fault) for fault in verdict.faults]
    if faults:
        return _answer(face, "ledger", [], faults)
    entries = f"{verdict.size} {'entry' if verdict.size == 1 else 'entries'}"
    facts = [f"ledger: {entries}, every signature, hash and checkpoint holds"]
    history = open_history(face, indexed=False)
    chosen = () if history is None else history.runs() if name is None else (history.find(name),)
    for past in chosen:
        files = history.files(past) if history else None
        found = [f"run {past.run}: {fault}" for fault in (files.faults if files else ())]
        faults.extend(found)
        if not found:
            facts.append(_run_line(past))
            facts.extend(f"run {past.run}: {note}" for note in (files.notes if files else ()))
        if history:
            people = verify_people(face, history, past)
            facts.extend(people.facts)
            faults.extend(people.faults)
    return _answer(face, name or "ledger", facts, faults)


def _run_line(past: PastRun) -> str:
    last = f" and {past.end_index}" if past.end_index is not None else " (no end record: it was never finished)"
    what = "plan and results" if past.pruned else "plan, results and journals"
    return f"run {past.run}: {past.outcome}, entries {past.start_index}{last}; {what} as recorded"


def _record_lines(records: Sequence[ProvenRecord]) -> Iterator[str]:
    for record in records:
        statement = record.record.statement
        outcome = statement.predicate.get("outcome")
        result = f" ({outcome})" if outcome else ""
        what = f"{statement.kind} of {statement.subject_name}{result}"
        yield f"entry {record.index} of {record.checkpoint.origin}: {what}"
        yield f"  signed by {record.record.keyid}"


def _answer(face: Face, what: str, facts: Sequence[str], faults: Sequence[str]) -> int:
    if face.json:
        click.echo(json.dumps({"what": what, "ok": not faults, "facts": list(facts), "faults": list(faults)}))
    else:
        for fact in facts:
            click.echo(f"  {escape_line(fact)}")
        for fault in faults:
            click.echo(f"  {escape_line(fault)}")
        word, colour = ("NOT VERIFIED", "red") if faults else ("verified", "green")
        shown = click.style(word, fg=colour, bold=True) if wants_colour() else word
        click.echo(f"{shown}: {escape_line(what)}")
    return ExitCode.INTEGRITY if faults else ExitCode.DONE


def _public_key(word: str) -> PublicKey:
    from opsascode.proof import PublicKey  # noqa: PLC0415 - keeps --help quick

    if word.startswith("ssh-"):
        return PublicKey.from_openssh(word)
    try:
        return PublicKey.from_openssh(Path(word).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the key file {word} cannot be read", advice="give the .pub file of the machine key"
        ) from error
