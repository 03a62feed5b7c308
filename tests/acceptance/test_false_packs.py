"""A machine whose key was stolen says what it likes in the team's ledger; the others judge it again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from opsascode.policy import BreakGlass, change_of, classify
from opsascode.proof import statement_payload
from opsascode.repo import ObjectStore, open_repository
from opsascode.run import (
    AppliedPack,
    PackBook,
    PackName,
    State,
    TransitionJudge,
    Unlock,
    glass_statement,
    trusted_chain,
    unlock_request,
    unlock_statement,
)
from tests.acceptance.test_break_glass import guardrail
from tests.acceptance.test_team_ledger import Team
from tests.people import BOB, EVE

if TYPE_CHECKING:
    from pathlib import Path

    from opsascode.proof import Statement
    from tests.people import Hand
    from tests.world import World


class Liar:
    """The second machine, with a key the team trusts; it records whatever it is told."""

    def __init__(self, world: World) -> None:
        self.world = world
        repository = open_repository(world.root)
        self.state = State.of(repository, world.variables())
        self.signer = self.state.signer(world.variables())
        self.chain = trusted_chain(repository, self.state)
        keys = (self.signer.public_key,)
        self.book = PackBook(state=self.state, repository=self.chain.repository, keys=keys)

    @property
    def origin(self) -> str:
        return self.book.origin(self.signer)

    @property
    def applied(self) -> AppliedPack:
        found = self.book.read().current
        assert found is not None
        return found

    def says(self, statement: Statement) -> None:
        self.book.add(statement, self.signer)
        synced = self.world.ops("ledger", "sync")
        assert synced.code == 0, synced.err


@pytest.fixture
def team(tmp_path: Path) -> Team:
    """Both machines have applied a pack that lets one host at a time be touched, and know of each other's records."""
    team = Team(tmp_path)
    team.one.write("policies/limits.yml", guardrail(1))
    team.one.commit("strict")
    team.one.git("push", "--quiet", "origin", "main")
    team.two.git("pull", "--quiet", "origin", "main")
    applied = team.two.ops("policy", "apply")
    assert applied.code == 0, applied.err
    return team


def test_what_another_machine_applied_holds_here_once_it_was_judged_again(team: Team) -> None:
    team.one.ops("ledger", "sync")
    status = team.one.ops("policy", "status", "--format", "json").json
    assert status["applied"]["commit"] == team.one.git("rev-parse", "main").strip()
    assert status["doubted"] == []
    assert team.one.ops("run", "hello", "-y").code == 4


def test_44_a_stolen_machine_key_takes_no_pack_back(team: Team) -> None:
    liar = Liar(team.two)
    old = team.two.git("rev-parse", "main~1").strip()
    before = next(each for each in liar.book.read().packs if each.pack.commit == old)
    lie = replace(liar.applied, pack=before.pack, previous=liar.applied.pack, applied=datetime.now(UTC))
    liar.says(lie.statement(liar.origin))
    team.one.ops("ledger", "sync")
    refused = team.one.ops("run", "hello", "-y")
    assert refused.code == 4, refused
    assert "more than the 1 allowed" in refused.err
    told = team.one.ops("policy", "status")
    assert "NOT BELIEVED: policy-apply" in told.out
    assert len(team.one.ops("policy", "history", "--format", "json").json) == 3


def test_44_a_stolen_machine_key_names_another_content(team: Team) -> None:
    liar = Liar(team.two)
    name = PackName(commit=liar.applied.pack.commit, scope="sha256:" + "0" * 64)
    liar.says(replace(liar.applied, pack=name, applied=datetime.now(UTC)).statement(liar.origin))
    team.one.ops("ledger", "sync")
    assert team.one.ops("run", "hello", "-y").code == 4
    assert "NOT BELIEVED" in team.one.ops("policy", "status").out


@pytest.mark.parametrize("hand", [BOB, EVE], ids=["of one who may not", "of a stranger"])
def test_44_a_stolen_machine_key_breaks_no_glass(team: Team, hand: Hand) -> None:
    liar, now = Liar(team.two), datetime.now(UTC).replace(microsecond=0)
    judge = TransitionJudge(store=ObjectStore.of(team.two.root), pin=None, now=now, attestations=lambda _: ())
    new, old = (team.two.git("rev-parse", each).strip() for each in ("main~1", "main"))
    state, candidate = judge.gather(old, new)
    classified = classify(state, candidate)
    glass = BreakGlass(
        person="bob",
        incident="INC-7",
        change=change_of(state, candidate, classified),
        paths=tuple(sorted(each.path for each in classified.diff.files)),
        hosts=("web1", "web2", "web3"),
        reason="because",
        issued=now,
        expires=now + timedelta(hours=1),
        nonce="1" * 32,
    )
    envelope = hand.envelop(statement_payload(glass.statement()))
    pack = PackName(commit=new, scope=candidate.snapshot.digest)
    liar.says(glass_statement(liar.origin, liar.chain.repository, envelope=envelope, pack=pack, now=now))
    team.one.ops("ledger", "sync")
    assert team.one.ops("run", "hello", "-y").code == 4
    told = team.one.ops("policy", "status", "--format", "json").json
    assert told["glass"] == []
    assert len(told["doubted"]) == 1


def test_44_a_stolen_machine_key_unlocks_nothing(team: Team) -> None:
    liar = Liar(team.two)
    unlock = Unlock(person="bob", reason="because", at=datetime.now(UTC))
    envelope = EVE.envelop(statement_payload(unlock_request(liar.applied, unlock)))
    liar.says(unlock_statement(liar.origin, liar.applied, unlock, envelope=envelope))
    team.one.ops("ledger", "sync")
    assert len(team.one.ops("policy", "status", "--format", "json").json["doubted"]) == 1


def test_39_notes_that_leave_a_record_out_are_not_believed(team: Team) -> None:
    world = team.one
    world.ops("ledger", "sync")
    before = world.ops("policy", "history", "--format", "json").json
    notes = world.state / "kinds.json"
    signature, _, content = notes.read_bytes().partition(b"\n")
    about = json.loads(content)
    kind = next(each for each in about["kinds"] if "policy-apply" in each)
    about["kinds"][kind] = []
    notes.write_bytes(signature + b"\n" + json.dumps(about).encode())
    assert world.ops("policy", "history", "--format", "json").json == before
