"""Did this person's SSH key sign this, as an approval, and with a hand on the token where there is one?

Rules: people sign with the SSH key they have, as SSHSIG (OpenSSH's PROTOCOL.sshsig) in one namespace, so that
`ssh-keygen -Y verify` says the same as we do. What a signature must look like is decided by the key we know, never by
the signature. The blob has one form: no reserved part, no byte behind it. A FIDO key must say that it was touched,
which ssh-keygen does not ask for.

Not here: signing (`ssh-keygen -Y sign` does it, with file, agent or token; no private key of a person is ever read),
and who a key belongs to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from opsascode.proof._codes import Code, CodedProofError, Fault
from opsascode.proof._envelope import open_envelope, pre_authentication, read_parts
from opsascode.proof._keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from opsascode.proof._envelope import Record

APPROVAL_NAMESPACE: Final = "approval@opsascode"
"""What people's signatures are for; one made for Git or a file never counts."""

_PLAIN, _TOKEN = "ssh-ed25519", "sk-ssh-ed25519@openssh.com"
_MAGIC = b"SSHSIG"
_VERSION = (1).to_bytes(4)
_HASHES = {b"sha512": hashlib.sha512, b"sha256": hashlib.sha256}
_TOUCHED = 0x01
_MAX_BLOB = 4096
_MAX_APPLICATION = 256
_HEAD, _FOOT = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_ARMOR_WIDTH = 70


@dataclass(frozen=True, slots=True)
class PersonKey:
    """A person's SSH public key: Ed25519, or Ed25519 on a FIDO token (then `application` says for what).

    Two of them are the same key when their 32 bytes are, whatever they are wrapped in.

    Raises:
        ProofError: the key is weak.
    """

    public: PublicKey
    application: str | None = None
    keyid: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        fingerprint = base64.b64encode(hashlib.sha256(self._wire()).digest()).rstrip(b"=").decode()
        object.__setattr__(self, "keyid", f"SHA256:{fingerprint}")

    @classmethod
    def from_openssh(cls, text: str) -> PersonKey:
        """Read one line of a `.pub` file: `ssh-ed25519 …` or `sk-ssh-ed25519@openssh.com …`, and a comment.

        Raises:
            ProofError: it is no such line, a key of another type, or weak.
        """
        words = text.split(maxsplit=2)
        if not words or words[0] != _TOKEN:
            return cls(_plain_key(text, words))
        if len(words) == 1 or "\n" in text.strip():
            raise CodedProofError(Code.KEY, "not one line of an OpenSSH public key")
        try:
            wire = _Wire(base64.b64decode(words[1], validate=True))
        except (binascii.Error, ValueError):
            raise CodedProofError(Code.KEY, "the key is not base64") from None
        if wire.string() != _TOKEN.encode():
            raise CodedProofError(Code.KEY_TYPE, f"the key's own bytes are not those of a {_TOKEN} key")
        raw, application = wire.string(), wire.string()
        wire.end()
        if not 1 <= len(application) <= _MAX_APPLICATION or not application.isascii():
            raise CodedProofError(Code.KEY, "the key's application is no plain text")
        return cls(PublicKey(raw), application.decode())

    @property
    def raw(self) -> bytes:
        """The 32 bytes by which keys are told apart."""
        return self.public.raw

    @property
    def on_token(self) -> bool:
        """Whether the private key lies on a FIDO token."""
        return self.application is not None

    def openssh(self, comment: str = "") -> str:
        """Write the key as one line of a `.pub` or `allowed_signers` file, without the newline."""
        if self.application is None:
            return self.public.openssh(comment)
        return f"{_TOKEN} {base64.b64encode(self._wire()).decode()} {comment}".rstrip()

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Say whether this key approved exactly this message."""
        return self.fault(message, signature) is None

    def fault(self, message: bytes, signature: bytes) -> Fault | None:
        """Say what is wrong with an SSHSIG blob over a message, or nothing when this key made it as it must."""
        try:
            blob = _Blob.read(signature)
        except CodedProofError as error:
            return Fault(code=error.code, message=error.message)
        if blob.key != self._wire():
            same = self.raw in blob.key
            what = "this key wrapped as another type" if same else "another key"
            code = Code.KEY_TYPE if same else Code.SIGNATURE
            return Fault(code=code, message=f"the signature says it was made by {what}")
        if blob.namespace != APPROVAL_NAMESPACE.encode():
            shown = blob.namespace.decode(errors="replace")[:60]
            return Fault(code=Code.NAMESPACE, message=f"signed for {shown!r}, not for {APPROVAL_NAMESPACE!r}")
        if blob.hash_name not in _HASHES:
            return Fault(code=Code.SIGNATURE, message="the signature uses a hash that is not accepted")
        return self._signature_fault(blob, message)

    def _signature_fault(self, blob: _Blob, message: bytes) -> Fault | None:
        """Judge the innermost part, whose form is that of our key."""
        digest = _HASHES[blob.hash_name](message).digest()
        signed = _MAGIC + b"".join(map(_string, (blob.namespace, b"", blob.hash_name, digest)))
        try:
            inner = _Wire(blob.signature)
            kind, bare = inner.string(), inner.string()
            if kind != self._type().encode():
                return Fault(code=Code.KEY_TYPE, message="the signature is of another type than the key")
            if self.application is not None:
                flags = inner.take(5)  # one byte of flags, four of a counter
                if not flags[0] & _TOUCHED:
                    return Fault(code=Code.USER_PRESENCE, message="nobody touched the security key when it signed")
                about = hashlib.sha256(self.application.encode()).digest()
                signed = about + flags + hashlib.sha256(signed).digest()
            inner.end()
        except CodedProofError as error:
            return Fault(code=error.code, message=error.message)
        if not self.public.verify(signed, bare):
            return Fault(code=Code.SIGNATURE, message="the signature does not fit the content")
        return None

    def _type(self) -> str:
        return _PLAIN if self.application is None else _TOKEN

    def _wire(self) -> bytes:
        application = () if self.application is None else (self.application.encode(),)
        return b"".join(map(_string, (self._type().encode(), self.raw, *application)))


def open_by_person(
    envelope: bytes, keys: Sequence[PersonKey], *, predicate_types: Collection[str] | None = None
) -> Record:
    """Verify an envelope that a person signed, as `open_envelope` does, but say what is wrong with the signature.

    Raises:
        ProofError: it does not verify; its `code` says why, such as E_NAMESPACE or E_USER_PRESENCE.
    """
    try:
        return open_envelope(envelope, keys, predicate_types=predicate_types)
    except CodedProofError as error:
        if error.code is not Code.SIGNATURE:
            raise
        found = _closer_reason(envelope, keys)
        if found is None:
            raise
        raise CodedProofError(found.code, found.message) from None


def _closer_reason(envelope: bytes, keys: Sequence[PersonKey]) -> Fault | None:
    """Find a reason that is about one of our keys, or about the form; None when an unknown key signed."""
    payload, payload_type, signatures = read_parts(envelope)
    message = pre_authentication(payload_type, payload)
    for _, signature in signatures:
        try:
            blob = _Blob.read(signature)
        except CodedProofError as error:
            return Fault(code=error.code, message=error.message)
        for key in keys:
            if key.raw in blob.key:
                return key.fault(message, signature)
    return None


def armor(signature: bytes) -> str:
    """Write an SSHSIG blob as the file that `ssh-keygen -Y verify` reads."""
    text = base64.b64encode(signature).decode()
    lines = [text[at : at + _ARMOR_WIDTH] for at in range(0, len(text), _ARMOR_WIDTH)]
    return "\n".join((_HEAD, *lines, _FOOT, ""))


def dearmor(text: bytes) -> bytes:
    """Read the file that `ssh-keygen -Y sign` writes.

    Raises:
        ProofError: it is no such file.
    """
    lines = text.decode(errors="replace").split()
    body = "".join(lines).removeprefix("".join(_HEAD.split())).removesuffix("".join(_FOOT.split()))
    if not text.strip().startswith(_HEAD.encode()) or not text.strip().endswith(_FOOT.encode()):
        raise CodedProofError(Code.PARSE, "this is no armored SSH signature")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise CodedProofError(Code.PARSE, "the armored SSH signature is not base64") from None


def _plain_key(text: str, words: list[str]) -> PublicKey:
    if words and words[0] != _PLAIN:
        raise CodedProofError(
            Code.KEY_TYPE,
            f"a key of type {words[0][:40]!r} where {_PLAIN} or {_TOKEN} is needed",
            advice="make one: ssh-keygen -t ed25519, or -t ed25519-sk with a security key",
        )
    return PublicKey.from_openssh(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blob:
    """The parts of an SSHSIG blob, each as it was received."""

    key: bytes
    namespace: bytes
    hash_name: bytes
    signature: bytes

    @classmethod
    def read(cls, blob: bytes) -> _Blob:
        if len(blob) > _MAX_BLOB:
            raise CodedProofError(Code.PARSE, f"an SSH signature of {len(blob)} bytes where at most {_MAX_BLOB} fit")
        wire = _Wire(blob)
        if wire.take(len(_MAGIC)) != _MAGIC or wire.take(len(_VERSION)) != _VERSION:
            raise CodedProofError(Code.KEY_TYPE, "this is no SSH signature of version 1 (SSHSIG)")
        key, namespace, reserved, hash_name, signature = (wire.string() for _ in range(5))
        wire.end()
        if reserved:
            raise CodedProofError(Code.PARSE, "the SSH signature has a reserved part that is not empty")
        return cls(key=key, namespace=namespace, hash_name=hash_name, signature=signature)


class _Wire:
    """Reads OpenSSH's wire format (RFC 4251, 5) from the start to the very end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, length: int) -> bytes:
        found = self._data[self._at : self._at + length]
        if len(found) != length:
            raise CodedProofError(Code.PARSE, "an SSH signature or key ends too early")
        self._at += length
        return found

    def string(self) -> bytes:
        return self.take(int.from_bytes(self.take(4)))

    def end(self) -> None:
        if self._at != len(self._data):
            raise CodedProofError(Code.PARSE, "bytes behind the end of an SSH signature or key")


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data
