"""Which Ansible tasks is one step?

Every step becomes tasks in Ansible's own syntax, marked with the variable `opsascode_step` so that the journal knows
whose result it reads. Checks never change anything: they report no change and run in check mode too. What a check
expects stands beside it as `opsascode_expect`, for the message a person reads when it is not so.

Not here: plays, hosts and files (`_compiler`); what the words of a step mean (`repo`).
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Final

from opsascode.repo import (
    CommandCheck,
    Comparison,
    ConditionCheck,
    HttpCheck,
    NotifyStep,
    PrometheusCheck,
    RoleStep,
    RunbookStep,
    Step,
    TaskStep,
    TcpCheck,
    Undo,
    Vantage,
)
from opsascode.run._compose import Binding, Expression, FlatStep, is_template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.repo import Action, Value

STEP_VARIABLE: Final = "opsascode_step"
EXPECT_VARIABLE: Final = "opsascode_expect"
UNDO_PREFIX: Final = "undo."
_CHECK_SECONDS: Final = 10
_GRACE_SECONDS: Final = 5  # the module gives up first and can say why
_NOTIFYING: Final = frozenset({"import_role", "import_tasks", "include_role", "include_tasks"})
_TESTS: Final = {
    Comparison.MORE: "gt",
    Comparison.AT_LEAST: "ge",
    Comparison.LESS: "lt",
    Comparison.AT_MOST: "le",
    Comparison.EQUAL: "eq",
    Comparison.UNEQUAL: "ne",
}


class Unsafe(str):
    """A text that Ansible must never evaluate: a value somebody gave, not a line of the runbook."""

    __slots__ = ()


def step_tasks(flat: FlatStep, *, prometheus: str) -> list[dict[str, object]]:
    """Give the tasks of one step; `prometheus` is the base URL of the server that answers queries."""
    step = flat.step
    if isinstance(step.action, RunbookStep):
        return _outputs(flat, [*flat.conditions])
    register = step.register or f"opsascode_{re.sub('[^a-z0-9]', '_', flat.id)}"
    body, own = _action(step.action, register, prometheus)
    if isinstance(step.action, RoleStep) and step.loop is not None:
        body = {"ansible.builtin.include_role": body["ansible.builtin.import_role"]}
    task: dict[str, object] = {"name": _name(flat.id, step.title), **body}
    _execute(task, step)
    _repeat(task, step)
    task["vars"] = {**scope_variables(flat.scope), **_mapping(own.pop("vars", {})), STEP_VARIABLE: flat.id}
    task.update(own)
    conditions = [*flat.conditions, *step.when, *_listed(task.pop("when", []))]
    if conditions:
        task["when"] = conditions
    if step.register or step.retry or "failed_when" in task:
        task["register"] = register
    if step.retry:
        task.update(
            retries=step.retry.attempts - 1,
            delay=math.ceil(step.retry.delay.total_seconds()),
            until=f"{register} is not failed",
        )
    return [task, *_handlers(flat), *_outputs(flat, conditions)]


def pause_task(flat_id: str, title: str, prompt: str) -> dict[str, object]:
    """Give the task that asks whoever runs the playbook by hand, where a run asks people."""
    return {
        "name": _name(flat_id, title),
        "ansible.builtin.pause": {"prompt": variable(prompt)},
        "vars": {STEP_VARIABLE: flat_id},
    }


def binding_task(binding: Binding) -> dict[str, object]:
    """Give the task that evaluates the values handed to a composed runbook."""
    task: dict[str, object] = {
        "name": f"{_name(binding.id, binding.title)}: parameters",
        "ansible.builtin.set_fact": {name: expression.text for name, expression in binding.facts.items()},
        "vars": {**scope_variables(binding.scope), STEP_VARIABLE: binding.id},
    }
    if binding.conditions:
        task["when"] = list(binding.conditions)
    if binding.secret:
        task["no_log"] = True
    return task


def undo_tasks(flat: FlatStep, undo: Undo, *, prometheus: str) -> list[dict[str, object]]:
    """Give the tasks that undo a step; a host where one fails goes on with its other undo steps."""
    tasks = [_undo_task(flat, undo, undo.action, prometheus)]
    if undo.check:
        tasks.append(_undo_task(flat, undo, undo.check, prometheus))
    return tasks


def _undo_task(flat: FlatStep, undo: Undo, action: Action, prometheus: str) -> dict[str, object]:
    checks = action is undo.check
    register = f"opsascode_undo_{re.sub('[^a-z0-9]', '_', flat.id)}"
    body, own = _action(action, register, prometheus)
    name = _name(f"{UNDO_PREFIX}{flat.id}", undo.title)
    task: dict[str, object] = {"name": f"{name}: check" if checks else name, **body}
    _execute(task, undo)
    task["vars"] = {
        **scope_variables(flat.scope),
        **_mapping(own.pop("vars", {})),
        STEP_VARIABLE: f"{UNDO_PREFIX}{flat.id}",
    }
    task.update(own)
    conditions = [*undo.when, *_listed(task.pop("when", []))]
    if conditions:
        task["when"] = conditions
    if undo.retry or "failed_when" in task:
        task["register"] = register
    if undo.retry:
        task.update(
            retries=undo.retry.attempts - 1,
            delay=math.ceil(undo.retry.delay.total_seconds()),
            until=f"{register} is not failed",
        )
    return {**task, "ignore_errors": True, "ignore_unreachable": True}


def scope_variables(scope: Mapping[str, Value | Expression]) -> dict[str, object]:
    """Give parameters as Ansible variables: expressions stay expressions, every other text is never evaluated."""
    return {name: variable(value) for name, value in scope.items()}


def variable(value: Value | Expression) -> object:
    """Give one value as Ansible may see it."""
    if isinstance(value, Expression):
        return value.text
    if isinstance(value, str):
        return Unsafe(value) if is_template(value) else value
    if isinstance(value, (list, tuple)):
        return [variable(item) for item in value]
    return value


def _action(  # noqa: PLR0911 - one return for each kind of action
    action: Action, register: str, prometheus: str
) -> tuple[dict[str, object], dict[str, object]]:
    """Give the module call, and the keywords that belong to it."""
    match action:
        case TaskStep():
            return {action.module: action.arguments}, dict(action.keywords)
        case RoleStep():
            return _role(action)
        case NotifyStep():
            return {"ansible.builtin.debug": {"msg": action.message}}, {"run_once": True}
        case HttpCheck():
            return _http(action, register)
        case TcpCheck():
            return _tcp(action)
        case CommandCheck():
            return _command(action, register)
        case PrometheusCheck():
            return _prometheus(action, register, prometheus)
        case ConditionCheck():
            return _condition(action)
        case _:
            msg = f"{type(action).__name__} is no task"
            raise TypeError(msg)


def _role(role: RoleStep) -> tuple[dict[str, object], dict[str, object]]:
    call: dict[str, object] = {"name": role.name}
    if role.tasks_from:
        call["tasks_from"] = role.tasks_from
    return {"ansible.builtin.import_role": call}, {"vars": dict(role.variables)} if role.variables else {}


def _check(expect: str, vantage: Vantage | None = None) -> dict[str, object]:
    keywords: dict[str, object] = {
        "changed_when": False,
        "check_mode": False,
        # What a prediction did not change cannot be as a check expects it: it is told, and the prediction goes on.
        "ignore_errors": "{{ ansible_check_mode }}",
        "vars": {EXPECT_VARIABLE: expect},
    }
    if vantage is Vantage.CONTROLLER:
        keywords |= {"delegate_to": "localhost", "become": False}
    return keywords


def _http(check: HttpCheck, register: str) -> tuple[dict[str, object], dict[str, object]]:
    codes = list(check.status)
    call: dict[str, object] = {
        "url": check.url,
        "method": check.method,
        "status_code": codes,
        "timeout": _CHECK_SECONDS,
    }
    if check.headers:
        call["headers"] = dict(check.headers)
    if not check.validate_certs:
        call["validate_certs"] = False
    expect = f"status {' or '.join(map(str, codes))}"
    if check.contains is None:
        return {"ansible.builtin.uri": call}, _check(expect, check.vantage)
    call["return_content"] = True
    keywords = _check(f"{expect} and a body with «{check.contains}»", check.vantage)
    keywords["failed_when"] = [
        (
            f"{register}.status | default(0) not in {json.dumps(codes)} "
            f"or {_quoted(check.contains)} not in ({register}.content | default(''))"
        )
    ]
    return {"ansible.builtin.uri": call}, keywords


def _tcp(check: TcpCheck) -> tuple[dict[str, object], dict[str, object]]:
    call = {"host": check.host, "port": check.port, "timeout": _CHECK_SECONDS, "connect_timeout": 5}
    return {"ansible.builtin.wait_for": call}, _check(f"{check.host}:{check.port} to accept connections", check.vantage)


def _command(check: CommandCheck, register: str) -> tuple[dict[str, object], dict[str, object]]:
    line = check.command
    command: object = {"cmd": line} if isinstance(line, str) else {"argv": list(line)}
    codes = list(check.rc)
    expect = [f"exit code {' or '.join(map(str, codes))}"]
    failures = [f"{register}.rc | default(-1) not in {json.dumps(codes)}"]
    if check.contains is not None:
        expect.append(f"output with «{check.contains}»")
        failures.append(f"{_quoted(check.contains)} not in ({register}.stdout | default(''))")
    if check.matches is not None:
        expect.append(f"output matching «{check.matches}»")
        failures.append(f"({register}.stdout | default('')) is not search({_quoted(check.matches)})")
    keywords = _check(" and ".join(expect))
    keywords["failed_when"] = [" or ".join(f"({failure})" for failure in failures)]
    return {"ansible.builtin.command": command}, keywords


def _prometheus(check: PrometheusCheck, register: str, prometheus: str) -> tuple[dict[str, object], dict[str, object]]:
    call = {
        "url": f"{prometheus.rstrip('/')}/api/v1/query",
        "method": "POST",
        "body_format": "form-urlencoded",
        "body": {"query": check.query},
        "return_content": True,
        "timeout": _CHECK_SECONDS,
    }
    keywords = _check(
        f"{check.query} {check.comparison.value} {check.threshold}, for every series of at least one",
        Vantage.CONTROLLER,
    )
    keywords["vars"] = {
        **_mapping(keywords["vars"]),
        "opsascode_answer": f"{{{{ ({register}.json | default({{}})).data | default({{}}) }}}}",
        "opsascode_values": (
            "{{ [opsascode_answer.result[1]] if opsascode_answer.resultType | default('') == 'scalar' "
            "else opsascode_answer.result | default([]) | map(attribute='value') | map('last') | list }}"
        ),
    }
    threshold = f"{_quoted(check.threshold)} | float"
    keywords["failed_when"] = [
        (
            f"{register}.status | default(0) != 200 or opsascode_values | length == 0 or 'NaN' in opsascode_values or "
            f"opsascode_values | map('float') | reject('{_TESTS[check.comparison]}', {threshold}) | list | length > 0"
        )
    ]
    return {"ansible.builtin.uri": call}, keywords


def _condition(check: ConditionCheck) -> tuple[dict[str, object], dict[str, object]]:
    call: dict[str, object] = {"that": list(check.conditions), "quiet": True}
    if check.message:
        call["fail_msg"] = check.message
    return {"ansible.builtin.assert": call}, _check(" and ".join(check.conditions))


def _execute(task: dict[str, object], step: Step | Undo) -> None:
    if step.timeout:
        seconds = max(1, math.ceil(step.timeout.total_seconds()))
        task["timeout"] = seconds
        actions = (step.action, step.check) if isinstance(step, Undo) else (step.action,)
        for check, module in ((TcpCheck, "ansible.builtin.wait_for"), (HttpCheck, "ansible.builtin.uri")):
            call = task.get(module)
            if any(isinstance(action, check) for action in actions) and isinstance(call, dict) and "timeout" in call:
                call["timeout"] = seconds
                task["timeout"] = seconds + _GRACE_SECONDS
    become = step.become
    options = {
        "become": become.enabled,
        "become_user": become.user,
        "become_method": become.method,
        "delegate_to": step.delegate_to,
        "environment": dict(step.environment) or None,
    }
    given: dict[str, object] = {keyword: value for keyword, value in options.items() if value is not None}
    call = task.get("ansible.builtin.include_role")
    if isinstance(step, Step) and step.run_once:
        given["run_once"] = True
    if isinstance(step.action, RoleStep) and isinstance(call, dict):  # an include takes these for its tasks from here
        given |= {"timeout": task.pop("timeout")} if "timeout" in task else {}
        call |= {"apply": given} if given else {}
    else:
        task.update(given)


def _repeat(task: dict[str, object], step: Step) -> None:
    if step.loop is not None:
        task["loop"] = step.loop if isinstance(step.loop, str) else list(step.loop)


def _handlers(flat: FlatStep) -> list[dict[str, object]]:
    """Run the handlers that a role or included tasks notified before the next step begins, as part of this one."""
    action = flat.step.action
    if not isinstance(action, RoleStep) and not (
        isinstance(action, TaskStep) and action.module.rpartition(".")[2] in _NOTIFYING
    ):
        return []
    return [
        {
            "name": f"{_name(flat.id, flat.step.title)}: handlers",
            "ansible.builtin.meta": "flush_handlers",
            "vars": {STEP_VARIABLE: flat.id},
        }
    ]


def _outputs(flat: FlatStep, conditions: list[str]) -> list[dict[str, object]]:
    if not flat.step.outputs:
        return []
    task: dict[str, object] = {
        "name": f"{_name(flat.id, flat.step.title)}: outputs",
        "ansible.builtin.set_fact": dict(flat.step.outputs),
        "vars": {**scope_variables(flat.scope), STEP_VARIABLE: flat.id},
    }
    if conditions:
        task["when"] = conditions
    if flat.step.run_once:  # so the step is completed where it was done; what is set is known to all
        task["run_once"] = True
    return [task]


def _quoted(text: str) -> str:
    """Give a text of the runbook as a Jinja string expression; templates in it are joined in."""
    if not is_template(text):
        return json.dumps(text, ensure_ascii=False)
    parts = re.split(r"(\{\{.*?\}\})", text, flags=re.DOTALL)
    pieces = [f"({part[2:-2].strip()})" if part.startswith("{{") else json.dumps(part) for part in parts if part]
    return f"({' ~ '.join(pieces)})"


def _name(step: str, title: str) -> str:
    return step if title == step else f"{step} | {title}"


def _mapping(value: object) -> dict[str, object]:
    return dict(value) if isinstance(value, dict) else {}


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]
