"""Snapshots that were recorded are read back as they were, of one repository only; a record stays small."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import UsageError
from opsascode.run import SLO_SNAPSHOT, SloBook, State, ledger_records
from opsascode.slo import Counted, SloSnapshot, TargetSeen

if TYPE_CHECKING:
    from pathlib import Path

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def snapshot(name: str, promises: int = 1) -> SloSnapshot:
    seen = tuple(
        TargetSeen(
            id=f"promise-{number}",
            target=Decimal("0.999"),
            start=AT - timedelta(days=30),
            end=AT,
            counted=Counted(bad=Decimal(7), total=Decimal(1000)),
            rates={timedelta(minutes=5): None, timedelta(hours=1): Decimal("0.001")},
            present=True,
            last_data=AT,
        )
        for number in range(promises)
    )
    return SloSnapshot(policy=name, service=name, commit="c0ffee", digest="sha256:1", taken=AT, targets=seen)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(directory=tmp_path, key_uri=f"file:{tmp_path / 'keys' / 'machine'}", key_base=tmp_path)


def book(state: State, repository: str = "shop") -> SloBook:
    return SloBook(state=state, repository=repository, keys=state.public_keys({}) if state.has_ledger() else ())


def test_what_is_recorded_is_read_back(state: State) -> None:
    taken = [snapshot(f"service-{number}", 5) for number in range(40)]
    places = book(state).record(taken, state.signer({}), actor="alex", now=AT)
    assert 1 < len(places) < len(taken)
    found = list(book(state).read())
    assert [each.snapshot for each in found] == taken
    assert {each.index for each in found} == set(places)
    assert {each.actor for each in found} == {"alex"}
    assert list(book(state, "other").read()) == []
    records = list(ledger_records(state, (SLO_SNAPSHOT,), keys=state.public_keys({})))
    assert all("snapshots" in each.record.statement.predicate for each in records)


def test_what_is_too_large_for_a_record_is_told_and_nothing_is_recorded(state: State) -> None:
    with pytest.raises(UsageError, match="too large for a record"):
        book(state).record([snapshot("small"), replace(snapshot("large", 500))], state.signer({}), actor="alex", now=AT)
    assert not state.has_ledger() or list(book(state).read()) == []


def test_without_a_ledger_there_is_nothing(state: State) -> None:
    assert list(book(state).read()) == []
