"""What a machine believes of trust roots: written once, never lowered, and the administrator's word first."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import ProofError, ResolveError
from opsascode.run import Pins, State
from opsascode.run import _pins as room
from tests.people import NOW
from tests.trust import chain_of, next_root, team_root

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32


def pins(directory: Path, scope: str = "ops") -> Pins:
    return Pins(State(directory=directory, key_uri="file:key", key_base=directory, scope=scope))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the machine's own pins; the files are root's, as whoever runs the tests may not be."""
    place = tmp_path / "trust.d"
    place.mkdir()
    monkeypatch.setattr(room, "MACHINE_PINS", place)
    return place


def test_nothing_is_believed_at_first(tmp_path: Path) -> None:
    assert pins(tmp_path).read() is None
    assert not list(tmp_path.iterdir())


def test_a_pin_is_of_one_repository_and_is_kept(tmp_path: Path) -> None:
    pins(tmp_path).write(ONE, NOW)
    pins(tmp_path, "other").write(TWO, NOW, tofu=True)
    mine, other = pins(tmp_path).read(), pins(tmp_path, "other").read()
    assert mine is not None
    assert other is not None
    assert (mine.repository, mine.tofu, mine.pinned, mine.version) == (ONE, False, NOW, 0)
    assert (other.repository, other.tofu) == (TWO, True)
    assert pins(tmp_path, "third").read() is None
    assert os.stat(tmp_path / "trust.json").st_mode & 0o777 == 0o600  # noqa: PTH116 - as the test asks


def test_the_newest_version_seen_never_falls_and_outlives_a_new_name(tmp_path: Path) -> None:
    first = team_root()
    chain = chain_of(first, next_root(first))
    held = pins(tmp_path)
    held.write(chain.repository, NOW)
    for version in (2, 1):
        held.raise_to(chain.at(version), repository=chain.repository, ref="refs/heads/main")
    found = held.read()
    assert found is not None
    assert (found.version, found.digest, found.ref) == (2, chain.at(2).digest, "refs/heads/main")
    held.write(TWO, NOW)
    renamed = pins(tmp_path, "renamed")
    renamed.write(chain.repository, NOW)
    again = renamed.read()
    assert again is not None
    assert again.version == 2


@pytest.mark.parametrize("text", ["", "sha256:ab", ONE.upper(), f"{ONE}\n", ONE.removeprefix("sha256:")])
def test_only_a_digest_is_pinned(tmp_path: Path, text: str) -> None:
    with pytest.raises(ProofError, match="no digest of a trust root"):
        pins(tmp_path).write(text, NOW)
    assert pins(tmp_path).read() is None


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"format":"opsascode/pins/v2"}', b"\xff", b"{" * 100])
def test_a_damaged_file_is_not_taken_for_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trust.json").write_bytes(content)
    for act in (pins(tmp_path).read, lambda: pins(tmp_path).write(ONE, NOW)):
        with pytest.raises(ProofError, match="no file of pins any more"):
            act()
    assert (tmp_path / "trust.json").read_bytes() == content


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResolveError, match="cannot be written"):
        pins(tmp_path / "file" / "state").write(ONE, NOW)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of root")
def test_the_word_of_the_administrator_comes_first(tmp_path: Path, machine: Path) -> None:
    pins(tmp_path).write(ONE, NOW)
    (machine / "ops.pin").write_text(f"{TWO}\n")
    found = pins(tmp_path).read()
    assert found is not None
    assert (found.repository, found.place) == (TWO, str(machine / "ops.pin"))
    with pytest.raises(ProofError, match="comes before any other pin"):
        pins(tmp_path).write(ONE, NOW)
    pins(tmp_path).write(TWO, NOW)
    other = pins(tmp_path, "other")
    assert other.read() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of root")
@pytest.mark.parametrize("spoil", ["writable", "owner", "link", "content", "directory"])
def test_a_pin_of_the_machine_that_others_could_have_written_is_refused(
    tmp_path: Path, machine: Path, spoil: str
) -> None:
    place = machine / "ops.pin"
    place.write_text(f"{ONE}\n")
    assert pins(tmp_path).read() is not None
    if spoil == "writable":
        place.chmod(0o664)
    elif spoil == "owner":
        os.chown(place, 65534, 65534)
    elif spoil == "link":
        place.rename(machine / "there")
        place.symlink_to("there")
    elif spoil == "content":
        place.write_text(f"{ONE}\n{TWO}\n")
    else:
        place.unlink()
        place.mkdir()
    with pytest.raises(ProofError) as caught:
        pins(tmp_path).read()
    assert getattr(caught.value, "code", "") == "E_ROOT_PIN"


def test_a_name_of_no_file_has_no_pin_of_the_machine(tmp_path: Path, machine: Path) -> None:
    (machine / "x.pin").write_text(ONE)
    assert pins(tmp_path, "../trust.d/x").read() is None
    assert pins(tmp_path, "/some/where").read() is None
