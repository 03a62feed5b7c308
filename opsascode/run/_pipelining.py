"""Where must Ansible not pipeline, because sudo insists on a terminal there?

Pipelining sends a module through the open connection instead of copying it first, which halves the time of a task; but
then no terminal can be allocated, and a host whose sudoers says `requiretty` refuses. So before the first step that
becomes another user, each host is asked once in the cheapest way: it becomes that user, without a terminal, and runs
`true`. Where sudo refuses for that reason, nothing was run, and this run goes on without pipelining on that host.

Not here: pipelining itself (on by default, see `AnsibleSettings.rendered`), and other reasons why sudo may refuse:
these are told by the step that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_REFUSAL: Final = "must have a tty"
_BY_SSH: Final = (
    "(ansible_connection | default('ssh')) in ['ssh', 'smart', 'ansible.builtin.ssh', 'ansible.builtin.smart']"
)
_BY_SUDO: Final = "(ansible_become_method | default('sudo')) in ['sudo', 'ansible.builtin.sudo']"
_WANTED: Final = "ansible_pipelining | default(true) | bool"


def probed(tasks: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Give the tasks of a play, after the question where one of them becomes another user."""
    given = [dict(task) for task in tasks]
    return [*probe_tasks(), *given] if _becomes(given) else given


def probe_tasks() -> list[dict[str, object]]:
    """Give the tasks that find out, for the beginning of a play in which a step becomes another user."""
    ask: dict[str, object] = {
        "name": "Does sudo work without a terminal",
        "ansible.builtin.raw": "true",
        "become": True,
        "changed_when": False,
        "check_mode": False,
        "vars": {"ansible_ssh_use_tty": False},
    }
    mind: dict[str, object] = {
        "name": "Do without pipelining where it does not",
        "ansible.builtin.set_fact": {"ansible_pipelining": False},
        "when": f"'{_REFUSAL}' in (ansible_failed_result | string)",
    }
    return [
        {
            "name": "Find out about terminals",
            "when": [_BY_SSH, _BY_SUDO, _WANTED],
            "tags": ["always"],
            "block": [ask],
            "rescue": [mind],
        }
    ]


def _becomes(value: object) -> bool:
    if isinstance(value, dict):
        return value.get("become") is True or any(_becomes(each) for each in value.values())
    return isinstance(value, list) and any(_becomes(each) for each in value)
