"""`opsascode slo import`: turn documents of OpenSLO and Sloth into reliability policies."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsascode.cli._files import read_file
from opsascode.cli._options import format_option
from opsascode.cli._slo_carried import place_texts, say_notes
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.cli._context import Face
    from opsascode.slo import Carried

_MOST_BYTES = 4 * 1024 * 1024


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", default="-", metavar="DIR|-", show_default=True,
              help="Where to write one file for each policy, such as policies/; - is standard output.")  # fmt: skip
@click.option("--window", default="30d", show_default=True, metavar="LENGTH",
              help="The window of the budget where a document names none, as Sloth's never do.")  # fmt: skip
@click.option("--notify", default=None, metavar="WHOM",
              help="Who stands in the escalation chain where a document does not say it: team:sre.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit code 3 where anything could not be carried over as it is.")
@format_option
@click.pass_obj
def command(face: Face, files: Sequence[Path], out: str, window: str, notify: str | None, strict: bool) -> int:  # noqa: FBT001 - click passes options by name
    """Turn FILES of OpenSLO v1 or Sloth (prometheus/v1) into reliability policies.

    Whatever they say that a policy cannot hold, or holds differently, is told with its place. OpenSLO documents may
    refer to each other across FILES.
    """
    from opsascode.repo import Rolling  # noqa: PLC0415 - keeps --help quick
    from opsascode.slo import Wishes, documents_text, import_slos  # noqa: PLC0415 - keeps --help quick

    wishes = Wishes(window=Rolling(length=_length(window)), notify=notify)
    carried = import_slos(_contents(files), wishes)
    if face.json:
        click.echo(json.dumps(_json(carried), default=str))
    else:
        texts = {f"{each['metadata']['name']}.yml": documents_text([each]) for each in carried.documents}
        place_texts(texts, out, together=documents_text(carried.documents))
        say_notes(carried.notes)
    return ExitCode.INVALID if strict and carried.notes else ExitCode.DONE


def _length(text: str) -> timedelta:
    from opsascode.repo import parse_duration  # noqa: PLC0415 - keeps --help quick

    try:
        found = parse_duration(text)
    except ValueError:
        found = timedelta()
    if not found:
        raise UsageError(f"«{text}» is no length", advice="write one such as 30d or 28d")
    return found


def _contents(files: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        yield str(file), read_file(file, _MOST_BYTES, advice="split it into several files")


def _json(carried: Carried) -> dict[str, object]:
    notes = [
        {
            "path": each.position.path,
            "line": each.position.line,
            "column": each.position.column,
            "code": each.code,
            "message": each.message,
            "mend": each.mend,
        }
        for each in carried.notes
    ]
    return {"documents": list(carried.documents), "notes": notes}
