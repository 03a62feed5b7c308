"""How do several people sign one and the same bytes, one after the other?

Rules: one payload, one signature for each key, sorted by key id, in one form: whoever adds theirs first or last, the
file is the same. Nothing is verified here; who adds a signature has verified it.

Not here: what the payload says, and whether the signatures are enough (`_root_chain`).
"""

from __future__ import annotations

import base64

from opsascode.proof._canonical import canonical_bytes
from opsascode.proof._codes import Code, CodedProofError
from opsascode.proof._envelope import MAX_ENVELOPE, MAX_SIGNATURES, PAYLOAD_TYPE, read_parts


def add_signature(envelope: bytes | None, payload: bytes, keyid: str, signature: bytes) -> bytes:
    """Put a signature into an envelope, in place of what stands under its key id; without an envelope, make one.

    Raises:
        ProofError: the envelope is none, holds another payload, or would hold too much.
    """
    signatures = {} if envelope is None else _signatures(envelope, payload)
    return _write(payload, {**signatures, keyid: signature})


def join_signatures(first: bytes, second: bytes) -> bytes:
    """Put the signatures of two copies into one envelope; where both have one of the same key id, the first counts.

    Raises:
        ProofError: one of them is no envelope, they hold different payloads, or too much together.
    """
    payload = read_parts(first)[0]
    return _write(payload, {**_signatures(second, payload), **_signatures(first, payload)})


def _signatures(envelope: bytes, payload: bytes) -> dict[str, bytes]:
    found, payload_type, signatures = read_parts(envelope)
    if payload_type != PAYLOAD_TYPE:
        raise CodedProofError(Code.TYPE, f"a payload of type {payload_type[:80]!r} where {PAYLOAD_TYPE} is needed")
    if found != payload:
        raise CodedProofError(
            Code.ROOT,
            "the two are signatures over different content",
            advice="sign the same version; if it was proposed again, everybody signs again",
        )
    return dict(reversed(signatures))


def _write(payload: bytes, signatures: dict[str, bytes]) -> bytes:
    if len(signatures) > MAX_SIGNATURES:
        raise CodedProofError(Code.PARSE, f"{len(signatures)} signatures where at most {MAX_SIGNATURES} fit")
    envelope = canonical_bytes(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [
                {"keyid": keyid, "sig": base64.b64encode(signatures[keyid]).decode()} for keyid in sorted(signatures)
            ],
        }
    )
    if len(envelope) > MAX_ENVELOPE:
        raise CodedProofError(
            Code.PARSE,
            f"an envelope of {len(envelope)} bytes where at most {MAX_ENVELOPE} fit",
            advice="list fewer persons or keys in the trust root",
        )
    return envelope
