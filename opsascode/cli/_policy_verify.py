"""`opsascode policy verify`: judge what a merge would change, where nothing of the change itself is executed.

Made for the check of a pull request: the trust root and its rules are those of the base, everything is read from Git's
objects, and what is shown may come from a hostile commit.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from opsascode.cli._change import change_lines, look_at
from opsascode.cli._files import append_report
from opsascode.cli._github import github_option, show, summary_option
from opsascode.cli._options import approval_option, format_option, root_option
from opsascode.cli._policy_desk import PolicyDesk, read_files
from opsascode.cli._policy_report import annotation_lines, markdown
from opsascode.cli._policy_text import decision_json, verdict_lines
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opsascode.cli._context import Face


@click.command()
@click.option("--base", metavar="COMMIT", help="What it would be merged into [default: the protected ref].")
@click.option("--head", default="HEAD", show_default=True, metavar="COMMIT", help="What would be merged.")
@root_option
@click.option(
    "--account",
    "accounts",
    multiple=True,
    metavar="NAME",
    help="Who opened or pushed it, such as github:alice: never counted.",
)
@approval_option
@summary_option
@github_option
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
    onto = desk.commit(base, advice="fetch-depth: 0, or git fetch") if base else None
    judgement = look_at(desk, head, base=onto)
    decision = judgement.decision
    shown = "\n".join((*change_lines(judgement), *verdict_lines(decision)))
    text = json.dumps(decision_json(decision)) if face.json else shown
    show(text, annotation_lines(judgement), github=github)
    append_report(summary, markdown(decision))
    return ExitCode.DONE if decision.allowed else ExitCode.REFUSED
