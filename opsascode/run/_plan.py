"""What will be done? A plan: runbook, inventory, parameters and commit, resolved and unchangeable, with one digest.

The digest is over the canonical bytes of everything a plan holds, so the same inputs give the same digest on every
machine. A plan file is those bytes. Two plans can be compared, and the difference said in words.

Not here: how a plan comes about (`_resolve`), or how it is carried out (`_perform`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Final

from opsascode.errors import ExitCode, OpsError, ProofError, UsageError
from opsascode.proof import Json, canonical_bytes, parse_strict, sha256_digest
from opsascode.repo import ParameterType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opsascode.repo import Limits, Runbook, Value

PLAN_FORMAT: Final = "opsascode/plan/v1"
APPLIED_PACK: Final = "applied policy pack"
"""What the pin of the pack that holds is called in a plan; no file has this name."""
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PLAN_LIMIT_BYTES: Final = 16 * 1024 * 1024


class StageKind(Enum):
    """What happens in a stage: Ansible acts, people are asked, time passes, or checks look at the waves so far."""

    ANSIBLE = "ansible"
    APPROVAL = "approval"
    MANUAL = "manual"
    PAUSE = "pause"
    CHECKS = "checks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A file or directory of the repository and the digest of its content."""

    path: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterValue:
    """One parameter's value; a secret's value is never here."""

    name: str
    value: Json
    secret: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One step as a person reviews it; ids of composed runbooks' steps are joined by dots."""

    id: str
    title: str
    kind: str
    can_undo: bool
    conditional: bool
    looped: bool = False
    resumable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One stage as it is reviewed: its steps with the digest of their playbook, what people are asked, or a pause."""

    id: str
    wave: int
    kind: StageKind
    steps: tuple[str, ...] = ()
    playbook: str | None = None
    ask: Mapping[str, Json] | None = None
    seconds: int = 0

    def to_json(self) -> dict[str, Json]:
        """Give the stage as plain JSON; what its kind does not have is left out."""
        own: dict[str, Json] = {"id": self.id, "wave": self.wave, "kind": self.kind.value}
        if self.steps:
            own["steps"] = list(self.steps)
        if self.playbook:
            own["playbook"] = self.playbook
        if self.ask is not None:
            own["ask"] = dict(self.ask)
        if self.kind is StageKind.PAUSE:
            own["seconds"] = self.seconds
        return own


@dataclass(frozen=True, slots=True, kw_only=True)
class RootUsed:
    """The version of the trust root that says who may approve a run, and the digest that names it."""

    version: int
    digest: str

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON."""
        return {"version": self.version, "digest": self.digest}


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedApproval:
    """An approval of the start that a guardrail asked when the plan was made: how many of which role, who, and why."""

    required: int
    role: str | None
    by: str
    reason: str

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON."""
        return {"required": self.required, "role": self.role, "by": self.by, "reason": self.reason}

    @classmethod
    def of_json(cls, found: Json) -> AskedApproval:
        """Read it back.

        Raises:
            TypeError: it is not the JSON of one.
        """
        match found:
            case {"required": int(required), "role": None | str() as role, "by": str(by), "reason": str(reason)} if (
                required >= 1 and required is not True
            ):
                return cls(required=required, role=role, by=by, reason=reason)
        msg = "an approval that a guardrail asks cannot be read"
        raise TypeError(msg)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that was resolved.

    `pins` are the documents it was resolved from, `trees` the Ansible content a run works on a copy of. `waves` holds
    the host batches in order, `stages` what is done in order. `timeout` is in seconds, `max_fail_percent` an exact
    decimal text; `locks` are names that no two runs hold at once. `trust` is there where somebody must approve. `asked`
    are the approvals that guardrails asked when it was made: questions of its stages, whatever they ask later.
    """

    runbook: str
    version: str
    title: str
    source: Pin
    commit: str | None
    dirty: bool
    pins: tuple[Pin, ...]
    trees: tuple[Pin, ...]
    inventory_sources: tuple[str, ...]
    inventory_digest: str
    inventory_total: int
    pattern: str
    limit: str | None
    parameters: tuple[ParameterValue, ...]
    on_failure: str
    undo_scope: str
    timeout: int | None
    max_fail_percent: str | None
    locks: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    waves: tuple[tuple[str, ...], ...]
    stages: tuple[PlannedStage, ...]
    trust: RootUsed | None = None
    asked: tuple[AskedApproval, ...] = ()

    @property
    def hosts(self) -> tuple[str, ...]:
        """All target hosts, canary first."""
        return tuple(host for wave in self.waves for host in wave)

    @cached_property
    def content(self) -> bytes:
        """The canonical bytes: what the digest is over and what a plan file holds."""
        return canonical_bytes(self.to_json())

    @cached_property
    def digest(self) -> str:
        """`sha256:<hex>` over the canonical bytes."""
        return sha256_digest(self.content)

    def to_json(self) -> dict[str, Json]:
        """Give the plan as plain JSON."""
        return {
            "format": PLAN_FORMAT,
            "runbook": {
                "name": self.runbook,
                "version": self.version,
                "title": self.title,
                "path": self.source.path,
                "digest": self.source.digest,
            },
            "repository": {"commit": self.commit, "dirty": self.dirty},
            "pins": {pin.path: pin.digest for pin in self.pins},
            "trees": {pin.path: pin.digest for pin in self.trees},
            **({"trust": self.trust.to_json()} if self.trust else {}),
            **({"guardrail_approvals": [each.to_json() for each in self.asked]} if self.asked else {}),
            "inventory": {
                "sources": list(self.inventory_sources),
                "digest": self.inventory_digest,
                "total": self.inventory_total,
            },
            "targets": {"pattern": self.pattern, "limit": self.limit},
            "parameters": {
                parameter.name: {"secret": True} if parameter.secret else {"value": parameter.value}
                for parameter in self.parameters
            },
            "on_failure": self.on_failure,
            "undo_scope": self.undo_scope,
            "timeout": self.timeout,
            "max_fail_percent": self.max_fail_percent,
            "locks": list(self.locks),
            "steps": [
                {
                    "id": step.id,
                    "title": step.title,
                    "kind": step.kind,
                    "undo": step.can_undo,
                    "conditional": step.conditional,
                    "loop": step.looped,
                    "resume": step.resumable,
                }
                for step in self.steps
            ],
            "waves": [list(wave) for wave in self.waves],
            "stages": [stage.to_json() for stage in self.stages],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """A plan as it was written down: what to resolve again, and what must come out."""

    content: dict[str, Json]
    digest: str
    runbook: str
    limit: str | None
    inventory_sources: tuple[str, ...]
    parameters: dict[str, Json]
    root_version: int = 0
    asked: tuple[AskedApproval, ...] = ()

    def values_for(self, runbook: Runbook) -> dict[str, Value]:
        """Give the parameters as the runbook types them: exact decimals in the plan are numbers again."""
        return {
            name: _number_again(value, parameter.limits) if (parameter := runbook.parameter(name)) else _plain(value)
            for name, value in self.parameters.items()
        }


class MovedError(OpsError):
    """Something the plan was resolved from has moved."""

    exit_code = ExitCode.REFUSED

    def __init__(self, differences: tuple[str, ...], *, advice: str = "plan again, and review it") -> None:
        """Say everything that moved, one line each."""
        moved = "".join(f"\n    {each}" for each in differences) or " its bytes"
        super().__init__(f"not run, as this is not what was planned any more:{moved}", advice=advice)
        self.differences = differences


def read_plan(data: bytes, *, name: str) -> PlanFile:
    """Read a plan file back.

    Raises:
        UsageError: it is no plan file, or one of another format.
    """
    try:
        content = parse_strict(data, max_bytes=_PLAN_LIMIT_BYTES)
        if not isinstance(content, dict) or content.get("format") != PLAN_FORMAT:
            msg = f"{name} is not a plan file of format {PLAN_FORMAT}"
            raise UsageError(msg, advice="write one with `opsascode plan RUNBOOK --out FILE`")
        targets, inventory = _object(content, "targets"), _object(content, "inventory")
        limit, sources = targets.get("limit"), inventory.get("sources")
        parameters = _object(content, "parameters")
        root_version = _object(content, "trust")["version"] if "trust" in content else 0
        asked = content.get("guardrail_approvals", [])
        return PlanFile(
            content=content,
            digest=sha256_digest(canonical_bytes(content)),
            runbook=str(_object(content, "runbook")["name"]),
            limit=None if limit is None else str(limit),
            inventory_sources=tuple(str(source) for source in sources) if isinstance(sources, list) else (),
            parameters={
                key: _object(parameters, key)["value"] for key in parameters if "value" in _object(parameters, key)
            },
            root_version=root_version if isinstance(root_version, int) else 0,
            asked=tuple(map(AskedApproval.of_json, asked)) if isinstance(asked, list) else (),
        )
    except (ProofError, KeyError, TypeError) as error:
        msg = f"{name} is not a whole plan file: {error}"
        raise UsageError(msg, advice="write it again with `opsascode plan RUNBOOK --out FILE`") from error


def what_moved(before: dict[str, Json], after: dict[str, Json]) -> tuple[str, ...]:
    """Say in words where two plans differ, one sentence each; empty when they are the same."""
    return tuple(_differences("", before, after))


def _differences(path: str, before: Json, after: Json) -> Iterator[str]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            where = f"{path}.{key}" if path else key
            if key not in after:
                yield f"{where} is gone (was {_short(before[key])})"
            elif key not in before:
                yield f"{where} is new ({_short(after[key])})"
            else:
                yield from _differences(where, before[key], after[key])
        return
    if isinstance(before, list) or isinstance(after, list):
        yield f"{path}: {_change_of_list(before, after)}"
    else:
        yield f"{path} was {_short(before)}, now {_short(after)}"


def _change_of_list(before: Json, after: Json) -> str:
    """Say how two lists differ: the plain values that left and came, or only that they do."""
    old, new = tuple(_leaves(before)), tuple(_leaves(after))
    gone = [str(each) for each in old if each not in new]
    come = [str(each) for each in new if each not in old]
    if any(isinstance(each, dict) for each in (*old, *new)) or not (gone or come):
        return "what is done is not the same"
    parts = [f"{verb} {_short(', '.join(names))}" for verb, names in (("without", gone), ("with", come)) if names]
    return f"now {' and '.join(parts)}"


def _leaves(value: Json) -> Iterator[Json]:
    if isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _short(value: Json) -> str:
    text = value if isinstance(value, str) else canonical_bytes(value).decode()
    if _DIGEST.fullmatch(text):
        return f"{text[:19]}…"
    return text if len(text) <= 96 else f"{text[:93]}..."  # noqa: PLR2004 - one terminal line


def _number_again(value: Json, limits: Limits) -> Value:
    if limits.type is ParameterType.NUMBER and isinstance(value, str):
        return float(value)
    if isinstance(value, list) and limits.items is not None:
        return [_number_again(item, limits.items) for item in value]
    return _plain(value)


def _plain(value: Json) -> Value:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _object(content: dict[str, Json], key: str) -> dict[str, Json]:
    value = content[key]
    if not isinstance(value, dict):
        msg = f"{key} is not an object"
        raise TypeError(msg)
    return value
