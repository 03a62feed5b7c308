"""Which witnesses saw this state of the log, and when; and may this witness say that it saw it too?

A cosignature is one more line under a checkpoint, in the form of c2sp.org/tlog-cosignature (Ed25519, type 0x04): a
witness states that, at that time, this was the largest state of the log it had seen, and continued every earlier one.
`Witness` is the witness itself, by the rules of c2sp.org/tlog-witness, add-checkpoint, without a network.

Rules: a witness is counted by its 32 bytes and once. Lines of unknown keys are ignored; a known witness's line that
fails rejects the note. A witness writes down what it has seen, and waits for the disk, before it gives its line.

Not here: the log's own signature (`_note`), and how many witnesses are enough (the trust root says).
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from opsascode.proof import _merkle
from opsascode.proof._codes import Code, CodedProofError
from opsascode.proof._highwater import HighWater, read_mark, write_mark
from opsascode.proof._keys import PublicKey, sync_directory
from opsascode.proof._merkle import HASH_BYTES
from opsascode.proof._note import (
    MAX_SIGNATURES,
    Checkpoint,
    check_name,
    open_checkpoint,
    read_checkpoint,
    read_signature,
    split_note,
    strict_base64,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opsascode.proof._keys import Signer

_TYPE = b"\x04"
_KEY_ID_BYTES = 4
_TIME_BYTES = 8
_LINE_BYTES = _KEY_ID_BYTES + _TIME_BYTES + 64
_LATEST = 2**63 - 1
_OLD = re.compile("old (0|[1-9][0-9]{0,17})", re.ASCII)
_MAX_REQUEST = 131072
_MAX_HASHES = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosignature:
    """One witness's word: it saw this state at that time."""

    name: str
    key: PublicKey
    when: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheckpoint:
    """What a log asks of a witness: the size it is believed to know, the proof from there, and the new checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: str


class WitnessRefusedError(CodedProofError):
    """The witness does not cosign; `status` is what it would answer over HTTP, `size` the state it knows (409)."""

    def __init__(self, code: Code, status: int, message: str, *, size: int | None = None, advice: str = "") -> None:
        """Keep the status, and the size a conflict tells, beside the sentence."""
        super().__init__(code, message, advice=advice)
        self.status, self.size = status, size


def cosigner_key_id(name: str, key: PublicKey) -> bytes:
    """Give the four bytes that stand before this witness's cosignatures."""
    return hashlib.sha256(name.encode() + b"\n" + _TYPE + key.raw).digest()[:_KEY_ID_BYTES]


def cosignature_message(text: str, seconds: int) -> bytes:
    """Make the bytes a witness signs: what kind of statement, when, and the checkpoint's whole text."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def cosign(note: str, *, name: str, signer: Signer, now: datetime) -> str:
    """Make a witness's line for a checkpoint; whether it may be made is `Witness`'s to say.

    Raises:
        ProofError: it is no note, or the name can be no witness's.
    """
    check_name(name)
    seconds = int(now.timestamp())
    signature = signer.sign(cosignature_message(split_note(note)[0], seconds))
    content = cosigner_key_id(name, signer.public_key) + seconds.to_bytes(_TIME_BYTES) + signature
    return f"— {name} {base64.b64encode(content).decode()}\n"


def cosignatures(note: str, witnesses: Sequence[PublicKey]) -> tuple[Cosignature, ...]:
    """Give the word of every known witness under a checkpoint, each once, its latest.

    Raises:
        ProofError: it is no checkpoint, or a known witness's line fails.
    """
    read_checkpoint(note)
    text, lines = split_note(note)
    found: dict[bytes, Cosignature] = {}
    for line in lines:
        name, content = read_signature(line)
        key = next((one for one in witnesses if cosigner_key_id(name, one) == content[:_KEY_ID_BYTES]), None)
        if key is None:
            continue
        seconds = int.from_bytes(content[_KEY_ID_BYTES : _KEY_ID_BYTES + _TIME_BYTES])
        if len(content) != _LINE_BYTES or seconds > _LATEST:
            raise CodedProofError(Code.NOTE, f"the cosignature of {name} has not the form of one")
        if not key.verify(cosignature_message(text, seconds), content[_KEY_ID_BYTES + _TIME_BYTES :]):
            raise CodedProofError(Code.SIGNATURE, f"the cosignature of {name} does not fit the checkpoint")
        one = Cosignature(name=name, key=key, when=_moment(seconds, name))
        if key.raw not in found or found[key.raw].when < one.when:
            found[key.raw] = one
    return tuple(found.values())


def require_quorum(note: str, witnesses: Sequence[PublicKey], quorum: int) -> tuple[Cosignature, ...]:
    """Give the cosignatures of a checkpoint, once there are enough of them.

    Raises:
        ProofError: fewer than `quorum` different witnesses cosigned it.
    """
    found = cosignatures(note, witnesses)
    if len(found) < quorum:
        raise CodedProofError(
            Code.WITNESS,
            f"{len(found)} of {quorum} witnesses cosigned the checkpoint",
            advice="ask the witnesses: `opsascode ledger checkpoint --team --since SIZE`, then `ledger witness`",
        )
    return found


def newest_word(note: str, witnesses: Sequence[PublicKey], quorum: int = 1) -> datetime | None:
    """Say when enough witnesses last vouched for this being the whole log; None where they never did."""
    times = sorted((one.when for one in cosignatures(note, witnesses)), reverse=True)
    return times[quorum - 1] if 0 < quorum <= len(times) else None


def add_lines(note: str, lines: str, witnesses: Sequence[PublicKey]) -> str:
    """Put the lines of known witnesses under a checkpoint; lines it has already, and those of others, stay out.

    Raises:
        ProofError: a known witness's line does not fit the checkpoint, or there are more lines than a note may have.
    """
    listed = lines.splitlines(keepends=True)
    if len(listed) > MAX_SIGNATURES:
        raise CodedProofError(Code.NOTE, f"{len(listed)} lines of witnesses where at most {MAX_SIGNATURES} are allowed")
    for line in listed:
        grown = note + (line if line.endswith("\n") else line + "\n")
        if (
            line.strip()
            and line.rstrip("\n") not in note
            and cosignatures(grown, witnesses) != cosignatures(note, witnesses)
        ):
            note = grown
    return note


def write_request(old: int, proof: Sequence[bytes], note: str) -> str:
    """Write what a log sends to a witness (c2sp.org/tlog-witness, add-checkpoint)."""
    return "\n".join((f"old {old}", *(base64.b64encode(one).decode() for one in proof))) + "\n\n" + note


def read_request(text: str) -> AddCheckpoint:
    """Read what a log sends to a witness.

    Raises:
        WitnessRefusedError: it is not of that form (400).
    """
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    old = _OLD.fullmatch(lines[0])
    if len(text) > _MAX_REQUEST or not blank or old is None or len(lines) - 1 > _MAX_HASHES:
        raise WitnessRefusedError(
            Code.CHECKPOINT, 400, "not a request of the form: old SIZE, hashes, empty line, checkpoint"
        )
    try:
        proof = tuple(strict_base64(line, Code.PROOF) for line in lines[1:])
        size = read_checkpoint(note).size
    except CodedProofError as error:
        raise WitnessRefusedError(error.code, 400, error.message) from None
    if any(len(one) != HASH_BYTES for one in proof):
        raise WitnessRefusedError(Code.PROOF, 400, "a line of the proof is no SHA-256")
    if int(old[1]) > size:
        raise WitnessRefusedError(Code.PROOF, 400, f"a log of {size} entries cannot continue one of {old[1]}")
    return AddCheckpoint(old=int(old[1]), proof=proof, note=note)


class Witness:
    """Remembers the largest state it saw of each log, and cosigns only what continues it."""

    def __init__(self, directory: Path, *, name: str, signer: Signer) -> None:
        """Use a private directory, made if it is not there."""
        check_name(name)
        self._directory, self._name, self._signer = directory, name, signer

    def seen(self, origin: str) -> HighWater | None:
        """Give the largest state of a log that was cosigned here."""
        return read_mark(self._path(origin))

    def add_checkpoint(self, request: AddCheckpoint, keys: Sequence[PublicKey], now: datetime) -> str:
        """Cosign a checkpoint that one of the log's `keys` signed; give the line.

        Raises:
            WitnessRefusedError: not signed (403), another size is known (409), or the proof does not hold (422).
            LedgerError: what was seen before cannot be read.
        """
        try:
            new = open_checkpoint(request.note, keys)
        except CodedProofError as error:
            raise WitnessRefusedError(error.code, 403, error.message) from None
        with self._locked():
            seen = self.seen(new.origin)
            self._judge(request, new, seen)
            line = cosign(request.note, name=self._name, signer=self._signer, now=now)
            if seen is None or seen.size != new.size:
                self._remember(new)
        return line

    def _judge(self, request: AddCheckpoint, new: Checkpoint, seen: HighWater | None) -> None:
        known = seen.size if seen else 0
        if request.old != known:
            raise WitnessRefusedError(
                Code.CHECKPOINT, 409, f"{known} entries of {new.origin} were seen here, not {request.old}", size=known,
                advice=f"bring the proof from there: opsascode ledger checkpoint --team --since {known}",
            )  # fmt: skip
        if seen and new.size == seen.size and new.root != seen.root:
            raise WitnessRefusedError(
                Code.LEDGER_FORK, 409, f"this witness saw another history of {new.origin} at size {known}", size=known,
                advice="two signed states of one log that differ: keep this request, it is proof",
            )  # fmt: skip
        empty = known == 0 and not request.proof and (new.size > 0 or new.root == _merkle.EMPTY_ROOT)
        if not empty and not (seen and _merkle.verify_consistency(known, new.size, seen.root, new.root, request.proof)):
            raise WitnessRefusedError(Code.PROOF, 422, f"the proof does not lead from {known} to {new.size} entries")

    def _remember(self, new: Checkpoint) -> None:
        """Replace what was seen, durably, before anybody is told."""
        path = self._path(new.origin)
        draft = path.with_name(f".{path.name}")
        with draft.open("wb") as file:
            file.write(write_mark(HighWater(origin=new.origin, size=new.size, root=new.root)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_directory(self._directory)

    def _path(self, origin: str) -> Path:
        return self._directory / f"{hashlib.sha256(origin.encode()).hexdigest()}.seen"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _moment(seconds: int, name: str) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise CodedProofError(Code.NOTE, f"the cosignature of {name} is of no time there is") from None
