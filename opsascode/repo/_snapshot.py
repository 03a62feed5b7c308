"""What is the protected set of a commit, file by file, and under which one digest?

A protected file is a path that the trust root's globs name; what it holds are the bytes of Git's object, named here by
their own SHA-256, as Git's name for them may be one of SHA-1. The scope digest is over all of them: the SHA-256 of the
lines `mode SP length ":" path SP sha256 LF`, sorted by path, `length` counted in bytes. It says nothing about anything
that is not protected, so it survives whatever is merged beside it.

In a glob `**` is any number of directories, `*` any text without a slash and `?` one character. The versions of the
trust root are always protected.

Not here: reading Git (`_objects`), what the files mean (`_meaning`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opsascode.errors import ProofError
from opsascode.repo._trust import TRUST_FOLDER, trust_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

DEFAULT_PROTECTED: Final = ("policies/**", "inventories/**", "opsascode.yml")
MODES: Final = frozenset({"100644", "100755"})
_ALWAYS: Final = (f"{TRUST_FOLDER}/**",)
_WILD: Final = re.compile(r"[*?]")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


class UnsafeRepositoryError(ProofError):
    """A Git repository holds something that cannot be judged safely; `code` is E_REPO_UNSAFE, E_MODE or E_PATH."""

    def __init__(self, code: str, message: str, *, advice: str = "") -> None:
        """Keep the machine code beside the sentence."""
        super().__init__(message, advice=advice)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtectedFile:
    """One file of the protected set: its bytes, their SHA-256 as `digest`, and Git's name of them as `oid`."""

    path: str
    mode: str
    data: bytes
    digest: str
    oid: str

    @classmethod
    def of(cls, path: str, data: bytes, *, mode: str = "100644", oid: str = "") -> ProtectedFile:
        """Name the bytes; without an `oid` given, the one Git would give them in a repository of SHA-1."""
        name = oid or hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
        return cls(path=path, mode=mode, data=data, digest=f"sha256:{hashlib.sha256(data).hexdigest()}", oid=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The protected set as of a commit; `commit` is empty for the one that was there before anything was applied."""

    commit: str
    files: Mapping[str, ProtectedFile]
    digest: str

    def trust_envelopes(self) -> tuple[bytes, ...]:
        """Give the versions of the trust root, oldest first, as they lie in `policies/trust/N.root.json`."""
        found = ((trust_version(path), each.data) for path, each in self.files.items())
        return tuple(data for _, data in sorted((version, data) for version, data in found if version is not None))


def snapshot_of(commit: str, files: Iterable[ProtectedFile]) -> Snapshot:
    """Put files together under their scope digest.

    Raises:
        UnsafeRepositoryError: a mode that is not an ordinary file's, or a path that not everybody reads the same.
    """
    listed = sorted(files, key=lambda each: each.path.encode(errors="surrogateescape"))
    check_paths((each.path, each.mode) for each in listed)
    digest = hashlib.sha256()
    for each in listed:
        path = each.path.encode()
        digest.update(b"%b %d:%b %b\n" % (each.mode.encode(), len(path), path, each.digest[7:].encode()))
    return Snapshot(commit=commit, files={each.path: each for each in listed}, digest=f"sha256:{digest.hexdigest()}")


EMPTY_SNAPSHOT: Final = Snapshot(commit="", files={}, digest=f"sha256:{hashlib.sha256().hexdigest()}")
"""What was protected before anything was applied: nothing."""


def check_paths(entries: Iterable[tuple[str, str]]) -> None:
    """Look at paths and modes of a whole protected set.

    Raises:
        UnsafeRepositoryError: E_PATH or E_MODE.
    """
    paths: set[str] = set()
    folded: dict[str, str] = {}
    for path, mode in entries:
        fault = path_fault(path)
        if not fault and path in paths:
            fault = "is there twice"
        for step in [] if fault else _steps(path):
            other = folded.setdefault(step.casefold(), step)
            if other != step:
                fault = f"differs from {shown_path(other)} in case only"
        if fault:
            raise UnsafeRepositoryError("E_PATH", f"the protected path {shown_path(path)} {fault}", advice="rename it")
        if mode not in MODES:
            raise mode_fault(path, mode)
        paths.add(path)


def mode_fault(path: str, mode: str) -> UnsafeRepositoryError:
    """Say that something protected is no ordinary file."""
    what = {"120000": "a symbolic link", "160000": "a submodule"}.get(mode, f"of mode {mode}")
    message = f"{shown_path(path)} is {what}; protected files are ordinary files (100644, 100755)"
    return UnsafeRepositoryError("E_MODE", message, advice="put the file itself there")


def path_fault(path: str) -> str:
    """Say why a path is not read the same by everybody; empty when it is."""
    if _CONTROL.search(path) or "\\" in path:
        return "has a control character, a hidden one or a backslash in it"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    parts = path.split("/")
    if not path or "" in parts or {".", ".."} & set(parts) or any(each.lower() == ".git" for each in parts):
        return "has a part that leads elsewhere"
    if path.startswith("-"):
        return "starts like an option"
    return ""


def shown_path(path: str) -> str:
    """Write a path so that nothing in it can act on a screen."""
    return path.encode("unicode_escape", errors="surrogateescape").decode("ascii", errors="replace")


def is_protected(path: str, globs: Sequence[str]) -> bool:
    """Tell whether the globs, or what is always protected, name a path."""
    return _matcher(tuple(globs)).match(path) is not None


def literal_starts(globs: Sequence[str]) -> tuple[str, ...] | None:
    """Give the paths below which everything lies that the globs may name; None when that may be anywhere."""
    starts: set[str] = set()
    for glob in (*globs, *_ALWAYS):
        parts = glob.split("/")
        plain = next((index for index, part in enumerate(parts) if _WILD.search(part)), len(parts))
        if plain == 0:
            return None
        starts.add("/".join(parts[:plain]))
    return tuple(sorted(starts))


@lru_cache(maxsize=64)
def _matcher(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{_expression(glob)})" for glob in (*globs, *_ALWAYS)), re.DOTALL)


def _expression(glob: str) -> str:
    """Write one glob as a regular expression over a whole path."""
    parts = glob.split("/")
    written = ""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            written += ".+" if last else "(?:[^/]+/)*"
            continue
        signs = {"*": "[^/]*", "?": "[^/]"}
        written += "".join(signs.get(sign) or re.escape(sign) for sign in part) + ("" if last else "/")
    return written + r"\Z"


def _steps(path: str) -> Iterator[str]:
    """Give the path and every folder it lies in."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)
    yield path
