"""What playbook does a stage compile to?

A stage is all steps on one wave of hosts: one playbook, one start of Ansible. The same inputs give the same bytes. The
playbook stands beside the runbooks (in `playbooks/`), so relative paths mean what they mean there, and it runs with
plain `ansible-playbook`.

Not here: which hosts are in which wave (`_resolve`), or what a single step becomes (`_tasks`).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import yaml

from opsascode.repo import PlaybookStep
from opsascode.run._compose import SECRET_PREFIX, Binding, Expression, FlatStep
from opsascode.run._tasks import STEP_VARIABLE, Unsafe, binding_task, scope_variables, step_tasks, undo_task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.repo import Runbook, Value

PLAYBOOK_DIRECTORY: Final = "playbooks"
FACTS_STEP: Final = "facts"  # gathering facts is no step of the runbook, and can fail all the same


class _Dumper(yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper):  # type: ignore[misc]  # PyYAML picks the base by how it was built
    """Plain YAML that plain Ansible reads, with `!unsafe` for texts that must not be evaluated."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


_Dumper.add_representer(Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text)))
_Dumper.add_multi_representer(tuple, lambda dumper, items: dumper.represent_list(items))


def compile_wave(
    runbook: Runbook,
    flats: Sequence[FlatStep | Binding],
    *,
    hosts: Sequence[str],
    variables: Mapping[str, Value | Expression],
    gather_facts: bool,
    prometheus: str,
) -> list[dict[str, object]]:
    """Give the plays of one wave."""
    plays: list[dict[str, object]] = []
    for flat in flats:
        if isinstance(flat, FlatStep) and isinstance(flat.step.action, PlaybookStep):
            plays.append(_import(flat, flat.step.action))
            continue
        if not plays or "tasks" not in plays[-1]:
            first = not plays
            plays.append(_play(runbook, hosts, variables, gather_facts=gather_facts and first))
        tasks = plays[-1]["tasks"]
        if not isinstance(tasks, list):
            msg = "a play without tasks"
            raise TypeError(msg)
        if isinstance(flat, Binding):
            tasks.append(binding_task(flat))
        else:
            tasks.extend(step_tasks(flat, prometheus=prometheus))
    return plays


def compile_undo(
    runbook: Runbook,
    flats: Sequence[FlatStep | Binding],
    completed: Mapping[str, Sequence[str]],
    *,
    variables: Mapping[str, Value | Expression],
    gather_facts: bool,
) -> list[dict[str, object]]:
    """Give the plays that undo, in reverse order, what each host completed (`completed`: host to step ids)."""
    plays: list[dict[str, object]] = []
    for flat in reversed(flats):
        if isinstance(flat, Binding) or flat.step.undo is None:
            continue
        hosts = [host for host, steps in completed.items() if flat.id in steps]
        if not hosts:
            continue
        play = _play(runbook, hosts, variables, gather_facts=gather_facts and not plays)
        play["name"] = f"{runbook.metadata.name}: undo {flat.id}"
        play["tasks"] = [undo_task(flat, flat.step.undo)]
        plays.append(play)
    return plays


def parameter_variables(runbook: Runbook, values: Mapping[str, Value]) -> dict[str, Value | Expression]:
    """Give the parameters as play variables; a secret refers to a variable handed over apart from the playbook."""
    return {
        parameter.name: Expression(text=f"{{{{ {SECRET_PREFIX}{parameter.name} }}}}")
        if parameter.secret
        else values[parameter.name]
        for parameter in runbook.parameters
    }


def render(plays: Sequence[Mapping[str, object]], *, header: Sequence[str]) -> bytes:
    """Give the plays as YAML bytes, the header as comments above them."""
    comments = "".join(f"# {line}\n" for line in header)
    body = yaml.dump(
        [dict(play) for play in plays],
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=110,
        explicit_start=True,
    )
    return (comments + body).encode()


def _play(
    runbook: Runbook, hosts: Sequence[str], variables: Mapping[str, Value | Expression], *, gather_facts: bool
) -> dict[str, object]:
    play: dict[str, object] = {
        "name": runbook.metadata.name,
        "hosts": list(hosts),
        "gather_facts": gather_facts,
    }
    own = {STEP_VARIABLE: FACTS_STEP} if gather_facts else {}
    if variables or own:
        play["vars"] = {**scope_variables(variables), **own}
    play["tasks"] = []
    return play


def _import(flat: FlatStep, action: PlaybookStep) -> dict[str, object]:
    return {
        "name": f"{flat.id} | {flat.step.title}",
        "ansible.builtin.import_playbook": os.path.relpath(action.path, PLAYBOOK_DIRECTORY),
        "vars": {**scope_variables(flat.scope), STEP_VARIABLE: flat.id},
    }
