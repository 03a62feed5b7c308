"""Which Ansible content does a run use, and is it still what was planned?

Roles, playbooks, templates and files live in fixed directories of the ops repository. A plan pins each directory by
one digest over its files' modes, paths and bytes; a run works on a private copy, made and checked in one go, so that
nothing edited meanwhile can slip in.

Not here: runbooks and policies (`repo` pins those file by file).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from opsascode.errors import DocumentError, Position, ResolveError
from opsascode.run._plan import Pin

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

CONTENT_DIRECTORIES: Final = (
    "playbooks/ansible",
    "playbooks/files",
    "playbooks/roles",
    "playbooks/tasks",
    "playbooks/templates",
    "playbooks/vars",
    "roles",
)
_TEXTS: Final = frozenset({".yml", ".yaml", ".j2"})
ROLES_DIRECTORIES: Final = ("playbooks/ansible/roles", "playbooks/roles", "roles")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentFile:
    """One file or link of a content directory: its mode as Git writes it, and the SHA-256 of its bytes or target."""

    mode: str
    digest: str


def pin_content(root: Path, extra: Sequence[str] = (), playbooks: Sequence[str] = ()) -> tuple[Pin, ...]:
    """Pin every content directory that exists, the `extra` ones, and for each playbook the directory it lies in.

    A playbook that lies in the root of the repository is pinned by itself.

    Raises:
        DocumentError: a symbolic link leads out of the repository, or an entry is neither file, directory nor link.
    """
    names = content_names(extra, playbooks)
    return tuple(Pin(path=name, digest=_tree_digest(root, name)) for name in names if (root / name).exists())


def content_names(extra: Sequence[str] = (), playbooks: Sequence[str] = ()) -> tuple[str, ...]:
    """Name what `pin_content` pins of what exists."""
    names = dict.fromkeys((*CONTENT_DIRECTORIES, *extra))
    for playbook in playbooks:
        directory = str(PurePosixPath(playbook).parent)
        if not any(PurePosixPath(playbook).is_relative_to(name) for name in names):
            names[playbook if directory == "." else directory] = None
    return tuple(names)


def content_files(root: Path, name: str) -> dict[str, ContentFile]:
    """Read the files and links of a content directory, or the one file it is, by their paths.

    Raises:
        DocumentError: as `pin_content`.
    """
    return {
        str(path.relative_to(root)): ContentFile(mode=_mode(path), digest=_entry_digest(root, path))
        for path in _entries(root / name)
    }


def files_digest(files: Mapping[str, ContentFile]) -> str:
    """Give the one digest that a plan pins these files by."""
    whole = hashlib.sha256()
    for path in sorted(files, key=os.fsencode):
        relative, file = os.fsencode(path), files[path]
        whole.update(b"%s %d:%s %s\n" % (file.mode.encode(), len(relative), relative, file.digest.encode()))
    return f"sha256:{whole.hexdigest()}"


def read_texts(root: Path, names: Sequence[str]) -> bytes:
    """Give the text of all YAML files and templates in these directories, one after the other."""
    texts = (
        path.read_bytes()
        for name in dict.fromkeys(names)
        if (root / name).is_dir()
        for path in sorted(_entries(root / name))
        if path.suffix in _TEXTS and path.is_file()
    )
    return b"\n".join(texts)


def materialise(root: Path, pins: Sequence[Pin], target: Path) -> None:
    """Copy the pinned directories below `target` and check the copies against their digests.

    Raises:
        ResolveError: the content is not what was planned any more.
    """
    for pin in pins:
        source = root / pin.path
        if not source.exists():
            msg = f"{pin.path} is gone since the plan was made"
            raise ResolveError(msg, advice="plan again")
        if source.is_file():
            shutil.copy2(source, target / pin.path)
        else:
            shutil.copytree(
                source,
                target / pin.path,
                symlinks=True,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns(".git", "__pycache__"),
            )
        if _tree_digest(target, pin.path) != pin.digest:
            msg = f"{pin.path} has changed since the plan was made"
            raise ResolveError(msg, advice="plan again")


def _tree_digest(root: Path, name: str) -> str:
    return files_digest(content_files(root, name))


def _entries(directory: Path) -> Iterator[Path]:
    if directory.is_file():
        yield directory
        return
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            if path.name not in {".git", "__pycache__"}:
                yield from _entries(path)
        else:
            yield path


def _mode(path: Path) -> str:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "120000"
    return "100755" if mode & stat.S_IXUSR else "100644"


def _entry_digest(root: Path, path: Path) -> str:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        if path.readlink().is_absolute() or not path.resolve().is_relative_to(root.resolve()):
            raise DocumentError(
                "this symbolic link is absolute, or leads out of the repository",
                position=Position(path=str(path.relative_to(root))),
                advice="put the file itself into the repository",
            )
        return hashlib.sha256(os.fsencode(path.readlink())).hexdigest()
    if not stat.S_ISREG(mode):
        raise DocumentError(
            "only files, directories and links inside the repository can be used by a run",
            position=Position(path=str(path.relative_to(root))),
            advice="remove it",
        )
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
