"""What is recorded about the policy pack: that it was applied, and who allowed it; unlocked; put aside in an emergency?

The applied pack is an entry of the ledger and never the name of a branch.

Not here: judging (`policy`), what the records come to together (`_pack_log`), what a run makes of it (`_enforce`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from opsascode.policy import effects_of
from opsascode.proof import (
    PREDICATE_PREFIX,
    Code,
    CodedLedgerError,
    Statement,
    payload_digest,
)
from opsascode.run._record import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opsascode.policy import Decision
    from opsascode.proof import Json

POLICY_APPLY: Final = f"{PREDICATE_PREFIX}policy-apply:v1"
POLICY_UNLOCK: Final = f"{PREDICATE_PREFIX}policy-unlock:v1"
UNLOCK_REQUEST: Final = f"{PREDICATE_PREFIX}policy-unlock-request:v1"
ROOT_SEEN: Final = f"{PREDICATE_PREFIX}root-seen:v1"
GLASS_BROKEN: Final = f"{PREDICATE_PREFIX}glass-broken:v1"
GLASS_RATIFIED: Final = f"{PREDICATE_PREFIX}glass-ratified:v1"
POLICY_RECORDS: Final = (POLICY_APPLY, POLICY_UNLOCK, ROOT_SEEN, GLASS_BROKEN, GLASS_RATIFIED)
"""Every record that has a say in which pack is enforced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackName:
    """Which pack: the commit it was read from, the digest of its scope, and the version it calls itself."""

    commit: str
    scope: str
    version: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Give the name as a record holds it."""
        return {"commit": self.commit, "scope": self.scope, "version": self.version}

    @classmethod
    def of(cls, found: Json) -> PackName:
        """Read a name back; it stands in a record that this product sealed."""
        if not isinstance(found, dict):
            raise _bad("a pack has no name")
        version = found.get("version")
        return cls(
            commit=str(found.get("commit")),
            scope=str(found.get("scope")),
            version=version if isinstance(version, str) else None,
        )

    def __str__(self) -> str:
        named = f"version {self.version}, " if self.version else ""
        return f"{named}commit {self.commit[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One judged transition on the way: what it was, and whose signatures allowed it."""

    change: Mapping[str, Json]
    change_id: str
    classes: tuple[str, ...]
    evidence: tuple[str, ...]
    proposer: str | None
    approved_by: tuple[str, ...]
    attestations: tuple[str, ...]
    envelopes: tuple[str, ...]
    effects: str
    since: str | None
    needed: int

    @classmethod
    def of_decision(cls, decision: Decision, envelopes: Iterable[str], *, since: str | None) -> Step:
        """Write down an allowed transition.

        `envelopes` are the digests of the signed files that count, `since` the commit from which nothing protected had
        changed: statements may be about any commit from there on.
        """
        return cls(
            change=decision.change.to_json(),
            change_id=decision.change.id,
            classes=tuple(sorted(each.value for each in decision.classification.classes)),
            evidence=tuple(
                f"{each.level.value} {each.message}"[:400] for each in decision.classification.findings[:20]
            ),
            proposer=decision.proposer.person if decision.proposer else None,
            approved_by=tuple(each.person for each in decision.counted),
            attestations=tuple(decision.consumed),
            envelopes=tuple(envelopes),
            effects=effects_of(decision.classification.diff),
            since=since,
            needed=decision.needs.threshold,
        )

    def to_json(self) -> dict[str, Json]:
        """Give the step as a record holds it."""
        return {
            "change": dict(self.change),
            "change_id": self.change_id,
            "classes": list(self.classes),
            "evidence": list(self.evidence),
            "proposer": self.proposer,
            "approved_by": list(self.approved_by),
            "attestations": list(self.attestations),
            "envelopes": list(self.envelopes),
            "effects": self.effects,
            "since": self.since,
            "needed": self.needed,
        }

    @classmethod
    def of(cls, found: Json) -> Step:
        """Read a step back."""
        change = found.get("change") if isinstance(found, dict) else None
        if not isinstance(found, dict) or not isinstance(change, dict):
            raise _bad("a step of it is none")
        proposer, since, needed = found.get("proposer"), found.get("since"), found.get("needed")
        return cls(
            change=change,
            change_id=str(found.get("change_id")),
            proposer=proposer if isinstance(proposer, str) else None,
            effects=str(found.get("effects")),
            since=since if isinstance(since, str) else None,
            needed=needed if isinstance(needed, int) else 0,
            **{name: _texts(found.get(name)) for name in _TUPLES},
        )


_TUPLES: Final = ("classes", "evidence", "approved_by", "attestations", "envelopes")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedPack:
    """A pack that was applied, as its record says; `locked` when nothing may follow it until it is unlocked."""

    pack: PackName
    previous: PackName | None
    repository: str
    ref: str
    root_version: int
    root_digest: str
    roots: tuple[str, ...]
    steps: tuple[Step, ...]
    reason: str
    locked: bool
    enforced_by: str | None
    actor: str
    applied: datetime
    entry: int = -1

    @property
    def classes(self) -> tuple[str, ...]:
        """What the way to it was, all steps together."""
        return tuple(dict.fromkeys(each for step in self.steps for each in step.classes))

    @property
    def allowed_by(self) -> tuple[str, ...]:
        """Everybody whose approval counted."""
        return tuple(dict.fromkeys(each for step in self.steps for each in step.approved_by))

    def statement(self, ledger: str) -> Statement:
        """State that this pack is enforced from now on, in the ledger of this origin."""
        return Statement(
            predicate_type=POLICY_APPLY,
            subject_name="policy-pack",
            subject_digest=self.pack.scope,
            predicate={
                "ledger": ledger,
                "repository": self.repository,
                "ref": self.ref,
                "pack": self.pack.to_json(),
                "previous": self.previous.to_json() if self.previous else None,
                "root": {"version": self.root_version, "digest": self.root_digest},
                "roots": list(self.roots),
                "steps": [each.to_json() for each in self.steps],
                "reason": self.reason,
                "locked": self.locked,
                "enforced_by": self.enforced_by,
                "actor": self.actor,
                "applied": timestamp(self.applied),
            },
        )

    @classmethod
    def of(cls, predicate: Mapping[str, Json], entry: int = -1) -> AppliedPack:
        """Read a record back.

        Raises:
            LedgerError: it is no such record.
        """
        root, steps, previous = predicate.get("root"), predicate.get("steps"), predicate.get("previous")
        version = root.get("version") if isinstance(root, dict) else None
        if not isinstance(root, dict) or not isinstance(version, int) or not isinstance(steps, list):
            raise _bad("parts of it are missing")
        enforced_by = predicate.get("enforced_by")
        return cls(
            pack=PackName.of(predicate.get("pack")),
            previous=None if previous is None else PackName.of(previous),
            repository=str(predicate.get("repository")),
            ref=str(predicate.get("ref")),
            root_version=version,
            root_digest=str(root.get("digest")),
            roots=_texts(predicate.get("roots")),
            steps=tuple(Step.of(each) for each in steps),
            reason=str(predicate.get("reason", "")),
            locked=predicate.get("locked") is True,
            enforced_by=enforced_by if isinstance(enforced_by, str) else None,
            actor=str(predicate.get("actor", "")),
            applied=moment_of_record(predicate.get("applied")),
            entry=entry,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlock:
    """Somebody lifted the lock that a rollback left."""

    person: str
    reason: str
    at: datetime

    @classmethod
    def of(cls, said: Mapping[str, Json]) -> Unlock:
        """Read it from its record."""
        return cls(person=str(said.get("person")), reason=str(said.get("reason")), at=moment_of_record(said.get("at")))


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenGlass:
    """A pack one person put in force in an emergency: for these hosts, until then; `digest` is of what they signed."""

    pack: PackName
    person: str
    hosts: tuple[str, ...]
    expires: datetime
    digest: str
    entry: int = -1
    is_as_signed: bool = True

    def covers(self, hosts: Iterable[str], now: datetime) -> bool:
        """Say whether it means anything for all of these hosts now."""
        return now < self.expires and set(hosts) <= set(self.hosts)


def root_seen_statement(ledger: str, repository: str, root: str, now: datetime) -> Statement:
    """State that a trust root, named by its digest, was first met now: what it loosens waits a day from here."""
    said: dict[str, Json] = {"ledger": ledger, "repository": repository, "root": root, "at": timestamp(now)}
    return Statement(predicate_type=ROOT_SEEN, subject_name="trust-root", subject_digest=root, predicate=said)


def glass_statement(
    ledger: str, repository: str, *, envelope: bytes, pack: PackName | None, now: datetime
) -> Statement:
    """State that a glass was broken, or with no pack, that one was ratified; `envelope` is what the person signed."""
    digest = payload_digest(envelope)
    said: dict[str, Json] = {
        "ledger": ledger,
        "repository": repository,
        "request": envelope.decode(),
        "pack": pack.to_json() if pack else None,
        "at": timestamp(now),
    }
    kind = GLASS_BROKEN if pack else GLASS_RATIFIED
    return Statement(predicate_type=kind, subject_name="break-glass", subject_digest=digest, predicate=said)


def unlock_request(locked: AppliedPack, unlock: Unlock) -> Statement:
    """Give what a person signs to lift the lock of exactly this applied pack."""
    return Statement(
        predicate_type=UNLOCK_REQUEST,
        subject_name="policy-pack",
        subject_digest=locked.pack.scope,
        predicate={
            "repository": locked.repository,
            "entry": locked.entry,
            "applied": timestamp(locked.applied),
            "person": unlock.person,
            "reason": unlock.reason,
            "at": timestamp(unlock.at),
        },
    )


def unlock_statement(ledger: str, locked: AppliedPack, unlock: Unlock, *, envelope: bytes) -> Statement:
    """State that a lock was lifted; `envelope` is what the person signed."""
    return Statement(
        predicate_type=POLICY_UNLOCK,
        subject_name="policy-pack",
        subject_digest=locked.pack.scope,
        predicate={
            "ledger": ledger,
            "repository": locked.repository,
            "person": unlock.person,
            "reason": unlock.reason,
            "at": timestamp(unlock.at),
            "request": envelope.decode(),
        },
    )


def _texts(found: Json) -> tuple[str, ...]:
    return tuple(str(each) for each in found) if isinstance(found, list) else ()


def moment_of_record(found: Json) -> datetime:
    """Read a time from a record.

    Raises:
        LedgerError: it is none.
    """
    try:
        return datetime.fromisoformat(str(found))
    except ValueError:
        raise _bad(f"{str(found)[:40]!r} is no time") from None


def _bad(what: str) -> CodedLedgerError:
    return CodedLedgerError(Code.STATEMENT, f"a record about the policy pack cannot be read: {what}")
