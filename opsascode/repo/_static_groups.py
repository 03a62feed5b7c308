"""Which groups is each host in, as far as that can be told without executing anything?

For inventory files of a commit that nobody here has agreed to yet: Ansible reads copies of them, in a child process and
a fresh directory that nobody else can enter, with only those of its plugins that take a file for what it says (yaml,
ini, lists of hosts). Whatever would have to be executed, decrypted or asked elsewhere, and whatever no such plugin
takes, makes the whole answer unknown.

Not here: variables (no variable file is even copied), and resolving an inventory for a run (`_inventory`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._inventory_child import PARTS
from opsascode.repo._snapshot import path_fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.repo._snapshot import ProtectedFile

TIMEOUT_SECONDS: Final = 120
_SCRIPT: Final = PARTS / "groups.py"
_VARIABLES: Final = frozenset({"group_vars", "host_vars"})
_SEALED: Final = b"$ANSIBLE_VAULT;"
_MOST_FILES: Final = 5000


def static_groups(files: Mapping[str, ProtectedFile], sources: Sequence[str]) -> Mapping[str, frozenset[str]] | None:
    """Give the groups of each host, as Ansible's `group_names` has them; None where that cannot be told.

    `sources` are paths from the top of the repository, of files or directories, or lists of hosts with a comma.
    """
    with tempfile.TemporaryDirectory(prefix="opsascode-groups-") as name:
        private = Path(name)
        named = [_copied(files, source, private / "files") for source in sources]
        if not named or None in named:
            return None
        found = _asked([each for each in named if each is not None], private)
    return None if found is None else {host: frozenset(groups) for host, groups in found.items()}


def _copied(files: Mapping[str, ProtectedFile], source: str, place: Path) -> str | None:
    """Copy what a source names; None where something of it could do more than say something."""
    if "," in source:
        return source
    path = source.removeprefix("./").rstrip("/")
    inside = [each for each in files.values() if each.path == path or each.path.startswith(f"{path}/")]
    if not inside or len(inside) > _MOST_FILES:
        return None
    for each in inside:
        if _VARIABLES.isdisjoint(each.path.removeprefix(path).split("/")[:-1]):
            if each.mode != "100644" or each.data.startswith((b"#!", _SEALED)) or path_fault(each.path):
                return None
            copy = place / each.path
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            copy.write_bytes(each.data)
            copy.chmod(0o600)
    return str(place / path)


def _asked(sources: Sequence[str], private: Path) -> Any:  # noqa: ANN401 - what JSON holds
    """Let Ansible read the sources; None where it could not, or said anything but an answer."""
    report = private / "report.json"
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and script
            [sys.executable, "-P", str(_SCRIPT), str(report), *sources],
            cwd=private,
            env=_environment(private),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return json.loads(report.read_bytes()) if done.returncode == 0 and report.is_file() else None


def _environment(private: Path) -> dict[str, str]:
    """Leave Ansible nothing but its own plugins that execute nothing."""
    settings, nothing = private / "ansible.cfg", private / "nothing"
    settings.write_text("[defaults]\n", encoding="ascii")
    nothing.mkdir()
    return {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        "HOME": str(nothing),
        "ANSIBLE_HOME": str(nothing),
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        "ANSIBLE_COLLECTIONS_PATH": str(nothing),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
        "ANSIBLE_INVENTORY_CACHE": "False",
        "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.host_list,ansible.builtin.yaml,ansible.builtin.ini",
        "ANSIBLE_INVENTORY_PLUGINS": str(nothing),
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_VARS_PLUGINS": str(nothing),
        "PYTHONHASHSEED": "0",
    }
