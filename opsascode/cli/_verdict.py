"""How is a permit or a refusal shown?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsascode.cli._console import escape_line
from opsascode.policy import Permit, Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        yield f"    - {reason.source}: {escape_line(reason.message)}{where}"
        if reason.mend:
            yield f"      {escape_line(reason.mend)}"


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
                "position": str(reason.position) if reason.position else None,
                "mend": reason.mend,
            }
            for reason in verdict.reasons
        ],
    }
