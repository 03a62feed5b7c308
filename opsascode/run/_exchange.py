"""Where are requests and approvals found, and where are they left for the others?

On this machine in the directory of the run, or beside the runs for a plan that has not been started; for other machines
in the mailbox, where the repository names a remote for it. A mailbox that cannot be reached is no failure as long as
there is another way: what went wrong is told, and the rest goes on.

Not here: the files (`_asks`), Git (`repo`), what counts (`policy`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from opsascode.errors import OpsError, UsageError
from opsascode.proof import payload_digest
from opsascode.run._asks import (
    APPROVALS_DIRECTORY,
    ASKS_DIRECTORY,
    MAX_REQUEST_BYTES,
    add_approval,
    is_about_other_stage,
    kept_approvals,
    read_request,
)
from opsascode.run._history_files import RESULTS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from opsascode.repo import Mailbox
    from opsascode.run._asks import AskRequest, WrittenRequest
    from opsascode.run._state import State

GATES: Final = "gates"
OPEN_FOR: Final = timedelta(days=7)
"""How long a request is listed as open; one that waits longer is found by its run."""
GATE_ID: Final = re.compile(r"gate-[0-9]{8}-[0-9]{6}-[0-9a-f]{6}")
"""What a blocked verdict of a gate is called, which asks people as a run does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The places of one state directory and, where there is one, of the mailbox; `troubles` collects what failed."""

    state: State
    mailbox: Mailbox | None = None
    troubles: list[str] = field(default_factory=list)

    def announce(self, request: AskRequest) -> bool:
        """Leave a request that lies in its run's directory for other machines too; say whether it got there."""
        if self.mailbox is None:
            return False
        place = self.directory(request.run) / ASKS_DIRECTORY / f"{request.ask.stage}.json"
        try:
            self.mailbox.post_request(request.run, request.ask.stage, place.read_bytes())
        except (OpsError, OSError) as error:
            self._note(error)
            return False
        return True

    def refresh(self) -> None:
        """Take in what others left."""
        try:
            if self.mailbox is not None:
                self.mailbox.fetch()
        except OpsError as error:
            self._note(error)

    def gather(self, request: AskRequest) -> tuple[bytes, ...]:
        """Give every approval there is for a request, unjudged, each once; those of the plan's other stages are not."""
        found = self.approvals(request.run or None, request.plan_digest)
        return tuple(each for each in found if not is_about_other_stage(each, request))

    def approvals(self, run: str | None, plan: str) -> tuple[bytes, ...]:
        """Give every approval for a run, and for its plan before any run."""
        plan_name = _hexadecimal(plan)
        found = list(kept_approvals(self._plan_directory(plan)))
        if run is not None:
            found += kept_approvals(self.directory(run))
        try:
            for name in (plan_name, run) if self.mailbox is not None else ():
                found += [each.content for each in self.mailbox.approvals(name)] if name and self.mailbox else []
        except OpsError as error:
            self._note(error)
        return tuple(dict.fromkeys(found))

    def leave(self, run: str | None, plan: str, envelope: bytes) -> tuple[str, ...]:
        """Leave an approval where the run finds it, and name the places, if there are any.

        Raises:
            ResolveError: the state directory cannot be written.
        """
        places = []
        directory = self._plan_directory(plan) if run is None else self.directory(run)
        if run is None or directory.is_dir():
            add_approval(directory, envelope)
            places.append("this machine")
        if self.mailbox is not None:
            try:
                self.mailbox.post_approval(run or _hexadecimal(plan), payload_digest(envelope), envelope)
                places.append(f"Git remote {self.mailbox.remote}")
            except OpsError as error:
                self._note(error)
        return tuple(places)

    def find(self, run: str, stage: str | None = None) -> WrittenRequest:
        """Find what a run asks: of one stage, or what it asked last. `run` may be the beginning of an id.

        Raises:
            UsageError: there is no such run, it asks nothing, or several runs begin like this.
        """
        found = [each for each in self.requests() if each.request.run.startswith(run)]
        runs = sorted({each.request.run for each in found})
        if run in runs:
            runs = [run]
        if len(runs) > 1:
            raise UsageError(f"several runs begin with {run!r}: {', '.join(runs[:8])}", advice="write more of the id")
        asked = [each for each in found if each.request.run in runs and stage in {None, each.request.ask.stage}]
        if not asked:
            what = f" about stage {stage}" if stage and found else ""
            raise UsageError(f"no run {run!r} asks anything{what}", advice="see what waits: opsascode approve --list")
        return max(asked, key=lambda each: (each.request.asked, each.request.ask.wave, each.request.ask.stage))

    def requests(self) -> tuple[WrittenRequest, ...]:
        """Give all requests that can be read, of this machine first; what is no request is passed over."""
        found: dict[tuple[str, str], WrittenRequest] = {}
        for name, data in (*self._local(), *self._posted()):
            try:
                written = read_request(data, name=name)
            except UsageError as error:
                self._note(error)
                continue
            found.setdefault((written.request.run, written.request.ask.stage), written)
        return tuple(found.values())

    def open_requests(self, now: datetime) -> tuple[WrittenRequest, ...]:
        """Give the requests of runs that have not ended here, and of gates, that stand still, the newest last."""
        found = [each for each in self.requests() if self._is_open(each.request, now)]
        return tuple(sorted(found, key=lambda each: each.request.asked))

    def directory(self, name: str) -> Path:
        """Say where what a run, or a gate, asks lies, whether it exists or not.

        Raises:
            UsageError: the text is the id of neither.
        """
        return self.state.directory / GATES / name if GATE_ID.fullmatch(name) else self.state.run_directory(name)

    def _is_open(self, request: AskRequest, now: datetime) -> bool:
        if GATE_ID.fullmatch(request.run):
            return now - request.asked <= request.ask.lifetime
        return now - request.asked <= OPEN_FOR and not (self.directory(request.run) / RESULTS_FILE).exists()

    def _local(self) -> Iterator[tuple[str, bytes]]:
        for kind in ("runs", GATES):
            yield from self._local_of(self.state.directory / kind)

    def _local_of(self, runs: Path) -> Iterator[tuple[str, bytes]]:
        try:
            names = sorted(os.listdir(runs))  # noqa: PTH208 - names are enough
        except OSError:
            return
        for run in names:
            asks = runs / run / ASKS_DIRECTORY
            for stage in sorted(os.listdir(asks)) if asks.is_dir() else ():  # noqa: PTH208 - names are enough
                place = asks / stage
                if stage.endswith(".json") and place.is_file() and place.stat().st_size <= MAX_REQUEST_BYTES:
                    yield str(place), place.read_bytes()

    def _posted(self) -> Iterator[tuple[str, bytes]]:
        if self.mailbox is not None:
            for each in self.mailbox.requests():
                yield f"requests/{each.run}/{each.name}.json", each.content

    def _plan_directory(self, plan: str) -> Path:
        """Where approvals of a plan lie before it is run."""
        return self.state.directory / APPROVALS_DIRECTORY / _hexadecimal(plan)

    def _note(self, error: Exception) -> None:
        if str(error) not in self.troubles:
            self.troubles.append(str(error))


def _hexadecimal(digest: str) -> str:
    found = digest.removeprefix("sha256:")
    if len(found) != 64 or not set(found) <= set("0123456789abcdef"):  # noqa: PLR2004 - hex digits of a SHA-256
        raise UsageError(f"{digest[:80]!r} is no digest of a plan")
    return found
