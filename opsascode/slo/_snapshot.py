"""What was measured, when, and of which promise? Kept so that it can be judged again, also by other targets.

A snapshot holds counts and ratios as Prometheus gave them, as exact decimals, and which policy they were asked for:
its commit, its digest and the target of each promise at that time, as a changed target must not rewrite what was.

Not here: asking Prometheus (`_measure`), judging by a target (`_status`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from opsascode.errors import UsageError
from opsascode.proof import JsonParts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from opsascode.proof import Json

FILE_FORMAT: Final = "opsascode/slo-snapshots/v1"
_STAMP: Final = "%Y-%m-%dT%H:%M:%S"
_MOST_TEXT: Final = 2000
_MOST_PLAIN: Final = 40


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
        parts = JsonParts.of(found, _no_snapshot, _TARGET_KEYS)
        rates = parts.object("rates")
        seen = cls(
            id=parts.text("id", _MOST_TEXT),
            target=parts.decimal("target"),
            start=_moment(parts, "start"),
            end=_moment(parts, "end"),
            counted=parts.maybe("counted", lambda key: _counted(parts.object(key, _COUNTED_KEYS))),
            rates={_length(key): rates.maybe(key, rates.decimal) for key in rates.value},
            present=parts.truth("present"),
            last_data=parts.maybe("last_data", lambda key: _moment(parts, key)),
            problem=parts.maybe("problem", parts.text, _MOST_TEXT),
        )
        if not 0 < seen.target < 1:
            raise _no_snapshot("a target is not between 0 and 1")
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
        parts = JsonParts.of(found, _no_snapshot, _SNAPSHOT_KEYS)
        seen = tuple(TargetSeen.of_json(each) for each in parts.items("targets"))
        if len({each.id for each in seen}) < len(seen):
            raise _no_snapshot("a promise is in it twice")
        return cls(
            policy=parts.text("policy", _MOST_TEXT),
            service=parts.text("service", _MOST_TEXT),
            commit=parts.maybe("commit", parts.text, _MOST_TEXT),
            digest=parts.text("digest", _MOST_TEXT),
            taken=_moment(parts, "taken"),
            targets=seen,
            warnings=parts.texts("warnings", _MOST_TEXT),
            unreachable=parts.maybe("unreachable", parts.text, _MOST_TEXT),
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
        raise _no_snapshot(f"its format is not {FILE_FORMAT}")
    listed = JsonParts.of(found, _no_snapshot, _FILE_KEYS).items("snapshots")
    snapshots = tuple(SloSnapshot.of_json(each) for each in listed)
    if len({each.policy for each in snapshots}) < len(snapshots):
        raise _no_snapshot("a policy is in it twice")
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
    found = None
    with suppress(ValueError, OverflowError):  # an offset can lead out of the first and the last year
        written = datetime.fromisoformat(text)
        found = None if written.tzinfo is None else written.astimezone(UTC)
    if found is None or not text[:10].count("-") == 2:  # noqa: PLR2004 - a written date has two dashes
        raise UsageError(
            f"«{text[:60]}» is no moment of RFC 3339 with an offset",
            advice="write it as 2026-01-31T14:00:00Z or 2026-01-31T15:00:00+01:00",
        )
    return found


def _text_of(number: Decimal) -> str:
    """Write a decimal without zeros at its end, and without an exponent where it is not too long then."""
    text = f"{number:f}" if abs(number.adjusted()) <= _MOST_PLAIN else str(number)
    if "E" in text:
        return text
    return (text.rstrip("0").rstrip(".") or "0") if "." in text else text


_TARGET_KEYS: Final = frozenset({"id", "target", "start", "end", "counted", "rates", "present", "last_data", "problem"})
_SNAPSHOT_KEYS: Final = frozenset(
    {"policy", "service", "commit", "digest", "taken", "targets", "warnings", "unreachable"}
)
_FILE_KEYS: Final = frozenset({"format", "snapshots"})
_COUNTED_KEYS: Final = frozenset({"bad", "total"})


def _counted(parts: JsonParts) -> Counted:
    counted = Counted(bad=parts.decimal("bad"), total=parts.decimal("total"))
    if counted.bad < 0 or counted.total < 0:
        raise _no_snapshot("a count is negative")
    return counted


def _moment(parts: JsonParts, key: str) -> datetime:
    return moment_of(parts.text(key))


def _length(found: str) -> timedelta:
    if not found.isascii() or not found.isdigit() or len(found) > 10 or int(found) == 0:  # noqa: PLR2004 - 300 years
        raise _no_snapshot("the length of a window is no number of seconds")
    return timedelta(seconds=int(found))


def _no_snapshot(why: str) -> UsageError:
    return UsageError(f"this is no snapshot of reliability: {why}")
