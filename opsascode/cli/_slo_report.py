"""`opsascode slo report`: what is shown in a review of reliability, as Markdown and as a picture?

The same policies, moment and history give the same bytes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import stamp
from opsascode.cli._files import write_file
from opsascode.cli._gate_desk import GateDesk
from opsascode.cli._options import format_option
from opsascode.cli._slo_desk import SloDesk, read_moment, read_snapshots
from opsascode.cli._slo_shown import (
    STATUS_HEADS,
    burn_words,
    changed_notes,
    firing,
    levels_of,
    markdown_table,
    markdown_text,
    percent,
    shown_json,
    status_rows,
    target_notes,
    used,
    window_words,
)
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.cli._context import Face
    from opsascode.cli._slo_shown import Shown
    from opsascode.run import Incident
    from opsascode.slo import BurnDown, Course, SloSnapshot

_TITLE: Final = "Reliability review"
_LEVELS: Final = ("exhausted", "critical", "warn", "ok", "no_data")


@click.command()
@click.argument("services", metavar="[SERVICE]...", nargs=-1)
@click.option("--at", "moment", metavar="TIME", default=None,
              help="As of this moment: RFC 3339 with an offset, 2026-01-31T14:00:00Z. Not ahead of now.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE.md",
              help="Write the report to a file [default: standard output].")  # fmt: skip
@click.option("--picture", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE.svg",
              help="Draw how the budgets went down over their window; the report shows the picture.")  # fmt: skip
@click.option("--snapshot", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE",
              help="Report on what was measured then, from a file of `slo status --save`.")  # fmt: skip
@click.option("--compare", type=click.Path(dir_okay=False, path_type=Path), default=None, metavar="FILE",
              help="Say what changed since an earlier file of `slo status --save`.")  # fmt: skip
@format_option
@click.pass_obj
def command(  # noqa: PLR0913 - one parameter for each option
    face: Face,
    services: Sequence[str],
    *,
    moment: str | None,
    out: Path | None,
    picture: Path | None,
    snapshot: Path | None,
    compare: Path | None,
) -> int:
    """Write a report of each SERVICE (default: all) for a review, in Markdown.

    With --format json, the numbers alone.

    Exit code 0: it was written. 6: something could not be measured; the report says what.
    """
    if snapshot and (moment or picture):
        raise UsageError("a snapshot is of one moment: it has neither --at nor a history for --picture")
    desk = SloDesk(face=face)
    policies = desk.of_services(services)
    at = read_moment(moment, datetime.now(UTC))
    snapshots = read_snapshots(snapshot) if snapshot else desk.snapshots(policies, at)
    earlier = read_snapshots(compare) if compare else ()
    shown = desk.shown(policies, snapshots)
    if picture:
        _draw(desk, shown, picture)
    if face.json:
        click.echo(json.dumps({"services": [shown_json(each) for each in shown]}))
    else:
        incidents = GateDesk(face=face).incidents().incidents()
        _tell("\n".join(_report(shown, earlier, incidents, _link(picture, out))) + "\n", out)
    answered = len(shown) == len(policies) and all(each.answered for each in shown)
    return ExitCode.DONE if answered else ExitCode.INDETERMINATE


def _tell(text: str, out: Path | None) -> None:
    if out is None:
        click.echo(text, nl=False)
    else:
        write_file(out, text, "the report")


def _link(picture: Path | None, out: Path | None) -> str | None:
    """Give the picture's address as the report says it: beside the report where it lies beside it."""
    if picture is None:
        return None
    if out is not None and picture.resolve().parent == out.resolve().parent:
        return picture.name
    return picture.as_posix()


def _draw(desk: SloDesk, shown: Sequence[Shown], path: Path) -> None:
    from opsascode.slo import PrometheusError, burn_down_svg, courses  # noqa: PLC0415 - keeps --help quick

    charts: list[BurnDown] = []
    try:
        found = courses([(each.policy, each.status) for each in shown], desk.client())
        by_name = {(each.policy, each.target): each for each in found}
        charts = [chart for each in shown for chart in _charts(each, by_name)]
    except PrometheusError as error:
        charts = [chart for each in shown for chart in _charts(each, {}, str(error))]
    write_file(path, burn_down_svg(_TITLE, charts), "the picture")


def _charts(shown: Shown, found: dict[tuple[str, str], Course], problem: str | None = None) -> Iterator[BurnDown]:
    from opsascode.slo import BurnDown  # noqa: PLC0415 - keeps --help quick

    for target in shown.status.targets:
        course = found.get((shown.status.policy, target.id))
        yield BurnDown(
            title=f"{shown.status.service}: {target.title}, {percent(target.target)} over {window_words(shown.policy)}",
            start=target.seen.start,
            end=target.seen.end,
            moments=course.moments if course else (),
            warn=shown.policy.thresholds.warn,
            critical=shown.policy.thresholds.critical,
            problem=course.problem if course else problem,
        )


def _report(
    shown: Sequence[Shown], earlier: Sequence[SloSnapshot], incidents: Sequence[Incident], picture: str | None
) -> Iterator[str]:
    yield f"# {_TITLE}"
    yield ""
    moments = sorted({each.status.taken for each in shown})
    counts = levels_of(shown)
    told = ", ".join(f"{counts[level]} {level}" for level in _LEVELS if level in counts)
    yield f"As of {', '.join(map(stamp, moments)) or 'no moment'}. Services by budget: {told or 'none'}."
    if picture:
        yield ""
        yield f"![How the error budgets went down]({picture.replace(' ', '%20').replace(')', '%29')})"
    before = {each.policy: each for each in earlier}
    for each in shown:
        yield from _service(each, before.get(each.status.policy), list(_incidents(each, incidents)))


def _service(shown: Shown, before: SloSnapshot | None, incidents: Sequence[str]) -> Iterator[str]:
    status, snapshot = shown.status, shown.status.snapshot
    yield ""
    yield f"## {markdown_text(status.service)}"
    yield ""
    commit = f", commit {snapshot.commit[:12]}" if snapshot.commit else ""
    window = window_words(shown.policy)
    yield f"Policy {markdown_text(f'{status.policy}{commit}')}; the budgets are for {markdown_text(window)}."
    yield ""
    if snapshot.unreachable is not None:
        yield f"Could not be measured: {markdown_text(snapshot.unreachable)}"
    else:
        yield from markdown_table(STATUS_HEADS, status_rows(shown))
    yield from _list("Notes", [*_notes(shown), *changed_notes(shown), *snapshot.warnings])
    fires = [(burn.window.level.value, each.id, burn_words(burn)) for each in status.targets for burn in firing(each)]
    yield from _list("Firing", [f"{level}: {name} {words}" for level, name, words in fires], none="Nothing fires.")
    yield from _list("Due", [each.sentence() for each in shown.due], none="Nothing is due.")
    yield from _list("Incidents", incidents, none="No incident was declared.")
    if before is not None:
        yield from _list(f"Since {stamp(before.taken)}", list(_changes(shown, before)), none="No target has changed.")


def _incidents(shown: Shown, incidents: Sequence[Incident]) -> Iterator[str]:
    """Name the incidents of a service that were open in the window of its budgets."""
    status = shown.status
    start = min((each.seen.start for each in status.targets), default=status.taken)
    for each in incidents:
        opening, ended = each.opening, each.resolved
        known = opening.opened <= status.taken and (ended is None or ended >= start)
        if opening.service == status.service and known:
            until = f"until {stamp(ended)}" if ended is not None and ended <= status.taken else "and is open"
            yield f"{opening.id}, rank {opening.rank}: {opening.title}, from {stamp(opening.opened)} {until}"


def _notes(shown: Shown) -> Iterator[str]:
    for each in shown.status.targets:
        for note in target_notes(each, unreachable=shown.status.snapshot.unreachable is not None):
            yield f"{each.id}: {note}"


def _list(head: str, lines: Sequence[str], *, none: str = "") -> Iterator[str]:
    if lines or none:
        yield ""
        yield f"**{head}**"
        yield ""
        yield from [f"- {markdown_text(line)}" for line in lines] or [none]


def _changes(shown: Shown, before: SloSnapshot) -> Iterator[str]:
    """Say which targets changed since an earlier snapshot, and how much of each budget was used then, judged as now."""
    from opsascode.slo import status_of  # noqa: PLC0415 - keeps --help quick

    then = {each.id: each for each in before.targets}
    judged = {each.id: each for each in status_of(shown.policy, before).targets}
    for each in shown.status.targets:
        if each.id not in then:
            yield f"{each.id}: new, {percent(each.target)}"
            continue
        if then[each.id].target != each.target:
            yield f"{each.id}: the target was {percent(then[each.id].target)}, and is {percent(each.target)}"
        was, now = used(judged[each.id].consumed), used(each.consumed)
        yield f"{each.id}: by the target that holds now, {was} of the budget was used then, and {now} is"
    for name in sorted(then.keys() - {each.id for each in shown.status.targets}):
        yield f"{name}: no longer promised (was {percent(then[name].target)})"
