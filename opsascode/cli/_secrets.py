"""Where do secret parameters come from? `--secret NAME=SOURCE`, sealed `-e @FILE`, our variables, or a prompt.

All values are known before a run starts, so that every one of them can be found and hidden in what comes out. Sealed
files and lookups are opened by Ansible in a process of its own.

Not here: passwords for Ansible (`_access`), typing and judging the values (`run`).
"""

from __future__ import annotations

import ctypes
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from opsascode.cli._options import SECRET_ENVIRONMENT_PREFIX, can_ask
from opsascode.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence

    from opsascode.repo import Lookup, Runbook, SealedKey, Value
    from opsascode.run import VaultSecret

    Source = Callable[[], str] | Lookup | SealedKey

_FORMS: Final = "env:VAR, file:PATH, vault:PATH#key, or lookup:PLUGIN,TERM"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLUGIN: Final = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*){0,2}\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """What opens sealed files and answers lookups: vault passwords, and the environment of a run."""

    vault: tuple[VaultSecret, ...] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(repr=False)
    root: Path

    def open_file(self, path: Path) -> dict[str, Value]:
        """Read a sealed file of parameters.

        Raises:
            ResolveError: no password opens it.
            DocumentError: what it holds is no mapping.
        """
        from opsascode.repo import SealedFile, load_mapping  # noqa: PLC0415 - keeps --help quick

        told = self._ask({"file": SealedFile(path=path)})["file"]
        if "text" in told:
            return load_mapping(told["text"].encode(), str(path))
        if not isinstance(told["values"], dict):
            raise UsageError(f"the parameter file {path} holds no mapping", advice="write one «name: value» a line")
        values: dict[str, Value] = told["values"]
        return values

    def secrets(
        self, runbook: Runbook, words: Sequence[str], given: Collection[str], environ: MutableMapping[str, str]
    ) -> dict[str, str]:
        """Give the value of every secret parameter that was not `given` otherwise, as far as there is a source.

        Words come first, then OPSASCODE_PARAM_NAME, then a prompt where somebody can answer. A parameter with a default
        is not asked for.

        Raises:
            UsageError: a word is malformed or names no secret parameter, or its source cannot be read.
            ResolveError: Ansible has no answer.
        """
        sources = read_secret_words(words, environ)
        _check_names(runbook, sources, given)
        found = {name: source() for name, source in sources.items() if callable(source)}
        found |= self._ask({name: source for name, source in sources.items() if not callable(source)})
        for parameter in runbook.parameters:
            if not parameter.secret or parameter.name in found or parameter.name in given:
                continue
            value = take_variable(SECRET_ENVIRONMENT_PREFIX + parameter.name.upper(), environ)
            if value is None and parameter.required and can_ask():
                value = click.prompt(f"{parameter.name} (secret)", hide_input=True, err=True)
            if value is not None:
                found[parameter.name] = value
        return found

    def _ask(self, questions: Mapping[str, Any]) -> dict[str, Any]:
        from opsascode.repo import ask_ansible  # noqa: PLC0415 - keeps --help quick

        vault = [(each.id, each.password) for each in self.vault]
        return ask_ansible(questions, vault=vault, environment=self.environment, root=self.root)


def read_secret_words(words: Sequence[str], environ: MutableMapping[str, str]) -> dict[str, Source]:
    """Read the words of `--secret`: a source by the name of its parameter; later words win.

    Raises:
        UsageError: a word is malformed. What stands behind its `=` is not repeated.
    """
    sources: dict[str, Source] = {}
    for word in words:
        name, equals, source = word.partition("=")
        kind, colon, place = source.partition(":")
        if not equals or not name or not colon or not place:
            raise UsageError(
                f"--secret {name or '?'}: this is no source of a secret", advice=f"write NAME=SOURCE with {_FORMS}"
            )
        sources[name] = _source(name, kind, place, environ)
    return sources


def _source(name: str, kind: str, place: str, environ: MutableMapping[str, str]) -> Source:
    from opsascode.repo import Lookup, SealedKey  # noqa: PLC0415 - keeps --help quick

    if kind == "env" and _VARIABLE.match(place):
        return lambda: _of_variable(name, place, environ)
    if kind == "file":
        return lambda: _of_file(name, Path(place).expanduser())
    path, hash_, key = place.rpartition("#")
    if kind == "vault" and hash_ and path and key:
        return SealedKey(path=Path(path).expanduser(), key=key)
    plugin, *terms = place.split(",")
    if kind == "lookup" and _PLUGIN.match(plugin) and terms:
        return Lookup(plugin=plugin, terms=tuple(terms))
    raise UsageError(f"--secret {name}: this is no source of a secret", advice=f"write NAME=SOURCE with {_FORMS}")


def _of_variable(name: str, variable: str, environ: MutableMapping[str, str]) -> str:
    value = take_variable(variable, environ)
    if value is None:
        raise UsageError(f"--secret {name}: the environment has no {variable}")
    return value


def _of_file(name: str, path: Path) -> str:
    """Read a file; a line break at its end is dropped, as Ansible does with password files."""
    try:
        return path.read_bytes().decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageError(f"--secret {name}: {path} is no UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"--secret {name}: {path} cannot be read: {error.strerror}") from error


def _check_names(runbook: Runbook, sources: Collection[str], given: Collection[str]) -> None:
    secret = [parameter.name for parameter in runbook.parameters if parameter.secret]
    for name in sources:
        if name not in secret:
            known = ", ".join(secret) or "it has none"
            raise UsageError(
                f"--secret {name}: {runbook.name} has no secret parameter of this name",
                advice=f"secret parameters: {known}; any other would be recorded, and is given with -e",
            )
        if name in given:
            raise UsageError(f"the secret {name} is given twice, by --secret and by -e", advice="give it once")


def take_variable(name: str, environ: MutableMapping[str, str]) -> str | None:
    """Take a secret out of the environment, so that nothing we start inherits it and /proc no longer shows it."""
    value = environ.get(name)
    if value is None:
        return None
    if environ is os.environ:
        libc = ctypes.CDLL(None)
        libc.getenv.restype = ctypes.c_void_p
        place = libc.getenv(os.fsencode(name))
        if place:
            ctypes.memset(place, ord("x"), len(os.fsencode(value)))
    del environ[name]
    return value
