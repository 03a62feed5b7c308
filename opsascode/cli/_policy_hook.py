"""`opsascode policy hook`: the judge of pushes on a plain Git server.

The pre-receive hook says no to a push that would take a protected ref where it may not go, with the code, what was
found, and what to do next. It looks at what was pushed while that lies in quarantine, and at nobody's word but the
pinned trust root's. Every other ref is none of its business, but for those of opsascode, which only grow.

A server is one of three places that judge; the runner alone is enough. Not here: the judging (`run`, `policy`).
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from opsascode.repo import GitServer

_MARK: Final = "# Written by `opsascode policy hook install`."
_ROOT_FILE: Final = "opsascode.root"
_SIGNERS_FILE: Final = "opsascode.signers"
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_SCRIPT: Final = """#!/bin/sh
{mark}
# It judges every push to the ref that the pinned trust root protects. Change nothing here: install again.
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP
exec {program} policy hook receive --root-file "${{0%/*}}/{root_file}"
"""


@click.group()
def command() -> None:
    """Judge pushes on a plain Git server."""


@command.command()
@click.argument("repository", type=click.Path(path_type=Path), metavar="REPO.git")
@click.option("--root", "pin", required=True, metavar="DIGEST", help="The digest that `opsascode trust init` printed.")
@click.option("--opsascode", "program", metavar="PATH", help="The command the hook calls [default: this one].")
@click.option("--signed-pushes", is_flag=True, help="Let people sign their pushes, so that the hook knows who pushes.")
def install(repository: Path, pin: str, program: str | None, signed_pushes: bool) -> int:  # noqa: FBT001 - click passes options by name
    """Install the pre-receive hook in a bare repository, with the trust root it believes in."""
    from opsascode.repo import GitServer  # noqa: PLC0415 - keeps --help quick

    if not _DIGEST.fullmatch(pin):
        raise UsageError(f"{pin[:80]!r} is no digest of a trust root", advice="sha256: and 64 hex digits")
    server = GitServer.of(repository)
    script = _SCRIPT.format(mark=_MARK, program=shlex.quote(_program(program)), root_file=_ROOT_FILE)
    files = {_ROOT_FILE: (f"{pin}\n", 0o644), "pre-receive": (script, 0o755)}
    if signed_pushes:
        files = {_SIGNERS_FILE: ("", 0o644), **files}
    server.install(files, mark=_MARK)
    server.set("receive.fsckObjects", "true")
    if signed_pushes:
        _take_signed_pushes(server)
    click.echo(f"installed {server.hooks / 'pre-receive'}")
    click.echo(f"  trust root  {pin}")
    click.echo("  the ref it protects cannot be deleted or taken back, and refs/opsascode/* only grow")
    click.echo("  receive.fsckObjects is on" + (", and pushes may be signed" if signed_pushes else ""))
    return ExitCode.DONE


@command.command()
@click.option(
    "--root-file", required=True, type=click.Path(path_type=Path), help="The file with the digest of the trust root."
)
def receive(root_file: Path) -> int:
    """Judge a push; git calls this in the pre-receive hook."""
    from opsascode.cli._policy_receive import judge_push  # noqa: PLC0415 - keeps --help quick

    return judge_push(_read_pin(root_file), os.environ, sys.stdin.buffer.read())


def _program(said: str | None) -> str:
    """Give the command that the hook calls, by its full path: a server's PATH is nobody's promise."""
    found = said or shutil.which(sys.argv[0]) or str(Path(sys.executable).parent / "opsascode")
    path = Path(found).absolute()
    if not os.access(path, os.X_OK) or not path.is_file() or "\n" in found:
        raise UsageError(f"{found} is no program", advice="give the installed command: --opsascode PATH")
    return str(path)


def _take_signed_pushes(server: GitServer) -> None:
    """Let git check certificates; whose key it is says the trust root, so git is given no names to look for."""
    server.set("gpg.ssh.allowedSignersFile", str(server.hooks / _SIGNERS_FILE))
    if not server.said("receive.certNonceSeed"):
        server.set("receive.certNonceSeed", secrets.token_hex(32))
    if not server.said("receive.certNonceSlop"):
        server.set("receive.certNonceSlop", "60")


def _read_pin(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", advice="install the hook again") from error
    if not _DIGEST.fullmatch(text):
        raise UsageError(f"{path} is not one line sha256:<64 hex digits>", advice="install the hook again")
    return text
