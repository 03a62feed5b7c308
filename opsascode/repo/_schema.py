"""Does a document have the shape its kind asks for?

The JSON Schemas (Draft 2020-12) are the source of truth, always those installed with opsascode, never those of the
repository under check: else a pull request could loosen its own judge. What `jsonschema` finds is turned into problems
at positions, in words about the document, not about schemas. This is the only room that knows `jsonschema`.

Not here: what no schema can say (`_rules`, `_crosscheck`); the words themselves (`_wording`).
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from opsascode.repo._accept import compile_schema
from opsascode.repo._documents import API_VERSION, Kind
from opsascode.repo._parameter import ecma_pattern
from opsascode.repo._problem import Problem, did_you_mean, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.resources.abc import Traversable

    from opsascode.repo._accept import Accept
    from opsascode.repo._source import SourceDocument

_packaged = files("opsascode") / "schemas"
_WORD_START = re.compile(r"(?<=[a-z])(?=[A-Z])")
SCHEMAS: Traversable = _packaged if _packaged.is_dir() else Path(__file__).parents[2] / "schemas"


class _Validator(Protocol):
    """What is used of a jsonschema validator."""

    def iter_errors(self, instance: object) -> Iterable[Any]:
        """Give every error."""


def kind_of(document: SourceDocument) -> Kind | None:
    """Give the kind a document says it is, if it is one this release reads."""
    value = document.value
    word = value.get("kind") if isinstance(value, dict) else None
    return next((kind for kind in Kind if kind.value == word), None)


def schema_problems(document: SourceDocument) -> tuple[Problem, ...]:
    """Find everything the schema of a document's kind has against it."""
    kind = kind_of(document)
    if kind is None:
        return (_unknown_kind(document),)
    if _acceptor(kind)(document.value):
        return ()
    return tuple(_found(document, kind))


def schema_digest() -> str:
    """Name the schemas by a digest over their bytes, for caches."""
    digest = hashlib.sha256()
    for kind in Kind:
        digest.update(_schema_bytes(kind))
    return digest.hexdigest()


def load_schema(kind: Kind) -> dict[str, Any]:
    """Read the schema of a kind."""
    schema: dict[str, Any] = json.loads(_schema_bytes(kind))
    return schema


@cache
def validator(kind: Kind) -> _Validator:
    """Make the general validator for a kind; it takes a sixth of a second, so only documents with problems need it."""
    from jsonschema import Draft202012Validator, ValidationError  # noqa: PLC0415 - see above
    from jsonschema.validators import extend  # noqa: PLC0415 - see above

    def pattern(_validator: object, wanted: str, instance: object, _schema: object) -> Iterator[ValidationError]:
        # ECMA 262's `$` is the very end; Python's also matches before a trailing line break
        if isinstance(instance, str) and not ecma_pattern(wanted).search(instance):
            yield ValidationError(f"{instance!r} does not match {wanted!r}")

    made: _Validator = extend(Draft202012Validator, {"pattern": pattern})(load_schema(kind))  # type: ignore[no-untyped-call] # the stubs leave extend untyped
    return made


@cache
def _acceptor(kind: Kind) -> Accept:
    return compile_schema(load_schema(kind))


@cache
def _schema_bytes(kind: Kind) -> bytes:
    return (SCHEMAS / f"{_WORD_START.sub('-', kind.value).lower()}.schema.json").read_bytes()


def _unknown_kind(document: SourceDocument) -> Problem:
    """Say that a document does not tell what it is."""
    value = document.value
    if (
        isinstance(value, list)
        and value
        and isinstance(value[0], dict)
        and value[0].keys() & {"hosts", "import_playbook"}
    ):
        message, mend = "this is an Ansible playbook, not a document", "move it to playbooks/ansible/"
    elif not isinstance(value, dict):
        message, mend = "a document is a mapping", f"start it with apiVersion: {API_VERSION} and kind: Runbook"
    elif "kind" not in value:
        message = "the document does not say what it is: «kind» is missing"
        mend = f"write kind: {', '.join(kind.value for kind in Kind)}"
    else:
        word = value["kind"]
        message = f"there is no kind {quoted(word)}"
        mend = did_you_mean(str(word), [kind.value for kind in Kind])
        position = document.position(("kind",))
        return Problem(position=position, document_path="kind", code="unknown-kind", message=message, mend=mend)
    return Problem(position=document.position(), code="unknown-kind", message=message, mend=mend)


def _found(document: SourceDocument, kind: Kind) -> Iterator[Problem]:
    """Turn the validator's errors into problems, leaving out what only repeats another."""
    from opsascode.repo._wording import explain  # noqa: PLC0415 - only a mistake needs it

    found = [
        problem
        for error in validator(kind).iter_errors(document.value)
        if not document.is_unread(tuple(error.absolute_path))
        for problem in explain(error, tuple(error.absolute_path), document)
    ]
    unknown = {problem.document_path for problem in found if problem.code == "unknown-key"}
    misplaced: set[str] = set()
    for problem in found:
        if problem.code == "misplaced-key":
            if problem.document_path in unknown | misplaced:
                continue
            misplaced.add(problem.document_path)
        yield problem
