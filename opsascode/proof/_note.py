"""Which text did which named key sign, in the form that logs and witnesses exchange?

Rules (c2sp.org/signed-note, c2sp.org/tlog-checkpoint): signatures of unknown keys are ignored; a known key whose
signature fails rejects the whole note; a note no known key signed says nothing. A checkpoint is a note of three
lines: the log's origin, its size, its root.

Not here: proofs against a checkpoint, and where checkpoints are kept.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opsascode.proof._codes import Code, CodedProofError
from opsascode.proof._keys import PublicKey
from opsascode.proof._merkle import HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opsascode.proof._keys import Signer

MAX_NOTE = 65536
MAX_SIGNATURES = 16
_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile("0|[1-9][0-9]{0,17}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteKey:
    """A public key under the name it signs notes with.

    Raises:
        ProofError: the name is empty or holds a space or a plus sign.
    """

    name: str
    key: PublicKey

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def key_id(self) -> bytes:
        """The four bytes that stand before this key's signatures."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.key.raw).digest()[:_KEY_ID_BYTES]

    def vkey(self) -> str:
        """Write the key as witnesses and monitors are given it: `name+id+key`."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.key.raw).decode()}"

    @classmethod
    def from_vkey(cls, text: str) -> NoteKey:
        """Read `name+id+key`.

        Raises:
            ProofError: it is not of that form, of another kind than Ed25519, its id is not its own, or the key is weak.
        """
        parts = text.strip().split("+", 2)
        if len(parts) != 3:  # noqa: PLR2004 - name, id, key
            raise CodedProofError(Code.KEY, "not a verifier key of the form name+id+key")
        material = strict_base64(parts[2], Code.KEY)
        if not material.startswith(_ED25519):
            raise CodedProofError(Code.KEY_TYPE, "the verifier key is not an Ed25519 note key")
        found = cls(name=parts[0], key=PublicKey(material[1:]))
        if found.key_id.hex() != parts[1]:
            raise CodedProofError(Code.KEY, "the verifier key's id is not that of its name and key")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state of a log, as its key signed it."""

    origin: str
    size: int
    root: bytes


def check_name(name: str) -> None:
    """Refuse what cannot be a key's name or a log's origin.

    Raises:
        ProofError: it is empty or over 200 characters, or holds a space, a plus sign or an unprintable character.
    """
    if not name or len(name) > 200 or "+" in name or not name.isprintable() or any(c.isspace() for c in name):  # noqa: PLR2004 - the docstring's 200
        raise CodedProofError(Code.NOTE, f"{name[:80]!r} cannot be the name of a key or log")


def sign_note(text: str, name: str, signer: Signer) -> str:
    """Sign a text under a name.

    Raises:
        ProofError: the text does not end in a newline, or holds control characters.
    """
    if not text.endswith("\n") or _CONTROL.search(text):
        raise CodedProofError(Code.NOTE, "a note's text ends in a newline and holds no other control character")
    return text + "\n" + signature_line(text, NoteKey(name=name, key=signer.public_key), signer)


def signature_line(text: str, key: NoteKey, signer: Signer) -> str:
    """Make the line that says `key` signed the text."""
    signature = base64.b64encode(key.key_id + signer.sign(text.encode())).decode()
    return f"— {key.name} {signature}\n"


def open_note(note: str, keys: Iterable[NoteKey]) -> tuple[str, tuple[NoteKey, ...]]:
    """Return the text, and which of the known keys signed it (each once).

    Raises:
        ProofError: no note, a known key's signature fails, or no known key signed.
    """
    text, lines = split_note(note)
    known = {(key.name, key.key_id): key for key in keys}
    signed: dict[bytes, NoteKey] = {}
    message = text.encode()
    for line in lines:
        name, signature = read_signature(line)
        key = known.get((name, signature[:_KEY_ID_BYTES]))
        if key is None:
            continue
        if not key.key.verify(message, signature[_KEY_ID_BYTES:]):
            raise CodedProofError(Code.SIGNATURE, f"the signature of {name} does not fit the note")
        signed[key.key.raw] = key
    if not signed:
        raise CodedProofError(Code.SIGNATURE, "no known key signed the note")
    return text, tuple(signed.values())


def checkpoint_text(checkpoint: Checkpoint) -> str:
    """Write the three lines that are signed."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{base64.b64encode(checkpoint.root).decode()}\n"


def read_checkpoint(note: str) -> Checkpoint:
    """Read what a checkpoint says, signed or not.

    Raises:
        ProofError: it is no note, or its text is no checkpoint.
    """
    text, _ = split_note(note)
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines):  # noqa: PLR2004 - origin, size, root
        raise CodedProofError(Code.CHECKPOINT, "a checkpoint has three lines: origin, size and root")
    check_name(lines[0])
    if not _SIZE.fullmatch(lines[1]):
        raise CodedProofError(Code.CHECKPOINT, f"{lines[1][:40]!r} is no size of a log")
    root = strict_base64(lines[2], Code.CHECKPOINT)
    if len(root) != HASH_BYTES:
        raise CodedProofError(Code.CHECKPOINT, "the checkpoint's root is no SHA-256")
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=root)


def open_checkpoint(note: str, keys: Sequence[PublicKey], *, origin: str | None = None) -> Checkpoint:
    """Return what a checkpoint says, once one of the keys is found to have signed it under the log's own origin.

    Raises:
        ProofError: it is no checkpoint, of another origin than asked for, or not signed by any of the keys.
    """
    checkpoint = read_checkpoint(note)
    if origin is not None and checkpoint.origin != origin:
        raise CodedProofError(Code.ORIGIN, f"a checkpoint of {checkpoint.origin} where {origin} was expected")
    open_note(note, [NoteKey(name=checkpoint.origin, key=key) for key in keys])
    return checkpoint


def split_note(note: str) -> tuple[str, list[str]]:
    """Take a note apart into its text and its signature lines; nothing is verified.

    Raises:
        ProofError: it is no note.
    """
    if len(note) > MAX_NOTE:
        raise CodedProofError(Code.NOTE, f"a note of {len(note)} characters where at most {MAX_NOTE} are allowed")
    if _CONTROL.search(note):
        raise CodedProofError(Code.NOTE, "the note holds a control character")
    text, blank, rest = note.rpartition("\n\n")
    if not blank or not rest.endswith("\n"):
        raise CodedProofError(Code.NOTE, "not a note: a text, an empty line, and signature lines")
    lines = rest.split("\n")[:-1]
    if len(lines) > MAX_SIGNATURES:
        raise CodedProofError(
            Code.NOTE, f"a note with {len(lines)} signatures where at most {MAX_SIGNATURES} are allowed"
        )
    return text + "\n", lines


def read_signature(line: str) -> tuple[str, bytes]:
    """Take a signature line apart into the name, and the key id with what stands behind it.

    Raises:
        ProofError: it is no signature line.
    """
    words = line.split(" ")
    if len(words) != 3 or words[0] != "—" or not words[1]:  # noqa: PLR2004 - dash, name, signature
        raise CodedProofError(Code.NOTE, "a signature line of the note is not of the form '— name signature'")
    signature = strict_base64(words[2], Code.NOTE)
    if len(signature) <= _KEY_ID_BYTES:
        raise CodedProofError(Code.NOTE, f"the signature of {words[1][:80]} is too short")
    return words[1], signature


def strict_base64(text: str, code: Code) -> bytes:
    """Decode base64 in the one form its bytes have.

    Raises:
        ProofError: with `code`, if it is anything else.
    """
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CodedProofError(code, f"{text[:40]!r} is not base64") from None
    if base64.b64encode(found).decode() != text:
        raise CodedProofError(code, f"{text[:40]!r} is not the one base64 form of its bytes")
    return found
