"""`opsascode policy break-glass|ratify`: one person acts at once, in an emergency, and two others look at it later.

The statement may be signed where the security key is (`--out`), and put in force where runs happen (`--signed`).
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

import click

from opsascode.cli._console import escape_line, stamp
from opsascode.cli._files import read_file, write_file
from opsascode.cli._options import format_option
from opsascode.cli._policy import find
from opsascode.cli._policy_desk import PolicyDesk
from opsascode.cli._policy_text import diff_lines, refused_for
from opsascode.cli._signing import choose_person, sign_statement
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opsascode.cli._context import Face
    from opsascode.policy import Candidate, Debt, OldState
    from opsascode.proof import Statement
    from opsascode.repo import Person


_LASTS: Final = timedelta(hours=72)


class _Words(TypedDict):
    """What both verbs are given about signing."""

    reason: str
    person: str | None
    key: Path | None
    out: Path | None
    signed: Path | None


def _signing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add who signs, with what, why, and where what is signed comes from or goes to."""
    for option in (
        click.option(
            "--signed",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="Take what was signed from this file.",
        ),
        click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Only sign, into this file."),
        click.option("--key", type=click.Path(path_type=Path), metavar="FILE", help="The key to sign with."),
        click.option("--as", "person", metavar="PERSON", help="Who you are [default: whose key is here]."),
        click.option("--reason", default="", metavar="TEXT", help="Why; it is signed and recorded."),
    ):
        function = option(function)
    return function


@click.command()
@click.option("--to", "selector", required=True, metavar="SELECTOR", help="The pack to put in force.")
@click.option("--incident", default="", metavar="ID", help="The incident that makes it necessary.")
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="A host it shall hold for; several may be said.")
@click.option("--ttl", default="1h", show_default=True, metavar="DURATION", help="For how long; four hours at most.")
@_signing_options
@format_option
@click.pass_obj
def break_glass(
    face: Face, /, selector: str, incident: str, hosts: Sequence[str], ttl: str, **words: Unpack[_Words]
) -> int:
    """Put another pack in force at once: on one person's word, for named hosts, for a while.

    It needs the role and a security key for nothing else, is recorded first, and opens a debt: two others must ratify
    it within 72 hours. Runs on other hosts, and all runs afterwards, go by the applied pack again.
    """
    desk = PolicyDesk(face=face)
    current = desk.log.current
    if current is None:
        raise UsageError("no policy pack is applied here: there is nothing to break", advice="opsascode policy apply")
    old, new = desk.judge().gather(current.pack.commit, find(desk, selector))
    if words["signed"]:
        return _put_in_force(face, selector, _read(words["signed"]))
    if not incident or not words["reason"] or not hosts:
        raise UsageError(
            "a glass is broken for an incident, for hosts, and with a reason",
            advice="--incident ID --host HOST --reason TEXT",
        )
    envelope = _sign_glass(desk, old, new, _Emergency(incident=incident, hosts=hosts, lasts=_duration(ttl)), words)
    return _written(face, words["out"], envelope) if words["out"] else _put_in_force(face, selector, envelope)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Emergency:
    """What is asked for: because of which incident, for which hosts, and for how long."""

    incident: str
    hosts: Sequence[str]
    lasts: timedelta


def _sign_glass(desk: PolicyDesk, old: OldState, new: Candidate, wanted: _Emergency, words: _Words) -> bytes:
    """Show what would change, and let the person sign it with their security key."""
    from opsascode.policy import BreakGlass, change_of, classify  # noqa: PLC0415 - keeps --help quick
    from opsascode.proof import BREAK_GLASS, KeyPurpose  # noqa: PLC0415 - keeps --help quick
    from opsascode.repo import people_of  # noqa: PLC0415 - keeps --help quick

    classification = classify(old, new)
    if not desk.face.json:
        click.echo("\n".join(diff_lines(classification.diff)))
    newest = desk.face.trusted().current
    signatory = choose_person(
        people_of(newest.root, newest.digest, KeyPurpose.BREAK_GLASS),
        lambda person: "" if BREAK_GLASS in person.roles else f"{person.id} may not break the glass",
        name=words["person"],
        file=words["key"],
    )
    now = datetime.now(UTC).replace(microsecond=0)
    glass = BreakGlass(
        person=signatory.person.id,
        incident=wanted.incident,
        change=change_of(old, new, classification),
        paths=tuple(sorted(each.path for each in classification.diff.files)),
        hosts=tuple(sorted(set(wanted.hosts))),
        reason=words["reason"],
        issued=now,
        expires=now + wanted.lasts,
        nonce=secrets.token_hex(16),
    )
    return sign_statement(glass.statement(), signatory.at_hand)


def _put_in_force(face: Face, selector: str, envelope: bytes) -> int:
    """Judge what was signed, and record it, with nobody in between: from then on it holds."""
    desk = PolicyDesk(face=face)
    with desk.alone():
        current = desk.log.current
        old, new = desk.judge().gather(current.pack.commit if current else None, find(desk, selector))
        return _break(desk, old, new, envelope)


def _break(desk: PolicyDesk, old: OldState, new: Candidate, envelope: bytes) -> int:
    from opsascode.policy import classify, debts_of, judge_break_glass  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import PackName, glass_statement, version_of  # noqa: PLC0415 - keeps --help quick

    stale = desk.face.staleness()
    if stale is not None:
        return refused_for(desk.face, (stale,))
    now = datetime.now(UTC)
    trust = desk.judge().trust(old, new, classify(old, new))
    decision = judge_break_glass(trust, old, new, envelope, now, debts=debts_of(desk.log.statements, now))
    if not decision.allowed or decision.glass is None:
        return refused_for(desk.face, decision.faults)
    pack = PackName(commit=new.commit, scope=new.snapshot.digest, version=version_of(new.snapshot))
    entry = _record(desk, lambda ledger, pin: glass_statement(ledger, pin, envelope=envelope, pack=pack, now=now))
    glass = decision.glass
    if desk.face.json:
        body = {"event": "broken", "entry": entry, "person": glass.person, "until": glass.expires.isoformat()}
        click.echo(json.dumps({**body, "hosts": list(glass.hosts), "commit": new.commit, "digest": decision.digest}))
        return ExitCode.DONE
    click.echo(f"the glass is broken by {glass.person}: {pack} holds until {stamp(glass.expires)}")
    click.echo(f"  on {escape_line(', '.join(glass.hosts))} and nowhere else")
    click.echo(
        f"recorded as ledger entry {entry}; two others must ratify it within 72 hours: opsascode policy ratify {entry}"
    )
    return ExitCode.DONE


@click.command()
@click.argument("entry", type=click.IntRange(0))
@_signing_options
@format_option
@click.pass_obj
def ratify(face: Face, /, entry: int, **words: Unpack[_Words]) -> int:
    """Agree afterwards to broken glass, named by its ledger ENTRY: that it was needed, and what was done with it."""
    from opsascode.policy import Reason, debts_of, judge_ratification  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import glass_statement  # noqa: PLC0415 - keeps --help quick

    desk, now = PolicyDesk(face=face), datetime.now(UTC)
    debt = next((each for each in debts_of(desk.log.statements, now).all if each.entry == entry), None)
    if debt is None:
        raise UsageError(f"ledger entry {entry} is no broken glass that is owed", advice="opsascode policy status")
    envelope = _read(words["signed"]) if words["signed"] else _sign_ratification(desk, debt, words)
    if words["out"]:
        return _written(face, words["out"], envelope)
    judged = judge_ratification(desk.root, debt, envelope, now)
    if isinstance(judged, Reason):
        return refused_for(face, (judged,))
    said, _ = judged
    _record(desk, lambda ledger, pin: glass_statement(ledger, pin, envelope=envelope, pack=None, now=now))
    left = debts_of(PolicyDesk(face=face).log.statements, now)
    still = any(each.entry == entry for each in left.all)
    if face.json:
        click.echo(json.dumps({"event": "ratified", "entry": entry, "person": said.person, "settled": not still}))
    else:
        click.echo(f"ratified by {said.person}: {'one more must' if still else 'nothing is owed for it any more'}")
    return ExitCode.DONE


def _sign_ratification(desk: PolicyDesk, debt: Debt, words: _Words) -> bytes:
    from opsascode.policy import Ratification  # noqa: PLC0415 - keeps --help quick
    from opsascode.proof import ROLLBACK_APPROVER  # noqa: PLC0415 - keeps --help quick

    def objection(person: Person) -> str:
        if person.id == debt.person:
            return f"{person.id} broke the glass, and cannot ratify it [E_SELF_APPROVAL]"
        return "" if ROLLBACK_APPROVER in person.roles else f"{person.id} does not have the role {ROLLBACK_APPROVER}"

    signatory = choose_person(desk.face.people(), objection, name=words["person"], file=words["key"])
    now = datetime.now(UTC).replace(microsecond=0)
    said = Ratification(
        person=signatory.person.id,
        glass=debt.digest,
        reason=words["reason"],
        issued=now,
        expires=now + _LASTS,
        nonce=secrets.token_hex(16),
    )
    return sign_statement(said.statement(), signatory.at_hand)


def _record(desk: PolicyDesk, make: Callable[[str, str], Statement]) -> int:
    signer = desk.face.state.signer(os.environ)
    return desk.book.add(make(desk.book.origin(signer), desk.needed_pin.repository), signer)


def _duration(text: str) -> timedelta:
    from opsascode.repo import parse_duration  # noqa: PLC0415 - keeps --help quick

    try:
        return parse_duration(text)
    except ValueError:
        raise UsageError(f"«{text}» is no duration", advice="write --ttl 30m, 1h or 4h") from None


def _read(place: Path) -> bytes:
    from opsascode.proof import MAX_ENVELOPE  # noqa: PLC0415 - keeps --help quick

    return read_file(place, MAX_ENVELOPE + 1).strip()  # with the line break at its end


def _written(face: Face, place: Path, envelope: bytes) -> int:
    write_file(place, envelope + b"\n", "the statement")
    click.echo(
        json.dumps({"event": "signed", "file": str(place)}) if face.json else f"signed: {escape_line(str(place))}"
    )
    return ExitCode.DONE
