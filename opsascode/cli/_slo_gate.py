"""`opsascode slo gate`: may a change of a service go out now, and how did it do afterwards?"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

import click

from opsascode.cli._console import escape_line
from opsascode.cli._files import append_report, read_file
from opsascode.cli._github import github_option, show, summary_option
from opsascode.cli._options import format_option
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from opsascode.cli._context import Face
    from opsascode.cli._gate_desk import GateDesk
    from opsascode.cli._gate_text import Told
    from opsascode.policy import GateQuestion, OverrideFault
    from opsascode.run import Overrides


class GateWords(TypedDict):
    """What the command line says about a gate."""

    service: str
    change_class: str
    at: str | None
    snapshot: Path | None
    change: str
    overrides: tuple[Path, ...]
    strict: bool
    record: bool
    since: str | None
    summary: Path | None
    github: bool


_CLASS: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_MOST_CHANGE: Final = 1000
_MOST_FILE: Final = 17 * 1024 * 1024


@click.command()
@click.option("--service", required=True, metavar="NAME", help="The service that changes.")
@click.option(
    "--change-class",
    default="deploy",
    show_default=True,
    metavar="CLASS",
    help="What kind of change it is; a policy may exempt some, such as rollback.",
)
@click.option("--change", default="", metavar="TEXT", help="What goes out, such as a version; shown and recorded.")
@click.option("--at", metavar="TIME", help="Judge as of this moment (RFC 3339); nobody is asked to override then.")
@click.option(
    "--snapshot",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Judge what `slo status --save` wrote, and ask no Prometheus.",
)
@click.option(
    "--override",
    "overrides",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    metavar="FILE",
    help="A signed answer that `opsascode approve --out` wrote, or the request it is about.",
)
@click.option("--strict", is_flag=True, help="Exit with 4 on a warning too.")
@click.option(
    "--record/--no-record", default=True, help="Record the verdict in the ledger, and ask people [default: record]."
)
@click.option("--scoring", is_flag=True, help="Score how the change did, by gate.scoring of the policy.")
@click.option("--since", metavar="TIME", help="With --scoring: when the change was out (RFC 3339).")
@summary_option
@github_option
@format_option
@click.pass_obj
def command(face: Face, /, *, scoring: bool, **words: Unpack[GateWords]) -> int:
    """Say whether a change of a service may go out now: pass, warn or block, with every reason.

    Asked are error budgets, pages that burn, open incidents and freeze windows, as the service's reliability policies
    say. A gate that blocks can be overridden by people: `opsascode approve` with the id that is shown.

    Exit code 0: it may (also with a warning, without --strict); 4: it may not.
    """
    from opsascode.cli._gate_desk import GateDesk  # noqa: PLC0415 - keeps --help quick

    _check_words(words, scoring=scoring)
    desk, now = GateDesk(face=face), datetime.now(UTC)
    if scoring:
        from opsascode.cli._slo_score import score_change  # noqa: PLC0415 - keeps --help quick

        return score_change(desk, words, now)
    files = tuple(read_file(each, _MOST_FILE, what="the override").strip() for each in words["overrides"])
    question = _question(desk, words, now)
    told = _judged(desk, question, words, files, now)
    told = replace(told, entry=_recorded(desk, told, question, now) if words["record"] else None)
    _tell(desk, told, words)
    verdict = told.verdict.verdict.value
    return ExitCode.REFUSED if verdict == "block" or (verdict == "warn" and words["strict"]) else ExitCode.DONE


def _check_words(words: GateWords, *, scoring: bool) -> None:
    if not _CLASS.fullmatch(words["change_class"]):
        raise UsageError(
            f"{words['change_class'][:80]!r} is no class of changes",
            advice="one word of small letters, such as deploy or rollback",
        )
    if len(words["change"]) > _MOST_CHANGE or not words["change"].isprintable():
        raise UsageError(f"--change is one line of at most {_MOST_CHANGE} characters")
    if words["since"] is not None and not scoring:
        raise UsageError("--since says when a change was out, which only --scoring asks")
    if scoring and (words["snapshot"] is not None or words["overrides"]):
        raise UsageError("--scoring asks Prometheus how a change did: neither --snapshot nor --override belongs to it")


def _question(desk: GateDesk, words: GateWords, now: datetime) -> GateQuestion:
    """Gather what the gate is judged by."""
    from opsascode.cli._slo_desk import read_moment, read_snapshots  # noqa: PLC0415 - keeps --help quick
    from opsascode.policy import GateQuestion, policies_asked  # noqa: PLC0415 - keeps --help quick

    at = read_moment(words["at"], now)
    asked = policies_asked(desk.slo.policies, words["service"])
    file = words["snapshot"]
    names = {each.metadata.name for each in asked}
    snapshots = desk.slo.snapshots(asked, at) if file is None else read_snapshots(file)
    desk.take_in()
    return GateQuestion(
        service=words["service"],
        change_class=words["change_class"],
        snapshots=tuple(each for each in snapshots if each.policy in names),
        incidents=desk.incidents().open(words["service"]),
        asked=(at or now).replace(microsecond=0),
        change=words["change"],
    )


def _judged(desk: GateDesk, question: GateQuestion, words: GateWords, files: tuple[bytes, ...], now: datetime) -> Told:
    """Judge the question, hear what people said where it blocks, and ask them where they said nothing yet."""
    from opsascode.cli._gate_text import Told  # noqa: PLC0415 - keeps --help quick
    from opsascode.policy import Verdict, decide_gate  # noqa: PLC0415 - keeps --help quick

    policies, moment = desk.slo.policies, question.asked
    verdict = decide_gate(policies, question, now=moment)
    fresh = f"gate-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    told = Told(verdict=verdict, id=fresh, change=question.change)
    if verdict.verdict is not Verdict.BLOCK or verdict.needed is None:
        return told
    if words["at"] is not None:
        return replace(told, not_asked=_nobody("nobody is asked about another moment than now"))
    overrides = desk.overrides(question, files)
    heard = desk.heard(verdict, overrides, now)
    told = replace(told, verdict=decide_gate(policies, question, overrides=heard, now=moment))
    if told.verdict.verdict is Verdict.BLOCK:
        told = _asked(desk, told, overrides, words, now)
    for trouble in overrides.exchange.troubles:
        click.echo(escape_line(trouble), err=True)
    return told


def _asked(desk: GateDesk, told: Told, overrides: Overrides, words: GateWords, now: datetime) -> Told:
    """Put a gate that blocks to people, or find that it was put to them already, or say why it cannot be."""
    from opsascode.policy import OverrideFault  # noqa: PLC0415 - keeps --help quick

    people = desk.people()
    if isinstance(people, OverrideFault):
        return replace(told, not_asked=people)
    in_vain = overrides.in_vain(people, desk.actor)
    if in_vain is not None:
        return replace(told, not_asked=in_vain)
    if not words["record"]:
        return replace(told, not_asked=_nobody("with --no-record nobody is asked"))
    standing = overrides.standing(told.verdict, desk.actor, now)
    if standing is not None:
        request = standing.request
    else:
        request = overrides.ask(told.verdict, told.id, commit=desk.slo.commit, actor=desk.actor)
    from opsascode.cli._signing import may_answer  # noqa: PLC0415 - keeps --help quick

    able = tuple(each.id for each in people.with_role(request.ask.role) if may_answer(people, request, each))
    return replace(told, id=request.run, request=request.run, file=overrides.place(request), able=able)


def _nobody(why: str) -> OverrideFault:
    from opsascode.policy import OverrideFault  # noqa: PLC0415 - keeps --help quick

    return OverrideFault(id="", code="", message=why)


def _recorded(desk: GateDesk, told: Told, question: GateQuestion, now: datetime) -> int:
    """Record the verdict, and bring it to the team's ledger."""
    entry = desk.book().record(told.verdict, question, desk.circumstances(told.id, now), desk.signer())
    desk.share()
    return entry


def _tell(desk: GateDesk, told: Told, words: GateWords) -> None:
    from opsascode.cli._gate_text import verdict_annotations, verdict_lines, verdict_markdown  # noqa: PLC0415 - keeps --help quick

    shown = json.dumps(told_json(told)) if desk.face.json else "\n".join(verdict_lines(told))
    show(shown, verdict_annotations(told), github=words["github"])
    append_report(words["summary"], verdict_markdown(told))


def told_json(told: Told) -> dict[str, object]:
    """Give a verdict for programs."""
    fault = told.not_asked
    return {
        **told.verdict.to_json(),
        "id": told.id,
        "change": told.change,
        "request": told.request,
        "request_file": None if told.file is None else str(told.file),
        "not_asked": fault and {"code": fault.code, "message": fault.message, "mend": fault.mend},
        "waits_for": list(told.able),
        "entry": told.entry,
    }
