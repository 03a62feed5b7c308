"""How well has each runbook done, going by the records?

Rules: predictions (`--check`) and undos by hand count for nothing. The success rate is succeeded / (succeeded + failed
+ canceled + indeterminate). Durations are those of runs whose end was seen; percentiles are nearest-rank: the smallest
duration that at least so many percent of them do not exceed, so it is always one that was measured.

Not here: where the records come from (`_history`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.run._verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opsascode.run._history import History, RunSummary

OUTCOMES: Final = ("succeeded", "failed", "canceled", "indeterminate")
_MEDIAN: Final = 50
_MOST: Final = 95


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One runbook's runs in figures; `counts` are those that ended, by outcome; durations are seconds."""

    runbook: str
    runs: int
    counts: tuple[tuple[str, int], ...]
    success_rate: float | None
    p50: float | None
    p95: float | None
    last: RunSummary


def figures(history: History) -> tuple[Figures, ...]:
    """Give the figures of every runbook that was ever run, in the order of their names."""
    endings: dict[str, list[tuple[str, float]]] = {}
    for runbook, mode, outcome, seconds in history.finished():
        if mode == "run":
            endings.setdefault(runbook, []).append((outcome, seconds))
    runs = history.tally()
    return tuple(_figures(last, endings.get(last.runbook, []), runs[last.runbook]) for last in history.last_of_each())


def _figures(last: RunSummary, endings: Sequence[tuple[str, float]], runs: int) -> Figures:
    counts = dict.fromkeys(OUTCOMES, 0)
    for outcome, _ in endings:
        counts[outcome] = counts.get(outcome, 0) + 1
    judged = sum(counts[outcome] for outcome in OUTCOMES)
    durations = [seconds for outcome, seconds in endings if outcome != Outcome.INDETERMINATE.value]
    return Figures(
        runbook=last.runbook,
        runs=runs,
        counts=tuple(counts.items()),
        success_rate=counts["succeeded"] / judged if judged else None,
        p50=percentile(durations, _MEDIAN),
        p95=percentile(durations, _MOST),
        last=last,
    )


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Give the nearest-rank percentile of values in ascending order; `None` of none."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None
