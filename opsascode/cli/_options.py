"""The options that several commands share, and how their words are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

import click

from opsascode.cli._context import Face, OutputFormat
from opsascode.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opsascode.repo import Value


class TargetWords(TypedDict):
    """What `target_options` hand to a command."""

    inventory: tuple[str, ...]
    words: tuple[str, ...]
    limit: str | None


SECRET_ENVIRONMENT_PREFIX: Final = "OPSASCODE_PARAM_"  # noqa: S105 - the name of a variable, not a secret

approval_option = click.option(
    "--approval",
    "approvals",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A signed statement that somebody wrote with `opsascode approve --out`.",
)
root_option = click.option(
    "--root", "pin", metavar="DIGEST", help="The digest of the first trust root [default: what is pinned here]."
)


def format_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let `--format` stand behind the command too; the value reaches the command as its `face`."""

    def remember(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value:
            ctx.obj = Face(directory=ctx.obj.directory, output=OutputFormat(value))

    return click.option(
        "--format",
        type=click.Choice([form.value for form in OutputFormat]),
        default=None,
        expose_value=False,
        callback=remember,
        help="How to answer: text for people, json for programs.",
    )(function)


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-i`, `-e` and `--limit`, with Ansible's meaning."""
    for option in (
        click.option(
            "-l",
            "--limit",
            metavar="PATTERN",
            default=None,
            help="Only these hosts of the runbook's targets (Ansible's pattern language).",
        ),
        click.option(
            "-e",
            "--param",
            "words",
            multiple=True,
            metavar="NAME=VALUE|@FILE",
            help="A parameter, or a YAML file of parameters. Secrets: @FILE, OPSASCODE_PARAM_NAME, or a prompt.",
        ),
        click.option(
            "-i",
            "--inventory",
            "inventory",
            multiple=True,
            metavar="SOURCE",
            help="An inventory: file, directory, script or host list [default: spec.inventory of opsascode.yml].",
        ),
    ):
        function = option(function)
    return function


def read_parameters(
    words: Sequence[str], open_sealed: Callable[[Path], dict[str, Value]] | None = None
) -> tuple[dict[str, str], dict[str, Value]]:
    """Read `-e` words into texts still to be typed, and values read from files; later words win.

    `open_sealed` reads a file that Ansible's vault has encrypted, as a whole or in single values.

    Raises:
        UsageError: a word is neither NAME=VALUE nor @FILE, or the file is no mapping.
    """
    texts: dict[str, str] = {}
    values: dict[str, Value] = {}
    for word in words:
        if word.startswith("@"):
            fresh = _parameter_file(Path(word[1:]).expanduser(), open_sealed)
            values.update(fresh)
            texts = {name: text for name, text in texts.items() if name not in fresh}
            continue
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UsageError(f"«{word}» is no parameter", advice="write -e NAME=VALUE, or -e @FILE for a YAML file")
        texts[name] = text
        values.pop(name, None)
    return texts, values


def can_ask() -> bool:
    """Whether a person at a terminal can be asked."""
    return os.isatty(0) and os.isatty(2)


def _parameter_file(path: Path, open_sealed: Callable[[Path], dict[str, Value]] | None) -> dict[str, Value]:
    from opsascode.repo import is_sealed, load_mapping  # noqa: PLC0415 - keeps --help quick

    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the parameter file {path} cannot be read: {error.strerror}") from error
    if open_sealed is not None and is_sealed(data):
        return open_sealed(path)
    return load_mapping(data, str(path))
