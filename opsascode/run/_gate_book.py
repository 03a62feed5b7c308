"""What did gates say, and how did changes do afterwards? Kept in the ledger of this machine, and read back.

A verdict is recorded with everything it was judged by but the policies, which are named by their commit: so it can be
judged again, also by other policies. A statement stays small: where a question would be too large, it is left out, and
the record says so.

Not here: judging (`policy`), asking people for an override (`_gate_asks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final

from opsascode.proof import PREDICATE_PREFIX, Statement, canonical_bytes, seal, sha256_digest
from opsascode.run._ledger_records import ledger_records
from opsascode.run._record import timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from opsascode.policy import GateQuestion, GateVerdict, ScoreCard, Trigger
    from opsascode.proof import Json, PublicKey, Signer, TeamLog
    from opsascode.run._record import Actor
    from opsascode.run._state import State

GATE_VERDICT: Final = f"{PREDICATE_PREFIX}gate-verdict:v1"
"""Its predicate: GateVerdict.to_json, and id, repository, ledger, change, question (GateQuestion.to_json, or null where
`partial` is true), commit (of the policies), actor, trigger and recorded.
"""
GATE_SCORE: Final = f"{PREDICATE_PREFIX}gate-score:v1"
"""Its predicate: id, repository, ledger, service, change, verdict, cards (ScoreCard.to_json), commit, actor, trigger,
since, asked and recorded.
"""
_MOST_QUESTION: Final = 32 * 1024
_MOST_REASONS: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCircumstances:
    """Under which id a gate was asked, by whom and when, and from which commit its policies were."""

    id: str
    actor: Actor
    trigger: Trigger
    commit: str | None
    now: datetime

    def to_json(self) -> dict[str, Json]:
        """Give them as records hold them."""
        return {
            "id": self.id,
            "commit": self.commit,
            "actor": self.actor.to_json(),
            "trigger": self.trigger.value,
            "recorded": timestamp(self.now),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GateBook:
    """What the ledger of this machine, and of the team where there is one, says about gates of one repository."""

    state: State
    repository: str
    keys: tuple[PublicKey, ...]
    team: TeamLog | None = None

    def record(self, verdict: GateVerdict, question: GateQuestion, about: GateCircumstances, signer: Signer) -> int:
        """Record a verdict; gives its place in the ledger.

        Raises:
            LedgerError: the ledger is damaged, or not the one this machine knows.
        """
        asked: Json = question.to_json()
        whole = canonical_bytes(asked)
        partial = len(whole) > _MOST_QUESTION
        said = verdict.to_json()
        predicate: dict[str, Json] = {
            **said,
            **about.to_json(),
            "repository": self.repository,
            "change": question.change[:1000],
            "question": None if partial else asked,
            "partial": partial,
        }
        for part in ("reasons", "unused_overrides"):
            listed = predicate[part]
            if isinstance(listed, list) and len(listed) > _MOST_REASONS:
                predicate[part], predicate["partial"] = listed[:_MOST_REASONS], True
        return self._append(GATE_VERDICT, about.id, sha256_digest(whole), predicate, signer)

    def record_scores(
        self,
        cards: Sequence[ScoreCard],
        asked: Mapping[str, Json],
        about: GateCircumstances,
        signer: Signer,
    ) -> int:
        """Record how a change did by each policy; `asked` is what was asked, beside the cards.

        Raises:
            LedgerError: the ledger is damaged, or not the one this machine knows.
        """
        told: list[Json] = [each.to_json() for each in cards]
        predicate: dict[str, Json] = {**asked, **about.to_json(), "repository": self.repository, "cards": told}
        return self._append(GATE_SCORE, about.id, sha256_digest(canonical_bytes(told)), predicate, signer)

    def passing_scores(self, service: str, policy: str) -> tuple[Mapping[str, Decimal], ...]:
        """Give the values of earlier scores of a service that passed by a policy, the newest first."""
        found = []
        for predicate in self._records(GATE_SCORE):
            cards = predicate.get("cards")
            if predicate.get("service") != service or not isinstance(cards, list):
                continue
            found += [_values(each) for each in cards if _passed(each, policy)]
        return tuple(reversed(found))

    def verdicts(self, service: str) -> Iterator[Mapping[str, Json]]:
        """Give what was recorded about the gate of a service, the oldest first."""
        return (each for each in self._records(GATE_VERDICT) if each.get("service") == service)

    def _records(self, kind: str) -> Iterator[Mapping[str, Json]]:
        for one in ledger_records(self.state, (kind,), keys=self.keys, team=self.team):
            predicate = one.record.statement.predicate
            if predicate.get("repository") == self.repository and predicate.get("ledger") == one.ledger:
                yield predicate

    def _append(self, kind: str, name: str, digest: str, predicate: dict[str, Json], signer: Signer) -> int:
        with self.state.ledger(signer) as ledger:
            statement = Statement(
                predicate_type=kind,
                subject_name=name,
                subject_digest=digest,
                predicate={**predicate, "ledger": ledger.origin},
            )
            return ledger.append(seal(statement, signer)).index


def _passed(card: Json, policy: str) -> bool:
    return isinstance(card, dict) and card.get("policy") == policy and card.get("verdict") == "pass"


def _values(card: Json) -> dict[str, Decimal]:
    listed = card.get("criteria") if isinstance(card, dict) else None
    found: dict[str, Decimal] = {}
    for each in listed if isinstance(listed, list) else ():
        name, value = (each.get("name"), each.get("value")) if isinstance(each, dict) else (None, None)
        if isinstance(name, str) and isinstance(value, str):
            try:
                found[name] = Decimal(value)
            except InvalidOperation:
                continue
    return found
