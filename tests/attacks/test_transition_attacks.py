"""A lone insider does not move a policy back or down: each attack starts where three honest people would be enough.

The honest story: `policies/steps.yml` allowed 20 hosts, then 5; Dave proposes to go back, Bob and Carol approve. Each
attack takes one honest thing away and gives a decision, which must be a refusal with its codes. The numbers are the rows
of the list of attacks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.policy import COOL_DOWN, Decision, Identities, ReviewState, Said
from opsascode.proof import KeyPurpose, MachineRole, canonical_bytes, statement_payload
from tests.people import ALICE, BOB, BOBS_TOKEN, CAROL, DAVE, EVE, NOW, Form, Hand, approval
from tests.transitions import BRIDGE, Asking, Branch, Machine, codes, guardrail, snapshot
from tests.trust import chain_of, next_root, person, role, signed, team_root, trusted, with_roles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

STEPS = "policies/steps.yml"
LOOSE, TIGHT = {STEPS: guardrail(max_hosts=20)}, {STEPS: guardrail(max_hosts=5)}
BRANCH = Branch.of(LOOSE, TIGHT)
BACK = BRANCH.ask(LOOSE)


def honest(asking: Asking = BACK) -> list[bytes]:
    return [asking.propose("dave"), asking.say("bob"), asking.say("carol")]


def without_carol(*instead: bytes, asking: Asking = BACK, **more: Any) -> Decision:
    """Carol's approval is missing, and something of the attacker's stands in its place."""
    return asking.judge(asking.propose("dave"), asking.say("bob"), *instead, **more)


def by(**identities: Any) -> Asking:
    """The same change, when Git and the forge say that others are behind it."""
    return replace(BACK, new=replace(BACK.new, identities=Identities(**identities)))


def all_of(asking: Asking, **more: Any) -> Decision:
    return asking.judge(*honest(asking), **more)


def bent(envelope: bytes, **parts: Any) -> bytes:
    return canonical_bytes({**json.loads(envelope), **parts})


def in_payload(hand: Hand, statement: Any, before: bytes, after: bytes) -> bytes:
    payload = statement_payload(statement)
    assert payload.count(before) == 1
    return hand.envelop(payload.replace(before, after))


def two_keys() -> Decision:
    bob = person("bob", BOB, BOBS_TOKEN)
    root = team_root(persons=(person("alice"), bob, person("carol"), person("dave")))
    asking = Branch.of(LOOSE, TIGHT, roots=[root]).ask(LOOSE)
    assert all_of(asking).allowed
    return without_carol(asking.say("bob", hand=BOBS_TOKEN, nonce="1" * 32), asking=asking)


def untouched_token() -> Decision:
    bob = person("bob", BOBS_TOKEN)
    root = team_root(persons=(person("alice"), bob, person("carol"), person("dave")))
    asking = Branch.of(LOOSE, TIGHT, roots=[root], holders=(ALICE, CAROL)).ask(LOOSE)
    touched, not_touched = (asking.say("bob", hand=BOBS_TOKEN, form=Form(flags=each)) for each in (1, 0))
    assert asking.judge(asking.propose("dave"), asking.say("carol"), touched).allowed
    return asking.judge(asking.propose("dave"), asking.say("carol"), not_touched)


def key_of_another_purpose() -> Decision:
    carol = person("carol", keys=(trusted(CAROL, KeyPurpose.ROOT),))
    root = team_root(persons=(person("alice"), person("bob"), carol, person("dave")))
    asking = Branch.of(LOOSE, TIGHT, roots=[root]).ask(LOOSE)
    assert asking.judge(asking.propose("dave"), asking.say("bob"), asking.say("alice")).allowed
    return all_of(asking)


def other_repository() -> Decision:
    there = Branch.of(LOOSE, TIGHT, roots=[team_root(salt="0f" * 16)]).ask(LOOSE)
    assert all_of(there).allowed
    return BACK.judge(*honest(there))


def other_ref() -> Decision:
    staging = replace(BACK.change, ref="refs/heads/staging")
    return without_carol(BACK.say("carol", change=staging))


def other_policy() -> Decision:
    files = {"policies/other.yml": guardrail("other", max_hosts=9)}
    there = Branch.of(files, {"policies/other.yml": guardrail("other", max_hosts=3)}).ask(files)
    return without_carol(there.say("carol"))


def one_byte_more() -> Decision:
    pushed = BRANCH.ask({STEPS: LOOSE[STEPS] + "\n"})
    assert all_of(pushed).allowed
    return pushed.judge(*honest())


def base_moved(files: dict[str, str]) -> Asking:
    moved = replace(BRANCH.at(snapshot(files, BRANCH.envelopes)))
    return moved.ask({**files, **LOOSE})


def base_moved_inside() -> Decision:
    new = {**TIGHT, "policies/new.yml": guardrail("new", max_hosts=9)}
    there = base_moved(new)
    assert all_of(there).allowed
    return there.judge(*honest())


def base_moved_away_and_back() -> Decision:
    """The protected set is what it was, but something else came and went in between."""
    between = BRANCH.at(snapshot({STEPS: guardrail(max_hosts=4)}, BRANCH.envelopes)).at(BRANCH.last)
    there = between.ask(LOOSE)
    assert all_of(there).allowed
    return there.judge(*honest())


def target_of_another_base() -> Decision:
    """The approved target, reached from other policies than those that were looked at."""
    there = BRANCH.at(snapshot({STEPS: guardrail(max_hosts=4)}, BRANCH.envelopes)).ask(LOOSE)
    return there.judge(*honest())


def reset_and_merged_again() -> Decision:
    first = BACK.judge(*honest())
    assert first.allowed
    assert len(first.consumed) == 3
    again = replace(BACK, new=replace(BACK.new, descends=False))
    return again.judge(*honest(), trust=BRANCH.trust(consumed=frozenset(first.consumed)))


def key_revoked() -> Decision:
    """Carol's key is taken from the root after she signed; her approval says an earlier time."""
    first = team_root()
    second = next_root(first, persons=(*first.persons[:2], person("carol", EVE), first.persons[3]))
    there = Branch.of(LOOSE, TIGHT, roots=[first, second]).ask(LOOSE)
    assert there.judge(there.propose("dave"), there.say("bob"), there.say("alice")).allowed
    return there.judge(there.propose("dave"), there.say("bob"), there.say("carol", issued=NOW - timedelta(hours=1)))


def root_changed() -> Decision:
    first = team_root()
    there = Branch.of(LOOSE, TIGHT, roots=[first, next_root(first, bridge_most=0)]).ask(LOOSE)
    assert all_of(there).allowed
    return there.judge(*honest())


def moved_trust(*, roots: Sequence[bytes], files: dict[str, str] | None = None, **more: Any) -> Asking:
    return BRANCH.ask(BRANCH.candidate(snapshot(files or TIGHT, [*BRANCH.envelopes, *roots]), **more))


FEWER = next_root(team_root(), roles=with_roles(role("rollback-approver", 2, "alice", "bob", "eve")), persons=(
    person("alice"), person("bob"), person("carol"), person("dave"), person("eve"),
))  # fmt: skip


def trust_and_policy(hands: tuple[Hand, ...]) -> Decision:
    asking = moved_trust(roots=[signed(FEWER, *hands)], files=LOOSE)
    alone = moved_trust(roots=[signed(FEWER, ALICE, BOB)])
    assert alone.judge(trust=BRANCH.trust(announced=NOW - COOL_DOWN)).allowed
    return asking.judge(*honest(asking), trust=BRANCH.trust(announced=NOW - COOL_DOWN))


def trust_too_soon(announced: timedelta | None) -> Decision:
    asking = moved_trust(roots=[signed(FEWER)])
    assert asking.judge(trust=BRANCH.trust(announced=NOW - COOL_DOWN)).allowed
    return asking.judge(trust=BRANCH.trust(announced=None if announced is None else NOW - announced))


def unprotected(*hands: Hand) -> Decision:
    """The globs are edited, so that inventories are protected no more."""
    root = next_root(team_root(), protected=("policies/**", "opsascode.yml"))
    asking = moved_trust(roots=[signed(root, *hands)])
    return asking.judge(trust=BRANCH.trust(announced=NOW - COOL_DOWN))


def trust_replaced() -> Decision:
    """A whole new chain in place of the one that rules, well signed by itself."""
    asking = BRANCH.ask(BRANCH.candidate(snapshot(TIGHT, [signed(team_root(salt="0f" * 16))])))
    return asking.judge(trust=BRANCH.trust(announced=NOW - COOL_DOWN))


def trust_gone_back() -> Decision:
    first = team_root()
    second = next_root(first, bridge_most=0)
    there = Branch.of(TIGHT, roots=[first, second])
    return there.ask(there.candidate(snapshot(TIGHT, [signed(first)]))).judge()


def smuggled_into_trust() -> Decision:
    """A guardrail is moved into the folder of the trust root, out of sight, in a change of trust."""
    files = {"policies/trust/steps.yml": TIGHT[STEPS]}
    asking = moved_trust(roots=[signed(next_root(team_root(), bridge_most=0))], files=files)
    return asking.judge(trust=BRANCH.trust(announced=NOW - COOL_DOWN))


def flood() -> Decision:
    envelope = BACK.say("eve", hand=EVE)
    many = [envelope[:-1] + b" " * number + b"}" for number in range(4097)]
    assert BACK.judge(*honest(), *many[:4000]).allowed
    return BACK.judge(*honest(), *many)


def hidden_decline() -> Decision:
    """Whether the refusal is seen or not, what is missing is missing."""
    assert not without_carol(BACK.decline("carol")).allowed
    return without_carol()


def over_bridge(most: int, *users: int, machine: Machine = BRIDGE, **changes: Any) -> Decision:
    persons = tuple(
        person(name, forge={"github": number}) for number, name in enumerate(("alice", "bob", "carol", "dave"), 1)
    )
    root = team_root(persons=persons, machines=(BRIDGE.trusted(MachineRole.BRIDGE),), bridge_most=most)
    asking = Branch.of(LOOSE, TIGHT, roots=[root]).ask(LOOSE)
    if most:
        assert without_carol(BRIDGE.seal(asking.review(3).statement()), asking=asking).allowed
    reviews = [machine.seal(asking.review(each, **changes).statement()) for each in users]
    return asking.judge(asking.propose("dave"), *reviews, *([asking.say("bob")] if len(users) == 1 else []))


def looks_signed_by_bridge() -> Decision:
    """The key of a bridge signs what only a person may say."""
    root = team_root(machines=(BRIDGE.trusted(MachineRole.BRIDGE),))
    asking = Branch.of(LOOSE, TIGHT, roots=[root]).ask(LOOSE)
    assert all_of(asking).allowed
    return without_carol(BRIDGE.seal(asking.statement("carol", Said.APPROVE).statement()), asking=asking)


def looks_signed_by_person() -> Decision:
    return without_carol(CAROL.envelop(statement_payload(BACK.review(3).statement())))


def expired_root() -> Decision:
    there = Branch.of(LOOSE, TIGHT, roots=[team_root(expires=NOW + timedelta(days=1))])
    assert all_of(there.ask(LOOSE)).allowed
    late = replace(there, now=NOW + timedelta(days=1))
    stricter = replace(late, now=late.now).ask({STEPS: guardrail(max_hosts=4)})
    assert stricter.judge(stricter.say("bob")).allowed
    return all_of(late.ask(LOOSE))


@dataclass(frozen=True)
class Attack:
    """What an insider tries, and with which codes, in their order, it is refused."""

    row: int
    name: str
    tries: Callable[[], Decision]
    codes: tuple[str, ...]


SELF, FEW, UNDECLARED = "E_SELF_APPROVAL", "E_THRESHOLD", "E_UNDECLARED_ROLLBACK"
ATTACKS = (
    Attack(1, "the author approves", lambda: all_of(by(emails=("bob@example.org",))), (FEW, SELF)),
    Attack(1, "an author in capitals approves", lambda: all_of(by(emails=("Bob@Example.ORG",))), (FEW, SELF)),
    Attack(1, "the committer approves", lambda: all_of(by(emails=("x@y", "carol@example.org"))), (FEW, SELF)),
    Attack(1, "the pusher approves", lambda: all_of(by(accounts=("bob",))), (FEW, SELF)),
    Attack(1, "who opened the pull request approves", lambda: all_of(by(accounts=("github:BOB-x",))), (FEW, SELF)),
    Attack(1, "both are behind it", lambda: all_of(by(emails=("bob@example.org",), accounts=("carol",))), (FEW, SELF, SELF)),
    Attack(1, "the proposer approves", lambda: without_carol(BACK.say("dave")), (FEW, SELF)),
    Attack(1, "somebody signs as another", lambda: without_carol(BACK.say("carol", hand=BOB)), (FEW, "E_PERSON")),
    Attack(1, "nobody approves but the proposer", lambda: BACK.judge(BACK.propose("dave"), BACK.say("dave")), (FEW, SELF)),
    Attack(2, "one person with two keys", two_keys, (FEW,)),
    Attack(4, "the same envelope again", lambda: without_carol(BACK.say("bob")), (FEW,)),
    Attack(4, "two envelopes by one key", lambda: without_carol(BACK.say("bob", nonce="2" * 32)), (FEW,)),
    Attack(4, "one signature listed twice", lambda: without_carol(
        bent(BACK.say("bob", nonce="2" * 32), signatures=json.loads(BACK.say("bob", nonce="2" * 32))["signatures"] * 2)
    ), (FEW,)),
    Attack(8, "another type of payload", lambda: without_carol(bent(BACK.say("carol"), payloadType="text/plain")),
           (FEW, "E_SIGNATURE")),
    Attack(8, "an approval of a run", lambda: without_carol(CAROL.envelope(approval("carol"))), (FEW, "E_TYPE")),
    Attack(8, "a broken glass as an approval", lambda: without_carol(
        CAROL.envelop(statement_payload(BACK.glass("carol").statement()))
    ), (FEW, "E_TYPE")),
    Attack(8, "a proposal as an approval", lambda: without_carol(BACK.propose("carol")), (FEW,)),
    Attack(8, "a review signed by a person", looks_signed_by_person, (FEW, "E_TYPE")),
    Attack(8, "an approval signed by a bridge", looks_signed_by_bridge, (FEW, "E_TYPE")),
    Attack(9, "a signature made for git", lambda: without_carol(BACK.say("carol", form=Form(namespace=b"git"))),
           (FEW, "E_NAMESPACE")),
    Attack(9, "a signature made for a file", lambda: without_carol(BACK.say("carol", form=Form(namespace=b"file"))),
           (FEW, "E_NAMESPACE")),
    Attack(10, "a key for the root only", key_of_another_purpose, (FEW, "E_PERSON")),
    Attack(10, "a signature that says it is RSA", lambda: without_carol(BACK.say("carol", form=Form(key_type=b"ssh-rsa"))),
           (FEW, "E_KEY_TYPE")),
    Attack(11, "a token nobody touched", untouched_token, (FEW, "E_USER_PRESENCE")),
    Attack(12, "approvals of another repository", other_repository, (UNDECLARED, "E_REPO", "E_REPO", "E_REPO")),
    Attack(13, "an approval for another branch", other_ref, (FEW, "E_REF")),
    Attack(13, "an approval of another policy", other_policy, (FEW, "E_TARGET")),
    Attack(13, "another branch is moved", lambda: all_of(replace(BACK, new=replace(BACK.new, ref="refs/heads/staging"))),
           ("E_REF",)),
    Attack(14, "one byte is pushed after the approval", one_byte_more, (UNDECLARED, *["E_STALE"] * 3)),
    Attack(14, "approvals of another difference", lambda: without_carol(BACK.say("carol", effects="sha256:" + "0" * 64)),
           (FEW, "E_STALE")),
    Attack(15, "the base moved inside of what is protected", base_moved_inside, (UNDECLARED, *["E_TARGET"] * 3)),
    Attack(15, "the base moved away and back", base_moved_away_and_back, (UNDECLARED, *["E_BASE"] * 3)),
    Attack(15, "the same target from another base", target_of_another_base, (UNDECLARED, *["E_BASE"] * 3)),
    Attack(16, "a reset branch, merged again", reset_and_merged_again, (UNDECLARED, *["E_CONSUMED"] * 3)),
    Attack(17, "an approval that expired", lambda: without_carol(BACK.say("carol", expires=NOW)), (FEW, "E_EXPIRED")),
    Attack(17, "an approval from the future", lambda: without_carol(BACK.say("carol", issued=NOW + timedelta(minutes=2))),
           (FEW, "E_NOT_YET")),
    Attack(17, "an approval for more than three days", lambda: without_carol(BACK.say("carol", expires=NOW + timedelta(hours=72))),
           (FEW, "E_TTL")),
    Attack(17, "a proposal that expired", lambda: BACK.judge(
        BACK.propose("dave", expires=NOW), BACK.say("bob"), BACK.say("carol")
    ), (UNDECLARED, "E_EXPIRED")),
    Attack(18, "the trust root changed after the approvals", root_changed, (UNDECLARED, *["E_ROOT_VERSION"] * 3)),
    Attack(19, "a revoked key and an earlier date", key_revoked, (FEW, "E_SIGNATURE")),
    Attack(20, "the approvers change in the same change", lambda: trust_and_policy((ALICE, BOB)), ("E_MIXED_TRUST_CHANGE",)),
    Attack(20, "one person changes the approvers in the same change", lambda: trust_and_policy((ALICE,)),
           ("E_MIXED_TRUST_CHANGE",)),
    Attack(20, "a guardrail hides in the folder of the root", smuggled_into_trust, ("E_MIXED_TRUST_CHANGE",)),
    Attack(20, "a looser root on the day it is seen", lambda: trust_too_soon(timedelta(hours=23)), ("E_COOL_DOWN",)),
    Attack(20, "a looser root at first sight", lambda: trust_too_soon(None), ("E_COOL_DOWN",)),
    Attack(22, "the root goes back a version", trust_gone_back, ("E_ROOT_ROLLBACK",)),
    Attack(22, "another root in its place", trust_replaced, ("E_ROOT_PIN",)),
    Attack(22, "the root that rules has expired", expired_root, ("E_ROOT_EXPIRED",)),
    Attack(47, "a flood of statements", flood, (UNDECLARED, "E_PARSE")),
    Attack(47, "a refusal is hidden", hidden_decline, (FEW,)),
    Attack(48, "a reason that moves the cursor", lambda: without_carol(BACK.say("carol", reason="fine\x1b[2A")),
           (FEW, "E_APPROVAL")),
    Attack(48, "a reason that reads the other way round", lambda: without_carol(BACK.say("carol", reason="\u202eon")),
           (FEW, "E_APPROVAL")),
    Attack(50, "two over a bridge where one may", lambda: over_bridge(1, 2, 3), (FEW, "E_BRIDGE")),
    Attack(50, "one over a bridge where none may", lambda: over_bridge(0, 3), (FEW, "E_BRIDGE")),
    Attack(50, "a review of the proposer", lambda: over_bridge(1, 4), (FEW, SELF)),
    Attack(50, "a review by nobody known", lambda: over_bridge(1, 99), (FEW, "E_PERSON")),
    Attack(50, "a review sealed by another machine", lambda: over_bridge(1, 3, machine=Machine("runner")),
           (FEW, "E_KEY_TYPE")),
    Attack(50, "a review that asks for changes", lambda: over_bridge(1, 3, state=ReviewState.CHANGES_REQUESTED),
           ("E_DECLINED",)),
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=[f"{each.row}-{each.name}" for each in ATTACKS])
def test_attack(attack: Attack) -> None:
    assert BACK.judge(*honest()).allowed  # the honest variant passes
    decision = attack.tries()
    assert not decision.allowed
    found = codes(decision)
    assert found[: len(attack.codes)] == list(attack.codes)[: len(found)]
    assert set(attack.codes) <= set(found)
    assert decision.missing


def test_34_what_is_protected_is_changed_by_the_holders_of_the_root_only() -> None:
    assert unprotected(ALICE, BOB).allowed
    decision = unprotected(ALICE)  # lies there as a proposal, without effect
    assert decision.allowed
    assert chain_of(team_root()).current.root.protected == team_root().protected
    forged = moved_trust(roots=[signed(next_root(team_root(), protected=("policies/**",)), EVE, DAVE)])
    assert codes(forged.judge()) == ["E_SIGNATURE"]


OTHER = {"policies/other.yml": guardrail("other", max_percent=10)}


def test_48_text_that_turns_is_refused_in_whatever_is_protected() -> None:
    base = {**OTHER, "inventories/lab": "web1\n"}
    honest_edit = Branch.of(base).ask({**base, "inventories/lab": "web1 # \u00e4\n"})
    assert honest_edit.judge(honest_edit.say("bob")).allowed
    turned = Branch.of(base).ask({**base, "inventories/lab": "web1 # \u202eenif\n"})
    decision = turned.judge(turned.say("bob"))
    assert codes(decision)[0] == "E_PARSE"


def test_48_what_acts_on_a_terminal_is_written_out() -> None:
    host = "web\x1b[31m\u202e"
    branch = Branch.of({**TIGHT, **OTHER}, groups={host: frozenset({"production"})})
    asking = branch.ask(branch.candidate(TIGHT, groups={host: frozenset({"production"})}))
    decision = asking.judge(asking.say("bob"))
    said = [decision.missing, *(each.message for each in decision.faults), *decision.notes]
    said += [each.message for each in decision.classification.findings]
    assert any("\\x1b" in each for each in said)
    assert not any("\x1b" in each or "\u202e" in each for each in said)


def test_the_base_may_move_outside_of_what_is_protected() -> None:
    moved = BRANCH.at(BRANCH.last).at(BRANCH.last)
    there = moved.ask(LOOSE)
    assert there.change != BACK.change
    assert there.judge(*honest()).allowed
