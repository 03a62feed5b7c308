"""Which versions of the trust root does a commit hold?

Read from Git's objects, never from the working tree: what somebody wrote here and did not commit says nothing about who
may sign. They lie in `policies/trust/` as `1.root.json`, `2.root.json` and so on; other names there have no effect.

Not here: whether what is read is a trust root that counts (`proof`), and what this machine pinned (`run`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from opsascode.errors import ProofError
from opsascode.repo._git import open_git, readable
from opsascode.repo._walk import POLICIES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opsascode.repo._git import Git

TRUST_FOLDER: Final = f"{POLICIES}/trust"
MOST_VERSIONS: Final = 1000

_NAME: Final = re.compile(r"([1-9][0-9]{0,5})\.root\.json")
_LISTED: Final = re.compile(r"(?P<mode>[0-7]{6}) (?P<kind>[a-z]+) (?P<oid>[0-9a-f]{40,64})\t(?P<path>.*)", re.DOTALL)
_PLAIN: Final = frozenset({"100644", "100755"})
_MOST_BYTES: Final = 65536


class TrustFileError(ProofError):
    """A version of the trust root is no plain file."""

    code = "E_MODE"


def trust_path(version: int) -> str:
    """Say where a version lies, from the root of the ops repository."""
    return f"{TRUST_FOLDER}/{version}.root.json"


def trust_version(path: str) -> int | None:
    """Say which version lies at a path, from the root of the ops repository."""
    folder, _, name = path.rpartition("/")
    found = _NAME.fullmatch(name)
    return int(found[1]) if found and folder == TRUST_FOLDER else None


def committed_trust(root: Path, commit: str) -> tuple[bytes, ...]:
    """Give the versions a commit (or ref) holds, in order; nothing where there is no such commit, or none in it.

    Raises:
        TrustFileError: one of them is a link or no file, or there are too many.
        ResolveError: git is missing, or refuses the repository.
    """
    git = open_git(root)
    if git is None:
        return ()
    place = (root.resolve() / TRUST_FOLDER).relative_to(git.top.resolve()).as_posix()
    told = git.ask(("ls-tree", "-z", "--full-tree", f"{commit}^{{commit}}", f"{place}/"))
    if told.returncode:
        return ()
    found = dict(_listed(readable(told.stdout).split("\0")))
    if len(found) > MOST_VERSIONS:
        raise TrustFileError(f"{TRUST_FOLDER} holds {len(found)} versions, and {MOST_VERSIONS} are the most")
    return _contents(git, [found[version] for version in sorted(found)])


def _listed(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Give version and object of each; other names have no effect."""
    for line in lines:
        found = _LISTED.fullmatch(line)
        name = found and _NAME.fullmatch(found["path"].rpartition("/")[2])
        if not found or not name:
            continue
        if found["mode"] not in _PLAIN:
            raise TrustFileError(f"{TRUST_FOLDER}/{name[0]} is no plain file, but of mode {found['mode']}")
        yield int(name[1]), found["oid"]


def _contents(git: Git, objects: list[str]) -> tuple[bytes, ...]:
    """Give what some blobs hold, without the newline a text file ends with."""
    told = git.ask(("cat-file", "--batch"), data="".join(f"{each}\n" for each in objects).encode()).stdout
    contents, at = [], 0
    for oid in objects:
        head, _, _ = told[at:].partition(b"\n")
        words = head.split()
        if len(words) != 3 or words[0] != oid.encode() or words[1] != b"blob":  # noqa: PLR2004 - object, kind, size
            raise TrustFileError(f"git cannot read {oid}, a file of {TRUST_FOLDER}")
        start, size = at + len(head) + 1, int(words[2])
        if size > _MOST_BYTES:
            raise TrustFileError(f"a file of {TRUST_FOLDER} has {size} bytes, and {_MOST_BYTES} are the most")
        contents.append(told[start : start + size].removesuffix(b"\n"))
        at = start + size + 1
    return tuple(contents)
