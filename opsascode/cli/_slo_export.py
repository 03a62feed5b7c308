"""`opsascode slo export`: turn reliability policies into OpenSLO documents."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from opsascode.cli._options import format_option
from opsascode.cli._slo_carried import place_texts, say_notes
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.cli._context import Face


@click.command()
@click.argument("services", nargs=-1)
@click.option("--as", "form", type=click.Choice(["openslo"]), default="openslo", show_default=True,
              help="The form to write: OpenSLO v1.")  # fmt: skip
@click.option("--out", default="-", metavar="DIR|-", show_default=True,
              help="Where to write one file for each policy; - is standard output.")  # fmt: skip
@format_option
@click.pass_obj
def command(face: Face, services: Sequence[str], *, form: str, out: str) -> int:  # noqa: ARG001 - there is one form so far
    """Write the policies of SERVICES, or all, as OpenSLO v1 documents.

    What OpenSLO has no word for stands in annotations and is told; `opsascode slo import` reads it back.
    """
    from opsascode.cli._slo_desk import SloDesk  # noqa: PLC0415 - keeps --help quick
    from opsascode.slo import documents_text, export_openslo  # noqa: PLC0415 - keeps --help quick

    policies = SloDesk(face=face).of_services(services)
    whole = export_openslo(policies)
    if face.json:
        click.echo(json.dumps({"documents": list(whole.documents)}, default=str))
    else:
        texts = {f"{each.metadata.name}.yml": documents_text(export_openslo([each]).documents) for each in policies}
        place_texts(texts, out, together=documents_text(whole.documents))
        say_notes(whole.notes)
    return ExitCode.DONE
