"""Do the documents of a repository agree with each other, and with the files they name?

Names that two documents share, documents in the wrong folder; playbooks, roles and paths that are missing or lie
outside the repository.

Not here: anything within one file (`_analysis`); those answers are cached, these are found anew each time. How runbooks
compose runbooks (`_composition`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from opsascode.repo._documents import Kind
from opsascode.repo._facts import SERVICE
from opsascode.repo._problem import Problem, did_you_mean, quoted
from opsascode.repo._walk import PACK_FILE, POLICIES, RUNBOOKS, SETTINGS_FILE, inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from opsascode.repo._documents import Settings
    from opsascode.repo._facts import ContentUse, DocumentFacts

ROLE_DIRECTORIES = ("playbooks/ansible/roles", "playbooks/roles", "roles")
Located = tuple[str, "DocumentFacts"]
_FOLDERS = {
    Kind.RUNBOOK.value: RUNBOOKS,
    Kind.GUARDRAIL.value: POLICIES,
    Kind.RELIABILITY_POLICY.value: POLICIES,
    Kind.CALENDAR.value: POLICIES,
    Kind.SEVERITY_SCHEME.value: POLICIES,
}
_FILES = {Kind.REPOSITORY.value: SETTINGS_FILE, Kind.POLICY_PACK.value: PACK_FILE}


def cross_check(located: Iterable[Located], root: Path, settings: Settings) -> Iterator[Problem]:
    """Find everything wrong between the documents given by path, and between them and the repository's files."""
    documents = list(located)
    runbooks: dict[str, DocumentFacts] = {}
    for _, facts in documents:
        if facts.kind == Kind.RUNBOOK.value:
            runbooks.setdefault(facts.name, facts)
    yield from policy_problems(documents)
    yield from _services(documents)
    if any(facts.runbooks for _, facts in documents):
        from opsascode.repo._composition import composition_problems  # noqa: PLC0415 - settings do without

        yield from composition_problems(documents, runbooks)
    for path, facts in documents:
        for content in facts.content:
            yield from _content(path, content, root, settings)


def pack_problems(located: Iterable[Located]) -> Iterator[Problem]:
    """Find everything wrong between documents themselves: shared names, and places where nobody looks for them."""
    documents = list(located)
    yield from _shared_names(documents)
    yield from _one_pack(documents)
    for path, facts in documents:
        yield from _folder(path, facts)


def policy_problems(located: Iterable[Located]) -> Iterator[Problem]:
    """Find everything wrong between all documents of `policies/`: also calendars that are named and missing."""
    documents = list(located)
    yield from pack_problems(documents)
    known = {facts.name for _, facts in documents if facts.kind == Kind.CALENDAR.value}
    for path, facts in documents:
        for use in facts.names:
            if use.kind == Kind.CALENDAR.value and use.name not in known:
                mend = did_you_mean(use.name, known) or "write the metadata.name of a Calendar below policies/"
                message = f"there is no calendar {quoted(use.name)}"
                yield use.place.problem(path, "unknown-calendar", message, mend)


def _services(documents: list[Located]) -> Iterator[Problem]:
    """Report services whose budget a rule asks for, and which no reliability policy is about."""
    known = {facts.service for _, facts in documents if facts.kind == Kind.RELIABILITY_POLICY.value}
    for path, facts in documents:
        for use in facts.names:
            if use.kind == SERVICE and use.name not in known:
                mend = did_you_mean(use.name, known) or "write a ReliabilityPolicy for it"
                message = f"no reliability policy is about the service {quoted(use.name)}"
                yield use.place.problem(path, "unknown-service", message, mend)


def _shared_names(documents: list[Located]) -> Iterator[Problem]:
    """Report a name at every document that has it."""
    places: dict[tuple[str, str], list[Located]] = {}
    for path, facts in documents:
        places.setdefault((facts.kind, facts.name), []).append((path, facts))
    for (kind, name), same in places.items():
        if len(same) == 1 or kind in _FILES:
            continue
        for path, facts in same:
            others = ", ".join(f"{each}:{other.place.line}" for each, other in same if other is not facts)
            message = f"the name {quoted(name)} is also that of another {kind}: {others}"
            yield facts.place.problem(path, "shared-name", message, "rename one of them")


def _one_pack(documents: list[Located]) -> Iterator[Problem]:
    """Report every policy pack after the first of a file: two names for one set of policies."""
    packs = [(path, facts) for path, facts in documents if facts.kind == Kind.POLICY_PACK.value and path == PACK_FILE]
    for path, facts in packs[1:]:
        message = f"{PACK_FILE} holds {len(packs)} policy packs; there is one set of policies, so one pack"
        yield facts.place.problem(path, "shared-name", message, "join them into one document")


def _folder(path: str, facts: DocumentFacts) -> Iterator[Problem]:
    """Report a document where nobody looks for its kind."""
    if facts.kind in _FILES:
        place = _FILES[facts.kind]
        if path != place:
            what = "settings are only read from" if place == SETTINGS_FILE else "a PolicyPack is only read from"
            message = f"{what} {place}" + (" at the root" if "/" not in place else "; here it has no effect")
            yield facts.place.problem(path, "wrong-folder", message, "move it there or delete it")
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
