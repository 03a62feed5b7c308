"""How did a change do? Its measures against fixed bounds and against earlier changes that did well.

Rules: a criterion such as `<600` is fixed; one with a sign, such as `<=+10%` or `>=-5`, is relative to the mean of
earlier passing scores of the same criterion, and passes where there are none yet. All bounds of `pass` must hold for
the full weight, all of `warn` for half of it. A value that is not there fails. One key criterion that fails, fails the
whole; else the share of the possible points decides.

Not here: asking for the values (`cli`), remembering earlier scores (`run`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Final

from opsascode.policy._gate_reasons import percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.proof import Json
    from opsascode.repo import Criterion, Scoring

_BOUND: Final = re.compile(r"(?P<sign><=|>=|<|>|=)(?P<relative>[+-]?)(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<percent>%?)")
_HALF: Final = Decimal("0.5")
_LEAST_PLAIN, _MOST_PLAIN = Decimal("0.0001"), Decimal(10**15)


class ScoreVerdict(Enum):
    """How a measure, or the whole of them, did."""

    PASS = "pass"  # noqa: S105 - no password, but the word of a score
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class CriterionValue:
    """What was measured for a criterion; None with `why` where nothing was."""

    value: Decimal | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CriterionScore:
    """How one criterion did: `said` is a sentence with its figures, `mean` what it was compared with."""

    name: str
    value: Decimal | None
    verdict: ScoreVerdict
    points: Decimal
    weight: int
    key: bool
    said: str
    mean: Decimal | None = None

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON; decimals as text."""
        return {
            "name": self.name,
            "value": None if self.value is None else str(self.value),
            "verdict": self.verdict.value,
            "points": str(self.points),
            "weight": self.weight,
            "key": self.key,
            "said": self.said,
            "mean": None if self.mean is None else str(self.mean),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreCard:
    """How a change did by one policy: `total` is the share of the possible points; `said` says why it is so."""

    policy: str
    verdict: ScoreVerdict
    total: Decimal
    criteria: tuple[CriterionScore, ...]
    compared_with: int
    said: str

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON; decimals as text."""
        return {
            "policy": self.policy,
            "verdict": self.verdict.value,
            "total": str(self.total),
            "criteria": [each.to_json() for each in self.criteria],
            "compared_with": self.compared_with,
            "said": self.said,
        }


def score(
    policy: str,
    scoring: Scoring,
    values: Mapping[str, CriterionValue],
    earlier: Sequence[Mapping[str, Decimal]],
) -> ScoreCard:
    """Score the measures of a change; `earlier` are the values of earlier passing scores, the newest first."""
    compared = earlier[: scoring.compare_with]
    missing = CriterionValue(value=None, why="it was not measured")
    criteria = tuple(_judge(each, values.get(each.name, missing), compared) for each in scoring.criteria)
    possible = sum(each.weight for each in criteria)
    reached = sum((each.points for each in criteria), Decimal(0))
    total = reached / possible if possible else Decimal(1)
    keys = [each.name for each in criteria if each.key and each.verdict is ScoreVerdict.FAIL]
    verdict = ScoreVerdict.FAIL if keys else _whole(scoring, reached, possible)
    bounds = f"pass is {percent(scoring.passes)}, warn is {percent(scoring.warns)}"
    said = f"{percent(total)} of the possible score; {bounds}"
    if keys:
        said += f"; it fails as the key criterion {', '.join(keys)} failed"
    return ScoreCard(
        policy=policy, verdict=verdict, total=total, criteria=criteria, compared_with=len(compared), said=said
    )


def bound_problem(text: str) -> str:
    """Say what is wrong with a bound such as `<600` or `<=+10%`; nothing where it is one."""
    found = _BOUND.fullmatch(text.replace(" ", ""))
    if found is None:
        return f"{text!r} is no bound such as <600, >=99.9, <=+10% or <=+5"
    if found["percent"] and not found["relative"]:
        return f"{text!r} is a percentage of earlier values, and needs a sign: <=+10% or >=-10%"
    return ""


def _whole(scoring: Scoring, reached: Decimal, possible: int) -> ScoreVerdict:
    if reached >= scoring.passes * possible:
        return ScoreVerdict.PASS
    return ScoreVerdict.WARN if reached >= scoring.warns * possible else ScoreVerdict.FAIL


def _judge(criterion: Criterion, found: CriterionValue, earlier: Sequence[Mapping[str, Decimal]]) -> CriterionScore:
    known = [each[criterion.name] for each in earlier if criterion.name in each]
    mean = sum(known, Decimal(0)) / len(known) if known else None
    value = found.value if found.value is not None and found.value.is_finite() else None
    if value is None:
        verdict, said = ScoreVerdict.FAIL, f"there is no value: {found.why or found.value}"
    else:
        verdict, said = _verdict(criterion, value, mean)
    points = {ScoreVerdict.PASS: Decimal(1), ScoreVerdict.WARN: _HALF, ScoreVerdict.FAIL: Decimal(0)}[verdict]
    return CriterionScore(
        name=criterion.name,
        value=value,
        verdict=verdict,
        points=points * criterion.weight,
        weight=criterion.weight,
        key=criterion.key,
        said=said,
        mean=mean,
    )


def _verdict(criterion: Criterion, value: Decimal, mean: Decimal | None) -> tuple[ScoreVerdict, str]:
    broken = [each for each in criterion.passes if not _holds(each, value, mean)]
    if not broken:
        first = any(_is_relative(each) for each in criterion.passes) and mean is None
        more = "; there is no earlier score to compare with, which passes" if first else ""
        return ScoreVerdict.PASS, f"{_plain(value)} holds {_all(criterion.passes, mean)}{more}"
    said = f"{_plain(value)} does not hold {_all(broken, mean)}"
    if criterion.warns and all(_holds(each, value, mean) for each in criterion.warns):
        return ScoreVerdict.WARN, f"{said}, only {_all(criterion.warns, mean)}"
    return ScoreVerdict.FAIL, said


def _holds(text: str, value: Decimal, mean: Decimal | None) -> bool:
    found = _BOUND.fullmatch(text.replace(" ", ""))
    if found is None or bound_problem(text):
        return False
    bound = _bound(found, mean)
    if bound is None:
        return True
    by_sign = {"<": value < bound, "<=": value <= bound, ">": value > bound, ">=": value >= bound, "=": value == bound}
    return by_sign[found["sign"]]


def _bound(found: re.Match[str], mean: Decimal | None) -> Decimal | None:
    """Give the value that a bound stands for; None where it is relative to nothing yet."""
    number = Decimal(found["number"])
    if not found["relative"]:
        return number
    if mean is None:
        return None
    step = abs(mean) * number / 100 if found["percent"] else number
    return mean + step if found["relative"] == "+" else mean - step


def _is_relative(text: str) -> bool:
    found = _BOUND.fullmatch(text.replace(" ", ""))
    return bool(found and found["relative"])


def _all(bounds: Sequence[str], mean: Decimal | None) -> str:
    """Write bounds, the relative ones with what they are relative to."""
    return " and ".join(
        f"{each} of {_plain(mean)}" if mean is not None and _is_relative(each) else each for each in bounds
    )


def _plain(value: Decimal) -> str:
    """Write a decimal with no more digits than anybody reads."""
    if value and not _LEAST_PLAIN <= abs(value) < _MOST_PLAIN:
        return f"{value:.6g}"
    text = f"{value:.6f}"
    return text.rstrip("0").rstrip(".")
