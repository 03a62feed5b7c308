"""What is wrong within one runbook that no schema can say?

Parameters that contradict themselves, ids that repeat, texts that are not readable as Jinja, variables that nobody
declares, parameters that nobody uses. The values may be of any shape, as all problems of a document are found in
one pass: what the schema refused is passed over here.

A variable is known when it is a parameter, is listed in `targets.variables`, is set by an earlier step (`register`,
`outputs`, `set_fact`), belongs to the task itself (`vars`, loop variables), or is Ansible's own. One that is asked
about first (`is defined`, `default`) may be unknown. After a role, a playbook or a task that reads content of its
own, any variable may exist or be used, so neither unknown nor unused names are reported.

What a step sets is kept for the undo of that step and of later ones too, so an undo may use it.

Not here: task bodies and checks (`_task_rules`), questions, locks, loops and waves (`_flow_rules`), other documents and
files (`_crosscheck`).
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from opsascode.repo._build import build_limits
from opsascode.repo._expressions import condition_names, is_template, template_names
from opsascode.repo._facts import ContentUse, DocumentFacts, Place, RunbookUse
from opsascode.repo._flow_rules import (
    LOOP_VARIABLE,
    asks_people,
    id_faults,
    loop_faults,
    names_in,
    planned_names,
    question_faults,
    spec_faults,
)
from opsascode.repo._hosts import pattern_fault
from opsascode.repo._names import KNOWN_EVERYWHERE, OPAQUE_MODULES, is_full_name, known_everywhere, short_module
from opsascode.repo._parameter import ecma_pattern
from opsascode.repo._problem import Problem, did_you_mean, path_text, quoted
from opsascode.repo._task_rules import check_faults, local_names, set_names, task_faults

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opsascode.repo._expressions import Names
    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument, Value
    from opsascode.repo._task_rules import Fault

_JINJA_WORDS = frozenset({"and", "else", "false", "if", "in", "is", "none", "not", "null", "or", "true"})
_CONDITIONS = frozenset({"when", "that", "changed_when", "failed_when"})


def mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any plain value
    """Give a mapping, empty where something else stands."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:  # noqa: ANN401 - any plain value
    """Give a list, empty where something else stands."""
    return value if isinstance(value, list) else []


class RunbookRules:
    """Judges one runbook; its problems and facts are complete after `judge`."""

    def __init__(self, document: SourceDocument) -> None:
        self.problems: list[Problem] = []
        self.runbooks: list[RunbookUse] = []
        self.content: list[ContentUse] = []
        self._document = document
        self._spec = mapping(mapping(document.value).get("spec"))
        self.parameters = mapping(self._spec.get("parameters"))
        self.made: set[str] = set()
        self.opaque = False
        self._mentioned: set[str] = set()
        self._ids: dict[str, int] = {}

    def judge(self) -> None:
        """Judge parameters, targets and steps, in the order they stand in."""
        for name, schema in self.parameters.items():
            self._parameter(name, mapping(schema))
        targets = mapping(self._spec.get("targets"))
        self._targets(targets)
        variables = {each for each in sequence(targets.get("variables")) if isinstance(each, str)}
        known = set(self.parameters) | variables
        self._faults(spec_faults(self._spec, self.parameters), ("spec",))
        self._mentioned |= names_in([self._spec.get("lock"), targets.get("between_waves")])
        for index, step in enumerate(sequence(self._spec.get("steps"))):
            if isinstance(step, dict):
                where = ("spec", "steps", index)
                self._repeated_id(step, where)
                self._step(step, where, known)
        for index, check in enumerate(sequence(mapping(targets.get("between_waves")).get("checks"))):
            if isinstance(check, dict):
                self._names_of(check, ("spec", "targets", "between_waves", "checks", index), known)
        if not self.opaque:
            self._unused()

    def _say(self, path: DocumentPath, code: str, message: str, mend: str = "", *, key: bool = False) -> None:
        if self._document.is_unread(path):
            return
        position = self._document.key_position(path) if key else self._document.position(path)
        where = path_text(path)
        self.problems.append(Problem(position=position, document_path=where, code=code, message=message, mend=mend))

    def _faults(self, faults: Iterable[Fault], where: DocumentPath) -> None:
        for fault in faults:
            self._say((*where, *fault.path), fault.code, fault.message, fault.mend, key=fault.at_key)

    # parameters and targets

    def _parameter(self, name: str, schema: dict[str, Any]) -> None:
        path: DocumentPath = ("spec", "parameters", name)
        if name in KNOWN_EVERYWHERE or name in _JINJA_WORDS or name.startswith(("ansible_", "opsascode_")):
            self._say(
                path,
                "reserved-name",
                f"{quoted(name)} already has a meaning in every run",
                "choose another name",
                key=True,
            )
        broken = self._broken_pattern(schema, path)
        broken = self._broken_pattern(mapping(schema.get("items")), (*path, "items")) or broken
        for least, most in (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems")):
            low, high = schema.get(least), schema.get(most)
            if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
                message = f"{quoted(name)} accepts nothing: {least} {low} is more than {most} {high}"
                self._say((*path, least), "contradiction", message, "swap or mend them")
        if schema.get("secret") is True:
            for key in ("default", "enum"):
                if key in schema:
                    message = f"the secret {quoted(name)} has its value in the document, for all who can read it"
                    self._say((*path, key), "secret-in-document", message, "delete it; give it when running", key=True)
        elif not broken:
            self._default(name, schema, path)

    def _broken_pattern(self, schema: dict[str, Any], path: DocumentPath) -> bool:
        pattern = schema.get("pattern")
        if not isinstance(pattern, str):
            return False
        try:
            ecma_pattern(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            message = f"the regular expression {quoted(pattern)} is not readable: {error}"
            self._say((*path, "pattern"), "pattern", message, "mend it")
            return True
        return False

    def _default(self, name: str, schema: dict[str, Any], path: DocumentPath) -> None:
        """Hold the default, and the choices, to the parameter's own limits."""
        try:
            limits = build_limits(schema)
            faults = [("default", fault) for fault in limits.faults(schema["default"])] if "default" in schema else []
            plain = limits if not limits.choices else dataclasses.replace(limits, choices=())
            faults += [("enum", fault) for choice in limits.choices for fault in plain.faults(choice)]
        except (KeyError, TypeError, ValueError):
            return  # the schema has said what is wrong with the shape
        for key, fault in faults:
            mend = "" if key == "default" else "every choice must be a value the parameter accepts"
            self._say((*path, key), "default" if key == "default" else "choice", f"{quoted(name)}: {fault}", mend)

    def _targets(self, targets: dict[str, Any]) -> None:
        hosts = targets.get("hosts")
        fault = pattern_fault(hosts) if isinstance(hosts, str) and hosts else None
        if fault is not None:
            self._say(("spec", "targets", "hosts"), "host-pattern", *fault)
        for index, name in enumerate(sequence(targets.get("variables"))):
            if isinstance(name, str) and name in self.parameters:
                path = ("spec", "targets", "variables", index)
                self._say(path, "name-taken", f"{quoted(name)} is already a parameter", "delete one of the two")

    # steps

    def _repeated_id(self, step: dict[str, Any], where: DocumentPath) -> None:
        ids = self._ids
        name = step.get("id")
        if not isinstance(name, str):
            return
        line = self._document.position((*where, "id")).line
        if name in ids:
            message = f"the id {quoted(name)} stands here a second time; it is already on line {ids[name]}"
            self._say((*where, "id"), "repeated-id", message, "give each step an id of its own")
        ids.setdefault(name, line)

    def _step(self, step: dict[str, Any], where: DocumentPath, known: set[str]) -> None:
        """Judge one step, then add what it sets to the known names."""
        own = set(known)
        task = mapping(step.get("task"))
        if task:
            self._task(task, (*where, "task"))
            own |= local_names(task)
        self._faults(check_faults(mapping(step.get("check")), step), where)
        for faults in (id_faults(step), question_faults(step, self.parameters), loop_faults(step, self.parameters)):
            self._faults(faults, where)
        if "approval" in step or "manual" in step:
            self._mentioned |= names_in(step)
            return
        made = self._made_names(step, where, task)
        own |= made
        self.made |= made
        undo = mapping(step.get("undo"))
        undo_task = mapping(undo.get("task"))
        self._faults(check_faults(mapping(undo.get("check")), undo), (*where, "undo"))
        if undo_task:
            self._task(undo_task, (*where, "undo", "task"))
        undone = own | local_names(undo_task)
        self._uses(step, undo, where)
        self._names_of(step, where, own | ({LOOP_VARIABLE} if "loop" in step else set()), without="undo")
        self._names_of({"undo": step.get("undo")}, where, undone)
        known |= made

    def _task(self, task: dict[str, Any], path: DocumentPath) -> None:
        self._faults(task_faults(task), path)
        if any(short_module(key) in OPAQUE_MODULES for key in task):
            self.opaque = True

    def _made_names(self, step: dict[str, Any], where: DocumentPath, task: dict[str, Any]) -> set[str]:
        """Give the variables a step sets, refusing those that would hide a parameter."""
        made: set[str] = set()
        register = step.get("register")
        if isinstance(register, str):
            made.add(register)
            self._taken(register, (*where, "register"))
        for name in mapping(step.get("outputs")):
            made.add(name)
            self._taken(name, (*where, "outputs", name))
        return made | set_names(task)

    def _taken(self, name: str, path: DocumentPath) -> None:
        if name in self.parameters:
            message = f"{quoted(name)} is already a parameter, which Ansible would go on using"
            self._say(path, "name-taken", message, "choose another name", key=True)
        elif known_everywhere(name) or name.startswith("opsascode_"):
            self._say(
                path,
                "reserved-name",
                f"{quoted(name)} already has a meaning in every run",
                "choose another name",
                key=True,
            )

    def _uses(self, step: dict[str, Any], undo: dict[str, Any], where: DocumentPath) -> None:
        """Note what the step refers to outside the document."""
        runbook, playbook = step.get("runbook"), step.get("playbook")
        if isinstance(runbook, str):
            base = (*where, "with")
            values = tuple(
                (key, value, Place.of_key(self._document, (*base, key)))
                for key, value in mapping(step.get("with")).items()
            )
            self.runbooks.append(
                RunbookUse(
                    runbook,
                    Place.of_value(self._document, (*where, "runbook")),
                    values,
                    conditional="when" in step,
                    gives=tuple(mapping(step.get("outputs"))),
                )
            )
        if isinstance(playbook, str):
            self.opaque = True
            self.content.append(ContentUse("playbook", playbook, Place.of_value(self._document, (*where, "playbook"))))
        for holder, path in ((step, where), (undo, (*where, "undo"))):
            self._role(holder.get("role"), (*path, "role"))

    def _role(self, role: Any, path: DocumentPath) -> None:  # noqa: ANN401 - any plain value
        if isinstance(role, dict):
            role, path = role.get("name"), (*path, "name")
        if isinstance(role, str):
            self.opaque = True
            if not is_full_name(role):
                self.content.append(ContentUse("role", role, Place.of_value(self._document, path)))

    # names in expressions

    def _names_of(self, step: dict[str, Any], where: DocumentPath, known: set[str], *, without: str = "") -> None:
        """Read every text of a step but what is below one key; report what is unreadable, then what is unknown."""
        used: list[tuple[DocumentPath, Names]] = []
        guarded: set[str] = set()
        for path, text, condition in _texts(step, where, condition=False):
            if path[len(where)] == without:
                continue
            if condition and is_template(text):
                message = f"{quoted(text)} is an expression already"
                self._say(path, "expression", message, "write it without {{ }}")
                self._mentioned |= template_names(text).used
                continue
            names = condition_names(text) if condition else template_names(text)
            if names.fault:
                message = f"{quoted(text)} is not readable as Jinja: {names.fault}"
                self._say(path, "expression", message, "mend the expression")
                continue
            self._mentioned |= names.used | names.mentioned
            guarded |= names.guarded
            if not names.used <= known:
                used.append((path, names))
        if self.opaque:
            return
        for path, names in used:
            unknown = [name for name in sorted(names.used - known - guarded) if not known_everywhere(name)]
            if "runbook" in step and path[len(where)] == "outputs":
                self._reads(path, unknown)
                continue
            for name in unknown:
                self._unknown(path, name, known)

    def _reads(self, path: DocumentPath, names: Iterable[str]) -> None:
        """Note names in the outputs of a runbook step, which only the other runbook can set."""
        place = Place.of_value(self._document, path)
        last = self.runbooks[-1]
        self.runbooks[-1] = last._replace(reads=(*last.reads, *((name, place) for name in names)))

    def _unknown(self, path: DocumentPath, name: str, known: set[str]) -> None:
        mend = did_you_mean(name, known, list_up_to=0)
        other = "declare it in spec.parameters, or list it in spec.targets.variables if the inventory has it"
        step = next((each for each in self._ids if each.replace("-", "_") == name), None)
        if step is not None:
            mend, other = "", f"write register: {name} on step {quoted(step)}, before this one, to name its result"
        self._say(
            path, "unknown-name", f"nothing sets the variable {quoted(name)}", f"{mend} else {other}" if mend else other
        )

    def _unused(self) -> None:
        for name in self.parameters:
            if name not in self._mentioned:
                message = f"no step uses the parameter {quoted(name)}"
                self._say(("spec", "parameters", name), "unused-parameter", message, "use it or delete it", key=True)


def _texts(value: Value, path: DocumentPath, *, condition: bool) -> Iterator[tuple[DocumentPath, str, bool]]:
    """Give every text below a value that may hold an expression, with its path, and whether it is one as a whole.

    Keys of mappings are read as templates too, as Ansible does for module arguments.
    """
    if isinstance(value, str):
        if condition or is_template(value):
            yield path, value, condition
    elif isinstance(value, dict):
        for key, child in value.items():
            if is_template(key):
                yield (*path, key), key, False
            whole = key in _CONDITIONS and _is_condition(key, path)
            if whole or child.__class__ is not str or "{" in child:  # most are plain, and need no path
                yield from _texts(child, (*path, key), condition=whole)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _texts(child, (*path, index), condition=condition)


_STEP_DEPTH = len(("spec", "steps", 0, "undo"))


def _is_condition(key: str, path: DocumentPath) -> bool:
    """Tell whether the value of a key is an expression: where Ansible or our checks take it as one."""
    last = path[-1]
    if key == "that":
        return last == "check" or (isinstance(last, str) and short_module(last) == "assert")
    return len(path) <= _STEP_DEPTH or last == "task" or path[-2:-1] == ("checks",)


def runbook_facts(document: SourceDocument) -> tuple[DocumentFacts | None, list[Problem]]:
    """Judge a runbook by itself, and note what other documents and files must agree with."""
    rules = RunbookRules(document)
    rules.judge()
    name = mapping(mapping(document.value).get("metadata")).get("name")
    if not isinstance(name, str):
        return None, rules.problems
    facts = DocumentFacts(
        kind="Runbook",
        name=name,
        place=Place.of_value(document, ("metadata", "name")),
        parameters=rules.parameters,
        runbooks=tuple(rules.runbooks),
        content=tuple(rules.content),
        made=tuple(sorted(rules.made)),
        planned=tuple(sorted(planned_names(mapping(mapping(document.value).get("spec"))))),
        opaque=rules.opaque,
        asks=asks_people(mapping(mapping(document.value).get("spec"))),
    )
    return facts, rules.problems
