"""Is this ledger, entry by entry, the one that was signed?

In order: 1. the header; 2. every entry's signature, and the life of every run; 3. every checkpoint's text against
the entries before it; 4. the last checkpoint's signature; 5. where entries and checkpoint disagree, which entries;
6. the high-water mark.

Rules: nothing hostile raises: all that is wrong is found in one pass and given back as faults, each with the entry
it is about. Only the last checkpoint's signature is load-bearing (it covers everything before it), so only that is
verified, unless `every_checkpoint` is asked for.

Not here: repairing anything.
"""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opsascode.proof import _merkle
from opsascode.proof._codes import Code, CodedLedgerError, CodedProofError, Fault
from opsascode.proof._deviation import name_deviations
from opsascode.proof._envelope import Statement, read_statement, verified_payload
from opsascode.proof._highwater import read_mark
from opsascode.proof._merkle import HASH_BYTES, CompactRange
from opsascode.proof._note import Checkpoint, open_checkpoint
from opsascode.proof._segments import (
    CHECKPOINT_PREFIX,
    list_segments,
    read_checkpoint_line,
    read_header,
    read_lines,
    reading,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opsascode.proof._highwater import HighWater
    from opsascode.proof._keys import PublicKey
    from opsascode.proof._segments import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerVerdict:
    """What was found; `size` and `root` are what the last good checkpoint covers; `open_runs` never ended."""

    origin: str
    size: int
    root: bytes
    faults: tuple[Fault, ...]
    open_runs: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.faults


@dataclass(slots=True)
class RunLives:
    """Follows each run through its records: one start, then at most one end."""

    started: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)

    def see(self, index: int, statement: Statement) -> Fault | None:
        """Take note of a record; say what is wrong with it, as far as runs go."""
        name = statement.subject_name
        if statement.kind == "run-start":
            if name in self.started:
                return Fault(
                    index=index,
                    code=Code.DUP_RUN,
                    message=f"the run {name} was already started at {self.started[name]}",
                )
            self.started[name] = index
        elif statement.kind == "run-end":
            if name in self.ended:
                return Fault(
                    index=index, code=Code.DUP_RUN, message=f"the run {name} had already ended at {self.ended[name]}"
                )
            self.ended[name] = index
            if name not in self.started:
                return Fault(index=index, code=Code.RUN_UNSTARTED, message=f"the run {name} ends but was never started")
        return None

    def still_open(self) -> tuple[str, ...]:
        """Name the runs that started and did not end."""
        return tuple(name for name in self.started if name not in self.ended)


def verify_ledger(
    directory: Path,
    *,
    keys: Sequence[PublicKey],
    high_water: Path | None = None,
    every_checkpoint: bool = False,
) -> LedgerVerdict:
    """Check the whole ledger with nothing but public keys; `high_water` is this machine's mark, where there is one."""
    faults: list[Fault] = []
    origin, scan = "", None
    try:
        with reading(directory):
            # 1. The header, and how far we look: what is appended from here on is not our question.
            origin = read_header(directory).origin
            segments = list_segments(directory)
            mark = None if high_water is None else read_mark(high_water)
        # 2. and 3.
        scan = _Scan(origin, keys, mark, every_checkpoint=every_checkpoint)
        scan.walk(segments)
        # 4. and 5.
        signed = scan.conclude(directory / "nodes")
        # 6.
        scan.compare_mark(signed, expected=high_water is not None)
    except CodedLedgerError as error:
        faults.append(Fault(index=error.index, code=error.code, message=str(error)))
    except OSError as error:
        faults.append(Fault(code=Code.LEDGER_IO, message=f"the ledger {directory} cannot be read: {error}"))
    if scan is None:
        return LedgerVerdict(origin=origin, size=0, root=_merkle.EMPTY_ROOT, faults=tuple(faults), open_runs=())
    found = sorted((*scan.faults, *faults), key=lambda fault: -1 if fault.index is None else fault.index)
    return LedgerVerdict(
        origin=origin,
        size=scan.signed.size,
        root=scan.signed.root,
        faults=tuple(found),
        open_runs=scan.runs.still_open(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stray:
    """A checkpoint line that does not fit the `counted` entries before it; at `since` entries the last one did."""

    since: int
    counted: int
    line: bytes


class _Scan:
    """One pass over all lines."""

    def __init__(
        self, origin: str, keys: Sequence[PublicKey], mark: HighWater | None, *, every_checkpoint: bool
    ) -> None:
        self.origin = origin
        self.faults: list[Fault] = []
        self.runs = RunLives()
        self.signed = Checkpoint(origin=origin, size=0, root=_merkle.EMPTY_ROOT)
        self._keys = keys
        self._mark = mark
        self._mark_root: bytes | None = _merkle.EMPTY_ROOT if mark and mark.size == 0 else None
        self._every = every_checkpoint
        self._range = CompactRange()
        self._leaves = bytearray()
        self._bad: set[int] = set()
        self._last_line = b""
        self._behind = 0
        self._fitting = 0
        self._strays: list[_Stray] = []
        # What a right checkpoint starts with: compared as bytes, for parsing each costs a third more.
        self._prefix = CHECKPOINT_PREFIX + json.dumps(origin + "\n", ensure_ascii=False)[1:-1].encode()

    def walk(self, segments: Sequence[Segment]) -> None:
        """Look at every line."""
        for segment in segments:
            size = self._range.size
            if segment.first != size:
                code = Code.ENTRY_REMOVED if segment.first > size else Code.ENTRY_ADDED
                self._fault(size, code, f"{segment.path.name} should start with this entry")
            for line in read_lines(segment):
                if not line.endswith(b"\n"):
                    self._fault(self._range.size, Code.LEDGER_TORN, f"an append of {len(line)} bytes was interrupted")
                elif line.startswith(CHECKPOINT_PREFIX):
                    self._see_checkpoint(line)
                else:
                    self._see_entry(line[:-1])

    def _see_entry(self, envelope: bytes) -> None:
        index = self._range.size
        leaf = _merkle.leaf_hash(envelope)
        self._leaves += leaf
        self._range.append(leaf)
        self._behind += 1
        if self._mark and self._mark.size == self._range.size:
            self._mark_root = self._range.root()
        try:
            statement = read_statement(verified_payload(envelope, self._keys)[0])
        except CodedProofError as error:
            self._bad.add(index)
            self._fault(index, error.code, error.message)
            return
        fault = self.runs.see(index, statement)
        # Behind an entry that cannot be read, a missing start is no news.
        if fault and not (self._bad and fault.code is Code.RUN_UNSTARTED):
            self.faults.append(fault)
        named = statement.predicate.get("ledger", self.origin)
        if named != self.origin:
            self._fault(index, Code.ORIGIN, f"the record was made for the ledger {named!r}, not {self.origin}")

    def _see_checkpoint(self, line: bytes) -> None:
        self._last_line, self._behind = line, 0
        root = binascii.b2a_base64(self._range.root(), newline=False)
        if not line.startswith(b"%b%d\\n%b\\n\\n\xe2\x80\x94 " % (self._prefix, self._range.size, root)):
            self._strays.append(_Stray(since=self._fitting, counted=self._range.size, line=line))
            return
        self._fitting = self._range.size
        if self._every:
            try:
                open_checkpoint(read_checkpoint_line(line), self._keys, origin=self.origin)
            except CodedProofError as error:
                self._fault(
                    self._range.size - 1, error.code, f"the checkpoint behind this entry does not hold: {error}"
                )

    def conclude(self, nodes: Path) -> Checkpoint | None:
        """Verify the last checkpoint; where it does not fit the entries, name those that deviate."""
        if not self._last_line:
            if self._range.size:
                self._fault(0, Code.CHECKPOINT, "the entries are covered by no checkpoint")
            return None
        try:
            signed = open_checkpoint(read_checkpoint_line(self._last_line), self._keys, origin=self.origin)
        except CodedProofError as error:
            self._fault(self._range.size - 1, error.code, f"the last checkpoint does not hold: {error}")
            self._blame_checkpoints(self._strays[:-1])
            return None
        self.signed = signed
        counted = self._range.size
        if self._behind and signed.size <= counted:
            self._fault(signed.size, Code.LEDGER_TORN, "what stands here is covered by no checkpoint")
        if self._strays and self._strays[-1].line == self._last_line:
            self._blame_entries(signed, nodes)
        else:
            self._blame_checkpoints(self._strays)
        return signed

    def _blame_checkpoints(self, strays: Sequence[_Stray]) -> None:
        """Fault checkpoints that do not fit entries which the last checkpoint covers."""
        for stray in strays:
            self._fault(
                stray.counted - 1,
                Code.CHECKPOINT,
                "the checkpoint behind this entry does not fit the entries before it",
            )

    def _blame_entries(self, signed: Checkpoint, nodes: Path) -> None:
        behind = HASH_BYTES * self._unsigned()
        leaves = bytes(self._leaves[: len(self._leaves) - behind])
        faults = name_deviations(leaves, signed, nodes)
        if faults is None:
            faults = self._first_deviation()
        self.faults += [fault for fault in faults if fault.index not in self._bad]

    def _unsigned(self) -> int:
        return self._behind if self._behind and self._range.size > self.signed.size else 0

    def _first_deviation(self) -> tuple[Fault, ...]:
        """With no list of the right hashes left: where the first rightly signed checkpoint that does not fit begins."""
        for stray in self._strays:
            try:
                one = open_checkpoint(read_checkpoint_line(stray.line), self._keys, origin=self.origin)
            except CodedProofError:
                continue
            missing = one.size - stray.counted
            if missing > 0:
                code, what = Code.ENTRY_REMOVED, f"from here on, {missing} signed entries are gone"
            elif missing < 0:
                code, what = Code.ENTRY_ADDED, f"from here on, {-missing} entries were never signed"
            else:
                code, what = Code.ENTRY_CHANGED, f"the entries {stray.since} to {one.size - 1} are not those signed"
            return (Fault(index=stray.since, code=code, message=what),)
        return ()

    def compare_mark(self, signed: Checkpoint | None, *, expected: bool) -> None:
        """Hold the ledger against what this machine saw of it."""
        mark, size = self._mark, signed.size if signed else 0
        if mark is None:
            if expected and size:
                self._fault(None, Code.HIGH_WATER, "the high-water mark of this machine is missing")
        elif mark.origin != self.origin:
            self._fault(None, Code.ORIGIN, f"the high-water mark is of {mark.origin}, not of {self.origin}")
        elif mark.size > size:
            self._fault(
                size, Code.LEDGER_TRUNCATED, f"{mark.size} entries were seen on this machine, {size} are signed here"
            )
        elif self._mark_root != mark.root and not (self._strays or self._bad):
            self._fault(
                mark.size - 1, Code.LEDGER_FORK, f"the first {mark.size} entries are not those seen on this machine"
            )

    def _fault(self, index: int | None, code: Code, message: str) -> None:
        self.faults.append(Fault(index=index, code=code, message=message))
