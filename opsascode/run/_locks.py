"""Which hosts and names does a run hold, so that no other run of this machine touches them, whoever started it?

Each run has one file in a directory that every user can write to and nobody can tidy up for another (sticky, as /tmp).
Rules:

- A file counts as long as a process has it locked for writing. The kernel lets go when the last process that has it
  open is gone: the controller, and the supervised child that inherits it. No service runs, nothing must be cleaned up.
- The lock is one for writing on an open file description (F_OFD_SETLK), for such a lock needs a file that is open for
  writing: others, who can only read the file, cannot keep it locked after its run has gone, as they could with flock.
- A file appears under its name complete and locked. Who wants names publishes first and looks afterwards: of two that
  do so at once at least one sees the other. There is no mutex that a stopped or hostile process could keep for ever.
- Byte 0 locked says that the run lives, byte 1 that it has its names. Of those that still ask the smallest name goes
  first; the others withdraw, and ask again. A claim is all names or none, so no two runs wait for each other.
- Nothing in the directory is trusted: no link is followed, nothing but regular files is opened, the account is the
  file's owner. A file that lives and says nothing we understand holds everything: that is safe, and says whose it is.

Not here: waiting for a name (`_perform`), what the names are (`_settle`), and whether a run lives (`_life`).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import stat
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opsascode.errors import ResolveError
from opsascode.run._life import account_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EVERYTHING: Final = "*"
PLACES: Final = (Path("/run/lock"), Path("/dev/shm"), Path("/tmp"))  # noqa: S108 - nothing in them is trusted
_PREFIX: Final = "opsascode-"
_NAME: Final = re.compile(r"opsascode-[0-9a-f]{16}\.lock")
_DRAFT: Final = re.compile(r"\.opsascode-[0-9a-f]{16}\.lock")
_VERSION: Final = 1
_LARGEST: Final = 16 * 1024 * 1024
_SETTLE_SECONDS: Final = 2.0
_ALIVE, _HELD = 0, 1
_FLOCK: Final = "hhqqi0q"  # struct flock: l_type, l_whence, l_start, l_len, l_pid, and what makes it whole
_NAMED: Final = 3
_COMMON: Final = 0o1777
_LONGEST_RUN: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A run that lives and what it holds; `names` is EVERYTHING alone when its file cannot be understood.

    `uid` and `user` are the account the kernel knows; `run`, `pid` and `about` are what the file says.
    """

    run: str
    uid: int
    user: str
    pid: int
    names: tuple[str, ...]
    since: datetime | None
    about: str

    def describe(self) -> str:
        """Say who holds what, for people."""
        if self.names == (EVERYTHING,):
            return f"{self.user}, whose lock file cannot be understood and so counts for everything"
        what = ", ".join(unscoped(name) for name in self.names[:_NAMED])
        more = f" and {len(self.names) - _NAMED} more" if len(self.names) > _NAMED else ""
        since = f" since {self.since:%H:%M:%S} UTC" if self.since else ""
        about = f" ({self.about})" if self.about else ""
        return f"run {self.run}{about} of {self.user}, process {self.pid}, which holds {what}{more}{since}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """Others hold what was asked for; the names of each holding are only those that were asked for."""

    holdings: tuple[Holding, ...]

    def describe(self) -> str:
        """Say who holds what, for people."""
        return "; ".join(holding.describe() for holding in self.holdings)


class Held:
    """Names that are held, until released or until every process that has `descriptor` open is gone."""

    __slots__ = ("_place", "descriptor")

    def __init__(self, place: Path, descriptor: int) -> None:
        """Come from `LockBook.hold`."""
        self._place = place
        self.descriptor = descriptor

    def moved(self, place: Path) -> Held:
        """Give the same, whose file lies elsewhere now."""
        return Held(place, self.descriptor)

    def release(self) -> None:
        """Let go, also for processes that inherited the descriptor; once more does nothing."""
        if self.descriptor < 0:
            return
        _remove(self._place)
        os.close(self.descriptor)
        self.descriptor = -1


def unscoped(name: str) -> str:
    """Give the name without the repository it belongs to."""
    return name.partition(":")[2] or name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """A file of a run that lives; `has` when it has its names, else it still asks for them."""

    file: str
    has: bool
    holding: Holding


class LockBook:
    """All that the runs of this machine hold."""

    def __init__(self, directory: Path | None = None) -> None:
        """Use `directory`, or the first place every user of this machine can write to.

        All who are to keep out of each other's way must use the same one.
        """
        self._given = directory

    @property
    def directory(self) -> Path:
        """Where the files are.

        Raises:
            ResolveError: no place can be used by several users safely.
        """
        found = self._given or next((place for place in PLACES if _is_common(place)), None)
        if found is None:
            places = ", ".join(map(str, PLACES))
            raise ResolveError(
                f"none of {places} is a directory of root's that every user can write to (mode 1777)",
                advice="name a directory for lock files in opsascode.yml, spec.locks",
            )
        return found

    def hold(self, run: str, names: Sequence[str], about: str) -> Held | Busy:
        """Hold all of the names, or none of them and say who has which. No names: say that the run lives.

        Raises:
            ResolveError: the directory cannot be used.
        """
        directory = self.directory
        _prepare(directory)
        content = _encode(run, names, about)
        wanted, known = frozenset(names), dict[str, Holding]()
        until = time.monotonic() + _SETTLE_SECONDS
        while True:
            file, held = _publish(directory, content)
            try:
                rivals = _rivals(directory, file, wanted, known)
                while rivals and _goes_first(file, rivals) and time.monotonic() < until:
                    time.sleep(0.005)
                    rivals = _rivals(directory, file, wanted, known)
                if not rivals:
                    _lock(held.descriptor, _HELD)
                    return held
            except BaseException:
                held.release()
                raise
            held.release()
            if any(rival.has for rival in rivals) or time.monotonic() > until:
                return Busy(holdings=tuple(_of_these(rival.holding, wanted) for rival in rivals))
            time.sleep(0.005 + secrets.randbelow(20) / 1000)

    def holdings(self) -> tuple[Holding, ...]:
        """Give all runs that live; those of nobody are tidied away.

        Raises:
            ResolveError: the directory cannot be used.
        """
        directory = self.directory
        if not directory.exists():
            return ()
        _check(directory)
        return tuple(seen.holding for seen in _living(directory, "", {}))

    def lives(self, run: str) -> bool:
        """Whether a process of the run lives: of our account, or of root's; others may claim to be anything.

        Raises:
            ResolveError: the directory cannot be used.
        """
        return any(holding.run == run and holding.uid in {0, os.geteuid()} for holding in self.holdings())


def _goes_first(file: str, rivals: Sequence[_Seen]) -> bool:
    return all(not rival.has and file < rival.file for rival in rivals)


def _rivals(directory: Path, own: str, wanted: frozenset[str], known: dict[str, Holding]) -> list[_Seen]:
    """Find who has, or asks for, one of the names we want."""
    return [seen for seen in _living(directory, own, known) if _of_these(seen.holding, wanted).names]


def _of_these(holding: Holding, wanted: frozenset[str]) -> Holding:
    if holding.names == (EVERYTHING,):
        return holding if wanted else replace(holding, names=())
    return replace(holding, names=tuple(name for name in holding.names if name in wanted))


# The directory.


def _is_common(place: Path) -> bool:
    try:
        found = place.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid in {0, os.geteuid()} and found.st_mode & _COMMON == _COMMON


def _prepare(directory: Path) -> None:
    """Make the directory, for everybody, when it is not there."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700)
        directory.chmod(_COMMON)
    except FileExistsError:
        pass
    except OSError as error:
        raise _unusable(directory, f"cannot be made: {error.strerror}") from error
    _check(directory)


def _check(directory: Path) -> None:
    try:
        found = directory.lstat()
    except OSError as error:
        raise _unusable(directory, f"cannot be read: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise _unusable(directory, "is no directory")
    if found.st_uid not in {0, os.geteuid()}:
        owner = account_name(found.st_uid)
        raise _unusable(directory, f"belongs to {owner}, who could remove the lock files of others")
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise _unusable(directory, "can be written by others and is not sticky, so they could remove our lock files")


def _unusable(directory: Path, why: str) -> ResolveError:
    advice = f"let root make it, `install -d -m 1777 {directory}`, or name another in opsascode.yml, spec.locks"
    return ResolveError(f"the directory for lock files {directory} {why}", advice=advice)


# One file.


def _encode(run: str, names: Sequence[str], about: str) -> bytes:
    said = {"version": _VERSION, "run": run, "pid": os.getpid(), "about": about, "names": sorted(set(names))}
    return json.dumps(said).encode()


def _publish(directory: Path, content: bytes) -> tuple[str, Held]:
    """Put our file into the directory; others see it complete and locked, or not at all."""
    while True:
        file = f"{_PREFIX}{secrets.token_hex(8)}.lock"
        draft = directory / f".{file}"
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            held = Held(draft, os.open(draft, flags, 0o600))
        except OSError as error:
            raise _unusable(directory, f"cannot be written: {error.strerror}") from error
        try:
            os.fchmod(held.descriptor, 0o644)
            _write_all(held.descriptor, content)
            _lock(held.descriptor, _ALIVE)
            draft.rename(directory / file)
        except FileNotFoundError:  # somebody tidied our draft away before it was locked
            held.release()
        except OSError as error:
            held.release()
            raise _unusable(directory, f"cannot be written: {error.strerror}") from error
        else:
            return file, held.moved(directory / file)


def _write_all(descriptor: int, content: bytes) -> None:
    done = 0
    while done < len(content):
        done += os.write(descriptor, content[done:])


def _lock(descriptor: int, byte: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, byte))


def _is_locked(descriptor: int, byte: int) -> bool:
    """Whether a process has the byte locked for writing; those who only read cannot."""
    answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _flock(fcntl.F_RDLCK, byte))
    kind, *_ = struct.unpack(_FLOCK, answer)
    return bool(kind != fcntl.F_UNLCK)


def _flock(kind: int, byte: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0)


def _living(directory: Path, own: str, known: dict[str, Holding]) -> Iterator[_Seen]:
    """Look at every file but our own; tidy away what is ours and nobody's any more."""
    try:
        files = sorted(entry.name for entry in os.scandir(directory))
    except OSError as error:
        raise _unusable(directory, f"cannot be read: {error.strerror}") from error
    for file in files:
        if file != own and (_NAME.fullmatch(file) or _DRAFT.fullmatch(file)):
            seen = _look(directory / file, known)
            if seen and not file.startswith("."):
                yield seen


def _look(place: Path, known: dict[str, Holding]) -> _Seen | None:
    """Look at one file without following or waiting for anything; `None` when it holds nothing."""
    try:
        if not stat.S_ISREG(place.lstat().st_mode):
            return None
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # gone, not readable, or a link: nothing that a run of ours would have published
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        if not _is_locked(descriptor, _ALIVE):
            if os.geteuid() in {0, found.st_uid}:
                _remove(place)
            return None
        holding = known.get(place.name) or _read(descriptor, found)
        known[place.name] = holding
        understood = holding.names != (EVERYTHING,)
        return _Seen(file=place.name, has=not understood or _is_locked(descriptor, _HELD), holding=holding)
    finally:
        os.close(descriptor)


def _read(descriptor: int, found: os.stat_result) -> Holding:
    since, user = datetime.fromtimestamp(found.st_mtime, UTC), account_name(found.st_uid)
    with suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        said = json.loads(os.read(descriptor, found.st_size)) if found.st_size <= _LARGEST else {}
        run, about, names, pid = said["run"], said["about"], said["names"], said["pid"]
        texts = [run, about, *names]
        known = said["version"] == _VERSION and isinstance(names, list) and type(pid) is int
        readable = all(isinstance(text, str) and text.isprintable() for text in texts)
        if known and readable and 0 < len(run) <= _LONGEST_RUN and EVERYTHING not in names:
            return Holding(run=run, uid=found.st_uid, user=user, pid=pid, names=tuple(names), since=since, about=about)
    return Holding(run="", uid=found.st_uid, user=user, pid=0, names=(EVERYTHING,), since=since, about="")


def _remove(place: Path) -> None:
    with suppress(OSError):
        place.unlink()
