"""What do the steps of a runbook become once the runbooks it composes are put in their place?

A `runbook:` step is replaced by the steps of the runbook it names; their ids get its id and a dot in front. The
composed runbook's parameters are variables of its own steps only. Values passed on with `with:` are evaluated once,
before its first step, by a binding task: Ansible's variables are lazy, and `service: "{{ service }}-backup"` would
otherwise refer to itself for ever.

Not here: whether the composition is allowed (`repo` checks names, values, cycles and depth).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.repo import RunbookStep, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opsascode.repo import Runbook, Value

SECRET_PREFIX: Final = "opsascode_secret_"  # noqa: S105 - the beginning of a name, not a secret
_TEMPLATE: Final = re.compile(r"\{[{%#]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A Jinja expression in template form, to be evaluated by Ansible (every other value is literal)."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Evaluate expressions now, under names of our own, before the composed steps that use them."""

    id: str
    title: str
    facts: Mapping[str, Expression]
    secret: bool
    scope: Mapping[str, Value | Expression]
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatStep:
    """One step to compile, the variables of the composed runbook it comes from, and the conditions around it."""

    id: str
    step: Step
    scope: Mapping[str, Value | Expression]
    conditions: tuple[str, ...]


def flatten(runbook: Runbook, lookup: Callable[[str], Runbook]) -> tuple[FlatStep | Binding, ...]:
    """Put composed runbooks in the place of the steps that name them."""
    return tuple(_flatten(runbook, lookup, prefix="", scope={}, conditions=()))


def is_template(value: object) -> bool:
    """Whether a text holds Jinja, so that Ansible evaluates it."""
    return isinstance(value, str) and _TEMPLATE.search(value) is not None


def _flatten(
    runbook: Runbook,
    lookup: Callable[[str], Runbook],
    *,
    prefix: str,
    scope: Mapping[str, Value | Expression],
    conditions: tuple[str, ...],
) -> Iterator[FlatStep | Binding]:
    for step in runbook.steps:
        name = prefix + step.id
        if not isinstance(step.action, RunbookStep):
            yield FlatStep(id=name, step=step, scope=scope, conditions=conditions)
            continue
        composed = lookup(step.action.name)
        inside = conditions
        if step.when:
            guard = f"{_stem(name)}_when"
            whole = " and ".join(f"({condition})" for condition in step.when)
            facts = {guard: Expression(text=f"{{{{ {whole} }}}}")}
            yield Binding(id=name, title=step.title, facts=facts, secret=False, scope=scope, conditions=conditions)
            inside = (*conditions, f"{guard} | bool")
        inner, facts = _parameters(composed, step.action, _stem(name))
        if facts:
            secret = any(parameter.secret for parameter in composed.parameters)
            yield Binding(id=name, title=step.title, facts=facts, secret=secret, scope=scope, conditions=inside)
        yield from _flatten(composed, lookup, prefix=f"{name}.", scope=inner, conditions=inside)


def _parameters(
    composed: Runbook, action: RunbookStep, stem: str
) -> tuple[dict[str, Value | Expression], dict[str, Expression]]:
    inner: dict[str, Value | Expression] = {}
    facts: dict[str, Expression] = {}
    for parameter in composed.parameters:
        value = action.parameters.get(parameter.name, parameter.default)
        if parameter.name in action.parameters and is_template(value):
            facts[f"{stem}_{parameter.name}"] = Expression(text=str(value))
            inner[parameter.name] = Expression(text=f"{{{{ {stem}_{parameter.name} }}}}")
        else:
            inner[parameter.name] = value
    return inner, facts


def _stem(name: str) -> str:
    return f"opsascode_{re.sub('[^a-z0-9]', '_', name)}"
