"""How is one stage of a plan run through Ansible, watched, and ended for certain?

1. A fresh private directory holds what Ansible needs. Secrets are not in it: they go to the child through a pipe.
2. The child (`_child`) runs ansible-runner in a session of its own. It stops when told to, and when we die.
3. We read the journal while it grows and hand each event on. A slow reader slows nobody but itself.
4. When the child is gone, the journal is drained and made durable, and the verdict is reached.

An order that is broken off (cancel, time limit, an error or Ctrl-C on our side) is not left before all of its processes
are gone, on this machine and on the hosts (`_sweep`); where that cannot be made sure of, the outcome says so.

Not here: compiling the playbook, and what the outcome means for the run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from opsascode.errors import EngineError
from opsascode.repo import DOCUMENT_NAME
from opsascode.run import _processes
from opsascode.run._child import keep_output
from opsascode.run._journal import stream_journal
from opsascode.run._said import harmless
from opsascode.run._stage import Stage, StageOrder, child_environment, prepare
from opsascode.run._sweep import find_doubts, untraceable
from opsascode.run._verdict import Ending, Outcome, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opsascode.proof import Json
    from opsascode.run._journal import HostCounts, JournalEvent, JournalReader

KEPT_VARIABLE: Final = "opsascode_kept"
_TICK_MS: Final = 50
_MARGIN_SECONDS: Final = 45.0
_TAIL: Final = 4096
_BOOT: Final = "import sys; sys.path.append(sys.argv[1]); from opsascode.run._child import main; main()"
_ROOT: Final = Path(__file__).parents[2]
_ERROR_LINE: Final = re.compile(r"^(?:\[ERROR\]: |ERROR! )(.+)$", re.MULTILINE)
_ORIGIN_LINE: Final = re.compile(r"^Origin: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """How a stage ended, and where the evidence lies; `unswept` are hosts where something may still run, and why."""

    outcome: Outcome
    rc: int | None
    reason: str
    timed_out: bool
    journal: Path
    journal_digest: str
    hosts: Mapping[str, HostCounts]
    output: Path
    output_tail: str
    unswept: Mapping[str, str] = field(default_factory=dict)


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
            stage = prepare(order, stack)
            _processes.set_reaper(wanted=True)  # should the child be killed, what it has started comes to us
            stack.callback(_processes.set_reaper, wanted=False)
            child = _start(order, stage, _job(order, stage))
            stack.callback(_leave_nothing, child, stage, order.grace_seconds)
            watch = _Watch(stage.reader, on_event, cancel, order.timeout_seconds)
            watch.until_end(child, order.grace_seconds)
            ending = _ending(order, stage, child, watch.stopped)
            watch.hand_on()
            return _result(order, stage, ending, timed_out=watch.timed_out)


def _start(order: StageOrder, stage: Stage, job: Mapping[str, object]) -> subprocess.Popen[bytes]:
    with (stage.private / "child.log").open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-P", "-c", _BOOT, str(_ROOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=stage.private,
            env=child_environment(order, stage),
            start_new_session=True,
            pass_fds=order.inherit,
        )
    with contextlib.suppress(BrokenPipeError):  # a child that died already is noticed by whoever waits for it
        _pipe(child.stdin).write(json.dumps(job).encode() + b"\n")
        _pipe(child.stdin).flush()
    return child


def _job(order: StageOrder, stage: Stage) -> dict[str, object]:
    """Say all that the child must know."""
    inventory = order.inventory if isinstance(order.inventory, Path) else stage.private / DOCUMENT_NAME
    variables: dict[str, Json] = dict(order.secrets)
    if order.kept:
        variables[KEPT_VARIABLE] = {host: dict(values) for host, values in order.kept.items()}
    return {
        "ident": stage.ident,
        "private": str(stage.private),
        "volatile": str(stage.volatile),
        "project": str(order.project.resolve()),
        "playbook": str(stage.playbook),
        "inventory": str(inventory.absolute()),
        "limit": f"@{stage.private / 'limit'}",
        "forks": order.forks,
        "verbosity": order.verbosity,
        "arguments": _arguments(order),
        "access": order.access.arguments() if order.access else [],
        "passwords": order.access.lent() if order.access else [],
        "secrets": json.dumps(_inert(variables)) if variables else None,
        "pattern": stage.pattern,
        "grace": order.grace_seconds,
        "journal": str(stage.journal),
        "output": str(stage.output),
        "inherit": order.inherit,
        "leftovers": order.leftovers,
    }


def _arguments(order: StageOrder) -> list[str]:
    words = [word for word, wanted in (("--check", order.check), ("--diff", order.diff)) if wanted]
    for option, tags in (("--tags", order.tags), ("--skip-tags", order.skip_tags)):
        words += [option, ",".join(tags)] if tags else []
    return words


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


def _ending(order: StageOrder, stage: Stage, child: subprocess.Popen[bytes], stopped: str) -> Ending:
    """How Ansible ended, by the report of the child; without one, what the child did not do is done here."""
    report = _report(child)
    down = bool(report.get("down", True))
    if stopped or not report:
        down = _processes.sweep(stage.remains) and down
    unswept: Mapping[str, str] = report.get("unswept", {})
    if not report:
        broken = f"the process that ran Ansible vanished: {_last_words(stage)}"
        unswept = _sweep_hosts(order, stage)
        keep_output(stage.private, stage.output, stage.pattern)
    elif report["stopped"] and not stopped:
        broken = "the process that ran Ansible was told to stop by somebody else"
    else:
        broken = report["error"]
    return Ending(
        rc=report.get("rc"),
        stopped=stopped,
        down=down,
        broken=broken,
        refusal=_refusal(_tail(stage.output), stage.playbook),
        unswept=unswept,
        unready=report.get("unready", ""),
    )


def _sweep_hosts(order: StageOrder, stage: Stage) -> Mapping[str, str]:
    """Let another child end what a child that vanished left on other hosts; gives where something may still run."""
    doubts = find_doubts(stream_journal(stage.journal))
    unknown = untraceable(doubts)
    marks = [(doubt.place, doubt.mark) for doubt in doubts if doubt.sought]
    if not marks:
        return unknown
    stage.volatile.mkdir(mode=0o700, exist_ok=True)
    child = _start(order, stage, {**_job(order, stage), "playbook": "", "leftovers": marks})
    if not select.select([_pipe(child.stdout)], [], [], order.grace_seconds + _MARGIN_SECONDS)[0]:
        child.kill()
    told = _report(child)
    _pipe(child.stdout).close()
    _processes.sweep(stage.remains)
    return {**unknown, **(told["unswept"] if told else {place: "nobody could look" for place, _ in marks})}


def _report(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Read the child's report and let it go; empty when it did not live to give one."""
    told = _pipe(child.stdout).readline()
    try:
        report = json.loads(told)
    except ValueError:
        report = None
    if isinstance(report, dict):
        _processes.set_reaper(wanted=False)  # what it leaves behind on purpose is not to become ours
    with contextlib.suppress(BrokenPipeError):
        _pipe(child.stdin).close()
    child.wait()
    return report if isinstance(report, dict) and child.returncode == 0 else {}


def _last_words(stage: Stage) -> str:
    with contextlib.suppress(OSError):
        said = (stage.private / "child.log").read_text("utf-8", "replace").strip().rpartition("\n")[2]
        return harmless(said) or "it was killed"
    return "it was killed"


def _result(order: StageOrder, stage: Stage, ending: Ending, *, timed_out: bool) -> StageResult:
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
        unswept=ending.unswept,
    )


def _tail(output: Path) -> str:
    """Give the end of what Ansible printed; it may hold control characters."""
    if not output.is_file():
        return ""
    with output.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        return file.read().decode("utf-8", "replace")


def _refusal(printed: str, playbook: Path) -> str:
    """Give Ansible's own first error and the place it names, in the words of the user's own directory."""
    error = _ERROR_LINE.search(printed)
    if not error:
        return ""
    origin = _ORIGIN_LINE.search(printed, error.end())
    place = f" ({origin[1]})" if origin else ""
    said = harmless(f"{error[1].strip()}{place}").replace(str(playbook), "playbook.yml")
    return said.replace(f"{playbook.parent}/", "").replace(str(playbook.parent), ".")


def _leave_nothing(child: subprocess.Popen[bytes], stage: Stage, grace: float) -> None:
    """Make sure that the child and all below it are gone, however we come here."""
    if child.returncode is None:
        give_up = _tell_to_stop(child, grace)
        while child.poll() is None:
            with contextlib.suppress(KeyboardInterrupt, subprocess.TimeoutExpired):  # it is being stopped already
                child.wait(max(0, give_up - time.monotonic()))
            if time.monotonic() > give_up:
                child.kill()
        _processes.sweep(stage.remains)
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(BrokenPipeError):
            _pipe(pipe).close()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream  # noqa: S101 - Popen was asked for a pipe
    return stream
