"""Are all objects of a Git repository its own, and are they all there?

Judging what was must not depend on what somebody else's directory holds today, or on a history that was cut off. So
shallow and grafted histories, alternates and partial clones are refused, each with what mends it. A bare repository
must belong to the user, as git asks of one with a working tree.

Not here: reading objects (`_objects`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.errors import Position, ResolveError
from opsascode.repo._git import Git, find_top, git_program, readable
from opsascode.repo._snapshot import UnsafeRepositoryError

if TYPE_CHECKING:
    from collections.abc import Mapping

QUARANTINE: Final = ("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH")
_WHOLE: Final = "git fetch --unshallow, or fetch-depth: 0 in the checkout of a workflow"


def git_for(place: Path, settings: Mapping[str, str]) -> tuple[Git, dict[str, str]]:
    """Give the repository around a directory, or the bare one it is, and the variables that name it to git.

    Raises:
        ResolveError: there is none, git is missing, or it belongs to another user.
    """
    place = place.resolve()
    if _is_bare(place):
        git = Git(program=git_program(), top=place, settings=settings)
        if not _is_ours(place) and not git.is_allowed_by_user():
            raise _not_ours(place)
        return git, {"GIT_DIR": str(place)}
    top = find_top(place)
    if top is None:
        raise ResolveError("there is no Git repository here", position=Position(path=str(place)))
    git = Git(program=git_program(), top=top, settings=settings)
    if b"dubious ownership" in git.ask(("rev-parse", "--git-dir")).stderr:
        if not git.is_allowed_by_user():
            raise _not_ours(top)
        git = git.trusted()
    return git, {}


def common_directory(git: Git, variables: Mapping[str, str]) -> Path:
    """Give the directory that holds objects and refs, also where there are several working trees.

    Raises:
        ResolveError: git cannot use the repository.
    """
    told = git.ask(("rev-parse", "--path-format=absolute", "--git-common-dir"), variables=variables)
    if told.returncode:
        words = readable(told.stderr).strip().partition("\n")[0].removeprefix("fatal: ")
        raise ResolveError(f"git cannot use this repository: {words}", position=Position(path=str(git.top)))
    return Path(os.fsdecode(told.stdout.rstrip(b"\n")))


def refuse_unsafe(git: Git, common: Path, arriving: Mapping[str, str]) -> None:
    """Refuse a repository of which a part is missing, or comes from elsewhere.

    Raises:
        UnsafeRepositoryError: E_REPO_UNSAFE.
    """
    objects = common / "objects"
    if _says(common / "shallow"):
        raise _unsafe("the history of this repository is cut off (a shallow clone)", _WHOLE)
    if _says(common / "info" / "grafts"):
        raise _unsafe("this repository has grafts, which give commits other parents", "delete .git/info/grafts")
    for place in (objects, *_quarantined(objects, arriving)):
        for name in ("alternates", "http-alternates"):
            if _says(place / "info" / name):
                mend = (
                    "clone it without --shared and --reference, or git repack -a -d and delete objects/info/alternates"
                )
                raise _unsafe("this repository takes objects from another one (alternates)", mend)
    if _is_partial(git, objects):
        raise _unsafe("this is a partial clone: some objects are elsewhere", "clone it again without --filter")


def _quarantined(objects: Path, arriving: Mapping[str, str]) -> list[Path]:
    """Give the directory of objects that are just arriving, which lies in the repository's own."""
    own = objects.resolve()
    named = [
        Path(arriving[key]).resolve() for key in ("GIT_OBJECT_DIRECTORY", "GIT_QUARANTINE_PATH") if key in arriving
    ]
    others = [each for each in arriving.get("GIT_ALTERNATE_OBJECT_DIRECTORIES", "").split(os.pathsep) if each]
    if any(own not in (each, *each.parents) for each in named) or any(Path(each).resolve() != own for each in others):
        raise _unsafe("the objects that arrive are said to lie outside of this repository", "push to it again")
    return named


def _is_partial(git: Git, objects: Path) -> bool:
    """Look for what marks a partial clone: in the settings, and beside the packs."""
    packs = objects / "pack"
    if any(packs.glob("*.promisor")):
        return True
    for key, value in git.config():
        lowered = key.lower()
        said = value.lower() not in {"", "false", "no", "off", "0"}
        marks = lowered == "extensions.partialclone" or lowered.endswith((".promisor", ".partialclonefilter"))
        if said and marks:
            return True
    return False


def _is_bare(place: Path) -> bool:
    return (place / "HEAD").is_file() and (place / "objects").is_dir() and (place / "refs").is_dir()


def _is_ours(place: Path) -> bool:
    return place.stat().st_uid == os.geteuid()


def _says(place: Path) -> bool:
    """Tell whether a file is there and not empty; what cannot be read says the worst."""
    try:
        return bool(place.read_bytes().strip())
    except FileNotFoundError:
        return False
    except OSError:
        return os.path.lexists(place)


def _not_ours(place: Path) -> ResolveError:
    return ResolveError(
        "this Git repository belongs to another user",
        position=Position(path=str(place)),
        advice=f"git config --global --add safe.directory {place}",
    )


def _unsafe(message: str, advice: str) -> UnsafeRepositoryError:
    return UnsafeRepositoryError("E_REPO_UNSAFE", message, advice=advice)
