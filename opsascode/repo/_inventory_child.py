"""How is Ansible asked about an inventory without Ansible ever being imported here?

A child process runs `ansible/resolve.py` in this very Python environment, with a minimal environment and the repository
as its directory; its answer comes back as one report file and one document file in a private directory. Whatever it
starts (inventory scripts) is in its process group and ends with it. What the answer means, and caching it, is
`_inventory`'s business.
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
from typing import TYPE_CHECKING, Any

from opsascode.errors import DocumentError, OpsError, Position, ResolveError
from opsascode.repo._ansible_settings import usable_ansible_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PARTS = Path(__file__).parent / "ansible"
DOCUMENT_NAME = "opsascode-inventory.json"
TIMEOUT_SECONDS = 300

_SCRIPT = PARTS / "resolve.py"
_LAST_WORDS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the child found out: the document, what Ansible warned of, whether it may be kept, and the selection."""

    document: bytes
    warnings: tuple[str, ...]
    static: bool
    selection: Mapping[str, Any]


def reading_environment(root: Path, digest: str) -> dict[str, str]:
    """Say what Ansible needs in its environment to read a resolved document, and nothing but that document."""
    return {
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
        "ANSIBLE_INVENTORY_CACHE": "False",
        "ANSIBLE_INVENTORY_ENABLED": "opsascode_document",
        "ANSIBLE_INVENTORY_PLUGINS": str(PARTS / "inventory"),
        "ANSIBLE_VARS_PLUGINS": str(PARTS / "vars"),
        "OPSASCODE_INVENTORY_DIGEST": digest,
        "OPSASCODE_INVENTORY_ROOT": str(root),
    }


def resolve(
    sources: Sequence[str], *, pattern: str, limit: str | None, environment: Mapping[str, str], root: Path
) -> Answer:
    """Let Ansible resolve the sources and select hosts; raises DocumentError or ResolveError in Ansible's own words."""
    request = {"resolve": True, "sources": list(sources), "pattern": pattern, "limit": limit, "root": str(root)}
    return _ask(request, environment, root, document=None)


def reselect(
    document: bytes, digest: str, *, pattern: str, limit: str | None, environment: Mapping[str, str], root: Path
) -> Answer:
    """Let Ansible select hosts from a document resolved before."""
    request = {"resolve": False, "pattern": pattern, "limit": limit, "root": str(root)}
    return _ask(request, {**environment, **reading_environment(root, digest)}, root, document=document)


def _ask(request: dict[str, Any], environment: Mapping[str, str], root: Path, *, document: bytes | None) -> Answer:
    with tempfile.TemporaryDirectory(prefix="opsascode-inventory-") as name:
        private = Path(name)
        written, report = private / DOCUMENT_NAME, private / "report.json"
        if document is not None:
            written.write_bytes(document)
            request["sources"] = [str(written)]
        (private / "request.json").write_text(json.dumps(request), encoding="ascii")
        command = [sys.executable, "-P", str(_SCRIPT), str(private / "request.json"), str(report), str(written)]
        _run(command, _minimal(environment, private, root), root, private / "words")
        if not report.is_file():
            raise ResolveError(f"Ansible could not be asked about the inventory: {_last(private / 'words')}")
        told = json.loads(report.read_bytes())
        if "error" in told:
            raise _error(told["error"], root)
        return Answer(
            document=written.read_bytes(),
            warnings=tuple(told["warnings"]),
            static=told["static"],
            selection=told["selection"],
        )


def settings_file(root: Path, environment: Mapping[str, str]) -> Path | None:
    """Find the Ansible settings in force: those named, else the repository's, never those of machine or home."""
    named = Path(environment.get("ANSIBLE_CONFIG") or root / "ansible.cfg")
    return named if named.is_file() else None


def _minimal(environment: Mapping[str, str], private: Path, root: Path) -> dict[str, str]:
    named = Path(environment.get("ANSIBLE_CONFIG", ""))
    settings = named if named.is_file() else private / "ansible.cfg"
    if settings != named:
        settings.write_bytes(usable_ansible_settings(root).rendered(root, root))
    passed = {key: value for key, value in environment.items() if not key.startswith("PYTHON")}
    return {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        **passed,
        "ANSIBLE_CONFIG": str(settings),
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        "ANSIBLE_NOCOLOR": "True",
        "PYTHONHASHSEED": "0",
    }


def _run(command: Sequence[str], environment: Mapping[str, str], root: Path, words: Path) -> None:
    """Run to the end, or to the time limit, and leave nothing running that the child may have started."""
    with words.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and script; the request is in a file
            command,
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            start_new_session=True,
        )
    try:
        process.wait(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        raise ResolveError(
            f"the inventory was not resolved within {TIMEOUT_SECONDS} seconds", advice="an inventory script may hang"
        ) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last(words: Path) -> str:
    return words.read_text(errors="replace").strip().rpartition("\n")[2][-_LAST_WORDS:]


def _error(told: Mapping[str, Any], root: Path) -> OpsError:
    kind = DocumentError if told["kind"] == "document" or told["line"] else ResolveError
    path = str(told["path"])
    if path.startswith(f"{root}{os.sep}"):
        path = os.path.relpath(path, root)
    position = Position(path=path, line=told["line"] or 1, column=told["column"] or 1) if path else None
    return kind(str(told["message"]), position=position, advice=str(told["advice"]))
