"""How does Ansible get back exactly the inventory that was resolved?

An Ansible inventory plugin, loaded by `ansible-playbook` and never by opsascode. It reads the document `resolve.py`
wrote and fills Ansible's own host and group objects directly: the structure was checked by Ansible when it was
resolved, so nothing is parsed, guessed or templated a second time.

A text becomes a template only where it was one at resolving time: plain JSON strings were trusted, everything else is
marked and stays inert (`$untrusted`). Vault values stay encrypted (`$vault`). Variables of `group_vars` and `host_vars`
files are not merged here, for Ansible gives them another precedence: they wait on the objects for `opsascode_files`.
"""
# ruff: noqa: ANN401, INP001, PTH100, PTH118, PTH119, PTH120, PTH123 - untyped Ansible speaks in path strings

from __future__ import annotations

import base64
import datetime as dt
import gc
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.inventory.group import Group
from ansible.inventory.host import Host
from ansible.plugins.inventory import BaseInventoryPlugin

if TYPE_CHECKING:
    from collections.abc import Callable

try:  # ansible-core 2.19 and later: only tagged strings are templates
    from ansible.parsing.vault import EncryptedString
    from ansible.template import trust_as_template
except ImportError:  # ansible-core up to 2.18: every string is a template unless marked unsafe
    from ansible.parsing.vault import VaultLib
    from ansible.parsing.yaml.objects import AnsibleVaultEncryptedUnicode
    from ansible.utils.unsafe_proxy import AnsibleUnsafeBytes, AnsibleUnsafeText

    LEGACY = True
else:
    LEGACY = False

DOCUMENTATION = """
name: opsascode_document
short_description: Reads an inventory document resolved by opsascode
description: [Reads an inventory document resolved by opsascode.]
"""

FILE_NAME = "opsascode-inventory.json"
FORMAT = "opsascode-inventory/v1"


class Decoder:
    """Turns values of the document back into what Ansible held when they were resolved."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._trusted: dict[str, str] = {}
        self._marked: dict[str, Callable[[Any], Any]] = {
            "$untrusted": self._untrusted,
            "$vault": self._vault,
            "$dict": self._pairs,
            "$set": lambda items: {self.value(item) for item in items},
            "$tuple": lambda items: tuple(self.value(item) for item in items),
            "$date": dt.date.fromisoformat,
            "$datetime": dt.datetime.fromisoformat,
            "$time": dt.time.fromisoformat,
            "$float": float,
            "$bytes": self._bytes,
        }

    def value(self, item: Any) -> Any:
        """Turn one value back; a JSON string is a trusted one."""
        kind = type(item)
        if kind is str:
            return self.trusted(item)
        if kind is list:
            return [self.value(each) for each in item]
        if kind is dict:
            if len(item) == 1:
                (key,) = item
                if key.startswith("$"):
                    return self._marked[key](item[key])
            return {self.trusted(key): self.value(each) for key, each in item.items()}
        return item

    def trusted(self, text: str) -> str:
        """Mark the text as one Ansible may template."""
        if LEGACY:
            return text
        found = self._trusted.get(text)
        if found is None:
            found = self._trusted[text] = trust_as_template(text)
        return found

    def _untrusted(self, text: str) -> str:
        return AnsibleUnsafeText(text) if LEGACY else text

    def _bytes(self, text: str) -> bytes:
        raw = base64.b64decode(text)
        return AnsibleUnsafeBytes(raw) if LEGACY else raw

    def _pairs(self, pairs: list[list[Any]]) -> dict[Any, Any]:
        return {self.value(key): self.value(each) for key, each in pairs}

    def _vault(self, ciphertext: str) -> Any:
        if not LEGACY:
            return EncryptedString(ciphertext=ciphertext)
        held = AnsibleVaultEncryptedUnicode(ciphertext)
        held.vault = VaultLib(secrets=self._loader._vault.secrets)  # noqa: SLF001 - as Ansible's own YAML constructor does
        return held


class FileVariables:
    """What the variable files beside the original inventory gave one host or group, one entry per inventory source."""

    def __init__(self, directory: str, per_source: list[list[Any]], decoder: Decoder) -> None:
        self.directory = directory
        self.per_source = per_source
        self.decoder = decoder


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]  # Ansible has no types
    """Reads a resolved inventory document."""

    NAME = "opsascode_document"

    def verify_file(self, path: str) -> bool:
        """Only the document itself, by its name."""
        return os.path.basename(path) == FILE_NAME

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - Ansible's own signature
        """Fill the inventory from the document, after checking its digest where one is expected."""
        with open(path, "rb") as stream:
            data = stream.read()
        expected = os.environ.get("OPSASCODE_INVENTORY_DIGEST")
        if expected and expected != f"sha256:{hashlib.sha256(data).hexdigest()}":
            raise AnsibleParserError(f"{path} is not the inventory document that was planned")
        collecting = gc.isenabled()
        gc.disable()
        try:
            document = json.loads(data)
            if document.get("format") != FORMAT:
                raise AnsibleParserError(f"{path} is not an inventory document this version of opsascode reads")
            Filler(inventory, Decoder(loader), os.path.dirname(os.path.abspath(path))).fill(document)
        finally:
            if collecting:
                gc.enable()


class Filler:
    """Builds hosts, groups and their relations without Ansible's checks, which passed when the document was made."""

    def __init__(self, inventory: Any, decoder: Decoder, directory: str) -> None:
        self._inventory = inventory
        self._decoder = decoder
        self._directory = directory
        self._root = os.environ.get("OPSASCODE_INVENTORY_ROOT", "")

    def fill(self, document: dict[str, Any]) -> None:
        """Build hosts, then groups, then who belongs to whom, then the variables of files."""
        self._hosts(document)
        self._groups(document["groups"])
        self._members(document["groups"])
        self._files(document["files"])

    def _hosts(self, document: dict[str, Any]) -> None:
        origins = [tuple(self._place(part) for part in origin) for origin in document["origins"]]
        value, hosts = self._decoder.value, self._inventory.hosts
        for name, (origin, variables) in document["hosts"].items():
            host = hosts[name] = Host(name)
            held = host.vars
            if origin is not None:
                held["inventory_file"], held["inventory_dir"] = origins[origin]
            for key, item in variables.items():
                held[key] = value(item)
            if name in constants.LOCALHOST and self._inventory.localhost is None:
                self._inventory.localhost = host

    def _place(self, part: Any) -> str | None:
        if isinstance(part, dict):
            return os.path.normpath(os.path.join(self._root, part["$root"]))
        return None if part is None else str(part)

    def _groups(self, declared: dict[str, Any]) -> None:
        value, groups = self._decoder.value, self._inventory.groups
        for name, content in declared.items():
            if name not in groups:
                groups[name] = Group(name)
            group = groups[name]
            group.depth, group.priority = content.get("depth", 0), content.get("priority", 1)
            for key, item in content.get("vars", {}).items():
                group.vars[key] = value(item)

    def _members(self, declared: dict[str, Any]) -> None:
        groups, hosts = self._inventory.groups, self._inventory.hosts
        for group in groups.values():
            group.child_groups, group.parent_groups = [], []
            group.clear_hosts_cache()
        for name, content in declared.items():
            for child in content.get("children", ()):
                groups[name].child_groups.append(groups[child])
                groups[child].parent_groups.append(groups[name])
        for name, content in declared.items():
            group = groups[name]
            names = content.get("hosts", ())
            group.hosts, group._hosts = [hosts[each] for each in names], set(names)  # noqa: SLF001 - Ansible's name index of the list
            over = sorted(group.get_ancestors(), key=lambda each: (each.depth, each.name))
            for host in group.hosts:
                held = host.groups
                held.extend([each for each in (*over, group) if each not in held] if held else (*over, group))
        for group in groups.values():
            group._hosts_cache = _all_hosts(group)  # noqa: SLF001 - the order of the plan: Ansible walks sets of objects

    def _files(self, files: dict[str, dict[str, list[list[Any]]]]) -> None:
        for kind, entities in (("groups", self._inventory.groups), ("hosts", self._inventory.hosts)):
            for name, per_source in files[kind].items():
                entities[name].opsascode_files = FileVariables(self._directory, per_source, self._decoder)


def _all_hosts(group: Any) -> list[Any]:
    """All hosts of a group and those below it, level by level, in one order each time."""
    level, seen = [group], {group: None}
    while level:
        level = [child for child in dict.fromkeys(c for each in level for c in each.child_groups) if child not in seen]
        seen.update(dict.fromkeys(level))
    return list({host.name: host for each in seen for host in each.hosts}.values())
