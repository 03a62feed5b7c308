"""How is a judged change shown on a pull request: as a summary in Markdown, and as annotations on its lines?

Everything in it may come from a hostile commit: no markup, no mention and no workflow command of it survives.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from opsascode.cli._console import escape_line
from opsascode.cli._policy_text import SHOWN, class_words, direction_word, value_text

_MARKUP: Final = re.compile(r"[\\|*~\[\]]|(?<!\w)_|_(?!\w)")

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


def annotation_data(text: str) -> str:
    """Escape a text for a workflow command."""
    return escape_line(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def annotation_property(text: str) -> str:
    """Escape a text for a property of a workflow command, such as its title."""
    return annotation_data(text).replace(":", "%3A").replace(",", "%2C")


def _row(change: FieldChange) -> str:
    cells = (
        direction_word(change.direction.value),
        cell(change.document),
        f"`{code(change.field)}`",
        cell(value_text(change.before)),
        cell(value_text(change.after)),
    )
    return f"| {' | '.join(cells)} |"


def cell(text: str) -> str:
    """Escape a text for a table of Markdown: no markup, no link, image, mention or number of an issue, one line."""
    plain = escape_line(text).replace("&", "&amp;").replace("`", "'").replace("<", "&lt;").replace("@", "@\u200b")
    plain = plain.replace("#", "#\u200b")
    plain = plain.replace("://", ":\u200b//").replace("www.", "www\u200b.")
    return _MARKUP.sub(r"\\\g<0>", plain)


def code(text: str) -> str:
    """Escape a text between backquotes, where only they and the table's bars mean anything."""
    return escape_line(text).replace("|", "\\|").replace("`", "'")
