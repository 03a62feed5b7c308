"""A source that Ansible would only warn about is one clear error, in Ansible's words, at its place."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import DocumentError, OpsError, ResolveError
from opsascode.repo import resolve_inventory

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Case:
    files: dict[str, str]
    error: type[OpsError]
    says: str
    where: str
    source: str = "source"
    pattern: str = "all"
    limit: str | None = None


SCRIPT = "#!/bin/sh\n"
SEALED = "$ANSIBLE_VAULT;1.1;AES256\n3136\n"
CASES = {
    "missing": Case(files={}, error=ResolveError, says="does not exist", where="source:1:1"),
    "one name without a comma": Case(
        files={}, source="web1", error=ResolveError, says="a list of hosts needs a comma", where="web1:1:1"
    ),
    "broken YAML": Case(
        files={"hosts.yml": "all:\n  hosts:\n    a: {x: 1\n  vars: [\n"},
        source="hosts.yml",
        error=DocumentError,
        says="did not find expected ',' or '}'",
        where="hosts.yml:4:7",
    ),
    "YAML of another shape": Case(
        files={"hosts.yml": "all:\n  hosts: [a, b]\n"},
        source="hosts.yml",
        error=DocumentError,
        says='Invalid "hosts" entry for "all" group',
        where="hosts.yml:1:1",
    ),
    "groups in a circle": Case(
        files={"hosts.yml": "a: {children: {b: {children: {a: {}}}}}\n"},
        source="hosts.yml",
        error=DocumentError,
        says="recursive dependency loop",
        where="hosts.yml:1:1",
    ),
    "broken INI": Case(
        files={"source": "[web]\na x=1\n[web:foo]\nb\n"},
        error=DocumentError,
        says="unknown type: foo",
        where="source:3:1",
    ),
    "broken TOML": Case(
        files={"hosts.toml": "[web\nx = "},
        source="hosts.toml",
        error=DocumentError,
        says="TOML",
        where="hosts.toml:1:5",
    ),
    "one broken file in a directory": Case(
        files={"source/10-good": "a\n", "source/20-bad.yml": "a: [\n"},
        error=DocumentError,
        says="YAML parsing failed",
        where="source/20-bad.yml:2:1",
    ),
    "directory without an inventory": Case(
        files={"source/group_vars/all.yml": "a: 1\n"}, error=ResolveError, says="no inventory", where="source:1:1"
    ),
    "broken group_vars": Case(
        files={"source/hosts": "a\n", "source/group_vars/all.yml": "x: 1\ny: [\n"},
        error=DocumentError,
        says="YAML parsing failed",
        where="source/group_vars/all.yml:3:1",
    ),
    "failing script": Case(
        files={"source": SCRIPT + "echo boo >&2\nexit 3\n"}, error=ResolveError, says="exit code 3", where="source:1:1"
    ),
    "failing script whose words would pass for hosts": Case(
        files={"source": SCRIPT + "false\n"}, error=ResolveError, says="exit code 1", where="source:1:1"
    ),
    "script that prints no JSON": Case(
        files={"source": SCRIPT + "echo hello\n"},
        error=ResolveError,
        says="could not be parsed as JSON",
        where="source:1:1",
    ),
    "plugin nobody has": Case(
        files={"source.yml": "plugin: no.such.thing\n"},
        source="source.yml",
        error=DocumentError,
        says="unknown plugin",
        where="source.yml:1:1",
    ),
    "inventory encrypted as a whole": Case(
        files={"source": SEALED}, error=DocumentError, says="encrypted as a whole", where="source:1:1"
    ),
    "pattern beyond its group": Case(
        files={"source": "a\n"}, pattern="a[5]", error=ResolveError, says="No hosts matched the subscripted", where=""
    ),
    "pattern that is no expression": Case(
        files={"source": "a\n"}, pattern="~(", error=ResolveError, says="Invalid host list pattern", where=""
    ),
    "limit file that is not there": Case(
        files={"source": "a\n"}, limit="@gone", error=ResolveError, says="Unable to find limit file", where=""
    ),
}


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if text.startswith(SCRIPT) else 0o644)
    return root


@pytest.mark.parametrize("name", CASES)
def test_what_ansible_would_pass_over_is_an_error_at_its_place(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    root = written(tmp_path, case.files)
    with pytest.raises(OpsError) as caught:
        resolve_inventory(
            [case.source], pattern=case.pattern, limit=case.limit, environment={}, root=root, cache=tmp_path / "cache"
        )
    assert type(caught.value) is case.error
    assert case.says in str(caught.value)
    assert str(caught.value.position or "") == case.where
    assert "Traceback" not in str(caught.value)


def test_what_a_failing_script_said_is_told(tmp_path: Path) -> None:
    root = written(tmp_path, {"source": SCRIPT + "echo the cloud is gone >&2\nexit 3\n"})
    with pytest.raises(ResolveError, match="the cloud is gone"):
        resolve_inventory(["source"], pattern="all", limit=None, environment={}, root=root, cache=None)


def test_what_a_script_leaves_running_ends_with_it(tmp_path: Path) -> None:
    left = tmp_path / "left"
    script = f"(sleep 2; touch {left}) >/dev/null 2>&1 &\necho '{{}}'\n"
    root = written(tmp_path, {"source": SCRIPT + script})
    resolve_inventory(["source"], pattern="all", limit=None, environment={}, root=root, cache=None)
    time.sleep(2.5)
    assert not left.exists()
