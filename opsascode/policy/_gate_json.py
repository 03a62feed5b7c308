"""Is this the JSON of something a gate was judged by? Small readers, each of which refuses what it does not expect.

Not here: what the parts mean (`_gate`, `_score`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from opsascode.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.proof import Json

_STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"


def object_in(found: Json, what: str) -> Mapping[str, Json]:
    """Read an object."""
    if not isinstance(found, dict):
        raise UsageError(f"{what} is no JSON object")
    return found


def objects_in(found: Mapping[str, Json], key: str) -> list[Json]:
    """Read a list."""
    value = found.get(key)
    if not isinstance(value, list):
        raise UsageError(f"its {key} is no list")
    return value


def text_in(found: Mapping[str, Json], key: str) -> str:
    """Read a text."""
    value = found.get(key)
    if not isinstance(value, str):
        raise UsageError(f"its {key} is no text")
    return value


def number_in(found: Mapping[str, Json], key: str) -> int:
    """Read a whole number from 0 on."""
    value = found.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"its {key} is no whole number from 0 on")
    return value


def moment_in(found: Mapping[str, Json], key: str) -> datetime:
    """Read a time in UTC, to the second."""
    value = text_in(found, key)
    try:
        return datetime.strptime(value, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"its {key} is no time such as 2026-01-31T12:00:00Z") from None
