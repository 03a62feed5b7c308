"""What was measured, when, and of which promise? Kept so that it can be judged again, also by other targets.

A snapshot holds counts and ratios as Prometheus gave them, as exact decimals, and which policy they were asked for:
its commit, its digest and the target of each promise at that time, as a changed target must not rewrite what was.

Not here: asking Prometheus (`_measure`), judging by a target (`_status`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final, NoReturn

from opsascode.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.proof import Json

FILE_FORMAT: Final = "opsascode/slo-snapshots/v1"
_STAMP: Final = "%Y-%m-%dT%H:%M:%S"
_MOST_TEXT: Final = 2000
_MOST_DIGITS: Final = 100
_MOST_PLAIN: Final = 40
_MOST_EXPONENT: Final = 400  # beyond what Prometheus can count with


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Events (or slices of time) and how many of them were bad; total 0 is no data."""

    bad: Decimal
    total: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSeen:
    """What was measured for one promise.

    `start` and `end` are the window of the budget (`end` lies ahead in a calendar window), `counted` what happened in
    it until now. `rates` are shares of bad events by the length of their window, None where there was no traffic.
    `present` says whether the total's series exists at all; `last_data` is when it last had a sample. `problem` says
    why this promise could not be measured though others could: its query is refused, or gives several series.
    """

    id: str
    target: Decimal
    start: datetime
    end: datetime
    counted: Counted | None
    rates: Mapping[timedelta, Decimal | None]
    present: bool
    last_data: datetime | None = None
    problem: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Give it as plain JSON; the key of a rate is the length of its window in seconds."""
        counted = self.counted
        return {
            "id": self.id,
            "target": _text_of(self.target),
            "start": moment_text(self.start),
            "end": moment_text(self.end),
            "counted": {"bad": _text_of(counted.bad), "total": _text_of(counted.total)} if counted else None,
            "rates": {
                str(int(length.total_seconds())): None if rate is None else _text_of(rate)
                for length, rate in sorted(self.rates.items())
            },
            "present": self.present,
            "last_data": moment_text(self.last_data) if self.last_data else None,
            "problem": self.problem,
        }

    @classmethod
    def of_json(cls, found: Json) -> TargetSeen:
        """Read it back.

        Raises:
            UsageError: it is not the JSON of what was measured for a promise.
        """
        parts = _Parts.of(found, _TARGET_KEYS)
        counted, rates = parts.value["counted"], parts.mapping("rates")
        present, problem = parts.value["present"], parts.value["problem"]
        if not isinstance(present, bool):
            _refuse("present is neither true nor false")
        seen = cls(
            id=parts.text("id"),
            target=parts.decimal("target"),
            start=parts.moment("start"),
            end=parts.moment("end"),
            counted=None if counted is None else _counted(counted),
            rates={_length(key): None if rate is None else _decimal(rate) for key, rate in rates.items()},
            present=present,
            last_data=parts.moment("last_data") if parts.value["last_data"] is not None else None,
            problem=None if problem is None else _short_text(problem, "problem"),
        )
        if not 0 < seen.target < 1:
            _refuse("a target is not between 0 and 1")
        return seen


@dataclass(frozen=True, slots=True, kw_only=True)
class SloSnapshot:
    """What was measured for one policy at one moment; `unreachable` says why nothing could be measured."""

    policy: str
    service: str
    commit: str | None
    digest: str
    taken: datetime
    targets: tuple[TargetSeen, ...]
    warnings: tuple[str, ...] = ()
    unreachable: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Give the snapshot as plain JSON: decimals as text, moments as RFC 3339, lengths in seconds."""
        return {
            "policy": self.policy,
            "service": self.service,
            "commit": self.commit,
            "digest": self.digest,
            "taken": moment_text(self.taken),
            "targets": [each.to_json() for each in self.targets],
            "warnings": list(self.warnings),
            "unreachable": self.unreachable,
        }

    @classmethod
    def of_json(cls, found: Json) -> SloSnapshot:
        """Read a snapshot back.

        Raises:
            UsageError: it is not the JSON of a snapshot.
        """
        parts = _Parts.of(found, _SNAPSHOT_KEYS)
        commit, unreachable = parts.value["commit"], parts.value["unreachable"]
        seen = tuple(TargetSeen.of_json(each) for each in parts.list("targets"))
        if len({each.id for each in seen}) < len(seen):
            _refuse("a promise is in it twice")
        return cls(
            policy=parts.text("policy"),
            service=parts.text("service"),
            commit=None if commit is None else _short_text(commit, "commit"),
            digest=parts.text("digest"),
            taken=parts.moment("taken"),
            targets=seen,
            warnings=tuple(_short_text(each, "a warning") for each in parts.list("warnings")),
            unreachable=None if unreachable is None else _short_text(unreachable, "unreachable"),
        )


def snapshots_json(snapshots: Sequence[SloSnapshot]) -> dict[str, Json]:
    """Give snapshots as the content of a file."""
    return {"format": FILE_FORMAT, "snapshots": [each.to_json() for each in snapshots]}


def snapshots_of_json(found: Json) -> tuple[SloSnapshot, ...]:
    """Read the content of a file of snapshots back.

    Raises:
        UsageError: it is no such file.
    """
    if not isinstance(found, dict) or found.get("format") != FILE_FORMAT:
        _refuse(f"its format is not {FILE_FORMAT}")
    snapshots = tuple(SloSnapshot.of_json(each) for each in _Parts.of(found, _FILE_KEYS).list("snapshots"))
    if len({each.policy for each in snapshots}) < len(snapshots):
        _refuse("a policy is in it twice")
    return snapshots


def moment_text(moment: datetime) -> str:
    """Write a moment as RFC 3339 in UTC, with a fraction only where it has one."""
    utc = moment.astimezone(UTC)
    fraction = f".{utc.microsecond:06d}".rstrip("0") if utc.microsecond else ""
    return f"{utc:{_STAMP}}{fraction}Z"


def moment_of(text: str) -> datetime:
    """Read a moment of RFC 3339, which must name its offset.

    Raises:
        UsageError: it is none, or says no offset.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None or not text[:10].count("-") == 2:  # noqa: PLR2004 - a written date has two dashes
        raise UsageError(
            f"«{text[:60]}» is no moment of RFC 3339 with an offset",
            advice="write it as 2026-01-31T14:00:00Z or 2026-01-31T15:00:00+01:00",
        )
    return found.astimezone(UTC)


def _text_of(number: Decimal) -> str:
    """Write a decimal without zeros at its end, and without an exponent where it is not too long then."""
    text = f"{number:f}" if abs(number.adjusted()) <= _MOST_PLAIN else str(number)
    if "E" in text:
        return text
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


@dataclass(frozen=True, slots=True)
class _Parts:
    """The fields of an object, each read as what it must be."""

    value: Mapping[str, Json]

    @classmethod
    def of(cls, found: Json, keys: frozenset[str]) -> _Parts:
        if not isinstance(found, dict):
            _refuse("a part of it is no object")
        if missing := sorted(keys - found.keys()):
            _refuse(f"it lacks {', '.join(missing)}")
        if unknown := sorted(found.keys() - keys):
            _refuse(f"it has unknown fields: {', '.join(unknown)[:100]}")
        return cls(found)

    def text(self, name: str) -> str:
        return _short_text(self.value[name], name)

    def decimal(self, name: str) -> Decimal:
        return _decimal(self.value[name])

    def moment(self, name: str) -> datetime:
        return moment_of(self.text(name))

    def list(self, name: str) -> Sequence[Json]:
        found = self.value[name]
        if not isinstance(found, list):
            _refuse(f"{name} is no list")
        return found

    def mapping(self, name: str) -> Mapping[str, Json]:
        found = self.value[name]
        if not isinstance(found, dict):
            _refuse(f"{name} is no object")
        return found


_TARGET_KEYS: Final = frozenset({"id", "target", "start", "end", "counted", "rates", "present", "last_data", "problem"})
_SNAPSHOT_KEYS: Final = frozenset(
    {"policy", "service", "commit", "digest", "taken", "targets", "warnings", "unreachable"}
)
_FILE_KEYS: Final = frozenset({"format", "snapshots"})
_COUNTED_KEYS: Final = frozenset({"bad", "total"})


def _counted(found: Json) -> Counted:
    parts = _Parts.of(found, _COUNTED_KEYS)
    counted = Counted(bad=parts.decimal("bad"), total=parts.decimal("total"))
    if counted.bad < 0 or counted.total < 0:
        _refuse("a count is negative")
    return counted


def _decimal(found: Json) -> Decimal:
    if not isinstance(found, str) or len(found) > _MOST_DIGITS:
        _refuse("a number is not written as text")
    try:
        number = Decimal(found)
    except InvalidOperation:
        _refuse(f"«{found}» is no number")
    if not number.is_finite() or abs(number.adjusted()) > _MOST_EXPONENT:
        _refuse(f"«{found}» is no finite number")
    return number


def _length(found: str) -> timedelta:
    if not found.isascii() or not found.isdigit() or len(found) > 10 or int(found) == 0:  # noqa: PLR2004 - 300 years
        _refuse("the length of a window is no number of seconds")
    return timedelta(seconds=int(found))


def _short_text(found: Json, name: str) -> str:
    if not isinstance(found, str) or len(found) > _MOST_TEXT:
        _refuse(f"{name} is no text of at most {_MOST_TEXT} characters")
    return found


def _refuse(why: str) -> NoReturn:
    raise UsageError(f"this is no snapshot of reliability: {why}")
