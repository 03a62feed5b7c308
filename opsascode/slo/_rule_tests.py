"""Do the rules do what they should? Unit tests of them, for `promtool test rules`.

What is expected is worked out from the policies, not from the rules. The file says of which promises no series could be
invented (native histograms, expressions): there, what the first rules would record is put in.

Not here: the tests of one promise (`_rule_cases`), the series (`_feeds`), YAML (`_written`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from opsascode.slo._rule_cases import Promise
from opsascode.slo._series import step_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opsascode.slo._rule_cases import Case
    from opsascode.slo._rules import RuleFile


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleTests:
    """The unit tests of the rules of one service; `left_out` says what is not tested from its own metrics."""

    rules: str
    interval: timedelta
    cases: tuple[Case, ...]
    left_out: tuple[str, ...]


def rule_tests(file: RuleFile) -> RuleTests:
    """Give the unit tests of the rules of one service; promtool evaluates all rules of a file at one pace."""
    pairs = [(policy, target) for policy in file.policies for target in policy.targets]
    step = min((step_of(*each) for each in pairs), default=timedelta(minutes=1))
    promises = [Promise(policy=policy, target=target, step=step) for policy, target in pairs]
    return RuleTests(
        rules=f"{file.name}.rules.yml",
        interval=step,
        cases=tuple(_merged(promises)),
        left_out=tuple(
            f"{each.name}: no series can be invented for its queries; what they would record is put in"
            for each in promises
            if not each.real
        ),
    )


def _merged(promises: Sequence[Promise]) -> Iterator[Case]:
    """Put the same case of several promises into one where their series cannot meet: each test evaluates all rules."""
    kinds: dict[tuple[str, timedelta], list[Case]] = {}
    alone: list[Case] = []
    for promise in promises:
        for case in promise.cases():
            if promise.real:
                together = kinds.setdefault((case.name, case.interval), [])
                _put(together, case)
            else:
                alone.append(case)
    for cases in kinds.values():
        yield from cases
    yield from alone


def _put(together: list[Case], case: Case) -> None:
    for index, other in enumerate(together):
        if not _metrics(other) & _metrics(case):
            together[index] = replace(
                other,
                about=(*other.about, *case.about),
                series=(*other.series, *case.series),
                expectations=(*other.expectations, *case.expectations),
            )
            return
    together.append(case)


def _metrics(case: Case) -> set[str]:
    """Give the metrics a case puts in; what rules record is told apart by its labels."""
    return {name for series, _ in case.series if not (name := series.partition("{")[0]).startswith("slo:")}
