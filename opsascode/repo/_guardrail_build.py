"""How does a valid guardrail become its type?

Only documents without problems come here (see `_build`). Not here: judging anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opsascode.repo._build import build_metadata
from opsascode.repo._conditions import Condition
from opsascode.repo._documents import optional_percent
from opsascode.repo._guardrails import (
    ApprovalsAsked,
    BudgetCondition,
    BudgetLevel,
    Combine,
    Effect,
    Guardrail,
    Requirements,
    Rule,
    Scope,
    What,
    When,
    Where,
    Who,
)

if TYPE_CHECKING:
    from opsascode.repo._documents import Source
    from opsascode.repo._problem import DocumentPath
    from opsascode.repo._source import SourceDocument

Written = dict[str, Any]  # a mapping the schema has accepted


def build_guardrail(document: SourceDocument, source: Source) -> Guardrail:
    """Build a guardrail from a document without problems."""
    written: Any = document.value
    spec: Written = written["spec"]
    scope = spec.get("applies_to", {})
    rules = spec.get("rules", ())
    return Guardrail(
        metadata=build_metadata(document),
        applies_to=Scope(
            runbooks=_texts(scope, "runbooks"), labels=dict(scope.get("labels", {})), groups=_texts(scope, "groups")
        ),
        require=_requirements(spec.get("require", {})),
        combine=Combine(spec.get("combine", "deny-overrides")),
        default=Effect(spec.get("default", "allow")),
        rules=tuple(
            _rule(rule, document, ("spec", "rules", index), spec["reason"]) for index, rule in enumerate(rules)
        ),
        reason=spec["reason"],
        source=source,
        position=document.position(),
    )


def _rule(rule: Written, document: SourceDocument, where: DocumentPath, reason: str) -> Rule:
    who, what, place = (rule.get(key, {}) for key in ("who", "what", "where"))
    return Rule(
        name=rule["name"],
        who=Who(triggers=_texts(who, "triggers"), roles=_texts(who, "roles")),
        what=What(
            runbooks=_texts(what, "runbooks"),
            labels=dict(what.get("labels", {})),
            tags=_texts(what, "tags"),
            modules=_texts(what, "modules"),
        ),
        where=Where(
            groups=_texts(place, "groups"),
            environments=_texts(place, "environments"),
            hosts_over=place.get("hosts_over"),
            percent_over=optional_percent(place.get("percent_over")),
        ),
        when=_when(rule.get("when", {})),
        condition=Condition(text=rule["if"], position=document.position((*where, "if"))) if "if" in rule else None,
        effect=Effect(rule["then"]),
        require=_requirements(rule.get("require", {})),
        reason=rule.get("reason", reason),
        position=document.position(where),
    )


def _when(when: Written) -> When:
    budget = when.get("budget")
    return When(
        during=_texts(when, "during"),
        outside=_texts(when, "outside"),
        budget=None
        if budget is None
        else BudgetCondition(service=budget["service"], levels=tuple(BudgetLevel(each) for each in budget["levels"])),
    )


def _requirements(require: Written) -> Requirements:
    approvals = require.get("approvals")
    return Requirements(
        clean_tree=require.get("clean_tree", False),
        max_hosts=require.get("max_hosts"),
        max_percent=optional_percent(require.get("max_percent")),
        triggers=_texts(require, "triggers"),
        check_only=require.get("check_only", False),
        approvals=None
        if approvals is None
        else ApprovalsAsked(required=approvals["required"], role=approvals.get("role")),
    )


def _texts(written: Written, key: str) -> tuple[str, ...]:
    return tuple(written.get(key, ()))
