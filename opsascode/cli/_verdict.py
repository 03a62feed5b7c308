"""How is a permit or a refusal shown, and how is it explained?

Not here: deciding, and finding out what would change an answer (`policy`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsascode.cli._console import escape_line
from opsascode.policy import Permit, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opsascode.policy import Explanation, GuardrailExplained, RuleExplained


def permit_lines(verdict: Permit | Refusal) -> Iterator[str]:
    """Show which guardrails let the plan pass."""
    if isinstance(verdict, Permit):
        asked = ", ".join(verdict.guardrails) if verdict.guardrails else "none applies"
        yield f"  guardrails  passed ({asked})"


def refusal_lines(verdict: Permit | Refusal) -> Iterator[str]:
    """Show every reason of a refusal, where it is written, and how to mend it."""
    if isinstance(verdict, Permit):
        return
    yield "  guardrails  REFUSED"
    for reason in verdict.reasons:
        where = f" ({reason.position})" if reason.position else ""
        yield f"    - {reason.asked_by}: {escape_line(reason.message)}{where}"
        if reason.mend:
            yield f"      {escape_line(reason.mend)}"


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """Show every guardrail and every rule that was considered."""
    yield ""
    yield "Guardrails:" if explanation.guardrails else "Guardrails: there are none"
    for each in explanation.guardrails:
        yield from _guardrail_lines(each)


def _guardrail_lines(guardrail: GuardrailExplained) -> Iterator[str]:
    yield f"  {guardrail.name} ({guardrail.position}): {guardrail.answer}"
    yield f"    applies to  {escape_line(guardrail.because)}"
    if not guardrail.applies:
        return
    if guardrail.requires:
        yield f"    requires    {', '.join(guardrail.requires)}"
    if guardrail.rules:
        yield f"    rules       {guardrail.combine}; where none matches: {guardrail.default}"
    for rule in guardrail.rules:
        yield from _rule_lines(rule)


def _rule_lines(rule: RuleExplained) -> Iterator[str]:
    decides = ", decides" if rule.decides else ""
    yield f"    rule {rule.name} ({rule.position}): {rule.match.value}{decides}"
    for part in rule.parts:
        sign = _SIGNS[part.match.name]
        yield f"      {sign} {part.name}: {escape_line(part.said)}"
        if part.change:
            yield f"            otherwise {escape_line(part.change)}"
    yield f"      then  {rule.follows}: {escape_line(rule.reason)}"


_SIGNS = {"YES": "yes ", "NO": "no  ", "UNKNOWN": "?   "}


def refusal_json(verdict: Permit | Refusal) -> dict[str, object]:
    """Give the verdict for programs."""
    if isinstance(verdict, Permit):
        return {"permitted": True, "guardrails": list(verdict.guardrails), "reasons": []}
    return {
        "permitted": False,
        "reasons": [
            {
                "code": reason.code,
                "message": reason.message,
                "source": reason.source,
                "rule": reason.rule,
                "position": str(reason.position) if reason.position else None,
                "mend": reason.mend,
            }
            for reason in verdict.reasons
        ],
    }
