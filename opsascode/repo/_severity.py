"""What are severities called, and what is promised for each?

Not here: which alert is how severe.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opsascode.repo._build import build_metadata
from opsascode.repo._documents import optional_duration, optional_percent

if TYPE_CHECKING:
    from datetime import timedelta
    from decimal import Decimal

    from opsascode.errors import Position
    from opsascode.repo._documents import Metadata, Source
    from opsascode.repo._source import SourceDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class SeverityLevel:
    """One level: rank 0 (worst) to 4, its label and other names, what it affects at most, and what is promised.

    `impact` is the share of requests that fail in the worst incident of this level, in percent.
    """

    rank: int
    label: str
    aliases: tuple[str, ...] = ()
    impact: Decimal | None = None
    acknowledge_within: timedelta | None = None
    resolve_within: timedelta | None = None
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class SeverityScheme:
    """The levels of one scheme, such as P0 to P4."""

    metadata: Metadata
    levels: tuple[SeverityLevel, ...]
    source: Source
    position: Position


def build_severity(document: SourceDocument, source: Source) -> SeverityScheme:
    """Build a scheme from a document without problems."""
    written: Any = document.value
    return SeverityScheme(
        metadata=build_metadata(document),
        levels=tuple(
            SeverityLevel(
                rank=each["rank"],
                label=each["label"],
                aliases=tuple(each.get("aliases", ())),
                impact=optional_percent(each.get("impact")),
                acknowledge_within=optional_duration(each.get("acknowledge_within")),
                resolve_within=optional_duration(each.get("resolve_within")),
                position=document.position(("spec", "levels", index)),
            )
            for index, each in enumerate(written["spec"]["levels"])
        ),
        source=source,
        position=document.position(),
    )
