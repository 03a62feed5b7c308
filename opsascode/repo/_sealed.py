"""How is what Ansible's vault or a lookup holds read, without Ansible ever being imported here?

A child process runs `ansible/unseal.py` with the environment it is given and settings of its own. Passwords and answers
go through pipes: no argument list, environment or file holds them. Whatever a lookup starts ends with the child.

Not here: where the passwords come from and what the values are for (`cli`).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opsascode.errors import ResolveError
from opsascode.repo._ansible_settings import usable_ansible_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.repo._source import Value

_SCRIPT: Final = Path(__file__).parent / "ansible" / "unseal.py"
_TIMEOUT_SECONDS: Final = 300
_HEADER: Final = b"$ANSIBLE_VAULT;"
_TAG: Final = b"!vault"
_INSTALLED_COLLECTIONS: Final = ("~/.ansible/collections", "/usr/share/ansible/collections")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """Asks for all a file holds."""

    path: Path

    def plain(self) -> dict[str, Value]:
        """Give the question as the child reads it."""
        return {"kind": "file", "path": str(self.path.absolute())}


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey:
    """Asks for one value in a YAML file; dots in the key lead into mappings."""

    path: Path
    key: str

    def plain(self) -> dict[str, Value]:
        """Give the question as the child reads it."""
        return {"kind": "key", "path": str(self.path.absolute()), "key": self.key}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """Asks a lookup plugin; a term `NAME=VALUE` is an option where the plugin has one of that name."""

    plugin: str
    terms: tuple[str, ...]

    def plain(self) -> dict[str, Value]:
        """Give the question as the child reads it."""
        return {"kind": "lookup", "plugin": self.plugin, "terms": list(self.terms)}


AnsibleQuestion = SealedFile | SealedKey | Lookup


def is_sealed(data: bytes) -> bool:
    """Whether a file is encrypted by Ansible's vault, as a whole or in single values."""
    return data.startswith(_HEADER) or _TAG in data


def ask_ansible(
    questions: Mapping[str, AnsibleQuestion],
    *,
    vault: Sequence[tuple[str, str]],
    environment: Mapping[str, str],
    root: Path,
) -> dict[str, Any]:
    """Answer each question by its name: a file by `{"text": …}` or `{"values": …}`, the others by a text.

    `vault` are ids and passwords; of the calling process only `environment` is passed on.

    Raises:
        ResolveError: a question has no answer; the words are Ansible's.
    """
    if not questions:
        return {}
    plain = {name: each.plain() for name, each in questions.items()}
    asked = {"vault": [list(each) for each in vault], "questions": plain}
    with tempfile.TemporaryDirectory(prefix="opsascode-unseal-") as name:
        private = Path(name)
        settings = private / "ansible.cfg"
        settings.write_bytes(usable_ansible_settings(root).rendered(root, root))
        told = _run(json.dumps(asked).encode(), _hardened(environment, private), root)
    try:
        answer = json.loads(told)
    except ValueError:
        raise ResolveError("Ansible could not be asked for a secret") from None
    if "error" in answer:
        locked = not vault and not any(isinstance(each, Lookup) for each in questions.values())
        advice = "give the password of the vault: --vault-password-file, --vault-id or -J" if locked else ""
        raise ResolveError(f"no secret from Ansible: {str(answer['error']).strip()}", advice=advice)
    found: dict[str, Any] = answer["answers"]
    return found


def _hardened(environment: Mapping[str, str], private: Path) -> dict[str, str]:
    passed = {name: value for name, value in environment.items() if not name.startswith("PYTHON")}
    return {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        **passed,
        "ANSIBLE_CONFIG": str(private / "ansible.cfg"),
        "ANSIBLE_HOME": str(private / "home"),
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(_INSTALLED_COLLECTIONS),
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        "ANSIBLE_NOCOLOR": "True",
    }


def _run(question: bytes, environment: Mapping[str, str], root: Path) -> bytes:
    """Ask and wait; nothing that was started stays."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and script; the question is in a pipe
        [sys.executable, "-P", str(_SCRIPT)],
        cwd=root,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        told, _ = process.communicate(question, timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise ResolveError(f"Ansible gave no secret within {_TIMEOUT_SECONDS} seconds") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return told
