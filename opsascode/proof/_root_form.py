"""Does this JSON have the parts of a trust root, each of its type?

Rules: exactly the keys of the format, each of its JSON type; an integer is no boolean. Everything that is wrong is
found, not only the first thing.

Not here: whether the parts make sense together (`_root_rules`).
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from opsascode.proof._codes import Code, CodedProofError, Fault
from opsascode.proof._json_parts import key_fault, read_stamp
from opsascode.proof._keys import PublicKey
from opsascode.proof._root_parts import (
    Distrust,
    KeyPurpose,
    MachineRole,
    Role,
    TrustedKey,
    TrustedMachine,
    TrustedPerson,
)
from opsascode.proof._sshsig import PersonKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from enum import StrEnum

    from opsascode.proof._canonical import Json

    Word = TypeVar("Word", bound=StrEnum)
    Key = TypeVar("Key", PersonKey, PublicKey)

MAX_NUMBER: Final = 2**53 - 1
MAX_DAYS: Final = 3650
MAX_HOURS: Final = 8760

_ROOT: Final = frozenset(
    {
        "version", "previous", "expires", "ref", "protected", "persons", "machines", "roles", "bridge_most",
        "witness_quorum", "max_staleness_hours", "rollback_window_days", "distrust", "salt",
    }
)  # fmt: skip
_PERSON: Final = frozenset({"name", "teams", "accounts", "emails", "forge", "keys"})
_KEY: Final = frozenset({"key", "purposes"})
_MACHINE: Final = frozenset({"key", "roles"})
_ROLE: Final = frozenset({"threshold", "persons", "teams"})
_NEVER: Final = datetime.max.replace(tzinfo=UTC, microsecond=0)


class RootReader:
    """Reads the content of one trust root; `faults` is what was wrong with it."""

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.faults: list[Fault] = []

    def read(self, found: Json) -> dict[str, Any]:
        """Give the fields of a `TrustRoot`; where there are faults, they are not to be used."""
        root = self._object(found, _ROOT, "the trust root")
        if root is None:
            return {}
        previous = root["previous"]
        machines = [self._machine(*each) for each in self._map(root["machines"], "its machines")]
        return {
            "version": self._integer(root["version"], "its version"),
            "previous": None if previous is None else self._text(previous, "its previous version"),
            "expires": self._moment(root["expires"]),
            "ref": self._text(root["ref"], "its ref"),
            "protected": self._texts(root["protected"], "its protected paths"),
            "persons": tuple(self._person(*each) for each in self._map(root["persons"], "its persons")),
            "machines": tuple(filter(None, machines)),
            "roles": tuple(self._role(*each) for each in self._map(root["roles"], "its roles")),
            "bridge_most": self._integer(root["bridge_most"], "its bridge_most"),
            "witness_quorum": self._integer(root["witness_quorum"], "its witness_quorum"),
            "max_staleness": self._hours(root["max_staleness_hours"]),
            "rollback_window": self._days(root["rollback_window_days"]),
            "distrust": tuple(
                Distrust(keyid=keyid, from_entry=self._integer(entry, f"the entry from which {keyid[:60]!a} counts"))
                for keyid, entry in self._map(root["distrust"], "its distrust")
            ),
            "salt": self._text(root["salt"], "its salt"),
        }

    def _person(self, name: str, found: Json) -> TrustedPerson:
        who = f"person {name[:70]!a}"
        person = self._object(found, _PERSON, who)
        if person is None:
            return TrustedPerson(id=name, name=name)
        forge = self._map(person["forge"], f"the forge of {who}")
        return TrustedPerson(
            id=name,
            name=self._text(person["name"], f"the name of {who}"),
            teams=self._texts(person["teams"], f"the teams of {who}"),
            accounts=self._texts(person["accounts"], f"the accounts of {who}"),
            emails=self._texts(person["emails"], f"the emails of {who}"),
            forge={each: self._integer(number, f"the number of {who} at a forge") for each, number in forge},
            keys=self._keys(person["keys"], who),
        )

    def _keys(self, found: Json, who: str) -> tuple[TrustedKey, ...]:
        keys = []
        for each in self._list(found, f"the keys of {who}"):
            entry = self._object(each, _KEY, f"a key of {who}")
            if entry is None:
                continue
            key = self._key(entry["key"], f"a key of {who}", _person_key)
            purposes = self._words(entry["purposes"], f"the purposes of a key of {who}", KeyPurpose)
            if key is not None:
                keys.append(TrustedKey(key=key, purposes=purposes))
        return tuple(keys)

    def _machine(self, name: str, found: Json) -> TrustedMachine | None:
        what = f"machine {name[:70]!a}"
        machine = self._object(found, _MACHINE, what)
        if machine is None:
            return None
        key = self._key(machine["key"], f"the key of {what}", _machine_key)
        roles = self._words(machine["roles"], f"the roles of {what}", MachineRole)
        return None if key is None else TrustedMachine(name=name, key=key, roles=roles)

    def _role(self, name: str, found: Json) -> Role:
        what = f"role {name[:70]!a}"
        role = self._object(found, _ROLE, what)
        if role is None:
            return Role(name=name, threshold=1, persons=())
        return Role(
            name=name,
            threshold=self._integer(role["threshold"], f"the threshold of {what}"),
            persons=self._texts(role["persons"], f"the persons of {what}"),
            teams=self._integer(role["teams"], f"the teams of {what}"),
        )

    def _key(self, found: Json, what: str, read: Callable[[str], Key]) -> Key | None:
        try:
            return read(self._text(found, what))
        except CodedProofError as error:
            self._fault(f"{what}: {error.message}", error.code)
            return None

    def _words(self, found: Json, what: str, kind: type[Word]) -> tuple[Word, ...]:
        texts = self._texts(found, what)
        known = {str(each) for each in kind}
        for each in texts:
            if each not in known:
                self._fault(f"{what} hold {each[:60]!a}, which is none of {', '.join(sorted(known))}")
        return tuple(kind(each) for each in texts if each in known)

    def _object(self, found: Json, keys: frozenset[str], what: str) -> Mapping[str, Json] | None:
        if not isinstance(found, dict):
            self._fault(f"{what} must be an object")
            return None
        if wrong := key_fault(found, keys):
            self._fault(f"{what} {wrong}")
            return None
        return found

    def _map(self, found: Json, what: str) -> tuple[tuple[str, Json], ...]:
        if isinstance(found, dict):
            return tuple(found.items())
        self._fault(f"{what} must be an object")
        return ()

    def _list(self, found: Json, what: str) -> list[Json]:
        if isinstance(found, list):
            return found
        self._fault(f"{what} must be a list")
        return []

    def _texts(self, found: Json, what: str) -> tuple[str, ...]:
        listed = self._list(found, what)
        if not all(isinstance(each, str) for each in listed):
            self._fault(f"{what} must be texts")
        return tuple(each for each in listed if isinstance(each, str))

    def _text(self, found: Json, what: str) -> str:
        if isinstance(found, str):
            return found
        self._fault(f"{what} must be a text")
        return ""

    def _integer(self, found: Json, what: str) -> int:
        if isinstance(found, int) and not isinstance(found, bool) and -MAX_NUMBER <= found <= MAX_NUMBER:
            return found
        self._fault(f"{what} must be an integer")
        return 0

    def _days(self, found: Json) -> timedelta:
        days = self._integer(found, "its rollback_window_days")
        if abs(days) > MAX_DAYS:
            self._fault(f"its rollback_window_days is {days}, and {MAX_DAYS} are the most")
            days = 0
        return timedelta(days=days)

    def _hours(self, found: Json) -> timedelta | None:
        if found is None:
            return None
        hours = self._integer(found, "its max_staleness_hours")
        if not 1 <= hours <= MAX_HOURS:
            self._fault(f"its max_staleness_hours is {hours}, where 1 to {MAX_HOURS} are allowed, or null")
            hours = 1
        return timedelta(hours=hours)

    def _moment(self, found: Json) -> datetime:
        moment = read_stamp(self._text(found, "its expires"))
        if moment is None:
            self._fault("its expires is no time such as 2027-01-31T12:00:00Z")
            return _NEVER
        return moment

    def _fault(self, message: str, code: Code = Code.ROOT) -> None:
        self.faults.append(Fault(code=code, message=message))


# Versions differ in little: most keys were read with the version before.
@functools.lru_cache(maxsize=1024)
def _person_key(line: str) -> PersonKey:
    return PersonKey.from_openssh(line)


@functools.lru_cache(maxsize=1024)
def _machine_key(line: str) -> PublicKey:
    return PublicKey.from_openssh(line)
