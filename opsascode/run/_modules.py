"""Which modules does a plan use, which tags do its tasks have, and what of it can nobody look into?

Steps, undo steps and checks name their modules. Playbooks and roles of the repository are read as they are pinned, with
the files they include by a literal name. Where a name is only known while it runs, where a file is not there or cannot
be read, and in roles of collections that are not in the repository, other modules could be used: each such place is
named, and a guardrail that forbids modules takes it as one of them.

What Ansible itself runs beside (gathering facts, `meta`) and commands in lookups are not looked for. Not here: which
modules are forbidden (`policy`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from opsascode.repo import (
    CommandCheck,
    ConditionCheck,
    HttpCheck,
    NotifyStep,
    PlaybookStep,
    PrometheusCheck,
    RoleStep,
    TaskStep,
    TcpCheck,
    load_source,
)
from opsascode.run._compose import FlatStep, is_template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opsascode.repo import Action, Value

_OF_ACTION: Final = (
    (CommandCheck, "ansible.builtin.command"),
    (HttpCheck, "ansible.builtin.uri"),
    (PrometheusCheck, "ansible.builtin.uri"),
    (TcpCheck, "ansible.builtin.wait_for"),
    (ConditionCheck, "ansible.builtin.assert"),
    (NotifyStep, "ansible.builtin.debug"),
)
_HARMLESS: Final = frozenset({"anchor", "number", "tag"})
"""What the strict reader of documents refuses, and Ansible does not: none of it hides a task."""
_KEYWORDS: Final = frozenset({
    "any_errors_fatal", "args", "async", "become", "become_exe", "become_flags", "become_method", "become_user",
    "changed_when", "check_mode", "collections", "connection", "debugger", "delay", "delegate_facts", "delegate_to",
    "diff", "environment", "failed_when", "ignore_errors", "ignore_unreachable", "listen", "loop", "loop_control",
    "module_defaults", "name", "no_log", "notify", "poll", "port", "register", "remote_user", "retries", "run_once",
    "tags", "throttle", "timeout", "until", "vars", "when",
})  # fmt: skip
_BLOCK: Final = ("block", "rescue", "always")
_PLAY_TASKS: Final = ("pre_tasks", "tasks", "post_tasks", "handlers")
_TASK_FILES: Final = frozenset({"include_tasks", "import_tasks", "include"})
_ROLES: Final = frozenset({"include_role", "import_role"})
_SUFFIXES: Final = (".yml", ".yaml", "")
_MOST_FILES: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """What a plan uses: modules as they are written, tags of tasks, and what nobody can look into."""

    modules: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    opaque: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where content lies, relative to the repository: roles and collections, in the order Ansible looks for them."""

    root: Path
    roles: tuple[str, ...]
    collections: tuple[str, ...]


def uses_of(flats: Iterable[object], places: Places) -> Uses:
    """Find what the steps of a plan use, and what takes them back."""
    reader = _Reader(places)
    for flat in flats:
        if isinstance(flat, FlatStep):
            reader.action(flat.step.action)
            if flat.step.undo:
                reader.action(flat.step.undo.action)
                if flat.step.undo.check:
                    reader.action(flat.step.undo.check)
    return Uses(modules=frozenset(reader.modules), tags=frozenset(reader.tags), opaque=tuple(reader.opaque))


@dataclass(slots=True)
class _Reader:
    """Reads content, each file once."""

    places: Places
    modules: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)
    opaque: dict[str, None] = field(default_factory=dict)
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def action(self, action: Action) -> None:
        if isinstance(action, TaskStep):
            self._task(action.body, "a step", self._around("playbooks"))
        elif isinstance(action, RoleStep):
            self._role(action.name, action.tasks_from)
        elif isinstance(action, PlaybookStep):
            self._playbook(action.path)
        else:
            self.modules.update(name for kind, name in _OF_ACTION if isinstance(action, kind))

    def _hidden(self, what: str) -> None:
        self.opaque[what] = None

    def _playbook(self, path: str) -> None:
        plays = self._read(path, "playbook")
        for play in plays if isinstance(plays, list) else ():
            if not isinstance(play, dict):
                self._hidden(f"{path}: a play that is no mapping")
                continue
            self._tag(play.get("tags"), path)
            for key, value in play.items():
                if key.rpartition(".")[2] == "import_playbook":
                    self._imported(path, value)
            for each in self._list(play.get("roles"), path):
                self._listed_role(each, path)
            for key in _PLAY_TASKS:
                self._tasks(play.get(key), path, self._around(str(PurePosixPath(path).parent)))

    def _imported(self, path: str, value: Value) -> None:
        name = str(value)
        if is_template(name) or not name.endswith((".yml", ".yaml")):
            self._hidden(f"{path}: the playbook {name}")
            return
        self._playbook(_joined(str(PurePosixPath(path).parent), name))

    def _listed_role(self, found: Value, path: str) -> None:
        name: Value = found
        if isinstance(found, dict):
            self._tag(found.get("tags"), path)
            name = found.get("role", found.get("name"))
        self._role(name if isinstance(name, str) else "", None, where=path)

    def _role(self, name: str, tasks_from: Value, *, where: str = "a step", handlers_from: Value = None) -> None:
        if not name or is_template(name):
            self._hidden(f"{where}: the role {name or 'without a name'}")
            return
        homes = [home for home in self._homes(name, where) if (self.places.root / home).is_dir()]
        if not homes:
            self._hidden(f"the role {name}, which is not in the repository")
        for home in homes[:1]:
            around = self._around(f"{home}/tasks", home)
            self._file_of_role(home, "tasks", tasks_from or "main", around, needed=tasks_from is not None)
            self._file_of_role(home, "handlers", handlers_from or "main", self._around(f"{home}/handlers", *around))
            for each in self._dependencies(home):
                self._listed_role(each, f"{home}/meta")

    def _homes(self, name: str, where: str) -> Iterator[str]:
        """Give the directories a role may lie in, the one that Ansible takes first."""
        parts = name.split(".")
        if len(parts) > 2:  # noqa: PLR2004 - namespace, collection and role
            inner = "/".join(parts[2:])
            for each in self.places.collections:
                yield f"{each}/ansible_collections/{parts[0]}/{parts[1]}/roles/{inner}"
            return
        beside = PurePosixPath(where).parent
        yield from (f"{each}/{name}" for each in (*self.places.roles, str(beside / "roles"), str(beside)))

    def _dependencies(self, home: str) -> Sequence[Value]:
        for suffix in _SUFFIXES:
            path = f"{home}/meta/main{suffix}"
            if (self.places.root / path).is_file():
                found = self._read(path, "meta")
                return self._list(found.get("dependencies"), path) if isinstance(found, dict) else ()
        return ()

    def _file_of_role(
        self, home: str, part: str, name: Value, around: tuple[str, ...], *, needed: bool = False
    ) -> None:
        if not isinstance(name, str) or is_template(name):
            self._hidden(f"{home}: the {part} {name}")
            return
        for suffix in _SUFFIXES:
            path = _joined(f"{home}/{part}", f"{name}{suffix}")
            if (self.places.root / path).is_file():
                self._tasks(self._read(path, part), path, around)
                return
        if needed:
            self._hidden(f"{home}: the {part} {name}, which are not there")

    def _tasks(self, found: Value, path: str, around: tuple[str, ...]) -> None:
        for each in self._list(found, path):
            if isinstance(each, dict):
                self._task(each, path, around)
            else:
                self._hidden(f"{path}: a task that is no mapping")

    def _task(self, task: dict[str, Value], path: str, around: tuple[str, ...]) -> None:
        self._tag(task.get("tags"), path)
        for part in _BLOCK:
            self._tasks(task.get(part), path, around)
        for key, value in task.items():
            if key in {"action", "local_action"}:
                self._old_form(task, value, path, around)
            elif key not in _KEYWORDS and key not in _BLOCK and not key.startswith("with_"):
                self._module(key, value, task, path, around)

    def _old_form(self, task: dict[str, Value], value: Value, path: str, around: tuple[str, ...]) -> None:
        """Read `action: module arguments`, which may also be a mapping with the key module."""
        if isinstance(value, dict) and isinstance(value.get("module"), str):
            name, _, rest = str(value["module"]).partition(" ")
            arguments: Value = rest or {key: each for key, each in value.items() if key != "module"}
        else:
            name, _, rest = str(value or "").strip().partition(" ")
            arguments = rest
        if not name or is_template(name):
            self._hidden(f"{path}: an action that is only known while it runs")
        else:
            self._module(name, arguments, task, path, around)

    def _module(self, name: str, value: Value, task: dict[str, Value], path: str, around: tuple[str, ...]) -> None:
        if is_template(name):
            self._hidden(f"{path}: a module that is only known while it runs")
            return
        self.modules.add(name)
        short = name.rpartition(".")[2]
        args = task.get("args")
        more = args if isinstance(args, dict) else {}
        if short in _TASK_FILES:
            self._included(_argument(value, more, "file"), path, around)
        elif short in _ROLES:
            self._role(
                _argument(value, more, "name") or _argument(value, more, "role"),
                _argument(value, more, "tasks_from") or None,
                where=path,
                handlers_from=_argument(value, more, "handlers_from") or None,
            )

    def _included(self, name: str, path: str, around: tuple[str, ...]) -> None:
        """Read every file that an include could mean: next to the file that says it, or in a folder around."""
        if not name or is_template(name):
            self._hidden(f"{path}: tasks that are only known while it runs")
            return
        folders = dict.fromkeys((str(PurePosixPath(path).parent), *around))
        found = [each for each in (_joined(folder, name) for folder in folders) if (self.places.root / each).is_file()]
        if not found:
            self._hidden(f"{path}: the tasks {name}, which are not there")
        for each in found:
            self._tasks(self._read(each, "tasks"), each, around)

    def _around(self, *folders: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(each for folder in folders for each in (folder, f"{folder}/tasks")))

    def _read(self, path: str, kind: str) -> Value:
        """Read a file once for each kind of content; what could hide tasks makes it opaque."""
        if (path, kind) in self._seen:
            return None
        self._seen.add((path, kind))
        place = self.places.root / path
        inside = place.resolve().is_relative_to(self.places.root.resolve())
        if len(self._seen) > _MOST_FILES or not inside or not place.is_file():
            self._hidden(f"{path}, which cannot be read")
            return None
        source = load_source(place.read_bytes(), path)
        bad = [each for each in source.problems if each.code not in _HARMLESS]
        if bad and not (len(bad) == 1 and bad[0].code == "empty"):
            self._hidden(f"{path}: {bad[0].message}")
        if len(source.documents) > 1:
            self._hidden(f"{path}: more than one document")
        return source.documents[0].value if source.documents else None

    def _list(self, found: Value, path: str) -> Sequence[Value]:
        if found is None or isinstance(found, list | tuple):
            return found or ()
        self._hidden(f"{path}: something that is no list")
        return ()

    def _tag(self, found: Value, path: str) -> None:
        listed = found.split(",") if isinstance(found, str) else found if isinstance(found, list | tuple) else ()
        for each in listed:
            if is_template(each):
                self._hidden(f"{path}: a tag that is only known while it runs")
            elif str(each).strip():
                self.tags.update(part.strip() for part in str(each).split(","))


def _argument(value: Value, more: dict[str, Value], name: str) -> str:
    """Give an argument of a module: of its mapping, of a text such as `main.yml name=value`, or from `args`."""
    if isinstance(value, dict):
        found = value.get(name, value.get("_raw_params") if name == "file" else None)
    elif isinstance(value, str):
        pairs = dict(word.split("=", 1) for word in value.split() if "=" in word and not is_template(value))
        first = value if is_template(value) else next((word for word in value.split() if "=" not in word), None)
        found = pairs.get(name, first if name == "file" else value if is_template(value) else None)
    else:
        found = None
    found = more.get(name) if found is None else found
    return found if isinstance(found, str) else ""


def _joined(folder: str, name: str) -> str:
    """Join two paths of the repository, with `..` taken out; one that leads out of it stays as it is written."""
    parts: list[str] = []
    for each in PurePosixPath(folder, name).parts:
        if each == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif each != ".":
            parts.append(each)
    return "/".join(parts)
