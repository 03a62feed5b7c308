"""How does a person, or a pipeline, hand over passwords and keys? The options of Ansible, with Ansible's meaning.

A password comes from its file or script, from a prompt on a terminal, or from a variable of ours in CI. None is ever
taken from the command line, and the variables are gone from our environment once they are read.

Not here: how Ansible gets what was handed over (`run`), secret parameters (`_secrets`).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

import click

from opsascode.cli._options import TargetWords, can_ask
from opsascode.cli._secrets import Keyring, take_variable
from opsascode.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping, Sequence

    from opsascode.cli._context import Face
    from opsascode.run import Access, VaultSecret

BECOME_VARIABLE: Final = "OPSASCODE_BECOME_PASSWORD"
CONNECTION_VARIABLE: Final = "OPSASCODE_CONNECTION_PASSWORD"
VAULT_VARIABLE: Final = "OPSASCODE_VAULT_PASSWORD"
_PROMPTS: Final = frozenset({"prompt", "prompt_ask_vault_pass"})
_SCRIPT_SECONDS: Final = 300


class SecretWords(TypedDict):
    """What `secret_options` hand to a command."""

    secrets: tuple[str, ...]
    ask_vault_pass: bool
    vault_password_files: tuple[str, ...]
    vault_ids: tuple[str, ...]


class AccessWords(SecretWords):
    """What `access_options` hand to a command."""

    ask_become_pass: bool
    ask_pass: bool
    become_password_file: str | None
    connection_password_file: str | None
    private_key: str | None
    user: str | None
    tags: tuple[str, ...]
    skip_tags: tuple[str, ...]
    forks: int | None
    verbose: int


class PlanWords(TargetWords, SecretWords):
    """What a command has that resolves a runbook and runs nothing."""


def secret_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what opens secrets: `--secret`, and Ansible's options for its vault."""
    for option in (
        click.option(
            "-J",
            "--ask-vault-pass",
            "--ask-vault-password",
            "ask_vault_pass",
            is_flag=True,
            help="Ask for the vault password.",
        ),
        click.option(
            "--vault-password-file",
            "--vault-pass-file",
            "vault_password_files",
            multiple=True,
            metavar="FILE",
            help="A file with the vault password, or a script that prints it.",
        ),
        click.option(
            "--vault-id",
            "vault_ids",
            multiple=True,
            metavar="ID@FILE|ID@prompt",
            help="A vault id, and where its password comes from.",
        ),
        click.option(
            "--secret",
            "secrets",
            multiple=True,
            metavar="NAME=SOURCE",
            help="A secret parameter, from env:VAR, file:PATH, vault:PATH#key or lookup:PLUGIN,TERM.",
        ),
    ):
        function = option(function)
    return function


def access_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add everything by which a run reaches its hosts, with Ansible's names and meaning."""
    for option in _how_to_run():
        function = option(function)
    for option in _passwords():
        function = option(function)
    return secret_options(function)


def _how_to_run() -> Iterator[Callable[..., Any]]:
    yield click.option("-v", "--verbose", count=True, help="More of what Ansible says, in the run's output.log.")
    yield click.option(
        "-f",
        "--forks",
        type=click.IntRange(1, 500),
        default=None,
        help="Hosts Ansible works on at the same time [default: forks of ansible.cfg, else 5].",
    )
    yield click.option("--skip-tags", multiple=True, metavar="TAGS", help="Leave out tasks with these tags.")
    yield click.option("-t", "--tags", multiple=True, metavar="TAGS", help="Only tasks with these tags.")


def _passwords() -> Iterator[Callable[..., Any]]:
    yield click.option("-u", "--user", metavar="NAME", default=None, help="Connect as this user.")
    yield click.option(
        "--private-key",
        "--key-file",
        "private_key",
        metavar="FILE",
        default=None,
        help="Connect with this private key.",
    )
    yield click.option(
        "--connection-password-file", "--conn-pass-file", "connection_password_file", metavar="FILE", default=None,
        help="A file with the connection password, or a script that prints it.",
    )  # fmt: skip
    yield click.option("-k", "--ask-pass", is_flag=True, help="Ask for the connection password.")
    yield click.option(
        "--become-password-file", "--become-pass-file", "become_password_file", metavar="FILE", default=None,
        help="A file with the password to become another user, or a script that prints it.",
    )  # fmt: skip
    yield click.option("-K", "--ask-become-pass", is_flag=True, help="Ask for the password to become another user.")


def tag_words(words: Sequence[str]) -> tuple[str, ...]:
    """Give the single tags of `--tags a,b --tags c`."""
    return tuple(dict.fromkeys(tag for word in words for part in word.split(",") if (tag := part.strip())))


def read_vault(
    words: SecretWords, configured: Sequence[str], environ: MutableMapping[str, str]
) -> tuple[VaultSecret, ...]:
    """Give the vault passwords: those of the options, else the variable's, else those that ansible.cfg names.

    Raises:
        UsageError: a file cannot be read, a script fails, or a password must be asked for where nobody can answer.
    """
    from opsascode.run import VaultSecret  # noqa: PLC0415 - keeps --help quick

    given = take_variable(VAULT_VARIABLE, environ)
    named = [*words["vault_ids"], *words["vault_password_files"], *(["prompt"] if words["ask_vault_pass"] else [])]
    if not named and given is not None:
        return (VaultSecret(password=given.strip()),)
    found = []
    for word in named or [word for word in configured if _exists(word)]:
        name, at, source = word.rpartition("@")
        name = name if at and name else "default"
        what = "Vault password" if name == "default" else f"Vault password ({name})"
        if source in _PROMPTS:
            password = _ask(what, "give --vault-password-file, or set " + VAULT_VARIABLE)
        else:
            password = _from_file(Path(source).expanduser(), vault=name)
        found.append(VaultSecret(id=name, password=password))
    return tuple(found)


def read_keyring(face: Face, words: SecretWords, environ: MutableMapping[str, str]) -> Keyring:
    """Gather what opens secrets in this repository; asks for vault passwords at most once.

    Raises:
        UsageError: as `read_vault`.
        InvalidDocumentsError: the repository's ansible.cfg sets what a run must not have.
    """
    from opsascode.repo import usable_ansible_settings  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import minimal_environment  # noqa: PLC0415 - keeps --help quick

    repository = face.repository
    vault = read_vault(words, usable_ansible_settings(repository.root).vault, environ)
    environment = minimal_environment(environ, repository.settings.environment_allow)
    return Keyring(vault=vault, environment=environment, root=repository.root)


def read_access(words: AccessWords, vault: tuple[VaultSecret, ...], environ: MutableMapping[str, str]) -> Access:
    """Gather all that a run needs to reach its hosts; asks on the terminal for what was not given otherwise.

    Raises:
        UsageError: a file cannot be read, a script fails, or a password must be asked for where nobody can answer.
    """
    from opsascode.run import Access  # noqa: PLC0415 - keeps --help quick

    connection = _password(
        "SSH password", (words["ask_pass"], words["connection_password_file"], CONNECTION_VARIABLE), environ
    )
    become = _password(
        "BECOME password",
        (words["ask_become_pass"], words["become_password_file"], BECOME_VARIABLE),
        environ,
        otherwise=connection if words["ask_pass"] else None,
    )
    return Access(
        become_password=become,
        connection_password=connection,
        vault_secrets=vault,
        private_key=_private_key(words["private_key"]),
        user=words["user"],
    )


def _password(
    what: str, given: tuple[bool, str | None, str], environ: MutableMapping[str, str], *, otherwise: str | None = None
) -> str | None:
    asked, file, variable = given
    option = "-k" if variable == CONNECTION_VARIABLE else "-K"
    from_environment = take_variable(variable, environ)
    if asked and file:
        raise UsageError(f"{option} and a password file exclude each other", advice="give one of the two")
    if file:
        return _from_file(Path(file).expanduser())
    if not asked:
        return from_environment
    if otherwise is not None:
        return _ask(f"{what} [defaults to SSH password]", "", otherwise=otherwise)
    return _ask(what, f"give a password file, or set {variable}")


def _ask(what: str, advice: str, *, otherwise: str | None = None) -> str:
    if not can_ask():
        raise UsageError(f"{what}: nobody can be asked, for there is no terminal", advice=advice)
    answer: str = click.prompt(
        what, hide_input=True, err=True, default=otherwise if otherwise is not None else "", show_default=False
    )
    return answer


def _exists(word: str) -> bool:
    """Whether a word of ansible.cfg names a file that can simply be read: a program is only run when asked for."""
    path = Path(word.rpartition("@")[2]).expanduser()
    return path.is_file() and not os.access(path, os.X_OK)


def _from_file(path: Path, *, vault: str | None = None) -> str:
    """Read a password as Ansible does: a program is run and prints it, white space around it is dropped."""
    try:
        data = _output_of(path, vault) if os.access(path, os.X_OK) and not path.is_dir() else path.read_bytes()
        return data.decode().strip()
    except UnicodeDecodeError:
        raise UsageError(f"the password in {path} is no UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"the password file {path} cannot be read: {error.strerror}") from error


def _output_of(path: Path, vault: str | None) -> bytes:
    """Run a password script; one for a vault whose name ends in «-client» is told the vault id."""
    named = ["--vault-id", vault] if vault is not None and path.stem.endswith("-client") else []
    try:
        done = subprocess.run(  # noqa: S603 - the program the person named
            [str(path.absolute()), *named],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_SCRIPT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"the password script {path} took longer than {_SCRIPT_SECONDS} seconds") from None
    if done.returncode != 0:
        raise UsageError(
            f"the password script {path} failed (exit code {done.returncode})",
            advice="if it is no script, take its executable bit away",
        )
    return done.stdout


def _private_key(word: str | None) -> Path | None:
    if word is None:
        return None
    path = Path(word).expanduser().absolute()
    if not os.access(path, os.R_OK) or not path.is_file():
        raise UsageError(f"the private key {path} cannot be read")
    return path
