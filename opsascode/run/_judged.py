"""What was judged before a run, and what was refused: how is it written down, so that it can be judged again later?

Both records name every fact that guardrails judge by, so that other guardrails can be tried on what really happened. A
ledger leaf is small: where a list of facts is too long it is cut, and the record says `partial`.

Not here: judging (`policy`), signing (`proof`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from opsascode.proof import canonical_bytes

if TYPE_CHECKING:
    from opsascode.policy import Reason, Subject
    from opsascode.proof import Json

JUDGED_BYTES: Final = 16 * 1024
_LONGEST_TEXT: Final = 500


def bounded_subject(subject: Subject) -> dict[str, Json]:
    """Give what was judged as plain JSON of at most 16 KiB; what had to be cut is said."""
    kept, found = 1024, subject.to_json()
    while len(canonical_bytes(found)) > JUDGED_BYTES and kept:
        kept //= 2
        found = _cut(subject, kept).to_json()
    return found


def bounded_reasons(reasons: tuple[Reason, ...], *, most: int) -> tuple[list[Json], bool]:
    """Give as many reasons as fit into some bytes, and whether all of them did."""
    found: list[Json] = []
    for each in reasons:
        found.append(_reason(each))
        if len(canonical_bytes(found)) > most:
            return found[:-1], False
    return found, True


def _cut(subject: Subject, kept: int) -> Subject:
    """Keep so many entries of each list, and no entry that is longer than a name ever is."""

    def some(values: frozenset[str]) -> frozenset[str]:
        return frozenset([each for each in sorted(values) if len(each) <= _LONGEST_TEXT][:kept])

    return replace(
        subject,
        labels=dict([item for item in sorted(subject.labels.items()) if len(item[1]) <= _LONGEST_TEXT][:kept]),
        groups=some(subject.groups),
        environments=some(subject.environments),
        tags=some(subject.tags),
        modules=some(subject.modules),
        roles=some(subject.roles),
        opaque=tuple(each[:_LONGEST_TEXT] for each in subject.opaque[:kept]),
        budgets=dict(sorted(subject.budgets.items())[:kept]),
        partial=True,
    )


def _reason(reason: Reason) -> dict[str, Json]:
    return {
        "code": reason.code,
        "message": reason.message[:_LONGEST_TEXT],
        "source": reason.source,
        "rule": reason.rule,
        "position": str(reason.position) if reason.position else None,
        "mend": reason.mend[:_LONGEST_TEXT],
    }
