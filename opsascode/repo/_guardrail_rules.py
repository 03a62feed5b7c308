"""What is wrong within one guardrail that no schema can say?

What its rules lack or say in vain, and conditions that cannot be asked, at their very place.

Not here: whether the calendars and services it names exist (`_crosscheck`), rules that never decide (`policy`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._problem import Problem, path_text, quoted
from opsascode.repo._within_text import offset_of, position_within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.errors import Position
    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument

_SPEC: Final = ("spec",)


def guardrail_problems(document: SourceDocument, data: bytes) -> Iterator[Problem]:
    """Find everything wrong with a guardrail by itself; `data` are the bytes it was read from."""
    spec = document.at(_SPEC)
    if not isinstance(spec, dict):
        return
    if "require" not in spec and "rules" not in spec:
        message, mend = "the guardrail asks for nothing", "write require: … or rules: …"
        yield _problem(document.position(_SPEC), _SPEC, "missing-key", message, mend)
    for key in ("combine", "default"):
        if key in spec and "rules" not in spec:
            message = f"{quoted(key)} only has a meaning beside {quoted('rules')}"
            yield _problem(
                document.key_position((*_SPEC, key)), (*_SPEC, key), "misplaced-key", message, "leave it out"
            )
    rules = spec.get("rules")
    names: dict[str, int] = {}
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, dict):
            where: DocumentPath = (*_SPEC, "rules", index)
            yield from _shared_name(document, rule, where, names)
            yield from _needs(document, rule, where)
            yield from _condition(document, rule, where, data)


def shared_name(
    document: SourceDocument, name: object, where: DocumentPath, names: dict[str, int]
) -> Iterator[Problem]:
    """Report a name that an earlier item of the same list has; `names` are those so far, with their lines."""
    if not isinstance(name, str):
        return
    position = document.position((*where, "name"))
    if name in names:
        message = f"the name {quoted(name)} is already on line {names[name]}"
        yield _problem(position, (*where, "name"), "shared-name", message, "rename one of them")
    names.setdefault(name, position.line)


def _shared_name(
    document: SourceDocument, rule: dict[str, Any], where: DocumentPath, names: dict[str, int]
) -> Iterator[Problem]:
    yield from shared_name(document, rule.get("name"), where, names)


def _needs(document: SourceDocument, rule: dict[str, Any], where: DocumentPath) -> Iterator[Problem]:
    """Report a rule that requires nothing, or that says what it requires and does something else."""
    effect = rule.get("then")
    if effect == "require" and "require" not in rule:
        place = (*where, "then")
        message, mend = "the rule does not say what it requires", "write require: … beside it"
        yield _problem(document.position(place), place, "missing-key", message, mend)
    elif isinstance(effect, str) and effect in {"allow", "deny"} and "require" in rule:
        place = (*where, "require")
        message = f"{quoted('require')} cannot stand beside {quoted(f'then: {effect}')}"
        yield _problem(
            document.key_position(place), place, "misplaced-key", message, "write then: require, or leave it out"
        )


def _condition(document: SourceDocument, rule: dict[str, Any], where: DocumentPath, data: bytes) -> Iterator[Problem]:
    """Report a condition that cannot be asked."""
    from opsascode.repo._conditions import MAX_LENGTH, condition_problem, library_is_there  # noqa: PLC0415 - only where one stands

    place, text = (*where, "if"), rule.get("if")
    if not isinstance(text, str) or not 0 < len(text) <= MAX_LENGTH or document.is_unread(place):
        return
    fault = condition_problem(text)
    if fault is None:
        return
    start = document.position(place)
    code = "wrong-condition" if library_is_there() else "missing-library"
    position = position_within(data, start, text, offset_of(text, fault.line, fault.column))
    yield _problem(position, place, code, fault.message, fault.mend)


def _problem(position: Position, where: DocumentPath, code: str, message: str, mend: str) -> Problem:
    return Problem(position=position, document_path=path_text(where), code=code, message=message, mend=mend)
