"""Whom does a repository trust, for what, and how many of them must agree?

Rules: a root is a whole: version N says everything, and nothing is taken over from N - 1. It has one form of bytes, so
one digest. What is not valid (`root_faults`) can be neither written as a statement nor read from one. Whatever is
looked up here is looked up in this version: what was signed under another one is judged by that.

Not here: who signed a version and whether it follows the one before it (`_root_chain`), what a change loosens
(`_root_changes`), and where versions are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from opsascode.proof._canonical import canonical_bytes, sha256_digest
from opsascode.proof._codes import Code, CodedProofError, Fault
from opsascode.proof._envelope import PREDICATE_PREFIX, Statement
from opsascode.proof._json_parts import stamp
from opsascode.proof._root_form import RootReader
from opsascode.proof._root_parts import DEFAULT_PROTECTED, DEFAULT_REF, TRUST_SCOPE, sort_lists
from opsascode.proof._root_rules import root_faults

if TYPE_CHECKING:
    from datetime import datetime

    from opsascode.proof._canonical import Json
    from opsascode.proof._keys import PublicKey
    from opsascode.proof._root_parts import (
        Distrust,
        KeyPurpose,
        MachineRole,
        Role,
        TrustedMachine,
        TrustedPerson,
    )
    from opsascode.proof._sshsig import PersonKey

ROOT_TYPE: Final = f"{PREDICATE_PREFIX}trust-root:v1"
ROOT_SUBJECT: Final = "trust-root"
ROLLBACK_WINDOW: Final = timedelta(days=180)
_FAULTS_SAID = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRoot:
    """One version of the trust root; `previous` is the payload digest of the version before it.

    `bridge_most` is how many of those who must agree may do so through a bridge to a forge, `witness_quorum` how many
    witnesses a checkpoint needs, `max_staleness` how long ago the team's ledger may have been vouched for where
    privileges are used (None: it is not asked), `rollback_window` how far back a value counts as one that was left, and
    `salt` what makes two repositories with the same people two repositories.
    """

    version: int
    previous: str | None
    expires: datetime
    ref: str = DEFAULT_REF
    protected: tuple[str, ...] = DEFAULT_PROTECTED
    persons: tuple[TrustedPerson, ...]
    machines: tuple[TrustedMachine, ...] = ()
    roles: tuple[Role, ...]
    bridge_most: int = 1
    witness_quorum: int = 0
    max_staleness: timedelta | None = None
    rollback_window: timedelta = ROLLBACK_WINDOW
    distrust: tuple[Distrust, ...] = ()
    salt: str

    def __post_init__(self) -> None:
        sort_lists(self, "protected")
        sort_lists(self, "persons", by=lambda each: each.id)
        sort_lists(self, "machines", "roles", by=lambda each: each.name)
        sort_lists(self, "distrust", by=lambda each: each.keyid)

    @property
    def scope(self) -> tuple[str, ...]:
        """The patterns of everything that is protected, the trust root itself included."""
        return tuple(sorted({*self.protected, TRUST_SCOPE}))

    def person(self, name: str) -> TrustedPerson | None:
        """Find a person by id."""
        return next((each for each in self.persons if each.id == name), None)

    def role(self, name: str) -> Role | None:
        """Find a role by name."""
        return next((each for each in self.roles if each.name == name), None)

    def members(self, role: str) -> tuple[TrustedPerson, ...]:
        """Give the persons who have a role; nobody has a role that does not exist."""
        found = self.role(role)
        return () if found is None else tuple(each for each in self.persons if each.id in found.persons)

    def behind(self, name: str) -> tuple[TrustedPerson, ...]:
        """Find everybody who may be behind an account or an e-mail address."""
        return tuple(each for each in self.persons if each.goes_by(name))

    def at_forge(self, forge: str, number: int) -> TrustedPerson | None:
        """Find a person by the number a forge knows them by."""
        return next((each for each in self.persons if each.forge.get(forge) == number), None)

    def keys(self, purpose: KeyPurpose) -> tuple[PersonKey, ...]:
        """Give the keys of all persons that may sign for a purpose."""
        return tuple(key for each in self.persons for key in each.keys_for(purpose))

    def owner(self, keyid: str) -> TrustedPerson | None:
        """Find whose key it is, by its fingerprint."""
        return next((each for each in self.persons for one in each.keys if one.key.keyid == keyid), None)

    def machine_keys(self, role: MachineRole) -> tuple[PublicKey, ...]:
        """Give the keys of all machines that have a role."""
        return tuple(each.key for each in self.machines if role in each.roles)

    def statement(self) -> Statement:
        """Give the statement to sign; its subject is its own content.

        Raises:
            ProofError: it is no valid root.
        """
        _refuse(root_faults(self))
        predicate = self._predicate()
        digest = sha256_digest(canonical_bytes(predicate))
        return Statement(
            predicate_type=ROOT_TYPE, subject_name=ROOT_SUBJECT, subject_digest=digest, predicate=predicate
        )

    @classmethod
    def of(cls, statement: Statement) -> TrustRoot:
        """Read what was signed.

        Raises:
            ProofError: it is no trust root, or not valid; the code is that of the first thing that is wrong.
        """
        if statement.predicate_type != ROOT_TYPE:
            raise CodedProofError(Code.TYPE, f"a statement of type {statement.predicate_type} is no trust root")
        predicate = dict(statement.predicate)
        if statement.subject_name != ROOT_SUBJECT:
            raise CodedProofError(Code.ROOT, "the subject of a trust root is called trust-root")
        if statement.subject_digest != sha256_digest(canonical_bytes(predicate)):
            raise CodedProofError(Code.ROOT, "the subject of the trust root is not the digest of its content")
        reader = RootReader()
        parts = reader.read(predicate)
        _refuse(reader.faults)
        root = cls(**parts)
        _refuse(root_faults(root))
        if root._predicate() != predicate:
            raise CodedProofError(
                Code.ROOT,
                "the trust root is not written in its one form",
                advice="lists are sorted, keys have no comment, and times look like 2027-01-31T12:00:00Z",
            )
        return root

    def _predicate(self) -> dict[str, Json]:
        return {
            "version": self.version,
            "previous": self.previous,
            "expires": stamp(self.expires),
            "ref": self.ref,
            "protected": list(self.protected),
            "persons": {each.id: _person(each) for each in self.persons},
            "machines": {each.name: _machine(each) for each in self.machines},
            "roles": {each.name: _role(each) for each in self.roles},
            "bridge_most": self.bridge_most,
            "witness_quorum": self.witness_quorum,
            "max_staleness_hours": None if self.max_staleness is None else self.max_staleness // timedelta(hours=1),
            "rollback_window_days": self.rollback_window.days,
            "distrust": {each.keyid: each.from_entry for each in self.distrust},
            "salt": self.salt,
        }


def _person(person: TrustedPerson) -> Json:
    return {
        "name": person.name,
        "teams": list(person.teams),
        "accounts": list(person.accounts),
        "emails": list(person.emails),
        "forge": dict(person.forge),
        "keys": [{"key": each.key.openssh(), "purposes": [str(one) for one in each.purposes]} for each in person.keys],
    }


def _machine(machine: TrustedMachine) -> Json:
    return {"key": machine.key.openssh(), "roles": [str(each) for each in machine.roles]}


def _role(role: Role) -> Json:
    return {"threshold": role.threshold, "persons": list(role.persons), "teams": role.teams}


def _refuse(faults: tuple[Fault, ...] | list[Fault]) -> None:
    """Raise for what is wrong, with the code of the first."""
    if not faults:
        return
    said = "; ".join(each.message for each in faults[:_FAULTS_SAID])
    more = f"; and {len(faults) - _FAULTS_SAID} more" if len(faults) > _FAULTS_SAID else ""
    raise CodedProofError(faults[0].code, f"the trust root is not valid: {said}{more}")
