"""Who said what: is this envelope whole, signed by a key we know, and a statement we understand?

Rules: DSSE v1 around an in-toto Statement v1 with exactly one subject. The signature is over the received bytes,
and is checked before they are read. The key id in an envelope is a hint and decides nothing. A record is identified
by the SHA-256 of its decoded payload, never by its envelope, which may be written in several ways.

Not here: who may say it (policy and trust root), when it was said, and where it is kept.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from opsascode.proof._canonical import Json, canonical_bytes, parse_strict, sha256_digest
from opsascode.proof._codes import Code, CodedProofError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from opsascode.proof._keys import Signer, Verifier

PREDICATE_PREFIX = "urn:opsascode:"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MAX_ENVELOPE = 65535
"""The largest entry of a log that can be served in C2SP tiles, whose entries have a length of 16 bits."""
MAX_SIGNATURES = 16

_PREDICATE = re.compile(re.escape(PREDICATE_PREFIX) + "[a-z][a-z0-9-]{0,62}:v[1-9][0-9]{0,3}")
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_SEALED = re.compile(
    rb'\{"payload":"([A-Za-z0-9+/]++={0,2})","payloadType":"application/vnd\.in-toto\+json","signatures":'
    rb'\[\{"keyid":"(SHA256:[A-Za-z0-9+/]{43})","sig":"([A-Za-z0-9+/]++={0,2})"\}\]\}'
)
_ENVELOPE_KEYS = {"payload", "payloadType", "signatures"}
_SIGNATURE_KEYS = {"keyid", "sig"}
_STATEMENT_KEYS = {"_type", "subject", "predicateType", "predicate"}
_MAX_NAME = 256
_URL_ALPHABET = str.maketrans("-_", "+/")

_Parts: TypeAlias = "tuple[bytes, str, list[tuple[str, bytes]]]"
"""Payload, payload type, and for each signature the hint and the signature itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What is claimed about one subject: `predicate_type` is `urn:opsascode:<kind>:v<n>`."""

    predicate_type: str
    subject_name: str
    subject_digest: str
    predicate: Mapping[str, Json]

    @property
    def kind(self) -> str:
        """The word between prefix and version: `run-start`."""
        return self.predicate_type.removeprefix(PREDICATE_PREFIX).rpartition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A statement with the bytes that prove it; `keyids` are the distinct known keys that signed, `keyid` the first."""

    envelope: bytes
    payload: bytes
    digest: str
    keyid: str
    keyids: tuple[str, ...]
    statement: Statement


def seal(statement: Statement, signer: Signer) -> bytes:
    """Sign a statement: one line of compact JSON without the newline, a DSSE v1 envelope.

    Raises:
        ProofError: the statement is not of the one allowed shape, or the envelope would be over 65,535 bytes.
    """
    payload = statement_payload(statement)
    signature = signer.sign(pre_authentication(PAYLOAD_TYPE, payload))
    return wrap(payload, keyid=signer.public_key.keyid, signature=signature)


def statement_payload(statement: Statement) -> bytes:
    """Write a statement as the bytes that are signed and kept.

    Raises:
        ProofError: the statement is not of the one allowed shape.
    """
    _check_statement(statement)
    return canonical_bytes(
        {
            "_type": STATEMENT_TYPE,
            "predicate": dict(statement.predicate),
            "predicateType": statement.predicate_type,
            "subject": [
                {
                    "digest": {"sha256": statement.subject_digest.removeprefix("sha256:")},
                    "name": statement.subject_name,
                }
            ],
        }
    )


def wrap(payload: bytes, *, keyid: str, signature: bytes) -> bytes:
    """Put a payload and the signature over it into an envelope.

    Raises:
        ProofError: the envelope would be over 65,535 bytes.
    """
    envelope = _write_envelope(payload, keyid, signature)
    if len(envelope) > MAX_ENVELOPE:
        raise CodedProofError(
            Code.PARSE,
            f"a record of {len(envelope)} bytes where at most {MAX_ENVELOPE} fit",
            advice="put large content into an attachment and its digest into the record",
        )
    return envelope


def is_as_sealed(record: Record) -> bool:
    """Say whether the envelope is, byte for byte, the one that `seal` makes for this record."""
    _, _, signatures = _read_envelope(record.envelope)
    return len(signatures) == 1 and record.envelope == _write_envelope(record.payload, record.keyid, signatures[0][1])


def _write_envelope(payload: bytes, keyid: str, signature: bytes) -> bytes:
    # In canonical order, and by hand: every value is base64, a fingerprint or a constant, and needs no escaping.
    return b'{"payload":"%b","payloadType":"%b","signatures":[{"keyid":"%b","sig":"%b"}]}' % (
        base64.b64encode(payload),
        PAYLOAD_TYPE.encode(),
        keyid.encode(),
        base64.b64encode(signature),
    )


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Make the bytes that are signed (DSSE v1, PAE)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def open_envelope(
    envelope: bytes, keys: Sequence[Verifier], *, predicate_types: Collection[str] | None = None
) -> Record:
    """Verify an envelope and return the record, in the order: size, shape, signatures, type, JSON, statement.

    With `predicate_types`, any other kind of statement is refused: a run's record is no approval.

    Raises:
        ProofError: any step fails; its `code` says which.
    """
    payload, keyids = verified_payload(envelope, keys)
    statement = read_statement(payload)
    if predicate_types is not None and statement.predicate_type not in predicate_types:
        raise CodedProofError(Code.TYPE, f"a statement of type {statement.predicate_type} is not accepted here")
    return Record(
        envelope=envelope,
        payload=payload,
        digest=sha256_digest(payload),
        keyid=keyids[0],
        keyids=keyids,
        statement=statement,
    )


def payload_digest(envelope: bytes) -> str:
    """Name what an envelope holds, without saying that anything about it is true.

    Raises:
        ProofError: it has not the size or shape of an envelope.
    """
    return sha256_digest(read_parts(envelope)[0])


def read_unverified(envelope: bytes) -> Statement:
    """Read what an envelope claims, when nothing but convenience depends on it.

    Raises:
        ProofError: it has not the size or shape of an envelope, or holds no statement.
    """
    return read_statement(read_parts(envelope)[0])


def read_parts(envelope: bytes) -> _Parts:
    """Take an envelope apart, unverified: payload, its type, and for each signature the hint and the signature.

    Raises:
        ProofError: it has not the size or shape of an envelope.
    """
    if len(envelope) > MAX_ENVELOPE:
        raise CodedProofError(
            Code.PARSE, f"an envelope of {len(envelope)} bytes where at most {MAX_ENVELOPE} are allowed"
        )
    return _read_sealed(envelope) or _read_envelope(envelope)


def verified_payload(envelope: bytes, keys: Sequence[Verifier]) -> tuple[bytes, tuple[str, ...]]:
    """Return the payload and who signed it, before the payload is read.

    Raises:
        ProofError: as for `open_envelope`.
    """
    # 1. Size, before anything is read. 2. The envelope's own shape, and both layers of base64.
    payload, payload_type, signatures = read_parts(envelope)
    # 3. Signatures, over the received bytes.
    keyids = _verify(pre_authentication(payload_type, payload), signatures, keys)
    # 4. What kind of payload the signature says it is.
    if payload_type != PAYLOAD_TYPE:
        raise CodedProofError(Code.TYPE, f"a payload of type {payload_type[:80]!r} where {PAYLOAD_TYPE} is needed")
    return payload, keyids


def _read_sealed(envelope: bytes) -> _Parts | None:
    """Read an envelope as `seal` writes it, which needs no JSON reader: it holds nothing that could be escaped."""
    found = _SEALED.fullmatch(envelope)
    if found is None:
        return None
    written, hint, written_signature = found.groups()
    try:
        payload, signature = binascii.a2b_base64(written), binascii.a2b_base64(written_signature)
    except binascii.Error:
        return None
    if (binascii.b2a_base64(payload, newline=False), binascii.b2a_base64(signature, newline=False)) != (
        written,
        written_signature,
    ):
        return None  # not the one form of these bytes: the long way says what is wrong
    return payload, PAYLOAD_TYPE, [(hint.decode(), signature)]


def _read_envelope(envelope: bytes) -> _Parts:
    found = parse_strict(envelope, max_bytes=MAX_ENVELOPE)
    if not isinstance(found, dict) or found.keys() != _ENVELOPE_KEYS:
        _refuse("an envelope has exactly payload, payloadType and signatures")
    payload_type, listed = found["payloadType"], found["signatures"]
    if not isinstance(payload_type, str) or not isinstance(listed, list):
        _refuse("the envelope's payloadType must be text and its signatures a list")
    if not 1 <= len(listed) <= MAX_SIGNATURES:
        _refuse(f"{len(listed)} signatures where 1 to {MAX_SIGNATURES} are allowed")
    return _base64(found["payload"]), payload_type, [_read_signature(one) for one in listed]


def _read_signature(found: Json) -> tuple[str, bytes]:
    if not isinstance(found, dict) or "sig" not in found or not found.keys() <= _SIGNATURE_KEYS:
        _refuse("a signature has sig and, as a hint, keyid")
    hint = found.get("keyid", "")
    if not isinstance(hint, str):
        _refuse("a signature's keyid is no text")
    return hint, _base64(found["sig"])


def _verify(message: bytes, signatures: list[tuple[str, bytes]], keys: Sequence[Verifier]) -> tuple[str, ...]:
    """Name the distinct keys that signed. The hint only says which key to try first."""
    found: dict[str, None] = {}
    for hint, signature in signatures:
        for key in sorted(keys, key=lambda key: key.keyid != hint) if len(keys) > 1 else keys:
            if key.keyid not in found and key.verify(message, signature):
                found[key.keyid] = None
                break
    if not found:
        hints = ", ".join(sorted({hint[:60] for hint, _ in signatures if hint.isprintable() and hint})) or "no key"
        raise CodedProofError(
            Code.SIGNATURE,
            f"no known key signed this (it claims {hints})",
            advice="the content was changed, or the signer's public key is not among those given",
        )
    return tuple(found)


def read_statement(payload: bytes) -> Statement:
    """Read a payload whose signature was verified: strict JSON, then the statement's shape.

    Raises:
        ProofError: as for `open_envelope`.
    """
    found = parse_strict(payload)
    if not isinstance(found, dict) or found.keys() != _STATEMENT_KEYS or found["_type"] != STATEMENT_TYPE:
        raise CodedProofError(Code.TYPE, "the payload is no in-toto Statement v1")
    kind, predicate, subjects = found["predicateType"], found["predicate"], found["subject"]
    if not isinstance(subjects, list) or len(subjects) != 1:
        raise CodedProofError(Code.STATEMENT, "a statement has exactly one subject")
    subject = subjects[0]
    if not isinstance(subject, dict) or subject.keys() != {"name", "digest"}:
        raise CodedProofError(Code.STATEMENT, "the subject has exactly a name and a digest")
    name, digest = subject["name"], subject["digest"]
    value = digest.get("sha256") if isinstance(digest, dict) and len(digest) == 1 else None
    if not isinstance(kind, str) or not isinstance(name, str) or not isinstance(predicate, dict):
        raise CodedProofError(Code.STATEMENT, "a part of the statement is of the wrong JSON type")
    if not isinstance(value, str):
        raise CodedProofError(Code.STATEMENT, "the subject's digest is exactly one sha256")
    statement = Statement(predicate_type=kind, subject_name=name, subject_digest="sha256:" + value, predicate=predicate)
    _check_statement(statement)
    return statement


@functools.lru_cache(maxsize=64)
def _is_known_form(predicate_type: str) -> bool:
    return _PREDICATE.fullmatch(predicate_type) is not None


def _check_statement(statement: Statement) -> None:
    if not _is_known_form(statement.predicate_type):
        raise CodedProofError(Code.TYPE, f"{statement.predicate_type[:80]!r} is no predicate type of opsascode")
    if not _DIGEST.fullmatch(statement.subject_digest):
        raise CodedProofError(
            Code.STATEMENT, f"{statement.subject_digest[:80]!r} is no sha256 digest in lower-case hex"
        )
    # isprintable is false for control, bidirectional and zero-width characters: what a person reads is what was signed.
    if not 1 <= len(statement.subject_name) <= _MAX_NAME or not statement.subject_name.isprintable():
        raise CodedProofError(Code.STATEMENT, f"{statement.subject_name[:80]!r} cannot be a subject's name")


def _base64(text: Json) -> bytes:
    """Decode either alphabet (DSSE v1, protocol), padded, and only in the one form its bytes have."""
    if not isinstance(text, str):
        _refuse("a part of the envelope that must be base64 is no text")
    mixed = text
    if "-" in text or "_" in text:
        if "+" in text or "/" in text:
            _refuse("base64 of two alphabets at once")
        mixed = text.translate(_URL_ALPHABET)
    try:
        found = binascii.a2b_base64(mixed, strict_mode=True)
    except (binascii.Error, ValueError):
        _refuse("a part of the envelope is not base64")
    # Only the last group can hold bits that decoding drops.
    if mixed and binascii.b2a_base64(found[(len(mixed) // 4 - 1) * 3 :], newline=False) != mixed[-4:].encode():
        _refuse("a part of the envelope is not the one base64 form of its bytes")
    return found


def _refuse(message: str) -> NoReturn:
    raise CodedProofError(Code.PARSE, message)
