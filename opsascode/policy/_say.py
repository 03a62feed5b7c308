"""Does what was signed about a change count?

Judged in the order: bytes, signature, statement, by whom, about what, when, and whether it was used already. Persons
sign for themselves; what a forge knows of them comes through a bridge, whose key counts for nothing else. The key
decides which of the two it is, never the message.

A change that was approved may start from another commit than the one that was looked at, as long as the protected set
has not changed since then. The classes that were signed may be more than those that are found, never fewer.

Not here: how many are needed, who may not be among them (`_count`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opsascode.policy._approval import MAX_LIFETIME, ApprovalCode
from opsascode.policy._change import FORGE_REVIEW, POLICY_APPROVAL, ChangeStatement, ForgeReview, ReviewState, Said
from opsascode.policy._forms import CLOCK_TOLERANCE, ApprovalError, shown
from opsascode.policy._guardrail import Reason

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from opsascode.policy._change import Change
    from opsascode.proof import PersonKey, PublicKey, Record, TrustedPerson, TrustRoot

FORWARD: Final = "forward"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What statements are held against: the change as it was computed here, under the root that rules it."""

    change: Change
    since: frozenset[str]
    effects: str
    root: TrustRoot
    keys: tuple[PersonKey, ...]
    bridges: tuple[PublicKey, ...]
    consumed: frozenset[str]
    now: datetime

    @classmethod
    def of(
        cls,
        change: Change,
        root: TrustRoot,
        *,
        since: frozenset[str],
        effects: str,
        used: frozenset[str],
        now: datetime,
    ) -> Asked:
        """Collect the keys that may speak. A key with another purpose is among them, to say what is wrong with it."""
        from opsascode.proof import MachineRole  # noqa: PLC0415 - needs cryptography, which judging guardrails does not

        distrusted = {each.keyid for each in root.distrust}
        return cls(
            change=change,
            since=since,
            effects=effects,
            root=root,
            keys=tuple(each.key for person in root.persons for each in person.keys),
            bridges=tuple(each for each in root.machine_keys(MachineRole.BRIDGE) if each.keyid not in distrusted),
            consumed=used,
            now=now,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """What one person says, directly or over a bridge; `order` tells the later of two reviews."""

    person: str
    decision: Said
    digest: str
    expires: datetime
    reason: str
    bridged: bool = False
    order: int = 0
    envelope: bytes = field(repr=False)


def hear(asked: Asked, envelope: bytes) -> Say | Reason:
    """Judge one envelope by itself: what somebody says, or why it does not count."""
    from opsascode.proof import CodedProofError  # noqa: PLC0415 - see above

    try:
        record = _open(asked, envelope)
        if record.statement.predicate_type == FORGE_REVIEW:
            return _hear_review(asked, ForgeReview.of(record.statement), record)
        return _hear_person(asked, ChangeStatement.of(record.statement), record)
    except CodedProofError as error:
        return fault(str(error.code), f"a statement does not count: {shown(error.message)}", error.advice)
    except ApprovalError as error:
        return fault(ApprovalCode.FORM, f"a statement does not count: {shown(error.message)}", error.advice)


def fault(code: str, message: str, mend: str = "") -> Reason:
    """Give a reason that is about a statement."""
    return Reason(code=str(code), message=message, source="approval", mend=mend)


def _open(asked: Asked, envelope: bytes) -> Record:
    from opsascode.proof import Code, CodedProofError, open_by_person, open_envelope  # noqa: PLC0415 - see above

    if asked.bridges:
        try:
            return open_envelope(envelope, asked.bridges, predicate_types=(FORGE_REVIEW,))
        except CodedProofError as error:
            if error.code is not Code.SIGNATURE:
                raise
    return open_by_person(envelope, asked.keys, predicate_types=(POLICY_APPROVAL,))


def _hear_person(asked: Asked, said: ChangeStatement, record: Record) -> Say | Reason:
    whose = f"the {_NOUN[said.decision]} of {said.person}"
    found = (
        key_fault(asked.root.person(said.person), said.person, record)
        or about_change(asked, said.change, said.decision, whose)
        or _about_effects(asked, said, whose)
        or about_time((said.issued, said.expires), asked.now, whose)
        or about_use(asked.consumed, record.digest, whose)
    )
    return found or Say(
        person=said.person,
        decision=said.decision,
        digest=record.digest,
        expires=said.expires,
        reason=said.reason,
        envelope=record.envelope,
    )


def _hear_review(asked: Asked, review: ForgeReview, record: Record) -> Say | Reason:
    login = shown(review.login)
    whose = f"the review of {login} at {review.forge}"
    person = asked.root.at_forge(review.forge, review.user)
    if person is None:
        message = f"nobody in the trust root is number {review.user} ({login}) at {review.forge}"
        return fault(ApprovalCode.PERSON, message, f"give the person forge: {{{review.forge}: {review.user}}}")
    decision = Said.APPROVE if review.state is ReviewState.APPROVED else Said.DECLINE
    found = (
        about_change(asked, review.change, decision, whose)
        or about_time((review.issued, review.expires), asked.now, whose)
        or about_use(asked.consumed, record.digest, whose)
    )
    return found or Say(
        person=person.id,
        decision=decision,
        digest=record.digest,
        expires=review.expires,
        reason=f"review {review.review} at {review.forge}",
        bridged=True,
        order=review.review,
        envelope=record.envelope,
    )


def key_fault(person: TrustedPerson | None, name: str, record: Record) -> Reason | None:
    """Say that a statement was not signed by the one it names, with a key that may sign approvals."""
    from opsascode.proof import KeyPurpose  # noqa: PLC0415 - see above

    mine = [] if person is None else [each for each in person.keys if each.key.keyid in record.keyids]
    if not mine:
        message = f"a statement says it is by {name}, and is signed with a key that is not {name}'s"
        return fault(ApprovalCode.PERSON, message, "sign with your own key, as yourself")
    if not any(KeyPurpose.APPROVAL in each.purposes for each in mine):
        message = f"the key {mine[0].key.keyid} of {name} is not for approvals"
        return fault(ApprovalCode.PERSON, message, "sign with a key whose purposes include approval")
    return None


def about_change(asked: Asked, signed: Change, decision: Said, whose: str) -> Reason | None:
    """Hold the change that was signed against the one that is made: it stands for nothing else."""
    change = asked.change
    if signed.repository != change.repository:
        message = f"{whose} is for the repository {signed.repository[:19]}…, not {change.repository[:19]}…"
        return fault(ApprovalCode.REPOSITORY, message)
    if signed.ref != change.ref:
        return fault("E_REF", f"{whose} is for {signed.ref}, not {change.ref}")
    if (signed.root_version, signed.root_digest) != (change.root_version, change.root_digest):
        which = "another " if signed.root_version == change.root_version else ""
        message = f"{whose} was given under {which}version {signed.root_version} of the trust root"
        message += f", and version {change.root_version} rules"
        return fault("E_ROOT_VERSION", message, "it must be given again")
    return _about_content(asked, signed, whose) or _about_classes(change, signed, decision, whose)


def _about_content(asked: Asked, signed: Change, whose: str) -> Reason | None:
    change = asked.change
    same_base, same_target = signed.base_scope == change.base_scope, signed.target_scope == change.target_scope
    if not same_base and not same_target:
        return fault(ApprovalCode.TARGET, f"{whose} is for another change ({signed.id[:19]}…)")
    if not same_target:
        message = (
            f"{whose} leads to {signed.target_scope[:19]}…, and this to {change.target_scope[:19]}…: it changed since"
        )
        return fault(ApprovalCode.STALE, message, "look at the change as it is now, and approve that")
    known = signed.base_commit == change.base_commit or signed.base_commit in asked.since
    if not same_base or not known:
        start = "nothing" if signed.base_commit is None else signed.base_commit[:12]
        message = f"{whose} starts from {start}, and what is protected has changed since then"
        return fault("E_BASE", message, "bring the change up to date, and approve that")
    return None


def _about_classes(change: Change, signed: Change, decision: Said, whose: str) -> Reason | None:
    """Refuse what calls the change less than it is; to decline, any name will do."""
    hidden = sorted({*change.classes} - {*signed.classes, FORWARD})
    if not hidden or decision is Said.DECLINE:
        return None
    message = f"{whose} calls it {', '.join(signed.classes)}, and it is a {' and a '.join(hidden)}"
    return fault("E_UNDECLARED_ROLLBACK", message, "propose it as what it is")


def _about_effects(asked: Asked, said: ChangeStatement, whose: str) -> Reason | None:
    if said.effects == asked.effects or said.decision is Said.DECLINE:
        return None
    message = (
        f"{whose} rests on another difference than the one found here: {said.effects[:19]}…, not {asked.effects[:19]}…"
    )
    return fault(ApprovalCode.STALE, message, "look at the change again, with the version of opsascode that judges it")


def about_time(
    stands: tuple[datetime, datetime], now: datetime, whose: str, *, most: timedelta = MAX_LIFETIME
) -> Reason | None:
    """Say that a statement stands for too long, not yet, or no more."""
    issued, expires = stands
    if expires <= issued or expires - issued > most:
        return fault(ApprovalCode.LIFETIME, f"{whose} stands for {expires - issued}, and {most} is the most")
    if issued > now + CLOCK_TOLERANCE:
        message = f"{whose} is from {issued:%Y-%m-%d %H:%M:%S} UTC, which is still to come"
        return fault(ApprovalCode.NOT_YET, message, "set the clocks of both machines")
    if expires <= now:
        return fault(
            ApprovalCode.EXPIRED, f"{whose} expired at {expires:%Y-%m-%d %H:%M:%S} UTC", "it must be given again"
        )
    return None


def about_use(consumed: frozenset[str], digest: str, whose: str) -> Reason | None:
    """Say that a statement allowed something already."""
    if digest not in consumed:
        return None
    return fault(ApprovalCode.CONSUMED, f"{whose} was used already: it stands for one change, once")


_NOUN: Final = {Said.PROPOSE: "proposal", Said.APPROVE: "approval", Said.DECLINE: "refusal"}
