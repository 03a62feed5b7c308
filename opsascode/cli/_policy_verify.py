"""`opsascode policy verify`: judge what a merge would change, where nothing of the change itself is executed.

Made for the check of a pull request: the trust root and its rules are those of the base, everything is read from Git's
objects, and what is shown may come from a hostile commit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsascode.cli._change import change_lines, look_at
from opsascode.cli._options import format_option
from opsascode.cli._policy_desk import PolicyDesk, read_files
from opsascode.cli._policy_report import annotation_lines, markdown
from opsascode.cli._policy_text import decision_json, verdict_lines
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.cli._context import Face


@click.command()
@click.option("--base", metavar="COMMIT", help="What it would be merged into [default: the protected ref].")
@click.option("--head", default="HEAD", show_default=True, metavar="COMMIT", help="What would be merged.")
@click.option(
    "--root", "pin", metavar="DIGEST", help="The digest of the first trust root [default: what is pinned here]."
)
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="NAME",
    help="Who opened or pushed it, such as github:alice: never counted.",
)
@click.option(
    "--approval",
    "approvals",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A signed statement that somebody wrote with `opsascode approve --out`.",
)
@click.option(
    "--summary", type=click.Path(path_type=Path, dir_okay=False), help="Append a report in Markdown to this file."
)
@click.option("--github", is_flag=True, help="Print annotations for GitHub as well.")
@format_option
@click.pass_obj
def verify(  # noqa: PLR0913 - one parameter for each option
    face: Face,
    /,
    *,
    base: str | None,
    head: str,
    pin: str | None,
    accounts: Sequence[str],
    approvals: Sequence[Path],
    summary: Path | None,
    github: bool,
) -> int:
    """Judge what a merge of HEAD into BASE would change.

    Exit code 0: it may be merged; 4: it may not yet; 5: something is not what was signed.
    """
    desk = PolicyDesk(face=face, files=read_files(approvals), accounts=tuple(accounts), root_digest=pin)
    onto = desk.store.commit_of(base) if base else None
    if base and onto is None:
        raise UsageError(f"there is no commit {base[:100]!r} in this clone", advice="fetch-depth: 0, or git fetch")
    judgement = look_at(desk, head, base=onto)
    decision = judgement.decision
    if summary is not None:
        with summary.open("a", encoding="utf-8") as file:
            file.write(markdown(decision))
    shown = "\n".join((*change_lines(judgement), *verdict_lines(decision)))
    text = json.dumps(decision_json(decision)) if face.json else shown
    # GitHub's runner takes an old form of commands in the middle of any line.
    click.echo(text.replace("##[", "##\\u005b") if github else text)
    if github:
        click.echo("\n".join(annotation_lines(judgement)))
    return ExitCode.DONE if decision.allowed else ExitCode.REFUSED
