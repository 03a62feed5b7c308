"""Whose key is it, and did it sign this?

Rules: Ed25519 only. A key is named by its OpenSSH fingerprint and counted by its 32 bytes. Weak keys (small order,
or bytes that are not the one encoding of their point) are refused when they enter, because with them one signature
fits every message. A private key is read from a place only its owner may read, has no representation and cannot be
copied out.

Not here: who may use a key for what (the trust root says), people's SSH signatures, and the agent.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from opsascode.proof._codes import Code, CodedProofError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_OPENSSH_TYPE = b"ssh-ed25519"
_WIRE_PREFIX = len(_OPENSSH_TYPE).to_bytes(4) + _OPENSSH_TYPE + (32).to_bytes(4)
_RAW_BYTES = 32
_SIGNATURE_BYTES = 64
_MAX_KEY_FILE = 16384

# RFC 8032, 5.1: the field, the curve's d, and every y of its points of small order (the neutral point, the point of
# order two, the two of order four, which share y = 0, and the four of order eight).
_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _P - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    }
)


class Verifier(Protocol):
    """Whatever can say whether it signed a message; the kind of signature is the key's, never the message's, choice."""

    @property
    def keyid(self) -> str:
        """The OpenSSH fingerprint, `SHA256:…`."""

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Say whether this key made the signature over exactly this message."""


class Signer(Protocol):
    """Whatever can sign with one key."""

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this signer signs."""

    def sign(self, message: bytes) -> bytes:
        """Sign the message: 64 bytes of Ed25519 (RFC 8032)."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key that is safe to trust.

    Raises:
        ProofError: the bytes are not 32, not the one encoding of a point of the curve, or of a point of small order.
    """

    raw: bytes
    keyid: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _refuse_weak(self.raw)
        fingerprint = base64.b64encode(hashlib.sha256(_WIRE_PREFIX + self.raw).digest()).rstrip(b"=").decode()
        object.__setattr__(self, "keyid", f"SHA256:{fingerprint}")

    @classmethod
    def from_openssh(cls, text: str) -> PublicKey:
        """Read one line `ssh-ed25519 <base64> [comment]` as ssh-keygen writes it.

        Raises:
            ProofError: it is no such line, or the key is weak.
        """
        words = text.split(maxsplit=2)
        if len(words) < 2 or "\n" in text.strip():  # noqa: PLR2004 - the type and the key
            raise CodedProofError(
                Code.KEY, "not one line of an OpenSSH public key", advice="give the content of the .pub file"
            )
        if words[0] != _OPENSSH_TYPE.decode():
            raise CodedProofError(Code.KEY_TYPE, f"a key of type {words[0][:40]!r} where ssh-ed25519 is needed")
        try:
            wire = base64.b64decode(words[1], validate=True)
        except (binascii.Error, ValueError):
            raise CodedProofError(Code.KEY, "the key is not base64") from None
        if not wire.startswith(_WIRE_PREFIX):
            raise CodedProofError(Code.KEY_TYPE, "the key's own bytes are not those of an ssh-ed25519 key")
        return cls(wire[len(_WIRE_PREFIX) :])

    def openssh(self, comment: str = "") -> str:
        """Write the key as one line of a `.pub` or `authorized_keys` file, without the newline."""
        if any(not letter.isprintable() for letter in comment):
            raise CodedProofError(Code.KEY, "a key's comment holds an unprintable character")
        wire = base64.b64encode(_WIRE_PREFIX + self.raw).decode()
        return f"{_OPENSSH_TYPE.decode()} {wire} {comment}".rstrip()

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Say whether this key made the signature over exactly this message (RFC 8032, 5.1.7)."""
        if len(signature) != _SIGNATURE_BYTES:
            return False
        try:
            _loaded(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class KeySigner:
    """Signs with a private key held in memory; the key can be used, never read."""

    __slots__ = ("__private", "public_key")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        """Take the key; what it verifies with is public."""
        self.__private = private
        self.public_key = PublicKey(private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Sign the message: 64 bytes of Ed25519 (RFC 8032)."""
        return self.__private.sign(message)

    def __repr__(self) -> str:
        return f"<signer {self.public_key.keyid}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is never copied")


def load_signer(uri: str, *, base: Path, environ: Mapping[str, str]) -> Signer:
    """Open the private key a URI names: `file:PATH` (relative to `base`) or `env:NAME` (the key's PEM text itself).

    Raises:
        ProofError: no such key, others may read it, it has a passphrase, or it is no Ed25519 key.
    """
    scheme, _, rest = uri.partition(":")
    if scheme == "file" and rest:
        return KeySigner(_parse_private(_read_private(base / rest), rest))
    if scheme == "env" and rest:
        if not environ.get(rest):
            raise CodedProofError(Code.KEY_FILE, f"the environment has no key in {rest}")
        return KeySigner(_parse_private(environ[rest].strip().encode() + b"\n", uri))
    raise CodedProofError(Code.KEY_FILE, f"{uri[:80]!r} names no key", advice="use file:PATH or env:NAME")


def ensure_machine_key(path: Path, *, comment: str) -> Signer:
    """Open this machine's key, making it on first use: `path` (0600) and `path`.pub, in a directory of 0700 if new.

    Safe between processes: whoever comes second uses the key of the first.

    Raises:
        ProofError: the key cannot be made or read, or others may read it.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _publish(path, _new_private(), mode=0o600, replace=False)
        signer = KeySigner(_parse_private(_read_private(path), str(path)))
        public = path.with_name(path.name + ".pub")
        line = signer.public_key.openssh(comment).encode() + b"\n"
        if not public.exists() or public.read_bytes().split()[:2] != line.split()[:2]:
            _publish(public, line, mode=0o644, replace=True)
    except OSError as error:
        raise CodedProofError(Code.KEY_FILE, f"the machine key {path} cannot be made: {error.strerror}") from error
    return signer


def _new_private() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def _publish(path: Path, content: bytes, *, mode: int, replace: bool) -> None:
    """Make the file appear whole and durable, or not at all; without `replace` the first one there stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            try:
                os.link(draft, path)
            except FileExistsError:
                return
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_private(path: Path) -> bytes:
    try:
        # O_NONBLOCK: a pipe put in the key's place must not hang us.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CodedProofError(Code.KEY_FILE, f"the private key {path} cannot be read: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise CodedProofError(Code.KEY_FILE, f"the private key {path} is no file")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise CodedProofError(
                Code.KEY_FILE,
                f"the private key {path} may be read by others (mode {stat.S_IMODE(found.st_mode):04o})",
                advice=f"chmod 600 {path}; if anybody else may have read it, make a new key",
            )
        if found.st_uid not in {os.geteuid(), 0}:
            raise CodedProofError(Code.KEY_FILE, f"the private key {path} belongs to another user (uid {found.st_uid})")
        return os.read(descriptor, _MAX_KEY_FILE)
    finally:
        os.close(descriptor)


def _parse_private(content: bytes, where: str) -> Ed25519PrivateKey:
    openssh = content.lstrip().startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    try:
        if openssh:
            key: object = serialization.load_ssh_private_key(content, password=None)
        else:
            key = serialization.load_pem_private_key(content, password=None)
    except TypeError:
        raise _passphrase(where) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        if "password" in str(error).lower():
            raise _passphrase(where) from None
        raise CodedProofError(Code.KEY, f"{where} holds no private key in OpenSSH or PKCS#8 form") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CodedProofError(Code.KEY_TYPE, f"{where} holds no Ed25519 key", advice="make one: ssh-keygen -t ed25519")
    return key


def _passphrase(where: str) -> CodedProofError:
    return CodedProofError(Code.KEY, f"the key in {where} has a passphrase", advice="a machine's key must have none")


def _refuse_weak(raw: bytes) -> None:
    if len(raw) != _RAW_BYTES:
        raise CodedProofError(Code.KEY, f"an Ed25519 public key has 32 bytes, not {len(raw)}")
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if y >= _P:
        raise CodedProofError(Code.WEAK_KEY, "the public key is not the one encoding of its point")
    if y in _SMALL_ORDER_Y:
        raise CodedProofError(Code.WEAK_KEY, "the public key is a point of small order: anybody can sign for it")
    if not _on_curve(y):
        raise CodedProofError(Code.WEAK_KEY, "the public key is no point of the curve")


@functools.cache
def _on_curve(y: int) -> bool:
    """Say whether some x fits y: x² = (y² - 1) / (d·y² + 1) must be a square (RFC 8032, 5.1.3; Euler's criterion)."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return pow(square, (_P - 1) // 2, _P) == 1


@functools.lru_cache(maxsize=256)
def _loaded(raw: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(raw)
