"""How is a change of the policy pack shown: field by field with its direction, what was found, who agreed?

One text for people at a terminal, one as Markdown for a pull request, one as JSON for programs. Everything in it may come
from a hostile commit, so it is escaped.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import escape_line, wants_colour

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.policy import Decision, FieldChange, Finding, PackDiff, Reason
    from opsascode.proof import Json
    from opsascode.run import Judgement

_SHOWN: Final = 200
_MARKS: Final = {"stricter": ("↑", "green"), "looser": ("↓", "red"), "neutral": ("·", ""), "unclear": ("?", "yellow")}


def diff_lines(diff: PackDiff) -> Iterator[str]:
    """Show what changes: documents, then field by field, then the hosts that lose a rule."""
    for name in diff.added:
        yield f"  {_mark('stricter')} {escape_line(name)} is added"
    for name in diff.removed:
        yield f"  {_mark('looser')} {escape_line(name)} is removed"
    for change in diff.changes[:_SHOWN]:
        yield f"  {_mark(change.direction.value)} {_field(change)}"
    for loss in diff.lost[:_SHOWN]:
        yield f"  {_mark('looser')} host {escape_line(loss.host)} is no longer covered by {escape_line(loss.guardrail)}"
    named = {change.file for change in diff.changes}
    for file in diff.files[:_SHOWN]:
        if file.path not in named:
            verb = "is new" if file.before is None else "is gone" if file.after is None else "changes"
            yield f"  · {escape_line(file.path)} {verb}"
    hidden = max(0, len(diff.changes) - _SHOWN) + max(0, len(diff.files) - _SHOWN)
    if hidden:
        yield f"  and {hidden} more: --format json shows all"
    if not (diff.added or diff.removed or diff.changes or diff.lost or diff.files):
        yield "  nothing protected changes"


def decision_lines(decision: Decision) -> Iterator[str]:
    """Show what a transition is, why, who agreed, and what is missing."""
    yield f"class     {class_words(decision)}"
    yield f"change    {decision.change.id}"
    for finding in decision.classification.findings[:_SHOWN]:
        yield f"  {finding.level.value}  {escape_line(finding.message)}"
    if decision.proposer:
        yield f"proposed  by {decision.proposer.person}"
    for each in decision.counted:
        reason = f": {escape_line(each.reason)}" if each.reason else ""
        yield f"approved  by {each.person}{reason}"
    for each in decision.declined:
        yield f"DECLINED  by {each.person}: {escape_line(each.reason)}"
    yield from fault_lines(decision.faults)
    if decision.allowed:
        yield click.style("allowed", fg="green", bold=True) if wants_colour() else "allowed"
    else:
        word = click.style("REFUSED", fg="red", bold=True) if wants_colour() else "REFUSED"
        yield f"{word}: {escape_line(decision.missing)}"


def fault_lines(faults: Sequence[Reason]) -> Iterator[str]:
    """Show what does not count or stands in the way, with its machine code."""
    for fault in faults:
        yield f"  {fault.code}: {escape_line(fault.message)}"
        if fault.mend:
            yield f"    {escape_line(fault.mend)}"


def class_words(decision: Decision) -> str:
    """Name the classes of a transition."""
    return ", ".join(sorted(each.value for each in decision.classification.classes))


def markdown(decision: Decision, diff: PackDiff) -> str:
    """Write a decision as a job summary or a comment on a pull request."""
    verdict = "✅ allowed" if decision.allowed else "❌ refused"
    lines = [f"## Policy change: {class_words(decision)} — {verdict}", ""]
    if diff.changes or diff.added or diff.removed:
        lines += ["| | document | field | before | after |", "|---|---|---|---|---|"]
        lines += [f"| {_word('stricter')} | {_cell(name)} | added | | |" for name in diff.added]
        lines += [f"| {_word('looser')} | {_cell(name)} | removed | | |" for name in diff.removed]
        lines += [
            f"| {_word(each.direction.value)} | {_cell(each.document)} | `{_cell(each.field)}` | {_cell(_value(each.before))} "
            f"| {_cell(_value(each.after))} |"
            for each in diff.changes[:_SHOWN]
        ]
        lines.append("")
    lines += [f"- **{each.level.value}** {_cell(each.message)}" for each in decision.classification.findings[:_SHOWN]]
    lines += [
        f"- host `{_cell(each.host)}` is no longer covered by {_cell(each.guardrail)}" for each in diff.lost[:_SHOWN]
    ]
    if decision.proposer:
        lines.append(f"- proposed by **{decision.proposer.person}**")
    lines += [f"- approved by **{each.person}**" for each in decision.counted]
    lines += [f"- declined by **{each.person}**: {_cell(each.reason)}" for each in decision.declined]
    lines += [f"- `{each.code}` {_cell(each.message)}" for each in decision.faults]
    if not decision.allowed:
        lines += ["", f"**{_cell(decision.missing)}**", "", "Look at it and sign: `opsascode approve <this branch>`"]
    return "\n".join([*lines, "", f"Change `{decision.change.id}`", ""])


def decision_json(decision: Decision) -> dict[str, Json]:
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


def diff_json(diff: PackDiff) -> dict[str, Json]:
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
    before, after = _value(change.before), _value(change.after)
    word = _word(change.direction.value)
    return escape_line(f"{change.document}: {change.field}: {before} → {after} ({word})")


def _word(direction: str) -> str:
    return {"neutral": "no direction", "unclear": "direction unclear: taken for looser"}.get(direction, direction)


def _value(value: Json) -> str:
    if value is None:
        return "(not set)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - fits a line


def _cell(text: str) -> str:
    """Escape a text for a table of Markdown: no markup, no mention, no line break."""
    return (
        escape_line(text)
        .replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("`", "'")
        .replace("<", "&lt;")
        .replace("@", "@\u200b")
    )


def _mark(direction: str) -> str:
    sign, colour = _MARKS[direction]
    return click.style(sign, fg=colour) if colour and wants_colour() else sign


def annotations(judgement: Judgement) -> Iterator[str]:
    """Write findings and faults as GitHub shows them on the lines of a pull request (workflow commands)."""
    decision = judgement.decision
    level = "notice" if decision.allowed else "error"
    for finding in decision.classification.findings[:_SHOWN]:
        line = _line_of(judgement, finding)
        yield f"::{level} file={_property(finding.path)},line={line},title=policy {finding.level.value}::{_data(finding.message)}"
    for fault in () if decision.allowed else decision.faults:
        yield f"::warning title={_property(fault.code)}::{_data(fault.message)}"
    if not decision.allowed:
        yield f"::error title=policy change refused::{_data(decision.missing)}"


def _line_of(judgement: Judgement, finding: Finding) -> int:
    """Find the line a finding is about in the new file: that of the document's name, where it can be found."""
    file = judgement.new.snapshot.files.get(finding.path)
    word = finding.subject.rpartition(" ")[2].encode()
    lines = file.data.split(b"\n") if file and word else []
    return next((number for number, line in enumerate(lines, start=1) if b"name:" in line and word in line), 1)


def _data(text: str) -> str:
    return escape_line(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
