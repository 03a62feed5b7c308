"""Do the documents of a repository agree with each other, and with the files they name?

Names that two documents share, documents in the wrong folder; playbooks, roles and paths that are missing or lie
outside the repository.

Not here: anything within one file (`_analysis`); those answers are cached, these are found anew each time. How runbooks
compose runbooks (`_composition`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from opsascode.repo._composition import composition_problems
from opsascode.repo._documents import Kind
from opsascode.repo._problem import Problem, did_you_mean, quoted
from opsascode.repo._walk import PEOPLE_FILE, POLICIES, RUNBOOKS, SETTINGS_FILE, inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from opsascode.repo._documents import Settings
    from opsascode.repo._facts import ContentUse, DocumentFacts

ROLE_DIRECTORIES = ("playbooks/ansible/roles", "playbooks/roles", "roles")
Located = tuple[str, "DocumentFacts"]
_FOLDERS = {Kind.RUNBOOK.value: RUNBOOKS, Kind.GUARDRAIL.value: POLICIES}


def cross_check(located: Iterable[Located], root: Path, settings: Settings) -> Iterator[Problem]:
    """Find everything wrong between the documents given by path, and between them and the repository's files."""
    documents = list(located)
    runbooks: dict[str, DocumentFacts] = {}
    for _, facts in documents:
        if facts.kind == Kind.RUNBOOK.value:
            runbooks.setdefault(facts.name, facts)
    yield from _shared_names(documents)
    yield from composition_problems(documents, runbooks)
    for path, facts in documents:
        yield from _folder(path, facts)
        for content in facts.content:
            yield from _content(path, content, root, settings)


def _shared_names(documents: list[Located]) -> Iterator[Problem]:
    """Report a name at every document that has it."""
    places: dict[tuple[str, str], list[Located]] = {}
    for path, facts in documents:
        places.setdefault((facts.kind, facts.name), []).append((path, facts))
    for (kind, name), same in places.items():
        if len(same) == 1 or kind == Kind.REPOSITORY.value:
            continue
        for path, facts in same:
            others = ", ".join(f"{each}:{other.place.line}" for each, other in same if other is not facts)
            message = f"the name {quoted(name)} is also that of another {kind}: {others}"
            yield facts.place.problem(path, "shared-name", message, "rename one of them")


def _folder(path: str, facts: DocumentFacts) -> Iterator[Problem]:
    """Report a document where nobody looks for its kind."""
    if facts.kind == Kind.REPOSITORY.value:
        if path != SETTINGS_FILE:
            message = f"settings are only read from {SETTINGS_FILE} at the root"
            yield facts.place.problem(path, "wrong-folder", message, "move it there or delete it")
        return
    if facts.kind == Kind.PEOPLE.value:
        if path != PEOPLE_FILE:
            message = f"people are only read from {PEOPLE_FILE}; here they have no effect"
            yield facts.place.problem(path, "wrong-folder", message, f"move them to {PEOPLE_FILE}")
        return
    folder = _FOLDERS[facts.kind]
    if not path.startswith(f"{folder}/"):
        message = f"a {facts.kind} is only read from {folder}/; here it has no effect"
        yield facts.place.problem(path, "wrong-folder", message, f"move it to {folder}/")


def _content(path: str, use: ContentUse, root: Path, settings: Settings) -> Iterator[Problem]:
    """Look for a file or directory that a document names."""
    if use.kind == "role":
        yield from _role(path, use, root, settings)
        return
    real = inside(root, use.name)
    if real is None:
        message = f"{quoted(use.name)} leads out of the repository"
        yield use.place.problem(path, "outside", message, "write a path from the repository's root")
    elif use.kind == "playbook" and not real.is_file():
        mend = did_you_mean(use.name, _playbooks(root, use.name)) or "write its path from the repository's root"
        yield use.place.problem(path, "missing-file", f"there is no playbook {quoted(use.name)}", mend)
    elif not real.exists():
        yield use.place.problem(
            path, "missing-file", f"{quoted(use.name)} does not exist", "write a path from the repository's root"
        )


def _playbooks(root: Path, name: str) -> list[str]:
    """List the playbooks that might be meant: those beside the missing one, and the usual place."""
    found: list[str] = []
    for folder in {os.path.dirname(name), "playbooks/ansible"}:  # noqa: PTH120 - relative text on purpose
        real = inside(root, folder)
        if real is not None and real.is_dir():
            found += [f"{folder}/{each.name}" for each in real.iterdir() if each.suffix in {".yml", ".yaml"}]
    return found


def _role(path: str, use: ContentUse, root: Path, settings: Settings) -> Iterator[Problem]:
    known: list[str] = []
    for folder in (*ROLE_DIRECTORIES, *settings.roles_path):
        place = inside(root, folder)
        if place is None or not place.is_dir():
            continue
        if (place / use.name).is_dir():
            if inside(root, f"{folder}/{use.name}") is None:
                message = f"the role {quoted(use.name)} lies outside the repository, behind a symbolic link"
                yield use.place.problem(path, "outside", message, "put the role itself here")
            return
        known += [each.name for each in place.iterdir() if each.is_dir()]
    message = f"there is no role {quoted(use.name)} in {', '.join((*ROLE_DIRECTORIES, *settings.roles_path))}"
    mend = did_you_mean(use.name, known) or "add it, or write the full name of a collection's role"
    yield use.place.problem(path, "missing-role", message, mend)
