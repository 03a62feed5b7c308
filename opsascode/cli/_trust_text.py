"""How is a trust root shown, and what changes from one version to the next?

Names in it may come from a hostile proposal, so they are escaped. Not here: what a change means (`proof`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import escape_line, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.proof import Json, SignedRoot, TrustChain, TrustedPerson, TrustRoot


def root_lines(root: TrustRoot) -> Iterator[str]:
    """Show everything a version says."""
    yield f"Trust root, version {root.version}"
    yield f"  holds until  {stamp(root.expires.astimezone(UTC))}"
    yield f"  branch       {escape_line(root.ref)}"
    yield f"  protected    {escape_line(', '.join(root.scope))}"
    window = f"{root.rollback_window.days} days"
    yield f"  limits       at most {root.bridge_most} of the approvals from a forge; values left count for {window}"
    if root.max_staleness is not None:
        hours = int(root.max_staleness.total_seconds() // 3600)
        yield f"  freshness    what needs privileges is refused when the team's ledger was last seen {hours} hours ago"
    if root.witness_quorum:
        yield f"  witnesses    {root.witness_quorum} must have signed a checkpoint"
    yield "  roles"
    width = max((len(each.name) for each in root.roles), default=0)
    for role in root.roles:
        teams = f", of {role.teams} teams" if role.teams else ""
        persons = escape_line(", ".join(role.persons))
        yield f"    {escape_line(role.name):<{width}}  {role.threshold}{teams} of {persons}"
    yield "  persons"
    for person in root.persons:
        yield from _person_lines(person)
    if root.machines:
        yield "  machines"
    for machine in root.machines:
        yield f"    {escape_line(machine.name)}  {machine.key.keyid}  {', '.join(machine.roles)}"
    for each in root.distrust:
        yield f"  not believed {each.keyid} from ledger entry {each.from_entry} on"


def _person_lines(person: TrustedPerson) -> Iterator[str]:
    teams = f", of {', '.join(person.teams)}" if person.teams else ""
    yield escape_line(f"    {person.id}  {person.name}{teams}")
    for one in person.keys:
        token = ", on a security key" if one.key.on_token else ""
        yield f"      key      {one.key.keyid}  {', '.join(one.purposes)}{token}"
    forge = [f"{name} number {number}" for name, number in person.forge.items()]
    known = [*person.accounts, *person.emails, *forge]
    if known:
        yield escape_line(f"      known as {', '.join(known)}")


def change_lines(before: TrustChain, root: TrustRoot) -> Iterator[str]:
    """Show what a version changes, what weakens first."""
    from opsascode.proof import root_changes  # noqa: PLC0415 - keeps --help quick

    old = before.current.root
    yield f"Trust root, version {old.version} to {root.version}"
    changes = root_changes(old, root)
    for each in changes:
        mark = click.style("WEAKER ", fg="red", bold=True) if each.weakens else "       "
        yield f"  {mark} {escape_line(each.what)}"
    if any(each.weakens for each in changes):
        yield "  what is weaker counts once it is applied, a day after it was first met: opsascode policy apply"
    yield f"  holds until {stamp(root.expires.astimezone(UTC))}"


def warnings_about(root: TrustRoot, now: datetime, *, days: int) -> list[str]:
    """Say what somebody should see to soon."""
    said = []
    left = root.expires - now
    if left.total_seconds() <= 0:
        said.append(f"version {root.version} expired at {stamp(root.expires.astimezone(UTC))}: propose one that holds")
    elif left.days < days:
        said.append(f"version {root.version} holds for {left.days} more days: opsascode trust propose --expires 365d")
    nameless = [person.id for person in root.persons if person.keys and not person.emails]
    said += [
        f"{name} has no e-mail address here, so nothing tells which commits are theirs (--email {name}=ADDRESS)"
        for name in nameless
    ]
    return said


def signed_json(signed: SignedRoot) -> dict[str, Json]:
    """Give a version, whole, with who signed it."""
    predicate: dict[str, Json] = dict(signed.root.statement().predicate)
    return {
        **predicate,
        "digest": signed.digest,
        "signers": list(signed.signers),
        "missing": signed.missing,
        "waits_for": list(signed.able),
    }
