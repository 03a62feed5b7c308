"""Which hosts and runbooks does a change of the policies reach?

Told to whoever shall agree to it: the guardrails that change, before and after, the runbooks their patterns name, and
the hosts in the groups they ask for. Everything is read from the commits; an inventory that would have to be executed
is not, and then nobody can tell which hosts they are.

Not here: what the change does to them (`policy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from opsascode.errors import OpsError
from opsascode.repo import Kind, Unreadable, meanings, static_groups
from opsascode.run._judging import inventory_sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.repo import DocumentMeaning, ObjectStore, Snapshot
    from opsascode.run._judging import Judgement

_GROUPS: Final = ("spec", "applies_to", "groups")
_RUNBOOKS: Final = ("spec", "applies_to", "runbooks")
_EVERY_HOST: Final = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """The hosts and runbooks that guardrails which change apply to; hosts are None where they cannot be told."""

    hosts: tuple[str, ...] | None
    runbooks: tuple[str, ...]


def affected(store: ObjectStore, judgement: Judgement) -> Affected | None:
    """Tell what a change reaches, None where no guardrail changes."""
    old, new = judgement.old.snapshot, judgement.new.snapshot
    before, after = ({each.name: each for each in _guardrails(some)} for some in (old, new))
    names = before.keys() | after.keys()
    changed = [
        each
        for name in sorted(names)
        for each in (before.get(name), after.get(name))
        if each is not None and _digest(before.get(name)) != _digest(after.get(name))
    ]
    if not changed:
        return None
    return Affected(hosts=_hosts(store, new, changed), runbooks=_runbooks(store, new, changed))


def _guardrails(snapshot: Snapshot) -> Iterator[DocumentMeaning]:
    for file in snapshot.files.values():
        found = meanings(file)
        if not isinstance(found, Unreadable):
            yield from (each for each in found if each.kind == Kind.GUARDRAIL.value)


def _digest(meaning: DocumentMeaning | None) -> str | None:
    return meaning.digest if meaning else None


def _hosts(store: ObjectStore, snapshot: Snapshot, changed: Sequence[DocumentMeaning]) -> tuple[str, ...] | None:
    sources = inventory_sources(snapshot)
    globs = tuple(glob for each in sources if "," not in each for glob in (each, f"{each.rstrip('/')}/**"))
    try:
        groups = static_groups(store.files(snapshot.commit, globs), sources)
    except OpsError:
        return None
    if groups is None:
        return None
    asked = [_texts(each, _GROUPS) for each in changed]
    if any(not each or _EVERY_HOST in each for each in asked):
        return tuple(sorted(groups))
    wanted = {group for each in asked for group in each}
    return tuple(sorted(host for host, own in groups.items() if own & wanted))


def _runbooks(store: ObjectStore, snapshot: Snapshot, changed: Sequence[DocumentMeaning]) -> tuple[str, ...]:
    try:
        files = store.files(snapshot.commit, ("playbooks/*.yml", "playbooks/*.yaml"))
    except OpsError:
        return ()
    found = (meanings(each) for each in files.values())
    names = sorted({each.name for some in found if not isinstance(some, Unreadable) for each in some})
    patterns = [_texts(each, _RUNBOOKS) for each in changed]
    if any(not each for each in patterns):
        return tuple(names)
    return tuple(name for name in names if any(fnmatchcase(name, one) for each in patterns for one in each))


def _texts(meaning: DocumentMeaning, field: tuple[str, ...]) -> tuple[str, ...]:
    value = meaning.leaves.get(field)
    return tuple(str(each) for each in value) if isinstance(value, (list, tuple)) else ()
