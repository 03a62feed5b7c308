# ruff: noqa: ANN401, D401, SLF001 - loaded by the callback; Ansible's own objects, untyped, with private names
"""What did a host say, in as few words as people need, and what of it can be kept as plain data?

Pure functions on one result of Ansible. The callback `ansible/awx_display.py` loads this file by its path, so it
imports nothing of opsascode; it does not stand beside it, where Ansible takes every Python file for a callback.

Not here: secrets (the callback replaces them), and anything that is written except whole texts.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any, Final

EXPECT_VARIABLE: Final = "opsascode_expect"
MESSAGE_LIMIT: Final = 4096
WHOLE_TEXT_LIMIT: Final = 16 * 1024 * 1024
ALL_TEXTS_LIMIT: Final = 256 * 1024 * 1024
ITEMS_NAMED: Final = 5
NOTHING_SAID: Final = ("non-zero return code", "MODULE FAILURE", "One or more items failed", "All items completed")

# Control characters and direction overrides can make a terminal show something else than what was said.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_OUT_OF_TIME = re.compile(r"The \S+ action failed to execute in the expected time frame \(\d+\) and was terminated")


class Texts:
    """Keeps long texts whole, each once, in a file named by its digest."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._size = 0

    def keep(self, digest: str, data: bytes) -> None:
        """Keep a text, or its beginning when it is too long; nothing when too much is kept already, or on an error."""
        data = data[:WHOLE_TEXT_LIMIT]
        if self._size + len(data) > ALL_TEXTS_LIMIT:
            return
        with contextlib.suppress(OSError):  # its size and digest are in the journal, whose writing must not fail
            Path(self._directory).mkdir(mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(Path(self._directory, digest), flags, 0o600), "wb") as file:
                file.write(data)
            self._size += len(data)


def short(action: object) -> str:
    """The name of a module without its collection."""
    return str(action).rpartition(".")[2]


def timed_out(data: dict[str, Any]) -> bool:
    """Whether the task, or one of its items, was given up by Ansible because it took too long."""
    items = data.get("results")
    parts = (data, *(item for item in items if isinstance(item, dict))) if isinstance(items, list) else (data,)
    return any(_ran_out(part) for part in parts)


def _ran_out(part: dict[str, Any]) -> bool:
    told = part.get("timedout")
    if isinstance(told, dict):
        return bool(told.get("period"))
    return _OUT_OF_TIME.match(_text(part.get("msg"))) is not None  # ansible-core 2.16 says it in words only


def states(data: dict[str, Any], status: str) -> dict[str, bool]:
    """What Ansible's tests (`is failed`, `is skipped`) ask of a registered result; a callback's copy is without it."""
    bad = status in {"failed", "ignored"} and not data.get("unreachable")
    return {"changed": bool(data.get("changed")), "failed": bad, **({"skipped": True} if status == "skipped" else {})}


def hidden_names(task: Any) -> set[str]:
    """The names a task sets whose result may not be looked at."""
    given = task.args if short(task.action) == "set_fact" and isinstance(task.args, dict) else {}
    return {str(name) for name in given if name != "cacheable"}


def plain(value: object) -> object:
    """The value as JSON has it: without what Ansible adds for itself, and without text that no file could hold."""
    if isinstance(value, dict):
        return {
            whole(str(key)): plain(item)
            for key, item in value.items()
            if key != "invocation" and not str(key).startswith("_ansible_")
        }
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    return float(value) if isinstance(value, float) else whole(str(value))


def message(data: dict[str, Any], status: str, action: str) -> str:
    """What the host said about its result, in its own words and as few as possible."""
    if "censored" in data:
        return "hidden: no_log is set for this task"
    if status == "skipped":
        return _text(data.get("skip_reason") or data.get("msg"))
    if status in {"ok", "changed"}:
        told = _debugged(data) if short(action) == "debug" else _text(data.get("msg"))
        return "" if told.startswith(NOTHING_SAID) or action.endswith("validate_argument_spec") else told
    items = data.get("results")
    if isinstance(items, list):
        bad = [i for i in items if isinstance(i, dict) and (i.get("failed") or i.get("unreachable"))]
        said = [f"{_label(item)}: {_complaint(item)}" for item in bad[:ITEMS_NAMED]]
        more = [f"and {len(bad) - ITEMS_NAMED} more"] if len(bad) > ITEMS_NAMED else []
        if said:
            return "\n".join(said + more)
    return _complaint(data)


def expected(result: Any, status: str) -> str:
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


def output(data: dict[str, Any]) -> str | None:
    """What was printed: standard output, then standard error; those of the items one after the other."""
    items = data.get("results")
    if isinstance(items, list) and "stdout" not in data:
        parts = [part for item in items if isinstance(item, dict) if (part := output(item)) is not None]
        return "\n".join(parts) if parts else None
    said = [_text(data[key]) for key in ("stdout", "stderr") if key in data]
    return "\n".join(part for part in said if part) if said else None


def _text(value: object) -> str:
    if isinstance(value, str):
        return str(value)
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, default=str)


def octets(text: str) -> bytes:
    """The bytes the host sent, where Ansible kept them."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def whole(text: str) -> str:
    """The text without what no file could hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return octets(text).decode("utf-8", "replace")
    return text


def harmless(text: str) -> str:
    """The text with every character that a terminal would obey written out."""
    return _UNSAFE.sub(_visible, whole(text))


def _visible(match: re.Match[str]) -> str:
    return "" if match[0] == "\r" else match[0].encode("unicode_escape").decode()
