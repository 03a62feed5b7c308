"""Which collections does a run use, and are they what was planned?

Each is one archive, pinned by its digest when the plan is made: from `collections/archive` of the repository, else from
the user's cache, else downloaded into that cache by `ansible-galaxy`. A run installs the archives into a directory of
its own, without network.

Not here: which collections and versions (`repo`), collections that lie unpacked in the repository (`_content`).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opsascode.errors import ResolveError
from opsascode.repo import InvalidDocumentsError, errors_among, read_requirements
from opsascode.run._plan import Pin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.repo import WantedCollection

ARCHIVE_DIRECTORY: Final = "collections/archive"
_CACHE: Final = "collections"
_GALAXY: Final = (sys.executable, "-P", "-m", "ansible", "galaxy", "collection")
_DOWNLOAD_SECONDS: Final = 600
_INSTALL_SECONDS: Final = 600
_LARGEST_MANIFEST: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionArchive:
    """The archive of one collection, where it lies, and the digest it is pinned by."""

    name: str
    version: str
    path: Path
    digest: str

    @property
    def pin(self) -> Pin:
        """The pin that a plan holds."""
        return Pin(path=f"collection:{self.name}:{self.version}", digest=self.digest)


def find_collections(
    root: Path, *, cache: Path | None, environment: Mapping[str, str]
) -> tuple[CollectionArchive, ...]:
    """Find the archive of every collection that the repository's requirements name; downloads what is nowhere.

    Raises:
        InvalidDocumentsError: the requirements do not say exactly what is wanted.
        ResolveError: an archive cannot be had, is another one than it says, or needs a collection nobody asked for.
    """
    requirements = read_requirements(root)
    if errors := errors_among(requirements.problems):
        raise InvalidDocumentsError(errors)
    names = {wanted.name for wanted in requirements.collections}
    found = []
    for wanted in requirements.collections:
        path = _archive(wanted, root, cache, environment)
        _check_manifest(wanted, path, names)
        found.append(
            CollectionArchive(name=wanted.name, version=wanted.version, path=path, digest=_digest(path.read_bytes()))
        )
    return tuple(found)


def install_collections(archives: Sequence[CollectionArchive], target: Path, *, environment: Mapping[str, str]) -> None:
    """Install the archives below `target`, a directory of the run's own; each must still be the one that was planned.

    Raises:
        ResolveError: an archive has changed since, or cannot be installed.
    """
    if not archives:
        return
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".archives-", dir=target.parent) as name:
        copies = [_copied(archive, Path(name)) for archive in archives]
        words = ["install", "--offline", "--no-deps", "--force", "--collections-path", str(target), *map(str, copies)]
        _galaxy(words, Path(name), environment, _INSTALL_SECONDS, "a collection cannot be installed")


def _archive(wanted: WantedCollection, root: Path, cache: Path | None, environment: Mapping[str, str]) -> Path:
    ours = root / ARCHIVE_DIRECTORY / wanted.archive
    if ours.is_file():
        return ours
    if cache is None:
        raise ResolveError(
            f"{ours.relative_to(root)} does not exist", position=wanted.position, advice="put the archive there"
        )
    kept = cache / _CACHE / wanted.archive
    if not kept.is_file():
        _download(wanted, kept, environment)
    return kept


def _download(wanted: WantedCollection, kept: Path, environment: Mapping[str, str]) -> None:
    """Let ansible-galaxy download the one archive, and keep it in one go."""
    kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    entry = {
        "name": wanted.name,
        "version": f"=={wanted.version}",
        **({"source": wanted.source} if wanted.source else {}),
    }
    with tempfile.TemporaryDirectory(prefix=".download-", dir=kept.parent) as name:
        private = Path(name)
        (private / "requirements.yml").write_text(json.dumps({"collections": [entry]}))
        words = ["download", "--no-deps", "-r", str(private / "requirements.yml"), "-p", str(private)]
        failed = f"{wanted.archive} is neither in {ARCHIVE_DIRECTORY} nor in the cache, and cannot be downloaded"
        _galaxy(words, private, environment, _DOWNLOAD_SECONDS, failed)
        got = private / wanted.archive
        if not got.is_file():
            raise ResolveError(failed, position=wanted.position)
        got.replace(kept)


def _check_manifest(wanted: WantedCollection, path: Path, names: set[str]) -> None:
    info = _manifest(wanted, path)
    said = f"{info.get('namespace')}.{info.get('name')} {info.get('version')}"
    if said != f"{wanted.name} {wanted.version}":
        raise ResolveError(
            f"the archive {path} holds {said}", position=wanted.position, advice="put the right one there"
        )
    missing = sorted(set(info.get("dependencies") or ()) - names)
    if missing:
        raise ResolveError(
            f"{wanted.name} needs {', '.join(missing)}, which no requirements file names",
            position=wanted.position,
            advice="add each with one exact version, so that a plan pins all code of a run",
        )


def _manifest(wanted: WantedCollection, path: Path) -> dict[str, Any]:
    try:
        with tarfile.open(path, "r:gz") as archive:
            member = archive.extractfile("MANIFEST.json")
            told = json.loads(member.read(_LARGEST_MANIFEST)) if member else {}
        info: dict[str, Any] = told["collection_info"]
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError):
        raise ResolveError(
            f"{path} is no archive of a collection",
            position=wanted.position,
            advice="remove it, or put the right one there",
        ) from None
    return info


def _copied(archive: CollectionArchive, private: Path) -> Path:
    copy = private / archive.path.name
    try:
        data = archive.path.read_bytes()
    except OSError as error:
        raise ResolveError(f"{archive.path} is gone since the plan was made", advice="plan again") from error
    if _digest(data) != archive.digest:
        raise ResolveError(f"{archive.path} has changed since the plan was made", advice="plan again")
    copy.write_bytes(data)
    return copy


def _galaxy(words: Sequence[str], private: Path, environment: Mapping[str, str], limit: float, failed: str) -> None:
    (private / "ansible.cfg").touch()
    variables = {
        **environment,
        "ANSIBLE_CONFIG": str(private / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(private / "tmp"),
        "ANSIBLE_GALAXY_CACHE_DIR": str(private / "cache"),
        "ANSIBLE_NOCOLOR": "True",
    }
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and its ansible-galaxy
            [*_GALAXY, *words],
            cwd=private,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ResolveError(f"{failed}: no answer within {limit:g} seconds") from None
    if done.returncode != 0:
        said = [
            line for line in done.stdout.decode(errors="replace").splitlines() if line.startswith(("ERROR", "[ERROR"))
        ]
        raise ResolveError(f"{failed}: {said[0] if said else 'ansible-galaxy failed'}")


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
