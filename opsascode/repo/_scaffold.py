"""Which files make a new ops repository, and how do they come to lie in a directory?

Templates come with the package (`opsascode/scaffold`): `dot-` at the start of a name there is a dot in the repository,
and `@NAME@`, `@VERSION@`, `@DATE@` and `@OWNERS@` stand for what only the new repository knows. The installed schemas
are copied along, for editors only: validation never reads them.

Nothing that exists is ever written over. Either all files are new, or nothing is written and every collision is named;
a write that fails in the middle takes back what it had written.

Not here: Git (`_scaffold_git`), and any word to people.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.errors import UsageError
from opsascode.repo._problem import quoted
from opsascode.repo._schema import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date
    from importlib.resources.abc import Traversable

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_OWNER: Final = re.compile(r"@[A-Za-z0-9][A-Za-z0-9._/-]{0,99}|[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,200}")
_SCHEMA_FOLDER, _SCHEMA_SUFFIX = "schemas", ".schema.json"
_NOT_POLICIES: Final = frozenset({"Runbook", "Repository"})
_MOST_NAMED: Final = 50


def directory_as_name(directory: Path) -> str:
    """Make a repository's name of the name of its directory.

    Raises:
        UsageError: nothing of it can stand in a name.
    """
    text = re.sub(r"[^a-z0-9._-]+", "-", directory.name.lower()).strip("-._")[:63]
    if not text:
        message = f"the directory's name {quoted(directory.name)} cannot be that of a repository"
        raise UsageError(message, advice="give one: --name NAME")
    return text


def new_repository(*, name: str, version: str, owners: Sequence[str], today: date) -> Mapping[str, bytes]:
    """Give the files of a new ops repository, by their paths.

    `version` is the release that pipelines install, `owners` are as GitHub's CODEOWNERS writes them.

    Raises:
        UsageError: the name or an owner cannot be one.
    """
    if not _NAME.fullmatch(name):
        message = f"{quoted(name)} cannot be a name"
        raise UsageError(message, advice="use up to 63 of a-z, 0-9, dot, dash and underscore, a letter or digit first")
    for owner in owners:
        if not _OWNER.fullmatch(owner):
            raise UsageError(f"{quoted(owner)} is no code owner", advice="write @user, @organisation/team or an e-mail")
    words = {"NAME": name, "VERSION": version, "DATE": f"{today:%Y%m%d}", "OWNERS": " ".join(owners)}
    made = {path: _filled(data, words) for path, data in _templates(files("opsascode") / "scaffold", "")}
    return {**made, **editor_schemas()}


def editor_schemas() -> Mapping[str, bytes]:
    """Give the installed schemas as editors want them, and one for whatever kind of policy a file holds."""
    found = {entry.name: entry.read_bytes() for entry in _in_order(SCHEMAS) if entry.name.endswith(_SCHEMA_SUFFIX)}
    kinds = {json.loads(data)["properties"]["kind"]["const"]: name for name, data in found.items()}
    policies = {kind: name for kind, name in kinds.items() if kind not in _NOT_POLICIES}
    found[f"policy{_SCHEMA_SUFFIX}"] = _any_policy(policies)
    return {f"{_SCHEMA_FOLDER}/{name}": data for name, data in sorted(found.items())}


def place(root: Path, content: Mapping[str, bytes]) -> None:
    """Write files below a directory, which is made if need be: all of them or none.

    Raises:
        UsageError: something of these names is there already; every one is named.
    """
    in_the_way = [path for path in sorted(content) if _is_taken(root, path)]
    if in_the_way:
        more = len(in_the_way) - _MOST_NAMED
        listed = ", ".join(in_the_way[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        advice = "nothing was written; move these away, or choose another directory"
        raise UsageError(f"{root} already holds {listed}", advice=advice)
    made: list[Path] = []
    try:
        for path, data in content.items():
            _make_parents(root / path, made)
            _write_new(root / path, data, made)
    except OSError:
        for each in reversed(made):
            with suppress(OSError):
                each.rmdir() if each.is_dir() else each.unlink()
        raise


def _is_taken(root: Path, path: str) -> bool:
    """Tell whether a file cannot be new: it is there, or something on the way to it is no plain directory."""
    on_the_way = [root / each for each in list(Path(path).parents)[:-1]]
    return os.path.lexists(root / path) or any(
        os.path.lexists(each) and (each.is_symlink() or not each.is_dir()) for each in on_the_way
    )


def _make_parents(file: Path, made: list[Path]) -> None:
    missing = []
    parent = file.parent
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    for each in reversed(missing):
        each.mkdir()
        made.append(each)


def _write_new(file: Path, data: bytes, made: list[Path]) -> None:
    with file.open("xb") as stream:  # fails when somebody made it meanwhile
        made.append(file)
        stream.write(data)


def _templates(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in _in_order(folder):
        name = f".{entry.name.removeprefix('dot-')}" if entry.name.startswith("dot-") else entry.name
        if entry.is_dir():
            yield from _templates(entry, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", entry.read_bytes()


def _in_order(folder: Traversable) -> list[Traversable]:
    return sorted(folder.iterdir(), key=lambda each: each.name)


def _filled(data: bytes, words: Mapping[str, str]) -> bytes:
    text = data.decode()
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    return text.encode()


def _any_policy(names: Mapping[str, str]) -> bytes:
    """Make the schema that picks one by a document's kind: a file of `policies/` may hold any."""
    chosen = [
        {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": {"$ref": name}}
        for kind, name in sorted(names.items())
    ]
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Policy",
        "type": "object",
        "required": ["kind"],
        "properties": {"kind": {"enum": sorted(names)}},
        "allOf": chosen,
    }
    return f"{json.dumps(schema, indent=2)}\n".encode()
