"""Breaking the glass: one person, one key on a token, one change, a few hours, and a debt that does not go away."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from opsascode.policy import (
    ApprovalError,
    BreakGlass,
    Debts,
    GlassDecision,
    LoggedStatement,
    Ratification,
    Reason,
    debts_of,
    judge_break_glass,
    judge_ratification,
)
from opsascode.proof import KeyPurpose, Statement, statement_payload
from tests.people import BOB, CAROL, DAVE, EVE, NOW, Form, Hand
from tests.transitions import Branch, codes, guardrail, ratification, snapshot
from tests.trust import next_root, person, role, signed, team_root, trusted, with_roles

STEPS = "policies/steps.yml"
LOOSE, TIGHT = {STEPS: guardrail(max_hosts=20)}, {STEPS: guardrail(max_hosts=5)}
TOKEN, PLAIN = Hand("alice's token", on_token=True), Hand("alice")
GLASS_KEY = trusted(TOKEN, KeyPurpose.BREAK_GLASS)
ROOT = team_root(
    persons=(person("alice", keys=(trusted(PLAIN), GLASS_KEY)), *(person(name) for name in ("bob", "carol", "dave"))),
    roles=with_roles(role("break-glass", 1, "alice")),
)
BRANCH = Branch.of(LOOSE, TIGHT, roots=[ROOT])
BACK = BRANCH.ask(LOOSE)
DIGEST = "sha256:" + "ab" * 32


def broken(
    *, hand: Hand = TOKEN, form: Form | None = None, debts: Debts | None = None, asking: Any = BACK, **changes: Any
) -> GlassDecision:
    person_of = changes.pop("person", "alice")
    envelope = hand.envelop(statement_payload(asking.glass(person_of, **changes).statement()), form)
    return judge_break_glass(asking.branch.trust(), asking.old, asking.new, envelope, NOW, debts=debts or Debts())


def test_one_person_with_the_right_key_may_for_a_while() -> None:
    decision = broken()
    assert decision.allowed
    assert decision.faults == ()
    assert decision.glass is not None
    assert decision.glass.covers("web1", NOW)
    assert not decision.glass.covers("db1", NOW)
    assert not decision.glass.covers("web1", NOW + timedelta(hours=1))


ATTACKS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a key that is for approvals": ({"hand": PLAIN}, ["E_KEY_TYPE"]),
    "somebody else's key": ({"hand": BOB}, ["E_PERSON"]),
    "a key nobody knows": ({"hand": EVE}, ["E_SIGNATURE"]),
    "somebody without the role": ({"hand": BOB, "person": "bob"}, ["E_ROLE"]),
    "a token nobody touched": ({"form": Form(flags=0)}, ["E_USER_PRESENCE"]),
    "a signature made for git": ({"form": Form(namespace=b"git")}, ["E_NAMESPACE"]),
    "for longer than four hours": ({"expires": NOW + timedelta(hours=4)}, ["E_TTL"]),
    "a glass that expired": ({"expires": NOW}, ["E_EXPIRED"]),
    "a glass of tomorrow": (
        {"issued": NOW + timedelta(hours=1), "expires": NOW + timedelta(hours=2)},
        ["E_NOT_YET"],
    ),
    "another change": ({"change": replace(BACK.change, target_scope=DIGEST)}, ["E_STALE"]),
    "another branch": ({"change": replace(BACK.change, ref="refs/heads/staging")}, ["E_REF"]),
    "another repository": ({"change": replace(BACK.change, repository=DIGEST)}, ["E_REPO"]),
    "a change called less than it is": (
        {"change": replace(BACK.change, classes=("forward",))},
        ["E_UNDECLARED_ROLLBACK"],
    ),
    "other files than those that change": ({"paths": ("policies/other.yml",)}, ["E_TARGET"]),
    "no reason": ({"reason": " "}, ["E_APPROVAL"]),
    "a reason that reads the other way round": ({"reason": "\u202eon"}, ["E_APPROVAL"]),
    "no hosts": ({"hosts": ()}, ["E_APPROVAL"]),
    "hosts in no order": ({"hosts": ("web2", "web1")}, ["E_APPROVAL"]),
    "a host that moves the cursor": ({"hosts": ("web1\x1b[2J",)}, ["E_APPROVAL"]),
    "no incident": ({"incident": ""}, ["E_APPROVAL"]),
}


@pytest.mark.parametrize(("changes", "expected"), ATTACKS.values(), ids=ATTACKS)
def test_the_glass_stays_whole(changes: dict[str, Any], expected: list[str]) -> None:
    assert broken().allowed
    decision = broken(**changes)
    assert not decision.allowed
    assert codes(decision) == expected


def test_an_approval_breaks_no_glass_and_a_glass_is_used_once() -> None:
    approval = BACK.say("alice")
    decision = judge_break_glass(BRANCH.trust(), BACK.old, BACK.new, approval, NOW, debts=Debts())
    assert codes(decision) == ["E_TYPE"]
    digest = broken().digest
    envelope = TOKEN.envelop(statement_payload(BACK.glass("alice").statement()))
    trust = BRANCH.trust(consumed=frozenset({digest}))
    again = judge_break_glass(trust, BACK.old, BACK.new, envelope, NOW, debts=Debts())
    assert codes(again) == ["E_CONSUMED"]


def test_the_trust_root_is_never_behind_the_glass() -> None:
    looser = next_root(ROOT, bridge_most=2)
    moved = BRANCH.ask(BRANCH.candidate(snapshot(TIGHT, [*BRANCH.envelopes, signed(looser)])))
    assert "E_MIXED_TRUST_CHANGE" in codes(broken(asking=moved))


def logged(entry: int, when: datetime, statement: Statement, digest: str = DIGEST) -> LoggedStatement:
    return LoggedStatement(entry=entry, when=when, digest=digest, statement=statement)


def broke(entry: int, ago: timedelta, person_of: str = "alice", digest: str = DIGEST) -> LoggedStatement:
    return logged(entry, NOW - ago, BACK.glass(person_of).statement(), digest)


def looked(entry: int, person_of: str, glass: str = DIGEST) -> LoggedStatement:
    return logged(entry, NOW, ratification(person_of, glass).statement(), "sha256:" + f"{entry:064x}")


def test_a_debt_is_open_until_two_others_looked() -> None:
    history = [broke(1, timedelta(hours=2))]
    assert [each.person for each in debts_of(history, NOW).open] == ["alice"]
    history += [looked(2, "bob"), looked(3, "bob"), looked(4, "alice")]
    (debt,) = debts_of(history, NOW).open
    assert debt.ratified_by == ("bob",)
    assert (debt.paths, debt.due) == ((STEPS,), NOW + timedelta(hours=70))
    assert debts_of([*history, looked(5, "carol")], NOW).all == ()


def test_time_makes_a_debt_overdue_and_never_settles_it() -> None:
    for hours, overdue in ((71, False), (72, True), (24 * 400, True)):
        debts = debts_of([broke(1, timedelta(hours=hours))], NOW)
        assert len(debts.all) == 1
        assert bool(debts.overdue) is overdue
    late = debts_of([broke(1, timedelta(days=30)), looked(2, "bob"), looked(3, "carol")], NOW)
    assert late.all == ()


def test_whoever_looked_before_there_was_anything_to_look_at_did_not() -> None:
    debts = debts_of([broke(5, timedelta(hours=1)), looked(2, "bob"), looked(3, "carol")], NOW)
    assert len(debts.open) == 1


def test_who_owes_breaks_no_glass_again() -> None:
    debts = debts_of([broke(1, timedelta(days=30))], NOW)
    decision = broken(debts=debts)
    assert codes(decision) == ["E_DEBT"]
    assert "INC-7" in decision.faults[0].message
    others = debts_of([broke(1, timedelta(days=30), person_of="dave")], NOW)
    assert broken(debts=others).allowed


def test_not_more_than_twice_in_seven_days() -> None:
    def twice(days: float) -> list[LoggedStatement]:
        found = []
        for entry, digest in enumerate(("sha256:" + "1" * 64, "sha256:" + "2" * 64)):
            found += [
                broke(entry * 3, timedelta(days=days), digest=digest),
                looked(entry * 3 + 1, "bob", digest),
                looked(entry * 3 + 2, "carol", digest),
            ]
        return found

    assert codes(broken(debts=debts_of(twice(6.9), NOW))) == ["E_DEBT"]
    assert broken(debts=debts_of(twice(7), NOW)).allowed


def ratified(hand: Hand, person_of: str, **changes: Any) -> tuple[Ratification, str] | Reason:
    (debt,) = debts_of([broke(1, timedelta(hours=1))], NOW).open
    said = ratification(person_of, changes.pop("glass", DIGEST), **changes)
    return judge_ratification(ROOT, debt, hand.envelop(statement_payload(said.statement())), NOW)


def test_a_ratification_is_by_somebody_else_who_may_approve_a_way_back() -> None:
    for hand, name in ((BOB, "bob"), (CAROL, "carol")):
        judged = ratified(hand, name)
        assert isinstance(judged, tuple)
        assert judged[0].person == name
    refused = {
        "E_SELF_APPROVAL": ratified(PLAIN, "alice"),
        "E_PERSON": ratified(BOB, "carol"),
        "E_SIGNATURE": ratified(EVE, "bob"),
        "E_TARGET": ratified(DAVE, "dave", glass="sha256:" + "0" * 64),
        "E_EXPIRED": ratified(BOB, "bob", expires=NOW),
    }
    assert {code: each.code for code, each in refused.items() if isinstance(each, Reason)} == {
        code: code for code in refused
    }


def test_statements_read_back_as_they_were_written() -> None:
    glass, said = BACK.glass("alice"), ratification("bob", DIGEST)
    assert BreakGlass.of(glass.statement()) == glass
    assert Ratification.of(said.statement()) == said
    for statement in (glass.statement(), said.statement()):
        for key in statement.predicate:
            less = {name: value for name, value in statement.predicate.items() if name != key}
            reader = BreakGlass if "change" in statement.predicate else Ratification
            with pytest.raises(ApprovalError):
                reader.of(replace(statement, predicate=less))
            with pytest.raises(ApprovalError):
                reader.of(replace(statement, predicate={**statement.predicate, key: 1.5}))  # type: ignore[dict-item] - as a hostile writer would


def test_a_naive_time_is_no_time() -> None:
    with pytest.raises(ValueError, match="aware"):
        judge_break_glass(BRANCH.trust(), BACK.old, BACK.new, b"", datetime(2026, 1, 1), debts=Debts())  # noqa: DTZ001 - that is the point
