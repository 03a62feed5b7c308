"""Which files of an ops repository are documents, and what are their bytes?

Documents are the YAML files below `playbooks/` and `policies/`, and `opsascode.yml`. Plain Ansible content is not
(`playbooks/ansible/`, roles, and the tasks, templates, files and variables beside runbooks). Nothing outside the
root is ever read: a symbolic link that leads out is a problem, and a directory behind a link is not entered.

Not here: what the bytes mean.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from opsascode.errors import Position
from opsascode.repo._problem import Problem, Severity, quoted
from opsascode.repo._source import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

SETTINGS_FILE = "opsascode.yml"
RUNBOOKS, POLICIES = "playbooks", "policies"
PACK_FILE = f"{POLICIES}/pack.yml"
ANSIBLE_DIRECTORIES = frozenset({"ansible", "files", "roles", "tasks", "templates", "vars"})
_SUFFIXES = (".yml", ".yaml")


@dataclass(kw_only=True)
class Found:
    """The files a walk found, by their paths relative to the root, and what was wrong on the way."""

    paths: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def find_documents(root: Path, folders: Iterable[str] = (RUNBOOKS, POLICIES)) -> Found:
    """Find the documents in the given folders of the root, and `opsascode.yml`."""
    found = Found()
    for folder in folders:
        if (root / folder).is_symlink():
            _link(root, folder, found, is_folder=True)
        else:
            _walk(root, folder, found)
    if os.path.lexists(root / SETTINGS_FILE):
        found.paths.add(SETTINGS_FILE)
    return found


def find_under(root: Path, folder: str) -> Found:
    """Find every document below one folder that somebody named, wherever in the repository it is."""
    found = Found()
    if folder == ".":
        return find_documents(root)
    _walk(root, folder, found)
    return found


def read_document(root: Path, relative: str) -> bytes | Problem:
    """Read a document; one that lies outside, is no file or cannot be read is answered by a problem.

    At most one byte more than the reader accepts is read: it will say that the file is too large.
    """
    path = root / relative
    try:
        if path.is_symlink() or not _is_plain(root, relative):
            real = Path(os.path.realpath(path))
            if not real.is_relative_to(os.path.realpath(root)):
                return _file_problem(
                    relative,
                    "outside",
                    "the file lies outside the repository, behind a symbolic link",
                    "put the file itself here",
                )
            path = real
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(handle, "rb", buffering=0) as stream:  # noqa: PTH123 - opened above, without following or blocking
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return _file_problem(relative, "not-a-file", "this is no ordinary file", "delete it")
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        return _file_problem(relative, "unreadable", f"the file cannot be read: {error.strerror}", "")
    return data or b""


def inside(root: Path, written: str) -> Path | None:
    """Give the real path of something a document names, or nothing when it leads out of the repository."""
    if written.startswith(("/", "~")) or "\0" in written:
        return None
    real = Path(os.path.realpath(root / written))
    return real if real.is_relative_to(os.path.realpath(root)) else None


def _is_plain(root: Path, relative: str) -> bool:
    """Tell whether no directory on the way is a link."""
    parent = os.path.dirname(relative)  # noqa: PTH120 - a thousand files: text is quicker than Path
    while parent:
        if os.path.islink(root / parent):  # noqa: PTH114 - see above
            return False
        parent = os.path.dirname(parent)  # noqa: PTH120 - see above
    return True


def _walk(root: Path, folder: str, found: Found) -> None:
    """Collect documents below a folder, in no particular order; a folder that is not there has none."""
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            entries = list(os.scandir(root / here))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            found.problems.append(
                _file_problem(here, "unreadable", f"the directory cannot be read: {error.strerror}", "")
            )
            continue
        for entry in entries:
            relative = f"{here}/{entry.name}"
            if entry.name.startswith("."):
                continue
            if entry.is_symlink():
                _link(root, relative, found, is_folder=os.path.isdir(root / relative))  # noqa: PTH112 - unlike Path and entry, it answers for links in a circle
            elif entry.is_dir():
                if not (entry.name in ANSIBLE_DIRECTORIES and _is_ansible(relative)):
                    pending.append(relative)
            elif entry.name.endswith(_SUFFIXES):
                _add(relative, found)


def _is_ansible(relative: str) -> bool:
    """Tell whether a directory named like one of Ansible's really is: roles anywhere, the others beside runbooks."""
    parts = relative.split("/")
    return parts[-1] == "roles" or (len(parts) == 2 and parts[0] == RUNBOOKS)  # noqa: PLR2004 - playbooks/NAME


def _add(relative: str, found: Found) -> None:
    try:
        relative.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(relative).decode(errors="replace")
        found.problems.append(_file_problem(shown, "file-name", "the file's name is not UTF-8", "rename it"))
        return
    found.paths.add(relative)


def _link(root: Path, relative: str, found: Found, *, is_folder: bool) -> None:
    """Take a link to a file for the file; do not enter a link to a directory; refuse one that leads out."""
    if not (is_folder or relative.endswith(_SUFFIXES)):
        return
    real = Path(os.path.realpath(root / relative))
    if not real.is_relative_to(os.path.realpath(root)):
        found.problems.append(
            _file_problem(
                relative, "outside", "this symbolic link leads out of the repository", "put the content itself here"
            )
        )
    elif is_folder:
        message = (
            f"the directory behind this link is not entered: {quoted(os.path.relpath(real, os.path.realpath(root)))}"
        )
        problem = _file_problem(relative, "link", message, "put its documents here", Severity.WARNING)
        found.problems.append(problem)
    else:
        _add(relative, found)


def _file_problem(relative: str, code: str, message: str, mend: str, severity: Severity = Severity.ERROR) -> Problem:
    return Problem(position=Position(path=relative), code=code, message=message, mend=mend, severity=severity)
