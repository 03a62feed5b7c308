"""A protected branch in memory: packs of guardrails, what was superseded, and people who sign changes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from opsascode.policy import (
    BreakGlass,
    Candidate,
    Change,
    ChangeStatement,
    Classification,
    Decision,
    ForgeReview,
    Identities,
    OldState,
    Ratification,
    ReviewState,
    Said,
    Trust,
    change_of,
    classify,
    effects_of,
    verify,
)
from opsascode.proof import (
    PAYLOAD_TYPE,
    MachineRole,
    PublicKey,
    Statement,
    TrustChain,
    TrustedMachine,
    TrustRoot,
    payload_digest,
    pre_authentication,
    read_chain,
    statement_payload,
    wrap,
)
from opsascode.repo import ProtectedFile, Snapshot, State, past_of, snapshot_of
from tests.people import ALICE, BOB, NOW, Form, Hand
from tests.trust import HANDS, signed, team_root

Files = Mapping[str, str]
GROUPS = {
    "web1": frozenset({"all", "production", "web"}),
    "web2": frozenset({"all", "production", "web"}),
    "db1": frozenset({"all", "production", "db"}),
    "lab1": frozenset({"all", "lab"}),
}
REF = "refs/heads/main"


def guardrail(name: str = "small-steps", *, version: str | None = None, scope: str = "", **require: Any) -> str:
    """A guardrail as YAML; `scope` is what stands in applies_to, as flow text."""
    asked = require or {"max_hosts": 20}
    lines = ["apiVersion: opsascode/v1", "kind: Guardrail", "metadata:", f"  name: {name}"]
    lines += [f'  version: "{version}"'] if version else []
    lines += ["spec:"] + ([f"  applies_to: {{{scope}}}"] if scope else []) + ["  require:"]
    lines += [f"    {key}: {'true' if value is True else value}" for key, value in asked.items()]
    return "\n".join([*lines, "  reason: so that a mistake stays small", ""])


def pack(**spec: str) -> str:
    """A policy pack document; `version` is its version, the rest stands in spec."""
    version = spec.pop("version", "20261101")
    lines = "".join(f"  {key}: {value}\n" for key, value in spec.items()) or "  {}\n"
    return (
        f'apiVersion: opsascode/v1\nkind: PolicyPack\nmetadata:\n  name: ours\n  version: "{version}"\nspec:\n{lines}'
    )


@dataclass(frozen=True)
class Machine:
    """A machine's key, and what it seals with it."""

    seed: str

    @property
    def key(self) -> PublicKey:
        return PublicKey(Hand(self.seed).private.public_key().public_bytes_raw())

    def trusted(self, *roles: MachineRole) -> TrustedMachine:
        return TrustedMachine(name=self.seed, key=self.key, roles=roles)

    def seal(self, statement: Statement) -> bytes:
        payload = statement_payload(statement)
        signature = Hand(self.seed).private.sign(pre_authentication(PAYLOAD_TYPE, payload))
        return wrap(payload, keyid=self.key.keyid, signature=signature)


BRIDGE = Machine("bridge")
_SIGNED: dict[tuple[bytes, tuple[Hand, ...]], bytes] = {}


def _signed(root: TrustRoot, holders: tuple[Hand, ...]) -> bytes:
    """Sign a root once: the tests ask for the same ones again and again."""
    key = statement_payload(root.statement()), holders
    if key not in _SIGNED:
        _SIGNED[key] = signed(root, *holders)
    return _SIGNED[key]


def commit_id(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def snapshot(files: Files, roots: Sequence[bytes] = (), commit: str | None = None) -> Snapshot:
    """A protected set; the versions of the trust root lie where they belong."""
    trust = {f"policies/trust/{number}.root.json": data for number, data in enumerate(roots, start=1)}
    named = commit or commit_id(repr(sorted(files.items())) + repr(roots))
    written = {path: text.encode() for path, text in files.items()} | trust
    return snapshot_of(named, [ProtectedFile.of(path, data) for path, data in written.items()])


@dataclass(frozen=True, kw_only=True)
class Branch:
    """States of the branch, oldest first; the last one is applied."""

    states: tuple[State, ...]
    roots: tuple[TrustRoot, ...] = field(default_factory=lambda: (team_root(),))
    now: datetime = NOW
    groups: Mapping[str, frozenset[str]] | None = field(default_factory=lambda: GROUPS)
    holders: tuple[Hand, ...] = (ALICE, BOB)

    @classmethod
    def of(cls, *packs: Files, roots: Sequence[TrustRoot] = (), **more: Any) -> Branch:
        """A branch that had these packs, a day apart, the last one today."""
        made = cls(states=(), roots=tuple(roots) or (team_root(),), **more)
        for number, files in enumerate(packs):
            made = made.at(snapshot(files, made.envelopes), days=len(packs) - number - 1)
        return made

    @property
    def envelopes(self) -> tuple[bytes, ...]:
        return tuple(_signed(each, self.holders) for each in self.roots)

    @property
    def chain(self) -> TrustChain:
        return read_chain(self.envelopes, pin=payload_digest(self.envelopes[0]))

    @property
    def last(self) -> Snapshot:
        return self.states[-1].snapshot

    def at(self, new: Snapshot, *, days: int = 0) -> Branch:
        """The branch with one more commit, whatever it holds."""
        named = replace(new, commit=commit_id(f"{len(self.states)}:{new.digest}"))
        return replace(self, states=(*self.states, State(snapshot=named, when=self.now - timedelta(days=days))))

    def old(self, new: Snapshot) -> OldState:
        since = []
        for state in reversed(self.states):
            if state.snapshot.digest != self.last.digest:
                break
            since.append(state.snapshot.commit)
        return OldState(
            commit=self.last.commit,
            snapshot=self.last,
            past=past_of(self.states, new),
            chain=self.chain,
            groups=self.groups,
            since=tuple(since),
        )

    def candidate(self, files: Files | Snapshot, by: str = "eve@example.org", **changes: Any) -> Candidate:
        new = files if isinstance(files, Snapshot) else snapshot(files, self.envelopes)
        made = Candidate(
            commit=commit_id(f"candidate:{new.digest}"),
            snapshot=new,
            descends=True,
            groups=self.groups,
            identities=Identities(emails=(by,)),
            ref=REF,
        )
        return replace(made, **changes)

    def trust(self, **changes: Any) -> Trust:
        return replace(Trust(chain=self.chain), **changes)

    def ask(self, candidate: Candidate | Files) -> Asking:
        """What people look at when they are asked about a candidate."""
        new = candidate if isinstance(candidate, Candidate) else self.candidate(candidate)
        return Asking(branch=self, new=new)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """A change that people are asked about."""

    branch: Branch
    new: Candidate

    @cached_property
    def old(self) -> OldState:
        return self.branch.old(self.new.snapshot)

    @cached_property
    def found(self) -> Classification:
        return classify(self.old, self.new)

    @property
    def change(self) -> Change:
        return change_of(self.old, self.new, self.found)

    def statement(self, person: str, decision: Said, **changes: Any) -> ChangeStatement:
        made = ChangeStatement(
            person=person,
            decision=decision,
            change=self.change,
            reason="because it must be",
            effects=effects_of(self.found.diff),
            issued=self.branch.now - timedelta(minutes=5),
            expires=self.branch.now + timedelta(hours=1),
            nonce=hashlib.sha256(f"{person}{decision}".encode()).hexdigest()[:32],
        )
        return replace(made, **changes)

    def say(
        self,
        person: str,
        decision: Said = Said.APPROVE,
        *,
        hand: Hand | None = None,
        form: Form | None = None,
        **changes: Any,
    ) -> bytes:
        """What a person signs about it."""
        statement = self.statement(person, decision, **changes).statement()
        return (hand or HANDS[person]).envelop(statement_payload(statement), form)

    def propose(self, person: str, **changes: Any) -> bytes:
        return self.say(person, Said.PROPOSE, **changes)

    def decline(self, person: str, **changes: Any) -> bytes:
        return self.say(person, Said.DECLINE, **changes)

    def review(self, user: int, **changes: Any) -> ForgeReview:
        """What a bridge says of a review."""
        made = ForgeReview(
            change=self.change,
            forge="github",
            user=user,
            login=f"user-{user}",
            review=1,
            commit=self.new.commit,
            state=ReviewState.APPROVED,
            repository="acme/ops",
            ref=REF,
            issued=self.branch.now - timedelta(minutes=5),
            expires=self.branch.now + timedelta(hours=1),
        )
        return replace(made, **changes)

    def glass(self, person: str, **changes: Any) -> BreakGlass:
        made = BreakGlass(
            person=person,
            incident="INC-7",
            change=self.change,
            paths=tuple(sorted(each.path for each in self.found.diff.files)),
            hosts=("web1", "web2"),
            reason="the edge is down",
            issued=self.branch.now - timedelta(minutes=5),
            expires=self.branch.now + timedelta(hours=1),
            nonce="7" * 32,
        )
        return replace(made, **changes)

    def judge(self, *attestations: bytes, trust: Trust | None = None, now: datetime | None = None) -> Decision:
        known = trust or self.branch.trust()
        return verify(known, self.old, self.new, attestations, now or self.branch.now)


def ratification(person: str, glass: str, now: datetime = NOW, **changes: Any) -> Ratification:
    made = Ratification(
        person=person,
        glass=glass,
        reason="it was right",
        issued=now - timedelta(minutes=1),
        expires=now + timedelta(hours=1),
        nonce="9" * 32,
    )
    return replace(made, **changes)


def codes(decision: Any) -> list[str]:
    return [fault.code for fault in decision.faults]


def levels(found: Any) -> list[str]:
    return [each.level.value for each in found.findings]
