"""What exactly do people agree to, when they agree to a change of the policies?

A change is a transition of one protected ref of one repository: from what is protected in one commit to what is
protected afterwards, of which classes, under which version of the trust root. Its id can be computed by anybody from
the Git objects, and names no person. People sign statements about it: one proposes, others approve or decline. What a
forge knows of reviews comes over a bridge, as a statement of a machine.

Rules: a statement's subject is the id of the change it holds, whole. It is given for a limited time.

Not here: what class a change has (`_classify`), whether a statement counts (`_say`), and signing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from opsascode.policy._forms import (
    COMMIT_FORM,
    DIGEST_FORM,
    NONCE_FORM,
    PERSON_FORM,
    ApprovalError,
    honest_text_of,
)
from opsascode.proof import PREDICATE_PREFIX, JsonParts, Statement, canonical_bytes, sha256_digest, stamp

if TYPE_CHECKING:
    from datetime import datetime

    from opsascode.proof import Json

POLICY_APPROVAL: Final = f"{PREDICATE_PREFIX}policy-approval:v1"
FORGE_REVIEW: Final = f"{PREDICATE_PREFIX}forge-review:v1"
CHANGE_SUBJECT: Final = "change"

_CLASSES: Final = frozenset({"forward", "rollback", "weakening", "trust"})
_REF_FORM: Final = re.compile("refs/[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")
_ROOT_FORM: Final = re.compile("[A-Za-z0-9+/]{43}=")
_FORGE_FORM: Final = re.compile("[a-z][a-z0-9-]{0,31}")


class Said(StrEnum):
    """What a person says about a change."""

    PROPOSE = "propose"
    APPROVE = "approve"
    DECLINE = "decline"


class ReviewState(StrEnum):
    """What a review at a forge says."""

    APPROVED = "approved"
    CHANGES_REQUESTED = "changes_requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A transition, as everybody can compute it; `base_commit` is None where nothing was applied before."""

    repository: str
    ref: str
    base_commit: str | None
    base_scope: str
    target_scope: str
    classes: tuple[str, ...]
    root_version: int
    root_digest: str

    @property
    def id(self) -> str:
        """The digest of all its parts."""
        return sha256_digest(canonical_bytes(self.to_json()))

    def to_json(self) -> dict[str, Json]:
        """Write it down, as it stands in statements."""
        return {
            "repository": self.repository,
            "ref": self.ref,
            "base_commit": self.base_commit,
            "base_scope": self.base_scope,
            "target_scope": self.target_scope,
            "classes": list(self.classes),
            "root_version": self.root_version,
            "root_digest": self.root_digest,
        }

    @classmethod
    def of(cls, found: Json) -> Change:
        """Read one from a statement.

        Raises:
            ApprovalError: it does not have exactly the parts of a change, each of its form.
        """
        parts = JsonParts.of(found, ApprovalError, _CHANGE_PARTS, what="its change")
        return cls(
            repository=parts.matching("repository", DIGEST_FORM),
            ref=parts.matching("ref", _REF_FORM),
            base_commit=parts.maybe("base_commit", parts.matching, COMMIT_FORM),
            base_scope=parts.matching("base_scope", DIGEST_FORM),
            target_scope=parts.matching("target_scope", DIGEST_FORM),
            classes=_classes(parts.value["classes"]),
            root_version=parts.number("root_version", least=1),
            root_digest=parts.matching("root_digest", DIGEST_FORM),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCheckpoint:
    """The checkpoint of the ledger that an approver saw: so every approver is a witness of it."""

    origin: str
    size: int
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeStatement:
    """What a person signs about a change. `effects` is the digest of the difference they were shown."""

    person: str
    decision: Said
    change: Change
    reason: str
    effects: str
    issued: datetime
    expires: datetime
    nonce: str
    checkpoint: SeenCheckpoint | None = None

    def statement(self) -> Statement:
        """Give the statement to sign; its subject is the change."""
        seen = self.checkpoint
        predicate: dict[str, Json] = {
            "person": self.person,
            "decision": self.decision.value,
            "change": self.change.to_json(),
            "reason": self.reason,
            "effects": self.effects,
            "issued": stamp(self.issued),
            "expires": stamp(self.expires),
            "nonce": self.nonce,
            "checkpoint": None if seen is None else {"origin": seen.origin, "size": seen.size, "root": seen.root},
        }
        return _about(self.change, POLICY_APPROVAL, predicate)

    @classmethod
    def of(cls, statement: Statement) -> ChangeStatement:
        """Read what was signed.

        Raises:
            ApprovalError: it does not have exactly the parts of such a statement, each of its form.
        """
        parts = JsonParts.of(statement.predicate, ApprovalError, _STATEMENT_PARTS)
        return cls(
            person=parts.matching("person", PERSON_FORM),
            decision=parts.word("decision", Said),
            change=subject_change(statement),
            reason=honest_text_of(parts, "reason"),
            effects=parts.matching("effects", DIGEST_FORM),
            issued=parts.moment("issued"),
            expires=parts.moment("expires"),
            nonce=parts.matching("nonce", NONCE_FORM),
            checkpoint=parts.maybe("checkpoint", lambda key: _seen(parts.object(key, _CHECKPOINT_PARTS))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeReview:
    """What a bridge signs: that this user of a forge said this about a change, in a review of one commit.

    `repository` is what the forge calls it; which repository it is about, the change says.
    """

    change: Change
    forge: str
    user: int
    login: str
    review: int
    commit: str
    state: ReviewState
    repository: str
    ref: str
    issued: datetime
    expires: datetime

    def statement(self) -> Statement:
        """Give the statement to sign; its subject is the change."""
        predicate: dict[str, Json] = {
            "change": self.change.to_json(),
            "forge": self.forge,
            "user": self.user,
            "login": self.login,
            "review": self.review,
            "commit": self.commit,
            "state": self.state.value,
            "repository": self.repository,
            "ref": self.ref,
            "issued": stamp(self.issued),
            "expires": stamp(self.expires),
        }
        return _about(self.change, FORGE_REVIEW, predicate)

    @classmethod
    def of(cls, statement: Statement) -> ForgeReview:
        """Read what was signed.

        Raises:
            ApprovalError: it does not have exactly the parts of such a statement, each of its form.
        """
        parts = JsonParts.of(statement.predicate, ApprovalError, _REVIEW_PARTS)
        change = subject_change(statement)
        if parts.value["ref"] != change.ref:
            raise ApprovalError("its ref is another than that of its change")
        return cls(
            change=change,
            forge=parts.matching("forge", _FORGE_FORM),
            user=parts.number("user", least=1),
            login=parts.line("login", 64),
            review=parts.number("review", least=1),
            commit=parts.matching("commit", COMMIT_FORM),
            state=parts.word("state", ReviewState),
            repository=parts.line("repository"),
            ref=change.ref,
            issued=parts.moment("issued"),
            expires=parts.moment("expires"),
        )


def subject_change(statement: Statement) -> Change:
    """Read the change a statement holds, which must be the one its subject names.

    Raises:
        ApprovalError: it holds none, or its subject is another one.
    """
    change = Change.of(statement.predicate["change"])
    if change.id != statement.subject_digest:
        raise ApprovalError("its subject is another change than the one it speaks of")
    return change


_CHANGE_PARTS: Final = frozenset(
    {
        "repository", "ref", "base_commit", "base_scope", "target_scope", "classes", "root_version", "root_digest",
    }
)  # fmt: skip
_STATEMENT_PARTS: Final = frozenset(
    {
        "person", "decision", "change", "reason", "effects", "issued", "expires", "nonce", "checkpoint",
    }
)  # fmt: skip
_REVIEW_PARTS: Final = frozenset(
    {
        "change", "forge", "user", "login", "review", "commit", "state", "repository", "ref", "issued", "expires",
    }
)  # fmt: skip
_CHECKPOINT_PARTS: Final = frozenset({"origin", "size", "root"})


def _about(change: Change, kind: str, predicate: dict[str, Json]) -> Statement:
    return Statement(predicate_type=kind, subject_name=CHANGE_SUBJECT, subject_digest=change.id, predicate=predicate)


def _classes(found: Json) -> tuple[str, ...]:
    """Read the classes: known ones, at least one, in order, each once."""
    known = [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
    if not known or known != sorted(set(known) & _CLASSES) or known != found:
        raise ApprovalError("its classes are no sorted list of forward, rollback, trust and weakening")
    return tuple(known)


def _seen(parts: JsonParts) -> SeenCheckpoint:
    return SeenCheckpoint(
        origin=parts.line("origin"),
        size=parts.number("size", least=0),
        root=parts.matching("root", _ROOT_FORM),
    )
