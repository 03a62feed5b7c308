"""What kinds of change are there, and how is a way back found out?

Not here: finding it out (`_classify`, `_returns`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TransitionClass(StrEnum):
    """What kind of change it is; forward only when it is nothing else."""

    FORWARD = "forward"
    ROLLBACK = "rollback"
    WEAKENING = "weakening"
    TRUST = "trust"


class Level(StrEnum):
    """How a way back or down was found out, from the plainest to the subtlest."""

    R0 = "R0"
    R1 = "R1"
    R2 = "R2"
    R3 = "R3"
    R4 = "R4"
    R5 = "R5"
    R6 = "R6"
    R7 = "R7"
    R8 = "R8"
    R9 = "R9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found, in a sentence, with the commit that shows it."""

    level: Level
    path: str
    subject: str
    message: str
    commit: str | None = None
