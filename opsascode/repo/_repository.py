"""Where does the ops repository start, and what does one of its documents say?

`open_repository` finds the root and reads the settings; `Repository` reads documents as they are asked for, so that
running one runbook reads few files. What it returns is valid: by schema, by rules, and against the documents and files
it names. Everything read lies inside the root; no symbolic link leads out of it.

Not here: checking all documents (`_check`), the inventory, Git's state (rooms of their own).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opsascode.errors import Position, UsageError
from opsascode.repo._analysis import analyse
from opsascode.repo._documents import Kind, Runbook, Settings, Source
from opsascode.repo._problem import InvalidDocumentsError, Problem, did_you_mean, errors_among, in_order, quoted
from opsascode.repo._schema import kind_of
from opsascode.repo._settings import build_settings
from opsascode.repo._source import load_source
from opsascode.repo._walk import (
    POLICIES,
    RUNBOOKS,
    SETTINGS_FILE,
    find_documents,
    inside,
    read_document,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.repo._facts import FileFacts
    from opsascode.repo._git import GitState
    from opsascode.repo._policies import Policies
    from opsascode.repo._source import SourceDocument

Read = dict[str, tuple[bytes, "FileFacts"]]  # files read for one question, by their paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """An ops repository: its root (an absolute path without links) and settings."""

    root: Path
    settings: Settings

    @property
    def git(self) -> GitState:
        """What Git says of the working tree now; asked anew each time."""
        from opsascode.repo._git import git_state  # noqa: PLC0415 - starts a process, which few questions need

        return git_state(self.root)

    def runbook(self, name_or_path: str) -> Runbook:
        """Give a valid runbook by its name, or by the path of its file.

        A path is taken from the current directory, then from the root. Only the files this runbook needs are read.

        Raises:
            InvalidDocumentsError: the runbook, or one it composes, has problems; it holds all of them.
            UsageError: there is no such runbook.
        """
        from opsascode.repo._build import build_runbook  # noqa: PLC0415 - settings alone do not need it
        from opsascode.repo._crosscheck import cross_check  # noqa: PLC0415 - likewise

        path = self._path_of(name_or_path)
        read: Read = {}
        if path is None:
            paths = self._find(name_or_path)
            if not paths:
                raise self._unknown(name_or_path)
            name = name_or_path
        else:
            paths = [path]
            name = self._name_in(path)
        self._read_closure(paths, name, read)
        problems = [problem for _, facts in read.values() for problem in facts.problems]
        located = [(path, document) for path, (_, facts) in read.items() for document in facts.documents]
        problems += cross_check(located, self.root, self.settings)
        if errors_among(problems):
            raise InvalidDocumentsError(
                in_order(errors_among(problems)), what=f"the runbook {quoted(name)} cannot be used"
            )
        data, _ = read[paths[0]]
        document = self._document(data, paths[0], name)
        return build_runbook(document, Source.of(paths[0], data))

    def policies(self) -> Policies:
        """Give all policies, in the order of their files.

        Raises:
            InvalidDocumentsError: any document in `policies/` has problems, as it might be the one that matters.
        """
        from opsascode.repo._crosscheck import policy_problems  # noqa: PLC0415 - settings alone do not need it
        from opsascode.repo._policies import build_policies  # noqa: PLC0415 - likewise

        found = find_documents(self.root, (POLICIES,))
        problems = list(found.problems)
        documents: list[tuple[SourceDocument, Source]] = []
        located = []
        for path in sorted(found.paths - {SETTINGS_FILE}):
            data = self._bytes(path)
            facts = analyse(data, path)
            problems += facts.problems
            located += [(path, document) for document in facts.documents]
            if not errors_among(facts.problems):
                source = Source.of(path, data)
                documents += [(each, source) for each in load_source(data, path).documents]
        problems += policy_problems(located)
        if errors_among(problems):
            raise InvalidDocumentsError(in_order(errors_among(problems)), what="the policies cannot be used")
        return build_policies(documents)

    def runbook_names(self) -> tuple[str, ...]:
        """Give the names of all runbooks that can be read, in order."""
        names = {name for path, data in self._runbook_files() for name in _names(data, path)}
        return tuple(sorted(names))

    def _bytes(self, path: str) -> bytes:
        data = read_document(self.root, path)
        if isinstance(data, Problem):
            raise InvalidDocumentsError([data])
        return data

    def _runbook_files(self) -> Iterator[tuple[str, bytes]]:
        """Give every file of runbooks that can be read; one that cannot is no reason to refuse another."""
        for path in sorted(find_documents(self.root, (RUNBOOKS,)).paths - {SETTINGS_FILE}):
            data = read_document(self.root, path)
            if isinstance(data, bytes):
                yield path, data

    def _path_of(self, text: str) -> str | None:
        """Take a text for a path when it looks like one, and give it relative to the root."""
        if "/" not in text and not text.endswith((".yml", ".yaml")):
            return None
        for base in (Path.cwd(), self.root) if "\0" not in text else ():
            candidate = Path(os.path.realpath(base / text))
            if candidate.is_relative_to(self.root) and candidate.is_file():
                return candidate.relative_to(self.root).as_posix()
        msg = f"there is no runbook file {quoted(text)} in the repository {self.root}"
        raise UsageError(msg, advice="write the runbook's name, or its path")

    def _find(self, name: str) -> list[str]:
        """Find the files that hold a runbook of this name: first where it most likely is, then everywhere."""
        for likely in (f"{RUNBOOKS}/{name}.yml", f"{RUNBOOKS}/{name}.yaml"):
            if (
                inside(self.root, likely) is not None
                and (self.root / likely).is_file()
                and name in _names(self._bytes(likely), likely)
            ):
                return [likely]
        word = name.encode(errors="surrogateescape")
        return [path for path, data in self._runbook_files() if word in data and name in _names(data, path)]

    def _unknown(self, name: str) -> UsageError | InvalidDocumentsError:
        likely = f"{RUNBOOKS}/{name}.yml"
        if inside(self.root, likely) is not None and (self.root / likely).is_file():
            problems = errors_among(analyse(self._bytes(likely), likely).problems)
            if problems:
                return InvalidDocumentsError(problems, what=f"the runbook {quoted(name)} cannot be used")
        names = self.runbook_names()
        advice = did_you_mean(name, names) or ("see playbooks/ for their names" if names else "write one in playbooks/")
        return UsageError(f"there is no runbook {quoted(name)}", advice=advice)

    def _name_in(self, path: str) -> str:
        """Give the name of the one runbook in a file."""
        data = self._bytes(path)
        names = _names(data, path)
        if len(names) == 1:
            return names[0]
        problems = errors_among(analyse(data, path).problems)
        if problems:
            raise InvalidDocumentsError(problems)
        raise UsageError(
            f"{path} holds {len(names)} runbooks", advice=f"write one's name: {', '.join(names) or 'none'}"
        )

    def _read_closure(self, paths: list[str], name: str, read: Read) -> None:
        """Read the files of a runbook and of all it composes; a name nobody has is left to the cross-check."""
        pending, seen = [(name, paths)], {name}
        while pending:
            name, paths = pending.pop()
            for path in paths:
                if path not in read:
                    data = self._bytes(path)
                    read[path] = data, analyse(data, path)
            for path in paths:
                for facts in read[path][1].documents:
                    if facts.name != name:
                        continue
                    for use in facts.runbooks:
                        if use.name not in seen:
                            seen.add(use.name)
                            pending.append((use.name, self._find(use.name)))

    def _document(self, data: bytes, path: str, name: str) -> SourceDocument:
        for document in load_source(data, path).documents:
            if kind_of(document) is Kind.RUNBOOK and document.at(("metadata", "name")) == name:
                return document
        msg = f"{path} changed while it was read"
        raise UsageError(msg, advice="try again")


def open_repository(directory: Path, *, tolerant: bool = False) -> Repository:
    """Open the ops repository around a directory.

    Its root is the nearest directory upwards with an `opsascode.yml`, else the top of the Git working tree, else the
    directory itself. Whoever is going to check all documents anyway opens it `tolerant`: settings with problems then
    count as not written, and the check reports them among all others.

    Raises:
        InvalidDocumentsError: `opsascode.yml` has problems.
        UsageError: the directory does not exist.
    """
    start = Path(os.path.realpath(directory))
    if not start.is_dir():
        msg = f"there is no directory {quoted(str(directory))}"
        raise UsageError(msg)
    upwards = (start, *start.parents)
    root = next((each for each in upwards if os.path.lexists(each / SETTINGS_FILE)), None)
    if root is None:
        root = next((each for each in upwards if (each / ".git").exists()), start)
        return Repository(root=root, settings=Settings())
    try:
        return Repository(root=root, settings=_settings(root))
    except InvalidDocumentsError:
        if not tolerant:
            raise
        return Repository(root=root, settings=Settings())


def _settings(root: Path) -> Settings:
    data = read_document(root, SETTINGS_FILE)
    if isinstance(data, Problem):
        raise InvalidDocumentsError([data])
    facts = analyse(data, SETTINGS_FILE)
    from opsascode.repo._crosscheck import cross_check  # noqa: PLC0415 - as above

    led_out = cross_check([(SETTINGS_FILE, each) for each in facts.documents], root, Settings())
    problems = errors_among([*facts.problems, *(problem for problem in led_out if problem.code == "outside")])
    documents = load_source(data, SETTINGS_FILE).documents
    if not problems and (len(documents) != 1 or kind_of(documents[0]) is not Kind.REPOSITORY):
        message, mend = f"{SETTINGS_FILE} must hold one document of kind Repository", "write kind: Repository"
        problems = (Problem(position=Position(path=SETTINGS_FILE), code="wrong-folder", message=message, mend=mend),)
    if problems:
        raise InvalidDocumentsError(problems)
    return build_settings(documents[0], Source.of(SETTINGS_FILE, data))


def _names(data: bytes, path: str) -> list[str]:
    """Give the names of the runbooks in a file, as far as they can be read."""
    names = [
        each.at(("metadata", "name")) for each in load_source(data, path).documents if kind_of(each) is Kind.RUNBOOK
    ]
    return [name for name in names if isinstance(name, str)]
