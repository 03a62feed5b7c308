"""Rules of guardrails: which of them match, which decide, what is said, and what would change the answer.

The cases lie in `tests/cases/guardrails`: documents as people write them, and for each change of one plan the reasons it
is refused for, as `rule code`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from opsascode.errors import Position, UsageError
from opsascode.policy import (
    PERMIT_LIFETIME,
    BlastRadius,
    BudgetSeen,
    Permit,
    Refusal,
    Subject,
    Trigger,
    approvals_asked,
    explain,
    judge,
    prepare,
    roles_asked,
    services_asked,
)
from opsascode.repo import (
    ApprovalsAsked,
    BudgetCondition,
    BudgetLevel,
    Combine,
    Effect,
    Guardrail,
    Metadata,
    Policies,
    Requirements,
    Rule,
    Scope,
    Source,
    What,
    When,
    Where,
    Who,
    open_repository,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = Path(__file__).parents[1] / "cases" / "guardrails"
NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
HERE = Position(path="policies/production.yml", line=4, column=3)
SUBJECT = Subject(
    plan_digest="sha256:aa",
    runbook="service-restart",
    labels={},
    blast_radius=BlastRadius(),
    host_count=4,
    inventory_total=100,
    groups=frozenset({"all", "web"}),
    dirty=False,
    trigger=Trigger.MANUAL,
)
NAMES = {"hosts": "host_count", "total": "inventory_total"}


def policies_in(place: Path, documents: str) -> Policies:
    """Read documents as they would be read from a repository."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "opsascode.yml").write_text(
        "apiVersion: opsascode/v1\nkind: Repository\nmetadata: {name: cases}\nspec: {}\n"
    )
    (place / "policies").mkdir(exist_ok=True)
    (place / "policies" / "cases.yml").write_text(documents)
    return open_repository(place).policies()


def changed(change: dict[str, Any]) -> Subject:
    """Change the subject as a case says it: in the names of its JSON."""
    return Subject.of_json({**SUBJECT.to_json(), **change})


def cases() -> Iterator[Any]:
    for path in sorted(CASES.glob("*.yml")):
        file = yaml.safe_load(path.read_text(encoding="utf-8"))
        for case in file["cases"]:
            yield pytest.param(path.stem, file, case, id=f"{path.stem}: {case['name']}")


def said(verdict: Permit | Refusal) -> list[str]:
    reasons = verdict.reasons if isinstance(verdict, Refusal) else ()
    return [f"{each.rule} {each.code}" if each.rule else each.code for each in reasons]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Policies]:
    place = tmp_path_factory.mktemp("cases")
    return {
        path.stem: policies_in(place / path.stem, yaml.safe_load(path.read_text(encoding="utf-8"))["documents"])
        for path in CASES.glob("*.yml")
    }


@pytest.mark.parametrize(("name", "file", "case"), list(cases()))
def test_a_plan_is_judged_as_the_case_says(
    name: str, file: dict[str, Any], case: dict[str, Any], written: dict[str, Policies]
) -> None:
    found = case.get("now", file.get("now", NOW))
    now = found if found.tzinfo else found.replace(tzinfo=UTC)
    subject, policies = changed(case["change"]), written[name]
    verdict = judge(policies, subject, now=now)
    assert said(verdict) == case["reasons"]
    assert said(prepare(policies)(subject, now=now)) == case["reasons"]
    if isinstance(verdict, Refusal):
        assert {"mend": case["mend"]} == {"mend": verdict.reasons[0].mend} if "mend" in case else True
        assert "message" not in case or verdict.reasons[0].message == case["message"]
        for reason in verdict.reasons:
            assert reason.position is not None
            assert reason.position.path == "policies/cases.yml"
            line = file["documents"].splitlines()[reason.position.line - 1]
            assert reason.rule is None or reason.rule in "".join(
                file["documents"].splitlines()[reason.position.line - 1 : reason.position.line + 1]
            ), line


@pytest.mark.parametrize(("name", "file", "case"), list(cases()))
def test_an_explanation_says_the_same_as_the_verdict(
    name: str, file: dict[str, Any], case: dict[str, Any], written: dict[str, Policies]
) -> None:
    found = case.get("now", file.get("now", NOW))
    now = found if found.tzinfo else found.replace(tzinfo=UTC)
    explanation = explain(written[name], changed(case["change"]), now=now)
    refusing = {each.name for each in explanation.guardrails if each.answer == "refuses"}
    sources = (
        {each.source for each in explanation.verdict.reasons} if isinstance(explanation.verdict, Refusal) else set()
    )
    assert {f"guardrail {each}" for each in refusing} == sources
    denying = {
        rule.name for each in explanation.guardrails for rule in each.rules if rule.decides and rule.follows == "deny"
    }
    assert denying == {each.split()[0] for each in case["reasons"] if each.endswith(" denied")}
    assert len(explanation.guardrails) == len(written[name].guardrails)
    for each in explanation.guardrails:
        for rule in each.rules:
            assert all(part.said for part in rule.parts)
    assert json.loads(json.dumps(explanation.to_json()))["subject"]["runbook"]


def rule(name: str, effect: Effect = Effect.DENY, **parts: Any) -> Rule:
    return Rule(
        name=name,
        who=parts.get("who", Who()),
        what=parts.get("what", What(labels={})),
        where=parts.get("where", Where()),
        when=parts.get("when", When()),
        effect=effect,
        require=parts.get("require", Requirements()),
        reason=f"because of {name}",
        position=HERE,
    )


def guardrail(name: str, *rules: Rule, **more: Any) -> Guardrail:
    return Guardrail(
        metadata=Metadata(name=name, title=name, labels={}, position=HERE),
        applies_to=more.pop("scope", Scope(labels={})),
        require=more.pop("require", Requirements()),
        rules=rules,
        reason="house rules",
        source=Source(path=HERE.path, digest="sha256:bb"),
        position=HERE,
        **more,
    )


names = st.sampled_from(["a", "b", "ab", "shell", "ansible.builtin.shell", "community.general.a"])
few = st.lists(names, max_size=2, unique=True).map(tuple)
rules_made = st.builds(
    lambda number, effect, who, what, where, when, hosts: rule(
        f"r{number}",
        effect,
        who=who,
        what=what,
        where=where,
        when=when,
        require=Requirements(max_hosts=hosts) if effect is Effect.REQUIRE else Requirements(),
    ),
    st.integers(0, 99),
    st.sampled_from(Effect),
    st.builds(Who, triggers=st.sampled_from([(), ("ci",), ("manual", "ci")]), roles=few),
    st.builds(What, runbooks=st.sampled_from([(), ("a*",), ("b",)]), labels=st.sampled_from([{}, {"a": "b"}]), tags=few, modules=few),
    st.builds(Where, groups=few, environments=few, hosts_over=st.none() | st.integers(0, 9), percent_over=st.none() | st.just(Decimal(5))),
    st.builds(
        When,
        during=st.sampled_from([(), ("missing",)]),
        budget=st.none() | st.just(BudgetCondition(service="a", levels=(BudgetLevel.WARN,))),
    ),
    st.integers(1, 9),
)  # fmt: skip
policies_made = st.lists(
    st.builds(
        lambda number, combine, default, groups, rules: guardrail(
            f"g{number}", *rules, combine=combine, default=default, scope=Scope(labels={}, groups=groups)
        ),
        st.integers(0, 99),
        st.sampled_from(Combine),
        st.sampled_from([Effect.ALLOW, Effect.DENY]),
        few,
        st.lists(rules_made, max_size=4),
    ),
    max_size=3,
).map(lambda made: Policies(guardrails=tuple(made)))
subjects_made = st.builds(
    Subject,
    plan_digest=st.just("sha256:aa"),
    runbook=names,
    labels=st.sampled_from([{}, {"a": "b"}]),
    blast_radius=st.just(BlastRadius()),
    host_count=st.integers(1, 10),
    inventory_total=st.integers(10, 100),
    groups=few.map(frozenset),
    environments=few.map(frozenset),
    tags=few.map(frozenset),
    modules=few.map(frozenset),
    opaque=st.sampled_from([(), ("the role x",)]),
    dirty=st.booleans(),
    trigger=st.sampled_from(Trigger),
    account=names,
    roles=few.map(frozenset),
    predicts=st.booleans(),
    undoes=st.booleans(),
    approvals=st.lists(st.builds(ApprovalsAsked, required=st.integers(1, 9), role=st.none() | names), max_size=2).map(tuple),
    budgets=st.dictionaries(
        names, st.builds(BudgetSeen, level=st.sampled_from(BudgetLevel), consumed=st.none() | st.decimals(-9, 9)), max_size=2
    ),
    partial=st.booleans(),
)  # fmt: skip


@given(policies=policies_made, subjects=st.lists(subjects_made, min_size=1, max_size=4))
def test_judging_many_gives_what_judging_one_gives(policies: Policies, subjects: list[Subject]) -> None:
    together = prepare(policies)
    for subject in subjects:
        alone = judge(policies, subject, now=NOW)
        assert said(together(subject, now=NOW)) == said(alone)
        explained = explain(policies, subject, now=NOW)
        assert explained.verdict == alone
        refused = any(each.answer == "refuses" for each in explained.guardrails)
        assert refused == isinstance(alone, Refusal)


@given(policies=policies_made, subject=subjects_made, more=rules_made)
def test_another_deny_never_lets_more_pass(policies: Policies, subject: Subject, more: Rule) -> None:
    stricter = Policies(guardrails=(*policies.guardrails, guardrail("more", replace(more, effect=Effect.DENY))))
    if isinstance(judge(policies, subject, now=NOW), Refusal):
        assert isinstance(judge(stricter, subject, now=NOW), Refusal)


@given(policies=policies_made, subject=subjects_made)
def test_what_is_not_known_never_lets_more_pass(policies: Policies, subject: Subject) -> None:
    known = replace(subject, opaque=(), partial=False)
    if isinstance(judge(policies, known, now=NOW), Refusal):
        assert isinstance(judge(policies, replace(known, opaque=("the role x",)), now=NOW), Refusal)


@given(subject=subjects_made)
def test_a_subject_is_read_back_as_it_was_written(subject: Subject) -> None:
    assert Subject.of_json(json.loads(json.dumps(subject.to_json()))) == subject


@pytest.mark.parametrize(
    "bend",
    [
        lambda made: made.pop("roles"),
        lambda made: made.update(hosts="4"),
        lambda made: made.update(hosts=True),
        lambda made: made.update(trigger="moon"),
        lambda made: made.update(groups="web"),
        lambda made: made.update(budgets={"a": {"level": "warn", "consumed": "much"}}),
        lambda made: made.update(approvals=[{"required": 1}]),
        lambda made: made.update(limits={}),
    ],
)
def test_what_is_no_subject_is_refused(bend: Any) -> None:
    made = SUBJECT.to_json()
    bend(made)
    with pytest.raises(UsageError, match="not the record of a judged plan"):
        Subject.of_json(made)


def test_a_calendar_that_nobody_wrote_counts_on_the_careful_side() -> None:
    missing = When(during=("holidays",))
    denied = judge(Policies(guardrails=(guardrail("g", rule("r", when=missing)),)), SUBJECT, now=NOW)
    assert isinstance(denied, Refusal)
    assert "there is no calendar holidays" in denied.reasons[0].message
    allowed = guardrail("g", rule("r", Effect.ALLOW, when=missing), default=Effect.DENY)
    assert said(judge(Policies(guardrails=(allowed,)), SUBJECT, now=NOW)) == ["default"]


def test_time_lets_an_undo_pass_where_it_would_allow_a_run() -> None:
    allowed = guardrail("g", rule("r", Effect.ALLOW, when=When(during=("holidays",))), default=Effect.DENY)
    assert isinstance(judge(Policies(guardrails=(allowed,)), replace(SUBJECT, undoes=True), now=NOW), Permit)


def test_a_permit_does_not_outlive_the_beginning_of_a_freeze(tmp_path: Path) -> None:
    policies = policies_in(tmp_path, """
apiVersion: opsascode/v1
kind: Calendar
metadata: {name: freeze}
spec: {timezone: UTC, windows: [{name: soon, start: 2026-11-21T03:05, end: 2026-11-21T09:00}]}
---
apiVersion: opsascode/v1
kind: Guardrail
metadata: {name: frozen}
spec: {rules: [{name: freeze, when: {during: [freeze]}, then: deny, reason: a freeze}], reason: a freeze}
""")  # fmt: skip
    permit = judge(policies, SUBJECT, now=NOW)
    assert isinstance(permit, Permit)
    assert permit.expires == NOW + timedelta(minutes=5)
    undo = judge(policies, replace(SUBJECT, undoes=True), now=NOW)
    assert isinstance(undo, Permit)
    assert undo.expires == NOW + PERMIT_LIFETIME


def test_the_largest_number_of_approvals_is_asked_for_each_role() -> None:
    def asking(name: str, required: int, role: str | None, **parts: Any) -> Rule:
        wanted = Requirements(approvals=ApprovalsAsked(required=required, role=role))
        return rule(name, Effect.REQUIRE, require=wanted, **parts)

    policies = Policies(
        guardrails=(
            guardrail("a", asking("one", 1, "sre"), asking("two", 2, "sre"), asking("three", 3, "dba")),
            guardrail("b", asking("not", 9, "sre", where=Where(hosts_over=50))),
            guardrail("c", require=Requirements(approvals=ApprovalsAsked(required=1))),
        )
    )
    assert approvals_asked(policies, SUBJECT, NOW) == (
        ApprovalsAsked(required=1),
        ApprovalsAsked(required=3, role="dba"),
        ApprovalsAsked(required=2, role="sre"),
    )
    assert approvals_asked(policies, replace(SUBJECT, predicts=True), NOW) == ()
    verdict = judge(policies, SUBJECT, now=NOW)
    assert isinstance(verdict, Refusal)
    assert verdict.reasons[1].mend == "with 2 approvals of role sre: plan it again"
    met = replace(SUBJECT, approvals=approvals_asked(policies, SUBJECT, NOW))
    assert isinstance(judge(policies, met, now=NOW), Permit)


def test_who_may_approve_runs_is_the_role_that_is_meant_without_one() -> None:
    policies = Policies(guardrails=(guardrail("c", require=Requirements(approvals=ApprovalsAsked(required=1))),))
    named = replace(SUBJECT, approvals=(ApprovalsAsked(required=1, role="run-approver"),))
    assert isinstance(judge(policies, named, now=NOW), Permit)
    other = replace(SUBJECT, approvals=(ApprovalsAsked(required=9, role="dba"),))
    assert said(judge(policies, other, now=NOW)) == ["approvals"]


def test_only_what_rules_ask_about_is_asked(written: dict[str, Policies]) -> None:
    assert services_asked(written["parts"]) == {"checkout", "search"}
    assert services_asked(written["combine"]) == frozenset()
    assert roles_asked(written["conditions"])
    assert not roles_asked(Policies(guardrails=(guardrail("g", rule("r")),)))
