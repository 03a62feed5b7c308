"""How is a judged change shown on a pull request: as a summary in Markdown, and as annotations on its lines?

Everything in it may come from a hostile commit, so all of it is escaped (`_github`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsascode.cli._github import annotation_data, annotation_property, cell, code
from opsascode.cli._policy_text import SHOWN, class_words, direction_word, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.policy import Decision, FieldChange, Finding
    from opsascode.run import Judgement


def markdown(decision: Decision) -> str:
    """Write a decision as a job summary or a comment on a pull request."""
    diff = decision.classification.diff
    verdict = "✅ allowed" if decision.allowed else "❌ refused"
    lines = [f"## Policy change: {class_words(decision)} — {verdict}", ""]
    if diff.changes or diff.added or diff.removed:
        lines += ["| | document | field | before | after |", "|---|---|---|---|---|"]
        lines += [f"| {direction_word('stricter')} | {cell(name)} | added | | |" for name in diff.added]
        lines += [f"| {direction_word('looser')} | {cell(name)} | removed | | |" for name in diff.removed]
        lines += [_row(each) for each in diff.changes[:SHOWN]]
        lines.append("")
    lines += [f"- **{each.level.value}** {cell(each.message)}" for each in decision.classification.findings[:SHOWN]]
    lines += [
        f"- host `{code(each.host)}` is no longer covered by {cell(each.guardrail)}"
        for each in diff.lost[:SHOWN]
        if not each.gone
    ]
    if decision.proposer:
        lines.append(f"- proposed by **{decision.proposer.person}**")
    lines += [f"- approved by **{each.person}**" for each in decision.counted]
    lines += [f"- declined by **{each.person}**: {cell(each.reason)}" for each in decision.declined]
    lines += [f"- `{each.code}` {cell(each.message)}" for each in decision.faults]
    if not decision.allowed:
        lines += ["", f"**{cell(decision.missing)}**", "", "Look at it and sign: `opsascode approve <this branch>`"]
    return "\n".join([*lines, "", f"Change `{decision.change.id}`", ""])


def annotation_lines(judgement: Judgement) -> Iterator[str]:
    """Write findings and faults as GitHub shows them on the lines of a pull request (workflow commands)."""
    decision = judgement.decision
    level = "notice" if decision.allowed else "error"
    for finding in decision.classification.findings[:SHOWN]:
        place = f"file={annotation_property(finding.path)},line={_line_of(judgement, finding)}," if finding.path else ""
        yield f"::{level} {place}title=policy {finding.level.value}::{annotation_data(finding.message)}"
    for fault in () if decision.allowed else decision.faults:
        yield f"::warning title={annotation_property(fault.code)}::{annotation_data(fault.message)}"
    if not decision.allowed:
        yield f"::error title=policy change refused::{annotation_data(decision.missing)}"


def _line_of(judgement: Judgement, finding: Finding) -> int:
    """Find the line a finding is about in the new file: that of the document's name, where it can be found."""
    file = judgement.new.snapshot.files.get(finding.path)
    word = finding.subject.rpartition(" ")[2].encode()
    lines = file.data.split(b"\n") if file and word else []
    return next((number for number, line in enumerate(lines, start=1) if b"name:" in line and word in line), 1)


def _row(change: FieldChange) -> str:
    cells = (
        direction_word(change.direction.value),
        cell(change.document),
        f"`{code(change.field)}`",
        cell(value_text(change.before)),
        cell(value_text(change.after)),
    )
    return f"| {' | '.join(cells)} |"
