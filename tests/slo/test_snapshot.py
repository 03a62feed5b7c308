"""A snapshot survives being written down, exactly; what is no snapshot is refused in one sentence."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.errors import UsageError
from opsascode.proof import canonical_bytes, parse_strict
from opsascode.slo import (
    Counted,
    SloSnapshot,
    TargetSeen,
    moment_of,
    moment_text,
    snapshots_json,
    snapshots_of_json,
)

moments = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants them naive
numbers = st.decimals(0, 10**30, allow_nan=False, allow_infinity=False)
shares = st.decimals("0.000001", "0.999999", places=6)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
targets = st.builds(
    TargetSeen,
    id=texts,
    target=shares,
    start=moments,
    end=moments,
    counted=st.none() | st.builds(Counted, bad=numbers, total=numbers),
    rates=st.dictionaries(
        st.integers(1, 10**8).map(lambda seconds: timedelta(seconds=seconds)), st.none() | numbers, max_size=8
    ),
    present=st.booleans(),
    last_data=st.none() | moments,
    problem=st.none() | texts,
)
snapshots = st.builds(
    SloSnapshot,
    policy=texts,
    service=texts,
    commit=st.none() | texts,
    digest=texts,
    taken=moments,
    targets=st.lists(targets, max_size=3, unique_by=lambda each: each.id).map(tuple),
    warnings=st.lists(texts, max_size=3).map(tuple),
    unreachable=st.none() | texts,
)


@given(st.lists(snapshots, max_size=3, unique_by=lambda each: each.policy))
def test_what_is_written_is_read_back_as_it_was(taken: list[SloSnapshot]) -> None:
    written = canonical_bytes(snapshots_json(taken))
    assert snapshots_of_json(parse_strict(written, max_bytes=1 << 20)) == tuple(taken)


@given(moments)
def test_a_moment_is_written_with_its_offset_and_read_back(moment: datetime) -> None:
    assert moment_of(moment_text(moment)) == moment


def test_a_moment_of_another_zone_is_the_same_moment() -> None:
    assert moment_of("2026-03-01T13:00:00+01:00") == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert moment_text(moment_of("2026-03-01T13:00:00.250+01:00")) == "2026-03-01T12:00:00.25Z"


@pytest.mark.parametrize(
    "text", ["", "now", "2026-03-01", "2026-03-01T12:00:00", "12:00Z", "20260301T120000Z", "x" * 500]
)
def test_a_moment_without_offset_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no moment of RFC 3339 with an offset"):
        moment_of(text)


def good() -> dict[str, Any]:
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    seen = TargetSeen(
        id="availability",
        target=Decimal("0.9995"),
        start=at - timedelta(days=30),
        end=at,
        counted=Counted(bad=Decimal(7), total=Decimal("1000.50")),
        rates={timedelta(minutes=5): None, timedelta(hours=1): Decimal("0.001")},
        present=True,
        last_data=at,
    )
    snapshot = SloSnapshot(policy="shop", service="shop", commit=None, digest="sha256:1", taken=at, targets=(seen,))
    written: dict[str, Any] = json.loads(json.dumps(snapshots_json([snapshot])))
    return written


def test_decimals_are_texts_and_lengths_are_seconds() -> None:
    target = good()["snapshots"][0]["targets"][0]
    assert target["target"] == "0.9995"
    assert target["counted"] == {"bad": "7", "total": "1000.5"}
    assert target["rates"] == {"300": None, "3600": "0.001"}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("format",), "opsascode/slo-snapshots/v2", "its format is not"),
        (("snapshots",), {}, "snapshots is no list"),
        (("more",), 1, "has 'more' too many"),
        (("snapshots", 0), [], "no object"),
        (("snapshots", 0, "taken"), "2026-03-01T12:00:00", "no moment"),
        (("snapshots", 0, "taken"), "0001-01-01T00:00:00+23:59", "no moment"),
        (("snapshots", 0, "policy"), 7, "policy is no text"),
        (("snapshots", 0, "warnings"), ["x" * 3000], "its warnings is no text of at most 2000"),
        (("snapshots", 0, "targets", 0, "target"), "1", "not between 0 and 1"),
        (("snapshots", 0, "targets", 0, "target"), "NaN", "no finite number"),
        (("snapshots", 0, "targets", 0, "target"), "1e999999", "no finite number"),
        (("snapshots", 0, "targets", 0, "target"), 0.5, "its target is no text"),
        (("snapshots", 0, "targets", 0, "counted", "bad"), "-1", "a count is negative"),
        (("snapshots", 0, "targets", 0, "rates"), {"5m": "1"}, "no number of seconds"),
        (("snapshots", 0, "targets", 0, "present"), "yes", "neither true nor false"),
    ],
)  # fmt: skip
def test_what_is_no_snapshot_is_refused(path: tuple[str | int, ...], value: object, words: str) -> None:
    whole = copy.deepcopy(good())
    part: Any = whole
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises(UsageError, match=words):
        snapshots_of_json(whole)


def test_a_policy_or_a_promise_twice_is_refused() -> None:
    whole = good()
    whole["snapshots"].append(whole["snapshots"][0])
    with pytest.raises(UsageError, match="a policy is in it twice"):
        snapshots_of_json(whole)
    one = good()
    one["snapshots"][0]["targets"].append(one["snapshots"][0]["targets"][0])
    with pytest.raises(UsageError, match="a promise is in it twice"):
        snapshots_of_json(one)


def test_a_field_that_lacks_is_named() -> None:
    whole = good()
    del whole["snapshots"][0]["digest"]
    with pytest.raises(UsageError, match="it lacks digest"):
        snapshots_of_json(whole)
