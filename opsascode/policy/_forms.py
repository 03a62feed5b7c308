"""Is this part of a signed statement of the one form it must have?

Rules: a statement has exactly its parts. A moment, a digest, a name can each be written in one way only, so that what
was signed has one meaning; free text holds nothing that changes how a reader sees the rest.

Not here: which parts a statement has (its own room), and who signed it (`proof`).
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from opsascode.errors import ProofError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opsascode.proof import Json

CLOCK_TOLERANCE: Final = timedelta(minutes=1)
"""How far ahead the clock of an approver's machine may be."""
MAX_REASON: Final = 2000

PERSON_FORM: Final = re.compile("[a-z0-9][a-z0-9._-]{0,63}")
DIGEST_FORM: Final = re.compile("sha256:[0-9a-f]{64}")
NONCE_FORM: Final = re.compile("[0-9a-f]{32}")
COMMIT_FORM: Final = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")

_STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"
_MOST: Final = 256


class ApprovalError(ProofError):
    """A signed statement does not have the form of what it says it is."""


def parts_of(found: Mapping[str, Json], parts: frozenset[str], what: str) -> None:
    """Refuse a statement with a part too many or too few."""
    if found.keys() != parts:
        raise ApprovalError(f"it does not have exactly the parts of {what}")


def text_of(found: Mapping[str, Json], key: str, most: int = _MOST) -> str:
    """Read a text; only a reason may hold line breaks."""
    value = found[key]
    if not isinstance(value, str) or len(value) > most:
        raise ApprovalError(f"its {key} is no text of at most {most} characters")
    if key != "reason" and not value.isprintable():
        raise ApprovalError(f"its {key} holds a character that cannot be shown")
    return value


def honest_text_of(found: Mapping[str, Json], key: str) -> str:
    """Read a reason that is what it looks like: no control character, nothing that turns or hides text."""
    value = text_of(found, key, MAX_REASON)
    if hidden_in(value):
        raise ApprovalError(f"its {key} holds a character that changes how the rest is read")
    return value


def matching(found: Mapping[str, Json], key: str, form: re.Pattern[str]) -> str:
    """Read a text of one form."""
    value = text_of(found, key)
    if not form.fullmatch(value):
        raise ApprovalError(f"its {key} is not of the form it must have")
    return value


def number_of(found: Mapping[str, Json], key: str, *, least: int) -> int:
    """Read an integer."""
    value = found[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ApprovalError(f"its {key} is no whole number from {least}")
    return value


def moment_of(found: Mapping[str, Json], key: str) -> datetime:
    """Read a time, to the second, in UTC."""
    value = text_of(found, key, 20)
    try:
        moment = datetime.strptime(value, _STAMP).replace(tzinfo=UTC)
    except ValueError:
        raise ApprovalError(f"its {key} is no time such as 2026-01-31T12:00:00Z") from None
    if stamp(moment) != value:
        raise ApprovalError(f"its {key} is not written the one way a time is")
    return moment


def stamp(moment: datetime) -> str:
    """Write a time the one way it is written."""
    return moment.astimezone(UTC).strftime(_STAMP)


def hidden_in(text: str) -> bool:
    """Say whether a text holds what a reader does not see, or sees in another place: control, format, bidirectional."""
    return not text.isprintable() and any(
        each not in "\n\t" and unicodedata.category(each) in {"Cc", "Cf", "Cs"} for each in text
    )


def shown(text: str) -> str:
    """Write a text of somebody else's for people to read: unprintable characters escaped, never too long."""
    safe = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:_MOST])
    return safe + ("…" if len(text) > _MOST else "")
