"""What does the file of a ceremony say about the first trust root?

The file is for a team that meets once: everything in one place, to be read by all of them before anybody signs. It is
read strictly, and everything that is wrong is said at its line and column. Key files are named relative to the file.

Not here: whether what it says makes a valid root (`proof`), the words themselves (`_trust_edit`).
"""

from __future__ import annotations

import difflib
import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from opsascode.errors import OpsError, Position, UsageError
from opsascode.repo import InvalidDocumentsError, Problem, load_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from opsascode.cli._trust_edit import RootEditor
    from opsascode.repo import SourceDocument, Value

    Where = tuple[str | int, ...]

_TOP: Final = (
    "ref", "expires", "protected", "persons", "roles", "machines", "bridge", "witnesses", "rollback_window",
    "max_staleness",
)  # fmt: skip
_PERSON: Final = ("name", "keys", "emails", "accounts", "teams", "forge")
_ROLE: Final = ("persons", "threshold", "teams")
_MACHINE: Final = ("key", "roles")


def read_ceremony(path: Path, editor: RootEditor) -> None:
    """Take over everything a file says.

    Raises:
        InvalidDocumentsError: something in it cannot be used; it holds all of it.
        UsageError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    source = load_source(data, str(path))
    if source.problems:
        raise InvalidDocumentsError(source.problems)
    if len(source.documents) != 1:
        message, mend = "the file must hold one document", "write persons:, roles: and so on into one"
        at = Position(path=str(path))
        raise InvalidDocumentsError([Problem(position=at, code="document", message=message, mend=mend)])
    base, editor.base = editor.base, path.parent.absolute()
    ceremony = _Ceremony(source.documents[0], editor)
    ceremony.read()
    editor.base = base
    if ceremony.problems:
        raise InvalidDocumentsError(ceremony.problems, what="the ceremony cannot begin")


class _Ceremony:
    """Reads one document; whatever is wrong becomes a problem where it stands."""

    def __init__(self, document: SourceDocument, editor: RootEditor) -> None:
        self.problems: list[Problem] = []
        self._document, self._editor = document, editor

    def read(self) -> None:
        """Take persons first: the rest names them."""
        self._keys((), _TOP)
        for name, where in self._entries(("persons",)):
            self._person(name, where)
        for name, where in self._entries(("roles",)):
            self._role(name, where)
        for name, where in self._entries(("machines",)):
            self._machine(name, where)
        editor = self._editor
        for key, take in (
            ("ref", editor.ref),
            ("expires", editor.expires),
            ("rollback_window", editor.window),
            ("max_staleness", editor.staleness),
        ):
            if self._document.at((key,)) is not None:
                self._try((key,), take, self._text((key,)))
        if self._document.at(("protected",)) is not None:
            editor.root = replace(editor.root, protected=tuple(self._texts(("protected",))))
        for key, field in (("bridge", "bridge_most"), ("witnesses", "witness_quorum")):
            if self._document.at((key,)) is not None:
                editor.limits(**{field: self._integer((key,))})

    def _person(self, name: str, where: Where) -> None:
        self._keys(where, _PERSON)
        editor, found = self._editor, self._document
        editor.person(name)
        if found.at((*where, "name")) is not None:
            editor.person(name, name=self._text((*where, "name")))
        for part in ("emails", "accounts", "teams"):
            if found.at((*where, part)) is not None:
                editor.person(name, **{part: tuple(self._texts((*where, part)))})
        for forge, at in self._entries((*where, "forge")):
            self._try(at, functools.partial(editor.forge, name), f"{forge}:{self._integer(at)}")
        keys = found.at((*where, "keys"))
        for index, _ in enumerate(keys if isinstance(keys, list) else ()):
            at = (*where, "keys", index)
            self._try(at, functools.partial(editor.add_key, name), self._text(at))
        if keys is not None and not isinstance(keys, list):
            self._problem((*where, "keys"), "it must be a list of keys", "write keys: [alice.pub]")

    def _role(self, name: str, where: Where) -> None:
        self._keys(where, _ROLE)
        editor = self._editor
        persons = self._texts((*where, "persons"))
        self._try((*where, "persons"), functools.partial(editor.role, name), ",".join(persons))
        if not persons or editor.root.role(name) is None:
            self._problem(where, f"the role {name} has nobody", "write persons: [alice, bob]")
            return
        teams = self._integer((*where, "teams")) if self._document.at((*where, "teams")) is not None else 0
        if self._document.at((*where, "threshold")) is not None:
            number = self._integer((*where, "threshold"))
            editor.threshold(name, f"{max(number, 0)}/{max(teams, 0)}")
        elif teams:
            self._problem((*where, "teams"), "teams are only asked for beside a threshold", "write threshold: too")

    def _machine(self, name: str, where: Where) -> None:
        self._keys(where, _MACHINE)
        place, roles = self._text((*where, "key")), ",".join(self._texts((*where, "roles")))
        self._try((*where, "key"), functools.partial(self._editor.machine, name), f"{place}:{roles}")

    def _try(self, where: Where, take: Callable[[str], None], text: str) -> None:
        """Take a word; where it was no text there is a problem already."""
        if not text or self._document.is_unread(where):
            return
        try:
            take(text)
        except OpsError as error:
            self._problem(where, error.message, error.advice, code=str(getattr(error, "code", "ceremony")))

    def _entries(self, where: Where) -> Iterator[tuple[str, Where]]:
        found = self._document.at(where)
        if isinstance(found, dict):
            for name in found:
                yield name, (*where, name)
        elif found is not None:
            self._problem(where, "it must be a mapping", "write one «name: …» a line")

    def _keys(self, where: Where, known: tuple[str, ...]) -> None:
        found = self._document.at(where)
        if not isinstance(found, dict):
            self._problem(where, "it must be a mapping", f"it may have {', '.join(known)}")
            return
        for key in found:
            if key not in known:
                near = difflib.get_close_matches(key[:100], known, n=1)
                mend = f"did you mean «{near[0]}»?" if near else f"it may have {', '.join(known)}"
                position = self._document.key_position((*where, key))
                self._add(position, (*where, key), f"nothing here is called «{key[:60]}»", mend, "unknown-key")

    def _text(self, where: Where) -> str:
        found: Value = self._document.at(where)
        if isinstance(found, str) and found:
            return found
        self._problem(where, "it must be a text", "put it into quotes" if found is not None else "write it")
        return ""

    def _texts(self, where: Where) -> list[str]:
        found = self._document.at(where)
        if not isinstance(found, list):
            self._problem(where, "it must be a list", "write [one, two]")
            return []
        return [text for index, _ in enumerate(found) if (text := self._text((*where, index)))]

    def _integer(self, where: Where) -> int:
        found = self._document.at(where)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
        self._problem(where, "it must be an integer", "write a number without quotes")
        return 0

    def _problem(self, where: Where, message: str, mend: str, code: str = "ceremony") -> None:
        self._add(self._document.position(where), where, message, mend, code)

    def _add(self, position: Position, where: Where, message: str, mend: str, code: str) -> None:
        named = ".".join(str(each) for each in where)
        said = f"{named}: {message}" if named else message
        self.problems.append(Problem(position=position, code=code, message=said, mend=mend, document_path=named))
