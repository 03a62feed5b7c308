"""What do the steps of a runbook become once the runbooks it composes are put in their place?

A `runbook:` step is replaced by the steps of the runbook it names; their ids get its id and a dot in front, and with
`loop` the number of the item: `deploy.2.verify`. The composed runbook's parameters are variables of its own steps only.
Values passed on with `with:` that are known while planning are passed as they are; any other is evaluated once, before
its first step, by a binding task: Ansible's variables are lazy, and `service: "{{ service }}-backup"` would otherwise
refer to itself for ever. The approval and the locks a composed runbook asks for hold for the run as well.

Not here: whether the composition is allowed (`repo` checks names, values, cycles and depth).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opsascode.errors import DocumentError, ResolveError
from opsascode.repo import ApprovalStep, Become, ManualStep, NotifyStep, RunbookStep, Step, TaskStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from opsascode.repo import Runbook, Value

SECRET_PREFIX: Final = "opsascode_secret_"  # noqa: S105 - the beginning of a name, not a secret
MOST_STEPS: Final = 2000
_TEMPLATE: Final = re.compile(r"\{[{%#]")
_NAME_ALONE: Final = re.compile(r"\{\{ *([a-z_][a-z0-9_]*) *\}\}")
_PAIR: Final = re.compile(r"(?:^|\s)([a-zA-Z_][a-zA-Z0-9_]*)=")
_SETS_ITS_KEYS: Final = frozenset({"set_fact", "ansible.builtin.set_fact", "ansible.legacy.set_fact"})


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

    @property
    def names(self) -> tuple[str, ...]:
        """The variables it sets."""
        return tuple(self.facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlatStep:
    """One step to compile, the variables of the composed runbook it comes from, and the conditions around it.

    A step that composes a runbook is still there where it has outputs: they are set after the composed steps.
    """

    id: str
    step: Step
    scope: Mapping[str, Value | Expression]
    conditions: tuple[str, ...]

    @property
    def asks(self) -> bool:
        """Whether people are asked, so that no Ansible takes part."""
        return isinstance(self.step.action, ApprovalStep | ManualStep)

    @property
    def once(self) -> bool:
        """Whether one host does it for all of a wave."""
        return self.step.run_once or isinstance(self.step.action, NotifyStep)

    @property
    def names(self) -> tuple[str, ...]:
        """The variables it sets for later steps."""
        own = (self.step.register,) if self.step.register else ()
        return (*own, *self.step.outputs, *_set_names(self.step.action))


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """A runbook that takes part: the asked-for one, or one composed, with its parameters as they are known by then."""

    id: str
    runbook: Runbook
    scope: Mapping[str, Value | Expression]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """All steps in order, and every runbook that takes part, the asked-for one first."""

    flats: tuple[FlatStep | Binding, ...]
    runbooks: tuple[Composed, ...]


def flatten(runbook: Runbook, lookup: Callable[[str], Runbook], values: Mapping[str, Value]) -> Composition:
    """Put composed runbooks in the place of the steps that name them; `values` are the parameters known by now.

    Raises:
        DocumentError: what a runbook step loops over is not known before the run.
        ResolveError: the loops make too many steps.
    """
    return _Flattening(lookup).run(runbook, values)


def is_template(value: object) -> bool:
    """Whether a text holds Jinja, so that Ansible evaluates it."""
    return isinstance(value, str) and _TEMPLATE.search(value) is not None


def secret_reference(name: str) -> Expression:
    """Give the variable of a secret parameter: handed over apart from the playbook, and there in every stage."""
    return Expression(text=f"{{{{ {SECRET_PREFIX}{name} }}}}")


def known_text(text: str, scope: Mapping[str, Value | Expression]) -> str:
    """Fill the parameters that are known while planning into a text for people."""

    def value_of(match: re.Match[str]) -> str:
        value = scope.get(match[1])
        return str(value) if isinstance(value, str | int | float) else match[0]

    return _NAME_ALONE.sub(value_of, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Around:
    """What surrounds the steps of one runbook: the beginning of their ids, its variables, and the conditions."""

    prefix: str
    scope: Mapping[str, Value | Expression]
    known: Mapping[str, Value | Expression]
    conditions: tuple[str, ...] = ()


@dataclass(slots=True)
class _Flattening:
    """One composition as it is put together."""

    lookup: Callable[[str], Runbook]
    runbooks: list[Composed] = field(default_factory=list)
    count: int = 0

    def run(self, runbook: Runbook, values: Mapping[str, Value]) -> Composition:
        known: dict[str, Value | Expression] = {
            each.name: secret_reference(each.name) if each.secret else values[each.name] for each in runbook.parameters
        }
        self.runbooks.append(Composed(id="", runbook=runbook, scope=known))
        flats = tuple(self._steps(runbook, _Around(prefix="", scope={}, known=known)))
        return Composition(flats=flats, runbooks=tuple(self.runbooks))

    def _steps(self, runbook: Runbook, around: _Around) -> Iterator[FlatStep | Binding]:
        for step in runbook.steps:
            name = around.prefix + step.id
            if isinstance(step.action, RunbookStep):
                yield from self._compose(step, step.action, name, around)
            else:
                yield self._flat(name, step, around.scope, around.conditions)

    def _flat(
        self, name: str, step: Step, scope: Mapping[str, Value | Expression], conditions: tuple[str, ...]
    ) -> FlatStep:
        self.count += 1
        if self.count > MOST_STEPS:
            msg = f"its loops and composed runbooks make more than {MOST_STEPS} steps"
            raise ResolveError(msg, position=step.position, advice="loop inside a task, or run it in parts")
        return FlatStep(id=name, step=step, scope=scope, conditions=conditions)

    def _compose(self, step: Step, action: RunbookStep, name: str, around: _Around) -> Iterator[FlatStep | Binding]:
        composed = self.lookup(action.name)
        if step.loop is None:
            yield from self._once(step, composed, name, around)
            return
        for number, item in enumerate(_items(step, around.known), start=1):
            inside = _Around(
                prefix=around.prefix,
                scope={**around.scope, "item": item},
                known={**around.known, "item": item},
                conditions=around.conditions,
            )
            yield from self._once(step, composed, f"{name}.{number}", inside)

    def _once(self, step: Step, composed: Runbook, name: str, around: _Around) -> Iterator[FlatStep | Binding]:
        """Give the steps of a composed runbook: its approval, the bindings, its own steps, the outputs."""
        if not isinstance(step.action, RunbookStep):
            msg = f"{name} composes nothing"
            raise TypeError(msg)
        if composed.approvals_required:
            yield self._flat(name, _approval_of(step, composed), around.scope, around.conditions)
        inside = around.conditions
        if step.when:
            guard = f"{_stem(name)}_when"
            whole = " and ".join(f"({condition})" for condition in step.when)
            yield Binding(
                id=name,
                title=step.title,
                facts={guard: Expression(text=f"{{{{ {whole} }}}}")},
                secret=False,
                scope=around.scope,
                conditions=around.conditions,
            )
            inside = (*around.conditions, f"{guard} | bool")
        inner, facts = _parameters(composed, step.action, _stem(name), around.known)
        self.runbooks.append(Composed(id=name, runbook=composed, scope=inner))
        if facts:
            secret = any(parameter.secret for parameter in composed.parameters)
            yield Binding(id=name, title=step.title, facts=facts, secret=secret, scope=around.scope, conditions=inside)
        yield from self._steps(
            composed, _Around(prefix=f"{name}.", scope=inner, known=_literals(inner), conditions=inside)
        )
        if step.outputs:
            yield self._flat(f"{name}.outputs", step, around.scope, inside)


def _approval_of(step: Step, composed: Runbook) -> Step:
    """Give the approval that a composed runbook itself asks for, as a step before its first one; once, not per wave."""
    need = composed.approval
    return Step(
        id=step.id,
        title=f"Run {composed.metadata.title}",
        action=ApprovalStep(required=need.required, role=need.role, lifetime=need.lifetime),
        outputs={},
        become=Become(),
        environment={},
        run_once=True,
        position=step.position,
    )


def _items(step: Step, known: Mapping[str, Value | Expression]) -> tuple[Value | Expression, ...]:
    """Give what a runbook step loops over; how often must be known before the run, as its steps are planned."""
    if isinstance(step.loop, str):
        match = _NAME_ALONE.fullmatch(step.loop)
        value = known.get(match[1]) if match else None
        if not isinstance(value, list | tuple):
            msg = f"step {step.id} loops over «{step.loop}», which is not known before the run"
            advice = "give it a list, or a parameter of type array whose value is given, not computed"
            raise DocumentError(msg, position=step.position, advice=advice)
        return tuple(value)
    return tuple(_settled(item, known) for item in step.loop or ())


def _settled(value: Value, known: Mapping[str, Value | Expression]) -> Value | Expression:
    """Give a written value as it is known by now: a parameter's value, a literal, or an expression to evaluate."""
    if not isinstance(value, str) or not is_template(value):
        return value
    match = _NAME_ALONE.fullmatch(value)
    return known[match[1]] if match and match[1] in known else Expression(text=value)


def _parameters(
    composed: Runbook, action: RunbookStep, stem: str, known: Mapping[str, Value | Expression]
) -> tuple[dict[str, Value | Expression], dict[str, Expression]]:
    inner: dict[str, Value | Expression] = {}
    facts: dict[str, Expression] = {}
    for parameter in composed.parameters:
        if parameter.name not in action.parameters:
            inner[parameter.name] = parameter.default
            continue
        value = _settled(action.parameters[parameter.name], known)
        if isinstance(value, Expression) and not _is_secret(value):
            facts[f"{stem}_{parameter.name}"] = value
            value = Expression(text=f"{{{{ {stem}_{parameter.name} }}}}")
        inner[parameter.name] = value
    return inner, facts


def _literals(scope: Mapping[str, Value | Expression]) -> dict[str, Value | Expression]:
    return {name: value for name, value in scope.items() if not isinstance(value, Expression) or _is_secret(value)}


def _is_secret(value: Expression) -> bool:
    """Whether this is a secret as it was given, which needs no variable of its own wherever it is passed on."""
    return value.text.startswith(f"{{{{ {SECRET_PREFIX}")


def _set_names(action: object) -> tuple[str, ...]:
    if not isinstance(action, TaskStep) or action.module not in _SETS_ITS_KEYS:
        return ()
    if isinstance(action.arguments, dict):
        return tuple(name for name in action.arguments if name != "cacheable")
    return tuple(_PAIR.findall(str(action.arguments or "")))


def _stem(name: str) -> str:
    return f"opsascode_{re.sub('[^a-z0-9]', '_', name)}"
