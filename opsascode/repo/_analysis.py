"""What is known of a file from its bytes alone?

Everything a check finds in one file without looking at another: YAML, schema, rules; and the facts others need. Equal
bytes give equal answers, which is what lets a cache keep them.

Not here: the cache (`_check`), other files (`_crosscheck`).
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opsascode import __version__
from opsascode.repo._documents import Kind
from opsascode.repo._facts import ContentUse, DocumentFacts, FileFacts, NameUse, Place, RunbookUse
from opsascode.repo._names import builtin_modules
from opsascode.repo._problem import Problem, in_order
from opsascode.repo._schema import kind_of, schema_digest, schema_problems
from opsascode.repo._source import load_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument


def analyse(data: bytes, path: str) -> FileFacts:
    """Find everything wrong within one file, and note its documents' facts."""
    source = load_source(data, path)
    problems = list(source.problems)
    documents: list[DocumentFacts] = []
    refused = {each.position for each in source.problems if each.code == "number"}  # nor is what stands there a text
    for document in source.documents:
        problems += [each for each in schema_problems(document) if each.position not in refused]
        facts, found = _judge(document, data)
        problems += found
        if facts is not None:
            documents.append(facts)
    return FileFacts(documents=tuple(documents), problems=in_order(problems))


@cache
def analysis_key() -> str:
    """Name all but a file's bytes that an analysis depends on: this code, the schemas, Ansible's modules, CEL."""
    cel = find_spec("cel_expr_python") is not None
    digest = hashlib.sha256(f"{__version__} {sys.version_info[:3]} {schema_digest()} {cel}".encode())
    digest.update(" ".join(sorted(builtin_modules())).encode())
    here = Path(__file__).parent
    for name in sorted(os.listdir(here)):  # noqa: PTH208 - names are enough
        if name.endswith(".py"):
            digest.update((here / name).read_bytes())
    return digest.hexdigest()


def _judge(document: SourceDocument, data: bytes) -> tuple[DocumentFacts | None, list[Problem]]:
    kind = kind_of(document)
    if kind is None:
        return None, []
    if kind is Kind.RUNBOOK:
        from opsascode.repo._rules import runbook_facts  # noqa: PLC0415 - settings and guardrails do without

        return runbook_facts(document)
    if kind is Kind.RELIABILITY_POLICY:
        from opsascode.repo._reliability_rules import reliability_facts  # noqa: PLC0415 - likewise

        return reliability_facts(document)
    problems = list(_policy_problems(document, kind, data))
    name = document.at(("metadata", "name"))
    if not isinstance(name, str):
        return None, problems
    place = Place.of_value(document, ("metadata", "name"))
    content = tuple(_paths(document)) if kind is Kind.REPOSITORY else ()
    runbooks = tuple(_enforcing(document)) if kind is Kind.POLICY_PACK else ()
    names = _names(document) if kind is Kind.GUARDRAIL else ()
    facts = DocumentFacts(kind=kind.value, name=name, place=place, content=content, runbooks=runbooks, names=names)
    return facts, problems


def _policy_problems(document: SourceDocument, kind: Kind, data: bytes) -> Iterable[Problem]:
    """Find what is wrong within a document that no schema can say; each room is entered only where it is needed."""
    if kind is Kind.GUARDRAIL:
        from opsascode.repo._guardrail_rules import guardrail_problems  # noqa: PLC0415 - see above

        return guardrail_problems(document, data)
    if kind is Kind.CALENDAR:
        from opsascode.repo._calendar_rules import calendar_problems  # noqa: PLC0415 - see above

        return calendar_problems(document, data)
    if kind is Kind.SEVERITY_SCHEME:
        from opsascode.repo._reliability_rules import severity_problems  # noqa: PLC0415 - see above

        return severity_problems(document)
    if kind is Kind.REPOSITORY and document.at(("spec", "prometheus")) is not None:
        from opsascode.repo._prometheus_rules import prometheus_problems  # noqa: PLC0415 - see above

        return prometheus_problems(document)
    return ()


def _names(document: SourceDocument) -> tuple[NameUse, ...]:
    """Give what a guardrail's rules name."""
    if document.at(("spec", "rules")) is None:
        return ()
    from opsascode.repo._reliability_rules import guardrail_names  # noqa: PLC0415 - only rules name other documents

    return tuple(guardrail_names(document))


def _enforcing(document: SourceDocument) -> Iterator[RunbookUse]:
    """Give the runbook that enforces a policy pack, and what it is told."""
    where: DocumentPath = ("spec", "enforce")
    enforce: Any = document.at(where)
    name = enforce.get("runbook") if isinstance(enforce, dict) else None
    if isinstance(name, str):
        given = enforce.get("parameters")
        yield RunbookUse(
            name,
            Place.of_value(document, (*where, "runbook")),
            tuple(
                (key, value, Place.of_key(document, (*where, "parameters", key)))
                for key, value in (given if isinstance(given, dict) else {}).items()
            ),
        )


def _paths(document: SourceDocument) -> list[ContentUse]:
    """List the paths that the repository's settings name."""
    uses: list[ContentUse] = []
    for key in ("inventory", "roles_path", "collections_path"):
        written: Any = document.at(("spec", key))
        if isinstance(written, str):
            uses.append(ContentUse(key, written, Place.of_value(document, ("spec", key))))
        for index, each in enumerate(written if isinstance(written, list) else ()):
            if isinstance(each, str):
                uses.append(ContentUse(key, each, Place.of_value(document, ("spec", key, index))))
    return uses
