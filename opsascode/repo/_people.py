"""Who are the people, which keys do they sign with, what roles do they have, and under which accounts do they work?

Read from the one document of kind People in `policies/people.yml`. A key belongs to one person only, told by its own
bytes; keys that anybody could sign for are refused where they stand. A person without keys cannot approve anything and
is how an account that several people or machines share is written down.

`People` is all that judging approvals knows of them: whatever else may list people one day gives the same value. Not
here: judging (`policy`), the signatures themselves (`proof`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opsascode.errors import Position, ProofError
from opsascode.proof import PersonKey
from opsascode.repo._problem import Problem, Severity, path_text, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person: id, name for display, the accounts they work under, their roles, and the keys they sign with."""

    id: str
    name: str
    accounts: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    keys: tuple[PersonKey, ...] = ()
    position: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Everybody who may be asked; empty where no people file is. `digest` is of the file they were read from."""

    persons: tuple[Person, ...] = ()
    digest: str | None = None

    def person(self, name: str) -> Person | None:
        """Find a person by id."""
        return next((each for each in self.persons if each.id == name), None)

    def behind(self, account: str) -> tuple[Person, ...]:
        """Find everybody who may be behind an account; names at a forge (`github:…`) know no upper and lower case."""
        wanted = _folded(account)
        return tuple(each for each in self.persons if wanted in {_folded(one) for one in each.accounts})

    def owner(self, keyid: str) -> Person | None:
        """Find whose key it is, by its fingerprint."""
        return next((each for each in self.persons for key in each.keys if key.keyid == keyid), None)

    def with_role(self, role: str | None) -> tuple[Person, ...]:
        """Give the people who have a role and a key; with None, all who have a key."""
        return tuple(each for each in self.persons if each.keys and (role is None or role in each.roles))

    @property
    def keys(self) -> tuple[PersonKey, ...]:
        """All keys of all people."""
        return tuple(key for each in self.persons for key in each.keys)


def people_problems(document: SourceDocument) -> list[Problem]:
    """Find what no schema can say: keys that are no keys, weak, or listed twice; accounts that several people list."""
    return list(_Rules(document).judge())


def build_people(document: SourceDocument, digest: str) -> People:
    """Build the people from a document without problems; `digest` is of its file."""
    listed: Any = document.at(("spec", "people"))
    return People(
        digest=digest,
        persons=tuple(
            Person(
                id=name,
                name=written.get("name", name),
                accounts=tuple(written.get("accounts", ())),
                roles=tuple(written.get("roles", ())),
                keys=tuple(PersonKey.from_openssh(line) for line in written.get("keys", ())),
                position=document.key_position(("spec", "people", name)),
            )
            for name, written in listed.items()
        ),
    )


class _Rules:
    """Judges one People document; what the schema refused is passed over."""

    def __init__(self, document: SourceDocument) -> None:
        self._document = document
        self._keys: dict[bytes, tuple[str, Position]] = {}
        self._accounts: dict[str, str] = {}

    def judge(self) -> Iterator[Problem]:
        listed: Any = self._document.at(("spec", "people"))
        for name, written in listed.items() if isinstance(listed, dict) else ():
            if not isinstance(written, dict):
                continue
            where: DocumentPath = ("spec", "people", name)
            for index, line in enumerate(_list(written.get("keys"))):
                yield from self._key(str(name), line, (*where, "keys", index))
            for index, account in enumerate(_list(written.get("accounts"))):
                yield from self._account(str(name), account, (*where, "accounts", index))

    def _key(self, person: str, line: object, path: DocumentPath) -> Iterator[Problem]:
        if not isinstance(line, str):
            return
        try:
            key = PersonKey.from_openssh(line)
        except ProofError as error:
            code = str(getattr(error, "code", "E_KEY"))
            mend = error.advice or "write the line of the .pub file: ssh-ed25519 AAAA… comment"
            yield self._problem(path, code, f"{person}: {error.message}", mend)
            return
        if key.raw in self._keys:
            owner, position = self._keys[key.raw]
            whose = "here already" if owner == person else f"already a key of {owner}"
            message = f"this key is {whose}, on line {position.line}"
            yield self._problem(path, "E_KEY_REUSE", message, "a key belongs to one person, and is listed once")
            return
        self._keys[key.raw] = person, self._document.position(path)

    def _account(self, person: str, account: object, path: DocumentPath) -> Iterator[Problem]:
        if not isinstance(account, str):
            return
        other = self._accounts.setdefault(_folded(account), person)
        if other != person:
            message = f"the account {quoted(account)} is also that of {other}: neither can approve what it starts"
            mend = "give a shared account to a person entry of its own, without keys"
            yield self._problem(path, "shared-account", message, mend, Severity.WARNING)

    def _problem(
        self, path: DocumentPath, code: str, message: str, mend: str, severity: Severity = Severity.ERROR
    ) -> Problem:
        return Problem(
            position=self._document.position(path),
            document_path=path_text(path),
            code=code,
            message=message,
            mend=mend,
            severity=severity,
        )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _folded(account: str) -> str:
    return account.casefold() if ":" in account else account
