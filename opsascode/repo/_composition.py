"""Do the runbooks that compose each other fit together?

A composed runbook must exist, take what it is given, and not run itself. All steps of a run share Ansible's variables,
so no two runbooks of one composition may set the same name, or hide a parameter of the other. People are asked for a
whole wave, so a runbook that asks cannot be composed under a condition.

Not here: files and folders (`_crosscheck`), anything within one runbook (`_rules`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._build import build_limits
from opsascode.repo._documents import Kind
from opsascode.repo._expressions import is_template
from opsascode.repo._flow_rules import LOOP_VARIABLE
from opsascode.repo._parameter import ParameterType
from opsascode.repo._problem import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opsascode.repo._facts import DocumentFacts, RunbookUse
    from opsascode.repo._problem import Problem

MAX_COMPOSITION = 8
_STARTING: Final = frozenset({Kind.POLICY_PACK.value, Kind.RELIABILITY_POLICY.value})
"""Kinds that start a runbook as a run of its own, so that it shares no variables with anything."""
_NAME_ALONE: Final = re.compile(r"\{\{ *([a-z_][a-z0-9_]*) *\}\}\Z")


def composition_problems(
    documents: Iterable[tuple[str, DocumentFacts]], runbooks: Mapping[str, DocumentFacts]
) -> Iterator[Problem]:
    """Find everything wrong between the runbooks of documents given by path; `runbooks` are known by name."""
    heights = _Heights(runbooks)
    for path, facts in documents:
        for index, use in enumerate(facts.runbooks):
            target = runbooks.get(use.name)
            if target is None:
                mend = did_you_mean(use.name, runbooks) or "write the metadata.name of a runbook below playbooks/"
                yield use.place.problem(path, "unknown-runbook", f"there is no runbook {quoted(use.name)}", mend)
                continue
            if facts.kind in _STARTING:
                yield from _values(path, facts, use, target)
                continue
            yield from _shape(path, facts, use, heights)
            yield from _values(path, facts, use, target)
            yield from _questions(path, use, heights)
            yield from _reads(path, use, target)
            yield from _clashes(path, facts, index, heights)


def _shape(path: str, facts: DocumentFacts, use: RunbookUse, heights: _Heights) -> Iterator[Problem]:
    """Refuse circles and towers."""
    cycle = heights.cycle(facts.name, use.name)
    if cycle:
        message = f"the runbook runs itself: {' → '.join(cycle)}"
        yield use.place.problem(path, "cycle", message, "break the circle")
    elif heights.below(use.name) >= MAX_COMPOSITION:
        message = f"runbooks compose runbooks more than {MAX_COMPOSITION} deep here"
        yield use.place.problem(path, "too-deep", message, "flatten the composition")


def _questions(path: str, use: RunbookUse, heights: _Heights) -> Iterator[Problem]:
    """Refuse a condition on whether people are asked."""
    asking = next((each.name for each in heights.reach(use.name) if each.asks), None)
    if use.conditional and asking is not None:
        message = f"{quoted(asking)} asks people, for the whole wave; a condition is answered host by host"
        yield use.place.problem(path, "question", message, "leave when out, or put the question into this runbook")


def _reads(path: str, use: RunbookUse, target: DocumentFacts) -> Iterator[Problem]:
    """Look for what the outputs of a runbook step read among what the other runbook's own steps set."""
    for name, place in () if target.opaque else use.reads:
        if name not in target.made:
            mend = did_you_mean(name, target.made) or f"add outputs to a step of {quoted(use.name)}"
            yield place.problem(path, "unknown-name", f"no step of {quoted(use.name)} sets {quoted(name)}", mend)


def _clashes(path: str, facts: DocumentFacts, index: int, heights: _Heights) -> Iterator[Problem]:
    """Find names that two runbooks of a composition would take from each other."""
    use = facts.runbooks[index]
    inner = heights.reach(use.name)
    sets = {name for each in inner for name in each.made}
    takes = {name for each in inner for name in each.parameters}
    around = set(facts.made)
    for other in facts.runbooks[:index]:
        if other.name != use.name:
            around |= {name for each in heights.reach(other.name) for name in each.made}
    for name in sorted(sets & facts.parameters.keys()):
        message = f"{quoted(use.name)} sets {quoted(name)}, which is a parameter here"
        yield use.place.problem(path, "name-clash", message, "rename one of them")
    for name in sorted((sets & set(facts.made)) - set(use.gives)):
        message = f"{quoted(use.name)} sets {quoted(name)}, and this runbook does too: one would overwrite the other"
        yield use.place.problem(path, "name-clash", message, "rename one of them")
    for name in sorted(takes & around):
        message = f"{quoted(name)} is a parameter of {quoted(use.name)}, and another step sets it: that value would win"
        yield use.place.problem(path, "name-clash", message, "rename one of them")


def _values(path: str, facts: DocumentFacts, use: RunbookUse, target: DocumentFacts) -> Iterator[Problem]:
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
        if key in target.planned and not _is_planned(value, facts):
            message = (
                f"{quoted(use.name)} plans with its parameter {quoted(key)}, and this value is only known in the run"
            )
            yield place.problem(path, "wrong-parameter", message, "write it as it is, or pass on a parameter alone")
    for key, schema in target.parameters.items():
        if isinstance(schema, dict) and "default" not in schema and key not in given:
            message = f"the runbook {quoted(use.name)} needs its parameter {quoted(key)}"
            word = "parameters" if facts.kind == Kind.POLICY_PACK.value else "with"
            yield use.place.problem(path, "missing-parameter", message, f"write {word}: {{{key}: …}}")


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


def _is_planned(value: Any, facts: DocumentFacts) -> bool:  # noqa: ANN401 - any plain value
    """Tell whether a value is known before the run: written out, a parameter passed on, or the item of a loop."""
    if not isinstance(value, str) or not is_template(value):
        return True
    match = _NAME_ALONE.match(value)
    return match is not None and (match[1] in facts.parameters or match[1] == LOOP_VARIABLE)


def _has_template(value: Any) -> bool:  # noqa: ANN401 - any plain value
    return isinstance(value, str) and is_template(value)


class _Heights:
    """How runbooks compose: circles, and how many levels lie below each; each runbook is walked once."""

    def __init__(self, runbooks: Mapping[str, DocumentFacts]) -> None:
        self._next = {
            name: [use.name for use in facts.runbooks if use.name in runbooks] for name, facts in runbooks.items()
        }
        self._facts = runbooks
        self._below: dict[str, int] = {}
        self._reached: dict[str, tuple[DocumentFacts, ...]] = {}

    def reach(self, name: str) -> tuple[DocumentFacts, ...]:
        """Give a runbook and all that it composes, near or far."""
        if name not in self._reached:
            found = [name] if name in self._facts else []
            for each in found:
                found.extend(other for other in self._next.get(each, ()) if other not in found)
            self._reached[name] = tuple(self._facts[each] for each in found)
        return self._reached[name]

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
