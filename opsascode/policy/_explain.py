"""Why is a plan allowed or refused? Every guardrail and every rule that was considered, part by part.

Not here: deciding (`_judge`; it is asked, so that what is explained is what was decided).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.policy._guardrail import Refusal
from opsascode.policy._judge import prepare
from opsascode.policy._requirement import said_approvals
from opsascode.policy._rule_match import Match, in_scope, match_rule, parts_of
from opsascode.policy._rule_words import parts_seen
from opsascode.repo import Effect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from opsascode.errors import Position
    from opsascode.policy._guardrail import Permit, Subject
    from opsascode.policy._judge import Prepared, Ruling
    from opsascode.policy._moment import Moment
    from opsascode.policy._rule_words import PartSeen
    from opsascode.proof import Json
    from opsascode.repo import Guardrail, Policies, Requirements, Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleExplained:
    """One rule: whether it matches, part by part, whether it is among those that decide, and what follows."""

    name: str
    match: Match
    decides: bool
    parts: tuple[PartSeen, ...]
    follows: str
    reason: str
    position: Position

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON."""
        return {
            "name": self.name,
            "match": self.match.name.lower(),
            "decides": self.decides,
            "parts": [
                {"part": each.name, "match": each.match.name.lower(), "because": each.said, "change": each.change}
                for each in self.parts
            ],
            "follows": self.follows,
            "reason": self.reason,
            "position": str(self.position),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailExplained:
    """One guardrail: whether it applies and why, what it requires anyway, its rules, and the answer it gives."""

    name: str
    applies: bool
    because: str
    requires: tuple[str, ...]
    combine: str
    default: str
    rules: tuple[RuleExplained, ...]
    answer: str
    position: Position

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON."""
        return {
            "name": self.name,
            "applies": self.applies,
            "because": self.because,
            "requires": list(self.requires),
            "combine": self.combine,
            "default": self.default,
            "rules": [each.to_json() for each in self.rules],
            "answer": self.answer,
            "position": str(self.position),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Everything that was considered about one plan."""

    subject: Subject
    verdict: Permit | Refusal
    guardrails: tuple[GuardrailExplained, ...]

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON, with the facts that were judged."""
        return {"subject": self.subject.to_json(), "guardrails": [each.to_json() for each in self.guardrails]}


def explain(policies: Policies, subject: Subject, *, now: datetime) -> Explanation:
    """Judge a plan, and say what came of each guardrail and each rule."""
    prepared = prepare(policies, advises=True)
    verdict = prepared(subject, now=now)
    moment = prepared.moment(now)
    return Explanation(
        subject=subject,
        verdict=verdict,
        guardrails=tuple(_guardrail(prepared, each, verdict, subject, moment) for each in policies.guardrails),
    )


def _guardrail(
    prepared: Prepared, guardrail: Guardrail, verdict: Permit | Refusal, subject: Subject, moment: Moment
) -> GuardrailExplained:
    applies = in_scope(guardrail.applies_to, subject)
    ruling = prepared.ruling(guardrail, subject, moment)
    reasons = verdict.reasons if isinstance(verdict, Refusal) else ()
    refuses = any(each.source == f"guardrail {guardrail.metadata.name}" for each in reasons)
    return GuardrailExplained(
        name=guardrail.metadata.name,
        applies=applies,
        because="; ".join(_scope(guardrail, subject)),
        requires=tuple(said_requirements(guardrail.require)),
        combine=guardrail.combine.value,
        default=guardrail.default.value,
        rules=tuple(_rule(rule, ruling, subject, moment) for rule in guardrail.rules) if applies else (),
        answer="does not apply" if not applies else "refuses" if refuses else _passes(guardrail, ruling),
        position=guardrail.position,
    )


def _rule(rule: Rule, ruling: Ruling, subject: Subject, moment: Moment) -> RuleExplained:
    return RuleExplained(
        name=rule.name,
        match=match_rule(rule, parts_of(rule), subject, moment),
        decides=any(each is rule for each, _ in ruling.deciding),
        parts=tuple(parts_seen(rule, subject, moment)),
        follows=_follows(rule),
        reason=rule.reason,
        position=rule.position,
    )


def _follows(rule: Rule) -> str:
    if rule.effect is not Effect.REQUIRE:
        return str(rule.effect.value)
    asked = ", ".join(said_requirements(rule.require))
    return f"require {asked}"


def _passes(guardrail: Guardrail, ruling: Ruling) -> str:
    if guardrail.rules and ruling.by_default:
        return "allows: no rule of it matches"
    return "allows"


def _scope(guardrail: Guardrail, subject: Subject) -> Iterator[str]:
    scope = guardrail.applies_to
    if scope.runbooks:
        yield f"runbooks {', '.join(scope.runbooks)}; this is {subject.runbook}"
    if scope.labels:
        asked = ", ".join(f"{key}={value}" for key, value in scope.labels.items())
        own = ", ".join(f"{key}={subject.labels[key]}" for key in scope.labels if key in subject.labels)
        yield f"labels {asked}; this has {own or 'none of them'}"
    if scope.groups:
        found = [each for each in scope.groups if each in subject.groups]
        yield f"groups {', '.join(scope.groups)}; this is on {', '.join(found) or 'none of them'}"
    if not (scope.runbooks or scope.labels or scope.groups):
        yield "every run"


def said_requirements(require: Requirements) -> Iterator[str]:
    """Say each thing that is required."""
    if require.clean_tree:
        yield "a clean tree"
    if require.max_hosts is not None:
        yield f"at most {require.max_hosts} hosts"
    if require.max_percent is not None:
        yield f"at most {require.max_percent.normalize():f}% of the hosts"
    if require.triggers:
        yield f"started by {' or '.join(require.triggers)}"
    if require.check_only:
        yield "a prediction"
    if require.approvals:
        yield said_approvals(require.approvals)
