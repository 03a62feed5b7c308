"""How is it said why a rule matches or not, and what would change the answer?

Every part that matches could be made not to match; each of these ways alone takes a rule away. A condition is tried
with other facts: as a prediction, with fewer hosts, by somebody with a role it names, later. What is said is what it
then answered, not a guess.

Not here: whether a part matches (`_rule_match`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from opsascode.policy._guardrail import Reason
from opsascode.policy._moment import Moment, Unknown, Window, said_span, said_time
from opsascode.policy._requirement import said_limit
from opsascode.policy._rule_match import (
    CONDITION,
    TRIGGERS,
    Match,
    budget_of,
    match_part,
    matching_modules,
    names_time,
    parts_of,
    share_of,
    unanswered,
)
from opsascode.repo import BudgetLevel, Effect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from opsascode.policy._guardrail import Subject
    from opsascode.repo import Guardrail, Rule

_SHOWN: Final = 5
_HOURS_TRIED: Final = 7 * 24
_LITERAL: Final = re.compile(r"'([\w.:@-]+)'|\"([\w.:@-]+)\"")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSeen:
    """One part of a rule: whether it matches, because of what, and what would change that (empty: nothing known)."""

    name: str
    match: Match
    said: str
    change: str = ""


def parts_seen(rule: Rule, subject: Subject, moment: Moment) -> Iterator[PartSeen]:
    """Look at every part of a rule, also behind one that does not match."""
    for part in parts_of(rule):
        match = match_part(part, rule, subject, moment)
        if subject.undoes and (part.timely or (part is CONDITION and names_time(rule))):
            yield PartSeen(name=part.name, match=match, said="time does not hold up an undo")
        else:
            said, change = _SAY[part.name](rule, subject, moment, match)
            yield PartSeen(name=part.name, match=match, said=said, change=change)


def denial(guardrail: Guardrail, rule: Rule, match: Match, subject: Subject, moment: Moment | None) -> Reason:
    """Give the reason of a rule that denies; with a moment, also what would change it."""
    mend, doubt = "", ""
    if moment:
        parts = tuple(parts_seen(rule, subject, moment))
        mend = ", or ".join(dict.fromkeys(each.change for each in parts if each.change))
        doubts = [each.said for each in parts if each.match is Match.UNKNOWN]
        doubt = f" (it counts as matching: {'; '.join(doubts)})" if match is Match.UNKNOWN else ""
    return Reason(
        code="denied",
        message=f"{rule.reason}{doubt}",
        source=f"guardrail {guardrail.metadata.name}",
        position=rule.position,
        mend=mend,
        rule=rule.name,
    )


def default_mend(guardrail: Guardrail, subject: Subject, moment: Moment) -> str:
    """Say what would let a rule allow a plan which none does: the rules that only one part keeps from matching."""
    ways = []
    for rule in guardrail.rules:
        parts = [each for each in parts_seen(rule, subject, moment) if each.match is not Match.YES]
        if rule.effect is not Effect.DENY and len(parts) == 1 and parts[0].change:
            ways.append(f"{parts[0].change} (rule {rule.name})")
    return ", or ".join(dict.fromkeys(ways))


def _triggers(rule: Rule, subject: Subject, _: Moment, match: Match) -> tuple[str, str]:
    asked = rule.who.triggers
    others = [each for each in TRIGGERS if (each in asked) is (match is Match.NO)]
    change = f"started by {_either(others)}" if others else ""
    return f"it is started by {subject.trigger.value}; asked: {_either(asked)}", change


def _roles(rule: Rule, subject: Subject, _: Moment, match: Match) -> tuple[str, str]:
    own = f"the roles {_some(sorted(subject.roles))}" if subject.roles else "no role in the trust root"
    who = f"the account {subject.account}" if subject.account else "who starts it"
    asked = _either(rule.who.roles)
    change = f"by somebody with the role {asked}" if match is Match.NO else f"by somebody without the role {asked}"
    return f"{who} has {own}; asked: {asked}", change


def _runbooks(rule: Rule, subject: Subject, _: Moment, __: Match) -> tuple[str, str]:
    return f"the runbook is {subject.runbook}; asked: {_either(rule.what.runbooks)}", ""


def _labels(rule: Rule, subject: Subject, _: Moment, __: Match) -> tuple[str, str]:
    asked = rule.what.labels
    own = {key: subject.labels.get(key) for key in asked}
    return f"its labels are {_pairs(own)}; asked: {_pairs(asked)}", ""


def _tags(rule: Rule, subject: Subject, _: Moment, match: Match) -> tuple[str, str]:
    found = [each for each in rule.what.tags if each in subject.tags]
    if match is Match.YES:
        return f"tasks of it have the tags {_some(found)}", f"without tasks that have the tags {_some(found)}"
    return _unseen(subject, match, f"no task of it has the tags {_either(rule.what.tags)}")


def _modules(rule: Rule, subject: Subject, _: Moment, match: Match) -> tuple[str, str]:
    found = matching_modules(rule.what.modules, subject.modules)
    if match is Match.YES:
        return f"it uses {_some(found)}", f"without {_some(found)}"
    return _unseen(subject, match, f"it uses no module like {_either(rule.what.modules)}")


def _unseen(subject: Subject, match: Match, said: str) -> tuple[str, str]:
    if match is Match.NO:
        return said, ""
    if not subject.opaque:
        return "its record was cut, and does not hold everything", ""
    return f"nobody can look into {_some(subject.opaque)}", "with content that can be looked into"


def _groups(rule: Rule, subject: Subject, _: Moment, match: Match) -> tuple[str, str]:
    found = [each for each in rule.where.groups if each in subject.groups]
    if match is Match.YES:
        return f"hosts of it are in {_some(found)}", f"with --limit to hosts outside of {_some(found)}"
    return f"no host of it is in {_either(rule.where.groups)}", f"on hosts of {_either(rule.where.groups)}"


def _environments(rule: Rule, subject: Subject, _: Moment, match: Match) -> tuple[str, str]:
    own, asked = _some(sorted(subject.environments)) or "unknown", _either(rule.where.environments)
    change = f"with the inventory of {asked}" if match is Match.NO else f"with another inventory than {own}"
    return f"its environment is {own}; asked: {asked}", change


def _hosts(rule: Rule, subject: Subject, _: Moment, match: Match) -> tuple[str, str]:
    over = rule.where.hosts_over or 0
    change = said_limit(over) if match is Match.YES and over else ""
    hosts = "1 host" if subject.host_count == 1 else f"{subject.host_count} hosts"
    return f"it is on {hosts}; asked: more than {over}", change


def _percent(rule: Rule, subject: Subject, _: Moment, match: Match) -> tuple[str, str]:
    over = rule.where.percent_over
    if over is None:
        return "", ""
    most = share_of(over, subject.inventory_total)
    said = f"it is on {subject.host_count} of {subject.inventory_total} hosts; asked: more than {over:f}%"
    return said, said_limit(most) if match is Match.YES else ""


def _during(rule: Rule, _: Subject, moment: Moment, match: Match) -> tuple[str, str]:
    names = rule.when.during
    found = moment.open(names)
    if isinstance(found, Unknown):
        return found.reason, ""
    if isinstance(found, Window):
        why = f" ({found.reason})" if found.reason else ""
        said = f"the window {found.name} is open until {found.until}{why}"
        return said, "" if match is Match.NO else _when_closed(names, moment)
    return f"no window of {_either(names)} is open", _when_open(names, moment)


def _outside(rule: Rule, _: Subject, moment: Moment, __: Match) -> tuple[str, str]:
    names = rule.when.outside
    found = moment.open(names)
    if isinstance(found, Unknown):
        return found.reason, ""
    if isinstance(found, Window):
        return f"the window {found.name} is open until {found.until}", _when_closed(names, moment)
    return f"no window of {_either(names)} is open", _when_open(names, moment)


def _when_closed(names: tuple[str, ...], moment: Moment) -> str:
    window = moment.closing(names)
    if window is None:
        return ""
    return f"in {said_span(window.end - moment.now)}, when the window {window.name} closes at {window.until}"


def _when_open(names: tuple[str, ...], moment: Moment) -> str:
    found = moment.opening(names)
    if found is None:
        return ""
    at, window = found
    opens = said_time(at, window.timezone)
    return f"in {said_span(at - moment.now)}, when the window {window.name} opens at {opens}"


def _budget(rule: Rule, subject: Subject, _: Moment, match: Match) -> tuple[str, str]:
    asked = rule.when.budget
    if asked is None:
        return "", ""
    seen = budget_of(subject, asked.service)
    share = "" if seen.consumed is None else f", {100 * seen.consumed:.1f}% of it is consumed"
    levels = _either([each.value for each in asked.levels])
    said = f"the error budget of {asked.service} is at {seen.level.value}{share}; asked: {levels}"
    others = [each.value for each in BudgetLevel if (each in asked.levels) is (match is Match.NO)]
    return said, f"once the error budget of {asked.service} is at {_either(others)}" if others else ""


def _condition(rule: Rule, subject: Subject, moment: Moment, match: Match) -> tuple[str, str]:
    text = rule.condition.text if rule.condition else ""
    if match is Match.UNKNOWN:
        return f"the condition «{text}» has no answer: {unanswered(rule, subject, moment)}", ""
    wanted = Match.YES if match is Match.NO else Match.NO
    ways = _tried(rule, subject, moment, wanted) if rule.condition else ()
    word = "holds" if match is Match.YES else "does not hold"
    return f"the condition «{text}» {word}", ", or ".join(ways)


def _tried(rule: Rule, subject: Subject, moment: Moment, wanted: Match) -> Iterator[str]:
    """Try a condition with other facts, and say which of them would change its answer."""

    def answers(**facts: object) -> bool:
        return CONDITION.match(rule, replace(subject, **facts), moment) is wanted  # type: ignore[arg-type]  # each name is a field of a subject

    if not subject.predicts and answers(predicts=True):
        yield "as a prediction with --check"
    if subject.dirty and answers(dirty=False):
        yield "from a clean tree"
    if subject.host_count > 1 and answers(host_count=1):
        yield said_limit(_most(lambda count: answers(host_count=count), subject.host_count))
    text = rule.condition.text if rule.condition else ""
    for role in dict.fromkeys(one or other for one, other in _LITERAL.findall(text) if "who.roles" in text):
        if role not in subject.roles and answers(roles=subject.roles | {role}):
            yield f"by somebody with the role {role}"
    if names_time(rule):
        yield from _later(rule, subject, moment, wanted)


def _later(rule: Rule, subject: Subject, moment: Moment, wanted: Match) -> Iterator[str]:
    """Try the full hours of a week."""
    hour = moment.now.replace(minute=0, second=0, microsecond=0)
    for number in range(1, _HOURS_TRIED + 1):
        at = hour + timedelta(hours=number)
        if CONDITION.match(rule, subject, moment.at(at)) is wanted:
            yield f"in {said_span(at - moment.now)}, at {said_time(at, 'UTC')}"
            return


def _most(holds: Callable[[int], bool], upper: int) -> int:
    """Give the largest number below `upper` for which it holds, as it does for 1, taking it to be one stretch."""
    low, high = 1, upper
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _either(names: Iterable[str]) -> str:
    listed = list(names)
    return " or ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else "".join(listed)


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _pairs(labels: Mapping[str, str | None]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items() if value is not None) or "not there"


_SAY: Final[Mapping[str, Callable[[Rule, Subject, Moment, Match], tuple[str, str]]]] = {
    "who.triggers": _triggers,
    "who.roles": _roles,
    "what.runbooks": _runbooks,
    "what.labels": _labels,
    "what.tags": _tags,
    "what.modules": _modules,
    "where.groups": _groups,
    "where.environments": _environments,
    "where.hosts_over": _hosts,
    "where.percent_over": _percent,
    "when.during": _during,
    "when.outside": _outside,
    "when.budget": _budget,
    "if": _condition,
}
