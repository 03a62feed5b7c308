"""Is this answer one that a parser may give: a value, or one of OpsError's classes, within time and memory?

Time is processor time, so that a busy machine is no finding. Memory is how far the peak of the process rises above what
it held before; Linux forgets the peak when it is asked to.
"""

from __future__ import annotations

import hashlib
import signal
import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from opsascode.errors import OpsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_SECONDS = 2.0
MOST_MEMORY = 200 * 1024 * 1024
_FORGET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class BrokenError(AssertionError):
    """A parser accepted what it must not, or read it as something else than it says."""


class TooSlow(BaseException):
    """The time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was wrong with the answer to an input."""

    target: str
    data: bytes
    what: str
    told: str = ""

    def hexdump(self) -> str:
        """Write the input for people: offset, bytes, letters."""
        rows = []
        for at in range(0, len(self.data), 16):
            part = self.data[at : at + 16]
            letters = "".join(chr(each) if 32 <= each < 127 else "." for each in part)
            rows.append(f"{at:08x}  {part.hex(' '):<47}  |{letters}|")
        return "\n".join(rows) + "\n"


PLACE = Path(__file__).parents[2] / ".fuzz"


def keep(finding: Finding, seed: int) -> str:
    """Keep the input of a finding, and say in words what it was and how it is tried once more."""
    PLACE.mkdir(exist_ok=True)
    name = f"{finding.target}-{hashlib.sha256(finding.data).hexdigest()[:12]}.hexdump"
    head = f"{finding.target}, seed {seed}, {len(finding.data)} bytes: {finding.what!a}"
    (PLACE / name).write_text(f"# {head}\n{finding.hexdump()}")
    return f"{finding.told}\n{head}\nagain: python -m tests.fuzz --target {finding.target} --again .fuzz/{name}"


def from_hexdump(text: str) -> bytes:
    """Read the bytes back from what `Finding.hexdump` wrote."""
    return b"".join(bytes.fromhex(line[10:57]) for line in text.splitlines() if not line.startswith("#"))


def examine(name: str, run: Callable[[bytes], None], data: bytes, *, slower: int = 1) -> Finding | None:
    """Let a parser read some bytes, and say what is wrong with its answer; it may take so many times as long."""
    most = MOST_SECONDS * slower
    held, began = _peak(forget=True), time.process_time()
    what = told = ""
    try:
        with _no_longer_than(most * 2):
            run(data)
    except OpsError:
        pass
    except TooSlow:
        what, told = f"no answer within {most * 2:.0f} s", traceback.format_exc()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the finding
        what, told = f"{type(error).__name__}: {str(error)[:200]}", traceback.format_exc()
    took, risen = time.process_time() - began, _peak() - held
    if not what and took > most:
        what = f"took {took:.1f} s of processor time"
    if not what and risen > MOST_MEMORY:
        what = f"took {risen >> 20} MiB"
    return Finding(target=name, data=data, what=what, told=told) if what else None


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    """Interrupt what takes too long; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _peak(*, forget: bool = False) -> int:
    """Read the most memory that was resident, in bytes, since it was last forgotten."""
    if forget:
        _FORGET.write_bytes(b"5")
    return int(_STATUS.read_bytes().partition(b"VmHWM:")[2].split(maxsplit=1)[0]) * 1024
