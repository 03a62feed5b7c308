"""People's signatures: what ssh-keygen makes we accept, what we accept ssh-keygen accepts, and nothing else passes."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.proof import (
    APPROVAL_NAMESPACE,
    CodedProofError,
    PersonKey,
    armor,
    dearmor,
    open_by_person,
    pre_authentication,
)
from tests.people import ALICE, BOB, BOBS_TOKEN, EVE, PEOPLE, Form, Hand, allowed_signers, approval, text
from tests.sshd import ssh_agent

MESSAGE = b"what is agreed to"


def keygen(*words: object, data: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": "/usr/bin:/bin", **variables}
    return subprocess.run(
        ["ssh-keygen", *map(str, words)], input=data, env=environment, capture_output=True, check=False
    )


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    keygen("-q", "-t", "ed25519", "-N", "", "-C", "alice@laptop", "-f", tmp_path / "key")
    return tmp_path / "key"


def key_of(file: Path) -> PersonKey:
    return PersonKey.from_openssh(Path(f"{file}.pub").read_text())


@pytest.mark.parametrize("hash_name", ["sha512", "sha256"])
def test_what_ssh_keygen_signs_is_accepted(key_file: Path, hash_name: str) -> None:
    told = keygen("-Y", "sign", "-f", key_file, "-n", APPROVAL_NAMESPACE, "-O", f"hashalg={hash_name}", data=MESSAGE)
    blob = dearmor(told.stdout)
    key = key_of(key_file)
    assert key.verify(MESSAGE, blob)
    assert armor(blob).encode() == told.stdout
    assert not key.verify(MESSAGE + b"!", blob)
    assert not BOB.key.verify(MESSAGE, blob)


def test_what_ssh_agent_signs_is_accepted_where_only_the_public_half_lies_here(key_file: Path, tmp_path: Path) -> None:
    with ssh_agent(tmp_path, key_file) as agent:
        key_file.unlink()
        public = Path(f"{key_file}.pub")
        told = keygen("-Y", "sign", "-f", public, "-n", APPROVAL_NAMESPACE, data=MESSAGE, SSH_AUTH_SOCK=str(agent))
    assert key_of(key_file).verify(MESSAGE, dearmor(told.stdout))


@pytest.mark.parametrize("hand", [BOB, BOBS_TOKEN])
def test_ssh_keygen_accepts_what_we_accept(tmp_path: Path, hand: Hand) -> None:
    payload = b"not read here"
    envelope_message = pre_authentication("application/vnd.in-toto+json", payload)
    (tmp_path / "allowed").write_text(allowed_signers(PEOPLE))
    (tmp_path / "sig").write_text(armor(hand.sign(envelope_message)))
    words = ("-Y", "verify", "-f", tmp_path / "allowed", "-n", APPROVAL_NAMESPACE, "-s", tmp_path / "sig")
    told = keygen(*words, "-I", "bob", data=envelope_message)
    assert told.returncode == 0, told.stderr
    assert hand.key.verify(envelope_message, hand.sign(envelope_message))
    assert keygen(*words, "-I", "alice", data=envelope_message).returncode != 0
    assert keygen(*words, "-I", "bob", data=payload).returncode != 0


def test_an_approval_can_be_verified_with_ssh_keygen_alone(tmp_path: Path) -> None:
    record = open_by_person(BOB.envelope(approval()), PEOPLE.keys)
    message = pre_authentication("application/vnd.in-toto+json", record.payload)
    (tmp_path / "allowed").write_text(allowed_signers(PEOPLE))
    (tmp_path / "sig").write_text(armor(BOB.sign(message)))
    told = keygen(
        "-Y", "verify", "-f", tmp_path / "allowed", "-n", APPROVAL_NAMESPACE, "-I", "bob", "-s", tmp_path / "sig",
        data=message,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (Form(namespace=b"git"), "E_NAMESPACE"),
        (Form(namespace=b"file"), "E_NAMESPACE"),
        (Form(namespace=b""), "E_NAMESPACE"),
        (Form(namespace=b"approval@opsascode\0"), "E_NAMESPACE"),
        (Form(hash_name=b"sha1"), "E_SIGNATURE"),
        (Form(hash_name=b"md5"), "E_SIGNATURE"),
        (Form(reserved=b"x"), "E_PARSE"),
        (Form(behind=b"\0"), "E_PARSE"),
        (Form(inner_behind=b"\0"), "E_PARSE"),
        (Form(version=2), "E_KEY_TYPE"),
        (Form(malleate=True), "E_SIGNATURE"),
        (Form(key_type=b"ssh-rsa"), "E_KEY_TYPE"),
        (Form(key_type=b"sk-ssh-ed25519@openssh.com"), "E_KEY_TYPE"),
        (Form(inner_type=b"ssh-rsa"), "E_KEY_TYPE"),
        (Form(inner_type=b"sk-ssh-ed25519@openssh.com"), "E_KEY_TYPE"),
    ],
)
def test_a_bent_signature_is_refused_for_what_is_bent(form: Form, code: str) -> None:
    assert BOB.key.fault(MESSAGE, BOB.sign(MESSAGE)) is None
    fault = BOB.key.fault(MESSAGE, BOB.sign(MESSAGE, form))
    assert fault is not None
    assert fault.code == code


@pytest.mark.parametrize("flags", [0, 0x04, 0x80])
def test_a_security_key_that_nobody_touched_does_not_count_though_ssh_keygen_takes_it(
    tmp_path: Path, flags: int
) -> None:
    blob = BOBS_TOKEN.sign(MESSAGE, Form(flags=flags))
    fault = BOBS_TOKEN.key.fault(MESSAGE, blob)
    assert fault is not None
    assert fault.code == "E_USER_PRESENCE"
    assert BOBS_TOKEN.key.fault(MESSAGE, BOBS_TOKEN.sign(MESSAGE, Form(flags=0x05))) is None


def test_flags_and_counter_of_a_security_key_are_signed_too() -> None:
    blob = bytearray(BOBS_TOKEN.sign(MESSAGE, Form(flags=0)))
    blob[-5] = 1
    fault = BOBS_TOKEN.key.fault(MESSAGE, bytes(blob))
    assert fault is not None
    assert fault.code == "E_SIGNATURE"


def test_one_key_wrapped_in_two_ways_is_one_key_with_two_fingerprints() -> None:
    plain, token = Hand("same"), Hand("same", on_token=True)
    assert plain.key.raw == token.key.raw
    assert plain.key.keyid != token.key.keyid
    assert plain.key.fault(MESSAGE, token.sign(MESSAGE)) is not None
    assert token.key.fault(MESSAGE, plain.sign(MESSAGE)) is not None


@pytest.mark.parametrize("hand", [ALICE, BOBS_TOKEN])
def test_a_key_is_read_as_it_is_written_and_named_as_ssh_keygen_names_it(tmp_path: Path, hand: Hand) -> None:
    (tmp_path / "key.pub").write_text(hand.key.openssh("a comment") + "\n")
    assert PersonKey.from_openssh((tmp_path / "key.pub").read_text()) == hand.key
    assert hand.key.keyid in keygen("-l", "-f", tmp_path / "key.pub").stdout.decode()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("", "E_KEY"),
        ("ssh-ed25519", "E_KEY"),
        ("sk-ssh-ed25519@openssh.com", "E_KEY"),
        ("sk-ssh-ed25519@openssh.com !!!", "E_KEY"),
        ("sk-ssh-ed25519@openssh.com AAAA", "E_PARSE"),
        ("ssh-rsa AAAAB3NzaC1yc2E=", "E_KEY_TYPE"),
        ("ecdsa-sha2-nistp256 AAAA", "E_KEY_TYPE"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "E_KEY_TYPE"),
        ("restrict ssh-ed25519 AAAA", "E_KEY_TYPE"),
        (ALICE.key.openssh().replace("ssh-ed25519", "sk-ssh-ed25519@openssh.com", 1), "E_KEY_TYPE"),
        (BOBS_TOKEN.key.openssh().replace("sk-ssh-ed25519@openssh.com", "ssh-ed25519", 1), "E_KEY_TYPE"),
    ],
)
def test_what_is_no_key_that_people_sign_with_is_refused(line: str, code: str) -> None:
    with pytest.raises(CodedProofError) as caught:
        PersonKey.from_openssh(line)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "raw", [bytes(32), b"\1" + bytes(31), b"\xff" * 32], ids=["order-4", "neutral", "not-canonical"]
)
def test_a_weak_key_on_a_token_is_refused_like_any_other(raw: bytes) -> None:
    wire = text(b"sk-ssh-ed25519@openssh.com") + text(raw) + text(b"ssh:")
    with pytest.raises(CodedProofError) as caught:
        PersonKey.from_openssh(f"sk-ssh-ed25519@openssh.com {base64.b64encode(wire).decode()}")
    assert caught.value.code == "E_WEAK_KEY"


@pytest.mark.parametrize("armored", [b"", b"-----BEGIN SSH SIGNATURE-----", b"x\n-----END SSH SIGNATURE-----", b"\xff"])
def test_what_is_no_armor_is_refused(armored: bytes) -> None:
    with pytest.raises(CodedProofError):
        dearmor(armored)


def test_an_unknown_signer_is_said_to_be_unknown() -> None:
    with pytest.raises(CodedProofError, match="no known key") as caught:
        open_by_person(EVE.envelope(approval()), PEOPLE.keys)
    assert caught.value.code == "E_SIGNATURE"


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_do_anything_but_refuse(blob: bytes) -> None:
    assert BOB.key.fault(MESSAGE, blob) is not None


GOOD: Any = BOB.sign(MESSAGE)


@given(st.integers(min_value=0, max_value=len(GOOD) - 1), st.integers(min_value=1, max_value=255))
def test_no_single_byte_can_be_changed(place: int, change: int) -> None:
    bent = bytearray(GOOD)
    bent[place] ^= change
    assert BOB.key.fault(MESSAGE, bytes(bent)) is not None


@given(st.integers(min_value=0, max_value=len(GOOD) - 1))
def test_no_byte_can_be_left_away(length: int) -> None:
    assert BOB.key.fault(MESSAGE, GOOD[:length]) is not None


def test_forms_are_ours_to_bend() -> None:
    assert BOB.sign(MESSAGE, replace(Form(), namespace=APPROVAL_NAMESPACE.encode())) == GOOD
