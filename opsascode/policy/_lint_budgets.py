"""Do promises, alerts, severities and escalation fit each other?

An alert compares a share of bad events with factor * budget; from 1 on, nothing can be that bad and it never fires. An
incident that is resolved in the very time that is promised burns impact * time / (window * budget) of a budget; that
is said where it is more than all of it. Figures are those of even traffic.

Not here: guardrails (`_lint_rules`), runbooks (`_lint_runbooks`).
"""

from __future__ import annotations

from datetime import timedelta
from decimal import ROUND_CEILING, Decimal, localcontext
from typing import TYPE_CHECKING, Final

from opsascode.repo import (
    CalendarUnit,
    Histogram,
    Notify,
    Problem,
    Rolling,
    Severity,
    did_you_mean,
    quoted,
)
from opsascode.slo import burn_windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from opsascode.errors import Position
    from opsascode.repo import (
        People,
        Policies,
        ReliabilityPolicy,
        SeverityLevel,
        SeverityScheme,
        Target,
    )
    from opsascode.slo import BurnWindow

# The longest a unit can be: what burns all of that budget burns all of every one.
_LONGEST: Final[Mapping[CalendarUnit, timedelta]] = {
    CalendarUnit.WEEK: timedelta(days=7),
    CalendarUnit.MONTH: timedelta(days=31),
    CalendarUnit.QUARTER: timedelta(days=92),
    CalendarUnit.YEAR: timedelta(days=366),
}
_SECOND: Final = timedelta(seconds=1)
_ALL: Final = Decimal(100)
_MINUTE: Final = 60


def alert_problems(policies: Policies) -> Iterator[Problem]:
    """Report every pair of windows that no share of bad events can reach, once for each promise."""
    for policy in policies.reliability:
        windows = burn_windows(policy)
        for target in policy.targets:
            for window in windows:
                if not window.possible(target.target):
                    yield _never_fires(policy, target, window)


def _never_fires(policy: ReliabilityPolicy, target: Target, window: BurnWindow) -> Problem:
    threshold = window.threshold(target.target)
    # The smallest long window that can be reached has factor * budget below 1, and the factor falls as it grows.
    minutes = int(_seconds(window.long) * threshold // _MINUTE) + 1
    lowest = 1 - 1 / window.factor
    return Problem(
        position=target.position,
        code="alert-never-fires",
        severity=Severity.WARNING,
        message=(
            f"the {window.level.value} alert over {span(window.long)} and {span(window.short)} can never fire for "
            f"{quoted(target.id)}: a burn of {figure(window.factor)} on a budget of {percent(1 - target.target)} "
            f"needs {percent(threshold)} bad events, and there are at most 100%"
        ),
        mend=(
            f"promise {percent(lowest, up=True)} or more, or write a long window of {span(timedelta(minutes=minutes))} "
            f"or more, or a smaller budget, in alerting of {policy.metadata.name}"
        ),
    )


def resolution_problems(policies: Policies) -> Iterator[Problem]:
    """Report every level of which one incident, resolved as promised, burns more than a whole budget."""
    for scheme in policies.severities:
        for level in scheme.levels:
            burnt = sorted(_burnt(policies, level), key=lambda each: each[0], reverse=True)
            if burnt:
                yield _burns_all(level, burnt)


def _burnt(policies: Policies, level: SeverityLevel) -> Iterator[tuple[Decimal, ReliabilityPolicy, Target]]:
    """Give every policy of which it burns the whole budget, with its promise that suffers most."""
    if level.impact is None or level.resolve_within is None:
        return
    for policy in policies.reliability:
        costs = [
            (consumed_by(policy, target, level.impact / _ALL, level.resolve_within), target)
            for target in policy.targets
            if not isinstance(target.indicator, Histogram)  # a failed request is not a slow one
        ]
        if costs:
            cost, target = max(costs, key=lambda each: each[0])
            if cost > 1:
                yield cost, policy, target


def consumed_by(policy: ReliabilityPolicy, target: Target, impact: Decimal, lasting: timedelta) -> Decimal:
    """Say which share of a budget is gone after this share of requests failed for that long, at even traffic."""
    share = impact
    if target.slices is not None:
        share = Decimal(1) if 1 - impact < target.slices.target else Decimal(0)
    window = policy.window
    length = window.length if isinstance(window, Rolling) else _LONGEST[window.unit]
    return share * _seconds(lasting) / (_seconds(length) * (1 - target.target))


def _burns_all(level: SeverityLevel, burnt: list[tuple[Decimal, ReliabilityPolicy, Target]]) -> Problem:
    cost, policy, target = burnt[0]
    window = policy.window
    length = window.length if isinstance(window, Rolling) else _LONGEST[window.unit]
    budget = timedelta(seconds=float(_seconds(length) * (1 - target.target)))
    period = span(length) if isinstance(window, Rolling) else f"a {window.unit.value}"
    others = f"; and that of {len(burnt) - 1} more" if len(burnt) > 1 else ""
    return Problem(
        position=level.position,
        code="resolution-burns-budget",
        severity=Severity.WARNING,
        message=(
            f"one {level.label} incident that is resolved in time ({percent(_of_level(level))} of requests for "
            f"{span(level.resolve_within or timedelta())}) burns {percent(cost)} of the budget of "
            f"{quoted(target.id)} in {policy.metadata.name}, which is {span(budget)} in {period}{others}"
        ),
        mend="promise to resolve it sooner, write the impact it really has, or promise less to users",
    )


def _of_level(level: SeverityLevel) -> Decimal:
    return (level.impact or Decimal(0)) / _ALL


def escalation_problems(policies: Policies, people: People | None) -> Iterator[Problem]:
    """Report every chain that tells nobody, and every step that tells somebody whom the trust root does not know."""
    for policy in policies.reliability:
        told = [step for step in policy.escalation_chain if isinstance(step, Notify)]
        if not told:
            yield _nobody(
                policy.escalation_chain[0].position if policy.escalation_chain else policy.position,
                f"the escalation chain of {policy.metadata.name} tells nobody: it has no step with notify",
                "write a step such as notify: team:sre",
            )
        if people is None:
            continue
        for step in told:
            yield from _unknown(step, people)


def _unknown(step: Notify, people: People) -> Iterator[Problem]:
    kind, colon, name = step.whom.partition(":")
    if not colon:
        return
    if kind == "person" and people.person(name) is None:
        ids = [each.id for each in people.persons]
        mend = did_you_mean(name, ids) or "write the id of a person of the trust root"
        yield _nobody(step.position, f"{quoted(step.whom)} is nobody: the trust root has no such person", mend)
    if kind == "team":
        roles = {role for each in people.persons for role in each.roles}
        if name not in roles:
            mend = did_you_mean(name, roles) or "write a role of the trust root"
            yield _nobody(
                step.position, f"{quoted(step.whom)} is nobody: no person of the trust root has that role", mend
            )


def _nobody(position: Position, message: str, mend: str) -> Problem:
    return Problem(
        position=position, code="escalation-names-nobody", severity=Severity.WARNING, message=message, mend=mend
    )


def severity_problems(schemes: Iterable[SeverityScheme]) -> Iterator[Problem]:
    """Report every word that means two ranks, whatever its case: an error within a scheme, else a warning."""
    first: dict[str, tuple[SeverityScheme, SeverityLevel, str]] = {}
    for scheme in schemes:
        own: dict[str, tuple[SeverityLevel, str]] = {}
        for level in scheme.levels:
            for word in (level.label, *level.aliases):
                folded = word.casefold()
                mine, known = own.get(folded), first.get(folded)
                if mine is not None and mine[0].rank != level.rank:
                    yield _two_ranks(level, word, mine, scheme, Severity.ERROR)
                elif mine is None and known is not None and known[1].rank != level.rank:
                    yield _two_ranks(level, word, known[1:], known[0], Severity.WARNING)
                own.setdefault(folded, (level, word))
        for folded, (level, word) in own.items():
            first.setdefault(folded, (scheme, level, word))


def _two_ranks(
    level: SeverityLevel,
    word: str,
    other: tuple[SeverityLevel, str],
    scheme: SeverityScheme,
    severity: Severity,
) -> Problem:
    known, spelled = other
    where = "this scheme" if severity is Severity.ERROR else f"the scheme {scheme.metadata.name}"
    return Problem(
        position=level.position,
        code="severity-alias-collision",
        severity=severity,
        message=(
            f"{quoted(word)} means rank {level.rank} here and {quoted(spelled)} rank {known.rank} in {where} "
            f"({known.position.path}:{known.position.line}); case makes no difference"
        ),
        mend="keep the word at one rank",
    )


def _seconds(length: timedelta) -> Decimal:
    return Decimal(length // timedelta(microseconds=1)) / 1_000_000


def percent(share: Decimal, *, up: bool = False) -> str:
    """Write a share as a percentage of at most four places, where asked rounded up."""
    return f"{figure(share * _ALL, up=up)}%"


def figure(number: Decimal, *, up: bool = False) -> str:
    """Write a number with at most four places, without zeros at its end."""
    with localcontext() as context:
        context.prec = 60
        rounding = ROUND_CEILING if up else None
        text = f"{number.quantize(Decimal('0.0001'), rounding=rounding):f}"
    return text.rstrip("0").rstrip(".")


def span(length: timedelta) -> str:
    """Write a length of time as people do, in its two largest units: 3d, 6h, 21m36s."""
    left = round(length / _SECOND)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"
