"""With which passwords and keys does a run reach and become somebody on its hosts?

`Access` is what people hand to Ansible as -K, -k, --vault-id, --private-key and -u. It is asked for before the start,
never recorded, and reaches Ansible through files in memory: no argument list and no environment holds a password.

Not here: where the passwords come from (`cli`), and when the files are written and removed (`_child`).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opsascode.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from opsascode.repo import Inventory

DEFAULT_VAULT: Final = "default"
_HAS_ASKPASS: Final = (2, 19)


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSecret:
    """The password of one vault id."""

    id: str = DEFAULT_VAULT
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The passwords, key and name a run has beside what its inventory says; nothing in it is ever recorded."""

    become_password: str | None = field(default=None, repr=False)
    connection_password: str | None = field(default=None, repr=False)
    vault_secrets: tuple[VaultSecret, ...] = ()
    private_key: Path | None = None
    user: str | None = None

    def __post_init__(self) -> None:
        """Refuse what a password file of Ansible cannot hold: it drops white space at both ends.

        Raises:
            UsageError: a password is empty, or begins or ends with white space.
        """
        for what, password in self.secrets().items():
            if not password or password != password.strip():
                msg = f"the {what} is empty, or begins or ends with white space, which Ansible would drop"
                raise UsageError(msg, advice="check what was typed, or what the file or script gives")

    def secrets(self) -> Mapping[str, str]:
        """Give every password by what it is, for redaction."""
        named = {"become password": self.become_password, "connection password": self.connection_password}
        vaults = {f"password of vault id {each.id}": each.password for each in self.vault_secrets}
        return {**{what: password for what, password in named.items() if password is not None}, **vaults}

    def arguments(self) -> list[str]:
        """Give the arguments for Ansible in which no secret is: user and private key."""
        words = [("--user", self.user), ("--private-key", self.private_key)]
        return [f"{option}={value}" for option, value in words if value is not None]

    def lent(self) -> list[tuple[str, str, str]]:
        """Give, for each password, Ansible's option, what stands before the file's path, and the file's content.

        Whoever starts Ansible writes the content to a file of mode 0600 in memory and adds `option`, `prefix + path`.
        """
        return list(self._lent())

    def _lent(self) -> Iterator[tuple[str, str, str]]:
        if self.become_password is not None:
            yield "--become-password-file", "", self.become_password
        if self.connection_password is not None:
            yield "--connection-password-file", "", self.connection_password
        for vault in self.vault_secrets:
            yield "--vault-id", f"{vault.id}@", vault.password


def require_sshpass(access: Access | None, inventory: Inventory, *, ansible_core: str, path: str) -> None:
    """Make sure that ssh can be given a password: before ansible-core 2.19 that takes a program, sshpass.

    Hosts whose inventory says how they are connected to may not be reached by ssh at all, and are left to Ansible.

    Raises:
        UsageError: a host would need sshpass, and it is not installed.
    """
    if access is None or access.connection_password is None or _version(ansible_core) >= _HAS_ASKPASS:
        return
    by_ssh = [host for host in inventory.hosts if "ansible_connection" not in inventory.variable_names(host)]
    if by_ssh and shutil.which("sshpass", path=path) is None:
        raise UsageError(
            f"a connection password for {by_ssh[0]} needs the program sshpass, which is not installed",
            advice="install sshpass, use a key, or use ansible-core 2.19 or later",
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())
