"""A run is not begun where it could not be recorded, and what a machine keeps lies where its owner said."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.errors import ResolveError
from opsascode.repo import open_repository
from opsascode.run._locks import Held, LockBook
from opsascode.run._state import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IS_ROOT = os.geteuid() == 0
NOBODY = 65534


def state(tmp_path: Path, **settings: Any) -> State:
    root = tmp_path / "repo"
    root.mkdir(exist_ok=True)
    words = {"apiVersion": "opsascode/v1", "kind": "Repository", "metadata": {"name": "shop"}, "spec": settings}
    (root / "opsascode.yml").write_text(repr(words).replace("'", '"'), encoding="utf-8")
    return State.of(open_repository(root), {"XDG_STATE_HOME": str(tmp_path / "state")})


@pytest.fixture
def here(tmp_path: Path) -> State:
    return state(tmp_path)


def refusal(found: State, need: int = 1) -> ResolveError:
    with pytest.raises(ResolveError) as caught:
        found.ensure_writable(need)
    assert str(found.directory) in caught.value.message
    assert "nothing was run" in caught.value.message
    assert "XDG_STATE_HOME" in caught.value.advice
    return caught.value


def test_a_directory_that_can_be_written_is_left_as_it_was(here: State) -> None:
    here.ensure_writable()
    assert list(here.directory.iterdir()) == []
    assert here.directory.stat().st_mode & 0o777 == 0o700


def test_a_file_in_the_way_is_said(here: State) -> None:
    here.directory.parent.mkdir()
    here.directory.touch()
    assert os.strerror(errno.EEXIST) in refusal(here).message


@pytest.mark.parametrize("space", [1 << 60, 1 << 70])
def test_too_little_space_is_said(here: State, space: int) -> None:
    assert "KiB left" in refusal(here, space).message
    assert list(here.directory.iterdir()) == []


def test_a_full_directory_is_said_by_whatever_write_fails(here: State) -> None:
    """A limit on file sizes stands in for a full disk: the probe is really written, so it really fails."""
    with largest_file(100):
        found = refusal(here)
    assert os.strerror(errno.EFBIG) in found.message
    assert list(here.directory.iterdir()) == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_directory_that_may_not_be_written_is_said(tmp_path: Path) -> None:
    """Root may write everywhere but where nothing can be; others may not write what is not theirs."""
    place = "/proc/opsascode" if IS_ROOT else str(tmp_path / "closed" / "state")
    if not IS_ROOT:
        (tmp_path / "closed").mkdir(mode=0o500)
    found = refusal(state(tmp_path, state=place))
    assert "cannot be written: " in found.message


def test_a_read_only_file_system_is_said(tmp_path: Path) -> None:
    """In a mount namespace of its own, where one may be made; elsewhere a read-only file system of the machine."""
    here = state(tmp_path)
    here.ensure_writable()
    code = (
        "import sys; from pathlib import Path; from opsascode.errors import ResolveError; "
        "from opsascode.run._state import State\n"
        "try: State(directory=Path(sys.argv[1]), key_uri='', key_base=Path('/')).ensure_writable()\n"
        "except ResolveError as error: print(error.message)"
    )
    script = 'mount --bind -o ro "$1" "$1" 2>/dev/null || mount --bind "$1" "$1" && mount -o remount,ro,bind "$1"; exec "$0" -c "$2" "$1"'
    words = ["unshare", "--mount", "--map-root-user", "sh", "-c", script, sys.executable, str(here.directory), code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        assert "unshare" in done.stderr or "mount" in done.stderr, done.stderr
        pytest.skip("this account may not make a mount namespace")
    assert os.strerror(errno.EROFS) in done.stdout


def test_locks_lie_where_the_repository_says(tmp_path: Path) -> None:
    assert state(tmp_path).lock_book().directory == LockBook().directory
    found = state(tmp_path, locks="../locks").lock_book()
    assert found.directory.resolve() == tmp_path / "locks"
    held = found.hold("r1", state(tmp_path).scoped(["a"]), "")
    assert isinstance(held, Held)
    assert [each.names for each in found.holdings()] == [("shop:a",)]
    held.release()


def test_names_belong_to_the_repository_and_can_be_told_apart(tmp_path: Path) -> None:
    here = State(directory=tmp_path, key_uri="", key_base=tmp_path, scope="/srv/a:b\n")
    assert here.scoped(["c", "d:e"]) == ("/srv/a%3Ab%0A:c", "/srv/a%3Ab%0A:d:e")


def test_the_lives_of_runs_lie_in_the_state_directory(here: State) -> None:
    assert here.dispatcher().subscribe("r1") is None
    assert not here.directory.exists()
