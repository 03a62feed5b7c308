"""The parsers, each with what must hold of an answer: what is accepted is what somebody signed, and has one form.

A target named `…-content` reads what it bends as the content of a statement that is then truly signed: so what lies
behind a signature is reached too, as an insider with a key can reach it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from opsascode.policy import (
    Approval,
    ApprovalNeed,
    BreakGlass,
    ChangeStatement,
    ForgeReview,
    Ratification,
    Said,
    judge_approvals,
)
from opsascode.policy._say import Asked, Say, hear
from opsascode.policy._trust_change import expiry_note
from opsascode.proof import (
    PAYLOAD_TYPE,
    ROOT_TYPE,
    CodedProofError,
    Handover,
    NoteKey,
    PersonKey,
    PublicKey,
    Statement,
    add_lines,
    armor,
    canonical_bytes,
    cosignatures,
    dearmor,
    loosens,
    open_checkpoint,
    open_envelope,
    parse_strict,
    payload_digest,
    pending_root,
    pre_authentication,
    read_chain,
    read_request,
    read_unverified,
    root_changes,
    seal,
    sha256_digest,
    statement_payload,
    verify_fork,
    verify_proof,
    verify_receipt,
    wrap,
)
from opsascode.repo import load_source
from tests.fuzz import corpus
from tests.fuzz.guard import BrokenError
from tests.people import ALICE, BOB, BOBS_TOKEN, NOW, PEOPLE, PLAN, ROLE, RUN, approval

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opsascode.proof import Json

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A parser, the honest inputs that are bent for it, and how long an input may be."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    most: int = 66 * KIB


def must(holds: object, what: str) -> None:
    """Refuse an answer."""
    if not holds:
        raise BrokenError(what)


def _json(data: bytes) -> None:
    value = parse_strict(data)
    must(value == json.loads(data), "another reader reads something else")
    must(parse_strict(canonical_bytes(value), max_bytes=MIB) == value, "what was read is written as something else")


def _envelope(data: bytes) -> None:
    honest = {payload_digest(each) for each in corpus.envelopes()}
    for reading in (payload_digest, read_unverified):
        try:
            reading(data)
        except CodedProofError:
            continue
    record = open_envelope(data, [corpus.BRIDGE.public_key, corpus.LEDGER.public_key])
    must(record.digest in honest and record.digest == sha256_digest(record.payload), "nobody signed this")


def _statement(data: bytes) -> None:
    signature = corpus.LEDGER.sign(pre_authentication(PAYLOAD_TYPE, data))
    envelope = wrap(data, keyid=corpus.LEDGER.public_key.keyid, signature=signature)
    record = open_envelope(envelope, [corpus.LEDGER.public_key])
    must(record.payload == data, "the payload is not what was signed")
    again = parse_strict(statement_payload(record.statement), max_bytes=MIB)
    must(again == parse_strict(data), "a statement is read as another one")


def _sshsig(data: bytes) -> None:
    for hand, honest in zip((ALICE, BOBS_TOKEN), corpus.signatures(), strict=True):
        if hand.key.fault(corpus.MESSAGE, data) is None:
            must(data == honest, "a signature has a second form")
    must(dearmor(armor(data).encode()) == data, "armor holds something else")


def _armor(data: bytes) -> None:
    blob = dearmor(data)
    must(ALICE.key.fault(corpus.MESSAGE, blob) is not None or blob == corpus.signatures()[0], "accepted")


def _key(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")  # as a command line gives it
    read: tuple[Callable[[str], Any], ...] = (PersonKey.from_openssh, PublicKey.from_openssh)
    for each in read:
        try:
            key = each(text)
        except CodedProofError:
            continue
        must(each(key.openssh()) == key, "a key is written as another one")
    note_key = NoteKey.from_vkey(text)
    must(NoteKey.from_vkey(note_key.vkey()) == note_key, "a verifier key is written as another one")


def _note(data: bytes) -> None:
    text = data.decode(errors="replace")
    _, notes, _ = corpus.tree()
    try:
        seen = cosignatures(text, [corpus.WITNESS.public_key])
        must(not seen or any(text.startswith(each.partition("\n\n")[0]) for each in notes), "no witness saw this")
    except CodedProofError:
        pass
    try:
        grown = add_lines(notes[-1], text, [corpus.WITNESS.public_key])
        must(len(cosignatures(grown, [corpus.WITNESS.public_key])) == 1, "a witness is counted twice")
    except CodedProofError:
        pass
    checkpoint = open_checkpoint(text, [corpus.LEDGER.public_key], origin=corpus.ORIGIN)
    must(any(text.startswith(each.partition("\n\n")[0] + "\n\n") for each in notes), f"nobody signed {checkpoint}")


def _proof(data: bytes) -> None:
    sealed, _, _ = corpus.tree()
    index, checkpoint = verify_proof(sealed[3], data.decode(errors="replace"), [corpus.LEDGER.public_key])
    must((index, checkpoint.size) == (3, 5), "the entry is elsewhere")


def _receipt(data: bytes) -> None:
    honest = {payload_digest(each) for each in corpus.tree()[0]}
    verdict = verify_receipt(data, [corpus.LEDGER.public_key], origin=corpus.ORIGIN)
    must({each.record.digest for each in verdict.records} <= honest, "nobody signed this")
    must(all(each.data == b"p" for each in verdict.attachments), "nobody vouched for this")
    must(verdict.ok == (not verdict.faults), "both good and bad")


def _root(data: bytes) -> None:
    """Read bytes as versions of the trust root, one a line; whoever has no pin reads anything."""
    honest = {payload_digest(each) for each in corpus.chain()}
    listed = [each for each in data.split(b"\n") if each][:4]
    chain = read_chain(listed)
    must({each.digest for each in chain.roots} <= honest, "nobody signed this")
    pending_root(listed, chain)


def _root_content(data: bytes) -> None:
    """Read bytes as the content of version 1 and of version 2, both truly signed."""
    content = parse_strict(data)
    made = Statement(
        predicate_type=ROOT_TYPE,
        subject_name="trust-root",
        subject_digest=sha256_digest(canonical_bytes(content)),
        predicate=content if isinstance(content, dict) else {},
    )
    payload = statement_payload(made)
    first = corpus.chain()[0]
    faults: list[CodedProofError] = []
    for before in ([], [first]):
        try:
            envelopes = [*before, _by_hands(payload)]
            chain = read_chain(envelopes)
            pending_root(envelopes, chain)
        except CodedProofError as error:
            faults.append(error)
            continue
        root = chain.current.root
        must(
            root.statement().predicate in ({**made.predicate}, {**corpus.roots()[0].statement().predicate}),
            "read as another",
        )
        for old, new in ((corpus.roots()[0], root), (root, corpus.roots()[1])):
            must(loosens(old, new) == any(each.weakens for each in root_changes(old, new)), "loosens")
        expiry_note(chain, NOW)
        root.behind("alice@example.org")
    if len(faults) > 1:
        raise faults[0]


def _by_hands(payload: bytes) -> bytes:
    from opsascode.proof import add_signature  # noqa: PLC0415 - beside its only use

    envelope = None
    for hand in (ALICE, BOB):
        envelope = add_signature(
            envelope, payload, hand.key.keyid, hand.sign(pre_authentication(PAYLOAD_TYPE, payload))
        )
    assert envelope is not None
    return envelope


NEED = ApprovalNeed(plan=PLAN, stage="0.1", run=RUN, repository="ops", requester="alice", role=ROLE)


def _approval(data: bytes) -> None:
    honest = {payload_digest(each) for each in corpus.approvals()}
    verdict = judge_approvals(NEED, [data], PEOPLE, NOW)
    must({each.digest for each in (*verdict.counted, *verdict.declined)} <= honest, "nobody signed this")
    must(verdict.satisfied == (not verdict.missing), "both enough and not")


def _approval_content(data: bytes) -> None:
    found = parse_strict(data)
    content = found if isinstance(found, dict) else {}
    plan = content.get("plan")
    digest = plan if isinstance(plan, str) else PLAN
    made = Statement(
        predicate_type=approval().statement().predicate_type,
        subject_name="plan",
        subject_digest=digest,
        predicate=content,
    )
    judge_approvals(NEED, [BOB.envelop(statement_payload(made))], PEOPLE, NOW)
    must(Approval.of(made).statement() == made, "an approval is read as another one")


@cache
def _asked() -> Asked:
    return Asked.of(
        corpus.change(),
        corpus.roots()[0],
        since=frozenset({"a" * 40}),
        effects=corpus.EFFECTS,
        used=frozenset(),
        now=NOW,
    )


@cache
def _statements() -> tuple[bytes, ...]:
    """Statements about the change: of two persons, and of the bridge."""
    said = (("alice", ALICE, Said.PROPOSE), ("bob", BOB, Said.APPROVE), ("bob", BOB, Said.DECLINE))
    signed_by = (hand.envelop(statement_payload(corpus.say(name, what).statement())) for name, hand, what in said)
    return (*signed_by, seal(corpus.review().statement(), corpus.BRIDGE))


def _change(data: bytes) -> None:
    honest = {payload_digest(each) for each in _statements()}
    said = hear(_asked(), data)
    must(not isinstance(said, Say) or said.digest in honest, "nobody signed this")


def _about(data: bytes, kind: str) -> Statement:
    found = parse_strict(data)
    content: dict[str, Json] = found if isinstance(found, dict) else {}
    digest = sha256_digest(canonical_bytes(content.get("change")))
    return Statement(predicate_type=kind, subject_name="change", subject_digest=digest, predicate=content)


def _change_content(data: bytes) -> None:
    made = _about(data, corpus.say().statement().predicate_type)
    hear(_asked(), ALICE.envelop(statement_payload(made)))
    must(ChangeStatement.of(made).statement() == made, "a statement is read as another one")


def _review_content(data: bytes) -> None:
    made = _about(data, corpus.review().statement().predicate_type)
    hear(_asked(), seal(made, corpus.BRIDGE))
    must(ForgeReview.of(made).statement() == made, "a review is read as another one")


def _glass_content(data: bytes) -> None:
    made = _about(data, corpus.glass().statement().predicate_type)
    must(BreakGlass.of(made).statement() == made, "a broken glass is read as another one")


def _ratification_content(data: bytes) -> None:
    found = parse_strict(data)
    content: dict[str, Json] = found if isinstance(found, dict) else {}
    made = corpus.ratification().statement()
    made = replace(made, subject_digest=str(content.get("glass")), predicate=content)
    must(Ratification.of(made).statement() == made, "a ratification is read as another one")


def _handover_content(data: bytes) -> None:
    found = parse_strict(data)
    made = replace(corpus.handover().statement(), predicate=found if isinstance(found, dict) else {})
    must(Handover.of(made).statement() == made, "a hand-over is read as another one")


def _yaml(data: bytes) -> None:
    source = load_source(data, "policies/x.yml")
    must(source.problems or source.documents, "neither a document nor a problem")


def _document(data: bytes) -> None:
    from opsascode.repo._meaning import meanings  # noqa: PLC0415 - slow to import, and only needed here
    from opsascode.repo._snapshot import ProtectedFile  # noqa: PLC0415 - likewise

    for path in ("policies/x.yml", "opsascode.yml"):
        meanings(ProtectedFile.of(path, data))


def _forge(data: bytes) -> None:
    from opsascode.policy import pull_request_of, reviews_of  # noqa: PLC0415 - only needed here

    found = parse_strict(data, max_bytes=MIB)
    listed = found if isinstance(found, list) else [found]
    reviews_of(json.loads(corpus.events()[0]), listed)
    pull_request_of(found)
    reviews_of(found, listed)


def _fork(data: bytes) -> None:
    proven = verify_fork(data, [corpus.LEDGER.public_key])
    must(proven.smaller != proven.larger, "no fork")
    proven.describe()


def _request(data: bytes) -> None:
    request = read_request(data.decode(errors="replace"))
    must(request.old >= 0, "less than nothing")


def _all() -> tuple[Target, ...]:
    tree = corpus.tree
    return (
        Target(
            name="json", run=_json, seeds=lambda: [corpus.receipt(), statement_payload(corpus.statement(n=1)), b"[1]"]
        ),
        Target(name="envelope", run=_envelope, seeds=corpus.envelopes),
        Target(
            name="statement",
            run=_statement,
            seeds=lambda: [statement_payload(corpus.statement(a=[1, {"b": None}], c="é")), b"{}"],
        ),
        Target(name="sshsig", run=_sshsig, seeds=corpus.signatures, most=5 * KIB),
        Target(name="armor", run=_armor, seeds=lambda: [armor(each).encode() for each in corpus.signatures()]),
        Target(name="key", run=_key, seeds=_keys, most=8 * KIB),
        Target(name="note", run=_note, seeds=_notes),
        Target(name="proof", run=_proof, seeds=lambda: [tree()[2][3].encode(), tree()[2][0].encode()]),
        Target(name="receipt", run=_receipt, seeds=lambda: [corpus.receipt()], most=4 * MIB),
        Target(name="root", run=_root, seeds=lambda: [corpus.chain()[0], b"\n".join(corpus.chain())], most=140 * KIB),
        Target(
            name="root-content",
            run=_root_content,
            seeds=lambda: [corpus.predicate(each.statement()) for each in corpus.roots()],
        ),
        Target(name="approval", run=_approval, seeds=corpus.approvals),
        Target(
            name="approval-content",
            run=_approval_content,
            seeds=lambda: [
                corpus.predicate(approval(**each).statement()) for each in ({}, {"run": None, "role": None})
            ],
        ),
        Target(name="change", run=_change, seeds=_statements),
        Target(name="change-content", run=_change_content, seeds=lambda: [corpus.predicate(corpus.say().statement())]),
        Target(
            name="review-content", run=_review_content, seeds=lambda: [corpus.predicate(corpus.review().statement())]
        ),
        Target(
            name="glass-content",
            run=_glass_content,
            seeds=lambda: [corpus.predicate(corpus.glass().statement())],
        ),
        Target(
            name="ratification-content",
            run=_ratification_content,
            seeds=lambda: [corpus.predicate(corpus.ratification().statement())],
        ),
        Target(
            name="handover-content",
            run=_handover_content,
            seeds=lambda: [corpus.predicate(corpus.handover().statement())],
        ),
        Target(name="yaml", run=_yaml, seeds=corpus.documents, most=MIB + KIB),
        Target(name="document", run=_document, seeds=corpus.documents, most=256 * KIB),
        Target(name="forge", run=_forge, seeds=corpus.events, most=MIB),
        Target(name="fork", run=_fork, seeds=corpus.forks, most=300 * KIB),
        Target(
            name="request", run=_request, seeds=lambda: [each.encode() for each in corpus.requests()], most=140 * KIB
        ),
    )


def _notes() -> Iterable[bytes]:
    """Checkpoints, and the line of a witness alone."""
    yield from (each.encode() for each in corpus.tree()[1])
    yield corpus.tree()[1][-1].splitlines(keepends=True)[-1].encode()


def _keys() -> Iterable[bytes]:
    yield from (each.key.openssh("somebody@laptop").encode() for each in (ALICE, BOBS_TOKEN))
    yield NoteKey(name=corpus.ORIGIN, key=corpus.LEDGER.public_key).vkey().encode()


TARGETS = {each.name: each for each in _all()}
