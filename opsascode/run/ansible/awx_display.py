# ruff: noqa: ANN401, ARG002, D401, FBT002, INP001, SLF001 - Ansible's own signatures, untyped and called by name
"""What did Ansible do, to whom, and what did the host itself say? This Ansible callback writes it down.

It runs inside ansible-playbook, so it imports nothing of opsascode. Its file name is the one ansible-runner asks for as
the output plugin, which keeps ansible-runner from loading its own, which sends events through the text of the output.

- One line of JSON per event, one write per line, numbered without a gap from 0: a reader sees any loss.
- An event that cannot be written down uses up its number; a journal that cannot be written to ends the run.
- Secrets are replaced before anything is cut, hashed or written. Digests are of the text after that.
- What Ansible itself prints from here on goes to a file and its input is empty: no text that a managed host chose can
  reach the pty, where ansible-runner looks for events, and no prompt can wait for an answer.

Not here: any judgement of the run (opsascode.run), and any text for people except `message`.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
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

DOCUMENTATION = """
    name: awx_display
    type: stdout
    short_description: writes the journal of a stage
    description:
        - Writes one line of JSON for each event to the journal of a stage.
    version_added: "0.1.0"
"""

STEP_VARIABLE: Final = "opsascode_step"
EXPECT_VARIABLE: Final = "opsascode_expect"
NAME_LIMIT: Final = 512
MESSAGE_LIMIT: Final = 4096
TEXT_LIMIT: Final = 8192
DIFF_LIMIT: Final = 16384
ITEMS_NAMED: Final = 5
MASK: Final = "[secret]"
NOTHING_SAID: Final = ("non-zero return code", "MODULE FAILURE", "One or more items failed", "All items completed")
PR_SET_PDEATHSIG: Final = 1

# Control characters and direction overrides can make a terminal show something else than what was said.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_ONCE_ACTIONS = frozenset({"add_host", "pause"})


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
        _forget_file(environ.pop("OPSASCODE_VARIABLES", ""))
        self._begun: dict[tuple[str, str], str] = {}
        self._steps: dict[str, str | None] = {}
        self._play: Any = None
        self._seq = 0
        _die_with_parent()
        _take_over_output(environ.pop("OPSASCODE_OUTPUT"))
        # Wrapped lines would hide a secret from the replacement that is made when the output is kept.
        self._display.columns = 1_000_000
        self._write("start", {"ansible": ansible_version, "python": platform.python_version(), "pid": os.getpid()})

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
        if uuid in self._steps:  # the free strategy announces a task more than once
            return
        self._steps[uuid] = _step(task, self._play)
        fields = {"task": uuid, "step": self._steps[uuid], "name": self._name(task.get_name()), "action": task.action}
        if task.run_once is True or task.action.rpartition(".")[2] in _ONCE_ACTIONS:
            fields["once"] = True
        self._write("task", fields)

    def _about(self, task: Any, host: str) -> dict[str, Any]:
        if task._uuid not in self._steps:
            self._task(task)
        return {"task": task._uuid, "step": self._steps[task._uuid], "host": host}

    def _host(self, result: Any, status: str) -> None:
        task, host, data = result._task, result._host.name, result._result
        fields = self._about(task, host)
        seq = self._number()  # before the result is looked at: if that fails, the gap tells
        rc = data.get("rc")
        fields |= {
            "status": status,
            "message": self._shown(_message(data, status, task.action) + _expected(result, status), MESSAGE_LIMIT),
            "rc": rc if type(rc) is int else None,
            "output": self._evidence(_output(data), TEXT_LIMIT),
            "started": self._begun.pop((task._uuid, host), None) or _now(),
            "ended": _now(),
        }
        delegated = data.get("_ansible_delegated_vars")
        if delegated:
            fields["delegate"] = self._name(result._task_fields.get("delegate_to") or delegated.get("ansible_host"))
        items = data.get("results")
        if type(items) is list and "censored" not in data:
            fields["item_count"] = len(items)
        if "diff" in data and result._task_fields.get("diff"):
            fields["diff"] = self._evidence(self._difference(data), DIFF_LIMIT)
        self._put(seq, "host", fields)

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
        text = _UNSAFE.sub(_visible, _whole(self._masked(text)))
        return text if len(text) <= limit else f"{text[: limit - 2]} …"

    def _evidence(self, text: str | None, limit: int) -> dict[str, Any] | None:
        """Text as evidence: its beginning as it was, and the size and digest of all of it."""
        if text is None:
            return None
        data = _octets(self._masked(text))
        shown = data[:limit].decode("utf-8", "replace")
        return {"text": shown, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

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


def _message(data: dict[str, Any], status: str, action: str) -> str:
    """What the host said about its result, in its own words and as few as possible."""
    if "censored" in data:
        return "hidden: no_log is set for this task"
    if status == "skipped":
        return _text(data.get("skip_reason") or data.get("msg"))
    if status in {"ok", "changed"}:
        told = _debugged(data) if action.rpartition(".")[2] == "debug" else _text(data.get("msg"))
        return "" if told.startswith(NOTHING_SAID) or action.endswith("validate_argument_spec") else told
    items = data.get("results")
    if isinstance(items, list):
        bad = [i for i in items if isinstance(i, dict) and (i.get("failed") or i.get("unreachable"))]
        said = [f"{_label(item)}: {_complaint(item)}" for item in bad[:ITEMS_NAMED]]
        more = [f"and {len(bad) - ITEMS_NAMED} more"] if len(bad) > ITEMS_NAMED else []
        if said:
            return "\n".join(said + more)
    return _complaint(data)


def _expected(result: Any, status: str) -> str:
    """What a failed check looked for, where its task says so."""
    looked_for = (result._task_fields.get("vars") or {}).get(EXPECT_VARIABLE)
    return f"\n(expected {looked_for})" if looked_for and status in {"failed", "ignored"} else ""


def _complaint(data: dict[str, Any]) -> str:
    if "censored" in data:
        return "hidden: no_log is set for this task"
    message = _text(data.get("msg")).strip()
    generic = not message or message.startswith(NOTHING_SAID)
    if not generic:
        return message
    for key in ("stderr", "stdout", "module_stderr", "module_stdout"):
        said = _last_lines(_text(data.get(key)))
        if said:
            return said
    return message or _last_lines(_text(data.get("exception"))) or "failed without a word"


def _label(item: dict[str, Any]) -> str:
    if item.get("_ansible_no_log"):
        return "item"
    name = item.get("_ansible_item_label", item.get(str(item.get("ansible_loop_var", "item")), "item"))
    return _text(name)[:120]


def _last_lines(text: str) -> str:
    lines = [line.rstrip() for line in text[-MESSAGE_LIMIT:].splitlines() if line.strip()]
    return "\n".join(lines[-3:])


def _debugged(data: dict[str, Any]) -> str:
    if "msg" in data:
        return _text(data["msg"])
    values = {key: value for key, value in data.items() if not key.startswith("_ansible") and key != "changed"}
    return _text(next(iter(values.values()))) if len(values) == 1 else _text(values)


def _output(data: dict[str, Any]) -> str | None:
    """What was printed: standard output, then standard error; those of the items one after the other."""
    items = data.get("results")
    if isinstance(items, list) and "stdout" not in data:
        parts = [part for item in items if isinstance(item, dict) if (part := _output(item)) is not None]
        return "\n".join(parts) if parts else None
    said = [_text(data[key]) for key in ("stdout", "stderr") if key in data]
    return "\n".join(part for part in said if part) if said else None


def _text(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, default=str)


def _octets(text: str) -> bytes:
    """The bytes the host sent, where Ansible kept them."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return _octets(text).decode("utf-8", "replace")
    return text


def _visible(match: re.Match[str]) -> str:
    return "" if match[0] == "\r" else match[0].encode("unicode_escape").decode()


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _secret_pattern(path: str) -> re.Pattern[str] | None:
    return re.compile(Path(path).read_text(encoding="utf-8")) if path else None


def _forget_file(path: str) -> None:
    """Remove the file of secret variables: Ansible has read it, and reads it once."""
    if path:
        Path(path).unlink()


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
