"""`opsascode init DIR`: make an ops repository that works at once, and say what comes next."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from opsascode import __version__
from opsascode.cli._console import count, escape_line, escape_text
from opsascode.cli._options import format_option
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opsascode.cli._context import Face
    from opsascode.repo import Begun

_SOMEBODY: Final = "@your-organisation/sre"
_MESSAGE: Final = "Begin an ops repository"


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Its name [default: that of the directory].")
@click.option("--owner", "owners", metavar="@ORG/TEAM", multiple=True,
              help=f"Who reviews changes on GitHub; may be repeated [default: {_SOMEBODY}].")  # fmt: skip
@click.option("--no-git", is_flag=True, help="Write the files only.")
@click.option("--schemas", "schemas_only", is_flag=True, help="Write only schemas/, for the editor, as installed now.")
@format_option
@click.pass_obj
def command(
    face: Face, /, directory: Path, *, name: str | None, owners: Sequence[str], no_git: bool, schemas_only: bool
) -> int:
    """Make a new ops repository in DIR: a runbook and an inventory to try, a policy, editor settings, GitHub workflows.

    Nothing that exists is written over. A directory that lies in no Git repository becomes one, with one commit.
    """
    from opsascode.repo import editor_schemas, place  # noqa: PLC0415 - keeps --help quick

    root = Path(os.path.abspath(directory))  # noqa: PTH100 - only the text: no link is followed
    content = editor_schemas() if schemas_only else _content(root, name, owners or (_SOMEBODY,))
    place(root, content)
    begun = None if no_git or schemas_only else _begin(root, content)
    following = () if schemas_only else tuple(_next(directory, begun, named=bool(owners)))
    if face.json:
        click.echo(json.dumps(_json(root, content, begun, following)))
        return ExitCode.DONE
    click.echo(escape_text("\n".join(_lines(directory, content, begun, following))))
    return ExitCode.DONE


def _content(root: Path, name: str | None, owners: Sequence[str]) -> Mapping[str, bytes]:
    from datetime import UTC, datetime  # noqa: PLC0415 - keeps --help quick

    from opsascode.repo import directory_as_name, new_repository  # noqa: PLC0415 - keeps --help quick

    today = datetime.now(UTC).date()
    return new_repository(name=name or directory_as_name(root), version=__version__, owners=owners, today=today)


def _begin(root: Path, content: Mapping[str, bytes]) -> Begun:
    from opsascode.repo import begin_history  # noqa: PLC0415 - keeps --help quick

    return begin_history(root, content, _MESSAGE)


def _next(directory: Path, begun: Begun | None, *, named: bool) -> Iterator[tuple[str, str]]:
    """Give what to do next: a command and what it is for; a place to edit has no command."""
    if directory != Path():
        yield f"cd {shlex.quote(str(directory))}", ""
    if begun is None or begun.commit is None:
        new = begun is None or (begun.top is None and not begun.made)
        first = "git init --initial-branch main && " if new else ""
        yield f"{first}git add . && git commit --message {shlex.quote(_MESSAGE)}", ""
    yield "opsascode check", "what is wrong in the documents: nothing yet"
    yield "opsascode plan hello", "what would be done"
    yield "opsascode run hello", "do it, on this machine"
    yield "opsascode verify latest", "prove what was done"
    yield "opsascode runs undo", "take it back"
    if not named:
        yield "", f"put your own team in the place of {_SOMEBODY} in .github/CODEOWNERS"
    yield "", "say who may change policies: docs/people.md (opsascode trust init)"
    yield "", "protect the branch main on GitHub: docs/protect-this-repository.md"


def _lines(
    directory: Path, content: Mapping[str, bytes], begun: Begun | None, following: Sequence[tuple[str, str]]
) -> Iterator[str]:
    yield f"{count(len(content), 'file')} written to {escape_line(str(directory))}"
    if begun is not None:
        yield f"  {_history(begun)}"
    if following:
        yield ""
        yield "next:"
    width = max((len(command) for command, remark in following if command and remark), default=0)
    for command, remark in following:
        yield f"  {command:<{width}}  # {remark}" if command and remark else f"  {command or f'# {remark}'}"


def _history(begun: Begun) -> str:
    if begun.commit is not None:
        return f"Git: branch main, commit {begun.commit}"
    if begun.made:
        return f"Git: branch main; nothing was committed: {escape_line(begun.why)}"
    return f"Git: nothing was done: {escape_line(begun.why)}"


def _json(
    root: Path, content: Mapping[str, bytes], begun: Begun | None, following: Sequence[tuple[str, str]]
) -> dict[str, object]:
    git = None if begun is None else {"made": begun.made, "commit": begun.commit, "why": begun.why or None}
    return {
        "directory": str(root),
        "files": sorted(content),
        "git": git,
        "next": [{"command": command or None, "remark": remark or None} for command, remark in following],
    }
