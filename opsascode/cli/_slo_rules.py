"""`opsascode slo rules`: rules for Prometheus, their unit tests, and dashboards, made from the policies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsascode.cli._console import count, escape_line, escape_text
from opsascode.cli._options import format_option
from opsascode.cli._slo_desk import SloDesk
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.cli._context import Face
    from opsascode.slo import PlacedFile, RuleFile


@click.command()
@click.argument("services", metavar="[SERVICE]...", nargs=-1)
@click.option("--out", "directory", type=click.Path(file_okay=False, path_type=Path), default=None, metavar="DIR",
              help="Write SERVICE.rules.yml, SERVICE.test.yml and SERVICE.dashboard.json there.")  # fmt: skip
@click.option("--check", "only_check", is_flag=True,
              help="Write nothing; exit code 1 and the differences where DIR is not what it would be.")  # fmt: skip
@format_option
@click.pass_obj
def command(face: Face, services: Sequence[str], directory: Path | None, *, only_check: bool) -> int:
    """Make recording and alerting rules of a SERVICE (default: all); without --out, print them.

    The unit tests beside them are for `promtool test rules DIR/*.test.yml`. An alert that could never fire, as it asks
    for more bad events than there are, is left out and told.
    """
    from opsascode.slo import Placed, compare, file_texts, place, rule_files  # noqa: PLC0415 - keeps --help quick

    if only_check and directory is None:
        raise UsageError("--check compares a directory", advice="opsascode slo rules --out DIR --check")
    desk = SloDesk(face=face)
    chosen = {each.service for each in desk.of_services(services)}
    files = tuple(each for each in rule_files(desk.policies) if each.service in chosen)
    if directory is None:
        _print(face, files)
        return ExitCode.DONE
    act = compare if only_check else place
    done = act(directory, file_texts(files), complete=not services)
    if face.json:
        click.echo(json.dumps(_json(directory, files, done)))
    else:
        click.echo("\n".join(_lines(directory, files, done, only_check=only_check)))
    differs = any(each.state is not Placed.UNCHANGED for each in done)
    return ExitCode.FAILED if only_check and differs else ExitCode.DONE


def _print(face: Face, files: Sequence[RuleFile]) -> None:
    from opsascode.slo import rules_text  # noqa: PLC0415 - keeps --help quick

    if face.json:
        click.echo(json.dumps({"files": [_file_json(each) for each in files]}))
        return
    click.echo(escape_text("---\n".join(rules_text(each) for each in files)), nl=False)


def _lines(
    directory: Path, files: Sequence[RuleFile], done: Sequence[PlacedFile], *, only_check: bool
) -> Iterator[str]:
    from opsascode.slo import Placed  # noqa: PLC0415 - keeps --help quick

    would = "differs" if only_check else "written"
    for each in done:
        if only_check:
            yield from map(escape_line, each.difference)
    for each in done:
        if each.state is Placed.WRITTEN:
            yield f"{would}: {escape_line(str(directory / each.name))}"
        elif each.state is Placed.LEFT_OVER:
            yield f"left over, no policy is about it: {escape_line(str(directory / each.name))}"
    same = sum(each.state is Placed.UNCHANGED for each in done)
    rules = sum(len(group.rules) for file in files for group in file.groups)
    yield f"{count(len(files), 'service')}, {count(rules, 'rule')}; {count(same, 'file')} unchanged"
    yield from (f"no alert: {escape_line(each.message)}" for file in files for each in file.dropped)


def _json(directory: Path, files: Sequence[RuleFile], done: Sequence[PlacedFile]) -> dict[str, object]:
    return {
        "directory": str(directory),
        "files": [{"name": each.name, "state": each.state.value, "difference": list(each.difference)} for each in done],
        "dropped": [each.message for file in files for each in file.dropped],
    }


def _file_json(file: RuleFile) -> dict[str, object]:
    return {
        "service": file.service,
        "name": file.name,
        "groups": [
            {
                "name": group.name,
                "interval": int(group.interval.total_seconds()),
                "rules": [
                    {
                        "record": rule.record,
                        "alert": rule.alert,
                        "expr": rule.expr,
                        "labels": dict(rule.labels),
                        "annotations": dict(rule.annotations),
                        "for": None if rule.wait is None else int(rule.wait.total_seconds()),
                        "keep_firing_for": None if rule.keep is None else int(rule.keep.total_seconds()),
                    }
                    for rule in group.rules
                ],
            }
            for group in file.groups
        ],
        "dropped": [each.message for each in file.dropped],
    }
