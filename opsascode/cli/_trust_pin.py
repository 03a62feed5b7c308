"""`opsascode trust pin`: tell this machine which trust root to believe in; the ledger remembers who did."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from opsascode.cli._execute import account
from opsascode.cli._options import format_option
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from opsascode.cli._context import Face
    from opsascode.run import RootPin


@click.command()
@click.argument("digest", metavar="[sha256:...]", default="")
@click.option("--tofu", is_flag=True, help="Take the digest from the repository itself, unchecked (for trying out).")
@click.option("--replace", is_flag=True, help="Put it in place of another pin: from then on others are believed.")
@format_option
@click.pass_obj
def pin(face: Face, /, digest: str, *, tofu: bool, replace: bool) -> int:
    """Believe in the trust root whose version 1 has this digest, from now on.

    Get the digest from somebody who holds the root, by another way than Git.
    """
    from opsascode.proof import payload_digest, read_chain, seal  # noqa: PLC0415 - keeps --help quick
    from opsascode.repo import committed_trust  # noqa: PLC0415 - likewise
    from opsascode.run import Pins, moor, pin_statement  # noqa: PLC0415 - likewise

    if bool(digest) == tofu:
        raise UsageError("say which trust root to believe in: opsascode trust pin sha256:…", advice="or --tofu")
    envelopes = committed_trust(face.repository.root, "HEAD")
    if tofu and not envelopes:
        raise UsageError("no trust root is committed here", advice="make one: opsascode trust init")
    wanted = payload_digest(envelopes[0]) if tofu else digest
    if envelopes:
        read_chain(envelopes, pin=wanted)
    pins, now = Pins(face.state), datetime.now(UTC)
    before = pins.read()
    if before is not None and before.repository == wanted and before.tofu <= tofu:
        _tell(face, before, committed=bool(envelopes))
        return ExitCode.DONE
    if before is not None and before.repository != wanted and not replace:
        raise UsageError(
            f"this machine believes in {before.repository} already ({before.place})",
            advice="if the whole team began anew, say --replace; else somebody wants you to trust others",
        )
    pins.check(wanted)
    signer = face.state.signer(os.environ)
    about = {"repository": face.state.scope, "by": account(), "machine": socket.gethostname()}
    record = pin_statement(wanted, before=before, tofu=tofu, about=about, now=now)
    face.state.ledger(signer).append(seal(record, signer))
    pins.write(wanted, now, tofu=tofu)
    after = pins.read()
    if after is not None:
        moor(face.repository, after)
        _tell(face, after, committed=bool(envelopes))
    return ExitCode.DONE


def _tell(face: Face, found: RootPin, *, committed: bool) -> None:
    if face.json:
        click.echo(json.dumps({"repository": found.repository, "place": found.place, "tofu": found.tofu}))
        return
    click.echo(f"pinned {found.repository} ({found.place})")
    if found.tofu:
        click.echo("  nobody vouched for it: compare it with somebody who holds the root, and pin it by its digest")
    if not committed:
        click.echo("  no trust root is committed here yet")
