"""Was this very inventory resolved before?

Answers are kept under a digest of everything they came from: the bytes of every file a source can draw on, the
Ansible release, this resolver and the Ansible settings in force. A changed byte is another key, so nothing is ever
invalidated and a damaged file is simply not an answer. Values are as sensitive as the inventory itself: the directory
is 0700, the files 0600. Whether something may be kept at all (dynamic sources never) is `_inventory`'s decision.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from opsascode.repo._inventory_child import PARTS, settings_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_KEPT = {"document": 16, "selection": 128}
_BESIDE = ("group_vars", "host_vars")
_VERSION = "1"


def key_of(sources: Sequence[str], environment: Mapping[str, str], root: Path) -> str:
    """Name everything a resolved inventory comes from: sources, settings, Ansible and this resolver."""
    digest = hashlib.sha256()
    settings = {key: value for key, value in environment.items() if key.startswith("ANSIBLE_")}
    head = [_VERSION, sys.version, str(root), list(sources), sorted(settings.items())]
    digest.update(json.dumps(head).encode())
    for path in _inputs(sources, environment, root):
        content = path.read_bytes()
        mark = f"\0{path}\0{os.access(path, os.X_OK):d}\0{len(content)}\0"
        digest.update(mark.encode(errors="surrogateescape"))
        digest.update(content)
    return digest.hexdigest()


def selection_key(document_key: str, pattern: str, limit: str | None) -> str:
    """Name the hosts selected from one document."""
    return hashlib.sha256(json.dumps([document_key, pattern, limit]).encode()).hexdigest()


def _inputs(sources: Sequence[str], environment: Mapping[str, str], root: Path) -> Iterator[Path]:
    """Every file a static inventory can draw on, in one order."""
    yield from _resolver()
    settings = settings_file(root, environment)
    if settings is not None:
        yield settings
    for source in sources:
        path = Path(source)
        if path.is_dir():
            yield from _files_below(path)
        elif path.is_file():
            yield path
            for name in _BESIDE:
                yield from _files_below(path.parent / name)


def _files_below(directory: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(directory, followlinks=True):
        folders.sort()
        for name in sorted(files):
            path = Path(folder, name)
            if path.is_file():
                yield path


def _resolver() -> Iterator[Path]:
    yield from sorted(PARTS.rglob("*.py"))
    ansible = find_spec("ansible")
    if ansible is not None and ansible.origin:
        yield Path(ansible.origin).parent / "release.py"


class Cache:
    """Answers of one kind each in a private directory; a miss and an unreadable answer are the same thing."""

    def __init__(self, directory: Path) -> None:
        """Use (and make) the directory, closed to all others; raises OSError where that cannot be."""
        self._directory = directory / "inventory"
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory.chmod(0o700)

    @classmethod
    def at(cls, directory: Path | None) -> Cache | None:
        """Open the cache there, or none: not to remember is no failure."""
        with contextlib.suppress(OSError):
            return None if directory is None else cls(directory)
        return None

    def get(self, kind: str, key: str) -> bytes | None:
        """Return the kept bytes, or None."""
        path = self._directory / f"{kind}-{key}"
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        digest, _, body = content.partition(b"\n")
        return body if digest == _seal(kind, key, body) else None

    def put(self, kind: str, key: str, body: bytes) -> None:
        """Keep an answer atomically, and forget the oldest where there are too many; failing to keep is no failure."""
        with contextlib.suppress(OSError):
            descriptor, name = tempfile.mkstemp(dir=self._directory, prefix=".new-")
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(_seal(kind, key, body) + b"\n" + body)
                Path(name).replace(self._directory / f"{kind}-{key}")
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            self._forget(self._directory.glob(f"{kind}-*"), _KEPT[kind])

    @staticmethod
    def _forget(kept: Iterable[Path], at_most: int) -> None:
        newest_first = sorted(kept, key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in newest_first[at_most:]:
            path.unlink(missing_ok=True)


def _seal(kind: str, key: str, body: bytes) -> bytes:
    return hashlib.sha256(f"{kind}\0{key}\0".encode() + body).hexdigest().encode()
