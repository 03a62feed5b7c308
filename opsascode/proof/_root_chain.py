"""Which version of the trust root counts, and did enough persons sign each step to it?

Rules: version 1 is what was pinned, and is signed by its own root role. Each later version names the one before by
digest, is exactly one more, and is signed by enough persons of the version before *and* enough of its own. Persons are
counted, not keys, and only with keys that may sign the root; the version before also says which keys may speak at all,
so nothing of a version is read before one of its signatures is good. A last version that lacks nothing but signatures
is a proposal: it is told apart, and has no effect. A key never changes hands.

Not here: what makes one version valid (`_root_rules`), what follows when it expires (`policy`), and where this machine
keeps its pin and the highest version it has seen.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from opsascode.proof._canonical import sha256_digest
from opsascode.proof._codes import Code, CodedProofError, Fault
from opsascode.proof._envelope import (
    payload_digest,
    pre_authentication,
    read_parts,
    read_unverified,
    statement_payload,
    verified_payload,
)
from opsascode.proof._root import ROOT_TYPE, TrustRoot
from opsascode.proof._root_parts import ROOT_ROLE, KeyPurpose, teams_among
from opsascode.proof._sshsig import open_by_person

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from opsascode.proof._envelope import Record
    from opsascode.proof._root_parts import TrustedPerson
    from opsascode.proof._sshsig import PersonKey

MOST_VERSIONS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRoot:
    """A version with the bytes that prove it, and the persons whose root keys signed it.

    Where it lacks signatures, `missing` says which, and `able` who could give them.
    """

    root: TrustRoot
    digest: str
    envelope: bytes = field(repr=False)
    signers: tuple[str, ...]
    missing: str = ""
    able: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustChain:
    """All versions that count, from the first."""

    roots: tuple[SignedRoot, ...]

    @property
    def current(self) -> SignedRoot:
        """The version that counts now."""
        return self.roots[-1]

    @property
    def repository(self) -> str:
        """What names the repository in everything that is signed: the digest of version 1."""
        return self.roots[0].digest

    def at(self, version: int) -> SignedRoot:
        """Give a version, by which what was signed under it is judged for ever.

        Raises:
            ProofError: there is no such version in the chain.
        """
        if not 1 <= version <= len(self.roots):
            last = len(self.roots)
            raise CodedProofError(Code.ROOT_VERSION, f"there is no version {version} of the trust root, of {last}")
        return self.roots[version - 1]

    def extends(self, older: TrustChain) -> bool:
        """Say whether this chain begins with all of another one."""
        mine = [each.digest for each in self.roots[: len(older.roots)]]
        return mine == [each.digest for each in older.roots]


def read_chain(
    envelopes: Sequence[bytes],
    *,
    pin: str | None = None,
    least: int = 1,
    pending: Literal["leave", "refuse"] = "leave",
) -> TrustChain:
    """Read all versions, oldest first. `pin` is the digest of version 1, `least` the highest version seen so far.

    A last version that lacks signatures is left out of the chain, or refused. Without a pin, nothing says that this is
    the trust root of this repository: whoever calls so must show the digest to somebody who knows it.

    Raises:
        ProofError: any step fails; its code says which.
    """
    # 1. There is something to read, and not without end.
    if not envelopes:
        raise CodedProofError(Code.ROOT, "this repository has no trust root", advice="make one: opsascode trust init")
    if len(envelopes) > MOST_VERSIONS:
        raise CodedProofError(
            Code.ROOT, f"{len(envelopes)} versions of a trust root where at most {MOST_VERSIONS} are read"
        )
    # 2. The first version is the pinned one, before anything in it is read.
    found = payload_digest(envelopes[0])
    if pin is not None and found != pin:
        raise CodedProofError(
            Code.ROOT_PIN,
            f"version 1 of the trust root is {found}, and {pin} is pinned here",
            advice="this is another repository's root, or somebody replaced it: ask the others which one is right",
        )
    # 3. Each version follows from the one before it.
    roots, proposed = _read_all(tuple(envelopes))
    if proposed is not None and (not roots or pending == "refuse"):
        raise _unsigned(proposed, roots)
    chain = TrustChain(roots=roots)
    # 4. It is not behind what was seen before.
    if chain.current.root.version < least:
        raise CodedProofError(
            Code.ROOT_ROLLBACK,
            f"the trust root is version {chain.current.root.version} here, and version {least} was seen before",
            advice="bring the newer versions; if they are lost, whoever holds them must push them again",
        )
    return chain


def pending_root(envelopes: Sequence[bytes], chain: TrustChain) -> SignedRoot | None:
    """Give the version that has been proposed and lacks signatures; its `missing` says how many.

    `envelopes` are those the chain was read from.

    Raises:
        ProofError: what follows the chain is no version that could follow it.
    """
    left = envelopes[len(chain.roots) :]
    if not left:
        return None
    reader = _Reader()
    for each in chain.roots:
        reader.keep(each)
    signed = reader.judge(left[0])
    return signed if signed.missing else None


# The same bytes are read for each transition that is judged, and always say the same.
@functools.lru_cache(maxsize=16)
def _read_all(envelopes: tuple[bytes, ...]) -> tuple[tuple[SignedRoot, ...], SignedRoot | None]:
    """Give the versions that count, and the last one where it lacks signatures."""
    reader = _Reader()
    for envelope in envelopes:
        signed = reader.judge(envelope)
        if not signed.missing:
            reader.keep(signed)
        elif len(reader.roots) == len(envelopes) - 1:
            return tuple(reader.roots), signed
        else:
            raise _unsigned(signed, reader.roots)
    return tuple(reader.roots), None


class _Reader:
    """Reads versions one by one; `roots` are those that counted, `_owners` whose each key ever was."""

    def __init__(self) -> None:
        self.roots: list[SignedRoot] = []
        self._owners: dict[bytes, str] = {}

    def judge(self, envelope: bytes) -> SignedRoot:
        """Read the version after those that counted, whole but perhaps with too few signatures."""
        last = self.roots[-1].root if self.roots else None
        # Version 1 brings its own keys, and is believed because it is the pinned one.
        judge = TrustRoot.of(read_unverified(envelope)) if last is None else last
        record = open_by_person(envelope, _root_keys(judge), predicate_types=(ROOT_TYPE,))
        root = judge if last is None else TrustRoot.of(record.statement)
        if not _is_canonical(record):
            raise CodedProofError(Code.ROOT, "the trust root is not written as canonical JSON")
        self._check_place(root)
        self._check_owners(root)
        keyids = frozenset({*record.keyids, *_also_signed(record, root, judge)})
        tallies = [_Tally(each, keyids) for each in ([root] if last is None else [last, root])]
        return SignedRoot(
            root=root,
            digest=record.digest,
            envelope=envelope,
            signers=_names(person for each in tallies for person in each.signed),
            missing=_missing(tallies),
            able=_names(person for each in tallies if not each.met for person in each.able),
        )

    def keep(self, signed: SignedRoot) -> None:
        """Take a version as one that counts."""
        self.roots.append(signed)
        self._owners |= _owners(signed.root)

    def _check_place(self, root: TrustRoot) -> None:
        expected = len(self.roots) + 1
        if root.version != expected:
            raise CodedProofError(
                Code.ROOT_VERSION,
                f"version {root.version} of the trust root stands where version {expected} is due",
                advice="each version is exactly one more than the one before, and none is left out",
            )
        if self.roots and root.previous != self.roots[-1].digest:
            raise CodedProofError(
                Code.ROOT_VERSION,
                f"version {root.version} of the trust root follows another version {expected - 1} than the one here",
                advice="it was made from another copy: propose it again from this one",
            )

    def _check_owners(self, root: TrustRoot) -> None:
        for raw, owner in _owners(root).items():
            known = self._owners.get(raw, owner)
            if known != owner:
                raise CodedProofError(
                    Code.KEY_REUSE,
                    f"version {root.version} of the trust root gives {owner} a key that was {known}'s before",
                    advice="a key never changes hands: what it signed before would change its author",
                )


class _Tally:
    """Who of a version's root role signed, who else could, and what is still missing."""

    def __init__(self, root: TrustRoot, keyids: frozenset[str]) -> None:
        self.version = root.version
        role = root.role(ROOT_ROLE)
        self.threshold, self.teams = (role.threshold, role.teams) if role else (MOST_VERSIONS, 0)
        holders = [(each, each.keys_for(KeyPurpose.ROOT)) for each in root.members(ROOT_ROLE)]
        self.signed = [person for person, keys in holders if any(key.keyid in keyids for key in keys)]
        self.able = [person for person, keys in holders if keys and person not in self.signed]

    @property
    def met(self) -> bool:
        return len(self.signed) >= self.threshold and teams_among(self.signed) >= self.teams

    def said(self) -> str:
        """Say how far it is, without the version."""
        able = ", ".join(each.id for each in self.able)
        if len(self.signed) < self.threshold:
            left = self.threshold - len(self.signed)
            said = f"{len(self.signed)} of {self.threshold} persons with the role {ROOT_ROLE} have signed"
            return f"{said}; {left} more must (of {able})" if able else said
        said = f"those who have signed stand for {teams_among(self.signed)} of {self.teams} different teams"
        return f"{said}; somebody of another must (of {able})" if able else said


def _missing(tallies: Sequence[_Tally]) -> str:
    """Say in one sentence what is missing; what is the same of both versions is said once."""
    said = {each.version: each.said() for each in tallies if not each.met}
    if len(said) == len(tallies) and len({*said.values()}) == 1:
        return next(iter(said.values()))
    return "; ".join(f"of version {version}, {sentence}" for version, sentence in said.items())


def _is_canonical(record: Record) -> bool:
    """Say whether the payload is as we write it, without writing the content anew: its subject names those bytes."""
    frame = statement_payload(replace(record.statement, predicate={}))
    head, _, tail = frame.partition(b"{}")
    content = record.payload[len(head) : len(record.payload) - len(tail)]
    whole = record.payload == head + content + tail
    return whole and sha256_digest(content) == record.statement.subject_digest


def _root_keys(root: TrustRoot) -> tuple[PersonKey, ...]:
    return tuple(key for each in root.members(ROOT_ROLE) for key in each.keys_for(KeyPurpose.ROOT))


def _owners(root: TrustRoot) -> dict[bytes, str]:
    """Say whose each key is; of machines only that it is one, as they may be renamed."""
    persons = {each.key.raw: person.id for person in root.persons for each in person.keys}
    return persons | dict.fromkeys((each.key.raw for each in root.machines), "a machine")


def _also_signed(record: Record, root: TrustRoot, judge: TrustRoot) -> tuple[str, ...]:
    """Name the keys that signed and may only since this version."""
    known = {*_root_keys(judge)}
    new = [key for key in _root_keys(root) if key not in known]
    try:
        return verified_payload(record.envelope, new)[1] if new else ()
    except CodedProofError:
        return ()


def _unsigned(signed: SignedRoot, before: Sequence[SignedRoot]) -> CodedProofError:
    """Say what is missing, and when a signature of one of the persons is bent, how."""
    roots = [*(each.root for each in before[-1:]), signed.root]
    bent = _bent(signed.envelope, {key.keyid: key for root in roots for key in _root_keys(root)}.values())
    message = f"version {signed.root.version} of the trust root does not count: {signed.missing}"
    if bent is not None:
        return CodedProofError(bent.code, f"{message} (one signature is bent: {bent.message})")
    return CodedProofError(Code.THRESHOLD, message, advice="whoever may: opsascode trust sign")


def _bent(envelope: bytes, keys: Collection[PersonKey]) -> Fault | None:
    """Find a signature that names a key of these persons, and is none of it."""
    payload, payload_type, signatures = read_parts(envelope)
    message = pre_authentication(payload_type, payload)
    for _, signature in signatures:
        for key in keys:
            fault = key.fault(message, signature) if key.raw in signature else None
            if fault is not None:
                return fault
    return None


def _names(persons: Iterable[TrustedPerson]) -> tuple[str, ...]:
    return tuple(sorted({each.id for each in persons}))
