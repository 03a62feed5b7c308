"""How is a change of the policy pack shown: field by field with its direction, what was found, who agreed?

One text for people at a terminal, one as JSON for programs. Everything in it may come from a hostile commit, so it is
escaped. Not here: reports on a pull request (`_policy_report`).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import escape_line, wants_colour
from opsascode.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.cli._context import Face
    from opsascode.policy import Decision, FieldChange, PackDiff, Reason
    from opsascode.proof import Json

SHOWN: Final = 200
_MARKS: Final = {"stricter": ("↑", "green"), "looser": ("↓", "red"), "neutral": ("·", ""), "unclear": ("?", "yellow")}


def diff_lines(diff: PackDiff) -> Iterator[str]:
    """Show what changes: documents, then field by field, then the hosts that lose a rule."""
    for name in diff.added:
        yield f"  {_mark('stricter')} {escape_line(name)} is added"
    for name in diff.removed:
        yield f"  {_mark('looser')} {escape_line(name)} is removed"
    for change in diff.changes[:SHOWN]:
        yield f"  {_mark(change.direction.value)} {_field(change)}"
    for loss in diff.lost[:SHOWN]:
        mark, what = ("neutral", "is gone, and with it") if loss.gone else ("looser", "is no longer covered by")
        yield f"  {_mark(mark)} host {escape_line(loss.host)} {what} {escape_line(loss.guardrail)}"
    named = {change.file for change in diff.changes}
    for file in diff.files[:SHOWN]:
        if file.path not in named:
            verb = "is new" if file.before is None else "is gone" if file.after is None else "changes"
            yield f"  · {escape_line(file.path)} {verb}"
    hidden = max(0, len(diff.changes) - SHOWN) + max(0, len(diff.files) - SHOWN)
    if hidden:
        yield f"  and {hidden} more: --format json shows all"
    if not (diff.added or diff.removed or diff.changes or diff.lost or diff.files):
        yield "  nothing protected changes"


def decision_lines(decision: Decision) -> Iterator[str]:
    """Show what a transition is, why, who agreed, and whether it may be."""
    yield from finding_lines(decision)
    yield from verdict_lines(decision)


def verdict_lines(decision: Decision) -> Iterator[str]:
    """Say whether it may be, and what is missing."""
    if decision.allowed:
        yield click.style("allowed", fg="green", bold=True) if wants_colour() else "allowed"
        return
    yield click.style("REFUSED", fg="red", bold=True) if wants_colour() else "REFUSED"
    yield from missing_lines(decision)


def missing_lines(decision: Decision) -> Iterator[str]:
    """Say what is missing, and what to do; the evidence stands among the findings already."""
    for fault in decision.faults:
        if fault.message in decision.missing:
            undeclared = fault.code == "E_UNDECLARED_ROLLBACK"
            yield from fault_lines([replace(fault, message=fault.message.partition(": ")[0]) if undeclared else fault])


def finding_lines(decision: Decision) -> Iterator[str]:
    """Show what a transition is, why, and who agreed."""
    yield f"class     {class_words(decision)}"
    yield f"change    {decision.change.id}"
    for finding in decision.classification.findings[:SHOWN]:
        yield f"  {finding.level.value}  {escape_line(finding.message)}"
    if decision.proposer:
        yield f"proposed  by {decision.proposer.person}"
    for each in decision.counted:
        reason = f": {escape_line(each.reason)}" if each.reason else ""
        yield f"approved  by {each.person}{reason}"
    for each in decision.declined:
        yield f"DECLINED  by {each.person}: {escape_line(each.reason)}"
    others = [] if decision.allowed else [each for each in decision.faults if each.message not in decision.missing]
    yield from fault_lines(others)
    yield from (f"note      {escape_line(each)}" for each in decision.notes)


def fault_lines(faults: Sequence[Reason]) -> Iterator[str]:
    """Show what does not count or stands in the way, with its machine code."""
    for fault in faults:
        yield f"  {fault.code}: {escape_line(fault.message)}"
        if fault.mend:
            yield f"    {escape_line(fault.mend)}"


def refused_for(face: Face, faults: Sequence[Reason]) -> int:
    """Say why nothing is put in force, and give the exit code."""
    if face.json:
        reasons = [{"code": each.code, "message": each.message, "mend": each.mend} for each in faults]
        click.echo(json.dumps({"event": "refused", "reasons": reasons}))
    else:
        click.echo("refused: nothing is put in force", err=True)
        click.echo("\n".join(fault_lines(faults)), err=True)
    return ExitCode.REFUSED


def class_words(decision: Decision) -> str:
    """Name the classes of a transition."""
    return ", ".join(sorted(each.value for each in decision.classification.classes))


def decision_json(decision: Decision) -> dict[str, object]:
    """Give a decision for programs."""
    return {
        "allowed": decision.allowed,
        "classes": sorted(each.value for each in decision.classification.classes),
        "change": decision.change.to_json(),
        "change_id": decision.change.id,
        "findings": [
            {
                "level": each.level.value,
                "path": each.path,
                "subject": each.subject,
                "message": each.message,
                "commit": each.commit,
            }
            for each in decision.classification.findings
        ],
        "needs": {
            "role": decision.needs.role,
            "threshold": decision.needs.threshold,
            "proposal": decision.needs.proposal,
        },
        "proposer": decision.proposer.person if decision.proposer else None,
        "approved_by": [each.person for each in decision.counted],
        "declined_by": [each.person for each in decision.declined],
        "faults": [{"code": each.code, "message": each.message, "mend": each.mend} for each in decision.faults],
        "missing": decision.missing,
        "diff": diff_json(decision.classification.diff),
    }


def diff_json(diff: PackDiff) -> dict[str, object]:
    """Give a difference for programs."""
    return {
        "added": list(diff.added),
        "removed": list(diff.removed),
        "changes": [
            {
                "file": each.file,
                "document": each.document,
                "field": each.field,
                "before": each.before,
                "after": each.after,
                "direction": each.direction.value,
            }
            for each in diff.changes
        ],
        "files": [{"path": each.path, "before": each.before, "after": each.after} for each in diff.files],
        "lost": [{"host": each.host, "guardrail": each.guardrail} for each in diff.lost],
    }


def _field(change: FieldChange) -> str:
    before, after = value_text(change.before), value_text(change.after)
    word = direction_word(change.direction.value)
    return escape_line(f"{change.document}: {change.field}: {before} → {after} ({word})")


def direction_word(direction: str) -> str:
    """Say which way a change of a field leads."""
    return {"neutral": "no direction", "unclear": "direction unclear: taken for looser"}.get(direction, direction)


def value_text(value: Json) -> str:
    """Show a value on one line, cut where it is too long."""
    if value is None:
        return "(not set)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - fits a line


def _mark(direction: str) -> str:
    sign, colour = _MARKS[direction]
    return click.style(sign, fg=colour) if colour and wants_colour() else sign
