"""A guardrail refuses what it forbids, says every reason at once, and lets the rest pass."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsascode.errors import Position
from opsascode.policy import PERMIT_LIFETIME, BlastRadius, Permit, Refusal, Subject, Trigger, judge, permit_covers
from opsascode.repo import Guardrail, Metadata, Policies, Requirements, Scope, Source

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
HERE = Position(path="policies/production.yml", line=4, column=3)

SUBJECT = Subject(
    plan_digest="sha256:aa",
    runbook="service-restart",
    labels={"category": "infrastructure"},
    blast_radius=BlastRadius(),
    host_count=4,
    inventory_total=100,
    groups=frozenset({"web", "production"}),
    dirty=False,
    trigger=Trigger.MANUAL,
)


def guardrail(
    require: Requirements,
    *,
    runbooks: tuple[str, ...] = (),
    labels: dict[str, str] | None = None,
    groups: tuple[str, ...] = (),
) -> Guardrail:
    return Guardrail(
        metadata=Metadata(name="production", title="production", labels={}, position=HERE),
        applies_to=Scope(runbooks=runbooks, labels=labels or {}, groups=groups),
        require=require,
        reason="production comes from Git",
        source=Source(path=HERE.path, digest="sha256:bb"),
        position=HERE,
    )


def codes(verdict: Permit | Refusal) -> list[str]:
    return [reason.code for reason in verdict.reasons] if isinstance(verdict, Refusal) else []


def test_without_guardrails_a_plan_within_its_own_limits_may_run() -> None:
    verdict = judge(Policies(), SUBJECT, now=NOW)
    assert isinstance(verdict, Permit)
    assert verdict.plan_digest == SUBJECT.plan_digest
    assert verdict.expires == NOW + PERMIT_LIFETIME


def test_a_permit_names_the_guardrails_that_were_asked_and_only_those() -> None:
    asked = guardrail(Requirements(clean_tree=True), groups=("production",))
    other = guardrail(Requirements(clean_tree=True), groups=("staging",))
    verdict = judge(Policies(guardrails=(asked, other)), replace(SUBJECT, dirty=False), now=NOW)
    assert isinstance(verdict, Permit)
    assert verdict.guardrails == ("production",)


def test_a_dirty_tree_is_refused_where_a_clean_one_is_asked_for() -> None:
    only = Policies(guardrails=(guardrail(Requirements(clean_tree=True)),))
    verdict = judge(only, replace(SUBJECT, dirty=True), now=NOW)
    assert isinstance(verdict, Refusal)
    (reason,) = verdict.reasons
    assert reason.code == "dirty-tree"
    assert "production comes from Git" in reason.message
    assert reason.position == HERE
    assert "commit" in reason.mend


def test_every_reason_is_given_at_once() -> None:
    strict = guardrail(Requirements(clean_tree=True, max_hosts=1, max_percent=Decimal(1), triggers=("ci",)))
    own = replace(SUBJECT, dirty=True, blast_radius=BlastRadius(max_hosts=2))
    assert codes(judge(Policies(guardrails=(strict,)), own, now=NOW)) == [
        "max-hosts", "dirty-tree", "trigger", "max-hosts", "max-percent",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "applies"),
    [
        ({"runbooks": ("service-*",)}, True),
        ({"runbooks": ("disk-*",)}, False),
        ({"labels": {"category": "infrastructure"}}, True),
        ({"labels": {"category": "database"}}, False),
        ({"groups": ("production", "staging")}, True),
        ({"groups": ("staging",)}, False),
        ({"runbooks": ("service-*",), "groups": ("staging",)}, False),
        ({}, True),
    ],
)
def test_each_part_of_applies_to_narrows_it(scope: dict[str, object], applies: bool) -> None:
    only = guardrail(Requirements(max_hosts=1), **scope)  # type: ignore[arg-type]  # the table holds each keyword's own type
    verdict = judge(Policies(guardrails=(only,)), SUBJECT, now=NOW)
    assert isinstance(verdict, Refusal) is applies


@pytest.mark.parametrize(
    ("hosts", "total", "percent", "allowed"),
    [(25, 100, "25", True), (26, 100, "25", False), (1, 3, "25", True), (2, 3, "25", False), (1, 1, "0.1", True)],
)
def test_a_percentage_is_exact_and_never_forbids_one_host(hosts: int, total: int, percent: str, allowed: bool) -> None:
    subject = replace(
        SUBJECT, host_count=hosts, inventory_total=total, blast_radius=BlastRadius(max_percent=Decimal(percent))
    )
    assert isinstance(judge(Policies(), subject, now=NOW), Permit) is allowed


@given(
    hosts=st.integers(1, 10_000),
    limit=st.integers(1, 10_000),
    more=st.integers(0, 10_000),
)
def test_a_narrower_plan_is_never_refused_where_a_wider_one_passes(hosts: int, limit: int, more: int) -> None:
    wide = replace(SUBJECT, host_count=hosts + more, inventory_total=20_000, blast_radius=BlastRadius(max_hosts=limit))
    narrow = replace(wide, host_count=hosts)
    if isinstance(judge(Policies(), wide, now=NOW), Permit):
        assert isinstance(judge(Policies(), narrow, now=NOW), Permit)


def test_a_permit_covers_its_own_plan_until_it_expires() -> None:
    permit = judge(Policies(), SUBJECT, now=NOW)
    assert isinstance(permit, Permit)
    assert permit_covers(permit, "sha256:aa", now=NOW)
    assert not permit_covers(permit, "sha256:ab", now=NOW)
    assert not permit_covers(permit, "sha256:aa", now=NOW + PERMIT_LIFETIME)
    assert not permit_covers(permit, "sha256:aa", now=NOW - timedelta(seconds=1))


def test_a_naive_clock_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="aware"):
        judge(Policies(), SUBJECT, now=datetime(2026, 11, 21))  # noqa: DTZ001 - the naive time is the point of the test
