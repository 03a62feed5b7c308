"""`opsascode slo status`: how much of each error budget is gone, and how fast does it burn?"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import escape_line
from opsascode.cli._files import write_file
from opsascode.cli._options import format_option
from opsascode.cli._slo_desk import SloDesk, read_moment, read_snapshots
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.cli._context import Face
    from opsascode.cli._slo_shown import Shown
    from opsascode.repo import ReliabilityPolicy
    from opsascode.slo import SloSnapshot


@click.command()
@click.argument("services", metavar="[SERVICE]...", nargs=-1)
@click.option("--at", "moment", metavar="TIME", default=None,
              help="As of this moment: RFC 3339 with an offset, 2026-01-31T14:00:00Z. Not ahead of now.")  # fmt: skip
@click.option("--save", "save", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE",
              help="Write what was measured to a file, for --snapshot.")  # fmt: skip
@click.option("--snapshot", "snapshot", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE",
              help="Judge what was measured then, from a file of --save. Prometheus is not asked.")  # fmt: skip
@click.option("--record", is_flag=True, help="Put what was measured into the ledger of this machine, too.")
@format_option
@click.pass_obj
def command(
    face: Face, services: Sequence[str], moment: str | None, save: Path | None, snapshot: Path | None, *, record: bool
) -> int:
    """Show each promise of a SERVICE (default: all): its target, what was reached, the budget, and what fires.

    In the bar, the marks are where the policy warns and where it is critical. A budget of which more is gone than there
    was has less than 0 % left.

    Exit code 0: it was answered, however bad the answer is; for a decision, ask `opsascode slo gate`. 6: something
    could not be measured, as Prometheus cannot be asked or refuses a query; what could be measured is shown.
    """
    from opsascode.cli._slo_shown import shown_json, status_lines  # noqa: PLC0415 - keeps --help quick

    _require_one_source(moment, save, snapshot, record=record)
    desk = SloDesk(face=face)
    policies = desk.of_services(services)
    at = read_moment(moment, datetime.now(UTC))
    snapshots = read_snapshots(snapshot) if snapshot else desk.snapshots(policies, at)
    shown = desk.shown(policies, snapshots)
    if save:
        _save(save, snapshots)
    recorded = desk.record(snapshots) if record else ()
    if face.json:
        body = {"services": [shown_json(each) for each in shown], "recorded": list(recorded)}
        click.echo(json.dumps(body))
    else:
        click.echo("\n".join(status_lines(shown)))
        if recorded:
            click.echo(f"recorded in the ledger: entry {', '.join(map(str, recorded))}")
    for name in _without(policies, snapshots):
        click.echo(f"not in the snapshot: {escape_line(name)}", err=True)
    return ExitCode.DONE if _answered(shown, policies) else ExitCode.INDETERMINATE


def _require_one_source(moment: str | None, save: Path | None, snapshot: Path | None, *, record: bool) -> None:
    if snapshot and (moment or save or record):
        raise UsageError(
            "--snapshot says what was measured; --at, --save and --record are for measuring",
            advice="leave one of them out",
        )


def _save(path: Path, snapshots: Sequence[SloSnapshot]) -> None:
    from opsascode.slo import snapshots_json  # noqa: PLC0415 - keeps --help quick

    write_file(path, json.dumps(snapshots_json(snapshots), indent=1, ensure_ascii=False) + "\n", "what was measured")


def _without(policies: Sequence[ReliabilityPolicy], snapshots: Sequence[SloSnapshot]) -> list[str]:
    taken = {each.policy for each in snapshots}
    return [each.metadata.name for each in policies if each.metadata.name not in taken]


def _answered(shown: Sequence[Shown], policies: Sequence[ReliabilityPolicy]) -> bool:
    return len(shown) == len(policies) and all(each.answered for each in shown)
