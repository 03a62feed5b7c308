"""Which collections does an ops repository ask for, and each in which one version?

The files are Ansible's own: `requirements.yml` at the root, or in `collections/`. A run must use what was planned, so
each collection is written with one exact version, and comes from Galaxy or as an archive, never from a branch or URL.

Not here: finding, downloading and installing archives (`run`). Roles in these files are not installed by opsascode.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.repo._problem import Problem, Severity, quoted
from opsascode.repo._source import load_source
from opsascode.repo._walk import inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opsascode.errors import Position
    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument

REQUIREMENTS_FILES: Final = (
    "requirements.yml",
    "requirements.yaml",
    "collections/requirements.yml",
    "collections/requirements.yaml",
)
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*\Z")
_EXACT: Final = re.compile(r"(?:==)?\s*([0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?)\Z")
_PIN: Final = "write one exact version, such as «version: 1.2.3»"
_ARCHIVE: Final = "name the collection and its version, and put its archive into collections/archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedCollection:
    """A collection in exactly one version; `source` is a Galaxy server where one is named."""

    name: str
    version: str
    source: str = ""
    position: Position

    @property
    def archive(self) -> str:
        """The file name of its archive, as `ansible-galaxy` writes it."""
        return f"{self.name.replace('.', '-')}-{self.version}.tar.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionsWanted:
    """The collections a repository asks for, and what is wrong with how it asks."""

    collections: tuple[WantedCollection, ...] = ()
    problems: tuple[Problem, ...] = ()


def read_requirements(root: Path) -> CollectionsWanted:
    """Read the requirements files of a repository."""
    wanted: dict[str, WantedCollection] = {}
    problems: list[Problem] = []
    for name in REQUIREMENTS_FILES:
        if inside(root, name) is None or not (root / name).is_file():
            continue
        source = load_source((root / name).read_bytes(), name)
        problems += source.problems
        for each in (found for document in source.documents for found in _collections(document)):
            if isinstance(each, Problem):
                problems.append(each)
            elif (other := wanted.setdefault(each.name, each)).version != each.version:
                message = f"{each.name} is asked for in two versions: {other.version} and {each.version}"
                problems.append(_problem(each.position, message, f"write it once; the other is at {other.position}"))
    return CollectionsWanted(collections=tuple(wanted.values()), problems=tuple(problems))


def _collections(document: SourceDocument) -> Iterator[WantedCollection | Problem]:
    """Read one file; a list at its top is one of roles, as Ansible has it."""
    if document.at(("roles",)) or isinstance(document.value, list):
        yield Problem(
            position=document.position(("roles",)),
            code="requirements",
            message="roles of a requirements file are not installed for a run",
            mend="put the roles into the repository, or use a collection",
            severity=Severity.WARNING,
        )
    listed = document.at(("collections",))
    for number in range(len(listed) if isinstance(listed, list) else 0):
        yield _collection(document, ("collections", number))


def _collection(document: SourceDocument, where: DocumentPath) -> WantedCollection | Problem:
    entry, position = document.at(where), document.position(where)
    if isinstance(entry, str):
        name, _, version = entry.partition(":")
        entry = {"name": name, "version": version}
    if not isinstance(entry, dict):
        return _problem(position, "this is no collection", "write «name: NAMESPACE.NAME» and «version: 1.2.3»")
    name, version = str(entry.get("name", "")), str(entry.get("version", ""))
    if str(entry.get("type") or "galaxy") != "galaxy" or not _NAME.match(name):
        return _problem(position, f"{quoted(name)} is no collection that can be pinned", _ARCHIVE)
    exact = _EXACT.match(version.strip())
    if not exact:
        said = f"says {quoted(version)}" if version else "says no version"
        return _problem(position, f"{name} {said}: two runs of one plan could use different code", _PIN)
    return WantedCollection(name=name, version=exact[1], source=str(entry.get("source") or ""), position=position)


def _problem(position: Position, message: str, mend: str) -> Problem:
    return Problem(position=position, code="requirements", message=message, mend=mend)
