"""In an emergency one person may do what takes three: with what, for how long, and what do they owe for it?

Rules: the person has the role, and signs with a key on a token that is for nothing else. The statement names one exact
change, the files it is about, the hosts, an incident and a reason, and stands for four hours at most. It never changes
the trust root. Whoever acts on it records it first; after its time, or on other hosts, it means nothing.

It leaves a debt (`_glass`). Who owes may not break the glass again, and it is not broken more than twice in seven days.

Not here: recording it, running anything, and what an open debt asks of other changes (`_transition`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from opsascode.policy._approval import ApprovalCode
from opsascode.policy._change import Said
from opsascode.policy._classify import classify
from opsascode.policy._forms import ApprovalError, shown
from opsascode.policy._glass import BREAK_GLASS_TYPE, RATIFICATION_TYPE, BreakGlass, Ratification
from opsascode.policy._guardrail import Reason
from opsascode.policy._levels import TransitionClass
from opsascode.policy._say import Asked, about_change, about_time, about_use, fault
from opsascode.policy._transition import barred, change_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from opsascode.policy._change import Change
    from opsascode.policy._classify import Candidate, Classification, OldState
    from opsascode.policy._glass import Debt, Debts
    from opsascode.policy._transition import Trust
    from opsascode.proof import Record, TrustRoot

LONGEST: Final = timedelta(hours=4)
MOST_IN_A_WEEK: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassDecision:
    """Whether the glass may be broken; `glass` is what was signed, and `digest` names it."""

    allowed: bool
    change: Change
    classification: Classification
    glass: BreakGlass | None = None
    digest: str = ""
    faults: tuple[Reason, ...] = ()


def judge_break_glass(
    trust: Trust, old: OldState, new: Candidate, envelope: bytes, now: datetime, *, debts: Debts
) -> GlassDecision:
    """Decide whether one person may make this transition now; `now` must be aware.

    Raises:
        ValueError: when `now` is naive.
    """
    if now.tzinfo is None:
        msg = "judging a broken glass needs an aware time"
        raise ValueError(msg)
    classification = classify(old, new)
    change = change_of(old, new, classification)
    root = old.chain.current.root
    faults = [*barred(trust, old, new, classification, now)]
    if TransitionClass.TRUST in classification.classes:
        message = "a broken glass never changes the trust root"
        faults.append(_fault("E_MIXED_TRUST_CHANGE", message, "the holders of the root must sign a change of it"))
    asked = Asked.of(change, root, since=frozenset(old.since), effects="", used=trust.consumed, now=now)
    opened = _open(root, envelope)
    if isinstance(opened, Reason):
        return GlassDecision(allowed=False, change=change, classification=classification, faults=(*faults, opened))
    record, glass = opened
    paths = tuple(sorted(each.path for each in classification.diff.files))
    faults += [
        each
        for each in (
            _about_person(root, glass, record),
            about_change(asked, glass.change, Said.APPROVE, _whose(glass)),
            _about_paths(glass, paths),
            about_time((glass.issued, glass.expires), now, _whose(glass), most=LONGEST),
            about_use(trust.consumed, record.digest, _whose(glass)),
            _about_debts(glass, debts),
        )
        if each is not None
    ]
    return GlassDecision(
        allowed=not faults,
        change=change,
        classification=classification,
        glass=glass,
        digest=record.digest,
        faults=tuple(faults),
    )


def judge_ratification(
    root: TrustRoot, debt: Debt, envelope: bytes, now: datetime
) -> tuple[Ratification, str] | Reason:
    """Judge one ratification before it is recorded: what was signed and its digest, or why it does not count."""
    from opsascode.proof import (  # noqa: PLC0415 - needs cryptography, which judging guardrails does not
        CodedProofError,
        KeyPurpose,
        open_by_person,
    )

    try:
        record = open_by_person(envelope, root.keys(KeyPurpose.APPROVAL), predicate_types=(RATIFICATION_TYPE,))
        said = Ratification.of(record.statement)
    except CodedProofError as error:
        return fault(str(error.code), f"a ratification does not count: {shown(error.message)}", error.advice)
    except ApprovalError as error:
        return fault(ApprovalCode.FORM, f"a ratification does not count: {shown(error.message)}")
    found = _about_ratifier(root, debt, said, record) or about_time(
        (said.issued, said.expires), now, f"the ratification of {said.person}"
    )
    return found or (said, record.digest)


def _about_ratifier(root: TrustRoot, debt: Debt, said: Ratification, record: Record) -> Reason | None:
    from opsascode.proof import ROLLBACK_APPROVER  # noqa: PLC0415 - see above

    person, who = root.person(said.person), said.person
    if person is None or not any(each.key.keyid in record.keyids for each in person.keys):
        message = f"the ratification of {who} is signed with a key that is not {who}'s"
        return fault(ApprovalCode.PERSON, message, "sign with your own key, as yourself")
    if said.glass != debt.digest:
        return fault(ApprovalCode.TARGET, f"the ratification of {who} is about another broken glass")
    if who == debt.person:
        return fault(ApprovalCode.SELF, f"{who} broke the glass and cannot ratify it", "ask two others")
    if person not in root.members(ROLLBACK_APPROVER):
        return fault(ApprovalCode.ROLE, f"{who} does not have the role {ROLLBACK_APPROVER}", "ask somebody who has it")
    return None


def _open(root: TrustRoot, envelope: bytes) -> tuple[Record, BreakGlass] | Reason:
    from opsascode.proof import CodedProofError, open_by_person  # noqa: PLC0415 - see above

    keys = [each.key for person in root.persons for each in person.keys]
    try:
        record = open_by_person(envelope, keys, predicate_types=(BREAK_GLASS_TYPE,))
        return record, BreakGlass.of(record.statement)
    except CodedProofError as error:
        return fault(str(error.code), f"the glass stays whole: {shown(error.message)}", error.advice)
    except ApprovalError as error:
        return fault(ApprovalCode.FORM, f"the glass stays whole: {shown(error.message)}")


def _about_person(root: TrustRoot, glass: BreakGlass, record: Record) -> Reason | None:
    from opsascode.proof import BREAK_GLASS, KeyPurpose  # noqa: PLC0415 - see above

    person, who = root.person(glass.person), glass.person
    mine = [] if person is None else [each for each in person.keys if each.key.keyid in record.keyids]
    if not mine:
        message = f"{who} is named, and the key that signed is not {who}'s"
        return fault(ApprovalCode.PERSON, message, "sign with your own key, as yourself")
    if person not in root.members(BREAK_GLASS):
        return fault(ApprovalCode.ROLE, f"{who} does not have the role {BREAK_GLASS}", "ask somebody who has it")
    able = [each for each in mine if KeyPurpose.BREAK_GLASS in each.purposes and each.key.application is not None]
    if not able:
        message = f"the key {mine[0].key.keyid} of {who} is not one on a token for breaking glass"
        return fault("E_KEY_TYPE", message, "sign with the security key that has the purpose break-glass")
    return None


def _about_paths(glass: BreakGlass, paths: Sequence[str]) -> Reason | None:
    if glass.paths == tuple(paths):
        return None
    message = f"{_whose(glass)} names other files than those that change"
    return fault(ApprovalCode.TARGET, message, "sign for exactly the files that change")


def _about_debts(glass: BreakGlass, debts: Debts) -> Reason | None:
    mine = debts.of(glass.person)
    if mine:
        message = f"{glass.person} still owes a look at incident {mine[0].incident}, since {mine[0].opened:%Y-%m-%d}"
        return fault("E_DEBT", message, f"two others must ratify it: opsascode policy ratify {mine[0].entry}")
    if len(debts.recent) >= MOST_IN_A_WEEK:
        message = f"the glass was broken {len(debts.recent)} times in seven days, and {MOST_IN_A_WEEK} are the most"
        return fault("E_DEBT", message, "two others must approve the change itself")
    return None


def _whose(glass: BreakGlass) -> str:
    return f"the broken glass of {glass.person}"


def _fault(code: str, message: str, mend: str) -> Reason:
    return Reason(code=code, message=message, source="break-glass", mend=mend)
