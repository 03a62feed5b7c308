"""`opsascode check`: are the documents valid, all of them and together?"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsascode.cli._check_lint import with_lint
from opsascode.cli._check_live import with_live
from opsascode.cli._context import Face, cache_directory
from opsascode.cli._problems import FORMATS, format_report
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default=None,
              help="text for people, json for programs, github for annotations, sarif for code scanning.")  # fmt: skip
@click.option("--live", is_flag=True,
              help="Ask Prometheus whether it has the metrics and buckets that reliability policies name.")  # fmt: skip
@click.pass_obj
def command(face: Face, paths: Sequence[Path], form: str | None, *, live: bool) -> int:
    """Check all documents of the repository, or only report on PATHS, held against all others.

    Every problem is told in one pass, as file:line:column with how to mend it. Exit code 3: there are errors. 6: with
    --live, Prometheus cannot be asked.
    """
    from opsascode.repo import check_repository, open_repository  # noqa: PLC0415 - keeps --help quick

    repository = open_repository(face.directory, tolerant=True)
    cache = cache_directory() / "check"
    report = check_repository(repository, paths or None, cache=cache)
    report = with_lint(report, repository, cache=cache, now=datetime.now(UTC))
    failed = None
    if live:
        report, failed = with_live(report, repository, now=datetime.now(UTC))
    text = format_report(report, form or face.output.value, base=_base(repository.root))
    if text:
        click.echo(text)
    if failed is not None and report.ok:
        raise failed
    return ExitCode.DONE if report.ok else ExitCode.INVALID


def _base(root: Path) -> str:
    """Give what stands before a path of the repository so that it is right from where the person is."""
    relative = os.path.relpath(root, Path.cwd())
    return "" if relative == "." else f"{relative}/"
