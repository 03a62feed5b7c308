"""What playbook does work on hosts compile to?

One playbook is one start of Ansible. The same inputs give the same bytes. The playbook stands beside the runbooks (in
`playbooks/`), so relative paths mean what they mean there, and it runs with plain `ansible-playbook`.

What earlier starts of Ansible registered or set comes as one variable, `opsascode_kept`. Plays name what their text can
refer to as play variables, which give way to anything that is registered or set anew.

Not here: which hosts take which steps when (`_cut`), or what a single step becomes (`_tasks`).
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import yaml

from opsascode.repo import PlaybookStep, RoleStep, TaskStep
from opsascode.run._compose import Binding, Expression, FlatStep, secret_reference
from opsascode.run._pipelining import probed
from opsascode.run._tasks import STEP_VARIABLE, Unsafe, binding_task, scope_variables, step_tasks, undo_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from opsascode.repo import Runbook, Value

PLAYBOOK_DIRECTORY: Final = "playbooks"
FACTS_STEP: Final = "facts"  # gathering facts is no step of the runbook, and can fail all the same
KEPT_VARIABLE: Final = "opsascode_kept"
_OPAQUE: Final = frozenset(
    {"import_role", "import_tasks", "include_role", "include_tasks", "include_vars", "script", "template"}
)
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Dumper(yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper):  # type: ignore[misc]  # PyYAML picks the base by how it was built
    """Plain YAML that plain Ansible reads, with `!unsafe` for texts that must not be evaluated."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True


_Dumper.add_representer(Unsafe, lambda dumper, text: dumper.represent_scalar("!unsafe", str(text)))
_Dumper.add_multi_representer(tuple, lambda dumper, items: dumper.represent_list(items))

Hosts = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What all plays of a run share: its name, its parameters as variables, facts, and where Prometheus is."""

    name: str
    variables: Mapping[str, Value | Expression]
    gather_facts: bool
    prometheus: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One step or binding and the hosts that take it; `kept` are the names that earlier starts of Ansible left them.

    `all_hosts` are the hosts Ansible is started for, where that is more.
    """

    flat: FlatStep | Binding
    hosts: Hosts
    all_hosts: Hosts
    kept: tuple[str, ...] = ()


def compile_pieces(
    frame: Frame, pieces: Sequence[Piece], *, max_fail_percent: Decimal | None = None
) -> list[dict[str, object]]:
    """Give the plays of some work, in order; steps that the same hosts take one after the other share a play."""
    plays: list[dict[str, object]] = []
    groups: list[list[Piece]] = []
    for piece in pieces:
        joins = groups and not _is_import(piece) and not _is_import(groups[-1][0])
        if joins and groups[-1][0].hosts == piece.hosts:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    known: set[str] = set()
    for group in groups:
        first = group[0]
        kept = tuple(dict.fromkeys(name for piece in group for name in piece.kept))
        if isinstance(first.flat, FlatStep) and isinstance(first.flat.step.action, PlaybookStep):
            plays.append(_import(first, first.flat, first.flat.step.action, kept))
            continue
        tasks = probed([task for piece in group for task in _tasks(frame, piece.flat)])
        play = _play(frame, first.hosts, gather_facts=frame.gather_facts and not known.issuperset(first.hosts))
        if max_fail_percent is not None:
            play["max_fail_percentage"] = _number(max_fail_percent)
        _add_kept(frame, play, tasks, kept, whole=any(_is_opaque(piece.flat) for piece in group))
        known.update(first.hosts)
        plays.append(play)
    return plays


def compile_undo(
    frame: Frame, flats: Sequence[FlatStep | Binding], completed: Mapping[str, Sequence[str]]
) -> tuple[list[dict[str, object]], Hosts]:
    """Give the plays that undo, in reverse order, what each host completed (host to step ids), and their hosts."""
    plays: list[dict[str, object]] = []
    kept = tuple(dict.fromkeys(name for flat in flats for name in flat.names))
    known: set[str] = set()
    for flat in reversed(flats):
        if isinstance(flat, Binding) or flat.step.undo is None:
            continue
        hosts = tuple(host for host, steps in completed.items() if flat.id in steps)
        if not hosts:
            continue
        play = _play(frame, hosts, gather_facts=frame.gather_facts and not known.issuperset(hosts))
        play["name"] = f"{frame.name}: undo {flat.id}"
        tasks = probed(undo_tasks(flat, flat.step.undo, prometheus=frame.prometheus))
        _add_kept(frame, play, tasks, kept, whole=_reads_content(flat.step.undo.action))
        known.update(hosts)
        plays.append(play)
    return plays, tuple(host for host in completed if host in known)


def parameter_variables(runbook: Runbook, values: Mapping[str, Value]) -> dict[str, Value | Expression]:
    """Give the parameters as play variables; a secret refers to a variable handed over apart from the playbook."""
    return {
        parameter.name: secret_reference(parameter.name) if parameter.secret else values[parameter.name]
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


def task_play(frame: Frame, hosts: Hosts, task: Mapping[str, object]) -> dict[str, object]:
    """Give a play of one task that has nothing to do with the hosts themselves."""
    return {"name": frame.name, "hosts": list(hosts), "gather_facts": False, "tasks": [dict(task)]}


def _tasks(frame: Frame, flat: FlatStep | Binding) -> list[dict[str, object]]:
    return [binding_task(flat)] if isinstance(flat, Binding) else step_tasks(flat, prometheus=frame.prometheus)


def _play(frame: Frame, hosts: Hosts, *, gather_facts: bool) -> dict[str, object]:
    return {"name": frame.name, "hosts": list(hosts), "gather_facts": gather_facts}


def _add_kept(
    frame: Frame, play: dict[str, object], tasks: list[dict[str, object]], kept: Sequence[str], *, whole: bool
) -> None:
    """Give a play its variables, then its tasks; `whole` when any kept name may be used, as content is read unseen."""
    own = {STEP_VARIABLE: FACTS_STEP} if play["gather_facts"] else {}
    variables = {**scope_variables(frame.variables), **_kept(frame, tasks, kept, whole=whole), **own}
    if variables:
        play["vars"] = variables
    play["tasks"] = tasks


def _kept(frame: Frame, tasks: object, kept: Sequence[str], *, whole: bool) -> dict[str, object]:
    if not kept:
        return {}
    words = set(_WORD.findall(json.dumps(tasks, ensure_ascii=False)))
    return {
        name: f"{{{{ {KEPT_VARIABLE}[inventory_hostname].{name} }}}}"
        for name in kept
        if name not in frame.variables and (whole or name in words)
    }


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _is_import(piece: Piece) -> bool:
    return isinstance(piece.flat, FlatStep) and isinstance(piece.flat.step.action, PlaybookStep)


def _is_opaque(flat: FlatStep | Binding) -> bool:
    return isinstance(flat, FlatStep) and _reads_content(flat.step.action)


def _reads_content(action: object) -> bool:
    """Whether an action reads content of its own, where any name may be used."""
    if isinstance(action, TaskStep):
        return action.module.rpartition(".")[2] in _OPAQUE
    return isinstance(action, RoleStep)


def _import(piece: Piece, flat: FlatStep, action: PlaybookStep, kept: Sequence[str]) -> dict[str, object]:
    play: dict[str, object] = {
        "name": f"{flat.id} | {flat.step.title}",
        "ansible.builtin.import_playbook": os.path.relpath(action.path, PLAYBOOK_DIRECTORY),
        "vars": {
            **{name: f"{{{{ {KEPT_VARIABLE}[inventory_hostname].{name} }}}}" for name in kept},
            **scope_variables(flat.scope),
            STEP_VARIABLE: flat.id,
        },
    }
    if piece.hosts != piece.all_hosts:
        play["when"] = f"inventory_hostname in {json.dumps(list(piece.hosts))}"
    return play
