"""Does this clone still go by the trust root and the state directory that it went by before?

Which pin counts is looked up by the name in opsascode.yml, and the ledger lies where opsascode.yml says. Whoever can
push could change both, and so have a machine that was told whom to trust believe nobody, and go by the work tree. So
the clone remembers, in its own Git directory, which no push reaches: under which trust root, and with which state.

Rules: once a pin was seen here, there must be one. Another state directory or another trust root is refused until
somebody here says that it was meant; another name is not, where the same root is pinned under it. Files of the state
directory are never those that are committed. On a machine whose administrator pins trust roots, an ops repository
without a pin is refused.

Not here: the pins themselves (`_pins`).
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import OpsError
from opsascode.proof import Code, CodedProofError, canonical_bytes, parse_strict
from opsascode.repo import ObjectStore
from opsascode.run import _pins

if TYPE_CHECKING:
    from pathlib import Path

    from opsascode.proof import Json
    from opsascode.repo import Repository
    from opsascode.run._pins import RootPin
    from opsascode.run._state import State

_FILE: Final = "opsascode-moored.json"
_FORMAT: Final = "opsascode/moored/v1"
_MOST_BYTES: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moored:
    """What a clone went by: the digest of the first trust root, and what opsascode.yml said then."""

    repository: str
    name: str
    state: str

    def to_json(self) -> dict[str, Json]:
        return {"format": _FORMAT, "repository": self.repository, "name": self.name, "state": self.state}


def require_moored(repository: Repository, state: State, pin: RootPin | None) -> None:
    """Make sure that what was found here is still what this clone goes by, and remember it.

    Raises:
        ProofError: E_ROOT_PIN, as said above.
    """
    settings = repository.settings
    directory = _git_directory(repository.root)
    before = None if directory is None else _read(directory / _FILE)
    if pin is None:
        _refuse_unpinned(before, directory)
        return
    _refuse_committed(repository.root.resolve(), state.directory.resolve())
    now = _Moored(repository=pin.repository, name=settings.name, state=settings.state or "")
    if before is not None and before.state != now.state:
        raise _adrift("opsascode.yml names another state directory than this clone went by", directory)
    if before is not None and before.repository != now.repository:
        raise _adrift(f"this clone went by the trust root {before.repository}, and another one is pinned", directory)
    if before != now and directory is not None:
        _write(directory / _FILE, now)


def moor(repository: Repository, pin: RootPin) -> None:
    """Go by this pin from now on, whatever was before: somebody here has just said so."""
    directory = _git_directory(repository.root)
    if directory is not None:
        settings = repository.settings
        _write(directory / _FILE, _Moored(repository=pin.repository, name=settings.name, state=settings.state or ""))


def _refuse_unpinned(before: _Moored | None, directory: Path | None) -> None:
    """Let a repository without a pin be one only where there never was any."""
    if before is not None:
        what = f"this clone went by the trust root {before.repository}, and as opsascode.yml stands none is pinned"
        raise _adrift(what, directory)
    with contextlib.suppress(OSError):
        if any(each.suffix == ".pin" for each in _pins.MACHINE_PINS.iterdir()):
            raise CodedProofError(
                Code.ROOT_PIN,
                f"trust roots are pinned in {_pins.MACHINE_PINS}, and none for this ops repository",
                advice="its name in opsascode.yml may have been changed; else the administrator must pin it there",
            )


def _adrift(what: str, directory: Path | None) -> CodedProofError:
    place = directory / _FILE if directory else _FILE
    return CodedProofError(
        Code.ROOT_PIN, what, advice=f"find out who changed that; was it meant, remove {place} and pin the right root"
    )


def _refuse_committed(root: Path, state: Path) -> None:
    """Refuse a state directory that comes with a commit: whoever can push would write this machine's memory."""
    if not state.is_relative_to(root):
        return
    inside = state.relative_to(root).as_posix()
    try:
        store = ObjectStore.of(root)
        head = store.commit_of("HEAD")
        there = head is not None and bool(store.entries(head, (f"{inside}/**", inside)))
    except OpsError as error:
        raise CodedProofError(Code.ROOT_PIN, f"the state directory {state} cannot be believed: {error}") from error
    if there:
        message = f"files of the state directory {state} are committed: anybody who can push would be believed"
        raise CodedProofError(Code.ROOT_PIN, message, advice="git rm --cached them, and add it to .gitignore")


def _git_directory(root: Path) -> Path | None:
    """Find where Git keeps what no push reaches, also where there are several working trees."""
    place = root / ".git"
    with contextlib.suppress(OSError):
        if place.is_file():
            place = root / place.read_text(encoding="utf-8", errors="replace").removeprefix("gitdir:").strip()
            common = place / "commondir"
            if common.is_file():
                place = place / common.read_text(encoding="utf-8", errors="replace").strip()
    return place if place.is_dir() else None


def _read(place: Path) -> _Moored | None:
    """Give what is remembered; what cannot be read is refused, or removing the pin would be enough."""
    try:
        found = parse_strict(place.read_bytes(), max_bytes=_MOST_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, CodedProofError):
        found = None
    values = {name: found.get(name) for name in ("repository", "name", "state")} if isinstance(found, dict) else {}
    if not values or not all(isinstance(each, str) for each in values.values()):
        message = f"{place} is damaged, which remembers whom this clone trusts"
        raise CodedProofError(Code.ROOT_PIN, message, advice="remove it, and compare the pin: opsascode trust show")
    return _Moored(**{name: str(each) for name, each in values.items()})


def _write(place: Path, moored: _Moored) -> None:
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # a clone that cannot be written cannot be pulled into either
        draft.write_bytes(canonical_bytes(moored.to_json()) + b"\n")
        draft.replace(place)
