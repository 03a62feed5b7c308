"""Of what is a trust root made: persons, machines, keys, roles, and machines no longer believed?

Rules: every part is a value in one order, so that the same content has the same bytes and the same digest. Nothing is
judged here: a part may be wrong, and `root_faults` says how.

Not here: the root itself (`_root`), what makes it valid (`_root_rules`), and who signed it (`_root_chain`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opsascode.proof._keys import PublicKey
    from opsascode.proof._sshsig import PersonKey

ROOT_ROLE: Final = "root"
POLICY_APPROVER: Final = "policy-approver"
ROLLBACK_APPROVER: Final = "rollback-approver"
RUN_APPROVER: Final = "run-approver"
BREAK_GLASS: Final = "break-glass"

DEFAULT_REF: Final = "refs/heads/main"
DEFAULT_PROTECTED: Final = ("inventories/**", "opsascode.yml", "policies/**")
TRUST_SCOPE: Final = "policies/trust/**"
"""Protected in every repository, whatever its root says."""


class KeyPurpose(StrEnum):
    """What a person's key may sign."""

    APPROVAL = "approval"
    ROOT = "root"
    BREAK_GLASS = "break-glass"


class MachineRole(StrEnum):
    """What a machine's key may sign."""

    RUNNER = "runner"
    LEDGER = "ledger"
    WITNESS = "witness"
    BRIDGE = "bridge"


DEFAULT_PURPOSES: Final = (KeyPurpose.APPROVAL, KeyPurpose.ROOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A person's key and what it may sign."""

    key: PersonKey
    purposes: tuple[KeyPurpose, ...] = DEFAULT_PURPOSES

    def __post_init__(self) -> None:
        sort_lists(self, "purposes")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedPerson:
    """One person: their teams, the accounts and e-mail addresses they work under, their number at a forge, their keys.

    Accounts and addresses only ever exclude a person; what counts a person in is a key, or a number at a forge.
    """

    id: str
    name: str
    teams: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    forge: Mapping[str, int] = field(default_factory=dict)
    keys: tuple[TrustedKey, ...] = ()

    def __post_init__(self) -> None:
        sort_lists(self, "teams", "accounts", "emails")
        sort_lists(self, "keys", by=lambda each: each.key.raw)

    def keys_for(self, purpose: KeyPurpose) -> tuple[PersonKey, ...]:
        """Give the keys with which this person signs for a purpose."""
        return tuple(each.key for each in self.keys if purpose in each.purposes)

    def goes_by(self, name: str) -> bool:
        """Say whether this person may be behind an account or an e-mail address."""
        wanted = folded(name)
        return any(wanted == folded(each) for each in (*self.accounts, *self.emails))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedMachine:
    """A machine, its one key, and what it may sign."""

    name: str
    key: PublicKey
    roles: tuple[MachineRole, ...]

    def __post_init__(self) -> None:
        sort_lists(self, "roles")


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Who has a say, how many of them must agree, and out of how many different teams (0: it does not matter)."""

    name: str
    threshold: int
    persons: tuple[str, ...]
    teams: int = 0

    def __post_init__(self) -> None:
        sort_lists(self, "persons")

    @property
    def purpose(self) -> KeyPurpose:
        """What a key must be for, to speak in this role."""
        return _PURPOSE.get(self.name, KeyPurpose.APPROVAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distrust:
    """A key whose records are not believed from an entry of the ledger on."""

    keyid: str
    from_entry: int


_PURPOSE: Final = {ROOT_ROLE: KeyPurpose.ROOT, BREAK_GLASS: KeyPurpose.BREAK_GLASS}


def folded(name: str) -> str:
    """Give what an account or address is compared by: names at a forge and addresses know no upper and lower case."""
    return name.casefold() if ":" in name or "@" in name else name


def teams_among(persons: Iterable[TrustedPerson]) -> int:
    """Count the teams these persons can stand for at once, each of them for one: two teams need two persons."""
    standing: dict[str, TrustedPerson] = {}

    def place(person: TrustedPerson, asked: set[str]) -> bool:
        for team in person.teams:
            if team in asked:
                continue
            asked.add(team)
            if team not in standing or place(standing[team], asked):
                standing[team] = person
                return True
        return False

    return sum(place(each, set()) for each in persons)


def sort_lists(part: object, *names: str, by: Callable[[Any], Any] | None = None) -> None:
    """Put lists whose order means nothing into the one order they are written in."""
    for name in names:
        object.__setattr__(part, name, tuple(sorted(getattr(part, name), key=by)))
