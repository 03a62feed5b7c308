"""`opsascode policy apply|rollback|merge|unlock`: what changes which policies are enforced."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import escape_line
from opsascode.cli._execute import account
from opsascode.cli._options import approval_option, format_option
from opsascode.cli._policy import applied_json, find, tip_of
from opsascode.cli._policy_desk import PolicyDesk, read_files
from opsascode.cli._policy_enforce import push_pack
from opsascode.cli._policy_text import decision_json, decision_lines, diff_lines, refused_for
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.cli._context import Face
    from opsascode.repo import Branches, Made
    from opsascode.run import AppliedPack, Judgement

_person = click.option(
    "--as", "person", metavar="PERSON", help="Who you are in the trust root [default: whose key is here]."
)
_key = click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The key to sign with, or its .pub file for ssh-agent or a token.",
)


@click.command()
@click.argument("selector", default="")
@approval_option
@click.option("--reason", default="", metavar="TEXT", help="Why; it is recorded.")
@format_option
@click.pass_obj
def apply(face: Face, selector: str, approvals: Sequence[Path], reason: str) -> int:
    """Enforce the pack of a commit from now on [default: where the protected ref stands], if it may be.

    Every step from the pack that is applied is judged again, here, by the pinned trust root.
    """
    desk = PolicyDesk(face=face, files=read_files(approvals))
    with desk.alone():
        return _apply(desk, selector, reason)


def _apply(desk: PolicyDesk, selector: str, reason: str) -> int:
    from opsascode.repo import policies_of  # noqa: PLC0415 - keeps --help quick

    face = desk.face
    desk.share()
    current, tip = desk.log.current, find(desk, selector) if selector else tip_of(desk)
    way = desk.judge().way(current.pack.commit if current else None, tip)
    last = way[-1]
    if not last.decision.allowed:
        return _refused(desk, last, tip)
    if current and last.new.snapshot.digest == current.pack.scope:
        return _nothing_to_do(face, current)
    if desk.log.locked:
        return _locked(face, current)
    stale = face.staleness() if any(each.decision.needs.proposal for each in way) else None
    if stale is not None:
        return refused_for(face, (stale,))
    policies_of(last.new.snapshot)  # a pack that cannot be used would stop every run
    run = push_pack(face, last)
    if isinstance(run, int):
        return run
    applied, receipt = _record(desk, way, reason, run)
    desk.leave(way)
    desk.share()
    _tell_applied(face, applied, receipt, way)
    return ExitCode.DONE


def _refused(desk: PolicyDesk, judgement: Judgement, tip: str | None = None) -> int:
    """Say why; and remember looser trust roots, which have to wait from when they were first met."""
    decision = judgement.decision
    if any(fault.code == "E_COOL_DOWN" for fault in decision.faults):
        for commit in dict.fromkeys((judgement.new.commit, tip or judgement.new.commit)):
            _remember_root(desk, commit)
    if desk.face.json:
        click.echo(json.dumps({"event": "refused", **decision_json(decision)}))
    else:
        click.echo("\n".join(diff_lines(decision.classification.diff)), err=True)
        click.echo("\n".join(decision_lines(decision)), err=True)
    return ExitCode.REFUSED


def _remember_root(desk: PolicyDesk, commit: str) -> None:
    from opsascode.run import root_seen_statement  # noqa: PLC0415 - keeps --help quick

    pin = desk.needed_pin.repository
    found = desk.judge().chain(commit).current.digest
    if found in desk.log.seen_roots:
        return
    signer = desk.face.state.signer(os.environ)
    ledger = desk.book.origin(signer)
    desk.book.add(root_seen_statement(ledger, pin, found, datetime.now(UTC)), signer)


def _nothing_to_do(face: Face, current: AppliedPack) -> int:
    if face.json:
        click.echo(json.dumps({"event": "unchanged", **applied_json(current)}))
    else:
        click.echo(f"nothing to do: {current.pack} is applied, and nothing protected is different")
    return ExitCode.DONE


def _locked(face: Face, current: AppliedPack | None) -> int:
    message = f"the policy pack is locked since it was rolled back to {current.pack if current else 'nothing'}"
    if face.json:
        click.echo(json.dumps({"event": "refused", "code": "E_LOCKED", "message": message}))
    else:
        click.echo(f"refused: {escape_line(message)} [E_LOCKED]", err=True)
        click.echo("  once the cause is mended: opsascode policy unlock --reason TEXT", err=True)
    return ExitCode.REFUSED


def _record(desk: PolicyDesk, way: Sequence[Judgement], reason: str, run: str | None) -> tuple[AppliedPack, Path]:
    """Write the entry, and the receipt beside it."""
    from opsascode.run import chain_of_snapshot, record_applied  # noqa: PLC0415 - keeps --help quick

    chain = chain_of_snapshot(way[-1].new.snapshot, pin=desk.needed_pin.repository)
    return record_applied(
        desk.book,
        way,
        chain=chain,
        signer=desk.face.state.signer(os.environ),
        reason=reason,
        run=run,
        actor=account(),
        signed=desk.signed,
        now=datetime.now(UTC),
    )


def _tell_applied(face: Face, applied: AppliedPack, receipt: Path, way: Sequence[Judgement]) -> None:
    if face.json:
        click.echo(json.dumps({"event": "applied", "receipt": str(receipt), **applied_json(applied)}))
        return
    for judgement in way:
        click.echo("\n".join(diff_lines(judgement.decision.classification.diff)))
        click.echo("\n".join(decision_lines(judgement.decision)))
    click.echo(f"applied: {applied.pack}")
    click.echo(f"recorded as ledger entry {applied.entry}; prove it: opsascode verify {receipt}")
    if applied.locked:
        click.echo("locked: nothing else is applied until `opsascode policy unlock --reason TEXT`")


@click.command()
@click.option(
    "--to", "selector", required=True, metavar="SELECTOR", help="Where back to: version:prev, version:V, commit:ID."
)
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is signed and recorded.")
@click.option("--branch", metavar="NAME", help="The branch to make [default: rollback/<version or commit>].")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the signed proposal to a file.")
@_person
@_key
@format_option
@click.pass_obj
def rollback(  # noqa: PLR0913 - one parameter for each option
    face: Face,
    /,
    *,
    selector: str,
    reason: str,
    branch: str | None,
    out: Path | None,
    person: str | None,
    key: Path | None,
) -> int:
    """Take the protected files back to those of an earlier pack: make the branch, and sign its proposal.

    Nothing takes effect by this. Two others must look at it and sign: opsascode approve BRANCH.
    """
    from opsascode.cli._change import propose  # noqa: PLC0415 - keeps --help quick
    from opsascode.repo import Branches  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import version_of  # noqa: PLC0415 - keeps --help quick

    desk = PolicyDesk(face=face)
    base, target = tip_of(desk), find(desk, selector)
    root = desk.root
    before, wanted = desk.store.snapshot(base, root.protected), desk.store.snapshot(target, root.protected)
    branches = Branches.of(face.repository.root)
    commit = branches.restored_commit(before, wanted, _made(branches, _message(selector, target, reason)))
    name = branch or f"rollback/{_plain(version_of(wanted) or target[:12])}"
    ref = branches.create_branch(name, commit)
    if not face.json:
        click.echo(f"branch {escape_line(name)}: {commit[:12]}, on top of {base[:12]}")
    return propose(face, ref, reason=reason, person=person, key=key, out=out)


@click.command()
@click.argument("branch")
@approval_option
@click.option("--into", metavar="REF", help="The ref to merge into [default: the protected one].")
@format_option
@click.pass_obj
def merge(face: Face, branch: str, approvals: Sequence[Path], into: str | None) -> int:
    """Merge a branch into the protected ref, never fast-forward, if the change that comes of it is allowed.

    Whoever merges is an author of the result: an approver who merges does not count.
    """
    from opsascode.repo import Branches  # noqa: PLC0415 - keeps --help quick

    desk = PolicyDesk(face=face, files=read_files(approvals))
    ref = into or desk.root.ref
    base, head = desk.commit(ref), desk.commit(branch)
    branches = Branches.of(face.repository.root)
    commit = branches.merge_commit(base, head, _made(branches, f"Merge {branch}"))
    judgement = desk.judge(remembers=False).judge(base, commit, ref=ref)
    if not judgement.decision.allowed:
        return _refused(desk, judgement)
    there = branches.checked_out(ref)
    if there is None:
        branches.move_ref(ref, commit, base)
    _tell_merged(face, judgement, commit, ref, there)
    return ExitCode.DONE


def _tell_merged(face: Face, judgement: Judgement, commit: str, ref: str, there: str | None) -> None:
    if face.json:
        moved = there is None
        click.echo(
            json.dumps(
                {"event": "merged", "commit": commit, "ref": ref, "moved": moved, **decision_json(judgement.decision)}
            )
        )
        return
    click.echo("\n".join(decision_lines(judgement.decision)))
    if there is None:
        click.echo(f"merged: {ref} stands at {commit[:12]}; push it as usual")
    else:
        click.echo(f"merged as {commit}; {ref} is checked out, so take it there: git merge --ff-only {commit}")


@click.command()
@click.option("--reason", required=True, metavar="TEXT", help="Why the pack may move again; it is signed and recorded.")
@_person
@_key
@format_option
@click.pass_obj
def unlock(face: Face, reason: str, person: str | None, key: Path | None) -> int:
    """Let packs be applied again after a rollback locked them; signed by somebody who may approve policies."""
    from opsascode.cli._change import sign_unlock  # noqa: PLC0415 - keeps --help quick

    desk = PolicyDesk(face=face)
    with desk.alone():
        if not desk.log.locked or desk.log.current is None:
            raise UsageError("the policy pack is not locked")
        who = sign_unlock(desk, desk.log.current, reason=reason, person=person, key=key)
    if face.json:
        click.echo(json.dumps({"event": "unlocked", "person": who, "reason": reason}))
    else:
        click.echo(f"unlocked by {who}: the next pack can be applied")
    return ExitCode.DONE


def _made(branches: Branches, message: str) -> Made:
    from opsascode.repo import Made  # noqa: PLC0415 - keeps --help quick

    return Made(message=message, by=branches.identity(os.environ), when=datetime.now(UTC))


def _message(selector: str, target: str, reason: str) -> str:
    return f"Roll policies back to {selector}\n\n{reason}\n\nOpsascode-Rollback: {target}\n"


def _plain(word: str) -> str:
    """Make a part of a branch's name of a version."""
    letters = (letter if letter.isascii() and (letter.isalnum() or letter in ".-") else "-" for letter in word)
    return "".join(letters).strip(".-") or "pack"
