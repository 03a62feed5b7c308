"""Print what Ansible holds for an inventory, with exact types, trust and encryption."""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader
from ansible.vars.manager import VariableManager

try:
    from ansible._internal._datatag._tags import TrustedAsTemplate

    def trusted(value: Any) -> bool:
        return TrustedAsTemplate.is_tagged_on(value)

except ImportError:
    from ansible.utils.unsafe_proxy import AnsibleUnsafe

    def trusted(value: Any) -> bool:
        return not isinstance(value, AnsibleUnsafe)


def exact(value: Any) -> Any:
    kind = type(value).__name__.removeprefix("_AnsibleTagged").removeprefix("AnsibleUnsafe").lower()
    kind = {"text": "str", "ansibleunicode": "str", "ansiblemapping": "dict", "ansiblesequence": "list"}.get(kind, kind)
    if hasattr(value, "_ciphertext"):
        return "vault", str(value._ciphertext)
    if isinstance(value, str):
        return "str", str.__str__(value), trusted(value)
    if isinstance(value, dict):
        return "dict", [[exact(key), exact(each)] for key, each in value.items()]
    if isinstance(value, list | tuple):
        return kind, [exact(each) for each in value]
    if isinstance(value, set):
        return "set", sorted(exact(each) for each in value)
    return kind, repr(value._native_copy() if hasattr(value, "_native_copy") else value)


def top(variables: dict[str, Any]) -> dict[str, Any]:
    """Variables by name: the trust of a bare variable name means nothing."""
    return {str(name): exact(value) for name, value in variables.items()}


OURS = {"ansible_inventory_sources", "omit", "hostvars", "vars"}

init_plugin_loader()
loader = DataLoader()
if "--vault" in sys.argv:
    from ansible.cli import CLI

    loader.set_vault_secrets(CLI.setup_vault_secrets(loader, vault_ids=[], auto_prompt=False))
inventory = InventoryManager(loader, sources=[each for each in sys.argv[1:] if each != "--vault"])
variables = VariableManager(loader, inventory)
print(  # noqa: T201 - its one purpose
    json.dumps(
        {
            "hosts": list(inventory.hosts),
            "localhost": inventory.localhost
            and [inventory.localhost.name, inventory.localhost.implicit, inventory.localhost.address],
            "groups": {
                name: {
                    "hosts": [host.name for host in group.hosts],
                    "children": [child.name for child in group.child_groups],
                    "parents": sorted(parent.name for parent in group.parent_groups),
                    "depth": group.depth,
                    "priority": group.priority,
                    "vars": top(group.vars),
                }
                for name, group in inventory.groups.items()
            },
            "membership": {name: sorted(group.name for group in host.groups) for name, host in inventory.hosts.items()},
            "vars": {
                name: top({key: value for key, value in variables.get_vars(host=host).items() if key not in OURS})
                for name, host in inventory.hosts.items()
            },
        }
    )
)
