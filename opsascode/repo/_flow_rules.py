"""What is wrong with how a run is approved, locked, paced and repeated, that no schema can say?

Approvals that last too long or ask nobody, locks with names that are not known before the run, questions whose texts
are not, loops over what cannot be looped over, and ids that the journal uses itself.

What people are asked and what a lock is called is settled while planning, so only parameters can stand there, and no
secret ones, as plans and locks are for all to see.

Not here: variables in steps (`_rules`), task bodies and checks (`_task_rules`), other documents (`_crosscheck`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._expressions import is_template, template_names
from opsascode.repo._problem import did_you_mean, quoted
from opsascode.repo._quantities import parse_duration, parse_percent
from opsascode.repo._task_rules import Fault, check_faults

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opsascode.repo._problem import DocumentPath

LONGEST_APPROVAL: Final = timedelta(hours=72)
RESERVED_IDS: Final = {
    "between": "the checks between waves",
    "facts": "gathering facts",
    "outputs": "the outputs of a composed runbook",
    "undo": "undo steps",
}
LOOP_VARIABLE: Final = "item"
_HOST: Final = "host"
_PARAMETER: Final = re.compile(r"\{\{ *[a-z_][a-z0-9_]* *\}\}")
_NAME_ALONE: Final = re.compile(r"\{\{ *([a-z_][a-z0-9_]*) *\}\}\Z")
_ALL: Final = 100


def spec_faults(spec: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[Fault]:
    """Find everything wrong with approval, locks and what comes between waves; paths lead on from `spec`."""
    approval, locks = spec.get("approval"), spec.get("lock")
    if isinstance(approval, dict):
        yield from _approval(approval, ("approval",))
        if approval.get("required") == 0:
            for key in sorted({"role", "expires"} & approval.keys()):
                message = f"{quoted(key)} has no effect, as {quoted('required')} is 0"
                yield Fault(
                    path=("approval", key), code="contradiction", message=message, mend="ask for 1, or delete it"
                )
    for index, name in enumerate(locks if isinstance(locks, list) else ()):
        if isinstance(name, str):
            yield from _lock(name, ("lock", index), parameters)
    targets = spec.get("targets")
    if isinstance(targets, dict) and isinstance(targets.get("between_waves"), dict):
        yield from _between(targets["between_waves"], targets.get("waves"), parameters)


def question_faults(step: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[Fault]:
    """Find everything wrong with a step that asks people; paths lead on from the step."""
    approval, manual = step.get("approval"), step.get("manual")
    if isinstance(approval, dict):
        yield from _approval(approval, ("approval",))
        yield from _planned_text(approval.get("message"), ("approval", "message"), parameters)
    if isinstance(manual, dict):
        yield from _planned_text(manual.get("instructions"), ("manual", "instructions"), parameters)
    if isinstance(approval, dict) or isinstance(manual, dict):
        yield from _planned_text(step.get("title"), ("title",), parameters)


def id_faults(step: Mapping[str, Any]) -> Iterator[Fault]:
    """Refuse ids that results carry already; paths lead on from the step."""
    use = RESERVED_IDS.get(step["id"]) if isinstance(step.get("id"), str) else None
    if use is not None:
        message = f"{quoted(step['id'])} stands for {use} in every record"
        yield Fault(path=("id",), code="reserved-name", message=message, mend="choose another id", at_key=False)


def loop_faults(step: Mapping[str, Any], parameters: Mapping[str, Any]) -> Iterator[Fault]:
    """Find everything wrong with a step's loop; paths lead on from the step."""
    loop, task = step.get("loop"), step.get("task")
    if "loop" not in step:
        return
    if isinstance(task, dict) and "loop" in task:
        message = "the task loops already"
        yield Fault(path=("loop",), code="two-loops", message=message, mend="keep one of the two loops")
    if LOOP_VARIABLE in parameters:
        message = f"{quoted(LOOP_VARIABLE)} is a parameter, and the loop's item has the same name"
        yield Fault(path=("loop",), code="name-taken", message=message, mend="give the parameter another name")
    if isinstance(loop, str) and not is_template(loop):
        message = f"{quoted(loop)} is one text, nothing to go through"
        yield Fault(
            path=("loop",), code="loop", message=message, mend=f"write [{loop}], or {{{{ name }}}}", at_key=False
        )
    elif "runbook" in step and isinstance(loop, str):
        yield from _planned_loop(loop, parameters)
    if "runbook" in step and "outputs" in step:
        message = "each time around would overwrite the outputs of the time before"
        yield Fault(
            path=("outputs",), code="two-loops", message=message, mend="leave them out, or write the steps one by one"
        )


def names_in(texts: Any) -> set[str]:  # noqa: ANN401 - any plain value
    """Give the variables that the templates in locks, questions and the like use."""
    if isinstance(texts, str):
        return set(template_names(texts).used)
    children = texts.values() if isinstance(texts, dict) else texts if isinstance(texts, list) else ()
    return {name for child in children for name in names_in(child)}


def planned_names(spec: Mapping[str, Any]) -> set[str]:
    """Give the parameters whose values must be known before the run: those in locks and in loops of runbook steps."""
    steps = spec.get("steps")
    looped = [
        step["loop"]
        for step in (steps if isinstance(steps, list) else ())
        if isinstance(step, dict) and "runbook" in step and isinstance(step.get("loop"), str)
    ]
    return names_in([*looped, spec.get("lock")]) - {_HOST}


def asks_people(spec: Mapping[str, Any]) -> bool:
    """Tell whether a run of this runbook stops for people at some point of it."""
    approval, steps = spec.get("approval"), spec.get("steps")
    needed = isinstance(approval, dict) and bool(approval.get("required"))
    return needed or any(
        isinstance(step, dict) and not step.keys().isdisjoint({"approval", "manual"})
        for step in (steps if isinstance(steps, list) else ())
    )


def _approval(approval: Mapping[str, Any], path: DocumentPath) -> Iterator[Fault]:
    expires = approval.get("expires")
    try:
        too_long = isinstance(expires, str) and parse_duration(expires) > LONGEST_APPROVAL
    except (ValueError, OverflowError):
        return  # the schema has said what is wrong with it
    if too_long:
        message = f"an approval holds at most 72h, not {quoted(expires)}: what people looked at moves on"
        yield Fault(
            path=(*path, "expires"), code="out-of-bounds", message=message, mend="write 72h or less", at_key=False
        )


def _lock(name: str, path: DocumentPath, parameters: Mapping[str, Any]) -> Iterator[Fault]:
    if is_template(_PARAMETER.sub("", name)):
        message = f"{quoted(name)} is no name of a lock: only {{{{ host }}}} and {{{{ parameter }}}} can stand in it"
        yield Fault(path=path, code="expression", message=message, mend="make it simpler", at_key=False)
        return
    for used in sorted(template_names(name).used):
        declared = parameters.get(used)
        fault = ""
        mend = "choose another parameter"
        if used == _HOST:
            fault = f"{quoted(_HOST)} is a parameter and each host as well" if _HOST in parameters else ""
            mend = "give the parameter another name"
        elif used not in parameters:
            fault = f"there is no parameter {quoted(used)}; what hosts or steps say is not known before the run"
            mend = did_you_mean(used, [*parameters, _HOST], list_up_to=0) or "use a parameter, or {{ host }}"
        elif isinstance(declared, dict) and declared.get("secret") is True:
            fault = f"the secret {quoted(used)} would be shown as the name of a lock"
        elif isinstance(declared, dict) and declared.get("type") == "array":
            fault = f"{quoted(used)} is a list, no name"
        if fault:
            yield Fault(path=path, code="lock", message=fault, mend=mend, at_key=False)


def _planned_text(text: object, path: DocumentPath, parameters: Mapping[str, Any]) -> Iterator[Fault]:
    """Hold a text for people to what is known before the run."""
    if not isinstance(text, str):
        return
    if is_template(_PARAMETER.sub("", text)):
        message = "people are asked with the words of the plan, where only {{ parameter }} can stand"
        yield Fault(path=path, code="expression", message=message, mend="make it simpler", at_key=False)
        return
    for used in sorted(template_names(text).used):
        declared = parameters.get(used)
        if used not in parameters:
            message = f"there is no parameter {quoted(used)}; what hosts or steps say is not known in the plan"
            mend = did_you_mean(used, parameters, list_up_to=0) or "use a parameter"
            yield Fault(path=path, code="unknown-name", message=message, mend=mend, at_key=False)
        elif isinstance(declared, dict) and declared.get("secret") is True:
            message = f"the secret {quoted(used)} would be shown to whoever is asked"
            yield Fault(path=path, code="secret-in-document", message=message, mend="leave it out", at_key=False)


def _planned_loop(loop: str, parameters: Mapping[str, Any]) -> Iterator[Fault]:
    """Hold the loop of a runbook step to what is known before the run: its steps stand in the plan."""
    match = _NAME_ALONE.match(loop)
    declared = parameters.get(match[1]) if match else None
    if not isinstance(declared, dict) or declared.get("type") not in {"array", None}:
        message = (
            f"{quoted(loop)} is no list known before the run, and a runbook's steps stand in the plan, item by item"
        )
        mend = "write a list, or {{ name }} of a parameter of type array"
        yield Fault(path=("loop",), code="loop", message=message, mend=mend, at_key=False)


def _between(between: Mapping[str, Any], waves: object, parameters: Mapping[str, Any]) -> Iterator[Fault]:
    base: DocumentPath = ("targets", "between_waves")
    if _single_wave(waves):
        message = "there is nothing between waves, as all hosts are one wave"
        mend = "write waves: [1, 100%], or delete it"
        yield Fault(path=base, code="contradiction", message=message, mend=mend)
    yield from _planned_text(between.get("confirm"), (*base, "confirm"), parameters)
    seen: set[str] = set()
    checks = between.get("checks")
    for index, check in enumerate(checks if isinstance(checks, list) else ()):
        if not isinstance(check, dict):
            continue
        where = (*base, "checks", index)
        name = check.get("id")
        if isinstance(name, str):
            if name in seen:
                message = f"the id {quoted(name)} stands here a second time"
                mend = "give each check an id of its own"
                yield Fault(path=(*where, "id"), code="repeated-id", message=message, mend=mend, at_key=False)
            seen.add(name)
        body = check.get("check")
        for fault in check_faults(body if isinstance(body, dict) else {}, check):
            yield Fault(
                path=(*where, *fault.path), code=fault.code, message=fault.message, mend=fault.mend, at_key=fault.at_key
            )


def _single_wave(waves: object) -> bool:
    if waves is None:
        return True
    first = waves[0] if isinstance(waves, list) and waves else None
    try:
        return isinstance(first, str) and parse_percent(first) >= _ALL
    except ValueError:
        return False
