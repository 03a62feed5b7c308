"""What happened on the hosts, and may we believe the journal that says so?

The callback in `ansible/awx_display.py` writes the journal; here it is read while it grows. A journal is whole when its
lines are numbered from 0 without a gap, begin with `start` and close with `end`. Events after a fault are not handed
on: from there on the journal proves nothing.

Not here: how Ansible is run and stopped (`_engine`, `_child`), and what the outcome means for the run (`_verdict`).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from opsascode.proof import Json

_CHUNK: Final = 256 * 1024
_LONGEST_LINE: Final = 4 * 1024 * 1024


class HostStatus(Enum):
    """How one task ended on one host."""

    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    IGNORED = "ignored"
    SKIPPED = "skipped"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Text a host gave: its beginning (at most 8 KiB, a difference 16 KiB), and size and digest of all of it.

    The text is as the host sent it: it may hold control characters.
    """

    text: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCounts:
    """Ansible's own count of results for one host."""

    ok: int = 0
    changed: int = 0
    failures: int = 0
    unreachable: int = 0
    skipped: int = 0
    rescued: int = 0
    ignored: int = 0

    @property
    def bad(self) -> bool:
        """Whether the host failed or was out of reach."""
        return bool(self.failures or self.unreachable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Ansible has started; `ident` is the stage's own, the beginning of the marks of its tasks."""

    seq: int
    ident: str
    ansible: str
    python: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayStarted:
    """A play, or the next batch of its hosts, began."""

    seq: int
    name: str
    hosts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted:
    """A task began; `step` is the step it belongs to, `once` that only one host does it for all.

    `traced` says that its processes carry the task's mark, `become` that they may belong to another user.
    """

    seq: int
    task: str
    step: str | None
    name: str
    action: str
    once: bool
    traced: bool = False
    become: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HostBegan:
    """A host began a task; `place` is the host on which it runs, empty when that cannot be told.

    `local` says that it runs on this machine, as a process of ours.
    """

    seq: int
    task: str
    step: str | None
    host: str
    place: str
    local: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostResult:
    """One host's result of one task; `message` holds no control characters, a difference is given in diff mode only."""

    seq: int
    task: str
    step: str | None
    host: str
    status: HostStatus
    message: str
    rc: int | None
    output: Evidence | None
    started: datetime
    ended: datetime
    delegate: str | None
    item_count: int | None
    diff: Evidence | None
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """Attempt `attempt` of at most `attempts` failed; another follows."""

    seq: int
    task: str
    step: str | None
    host: str
    attempt: int
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a task on one host keeps for later stages.

    `once` says that the values hold for every host of the play; `lost` names what cannot be kept, and why.
    """

    seq: int
    task: str
    step: str | None
    host: str
    once: bool
    values: Mapping[str, Json]
    lost: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Ansible came to its end; its counts per host."""

    seq: int
    hosts: Mapping[str, HostCounts]


JournalEvent: TypeAlias = Started | PlayStarted | TaskStarted | HostBegan | HostResult | Kept | Retried | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What a journal proves once nobody writes to it any more.

    `fault` is why it is not whole up to its last line, else empty; `torn` that only its very last line is incomplete.
    `only_once` is true when every task of every play was one that a single host does for all.
    """

    digest: str
    events: int
    tasks: int
    results: int
    batch_hosts: int
    only_once: bool
    ended: bool
    hosts: Mapping[str, HostCounts]
    torn: bool
    fault: str


class JournalReader:
    """Reads a journal while it grows."""

    def __init__(self, descriptor: int) -> None:
        """Read from an open file, from its beginning; the caller closes it."""
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self._rest = b""
        self._offset = 0
        self._expected = 0
        self._tasks = 0
        self._results = 0
        self._batch_hosts = 0
        self._only_once = True
        self._ended: Ended | None = None
        self._fault = ""
        self._seen: dict[str, dict[str, int]] = {}

    def read(self) -> Iterator[JournalEvent]:
        """Give the events written since the last call."""
        while data := os.pread(self._descriptor, _CHUNK, self._offset):
            self._offset += len(data)
            self._digest.update(data)
            if self._fault:
                continue
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                event = self._accept(line)
                if event is None:
                    self._rest = b""
                    break
                yield event
            if len(self._rest) > _LONGEST_LINE:
                self._rest, self._fault = b"", f"line {self._expected + 1} is too long"

    def finish(self) -> Journal:
        """Tell what the journal proves, after the last `read`."""
        if os.fstat(self._descriptor).st_size != self._offset:
            self._fault = self._fault or "it was changed while it was read"
        torn = bool(self._rest)
        ended = self._ended
        return Journal(
            digest=f"sha256:{self._digest.hexdigest()}",
            events=self._expected,
            tasks=self._tasks,
            results=self._results,
            batch_hosts=self._batch_hosts,
            only_once=self._only_once,
            ended=ended is not None,
            hosts=ended.hosts if ended else {host: HostCounts(**counts) for host, counts in self._seen.items()},
            torn=torn,
            fault=self._fault,
        )

    def _accept(self, line: bytes) -> JournalEvent | None:
        try:
            event = parse_event(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            self._fault = f"line {self._expected + 1} is not an event"
            return None
        if event.seq != self._expected:
            self._fault = f"event {self._expected} is missing: {event.seq} came instead"
        elif isinstance(event, Started) != (event.seq == 0):
            self._fault = f"event {event.seq} is out of place: a journal starts once, with its first line"
        elif self._ended is not None:
            self._fault = f"event {event.seq} came after the end"
        if self._fault:
            return None
        self._expected += 1
        self._note(event)
        return event

    def _note(self, event: JournalEvent) -> None:
        match event:
            case HostResult():
                self._results += 1
                _count(self._seen.setdefault(event.host, {}), event.status)
            case TaskStarted():
                self._tasks += 1
                self._only_once = self._only_once and event.once
            case PlayStarted():
                self._batch_hosts += event.hosts
            case Ended():
                self._ended = event


def stream_journal(path: Path) -> Iterator[JournalEvent]:
    """Give one event after the other, up to the first fault; raises OSError when the journal cannot be read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield from JournalReader(descriptor).read()
    finally:
        os.close(descriptor)


def read_journal(path: Path) -> tuple[tuple[JournalEvent, ...], Journal]:
    """Read all of a journal that nobody writes to any more; raises OSError when it cannot be read."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        reader = JournalReader(descriptor)
        return tuple(reader.read()), reader.finish()
    finally:
        os.close(descriptor)


def parse_event(line: bytes) -> JournalEvent:
    """Parse one line of a journal; raises ValueError, KeyError or TypeError when it is not an event."""
    data = json.loads(line)
    parse = _PARSERS[data["event"]]
    if type(data["seq"]) is not int:
        raise ValueError("seq is not a number")
    return parse(data)


def _started(data: dict[str, Any]) -> Started:
    return Started(
        seq=data["seq"], ident=str(data.get("ident", "")), ansible=_text(data, "ansible"), python=_text(data, "python")
    )


def _play(data: dict[str, Any]) -> PlayStarted:
    return PlayStarted(seq=data["seq"], name=_text(data, "name"), hosts=_number(data, "hosts"))


def _task(data: dict[str, Any]) -> TaskStarted:
    return TaskStarted(
        seq=data["seq"],
        task=_text(data, "task"),
        step=data["step"],
        name=_text(data, "name"),
        action=_text(data, "action"),
        once=data.get("once") is True,
        traced=data.get("traced") is True,
        become=data.get("become") is True,
    )


def _begin(data: dict[str, Any]) -> HostBegan:
    host = _text(data, "host")
    return HostBegan(
        seq=data["seq"],
        task=_text(data, "task"),
        step=data["step"],
        host=host,
        place=str(data.get("place", host)),
        local=data.get("local") is True,
    )


def _host(data: dict[str, Any]) -> HostResult:
    return HostResult(
        seq=data["seq"],
        task=_text(data, "task"),
        step=data["step"],
        host=_text(data, "host"),
        status=HostStatus(data["status"]),
        message=_text(data, "message"),
        rc=data["rc"],
        output=_evidence(data["output"]),
        started=datetime.fromisoformat(data["started"]),
        ended=datetime.fromisoformat(data["ended"]),
        delegate=data.get("delegate"),
        item_count=data.get("item_count"),
        diff=_evidence(data.get("diff")),
        timed_out=data.get("timed_out") is True,
    )


def _keep(data: dict[str, Any]) -> Kept:
    values, lost = data["values"], data["lost"]
    if not isinstance(values, dict) or not isinstance(lost, dict):
        raise TypeError("values and lost are not objects")
    return Kept(
        seq=data["seq"],
        task=_text(data, "task"),
        step=data["step"],
        host=_text(data, "host"),
        once=data.get("once") is True,
        values=values,
        lost={name: _text(lost, name) for name in lost},
    )


def _retry(data: dict[str, Any]) -> Retried:
    return Retried(
        seq=data["seq"],
        task=_text(data, "task"),
        step=data["step"],
        host=_text(data, "host"),
        attempt=_number(data, "attempt"),
        attempts=_number(data, "attempts"),
    )


def _end(data: dict[str, Any]) -> Ended:
    hosts = {
        host: HostCounts(**{name: _number(counts, name) for name in counts}) for host, counts in data["hosts"].items()
    }
    return Ended(seq=data["seq"], hosts=hosts)


_PARSERS: Final[dict[str, Callable[[dict[str, Any]], JournalEvent]]] = {
    "start": _started,
    "play": _play,
    "task": _task,
    "begin": _begin,
    "host": _host,
    "keep": _keep,
    "retry": _retry,
    "end": _end,
}


def _evidence(data: dict[str, Any] | None) -> Evidence | None:
    if data is None:
        return None
    return Evidence(text=_text(data, "text"), bytes=_number(data, "bytes"), sha256=_text(data, "sha256"))


def _text(data: dict[str, Any], key: str) -> str:
    value = data[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is not a text")
    return value


def _number(data: dict[str, Any], key: str) -> int:
    value = data[key]
    if type(value) is not int:
        raise TypeError(f"{key} is not a whole number")
    return value


_COUNTED: Final[Mapping[HostStatus, tuple[str, ...]]] = {
    HostStatus.OK: ("ok",),
    HostStatus.CHANGED: ("ok", "changed"),
    HostStatus.FAILED: ("failures",),
    HostStatus.IGNORED: ("ok", "ignored"),
    HostStatus.SKIPPED: ("skipped",),
    HostStatus.UNREACHABLE: ("unreachable",),
}


def _count(counts: dict[str, int], status: HostStatus) -> None:
    for name in _COUNTED[status]:
        counts[name] = counts.get(name, 0) + 1
