"""What is wrong within one reliability policy or severity scheme, that no schema can say?

Beside problems there are facts here: the calendars, runbooks and services that such a document names.

Not here: the single rules of a policy (`_promise_rules`, `_reaction_rules`), whether what is named exists
(`_crosscheck`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._documents import Kind
from opsascode.repo._facts import SERVICE, DocumentFacts, NameUse, Place, RunbookUse
from opsascode.repo._problem import Problem, path_text, quoted
from opsascode.repo._promise_rules import duration, mapping, promise_faults
from opsascode.repo._reaction_rules import reaction_faults, sequence
from opsascode.repo._task_rules import Fault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument

_RUNBOOK: Final = "runbook:"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}\Z")  # anything else is a problem of its own


def reliability_facts(document: SourceDocument) -> tuple[DocumentFacts | None, list[Problem]]:
    """Judge one reliability policy, and note what it names."""
    spec = mapping(document.at(("spec",)))
    problems = list(_problems(document, [*promise_faults(spec), *reaction_faults(spec)]))
    name = document.at(("metadata", "name"))
    if not isinstance(name, str):
        return None, problems
    service = spec.get("service", name)
    facts = DocumentFacts(
        kind=Kind.RELIABILITY_POLICY.value,
        name=name,
        place=Place.of_value(document, ("metadata", "name")),
        runbooks=tuple(_runbooks(document, spec)),
        names=tuple(_calendars(document, ("spec", "gate", "freeze"))),
        service=service if isinstance(service, str) else "",
    )
    return facts, problems


def severity_problems(document: SourceDocument) -> list[Problem]:
    """Find what is wrong with a severity scheme by itself."""
    return list(_problems(document, _severity_faults(sequence(document.at(("spec", "levels"))))))


def guardrail_names(document: SourceDocument) -> Iterator[NameUse]:
    """Give the calendars and services that a guardrail's rules name."""
    for index, rule in enumerate(sequence(document.at(("spec", "rules")))):
        when = mapping(mapping(rule).get("when"))
        where: DocumentPath = ("spec", "rules", index, "when")
        for key in ("during", "outside"):
            yield from _calendars(document, (*where, key))
        service = mapping(when.get("budget")).get("service")
        if isinstance(service, str):
            yield NameUse(SERVICE, service, Place.of_value(document, (*where, "budget", "service")))


def _problems(document: SourceDocument, faults: Iterable[Fault], base: DocumentPath = ("spec",)) -> Iterator[Problem]:
    for fault in faults:
        path = (*base, *fault.path)
        if document.is_unread(path):
            continue
        position = document.key_position(path) if fault.at_key else document.position(path)
        where = path_text(path)
        yield Problem(position=position, document_path=where, code=fault.code, message=fault.message, mend=fault.mend)


def _runbooks(document: SourceDocument, spec: dict[str, Any]) -> Iterator[RunbookUse]:
    """Give the runbooks that the chain triggers and remediation starts, with what they are told."""
    for index, step in enumerate(sequence(spec.get("escalation_chain"))):
        trigger = mapping(step).get("trigger")
        if isinstance(trigger, str) and trigger.startswith(_RUNBOOK) and _NAME.match(trigger.removeprefix(_RUNBOOK)):
            place = Place.of_value(document, ("spec", "escalation_chain", index, "trigger"))
            yield RunbookUse(trigger.removeprefix(_RUNBOOK), place, ())
    for index, each in enumerate(sequence(spec.get("remediation"))):
        where: DocumentPath = ("spec", "remediation", index)
        name = mapping(each).get("runbook")
        if isinstance(name, str) and _NAME.match(name):
            given = mapping(mapping(each).get("with"))
            values = tuple((key, value, Place.of_key(document, (*where, "with", key))) for key, value in given.items())
            yield RunbookUse(name, Place.of_value(document, (*where, "runbook")), values)


def _calendars(document: SourceDocument, where: DocumentPath) -> Iterator[NameUse]:
    for index, name in enumerate(sequence(document.at(where))):
        if isinstance(name, str) and _NAME.match(name):
            yield NameUse(Kind.CALENDAR.value, name, Place.of_value(document, (*where, index)))


def _severity_faults(levels: list[Any]) -> Iterator[Fault]:
    last = -1
    for index, level in enumerate(levels):
        written, where = mapping(level), ("levels", index)
        rank = written.get("rank")
        if isinstance(rank, int) and not isinstance(rank, bool):
            if rank <= last:
                message = f"the rank {rank} stands after {last}; each has one level, and the worst comes first"
                yield Fault(
                    path=(*where, "rank"), code="contradiction", message=message, mend="put them in order", at_key=False
                )
            last = max(last, rank)
        soon, late = duration(written.get("acknowledge_within")), duration(written.get("resolve_within"))
        if soon is not None and late is not None and soon > late:
            message = f"{quoted('acknowledge_within')} is longer than {quoted('resolve_within')}"
            path: DocumentPath = (*where, "acknowledge_within")
            yield Fault(path=path, code="contradiction", message=message, mend="swap or mend them", at_key=False)
