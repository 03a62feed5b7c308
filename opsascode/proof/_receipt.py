"""Can anybody, offline and with nothing but a public key, see what was recorded?

A receipt is one JSON file: the records' envelopes, for each the proof that it is in the ledger
(c2sp.org/tlog-proof@v1), and attachments. An envelope is kept as a string, for it is its exact bytes that the
ledger holds.

Rules: an attachment counts only if a proven record names its digest; its own name is a label that nobody signed.
All that is wrong is found at once and given back as faults, each with the record it is about.

Not here: what records and attachments say.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.proof._canonical import Json, canonical_bytes, parse_strict, sha256_digest
from opsascode.proof._codes import Code, CodedProofError, Fault
from opsascode.proof._envelope import Record, open_envelope
from opsascode.proof._tlog import verify_proof
from opsascode.proof._verify import RunLives

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opsascode.proof._keys import PublicKey
    from opsascode.proof._note import Checkpoint
    from opsascode.proof._reader import LedgerReader

RECEIPT_FORMAT = "opsascode-receipt/v1"
MAX_RECEIPT = 64 * 1024 * 1024
MAX_RECORDS = 1024
_MAX_PARTS = 2**18
"""Far more values than so many records and attachments hold; what is read takes many times its own room in memory."""
_KEYS = {"format", "records", "attachments"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenRecord:
    """A record, and the place in the ledger at which the checkpoint covers it."""

    index: int
    record: Record
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """Content whose digest a proven record names, at `named_by`: `records[1].predicate.journal`."""

    name: str
    digest: str
    data: bytes
    named_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptVerdict:
    """What the receipt proves; whatever does not hold is left out of it and stands among the faults."""

    records: tuple[ProvenRecord, ...]
    attachments: tuple[Attachment, ...]
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing at all is wrong."""
        return not self.faults


def make_receipt(ledger: LedgerReader, indexes: Sequence[int], attachments: Mapping[str, bytes]) -> bytes:
    """Write a receipt for some entries of a ledger, in the order given, with attachments by name.

    Raises:
        LedgerError: there is no such entry.
        ProofError: the receipt would be over 64 MiB.
    """
    records: list[Json] = [
        {"envelope": ledger.entry(index).decode(), "proof": ledger.prove(index)} for index in indexes
    ]
    attached: list[Json] = [
        {"data": base64.b64encode(data).decode(), "name": name, "sha256": sha256_digest(data).removeprefix("sha256:")}
        for name, data in attachments.items()
    ]
    receipt = canonical_bytes({"format": RECEIPT_FORMAT, "records": records, "attachments": attached}) + b"\n"
    if len(receipt) > MAX_RECEIPT:
        raise CodedProofError(
            Code.RECEIPT, f"a receipt of {len(receipt)} bytes where at most {MAX_RECEIPT} are allowed"
        )
    return receipt


def verify_receipt(data: bytes, keys: Sequence[PublicKey], *, origin: str | None = None) -> ReceiptVerdict:
    """Check a receipt with nothing but public keys; with `origin`, only records of that ledger count."""
    try:
        listed, attached = _read_receipt(data)
    except CodedProofError as error:
        return ReceiptVerdict(records=(), attachments=(), faults=(Fault(code=error.code, message=error.message),))
    faults: list[Fault] = []
    records: list[ProvenRecord] = []
    runs = RunLives()
    seen: dict[str, Checkpoint] = {}
    for place, one in enumerate(listed):
        try:
            proven = _prove_record(one, keys, origin, seen)
        except CodedProofError as error:
            faults.append(Fault(index=place, code=error.code, message=error.message))
            continue
        origin = proven.checkpoint.origin  # all records of a receipt are of one ledger
        fault = runs.see(place, proven.record.statement) or _misplaced(place, proven, records)
        if fault:
            faults.append(fault)
        records.append(proven)
    if not listed:
        faults.append(Fault(code=Code.RECEIPT, message="the receipt holds no record"))
    named = dict(_named_digests(records))
    attachments: list[Attachment] = []
    for one in attached:
        try:
            attachments.append(_open_attachment(one, named))
        except CodedProofError as error:
            faults.append(Fault(code=error.code, message=error.message))
    return ReceiptVerdict(records=tuple(records), attachments=tuple(attachments), faults=tuple(faults))


def _read_receipt(data: bytes) -> tuple[list[Json], list[Json]]:
    if sum(map(data.count, (b",", b"[", b"{"))) > _MAX_PARTS:
        raise CodedProofError(Code.RECEIPT, "the receipt holds more values than any run has to say")
    found = parse_strict(data, max_bytes=MAX_RECEIPT)
    if not isinstance(found, dict) or found.keys() != _KEYS or found["format"] != RECEIPT_FORMAT:
        raise CodedProofError(Code.RECEIPT, f"not a receipt in format {RECEIPT_FORMAT}")
    records, attachments = found["records"], found["attachments"]
    if not isinstance(records, list) or not isinstance(attachments, list):
        raise CodedProofError(Code.RECEIPT, "the receipt's records and attachments must be lists")
    if len(records) > MAX_RECORDS or len(attachments) > MAX_RECORDS:
        raise CodedProofError(Code.RECEIPT, f"a receipt holds at most {MAX_RECORDS} records and attachments")
    return records, attachments


def _prove_record(
    found: Json, keys: Sequence[PublicKey], origin: str | None, seen: dict[str, Checkpoint]
) -> ProvenRecord:
    if not isinstance(found, dict) or found.keys() != {"envelope", "proof"}:
        raise CodedProofError(Code.RECEIPT, "a record of a receipt has exactly an envelope and a proof")
    envelope, proof = found["envelope"], found["proof"]
    if not isinstance(envelope, str) or not isinstance(proof, str):
        raise CodedProofError(Code.RECEIPT, "the envelope and the proof of a record must be texts")
    content = envelope.encode()
    record = open_envelope(content, keys)
    index, checkpoint = verify_proof(content, proof, keys, origin=origin, seen=seen)
    named = record.statement.predicate.get("ledger", checkpoint.origin)
    if named != checkpoint.origin:
        raise CodedProofError(Code.ORIGIN, f"the record was made for the ledger {named!r}, not {checkpoint.origin}")
    return ProvenRecord(index=index, record=record, checkpoint=checkpoint)


def _misplaced(place: int, proven: ProvenRecord, before: Sequence[ProvenRecord]) -> Fault | None:
    if before and proven.index <= before[-1].index:
        return Fault(index=place, code=Code.RECEIPT, message="the records are not in the order of the ledger")
    return None


def _named_digests(records: Sequence[ProvenRecord]) -> Iterator[tuple[str, str]]:
    """Every text of the proven records that may be a digest, with the place it was found at."""
    for place, proven in enumerate(records):
        yield proven.record.statement.subject_digest, f"records[{place}].subject"
        yield from _texts(dict(proven.record.statement.predicate), f"records[{place}].predicate")


def _texts(value: Json, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield value, place
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{place}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, f"{place}[{index}]")


def _open_attachment(found: Json, named: Mapping[str, str]) -> Attachment:
    if not isinstance(found, dict) or found.keys() != {"name", "sha256", "data"}:
        raise CodedProofError(Code.ATTACHMENT, "an attachment has exactly a name, a sha256 and data")
    name, claimed, text = found["name"], found["sha256"], found["data"]
    if not isinstance(name, str) or not isinstance(claimed, str) or not isinstance(text, str):
        raise CodedProofError(Code.ATTACHMENT, "a part of an attachment is no text")
    if not name or len(name) > 256 or not name.isprintable():  # noqa: PLR2004 - longer is no label
        raise CodedProofError(Code.ATTACHMENT, f"{name[:80]!r} cannot be the name of an attachment")
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise CodedProofError(Code.ATTACHMENT, f"the attachment {name} is not base64") from None
    digest = sha256_digest(data)
    if digest != f"sha256:{claimed}":
        raise CodedProofError(Code.ATTACHMENT, f"the attachment {name} does not have the digest written beside it")
    if digest not in named:
        raise CodedProofError(
            Code.ATTACHMENT, f"no proven record names the attachment {name}, so nobody vouches for it"
        )
    return Attachment(name=name, digest=digest, data=data, named_by=named[digest])
