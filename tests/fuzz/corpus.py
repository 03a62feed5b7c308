"""The honest objects that are bent: each is accepted as it stands, so whatever is refused is refused for what was bent.

All keys come from fixed seeds and all times are fixed, so the same object has the same bytes every time.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsascode.policy import (
    BreakGlass,
    Change,
    ChangeStatement,
    ForgeReview,
    Ratification,
    ReviewState,
    Said,
    SeenCheckpoint,
)
from opsascode.proof import (
    BREAK_GLASS,
    Checkpoint,
    Distrust,
    Handover,
    KeyPurpose,
    MachineRole,
    Statement,
    TrustedMachine,
    TrustRoot,
    canonical_bytes,
    cosign,
    pre_authentication,
    seal,
    sha256_digest,
    statement_payload,
    write_fork,
)
from opsascode.proof._cosign import write_request
from opsascode.proof._envelope import PAYLOAD_TYPE
from opsascode.proof._keys import KeySigner
from opsascode.proof._merkle import CompactRange, consistency_proof, inclusion_proof, leaf_hash
from opsascode.proof._note import checkpoint_text, sign_note
from opsascode.proof._tlog import write_proof
from tests.people import ALICE, BOB, BOBS_TOKEN, NOW, Hand, approval
from tests.trust import next_root, person, role, signed, team_root, trusted, with_roles

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parents[2]
ORIGIN = "opsascode/test"
MESSAGE = pre_authentication(PAYLOAD_TYPE, b"what is agreed to")
LEDGER, BRIDGE, WITNESS = (KeySigner(Hand(name).private) for name in ("ledger", "bridge", "witness"))
TOKEN = Hand("dave's token", on_token=True)


@cache
def roots() -> tuple[TrustRoot, TrustRoot]:
    """Two versions of a trust root in which everything a root can hold stands at least once."""
    persons = (
        person("alice", forge={"github": 1001}, teams=("sre",)),
        person("bob", ALICE_SPARE, BOB, forge={"github": 1002}, teams=("net", "sre")),
        person("carol", teams=("net",)),
        person("dave", keys=(trusted(TOKEN, KeyPurpose.BREAK_GLASS, KeyPurpose.APPROVAL),)),
    )
    machines = (
        TrustedMachine(name="runner1", key=LEDGER.public_key, roles=(MachineRole.LEDGER, MachineRole.RUNNER)),
        TrustedMachine(name="github", key=BRIDGE.public_key, roles=(MachineRole.BRIDGE,)),
        TrustedMachine(name="watch", key=WITNESS.public_key, roles=(MachineRole.WITNESS,)),
    )
    first = team_root(
        persons=persons,
        machines=machines,
        roles=with_roles(role(BREAK_GLASS, 1, "dave"), role("root", 2, "alice", "bob", "carol", teams=1)),
        witness_quorum=1,
        distrust=(Distrust(keyid=Hand("gone").key.keyid, from_entry=7),),
    )
    return first, next_root(first, bridge_most=2, protected=("policies/**",))


ALICE_SPARE = Hand("bob's spare")


@cache
def tree() -> tuple[tuple[bytes, ...], tuple[str, ...], tuple[str, ...]]:
    """The entries of a ledger, the checkpoint at each size from 1, and the proof of each entry in the last."""
    sealed = [
        seal(statement(kind, f"run-{number}", ledger=ORIGIN), LEDGER)
        for number in range(3)
        for kind in ("run-start", "run-end")
    ][:5]
    whole, hashes, notes = CompactRange(), [leaf_hash(each) for each in sealed], []
    for each in hashes:
        whole.append(each)
        notes.append(note_of(whole.size, whole.root()))
    proofs = [write_proof(index, inclusion_proof(index, 5, _at(hashes)), notes[-1]) for index in range(5)]
    return tuple(sealed), tuple(notes), tuple(proofs)


def _at(hashes: list[bytes]) -> Any:
    def at(level: int, index: int) -> bytes:
        part = CompactRange()
        for each in hashes[index << level : (index + 1) << level]:
            part.append(each)
        return part.root()

    return at


def note_of(size: int, root: bytes) -> str:
    """A checkpoint that the ledger's key and a witness signed."""
    note = sign_note(checkpoint_text(Checkpoint(origin=ORIGIN, size=size, root=root)), ORIGIN, LEDGER)
    return note + cosign(note, name="watch", signer=WITNESS, now=NOW)


def statement(kind: str = "run-start", name: str = "run-1", **predicate: Any) -> Statement:
    """What a machine says of a run."""
    return Statement(
        predicate_type=f"urn:opsascode:{kind}:v1",
        subject_name=name,
        subject_digest=sha256_digest(b"p"),
        predicate=predicate,
    )


@cache
def envelopes() -> tuple[bytes, ...]:
    """Envelopes that the ledger's key signed, one of them with an attachment's digest in it."""
    named = statement("run-start", plan=sha256_digest(b"the plan"), deep=[[["x", 1, None, True]]], text="é\U0001f600")
    return seal(statement(), LEDGER), seal(named, LEDGER), seal(statement("run-end", "run-1", hosts=["a", "b"]), LEDGER)


@cache
def signatures() -> tuple[bytes, ...]:
    """SSHSIG blobs over `MESSAGE`: of a key in a file, and of one on a token."""
    return ALICE.sign(MESSAGE), BOBS_TOKEN.sign(MESSAGE)


@cache
def receipt() -> bytes:
    """A receipt of three records, with one attachment that a record names."""
    sealed, _, proofs = tree()
    records = [{"envelope": sealed[index].decode(), "proof": proofs[index]} for index in (0, 1, 2)]
    attached = [{"name": "plan.json", "sha256": sha256_digest(b"p").removeprefix("sha256:"), "data": "cA=="}]
    return canonical_bytes({"format": "opsascode-receipt/v1", "records": records, "attachments": attached}) + b"\n"


@cache
def chain() -> tuple[bytes, ...]:
    """The two versions of the trust root, signed."""
    return tuple(signed(each, ALICE, BOB) for each in roots())


@cache
def forks() -> tuple[bytes, ...]:
    """Proofs that two histories were signed: of one size, and of two."""
    sealed, notes, _ = tree()
    hashes = [leaf_hash(each) for each in sealed]
    other = note_of(3, leaf_hash(b"another history"))
    whole = CompactRange()
    for each in hashes[:3]:
        whole.append(each)
    proof = consistency_proof(3, 5, _at(hashes))
    return write_fork(notes[2], other), write_fork(other, notes[4], root=whole.root(), proof=proof)


@cache
def requests() -> tuple[str, ...]:
    """What a log asks of a witness."""
    sealed, notes, _ = tree()
    hashes = [leaf_hash(each) for each in sealed]
    return write_request(0, (), notes[0]), write_request(2, consistency_proof(2, 5, _at(hashes)), notes[4])


def change(**changes: Any) -> Change:
    """A change under the first version of the root."""
    first = roots()[0]
    digest = sha256_digest(statement_payload(first.statement()))
    made = {
        "repository": digest,
        "ref": "refs/heads/main",
        "base_commit": "a" * 40,
        "base_scope": sha256_digest(b"base"),
        "target_scope": sha256_digest(b"target"),
        "classes": ("rollback", "weakening"),
        "root_version": 1,
        "root_digest": digest,
    }
    return Change(**{**made, **changes})


EFFECTS = sha256_digest(b"effects")


@cache
def say(person_id: str = "alice", decision: Said = Said.PROPOSE) -> ChangeStatement:
    """What a person says about the change."""
    return ChangeStatement(
        person=person_id,
        decision=decision,
        change=change(),
        reason="INC-123: the new limit\nstops every deployment",
        effects=EFFECTS,
        issued=NOW - timedelta(minutes=5),
        expires=NOW + timedelta(hours=8),
        nonce="0" * 32,
        checkpoint=SeenCheckpoint(origin=ORIGIN, size=5, root="A" * 43 + "="),
    )


@cache
def review() -> ForgeReview:
    """What the bridge says about the change."""
    return ForgeReview(
        change=change(),
        forge="github",
        user=1001,
        login="alice-x",
        review=77,
        commit="b" * 40,
        state=ReviewState.APPROVED,
        repository="example/ops",
        ref="refs/heads/main",
        issued=NOW - timedelta(minutes=5),
        expires=NOW + timedelta(hours=8),
    )


def glass() -> BreakGlass:
    """What one person signs in an emergency."""
    return BreakGlass(
        person="dave",
        incident="INC-123",
        change=change(),
        paths=("policies/a.yml", "policies/b.yml"),
        hosts=("web1", "web2"),
        reason="nobody can deploy",
        issued=NOW - timedelta(minutes=5),
        expires=NOW + timedelta(hours=2),
        nonce="1" * 32,
    )


def ratification() -> Ratification:
    """What somebody else signs who looked at it afterwards."""
    return Ratification(
        person="bob",
        glass=sha256_digest(b"glass"),
        reason="seen",
        issued=NOW - timedelta(minutes=5),
        expires=NOW + timedelta(hours=2),
        nonce="2" * 32,
    )


def handover() -> Handover:
    """A machine's word about its ledger."""
    return Handover(ledger=ORIGIN, team="opsascode/team", start=0, stop=5, root=leaf_hash(b"root"))


def predicate(made: Statement) -> bytes:
    """What of a statement is bent before it is signed."""
    return canonical_bytes(dict(made.predicate))


@cache
def approvals() -> tuple[bytes, ...]:
    """Approvals of a run, as bob signs them."""
    early = approval("bob", run=None, requester=None, role=None)
    return BOB.envelope(approval("bob")), BOB.envelope(early), BOBS_TOKEN.envelope(approval("bob"))


def documents() -> Iterator[bytes]:
    """YAML that is read as documents, and some that is refused for its form alone."""
    for pattern in ("policies/*.yml", "playbooks/*.yml", "opsascode.yml", "opsascode/scaffold/policies/*.yml"):
        for path in sorted(HERE.glob(pattern))[:6]:
            yield path.read_bytes()
    yield b'a: "\\u00e9\\x41\\n"\nb: |\n  text\n   more\nc: >-\n  folded\n\n  text\nd: [1, 0x1f, 0o17, 1.5e3, .5, ~, true, {e: f}]\n'
    yield b"- &a !!str x\n- *a\n- ? [b]\n  : c\n- <<: {d: e}\n--- %x\n...\n%YAML 1.2\n---\n'it''s'\n"


@cache
def events() -> tuple[bytes, ...]:
    """What a forge sent."""
    return tuple(path.read_bytes() for path in sorted((HERE / "tests/policy/github_events").rglob("*.json")))
