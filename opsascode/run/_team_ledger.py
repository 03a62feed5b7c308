"""How do the records of many machines, some of which live for minutes, become one log?

A sync: 1. look at the remote; what a checkpoint covers there must continue what this machine saw. 2. Take over what
waits for a checkpoint, where it holds. 3. Hand over what this machine's own ledger has more, behind it, and push.
4. Once the remote has accepted that, sign the checkpoint over it, and push again. Whoever finds that somebody was
quicker begins again, with nothing of his own left there.

Rules: nothing is signed that the remote has not accepted, so that two who race never sign two histories. A machine
without the ledger role hands over and leaves the signing to the next one that has it. A machine can be killed anywhere:
its own ledger has all of it, and what the remote has of it is counted there. What waits and does not hold is left out
and said.

Not here: what holds (`proof`), how it travels (`repo`), and when a run asks for it (`_perform`).
"""

from __future__ import annotations

import hashlib
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from opsascode.errors import LedgerError, OpsError, ResolveError
from opsascode.proof import (
    Code,
    CodedLedgerError,
    CodedProofError,
    LedgerForkError,
    LedgerReader,
    MachineRole,
    TeamKeys,
    TeamLog,
    add_lines,
    cosignatures,
    hand_over,
    newest_word,
    open_checkpoint,
    require_quorum,
)
from opsascode.repo import CHECKPOINT_FILE, COSIGNED_FILE, LedgerRef, group_files, group_path
from opsascode.run._pins import trusted_chain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from opsascode.proof import Cosignature, PublicKey, Signer, TeamFold, TrustChain
    from opsascode.repo import LedgerTip, Repository
    from opsascode.run._state import State

_ATTEMPTS: Final = 40
_ORIGIN: Final = "opsascode/team/"


class UnpublishedError(LedgerError):
    """The start record did not reach the team's ledger, and this repository does not begin a run without that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a sync did: entries that came in and went out, and how many the log has under a checkpoint now.

    `waiting` are handed over and wait for a checkpoint; `left_out` says what waits there and does not hold.
    """

    received: int
    sent: int
    size: int
    waiting: int
    left_out: tuple[str, ...]


class TeamLedger:
    """The team's log, as one machine takes part in it."""

    def __init__(
        self,
        ref: LedgerRef,
        log: TeamLog,
        *,
        signer: Signer | None,
        forks: Path,
        witnesses: Sequence[PublicKey] = (),
        quorum: int = 0,
    ) -> None:
        """Take part with this key; without one, only look. Fork proofs are left in `forks`."""
        self.log, self.witnesses, self.quorum = log, tuple(witnesses), quorum
        self._ref, self._signer, self._forks = ref, signer, forks

    @classmethod
    def of(cls, repository: Repository, state: State, signer: Signer | None, chain: TrustChain) -> TeamLedger | None:
        """Open the log that opsascode.yml names, with the machines of the trust root; None where it names none.

        Raises:
            LedgerError: this machine's copy is not what was signed.
            ResolveError: this is no Git repository.
        """
        remote = repository.settings.ledger_remote
        if remote is None:
            return None
        return cls(
            LedgerRef.of(repository.root, remote),
            open_team_log(state, chain),
            signer=signer,
            forks=state.directory / "forks",
            witnesses=chain.current.root.machine_keys(MachineRole.WITNESS),
            quorum=chain.current.root.witness_quorum,
        )

    @property
    def covers(self) -> bool:
        """Whether this machine may sign checkpoints of the log."""
        return self._signer is not None and self._signer.public_key in self.log.team.ledgers

    def sync(self, local: LedgerReader | None) -> Synced:
        """Take in what others recorded, and hand over what this machine did.

        Raises:
            LedgerError: the remote's log is not a continuation of what was seen here, or is not what was signed.
            ResolveError: the remote cannot be reached, or refuses again and again.
        """
        if local is not None and local.size:
            self._require_runner()
        with self.log.exclusive():
            before, sent, why = self._others(local), -1, ""
            for attempt in range(_ATTEMPTS):
                tip = self._ref.fetch()
                tail = self._follow(tip)
                turn = _Turn(self.log, tail)
                handed = turn.hand_over(local, self._signer)
                sent = handed if sent < 0 else sent  # what an earlier attempt handed over is there by now
                why = self._carry(tip, turn)
                if not why:
                    return Synced(
                        received=self._others(local) - before,
                        sent=sent,
                        size=self.log.size,
                        waiting=turn.fold.size - self.log.size,
                        left_out=(*([] if self.log.vouched else [self.log.doubt]), *turn.left_out),
                    )
                time.sleep(random.uniform(0.01, 0.05) * (attempt + 1))  # noqa: S311 - so that two who collide part
        raise ResolveError(
            f"the team's ledger could not be pushed: {why}",
            advice="see spec.ledger.remote of opsascode.yml; what was recorded is kept here for the next sync",
        )

    def cosign(self, lines: str) -> tuple[Cosignature, ...]:
        """Put witnesses' lines under the log's newest checkpoint, for everybody; give all who have cosigned it.

        Raises:
            ProofError: a witness's line does not fit the checkpoint.
            LedgerError, ResolveError: as for `sync`.
        """
        with self.log.exclusive():
            for _ in range(_ATTEMPTS):
                tip = self._ref.fetch()
                self._follow(tip)
                note = self.log.checkpoint()
                body = note.rpartition("\n\n")[0]
                there = tip.cosigned if tip.cosigned and tip.cosigned.rpartition("\n\n")[0] == body else note
                grown = add_lines(there, lines, self.witnesses)
                if grown == tip.cosigned or not self._ref.push(tip, {COSIGNED_FILE: grown.encode()})[1]:
                    return cosignatures(grown, self.witnesses)
        raise ResolveError("the cosignatures could not be pushed", advice="try again")

    def cosigned(self) -> str | None:
        """Give the newest cosigned checkpoint, once the log here is found to continue it; None where there is none.

        Raises:
            LedgerError: the log here does not continue it.
            ProofError: a known witness's line does not fit it.
        """
        with self.log.exclusive():
            tip = self._ref.fetch()
            self._follow(tip)
        if tip.cosigned is None:
            return None
        self.log.require_continues(open_checkpoint(tip.cosigned, self.log.team.ledgers, origin=self.log.origin))
        cosignatures(tip.cosigned, self.witnesses)
        return tip.cosigned

    def witnessed(self, *, oldest: datetime | None = None) -> str:
        """Give the newest cosigned checkpoint, once as many witnesses as the trust root asks for have cosigned it.

        With `oldest`, enough of them must have done so since: a remote that hides what is new cannot show that.

        Raises:
            ProofError: too few have cosigned it, or too long ago.
            LedgerError, ResolveError: as for `cosigned`.
        """
        note, quorum = self.cosigned() or "", max(1, self.quorum)
        if not note:
            raise CodedProofError(Code.WITNESS, f"0 of {quorum} witnesses cosigned a checkpoint of the team's ledger")
        require_quorum(note, self.witnesses, quorum)
        word = newest_word(note, self.witnesses, quorum)
        if oldest is not None and (word is None or word < oldest):
            raise CodedProofError(
                Code.LEDGER_STALE,
                f"{quorum} witnesses last saw the team's ledger at {word}: what is newer may be hidden from here",
                advice="have the newest checkpoint cosigned: opsascode ledger checkpoint --team --since SIZE",
            )
        return note

    def _others(self, local: LedgerReader | None) -> int:
        """How many records of other machines are here."""
        return self.log.recorded - (self.log.known(local.origin) if local else 0)

    def _require_runner(self) -> None:
        if self._signer is None or self._signer.public_key not in self.log.team.runners:
            keyid = self._signer.public_key.keyid if self._signer else "none"
            raise CodedLedgerError(
                Code.KEY,
                f"this machine's key {keyid} is no runner of the team: its records are not taken",
                advice="opsascode trust propose --machine NAME=KEYFILE:runner,ledger",
            )
        if self.log.team.distrusts(self._signer.public_key.keyid, self.log.size):
            raise CodedLedgerError(
                Code.DISTRUSTED, "the team distrusts this machine's key: its records do not count any more",
                advice="make a new key for this machine, and have it listed: opsascode trust propose --machine",
            )  # fmt: skip

    def _follow(self, tip: LedgerTip) -> tuple[Sequence[bytes], ...]:
        try:
            return self.log.follow(tip.checkpoint, lambda start: self._ref.read(tip, start))
        except LedgerForkError as error:
            path = self._forks / f"{hashlib.sha256(error.proof).hexdigest()[:16]}.fork.json"
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(error.proof)
            raise CodedLedgerError(
                error.code, error.message,
                advice=f"the proof lies in {path}: `opsascode verify {path}` shows it to anybody",
            ) from None  # fmt: skip

    def _carry(self, tip: LedgerTip, turn: _Turn) -> str:
        """Push what was handed over, then the checkpoint over it; say why somebody else was quicker, or nothing."""
        start = self.log.size
        if turn.added or (self.covers and turn.left_out and turn.groups):
            tip, why = self._ref.push(tip, turn.files(tip, tidy=self.covers))
            if why:
                return why
        unsigned = turn.fold.size > start or (not self.log.vouched and start > 0)
        if not self.covers or self._signer is None or not unsigned:
            return ""
        note = self.log.cover(turn.fold, self._signer)
        why = self._ref.push(tip, {CHECKPOINT_FILE: note.encode()})[1]
        if not why:
            self.log.follow(note, lambda _: turn.groups)
        return why


class _Turn:
    """One attempt: what waits behind the checkpoint, and what this machine adds."""

    def __init__(self, log: TeamLog, tail: Sequence[Sequence[bytes]]) -> None:
        self.fold: TeamFold = log.fold()
        self.groups: list[Sequence[bytes]] = []
        self.left_out: list[str] = []
        self.added = 0
        self._start = log.size
        self._tail = tail
        for lines in tail:
            try:
                self.fold.take(lines)
            except CodedLedgerError as error:
                self.left_out.append(f"{error.message} [{error.code}]")
            else:
                self.groups.append(lines)

    def hand_over(self, local: LedgerReader | None, signer: Signer | None) -> int:
        """Add what the local ledger has more than the log; say how many entries that is."""
        known = self.fold.known(local.origin) if local else 0
        if local is None or signer is None:
            return 0
        if local.size == known:
            self._require_same(local)
            return 0
        if local.size < known:
            raise CodedLedgerError(
                Code.LEDGER_TRUNCATED,
                f"this machine's ledger has {local.size} entries, and the team's log has {known} of them",
                advice="entries of this machine's ledger were taken away: restore them from a copy",
            )
        for lines in hand_over(local, self.fold.origin, known, signer):
            self.fold.take(lines)
            self.groups.append(lines)
            self.added += len(lines)
        return local.size - known

    def _require_same(self, local: LedgerReader) -> None:
        there = self.fold.runners.get(local.origin)
        if there and there.root != local.root:
            raise CodedLedgerError(
                Code.LEDGER_FORK,
                "this machine's ledger is not the one that was handed over to the team's: it has another history",
                advice="restore it from a copy, or begin a new one: the old one stays in the team's log",
            )

    def files(self, tip: LedgerTip, *, tidy: bool) -> dict[str, bytes]:
        """Write what is pushed: behind everything that is there, or, to be signed, in place of what does not hold."""
        if not tidy:
            own = self.groups[len(self._tail) - len(self.left_out) :]
            return group_files(self._start + sum(map(len, self._tail)), own)
        files = group_files(self._start, self.groups)
        stale = {group_path(first): b"" for first in tip.groups if first >= self._start}
        return {**stale, **files}


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """Brings a run's records to the team's ledger: what `_perform` calls."""

    team: TeamLedger
    require: bool

    @classmethod
    def of(cls, repository: Repository, state: State, signer: Signer) -> Publisher | None:
        """Open what opsascode.yml names; None where records stay on this machine.

        Raises:
            OpsError: the trust root cannot be used, or this machine's copy of the log is damaged.
        """
        if repository.settings.ledger_remote is None:
            return None
        team = TeamLedger.of(repository, state, signer, trusted_chain(repository, state))
        return cls(team=team, require=repository.settings.ledger_require) if team else None

    def publish_start(self, ledger: LedgerReader) -> None:
        """Bring the start record to the team's ledger, where no run begins without.

        Raises:
            UnpublishedError: it did not reach it.
        """
        if not self.require:
            return
        try:
            self.team.sync(ledger)
        except OpsError as error:
            raise UnpublishedError(
                f"nothing was run: the start record did not reach the team's ledger: {error.message}",
                advice=error.advice,
            ) from error

    def publish_end(self, ledger: LedgerReader) -> str:
        """Bring what was recorded to the team's ledger; say why it did not reach it, or nothing."""
        try:
            self.team.sync(ledger)
        except OpsError as error:
            return f"the records are not in the team's ledger yet ({error.message}): opsascode ledger sync tries again"
        return ""


def team_origin(repository: str) -> str:
    """Name the team's log after the repository's id."""
    return _ORIGIN + repository.removeprefix("sha256:")


def team_keys(chain: TrustChain) -> TeamKeys:
    """Say whose word counts: runners of every version (old records stay true), ledgers and distrust of the newest."""
    root = chain.current.root
    runners = {key.raw: key for signed in chain.roots for key in signed.root.machine_keys(MachineRole.RUNNER)}
    return TeamKeys(
        runners=tuple(runners.values()),
        ledgers=root.machine_keys(MachineRole.LEDGER),
        distrust={each.keyid: each.from_entry for each in root.distrust},
    )


def open_team_log(state: State, chain: TrustChain) -> TeamLog:
    """Open this machine's copy of the team's log, without looking at any remote.

    Raises:
        LedgerError: the copy is not what was signed.
    """
    return TeamLog.open(
        state.directory / "team",
        origin=team_origin(chain.repository),
        keys=team_keys(chain),
        high_water=state.directory / "team-high-water",
    )
