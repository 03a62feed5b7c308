"""Are there enough people behind a change, and the right ones?

A person counts once, whatever number of keys, statements and reviews there are of them; what they signed themselves
goes before what a forge says of them. Of those who come over a bridge, no more count than the root says. Nobody counts
who proposed the change, or is known to be behind it. Where several people proposed it, whoever helps the change most
is taken for the proposer: so one more statement never makes less of the others.

Not here: whether a statement counts by itself (`_say`), and how many are needed (`_transition`).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.policy._approval import ApprovalCode, Counted
from opsascode.policy._change import Said
from opsascode.policy._say import Say, fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opsascode.policy._guardrail import Reason
    from opsascode.proof import TrustRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Who must agree: so many who have the role (None: nobody), of so many teams, and whether it must be proposed."""

    role: str | None
    threshold: int
    proposal: bool = False
    teams: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Who stands for what, and whether that is enough; a refusal is not weighed here."""

    enough: bool
    proposer: Counted | None
    counted: tuple[Counted, ...]
    declined: tuple[Counted, ...]
    faults: tuple[Reason, ...]
    able: tuple[str, ...]


def tally(needs: Needs, root: TrustRoot, says: Iterable[Say], excluded: Mapping[str, str]) -> Tally:
    """Count; `excluded` are the people behind the change, each with what is known of them."""
    heard = sorted({each.digest: each for each in says}.values(), key=lambda each: (each.expires, each.digest))
    members = {each.id for each in root.members(needs.role)} if needs.role else set[str]()
    faults: list[Reason] = []
    proposals = {each.person: each for each in heard if each.decision is Said.PROPOSE}
    direct: dict[str, Say] = {}
    bridged: dict[str, Say] = {}
    declined: dict[str, Say] = {}
    for say in _latest(heard):
        if say.person not in members:
            faults.append(_no_role(say, needs.role))
        elif say.decision is Said.DECLINE:
            declined[say.person] = say
        elif say.person in excluded:
            message = f"{say.person} is behind this change ({excluded[say.person]}) and cannot approve it"
            faults.append(fault(ApprovalCode.SELF, message, "ask somebody else to approve"))
        else:
            (bridged if say.bridged else direct)[say.person] = say
    proposer, counted = _best(needs, root, proposals, (direct, bridged))
    faults += _not_counted(proposer, counted, (direct, bridged), root.bridge_most)
    return Tally(
        enough=_is_enough(needs, root, counted) and (proposer is not None or not needs.proposal),
        proposer=None if proposer is None else _counted(proposals[proposer], None),
        counted=tuple(_counted(each, needs.role) for each in counted),
        declined=tuple(_counted(declined[name], needs.role) for name in sorted(declined)),
        faults=tuple(faults),
        able=tuple(
            sorted(members - {*excluded, *(each.person for each in counted), *((proposer,) if proposer else ())})
        ),
    )


def _latest(heard: Sequence[Say]) -> list[Say]:
    """Give approvals and refusals; of the reviews of one person only the last, as it takes back those before it."""
    last = {each.person: each for each in sorted(heard, key=lambda each: each.order) if each.bridged}
    return [
        each for each in heard if each.decision is not Said.PROPOSE and (not each.bridged or last[each.person] is each)
    ]


def _best(
    needs: Needs, root: TrustRoot, proposals: Mapping[str, Say], said: tuple[dict[str, Say], dict[str, Say]]
) -> tuple[str | None, tuple[Say, ...]]:
    """Choose the proposer, and who counts beside them, so that they reach furthest."""
    direct, bridged = said
    choices: list[tuple[tuple[bool, int, int], str | None, tuple[Say, ...]]] = []
    for proposer in _proposers(needs, proposals, {*direct, *bridged}):
        own = tuple(direct[name] for name in sorted(direct) if name != proposer)
        others = [bridged[name] for name in sorted(bridged) if name != proposer and name not in direct]
        for over in itertools.combinations(others, min(root.bridge_most, len(others))):
            counted = (*own, *over)
            reached = (_is_enough(needs, root, counted), len(counted), _teams(root, counted))
            choices.append((reached, proposer, counted))
            if reached[0]:
                return proposer, counted
    _, proposer, counted = max(choices, key=lambda each: each[0])
    return proposer, counted


def _proposers(needs: Needs, proposals: Mapping[str, Say], approvers: set[str]) -> list[str | None]:
    """Give whom to take for the proposer, one after the other; of those who do not approve as well, one is enough."""
    only = [name for name in sorted(proposals) if name not in approvers][:1]
    both = [name for name in sorted(proposals) if name in approvers]
    # Where no proposal is needed, a proposal that is seen must not take an approval away.
    nobody = [] if needs.proposal and proposals else [None]
    return [*only, *nobody, *both]


def _is_enough(needs: Needs, root: TrustRoot, counted: Sequence[Say]) -> bool:
    return len(counted) >= needs.threshold and (not needs.teams or _teams(root, counted) >= needs.teams)


def _teams(root: TrustRoot, counted: Sequence[Say]) -> int:
    from opsascode.proof import teams_among  # noqa: PLC0415 - needs cryptography, which judging guardrails does not

    return teams_among(each for each in root.persons if each.id in {one.person for one in counted})


def _not_counted(
    proposer: str | None, counted: Sequence[Say], said: tuple[dict[str, Say], dict[str, Say]], most: int
) -> Iterable[Reason]:
    """Say why people who approve are not among those who count."""
    direct, bridged = said
    names = {each.person for each in counted}
    for name in sorted({*direct, *bridged} - names):
        if name == proposer:
            message = f"{name} proposed this change and cannot approve it"
            yield fault(ApprovalCode.SELF, message, "ask somebody else to approve")
        else:
            message = f"the review of {name} does not count: at most {most} may come over a bridge"
            yield fault("E_BRIDGE", message, f"{name} must approve with their own key")


def _no_role(say: Say, role: str | None) -> Reason:
    if role is None:
        return fault(ApprovalCode.ROLE, f"{say.person} was not asked: this change needs nobody")
    return fault(ApprovalCode.ROLE, f"{say.person} does not have the role {role}", "ask somebody who has the role")


def _counted(say: Say, role: str | None) -> Counted:
    return Counted(
        person=say.person,
        role=role,
        digest=say.digest,
        expires=say.expires,
        reason=say.reason,
        envelope=say.envelope,
    )
