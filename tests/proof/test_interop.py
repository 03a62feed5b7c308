"""Tools nobody here wrote agree with what we make."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.signer import Signature, SSlibKey

from opsascode.errors import ProofError
from opsascode.proof import NoteKey, PublicKey, load_signer, open_envelope
from opsascode.proof._note import open_note, sign_note

if TYPE_CHECKING:
    from pathlib import Path

    from tests.proof.world import World

# The example of c2sp.org/signed-note.
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)


def as_theirs(key: PublicKey) -> SSlibKey:
    return SSlibKey(key.keyid, "ed25519", "ed25519", {"public": key.raw.hex()})


def test_securesystemslib_verifies_our_envelopes(world: World) -> None:
    envelope = Envelope.from_dict(json.loads(world.seal()))
    accepted = envelope.verify([as_theirs(world.signer.public_key)], threshold=1)
    assert list(accepted) == [world.signer.public_key.keyid]


def test_we_verify_what_securesystemslib_writes(world: World) -> None:
    theirs = Envelope.from_dict(json.loads(world.seal()))
    theirs.signatures = {}

    class Bridge:
        def sign(self, payload: bytes) -> Signature:
            return Signature(world.signer.public_key.keyid, world.signer.sign(payload).hex())

    theirs.sign(Bridge())  # type: ignore[arg-type] # it needs nothing else of a signer
    written = json.dumps(theirs.to_dict(), indent=2).encode()
    record = open_envelope(written, world.keys)
    assert record.digest == open_envelope(world.seal(), world.keys).digest


def test_ssh_keygen_names_our_key_as_we_do(world: World) -> None:
    for file in ("machine", "machine.pub"):
        shown = subprocess.run(
            ["ssh-keygen", "-lf", world.directory / "keys" / file], capture_output=True, text=True, check=True
        ).stdout.split()
        assert shown[1] == world.signer.public_key.keyid


def test_ssh_keygen_reads_our_private_key_as_ours(world: World) -> None:
    private = world.directory / "keys" / "machine"
    shown = subprocess.run(["ssh-keygen", "-yf", private], capture_output=True, text=True, check=True).stdout
    assert PublicKey.from_openssh(shown) == world.signer.public_key
    written = private.with_name("machine.pub").read_text()
    assert PublicKey.from_openssh(written) == world.signer.public_key
    assert written == world.signer.public_key.openssh("machine@test") + "\n"


def test_we_sign_with_a_key_that_ssh_keygen_made(tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "a b", "-f", tmp_path / "key"], check=True)
    signer = load_signer("file:key", base=tmp_path, environ={})
    assert PublicKey.from_openssh((tmp_path / "key.pub").read_text()).verify(b"hello", signer.sign(b"hello"))
    again = load_signer("env:KEY", base=tmp_path, environ={"KEY": (tmp_path / "key").read_text()})
    assert again.public_key == signer.public_key


def test_openssl_verifies_our_signatures(world: World, tmp_path: Path) -> None:
    der = bytes.fromhex("302a300506032b6570032100") + world.signer.public_key.raw
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(der) + b"\n-----END PUBLIC KEY-----\n"
    (tmp_path / "pub").write_bytes(pem)
    (tmp_path / "message").write_bytes(b"hello")
    (tmp_path / "signature").write_bytes(world.signer.sign(b"hello"))
    subprocess.run(
        [
            "openssl",
            "pkeyutl",
            "-verify",
            "-pubin",
            "-inkey",
            "pub",
            "-rawin",
            *["-in", "message", "-sigfile", "signature"],
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )


def test_the_published_note_opens_with_its_published_key() -> None:
    key = NoteKey.from_vkey(VKEY)
    assert key.vkey() == VKEY
    assert open_note(NOTE, [key]) == ("This is an example message.\n", (key,))


def test_a_published_note_that_was_changed_does_not_open() -> None:
    with pytest.raises(ProofError, match="does not fit"):
        open_note(NOTE.replace("example m", "changed m"), [NoteKey.from_vkey(VKEY)])


def test_our_notes_have_the_published_form(world: World) -> None:
    key = NoteKey(name="example.com/foo", key=world.signer.public_key)
    note = sign_note("hello\n", key.name, world.signer)
    head, _, line = note.partition("\n\n")
    dash, name, signature = line.rstrip("\n").split(" ")
    raw = base64.b64decode(signature)
    assert (head, dash, name, raw[:4]) == ("hello", "—", key.name, key.key_id)
    assert key.key.verify(b"hello\n", raw[4:])
    assert NoteKey.from_vkey(key.vkey()) == key
