"""Do the documents of a repository agree with each other, and with the files they name?

Names that two documents share, documents in the wrong folder, runbooks that compose what does not exist, what does not
fit its parameters, or themselves; playbooks, roles and paths that are missing or lie outside the repository.

Not here: anything within one file (`_analysis`); those answers are cached, these are found anew each time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from opsascode.repo._build import build_limits
from opsascode.repo._documents import Kind
from opsascode.repo._expressions import is_template
from opsascode.repo._parameter import ParameterType
from opsascode.repo._problem import Problem, did_you_mean, quoted
from opsascode.repo._walk import POLICIES, RUNBOOKS, SETTINGS_FILE, inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from opsascode.repo._documents import Settings
    from opsascode.repo._facts import ContentUse, DocumentFacts, RunbookUse

MAX_COMPOSITION = 8
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
    heights = _Heights(runbooks)
    for path, facts in documents:
        yield from _folder(path, facts)
        for use in facts.runbooks:
            yield from _composition(path, facts, use, runbooks, heights)
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
    folder = _FOLDERS[facts.kind]
    if not path.startswith(f"{folder}/"):
        message = f"a {facts.kind} is only read from {folder}/; here it has no effect"
        yield facts.place.problem(path, "wrong-folder", message, f"move it to {folder}/")


def _composition(
    path: str, facts: DocumentFacts, use: RunbookUse, runbooks: Mapping[str, DocumentFacts], heights: _Heights
) -> Iterator[Problem]:
    """Judge one step that runs another runbook."""
    target = runbooks.get(use.name)
    if target is None:
        mend = did_you_mean(use.name, runbooks) or "write the metadata.name of a runbook below playbooks/"
        yield use.place.problem(path, "unknown-runbook", f"there is no runbook {quoted(use.name)}", mend)
        return
    cycle = heights.cycle(facts.name, use.name)
    if cycle:
        message = f"the runbook runs itself: {' → '.join(cycle)}"
        yield use.place.problem(path, "cycle", message, "break the circle")
    elif heights.below(use.name) >= MAX_COMPOSITION:
        message = f"runbooks compose runbooks more than {MAX_COMPOSITION} deep here"
        yield use.place.problem(path, "too-deep", message, "flatten the composition")
    yield from _values(path, use, target)


def _values(path: str, use: RunbookUse, target: DocumentFacts) -> Iterator[Problem]:
    """Hold what `with` gives against the parameters of the other runbook."""
    given = {key for key, _, _ in use.values}
    for key, value, place in use.values:
        schema = target.parameters.get(key)
        if schema is None:
            message = f"the runbook {quoted(use.name)} has no parameter {quoted(key)}"
            mend = did_you_mean(key, target.parameters) or "delete it"
            yield place.problem(path, "unknown-parameter", message, mend)
        elif isinstance(schema, dict):
            for message, mend in _value_faults(key, value, schema):
                yield place.problem(path, "wrong-parameter", message, mend)
    for key, schema in target.parameters.items():
        if isinstance(schema, dict) and "default" not in schema and key not in given:
            message = f"the runbook {quoted(use.name)} needs its parameter {quoted(key)}"
            yield use.place.problem(path, "missing-parameter", message, f"write with: {{{key}: …}}")


def _value_faults(key: str, value: Any, schema: dict[str, Any]) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - any plain value
    if isinstance(value, str) and is_template(value):
        return
    if schema.get("secret") is True:
        yield f"the secret {quoted(key)} has its value in the document", 'pass on a secret parameter: "{{ name }}"'
        return
    try:
        limits = build_limits(schema)
        if (
            limits.type is ParameterType.ARRAY
            and isinstance(value, list)
            and any(_has_template(each) for each in value)
        ):
            return
        faults = list(limits.faults(value))
    except (KeyError, TypeError, ValueError):
        return  # the other document is told what is wrong with its schema
    for fault in faults:
        yield f"{quoted(key)}: {fault}", ""


def _has_template(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, str) and is_template(value)


class _Heights:
    """How runbooks compose: circles, and how many levels lie below each; each runbook is walked once."""

    def __init__(self, runbooks: Mapping[str, DocumentFacts]) -> None:
        self._next = {
            name: [use.name for use in facts.runbooks if use.name in runbooks] for name, facts in runbooks.items()
        }
        self._below: dict[str, int] = {}

    def cycle(self, start: str, first: str) -> list[str]:
        """Give the names on a way from a runbook through its composed one back to itself, if there is one."""
        came = {first: ""}
        pending = [first]
        while pending and start not in came:
            name = pending.pop(0)
            for other in self._next.get(name, ()):
                if other not in came:
                    came[other] = name
                    pending.append(other)
        if start not in came:
            return []
        way, name = [start], came[start]
        while name:
            way.append(name)
            name = came[name]
        return [start, *reversed(way)]

    def below(self, name: str) -> int:
        """Count the levels from this runbook down, itself included; circles count to the limit."""
        stack = [name]
        visiting: set[str] = set()
        while stack:
            here = stack[-1]
            waiting = [each for each in self._next.get(here, ()) if each not in self._below]
            if here in self._below:
                stack.pop()
            elif waiting and here not in visiting:
                visiting.add(here)
                stack.extend(waiting)
            else:
                levels = [self._below.get(each, MAX_COMPOSITION) for each in self._next.get(here, ())]
                self._below[here] = 1 + max(levels, default=0)
                stack.pop()
        return self._below[name]


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
