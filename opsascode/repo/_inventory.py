"""Which hosts are meant, and what does Ansible know of them?

Ansible resolves the inventory, not us: its own plugins read the sources, its own rules select the hosts. What comes
back is one immutable document that gives every later run exactly the variables the sources gave, so that what was
planned is what is run. The document does not depend on where the repository lies; its digest names it. Static sources
are resolved once and then remembered; anything dynamic (an executable script, a plugin) is asked anew each time.

Not here: what an empty selection means (a plan's refusal), and where the document is put (the engine's private
directory).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from opsascode.errors import Position, ResolveError
from opsascode.repo._inventory_cache import Cache, key_of, selection_key
from opsascode.repo._inventory_child import DOCUMENT_NAME, Answer, reading_environment, reselect, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["DOCUMENT_NAME", "Inventory", "inventory_environment", "resolve_inventory"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """A resolved inventory and the hosts selected from it.

    `hosts` are the selected ones in Ansible's order, `total` counts all hosts of the inventory, `groups` tells for each
    selected host Ansible's `group_names`. `document` is what Ansible is given, `digest` its sha256. `sources` are
    relative to the repository where they are in it.
    """

    hosts: tuple[str, ...]
    total: int
    groups: Mapping[str, tuple[str, ...]]
    document: bytes = field(repr=False)
    digest: str
    sources: tuple[str, ...]
    warnings: tuple[str, ...]
    _names: _Names = field(repr=False)

    def variable_names(self, host: str) -> frozenset[str]:
        """Names of the variables the inventory gives a selected host, itself or through its groups."""
        return self._names.of(host, self.groups[host])

    def has_sealed_variables(self, host: str) -> bool:
        """Whether a file encrypted as a whole gives this host variables whose names cannot be known."""
        entities = {f"hosts:{host}", "groups:all", *(f"groups:{group}" for group in self.groups[host])}
        return not entities.isdisjoint(self._names.sealed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    hosts: Mapping[str, Sequence[str]]
    groups: Mapping[str, Sequence[str]]
    sealed: frozenset[str]

    def of(self, host: str, groups: Sequence[str]) -> frozenset[str]:
        return frozenset(self.hosts[host]).union(*(self.groups.get(group, ()) for group in ("all", *groups)))


def inventory_environment(root: Path, *, digest: str) -> Mapping[str, str]:
    """Say what Ansible needs in its environment to read a document (a file `DOCUMENT_NAME`), and only that very one."""
    return reading_environment(_absolute(root), digest)


def resolve_inventory(
    sources: Sequence[Path | str],
    *,
    pattern: str,
    limit: str | None,
    environment: Mapping[str, str],
    root: Path,
    cache: Path | None,
) -> Inventory:
    """Resolve sources and select the hosts of `pattern` within `limit`.

    Relative sources and `@file` limits start at `root`; a text with a comma is a list of hosts. Of the calling process
    only `environment` is passed on. `cache` is a directory, made if absent.

    Raises:
        DocumentError: a source does not parse; message and position are Ansible's.
        ResolveError: a source does not exist, a script fails, or the pattern is malformed.
    """
    root = _absolute(root)
    names = tuple(_source(source, root) for source in sources)
    asked = _Question(sources=names, pattern=pattern, limit=limit, environment=environment, root=root)
    return asked.answer(Cache.at(cache))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    sources: tuple[str, ...]
    pattern: str
    limit: str | None
    environment: Mapping[str, str]
    root: Path

    def answer(self, kept: Cache | None) -> Inventory:
        if kept is None:
            return self._inventory(self._resolve())
        key = key_of(self.sources, self.environment, self.root)
        known = kept.get("document", key)
        if known is None:
            found = self._resolve()
            if found.static and key_of(self.sources, self.environment, self.root) == key:
                kept.put("document", key, _packed(found))
                self._keep_selection(kept, key, found)
            return self._inventory(found)
        return self._inventory(self._select(kept, key, known))

    def _resolve(self) -> Answer:
        return resolve(
            self.sources, pattern=self.pattern, limit=self.limit, environment=self.environment, root=self.root
        )

    def _select(self, kept: Cache, key: str, known: bytes) -> Answer:
        """Answer from a kept document: with the kept selection, or one Ansible makes from that document."""
        warnings, document = _unpacked(known)
        selection = kept.get("selection", selection_key(key, self.pattern, self.limit))
        if selection is not None:
            return Answer(document=document, warnings=warnings, static=True, selection=json.loads(selection))
        made = reselect(
            document,
            _digest(document),
            pattern=self.pattern,
            limit=self.limit,
            environment=self.environment,
            root=self.root,
        )
        self._keep_selection(kept, key, made)
        return replace(made, warnings=warnings)

    def _keep_selection(self, kept: Cache, key: str, found: Answer) -> None:
        if "@" not in (self.limit or ""):  # a limit file is not part of the key
            chosen = selection_key(key, self.pattern, self.limit)
            kept.put("selection", chosen, json.dumps(found.selection).encode())

    def _inventory(self, found: Answer) -> Inventory:
        selection = found.selection
        tables = [tuple(groups) for groups in selection["groups"]]
        return Inventory(
            hosts=tuple(host for host, _ in selection["hosts"]),
            total=selection["total"],
            groups={host: tables[index] for host, index in selection["hosts"]},
            document=found.document,
            digest=_digest(found.document),
            sources=tuple(_told(source, self.root) for source in self.sources),
            warnings=tuple(dict.fromkeys((*found.warnings, *selection["warnings"]))),
            _names=_Names(
                hosts=selection["host_names"], groups=selection["group_names"], sealed=frozenset(selection["sealed"])
            ),
        )


def _packed(found: Answer) -> bytes:
    return json.dumps(found.warnings).encode() + b"\n" + found.document


def _unpacked(known: bytes) -> tuple[tuple[str, ...], bytes]:
    warnings, _, document = known.partition(b"\n")
    return tuple(json.loads(warnings)), document


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - as Ansible does: without following links


def _source(source: Path | str, root: Path) -> str:
    if isinstance(source, str) and "," in source:
        return source
    path = _absolute(root / source)
    if not path.exists():
        raise ResolveError(
            "this inventory does not exist", position=Position(path=str(source)), advice="a list of hosts needs a comma"
        )
    return str(path)


def _told(source: str, root: Path) -> str:
    return os.path.relpath(source, root) if source.startswith(f"{root}{os.sep}") else source


def _digest(document: bytes) -> str:
    return f"sha256:{hashlib.sha256(document).hexdigest()}"
