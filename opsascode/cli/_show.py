"""`opsascode show runbook`: what a runbook does, and how well it has done."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._abandoned import close_abandoned
from opsascode.cli._console import count, escape_line, seconds
from opsascode.cli._options import format_option
from opsascode.cli._runs import run_lines
from opsascode.cli._status import figure_lines, figures_json
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.cli._context import Face
    from opsascode.repo import Parameter, Runbook, Step
    from opsascode.run import Figures, RunSummary

_LAST_RUNS: Final = 5


@click.group()
def command() -> None:
    """Show one thing of the repository, and what the records say of it."""


@command.command("runbook")
@click.argument("name")
@format_option
@click.pass_obj
def show_runbook(face: Face, name: str) -> int:
    """Show what a runbook does (its NAME, or the path of its file), how well it has done, and its last runs."""
    from opsascode.run import Query, figures  # noqa: PLC0415 - keeps --help quick

    runbook = face.repository.runbook(name)
    history = close_abandoned(face)
    last = history.list(Query(runbook=runbook.name, number=_LAST_RUNS)) if history else ()
    told = tuple(each for each in figures(history) if each.runbook == runbook.name) if history else ()
    if face.json:
        click.echo(json.dumps(_json(runbook, told, last)))
        return ExitCode.DONE
    click.echo("\n".join(_lines(runbook, told, last)))
    return ExitCode.DONE


def _lines(runbook: Runbook, told: Sequence[Figures], last: Sequence[RunSummary]) -> Iterator[str]:
    about = runbook.metadata
    yield f"{escape_line(about.title)} ({runbook.name}{f' {about.version}' if about.version else ''})"
    if about.description:
        yield from (f"  {escape_line(line)}".rstrip() for line in about.description.strip().splitlines())
    yield f"  file        {escape_line(runbook.source.path)}"
    if about.owners:
        yield f"  owners      {escape_line(', '.join(about.owners))}"
    for key, value in about.labels.items():
        yield f"  label       {escape_line(f'{key}: {value}')}"
    if runbook.severity:
        yield f"  severity    {', '.join(map(str, runbook.severity))}"
    for each in runbook.prerequisites:
        yield f"  needs       {escape_line(each)}"
    yield from _how(runbook)
    for parameter in runbook.parameters:
        yield f"  parameter   {_parameter(parameter)}"
    yield ""
    width = max(len(step.id) for step in runbook.steps)
    for number, step in enumerate(runbook.steps, start=1):
        notes = _notes(step)
        note = f"  [{', '.join(notes)}]" if notes else ""
        yield escape_line(f"  {number:>3}. {step.id:<{width}}  {step.kind.value:<8}  {step.title}{note}")
    yield ""
    yield from figure_lines(told)
    if last:
        yield ""
        yield from run_lines(last)


def _how(runbook: Runbook) -> Iterator[str]:
    targets = runbook.targets
    limits = [
        *([f"at most {count(targets.max_hosts, 'host')}"] if targets.max_hosts else []),
        *([f"at most {targets.max_percent:f}%"] if targets.max_percent is not None else []),
        *([f"a wave may lose {targets.max_fail_percent:f}%"] if targets.max_fail_percent is not None else []),
    ]
    yield f"  targets     {escape_line(', '.join((targets.hosts, *limits)))}"
    yield f"  waves       {', then '.join(map(str, targets.waves)) or 'all at once'}"
    between = targets.between_waves
    if between:
        parts = [
            *([f"a pause of {seconds(between.pause.total_seconds())}"] if between.pause else []),
            *(f"check {step.id}" for step in between.checks),
            *(["a person's word"] if between.confirm else []),
        ]
        yield escape_line(f"  between     {', '.join(parts)}")
    if runbook.approval.required:
        number = runbook.approval.required
        people = f"{number} {'person' if number == 1 else 'people'} other than who starts it"
        role = f", with the role {runbook.approval.role}" if runbook.approval.role else ""
        yield escape_line(f"  approval    {people}{role}")
    if runbook.locks:
        yield f"  locks       {escape_line(', '.join(runbook.locks))}"
    yield f"  on failure  {runbook.on_failure.value}, undo scope {runbook.undo_scope.value}"
    if runbook.timeout:
        yield f"  timeout     {seconds(runbook.timeout.total_seconds())}"
    if runbook.estimated_duration:
        yield f"  estimated   {seconds(runbook.estimated_duration.total_seconds())}"


def _parameter(parameter: Parameter) -> str:
    kind = parameter.limits.type.value
    rest = (
        "secret"
        if parameter.secret
        else "required"
        if parameter.required
        else f"default {json.dumps(parameter.default, ensure_ascii=False)}"
    )
    described = f": {parameter.description}" if parameter.description else ""
    return escape_line(f"{parameter.name} ({kind}, {rest}){described}")


def _notes(step: Step) -> list[str]:
    return [
        note
        for note, said in (
            ("if", step.when),
            ("loop", step.loop is not None),
            ("can be undone", step.undo),
            ("never resumed", not step.resumable),
        )
        if said
    ]


def _json(runbook: Runbook, told: Sequence[Figures], last: Sequence[RunSummary]) -> dict[str, object]:
    about, targets = runbook.metadata, runbook.targets
    return {
        "runbook": runbook.name,
        "title": about.title,
        "version": about.version,
        "description": about.description,
        "owners": list(about.owners),
        "labels": dict(about.labels),
        "path": runbook.source.path,
        "parameters": [
            {
                "name": each.name,
                "type": each.limits.type.value,
                "secret": each.secret,
                "required": each.required,
                "default": None if each.secret else each.default,
                "description": each.description,
            }
            for each in runbook.parameters
        ],
        "targets": {
            "hosts": targets.hosts,
            "max_hosts": targets.max_hosts,
            "max_percent": None if targets.max_percent is None else f"{targets.max_percent:f}",
            "max_fail_percent": None if targets.max_fail_percent is None else f"{targets.max_fail_percent:f}",
            "waves": [str(wave) for wave in targets.waves],
        },
        "approval": {"required": runbook.approval.required, "role": runbook.approval.role},
        "locks": list(runbook.locks),
        "on_failure": runbook.on_failure.value,
        "undo_scope": runbook.undo_scope.value,
        "steps": [
            {"id": each.id, "title": each.title, "kind": each.kind.value, "undo": each.undo is not None}
            for each in runbook.steps
        ],
        "figures": figures_json(told[0]) if told else None,
        "last_runs": [
            {"run": each.run, "outcome": each.outcome, "mode": each.mode, "started": each.started.isoformat()}
            for each in last
        ],
    }
