"""Is what another machine recorded about the policy pack to be believed?

A record of another machine is signed by its key and no more: a stolen one must not move the pack anywhere. So each
applied pack of another machine is judged again here, by the same rules, from the same objects, from what people signed;
and whatever a person is said to have asked for must bear that person's signature. What does not hold is passed over, as
if it had never been recorded.

The verdict about a record never changes, and is remembered beside the ledger. Not here: what this machine recorded
itself, after judging it (`_packs`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import ProofError
from opsascode.proof import CodedProofError, canonical_bytes, open_by_person, parse_strict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from opsascode.proof import TrustChain
    from opsascode.run._judging import TransitionJudge
    from opsascode.run._packs import AppliedPack

_MOST_NOTES: Final = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Looks at records of other machines; `own` is the origin of our own ledger, `notes` where verdicts are kept.

    `judge` gives the judge of transitions as of a time.
    """

    own: str
    chain: TrustChain
    judge: Callable[[datetime], TransitionJudge]
    notes: Path

    def believes_pack(self, before: AppliedPack | None, pack: AppliedPack, digest: str) -> bool:
        """Judge an applied pack of another machine, on top of the one that was in force before.

        Raises:
            ProofError: it cannot be judged here, as its commits are not in this clone.
        """
        known = self._known()
        key = f"{digest} {before.pack.scope if before else '-'}"
        if key not in known:
            way = self.judge(pack.applied).way(before.pack.commit if before else None, pack.pack.commit)
            known[key] = way[-1].decision.allowed and way[-1].new.snapshot.digest == pack.pack.scope
            self._keep(known)
        return known[key]

    def believes_request(self, envelope: bytes, kind: str, roles: Sequence[str]) -> bool:
        """Tell whether somebody signed this who, in any version of the trust root, had the key and one of the roles."""
        for each in self.chain.roots:
            keys = [key.key for person in each.root.persons for key in person.keys]
            try:
                record = open_by_person(envelope, keys, predicate_types=(kind,))
            except ProofError:
                continue
            signer = each.root.owner(record.keyid)
            named = record.statement.predicate.get("person")
            if signer and signer.id == named and any(signer in each.root.members(role) for role in roles):
                return True
        return False

    def _known(self) -> dict[str, bool]:
        try:
            found = parse_strict(self.notes.read_bytes(), max_bytes=_MOST_NOTES)
        except (OSError, CodedProofError):
            return {}
        about = found.get("judged") if isinstance(found, dict) else None
        return {key: said is True for key, said in about.items()} if isinstance(about, dict) else {}

    def _keep(self, known: dict[str, bool]) -> None:
        draft = self.notes.with_name(f".{self.notes.name}.{os.getpid()}")
        with suppress(OSError):  # it is judged again next time
            draft.write_bytes(canonical_bytes({"judged": dict(known)}))
            draft.replace(self.notes)
