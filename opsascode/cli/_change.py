"""`opsascode approve CHANGE`: show what a change of the policies does, computed here, and sign what was shown.

A change is a branch, a commit, or any other name Git knows; what it would be after a merge into the protected ref is
computed from Git's objects. Nothing that somebody else computed is ever signed.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import count, escape_line, wants_colour
from opsascode.cli._files import write_file
from opsascode.cli._policy import tip_of
from opsascode.cli._policy_desk import PolicyDesk
from opsascode.cli._policy_text import class_words, decision_json, diff_lines, finding_lines, missing_lines
from opsascode.cli._signing import choose_person, consent, sign_statement
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opsascode.cli._context import Face
    from opsascode.cli._signing import Signatory
    from opsascode.policy import Decision, Said
    from opsascode.proof import Statement
    from opsascode.repo import People, Person
    from opsascode.run import AppliedPack, Judgement

_LIFETIME: Final = timedelta(hours=72)
_NAMED: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeWords:
    """What the command line says about a statement; without `yes` a person at a terminal is asked."""

    said: Said
    reason: str = ""
    person: str | None = None
    key: Path | None = None
    out: Path | None = None
    yes: bool = False


def is_change(face: Face, what: str) -> bool:
    """Tell whether a word names a commit; runs have names of their own."""
    from opsascode.repo import ObjectStore  # noqa: PLC0415 - keeps --help quick

    return (face.repository.root / ".git").exists() and ObjectStore.of(face.repository.root).commit_of(what) is not None


def answer_change(face: Face, what: str, words: ChangeWords) -> int:
    """Show a change, sign what the person says about it, and leave that where it is looked for."""
    desk = PolicyDesk(face=face)
    judgement = look_at(desk, what)
    if not face.json:
        click.echo("\n".join((*change_lines(judgement), *_reach(desk, judgement))), color=wants_colour())
        lines = (
            ("nothing is missing",) if judgement.decision.allowed else ("missing", *missing_lines(judgement.decision))
        )
        click.echo("\n".join(lines))
    signatory = choose_person(
        desk.face.people(), lambda person: _objection(judgement, words.said, person), name=words.person, file=words.key
    )
    verb, declines = words.said.value.capitalize(), words.said.value == "decline"
    reason = consent(face, signatory, verb, reason=words.reason, declines=declines, yes=words.yes)
    if reason is None:
        return ExitCode.REFUSED
    envelope = sign_statement(_statement(desk, judgement, signatory, words.said, reason), signatory.at_hand)
    places = _leave(desk, judgement.decision.change.target_scope, envelope, words.out)
    after = desk.judge(remembers=False).again(judgement).decision
    _tell(face, after, signatory, words.said, places)
    return ExitCode.DONE


def propose(face: Face, what: str, *, reason: str, person: str | None, key: Path | None, out: Path | None) -> int:
    """Sign that a change is proposed, and what it is."""
    from opsascode.policy import Said  # noqa: PLC0415 - keeps --help quick

    words = ChangeWords(said=Said.PROPOSE, reason=reason, person=person, key=key, out=out, yes=True)
    return answer_change(face, what, words)


def look_at(desk: PolicyDesk, what: str, *, base: str | None = None, remembers: bool = False) -> Judgement:
    """Judge what a merge into the protected ref would change.

    Raises:
        UsageError: there is no such commit.
        ResolveError: it cannot be merged as it is.
    """
    head, onto = desk.commit(what, advice="git fetch, or name a branch"), base or tip_of(desk)
    judge = desk.judge(remembers=remembers)
    if head != onto:
        return judge.judge(onto, merged(desk, onto, head), ref=desk.root.ref)
    # Where the protected ref stands already there is nothing to merge: it is about what is not applied yet.
    current = desk.log.current
    return judge.judge(current.pack.commit if current else None, head, ref=desk.root.ref)


def merged(desk: PolicyDesk, base: str, head: str) -> str:
    """Give the commit that a merge would make; one that follows the base already is itself the result."""
    from opsascode.repo import Branches, Identity, Made  # noqa: PLC0415 - keeps --help quick

    if desk.store.is_ancestor(base, head) or desk.store.is_ancestor(head, base):
        return head
    nobody = Identity(name="opsascode", email="opsascode@localhost")
    made = Made(message="What a merge would make\n", by=nobody, when=datetime.fromtimestamp(0, UTC))
    return Branches.of(desk.face.repository.root).merge_commit(base, head, made)


def change_lines(judgement: Judgement) -> Iterator[str]:
    """Show a change to somebody who shall sign it."""
    decision, old, new = judgement.decision, judgement.old, judgement.new
    base = old.commit[:12] if old.commit else "nothing: it is the first pack"
    yield f"base      {base} on {escape_line(decision.change.ref)}"
    yield f"commit    {new.commit[:12]}"
    yield from diff_lines(decision.classification.diff)
    yield from finding_lines(decision)


def _reach(desk: PolicyDesk, judgement: Judgement) -> Iterator[str]:
    """Show which hosts and runbooks the guardrails that change apply to."""
    from opsascode.run import affected  # noqa: PLC0415 - keeps --help quick

    found = affected(desk.store, judgement)
    if found is None:
        return
    hosts = (
        "hosts that cannot be told without executing something" if found.hosts is None else _some(found.hosts, "host")
    )
    yield f"affects   {hosts}; {_some(found.runbooks, 'runbook')}"


def _some(names: Sequence[str], noun: str) -> str:
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    named = f" ({', '.join(map(escape_line, names[:_NAMED]))}{more})" if names else ""
    return f"{count(len(names), noun)}{named}"


def _objection(judgement: Judgement, said: Said, person: Person) -> str:
    """Say why a person's word would not count, or nothing when it would."""
    from opsascode.policy import Said  # noqa: PLC0415 - keeps --help quick

    decision = judgement.decision
    if said is Said.PROPOSE:
        return ""
    role = decision.needs.role
    if role is None:
        return "this change needs nobody's approval"
    if role not in person.roles:
        return f"{person.id} does not have the role {role}"
    if said is Said.APPROVE and decision.proposer and decision.proposer.person == person.id:
        return f"{person.id} proposed this change, and cannot approve it [E_SELF_APPROVAL]"
    identities = judgement.new.identities
    names = {each.casefold() for each in (*identities.emails, *identities.accounts)}
    if said is Said.APPROVE and names & {each.casefold() for each in person.accounts}:
        return f"{person.id} is behind this change, and cannot approve it [E_SELF_APPROVAL]"
    return ""


def _statement(desk: PolicyDesk, judgement: Judgement, signatory: Signatory, said: Said, reason: str) -> Statement:
    from opsascode.policy import ChangeStatement, effects_of  # noqa: PLC0415 - keeps --help quick

    now = datetime.now(UTC).replace(microsecond=0)
    statement = ChangeStatement(
        person=signatory.person.id,
        decision=said,
        change=judgement.decision.change,
        reason=reason,
        effects=effects_of(judgement.decision.classification.diff),
        issued=now,
        expires=now + _LIFETIME,
        nonce=secrets.token_hex(16),
        checkpoint=desk.seen_checkpoint(),
    ).statement()
    ChangeStatement.of(statement)  # what would count nowhere is not signed
    return statement


def _leave(desk: PolicyDesk, scope: str, envelope: bytes, out: Path | None) -> tuple[str, ...]:
    """Leave a statement in Git, or only in the file that was asked for."""
    from opsascode.proof import payload_digest  # noqa: PLC0415 - keeps --help quick
    from opsascode.repo import ATTESTATIONS_REF  # noqa: PLC0415 - keeps --help quick

    if out is not None:
        write_file(out, envelope + b"\n", "the statement")
        return (str(out),)
    if desk.attestations is None:
        raise UsageError("there is no Git repository to leave it in", advice="write it to a file: --out FILE")
    desk.attestations.post(scope, payload_digest(envelope), envelope)
    remote = desk.attestations.remote
    return (ATTESTATIONS_REF, *((f"{remote} (pushed)",) if remote else ()))


_DONE: Final = {"propose": "proposed", "approve": "approved", "decline": "declined"}


def _tell(face: Face, after: Decision, signatory: Signatory, said: Said, places: tuple[str, ...]) -> None:
    """Say what was signed, where it lies, and what is still missing."""
    if face.json:
        body = {"said": said.value, "person": signatory.person.id, "places": list(places), **decision_json(after)}
        click.echo(json.dumps(body))
        return
    click.echo(f"{_DONE[said.value]} by {signatory.person.id}; left at {', '.join(map(escape_line, places))}")
    if after.allowed:
        click.echo("nothing is missing: it can be merged, and applied")
    else:
        click.echo("\n".join(("still missing", *missing_lines(after))))


def waiting_changes(desk: PolicyDesk) -> Iterator[tuple[str, Judgement]]:
    """Find the branches that change what is protected and are not allowed yet."""
    if desk.pin is None:
        return
    tip = tip_of(desk)
    for ref, commit in sorted(desk.store.refs("refs/heads/").items()):
        if ref == desk.root.ref or desk.store.is_ancestor(commit, tip):
            continue
        judgement = look_at(desk, ref)
        if judgement.decision.classification.diff.files and not judgement.decision.allowed:
            yield ref, judgement


def waiting_lines(ref: str, judgement: Judgement, people: People) -> Iterator[str]:
    """Show a change that waits, and for whom."""
    decision, name = judgement.decision, escape_line(ref.removeprefix("refs/heads/"))
    yield f"{name}  {class_words(decision)}  {decision.change.id[:19]}…"
    yield from missing_lines(decision)
    yield f"  waits for {', '.join(_able(judgement, people)) or 'nobody who may'}: opsascode approve {name}"


def waiting_json(ref: str, judgement: Judgement, people: People) -> dict[str, object]:
    """Give a change that waits, and for whom, for programs."""
    branch = ref.removeprefix("refs/heads/")
    return {"branch": branch, "waits_for": _able(judgement, people), **decision_json(judgement.decision)}


def _able(judgement: Judgement, people: People) -> list[str]:
    """Name those whose approval would count and is not there yet."""
    from opsascode.policy import Said  # noqa: PLC0415 - keeps --help quick

    given = {each.person for each in judgement.decision.counted}
    return [
        each.id for each in people.persons if each.id not in given and not _objection(judgement, Said.APPROVE, each)
    ]


def sign_unlock(desk: PolicyDesk, locked: AppliedPack, *, reason: str, person: str | None, key: Path | None) -> str:
    """Let somebody who may approve policies lift a lock, and record it; gives who it was."""
    from opsascode.proof import POLICY_APPROVER, ROLLBACK_APPROVER  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Unlock, unlock_request, unlock_statement  # noqa: PLC0415 - keeps --help quick

    roles = {POLICY_APPROVER, ROLLBACK_APPROVER}

    def objection(each: Person) -> str:
        return "" if roles & set(each.roles) else f"{each.id} may approve no policies"

    signatory = choose_person(desk.face.people(), objection, name=person, file=key)
    unlock = Unlock(person=signatory.person.id, reason=reason, at=datetime.now(UTC))
    envelope = sign_statement(unlock_request(locked, unlock), signatory.at_hand)
    signer = desk.face.state.signer(os.environ)
    statement = unlock_statement(desk.book.origin(signer), locked, unlock, envelope=envelope)
    desk.book.add(statement, signer)
    return unlock.person
