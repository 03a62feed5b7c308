"""May these policies take the place of those?

One pure judgement of a transition, the same on a pull request, in a server's hook, and in the runner that applies. The
trust root and its rules come from the old side, always.

Rules: a way forward needs the policy approvers, if there are any. A way back or down needs a proposal somebody signed,
and as many rollback approvers as the root says, none of whom proposed it or is known to be behind it; one more while
somebody owes a look at these very policies. A change of the trust root travels alone, must continue the chain, and
waits a day when it asks for less. No statement that is missing ever makes a yes; the one that makes a no, a refusal, is
a courtesy: nothing is safe because of it.

Not here: what kind of change it is (`_classify`), whether a statement counts (`_say`, `_count`), and doing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.policy._approval import ApprovalCode
from opsascode.policy._change import Change
from opsascode.policy._classify import classify
from opsascode.policy._count import Needs, tally
from opsascode.policy._diff import effects_of
from opsascode.policy._forms import shown
from opsascode.policy._guardrail import Reason
from opsascode.policy._levels import TransitionClass
from opsascode.policy._say import Asked, Say, fault, hear
from opsascode.policy._trust_change import chain_faults, expiry_note, mixed_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from opsascode.policy._approval import Counted
    from opsascode.policy._classify import Candidate, Classification, OldState
    from opsascode.policy._count import Tally
    from opsascode.policy._diff import PackDiff
    from opsascode.policy._glass import Debt
    from opsascode.proof import TrustChain, TrustRoot

MOST_ATTESTATIONS: Final = 4096
BACK_OR_DOWN: Final = frozenset({TransitionClass.ROLLBACK, TransitionClass.WEAKENING})
_EVIDENCE: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What this machine knows by itself; pin and high-water mark were checked when the chain was read.

    `consumed` are digests of statements that allowed something already, `announced` when this machine first saw the
    trust root that a change of trust brings.
    """

    chain: TrustChain
    consumed: frozenset[str] = frozenset()
    debts: tuple[Debt, ...] = ()
    announced: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Yes or no, and everything it rests on.

    `faults` are what stands in the way, and what does not count and why; `consumed` the digests to record when it is
    acted upon; `notes` what a person should know although it stands in no way.
    """

    allowed: bool
    change: Change
    classification: Classification
    needs: Needs
    proposer: Counted | None = None
    counted: tuple[Counted, ...] = ()
    declined: tuple[Counted, ...] = ()
    faults: tuple[Reason, ...] = ()
    missing: str = ""
    consumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def change_of(old: OldState, candidate: Candidate, classification: Classification) -> Change:
    """Name the change; this needs no person."""
    ruling = old.chain.current
    return Change(
        repository=old.chain.repository,
        ref=candidate.ref,
        base_commit=old.commit,
        base_scope=old.snapshot.digest,
        target_scope=candidate.snapshot.digest,
        classes=tuple(sorted(each.value for each in classification.classes)),
        root_version=ruling.root.version,
        root_digest=ruling.digest,
    )


def verify(trust: Trust, old: OldState, new: Candidate, attestations: Sequence[bytes], now: datetime) -> Decision:
    """Decide whether the transition may be made; `now` must be aware.

    Raises:
        ValueError: when `now` is naive.
    """
    return decide(trust, old, new, classify(old, new), attestations, now)


def decide(
    trust: Trust,
    old: OldState,
    new: Candidate,
    classification: Classification,
    attestations: Sequence[bytes],
    now: datetime,
) -> Decision:
    """Decide as `verify` does, where it is known already what `classify` says of these two.

    Raises:
        ValueError: when `now` is naive.
    """
    if now.tzinfo is None:
        msg = "judging a transition needs an aware time"
        raise ValueError(msg)
    # 1. What it is, from content alone.
    change = change_of(old, new, classification)
    root, diff = old.chain.current.root, classification.diff
    needs = needs_of(root, classification.classes, changes=bool(diff.files), owed=_owed(diff, trust.debts))
    # 2. What stands in the way whoever agrees.
    in_the_way = [*barred(trust, old, new, classification, now)]
    # 3. Who agrees: each statement by itself, then all of them together.
    excluded, unknown = _behind(root, new)
    asked = Asked.of(
        change,
        root,
        since=frozenset(old.since),
        effects=effects_of(diff),
        used=trust.consumed,
        now=now,
    )
    says, unheard = hear_all(asked, attestations)
    count = tally(needs, root, says, excluded)
    # 4. Both must hold, and nobody who has a say may have said no.
    lacking = _lacking(needs, classification, count, excluded)
    faults = [*in_the_way, *([lacking] if lacking else []), *count.faults, *unheard]
    return Decision(
        allowed=not in_the_way and lacking is None,
        change=change,
        classification=classification,
        needs=needs,
        proposer=count.proposer,
        counted=count.counted,
        declined=count.declined,
        faults=tuple(dict.fromkeys(faults)),
        missing="; ".join(each.message for each in [*in_the_way, *([lacking] if lacking else [])]),
        consumed=tuple(sorted(each.digest for each in [*count.counted, *([count.proposer] if count.proposer else [])])),
        notes=tuple(_notes(old.chain, classification, unknown, now)),
    )


def needs_of(
    root: TrustRoot, classes: frozenset[TransitionClass], *, changes: bool = True, owed: bool = False
) -> Needs:
    """Say who must agree to a change of these classes; the version of the root that rules says how many.

    `changes` tells whether anything protected is different, `owed` whether somebody owes a look at what is.
    """
    from opsascode.proof import POLICY_APPROVER, ROLLBACK_APPROVER, ROOT_ROLE  # noqa: PLC0415 - needs cryptography

    if classes & BACK_OR_DOWN:
        role = root.role(ROLLBACK_APPROVER)
        if role is None:  # no root is valid without it
            msg = "the trust root has no rollback-approver"
            raise ValueError(msg)
        return Needs(role=role.name, threshold=role.threshold + int(owed), proposal=True, teams=role.teams)
    if TransitionClass.TRUST in classes:
        return Needs(role=ROOT_ROLE, threshold=0)  # those who agree to a root have signed the root itself
    role = root.role(POLICY_APPROVER)
    if role is None or not changes:
        return Needs(role=None if role is None else role.name, threshold=0)
    return Needs(role=role.name, threshold=role.threshold, teams=role.teams)


def hear_all(asked: Asked, attestations: Sequence[bytes]) -> tuple[list[Say], list[Reason]]:
    """Judge each statement by itself; of too many none is read, as nobody could say which of them to leave out."""
    distinct = dict.fromkeys(attestations)
    if len(distinct) > MOST_ATTESTATIONS:
        message = f"{len(distinct)} statements where at most {MOST_ATTESTATIONS} are read"
        mend = "give only those about this change; somebody is flooding the place they lie in"
        return [], [fault("E_PARSE", message, mend)]
    heard = [hear(asked, each) for each in distinct]
    return [each for each in heard if isinstance(each, Say)], [each for each in heard if isinstance(each, Reason)]


def barred(
    trust: Trust, old: OldState, new: Candidate, classification: Classification, now: datetime
) -> Iterator[Reason]:
    """Say what no agreement of anybody can mend."""
    ruling = old.chain.current.root
    if trust.chain.repository != old.chain.repository:
        yield _bar("E_REPO", "the policies are those of another repository than the one this machine trusts")
    elif not old.chain.extends(trust.chain):
        known = trust.chain.current.root.version
        message = (
            f"this machine trusts version {known} of the trust root; the one to judge by, version {ruling.version}"
        )
        yield _bar("E_ROOT_ROLLBACK", f"{message}, does not continue it")
    if new.ref != ruling.ref:
        yield _bar("E_REF", f"policies come from {ruling.ref} only, and this is {shown(new.ref)}")
    if TransitionClass.TRUST in classification.classes:
        mixed = mixed_fault(classification.diff)
        yield from () if mixed is None else (mixed,)
        yield from chain_faults(old, new, trust.announced, now)
    if classification.classes & BACK_OR_DOWN and now >= ruling.expires:
        message = (
            f"version {ruling.version} of the trust root expired on {ruling.expires:%Y-%m-%d}: no way back is open"
        )
        yield _bar(
            "E_ROOT_EXPIRED", message, "the holders of the root must sign a new version: opsascode trust propose"
        )
    for path in classification.hidden:
        message = f"{shown(path)} holds characters that change the order in which text is read"
        yield _bar("E_PARSE", message, "remove them: what people agree to must be what they see")


def _behind(root: TrustRoot, new: Candidate) -> tuple[dict[str, str], list[str]]:
    """Name everybody who may be behind the change, with what says so, and the names that are nobody's."""
    excluded: dict[str, str] = {}
    unknown: list[str] = []
    for name in dict.fromkeys((*new.identities.emails, *new.identities.accounts)):
        found = root.behind(name)
        for person in found:
            excluded.setdefault(person.id, shown(name))
        if not found:
            unknown.append(shown(name))
    return excluded, unknown


def _owed(diff: PackDiff, debts: Sequence[Debt]) -> bool:
    """Say whether somebody still owes a look at one of the files that change."""
    touched = {each.path for each in diff.files}
    return any(not touched.isdisjoint(each.paths) for each in debts)


def _lacking(needs: Needs, classification: Classification, count: Tally, excluded: dict[str, str]) -> Reason | None:
    """Say in one reason what is missing for a yes."""
    if count.declined:
        first = count.declined[0]
        why = f": {shown(first.reason)}" if first.reason else ""
        return fault(ApprovalCode.DECLINED, f"declined by {first.person}{why}")
    if needs.proposal and count.proposer is None:
        found = [each.message for each in classification.findings]
        more = f"; and {len(found) - _EVIDENCE} more" if len(found) > _EVIDENCE else ""
        message = f"an undeclared {_called(classification)}: {'; '.join(found[:_EVIDENCE])}{more}"
        mend = f"propose it as what it is; then {needs.threshold} others with the role {needs.role} must approve"
        return fault("E_UNDECLARED_ROLLBACK", message, mend)
    if count.enough:
        return None
    got = f"{len(count.counted)}/{needs.threshold} approvals by people with the role {needs.role}"
    if len(count.counted) >= needs.threshold:
        got += f", who are not of {needs.teams} different teams"
    able = f"of {', '.join(count.able)}" if count.able else "and nobody else may"
    behind = f"; behind the change: {', '.join(sorted(excluded))}" if excluded else ""
    return fault(ApprovalCode.THRESHOLD, f"{got} ({able}{behind})", "ask them to approve this change")


def _called(classification: Classification) -> str:
    return " and ".join(sorted(each.value for each in classification.classes & BACK_OR_DOWN))


def _notes(chain: TrustChain, classification: Classification, unknown: Sequence[str], now: datetime) -> Iterator[str]:
    expiry = expiry_note(chain, now)
    if expiry:
        yield expiry
    if unknown:
        yield f"nobody in the trust root goes by {', '.join(unknown)}: these names exclude nobody"
    for each in classification.excused[:_EVIDENCE]:
        yield f"{each.message}, and makes nothing less safe than it is now"


def _bar(code: str, message: str, mend: str = "") -> Reason:
    return Reason(code=code, message=message, source="policy", mend=mend)
