"""`opsascode approve`: show what is asked, and sign an answer as a person."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

import click

from opsascode.cli._asked import request_lines, verdict_lines
from opsascode.cli._console import escape_line, stamp, wants_colour
from opsascode.cli._files import write_file
from opsascode.cli._options import format_option
from opsascode.cli._signing import NotAllowedError, choose_signatory, consent, may_answer, sign_answer
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.cli._context import Face
    from opsascode.cli._signing import Signatory
    from opsascode.policy import ApprovalVerdict
    from opsascode.repo import People
    from opsascode.run import Exchange, WrittenRequest


class _Words(TypedDict):
    """What the command line says about the answer."""

    person: str | None
    key: Path | None
    propose: bool
    decline: bool
    reason: str
    stage: str | None
    out: Path | None
    yes: bool


_RUN: Final = re.compile(r"(gate-)?[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """A signed answer, and where it was left."""

    envelope: bytes
    places: tuple[str, ...]


@click.command()
@click.argument("what", metavar="[CHANGE|RUN|GATE|REQUEST-FILE|PLAN-FILE]", default="")
@click.option("--as", "person", metavar="PERSON", help="Who you are in the trust root [default: whose key is here].")
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The key to sign with, or its .pub file for ssh-agent.",
)
@click.option("--propose", is_flag=True, help="Propose a change of the policies; two others must approve it then.")
@click.option("--decline", is_flag=True, help="Refuse, with a reason; one refusal stops the run.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it is signed and recorded.")
@click.option("--stage", metavar="STAGE", help="Which question, where a plan asks several [default: the open one].")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the answer to a file, for --approval of `run` and `runs resume`.",
)
@click.option("--list", "listing", is_flag=True, help="Show what waits, and for whom.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before signing.")
@format_option
@click.pass_obj
def command(face: Face, /, what: str, listing: bool, **words: Unpack[_Words]) -> int:  # noqa: FBT001 - click passes options by name
    """Approve, or decline, a CHANGE of the policies (a branch), what a waiting RUN asks, or the start of a plan.

    A GATE is the id of a verdict of `slo gate` that blocks; who approves it lets the change out all the same.

    What is shown is what is signed: the digest is computed from the plan itself, never taken from whoever asks.
    """
    if what and not listing and _is_change(face, what):
        return _answer_change(face, what, words)
    if words["propose"]:
        raise UsageError(f"{what or 'nothing'} is no change that could be proposed", advice="name a branch or a commit")
    exchange = open_exchange(face)
    exchange.refresh()
    people = face.people()
    if listing or not what:
        return _list(face, exchange, people)
    written = _find(face, exchange, what, words["stage"])
    _check_subject(face, written)
    signatory = choose_signatory(people, written.request, name=words["person"], file=words["key"])
    if not face.json:
        click.echo("\n".join(request_lines(written.request, written.plan)), color=wants_colour())
    verb, declines = ("Decline" if words["decline"] else "Approve"), words["decline"]
    reason = consent(face, signatory, verb, reason=words["reason"], declines=declines, yes=words["yes"])
    if reason is None:
        return ExitCode.REFUSED
    answer = _sign(exchange, written, signatory, reason, words)
    _tell(face, exchange, written, signatory, answer, declined=words["decline"])
    return ExitCode.DONE


def _is_change(face: Face, what: str) -> bool:
    """Tell a change, which Git knows by that name, from a file and from a run."""
    from opsascode.cli._change import is_change  # noqa: PLC0415 - keeps --help quick

    return not Path(what).is_file() and not _RUN.fullmatch(what) and is_change(face, what)


def _answer_change(face: Face, what: str, words: _Words) -> int:
    from opsascode.cli._change import ChangeWords, answer_change  # noqa: PLC0415 - keeps --help quick
    from opsascode.policy import Said  # noqa: PLC0415 - keeps --help quick

    said = Said.PROPOSE if words["propose"] else Said.DECLINE if words["decline"] else Said.APPROVE
    chosen = ChangeWords(
        said=said,
        reason=words["reason"],
        person=words["person"],
        key=words["key"],
        out=words["out"],
        yes=words["yes"],
    )
    return answer_change(face, what, chosen)


def open_exchange(face: Face) -> Exchange:
    """Open the places where requests and approvals are found."""
    from opsascode.repo import Mailbox  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import Exchange  # noqa: PLC0415 - keeps --help quick

    remote = face.repository.settings.approvals_remote
    mailbox = None if remote is None else Mailbox.of(face.repository.root, remote)
    return Exchange(state=face.state, mailbox=mailbox)


def _find(face: Face, exchange: Exchange, what: str, stage: str | None) -> WrittenRequest:
    """Find what a word means: a file with a request or a plan, or a run."""
    from opsascode.run import read_request, repository_name  # noqa: PLC0415 - keeps --help quick

    path = Path(what)
    if not path.is_file():
        return exchange.find(what, stage)
    data = path.read_bytes()
    if b'"opsascode/ask/v1"' not in data:
        return _of_plan(data, str(path), stage, repository=repository_name(face.repository))
    written = read_request(data, name=str(path))
    if stage not in {None, written.request.ask.stage}:
        raise UsageError(f"{path} asks about stage {written.request.ask.stage}, not {stage}")
    return written


def _of_plan(data: bytes, name: str, stage: str | None, *, repository: str) -> WrittenRequest:
    """Make a request of a plan that nobody has started: about its start, or about the stage that was said."""
    from opsascode.run import AskKind, AskRequest, WrittenRequest, asks_of_plan, read_plan  # noqa: PLC0415 - keeps --help quick

    plan = read_plan(data, name=name)
    asks = [each for each in asks_of_plan(plan.content) if each.kind is AskKind.APPROVAL]
    chosen = [each for each in asks if stage in {None, each.stage}]
    if not chosen:
        raise UsageError(f"{name} asks for no approval{f' in stage {stage}' if stage else ''}")
    if len(chosen) > 1 and chosen[0].wave > 0:
        stages = ", ".join(each.stage for each in chosen)
        raise UsageError(f"{name} asks for several approvals", advice=f"choose one: --stage {stages}")
    request = AskRequest(
        run="",
        plan_digest=plan.digest,
        ask=chosen[0],
        requester="",
        asked=datetime.now(UTC),
        repository=repository,
    )
    return WrittenRequest(request=request, plan=plan.content)


def _check_subject(face: Face, written: WrittenRequest) -> None:
    """Refuse what cannot be signed here."""
    from opsascode.run import AskKind, repository_name  # noqa: PLC0415 - keeps --help quick

    here = repository_name(face.repository)
    if written.request.ask.kind is AskKind.MANUAL:
        raise UsageError(
            f"stage {written.request.ask.stage} is a manual step, which is confirmed where it is done",
            advice=f"opsascode runs resume {written.request.run}, at a terminal",
        )
    if written.request.repository != here:
        raise NotAllowedError(
            f"this is asked by the repository {written.request.repository!r}, and here is {here!r}",
            advice="approve it in a clone of that repository, whose trust root counts",
        )


def _sign(exchange: Exchange, written: WrittenRequest, signatory: Signatory, reason: str, words: _Words) -> _Answer:
    """Sign, and leave the answer where it is looked for; a file that was asked for is the only place then."""
    from opsascode.policy import Answer  # noqa: PLC0415 - keeps --help quick

    request = written.request
    decision = Answer.DECLINE if words["decline"] else Answer.APPROVE
    envelope = sign_answer(request, signatory, decision, reason)
    out = words["out"]
    if out is not None:
        write_file(out, envelope + b"\n", "the approval")
        return _Answer(envelope=envelope, places=(str(out),))
    return _Answer(envelope=envelope, places=exchange.leave(request.run or None, request.plan_digest, envelope))


def _tell(
    face: Face,
    exchange: Exchange,
    written: WrittenRequest,
    signatory: Signatory,
    answer: _Answer,
    *,
    declined: bool,
) -> None:
    """Say what was signed and where it lies; an answer that lies nowhere is an error."""
    from opsascode.proof import payload_digest  # noqa: PLC0415 - keeps --help quick

    if not answer.places:
        why = "; ".join(exchange.troubles) or "its run is on another machine"
        raise UsageError(
            f"the answer was signed, and could be left nowhere: {why}",
            advice="write it to a file with --out, or name a Git remote in spec.approvals.remote of opsascode.yml",
        )
    request, digest = written.request, payload_digest(answer.envelope)
    if face.json:
        body = {
            "decision": "decline" if declined else "approve",
            "person": signatory.person.id,
            "run": request.run or None,
            "stage": request.ask.stage,
            "plan": request.plan_digest,
            "digest": digest,
            "places": list(answer.places),
        }
        click.echo(json.dumps(body))
        return
    verb = "declined" if declined else "approved"
    click.echo(f"{verb} by {signatory.person.id}: {digest}")
    click.echo(f"left at: {', '.join(map(escape_line, answer.places))}")
    for trouble in exchange.troubles:
        click.echo(f"  {escape_line(trouble)}", err=True)


def _list(face: Face, exchange: Exchange, people: People) -> int:
    """Show what waits, and for whom."""
    now = datetime.now(UTC)
    waiting = [
        (written, verdict)
        for written in exchange.open_requests(now)
        for verdict in (_verdict(exchange, written, people, now),)
        if verdict is None or not (verdict.satisfied or verdict.declined)
    ]
    from opsascode.cli._change import waiting_changes, waiting_json, waiting_lines  # noqa: PLC0415 - keeps --help quick

    changes = tuple(waiting_changes(face.policies))
    if face.json:
        told = [{"kind": _kind(each), **_waiting_json(each, verdict, people)} for each, verdict in waiting]
        told += [{"kind": "change", **waiting_json(*change, people)} for change in changes]
        click.echo(json.dumps(told))
        return ExitCode.DONE
    for written, verdict in waiting:
        click.echo("\n".join(_waiting_lines(written, verdict, people)))
    for change in changes:
        click.echo("\n".join(waiting_lines(*change, people)))
    if not waiting and not changes:
        click.echo("nothing waits for anybody")
    for trouble in exchange.troubles:
        click.echo(f"  {escape_line(trouble)}", err=True)
    return ExitCode.DONE


def _kind(written: WrittenRequest) -> str:
    from opsascode.run import GATE_ID  # noqa: PLC0415 - keeps --help quick

    return "gate" if GATE_ID.fullmatch(written.request.run) else "run"


def _verdict(exchange: Exchange, written: WrittenRequest, people: People, now: datetime) -> ApprovalVerdict | None:
    """Judge what is there for a request as far as this machine can; None for a manual step."""
    from opsascode.policy import judge_approvals  # noqa: PLC0415 - keeps --help quick
    from opsascode.run import AskKind, need_of  # noqa: PLC0415 - keeps --help quick

    if written.request.ask.kind is AskKind.MANUAL:
        return None
    return judge_approvals(need_of(written.request), exchange.gather(written.request), people, now)


def _waiting_lines(written: WrittenRequest, verdict: ApprovalVerdict | None, people: People) -> Iterator[str]:
    request = written.request
    yield f"{escape_line(request.run)}  stage {request.ask.stage}  {escape_line(request.ask.title)}"
    yield f"  asked at {stamp(request.asked.astimezone(UTC))} by {escape_line(request.requester)}"
    if verdict is None:
        yield f"  a manual step: opsascode runs resume {escape_line(request.run)}"
        return
    yield from verdict_lines(verdict)
    able = ", ".join(_able(written, verdict, people))
    yield f"  waits for {able or 'nobody who may'}: opsascode approve {escape_line(request.run)}"


def _able(written: WrittenRequest, verdict: ApprovalVerdict, people: People) -> list[str]:
    given = {each.person for each in verdict.counted}
    role = written.request.ask.role
    return [
        each.id for each in people.with_role(role) if each.id not in given and may_answer(people, written.request, each)
    ]


def _waiting_json(written: WrittenRequest, verdict: ApprovalVerdict | None, people: People) -> dict[str, object]:
    request = written.request
    return {
        **request.to_json(),
        "approved_by": [each.person for each in verdict.counted] if verdict else [],
        "waits_for": _able(written, verdict, people) if verdict else [],
        "missing": verdict.missing if verdict else "a person at a terminal",
        "faults": [{"code": fault.code, "message": fault.message} for fault in verdict.faults] if verdict else [],
    }
