"""May this version of the trust root follow the one that rules?

Rules: a change of the trust root travels alone: nothing else that is protected changes with it. The chain it leaves
must begin with all of the one that rules. Whether enough people signed is the chain's own to say. What asks for less
than before waits a day from when this machine first saw it, so that the others can see it too; what asks for more does
not.

Not here: what loosens (`proof`), what a change of policies needs (`_transition`).
"""

from __future__ import annotations

import itertools
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from opsascode.policy._guardrail import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from opsascode.policy._classify import Candidate, OldState
    from opsascode.policy._diff import PackDiff
    from opsascode.proof import TrustChain

COOL_DOWN: Final = timedelta(hours=24)
WARNING: Final = timedelta(days=30)
_ROOT_FILE: Final = re.compile(r"policies/trust/[1-9][0-9]{0,8}\.root\.json")


def is_root_file(path: str) -> bool:
    """Say whether a path is that of a version of the trust root; nothing else in its folder is trust."""
    return _ROOT_FILE.fullmatch(path) is not None


def mixed_fault(diff: PackDiff) -> Reason | None:
    """Say that a change of trust brings something else that is protected."""
    trust = [each.path for each in diff.files if is_root_file(each.path)]
    others = [each.path for each in diff.files if not is_root_file(each.path)]
    if not trust or not others:
        return None
    listed = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")  # noqa: PLR2004 - enough
    message = f"{trust[0]} changes together with {listed}"
    return _fault("E_MIXED_TRUST_CHANGE", message, "a change of the trust root travels alone: make two changes of it")


def chain_faults(old: OldState, new: Candidate, announced: datetime | None, now: datetime) -> Iterator[Reason]:
    """Say what is wrong with the chain a change of trust leaves."""
    from opsascode.proof import CodedProofError, read_chain  # noqa: PLC0415 - needs cryptography, which guardrails do not

    before = old.chain
    try:
        after = read_chain(new.snapshot.trust_envelopes(), pin=before.repository, least=before.current.root.version)
    except CodedProofError as error:
        yield _fault(str(error.code), error.message, error.advice)
        return
    if not after.extends(before):
        message = (
            f"the trust root is not the one that rules, version {before.current.root.version}, or one that follows it"
        )
        yield _fault("E_ROOT_ROLLBACK", message)
        return
    yield from _too_soon(before, after, announced, now)


def expiry_note(chain: TrustChain, now: datetime) -> str:
    """Say that the trust root that rules expires soon, or has; nothing when it has time."""
    root = chain.current.root
    left = root.expires - now
    if left > WARNING:
        return ""
    if left <= timedelta():
        return (
            f"version {root.version} of the trust root expired on {root.expires:%Y-%m-%d}: only ways forward are open"
        )
    days = max(left.days, 1)
    return (
        f"version {root.version} of the trust root expires on {root.expires:%Y-%m-%d}, in {days} day{'s' * (days > 1)}"
    )


def _too_soon(before: TrustChain, after: TrustChain, announced: datetime | None, now: datetime) -> Iterator[Reason]:
    from opsascode.proof import root_changes  # noqa: PLC0415 - needs cryptography, which guardrails do not

    steps = itertools.pairwise(each.root for each in after.roots[len(before.roots) - 1 :])
    weaker = [each.what for old, new in steps for each in root_changes(old, new) if each.weakens]
    since = announced or now
    if not weaker or now - since >= COOL_DOWN:
        return
    open_from = since + COOL_DOWN
    more = f" and {len(weaker) - 1} more" if len(weaker) > 1 else ""
    message = f"the new trust root asks for less ({weaker[0]}{more}) and waits until {open_from:%Y-%m-%d %H:%M} UTC"
    yield _fault("E_COOL_DOWN", message, "try again then; a change that only asks for more would take effect at once")


def _fault(code: str, message: str, mend: str = "") -> Reason:
    return Reason(code=code, message=message, source="trust root", mend=mend)
