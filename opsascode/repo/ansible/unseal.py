"""What does Ansible's vault hold, and what does a lookup of Ansible give?

A script run in a child process of its own: one JSON question on standard input, one JSON answer on standard output.
Vault passwords and what they open are in these two pipes only. Whatever plugins print is part of neither.

Not here: what the answers are for.
"""
# ruff: noqa: ANN401, INP001 - this script is run by its path, and Ansible has no types

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret, is_encrypted
from ansible.plugins.loader import init_plugin_loader, lookup_loader
from ansible.template import Templar

try:  # ansible-core 2.19 and later
    from ansible.parsing.vault import VaultSecretsContext
except ImportError:  # ansible-core up to 2.18
    VaultSecretsContext = None


class Refusal(Exception):  # noqa: N818 - it is an answer: what the caller is told instead of a value
    """A question has no answer; the words are for the person who asked."""


class Keeper:
    """Answers questions, with the vault passwords that were handed over."""

    def __init__(self, vault: list[list[str]]) -> None:
        secrets = [(name, VaultSecret(password.encode())) for name, password in vault]
        self._vault = VaultLib(secrets)
        self._loader = DataLoader()
        self._loader.set_vault_secrets(secrets)
        if VaultSecretsContext is not None:
            VaultSecretsContext.initialize(VaultSecretsContext(secrets))

    def answer(self, question: dict[str, Any]) -> Any:
        """Answer one question."""
        match question["kind"]:
            case "file":
                return self._file(question["path"])
            case "key":
                return self._key(question["path"], question["key"])
            case "lookup":
                return self._lookup(question["plugin"], question["terms"])
        raise Refusal(f"«{question['kind']}» is no question")

    def _file(self, path: str) -> dict[str, Any]:
        """Give the text of a file, opened if it is sealed; its values where some of those are sealed."""
        data = Path(path).read_bytes()
        if is_encrypted(data):
            data = self._open(data, path)
        if b"!vault" in data:
            return {"values": plain(self._loader.load_from_file(path))}
        return {"text": data.decode()}

    def _open(self, data: bytes, path: str) -> bytes:
        try:
            opened: bytes = self._vault.decrypt(data)
        except AnsibleError as error:
            raise Refusal(f"{path} cannot be decrypted: {error.message}") from error
        return opened

    def _key(self, path: str, key: str) -> str:
        value = self._loader.load_from_file(path)
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise Refusal(f"{path} has no key «{key}»")
            value = value[part]
        if isinstance(value, dict | list) or value is None:
            raise Refusal(f"«{key}» in {path} is no single value")
        return json.dumps(value) if isinstance(value, bool) else str(value)

    def _lookup(self, plugin: str, terms: list[str]) -> str:
        lookup = lookup_loader.get(plugin, loader=self._loader, templar=Templar(loader=self._loader))
        if lookup is None:
            raise Refusal(f"Ansible knows no lookup «{plugin}»")
        known = constants.config.get_configuration_definitions("lookup", lookup.ansible_name)
        options, words = {}, []
        for term in terms:
            name, equals, value = term.partition("=")
            if equals and name in known and name != "_terms":
                options[name] = value
            else:
                words.append(term)
        found = lookup.run(words, variables={}, **options)
        if not isinstance(found, list) or len(found) != 1 or isinstance(found[0], dict | list):
            raise Refusal(f"the lookup {plugin} gave no single value")
        return str(found[0])


def plain(value: Any) -> Any:
    """Give a value as JSON has it; sealed texts are opened."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def main() -> None:
    """Answer all questions, or say why one cannot be answered."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    asked = json.load(sys.stdin)
    init_plugin_loader()
    try:
        keeper = Keeper(asked["vault"])
        answer: dict[str, Any] = {"answers": {name: keeper.answer(each) for name, each in asked["questions"].items()}}
    except (Refusal, AnsibleError, OSError, ValueError) as error:
        answer = {"error": getattr(error, "message", "") or str(error) or type(error).__name__}
    except Exception as error:  # noqa: BLE001 - a plugin may raise anything
        answer = {"error": f"{type(error).__name__}: {error}"}
    json.dump(answer, told)
    told.flush()


if __name__ == "__main__":
    main()
