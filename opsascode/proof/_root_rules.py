"""Can this trust root be trusted at all, and can the people in it still change it tomorrow?

Rules: each key belongs to one person or one machine, told by its 32 bytes. Two persons at least hold the root and let
policies go back, and one more of each than must agree, so that nobody is locked out when one leaves. Only those are
counted who have a key for it. A machine never approves, and who watches a machine is none of it. Names have one
spelling: what looks alike is alike. Everything that is wrong is said, not only the first thing.

Not here: the JSON types (`_root_form`), and whether people signed it (`_root_chain`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from opsascode.proof._codes import Code, Fault
from opsascode.proof._root_form import MAX_DAYS, MAX_HOURS, MAX_NUMBER
from opsascode.proof._root_parts import (
    BREAK_GLASS,
    ROLLBACK_APPROVER,
    ROOT_ROLE,
    KeyPurpose,
    MachineRole,
    folded,
    teams_among,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opsascode.proof._root import TrustRoot
    from opsascode.proof._root_parts import Role, TrustedMachine, TrustedPerson

DUAL_ROLES: Final = (ROOT_ROLE, ROLLBACK_APPROVER)
"""The roles every root has, in which one person alone never decides."""
MOST_BRIDGED: Final = 2

_ID: Final = re.compile("[a-z0-9][a-z0-9._-]{0,63}")
_ID_FORM: Final = "that is no name here (1 to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first)"
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_SALT: Final = re.compile("[0-9a-f]{32}")
_KEYID: Final = re.compile("SHA256:[A-Za-z0-9+/]{43}")
_EMAIL: Final = re.compile(r"[!-;=?A-~]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,188}[A-Za-z0-9])?")
_REF_PART: Final = re.compile(r"[^\s.~^:?*\[\\/@{}][^\s~^:?*\[\\/{}]*")
_HEADS: Final = "refs/heads/"
_MOST_LETTERS: Final = 256
_NO_GLOB: Final = frozenset("\\[]{}")
_MACHINE_WORDS: Final = frozenset(str(each) for each in MachineRole)
_TOGETHER: Final = frozenset({MachineRole.RUNNER, MachineRole.LEDGER})


def root_faults(root: TrustRoot) -> tuple[Fault, ...]:
    """Say everything that is wrong with a root; what counts most comes first."""
    said = (
        *_about_version(root),
        *_about_limits(root),
        *_about_persons(root),
        *_about_machines(root),
        *_about_roles(root),
    )
    return (*_key_faults(root), *(Fault(code=Code.ROOT, message=each) for each in said))


def signing_members(root: TrustRoot, role: Role) -> tuple[TrustedPerson, ...]:
    """Give those of a role who have a key to speak in it."""
    return tuple(each for each in root.members(role.name) if each.keys_for(role.purpose))


def _key_faults(root: TrustRoot) -> Iterator[Fault]:
    owners: dict[bytes, str] = {}
    listed = [(each.key.raw, f"person {_shown(one.id)}") for one in root.persons for each in one.keys]
    listed += [(each.key.raw, f"machine {_shown(each.name)}") for each in root.machines]
    for raw, owner in listed:
        if raw in owners:
            again = "lists a key twice" if owners[raw] == owner else f"has a key that {owners[raw]} has too"
            yield Fault(code=Code.KEY_REUSE, message=f"{owner} {again}: a key belongs to one, and is listed once")
        owners.setdefault(raw, owner)


def _about_version(root: TrustRoot) -> Iterator[str]:
    if not 1 <= root.version <= MAX_NUMBER:
        yield f"its version is {root.version}, and versions are counted from 1"
    elif root.version == 1 and root.previous is not None:
        yield "version 1 has no previous version"
    elif root.version > 1 and (root.previous is None or not _DIGEST.fullmatch(root.previous)):
        yield "its previous is not the digest of the version before"
    if root.expires.tzinfo is None or root.expires.microsecond:
        yield "its expires must be a time in whole seconds, with a time zone"
    if not _SALT.fullmatch(root.salt):
        yield "its salt must be 32 hex digits"


def _about_limits(root: TrustRoot) -> Iterator[str]:
    if not _is_branch(root.ref):
        yield f"its ref {_shown(root.ref)} is no full name of a branch, such as refs/heads/main"
    if not root.protected:
        yield "it protects nothing"
    yield from _twice(root.protected, "the protected path")
    for each in root.protected:
        if not _is_glob(each):
            yield f"the protected path {_shown(each)} is no pattern relative to the top, such as policies/**"
    if not 0 <= root.bridge_most <= MOST_BRIDGED:
        yield f"its bridge_most is {root.bridge_most}, where 0 to {MOST_BRIDGED} are allowed"
    witnesses = len(root.machine_keys(MachineRole.WITNESS))
    if not 0 <= root.witness_quorum <= witnesses:
        yield f"its witness_quorum is {root.witness_quorum}, and it has {witnesses} witnesses"
    yield from _about_times(root)
    yield from _twice((each.keyid for each in root.distrust), "the distrusted key")
    for one in root.distrust:
        if not _KEYID.fullmatch(one.keyid) or not 0 <= one.from_entry <= MAX_NUMBER:
            yield f"the distrust of {_shown(one.keyid)} must name a key by its fingerprint, and an entry from 0"


def _about_times(root: TrustRoot) -> Iterator[str]:
    if root.max_staleness is not None and not _is_whole(root.max_staleness, timedelta(hours=1), MAX_HOURS):
        yield f"its max_staleness must be 1 to {MAX_HOURS} whole hours, or none"
    if not _is_whole(root.rollback_window, timedelta(days=1), MAX_DAYS):
        yield f"its rollback window must be 1 to {MAX_DAYS} whole days"


def _is_whole(time: timedelta, unit: timedelta, most: int) -> bool:
    return unit <= time <= most * unit and not time % unit


def _about_persons(root: TrustRoot) -> Iterator[str]:
    if not root.persons:
        yield "it names no person"
    yield from _twice((each.id for each in root.persons), "the person")
    yield from _twice((f"{forge}:{n}" for each in root.persons for forge, n in each.forge.items()), "the forge number")
    for person in root.persons:
        yield from _about_person(person)


def _about_person(person: TrustedPerson) -> Iterator[str]:
    who = f"person {_shown(person.id)}"
    if not _ID.fullmatch(person.id):
        yield f"{who}: {_ID_FORM}"
    if not _is_label(person.name):
        yield f"{who} has a name with a character that cannot be shown, or none, or a long one"
    yield from _about_names(person, who)
    for forge, number in person.forge.items():
        if not _ID.fullmatch(forge) or not 1 <= number <= MAX_NUMBER:
            yield f"{who} has {number} as their number at {_shown(forge)}, where github: 123 or the like is needed"
    for one in person.keys:
        if not one.purposes:
            yield f"{who} has a key that is for nothing"
        if KeyPurpose.BREAK_GLASS in one.purposes and not one.key.on_token:
            yield f"{who} has a break-glass key that is on no security key"
        yield from _twice(one.purposes, f"{who} has a key with the purpose")


def _about_names(person: TrustedPerson, who: str) -> Iterator[str]:
    """Judge the teams, accounts and addresses of a person."""
    for each in person.teams:
        if not _ID.fullmatch(each):
            yield f"{who} has the team {_shown(each)}: {_ID_FORM}"
    for each in person.accounts:
        if not _is_label(each) or " " in each:
            yield f"{who} has the account {_shown(each)}, which is no name of an account"
    for each in person.emails:
        if not _EMAIL.fullmatch(each) or ".." in each:
            yield f"{who} has the address {_shown(each)}, which is no e-mail address"
    yield from _twice(person.teams, f"{who} has the team")
    yield from _twice(map(folded, person.accounts), f"{who} has the account")
    yield from _twice(map(folded, person.emails), f"{who} has the address")


def _about_machines(root: TrustRoot) -> Iterator[str]:
    yield from _twice((each.name for each in root.machines), "the machine")
    for machine in root.machines:
        yield from _about_machine(machine)


def _about_machine(machine: TrustedMachine) -> Iterator[str]:
    what = f"machine {_shown(machine.name)}"
    if not _ID.fullmatch(machine.name):
        yield f"{what}: {_ID_FORM}"
    if not machine.roles:
        yield f"{what} has no role"
    yield from _twice(machine.roles, f"{what} has the role")
    if len(set(machine.roles)) > 1 and not _TOGETHER.issuperset(machine.roles):
        yield f"{what} is {' and '.join(machine.roles)}: a witness or a bridge is nothing else"


def _about_roles(root: TrustRoot) -> Iterator[str]:
    yield from _twice((each.name for each in root.roles), "the role")
    for name in DUAL_ROLES:
        if root.role(name) is None:
            yield f"it lacks the role {name}"
    for role in root.roles:
        yield from _about_role(root, role)


def _about_role(root: TrustRoot, role: Role) -> Iterator[str]:
    what = f"role {_shown(role.name)}"
    if not _ID.fullmatch(role.name):
        yield f"{what}: {_ID_FORM}"
    if role.name in _MACHINE_WORDS:
        yield f"{what} is one of machines, which persons never have"
    yield from _twice(role.persons, f"{what} has the person")
    for each in role.persons:
        if root.person(each) is None:
            yield f"{what} names {_shown(each)}, who is no person of this root"
    dual = role.name in DUAL_ROLES
    if role.threshold < (2 if dual else 1):
        yield f"{what} has the threshold {role.threshold}, and at least {2 if dual else 1} must agree"
    elif role.name == BREAK_GLASS and role.threshold != 1:
        yield f"{what} has the threshold {role.threshold}, and there one person acts alone"
    else:
        yield from _about_members(root, role, what, spare=1 if dual else 0)


def _about_members(root: TrustRoot, role: Role, what: str, *, spare: int) -> Iterator[str]:
    """Say when those who can sign are too few, or of too few teams, also after any `spare` of them left."""
    able = signing_members(root, role)
    needed = role.threshold + spare
    if len(able) < needed:
        why = f"{role.threshold} must agree and one may leave" if spare else f"{role.threshold} must agree"
        yield f"{what} has {len(able)} persons with a key for it, and needs {needed}: {why}"
    if not 0 <= role.teams <= role.threshold:
        yield f"{what} asks for {role.teams} teams, where 0 to {role.threshold} are allowed"
        return
    left = [[one for one in able if one is not leaving] for leaving in able] if spare else [able]
    if role.teams and any(teams_among(each) < role.teams for each in left):
        yield f"{what} asks for {role.teams} different teams, and its persons are not of so many, or not without one"


def _is_branch(ref: str) -> bool:
    """Say whether Git takes this as the name of a branch (git-check-ref-format), and nobody misreads it."""
    if not ref.startswith(_HEADS) or len(ref) > _MOST_LETTERS or not ref.isprintable() or ".." in ref:
        return False
    parts = ref.removeprefix(_HEADS).split("/")
    return all(_REF_PART.fullmatch(each) and not each.endswith((".", ".lock")) for each in parts)


def _is_glob(pattern: str) -> bool:
    """Say whether a pattern stays below the top, and uses nothing but `**` as a whole part, `*` and `?`."""
    if not 1 <= len(pattern) <= _MOST_LETTERS or not pattern.isprintable() or _NO_GLOB.intersection(pattern):
        return False
    parts = pattern.split("/")
    if any(each in {"", ".", ".."} or each != each.strip() for each in parts) or pattern.startswith("!"):
        return False
    return all(each == "**" or "**" not in each for each in parts)


def _is_label(text: str) -> bool:
    return 1 <= len(text) <= _MOST_LETTERS and text.isprintable() and text == text.strip()


def _twice(names: Iterable[str], what: str) -> Iterator[str]:
    listed = list(names)
    if len({*listed}) == len(listed):
        return
    for each in sorted({one for one in listed if listed.count(one) > 1}):
        yield f"{what} {_shown(each)} twice"


def _shown(text: str) -> str:
    return ascii(text[:80])
