# ruff: noqa: ANN401, ARG002, D401, FBT002, INP001, SLF001 - Ansible's own signatures, untyped and called by name
"""What did Ansible do, to whom, and what did the host itself say? This Ansible callback writes it down.

It runs inside ansible-playbook, so it imports nothing of opsascode. Its file name is the one ansible-runner asks for as
the output plugin, which keeps ansible-runner from loading its own, which sends events through the text of the output.

- One line of JSON per event, one write per line, numbered without a gap from 0: a reader sees any loss.
- An event that cannot be written down uses up its number; a journal that cannot be written to ends the run.
- Secrets are replaced before anything is cut, hashed or written. Digests are of the text after that.
- Each task is given a mark in its environment, by which its processes can be found on whatever host they run.
- What Ansible itself prints from here on goes to a file and its input is empty: no text that a managed host chose can
  reach the pty, where ansible-runner looks for events, and no prompt can wait for an answer.

Not here: any judgement of the run (opsascode.run), and any text for people except `message`.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import json
import os
import platform
import re
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ansible import __version__ as ansible_version
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar


def _load(name: str) -> Any:
    """Load a file of ours by its path; beside this one, Ansible would take it for a callback."""
    spec = importlib.util.spec_from_file_location(f"opsascode{name}", Path(__file__).parents[1] / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


said = _load("_said")

DOCUMENTATION = """
    name: awx_display
    type: stdout
    short_description: writes the journal of a stage
    description:
        - Writes one line of JSON for each event to the journal of a stage.
    version_added: "0.1.0"
"""

STEP_VARIABLE: Final = "opsascode_step"
MARK_VARIABLE: Final = "OPSASCODE_TASK"
NAME_LIMIT: Final = 512
TEXT_LIMIT: Final = 8192
DIFF_LIMIT: Final = 16384
KEPT_LIMIT: Final = 65536
LARGEST_CODE: Final = 1 << 31
MASK: Final = "[secret]"
PR_SET_PDEATHSIG: Final = 1

_ONCE_ACTIONS = frozenset({"add_host", "pause"})
# What has no process of its own on a host, and what cannot be given an environment there.
_UNTRACED_ACTIONS = frozenset({
    "add_host", "assert", "debug", "fail", "group_by", "include_role", "include_tasks", "include_vars", "meta", "pause",
    "raw", "set_fact", "set_stats", "validate_argument_spec", "wait_for_connection",
})  # fmt: skip
_QUIET_ACTIONS = _UNTRACED_ACTIONS - {"raw"}
_NETWORK_CONNECTIONS = frozenset({"network_cli", "httpapi", "netconf"})
_LOCAL_CONNECTIONS = _NETWORK_CONNECTIONS | {"local"}


class CallbackModule(CallbackBase):  # type: ignore[misc]  # reason: ansible publishes no types
    """Ansible's output plugin: silent on the terminal, exact in the journal."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "awx_display"

    def __init__(self) -> None:
        super().__init__()
        environ = os.environ
        # Taken out of the environment: what tasks start on this machine need not know where the journal is.
        self._journal = os.open(environ.pop("OPSASCODE_JOURNAL"), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        self._secrets = _secret_pattern(environ.pop("OPSASCODE_SECRETS", ""))
        for path in filter(None, environ.pop("OPSASCODE_LENT", "").split(os.pathsep)):
            _destroy(Path(path))
        self._texts = said.Texts(environ.pop("OPSASCODE_TEXTS"))
        self._ident = environ.get("OPSASCODE_STAGE", "")
        self._begun: dict[tuple[str, str], str] = {}
        self._steps: dict[str, str | None] = {}
        self._connections: dict[str, str] = {}
        self._play: Any = None
        self._seq = 0
        _die_with_parent()
        _take_over_output(environ.pop("OPSASCODE_OUTPUT"))
        # Wrapped lines would hide a secret from the replacement that is made when the output is kept.
        self._display.columns = 1_000_000
        about = {"ident": self._ident, "ansible": ansible_version, "python": platform.python_version()}
        self._write("start", {**about, "pid": os.getpid()})

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A play, or the next batch of a play with `serial`, begins."""
        self._play = play
        hosts = play.get_variable_manager()._inventory.get_hosts(play.hosts, order=play.order)
        self._write("play", {"name": self._name(play.get_name()), "hosts": len(hosts)})

    def v2_playbook_on_task_start(self, task: Any, is_conditional: Any = None) -> None:
        """A task begins."""
        self._task(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """A handler begins."""
        self._task(task)

    def v2_playbook_on_cleanup_task_start(self, task: Any) -> None:
        """A clean-up task begins."""
        self._task(task)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """A host begins a task."""
        self._begun[task._uuid, host.name] = _now()
        if said.short(task.action) in _QUIET_ACTIONS:
            return
        fields = self._about(task, host.name)
        place = host.name
        if task.delegate_to:
            place = fields["place"] = self._delegate(host, task)
        if self._is_local(place, task):
            fields["local"] = True
        self._write("begin", fields)

    def v2_runner_on_ok(self, result: Any) -> None:
        """A host did a task."""
        self._host(result, "changed" if result.is_changed() else "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: Any = False) -> None:
        """A host failed a task; a rescue may follow."""
        self._host(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        """A task did not apply to a host."""
        self._host(result, "skipped")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._host(result, "ignored" if result._task_fields.get("ignore_unreachable") else "unreachable")

    def v2_runner_retry(self, result: Any) -> None:
        """An attempt failed and another follows."""
        data = result._result
        fields = self._about(result._task, result._host.name)
        fields |= {"attempt": _count(data.get("attempts")), "attempts": _count(data.get("retries"))}
        self._write("retry", fields)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Ansible has come to its end."""
        self._write("end", {"hosts": {str(host): stats.summarize(host) for host in sorted(stats.processed)}})

    def _task(self, task: Any) -> None:
        uuid = task._uuid
        traced = self._trace(task)
        if uuid in self._steps:  # the free strategy announces a task more than once
            return
        self._steps[uuid] = _step(task, self._play)
        fields = {"task": uuid, "step": self._steps[uuid], "name": self._name(task.get_name()), "action": task.action}
        if task.run_once is True or said.short(task.action) in _ONCE_ACTIONS:
            fields["once"] = True
        if traced:
            fields["traced"] = True
        if task.become or "ansible_become" in {**getattr(self._play, "vars", {}), **task.get_vars()}:
            fields["become"] = True
        self._write("task", fields)

    def _trace(self, task: Any) -> bool:
        """Put the mark into the environment of the task's processes; the task is the one that is then carried out."""
        if said.short(task.action) in _UNTRACED_ACTIONS or said.short(task.connection) in _NETWORK_CONNECTIONS:
            return False
        mark = f"{self._ident}.{task._uuid}"
        own = getattr(task, "_environment", None)
        entries = own if isinstance(own, list) else [own] if isinstance(own, (str, dict)) else []
        if {MARK_VARIABLE: mark} not in entries:
            task._environment = [*entries, {MARK_VARIABLE: mark}]
        return True

    def _delegate(self, host: Any, task: Any) -> str:
        """The host that does the task for another; empty when only the task itself will know."""
        try:
            known = self._play.get_variable_manager().get_vars(play=self._play, host=host, task=task)
            return str(Templar(loader=task._loader, variables=known).template(task.delegate_to))
        except Exception:  # noqa: BLE001 - it may need the item of a loop; not to know is an answer
            return ""

    def _is_local(self, place: str, task: Any) -> bool:
        """Whether what a task runs for a host runs on this machine, as a process below us."""
        if place not in self._connections:
            manager = self._play.get_variable_manager()
            host = manager._inventory.get_host(place)
            known = manager.get_vars(host=host, include_hostvars=False) if host else {}
            implied = "local" if place == "localhost" else ""
            self._connections[place] = said.short(known.get("ansible_connection") or implied)
        return (self._connections[place] or said.short(task.connection)) in _LOCAL_CONNECTIONS

    def _about(self, task: Any, host: str) -> dict[str, Any]:
        if task._uuid not in self._steps:
            self._task(task)
        return {"task": task._uuid, "step": self._steps[task._uuid], "host": host}

    def _host(self, result: Any, status: str) -> None:
        task, host, data = result._task, result._host.name, result._result
        fields = self._about(task, host)
        seq = self._number()  # before the result is looked at: if that fails, the gap tells
        fields |= {"status": status, "started": self._begun.pop((task._uuid, host), None) or _now(), "ended": _now()}
        try:
            fields |= self._content(result, status)
        except Exception as error:  # noqa: BLE001 - whatever a host says must not cost another host its result
            fields |= {"message": f"the result cannot be read: {type(error).__name__}", "rc": None, "output": None}
        self._put(seq, "host", fields)
        self._keep(task, host, {**data, **said.states(data, status)})

    def _content(self, result: Any, status: str) -> dict[str, Any]:
        """What the host said; in the worst case anything at all."""
        task, data = result._task, result._result
        rc = data.get("rc")
        message = said.message(data, status, task.action) + said.expected(result, status)
        fields = {
            "message": self._shown(message, said.MESSAGE_LIMIT),
            "rc": rc if type(rc) is int and abs(rc) < LARGEST_CODE else None,
            "output": self._evidence(said.output(data), TEXT_LIMIT),
        }
        delegated = data.get("_ansible_delegated_vars")
        if delegated:
            fields["delegate"] = self._name(result._task_fields.get("delegate_to") or delegated.get("ansible_host"))
        items = data.get("results")
        if type(items) is list and "censored" not in data:
            fields["item_count"] = len(items)
        if "diff" in data and result._task_fields.get("diff"):
            fields["diff"] = self._evidence(self._difference(data), DIFF_LIMIT)
        if task.timeout and said.timed_out(data):
            fields["timed_out"] = True
        return fields

    def _keep(self, task: Any, host: str, data: dict[str, Any]) -> None:
        """Write down what a step's own task registers or sets, for later stages."""
        if STEP_VARIABLE not in (task.vars or ()):
            return
        named: dict[str, Any] = {}
        if said.short(task.action) == "set_fact":
            named |= {name: value for name, value in (data.get("ansible_facts") or {}).items() if name != "cacheable"}
        # ansible-core 2.21 has a mapping of names where others have one name.
        register = task.register or ()
        named |= dict.fromkeys((register,) if isinstance(register, str) else tuple(register), data)
        fields: dict[str, Any]
        if "censored" in data or data.get("_ansible_no_log"):
            fields = {"values": {}, "lost": dict.fromkeys(said.hidden_names(task) | set(named), "no_log is set")}
        else:
            judged = {name: self._keepable(value) for name, value in named.items()}
            fields = {
                "values": {name: value for name, (value, reason) in judged.items() if not reason},
                "lost": {name: reason for name, (_, reason) in judged.items() if reason},
            }
        if fields["values"] or fields["lost"]:
            once = task.run_once is True
            self._write("keep", {**self._about(task, host), **({"once": True} if once else {}), **fields})

    def _keepable(self, value: object) -> tuple[object, str]:
        """The value as plain data, or why it cannot be kept."""
        try:
            plain = said.plain(value)
            text = json.dumps(plain, allow_nan=False)
            if len(text) > KEPT_LIMIT:
                return None, f"is larger than {KEPT_LIMIT // 1024} KiB"
            shown = json.dumps(plain, ensure_ascii=False)
        except (RecursionError, TypeError, ValueError):
            return None, "is no plain value"
        if self._secrets and (self._secrets.search(text) or self._secrets.search(shown)):
            return None, "holds a secret"
        return plain, ""

    def _difference(self, data: dict[str, Any]) -> str:
        items = data.get("results")
        parts = [i.get("diff") for i in items if isinstance(i, dict)] if isinstance(items, list) else [data["diff"]]
        return "".join(self._get_diff(part) for part in parts if part)

    def _name(self, value: object) -> str:
        return self._shown(str(value or ""), NAME_LIMIT)

    def _shown(self, text: str, limit: int) -> str:
        """Text for people: without secrets, without anything a terminal would obey, not too long."""
        if not text:
            return ""
        text = said.harmless(self._masked(text))
        return text if len(text) <= limit else f"{text[: limit - 2]} …"

    def _evidence(self, text: str | None, limit: int) -> dict[str, Any] | None:
        """Text as evidence: its beginning as it was, and the size and digest of all of it."""
        if text is None:
            return None
        data = said.octets(self._masked(text))
        shown = data[:limit].decode("utf-8", "replace")
        digest = hashlib.sha256(data).hexdigest()
        if len(data) > limit:
            self._texts.keep(digest, data)
        return {"text": shown, "bytes": len(data), "sha256": digest}

    def _masked(self, text: str) -> str:
        return self._secrets.sub(MASK, text) if self._secrets else text

    def _write(self, kind: str, fields: dict[str, Any]) -> None:
        self._put(self._number(), kind, fields)

    def _number(self) -> int:
        seq, self._seq = self._seq, self._seq + 1
        return seq

    def _put(self, seq: int, kind: str, fields: dict[str, Any]) -> None:
        line = json.dumps({"seq": seq, "event": kind, **fields}, separators=(",", ":")).encode() + b"\n"
        try:
            complete = os.write(self._journal, line) == len(line)
        except OSError as error:
            complete = False
            self._display.warning(f"the journal cannot be written: {error}")
        if not complete:  # what cannot be written down must not be done
            os.kill(os.getpid(), signal.SIGTERM)


def _step(task: Any, play: Any) -> str | None:
    """The nearest `opsascode_step`: of the task, what includes it, its role, or the play."""
    node = task
    while node is not None:
        if STEP_VARIABLE in (getattr(node, "vars", None) or ()):
            return str(node.vars[STEP_VARIABLE])
        node = getattr(node, "_parent", None)
    role = getattr(task, "_role", None)
    for owner in (getattr(role, "vars", None), getattr(role, "_role_params", None), getattr(play, "vars", None)):
        if isinstance(owner, dict) and STEP_VARIABLE in owner:
            return str(owner[STEP_VARIABLE])
    return None


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _secret_pattern(path: str) -> re.Pattern[str] | None:
    return re.compile(Path(path).read_text(encoding="utf-8")) if path else None


def _destroy(path: Path) -> None:
    """Overwrite and remove a file of secrets: Ansible has read it, and reads it once."""
    with path.open("r+b", buffering=0) as file:
        file.write(bytes(path.stat().st_size))
    path.unlink()


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _take_over_output(path: str) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    output = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0, inheritable=False)
    os.dup2(output, 1, inheritable=False)
    os.dup2(output, 2, inheritable=False)
    os.close(null)
    os.close(output)
