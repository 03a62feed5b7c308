"""Which policies are there together?

Not here: reading them (`_pack` from a snapshot, `_repository` from the work tree).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.repo._documents import Kind
from opsascode.repo._schema import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opsascode.repo._calendar import Calendar
    from opsascode.repo._documents import Source
    from opsascode.repo._guardrails import Guardrail
    from opsascode.repo._reliability import ReliabilityPolicy
    from opsascode.repo._severity import SeverityScheme
    from opsascode.repo._source import SourceDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """All documents in `policies/` that something is judged by, each kind in the order of their files."""

    guardrails: tuple[Guardrail, ...] = ()
    reliability: tuple[ReliabilityPolicy, ...] = ()
    calendars: tuple[Calendar, ...] = ()
    severities: tuple[SeverityScheme, ...] = ()

    def calendar(self, name: str) -> Calendar | None:
        """Find a calendar by its name."""
        return next((each for each in self.calendars if each.metadata.name == name), None)

    def of_service(self, service: str) -> tuple[ReliabilityPolicy, ...]:
        """Give the reliability policies of a service."""
        return tuple(each for each in self.reliability if each.service == service)


def build_policies(documents: Iterable[tuple[SourceDocument, Source]]) -> Policies:
    """Build the policies among documents without problems, each with where it was read from."""
    guardrails: list[Guardrail] = []
    reliability: list[ReliabilityPolicy] = []
    calendars: list[Calendar] = []
    severities: list[SeverityScheme] = []
    for document, source in documents:
        kind = kind_of(document)
        if kind is Kind.GUARDRAIL:
            from opsascode.repo._guardrail_build import build_guardrail  # noqa: PLC0415 - each only where such a document is

            guardrails.append(build_guardrail(document, source))
        elif kind is Kind.RELIABILITY_POLICY:
            from opsascode.repo._reliability_build import build_reliability  # noqa: PLC0415 - likewise

            reliability.append(build_reliability(document, source))
        elif kind is Kind.CALENDAR:
            from opsascode.repo._calendar_build import build_calendar  # noqa: PLC0415 - likewise

            calendars.append(build_calendar(document, source))
        elif kind is Kind.SEVERITY_SCHEME:
            from opsascode.repo._severity import build_severity  # noqa: PLC0415 - likewise

            severities.append(build_severity(document, source))
    return Policies(
        guardrails=tuple(guardrails),
        reliability=tuple(reliability),
        calendars=tuple(calendars),
        severities=tuple(severities),
    )
