"""How does a machine hand its own ledger over to the team's log, so that nothing of it can be left out?

The team's log is made of groups: a hand-over, then the entries it hands over, byte for byte as they stand in the
machine's own ledger. The hand-over names that ledger, the entries (`start` to `stop`) and the root of the ledger at
`stop`. So the own ledger's Merkle tree is the machine's chain inside the team's: an entry dropped, changed, moved or
handed over twice does not lead to the root its machine signed, and a dropped group leaves a gap before the next one.

Rules: a ledger belongs to the key of its first hand-over; an entry counts in the one ledger it names; a run is started
once in the whole log. A group is taken as a whole or not at all.

Not here: files (`_team_log`), and whose keys these are (the trust root says).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from opsascode.proof._codes import Code, CodedLedgerError, CodedProofError
from opsascode.proof._envelope import PREDICATE_PREFIX, Record, Statement, open_envelope, seal
from opsascode.proof._merkle import HASH_BYTES, CompactRange, leaf_hash
from opsascode.proof._segments import CHECKPOINT_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.proof._canonical import Json
    from opsascode.proof._keys import PublicKey, Signer
    from opsascode.proof._reader import LedgerReader

HANDOVER_TYPE = PREDICATE_PREFIX + "ledger-handover:v1"
GROUP_ENTRIES = 256
_HEX = re.compile("(?:[0-9a-f]{64})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamKeys:
    """Whose word counts in the team's log.

    `runners` are all machines that ever kept records, also those that were replaced; `ledgers` those that sign its
    checkpoints now; `distrust` says from which entry on a key's word does not count any more.
    """

    runners: tuple[PublicKey, ...]
    ledgers: tuple[PublicKey, ...]
    distrust: Mapping[str, int] = field(default_factory=dict)

    def distrusts(self, keyid: str, index: int) -> bool:
        """Whether what this key signed as entry `index` does not count."""
        return keyid in self.distrust and index >= self.distrust[keyid]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A machine's word: these entries of this ledger are handed over to that log; at `stop` the ledger has `root`."""

    ledger: str
    team: str
    start: int
    stop: int
    root: bytes

    def statement(self) -> Statement:
        """Write it as what is signed."""
        return Statement(
            predicate_type=HANDOVER_TYPE,
            subject_name=self.ledger,
            subject_digest="sha256:" + self.root.hex(),
            predicate={"ledger": self.ledger, "team": self.team, "start": self.start, "stop": self.stop},
        )

    @classmethod
    def of(cls, statement: Statement) -> Handover:
        """Read one.

        Raises:
            ProofError: the statement is no hand-over.
        """
        found = statement.predicate
        start, stop = found.get("start"), found.get("stop")
        if (
            statement.predicate_type != HANDOVER_TYPE
            or found.keys() != {"ledger", "team", "start", "stop"}
            or found["ledger"] != statement.subject_name
            or not isinstance(found["team"], str)
            or type(start) is not int
            or type(stop) is not int
            or not 0 <= start < stop <= start + GROUP_ENTRIES
        ):
            raise CodedProofError(Code.HANDOVER, "not a hand-over of 1 to 256 entries of a ledger")
        root = bytes.fromhex(statement.subject_digest.removeprefix("sha256:"))
        return cls(ledger=statement.subject_name, team=found["team"], start=start, stop=stop, root=root)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerState:
    """What the team's log has of one machine's ledger: whose it is, how many entries, and what they lead to."""

    keyid: str
    size: int
    peaks: tuple[bytes, ...]

    @property
    def root(self) -> bytes:
        """What the entries lead to."""
        return CompactRange(self.size, self.peaks).root()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group that was taken: `index` is the hand-over's place in the log; `records` are what was handed over."""

    index: int
    handover: Handover
    records: tuple[Record, ...]
    hashes: tuple[bytes, ...]


class TeamFold:
    """Follows the team's log group by group."""

    def __init__(self, origin: str, keys: TeamKeys) -> None:
        """Begin with an empty log."""
        self.origin, self.keys = origin, keys
        self.range = CompactRange()
        self.runners: dict[str, RunnerState] = {}
        self.started: dict[str, int] = {}

    @property
    def size(self) -> int:
        """How many entries the log has."""
        return self.range.size

    def copy(self) -> TeamFold:
        """Branch off, to try something without losing this state."""
        made = TeamFold(self.origin, self.keys)
        made.range, made.runners, made.started = self.range.copy(), dict(self.runners), dict(self.started)
        return made

    def take(self, lines: Sequence[bytes]) -> Group:
        """Take the next group, or refuse it and stay as before.

        Whom the team distrusts by now is taken as well, so that no two histories come of it; it does not count.

        Raises:
            LedgerError: the group is not what its machine signed, or does not follow what the log has of its ledger.
        """
        index = self.range.size
        first = self._open(index, lines[0] if lines else b"")
        handover = self._handover(index, first)
        if len(lines) - 1 != handover.stop - handover.start:
            raise _refused(index, f"{len(lines) - 1} entries where {handover.stop - handover.start} are handed over")
        before = self.runners.get(handover.ledger, RunnerState(keyid=first.keyid, size=0, peaks=()))
        if before.keyid != first.keyid:
            raise _refused(index, f"the ledger {handover.ledger} belongs to the key {before.keyid}, not {first.keyid}")
        if before.size != handover.start:
            raise _refused(
                index, f"the log has {before.size} entries of {handover.ledger}, and this begins at {handover.start}"
            )
        own, started = CompactRange(before.size, before.peaks), dict[str, int]()
        records = []
        for at, line in enumerate(lines[1:], index + 1):
            record = self._open(at, line)
            self._check(at, record, handover, before.keyid, started)
            own.append(leaf_hash(line))
            records.append(record)
        if own.root() != handover.root:
            raise _refused(index, f"the entries are not those that the ledger {handover.ledger} has")
        hashes = tuple(one for line in lines for one in self.range.append(leaf_hash(line)))
        self.runners[handover.ledger] = replace(before, size=handover.stop, peaks=tuple(own.peaks))
        self.started |= started
        return Group(index=index, handover=handover, records=tuple(records), hashes=hashes)

    def known(self, ledger: str) -> int:
        """How many entries of a machine's ledger the log has."""
        found = self.runners.get(ledger)
        return found.size if found else 0

    def _handover(self, index: int, record: Record) -> Handover:
        try:
            handover = Handover.of(record.statement)
        except CodedProofError as error:
            raise CodedLedgerError(error.code, f"entry {index}: {error.message}", index=index) from None
        if handover.team != self.origin:
            raise CodedLedgerError(
                Code.ORIGIN, f"the hand-over was made for the log {handover.team}, not {self.origin}", index=index
            )
        return handover

    def _check(self, index: int, record: Record, handover: Handover, keyid: str, started: dict[str, int]) -> None:
        statement = record.statement
        named = statement.predicate.get("ledger", handover.ledger)
        if named != handover.ledger or record.keyid != keyid:
            raise CodedLedgerError(
                Code.ORIGIN,
                f"entry {index}: a record of {named!r} by {record.keyid}, handed over as one of {handover.ledger}",
                index=index,
            )
        if statement.predicate_type == HANDOVER_TYPE:
            raise _refused(index, "a hand-over is no entry of a machine's own ledger")
        if statement.kind == "run-start":
            name = statement.subject_name
            earlier = self.started.get(name, started.get(name))
            if earlier is not None:
                raise CodedLedgerError(
                    Code.DUP_RUN, f"entry {index}: the run {name} was already started at {earlier}", index=index
                )
            started[name] = index

    def _open(self, index: int, line: bytes) -> Record:
        if b"\n" in line or line.startswith(CHECKPOINT_PREFIX):
            raise CodedLedgerError(Code.PARSE, f"entry {index}: an envelope in a ledger is one line", index=index)
        try:
            return open_envelope(line, self.keys.runners)
        except CodedProofError as error:
            raise CodedLedgerError(error.code, f"entry {index}: {error.message}", index=index) from None

    # Kept between one look and the next: a private note of this machine, made again from the log when it is lost.

    def to_json(self) -> dict[str, Json]:
        """Write what is needed to go on from here."""
        return {
            "origin": self.origin,
            "size": self.range.size,
            "peaks": b"".join(self.range.peaks).hex(),
            "runners": {name: [one.keyid, one.size, b"".join(one.peaks).hex()] for name, one in self.runners.items()},
            "started": dict(self.started),
        }

    @classmethod
    def of(cls, found: Mapping[str, Json], origin: str, keys: TeamKeys) -> TeamFold | None:
        """Go on from what was written; None where it is not of this log, or not of that form."""
        made = cls(origin, keys)
        runners, started, size = found.get("runners"), found.get("started"), found.get("size")
        if found.get("origin") != origin or not isinstance(runners, dict) or not isinstance(started, dict):
            return None
        peaks = _peaks(size, found.get("peaks"))
        if peaks is None or not isinstance(size, int):
            return None
        made.range = CompactRange(size, peaks)
        for name, state in runners.items():
            if not isinstance(state, list) or len(state) != 3 or not isinstance(state[1], int):  # noqa: PLR2004 - key, size, peaks
                return None
            own = _peaks(state[1], state[2])
            if own is None:
                return None
            made.runners[name] = RunnerState(keyid=str(state[0]), size=state[1], peaks=own)
        made.started = {name: at for name, at in started.items() if isinstance(at, int)}
        return made


def hand_over(ledger: LedgerReader, team: str, start: int, signer: Signer) -> tuple[tuple[bytes, ...], ...]:
    """Make the groups that hand over what a ledger has from `start` on.

    Raises:
        LedgerError: the ledger does not lead to its own checkpoint.
    """
    own, groups, held = CompactRange(), list[tuple[bytes, ...]](), list[bytes]()
    for index, envelope in enumerate(ledger.entries()):
        own.append(leaf_hash(envelope))
        if index < start:
            continue
        held.append(envelope)
        if len(held) == GROUP_ENTRIES or own.size == ledger.size:
            handover = Handover(
                ledger=ledger.origin, team=team, start=own.size - len(held), stop=own.size, root=own.root()
            )
            groups.append((seal(handover.statement(), signer), *held))
            held = []
    if own.size != ledger.size or own.root() != ledger.root:
        raise CodedLedgerError(
            Code.ENTRY_CHANGED, "this machine's ledger does not lead to the root that was signed",
            advice="opsascode verify --all names the entries",
        )  # fmt: skip
    return tuple(groups)


def _peaks(size: Json, text: Json) -> tuple[bytes, ...] | None:
    if type(size) is not int or size < 0 or not isinstance(text, str) or not _HEX.fullmatch(text):
        return None
    raw = bytes.fromhex(text)
    found = tuple(raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES))
    return found if len(found) == size.bit_count() else None


def _refused(index: int, message: str) -> CodedLedgerError:
    return CodedLedgerError(Code.HANDOVER, f"entry {index}: {message}", index=index)
