"""What do all documents of a repository say, read at once?

For whoever holds documents together that a check has found valid: they are built, not judged again.

Not here: whether they are valid (`_check`), one document by its name (`_repository`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.repo._build import build_runbook
from opsascode.repo._documents import Kind, Source
from opsascode.repo._policies import Policies, build_policies
from opsascode.repo._problem import InvalidDocumentsError, Problem
from opsascode.repo._schema import kind_of
from opsascode.repo._source import load_source
from opsascode.repo._walk import POLICIES, RUNBOOKS, SETTINGS_FILE, find_documents, read_document

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opsascode.repo._documents import Runbook
    from opsascode.repo._repository import Repository
    from opsascode.repo._source import SourceDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """All policies and runbooks, in the order of their files."""

    policies: Policies
    runbooks: tuple[Runbook, ...]


def whole_of(repository: Repository) -> Whole:
    """Read everything; only for a repository without errors.

    Raises:
        InvalidDocumentsError: a file cannot be read any more.
    """
    root = repository.root
    runbooks = _documents(root, RUNBOOKS)
    return Whole(
        policies=build_policies(_documents(root, POLICIES)),
        runbooks=tuple(build_runbook(each, source) for each, source in runbooks if kind_of(each) is Kind.RUNBOOK),
    )


def _documents(root: Path, folder: str) -> Iterator[tuple[SourceDocument, Source]]:
    for path in sorted(find_documents(root, (folder,)).paths - {SETTINGS_FILE}):
        data = read_document(root, path)
        if isinstance(data, Problem):
            raise InvalidDocumentsError([data])
        source = Source.of(path, data)
        for document in load_source(data, path).documents:
            yield document, source
