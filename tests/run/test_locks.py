"""Two runs never hold one name, whoever started them; whoever is gone holds nothing; and nobody can break it from outside."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import statistics
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.errors import ResolveError
from opsascode.run import _locks
from opsascode.run._life import account_name
from opsascode.run._locks import EVERYTHING, PLACES, Busy, Held, LockBook, unscoped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NOBODY = 65534
SHARED = Path("/dev/shm")  # noqa: S108 - a directory of the test's own below it
ME = account_name(os.getuid())
IS_ROOT = os.geteuid() == 0
OTHER = account_name(NOBODY) if IS_ROOT else ME

HEAD = """
import fcntl, json, os, random, subprocess, sys, time  # before the account is changed: it may see less
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from opsascode.run._locks import *
if int(sys.argv[2]):
    os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
book = LockBook(Path(sys.argv[1]))
def say(what): print(json.dumps(what), flush=True)
def hold(run, *names):
    found = book.hold(run, names, "restart")
    say([] if isinstance(found, Held) else [[h.run, h.user, list(h.names)] for h in found.holdings])
    return found
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory both accounts can reach; the one of the test is private, so theirs lies beside it, in /dev/shm."""
    directory = SHARED / f"opsascode-test-{os.getpid()}-{tmp_path.name}"[:100]
    directory.mkdir()
    directory.chmod(0o1777)
    yield directory
    for path in directory.iterdir():
        path.unlink() if not path.is_dir() or path.is_symlink() else path.rmdir()
    directory.rmdir()


@pytest.fixture
def book(place: Path) -> LockBook:
    return LockBook(place)


class Children:
    """Other processes, of this account or, where the tests run as root, of another."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.all: list[subprocess.Popen[str]] = []

    def start(self, script: str, *, other: bool = False) -> subprocess.Popen[str]:
        code = HEAD + textwrap.dedent(script)
        packages = str(Path(_locks.__file__).parents[2])
        words = [sys.executable, "-c", code, str(self.place), str(NOBODY if other and IS_ROOT else 0), packages]
        child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
        self.all.append(child)
        return child

    def end(self) -> None:
        for child in self.all:
            assert child.stdin
            assert child.stdout
            child.kill()
            child.wait()
            child.stdin.close()
            child.stdout.close()


@pytest.fixture
def children(place: Path) -> Iterator[Children]:
    found = Children(place)
    yield found
    found.end()


def said(child: subprocess.Popen[str]) -> Any:
    assert child.stdout
    return json.loads(child.stdout.readline())


def tell(child: subprocess.Popen[str], line: str = "") -> None:
    assert child.stdin
    child.stdin.write(line + "\n")
    child.stdin.flush()


def held(book: LockBook, names: Sequence[str], run: str = "mine") -> Held:
    found = book.hold(run, names, "restart")
    assert isinstance(found, Held), found
    return found


def busy(book: LockBook, names: Sequence[str], run: str = "mine") -> list[tuple[str, str, tuple[str, ...]]]:
    found = book.hold(run, names, "restart")
    assert isinstance(found, Busy)
    return [(each.run, each.user, each.names) for each in found.holdings]


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def files(place: Path) -> list[Path]:
    return sorted(place.iterdir())


# One process.


def test_names_are_held_until_they_are_released(book: LockBook, place: Path) -> None:
    first = held(book, ["s:a", "s:b"], "r1")
    assert busy(book, ["s:b", "s:c"], "r2") == [("r1", ME, ("s:b",))]
    (holding,) = book.holdings()
    assert (holding.run, holding.user, holding.pid, holding.about) == ("r1", ME, os.getpid(), "restart")
    assert holding.names == ("s:a", "s:b")
    assert holding.since
    assert abs(holding.since.timestamp() - time.time()) < 60
    other = held(book, ["s:c"], "r2")
    first.release()
    first.release()
    third = held(book, ["s:b"], "r3")
    other.release()
    third.release()
    assert files(place) == []


def test_all_or_none(book: LockBook) -> None:
    kept = held(book, ["b"], "r1")
    assert busy(book, ["a", "b"], "r2")
    free = held(book, ["a"], "r3")
    assert {each.run for each in book.holdings()} == {"r1", "r3"}
    kept.release()
    free.release()


def test_who_holds_it_is_said_for_people(book: LockBook) -> None:
    kept = held(book, [f"shop:web{number}" for number in range(5)], "r1")
    found = book.hold("r2", [f"shop:web{number}" for number in range(9)], "deploy")
    kept.release()
    assert isinstance(found, Busy)
    text = found.describe()
    assert text.startswith(f"run r1 (restart) of {ME}, process {os.getpid()}, which holds web0, web1, web2 and 2 more")
    assert "UTC" in text
    assert unscoped("shop:a:b") == "a:b"


def test_a_run_without_names_lives_and_is_in_nobodys_way(book: LockBook) -> None:
    kept, other = held(book, [], "r1"), held(book, ["a"], "r2")
    assert {each.run for each in book.holdings()} == {"r1", "r2"}
    assert held(book, [], "r3").release() is None
    kept.release()
    other.release()


def test_ten_thousand_names(book: LockBook) -> None:
    names = [f"/srv/operations/shop:host-{number:05}.example.com" for number in range(10_000)]
    began = time.perf_counter()
    kept = held(book, names, "r1")
    assert time.perf_counter() - began < 1
    assert busy(book, names[-1:]) == [("r1", ME, tuple(names[-1:]))]
    assert len(book.holdings()[0].names) == 10_000
    kept.release()


# Several processes, two accounts.

HOLDING = """
held = hold("theirs", "a", "b")
while sys.stdin.readline().strip() != "release": pass
held.release()
say("released")
sys.stdin.readline()
"""


@pytest.mark.parametrize("other", [False, True], ids=["same-account", "other-account"])
def test_another_process_holds_until_it_releases_or_is_killed(book: LockBook, children: Children, other: bool) -> None:
    user = OTHER if other else ME
    child = children.start(HOLDING, other=other)
    assert said(child) == []
    assert busy(book, ["b", "c"]) == [("theirs", user, ("b",))]
    tell(child, "release")
    assert said(child) == "released"
    held(book, ["b", "c"]).release()
    child = children.start(HOLDING, other=other)
    assert said(child) == []
    child.send_signal(signal.SIGSTOP)
    assert busy(book, ["b"]) == [("theirs", user, ("b",))]
    child.kill()
    child.wait()
    assert book.holdings() == ()
    held(book, ["b"]).release()


def test_nobody_else_keeps_a_run_alive_by_its_name(children: Children, book: LockBook) -> None:
    assert not book.lives("theirs")
    child = children.start(HOLDING, other=True)
    assert said(child) == []
    assert book.lives("theirs") is not IS_ROOT
    mine = held(book, [], "mine")
    assert book.lives("mine")
    mine.release()
    assert not book.lives("mine")


def test_another_account_is_told_apart_where_the_tests_may_use_one(children: Children, book: LockBook) -> None:
    """As root this is shown with two accounts, else with one, and then only that the owner is named by the kernel."""
    child = children.start(HOLDING, other=True)
    assert said(child) == []
    (holding,) = book.holdings()
    assert holding.user == account_name(NOBODY if IS_ROOT else os.getuid())
    mine = held(book, ["c"], "mine")
    asker = children.start('hold("x", "c", "d")', other=True)
    assert said(asker) == [["mine", ME, ["c"]]]
    mine.release()


def test_a_child_that_inherits_the_descriptor_keeps_the_names_when_its_parent_is_killed(
    book: LockBook, children: Children
) -> None:
    parent = children.start("""
    held = hold("theirs", "a")
    child = subprocess.Popen(["sleep", "1000"], pass_fds=[held.descriptor], stdout=subprocess.DEVNULL)
    other = subprocess.Popen(["sleep", "1001"], stdout=subprocess.DEVNULL)
    say([child.pid, other.pid])
    sys.stdin.readline()
    """)
    assert said(parent) == []
    child, other = said(parent)
    try:
        parent.kill()
        parent.wait()
        assert busy(book, ["a"]) == [("theirs", ME, ("a",))]
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: book.holdings() == ())
        held(book, ["a"]).release()
    finally:
        for pid in (child, other):
            os.kill(pid, signal.SIGKILL)


def test_of_two_processes_that_want_the_same_at_once_one_gets_it(children: Children) -> None:
    script = """
    while True:
        at = float(sys.stdin.readline())
        while time.monotonic() < at: pass
        found = hold(str(os.getpid()), "a", "b")
        sys.stdin.readline()
        if isinstance(found, Held): found.release()
        say("done")
    """
    both = [children.start(script, other=other) for other in (False, True)]
    for _ in range(50):
        at = time.monotonic() + 0.02
        for child in both:
            tell(child, str(at))
        answers = [said(child) for child in both]
        assert sorted(map(bool, answers)) == [False, True], answers
        for child in both:
            tell(child)
        assert [said(child) for child in both] == ["done", "done"]


def test_many_processes_never_hold_one_name_together_and_each_gets_its_turn(children: Children, place: Path) -> None:
    """Each writes down when it had which names; no two may have had one at the same time."""
    script = """
    chosen, turns = random.Random(os.getpid()), 0
    while turns < 25:
        names = chosen.sample("abcde", 3)
        found = book.hold("r", names, "")
        if isinstance(found, Held):
            began = time.monotonic_ns()
            time.sleep(0.001)
            say([began, time.monotonic_ns(), names])
            found.release()
            turns += 1
        time.sleep(0.002)
    say(None)
    """
    workers = [children.start(script, other=number % 2 == 1) for number in range(4)]
    times: dict[str, list[tuple[int, int]]] = {}
    for worker in workers:
        while (turn := said(worker)) is not None:
            for name in turn[2]:
                times.setdefault(name, []).append((turn[0], turn[1]))
    for spans in times.values():
        ordered = sorted(spans)
        assert all(first[1] < second[0] for first, second in pairwise(ordered))
    assert sum(map(len, times.values())) == 4 * 25 * 3
    assert files(place) == []


def test_a_process_stopped_while_it_asks_is_in_the_way_of_its_own_names_only(
    book: LockBook, children: Children
) -> None:
    asking = children.start("""
    import opsascode.run._locks as locks
    file, held = locks._publish(Path(sys.argv[1]), locks._encode("theirs", ["a"], "restart"))
    say([])
    sys.stdin.readline()
    """)
    assert said(asking) == []
    asking.send_signal(signal.SIGSTOP)
    held(book, ["b"]).release()
    began = time.monotonic()
    assert busy(book, ["a"]) == [("theirs", ME, ("a",))]
    assert 1 < time.monotonic() - began < 4


# What lies in the directory already.


def test_what_is_nobodys_is_tidied_away_by_its_owner(book: LockBook, place: Path, children: Children) -> None:
    for other in (False, True):
        child = children.start(HOLDING, other=other)
        assert said(child) == []
        child.kill()
        child.wait()
    (place / ".opsascode-0123456789abcdef.lock").write_bytes(b"a draft of one that was killed")
    asker = children.start("say(len(book.holdings()))", other=True)
    assert said(asker) == 0
    assert book.holdings() == ()
    assert files(place) == []


HOSTILE: dict[str, Callable[[Path], object]] = {
    "fifo": lambda path: os.mkfifo(path, 0o666),
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "link to a lock": lambda path: path.symlink_to(path.with_name("opsascode-ffffffffffffffff.lock")),
    "dangling link": lambda path: path.symlink_to("/nowhere"),
    "directory": lambda path: path.mkdir(),
    "socket": lambda path: subprocess.run(
        [sys.executable, "-c", f"import socket; socket.socket(socket.AF_UNIX).bind({str(path)!r})"], check=True
    ),
    "huge": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
    "garbage": lambda path: path.write_bytes(b"\xff\0{"),
    "empty": lambda path: path.touch(),
    "unreadable": lambda path: path.touch(0o000),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("other", [False, True], ids=["as-self", "as-other"])
def test_what_nobody_has_locked_holds_nothing(
    book: LockBook, place: Path, children: Children, kind: str, other: bool
) -> None:
    passwd = Path("/etc/passwd").stat()
    HOSTILE[kind](place / "opsascode-0123456789abcdef.lock")
    began = time.monotonic()
    if other:
        assert said(children.start('hold("x", "a")', other=True)) == []
    else:
        held(book, ["a"]).release()
        assert book.holdings() == ()
    assert time.monotonic() - began < 3
    assert Path("/etc/passwd").stat().st_mtime == passwd.st_mtime
    assert Path("/etc/passwd").stat().st_nlink == passwd.st_nlink


LIVING = {
    "garbage": "os.write(f, b'{')",
    "not a document": "os.write(f, b'[]')",
    "another version": 'os.write(f, json.dumps({"version": 2, "run": "r", "pid": 1, "about": "", "names": []}).encode())',
    "terminal codes": r'os.write(f, json.dumps({"version": 1, "run": "\x1b[2J", "pid": 1, "about": "", "names": []}).encode())',
    "names that are none": 'os.write(f, json.dumps({"version": 1, "run": "r", "pid": 1, "about": "", "names": [7]}).encode())',
    "everything": 'os.write(f, json.dumps({"version": 1, "run": "r", "pid": 1, "about": "", "names": ["*"]}).encode())',
    "deep": "os.write(f, b'[' * 1000000)",
    "huge": "os.truncate(f, 1 << 40)",
}


@pytest.mark.parametrize("kind", LIVING)
def test_what_lives_and_cannot_be_understood_holds_everything_and_says_whose_it_is(
    book: LockBook, children: Children, kind: str
) -> None:
    child = children.start(
        f"""
    import opsascode.run._locks as locks
    f = os.open(Path(sys.argv[1], "opsascode-0123456789abcdef.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    {LIVING[kind]}
    locks._lock(f, 0)
    say([])
    sys.stdin.readline()
    """,
        other=True,
    )
    assert said(child) == []
    found = book.hold("mine", ["a"], "")
    assert isinstance(found, Busy)
    assert [(each.user, each.names) for each in found.holdings] == [(OTHER, (EVERYTHING,))]
    assert found.describe() == f"{OTHER}, whose lock file cannot be understood and so counts for everything"
    held(book, []).release()
    child.kill()
    child.wait()
    held(book, ["a"]).release()


def test_who_can_only_read_a_file_cannot_keep_it(book: LockBook, place: Path, children: Children) -> None:
    victim = children.start(HOLDING)
    assert said(victim) == []
    hostile = children.start(
        """
    import opsascode.run._locks as locks
    f = os.open(next(Path(sys.argv[1]).iterdir()), os.O_RDONLY)
    fcntl.flock(f, fcntl.LOCK_EX)
    fcntl.fcntl(f, fcntl.F_OFD_SETLK, locks._flock(fcntl.F_RDLCK, 5))
    try: locks._lock(f, 2)
    except OSError as error: say(error.errno)
    sys.stdin.readline()
    """,
        other=True,
    )
    assert said(hostile) == 9  # EBADF
    victim.kill()
    victim.wait()
    held(book, ["a"]).release()
    if IS_ROOT:
        assert files(place) == []


def test_the_files_of_others_cannot_be_removed_or_replaced(place: Path, children: Children, book: LockBook) -> None:
    if not IS_ROOT:
        assert place.stat().st_mode & stat.S_ISVTX  # with one account this is all that can be seen
        return
    kept = held(book, ["a"])
    (file,) = files(place)
    child = children.start(
        f"""
    outcomes = []
    for attack in (lambda: os.unlink({str(file)!r}), lambda: os.rename({str(file)!r}, {str(file)!r} + "x"),
                   lambda: os.open({str(file)!r}, os.O_RDWR), lambda: os.chmod({str(file)!r}, 0)):
        try: attack()
        except PermissionError: outcomes.append(True)
    say(outcomes)
    """,
        other=True,
    )
    assert said(child) == [True] * 4
    assert busy(book, ["a"], "other")
    kept.release()


# The directory.


def test_the_directory_is_made_for_everybody_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        kept = held(LockBook(tmp_path / "locks"), ["a"])
    finally:
        os.umask(before)
    assert (tmp_path / "locks").stat().st_mode & 0o7777 == 0o1777
    assert [path.stat().st_mode & 0o777 for path in files(tmp_path / "locks")] == [0o644]
    kept.release()


def test_looking_makes_nothing(tmp_path: Path) -> None:
    assert LockBook(tmp_path / "locks").holdings() == ()
    assert not (tmp_path / "locks").exists()


def refused(directory: Path) -> str:
    with pytest.raises(ResolveError) as caught:
        LockBook(directory).hold("r", ["a"], "")
    assert "spec.locks" in caught.value.advice
    return caught.value.message


def test_a_directory_others_could_tidy_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "locks"
    directory.mkdir()
    directory.chmod(0o777)
    assert "is not sticky" in refused(directory)
    directory.chmod(0o700)
    held(LockBook(directory), ["a"]).release()
    link = tmp_path / "link"
    link.symlink_to(directory)
    assert "is no directory" in refused(link)
    file = tmp_path / "file"
    file.touch()
    assert "is no directory" in refused(file)
    assert "cannot be" in refused(file / "below")
    if IS_ROOT:
        os.chown(directory, NOBODY, NOBODY)
        directory.chmod(0o1777)
        assert f"belongs to {account_name(NOBODY)}" in refused(directory)
        with pytest.raises(ResolveError, match="belongs to"):
            LockBook(directory).holdings()


def test_the_usual_place_belongs_to_root_and_is_open_to_all() -> None:
    directory = LockBook().directory
    assert directory in PLACES
    found = directory.stat()
    assert (found.st_uid, found.st_mode & 0o1777) == (0, 0o1777)


def test_without_a_place_it_says_how_to_give_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_locks, "PLACES", (tmp_path, tmp_path / "none"))
    with pytest.raises(ResolveError, match=r"spec\.locks"):
        LockBook().hold("r", ["a"], "")


def test_a_descriptor_is_not_inherited_unless_it_is_handed_on(book: LockBook) -> None:
    kept = held(book, ["a"])
    assert fcntl.fcntl(kept.descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    kept.release()


def test_holding_and_looking_is_quick(book: LockBook) -> None:
    kept = [held(book, [f"r{run}:host{number}" for number in range(100)], f"r{run}") for run in range(20)]
    times = []
    for _ in range(30):
        began = time.perf_counter()
        held(book, ["free"]).release()
        times.append(time.perf_counter() - began)
    assert statistics.median(times) < 0.05
    for each in kept:
        each.release()
