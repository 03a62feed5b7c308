"""How is what a gate says shown: at a terminal, as a job summary in Markdown, and as annotations of a pipeline?

Texts of policies, incidents and people are escaped: none of them survives as markup or as a command to a runner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.cli._console import escape_line, stamp
from opsascode.cli._github import annotation_data, annotation_property, cell
from opsascode.policy import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opsascode.policy import GateReason, GateVerdict, OverrideFault, ScoreCard

_SIGNS: Final = {"pass": "✅", "warn": "⚠️", "block": "❌", "fail": "❌"}
_LEVELS: Final = {"pass": "notice", "warn": "warning", "block": "error", "fail": "error"}
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A verdict with what became of it: its id, the request that people may sign, and its ledger entry.

    `file` is where the request lies on this machine; `able` are the people who may still sign; `not_asked` says why
    nobody is asked, though the policy lets people override.
    """

    verdict: GateVerdict
    id: str
    change: str = ""
    request: str | None = None
    file: Path | None = None
    able: tuple[str, ...] = ()
    not_asked: OverrideFault | None = None
    entry: int | None = None


def verdict_lines(told: Told) -> Iterator[str]:
    """Show a verdict at a terminal."""
    verdict = told.verdict
    change = f" ({escape_line(told.change)})" if told.change else ""
    yield f"gate of {escape_line(verdict.service)}, {verdict.change_class}{change}: {verdict.verdict.value.upper()}"
    if not verdict.reasons:
        yield f"  nothing speaks against it in {', '.join(map(escape_line, verdict.policies))}"
    for each in verdict.reasons[:_SHOWN]:
        yield from _reason_lines(each)
    if verdict.exempt and verdict.found is not Verdict.PASS:
        yield f"  exempt: {escape_line(', '.join(verdict.exempt))} lets changes of class {verdict.change_class} pass"
    if verdict.unknown_policy:
        yield f"  where something is not known, this gate {verdict.unknown_policy}"
    yield from map(escape_line, _override_sentences(told))
    if told.entry is not None:
        yield f"recorded as ledger entry {told.entry}, {told.id}"


def _reason_lines(reason: GateReason) -> Iterator[str]:
    word = {"pass": "note", "warn": "warns", "block": "blocks"}[reason.effect.value]
    yield f"  {word:<7}{reason.code.value:<12}{escape_line(reason.message)}"
    yield f"         {escape_line(reason.source)}, {escape_line(str(reason.position))}"
    if reason.mend:
        yield f"         {escape_line(reason.mend)}"


def _override_sentences(told: Told) -> Iterator[str]:
    verdict = told.verdict
    if verdict.override is not None:
        yield f"  {overridden(verdict)}"
    for each in verdict.unused:
        about = f"{each.id}: " if each.id else ""
        yield f"  override not counted: {about}{_fault(each)}"
    if verdict.verdict is not Verdict.BLOCK:
        return
    needed = verdict.needed
    if needed is None:
        yield "  nobody may override this"
        return
    role = needed.role or "run-approver"
    people = "1 person" if needed.required == 1 else f"{needed.required} people"
    able = f" (of {', '.join(told.able)})" if told.able else ""
    yield f"  {people} with the role {role}, other than who asks, may override this{able}"
    if told.request:
        yield f"    opsascode approve {told.request}"
    elif told.not_asked is not None:
        yield f"    {_fault(told.not_asked)}"


def _fault(fault: OverrideFault) -> str:
    mend = f"; {fault.mend}" if fault.mend else ""
    code = f" [{fault.code}]" if fault.code else ""
    return f"{fault.message}{mend}{code}"


def overridden(verdict: GateVerdict) -> str:
    """Say who overrules the gate, and until when."""
    override = verdict.override
    return "" if override is None else f"overridden by {', '.join(override.by)} until {stamp(override.until)}"


def verdict_markdown(told: Told) -> str:
    """Write a verdict as a job summary."""
    verdict = told.verdict
    word = verdict.verdict.value
    lines = [f"## Gate of {cell(verdict.service)}, {cell(verdict.change_class)}: {_SIGNS[word]} {word}", ""]
    if told.change:
        lines += [f"Change: {cell(told.change)}", ""]
    if verdict.reasons:
        lines += ["| | reason | what | what would change it |", "|---|---|---|---|"]
        for each in verdict.reasons[:_SHOWN]:
            what = f"{cell(each.message)} ({cell(each.source)}, {cell(str(each.position))})"
            lines.append(f"| {each.effect.value} | {each.code.value} | {what} | {cell(each.mend)} |")
        lines.append("")
    else:
        lines += ["Nothing speaks against it.", ""]
    if verdict.exempt and verdict.found is not Verdict.PASS:
        lines += [f"Changes of this class are exempt by {cell(', '.join(verdict.exempt))}.", ""]
    lines += [f"- {cell(each.strip())}" for each in _override_sentences(told)]
    if verdict.unknown_policy:
        lines.append(f"- where something is not known, this gate {verdict.unknown_policy}")
    entry = "" if told.entry is None else f", ledger entry {told.entry}"
    return "\n".join([*lines, "", f"Verdict `{told.id}`{entry}", ""])


def verdict_annotations(told: Told) -> Iterator[str]:
    """Write a verdict as GitHub shows it beside a job (workflow commands)."""
    verdict = told.verdict
    level = _LEVELS[verdict.verdict.value]
    title = annotation_property(f"gate of {verdict.service}: {verdict.verdict.value}")
    counted = [each for each in verdict.reasons if each.effect is not Verdict.PASS]
    for each in counted[:_SHOWN]:
        place = f"file={annotation_property(each.position.path)},line={each.position.line},"
        yield f"::{level} {place}title={title}::{annotation_data(f'{each.code.value}: {each.message}. {each.mend}')}"
    if verdict.override is not None:
        yield f"::warning title={title}::{annotation_data(overridden(verdict))}"
    elif not counted:
        yield f"::{level} title={title}::nothing speaks against it"
    if told.request is not None and verdict.verdict is Verdict.BLOCK:
        yield f"::notice title={title}::it may be overridden: opsascode approve {told.request}"
    elif told.not_asked is not None and told.not_asked.mend:
        yield f"::warning title={title}::{annotation_data(_fault(told.not_asked))}"


def score_lines(cards: tuple[ScoreCard, ...]) -> Iterator[str]:
    """Show how a change did, by each policy."""
    for card in cards:
        yield f"score by {escape_line(card.policy)}: {card.verdict.value.upper()}, {escape_line(card.said)}"
        for each in card.criteria:
            key = ", key" if each.key else ""
            name = escape_line(each.name)
            yield f"  {each.verdict.value:<5}{name}: {escape_line(each.said)} (weight {each.weight}{key})"


def score_markdown(service: str, cards: tuple[ScoreCard, ...]) -> str:
    """Write scores as a job summary."""
    lines = []
    for card in cards:
        word = card.verdict.value
        lines += [f"## Score of {cell(service)} by {cell(card.policy)}: {_SIGNS[word]} {word}", "", cell(card.said), ""]
        lines += ["| | criterion | what | weight | key |", "|---|---|---|---|---|"]
        lines += [
            f"| {each.verdict.value} | {cell(each.name)} | {cell(each.said)} | {each.weight} | "
            f"{'yes' if each.key else ''} |"
            for each in card.criteria
        ]
        lines.append("")
    return "\n".join(lines)


def score_annotations(service: str, cards: tuple[ScoreCard, ...]) -> Iterator[str]:
    """Write scores as GitHub shows them beside a job (workflow commands)."""
    for card in cards:
        title = annotation_property(f"score of {service}: {card.verdict.value}")
        yield f"::{_LEVELS[card.verdict.value]} title={title}::{annotation_data(card.said)}"
        for each in card.criteria:
            if each.verdict.value != "pass":
                level = _LEVELS[each.verdict.value]
                yield f"::{level} title={title}::{annotation_data(f'{each.name}: {each.said}')}"
