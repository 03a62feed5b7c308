"""Is a change of the policies a way forward, a way back, or a way down?

The content of a transition is judged, not its commits: what is protected before against what is protected after. The
levels say how it was found out, from the plainest to the subtlest:

R0 the new commit does not follow the old one · R1 everything is as it was once · R2 a file is, byte by byte, what was
superseded, at whatever path · R3 a document is, in other words or under another name · R4 a rule in it is · R5 a
protected field has again a value that was left · R6 a version is lower, or stands for other content · R7 a field
becomes less safe · R8 a host loses a guardrail · R9 this machine has seen something newer.

R7 and R8 are a weakening, all others a rollback. What comes back (R1 to R5) but makes nothing less safe than it is now
is no rollback: a revert of a revert. What cannot be read or compared is taken for the worse.

Not here: who must agree (`_transition`), reading Git and remembering what was superseded (`repo`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.policy._diff import Comparison, compare_packs, named
from opsascode.policy._direction import Direction
from opsascode.policy._forms import shown
from opsascode.policy._levels import Finding, Level, TransitionClass
from opsascode.policy._returns import returns
from opsascode.policy._trust_change import is_root_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.policy._diff import PackDiff
    from opsascode.policy._effect import Groups
    from opsascode.proof import TrustChain
    from opsascode.repo import Past, Snapshot


_TURNING: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the order in which a text is shown."""
_LISTED: Final = 3
_WHOLLY_JUDGED: Final = ("guardrail ", "reliability policy ")
"""Documents of which every field that has an effect says which direction is safe."""
_INVENTORY: Final = "spec.inventory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """The classes, why, and the difference.

    `excused` came back, but makes nothing less safe than it is now; `hidden` are files with characters that turn text.
    """

    classes: frozenset[TransitionClass]
    findings: tuple[Finding, ...]
    diff: PackDiff
    excused: tuple[Finding, ...] = ()
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Identities:
    """Who may be behind a change: addresses of authors and committers, accounts of whoever pushed, opened or started.

    They only ever exclude a person.
    """

    emails: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OldState:
    """What is in force now. `since` are the commits from which the protected set has not changed since.

    Both snapshots of a transition are of what the *old* trust root protects. `groups` are the groups of each host, None
    where they cannot be told without executing something.
    """

    commit: str | None
    snapshot: Snapshot
    past: Past
    chain: TrustChain
    groups: Groups | None
    since: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What shall be in force. `descends`: it follows the old commit; `seen_before`: something newer was met here."""

    commit: str
    snapshot: Snapshot
    descends: bool
    groups: Groups | None
    identities: Identities
    ref: str
    seen_before: bool = False


def classify(old: OldState, candidate: Candidate) -> Classification:
    """Say what kind of change it is."""
    compared = compare_packs(old.snapshot, candidate.snapshot, groups=(old.groups, candidate.groups))
    hidden = tuple(_hidden(candidate.snapshot, compared.diff))
    if old.commit is None:  # whoever applies for the first time gives up nothing
        return Classification(
            classes=frozenset({TransitionClass.FORWARD}), findings=(), diff=compared.diff, hidden=hidden
        )
    order = [*_out_of_order(old, candidate), *_unreadable(compared.diff)]
    came_back, versions = returns(old.past, candidate.snapshot, compared)
    weaker = [*_weaker_fields(compared), *_weaker_effects(old, candidate, compared)]
    excused: tuple[Finding, ...] = ()
    if came_back and not (order or versions or weaker) and _is_only_stricter(compared):
        came_back, excused = [], tuple(came_back)
    back = [*order, *came_back, *versions]
    classes = set()
    if back:
        classes.add(TransitionClass.ROLLBACK)
    if weaker:
        classes.add(TransitionClass.WEAKENING)
    if any(is_root_file(each.path) for each in compared.diff.files):
        classes.add(TransitionClass.TRUST)
    return Classification(
        classes=frozenset(classes or {TransitionClass.FORWARD}),
        findings=tuple(sorted([*back, *weaker], key=lambda each: each.level)),
        diff=compared.diff,
        excused=excused,
        hidden=hidden,
    )


def _out_of_order(old: OldState, candidate: Candidate) -> Iterator[Finding]:
    """R0 and R9: the commits themselves lead back."""
    if not candidate.descends:
        message = f"{candidate.commit[:12]} does not follow {(old.commit or '')[:12]}, from which the policies are now"
        yield Finding(level=Level.R0, path="", subject="commit", message=message, commit=old.commit)
    if candidate.seen_before:
        message = f"{candidate.commit[:12]} is older than what this machine has applied already"
        yield Finding(level=Level.R9, path="", subject="commit", message=message, commit=candidate.commit)


def _unreadable(diff: PackDiff) -> Iterator[Finding]:
    """R3: what cannot be read may be anything, so it may be what was there before."""
    for path, reason in diff.unreadable:
        message = f"{shown(path)} cannot be read, so nobody can say what it takes back: {shown(reason)}"
        yield Finding(level=Level.R3, path=path, subject=path, message=message)


def _weaker_fields(compared: Comparison) -> Iterator[Finding]:
    """R7: a field becomes less safe, or nobody can say that it does not; a document goes away."""
    kept = {*compared.new.documents, *compared.renamed.values()}
    for key, document in sorted(compared.old.documents.items()):
        if key not in kept:
            message = f"{shown(document.path)} {named(key)} is removed"
            yield Finding(level=Level.R7, path=document.path, subject=named(key), message=message)
    for change in compared.diff.changes:
        if change.direction in {Direction.LOOSER, Direction.UNCLEAR}:
            what = "is less safe" if change.direction is Direction.LOOSER else "may be less safe"
            values = f"{_value(change.before)} before, {_value(change.after)} now"
            message = f"{shown(change.file)} {change.document} {shown(change.field)} {what}: {values}"
            yield Finding(level=Level.R7, path=change.file, subject=change.document, message=message)


def _weaker_effects(old: OldState, candidate: Candidate, compared: Comparison) -> Iterator[Finding]:
    """R8: hosts lose a guardrail, or nobody can say that they do not."""
    lost: dict[str, list[str]] = {}
    for each in compared.diff.lost:
        if not each.gone:  # nothing runs on it any more; under another name it would be another host anyway
            lost.setdefault(each.guardrail, []).append(each.host)
    for guardrail, hosts in lost.items():
        more = f" and {len(hosts) - _LISTED} more" if len(hosts) > _LISTED else ""
        listed = ", ".join(map(shown, hosts[:_LISTED])) + more
        message = f"guardrail {guardrail} no longer covers {listed}"
        yield Finding(level=Level.R8, path="", subject=f"guardrail {guardrail}", message=message)
    sources = any(
        each.document.startswith("repository ") and _INVENTORY in each.field for each in compared.diff.changes
    )
    plain = sorted(each for each in compared.old.plain | compared.new.plain if not is_root_file(each))
    unknown = old.groups is None or candidate.groups is None
    # Groups of no host at all tell nothing about an inventory that is another one now.
    if (unknown and (plain or sources)) or (sources and not (old.groups and candidate.groups)):
        where = plain[0] if plain else "opsascode.yml"
        message = f"{shown(where)} changes, and the groups of its hosts cannot be told without executing something"
        yield Finding(level=Level.R8, path=where, subject="inventory", message=message)


def _is_only_stricter(compared: Comparison) -> bool:
    """Say whether nothing is less safe than it is now, whatever was there before.

    Only of guardrails and reliability policies can that be told: a neutral field of another document may be what a
    policy is about, and of files that are no documents nobody knows.
    """
    diff = compared.diff
    plain = {each for each in compared.old.plain | compared.new.plain if not is_root_file(each)}
    documents = {*(each.document for each in diff.changes), *diff.added}
    return (
        not (plain or diff.removed or diff.unreadable or diff.lost)
        and all(each.startswith(_WHOLLY_JUDGED) for each in documents)
        and all(each.direction in {Direction.STRICTER, Direction.NEUTRAL} for each in diff.changes)
    )


def _hidden(snapshot: Snapshot, diff: PackDiff) -> Iterator[str]:
    """Name files that somebody would approve without seeing what they say."""
    for each in diff.files:
        file = snapshot.files.get(each.path)
        if file is None or file.data.isascii():
            continue
        if not _TURNING.isdisjoint(file.data.decode(errors="replace")):
            yield each.path


def _value(value: object) -> str:
    return "none" if value is None else shown(str(value))
