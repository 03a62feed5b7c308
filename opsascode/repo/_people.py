"""Who are the people, which keys do they sign with, what roles do they have, and under which accounts do they work?

Made from one version of the trust root, whose own rules make sure that a key belongs to one person only. Only keys for
the purpose that is asked for are taken over. A person without keys cannot approve anything and is how an account that
several people or machines share is written down.

`People` is all that judging approvals knows of them. Not here: reading and proving the trust root (`proof`, `_trust`),
judging (`policy`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.proof import RUN_APPROVER, KeyPurpose

if TYPE_CHECKING:
    from opsascode.proof import PersonKey, TrustedPerson, TrustRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person: id, name for display, the accounts they work under, their roles, and the keys they sign with."""

    id: str
    name: str
    accounts: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    keys: tuple[PersonKey, ...] = ()

    def has_role(self, role: str | None) -> bool:
        """Say whether the person has a role; where none is named, whether they may approve runs."""
        return (role or RUN_APPROVER) in self.roles


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Everybody who may be asked, and the version of the trust root that says so."""

    persons: tuple[Person, ...] = ()
    version: int = 0
    digest: str = ""

    def person(self, name: str) -> Person | None:
        """Find a person by id."""
        return next((each for each in self.persons if each.id == name), None)

    def behind(self, account: str) -> tuple[Person, ...]:
        """Find everybody who may be behind an account or address; only names on this machine know upper case."""
        wanted = _folded(account)
        return tuple(each for each in self.persons if wanted in {_folded(one) for one in each.accounts})

    def owner(self, keyid: str) -> Person | None:
        """Find whose key it is, by its fingerprint."""
        return next((each for each in self.persons for key in each.keys if key.keyid == keyid), None)

    def with_role(self, role: str | None) -> tuple[Person, ...]:
        """Give the people who have a role and a key; with None, those who may approve runs."""
        return tuple(each for each in self.persons if each.keys and each.has_role(role))

    @property
    def keys(self) -> tuple[PersonKey, ...]:
        """All keys of all people."""
        return tuple(key for each in self.persons for key in each.keys)


def people_of(root: TrustRoot, digest: str, purpose: KeyPurpose = KeyPurpose.APPROVAL) -> People:
    """Give the people of a version of the trust root, with their keys for a purpose; `digest` names that version."""
    return People(
        persons=tuple(_person(root, each, purpose) for each in root.persons),
        version=root.version,
        digest=digest,
    )


def _person(root: TrustRoot, found: TrustedPerson, purpose: KeyPurpose) -> Person:
    return Person(
        id=found.id,
        name=found.name,
        accounts=(*found.accounts, *found.emails),
        roles=tuple(role.name for role in root.roles if found.id in role.persons),
        keys=found.keys_for(purpose),
    )


def _folded(account: str) -> str:
    return account.casefold() if ":" in account or "@" in account else account
