"""Which names does Ansible know without being told?

Task keywords, variables that exist in every run, functions of its templates, and the modules of the installed
ansible-core, read from its directory: importing Ansible would cost a second and run its code.

Not here: how names are used in a runbook (`_rules`).
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Final

TASK_KEYWORDS: Final = frozenset({
    "args", "changed_when", "check_mode", "delegate_facts", "diff", "failed_when", "ignore_errors",
    "ignore_unreachable", "loop", "loop_control", "module_defaults", "no_log", "throttle", "vars",
})  # fmt: skip
"""Keywords a task body may hold beside its module; looping by `with_…` is not among them, `loop` does it all."""

REFUSED_KEYWORDS: Final = {
    "action": "write the module's name as the key",
    "always": "write the tasks as steps; on_failure and undo say what follows a failure",
    "any_errors_fatal": "the runbook's on_failure decides that",
    "async": "a task that goes on after its step has ended could not be recorded; give the step a timeout",
    "become": "write it on the step, beside task",
    "become_exe": "write become_method on the step, beside task",
    "become_flags": "write become_method on the step, beside task",
    "become_method": "write it on the step, beside task",
    "become_user": "write it on the step, beside task",
    "block": "write the tasks as steps",
    "collections": "write the module's full name",
    "connection": "the inventory says how a host is reached",
    "debugger": "nobody may be there to answer it",
    "delay": "write retry: {attempts: …, delay: …} on the step, beside task",
    "delegate_to": "write it on the step, beside task",
    "environment": "write it on the step, beside task",
    "local_action": "write the module's name as the key, and delegate_to: localhost on the step",
    "name": "write title on the step, beside task",
    "notify": "handlers would run outside the steps; write a step of its own",
    "poll": "a task that goes on after its step has ended could not be recorded; give the step a timeout",
    "port": "the inventory says how a host is reached",
    "register": "write it on the step, beside task",
    "remote_user": "the inventory says how a host is reached",
    "rescue": "write the tasks as steps; on_failure and undo say what follows a failure",
    "retries": "write retry: {attempts: …, delay: …} on the step, beside task",
    "run_once": "write it on the step, beside task",
    "tags": "a runbook runs as it stands; write a runbook of its own, or a parameter and when",
    "timeout": "write it on the step, beside task",
    "until": "write retry on the step and failed_when in the task",
    "when": "write it on the step, beside task",
}
"""Ansible's task keywords that a task body may not hold, and what to write instead."""

_SPECIAL_VARIABLES: Final = frozenset({
    "environment", "group_names", "groups", "hostvars", "inventory_dir", "inventory_file", "inventory_hostname",
    "inventory_hostname_short", "omit", "play_hosts", "playbook_dir", "role_name", "role_names", "role_path", "vars",
})  # fmt: skip
_FUNCTIONS: Final = frozenset({
    "cycler", "dict", "joiner", "lipsum", "lookup", "namespace", "now", "q", "query", "range", "undef",
})  # fmt: skip
_TEMPLATE_WORDS: Final = frozenset({"caller", "kwargs", "loop", "self", "varargs"})
KNOWN_EVERYWHERE: Final = _SPECIAL_VARIABLES | _FUNCTIONS | _TEMPLATE_WORDS

OPAQUE_MODULES: Final = frozenset({
    "import_role", "import_tasks", "include_role", "include_tasks", "include_vars", "script", "template",
})  # fmt: skip
"""Modules that read content of their own, where any variable may be used, and mostly also set."""

_FULL_NAME = re.compile(r"[a-z_][a-z0-9_]*(?:\.[a-z0-9_]+){2,}\Z")
_NOT_TASKS: Final = frozenset({"async_status", "import_playbook", "include", "meta"})


def known_everywhere(name: str) -> bool:
    """Tell whether a variable exists in every run: Ansible's own, a fact, or a function of its templates."""
    return name in KNOWN_EVERYWHERE or name.startswith("ansible_")


def short_module(module: str) -> str:
    """Give the last part of a built-in module's name, and any other name as it is."""
    for prefix in ("ansible.builtin.", "ansible.legacy."):
        if module.startswith(prefix):
            return module.removeprefix(prefix)
    return module


def is_full_name(name: str) -> bool:
    """Tell whether this is the full name of a collection's module or role: `namespace.collection.name`."""
    return _FULL_NAME.match(name) is not None


@cache
def builtin_modules() -> frozenset[str]:
    """List the modules of the installed ansible-core; empty when it is not installed."""
    from importlib.util import find_spec  # noqa: PLC0415 - only a task needs it

    spec = find_spec("ansible")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    names: set[str] = set()
    for place in places:
        try:
            found = os.listdir(os.path.join(place, "modules"))  # noqa: PTH118, PTH208 - a hundred names on every check, no Path for each
        except OSError:
            continue
        names.update(name.removesuffix(".py") for name in found if name.endswith(".py") and not name.startswith("_"))
    return frozenset(names - _NOT_TASKS)
