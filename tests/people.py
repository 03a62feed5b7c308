"""People with keys whose signatures a test can bend: SSHSIG made by hand, byte for byte as ssh-keygen makes it.

The keys come from fixed seeds, so the same approval has the same bytes every time. A security key is played in software:
what it signs has its flags and its counter.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from opsascode.policy import Answer, Approval
from opsascode.proof import PAYLOAD_TYPE, PersonKey, PublicKey, pre_authentication, statement_payload, wrap
from opsascode.repo import People, Person

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PLAN = "sha256:" + "ab" * 32
OTHER_PLAN = "sha256:" + "cd" * 32
RUN = "20261121-115959-abcdef"
ROLE = "incident-commander"
APPLICATION = "ssh:"


def text(data: bytes) -> bytes:
    """Write a string as OpenSSH does (RFC 4251, 5)."""
    return len(data).to_bytes(4) + data


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a signature is made; each part can be bent."""

    namespace: bytes = b"approval@opsascode"
    hash_name: bytes = b"sha512"
    reserved: bytes = b""
    flags: int = 1
    version: int = 1
    key_type: bytes | None = None
    inner_type: bytes | None = None
    behind: bytes = b""
    inner_behind: bytes = b""
    malleate: bool = False


@dataclass(frozen=True)
class Hand:
    """A private key, in a file or on a token, and what it signs with it."""

    seed: str
    on_token: bool = False

    @property
    def private(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(self.seed.encode()).digest())

    @property
    def key(self) -> PersonKey:
        public = PublicKey(self.private.public_key().public_bytes_raw())
        return PersonKey(public, APPLICATION if self.on_token else None)

    def sign(self, message: bytes, form: Form | None = None) -> bytes:
        """Give the SSHSIG blob over a message."""
        form = form or Form()
        kind = b"sk-ssh-ed25519@openssh.com" if self.on_token else b"ssh-ed25519"
        digest = hashlib.new(form.hash_name.decode(), message).digest()
        signed = b"SSHSIG" + b"".join(map(text, (form.namespace, form.reserved, form.hash_name, digest)))
        counter = b""
        if self.on_token:
            counter = bytes([form.flags]) + (7).to_bytes(4)
            signed = hashlib.sha256(APPLICATION.encode()).digest() + counter + hashlib.sha256(signed).digest()
        bare = self.private.sign(signed)
        if form.malleate:
            order = 2**252 + 27742317777372353535851937790883648493
            bare = bare[:32] + (int.from_bytes(bare[32:], "little") + order).to_bytes(32, "little")
        inner = text(form.inner_type or kind) + text(bare) + counter + form.inner_behind
        application = text(APPLICATION.encode()) if self.on_token else b""
        wire = text(form.key_type or kind) + text(self.key.raw) + application
        parts = (wire, form.namespace, form.reserved, form.hash_name, inner)
        return b"SSHSIG" + form.version.to_bytes(4) + b"".join(map(text, parts)) + form.behind

    def envelope(self, approval: Approval, form: Form | None = None) -> bytes:
        """Give the signed envelope of an approval."""
        return self.envelop(statement_payload(approval.statement()), form)

    def envelop(self, payload: bytes, form: Form | None = None, *, payload_type: str = PAYLOAD_TYPE) -> bytes:
        """Give the signed envelope of any payload."""
        signature = self.sign(pre_authentication(payload_type, payload), form)
        return wrap(payload, keyid=self.key.keyid, signature=signature)


ALICE, BOB, CAROL, DAVE, EVE = (Hand(name) for name in ("alice", "bob", "carol", "dave", "eve"))
BOBS_TOKEN = Hand("bob's token", on_token=True)

PEOPLE = People(
    persons=(
        Person(
            id="alice",
            name="Alice",
            accounts=("alice", "github:alice-x"),
            roles=(ROLE, "run-approver"),
            keys=(ALICE.key,),
        ),
        Person(id="bob", name="Bob", accounts=("bob",), roles=(ROLE, "run-approver"), keys=(BOB.key, BOBS_TOKEN.key)),
        Person(id="carol", name="Carol", accounts=("carol",), roles=(ROLE, "run-approver"), keys=(CAROL.key,)),
        Person(id="dave", name="Dave", accounts=("dave",), roles=("reader", "run-approver"), keys=(DAVE.key,)),
        Person(id="ci", name="CI", accounts=("runner",)),
    )
)


def approval(person: str = "bob", **changes: Any) -> Approval:
    """An approval that is right in every way for `need()` of the tests."""
    made = Approval(
        person=person,
        decision=Answer.APPROVE,
        reason="looks right",
        plan=PLAN,
        stage="0.1",
        run=RUN,
        repository="ops",
        role=ROLE,
        requester="alice",
        issued=NOW - timedelta(minutes=5),
        expires=NOW + timedelta(minutes=55),
        nonce="0" * 32,
    )
    return replace(made, **changes)


def allowed_signers(people: People) -> str:
    """The file with which `ssh-keygen -Y verify` knows the same people."""
    return "".join(f"{each.id} {key.openssh()}\n" for each in people.persons for key in each.keys)
