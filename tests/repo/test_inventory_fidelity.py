"""The resolved document gives Ansible exactly what the sources gave it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from opsascode.repo import DOCUMENT_NAME, Inventory, inventory_environment, resolve_inventory

HERE = Path(__file__).parent / "inventories"
ENVIRONMENT = {"GIVEN": "by the caller"}
VAULT = {"ANSIBLE_VAULT_PASSWORD_FILE": str(HERE / "vault-password.txt")}
CASES = {
    "yaml": ["yaml/hosts.yml"],
    "ini": ["ini/hosts"],
    "toml": ["toml/hosts.toml"],
    "directory with group_vars and host_vars": ["directory"],
    "script": ["script/hosts.py"],
    "constructed plugin": ["constructed"],
    "two sources, each with its files": ["order/a", "order/b"],
    "list of hosts": ["one,two,"],
    "vault values and vault files": ["vault"],
    "merging hashes": ["directory", "order/b"],
}


def ansible(program: str, *words: str, environment: dict[str, str]) -> str:
    base = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "LC_ALL": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "ANSIBLE_FORKS": "1",
    }
    command = [str(Path(sys.executable).parent / program), *words]
    done = subprocess.run(
        command,
        cwd=HERE,
        env={**base, **ENVIRONMENT, **VAULT, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def placed(inventory: Inventory, directory: Path) -> tuple[str, dict[str, str]]:
    target = directory / "inventory"
    target.mkdir()
    (target / DOCUMENT_NAME).write_bytes(inventory.document)
    return str(target), dict(inventory_environment(HERE, digest=inventory.digest))


def resolved(sources: list[str], **environment: str) -> Inventory:
    return resolve_inventory(
        sources, pattern="all", limit=None, environment={**ENVIRONMENT, **environment}, root=HERE, cache=None
    )


def absolute(sources: list[str]) -> list[str]:
    return [source if "," in source else str(HERE / source) for source in sources]


@pytest.mark.parametrize("name", CASES)
def test_every_value_keeps_its_type_trust_encryption_and_place(name: str, tmp_path: Path) -> None:
    sources = CASES[name]
    settings = {"ANSIBLE_HASH_BEHAVIOUR": "merge"} if "merging" in name else {}
    document, environment = placed(resolved(sources, **settings), tmp_path)
    flags = ["--vault"] if "vault" in name else []
    dump = ["-P", str(HERE / "dump.py")]
    plain = json.loads(ansible("python", *dump, *absolute(sources), *flags, environment=settings))
    ours = json.loads(ansible("python", *dump, document, *flags, environment={**settings, **environment}))
    assert ours == plain


def messages(printed: str) -> dict[str, Any]:
    found = re.findall(r"^ok: \[(.+?)\] => (\{.*?^\})", printed, re.DOTALL | re.MULTILINE)
    return {host: json.loads(body)["msg"] for host, body in found}


@pytest.mark.parametrize("name", [name for name in CASES if name not in {"ini", "toml", "list of hosts"}])
def test_a_playbook_renders_every_variable_alike(name: str, tmp_path: Path) -> None:
    inventory = resolved(CASES[name])
    document, environment = placed(inventory, tmp_path)
    wanted = sorted(set().union(*(inventory.variable_names(host) for host in inventory.hosts)) - {"$dollar", "raw"})
    wanted += ["sealed"] if "vault" in name else []
    playbook = [str(HERE / "dump.yml"), "-e", json.dumps({"wanted": wanted})]
    sources = [word for source in absolute(CASES[name]) for word in ("-i", source)]
    plain = messages(ansible("ansible-playbook", *sources, *playbook, environment={}))
    ours = messages(ansible("ansible-playbook", "-i", document, *playbook, environment=environment))
    assert list(ours) == list(plain) == list(inventory.hosts)
    assert ours == plain


def test_a_text_that_was_no_template_never_becomes_one(tmp_path: Path) -> None:
    document, environment = placed(resolved(["script/hosts.py"]), tmp_path)
    wanted = json.dumps({"wanted": ["inert", "mixed", "templated"]})
    playbook = [str(HERE / "dump.yml"), "-e", wanted]
    told = messages(ansible("ansible-playbook", "-i", document, *playbook, environment=environment))
    assert told["dyn1"]["variables"] == {
        "inert": "{{ 1 + 1 }}",
        "mixed": ["{{ x }}", "cloud"],
        "templated": "now cloud",
    }


def test_secrets_stay_encrypted_in_the_document() -> None:
    for environment in ({}, VAULT):
        document = resolved(["vault"], **environment).document
        assert b"nobody templates" not in document
        assert b"hidden in" not in document
        assert document.count(b"$ANSIBLE_VAULT;1.1;AES256") == 3


def test_ansible_refuses_a_document_that_is_not_the_planned_one(tmp_path: Path) -> None:
    document, environment = placed(resolved(["ini/hosts"]), tmp_path)
    path = Path(document, DOCUMENT_NAME)
    path.write_bytes(path.read_bytes().replace(b"192.0.2.9", b"192.0.2.8"))
    with pytest.raises(AssertionError, match="is not the inventory document that was planned"):
        ansible("ansible-playbook", "-i", document, str(HERE / "dump.yml"), environment=environment)
