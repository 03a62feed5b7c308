"""`opsascode trust`: who may do what here, and whose signatures prove it.

The verbs live in modules of their own, imported when they are asked for; here is what they share: where the versions
lie, and what is there of them.
"""

from __future__ import annotations

import importlib
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from opsascode.errors import ProofError, ResolveError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from opsascode.cli._context import Face
    from opsascode.proof import SignedRoot, TrustChain

WARN_DAYS: Final = 30
_VERBS: Final[Mapping[str, str]] = {
    "init": "opsascode.cli._trust_make",
    "pin": "opsascode.cli._trust_pin",
    "propose": "opsascode.cli._trust_make",
    "show": "opsascode.cli._trust_show",
    "sign": "opsascode.cli._trust_sign",
}


class _Verbs(click.Group):
    """A group whose verbs are imported only when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's own
        if cmd_name not in _VERBS:
            return None
        found = getattr(importlib.import_module(_VERBS[cmd_name]), cmd_name)
        return found if isinstance(found, click.Command) else None


@click.group(cls=_Verbs)
def command() -> None:
    """Say whom this repository trusts, for what, and how many of them must agree.

    The versions of the trust root lie in policies/trust/. A new one is proposed, and counts once enough persons of the
    version before and of its own have signed it.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A version that does not count yet, and the file it lies in: it lacks signatures, or is not committed."""

    signed: SignedRoot
    file: Path


def file_of(face: Face, version: int) -> Path:
    """Say where a version lies in the working tree."""
    from opsascode.repo import trust_path  # noqa: PLC0415 - keeps --help quick

    return face.repository.root / trust_path(version)


def read_version(file: Path) -> bytes:
    """Read a version, or a proposal of one, from a file.

    Raises:
        UsageError: it cannot be read, or is too large to be one.
    """
    most = 65536
    try:
        with open(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:  # noqa: PTH123 - a pipe must not hang us
            data = stream.read(most + 1)
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise UsageError(message, advice="`opsascode trust show` lists them") from error
    if len(data) > most:
        raise UsageError(f"{file} has more than {most} bytes, and no version of a trust root has")
    return data.strip()


def write_version(file: Path, envelope: bytes) -> None:
    """Write a version, whole or not at all.

    Raises:
        ResolveError: the file cannot be written.
    """
    draft = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(envelope + b"\n")
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ResolveError(f"{file} cannot be written: {error.strerror}") from error


def chain_before(face: Face, version: int) -> TrustChain:
    """Give the versions before one that is being made or signed: none before the first, else what counts here.

    Raises:
        ProofError: there is none, none is pinned here, or what is committed does not hold.
        UsageError: it is not the next version.
    """
    from opsascode.proof import TrustChain  # noqa: PLC0415 - keeps --help quick

    if version == 1:
        return TrustChain(roots=())
    chain = face.trusted()
    newest = chain.current.root.version
    if version <= newest:
        raise UsageError(f"version {version} of the trust root is not open any more: version {newest} counts")
    if version > newest + 1:
        raise UsageError(
            f"version {version} of the trust root has to wait: version {newest} counts here, and it goes one by one",
            advice=f"commit version {newest + 1} first, or fetch it",
        )
    return chain


def open_proposal(face: Face, chain: TrustChain) -> Proposal | None:
    """Give the proposal of the next version that lies in the working tree, None when there is none.

    Raises:
        ProofError: what lies there cannot follow the versions before it.
    """
    from opsascode.proof import pending_root, read_chain  # noqa: PLC0415 - keeps --help quick

    file = file_of(face, len(chain.roots) + 1)
    if not file.is_file():
        return None
    envelopes = [*(each.envelope for each in chain.roots), read_version(file)]
    return Proposal(signed=pending_root(envelopes, chain) or read_chain(envelopes).current, file=file)


def shown_path(face: Face, file: Path) -> str:
    """Name a file of the repository as a person would, from its root."""
    root = face.repository.root
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def fault_of(error: ProofError) -> str:
    """Say what is wrong, with its machine code where there is one."""
    code = getattr(error, "code", "")
    return f"{error.message} [{code}]" if code else error.message
