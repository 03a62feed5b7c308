"""Did enough people agree to exactly this, and nobody with a say refuse?

An approval is a statement of one person about one plan: for one stage, in one run (or in whichever run comes first,
when it was given for a plan file), of one repository, for a limited time. It counts when the person has the role,
signed with a key of theirs, and did not start the run. A person counts once, whatever number of keys they have. Whoever
may agree may also refuse, and one refusal is enough.

Not here: where approvals come from, asking for them, and signing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final

from opsascode.policy._forms import (
    CLOCK_TOLERANCE,
    DIGEST_FORM,
    MAX_REASON,
    NONCE_FORM,
    PERSON_FORM,
    ApprovalError,
)
from opsascode.policy._guardrail import Reason
from opsascode.proof import PREDICATE_PREFIX, RUN_APPROVER, CodedProofError, JsonParts, Statement, stamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from opsascode.proof import Json, Record
    from opsascode.repo import People, Person

APPROVAL: Final = f"{PREDICATE_PREFIX}approval:v1"
MAX_LIFETIME: Final = timedelta(hours=72)

_STAGE: Final = re.compile("[0-9]{1,6}[.][0-9]{1,6}")


class ApprovalCode(StrEnum):
    """Why an approval does not count; beside these, the codes of `proof` for what is wrong with its bytes."""

    FORM = "E_APPROVAL"
    SELF = "E_SELF_APPROVAL"
    REQUESTER = "E_REQUESTER"
    PERSON = "E_PERSON"
    ROLE = "E_ROLE"
    STALE = "E_STALE"
    TARGET = "E_TARGET"
    REPOSITORY = "E_REPO"
    EXPIRED = "E_EXPIRED"
    NOT_YET = "E_NOT_YET"
    LIFETIME = "E_TTL"
    CONSUMED = "E_CONSUMED"
    THRESHOLD = "E_THRESHOLD"
    DECLINED = "E_DECLINED"


class Answer(Enum):
    """What a person said."""

    APPROVE = "approve"
    DECLINE = "decline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What a person signs. `run` is None for a plan that has not been started; `requester` is the account that asks."""

    person: str
    decision: Answer
    reason: str
    plan: str
    stage: str
    run: str | None
    repository: str
    role: str | None
    requester: str | None
    issued: datetime
    expires: datetime
    nonce: str

    def statement(self) -> Statement:
        """Give the statement to sign; its subject is the plan."""
        predicate: dict[str, Json] = {
            "person": self.person,
            "decision": self.decision.value,
            "reason": self.reason,
            "plan": self.plan,
            "stage": self.stage,
            "run": self.run,
            "repository": self.repository,
            "role": self.role,
            "requester": self.requester,
            "issued": stamp(self.issued),
            "expires": stamp(self.expires),
            "nonce": self.nonce,
        }
        return Statement(predicate_type=APPROVAL, subject_name="plan", subject_digest=self.plan, predicate=predicate)

    @classmethod
    def of(cls, statement: Statement) -> Approval:
        """Read what was signed.

        Raises:
            ApprovalError: it does not have exactly the parts of an approval, each of its form.
        """
        parts = JsonParts.of(statement.predicate, ApprovalError, _PARTS)
        if parts.value["plan"] != statement.subject_digest:
            raise ApprovalError("its subject is another plan than the one it speaks of")
        return cls(
            person=parts.matching("person", PERSON_FORM),
            decision=parts.word("decision", Answer),
            reason=parts.text("reason", MAX_REASON),
            plan=parts.matching("plan", DIGEST_FORM),
            stage=parts.matching("stage", _STAGE),
            run=parts.maybe("run", parts.line, 64),
            repository=parts.line("repository"),
            role=parts.maybe("role", parts.matching, PERSON_FORM),
            requester=parts.maybe("requester", parts.line),
            issued=parts.moment("issued"),
            expires=parts.moment("expires"),
            nonce=parts.matching("nonce", NONCE_FORM),
        )


_PARTS: Final = frozenset(
    {
        "person", "decision", "reason", "plan", "stage", "run", "repository", "role", "requester", "issued", "expires",
        "nonce",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalNeed:
    """What must be agreed to, and by how many of whom.

    `requester` is the account that started the run, `aliases` what else it is called (a name at a forge); each must
    belong to a person, and none of those persons counts. `earlier_runs` are runs that this one continues.
    """

    plan: str
    stage: str
    run: str | None
    repository: str
    requester: str
    required: int = 1
    role: str | None = None
    lifetime: timedelta = MAX_LIFETIME
    aliases: tuple[str, ...] = ()
    earlier_runs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """An approval that counts, or a refusal: by whom, as what, its digest, until when, and the reason they gave."""

    person: str
    role: str | None
    digest: str
    expires: datetime
    reason: str = ""
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalVerdict:
    """Whether it is agreed to; what counts, who refused, what does not count and why, and in words what is missing."""

    satisfied: bool
    counted: tuple[Counted, ...] = ()
    declined: tuple[Counted, ...] = ()
    faults: tuple[Reason, ...] = ()
    missing: str = ""


def judge_approvals(
    need: ApprovalNeed,
    envelopes: Sequence[bytes],
    people: People,
    now: datetime,
    *,
    used: frozenset[str] = frozenset(),
) -> ApprovalVerdict:
    """Count approvals; `used` are the digests of those that another run has taken already. `now` must be aware.

    Raises:
        ValueError: `now` is naive, or the need asks for nobody.
    """
    if now.tzinfo is None or need.required < 1:
        msg = "judging approvals needs an aware time, and at least one person to ask for"
        raise ValueError(msg)
    # 1. Who must not count. An account nobody is known to be behind could be anybody's.
    requesters, faults = _requesters(need, people)
    # 2. Each envelope by itself: bytes, signature, statement, what it is about, when, and by whom.
    found: dict[str, tuple[Approval, Counted]] = {}
    for envelope in envelopes:
        judged = _judge_one(need, envelope, people, now)
        if isinstance(judged, Reason):
            faults.append(judged)
        else:
            found.setdefault(judged[1].digest, judged)
    # 3. One say for each person; a refusal weighs more than any number of approvals.
    counted: dict[str, Counted] = {}
    declined: dict[str, Counted] = {}
    for approval, said in sorted(found.values(), key=lambda each: each[1].expires, reverse=True):
        if approval.decision is Answer.DECLINE:
            declined.setdefault(said.person, said)
        elif said.person in requesters:
            message = f"{said.person} started this and cannot approve it"
            faults.append(_fault(ApprovalCode.SELF, message, "ask somebody else to approve"))
        elif said.digest in used:
            message = f"the approval of {said.person} was used by another run already"
            faults.append(_fault(ApprovalCode.CONSUMED, message, f"{said.person} must approve this run itself"))
        else:
            counted.setdefault(said.person, said)
    known = all(fault.code != ApprovalCode.REQUESTER for fault in faults)
    satisfied = known and not declined and len(counted) >= need.required
    return ApprovalVerdict(
        satisfied=satisfied,
        counted=tuple(counted[name] for name in sorted(counted)),
        declined=tuple(declined[name] for name in sorted(declined)),
        faults=tuple(dict.fromkeys(faults)),
        missing="" if satisfied else _missing(need, people, requesters, counted, declined),
    )


def _requesters(need: ApprovalNeed, people: People) -> tuple[frozenset[str], list[Reason]]:
    """Name everybody who may have started this, and complain about accounts that belong to nobody."""
    excluded: set[str] = set()
    faults: list[Reason] = []
    for account in (need.requester, *need.aliases):
        behind = people.behind(account)
        excluded |= {each.id for each in behind}
        if not behind:
            message = f"the account {account!r} started this, and no person of the trust root has it"
            mend = "add it to the accounts of its person; an account of a machine, to a person without keys"
            faults.append(_fault(ApprovalCode.REQUESTER, message, mend))
    return frozenset(excluded), faults


def _judge_one(need: ApprovalNeed, envelope: bytes, people: People, now: datetime) -> tuple[Approval, Counted] | Reason:
    from opsascode.proof import open_by_person  # noqa: PLC0415 - needs cryptography, which judging guardrails does not

    try:
        record = open_by_person(envelope, people.keys, predicate_types=(APPROVAL,))
        approval = Approval.of(record.statement)
    except CodedProofError as error:
        return _fault(str(error.code), f"an approval does not count: {error.message}", error.advice)
    except ApprovalError as error:
        return _fault(ApprovalCode.FORM, f"an approval does not count: {error.message}")
    person = people.person(approval.person)
    fault = (
        _about_person(need, approval, record, person)
        or _about_subject(need, approval)
        or _about_time(need, approval, now)
    )
    if fault is not None:
        return fault
    counted = Counted(
        person=approval.person,
        role=approval.role,
        digest=record.digest,
        expires=approval.expires,
        reason=approval.reason,
        envelope=envelope,
    )
    return approval, counted


def _about_person(need: ApprovalNeed, approval: Approval, record: Record, person: Person | None) -> Reason | None:
    who = approval.person
    if person is None or not {key.keyid for key in person.keys}.intersection(record.keyids):
        message = f"an approval says it is by {who}, and is signed with a key that is not {who}'s"
        return _fault(ApprovalCode.PERSON, message, "sign with your own key, as yourself")
    if approval.role != need.role or not person.has_role(need.role):
        asked = need.role or RUN_APPROVER
        message = f"{who} answered as {approval.role or RUN_APPROVER} where {asked} is asked"
        if approval.role == need.role:
            message = f"{who} does not have the role {asked}"
        return _fault(ApprovalCode.ROLE, message, "ask somebody who has the role")
    return None


def _about_subject(need: ApprovalNeed, approval: Approval) -> Reason | None:
    """Hold an approval against what is to be done: it stands for nothing else."""
    who = approval.person
    if approval.repository != need.repository:
        message = f"the approval of {who} is for the repository {approval.repository!r}, not {need.repository!r}"
        return _fault(ApprovalCode.REPOSITORY, message)
    if approval.plan != need.plan:
        message = f"the approval of {who} is for another plan ({approval.plan[:19]}…), not {need.plan[:19]}…"
        return _fault(ApprovalCode.STALE, message, f"{who} must look at the plan as it is now, and approve that")
    if approval.stage != need.stage:
        message = f"the approval of {who} is for stage {approval.stage}, not {need.stage}"
        return _fault(ApprovalCode.TARGET, message)
    if approval.run is not None and approval.run not in {need.run, *need.earlier_runs}:
        message = f"the approval of {who} is for run {approval.run}, not {need.run or 'a plan before any run'}"
        return _fault(ApprovalCode.TARGET, message)
    if approval.run is not None and approval.requester != need.requester and approval.run == need.run:
        message = f"{who} was shown that {approval.requester!r} started this, not {need.requester!r}"
        return _fault(ApprovalCode.TARGET, message)
    return None


def _about_time(need: ApprovalNeed, approval: Approval, now: datetime) -> Reason | None:
    who = approval.person
    most = min(need.lifetime, MAX_LIFETIME)
    if approval.expires <= approval.issued or approval.expires - approval.issued > most:
        message = f"the approval of {who} stands for {approval.expires - approval.issued}, and {most} is the most"
        return _fault(ApprovalCode.LIFETIME, message)
    if approval.issued > now + CLOCK_TOLERANCE:
        message = f"the approval of {who} is from {approval.issued:%Y-%m-%d %H:%M:%S} UTC, which is still to come"
        return _fault(ApprovalCode.NOT_YET, message, "set the clocks of both machines")
    if approval.expires <= now:
        message = f"the approval of {who} expired at {approval.expires:%Y-%m-%d %H:%M:%S} UTC"
        return _fault(ApprovalCode.EXPIRED, message, f"{who} must approve again")
    return None


def _missing(
    need: ApprovalNeed,
    people: People,
    requesters: frozenset[str],
    counted: dict[str, Counted],
    declined: dict[str, Counted],
) -> str:
    """Say in one sentence what is missing."""
    if declined:
        first = next(iter(declined.values()))
        return f"declined by {first.person}: {first.reason}" if first.reason else f"declined by {first.person}"
    able = [each.id for each in people.with_role(need.role) if each.id not in {*requesters, *counted}]
    role = f" with the role {need.role}" if need.role else ""
    left = max(need.required - len(counted), 0)
    noun = "person" if left == 1 else "people"
    sentence = f"{len(counted)} of {need.required} approvals"
    if left:
        sentence += f"; {left} more {noun}{role} must approve"
        sentence += f" (of {', '.join(able)})" if able else ", and nobody else may"
    else:
        sentence += ", but nobody knows who started this"
    return sentence


def _fault(code: str, message: str, mend: str = "") -> Reason:
    return Reason(code=str(code), message=message, source="approval", mend=mend)
