"""Cosignatures are those of C2SP, and a witness says yes only to what continues what it saw."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from opsascode.errors import ProofError
from opsascode.proof import (
    PublicKey,
    Witness,
    WitnessRefusedError,
    add_lines,
    cosign,
    cosignatures,
    newest_word,
    read_request,
    require_quorum,
)
from opsascode.proof._merkle import CompactRange, consistency_proof, leaf_hash
from opsascode.proof._note import sign_note
from opsascode.proof._reader import Nodes

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ORIGIN = "example.com/log"


class Key:
    """A key from a fixed seed, or from the seed of a published test."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = PublicKey(self._private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


LOG, OTHER, W1, W2, W3 = (Key(bytes([number]) * 32) for number in range(1, 6))
WITNESSES = (W1.public_key, W2.public_key, W3.public_key)

# From the tests of sigsum.org's and filippo.io's witnesses: a log whose checkpoints anybody can verify, and proofs.
PUBLISHED = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
PUBLISHED_KEY = PublicKey(bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f"))
SIZE_1 = f"""old 0

{PUBLISHED}
1
KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

— {PUBLISHED} UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=
"""
SIZE_3 = f"""old 1
KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

{PUBLISHED}
3
RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=

— {PUBLISHED} UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=
"""
SIZE_5 = f"""old 1
KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=
KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

{PUBLISHED}
5
QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=

— {PUBLISHED} UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=
"""


def note(size: int = 3, root: bytes | None = None, key: Key = LOG) -> str:
    content = base64.b64encode(root or bytes([size]) * 32).decode()
    return sign_note(f"{ORIGIN}\n{size}\n{content}\n", ORIGIN, key)


def tree(*leaves: bytes) -> tuple[CompactRange, Nodes]:
    nodes, grown = Nodes(None), CompactRange()
    for leaf in leaves:
        size = grown.size
        nodes.write(size, grown.append(leaf_hash(leaf)))
    return grown, nodes


def ask(witness: Witness, request: str, key: Key | PublicKey = LOG, now: datetime = NOW) -> str:
    public = key.public_key if isinstance(key, Key) else key
    return witness.add_checkpoint(read_request(request), (public,), now)


def request(old: int, leaves: list[bytes], key: Key = LOG) -> str:
    grown, nodes = tree(*leaves)
    proof = consistency_proof(old, grown.size, nodes.at) if old else []
    lines = "".join(base64.b64encode(one).decode() + "\n" for one in proof)
    return f"old {old}\n{lines}\n{note(grown.size, grown.root(), key)}"


def test_the_message_and_the_line_are_those_of_the_specification() -> None:
    line = cosign(note(), name="witness.example.com/w1", signer=W1, now=datetime.fromtimestamp(1679315147, UTC))
    dash, name, content = line.rstrip("\n").split(" ")
    raw = base64.b64decode(content)
    text = note().partition("\n\n")[0] + "\n"
    message = b"cosignature/v1\ntime 1679315147\n" + text.encode()
    assert (dash, name, len(raw), raw[4:12]) == ("—", "witness.example.com/w1", 76, (1679315147).to_bytes(8))
    assert W1.public_key.verify(message, raw[12:])


def test_witnesses_are_counted_once_and_by_their_key() -> None:
    cosigned = note()
    for name, key in (("w1", W1), ("w1-again", W1), ("w2", W2), ("stranger", OTHER)):
        cosigned += cosign(note(), name=name, signer=key, now=NOW)
    assert {one.key for one in require_quorum(cosigned, WITNESSES, 2)} == {W1.public_key, W2.public_key}
    with pytest.raises(ProofError) as caught:
        require_quorum(cosigned, WITNESSES, 3)
    assert (caught.value.code, "2 of 3" in str(caught.value)) == ("E_WITNESS", True)  # type: ignore[attr-defined]  # a coded one


def test_the_log_does_not_witness_itself_with_its_own_line() -> None:
    assert cosignatures(note(), (LOG.public_key,)) == ()


def test_the_word_of_enough_witnesses_is_as_old_as_the_oldest_of_them() -> None:
    cosigned = note()
    for hours, key in enumerate((W1, W2, W3)):
        cosigned += cosign(note(), name="w", signer=key, now=NOW - timedelta(hours=hours))
    assert [newest_word(cosigned, WITNESSES, quorum) for quorum in (1, 2, 3, 4)] == [
        NOW, NOW - timedelta(hours=1), NOW - timedelta(hours=2), None,
    ]  # fmt: skip


@pytest.mark.parametrize("spoil", ["other text", "other time", "short", "signed as a log"])
def test_a_known_witness_whose_line_fails_rejects_the_note(spoil: str) -> None:
    good = cosign(note(), name="w", signer=W1, now=NOW)
    assert cosignatures(note() + good, WITNESSES)
    raw = bytearray(base64.b64decode(good.split(" ")[2]))
    if spoil == "other time":
        raw[11] ^= 1
    if spoil == "short":
        raw = raw[:-1]
    if spoil == "signed as a log":
        raw[12:] = W1.sign(note().partition("\n\n")[0].encode() + b"\n")
    line = f"— w {base64.b64encode(bytes(raw)).decode()}\n"
    with pytest.raises(ProofError):
        cosignatures(note(4 if spoil == "other text" else 3) + line, WITNESSES)


def test_lines_are_added_once_and_strangers_stay_out() -> None:
    lines = "".join(cosign(note(), name="w", signer=key, now=NOW) for key in (W1, OTHER, W2))
    grown = add_lines(note(), lines, WITNESSES)
    assert [one.key for one in cosignatures(grown, WITNESSES)] == [W1.public_key, W2.public_key]
    assert OTHER.public_key.raw not in [one.key.raw for one in cosignatures(grown, (*WITNESSES, OTHER.public_key))]
    assert add_lines(grown, lines, WITNESSES) == grown


def test_a_published_conversation_with_a_witness(tmp_path: Path) -> None:
    witness = Witness(tmp_path, name="example.com", signer=W1)
    ask(witness, SIZE_1, PUBLISHED_KEY)
    cosigned = ask(witness, SIZE_5, PUBLISHED_KEY)
    assert cosignatures(SIZE_5.partition("\n\n")[2] + cosigned, WITNESSES)
    with pytest.raises(WitnessRefusedError) as caught:
        ask(witness, SIZE_3, PUBLISHED_KEY)
    assert (caught.value.status, caught.value.size) == (409, 5)


REFUSED: dict[str, tuple[int, Any]] = {
    "signed by a stranger": (403, lambda: request(2, [b"a", b"b", b"c"], OTHER)),
    "another size than it saw": (409, lambda: request(1, [b"a", b"b", b"c"])),
    "a size of zero": (409, lambda: request(0, [b"a", b"b", b"c"])),
    "another history": (422, lambda: request(2, [b"x", b"b", b"c"])),
    "another history of the same size": (409, lambda: request(2, [b"x", b"b"])),
    "a smaller log": (400, lambda: request(2, [b"a", b"b"]).replace("old 2", "old 3")),
    "a proof left out": (422, lambda: "old 2\n\n" + request(2, [b"a", b"b", b"c"]).partition("\n\n")[2]),
    "too many hashes": (400, lambda: "old 2\n" + f"{base64.b64encode(bytes(32)).decode()}\n" * 64 + "\n" + note()),
    "a hash too short": (400, lambda: "old 2\nAAAA\n\n" + note()),
    "a size with a zero before it": (400, lambda: request(2, [b"a", b"b", b"c"]).replace("old 2", "old 02")),
    "no request": (400, note),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_witness_refuses(name: str, tmp_path: Path) -> None:
    witness = Witness(tmp_path, name="w", signer=W1)
    ask(witness, request(0, [b"a", b"b"]))
    status, make = REFUSED[name]
    with pytest.raises(WitnessRefusedError) as caught:
        ask(witness, make())
    assert caught.value.status == status
    seen = witness.seen(ORIGIN)
    assert seen is not None
    assert seen.size == 2
    assert ask(witness, request(2, [b"a", b"b", b"c"]))


def test_a_witness_keeps_logs_apart_and_says_the_same_state_again(tmp_path: Path) -> None:
    witness = Witness(tmp_path, name="w", signer=W1)
    ask(witness, request(0, [b"a"]))
    ask(witness, SIZE_1, PUBLISHED_KEY)
    again = ask(witness, request(1, [b"a"]), now=NOW + timedelta(hours=1))
    assert cosignatures(note(1, tree(b"a")[0].root()) + again, WITNESSES)[0].when == NOW + timedelta(hours=1)


def test_a_witness_that_cannot_remember_does_not_answer(tmp_path: Path) -> None:
    witness = Witness(tmp_path, name="w", signer=W1)
    ask(witness, request(0, [b"a"]))
    (place,) = tmp_path.glob("*.seen")
    (tmp_path / f".{place.name}").mkdir()
    with pytest.raises(OSError, match="directory"):
        ask(witness, request(1, [b"a", b"b"]))
    (tmp_path / f".{place.name}").rmdir()
    assert ask(witness, request(1, [b"a", b"c"])), "the state that was never told is free"


@settings(max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 40))
def test_a_witness_never_goes_back(sizes: list[int], lie: int) -> None:
    import tempfile  # noqa: PLC0415 - hypothesis and tmp_path do not go together
    from pathlib import Path  # noqa: PLC0415 - likewise

    leaves = [b"%d" % number for number in range(41)]
    with tempfile.TemporaryDirectory() as place:
        witness = Witness(Path(place), name="w", signer=W1)
        known = 0
        for size in sizes:
            old = lie if lie <= size else known
            honest = old == known and size >= known
            if old > size:
                continue
            try:
                ask(witness, request(old, leaves[:size]))
            except WitnessRefusedError as error:
                assert not honest, error  # noqa: PT017 - which requests are refused is what is drawn here
            else:
                assert honest
                known = size
