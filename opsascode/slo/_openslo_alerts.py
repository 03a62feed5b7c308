"""Which alerts does an SLO of OpenSLO have, and who is told?

A condition of OpenSLO is a burn rate over one window. Ours are pairs: the short window, a twelfth of the long one, ends
the alert soon after it is over. The share of the budget follows from burn rate and window.

Not here: promises (`_openslo`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from opsascode.repo import AlertLevel, AlertWindow, parse_duration
from opsascode.slo._budget import exact, nominal_length, plain, ratio
from opsascode.slo._burn import default_windows
from opsascode.slo._exchange import MOST_PLACES, share_of
from opsascode.slo._openslo_words import BUDGET, SHORT, length_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.repo import CalendarPeriod, Rolling
    from opsascode.slo._exchange import Reading, Where
    from opsascode.slo._openslo_metrics import Find

_MINUTE: Final = timedelta(minutes=1)
_SHORTER: Final = 12
_PAGES: Final = frozenset({"page", "critical", "high", "urgent", "emergency", "sev0", "sev1", "p0", "p1", "0", "1"})
_SOMEBODY: Final = re.compile(
    r"(team|person):[A-Za-z0-9][A-Za-z0-9._@-]{0,99}|[A-Za-z0-9][A-Za-z0-9._+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,199}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerting:
    """The pairs of windows, none for the usual ones; and who is told, as far as that is said in our words."""

    windows: tuple[AlertWindow, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """The alert policies of one SLO."""

    reading: Reading
    find: Find
    window: Rolling | CalendarPeriod

    def read(self, words: Mapping[str, Any]) -> Alerting:
        """Understand them; `words` are those of our own annotation, if there is one."""
        found: list[AlertWindow] = []
        told: list[str] = []
        count = len(self.reading.sequence("spec", "alertPolicies"))
        for index in range(count):
            place: Where = ("spec", "alertPolicies", index)
            reference = self.reading.text(*place, "alertPolicyRef")
            policy = self.find("AlertPolicy", reference) if reference else self.reading
            if policy is None:
                self._lost(self.reading, place, f"the alert policy {reference}", "it is not among the documents")
                continue
            where: Where = () if reference else place
            found += self._conditions(policy, where)
            told += self._targets(policy, where)
        usual = default_windows(nominal_length(self.window))
        if not count and not words.get("spec"):
            self.reading.notes.guessed(
                self.reading.place("spec"),
                f"the SLO {self.reading.text('metadata', 'name')} has no alert policies; the usual alerts hold here",
                "write alerting where others are meant",
            )
        windows = tuple(dict.fromkeys(found))
        if words.get("usual_alerts") is True and sorted(windows, key=_order) == sorted(usual, key=_order):
            windows = ()
        return Alerting(windows=windows, told=tuple(dict.fromkeys(told)))

    def _conditions(self, policy: Reading, where: Where) -> list[AlertWindow]:
        spec = (*where, "spec")
        if policy.at(*spec, "alertWhenNoData") is True:
            what = "alertWhenNoData"
            self._lost(policy, (*spec, what), what, "rules of ours always tell a lost metric and no traffic apart")
        if policy.at(*spec, "alertWhenBreaching") is False:
            self._lost(policy, (*spec, "alertWhenBreaching"), "an alert that does not tell of a breach", "ours do")
            return []
        found = []
        for index in range(len(policy.sequence(*spec, "conditions"))):
            place = (*spec, "conditions", index)
            reference = policy.text(*place, "conditionRef")
            condition = self.find("AlertCondition", reference) if reference else policy
            if condition is None:
                self._lost(policy, place, f"the condition {reference}", "it is not among the documents")
                continue
            pair = self._pair(condition, () if reference else place)
            found += [] if pair is None else [pair]
        return found

    def _pair(self, condition: Reading, where: Where) -> AlertWindow | None:
        spec = (*where, "spec", "condition")
        name = condition.text(*where, "metadata", "name")
        factor = condition.decimal(*spec, "threshold")
        long = length_of(condition.text(*spec, "lookbackWindow"))
        if condition.text(*spec, "kind") not in ("burnrate", "") or not factor or factor < 0 or not long:
            self._lost(condition, where, f"the condition {name}", "it is no burn rate above 0 over a window")
            return None
        if length_of(condition.text(*spec, "alertAfter") or "0m"):
            why = "alerts of ours wait as long as their windows need"
            self._lost(condition, (*spec, "alertAfter"), f"alertAfter of {name}", why)
        short = self._short(condition, where, long)
        budget = self._budget(condition, where, factor, long)
        if budget is None:
            self._lost(condition, where, f"the condition {name}", "it burns more than the whole budget in its window")
            return None
        return AlertWindow(level=self._level(condition, where), long=long, short=short, budget=budget)

    def _short(self, condition: Reading, where: Where, long: timedelta) -> timedelta:
        own = condition.at(*where, "metadata", "annotations", SHORT)
        try:
            found = parse_duration(own) if isinstance(own, str) else timedelta()
        except ValueError:
            found = timedelta()
        if timedelta() < found < long:
            return found
        whole = max(long // _SHORTER // _MINUTE * _MINUTE, _MINUTE)
        short = whole if whole < long else long / 2
        name = condition.text(*where, "metadata", "name")
        what = f"the condition {name} has one window; here a short one of {short // _MINUTE}m ends the alert soon"
        condition.notes.changed(condition.place(*where), what)
        return short

    def _budget(self, condition: Reading, where: Where, factor: Decimal, long: timedelta) -> Decimal | None:
        """Give the share of the budget that is burnt, never more than the condition says."""
        period = nominal_length(self.window)
        share = exact(factor) * ratio(long, period)
        own = condition.at(*where, "metadata", "annotations", BUDGET)
        if isinstance(own, str) and own.endswith("%"):
            try:
                found = Decimal(own.removesuffix("%")).scaleb(-2)
            except ArithmeticError:
                found = Decimal(0)
            if 0 < found <= 1 and plain(exact(found) * ratio(period, long)) == plain(exact(factor)):
                return found
        rounded = plain(share).quantize(Decimal(1).scaleb(-MOST_PLACES), rounding=ROUND_FLOOR).normalize()
        if not 0 < rounded <= 1 or not (rounded == 1 or share_of(rounded)):
            return None
        if Fraction(rounded) != share:
            name = condition.text(*where, "metadata", "name")
            what = f"the burn rate {factor:f} of {name} is {rounded.scaleb(2):f}% of the budget here, rounded down"
            condition.notes.changed(condition.place(*where), what)
        return rounded

    def _level(self, condition: Reading, where: Where) -> AlertLevel:
        written = condition.text(*where, "spec", "severity")
        level = AlertLevel.PAGE if written.lower() in _PAGES else AlertLevel.TICKET
        if written.lower() != level.value:
            condition.notes.guessed(
                condition.place(*where, "spec", "severity"),
                f"the severity {written or 'that is not written'} is a {level.value} here",
                "write level: page or ticket in alerting",
            )
        return level

    def _targets(self, policy: Reading, where: Where) -> list[str]:
        """Give who is told, where the name or the target of a notification says it in our words."""
        found = []
        for index in range(len(policy.sequence(*where, "spec", "notificationTargets"))):
            place = (*where, "spec", "notificationTargets", index)
            reference = policy.text(*place, "targetRef")
            other = self.find("AlertNotificationTarget", reference) if reference else policy
            target = "" if other is None else other.text(*(() if reference else place), "spec", "target")
            if _SOMEBODY.fullmatch(target):
                found.append(target)
            else:
                what = f"the notification target {reference or policy.text(*place, 'metadata', 'name')}"
                self._lost(policy, place, what, "the escalation chain names a team, a person or an address")
        return found

    @staticmethod
    def _lost(reading: Reading, where: Where, what: str, why: str) -> None:
        reading.notes.lost(reading.place(*where), what, why)


def _order(pair: AlertWindow) -> tuple[object, ...]:
    return pair.long, pair.short, pair.level.value, pair.budget
