"""`opsascode run`: resolve, judge, confirm, and carry out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from opsascode.cli._abandoned import close_abandoned
from opsascode.cli._access import AccessWords, access_options, read_access, read_keyring, tag_words
from opsascode.cli._console import at_terminal, count, wants_colour
from opsascode.cli._execute import carry_out, order_for
from opsascode.cli._judging import judged, tell_refusal
from opsascode.cli._options import TargetWords, format_option, target_options
from opsascode.cli._plan import plan_lines, resolve_plan_file, resolve_words
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from opsascode.cli._context import Face
    from opsascode.cli._secrets import Keyring
    from opsascode.policy import Permit
    from opsascode.run import Manner, Resolution


class MannerWords(AccessWords):
    """What `manner_options` and `access_options` hand to a command."""

    no_undo: bool
    wait: str | None
    approval: tuple[Path, ...]
    yes: bool


class RunWords(TargetWords, MannerWords):
    """What `run` is given."""


def manner_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add how a run is to be carried out."""
    for option in (
        click.option("-y", "--yes", is_flag=True, help="Do not ask before starting."),
        click.option(
            "--approval",
            type=click.Path(path_type=Path, dir_okay=False),
            multiple=True,
            help="An approval that somebody wrote with `opsascode approve --out`.",
        ),
        click.option(
            "--wait",
            metavar="DURATION",
            default=None,
            help="Wait this long (30s, 5m) for hosts that another run holds [default: refuse at once].",
        ),
        click.option("--no-undo", is_flag=True, help="Undo nothing, whatever happens."),
    ):
        function = option(function)
    return function


@click.command()
@click.argument("what", metavar="RUNBOOK|PLAN-FILE")
@target_options
@access_options
@click.option("-C", "--check", is_flag=True, help="Predict what would change; nothing is changed.")
@click.option("-D", "--diff", is_flag=True, help="Show how files change.")
@manner_options
@format_option
@click.pass_obj
def command(face: Face, /, what: str, check: bool, diff: bool, **words: Unpack[RunWords]) -> int:  # noqa: FBT001 - click passes options by name
    """Run a runbook (by name or path), or exactly the plan in a file written by `opsascode plan --out`."""
    from opsascode.policy import Refusal  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Purpose  # noqa: PLC0415 - keeps --help quick

    close_abandoned(face)
    keyring = read_keyring(face, words, os.environ)
    manner = read_manner(words, keyring, diff=diff)
    resolution = _resolve(face, what, words, keyring)
    purpose = Purpose.CHECK if check else Purpose.RUN
    verdict = judged(face, resolution, purpose=purpose)
    if isinstance(verdict, Refusal):
        return tell_refusal(face, verdict, resolution, purpose=purpose)
    if not words["yes"] and not check and not _confirmed(face, resolution, verdict):
        click.echo("not confirmed: nothing was run", err=True)
        return ExitCode.REFUSED
    return carry_out(face, order_for(face, resolution, verdict, manner, purpose=purpose))


def read_manner(words: MannerWords, keyring: Keyring, *, diff: bool) -> Manner:
    """Read the options that say how a run is carried out; passwords are asked for here.

    Raises:
        UsageError: an option cannot be read, or a password cannot be asked for.
    """
    from opsascode.run import Manner, read_approval_files  # noqa: PLC0415 - keeps --help quick

    return Manner(
        access=read_access(words, keyring.vault, os.environ),
        forks=words["forks"],
        verbosity=words["verbose"],
        diff=diff,
        tags=tag_words(words["tags"]),
        skip_tags=tag_words(words["skip_tags"]),
        undo=not words["no_undo"],
        wait_seconds=_duration(words["wait"]) if words["wait"] else 0.0,
        approvals=read_approval_files(words["approval"]),
    )


def _duration(text: str) -> float:
    from opsascode.repo import parse_duration  # noqa: PLC0415 - keeps --help quick

    try:
        return parse_duration(text).total_seconds()
    except ValueError:
        raise UsageError(f"«{text}» is no duration", advice="write --wait 30s, 5m or 1h") from None


def _resolve(face: Face, what: str, words: RunWords, keyring: Keyring) -> Resolution:
    path = Path(what)
    if path.suffix in {".yml", ".yaml"} or not path.is_file():
        return resolve_words(face, what, words, keyring)
    if words["inventory"] or words["words"] or words["limit"]:
        raise UsageError(
            "a plan file already says inventory, parameters and limit",
            advice="run it without -i, -e and --limit, or make another plan",
        )
    return resolve_plan_file(face, path, words["secrets"], keyring)


def _confirmed(face: Face, resolution: Resolution, permit: Permit) -> bool:
    """Ask a person at a terminal; where nobody can answer, the words that were typed are the answer."""
    if face.json or not at_terminal():
        return True
    click.echo("\n".join(plan_lines(resolution.plan, permit, None)), color=wants_colour())
    plan = resolution.plan
    return click.confirm(f"\nRun {plan.runbook} on {count(len(plan.hosts), 'host')}?", default=False)
