"""Reviews at GitHub become statements of a machine about exactly the change that was reviewed, through the command."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from opsascode.policy import FORGE_REVIEW, ForgeReview, Said
from opsascode.proof import MachineRole, PublicKey, TrustedMachine, open_envelope
from opsascode.repo import Attestations, ObjectStore
from opsascode.run import TransitionJudge
from tests.acceptance.test_policy_hook import PACK, ROOT, Server
from tests.people import Hand
from tests.trust import install, person, write_key
from tests.world import new_world

if TYPE_CHECKING:
    from opsascode.run import Judgement
    from tests.world import Answer

RECORDED = Path(__file__).parents[1] / "policy" / "github_events"
BRIDGE, STRANGER = Hand("bridge"), Hand("stranger")
MACHINE = TrustedMachine(name="bridge", key=PublicKey(BRIDGE.key.raw), roles=(MachineRole.BRIDGE,))
NUMBERS = {"alice": 1001, "bob": 1002, "carol": 1003, "dave": 1004}


@dataclass(kw_only=True)
class Reviewed(Server):
    """A clone in which a branch takes the policies back, and a pull request of that branch."""

    base: str = ""
    head: str = ""

    @property
    def folder(self) -> Path:
        return self.world.home

    def event(self, name: str = "submitted.approved", **changes: Any) -> Path:
        event = json.loads((RECORDED / f"{name}.json").read_bytes())
        event["pull_request"]["head"]["sha"] = event["review"]["commit_id"] = self.head
        event["pull_request"]["base"]["sha"] = self.base
        event["review"] |= changes
        place = self.folder / "event.json"
        place.write_text(json.dumps(event))
        return place

    def reviews(self) -> Path:
        reviews = json.loads((RECORDED / "reviews.list.json").read_bytes())
        place = self.folder / "reviews.json"
        place.write_text(json.dumps([{**each, "commit_id": self.head} for each in reviews]))
        return place

    def bridge(self, *words: str | Path, hand: Hand = BRIDGE) -> Answer:
        key = write_key(hand, self.folder / "keys" / hand.seed)
        return self.world.ops("policy", "bridge", "--key", f"file:{key}", "--format", "json", *words)

    def left(self) -> list[ForgeReview]:
        here = Attestations.of(self.world.root, None)
        assert here is not None
        scope = self.judged(self.base, self.head).decision.change.target_scope
        found = [open_envelope(each, (MACHINE.key,), predicate_types=(FORGE_REVIEW,)) for each in here.of_change(scope)]
        return sorted((ForgeReview.of(each.statement) for each in found), key=lambda each: each.review)

    def decided(self, base: str, head: str) -> Judgement:
        here = Attestations.of(self.world.root, None)
        assert here is not None
        store, now = ObjectStore.of(self.world.root), datetime.now(UTC)
        judge = TransitionJudge(
            store=store, pin=self.digest, now=now, attestations=lambda change: here.of_change(change.target_scope)
        )
        return judge.judge(base, head)


@pytest.fixture
def reviewed(tmp_path: Path) -> Reviewed:
    world = new_world(tmp_path / "home")
    world.write("policies/limits.yml", PACK % 10)
    persons = tuple(replace(person(name), forge={"github": number}) for name, number in NUMBERS.items())
    digest = install(world, replace(ROOT, persons=persons, machines=(MACHINE,)))
    made = Reviewed(world=world, bare=tmp_path, digest=digest)
    made.base = made.pack(5)
    world.git("switch", "--quiet", "-c", "rollback")
    made.head = made.pack(10)
    world.git("switch", "--quiet", "main")
    return made


def test_a_review_counts_as_one_of_the_two(reviewed: Reviewed) -> None:
    done = reviewed.bridge("--event", reviewed.event(), "--reviews", reviewed.reviews())
    assert done.code == 0, done.err
    told = {each["review"]: each for each in done.json["reviews"]}
    assert {number: each["signed"] for number, each in told.items()} == {
        50001: None, 50002: "approved", 50003: None, 50004: "approved", 50005: None,
    }  # fmt: skip
    assert told[50002]["person"] == "bob"
    change = done.json["change_id"]
    assert change == reviewed.judged(reviewed.base, reviewed.head).decision.change.id
    said = reviewed.left()
    assert [(each.user, each.login, each.commit, each.repository) for each in said] == [
        (1002, "bob-x", reviewed.head, "octo-ops/ops"), (1003, "carol-x", reviewed.head, "octo-ops/ops"),
    ]  # fmt: skip
    reviewed.say("alice", Said.PROPOSE, reviewed.judged(reviewed.base, reviewed.head))
    decision = reviewed.decided(reviewed.base, reviewed.head).decision
    assert not decision.allowed  # two over the bridge, and one is the most
    assert len(decision.counted) == 1
    reviewed.say("dave", Said.APPROVE, reviewed.judged(reviewed.base, reviewed.head))
    decision = reviewed.decided(reviewed.base, reviewed.head).decision
    assert decision.allowed
    assert "dave" in {each.person for each in decision.counted}


def test_the_same_again_signs_nothing_new(reviewed: Reviewed) -> None:
    first = reviewed.bridge("--event", reviewed.event())
    again = reviewed.bridge("--event", reviewed.event())
    assert [each["signed"] for each in (*first.json["reviews"], *again.json["reviews"])] == ["approved", None]
    assert len(reviewed.left()) == 1


@pytest.mark.parametrize("name", ["dismissed", "submitted.changes_requested"])
def test_what_is_taken_back_is_signed_as_a_refusal(reviewed: Reviewed, name: str) -> None:
    reviewed.say("alice", Said.PROPOSE, reviewed.judged(reviewed.base, reviewed.head))
    reviewed.say("dave", Said.APPROVE, reviewed.judged(reviewed.base, reviewed.head))
    assert reviewed.bridge("--event", reviewed.event()).code == 0
    assert reviewed.decided(reviewed.base, reviewed.head).decision.allowed
    later = reviewed.bridge("--event", reviewed.event(name), "--hours", "48")
    assert [each["signed"] for each in later.json["reviews"]] == ["changes_requested"]
    assert not reviewed.decided(reviewed.base, reviewed.head).decision.allowed


def test_statements_may_be_files(reviewed: Reviewed) -> None:
    out = reviewed.folder / "out"
    done = reviewed.bridge("--event", reviewed.event(), "--out", out)
    assert done.code == 0, done.err
    (file,) = out.iterdir()
    record = open_envelope(file.read_bytes(), (MACHINE.key,))
    assert record.digest == f"sha256:{file.stem}"
    assert reviewed.left() == []
    nowhere = reviewed.bridge("--event", reviewed.event(), "--out", file / "under-a-file")
    assert (nowhere.code, nowhere.out) == (2, "")
    assert f"the statement cannot be written to {file / 'under-a-file'}" in nowhere.err


def test_somebody_the_trust_root_does_not_know_is_shown_and_not_signed(reviewed: Reviewed) -> None:
    user = {**json.loads(reviewed.event().read_bytes())["review"]["user"], "id": 4242, "login": "bob-x"}
    done = reviewed.bridge("--event", reviewed.event(user=user))
    assert [(each["person"], each["signed"]) for each in done.json["reviews"]] == [(None, None)]


def test_a_key_that_is_no_bridge_signs_nothing(reviewed: Reviewed) -> None:
    done = reviewed.bridge("--event", reviewed.event(), hand=STRANGER)
    assert done.code == 5
    assert "calls a bridge" in done.err


def test_the_change_is_computed_and_never_believed(reviewed: Reviewed) -> None:
    done = reviewed.bridge("--event", reviewed.event(), "--change", "sha256:" + "0" * 64)
    assert done.code == 5
    assert "the change is sha256:" in done.err
    other = reviewed.pack(7)
    done = reviewed.bridge("--event", reviewed.event(), "--head", other)
    assert done.code == 5
    assert "is not the head of the event" in done.err
    right = reviewed.bridge("--event", reviewed.event(), "--head", reviewed.head, "--base", reviewed.base)
    assert right.code == 0
    same = reviewed.bridge("--event", reviewed.event(), "--change", right.json["change_id"])
    assert same.code == 0


def test_a_pull_request_to_another_branch_is_refused(reviewed: Reviewed) -> None:
    event = json.loads(reviewed.event().read_bytes())
    event["pull_request"]["base"]["ref"] = "staging"
    place = reviewed.folder / "event.json"
    place.write_text(json.dumps(event))
    done = reviewed.bridge("--event", place)
    assert done.code == 5
    assert "refs/heads/staging" in done.err


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'{"review": {"id": 1.5}}',
        b'{"a": 1, "a": 2}',
        b"\xff",
        b"[" * 5000,
        b" " * (17 * 1024 * 1024),
    ],
    ids=["empty", "no event", "a list", "a float", "a key twice", "no text", "deep", "huge"],
)
def test_hostile_files_are_one_clear_error(reviewed: Reviewed, content: bytes) -> None:
    place = reviewed.folder / "hostile.json"
    place.write_bytes(content)
    for words in (("--event", place), ("--event", reviewed.event(), "--reviews", place)):
        if words[0] == "--event" and len(words) == 4 and content == b"[]":
            continue  # a pull request without reviews
        done = reviewed.bridge(*words)
        assert done.code == 5, done.err
        assert json.loads(done.err)["message"]
        assert "Traceback" not in done.err
