"""What does Ansible make of these inventory sources, and which hosts does it select?

A script run in a child process of its own (`python resolve.py REQUEST REPORT DOCUMENT`), the only file of opsascode
that imports Ansible before a run. It reads a JSON request, lets Ansible's own inventory manager do the work, and writes
the resolved document and a JSON report; whatever plugins print is part of neither. It never decides what an error means
to the caller, and keeps nothing between runs.

The document holds every value with its type, its trust as a template and its encryption, so that the inventory plugin
beside this file (`inventory/opsascode_document.py`) can give Ansible back what was resolved. Plain JSON strings are
trusted texts.
"""
# ruff: noqa: ANN401, INP001 - this script is run by its path, and Ansible has no types
# ruff: noqa: PTH110, PTH112, PTH113, PTH119, PTH120, PTH122, PTH123 - Ansible speaks in path strings

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.inventory.group import Group
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, vars_loader
from ansible.utils.display import Display

try:  # ansible-core 2.19 and later
    from ansible.parsing.vault import VaultHelper
    from ansible.template import is_trusted_as_template
except ImportError:  # ansible-core up to 2.18
    from ansible.parsing.yaml.objects import AnsibleVaultEncryptedUnicode
    from ansible.utils.unsafe_proxy import AnsibleUnsafe

    def ciphertext_of(value: Any) -> str | None:
        """Return the encrypted form of a vault value, None for any other."""
        return value._ciphertext.decode() if isinstance(value, AnsibleVaultEncryptedUnicode) else None  # noqa: SLF001 - has no public name

    def is_trusted(value: Any) -> bool:
        """Tell whether Ansible would template this text."""
        return not isinstance(value, AnsibleUnsafe)
else:

    def ciphertext_of(value: Any) -> str | None:
        """Return the encrypted form of a vault value, None for any other."""
        sealed: str | None = VaultHelper.get_ciphertext(value, with_tags=False)
        return sealed

    def is_trusted(value: Any) -> bool:
        """Tell whether Ansible would template this text."""
        return bool(is_trusted_as_template(value))


FORMAT = "opsascode-inventory/v1"
WRITTEN_PLACE = re.compile(r"\bline (\d+)(?:, column (\d+))?")
VAULT_HEADER = b"$ANSIBLE_VAULT;"
STATIC_PLUGINS = frozenset({"host_list", "advanced_host_list", "yaml", "ini", "toml"})
FILE_PLUGIN = "host_group_vars"
OWN_PLUGIN = "opsascode_files"


class Refusal(Exception):  # noqa: N818 - it is an answer: what the caller is told instead of an inventory
    """The sources cannot become an inventory; the words are for the person who gave them."""

    def __init__(self, kind: str, message: str, **place: Any) -> None:
        super().__init__(message)
        self.report = {"kind": kind, "message": message, "path": "", "line": 0, "column": 0, "advice": "", **place}


class RecordingLoader(DataLoader):  # type: ignore[misc]  # Ansible has no types
    """Ansible's loader, noting which variable files were read and leaving those encrypted as a whole unopened."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded: list[dict[str, Any]] | None = None

    def load_from_file(self, file_name: str, *args: Any, **options: Any) -> Any:
        """Load one file; while recording, a sealed one is noted as its ciphertext and counts as empty."""
        if self.recorded is None:
            return super().load_from_file(file_name, *args, **options)
        if is_sealed(file_name):
            text = Path(file_name).read_text(encoding="utf-8")
            self.recorded.append({"$sealed": {"file": os.path.basename(file_name), "data": text}})
            return {}
        loaded = super().load_from_file(file_name, *args, **options)
        if loaded:
            self.recorded.append({"vars": loaded})
        return loaded


def is_sealed(path: str) -> bool:
    """Whether a file is encrypted as a whole."""
    with open(path, "rb") as stream:
        return stream.read(len(VAULT_HEADER)) == VAULT_HEADER


class Manager(InventoryManager):  # type: ignore[misc]  # Ansible has no types
    """Ansible's manager, noting which plugin took which source and why the others did not."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.taken: list[str] = []
        super().__init__(*args, **options)

    def parse_source(self, source: str, cache: bool = False) -> Any:  # noqa: FBT001, FBT002 - Ansible's own signature
        """Parse one source, or say in Ansible's words why no plugin could."""
        if os.path.isdir(source):
            parsed = super().parse_source(source, cache=cache)
            if not parsed and source in self._sources:
                raise Refusal("source", "there is no inventory in this directory", path=source)
            return parsed
        if os.path.isfile(source) and is_sealed(source):
            raise Refusal(
                "document",
                "an inventory file encrypted as a whole would have to be kept decrypted in the plan",
                path=source,
                advice="encrypt the secret values (ansible-vault encrypt_string), or move them to group_vars",
            )
        self._failures: list[tuple[str, Exception, int]] = []
        parsed = super().parse_source(source, cache=cache)
        if not parsed or any(name == "script" for name, _, _ in self._failures):
            raise self._refusal(source)
        return parsed

    def _fetch_inventory_plugins(self) -> Any:
        plugins = super()._fetch_inventory_plugins()
        for plugin in plugins:
            plugin.parse = self._noting(plugin, type(plugin).parse)
        return plugins

    def _noting(self, plugin: Any, parse: Any) -> Any:
        name = plugin._load_name.rpartition(".")[2]  # noqa: SLF001 - the loader's only name for it
        lines: list[int] = []
        if name == "ini" and hasattr(plugin, "_origin"):  # its error forgets the line it was at
            plugin._parse = _with_line(plugin, type(plugin)._parse, lines)  # noqa: SLF001 - it has no other

        def parse_and_note(*args: Any, **options: Any) -> Any:
            try:
                result = parse(plugin, *args, **options)
            except Exception as error:
                self._failures.append((name, error, lines[-1] if lines else 0))
                raise
            self.taken.append(name)
            return result

        return parse_and_note

    def _refusal(self, source: str) -> Refusal:
        """Choose, among what all plugins said of a source, what the one meant for it said."""
        said = {name: (error, line) for name, error, line in self._failures}
        if not said:
            return Refusal("source", "no inventory plugin of Ansible takes this source", path=source)
        suffix = os.path.splitext(source)[1]
        wanted = ["script"]
        if suffix in {".yml", ".yaml", ".json"}:
            is_plugin = "yaml" in said and "Plugin configuration YAML file" in str(said["yaml"][0])
            wanted += ["auto", "yaml"] if is_plugin else ["yaml"]
        name = next((name for name in [*wanted, suffix[1:]] if name in said), list(said)[-1])
        error, line = said[name]
        path, where, column = place_of(error)
        words = " ".join(str(error).split())
        written = None if where or line or name == "script" else WRITTEN_PLACE.search(words)
        if written:
            where, column = int(written[1]), int(written[2] or 1)
        help_text = getattr(error, "_help_text", None) or ""
        return Refusal(
            "source" if name == "script" else "document",
            words,
            path=path or source,
            line=where or line,
            column=column,
            advice=help_text[-500:].strip(),
        )


def _with_line(plugin: Any, parse: Any, lines: list[int]) -> Any:
    def parse_and_keep_line(*args: Any) -> Any:
        try:
            return parse(plugin, *args)
        finally:
            lines.append(plugin._origin.line_num or 0)  # noqa: SLF001 - the only place the line is kept

    return parse_and_keep_line


def place_of(error: BaseException | None) -> tuple[str, int, int]:
    """Find file, line and column an Ansible error speaks of, in its innermost cause that knows them."""
    found = ("", 0, 0)
    while error is not None:
        mark = getattr(error, "obj", None)
        if mark is not None and getattr(mark, "path", None) and getattr(mark, "line_num", None):
            found = (mark.path, mark.line_num, mark.col_num or 1)
        elif mark is not None and len(getattr(mark, "ansible_pos", ())) == 3:  # noqa: PLR2004 - file, line, column
            found = mark.ansible_pos
        error = error.__cause__ or error.__context__
    return found


def encode(value: Any) -> Any:  # noqa: C901, PLR0911 - one flat table of types reads best
    """Write a value as JSON, with its exact type, trust and encryption."""
    sealed = ciphertext_of(value)
    if sealed is not None:
        return {"$vault": sealed}
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return plain(value) if is_trusted(value) else {"$untrusted": plain(value)}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
    if isinstance(value, dict):
        return encode_mapping(value)
    if isinstance(value, list):
        return [encode(each) for each in value]
    if isinstance(value, tuple):
        return {"$tuple": [encode(each) for each in value]}
    if isinstance(value, (set, frozenset)):
        return {"$set": sorted((encode(each) for each in value), key=json.dumps)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    for kind, name in ((dt.datetime, "$datetime"), (dt.date, "$date"), (dt.time, "$time")):
        if isinstance(value, kind):
            return {name: value.isoformat()}
    raise Refusal("document", f"a variable has a value of type {type(value).__name__}, which cannot be kept")


def encode_mapping(value: dict[Any, Any]) -> dict[str, Any]:
    """Write a mapping: plain where every key is a trusted text that cannot be taken for a mark."""
    if all(isinstance(key, str) and is_trusted(key) and not key.startswith("$") for key in value):
        return {plain(key): encode(each) for key, each in value.items()}
    return {"$dict": [[encode(key), encode(each)] for key, each in value.items()]}


def plain(text: str) -> str:
    """Return the text alone, without the tags Ansible keeps on it."""
    return str.__str__(text)


class Writer:
    """Writes the inventory Ansible holds as one document, independent of where the repository lies."""

    def __init__(self, manager: Manager, loader: RecordingLoader, root: str) -> None:
        self._manager, self._loader, self._root = manager, loader, root
        self._origins: list[list[Any]] = []

    def document(self) -> dict[str, Any]:
        """Write the whole inventory."""
        hosts = {plain(name): self._host(host) for name, host in self._manager.hosts.items()}
        groups = {plain(name): self._group(group) for name, group in self._manager.groups.items()}
        return {
            "format": FORMAT, "origins": self._origins, "groups": groups, "hosts": hosts,
            "files": {"groups": self._files(self._manager.groups), "hosts": self._files(self._manager.hosts)},
        }  # fmt: skip

    def _host(self, host: Any) -> list[Any]:
        variables = dict(host.vars)
        first_two = list(variables)[:2] == ["inventory_file", "inventory_dir"]
        if not first_two or not all(
            isinstance(variables[key], str | None) for key in ("inventory_file", "inventory_dir")
        ):
            return [None, _top(variables)]
        origin = [self._place(variables.pop("inventory_file")), self._place(variables.pop("inventory_dir"))]
        if origin not in self._origins:
            self._origins.append(origin)
        return [self._origins.index(origin), _top(variables)]

    def _place(self, text: str | None) -> Any:
        if text is not None and (text == self._root or text.startswith(self._root + os.sep)):
            return {"$root": os.path.relpath(text, self._root)}
        return None if text is None else plain(text)

    def _group(self, group: Any) -> dict[str, Any]:
        content = {
            "children": [plain(child.name) for child in group.child_groups],
            "hosts": [plain(host.name) for host in group.hosts],
            "vars": _top(group.vars),
            "depth": group.depth,
        }  # fmt: skip
        if group.priority != 1:
            content["priority"] = group.priority
        return {key: each for key, each in content.items() if each}

    def _files(self, entities: dict[str, Any]) -> dict[str, list[list[Any]]]:
        plugins = self._plugins()
        found: dict[str, list[list[Any]]] = {}
        if plugins:
            directories = [each for each in map(_directory, self._manager._sources) if each]  # noqa: SLF001 - as Ansible's own readers do
            for name, entity in entities.items():
                per_source = [self._layers(plugins, directory, entity) for directory in directories]
                if any(per_source):
                    found[plain(name)] = per_source
        return found

    def _plugins(self) -> list[Any]:
        known = {plugin._load_name.rpartition(".")[2]: plugin for plugin in vars_loader.all()}  # noqa: SLF001 - the loader's only name
        for name in constants.VARIABLE_PLUGINS_ENABLED:
            plugin = vars_loader.get(name)
            if plugin is not None:
                known.setdefault(name.rpartition(".")[2] if name.startswith("ansible.") else name, plugin)
        known.pop(OWN_PLUGIN, None)
        return [plugin for plugin in known.values() if _runs_at_task(plugin)]

    def _layers(self, plugins: list[Any], directory: str, entity: Any) -> list[Any]:
        layers: list[Any] = []
        for plugin in plugins:
            name = plugin._load_name.rpartition(".")[2]  # noqa: SLF001 - the loader's only name for it
            recorded: list[dict[str, Any]] = []
            self._loader.recorded = recorded
            merged = plugin.get_vars(self._loader, directory, [entity])
            self._loader.recorded = None
            if name != FILE_PLUGIN:
                if merged:
                    raise Refusal("source", f"the vars plugin {name} gives {entity.name} variables a plan cannot pin")
            elif any("$sealed" in each for each in recorded):
                layers += [each if "$sealed" in each else {"vars": encode(each["vars"])} for each in recorded]
            elif merged:
                layers.append({"vars": encode(merged)})
        return layers


def _top(variables: dict[str, Any]) -> dict[str, Any]:
    return {plain(key): encode(each) for key, each in variables.items()}


def _directory(source: str) -> str | None:
    if "," in source and not os.path.exists(source):
        return None
    return source if os.path.isdir(source) else os.path.dirname(source)


def _runs_at_task(plugin: Any) -> bool:
    try:
        stage = plugin.get_option("stage")
    except (AttributeError, KeyError):
        stage = None
    return stage in {"all", "task"} if stage else constants.RUN_VARS_PLUGINS != "start"


def select(manager: Manager, document: dict[str, Any], pattern: str, limit: str | None) -> dict[str, Any]:
    """Select the hosts of a pattern within a limit, in Ansible's order, with their groups and variable names."""
    manager.subset(limit)
    hosts = manager.get_hosts(pattern)
    names, sealed = _names(document)
    groups: list[list[str]] = []
    index: dict[tuple[str, ...], int] = {}
    selected = []
    for host in hosts:
        held = tuple(sorted(plain(group.name) for group in host.groups if group.name != "all"))
        if held not in index:
            index[held] = len(groups)
            groups.append(list(held))
        selected.append([plain(host.name), index[held]])
    known = names["hosts"]
    own = {plain(host.name): sorted(map(plain, host.vars) if host.implicit else known[host.name]) for host in hosts}
    return {
        "hosts": selected,
        "groups": groups,
        "total": len(manager.hosts),
        "host_names": own,
        "group_names": {name: sorted(each) for name, each in names["groups"].items() if each},
        "sealed": sorted(sealed),
    }


def _names(document: dict[str, Any]) -> tuple[dict[str, dict[str, set[str]]], list[str]]:
    """Names of variables each group and host is given directly, and which of them have files nobody could look into."""
    names: dict[str, dict[str, set[str]]] = {
        "groups": {name: set(content.get("vars", ())) for name, content in document["groups"].items()},
        "hosts": {
            name: {"inventory_file", "inventory_dir", *content[1]} for name, content in document["hosts"].items()
        },
    }
    sealed = []
    for kind, known in names.items():
        for name, per_source in document["files"][kind].items():
            for layer in (layer for layers in per_source for layer in layers):
                if "$sealed" in layer:
                    sealed.append(f"{kind}:{name}")
                else:
                    known[name].update(layer["vars"] if "$dict" not in layer["vars"] else ())
    return names, sealed


def ordered_relations(self: Any, rel: str, include_self: bool = False, preserve_ordering: bool = False) -> Any:  # noqa: FBT001, FBT002 - Ansible's own
    """Walk as `Group._walk_relationship` does, but in one order each time: Ansible walks sets of objects."""
    ordered = dict.fromkeys([self] if include_self else [])
    level = list(dict.fromkeys(getattr(self, rel)))
    seen = set(level)
    while level:
        ordered.update(dict.fromkeys(level))
        following = dict.fromkeys(each for group in level for each in getattr(group, rel))
        level = [each for each in following if each not in seen]
        seen.update(level)
    return list(ordered) if preserve_ordering else set(ordered)


def secrets_of(loader: DataLoader) -> None:
    """Give the loader the vault passwords the environment names, as `ansible-playbook` would."""
    if constants.DEFAULT_VAULT_PASSWORD_FILE or constants.DEFAULT_VAULT_IDENTITY_LIST:
        from ansible.cli import CLI  # noqa: PLC0415 - slow, and seldom needed

        identities = list(constants.DEFAULT_VAULT_IDENTITY_LIST)
        loader.set_vault_secrets(CLI.setup_vault_secrets(loader, vault_ids=identities, auto_prompt=False))


def answer(request: dict[str, Any], document_path: str) -> dict[str, Any]:
    """Resolve (or read back) an inventory and select hosts from it."""
    warnings: list[str] = []
    Display.warning = lambda _self, msg, *_args, **_options: warnings.append(" ".join(str(msg).split()))
    Display.deprecated = lambda _self, *_args, **_options: None
    Group._walk_relationship = ordered_relations  # noqa: SLF001 - a plan must not depend on memory addresses
    init_plugin_loader()
    loader = RecordingLoader()
    loader.set_basedir(request["root"])
    secrets_of(loader)
    manager = Manager(loader, sources=request["sources"])
    if request["resolve"]:
        document = Writer(manager, loader, request["root"]).document()
        Path(document_path).write_text(json.dumps(document, separators=(",", ":"), allow_nan=False), encoding="ascii")
    else:
        document = json.loads(Path(document_path).read_bytes())
    resolving = list(warnings)
    report = select(manager, document, request["pattern"], request["limit"])
    static = all(name in STATIC_PLUGINS for name in manager.taken)
    return {"static": static, "warnings": resolving, "selection": {**report, "warnings": warnings[len(resolving) :]}}


def main(request_path: str, report_path: str, document_path: str) -> None:
    """Answer the request; whatever goes wrong is part of the report."""
    request = json.loads(Path(request_path).read_bytes())
    try:
        report = answer(request, document_path)
    except Refusal as refusal:
        report = {"error": refusal.report}
    except AnsibleError as error:
        path, line, column = place_of(error)
        report = {"error": Refusal("other", " ".join(str(error).split()), path=path, line=line, column=column).report}
    Path(report_path).write_text(json.dumps(report), encoding="ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])
