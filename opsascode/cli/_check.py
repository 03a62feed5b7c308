"""`opsascode check`: are the documents valid, all of them and together?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsascode.cli._context import Face, cache_directory
from opsascode.cli._problems import FORMATS, format_report
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default=None,
              help="text for people, json for programs, github for annotations, sarif for code scanning.")  # fmt: skip
@click.pass_obj
def command(face: Face, paths: Sequence[Path], form: str | None) -> int:
    """Check all documents of the repository, or only report on PATHS, held against all others.

    Every problem is told in one pass, as file:line:column with how to mend it. Exit code 3: there are errors.
    """
    from opsascode.repo import check_repository, open_repository  # noqa: PLC0415 - keeps --help quick

    repository = open_repository(face.directory, tolerant=True)
    report = check_repository(repository, paths or None, cache=cache_directory() / "check")
    text = format_report(report, form or face.output.value, base=_base(repository.root))
    if text:
        click.echo(text)
    return ExitCode.DONE if report.ok else ExitCode.INVALID


def _base(root: Path) -> str:
    """Give what stands before a path of the repository so that it is right from where the person is."""
    relative = os.path.relpath(root, Path.cwd())
    return "" if relative == "." else f"{relative}/"
