"""Is this part of a signed statement of the one form it must have?

Rules: a statement has exactly its parts. A moment, a digest, a name can each be written in one way only, so that what
was signed has one meaning; free text holds nothing that changes how a reader sees the rest.

Not here: which parts a statement has (its own room), and who signed it (`proof`).
"""

from __future__ import annotations

import re
import unicodedata
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from opsascode.errors import ProofError

if TYPE_CHECKING:
    from opsascode.proof import JsonParts

CLOCK_TOLERANCE: Final = timedelta(minutes=1)
"""How far ahead the clock of an approver's machine may be."""
MAX_REASON: Final = 2000

PERSON_FORM: Final = re.compile("[a-z0-9][a-z0-9._-]{0,63}")
DIGEST_FORM: Final = re.compile("sha256:[0-9a-f]{64}")
NONCE_FORM: Final = re.compile("[0-9a-f]{32}")
COMMIT_FORM: Final = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")

_MOST: Final = 256


class ApprovalError(ProofError):
    """A signed statement does not have the form of what it says it is."""


def honest_text_of(parts: JsonParts, key: str) -> str:
    """Read a reason that is what it looks like: no control character, nothing that turns or hides text."""
    value = parts.text(key, MAX_REASON)
    if hidden_in(value):
        raise ApprovalError(f"its {key} holds a character that changes how the rest is read")
    return value


def hidden_in(text: str) -> bool:
    """Say whether a text holds what a reader does not see, or sees in another place: control, format, bidirectional."""
    return not text.isprintable() and any(
        each not in "\n\t" and unicodedata.category(each) in {"Cc", "Cf", "Cs"} for each in text
    )


def shown(text: str) -> str:
    """Write a text of somebody else's for people to read: unprintable characters escaped, never too long."""
    safe = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text[:_MOST])
    return safe + ("…" if len(text) > _MOST else "")
