"""What is wrong in the body of a task or a check that no schema can say?

A task body is Ansible's: exactly one module, and the task keywords that still mean the same inside a step. What a step
says itself (`when`, `register`, `timeout` …) is refused inside the body, with the place to write it. A check's own
texts (address, threshold, regular expression) are read as far as they hold no template.

Not here: variables (`_rules`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._build import EXPECTATION
from opsascode.repo._expressions import is_template
from opsascode.repo._names import REFUSED_KEYWORDS, TASK_KEYWORDS, builtin_modules, is_full_name, short_module
from opsascode.repo._problem import did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.repo._problem import DocumentPath

_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z")
_MAX_PORT: Final = 65535
_SETS_ITS_KEYS: Final = "set_fact"
_FREE_FORM_PAIR = re.compile(r"(?:^|\s)([a-zA-Z_][a-zA-Z0-9_]*)=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something wrong below a task or check; `path` leads on from there."""

    path: DocumentPath
    code: str
    message: str
    mend: str = ""
    at_key: bool = True


def task_faults(task: dict[str, Any]) -> Iterator[Fault]:
    """Find everything wrong with a task body."""
    modules: list[str] = []
    strange: list[Fault] = []
    for key in task:
        if key in TASK_KEYWORDS:
            continue
        if key in REFUSED_KEYWORDS or key.startswith("with_"):
            message = f"{quoted(key)} cannot stand inside a task"
            yield Fault(path=(key,), code="task-keyword", message=message, mend=REFUSED_KEYWORDS.get(key, "write loop"))
            continue
        fault = _module_fault(key)
        if fault is None:
            modules.append(key)
        else:
            strange.append(fault)
    yield from strange
    yield from _module_faults(task, modules, named=bool(modules or strange))
    for keyword in ("vars", "args", "loop_control", "module_defaults"):
        if keyword in task and not isinstance(task[keyword], dict):
            message = f"{quoted(keyword)} must be a mapping"
            yield Fault(path=(keyword,), code="wrong-type", message=message, at_key=False)


def _module_faults(task: dict[str, Any], modules: list[str], *, named: bool) -> Iterator[Fault]:
    """Say when there is not exactly one module, or its arguments are none."""
    if task and not named:
        mend = "write the module as a key, such as ansible.builtin.command"
        yield Fault(path=(), code="no-module", message="the task names no module", mend=mend, at_key=False)
    for extra in modules[1:]:
        message = f"a task has one module; this one has {quoted(modules[0])} and {quoted(extra)}"
        yield Fault(path=(extra,), code="two-modules", message=message, mend="make two steps of it")
    for module in modules[:1]:
        if not isinstance(task[module], dict | str | None):
            message = f"the arguments of {quoted(module)} must be a mapping or a text"
            mend = "write its options below it, indented"
            yield Fault(path=(module,), code="wrong-type", message=message, mend=mend, at_key=False)


def _module_fault(name: str) -> Fault | None:
    """Say why a key of a task is no module, or nothing when it is one or may be one."""
    short = short_module(name)
    known = builtin_modules()
    if short in known or not known:
        return None
    if is_full_name(name) and short == name:
        return None
    prefix = name.removesuffix(short)
    mend = did_you_mean(short, known | TASK_KEYWORDS, list_up_to=0)
    if mend and prefix:
        mend = mend.replace("«", f"«{prefix}")
    mend = mend or "write the full name of a collection's module: namespace.collection.module"
    return Fault(
        path=(name,), code="unknown-module", message=f"Ansible has no built-in module {quoted(name)}", mend=mend
    )


def local_names(task: dict[str, Any]) -> set[str]:
    """Give the variables that exist only within a task: its `vars` and loop variables."""
    names: set[str] = set()
    variables, control = task.get("vars"), task.get("loop_control")
    if isinstance(variables, dict):
        names |= set(variables)
    if "loop" in task:
        names.add("item")
        if isinstance(control, dict):
            names |= {control[key] for key in ("loop_var", "index_var") if isinstance(control.get(key), str)}
    return names


def set_names(task: dict[str, Any]) -> set[str]:
    """Give the variables that a task sets for later steps."""
    names: set[str] = set()
    for key, arguments in task.items():
        if short_module(key) == _SETS_ITS_KEYS:
            if isinstance(arguments, dict):
                names |= set(arguments)
            elif isinstance(arguments, str):
                names |= set(_FREE_FORM_PAIR.findall(arguments))
    return names


def check_faults(check: dict[str, Any], step: dict[str, Any]) -> Iterator[Fault]:
    """Find everything wrong with a check that its schema lets through."""
    expect = check.get("expect")
    address = check.get("tcp")
    if isinstance(address, str):
        yield from _address_faults(address)
    if "prometheus" in check and isinstance(expect, str):
        match = EXPECTATION.match(expect)
        if match is not None and not is_template(match[2]) and not _NUMBER.match(match[2]):
            message = f"{quoted(match[2])} is neither a number nor a template"
            yield Fault(
                path=("check", "expect"),
                code="threshold",
                message=message,
                mend="compare with a number, such as '> 100'",
                at_key=False,
            )
    if isinstance(expect, dict) and isinstance(expect.get("matches"), str):
        try:
            re.compile(expect["matches"])
        except (re.error, RecursionError, OverflowError) as error:
            message = f"the regular expression {quoted(expect['matches'])} is not readable: {error}"
            yield Fault(
                path=("check", "expect", "matches"), code="pattern", message=message, mend="mend it", at_key=False
            )
    if "delegate_to" in step and ("prometheus" in check or check.get("from") == "controller"):
        yield Fault(
            path=("delegate_to",),
            code="misplaced-key",
            message="this check runs on the controller already",
            mend="delete delegate_to",
        )


def _address_faults(address: str) -> Iterator[Fault]:
    port = address.rpartition(":")[2]
    if port.isdecimal() and not 0 < int(port[:9]) <= _MAX_PORT:
        message = f"{quoted(port)} is no port; ports go from 1 to {_MAX_PORT}"
        yield Fault(
            path=("check", "tcp"), code="port", message=message, mend="write the port behind the colon", at_key=False
        )
