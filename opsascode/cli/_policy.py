"""`opsascode policy`: which pack of policies is enforced, which ones there were, and what is different between them."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import count, escape_line, stamp
from opsascode.cli._options import format_option
from opsascode.cli._policy_desk import PolicyDesk
from opsascode.cli._policy_text import diff_json, diff_lines
from opsascode.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opsascode.cli._context import Face
    from opsascode.repo import Snapshot
    from opsascode.run import AppliedPack, PackVersion

_ELSEWHERE: Final[Mapping[str, tuple[str, str]]] = {
    "apply": ("opsascode.cli._policy_acts", "Enforce the pack of a commit from now on, if it may be."),
    "rollback": ("opsascode.cli._policy_acts", "Make the branch and the signed proposal that take the pack back."),
    "merge": ("opsascode.cli._policy_acts", "Merge a branch into the protected ref, if its change is allowed."),
    "unlock": ("opsascode.cli._policy_acts", "Let packs be applied again after a rollback locked them."),
    "simulate": ("opsascode.cli._policy_simulate", "Replay what was recorded against other policies."),
    "verify": ("opsascode.cli._policy_verify", "Judge what a merge would change, as a check of a pull request."),
    "break-glass": ("opsascode.cli._policy_glass", "Enforce another pack at once, for a while, on one person's word."),
    "ratify": ("opsascode.cli._policy_glass", "Agree afterwards to broken glass."),
    "hook": ("opsascode.cli._policy_hook", "Judge pushes on a plain Git server."),
    "bridge": ("opsascode.cli._policy_bridge", "Turn reviews of a pull request into signed statements."),
}


class _Verbs(click.Group):
    """The verbs of this room, and those of others, which are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        room = importlib.import_module(_ELSEWHERE[cmd_name][0])
        found = getattr(room, cmd_name.replace("-", "_"), None) or room.command
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        own = [(name, verb.get_short_help_str(80)) for name, verb in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*own, *((name, summary) for name, (_, summary) in _ELSEWHERE.items())])


@click.group(cls=_Verbs)
def command() -> None:
    """Policy packs: what is enforced, what was before, and how it may change."""


@command.command("list")
@click.option("-n", "--number", type=click.IntRange(1), default=20, show_default=True, help="At most this many.")
@format_option
@click.pass_obj
def list_packs(face: Face, number: int) -> int:
    """List the versions on the protected ref, the newest first, and when each was applied."""
    from itertools import islice  # noqa: PLC0415 - keeps --help quick

    from opsascode.run import pack_versions  # noqa: PLC0415 - keeps --help quick

    desk = PolicyDesk(face=face)
    found = tuple(islice(pack_versions(desk.store, tip_of(desk)), number))
    applied = {each.pack.version: each for each in desk.log.packs}
    current = desk.log.current
    if face.json:
        click.echo(json.dumps([_version_json(each, applied.get(each.version)) for each in found]))
        return ExitCode.DONE
    for each in found:
        last = applied.get(each.version)
        when = f"applied {stamp(last.applied.astimezone(UTC))}" if last else "never applied"
        mark = "*" if current and last and current.pack.version == each.version else " "
        click.echo(
            f"{mark} {escape_line(each.version):<14} {each.commit[:12]}  {when:<32}  {escape_line(each.subject)}"
        )
    if not found:
        click.echo("no commit of this ref says a version: give policies/pack.yml (kind PolicyPack) metadata.version")
    return ExitCode.DONE


@command.command("show")
@click.argument("selector", default="applied")
@format_option
@click.pass_obj
def show(face: Face, selector: str) -> int:
    """Show what a pack holds: version:V, version:prev, commit:ID, tag:NAME or `applied`."""
    desk = PolicyDesk(face=face)
    commit = find(desk, selector)
    snapshot = desk.store.snapshot(commit, protected_of(desk))
    if face.json:
        files = {path: file.digest for path, file in snapshot.files.items()}
        click.echo(
            json.dumps({"commit": commit, "scope": snapshot.digest, "version": _version(snapshot), "files": files})
        )
        return ExitCode.DONE
    click.echo(f"pack      {escape_line(_version(snapshot) or 'without a version')}")
    click.echo(f"commit    {commit}")
    click.echo(f"scope     {snapshot.digest}")
    for line in _document_lines(snapshot):
        click.echo(line)
    return ExitCode.DONE


@command.command("history")
@format_option
@click.pass_obj
def history(face: Face) -> int:
    """Tell which packs were applied on this machine, when, by whom, and who allowed it; the newest first."""
    log = PolicyDesk(face=face).log
    if face.json:
        click.echo(json.dumps([applied_json(each) for each in reversed(log.packs)]))
        return ExitCode.DONE
    for each in reversed(log.packs):
        click.echo("\n".join(_applied_lines(each)))
    if not log.packs:
        click.echo("no policy pack was applied here yet")
    return ExitCode.DONE


@command.command("diff")
@click.option("--from", "before", default="applied", show_default=True, metavar="SELECTOR", help="The pack before.")
@click.option("--to", "after", default="HEAD", show_default=True, metavar="SELECTOR", help="The pack after.")
@format_option
@click.pass_obj
def diff(face: Face, before: str, after: str) -> int:
    """Show what is different between two packs, rule by rule, and whether it is stricter or looser."""
    from opsascode.policy import diff_packs  # noqa: PLC0415 - keeps --help quick

    desk = PolicyDesk(face=face)
    if before == "applied" and desk.log.current is None:
        raise UsageError("no policy pack is applied here", advice="say --from version:V or --from commit:ID")
    old = desk.store.snapshot(find(desk, before), protected_of(desk))
    new = desk.store.snapshot(find(desk, after), protected_of(desk), beside=old)
    found = diff_packs(old, new)
    if face.json:
        click.echo(json.dumps({"from": old.commit, "to": new.commit, **diff_json(found)}))
        return ExitCode.DONE
    click.echo(f"from {_title(old)}\n  to {_title(new)}")
    click.echo("\n".join(diff_lines(found)))
    return ExitCode.DONE


@command.command("status")
@format_option
@click.pass_obj
def status(face: Face) -> int:
    """Tell which pack is enforced here, whether the protected ref is ahead of it, and what is owed."""
    told = policy_status(PolicyDesk(face=face))
    if face.json:
        click.echo(json.dumps(told))
        return ExitCode.DONE
    click.echo("\n".join(status_lines(told)))
    return ExitCode.DONE


def policy_status(desk: PolicyDesk) -> dict[str, object]:
    """Collect what there is to say about policies on this machine."""
    if desk.pin is None:
        return {"enforced": "work tree", "pinned": None}
    from opsascode.policy import debts_of  # noqa: PLC0415 - keeps --help quick

    current, tip = desk.log.current, tip_of(desk)
    ahead = None if current is None else len(desk.store.changed_by(tip, current.pack.commit, protected_of(desk)))
    now = datetime.now(UTC)
    debts = debts_of(desk.log.statements, now)
    return {
        "enforced": "applied pack" if current else "nothing yet",
        "pinned": desk.pin.repository,
        "root_version": desk.pin.version,
        "applied": applied_json(current) if current else None,
        "tip": tip,
        "ahead": ahead,
        "locked": desk.log.locked,
        "doubted": list(desk.log.doubted),
        "bridge": desk.root.bridge_most,
        "debts": [
            {
                "entry": each.entry,
                "person": each.person,
                "incident": each.incident,
                "until": each.due.isoformat(),
                "overdue": each.is_overdue(now),
                "ratified_by": list(each.ratified_by),
            }
            for each in debts.all
        ],
        "glass": [
            {"entry": each.entry, "person": each.person, "hosts": list(each.hosts), "until": each.expires.isoformat()}
            for each in desk.log.glass
            if now < each.expires
        ],
    }


def status_lines(told: dict[str, object]) -> Iterator[str]:
    """Show the status of policies to a person."""
    if told["pinned"] is None:
        yield "policies  those of the work tree hold: no trust root is pinned on this machine"
        return
    applied = told["applied"]
    if not isinstance(applied, dict):
        yield "policies  NOTHING is applied yet, so nothing runs: opsascode policy apply"
    else:
        version = f"version {applied['version']}, " if applied["version"] else ""
        commit = str(applied["commit"])[:12]
        yield f"policies  {escape_line(str(version))}commit {commit}, applied {applied['applied']}"
    if told["ahead"]:
        yield f"          the protected ref is {count(int(str(told['ahead'])), 'change')} ahead: opsascode policy apply"
    if told["locked"]:
        yield "          LOCKED after a rollback: nothing is applied until opsascode policy unlock --reason TEXT"
    doubted = told["doubted"]
    for each in doubted if isinstance(doubted, list) else ():
        yield f"          NOT BELIEVED: {escape_line(str(each))}, of another machine, does not hold when judged here"
    yield f"trust     root version {told['root_version']} of {str(told['pinned'])[:19]}…"
    if told["bridge"] == 2:  # noqa: PLR2004 - both of the two
        yield "          BOTH approvals of a rollback may come from the forge: who rules it rules the policies"
    debts = told["debts"]
    for each in debts if isinstance(debts, list) else ():
        word = "OVERDUE" if each["overdue"] else "owed"
        yield f"glass     {word}: entry {each['entry']}, broken by {each['person']} for {escape_line(each['incident'])}"
        until = stamp(datetime.fromisoformat(each["until"]).astimezone(UTC))
        yield f"          two others must ratify it until {until}: opsascode policy ratify {each['entry']}"
    glass = told["glass"]
    for each in glass if isinstance(glass, list) else ():
        until = stamp(datetime.fromisoformat(each["until"]).astimezone(UTC))
        yield f"glass     BROKEN until {until} on {escape_line(', '.join(each['hosts']))}"


def tip_of(desk: PolicyDesk) -> str:
    """Give the commit that the protected ref stands at here."""
    return desk.commit(desk.root.ref if desk.pin else "HEAD")


def protected_of(desk: PolicyDesk) -> tuple[str, ...]:
    """Give which paths make the pack; without a pin, those that a trust root protects unless it says otherwise."""
    from opsascode.proof import DEFAULT_PROTECTED  # noqa: PLC0415 - keeps --help quick

    return desk.root.protected if desk.pin else DEFAULT_PROTECTED


def find(desk: PolicyDesk, selector: str) -> str:
    """Give the commit a selector means."""
    from opsascode.run import find_pack  # noqa: PLC0415 - keeps --help quick

    return find_pack(selector, desk.store, tip_of(desk), desk.log)


def applied_json(each: AppliedPack) -> dict[str, object]:
    """Give an applied pack for programs."""
    return {
        "entry": each.entry,
        "version": each.pack.version,
        "commit": each.pack.commit,
        "scope": each.pack.scope,
        "previous": each.previous.to_json() if each.previous else None,
        "classes": list(each.classes),
        "changes": [step.change_id for step in each.steps],
        "proposed_by": [step.proposer for step in each.steps if step.proposer],
        "allowed_by": list(each.allowed_by),
        "root_version": each.root_version,
        "reason": each.reason,
        "locked": each.locked,
        "enforced_by": each.enforced_by,
        "applied": stamp(each.applied.astimezone(UTC)),
        "actor": each.actor,
    }


def _applied_lines(each: AppliedPack) -> Iterator[str]:
    version = escape_line(each.pack.version or "no version")
    classes = ", ".join(each.classes) or "forward"
    when, commit = stamp(each.applied.astimezone(UTC)), each.pack.commit[:12]
    yield f"{when}  {version}  {commit}  {classes}  by {escape_line(each.actor)}"
    proposed = [step.proposer for step in each.steps if step.proposer]
    if proposed:
        yield f"    proposed by {', '.join(dict.fromkeys(proposed))}"
    if each.allowed_by:
        yield f"    allowed by {', '.join(each.allowed_by)}"
    if each.reason:
        yield f"    because {escape_line(each.reason)}"
    yield f"    ledger entry {each.entry}{', locked from then on' if each.locked else ''}"


def _version_json(each: PackVersion, last: AppliedPack | None) -> dict[str, object]:
    return {
        "version": each.version,
        "commit": each.commit,
        "since": each.since,
        "when": each.when.isoformat(),
        "subject": each.subject,
        "applied": last.applied.isoformat() if last else None,
    }


def _document_lines(snapshot: Snapshot) -> Iterator[str]:
    from opsascode.repo import Unreadable, meanings  # noqa: PLC0415 - keeps --help quick

    for path, file in sorted(snapshot.files.items()):
        found = meanings(file)
        if isinstance(found, Unreadable):
            yield f"  {escape_line(path)}: {escape_line(found.reason)}"
            continue
        names = ", ".join(f"{each.kind} {each.name}" for each in found)
        yield f"  {escape_line(path)}{': ' + escape_line(names) if names else ''}"


def _title(snapshot: Snapshot) -> str:
    version = _version(snapshot)
    return f"{f'version {escape_line(version)}, ' if version else ''}commit {snapshot.commit[:12]}"


def _version(snapshot: Snapshot) -> str | None:
    from opsascode.run import version_of  # noqa: PLC0415 - keeps --help quick

    return version_of(snapshot)
