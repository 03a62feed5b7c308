"""What does a document mean, however it is written?

Two texts of one meaning have one digest: comments, order of keys, flow or block style, quotes, the order of a set, `25`
or `25%`, `60s` or `1m`, a default written out or left out make no difference, nor does metadata that nothing asks for
(title, description, owners, version). The digest is over the values that have effect, as sorted JSON; a second one
leaves out the name, so that a document is known again under another.

What has effect, which direction of a field is the safe one, and what its absence means stands in the JSON Schemas
(`x-opsascode-…`), always those installed with opsascode.

A document that cannot be read strictly, or not by its schema, is `Unreadable`: nobody can say what it means. Files that
are no documents (inventories, texts, the trust root) have no meanings. Not here: comparing meanings (`policy`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo._form import FREE, Absence, FieldPath, Form, Safety, form_of, leaves_of, lengthened, normal
from opsascode.repo._problem import errors_among
from opsascode.repo._schema import kind_of, schema_problems
from opsascode.repo._source import load_source
from opsascode.repo._walk import ANSIBLE_DIRECTORIES, POLICIES, RUNBOOKS, SETTINGS_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.repo._documents import Kind
    from opsascode.repo._snapshot import ProtectedFile
    from opsascode.repo._source import SourceDocument

MEANING_VERSION: Final = 1
"""Grows whenever one text gets another meaning, so that nothing remembered is believed any longer."""

NOTHING: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A file of documents whose meaning nobody can tell, and the first reason."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentMeaning:
    """What one document means.

    `digest` names all that has effect, `nameless` the same without the name. `rules` are the items of its lists that
    have an id, each under a digest of its own. `leaves` are the values with effect in one normal form (a percentage and
    a duration in seconds as a number, a set as a sorted list), by paths in which an item with an id stands under it;
    defaults are filled in. `safety` is there for each leaf, present or not, `absent` where the schema says it;
    `protected` are the leaves whose old values must not come back unseen.
    """

    path: str
    kind: str
    name: str
    version: str | None
    digest: str
    nameless: str
    rules: Mapping[str, str]
    leaves: Mapping[FieldPath, Any]
    safety: Mapping[FieldPath, Safety]
    absent: Mapping[FieldPath, Absence]
    protected: frozenset[FieldPath]


def meanings(file: ProtectedFile) -> tuple[DocumentMeaning, ...] | Unreadable:
    """Give the meanings of the documents in a file, in order; none for a file that is not of documents."""
    return meanings_in(file.path, file.data) if is_document(file.path) else ()


@lru_cache(maxsize=4096)
def is_document(path: str) -> bool:
    """Tell whether a file is read as documents: those that a walk over a working tree would find."""
    if path == SETTINGS_FILE:
        return True
    top, *folders = path.split("/")[:-1] or [""]
    if top not in {POLICIES, RUNBOOKS} or not path.endswith((".yml", ".yaml")):
        return False
    if any(part.startswith(".") for part in path.split("/")) or "roles" in folders:
        return False
    return not (top == RUNBOOKS and folders and folders[0] in ANSIBLE_DIRECTORIES)


def meanings_in(path: str, data: bytes) -> tuple[DocumentMeaning, ...] | Unreadable:
    """Give the meanings of documents, wherever they lie."""
    source = load_source(data, path)
    problems = [*source.problems, *(each for document in source.documents for each in schema_problems(document))]
    first = next(iter(errors_among(problems)), None)
    if first is not None:
        return Unreadable(path=path, reason=f"{first.position}: {first.message}")
    return tuple(_meaning(document) for document in source.documents)


def _meaning(document: SourceDocument) -> DocumentMeaning:
    """Read a document without problems."""
    kind = kind_of(document)
    if kind is None:
        msg = f"{document.path} has a document of no kind"
        raise ValueError(msg)
    form = form_of(kind)
    reading = Reading(kind)
    value: Any = document.value
    said = reading.read(value, form, ())
    metadata: Any = value["metadata"]
    name = metadata["name"]
    nameless = {**said, "metadata": {key: each for key, each in said["metadata"].items() if key != "name"}}
    still = leaves_of(kind)
    filled = {path: each.default for path, each in still.items() if each.has_default}
    return DocumentMeaning(
        path=document.path,
        kind=kind.value,
        name=name,
        version=metadata.get("version"),
        digest=digest_of(said),
        nameless=digest_of(nameless),
        rules=reading.rules,
        leaves=filled | reading.leaves,
        safety={path: each.safety for path, each in still.items()} | reading.safety,
        absent={path: each.absent for path, each in still.items() if each.absent} | reading.absent,
        protected=frozenset(path for path, each in still.items() if each.protected) | reading.protected,
    )


def digest_of(value: object) -> str:
    """Name a plain value in its normal form."""
    written = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"sha256:{hashlib.sha256(written.encode()).hexdigest()}"


class Reading:
    """Brings one document into its normal form, and notes leaves and rules on the way."""

    def __init__(self, kind: Kind) -> None:
        self.leaves: dict[FieldPath, Any] = {}
        self.rules: dict[str, str] = {}
        self.safety: dict[FieldPath, Safety] = {}
        self.absent: dict[FieldPath, Absence] = {}
        self.protected: set[FieldPath] = set()
        self._kind = kind.value

    def read(self, value: Any, form: Form, path: FieldPath) -> Any:  # noqa: ANN401 - any plain value
        """Give the normal form of a value, `NOTHING` where it has no effect."""
        if not form.effect:
            return NOTHING
        value = lengthened(value, form)
        if not form.is_leaf and isinstance(value, dict) and (form.fields or form.other):
            return self._mapping(value, form, path)
        if not form.is_leaf and isinstance(value, list) and form.items is not None and form.items.fields:
            return self._items(value, form, path)
        return self._leaf(normal(value, form), form, path)

    def _mapping(self, value: dict[str, Any], form: Form, path: FieldPath) -> Any:  # noqa: ANN401 - any plain value
        read = {}
        for key, each in value.items():
            child = form.fields.get(key) or form.other or FREE
            found = self.read(each, child, (*path, key))
            if found is not NOTHING and not (child.has_default and found == child.default):
                read[key] = found
        return read if read or not path else NOTHING

    def _items(self, value: list[Any], form: Form, path: FieldPath) -> list[Any]:
        """Read the items of a list; one with an id of its own stands under it, and is a rule."""
        inner = form.items or FREE
        read, taken, order = [], set(), list[str]()
        for index, each in enumerate(value):
            name = next((each[key] for key in ("id", "name") if isinstance(each.get(key), str)), None)
            if name in taken:
                name = None
            taken.add(name)
            found = self.read(each, inner, (*path, index if name is None else name))
            read.append({} if found is NOTHING else found)
            if name is not None:
                rule = "/".join(str(step) for step in (*path[1:], name))
                self.rules[rule] = digest_of([self._kind, rule, read[-1]])
                order.append(name)
        if form.ordered:
            self.leaves[path], self.safety[path] = order, Safety.UNCLEAR
        return read

    def _leaf(self, value: Any, form: Form, path: FieldPath) -> Any:  # noqa: ANN401 - any plain value
        if path[:1] == ("spec",) or path == ("metadata", "labels"):
            self.leaves[path] = value
            self.safety[path] = form.safety
            if form.absent is not None:
                self.absent[path] = form.absent
            if form.protected:
                self.protected.add(path)
        return value
