"""A trust root of the people in `tests.people`: made, bent in one line, signed, and installed in a world.

By default alice, bob, carol and dave are the people, alice, bob and carol hold the root, and everybody may approve runs.
The keys are those of fixed seeds, so the same root has the same bytes every time; `write_key` puts one where
ssh-keygen can sign with it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import serialization

from opsascode.proof import (
    PAYLOAD_TYPE,
    KeyPurpose,
    Role,
    TrustChain,
    TrustedKey,
    TrustedPerson,
    TrustRoot,
    add_signature,
    payload_digest,
    pre_authentication,
    read_chain,
    statement_payload,
)
from tests.people import ALICE, BOB, CAROL, DAVE, EVE, NOW, Hand

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.world import World

HANDS = {"alice": ALICE, "bob": BOB, "carol": CAROL, "dave": DAVE, "eve": EVE}
EXPIRES = datetime(2099, 1, 1, tzinfo=UTC)
SALT = "5a" * 16
PURPOSES = (KeyPurpose.APPROVAL, KeyPurpose.ROOT)
FOLDER = "policies/trust"


def trusted(hand: Hand, *purposes: KeyPurpose) -> TrustedKey:
    """A key as a trust root lists it; for approvals and the root unless other purposes are said."""
    return TrustedKey(key=hand.key, purposes=purposes or PURPOSES)


def person(name: str, *hands: Hand, **changes: Any) -> TrustedPerson:
    """A person with an e-mail address, two accounts and, unless others are said, the one key of that name."""
    made = TrustedPerson(
        id=name,
        name=name.capitalize(),
        teams=(),
        accounts=(name, f"github:{name}-x"),
        emails=(f"{name}@example.org",),
        forge={},
        keys=tuple(trusted(each) for each in hands or (HANDS[name],)),
    )
    return replace(made, **changes)


def role(name: str, threshold: int, *persons: str, teams: int = 0) -> Role:
    """A role: whose it is, and how many of them must agree."""
    return Role(name=name, threshold=threshold, persons=persons, teams=teams)


PERSONS = tuple(person(name) for name in ("alice", "bob", "carol", "dave"))
ROLES = (
    role("root", 2, "alice", "bob", "carol"),
    role("rollback-approver", 2, "alice", "bob", "carol", "dave"),
    role("policy-approver", 1, "alice", "bob", "carol", "dave"),
    role("run-approver", 1, "alice", "bob", "carol", "dave"),
)


def with_roles(*changed: Role, of: Sequence[Role] = ROLES) -> tuple[Role, ...]:
    """The default roles, or others, with some replaced or added."""
    found = {each.name: each for each in (*of, *changed)}
    return tuple(found.values())


def team_root(**changes: Any) -> TrustRoot:
    """Version 1 of the team's trust root, changed as said."""
    made = TrustRoot(
        version=1,
        previous=None,
        expires=EXPIRES,
        ref="refs/heads/main",
        protected=("policies/**", "inventories/**", "opsascode.yml"),
        persons=PERSONS,
        machines=(),
        roles=ROLES,
        salt=SALT,
    )
    return replace(made, **changes)


def next_root(root: TrustRoot, **changes: Any) -> TrustRoot:
    """The version after one, changed as said."""
    return replace(root, **{"version": root.version + 1, "previous": digest_of(root), **changes})


def digest_of(root: TrustRoot) -> str:
    """The payload digest of a version, by which it is pinned and named."""
    return payload_digest(signed(root, ALICE))


def signed(root: TrustRoot, *hands: Hand, onto: bytes | None = None) -> bytes:
    """The envelope of a version with the signatures of some hands, beside those it has already."""
    payload = statement_payload(root.statement())
    envelope = onto
    for hand in hands or (ALICE, BOB):
        signature = hand.sign(pre_authentication(PAYLOAD_TYPE, payload))
        envelope = add_signature(envelope, payload, hand.key.keyid, signature)
    assert envelope is not None
    return envelope


def chain_of(*roots: TrustRoot, hands: Sequence[Hand] = (ALICE, BOB)) -> TrustChain:
    """The chain of some versions, each signed by the same hands, pinned to the first."""
    envelopes = [signed(each, *hands) for each in roots or (team_root(),)]
    return read_chain(envelopes, pin=payload_digest(envelopes[0]))


def write_root(world: World, envelope: bytes, version: int = 1) -> Path:
    """Lay a version where it belongs in the repository, without committing it."""
    place = world.root / FOLDER / f"{version}.root.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(envelope + b"\n")
    return place


def without_role(name: str) -> tuple[Role, ...]:
    """The default roles but one; without policy-approver, a forward change needs nobody's approval."""
    return tuple(each for each in ROLES if each.name != name)


def install(
    world: World,
    root: TrustRoot | None = None,
    *,
    hands: Sequence[Hand] = (ALICE, BOB),
    pin: bool = True,
    apply: bool = False,
) -> str:
    """Commit a signed version of the trust root, pin version 1 on this machine, and give its digest.

    `apply` also applies what is committed, without which nothing may run where a trust root is pinned.
    """
    made = root or team_root()
    envelope = signed(made, *hands)
    write_root(world, envelope, made.version)
    world.commit(f"trust root {made.version}")
    if pin and made.version == 1:
        pin_root(world, payload_digest(envelope))
    if apply:
        apply_pack(world)
    return payload_digest(envelope)


def pin_root(world: World, digest: str) -> None:
    """Pin a digest on this machine, as `opsascode trust pin` does but for its ledger entry."""
    from opsascode.repo import open_repository  # noqa: PLC0415 - tests of lower houses do not need it
    from opsascode.run import Pins, State  # noqa: PLC0415 - likewise

    Pins(State.of(open_repository(world.root), world.variables())).write(digest, NOW)


def apply_pack(world: World, *approvers: Hand) -> None:
    """Have the pack of the committed state approved, by bob where nobody else is named, and apply it."""
    said = [approval_of_pack(world, hand) for hand in approvers or (BOB,)]
    files = [world.home / f"pack-{number}.json" for number in range(len(said))]
    for place, envelope in zip(files, said, strict=True):
        place.write_bytes(envelope)
    answer = world.ops("policy", "apply", *(word for place in files for word in ("--approval", place)))
    assert answer.code == 0, answer


def approval_of_pack(world: World, hand: Hand, said: str = "approve", **changes: Any) -> bytes:
    """What a person signs about the step from the applied pack to what is committed on main."""
    from opsascode.policy import ChangeStatement, Said, effects_of  # noqa: PLC0415 - as above
    from opsascode.repo import ObjectStore  # noqa: PLC0415 - as above
    from opsascode.run import TransitionJudge  # noqa: PLC0415 - as above

    history = world.ops("policy", "history", "--format", "json").json
    now = datetime.now(UTC).replace(microsecond=0)
    judge = TransitionJudge(store=ObjectStore.of(world.root), pin=None, now=now, attestations=lambda _: ())
    tip = world.git("rev-parse", "main").strip()
    decision = judge.judge(history[0]["commit"] if history else None, tip).decision
    made = ChangeStatement(
        person=hand.seed.split("'")[0],
        decision=Said(said),
        change=decision.change,
        reason="looks right",
        effects=effects_of(decision.classification.diff),
        issued=now,
        expires=now + timedelta(hours=1),
        nonce=hashlib.sha256(hand.seed.encode()).hexdigest()[:32],
    )
    return hand.envelop(statement_payload(replace(made, **changes).statement()))


def write_key(hand: Hand, place: Path, comment: str = "") -> Path:
    """Put a private key in a file as ssh-keygen does, and its public half beside it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch(mode=0o600)
    place.write_bytes(
        hand.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
    )
    place.with_name(place.name + ".pub").write_text(hand.key.openssh(comment or hand.seed) + "\n")
    return place
