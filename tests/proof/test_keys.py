from __future__ import annotations

import copy
import os
import pickle
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import ProofError
from opsascode.proof import PublicKey, ensure_machine_key, load_signer
from opsascode.proof._keys import _D, _P, _SMALL_ORDER_Y, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

MAKE_KEY = (
    "import sys, pathlib; from opsascode.proof import ensure_machine_key\n"
    "print(ensure_machine_key(pathlib.Path(sys.argv[1]), comment='c').public_key.keyid)"
)


def test_the_machine_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "machine"
    made, found = (ensure_machine_key(path, comment="machine@test") for _ in range(2))
    assert made.public_key == found.public_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(one.name for one in path.parent.iterdir()) == ["machine", "machine.pub"]


def test_a_lost_public_half_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    key = ensure_machine_key(path, comment="c").public_key
    public = tmp_path / "machine.pub"
    for damage in (public.unlink, lambda: public.write_text("ssh-ed25519 AAAA")):
        damage()
        ensure_machine_key(path, comment="c")
        assert PublicKey.from_openssh(public.read_text()) == key


def test_processes_that_start_together_get_one_key(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "machine"
    started = [
        subprocess.Popen([sys.executable, "-c", MAKE_KEY, path], stdout=subprocess.PIPE, text=True) for _ in range(6)
    ]
    seen = {process.communicate(timeout=60)[0] for process in started}
    assert seen == {ensure_machine_key(path, comment="c").public_key.keyid + "\n"}


def test_a_signer_shows_only_its_public_half(tmp_path: Path) -> None:
    signer = ensure_machine_key(tmp_path / "machine", comment="c")
    assert repr(signer) == f"<signer {signer.public_key.keyid}>"
    assert not hasattr(signer, "__dict__")
    for steal in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="never copied"):
            steal(signer)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    ensure_machine_key(tmp_path / "machine", comment="c")
    (tmp_path / "machine").chmod(mode)
    with pytest.raises(ProofError, match=r"may be read by others.*chmod 600") as caught:
        load_signer("file:machine", base=tmp_path, environ={})
    assert caught.value.code == "E_KEY_FILE"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("file:nowhere", "cannot be read"),
        ("file:pipe", "is no file"),
        ("file:directory", "is no file"),
        ("file:", "names no key"),
        ("env:NOTHING", "no key in NOTHING"),
        ("env:GARBAGE", "no private key"),
        ("agent:", "names no key"),
        ("machine", "names no key"),
        ("file:locked", "passphrase"),
        ("file:locked-pem", "passphrase"),
        ("file:ecdsa", "no Ed25519 key"),
    ],
)
def test_what_is_no_key_is_refused_with_its_reason(tmp_path: Path, uri: str, says: str) -> None:
    (tmp_path / "directory").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    make = ["ssh-keygen", "-q", "-C", "", "-f"]
    if "locked" in uri:
        subprocess.run([*make, tmp_path / "locked", "-t", "ed25519", "-N", "secret"], check=True)
    if "locked-pem" in uri:
        pem = ["openssl", "genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:secret", "-out"]
        subprocess.run([*pem, tmp_path / "locked-pem"], check=True)
        (tmp_path / "locked-pem").chmod(0o600)
    if "ecdsa" in uri:
        subprocess.run([*make, tmp_path / "ecdsa", "-t", "ecdsa", "-N", ""], check=True)
    with pytest.raises(ProofError, match=says):
        load_signer(uri, base=tmp_path, environ={"GARBAGE": "secret-garbage", "NOTHING": ""})


def test_a_pkcs8_key_is_read(tmp_path: Path) -> None:
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "key"], check=True)
    (tmp_path / "key").chmod(0o600)
    signer = load_signer("file:key", base=tmp_path, environ={})
    assert signer.public_key.verify(b"m", signer.sign(b"m"))


def test_what_the_environment_holds_is_never_repeated(tmp_path: Path) -> None:
    with pytest.raises(ProofError) as caught:
        load_signer("env:KEY", base=tmp_path, environ={"KEY": "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret"})
    assert "secret" not in str(caught.value)


def test_the_list_of_small_order_points_is_right() -> None:
    """Eight times each of them is the neutral point, by the addition law of the curve itself."""

    def add(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
        (x1, y1), (x2, y2) = one, two
        t = _D * x1 * x2 * y1 * y2 % _P
        return (x1 * y2 + x2 * y1) * pow(1 + t, -1, _P) % _P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, _P) % _P

    def root(square: int) -> int:
        found = pow(square, (_P + 3) // 8, _P)
        return found if found * found % _P == square else found * pow(2, (_P - 1) // 4, _P) % _P

    for y in _SMALL_ORDER_Y:
        x = root((y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P)
        assert (-x * x + y * y - 1 - _D * x * x * y * y) % _P == 0
        point = (x, y)
        for _ in range(3):
            point = add(point, point)
        assert point == (0, 1)
    assert len(_SMALL_ORDER_Y) == 5  # y is shared by x and -x: 1 + 1 + 2 + 4 points in all


def test_syncing_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "gone")


def test_a_key_cannot_be_made_where_nothing_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProofError, match="cannot be made"):
        ensure_machine_key(tmp_path / "file" / "machine", comment="c")
