"""How is one stage of a plan run through Ansible, watched, and ended for certain?

1. A fresh private directory holds what Ansible needs. Secrets are not in it: they go to the child through a pipe.
2. The child (`_child`) runs ansible-runner in a session of its own. It stops when told to, and when we die.
3. We read the journal while it grows and hand each event on. A slow reader slows nobody but itself.
4. When the child is gone, the journal is drained and made durable, and the verdict is reached.

An order that is broken off (cancel, time limit, an error or Ctrl-C on our side) is not left before all of its processes
on this machine are gone. What already runs on another machine ends when its connection does, as far as sshd sees to it.

Not here: compiling the playbook, and what the outcome means for the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets as randomness
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from opsascode.errors import EngineError
from opsascode.repo import DOCUMENT_NAME
from opsascode.run import _child
from opsascode.run._journal import HostCounts, JournalEvent, JournalReader
from opsascode.run._redaction import secret_pattern
from opsascode.run._verdict import Ending, Outcome, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opsascode.proof import Json

CALLBACKS: Final = Path(__file__).parent / "ansible"
JOURNAL_NAME: Final = "journal.jsonl"
OUTPUT_NAME: Final = "output.log"
MARK: Final = "OPSASCODE_STAGE"
_PRIVATE_PREFIX: Final = ".private-"
_TICK_MS: Final = 50
_MARGIN_SECONDS: Final = 30.0
_TAIL: Final = 4096
_LONGEST_BASE: Final = 60
_ERROR_LINE: Final = re.compile(r"^(?:\[ERROR\]: |ERROR! )(.+)$", re.MULTILINE)
_ORIGIN_LINE: Final = re.compile(r"^Origin: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOrder:
    """All that one start of Ansible needs.

    `hosts` are exactly those that must be acted on. `inventory` is a document, or the path of one. `secrets` are extra
    variables that must appear nowhere. `directory` is where journal.jsonl and output.log stay; `project` is Ansible's
    working directory and the base of relative paths in the playbook. `environment` is the minimal one.
    """

    playbook: bytes
    inventory: bytes | Path
    hosts: tuple[str, ...]
    directory: Path
    project: Path
    content: Path | None = None
    environment: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, Json] = field(default_factory=dict, repr=False)
    roles_path: tuple[Path, ...] = ()
    collections_path: tuple[Path, ...] = ()
    forks: int = 5
    check: bool = False
    diff: bool = False
    verbosity: int = 0
    timeout_seconds: float | None = None
    grace_seconds: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """How a stage ended, and where the evidence lies."""

    outcome: Outcome
    rc: int | None
    reason: str
    timed_out: bool
    journal: Path
    journal_digest: str
    hosts: Mapping[str, HostCounts]
    output: Path
    output_tail: str


class Engine(Protocol):
    """Runs one stage."""

    def run(
        self, order: StageOrder, *, on_event: Callable[[JournalEvent], None], cancel: Callable[[], bool]
    ) -> StageResult:
        """Run the stage to its end and report it; `cancel` is asked about twenty times a second."""
        ...


class RunnerEngine:
    """The engine that runs ansible-runner."""

    def run(
        self, order: StageOrder, *, on_event: Callable[[JournalEvent], None], cancel: Callable[[], bool]
    ) -> StageResult:
        """Run the stage to its end and report it.

        Errors that `on_event` or `cancel` raise stop the stage first and are raised then. Raises EngineError when the
        stage cannot be started.
        """
        if not order.hosts:
            raise EngineError("a stage without hosts was ordered")
        with contextlib.ExitStack() as stack:
            stage = _prepare(order, stack)
            child = _start(order, stage)
            stack.callback(_leave_nothing, child, stage, order.grace_seconds)
            watch = _Watch(stage.reader, on_event, cancel, order.timeout_seconds)
            watch.until_end(child, order.grace_seconds)
            ending = _ending(stage, child, watch.stopped)
            watch.hand_on()
            return _result(order, stage, ending, timed_out=watch.timed_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    ident: str
    private: Path
    volatile: Path
    journal: Path
    output: Path
    descriptor: int
    reader: JournalReader
    pattern: str | None

    @property
    def mark(self) -> bytes:
        return f"{MARK}={self.ident}".encode()


def _prepare(order: StageOrder, stack: contextlib.ExitStack) -> _Stage:
    order.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = order.directory.resolve()
    journal = directory / JOURNAL_NAME
    try:
        descriptor = os.open(journal, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise EngineError(f"{journal} exists already", advice="each stage needs a directory of its own") from None
    stack.callback(os.close, descriptor)
    ident = randomness.token_hex(16)
    private = directory / f"{_PRIVATE_PREFIX}{ident}"
    private.mkdir(mode=0o700)
    stack.callback(_child.wipe, str(private))
    volatile = _volatile_directory(order.environment)
    stack.callback(_child.wipe, str(volatile))
    _write_inputs(order, private)
    return _Stage(
        ident=ident,
        private=private,
        volatile=volatile,
        journal=journal,
        output=directory / OUTPUT_NAME,
        descriptor=descriptor,
        reader=JournalReader(descriptor),
        pattern=secret_pattern(order.secrets),
    )


def _volatile_directory(environment: Mapping[str, str]) -> Path:
    """Make a private directory, in memory where there is one, for secrets and for the control sockets of ssh.

    Its path leaves room for the name of a socket: the whole may have 107 bytes.
    """
    for base in (environment.get("XDG_RUNTIME_DIR"), "/dev/shm", environment.get("TMPDIR"), "/tmp"):  # noqa: S108  # reason: mkdtemp makes it private
        if base and len(os.fsencode(base)) < _LONGEST_BASE and os.access(base, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix="ops-", dir=base))
    raise EngineError("no directory for ssh's control sockets can be written to", advice="/tmp must be writable")


def _write_inputs(order: StageOrder, private: Path) -> None:
    """Put playbook, inventory and limit where Ansible finds them.

    The playbook lies in a directory whose other entries are links to those of the project, so that relative paths in it
    mean what they mean for a playbook in the project's root.
    """
    tree = private / "tree"
    if order.content is None:
        tree.mkdir()
        for entry in order.project.resolve().iterdir():
            if entry.name != ".git":
                (tree / entry.name).symlink_to(entry)
    else:
        tree.symlink_to(order.content)
    _write(_playbook(private), order.playbook)
    if isinstance(order.inventory, bytes):
        _write(private / DOCUMENT_NAME, order.inventory)
    _write(private / "limit", "".join(f"{host}\n" for host in order.hosts).encode())
    _write(private / "ansible.cfg", b"")


def _playbook(private: Path) -> Path:
    return private / "tree" / f"{private.name}.yml"


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _ansible_environment(order: StageOrder, stage: _Stage) -> dict[str, str]:
    """Give the child's environment: what the order gives, then what makes a run the same everywhere.

    Settings come from the repository's ansible.cfg or not at all, never from the machine or the home directory. Host
    keys are always checked. The rest keeps Ansible's files inside the private directory and its output plain.
    """
    settings = order.project / "ansible.cfg"
    environment = {
        "ANSIBLE_INVENTORY_ENABLED": "ansible.builtin.yaml",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True",
        "ANSIBLE_CONFIG": str(settings if settings.is_file() else stage.private / "ansible.cfg"),
        **order.environment,
        MARK: stage.ident,
        "ANSIBLE_LOCAL_TEMP": str(stage.private / "tmp"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(stage.volatile),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_FORCE_COLOR": "False",
        "AWX_LIB_DIRECTORY": str(CALLBACKS),
        "OPSASCODE_JOURNAL": str(stage.journal),
        "OPSASCODE_OUTPUT": str(stage.private / "output"),
    }
    for name, paths in (("ANSIBLE_ROLES_PATH", order.roles_path), ("ANSIBLE_COLLECTIONS_PATH", order.collections_path)):
        if paths:
            environment[name] = os.pathsep.join(map(str, paths))
    return environment


def _start(order: StageOrder, stage: _Stage) -> subprocess.Popen[bytes]:
    inventory = order.inventory if isinstance(order.inventory, Path) else stage.private / DOCUMENT_NAME
    arguments = [word for word, wanted in (("--check", order.check), ("--diff", order.diff)) if wanted]
    job = {
        "ident": stage.ident,
        "private": str(stage.private),
        "volatile": str(stage.volatile),
        "project": str(order.project.resolve()),
        "playbook": str(_playbook(stage.private)),
        "inventory": str(inventory.absolute()),
        "limit": f"@{stage.private / 'limit'}",
        "forks": order.forks,
        "verbosity": order.verbosity,
        "arguments": arguments,
        "secrets": json.dumps(_inert(dict(order.secrets))) if order.secrets else None,
        "pattern": stage.pattern,
        "grace": order.grace_seconds,
        "output": str(stage.output),
    }
    with (stage.private / "child.log").open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and script
            [sys.executable, "-P", _child.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=stage.private,
            env=_ansible_environment(order, stage),
            start_new_session=True,
        )
    with contextlib.suppress(BrokenPipeError):  # a child that died already is noticed by whoever waits for it
        _pipe(child.stdin).write(json.dumps(job).encode() + b"\n")
        _pipe(child.stdin).flush()
    return child


def _inert(value: Json) -> Json:
    """Mark the value as one that Ansible must never take for a template."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, list):
        return [_inert(item) for item in value]
    if isinstance(value, dict):
        return {key: _inert(item) for key, item in value.items()}
    return value


class _Watch:
    """Hands events on until the child is gone, and stops it when that is wished for."""

    def __init__(
        self,
        reader: JournalReader,
        on_event: Callable[[JournalEvent], None],
        cancel: Callable[[], bool],
        timeout_seconds: float | None,
    ) -> None:
        self.stopped = ""
        self.timed_out = False
        self._reader = reader
        self._on_event = on_event
        self._cancel = cancel
        self._timeout_seconds = timeout_seconds
        self._deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds

    def until_end(self, child: subprocess.Popen[bytes], grace: float) -> None:
        """Wait until the child has closed its end of the report, which it does by its end at the latest."""
        give_up = float("inf")
        poll = select.poll()
        poll.register(_pipe(child.stdout), select.POLLIN)
        while not poll.poll(_TICK_MS):
            for event in self._reader.read():
                self._on_event(event)
                if self._is_newly_unwanted():
                    give_up = _tell_to_stop(child, grace)
            if self._is_newly_unwanted():
                give_up = _tell_to_stop(child, grace)
            if time.monotonic() > give_up:
                child.kill()

    def hand_on(self) -> None:
        """Hand on what is left in the journal."""
        for event in self._reader.read():
            self._on_event(event)

    def _is_newly_unwanted(self) -> bool:
        if self.stopped:
            return False
        if self._cancel():
            self.stopped = "it was canceled"
        elif self._deadline is not None and time.monotonic() > self._deadline:
            self.stopped = f"it took longer than {self._timeout_seconds:g} seconds"
            self.timed_out = True
        return bool(self.stopped)


def _tell_to_stop(child: subprocess.Popen[bytes], grace: float) -> float:
    """Tell the child to stop; the moment at which to give up on it."""
    with contextlib.suppress(BrokenPipeError):
        _pipe(child.stdin).close()
    return time.monotonic() + grace + _MARGIN_SECONDS


def _ending(stage: _Stage, child: subprocess.Popen[bytes], stopped: str) -> Ending:
    """How Ansible ended, by the report of the child; without one, what the child did not do is done here."""
    report = _report(child)
    down = bool(report.get("down", True))
    if stopped or not report:
        down = _child.sweep(lambda: _child.marked(stage.mark)) and down
    if not report:
        _child.keep_output(stage.private, stage.output, stage.pattern)
        broken = f"the process that ran Ansible vanished: {_last_words(stage)}"
    elif report["stopped"] and not stopped:
        broken = "the process that ran Ansible was told to stop by somebody else"
    else:
        broken = report["error"]
    return Ending(
        rc=report.get("rc"),
        stopped=stopped,
        down=down,
        broken=broken,
        refusal=_refusal(_tail(stage.output), stage.private),
    )


def _report(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Read the child's report; empty when it did not live to give one."""
    told = _pipe(child.stdout).read()
    child.wait()
    try:
        report = json.loads(told)
    except ValueError:
        return {}
    return report if isinstance(report, dict) and child.returncode == 0 else {}


def _last_words(stage: _Stage) -> str:
    with contextlib.suppress(OSError):
        return (stage.private / "child.log").read_text("utf-8", "replace").strip().rpartition("\n")[
            2
        ] or "it was killed"
    return "it was killed"


def _result(order: StageOrder, stage: _Stage, ending: Ending, *, timed_out: bool) -> StageResult:
    os.fsync(stage.descriptor)
    journal = stage.reader.finish()
    verdict = judge(ending, journal, order.hosts)
    return StageResult(
        outcome=verdict.outcome,
        rc=ending.rc,
        reason=verdict.reason,
        timed_out=timed_out,
        journal=stage.journal,
        journal_digest=journal.digest,
        hosts=journal.hosts,
        output=stage.output,
        output_tail=_tail(stage.output),
    )


def _tail(output: Path) -> str:
    """Give the end of what Ansible printed; it may hold control characters."""
    if not output.is_file():
        return ""
    with output.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        return file.read().decode("utf-8", "replace")


def _refusal(printed: str, private: Path) -> str:
    """Ansible's own first error, and the place it names."""
    error = _ERROR_LINE.search(printed)
    if not error:
        return ""
    origin = _ORIGIN_LINE.search(printed, error.end())
    place = f" ({origin[1]})" if origin else ""
    return f"{error[1].strip()}{place}".replace(f"{private / 'tree'}/", "").replace(f"{private / 'tree'}", ".")


def _leave_nothing(child: subprocess.Popen[bytes], stage: _Stage, grace: float) -> None:
    """Make sure that the child and all below it are gone, however we come here."""
    if child.returncode is None:
        _tell_to_stop(child, grace)
        try:
            child.wait(grace + _MARGIN_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        _child.sweep(lambda: _child.marked(stage.mark))
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(BrokenPipeError):
            _pipe(pipe).close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream  # noqa: S101 - Popen was asked for a pipe
    return stream
