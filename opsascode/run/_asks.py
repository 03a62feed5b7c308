"""What does a run ask of people, how is that written down, and what can they answer?

An ask is part of the plan; a request is an ask of one run, at one time. It is kept as `<run>/asks/<stage>.json`
together with the whole plan, so that whoever is asked can compute the digest of what they agree to. Approvals lie
beside it as `<run>/approvals/<digest>.json`; files are only ever added.

A `Desk` is where the asking happens: a terminal, or nowhere at all. Not here: whether an approval counts (`policy`),
how a desk talks (`cli`), the copy of both directories in Git (`repo`).
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from opsascode.errors import ProofError, ResolveError, UsageError
from opsascode.proof import (
    Json,
    JsonParts,
    canonical_bytes,
    parse_strict,
    payload_digest,
    read_unverified,
    sha256_digest,
    stamp,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from opsascode.policy import ApprovalNeed, ApprovalVerdict
    from opsascode.run._record import Actor

REQUEST_FORMAT: Final = "opsascode/ask/v1"
ASKS_DIRECTORY: Final = "asks"
APPROVALS_DIRECTORY: Final = "approvals"
DEFAULT_LIFETIME: Final = timedelta(hours=1)
MAX_REQUEST_BYTES: Final = 17 * 1024 * 1024
MAX_APPROVAL_BYTES: Final = 65536
_MAX_APPROVALS: Final = 4096
_STAGE: Final = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}")


class AskKind(Enum):
    """What people are asked for."""

    APPROVAL = "approval"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question to people, as the runbook asks it; part of the plan.

    `required` people must agree (a manual step needs one, any role), within `lifetime` of their signature.
    `note_needed` says that a manual step is only confirmed with a note.
    """

    stage: str
    wave: int
    kind: AskKind
    step: str
    title: str
    instructions: str = ""
    required: int = 1
    role: str | None = None
    lifetime: timedelta = DEFAULT_LIFETIME
    note_needed: bool = False

    def to_json(self) -> dict[str, Json]:
        """Give the ask as the plan and a request hold it."""
        return {
            "stage": self.stage,
            "wave": self.wave,
            "kind": self.kind.value,
            "step": self.step,
            "title": self.title,
            "instructions": self.instructions,
            "required": self.required,
            "role": self.role,
            "lifetime_seconds": int(self.lifetime.total_seconds()),
            "note_needed": self.note_needed,
        }

    @classmethod
    def from_json(cls, found: Json) -> Ask:
        """Read an ask back.

        Raises:
            UsageError: it is not the JSON of an ask.
        """
        parts = JsonParts.of(found, partial(_unreadable, "an ask"), _ASK_KEYS)
        return cls(
            stage=parts.matching("stage", _STAGE),
            wave=parts.number("wave"),
            kind=parts.word("kind", AskKind),
            step=parts.text("step"),
            title=parts.text("title"),
            instructions=parts.text("instructions"),
            required=parts.number("required", least=1),
            role=parts.maybe("role", parts.text),
            lifetime=timedelta(seconds=parts.number("lifetime_seconds", least=1)),
            note_needed=parts.value["note_needed"] is True,
        )


_ASK_KEYS = frozenset(Ask(stage="0.1", wave=0, kind=AskKind.APPROVAL, step="", title="").to_json())


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRequest:
    """An ask of one run: who started the run (`requester`, and what else that account is called), and when it asked."""

    run: str
    plan_digest: str
    ask: Ask
    requester: str
    asked: datetime
    repository: str
    aliases: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Give the request as its file holds it."""
        return {
            "run": self.run,
            "plan_digest": self.plan_digest,
            "ask": self.ask.to_json(),
            "requester": self.requester,
            "aliases": list(self.aliases),
            "asked": stamp(self.asked),
            "repository": self.repository,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRequest:
    """A request as it was read, with the plan it is about; its digest was computed from these bytes."""

    request: AskRequest
    plan: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What people said: yes or no, who they are, the envelopes that show it, and a note or the reason of a no."""

    granted: bool
    by: tuple[str, ...] = ()
    approvals: tuple[bytes, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """Nobody answered yet; `missing` says what is missing, and how to give it."""

    missing: str


class Desk(Protocol):
    """Where a run asks people."""

    def ask(
        self,
        request: AskRequest,
        *,
        judge: Callable[[Sequence[bytes]], ApprovalVerdict],
        cancel: Callable[[], bool],
    ) -> Answered | Unanswered:
        """Wait for the answer as long as it makes sense here, or until `cancel` says that the run shall stop."""


def write_request(directory: Path, request: AskRequest, plan: bytes) -> Path:
    """Keep a request in the run's directory, with the plan it is about; what is there already stays.

    Raises:
        ResolveError: the directory cannot be written.
    """
    place = directory / ASKS_DIRECTORY / f"{request.ask.stage}.json"
    content = {
        "format": REQUEST_FORMAT,
        "request": request.to_json(),
        "plan": parse_strict(plan, max_bytes=MAX_REQUEST_BYTES),
    }
    _add_file(place, canonical_bytes(content) + b"\n")
    return place


def read_request(data: bytes, *, name: str) -> WrittenRequest:
    """Read a request, computing the digest of its plan anew.

    Raises:
        UsageError: it is no request, its plan is not the one it names, or the plan does not ask this.
    """
    try:
        content = parse_strict(data, max_bytes=MAX_REQUEST_BYTES)
    except ProofError as error:
        raise UsageError(f"{name} is no request: {error.message}") from error
    if not isinstance(content, dict) or content.get("format") != REQUEST_FORMAT:
        raise UsageError(f"{name} is not a request of format {REQUEST_FORMAT}")
    outer = JsonParts.of(content, partial(_unreadable, name), _FILE_KEYS)
    parts, plan = outer.object("request", _REQUEST_KEYS), dict(outer.object("plan").value)
    request = AskRequest(
        run=parts.text("run"),
        plan_digest=parts.text("plan_digest"),
        ask=Ask.from_json(parts.value["ask"]),
        requester=parts.text("requester"),
        aliases=parts.texts("aliases"),
        asked=parts.moment("asked"),
        repository=parts.text("repository"),
    )
    if sha256_digest(canonical_bytes(plan)) != request.plan_digest:
        raise UsageError(f"{name} names another plan than it holds", advice="do not sign it; ask whoever sent it")
    if request.ask not in asks_of_plan(plan):
        raise UsageError(f"{name} asks what its plan does not ask", advice="do not sign it; ask whoever sent it")
    return WrittenRequest(request=request, plan=plan)


def asks_of_plan(plan: Mapping[str, Json]) -> tuple[Ask, ...]:
    """Give every ask a plan holds, in the order of its stages."""
    stages = plan.get("stages")
    listed = stages if isinstance(stages, list) else []
    return tuple(Ask.from_json(each["ask"]) for each in listed if isinstance(each, dict) and each.get("ask"))


def add_approval(directory: Path, envelope: bytes) -> Path:
    """Keep an approval in a run's directory; the same statement is kept once.

    Raises:
        ProofError: it is no envelope.
        ResolveError: the directory cannot be written.
    """
    place = directory / APPROVALS_DIRECTORY / f"{payload_digest(envelope).removeprefix('sha256:')}.json"
    _add_file(place, envelope)
    return place


def kept_approvals(directory: Path) -> tuple[bytes, ...]:
    """Give what lies in a run's directory as approvals, unjudged; what is too large or no file is passed over."""
    try:
        names = sorted(os.listdir(directory / APPROVALS_DIRECTORY))  # noqa: PTH208 - names are enough
    except OSError:
        return ()
    found = (_small_file(directory / APPROVALS_DIRECTORY / name) for name in names[:_MAX_APPROVALS] if name[0] != ".")
    return tuple(each for each in found if each is not None)


def is_about_other_stage(envelope: bytes, request: AskRequest) -> bool:
    """Say whether an answer is, by its own unproven words, one to another question of the same plan."""
    try:
        predicate = read_unverified(envelope).predicate
    except ProofError:
        return False
    return predicate.get("plan") == request.plan_digest and predicate.get("stage") != request.ask.stage


def read_approval_files(paths: Iterable[Path]) -> tuple[bytes, ...]:
    """Read approvals that somebody brought as files.

    Raises:
        UsageError: a file cannot be read, is too large, or is no envelope.
    """
    found = []
    for path in paths:
        data = _small_file(path)
        if data is None:
            raise UsageError(f"the approval {path} cannot be read, or is larger than {MAX_APPROVAL_BYTES} bytes")
        try:
            payload_digest(data.strip())
        except ProofError as error:
            msg = f"{path} is no approval: {error.message}"
            raise UsageError(msg, advice="write one with `opsascode approve`") from error
        found.append(data.strip())
    return tuple(found)


def _small_file(path: Path) -> bytes | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(handle, "rb") as stream:  # noqa: PTH123 - opened above, without blocking on a pipe
            data = stream.read(MAX_APPROVAL_BYTES + 1)
    except OSError:
        return None
    return data if len(data) <= MAX_APPROVAL_BYTES else None


def _add_file(place: Path, content: bytes) -> None:
    """Make a file appear whole, or leave the one that is there."""
    if place.exists():
        return
    draft = place.with_name(f".{place.name}.{secrets.token_hex(6)}")
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as stream:  # noqa: PTH123 - its mode is set as it is made
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(place)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise ResolveError(f"{place} cannot be written: {error.strerror}") from error


_FILE_KEYS = frozenset({"format", "request", "plan"})
_REQUEST_KEYS = frozenset({"run", "plan_digest", "ask", "requester", "aliases", "asked", "repository"})


def _unreadable(name: str, why: str) -> UsageError:
    return UsageError(f"{name} cannot be read: {why}")


def aliases_of(actor: Actor) -> Iterator[str]:
    """Give what else an account is called: at the forge, and before it became this one."""
    if actor.detail:
        yield f"github:{actor.detail}"
    if actor.login not in {"", actor.user}:
        yield actor.login


def need_of(request: AskRequest, *, earlier_runs: tuple[str, ...] = ()) -> ApprovalNeed:
    """Say for the judge what a request needs; `earlier_runs` are those that its run continues."""
    from opsascode.policy import ApprovalNeed  # noqa: PLC0415 - a plan knows asks, and needs no judge

    ask = request.ask
    return ApprovalNeed(
        plan=request.plan_digest,
        stage=ask.stage,
        run=request.run or None,
        repository=request.repository,
        requester=request.requester,
        aliases=request.aliases,
        required=ask.required,
        role=ask.role,
        lifetime=ask.lifetime,
        earlier_runs=earlier_runs,
    )
