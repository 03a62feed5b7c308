"""Which hosts did a guardrail cover, and nothing as strict covers now?

A guardrail covers a host when it asks for no groups, or for one the host is in. It does not matter why it covers it no
longer: another selector, another name, another inventory. What still covers the host is the guardrail of the same name,
whose fields are judged by themselves, or any other that asks for no less. A host that is gone is told apart: a
guardrail by groups binds the names of an inventory, and a name that comes back, or a second name for the same machine,
is a new one.

Not here: which groups a host is in (`repo`), and whether any of it is a weakening (`_classify`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from opsascode.policy._direction import at_least_as_strict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.repo import DocumentMeaning

Groups: TypeAlias = Mapping[str, frozenset[str]]
"""The groups of each host."""

_GROUPS: Final = ("spec", "applies_to", "groups")
_LEFT_OUT: Final = frozenset({_GROUPS, ("metadata", "name")})


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectLoss:
    """A host that a guardrail covered, and that nothing as strict covers now; `gone` with the host itself."""

    host: str
    guardrail: str
    gone: bool = False


def losses(
    old: Sequence[DocumentMeaning], new: Sequence[DocumentMeaning], before: Groups, after: Groups
) -> tuple[EffectLoss, ...]:
    """Compare two sets of guardrails over two inventories."""
    # Hosts in the same groups, before and after, fare alike.
    alike: dict[tuple[frozenset[str], frozenset[str] | None], list[str]] = defaultdict(list)
    for host, groups in before.items():
        alike[groups, after.get(host)].append(host)
    follows = {each.name: each for each in new}
    found = []
    for guardrail in old:
        follower = follows.get(guardrail.name)
        same = follower is not None and follower.digest == guardrail.digest
        heirs: list[DocumentMeaning] | None = None
        for (groups, now), hosts in alike.items():
            if (same and groups == now) or not _covers(guardrail, groups):
                continue
            if now is not None and follower is not None and _covers(follower, now):
                continue
            if now is not None and heirs is None:
                heirs = [*_as_strict(guardrail, new)]
            if now is None or not any(_covers(each, now) for each in heirs or ()):
                found += [EffectLoss(host=host, guardrail=guardrail.name, gone=now is None) for host in hosts]
    return tuple(sorted(found, key=lambda each: (each.guardrail, each.host)))


def _covers(guardrail: DocumentMeaning, groups: frozenset[str]) -> bool:
    asked = guardrail.leaves.get(_GROUPS)
    return asked is None or "all" in asked or not groups.isdisjoint(asked)


def _as_strict(guardrail: DocumentMeaning, new: Sequence[DocumentMeaning]) -> Iterator[DocumentMeaning]:
    return (each for each in new if at_least_as_strict(each, guardrail, but=_LEFT_OUT))
