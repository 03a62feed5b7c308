"""Which runs has somebody left behind? Every command that looks at runs, or starts one, closes them first.

Not here: how a run is closed (`run`).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import escape_line
from opsascode.errors import OpsError, UsageError

if TYPE_CHECKING:
    from opsascode.cli._context import Face
    from opsascode.run import History, PastRun


def close_abandoned(face: Face) -> History | None:
    """Close the runs whose controller was killed, and say so; gives the past as it is then, `None` when there is none.

    What cannot be closed now is told, and left as it is.
    """
    from opsascode.cli._runs import open_history  # noqa: PLC0415 - keeps --help quick

    history = open_history(face)
    if history is None or not _may_be_abandoned(face, history):
        return history
    try:
        _close(face, history)
    except (OpsError, OSError) as error:
        click.echo(f"runs that were cut short cannot be closed now: {escape_line(str(error))}", err=True)
    return open_history(face)


def _may_be_abandoned(face: Face, history: History) -> bool:
    """Whether a closer look is worth its time: a run has no end, or is under way by its life and nobody holds it."""
    from opsascode.run import UNFINISHED, Query  # noqa: PLC0415 - keeps --help quick

    unfinished = history.list(Query(outcome=UNFINISHED, number=1))
    return bool(unfinished) or bool(face.state.dispatcher().abandoned(datetime.now(UTC)))


def _close(face: Face, history: History) -> None:
    from opsascode.run import LifeState, Rescue  # noqa: PLC0415 - keeps --help quick

    state = face.state
    rescue = Rescue(
        state=state,
        signer=state.signer(os.environ),
        dispatcher=state.dispatcher(),
        locks=state.lock_book(),
        clock=lambda: datetime.now(UTC),
        wait=lambda run: click.echo(f"run {run} was cut short: waiting for what is left of it to end", err=True),
    )
    for run in rescue.abandoned(history.unfinished()):
        found = rescue.close(run, _recorded(history, run))
        if found and found.state is LifeState.INDETERMINATE:
            click.echo(f"run {run} is closed as indeterminate: {escape_line(found.reason)}", err=True)
            ways = f"`opsascode runs resume {run}`, or take it back with `opsascode runs undo {run}`"
            click.echo(f"  go on with {ways}", err=True)


def _recorded(history: History, run: str) -> PastRun | None:
    try:
        return history.find(run)
    except UsageError:
        return None
