"""Passwords reach Ansible as files only, and what Ansible's files cannot hold is refused before anything starts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from opsascode.errors import UsageError
from opsascode.run import Access, VaultSecret, require_sshpass

PASSWORD = "correct horse"  # noqa: S105 - made up


def test_no_password_is_in_an_argument_or_in_what_a_traceback_would_show() -> None:
    access = Access(
        become_password=PASSWORD,
        connection_password=PASSWORD,
        vault_secrets=(VaultSecret(id="prod", password=PASSWORD),),
        private_key=Path("/keys/id"),
        user="-oProxyCommand=x",
    )
    assert access.arguments() == ["--user=-oProxyCommand=x", "--private-key=/keys/id"]
    assert PASSWORD not in repr(access)
    assert access.lent() == [
        ("--become-password-file", "", PASSWORD),
        ("--connection-password-file", "", PASSWORD),
        ("--vault-id", "prod@", PASSWORD),
    ]
    assert set(access.secrets().values()) == {PASSWORD}


def test_nothing_given_is_nothing_lent() -> None:
    assert Access().lent() == Access().arguments() == []
    assert Access().secrets() == {}


@pytest.mark.parametrize("password", ["", " x", "x\n", "\tx"])
def test_what_ansible_would_change_is_refused(password: str) -> None:
    with pytest.raises(UsageError, match="white space"):
        Access(become_password=password)
    with pytest.raises(UsageError, match="vault id dev"):
        Access(vault_secrets=(VaultSecret(id="dev", password=password),))


@pytest.mark.parametrize(
    ("core", "names", "path", "refused"),
    [
        ("2.16.19", set(), "/nonexistent", True),
        ("2.18.0rc1", set(), "/nonexistent", True),
        ("2.16.19", {"ansible_connection"}, "/nonexistent", False),
        ("2.19.0", set(), "/nonexistent", False),
    ],
)
def test_sshpass_is_asked_for_only_where_ssh_needs_it(core: str, names: set[str], path: str, refused: bool) -> None:
    inventory: Any = SimpleNamespace(hosts=("web1",), variable_names=lambda _host: frozenset(names))
    access = Access(connection_password=PASSWORD)
    require_sshpass(Access(become_password=PASSWORD), inventory, ansible_core=core, path=path)
    require_sshpass(None, inventory, ansible_core=core, path=path)
    if refused:
        with pytest.raises(UsageError, match="web1 needs the program sshpass"):
            require_sshpass(access, inventory, ansible_core=core, path=path)
    else:
        require_sshpass(access, inventory, ansible_core=core, path=path)
