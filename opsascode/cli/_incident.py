"""`opsascode incident`: declare an incident, end it, and see what is open."""

from __future__ import annotations

import json
import re
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import escape_line, stamp
from opsascode.cli._options import format_option
from opsascode.errors import ExitCode, OpsError, UsageError

if TYPE_CHECKING:
    from opsascode.cli._context import Face
    from opsascode.cli._gate_desk import GateDesk
    from opsascode.repo import Policies
    from opsascode.run import Incident

_RANK: Final = re.compile("[0-9]")


@click.group("incident")
def command() -> None:
    """Declare incidents, and end them: each is an entry of the ledger, signed by this machine, with your account.

    While an incident of a bad enough rank is open on a service, its gate blocks changes.
    """


@command.command("open")
@click.option("--service", required=True, metavar="NAME", help="The service that is affected.")
@click.option(
    "--rank", "rank", required=True, metavar="RANK", help="How bad: 0, the worst, to 4, or a name of the scheme (P1)."
)
@click.option("--title", required=True, metavar="TEXT", help="What is wrong, in one line.")
@format_option
@click.pass_obj
def declare(face: Face, service: str, rank: str, title: str) -> int:
    """Declare an incident on a service."""
    from opsascode.policy import OpenIncident  # noqa: PLC0415 - keeps --help quick

    desk, now = _desk(face), datetime.now(UTC).replace(microsecond=0)
    _check_service(desk, service)
    opening = OpenIncident(
        id=f"inc-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        service=service,
        rank=_rank(desk, rank),
        title=title,
        opened=now,
        by=desk.actor.user,
    )
    entry = desk.incidents().declare(opening, desk.actor, desk.signer())
    desk.share()
    if face.json:
        click.echo(json.dumps({**opening.to_json(), "entry": entry}))
        return ExitCode.DONE
    click.echo(f"{opening.id} is open on {escape_line(service)}, rank {opening.rank}: {escape_line(title)}")
    click.echo(f"recorded as ledger entry {entry}; end it: opsascode incident resolve {opening.id}")
    return ExitCode.DONE


@command.command("resolve")
@click.argument("incident")
@click.option("--note", default="", metavar="TEXT", help="How it ended; it is recorded.")
@format_option
@click.pass_obj
def resolve(face: Face, incident: str, note: str) -> int:
    """End an incident."""
    desk, now = _desk(face), datetime.now(UTC).replace(microsecond=0)
    desk.take_in()
    book = desk.incidents()
    found = book.find(incident).opening
    entry = book.resolve(incident, note, desk.actor, desk.signer(), now=now)
    desk.share()
    if face.json:
        click.echo(json.dumps({**found.to_json(), "resolved": f"{now:%Y-%m-%dT%H:%M:%SZ}", "entry": entry}))
        return ExitCode.DONE
    click.echo(f"{found.id} on {escape_line(found.service)} is resolved")
    click.echo(f"recorded as ledger entry {entry}")
    return ExitCode.DONE


@command.command("list")
@click.option("--all", "every", is_flag=True, help="Those that were resolved too.")
@click.option("--service", metavar="NAME", help="Only those of one service.")
@format_option
@click.pass_obj
def listing(face: Face, every: bool, service: str | None) -> int:  # noqa: FBT001 - click passes options by name
    """Show the incidents that are open."""
    desk = _desk(face)
    desk.take_in()
    found = [
        each
        for each in desk.incidents().incidents()
        if (every or each.resolved is None) and service in {None, each.opening.service}
    ]
    if face.json:
        click.echo(json.dumps([each.to_json() for each in found]))
        return ExitCode.DONE
    for each in found:
        click.echo(_line(each))
    if not found:
        click.echo("no incident is open" if not every else "no incident was declared")
    return ExitCode.DONE


def _line(incident: Incident) -> str:
    opening = incident.opening
    said = f"{opening.id}  rank {opening.rank}  {escape_line(opening.service)}: {escape_line(opening.title)}"
    said += f" (opened {stamp(opening.opened)} by {escape_line(opening.by)}"
    if incident.resolved is not None:
        said += f", resolved {stamp(incident.resolved)} by {escape_line(incident.resolved_by)}"
        said += f": {escape_line(incident.note)}" if incident.note else ""
    return f"{said})"


def _desk(face: Face) -> GateDesk:
    from opsascode.cli._gate_desk import GateDesk  # noqa: PLC0415 - keeps --help quick

    return GateDesk(face=face)


def _check_service(desk: GateDesk, service: str) -> None:
    """Refuse a service that no policy knows, as its incidents would stop nothing; without policies any will do."""
    from opsascode.policy import policies_asked  # noqa: PLC0415 - keeps --help quick

    policies = _policies(desk)
    if policies.reliability:
        policies_asked(policies, service)


def _policies(desk: GateDesk) -> Policies:
    """Give the policies that hold; where they cannot be had, an incident is declared all the same."""
    from opsascode.repo import Policies  # noqa: PLC0415 - keeps --help quick

    try:
        return desk.slo.policies
    except OpsError as error:
        click.echo(f"the policies cannot be read, so names are not checked: {escape_line(str(error))}", err=True)
        return Policies()


def _rank(desk: GateDesk, word: str) -> int:
    """Read a rank: a number, or what a severity scheme of the repository calls it.

    Raises:
        UsageError: it is neither.
    """
    if _RANK.fullmatch(word):
        return int(word)
    from opsascode.repo import did_you_mean  # noqa: PLC0415 - keeps --help quick

    known: dict[str, set[int]] = {}
    for scheme in _policies(desk).severities:
        for level in scheme.levels:
            for name in (level.label, *level.aliases):
                known.setdefault(name.casefold(), set()).add(level.rank)
    ranks = known.get(word.casefold(), set())
    if len(ranks) > 1:
        raise UsageError(f"{word!r} is rank {' and '.join(map(str, sorted(ranks)))}", advice="say the rank: --rank 1")
    if not ranks:
        advice = did_you_mean(word, known) or "a rank is a number from 0, the worst, to 4"
        raise UsageError(f"{word!r} is no rank", advice=advice)
    return ranks.pop()
