"""`opsascode runs logs`: what each host said."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import escape_line, escape_text, seconds, wants_colour
from opsascode.cli._options import format_option
from opsascode.cli._runs import command as runs
from opsascode.cli._runs import need_history
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from opsascode.cli._context import Face
    from opsascode.run import Evidence, PastStage, Spoken

_COLOURS: Final = {"changed": "yellow", "failed": "red", "unreachable": "red", "skipped": "cyan", "ignored": "magenta"}


@runs.command("logs")
@click.argument("run", default="latest")
@click.argument("host", required=False)
@click.option("--step", metavar="ID", default=None, help="Only this step; undo.ID is the undo of step ID.")
@click.option("--full", is_flag=True, help="Whole texts, where only the beginning would be shown.")
@click.option("--raw", is_flag=True, help="The bytes one host gave in one step, untouched, into a file or pipe.")
@format_option
@click.pass_obj
def logs(face: Face, /, run: str, host: str | None, step: str | None, *, full: bool, raw: bool) -> int:
    """Show what the hosts of a run said: all of them, or one HOST.

    Control characters are shown as escapes; --raw gives the bytes themselves, but never to a terminal.
    """
    if raw and (host is None or step is None or face.json):
        raise UsageError("--raw gives the bytes of one host in one step", advice="name a HOST and --step ID")
    if raw and sys.stdout.isatty():
        raise UsageError("what a host said is not shown raw at a terminal", advice="send it into a file: > FILE")
    history = need_history(face)
    past = history.find(run)
    files = history.files(past)
    for fault in files.faults:
        click.echo(escape_line(fault), err=True)
    if files.faults:
        return ExitCode.INTEGRITY
    for note in files.notes:
        click.echo(f"note: {escape_line(note)}", err=True)
    if past.end is None:
        click.echo("note: the run has no end record yet: what follows is not sealed", err=True)
    found = _chosen(_spoken(history.directory(past), files.stages, ended=past.end is not None), host, step)
    if raw:
        return _give_raw(found)
    said = False
    for each in found:
        said = True
        click.echo(json.dumps(_json(each, full=full)) if face.json else "\n".join(_lines(each, full=full)))
    if not said and not face.json:
        click.echo("nothing was said" if host is None and step is None else "nothing was said by that host or step")
    return ExitCode.DONE


def _spoken(directory: Path, stages: Sequence[PastStage], *, ended: bool) -> Iterator[Spoken]:
    from opsascode.run import spoken, spoken_so_far  # noqa: PLC0415 - keeps --help quick

    return spoken(stages) if ended else spoken_so_far(directory)


def _chosen(found: Iterable[Spoken], host: str | None, step: str | None) -> Iterator[Spoken]:
    for each in found:
        if (host is None or each.result.host == host) and (step is None or each.result.step == step):
            yield each


def _give_raw(found: Iterable[Spoken]) -> int:
    said = False
    for each in found:
        evidence = each.result.output
        if evidence is None:
            continue
        data = each.whole(evidence)
        if data is None:
            raise UsageError(f"only the beginning was kept: {len(evidence.text)} of {evidence.bytes} bytes or more")
        said = True
        sys.stdout.buffer.write(data)
    if not said:
        raise UsageError("that host said nothing in that step", advice="`opsascode runs show` names hosts and steps")
    return ExitCode.DONE


def _lines(spoken: Spoken, *, full: bool) -> Iterator[str]:
    result = spoken.result
    status = result.status.value
    word = click.style(status, fg=_COLOURS.get(status, "green")) if wants_colour() else status
    took = seconds((result.ended - result.started).total_seconds())
    name = result.step or spoken.task
    task = f"  [{spoken.task}]" if spoken.task not in {"", name} and not spoken.task.startswith(f"{name} | ") else ""
    rc = "" if result.rc is None else f"  rc={result.rc}"
    yield f"{escape_line(result.host)}  {escape_line(name)}  {word}  {took}{rc}{escape_line(task)}"
    if result.message and result.output is None:
        yield from _indented(result.message)
    for evidence in (result.output, result.diff):
        if evidence is not None:
            yield from _text(spoken, evidence, full=full)


def _text(spoken: Spoken, evidence: Evidence, *, full: bool) -> Iterator[str]:
    data = spoken.whole(evidence) if full else None
    if data is not None:
        yield from _indented(data.decode(errors="backslashreplace"))
        return
    yield from _indented(evidence.text)
    if len(evidence.text.encode(errors="surrogateescape")) < evidence.bytes:
        more = "the rest was not kept" if full else "--full shows all of it"
        yield f"    … {evidence.bytes:,} bytes in all: {more}"


def _indented(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield f"    {escape_text(line)}".rstrip()


def _json(spoken: Spoken, *, full: bool) -> dict[str, object]:
    result = spoken.result
    return {
        "host": result.host,
        "step": result.step,
        "task": spoken.task,
        "phase": spoken.phase,
        "stage": spoken.stage,
        "status": result.status.value,
        "message": result.message,
        "rc": result.rc,
        "started": result.started.isoformat(timespec="milliseconds"),
        "ended": result.ended.isoformat(timespec="milliseconds"),
        "output": _evidence_json(spoken, result.output, full=full),
        "diff": _evidence_json(spoken, result.diff, full=full),
    }


def _evidence_json(spoken: Spoken, evidence: Evidence | None, *, full: bool) -> dict[str, object] | None:
    if evidence is None:
        return None
    data = spoken.whole(evidence) if full else None
    text = evidence.text if data is None else data.decode(errors="backslashreplace")
    return {"text": text, "bytes": evidence.bytes, "sha256": evidence.sha256}
