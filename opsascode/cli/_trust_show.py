"""`opsascode trust show`: which trust root counts here, what is proposed, and what this machine believes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import escape_line, stamp, wants_colour
from opsascode.cli._options import format_option
from opsascode.cli._trust import WARN_DAYS, fault_of, open_proposal, shown_path
from opsascode.cli._trust_text import root_lines, signed_json, warnings_about
from opsascode.errors import ExitCode, ProofError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.cli._context import Face
    from opsascode.cli._trust import Proposal
    from opsascode.proof import Json, RootChange, TrustChain, TrustRoot
    from opsascode.run import RootPin


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What there is: the chain as far as it can be read, the pin, a proposal, and what is wrong."""

    chain: TrustChain | None
    pin: RootPin | None
    proposal: Proposal | None
    faults: tuple[str, ...]

    @property
    def warnings(self) -> list[str]:
        if self.chain is None:
            return []
        said = warnings_about(self.chain.current.root, datetime.now(UTC), days=WARN_DAYS)
        if self.pin is None:
            said.append("nothing is pinned on this machine, so nobody can say whether this is the right trust root")
        elif self.pin.tofu:
            said.append("the pin was taken from the repository itself, unchecked: compare its digest with somebody")
        return said


@click.command()
@click.option("--allowed-signers", is_flag=True, help="Print the people's keys as OpenSSH's allowed_signers file.")
@format_option
@click.pass_obj
def show(face: Face, /, *, allowed_signers: bool) -> int:
    """Show the trust root: versions, persons, roles, proposals, and what this machine believes."""
    seen = _look(face)
    if seen.chain is None and not seen.faults and seen.proposal is None:
        raise UsageError("there is no trust root here", advice="make one: opsascode trust init")
    if allowed_signers:
        return _tell_signers(seen)
    if face.json:
        click.echo(json.dumps(_json(face, seen)))
    else:
        click.echo("\n".join(_lines(face, seen)), color=wants_colour())
    return ExitCode.INTEGRITY if seen.faults else ExitCode.DONE


def _look(face: Face) -> _Seen:
    """Read what there is; where nothing is pinned, what is committed is read without a pin."""
    from opsascode.proof import Code, TrustChain, read_chain  # noqa: PLC0415 - keeps --help quick
    from opsascode.repo import committed_trust  # noqa: PLC0415 - likewise
    from opsascode.run import Pins  # noqa: PLC0415 - likewise

    pin = Pins(face.state).read()
    envelopes = committed_trust(face.repository.root, "HEAD")
    chain, faults = None, []
    try:
        if pin is not None:
            chain, pin = face.trusted(), Pins(face.state).read()
        elif envelopes:
            chain = read_chain(envelopes)
    except ProofError as error:
        begun = len(envelopes) == 1 and getattr(error, "code", "") == Code.THRESHOLD
        if not begun and (envelopes or (pin is not None and pin.version)):
            faults.append(fault_of(error))
    proposal = None
    try:
        proposal = None if faults else open_proposal(face, chain or TrustChain(roots=()))
    except ProofError as error:
        faults.append(f"the proposed version cannot be read: {fault_of(error)}")
    return _Seen(chain=chain, pin=pin, proposal=proposal, faults=tuple(faults))


def _lines(face: Face, seen: _Seen) -> Iterator[str]:
    if seen.chain is not None:
        yield from root_lines(seen.chain.current.root)
        yield "  versions"
        for signed in seen.chain.roots:
            yield f"    {signed.root.version:>3}  {signed.digest}  signed by {', '.join(signed.signers)}"
    yield from _pin_lines(seen)
    if seen.proposal is not None:
        yield from _proposal_lines(face, seen)
    for fault in seen.faults:
        yield f"{_red('not valid')}: {escape_line(fault)}"
    for warning in seen.warnings:
        yield f"{_red('warning')}: {escape_line(warning)}"


def _pin_lines(seen: _Seen) -> Iterator[str]:
    pin = seen.pin
    if pin is None:
        yield "  pin          none on this machine: opsascode trust pin sha256:…"
        return
    when = f", {stamp(pin.pinned)}" if pin.pinned else ""
    how = ", taken from the repository itself" if pin.tofu else ""
    yield f"  pin          {pin.repository}{how} ({escape_line(pin.place)}{when})"
    if pin.version:
        yield f"  newest seen  version {pin.version}, at {escape_line(pin.ref)}"


def _proposal_lines(face: Face, seen: _Seen) -> Iterator[str]:
    proposal = seen.proposal
    if proposal is None:
        return
    signed = proposal.signed
    yield f"\nProposed: version {signed.root.version}, {escape_line(shown_path(face, proposal.file))}"
    if seen.chain is None:
        yield from root_lines(signed.root)
    for each in _changes(seen):
        yield f"  {_red('WEAKER ') if each.weakens else '       '} {escape_line(each.what)}"
    yield f"  digest       {signed.digest}"
    yield f"  signed by    {', '.join(signed.signers)}"
    if not signed.missing:
        branch = escape_line(signed.root.ref.removeprefix("refs/heads/"))
        yield f"  complete     commit it on {branch}, with nothing else"
        return
    yield f"  {escape_line(signed.missing)}"
    yield f"  waits for    {', '.join(signed.able) or 'nobody who may'}: opsascode trust sign"


def _changes(seen: _Seen) -> tuple[RootChange, ...]:
    from opsascode.proof import root_changes  # noqa: PLC0415 - keeps --help quick

    if seen.chain is None or seen.proposal is None:
        return ()
    return root_changes(seen.chain.current.root, seen.proposal.signed.root)


def _json(face: Face, seen: _Seen) -> dict[str, Json]:
    pin, chain, proposal = seen.pin, seen.chain, seen.proposal
    versions: list[Json] = [signed_json(each) for each in chain.roots] if chain else []
    pinned: Json = None
    if pin is not None:
        pinned = {
            "repository": pin.repository,
            "place": pin.place,
            "tofu": pin.tofu,
            "at": pin.pinned.strftime("%Y-%m-%dT%H:%M:%SZ") if pin.pinned else None,
        }
    proposed: Json = None
    if proposal is not None:
        changes: list[Json] = [{"what": each.what, "weakens": each.weakens} for each in _changes(seen)]
        proposed = {
            **signed_json(proposal.signed),
            "file": shown_path(face, proposal.file),
            "changes": changes,
        }
    warnings: list[Json] = [*seen.warnings]
    faults: list[Json] = [*seen.faults]
    return {
        "repository": chain.repository if chain else None,
        "version": chain.current.root.version if chain else None,
        "current": signed_json(chain.current) if chain else None,
        "versions": versions,
        "pending": proposed,
        "pin": pinned,
        "newest_seen": {"version": pin.version, "digest": pin.digest, "ref": pin.ref} if pin and pin.version else None,
        "warnings": warnings,
        "faults": faults,
    }


def _tell_signers(seen: _Seen) -> int:
    """Print what `ssh-keygen -Y verify` and `git` need to know the same people; decisions never rest on it."""
    if seen.chain is None:
        raise UsageError("there is no trust root that counts here", advice="; ".join(seen.faults))
    click.echo("\n".join(_signer_lines(seen.chain.current.root)))
    return ExitCode.DONE


def _signer_lines(root: TrustRoot) -> Iterator[str]:
    from opsascode.proof import APPROVAL_NAMESPACE  # noqa: PLC0415 - keeps --help quick

    for person in root.persons:
        for one in person.keys:
            yield f'{person.id} namespaces="{APPROVAL_NAMESPACE}" {one.key.openssh()}'


def _red(text: str) -> str:
    return click.style(text, fg="red", bold=True)
