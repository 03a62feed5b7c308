"""How does `slo import` and `slo export` give what was carried over, and say what was not?

Not here: carrying anything over (`slo`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsascode.cli._files import write_into
from opsascode.cli._problems import problem_lines
from opsascode.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.repo import Problem


def place_texts(texts: Mapping[str, str], out: str, *, together: str) -> None:
    """Write each text into its file of a directory, or all together to standard output; no file is overwritten.

    Raises:
        UsageError: a file is there with other content, or cannot be written.
    """
    if out == "-":
        click.echo(together, nl=False)
        return
    folder = Path(out)
    for name, text in texts.items():
        file = folder / name
        if file.exists() and file.read_bytes() != text.encode():
            raise UsageError(
                f"{file} is there already, and says something else", advice="delete it, or choose another --out"
            )
    for name, text in texts.items():
        click.echo(f"written: {write_into(folder, name, text, 'the answer')}")


def say_notes(notes: Sequence[Problem]) -> None:
    """Tell every note to the person, beside the documents."""
    for note in notes:
        for line in problem_lines(note):
            click.echo(line, err=True)
