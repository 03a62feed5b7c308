"""Which people let a run pass, by the trust root as it was then?

A run names the version of the trust root its plan was made with, and that version judges its approvals for ever: keys
that were taken away since still verify what they signed before. Where no trust root is pinned here, nothing is said.

Not here: whether the approvals were enough when they were counted (`policy`; the ledger says they were).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opsascode.errors import OpsError, ProofError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.cli._context import Face
    from opsascode.proof import Json
    from opsascode.repo import People
    from opsascode.run import History, PastRun


@dataclass(frozen=True, slots=True)
class PeopleVerdict:
    """Who approved, stage by stage, and what of it does not hold."""

    facts: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def verify_people(face: Face, history: History, past: PastRun) -> PeopleVerdict:
    """Verify the approvals of a run, as its records name them."""
    from opsascode.proof import payload_digest  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import kept_approvals  # noqa: PLC0415 - likewise

    verdict = PeopleVerdict()
    asked = [each for each in past.asks if each.get("kind") == "approval" and each.get("approvals")]
    if not asked:
        return verdict
    try:
        people = _people_then(face, history, past)
    except OpsError as error:
        verdict.facts.append(f"run {past.run}: who approved it cannot be told here: {error.message}")
        return verdict
    kept = {payload_digest(each): each for each in kept_approvals(history.directory(past))}
    for ask in asked:
        _judge(verdict, past.run, ask, people, kept)
    return verdict


def _people_then(face: Face, history: History, past: PastRun) -> People:
    """Give the people of the version the run's plan was made with."""
    from opsascode.repo import people_of  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import read_plan  # noqa: PLC0415 - likewise

    place = history.plan(past)
    try:
        plan = read_plan(place.read_bytes(), name=place.name)
    except OSError as error:
        raise ProofError("its plan is gone") from error
    signed = face.trusted().at(plan.root_version)
    if plan.content.get("trust") != {"version": signed.root.version, "digest": signed.digest}:
        raise ProofError("its plan was made with a trust root that is not the one of this repository")
    return people_of(signed.root, signed.digest)


def _judge(
    verdict: PeopleVerdict, run: str, ask: Mapping[str, Json], people: People, kept: Mapping[str, bytes]
) -> None:
    stage, named = ask.get("stage"), ask.get("approvals")
    signers: list[str] = []
    for digest in map(str, named if isinstance(named, list) else ()):
        try:
            signers.append(_signer(digest, people, kept))
        except OpsError as error:
            code = getattr(error, "code", "")
            verdict.faults.append(f"run {run}: stage {stage}: {error.message}{f' [{code}]' if code else ''}")
    if signers:
        verb = "approved" if ask.get("granted") else "declined"
        verdict.facts.append(
            f"run {run}: stage {stage} {verb} by {', '.join(sorted(set(signers)))}, "
            f"as version {people.version} of the trust root says"
        )


def _signer(digest: str, people: People, kept: Mapping[str, bytes]) -> str:
    """Name who signed an approval, by the keys of that time."""
    from opsascode.policy import APPROVAL  # noqa: PLC0415 - keeps --help quick
    from opsascode.proof import open_by_person  # noqa: PLC0415 - likewise

    envelope = kept.get(digest)
    if envelope is None:
        raise ProofError(f"the approval {digest[:19]}… is gone")
    record = open_by_person(envelope, people.keys, predicate_types=(APPROVAL,))
    owner = people.owner(record.keyid)
    if owner is None or owner.id != record.statement.predicate.get("person"):
        raise ProofError(f"the approval {digest[:19]}… is not signed by whom it names")
    return owner.id
