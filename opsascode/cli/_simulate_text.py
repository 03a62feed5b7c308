"""How is a simulation shown: counts first, then each record that would be decided otherwise, and by which rule?

For people at a terminal, in Markdown for a pull request, and as JSON for programs, which alone is complete. Names and
reasons come from records and from a candidate that nobody has reviewed yet, so all of them are escaped.

Not here: what is simulated (`_policy_simulate`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final

import click

from opsascode.cli._console import count, escape_line, stamp, wants_colour
from opsascode.cli._github import cell, code

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from opsascode.policy import ChangeKind, DecidingRule, Difference, Simulation

SHOWN: Final = 50
_RULES: Final = 3
_LONGEST: Final = 240
_COLOURS: Final = {"newly allowed": "red", "newly denied": "yellow", "gate verdict looser": "red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A simulation with what it was made from, in words; `notes` are said beside it.

    `itself` tells that the candidate is what is in force: then what the policies of the time decided is what counts.
    """

    simulation: Simulation
    candidate: str
    current: str
    since: datetime
    itself: bool = False
    notes: tuple[str, ...] = ()

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What would be decided otherwise."""
        return self.simulation.since if self.itself else self.simulation.differences

    @property
    def shown(self) -> Sequence[Difference]:
        """What is shown row by row: kind by kind as the counts are, so that newly allowed is never what is cut off."""
        order = list(self.simulation.counts)
        return sorted(self.differences, key=lambda each: order.index(each.change))[:SHOWN]


def simulation_lines(told: Told) -> Iterator[str]:
    """Show a simulation to a person."""
    yield f"candidate  {escape_line(told.candidate)}"
    yield f"compared   {escape_line(_compared(told))}"
    yield f"records    {_records(told)}"
    yield f"replayed   {_replayed(told)}"
    yield from (f"           {why}" for why in _reasons(told))
    yield from (f"note       {escape_line(each)}" for each in told.notes)
    yield ""
    counts = _counts(told)
    if not counts:
        yield _nothing(told)
        return
    width = max(len(kind.value) for kind, _ in counts)
    for kind, number in counts:
        yield f"{_coloured(kind.value.ljust(width), kind.value)}  {number}"
    yield ""
    for each in told.shown:
        yield from _row_lines(each)
    if len(told.differences) > SHOWN:
        yield f"and {len(told.differences) - SHOWN} more: --format json names all"


def simulation_markdown(told: Told) -> str:
    """Write a simulation for a pull request: whatever comes from records or documents is data there, and no markup."""
    lines = ["## What these policies would have decided", ""]
    lines.append(f"Candidate: {cell(told.candidate)}. Compared with: {cell(_compared(told))}.")
    lines += ["", f"- Records: {cell(_records(told))}", f"- Replayed: {cell(_replayed(told))}"]
    lines += [f"- {cell(each)}" for each in (*_reasons(told), *told.notes)]
    counts = _counts(told)
    if not counts:
        return "\n".join([*lines, "", f"**{_nothing(told)}**", ""])
    lines += ["", "| change | records |", "|---|---|"]
    lines += [f"| **{kind.value}** | {number} |" for kind, number in counts]
    lines += ["", "| change | record | time | what | where | decision | rules |", "|---|---|---|---|---|---|---|"]
    lines += [_row(each) for each in told.shown]
    if len(told.differences) > SHOWN:
        lines += ["", f"and {len(told.differences) - SHOWN} more: `opsascode policy simulate --format json` names all."]
    return "\n".join([*lines, ""])


def simulation_json(told: Told) -> dict[str, object]:
    """Give everything for programs."""
    simulation = told.simulation
    return {
        "candidate": told.candidate,
        "current": told.current,
        "since": told.since.isoformat(),
        "records": {kind.value: number for kind, number in sorted(simulation.records.items(), key=_by_value)},
        "replayed": simulation.replayed,
        "counts": {kind.value: number for kind, number in simulation.counts.items()},
        "differences": [_difference_json(each) for each in simulation.differences],
        "decided_otherwise_then": [_difference_json(each) for each in simulation.since],
        "not_replayed": [
            {"kind": each.kind.value, "id": each.id, "at": each.at.isoformat(), "about": each.about, "why": each.why}
            for each in simulation.not_replayed
        ],
        "notes": list(told.notes),
    }


def _by_value(pair: tuple[object, int]) -> str:
    return str(getattr(pair[0], "value", ""))


def _difference_json(each: Difference) -> dict[str, object]:
    return {
        "change": each.change.value,
        "kind": each.kind.value,
        "id": each.id,
        "at": each.at.isoformat(),
        "about": each.about,
        "where": each.where,
        "before": each.before,
        "after": each.after,
        "rules": [
            {
                "source": rule.source,
                "message": rule.message,
                "position": str(rule.position) if rule.position else None,
                "gone": rule.gone,
            }
            for rule in each.rules
        ],
    }


def _nothing(told: Told) -> str:
    """Say that nothing differs, and of how much that is said: of nothing at all, it would tell a reviewer nothing."""
    simulation = told.simulation
    if not simulation.replayed:
        return "Nothing was replayed, which says nothing about these policies."
    if simulation.not_replayed:
        return "Of what could be replayed, nothing would be decided otherwise."
    return "Nothing would be decided otherwise."


def _compared(told: Told) -> str:
    if told.itself:
        return "what was decided at the time"
    return f"{told.current}, each record judged by both at its own time"


def _records(told: Told) -> str:
    named = [
        count(number, kind.value) for kind, number in sorted(told.simulation.records.items(), key=_by_value) if number
    ]
    day = stamp(told.since.astimezone(UTC))
    return f"{', '.join(named) or 'none'} since {day}"


def _replayed(told: Told) -> str:
    simulation = told.simulation
    lacking = len(simulation.not_replayed)
    total = sum(simulation.records.values())
    if not total:
        return "nothing, as nothing was recorded"
    return f"{simulation.replayed} of {total}" + (
        f"; {lacking} cannot be replayed, and are not guessed" if lacking else ""
    )


def _reasons(told: Told) -> Iterator[str]:
    """Count why records cannot be replayed, and what the policies of the time decided otherwise."""
    found = Counter(each.why for each in told.simulation.not_replayed)
    for why, number in sorted(found.items(), key=lambda each: (-each[1], each[0]))[:_RULES]:
        yield f"{number}: {_short(why)}"
    if len(found) > _RULES:
        yield f"and {len(found) - _RULES} more reasons"
    earlier = len(told.simulation.since)
    if earlier and not told.itself:
        yield f"{count(earlier, 'record')} would be decided otherwise by {told.current} already: not counted below"


def _counts(told: Told) -> Sequence[tuple[ChangeKind, int]]:
    found = Counter(each.change for each in told.differences)
    return [(kind, found[kind]) for kind in told.simulation.counts if found[kind]]


def _row_lines(each: Difference) -> Iterator[str]:
    when = stamp(each.at.astimezone(UTC))
    what = f"{escape_line(each.about)} on {escape_line(each.where)}" if each.where else escape_line(each.about)
    change = _coloured(each.change.value, each.change.value)
    yield f"{change}  {each.kind.value} {escape_line(each.id)}  {when}  {what}: {_decision(each)}"
    for rule in each.rules[:_RULES]:
        yield f"    {escape_line(_rule(rule))}"
    if len(each.rules) > _RULES:
        yield f"    and {len(each.rules) - _RULES} more"


def _row(each: Difference) -> str:
    rules = [cell(_rule(rule)) for rule in each.rules[:_RULES]]
    if len(each.rules) > _RULES:
        rules.append(f"and {len(each.rules) - _RULES} more")
    cells = (
        each.change.value,
        f"{each.kind.value} `{code(_short(each.id))}`",
        stamp(each.at.astimezone(UTC)),
        cell(_short(each.about)),
        cell(_short(each.where)),
        cell(_decision(each)),
        "<br>".join(rules),
    )
    return f"| {' | '.join(cells)} |"


def _decision(each: Difference) -> str:
    return escape_line(f"{each.before} -> {each.after}")


def _rule(rule: DecidingRule) -> str:
    where = f" ({rule.position})" if rule.position else ""
    said = f"no longer {rule.source}" if rule.gone else rule.source
    return f"{_short(said)}: {_short(rule.message)}{where}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _coloured(text: str, kind: str) -> str:
    colour = _COLOURS.get(kind)
    return click.style(text, fg=colour) if colour and wants_colour() else text
