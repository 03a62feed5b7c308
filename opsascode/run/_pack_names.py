"""Which commit does somebody mean who names a policy pack, and which packs were there?

A pack is named `version:20251014` (as its PolicyPack document says), `version:prev` (the one before what is applied),
`commit:<id>`, `tag:<name>` or `applied`. A version means its last state on the protected ref.

Not here: what is in a pack (`repo`), which one is applied (`_packs`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import UsageError
from opsascode.repo import PACK_FILE, InvalidDocumentsError, pack_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from opsascode.repo import ObjectStore, Snapshot
    from opsascode.run._pack_log import PackLog

PREVIOUS: Final = "prev"
APPLIED: Final = "applied"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackVersion:
    """A version as it stood last on the protected ref: since which commit, until which one, and who said what then."""

    version: str
    commit: str
    since: str
    when: datetime
    subject: str


def version_of(snapshot: Snapshot) -> str | None:
    """Give the version a pack calls itself; none where it has none, or its document cannot be read."""
    try:
        pack = pack_of(snapshot)
    except InvalidDocumentsError:
        return None
    return pack.metadata.version if pack else None


def pack_versions(store: ObjectStore, tip: str) -> Iterator[PackVersion]:
    """Give the versions along the first-parent line, the newest first; commits without a version are passed over."""
    last = tip
    newest: PackVersion | None = None
    for commit in reversed(store.changed_by(tip, None, (PACK_FILE,))):
        version = version_of(store.snapshot(commit, (PACK_FILE,)))
        facts = store.facts(commit)
        if newest is not None and newest.version != version:
            yield newest
            newest = None
        if version is not None:
            newest = PackVersion(
                version=version,
                commit=newest.commit if newest else last,
                since=commit,
                when=facts.when,
                subject=facts.subject,
            )
        if not facts.parents:
            break
        last = facts.parents[0]
    if newest is not None:
        yield newest


def find_pack(name: str, store: ObjectStore, tip: str, log: PackLog) -> str:
    """Give the commit that a name of a pack means.

    Raises:
        UsageError: there is no such pack.
    """
    kind, colon, rest = name.partition(":")
    if name == APPLIED:
        return _applied(log)
    if kind == "version" and colon:
        return _previous(store, tip, log) if rest == PREVIOUS else _version(rest, store, tip)
    if kind in {"commit", "tag"} and colon:
        found = store.commit_of(f"refs/tags/{rest}" if kind == "tag" else rest)
    else:
        found = store.commit_of(name)
    if found is None:
        raise UsageError(
            f"there is no policy pack {name[:100]!r}",
            advice="name it version:V, version:prev, commit:ID, tag:NAME or applied; see `opsascode policy list`",
        )
    return found


def _applied(log: PackLog) -> str:
    if log.current is None:
        raise UsageError("no policy pack is applied here", advice="opsascode policy apply")
    return log.current.pack.commit


def _version(wanted: str, store: ObjectStore, tip: str) -> str:
    seen: list[str] = []
    for each in pack_versions(store, tip):
        if each.version == wanted:
            return each.commit
        seen.append(each.version)
    known = ", ".join(dict.fromkeys(seen[:10])) or "none at all"
    raise UsageError(f"no policy pack of version {wanted[:60]!r} was on this ref; there are: {known}")


def _previous(store: ObjectStore, tip: str, log: PackLog) -> str:
    """Give what came before the applied pack; where nothing was applied, before the newest version."""
    current = log.current
    if current is not None:
        first = next(place for place, each in enumerate(log.packs) if each.pack.scope == current.pack.scope)
        version = current.pack.version
        for each in reversed(log.packs[:first]):
            if version is None or each.pack.version != version:
                return each.pack.commit
        raise UsageError("no other version was applied before this one", advice="name a version or a commit")
    versions = list(pack_versions(store, tip))
    earlier = next((each for each in versions if each.version != versions[0].version), None)
    if earlier is None:
        raise UsageError("there is no version before this one", advice="see `opsascode policy list`")
    return earlier.commit
