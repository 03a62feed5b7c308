"""How is something told to GitHub: as a summary in Markdown, as annotations, and in the log of a job?

What is told may come from a hostile commit, from a policy or from people: no markup, no mention and no workflow command
of it survives.

Not here: what is told (`_policy_report`, `_gate_text`, `_simulate_text`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import escape_line

if TYPE_CHECKING:
    from collections.abc import Iterable

_MARKUP: Final = re.compile(r"[\\|*~\[\]]|(?<!\w)_|_(?!\w)")

summary_option = click.option(
    "--summary", type=click.Path(path_type=Path, dir_okay=False), help="Append a report in Markdown to this file."
)
github_option = click.option("--github", is_flag=True, help="Print annotations for GitHub as well.")


def show(text: str, annotations: Iterable[str], *, github: bool) -> None:
    """Print an answer, and at GitHub its annotations."""
    shown = "\n".join((text, *annotations)) if github else text
    # GitHub's runner takes an old form of commands in the middle of any line.
    click.echo(shown.replace("##[", "##\\u005b") if github else shown)


def annotation_data(text: str) -> str:
    """Escape a text for a workflow command."""
    return escape_line(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def annotation_property(text: str) -> str:
    """Escape a text for a property of a workflow command, such as its title."""
    return annotation_data(text).replace(":", "%3A").replace(",", "%2C")


def cell(text: str) -> str:
    """Escape a text for a table of Markdown: no markup, no link, image, mention or number of an issue, one line."""
    plain = escape_line(text).replace("&", "&amp;").replace("`", "'").replace("<", "&lt;").replace("@", "@\u200b")
    plain = plain.replace("#", "#\u200b")
    plain = plain.replace("://", ":\u200b//").replace("www.", "www\u200b.")
    return _MARKUP.sub(r"\\\g<0>", plain)


def code(text: str) -> str:
    """Escape a text between backquotes, where only they and the table's bars mean anything."""
    return escape_line(text).replace("|", "\\|").replace("`", "'")
