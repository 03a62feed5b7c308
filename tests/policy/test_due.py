"""What follows from where the promises stand: chain, remediations, advice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from opsascode.policy import DueKind, due
from opsascode.repo import BudgetLevel, Remediation, RemediationCause, RemediationMode, ScalingHint
from opsascode.slo import Counted, status_of
from tests.slo.promises import HERE
from tests.slo.test_status import promise, snapshot

if TYPE_CHECKING:
    from opsascode.policy import Due


def remediation(*causes: RemediationCause, targets: tuple[str, ...] = ()) -> Remediation:
    return Remediation(
        name="again",
        causes=causes,
        targets=targets,
        runbook="restart",
        parameters={},
        mode=RemediationMode.APPROVE,
        most=3,
        within=timedelta(hours=1),
        position=HERE,
    )


def followed(bad: str, rate: str = "0", **more: object) -> tuple[Due, ...]:
    mine = replace(promise(), **more)
    taken = snapshot(mine, Counted(bad=Decimal(bad), total=Decimal(100000)), rate=Decimal(rate))
    return due(mine, status_of(mine, taken))


def kinds(found: tuple[Due, ...]) -> list[DueKind]:
    return [each.kind for each in found]


@pytest.mark.parametrize(
    ("bad", "rate", "expected"),
    [
        ("0", "0", []),
        ("25", "0", [DueKind.NOTIFY]),
        ("0", "0.001", [DueKind.NOTIFY]),
        ("40", "0", [DueKind.NOTIFY, DueKind.TRIGGER]),
        ("50", "0", [DueKind.NOTIFY, DueKind.TRIGGER]),
        ("0", "0.01", [DueKind.NOTIFY, DueKind.TRIGGER]),
    ],
)
def test_a_chain_triggers_only_what_is_urgent(bad: str, rate: str, expected: list[DueKind]) -> None:
    assert kinds(followed(bad, rate)) == expected


def test_a_step_says_what_when_and_why() -> None:
    _, start = followed("40")
    assert start.sentence() == "start restart after 300 s, as availability is critical"
    assert start.to_json()["causes"] == [{"target": "availability", "cause": "critical"}]


@pytest.mark.parametrize(
    ("cause", "bad", "rate", "found"),
    [
        (RemediationCause.WARN, "24", "0", False),
        (RemediationCause.WARN, "25", "0", True),
        (RemediationCause.WARN, "50", "0", True),
        (RemediationCause.EXHAUSTED, "49", "0", False),
        (RemediationCause.EXHAUSTED, "50", "0", True),
        (RemediationCause.PAGE, "0", "0.003", False),
        (RemediationCause.PAGE, "0", "0.0031", True),
        (RemediationCause.TICKET, "0", "0.001", True),
    ],
)
def test_a_remediation_is_due_from_its_cause_on(cause: RemediationCause, bad: str, rate: str, *, found: bool) -> None:
    every = followed(bad, rate, remediation=(remediation(cause),), escalation_chain=())
    assert (kinds(every) == [DueKind.REMEDIATE]) is found
    assert all(each.remediation is not None and each.runbook == "restart" for each in every)


def test_a_remediation_of_another_promise_is_not_due() -> None:
    other = remediation(RemediationCause.WARN, targets=("latency",))
    assert followed("50", remediation=(other,), escalation_chain=()) == ()


def test_advice_to_make_something_larger() -> None:
    hint = ScalingHint(at=BudgetLevel.CRITICAL, resource="web", percent=Decimal(50), position=HERE)
    assert followed("25", scaling=(hint,), escalation_chain=()) == ()
    (advice,) = followed("45", scaling=(hint,), escalation_chain=())
    assert advice.sentence() == "make web larger by 50% (advice), as availability is critical"


def test_nothing_follows_without_data() -> None:
    mine = replace(promise(), remediation=(remediation(*RemediationCause),))
    assert due(mine, status_of(mine, snapshot(mine, None))) == ()
