"""Is what the team's log shows now a continuation of what this machine saw of it?

    segments/     the log as far as a checkpoint covers it, in the form of a ledger (`_segments`)
    nodes         hashes of all whole subtrees
    fold.json     where each machine's ledger stands, and which entries are of which kind: made again when it is lost
    lock          taken by whoever follows the log

Rules: what comes in is verified entry by entry, and must lead, together with what was here, to a root that a ledger key
of the team signed. A log that is shorter than what was seen here is refused (E_LEDGER_TRUNCATED), one with another
history too, with a proof for anybody (E_LEDGER_FORK). The copy is a cache; the high-water mark beside it is not.

Not here: how the log travels (`repo`), when it is followed (`run`), and what its entries mean.
"""

from __future__ import annotations

import fcntl
import os
from bisect import bisect_right
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Self

from opsascode.proof import _merkle
from opsascode.proof._canonical import Json, canonical_bytes, parse_strict
from opsascode.proof._codes import Code, CodedLedgerError, CodedProofError
from opsascode.proof._cosign import write_request
from opsascode.proof._envelope import Record, read_unverified
from opsascode.proof._fork import write_fork
from opsascode.proof._handover import Group, Handover, TeamFold, TeamKeys
from opsascode.proof._highwater import HighWater, MarkFile, read_mark
from opsascode.proof._merkle import CompactRange, leaf_hash
from opsascode.proof._note import Checkpoint, checkpoint_text, open_checkpoint, read_checkpoint, sign_note
from opsascode.proof._reader import LedgerReader, Nodes
from opsascode.proof._segments import SEGMENT_ENTRIES, checkpoint_line, find_tail, list_segments, segment_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from opsascode.proof._keys import Signer

    Read = Callable[[int], Sequence[Sequence[bytes]]]
    """Gives the groups of the log from entry N on."""


class LedgerForkError(CodedLedgerError):
    """Two histories of one log were signed; `proof` shows it to anybody (see `_fork`)."""

    def __init__(self, message: str, proof: bytes) -> None:
        """Keep the proof beside the sentence."""
        super().__init__(Code.LEDGER_FORK, message, advice="keep the fork proof, and find out who signed the other one")
        self.proof = proof


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamRecord:
    """A record with its place in the machine's own ledger, and in the team's log if it is there yet."""

    ledger: str
    index: int
    team_index: int | None
    record: Record


class TeamLog(LedgerReader):
    """The team's log, as far as this machine has followed it."""

    def __init__(self, directory: Path, *, origin: str, keys: TeamKeys, high_water: Path) -> None:
        """Use `open` instead."""
        super().__init__(directory, origin=origin, keys=keys.runners, nodes=Nodes(directory / "nodes"))
        self.team = keys
        self._high_water = high_water
        self._mark: HighWater | None = None
        self._met = False
        self.vouched, self.doubt = True, ""
        self._fold = TeamFold(origin, keys)
        self._groups: list[tuple[int, str, int]] = []
        self._kinds: dict[str, list[int]] = {}
        self._segment, self._end = 0, 0

    @classmethod
    def open(cls, directory: Path, *, origin: str, keys: TeamKeys, high_water: Path) -> Self:
        """Open this machine's copy, empty where there is none yet.

        Raises:
            LedgerError: the copy is not what was signed, or the mark is of another log.
        """
        (directory / "segments").mkdir(mode=0o700, parents=True, exist_ok=True)
        made = cls(directory, origin=origin, keys=keys, high_water=high_water)
        with made.exclusive():
            pass
        return made

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Be the only one on this machine who follows the log; what others took in meanwhile is here then."""
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._load()
            yield
        finally:
            os.close(descriptor)

    @property
    def seen(self) -> int:
        """How many entries this machine has ever seen the log have."""
        return max(self._size, self._mark.size if self._mark else 0)

    @property
    def recorded(self) -> int:
        """How many records machines have handed over, the hand-overs themselves not counted."""
        return self._size - len(self._groups)

    def fold(self) -> TeamFold:
        """Give where each machine's ledger stands, to go on from without changing it here."""
        return self._fold.copy()

    def known(self, ledger: str) -> int:
        """How many entries of a machine's own ledger are covered here."""
        return self._fold.known(ledger)

    def prefix_root(self, size: int) -> bytes:
        """Give the root the log had at this size.

        Raises:
            LedgerError: the log is not that long.
        """
        if size > self._size:
            raise CodedLedgerError(
                Code.LEDGER_TRUNCATED, f"the log has {self._size} signed entries, not {size}", index=self._size
            )
        for attempt in ("as they are", "made again"):
            if attempt == "made again":
                self._fold_again()
            with suppress(LookupError):
                root = CompactRange(size, _merkle.peaks(size, self._nodes.at)).root()
                proof = _merkle.consistency_proof(size, self._size, self._nodes.at) if size else []
                if not size or _merkle.verify_consistency(size, self._size, root, self._root, proof):
                    return root
        raise CodedLedgerError(Code.ENTRY_CHANGED, f"the hashes of {self.directory} do not lead to its signed root")

    def require_continues(self, earlier: Checkpoint) -> None:
        """Make sure that the log continues a state that somebody saw, such as the one inside an approval.

        Raises:
            LedgerError: it is of another log, the log is shorter (truncated), or has another history (fork).
        """
        if earlier.origin != self.origin:
            raise CodedLedgerError(Code.ORIGIN, f"a state of {earlier.origin} where {self.origin} was expected")
        if self.prefix_root(earlier.size) != earlier.root:
            raise CodedLedgerError(
                Code.LEDGER_FORK, f"the first {earlier.size} entries are not those that were seen: another history"
            )

    def request(self, old: int) -> str:
        """Write what a witness that saw `old` entries needs to cosign the current checkpoint.

        Raises:
            LedgerError: the log is empty, or not that long.
        """
        note = self.checkpoint()
        self.prefix_root(old)
        proof = _merkle.consistency_proof(old, self._size, self._nodes.at) if old else []
        return write_request(old, proof, note)

    def cover(self, fold: TeamFold, signer: Signer) -> str:
        """Sign the checkpoint over a continuation of this log, once the remote has accepted that."""
        text = checkpoint_text(Checkpoint(origin=self.origin, size=fold.size, root=fold.range.root()))
        return sign_note(text, self.origin, signer)

    def records(  # type: ignore[override]  # of kinds, and with their places: the log's entries are of many ledgers
        self, kinds: Collection[str] | None = None
    ) -> Iterator[TeamRecord]:
        """Give the records of these predicate types in the log's order; whom the team distrusts is left out.

        Raises:
            LedgerError: an entry does not verify any more.
        """
        wanted = sorted(at for kind in (self._kinds if kinds is None else kinds) for at in self._kinds.get(kind, ()))
        for logged in self.pick(wanted):
            if not self.team.distrusts(logged.record.keyid, logged.index):
                group, ledger, start = self._groups[bisect_right(self._groups, (logged.index, "", 0)) - 1]
                yield TeamRecord(
                    ledger=ledger, index=start + logged.index - group - 1, team_index=logged.index, record=logged.record
                )

    # Following.

    def follow(self, note: str | None, read: Read) -> tuple[Sequence[bytes], ...]:
        """Take in what a checkpoint covers; give the groups behind it, unjudged. Only inside `exclusive`.

        Raises:
            LedgerError: the log is not a continuation of what this machine saw, or not what was signed.
        """
        signed = self._trusted(note)
        self.vouched = signed is not None
        if signed is None or note is None:
            self._require_whole(read)
            return tuple(read(self._size))
        if signed.size < self._size:
            self._judge_shorter(signed, note)
        groups = list(read(self._size))
        try:
            grown, taken = self._covered(signed, groups)
        except CodedLedgerError as error:
            raise self._diverged(signed, note, read, error) from None
        if self._mark and self._mark.size > signed.size:
            self._refuse_shorter(signed.size)
        if taken or note != self._note:
            self._absorb(grown, taken, [line for lines in groups[: len(taken)] for line in lines], note)
        return tuple(groups[len(taken) :])

    def _trusted(self, note: str | None) -> Checkpoint | None:
        """Read a checkpoint if a ledger key that is trusted for its size signed it."""
        if note is None:
            return None
        try:
            found = read_checkpoint(note)
            keys = [key for key in self.team.ledgers if not self.team.distrusts(key.keyid, found.size - 1)]
            return open_checkpoint(note, keys, origin=self.origin)
        except CodedProofError as error:
            self.doubt = f"the checkpoint of the team's log does not hold: {error.message} [{error.code}]"
            return None

    def _require_whole(self, read: Read) -> None:
        """With no checkpoint that counts (its key was replaced, say): what was seen here must all be there."""
        if self._mark and self._mark.size > self._size:
            raise CodedLedgerError(
                Code.LEDGER_TRUNCATED,
                f"{self.seen} entries were seen on this machine, and no checkpoint covers them now",
            )
        theirs, counted = CompactRange(), 0
        for lines in read(0) if self._size else ():
            counted += len(lines)
            for line in lines if theirs.size < self._size else ():
                theirs.append(leaf_hash(line))
        self._refuse_shorter(counted)
        if (theirs.size, theirs.root()) != (self._size, self._root):
            raise CodedLedgerError(
                Code.ENTRY_CHANGED, f"the first {self._size} entries are not those seen here", index=0
            )

    def _require_trusted(self, note: str) -> None:
        if self._trusted(note) is None:
            raise CodedLedgerError(Code.SIGNATURE, self.doubt, advice=f"remove {self.directory}, and sync again")

    def _covered(self, signed: Checkpoint, groups: Sequence[Sequence[bytes]]) -> tuple[TeamFold, list[Group]]:
        grown, taken, self._met = self._fold.copy(), list[Group](), False
        for lines in groups:
            if grown.size >= signed.size:
                break
            taken.append(grown.take(lines))
            self._check_mark(grown)
        if (grown.size, grown.range.root()) != (signed.size, signed.root):
            raise CodedLedgerError(
                Code.ENTRY_CHANGED, f"the entries from {self._size} on do not lead to the root that was signed",
                index=self._size,
            )  # fmt: skip
        return grown, taken

    def _check_mark(self, grown: TeamFold) -> None:
        """Hold what comes in after the copy was lost against the mark, which was not: it lies between two groups."""
        mark = self._mark
        if mark and self._size < mark.size <= grown.size and not self._met:
            self._met = (mark.size, mark.root) == (grown.size, grown.range.root())
            if not self._met:
                raise CodedLedgerError(
                    Code.LEDGER_FORK, f"the first {mark.size} entries are not those seen on this machine"
                )

    def _refuse_shorter(self, size: int) -> None:
        if self.seen > size:
            raise CodedLedgerError(
                Code.LEDGER_TRUNCATED,
                f"the team's log has {size} signed entries, but {self.seen} were seen on this machine",
                index=size,
                advice="entries were taken away: restore the ref from a clone that has them",
            )

    def _judge_shorter(self, signed: Checkpoint, note: str) -> None:
        prefix = self.prefix_root(signed.size)
        if prefix == signed.root:
            self._refuse_shorter(signed.size)
        proof = _merkle.consistency_proof(signed.size, self._size, self._nodes.at) if signed.size else []
        raise self._fork(signed.size, write_fork(note, self._note, root=prefix, proof=proof))

    def _diverged(self, signed: Checkpoint, note: str, read: Read, error: CodedLedgerError) -> CodedLedgerError:
        """Say why what came does not continue what is here: another history, or one that nobody signed."""
        if signed.size == self._size and signed.root != self._root:
            return self._fork(self._size, write_fork(self._note, note))
        nodes, theirs = Nodes(None), CompactRange()
        for line in islice((line for lines in read(0) for line in lines), signed.size):
            size = theirs.size
            nodes.write(size, theirs.append(leaf_hash(line)))
        if (theirs.size, theirs.root()) != (signed.size, signed.root):
            return error
        prefix = CompactRange(self._size, _merkle.peaks(self._size, nodes.at)).root()
        if prefix == self._root:
            return error
        proof = _merkle.consistency_proof(self._size, signed.size, nodes.at)
        return self._fork(self._size, write_fork(self._note, note, root=prefix, proof=proof))

    def _fork(self, size: int, proof: bytes) -> LedgerForkError:
        return LedgerForkError(
            f"the first {size} entries of {self.origin} are not those seen here: another history", proof
        )

    # On the disk.

    def _load(self) -> None:
        """Take up what is here: the last checkpoint, held against the mark, and the notes beside it."""
        mark = read_mark(self._high_water)
        tail = find_tail(list_segments(self.directory))
        if mark and mark.origin != self.origin:
            raise CodedLedgerError(Code.ORIGIN, f"the high-water mark is of {mark.origin}, not of {self.origin}")
        self._mark = mark
        self._segment, self._end = tail.segment, tail.offset
        if tail.note is None or tail.note == self._note:
            return
        found = read_checkpoint(tail.note)
        if mark is None or (mark.size, mark.root) != (found.size, found.root):
            self._require_trusted(tail.note)
        self._note, self._size, self._root = tail.note, found.size, found.root
        if not self._load_fold():
            self._fold_again()
        if mark and mark.size <= self._size and self.prefix_root(mark.size) != mark.root:
            raise CodedLedgerError(Code.LEDGER_FORK, "the copy of the team's log is not what this machine saw")

    def _load_fold(self) -> bool:
        try:
            found = parse_strict((self.directory / "fold.json").read_bytes(), max_bytes=1 << 30)
        except (OSError, CodedProofError):
            return False
        fold = TeamFold.of(found, self.origin, self.team) if isinstance(found, dict) else None
        if fold is None or not isinstance(found, dict) or (fold.size, fold.range.root()) != (self._size, self._root):
            return False
        groups, kinds = found.get("groups"), found.get("kinds")
        if not isinstance(groups, list) or not isinstance(kinds, dict):
            return False
        self._fold = fold
        self._groups = [(one[0], one[1], one[2]) for one in groups]  # type: ignore[misc, index]  # as `_keep_fold` wrote it
        # Places are kept as steps, which are short.
        self._kinds = {kind: list(accumulate(steps)) for kind, steps in kinds.items()}  # type: ignore[arg-type]  # likewise
        return True

    def _fold_again(self) -> None:
        """Make the notes again from the entries, which must lead to the signed root."""
        self._fold, self._groups, self._kinds = TeamFold(self.origin, self.team), [], {}
        entries = self.entries()
        for first in entries:
            handover = Handover.of(read_unverified(first))
            lines = (first, *islice(entries, handover.stop - handover.start))
            size = self._fold.size
            group = self._fold.take(lines)
            self._nodes.write(size, group.hashes)
            self._note_group(group)
        if (self._fold.size, self._fold.range.root()) != (self._size, self._root):
            raise CodedLedgerError(
                Code.ENTRY_CHANGED, f"the entries of {self.directory} do not lead to the root that was signed",
                advice=f"it is a copy: remove {self.directory}, and sync again",
            )  # fmt: skip
        self._keep_fold()

    def _note_group(self, group: Group) -> None:
        self._groups.append((group.index, group.handover.ledger, group.handover.start))
        for at, record in enumerate(group.records, group.index + 1):
            self._kinds.setdefault(record.statement.predicate_type, []).append(at)

    def _absorb(self, grown: TeamFold, taken: Sequence[Group], lines: Sequence[bytes], note: str) -> None:
        """Write what was verified: entries and checkpoint first, then the mark, then the notes."""
        if self._size - self._segment >= SEGMENT_ENTRIES:
            self._segment, self._end = self._size, 0
        content = b"\n".join((*lines, checkpoint_line(note)))
        path = segment_path(self.directory, self._segment)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, self._end)
            with os.fdopen(os.dup(descriptor), "r+b") as file:
                file.seek(self._end)
                file.write(content)
            os.fdatasync(descriptor)
        except OSError as error:
            raise CodedLedgerError(Code.LEDGER_IO, f"the copy of the team's log cannot be written: {error}") from error
        finally:
            os.close(descriptor)
        self._nodes.write(self._size, [one for group in taken for one in group.hashes])
        self._end += len(content)
        self._fold, self._note, self._size, self._root = grown, note, grown.size, grown.range.root()
        for group in taken:
            self._note_group(group)
        self._raise_mark()
        self._keep_fold()

    def _raise_mark(self) -> None:
        if self._mark and self._mark.size > self._size:
            return
        mark = HighWater(origin=self.origin, size=self._size, root=self._root)
        try:
            file = MarkFile(self._high_water)
            file.raise_to(mark)
            file.close()
        except OSError as error:
            raise CodedLedgerError(Code.HIGH_WATER, f"the high-water mark cannot be raised: {error}") from error
        self._mark = mark

    def _keep_fold(self) -> None:
        kinds: dict[str, Json] = {
            kind: [at - before for before, at in zip((0, *places), places, strict=False)]
            for kind, places in self._kinds.items()
        }
        groups: list[Json] = [[index, ledger, start] for index, ledger, start in self._groups]
        found: Json = {**self._fold.to_json(), "groups": groups, "kinds": kinds}
        draft = self.directory / ".fold.json"
        with suppress(OSError):  # it is made again from the entries
            draft.write_bytes(canonical_bytes(found))
            draft.replace(self.directory / "fold.json")
