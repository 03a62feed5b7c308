"""What does a run bring along for Ansible beside its playbook? The repository's settings, plugins and collections.

They are found once, when the plan is made, which pins all of them; a run then puts them below its own content.

Not here: what an ansible.cfg may say (`repo`), archives of collections as such (`_collections`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opsascode.proof import sha256_digest
from opsascode.repo import ANSIBLE_SETTINGS, AnsibleSettings, usable_ansible_settings
from opsascode.run._collections import CollectionArchive, find_collections, install_collections
from opsascode.run._content import ROLES_DIRECTORIES
from opsascode.run._environment import download_environment
from opsascode.run._plan import Pin

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from opsascode.repo import Repository, Settings

_INSTALLED: Final = "installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisions:
    """The settings and content that a run gives Ansible; all of it is pinned by the plan."""

    settings: AnsibleSettings = field(default_factory=AnsibleSettings)
    collections: tuple[CollectionArchive, ...] = ()
    pins: tuple[Pin, ...] = ()

    @property
    def directories(self) -> tuple[str, ...]:
        """The directories of the repository that a plan pins because the ansible.cfg names them."""
        named = (*self.settings.directories, *self.settings.roles, *self.settings.collections)
        return tuple(dict.fromkeys(name for name in named if name != "."))

    def install(self, content: Path, environment: Mapping[str, str]) -> None:
        """Install the collections below the content of a run.

        Raises:
            ResolveError: an archive has changed since the plan was made, or cannot be installed.
        """
        install_collections(self.collections, content / _INSTALLED, environment=environment)

    def roles_path(self, ours: Settings, content: Path) -> tuple[Path, ...]:
        """Give the directories of roles, those that opsascode knows of first."""
        names = (*ours.roles_path, *ROLES_DIRECTORIES, *self.settings.roles)
        return tuple(content / name for name in dict.fromkeys(names))

    def collections_path(self, ours: Settings, content: Path) -> tuple[Path, ...]:
        """Give the directories of collections: of the repository, then those installed for this run."""
        names = (*ours.collections_path, *self.settings.collections, *((_INSTALLED,) if self.collections else ()))
        return tuple(content / name for name in dict.fromkeys(names))


def find_provisions(repository: Repository, *, environ: Mapping[str, str], cache: Path | None) -> Provisions:
    """Find what the repository's ansible.cfg and requirements name; downloads a collection that is nowhere.

    Raises:
        InvalidDocumentsError: a file says what a run must not have.
        ResolveError: a collection cannot be had.
    """
    root, allow = repository.root, repository.settings.environment_allow
    settings = usable_ansible_settings(root)
    path = root / ANSIBLE_SETTINGS
    written = (Pin(path=ANSIBLE_SETTINGS, digest=sha256_digest(path.read_bytes())),) if path.is_file() else ()
    archives = find_collections(root, cache=cache, environment=download_environment(environ, allow))
    return Provisions(settings=settings, collections=archives, pins=(*written, *(each.pin for each in archives)))
