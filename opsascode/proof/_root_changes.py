"""What changes from one version of the trust root to another, and does any of it ask for less than before?

Rules: a change weakens when anybody can do something afterwards that took more, or others, before. Where that cannot
be told from the two versions alone, it weakens. Removing a person or a key never does; removing an address of somebody
who stays does, as it no longer keeps them from approving their own work.

Not here: what follows from a weakening (`policy`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from opsascode.proof._root_parts import POLICY_APPROVER, MachineRole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opsascode.proof._root import TrustRoot
    from opsascode.proof._root_parts import Role, TrustedMachine, TrustedPerson

_TELLING: Final = frozenset({MachineRole.LEDGER, MachineRole.WITNESS, MachineRole.BRIDGE})
"""What a machine says in these roles, others believe; a runner only speaks of its own runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootChange:
    """One difference, in words, and whether it asks for less than before."""

    what: str
    weakens: bool


def loosens(old: TrustRoot, new: TrustRoot) -> bool:
    """Say whether any change weakens."""
    return any(each.weakens for each in root_changes(old, new))


def meet(old: TrustRoot, new: TrustRoot) -> TrustRoot:
    """Give what both versions allow to people: while a looser version waits, what it takes away is gone already.

    It is no version to sign: it only says who may approve, and who is behind which account.
    """
    return replace(
        new,
        persons=tuple(_common_person(old.person(each.id), each) for each in new.persons),
        roles=tuple(_common_role(old.role(each.name), each) for each in new.roles),
    )


def _common_person(old: TrustedPerson | None, new: TrustedPerson) -> TrustedPerson:
    """Leave a person the keys of both versions, and every account of either: those only ever exclude."""
    before = {} if old is None else {each.key.raw: each.purposes for each in old.keys}
    keys = [(each, set(before.get(each.key.raw, ())) & set(each.purposes)) for each in new.keys]
    return replace(
        new,
        keys=tuple(replace(each, purposes=tuple(sorted(purposes))) for each, purposes in keys if purposes),
        accounts=tuple({*new.accounts, *(old.accounts if old else ())}),
        emails=tuple({*new.emails, *(old.emails if old else ())}),
        forge=new.forge if old is not None and old.forge == new.forge else {},
    )


def _common_role(old: Role | None, new: Role) -> Role:
    if old is None:
        return replace(new, persons=())
    persons = tuple(each for each in new.persons if each in old.persons)
    return replace(new, persons=persons, threshold=max(old.threshold, new.threshold), teams=max(old.teams, new.teams))


def root_changes(old: TrustRoot, new: TrustRoot) -> tuple[RootChange, ...]:
    """Give all differences between two versions, those that weaken first."""
    found = [
        *_persons(old, new),
        *_roles(old, new),
        *_machines(old, new),
        *_scope(old, new),
        *_limits(old, new),
        *_distrust(old, new),
    ]
    return tuple(sorted(found, key=lambda each: not each.weakens))


def _persons(old: TrustRoot, new: TrustRoot) -> Iterator[RootChange]:
    before, after = {each.id: each for each in old.persons}, {each.id: each for each in new.persons}
    for name in sorted(before.keys() - after.keys()):
        yield _change(f"person {name} removed", weakens=False)
    for name in sorted(after.keys() - before.keys()):
        # Without a key or a number at a forge, a person is only somebody who is excluded.
        able = bool(after[name].keys or after[name].forge)
        yield _change(f"person {name} added{'' if able else ', without a key'}", weakens=able)
        yield from _keys(name, {}, _purposes(after[name]))
    for name in sorted(before.keys() & after.keys()):
        yield from _person(before[name], after[name], by_team=any(each.teams for each in (*old.roles, *new.roles)))


def _person(old: TrustedPerson, new: TrustedPerson, *, by_team: bool) -> Iterator[RootChange]:
    if old.name != new.name:
        yield _change(f"person {new.id} is shown as {new.name!r}, before {old.name!r}", weakens=False)
    yield from _listed(f"person {new.id}: account", old.accounts, new.accounts, removing=True)
    yield from _listed(f"person {new.id}: address", old.emails, new.emails, removing=True)
    yield from _listed(f"person {new.id}: team", old.teams, new.teams, adding=by_team)
    yield from _listed(f"person {new.id}: number", _numbers(old), _numbers(new), adding=True, removing=True)
    yield from _keys(new.id, _purposes(old), _purposes(new))


def _keys(name: str, old: Mapping[str, frozenset[str]], new: Mapping[str, frozenset[str]]) -> Iterator[RootChange]:
    for keyid in sorted(old.keys() | new.keys()):
        before, after = old.get(keyid, frozenset()), new.get(keyid, frozenset())
        if not before or not after:
            what = f"added for {', '.join(sorted(after))}" if after else "revoked"
            yield _change(f"person {name}: key {keyid} {what}", weakens=bool(after))
        else:
            yield from _listed(f"person {name}: key {keyid}: purpose", before, after, adding=True)


def _roles(old: TrustRoot, new: TrustRoot) -> Iterator[RootChange]:
    before, after = {each.name: each for each in old.roles}, {each.name: each for each in new.roles}
    for name in sorted(before.keys() - after.keys()):
        # Nobody can speak in a role that is gone; but changes forward ask nobody where there is no such role.
        yield _change(f"role {name} removed", weakens=name == POLICY_APPROVER)
    for name in sorted(after.keys() - before.keys()):
        role = after[name]
        what = f"role {name} added: {role.threshold} of {', '.join(role.persons)}"
        yield _change(what, weakens=name != POLICY_APPROVER)
    for name in sorted(before.keys() & after.keys()):
        yield from _role(before[name], after[name])


def _role(old: Role, new: Role) -> Iterator[RootChange]:
    yield from _number(f"role {new.name}: threshold", old.threshold, new.threshold)
    yield from _number(f"role {new.name}: different teams", old.teams, new.teams)
    yield from _listed(f"role {new.name}: person", old.persons, new.persons, adding=True)


def _machines(old: TrustRoot, new: TrustRoot) -> Iterator[RootChange]:
    before, after = {each.name: each for each in old.machines}, {each.name: each for each in new.machines}
    for name in sorted(before.keys() - after.keys()):
        yield _change(f"machine {name} removed", weakens=False)
    for name in sorted(after.keys() - before.keys()):
        machine = after[name]
        yield _change(f"machine {name} added: {', '.join(machine.roles)}", weakens=_telling(machine))
    for name in sorted(before.keys() & after.keys()):
        was, now = before[name], after[name]
        if was.key != now.key:
            yield _change(f"machine {name} has another key, {now.key.keyid}", weakens=_telling(now))
        gained = _TELLING & {*now.roles} - {*was.roles}
        yield from _listed(f"machine {name}: role", was.roles, now.roles, adding=bool(gained))


def _telling(machine: TrustedMachine) -> bool:
    return not _TELLING.isdisjoint(machine.roles)


def _scope(old: TrustRoot, new: TrustRoot) -> Iterator[RootChange]:
    if old.ref != new.ref:
        yield _change(f"the protected branch is {new.ref}, before {old.ref}", weakens=True)
    for each in sorted({*old.protected} - {*new.protected}):
        weakens = not any(_covers(one, each) for one in new.protected)
        yield _change(f"{each} is protected no more{'' if weakens else ' by itself'}", weakens=weakens)
    for each in sorted({*new.protected} - {*old.protected}):
        yield _change(f"{each} is protected", weakens=False)


def _covers(wide: str, narrow: str) -> bool:
    """Say whether whatever a pattern finds surely lies below another, `**` or `some/folder/**`."""
    folder = wide.removesuffix("**")
    return wide.endswith("**") and not set("*?") & set(folder) and narrow.startswith(folder)


def _limits(old: TrustRoot, new: TrustRoot) -> Iterator[RootChange]:
    if old.expires != new.expires:
        yield _change(f"expires {new.expires:%Y-%m-%d}, before {old.expires:%Y-%m-%d}", weakens=False)
    yield from _number("approvals over a bridge", old.bridge_most, new.bridge_most, more_is_weaker=True)
    yield from _number("witnesses of a checkpoint", old.witness_quorum, new.witness_quorum)
    if old.max_staleness != new.max_staleness:
        weakens = new.max_staleness is None or (old.max_staleness is not None and new.max_staleness > old.max_staleness)
        said = (_age(new.max_staleness), _age(old.max_staleness))
        yield _change(f"the team's ledger may be unseen for {said[0]}, before for {said[1]}", weakens=weakens)
    yield from _number("days in which a value counts as left", old.rollback_window.days, new.rollback_window.days)
    if old.salt != new.salt:
        yield _change("another salt", weakens=False)


def _distrust(old: TrustRoot, new: TrustRoot) -> Iterator[RootChange]:
    before, after = ({each.keyid: each.from_entry for each in root.distrust} for root in (old, new))
    for keyid in sorted(before.keys() | after.keys()):
        if keyid not in after:
            yield _change(f"key {keyid} is believed again", weakens=True)
        elif before.get(keyid) != after[keyid]:
            later = keyid in before and after[keyid] > before[keyid]
            yield _change(f"key {keyid} is not believed from entry {after[keyid]} on", weakens=later)


def _age(most: timedelta | None) -> str:
    return "any time" if most is None else f"{most // timedelta(hours=1)} hours"


def _number(what: str, old: int, new: int, *, more_is_weaker: bool = False) -> Iterator[RootChange]:
    if old != new:
        yield _change(f"{what}: {new}, before {old}", weakens=(new > old) == more_is_weaker)


def _listed(
    what: str, old: Iterable[str], new: Iterable[str], *, adding: bool = False, removing: bool = False
) -> Iterator[RootChange]:
    before, after = {*old}, {*new}
    for each in sorted(before - after):
        yield _change(f"{what} {each} removed", weakens=removing)
    for each in sorted(after - before):
        yield _change(f"{what} {each} added", weakens=adding)


def _purposes(person: TrustedPerson) -> dict[str, frozenset[str]]:
    return {each.key.keyid: frozenset(map(str, each.purposes)) for each in person.keys}


def _numbers(person: TrustedPerson) -> tuple[str, ...]:
    return tuple(f"{forge}:{number}" for forge, number in person.forge.items())


def _change(what: str, *, weakens: bool) -> RootChange:
    return RootChange(what=what, weakens=weakens)
