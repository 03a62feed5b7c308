"""How does one version of the trust root become another, word by word?

The words of the command line (`alice=~/.ssh/alice.pub`, `root=alice,bob,carol`, `root=+dave`) and the entries of a
ceremony file end up here. A key is named by its file, by `agent:` and its fingerprint or comment in ssh-agent, or
written out; private keys are never read.

Not here: whether what comes out is a valid root (`proof`), the options themselves (`_trust_options`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.cli._signing import agent_keys
from opsascode.errors import UsageError
from opsascode.proof import (
    Code,
    CodedProofError,
    Distrust,
    KeyPurpose,
    MachineRole,
    PersonKey,
    PublicKey,
    Role,
    TrustedKey,
    TrustedMachine,
    TrustedPerson,
)
from opsascode.repo import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import StrEnum
    from typing import TypeVar

    from opsascode.proof import TrustRoot

    Word = TypeVar("Word", bound=StrEnum)

DUAL_THRESHOLD: Final = 2
_DUAL: Final = frozenset({"root", "rollback-approver"})
_PURPOSES: Final = (KeyPurpose.APPROVAL, KeyPurpose.ROOT)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST_KEY_BYTES: Final = 16384


@dataclass(slots=True, kw_only=True)
class RootEditor:
    """A version in the making; relative names of key files are taken from `base`."""

    root: TrustRoot
    now: datetime
    base: Path

    def follow(self, digest: str) -> None:
        """Make this the version after the one with a digest."""
        self.root = replace(self.root, version=self.root.version + 1, previous=digest)

    def person(self, ident: str, /, **changes: object) -> None:
        """Change a person, who is added when there is none of this name: with an account called the same."""
        found = self.root.person(ident) or TrustedPerson(id=ident, name=ident, accounts=(ident,))
        others = tuple(each for each in self.root.persons if each.id != ident)
        self.root = replace(self.root, persons=(*others, replace(found, **changes)))  # type: ignore[arg-type] # the callers below name fields of their types

    def need_person(self, name: str) -> TrustedPerson:
        """Give a person who must be there."""
        found = self.root.person(name)
        if found is None:
            known = ", ".join(each.id for each in self.root.persons)
            raise UsageError(f"the trust root knows no {name}", advice=f"it knows {known}" if known else "")
        return found

    def add_key(self, name: str, word: str) -> None:
        """Give a person a key: `PLACE`, or `PLACE:PURPOSE,…` for other purposes than approvals and the root."""
        place, purposes = split_words(word, KeyPurpose)
        key = self._read_key(place, f"{name}: ", PersonKey.from_openssh)
        found = self.root.person(name)
        keys = (*(found.keys if found else ()), TrustedKey(key=key, purposes=purposes or _PURPOSES))
        self.person(name, keys=keys)

    def revoke_key(self, keyid: str) -> None:
        """Take a key from whoever has it."""
        owner = self.root.owner(keyid)
        if owner is None:
            raise UsageError(f"nobody has the key {keyid}", advice="`opsascode trust show` lists the keys: SHA256:…")
        self.person(owner.id, keys=tuple(each for each in owner.keys if each.key.keyid != keyid))

    def remove_person(self, name: str) -> None:
        """Take a person away, and out of every role."""
        self.need_person(name)
        self.root = replace(
            self.root,
            persons=tuple(each for each in self.root.persons if each.id != name),
            roles=tuple(
                replace(each, persons=tuple(one for one in each.persons if one != name)) for each in self.root.roles
            ),
        )

    def add_to(self, name: str, part: str, value: str) -> None:
        """Add an account, an address or a team to a person; `-VALUE` takes it away."""
        found = self.need_person(name)
        before: tuple[str, ...] = getattr(found, part)
        if value.startswith("-"):
            if value[1:] not in before:
                raise UsageError(f"{name} has no {value[1:]} among their {part}")
            self.person(name, **{part: tuple(each for each in before if each != value[1:])})
        else:
            self.person(name, **{part: tuple(dict.fromkeys((*before, value)))})

    def forge(self, name: str, word: str) -> None:
        """Say by which number a forge knows a person: `github:123`."""
        forge, _, number = word.partition(":")
        if not forge or not number.isdecimal():
            raise UsageError(f"«{word}» is no number at a forge", advice="write --forge alice=github:12345")
        self.person(name, forge={**self.need_person(name).forge, forge: int(number)})

    def role(self, name: str, word: str) -> None:
        """Say who has a role: `alice,bob`, or `+carol,-bob` to change who has it; nobody takes the role away."""
        words = [each for each in re.split(r"[,\s]+", word) if each]
        found = self.root.role(name) or Role(name=name, threshold=DUAL_THRESHOLD if name in _DUAL else 1, persons=())
        others = tuple(each for each in self.root.roles if each.name != name)
        signed = [each for each in words if each[0] in "+-"]
        if signed and len(signed) != len(words):
            raise UsageError(f"«{name}={word}» names some with a sign and some without", advice="either all or none")
        persons = list(found.persons) if signed else words
        for each in signed:
            if (each[1:] in persons) == (each[0] == "+"):
                found_so = "has the role already" if each[0] == "+" else "does not have the role"
                raise UsageError(f"{each[1:]} {found_so}: {name}")
            (persons.append if each[0] == "+" else persons.remove)(each[1:])
        role = replace(found, persons=tuple(persons))
        self.root = replace(self.root, roles=(*others, role) if persons else others)

    def threshold(self, name: str, word: str) -> None:
        """Say how many persons of a role must agree: `2`, or `2/2` for two persons of two teams."""
        number, _, teams = word.partition("/")
        found = self.root.role(name)
        if found is None:
            raise UsageError(f"there is no role {name}", advice=f"say who has it: --role {name}=alice,bob")
        if not number.isdecimal() or (teams and not teams.isdecimal()):
            raise UsageError(f"«{word}» is no threshold", advice=f"write --threshold {name}=2")
        changed = replace(found, threshold=int(number), teams=int(teams) if teams else found.teams)
        others = tuple(each for each in self.root.roles if each.name != name)
        self.root = replace(self.root, roles=(*others, changed))

    def protect(self, pattern: str) -> None:
        """Protect more paths."""
        self.root = replace(self.root, protected=tuple(sorted({*self.root.protected, pattern})))

    def unprotect(self, pattern: str) -> None:
        """Protect fewer paths."""
        if pattern not in self.root.protected:
            listed = ", ".join(self.root.protected)
            raise UsageError(f"«{pattern}» is not among the protected paths", advice=f"they are {listed}")
        self.root = replace(self.root, protected=tuple(each for each in self.root.protected if each != pattern))

    def machine(self, name: str, word: str) -> None:
        """Add a machine, or give it another key: `PLACE:ROLE,…`."""
        place, roles = split_words(word, MachineRole)
        if not roles:
            known = ", ".join(MachineRole)
            raise UsageError(f"«{word}» does not say what the machine {name} may sign", advice=f"write FILE:{known}")
        key = self._read_key(place, f"machine {name}: ", PublicKey.from_openssh)
        others = tuple(each for each in self.root.machines if each.name != name)
        self.root = replace(self.root, machines=(*others, TrustedMachine(name=name, key=key, roles=roles)))

    def remove_machine(self, name: str) -> None:
        """Take a machine away."""
        if name not in {each.name for each in self.root.machines}:
            raise UsageError(f"the trust root knows no machine {name}")
        self.root = replace(self.root, machines=tuple(each for each in self.root.machines if each.name != name))

    def distrust(self, word: str) -> None:
        """Stop believing a key from an entry of the ledger on: `SHA256:…@ENTRY`."""
        keyid, _, entry = word.rpartition("@")
        if not keyid or not entry.isdecimal():
            raise UsageError(f"«{word}» is no key and entry", advice="write --distrust SHA256:…@ENTRY")
        others = tuple(each for each in self.root.distrust if each.keyid != keyid)
        self.root = replace(self.root, distrust=(*others, Distrust(keyid=keyid, from_entry=int(entry))))

    def expires(self, word: str) -> None:
        """Say until when the version holds: a day, or a time from now such as 365d."""
        self.root = replace(self.root, expires=moment(word, self.now))

    def ref(self, word: str) -> None:
        """Say which branch is protected."""
        self.root = replace(self.root, ref=word if word.startswith("refs/") else f"refs/heads/{word}")

    def limits(self, **numbers: int) -> None:
        """Set `bridge_most` or `witness_quorum`."""
        self.root = replace(self.root, **numbers)  # type: ignore[arg-type] # the callers name fields of numbers

    def window(self, word: str) -> None:
        """Say how long a value counts as one that was left."""
        self.root = replace(self.root, rollback_window=_duration(word))

    def staleness(self, word: str) -> None:
        """Say how long ago the team's ledger may have been seen, in whole hours; `never` asks for nothing."""
        self.root = replace(self.root, max_staleness=None if word == "never" else _duration(word))

    def _read_key(self, place: str, who: str, read: Callable[[str], Key]) -> Key:
        line = place if place.startswith(("ssh-", "sk-ssh-")) else self._key_line(place, who)
        try:
            return read(line)
        except CodedProofError as error:
            raise CodedProofError(error.code, f"{who}{error.message}", advice=error.advice) from None

    def _key_line(self, place: str, who: str) -> str:
        if place.startswith("agent:"):
            return _agent_line(place.removeprefix("agent:"), who)
        named = self.base / Path(place).expanduser()
        public = named if named.suffix == ".pub" else named.with_name(named.name + ".pub")
        try:
            with public.open("rb") as stream:
                text = stream.read(_MOST_KEY_BYTES).decode().strip()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise UsageError(
                f"{who}the public key {public} cannot be read: {reason}",
                advice="name a .pub file, or agent:FINGERPRINT for a key in ssh-agent",
            ) from error
        if "PRIVATE KEY" in text:
            raise CodedProofError(Code.KEY, f"{who}{public} holds a private key", advice="name the .pub file")
        return text


if TYPE_CHECKING:
    Key = TypeVar("Key", PersonKey, PublicKey)


def split_words(word: str, kind: type[Word]) -> tuple[str, tuple[Word, ...]]:
    """Split `PLACE:WORD,…` where everything behind the last colon is a word of a kind; else there are none."""
    place, _, tail = word.rpartition(":")
    words = tail.split(",")
    known = {each.value for each in kind}
    if not place or not known.issuperset(words):
        return word, ()
    return place, tuple(dict.fromkeys(kind(each) for each in words))


def pair(word: str, option: str, example: str) -> tuple[str, str]:
    """Split `NAME=VALUE`."""
    name, found, value = word.partition("=")
    if not found or not name or not value:
        raise UsageError(f"{option} needs NAME=VALUE, not «{word}»", advice=f"write {option} {example}")
    return name, value


def moment(word: str, now: datetime) -> datetime:
    """Read a day, or a time from now, in whole seconds."""
    if _DAY.fullmatch(word):
        try:
            return datetime.strptime(word, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise UsageError(f"«{word}» is no day of the calendar", advice="write 2027-01-31, or 365d") from None
    return now.replace(microsecond=0) + _duration(word)


def _duration(word: str) -> timedelta:
    try:
        return parse_duration(word)
    except ValueError:
        raise UsageError(f"«{word}» is no duration or day", advice="write 365d, or a day such as 2027-01-31") from None


def _agent_line(wanted: str, who: str) -> str:
    """Find a key in ssh-agent by its fingerprint or comment."""
    listed = list(agent_keys())
    found = [line for key, comment, line in listed if wanted in {key.keyid, comment}]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{key.keyid} {comment}".strip() for key, comment, _ in listed) or "none that can be used"
    how_many = "several keys" if found else "no key"
    raise UsageError(f"{who}ssh-agent holds {how_many} «{wanted}»", advice=f"it holds {known}")
