"""Which trust root does this machine believe in, and how far did it see it grow?

The digest of version 1 is pinned by hand, per ops repository, and from then on everything follows by signatures. A pin
of the machine's own administrator (`/etc/opsascode/trust.d/NAME.pin`, of root alone) comes before that of the user.
Beside the pin stands the newest version seen here: an older one does not count any more, whatever Git says. Both are
kept by the root's digest, so that renaming an ops repository forgets nothing.

Not here: whether a chain of versions holds (`proof`), and what a version allows.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.errors import ExitCode, ProofError, ResolveError
from opsascode.proof import (
    PREDICATE_PREFIX,
    Code,
    CodedProofError,
    Json,
    Statement,
    TrustChain,
    canonical_bytes,
    loosens,
    meet,
    parse_strict,
    read_chain,
    read_stamp,
    stamp,
)
from opsascode.repo import TRUST_FOLDER, committed_trust
from opsascode.run._asks import AskKind
from opsascode.run._plan import RootUsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from opsascode.proof import SignedRoot
    from opsascode.repo import Repository
    from opsascode.run._cut import Stage
    from opsascode.run._state import State

TRUST_PIN: Final = f"{PREDICATE_PREFIX}trust-pin:v1"
MACHINE_PINS: Final = Path("/etc/opsascode/trust.d")

_FORMAT: Final = "opsascode/pins/v1"
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_PLAIN_NAME: Final = re.compile("[a-z0-9][a-z0-9._-]{0,62}")
_MOST_BYTES: Final = 1024 * 1024
_OTHERS_MAY_WRITE: Final = 0o022


class UnpinnedError(ProofError):
    """No trust root can be believed in on this machine: none is there, or none is pinned."""

    exit_code = ExitCode.REFUSED
    code = "E_ROOT_PIN"


@dataclass(frozen=True, slots=True, kw_only=True)
class RootPin:
    """What is believed: the digest of version 1, and the newest version seen, 0 before any.

    `place` says where the pin was found. `tofu` tells that it was taken from the repository itself, unchecked. `ref` is
    where the newest version was read: the branch or tag whose word counts, empty before any.
    """

    repository: str
    place: str
    pinned: datetime | None = None
    tofu: bool = False
    version: int = 0
    digest: str = ""
    ref: str = ""


class Pins:
    """The pin of one ops repository on this machine, and the newest version it was seen in."""

    def __init__(self, state: State) -> None:
        """Take the state directory and the name of the ops repository from the state."""
        self._state = state

    @property
    def place(self) -> Path:
        """The user's own file of pins."""
        return self._state.directory / "trust.json"

    def read(self) -> RootPin | None:
        """Give the pin, None where there is none.

        Raises:
            ProofError: a file of pins is damaged, or one of the machine's is not of root alone.
        """
        content = self._content()
        own = _part(_part(content, "pins"), self._state.scope)
        machine = self._machine_pin()
        digest = machine or own.get("repository")
        if not isinstance(digest, str):
            return None
        seen = _part(_part(content, "seen"), digest)
        version = seen.get("version", 0)
        return RootPin(
            repository=digest,
            place=str(self._machine_place()) if machine else str(self.place),
            pinned=None if machine else read_stamp(str(own.get("pinned"))),
            tofu=not machine and own.get("tofu") is True,
            version=version if isinstance(version, int) else 0,
            digest=str(seen.get("digest", "")),
            ref=str(seen.get("ref", "")),
        )

    def write(self, digest: str, now: datetime, *, tofu: bool = False) -> None:
        """Pin a digest; what was seen of the root it names stays known.

        Raises:
            ProofError: it is no digest, or the machine's administrator pinned another one.
            ResolveError: the state directory cannot be written.
        """
        self.check(digest)
        with self._changed() as content:
            pins = _part(content, "pins")
            pins[self._state.scope] = {"repository": digest, "pinned": stamp(now), "tofu": tofu}
            content["pins"] = pins

    def check(self, digest: str) -> None:
        """Make sure that a digest can be pinned here.

        Raises:
            ProofError: it is no digest, or the machine's administrator pinned another one.
        """
        if not _DIGEST.fullmatch(digest):
            message = f"{digest[:80]!r} is no digest of a trust root: sha256:<64 hex digits>"
            raise CodedProofError(Code.ROOT_PIN, message)
        machine = self._machine_pin()
        if machine not in {None, digest}:
            raise CodedProofError(
                Code.ROOT_PIN,
                f"{self._machine_place()} pins {machine}, and comes before any other pin",
                advice="only the administrator of this machine can change that",
            )

    def raise_to(self, newest: SignedRoot, *, repository: str, ref: str) -> None:
        """Remember the newest version seen, and where it was read; it never falls.

        Raises:
            ResolveError: the state directory cannot be written.
        """
        with self._changed() as content:
            seen = _part(content, "seen")
            before = _part(seen, repository).get("version", 0)
            if not isinstance(before, int) or newest.root.version >= before:
                seen[repository] = {"version": newest.root.version, "digest": newest.digest, "ref": ref}
            content["seen"] = seen

    def _machine_place(self) -> Path:
        return MACHINE_PINS / f"{self._state.scope}.pin"

    def _machine_pin(self) -> str | None:
        """Give what the machine's administrator pinned, from a file that nobody else can write."""
        place = self._machine_place()
        if not _PLAIN_NAME.fullmatch(self._state.scope):
            return None
        try:
            handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CodedProofError(Code.ROOT_PIN, f"the pin {place} cannot be read: {error.strerror}") from error
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != 0 or found.st_mode & _OTHERS_MAY_WRITE:
                raise CodedProofError(
                    Code.ROOT_PIN,
                    f"the pin {place} is no file of root that root alone may write",
                    advice=f"chown root:root {place} && chmod 644 {place}",
                )
            text = os.read(handle, 256).decode(errors="replace").strip()
        finally:
            os.close(handle)
        if not _DIGEST.fullmatch(text):
            raise CodedProofError(Code.ROOT_PIN, f"{place} is not one line sha256:<64 hex digits>")
        return text

    def _content(self) -> dict[str, Json]:
        try:
            data = self.place.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise CodedProofError(Code.ROOT_PIN, f"{self.place} cannot be read: {error.strerror}") from error
        try:
            content = parse_strict(data, max_bytes=_MOST_BYTES)
        except CodedProofError as error:
            raise self._damaged() from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise self._damaged()
        return content

    def _damaged(self) -> CodedProofError:
        return CodedProofError(
            Code.ROOT_PIN,
            f"{self.place} is no file of pins any more",
            advice="it remembers the newest trust root seen here: compare with another machine, remove it, pin again",
        )

    @contextmanager
    def _changed(self) -> Iterator[dict[str, Json]]:
        """Let the file be changed by one process at a time, and appear whole or not at all."""
        draft = self.place.with_name(f".{self.place.name}.{secrets.token_hex(6)}")
        try:
            self._state.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.place.with_name(".trust.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                content: dict[str, Json] = {**self._content(), "format": _FORMAT}
                yield content
                with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as stream:  # noqa: PTH123 - its mode is set as it is made
                    stream.write(canonical_bytes(content) + b"\n")
                    stream.flush()
                    os.fsync(stream.fileno())
                draft.replace(self.place)
            finally:
                os.close(lock)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise ResolveError(
                f"the pins in {self._state.directory} cannot be written: {error.strerror}",
                advice="set spec.state in opsascode.yml or XDG_STATE_HOME",
            ) from error


def trusted_chain(repository: Repository, state: State) -> TrustChain:
    """Give the trust root of an ops repository and its history, as they are committed and as this machine believes.

    They are read at the ref the trust root itself protects; before that is known, or where it is not here, at HEAD.

    Raises:
        UnpinnedError: there is no trust root, or no pin on this machine.
        ProofError: what is committed is not what was pinned, not signed as it must be, or older than what was seen.
    """
    pins = Pins(state)
    pin = pins.read()
    ref, envelopes = _committed(repository, [pin.ref, "HEAD"] if pin and pin.ref else ["HEAD"])
    if pin is None or not envelopes:
        raise _unusable(pin, there=bool(envelopes))
    chain = read_chain(envelopes, pin=pin.repository)
    own, elsewhere = _committed(repository, [chain.current.root.ref])
    if own != ref and elsewhere:
        ref, envelopes, chain = own, elsewhere, read_chain(elsewhere, pin=pin.repository)
    if chain.current.root.version < pin.version:
        chain = read_chain(envelopes, pin=pin.repository, least=pin.version)
    if (chain.current.root.version, chain.current.digest, ref) != (pin.version, pin.digest, pin.ref):
        _check_same(pin, chain)
        pins.raise_to(chain.current, repository=pin.repository, ref=ref)
    return chain


def root_used(stages: Sequence[Stage], trusted: Callable[[], TrustChain] | None) -> RootUsed | None:
    """Name the version of the trust root that counts now, where somebody must approve."""
    if trusted is None or not any(stage.ask and stage.ask.kind is AskKind.APPROVAL for stage in stages):
        return None
    newest = trusted().current
    return RootUsed(version=newest.root.version, digest=newest.digest)


def held_back(chain: TrustChain, applied: int) -> TrustChain:
    """Give a chain whose newest version allows people only what the applied one allows as well, while it is looser.

    Whatever takes something away, such as the revocation of a key, counts at once; the rest waits to be applied.
    """
    newest, older = chain.current, chain.roots[applied - 1]
    if not loosens(older.root, newest.root):
        return chain
    return TrustChain(roots=(*chain.roots[:-1], replace(newest, root=meet(older.root, newest.root))))


def pin_statement(
    digest: str, *, before: RootPin | None, tofu: bool, about: Mapping[str, str], now: datetime
) -> Statement:
    """State that somebody told this machine which trust root to believe in; `about` says who and where."""
    predicate: dict[str, Json] = {
        **about,
        "pin": digest,
        "before": before.repository if before else None,
        "tofu": tofu,
        "at": stamp(now),
    }
    return Statement(predicate_type=TRUST_PIN, subject_name="trust-root", subject_digest=digest, predicate=predicate)


def _committed(repository: Repository, places: list[str]) -> tuple[str, tuple[bytes, ...]]:
    """Give the versions at the first of some places that has any."""
    for place in places:
        found = committed_trust(repository.root, place)
        if found:
            return place, found
    return places[-1], ()


def _check_same(pin: RootPin, chain: TrustChain) -> None:
    """Refuse another version of the same number than was seen here: two of them were signed."""
    if 0 < pin.version <= chain.current.root.version and chain.at(pin.version).digest != pin.digest:
        raise CodedProofError(
            Code.ROOT_ROLLBACK,
            f"version {pin.version} of the trust root is another one than this machine saw before",
            advice="two were signed: find out by whom, and compare the digests with another machine",
        )


def _unusable(pin: RootPin | None, *, there: bool) -> ProofError:
    """Say why there is no trust root to go by: none is here, it is gone, or nobody said that it is the right one."""
    if pin is not None and pin.version:
        return CodedProofError(
            Code.ROOT_ROLLBACK,
            f"version {pin.version} of the trust root was seen here, and none is committed any more",
            advice="fetch the branch it lies on",
        )
    if there:
        return UnpinnedError(
            "this machine does not know which trust root to believe in",
            advice="ask somebody who holds it for its digest, by another way than Git: opsascode trust pin sha256:…",
        )
    return UnpinnedError(
        f"nobody can approve anything here: no trust root is committed in {TRUST_FOLDER}",
        advice="make one: opsascode trust init",
    )


def _part(content: Mapping[str, Json], key: str) -> dict[str, Json]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}
