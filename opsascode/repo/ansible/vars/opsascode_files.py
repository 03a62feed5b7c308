"""Which variables did the `group_vars` and `host_vars` files give, at the precedence Ansible gives to files?

An Ansible vars plugin, loaded by `ansible-playbook` and never by opsascode. It answers, for the resolved inventory
document only, what Ansible's own `host_group_vars` answered when the inventory was resolved; files beside a playbook
stay with that plugin. A file encrypted as a whole is in the document as its ciphertext and is decrypted here, in
memory, with the secrets of this very run.
"""
# ruff: noqa: ANN401, INP001, PTH100, PTH118 - Ansible has no types and speaks in path strings

from __future__ import annotations

import os
from typing import Any

from ansible.plugins.vars import BaseVarsPlugin
from ansible.utils.vars import combine_vars

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core up to 2.18 trusts what is not marked unsafe
    trust_as_template = str

DOCUMENTATION = """
name: opsascode_files
short_description: Variables of files, from an inventory document resolved by opsascode
description: [Variables of files, from an inventory document resolved by opsascode.]
"""


class VarsModule(BaseVarsPlugin):  # type: ignore[misc]  # Ansible has no types
    """Variables of group_vars and host_vars files, taken from the resolved document."""

    is_stateless = True

    def __init__(self) -> None:
        super().__init__()
        self._decoded: dict[int, Any] = {}

    def get_vars(self, loader: Any, path: str, entities: Any, cache: bool = True) -> dict[str, Any]:  # noqa: ARG002, FBT001, FBT002 - Ansible's own signature
        """Combine source after source, in each one entity after entity, as Ansible does."""
        data: dict[str, Any] = {}
        held = [entity.opsascode_files for entity in entities if hasattr(entity, "opsascode_files")]
        if not held or held[0].directory != os.path.abspath(path):
            return data
        for source in range(len(held[0].per_source)):
            found: dict[str, Any] = {}
            for files in held:
                for layer in files.per_source[source]:
                    variables = self._layer(loader, files, layer)
                    if variables:
                        found = combine_vars(found, variables)
            if found:
                data = combine_vars(data, found)
        return data

    def _layer(self, loader: Any, files: Any, layer: dict[str, Any]) -> Any:
        key = id(layer)
        if key not in self._decoded:
            self._decoded[key] = (
                _unseal(loader, files.directory, layer["$sealed"])
                if "$sealed" in layer
                else files.decoder.value(layer["vars"])
            )
        return self._decoded[key]


def _unseal(loader: Any, directory: str, sealed: dict[str, str]) -> Any:
    text = loader._vault.decrypt(sealed["data"].encode()).decode()  # noqa: SLF001 - the loader's public readers take file names only
    return loader.load(trust_as_template(text), file_name=os.path.join(directory, sealed["file"]), show_content=False)
