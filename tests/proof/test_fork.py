"""The team's log: every machine's ledger inside it, whole and in order; what deviates is named, and a fork is proven."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opsascode.errors import LedgerError, ProofError
from opsascode.proof import (
    Checkpoint,
    Handover,
    LedgerForkError,
    PublicKey,
    TeamFold,
    TeamKeys,
    hand_over,
    is_fork,
    open_checkpoint,
    read_request,
    seal,
    verify_fork,
)
from tests.proof.team import TEAM, Board, Machine, bring, keys, look, team_log
from tests.proof.world import statement

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START = "urn:opsascode:run-start:v1"


class Team:
    """Two machines, one board, and a log on each machine."""

    def __init__(self, place: Path) -> None:
        self.place, self.board = place, Board()
        self.one, self.two = Machine(place, "one"), Machine(place, "two")
        self.keys = keys(self.one, self.two)
        self.logs = {machine.name: team_log(place / machine.name, self.keys) for machine in (self.one, self.two)}

    def run(self, machine: Machine, *runs: str, board: Board | None = None) -> None:
        machine.record(*runs)
        self.sync(machine, board)

    def sync(self, machine: Machine, board: Board | None = None) -> None:
        bring(machine, self.logs[machine.name], board or self.board)

    def again(self, machine: Machine, **changes: Any) -> Any:
        """The machine's copy, opened by a new process."""
        return team_log(self.place / machine.name, changes.get("keys", self.keys))

    def public(self) -> tuple[PublicKey, ...]:
        return self.keys.ledgers


@pytest.fixture
def team(tmp_path: Path) -> Team:
    made = Team(tmp_path)
    made.run(made.one, "a", "b")
    made.run(made.two, "c")
    made.run(made.one, "d")
    return made


def names(log: Any, *kinds: str) -> list[tuple[str, int, str]]:
    return [(one.ledger, one.index, one.record.statement.subject_name) for one in log.records(kinds or None)]


EVERYTHING = [
    ("opsascode/one", 0, "a"), ("opsascode/one", 1, "b"), ("opsascode/two", 0, "c"), ("opsascode/one", 2, "d"),
]  # fmt: skip


def test_the_entries_of_every_machine_are_there_once_and_in_its_order(team: Team) -> None:
    look(team.logs["two"], team.board)
    for log in (team.logs["one"], team.logs["two"], team.again(team.two)):
        assert names(log, START) == names(log) == EVERYTHING
        assert names(log, "urn:opsascode:run-end:v1") == []
        assert [one.team_index for one in log.records()] == [1, 2, 4, 6]
    assert names(team_log(team.place / "newcomer", team.keys)) == []


def test_a_newcomer_reads_it_all_and_a_lost_copy_comes_back(team: Team) -> None:
    newcomer = team_log(team.place / "newcomer", team.keys)
    assert look(newcomer, team.board) == 0
    assert names(newcomer) == EVERYTHING
    for lost in ("fold.json", "nodes"):
        (team.place / "one" / "team" / lost).unlink()
        assert names(team.again(team.one)) == EVERYTHING
    for path in sorted((team.place / "one" / "team").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    log = team.again(team.one)
    assert look(log, team.board) == 0
    assert names(log) == EVERYTHING


def test_a_proof_from_the_team_log_is_for_anybody(team: Team) -> None:
    from opsascode.proof import verify_proof  # noqa: PLC0415 - only here

    log = team.logs["one"]
    index, checkpoint = verify_proof(log.entry(4), log.prove(4), team.public(), origin=TEAM)
    assert (index, checkpoint.size) == (4, 7)


def test_what_waits_for_a_checkpoint_is_not_given_out(team: Team) -> None:
    team.one.record("e")
    with team.one.open() as ledger:
        team.board.groups += hand_over(ledger, TEAM, 3, team.one.signer)
    newcomer = team_log(team.place / "newcomer", team.keys)
    assert look(newcomer, team.board) == 1
    assert names(newcomer) == EVERYTHING
    team.sync(team.two)
    look(newcomer, team.board)
    assert names(newcomer)[-1] == ("opsascode/one", 3, "e")


def test_an_approval_names_a_state_the_log_must_continue(team: Team) -> None:
    log = team.logs["one"]
    seen = open_checkpoint(log.checkpoint(), team.public(), origin=TEAM)
    team.run(team.one, "e")
    log.require_continues(seen)
    for bad, code in (
        (Checkpoint(origin=TEAM, size=seen.size, root=bytes(32)), "E_LEDGER_FORK"),
        (Checkpoint(origin=TEAM, size=99, root=seen.root), "E_LEDGER_TRUNCATED"),
        (Checkpoint(origin="opsascode/other", size=seen.size, root=seen.root), "E_ORIGIN"),
    ):
        with pytest.raises(LedgerError) as caught:
            log.require_continues(bad)
        assert caught.value.code == code  # type: ignore[attr-defined]  # a coded one


def test_what_a_witness_is_sent_leads_from_what_it_saw(team: Team) -> None:
    from opsascode.proof import Witness  # noqa: PLC0415 - only here
    from tests.proof.test_cosign import NOW, W1  # noqa: PLC0415 - only here

    witness, log = Witness(team.place / "witness", name="w", signer=W1), team.logs["one"]
    assert witness.add_checkpoint(read_request(log.request(0)), team.public(), NOW)
    team.run(team.one, "e")
    assert witness.add_checkpoint(read_request(log.request(7)), team.public(), NOW)


# What a hostile remote, or a hostile machine, may show. Each begins with the team above, which holds.


def forked(team: Team) -> Board:
    """A board on which the second group is another one, signed by the same keys."""
    other = Board()
    other.groups = team.board.groups[:1]
    machine = Machine(team.place / "elsewhere", "two")
    machine.signer = team.two.signer
    machine.record("x")
    log = team_log(team.place / "elsewhere", team.keys)
    fold = TeamFold(TEAM, team.keys)
    fold.take(other.groups[0])
    other.note = log.cover(fold, team.one.signer)
    bring(machine, log, other)
    return other


def shorter(team: Team) -> Board:
    made = team.board.copy()
    made.groups.pop()
    log, fold = team_log(team.place / "scratch", team.keys), TeamFold(TEAM, team.keys)
    for lines in made.groups:
        fold.take(lines)
    made.note = log.cover(fold, team.one.signer)
    return made


def without(team: Team, *, note: bool = True, entry: int | None = None, group: int | None = None) -> Board:
    made = team.board.copy()
    if not note:
        made.note, made.groups = None, []
    if group is not None:
        del made.groups[group]
    if entry is not None:
        made.groups[0] = tuple(line for at, line in enumerate(made.groups[0]) if at != entry)
    return made


def swapped(team: Team) -> Board:
    made = team.board.copy()
    head, one, two = made.groups[0]
    made.groups[0] = (head, two, one)
    return made


def signed_by_a_stranger(team: Team, groups: int) -> Board:
    made = team.board.copy()
    made.groups = made.groups[:groups]
    stranger = Machine(team.place, "stranger")
    log, fold = team_log(team.place / "scratch", team.keys), TeamFold(TEAM, team.keys)
    for lines in made.groups:
        fold.take(lines)
    made.note = log.cover(fold, stranger.signer)
    return made


SHOWN: dict[str, tuple[Callable[[Team], Board], str, str]] = {
    "39 the newest group and its checkpoint taken away": (shorter, "E_LEDGER_TRUNCATED", ""),
    "39 the whole log taken away": (lambda team: without(team, note=False), "E_LEDGER_TRUNCATED", ""),
    "45 another history signed by the team's own keys": (forked, "E_LEDGER_FORK", ""),
    "45 a checkpoint by a key without the role over less": (
        lambda team: signed_by_a_stranger(team, 2), "E_LEDGER_TRUNCATED", "",
    ),
    "38 an entry left out": (lambda team: without(team, entry=1), "", "E_HANDOVER"),
    "38 two entries swapped": (swapped, "", "E_HANDOVER"),
    "38 a machine's hand-over left out": (lambda team: without(team, group=0), "", "E_HANDOVER"),
    "38 another machine's hand-over left out": (lambda team: without(team, group=1), "", "E_ENTRY_CHANGED"),
}  # fmt: skip


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_hostile_remote_shows_is_refused(name: str, team: Team) -> None:
    """By a machine that saw the log (second word), and by one that never did (third); none: it holds for that one."""
    make, knows, new = SHOWN[name]
    board = make(team)
    for log, code in ((team.logs["one"], knows), (team_log(team.place / "newcomer", team.keys), new)):
        if not code:
            look(log, board)
            continue
        with pytest.raises(LedgerError) as caught:
            look(log, board)
        assert caught.value.code == code  # type: ignore[attr-defined]  # a coded one
        assert log.size == (7 if log is team.logs["one"] else 0)
    look(team.logs["one"], team.board)


def test_truncated_together_with_the_machine_s_own_copy(team: Team) -> None:
    for path in sorted((team.place / "one" / "team").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(LedgerError, match="were seen on this machine"):
        look(team.again(team.one), shorter(team))
    other = forked(team)
    longer = Machine(team.place / "elsewhere", "three")
    longer.signer = team.one.signer
    longer.record(*(f"more-{number}" for number in range(9)))
    bring(longer, team_log(team.place / "elsewhere", team.keys), other)
    with pytest.raises(LedgerError, match="not those seen on this machine"):
        look(team.again(team.one), other)
    assert look(team.again(team.one), team.board) == 0


@pytest.mark.parametrize("grown", [0, 1, 2])
@pytest.mark.parametrize("longer", ["ours", "theirs"])
def test_a_fork_is_proven_to_anybody(team: Team, grown: int, longer: str) -> None:
    other = forked(team)
    log = team_log(team.place / "elsewhere", team.keys)
    if longer == "ours":
        team.run(team.one, *(f"more-{number}" for number in range(grown * 3)))
    else:
        machine = Machine(team.place / "elsewhere", "three")
        machine.signer = team.one.signer
        for number in range(grown + 1):
            machine.record(f"theirs-{number}")
            bring(machine, log, other)
    with pytest.raises(LedgerForkError) as caught:
        look(team.logs["one"], other)
    proof = caught.value.proof
    assert is_fork(proof)
    found = verify_fork(proof, team.public())
    assert found.smaller.size <= found.larger.size
    assert team.one.signer.public_key.keyid in found.describe()
    with pytest.raises(ProofError):
        verify_fork(proof, (Machine(team.place, "stranger").signer.public_key,))


def bent(proof: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(proof), **changes}, separators=(",", ":"), ensure_ascii=False).encode()


def test_one_history_is_no_fork(team: Team) -> None:
    from opsascode.proof import write_fork  # noqa: PLC0415 - only here
    from opsascode.proof._merkle import consistency_proof  # noqa: PLC0415 - only here

    log = team.logs["one"]
    early, at = log.checkpoint(), log.size
    team.run(team.one, "e")
    late = log.checkpoint()
    root, hashes = log.prefix_root(at), consistency_proof(at, log.size, log._nodes.at)
    for wrong in (
        write_fork(early, late, root=root, proof=hashes),
        write_fork(late, early, root=root, proof=hashes),
        write_fork(early, early),
        write_fork(early, late, root=bytes(32), proof=hashes),
        write_fork(early, late),
        write_fork(early, late.replace(TEAM, "opsascode/team/other"), root=root, proof=hashes),
        bent(write_fork(early, early), format="opsascode-fork-proof/v2"),
        bent(write_fork(early, early), checkpoints=[early]),
        bent(write_fork(early, early), checkpoints=[early, None]),
        bent(write_fork(early, late), root=7),
        b"{}",
        b"nothing",
    ):
        with pytest.raises(ProofError):
            verify_fork(wrong, team.public())


# What a hostile machine may hand over.


def sealed(machine: Machine, handover: Handover, *lines: bytes) -> tuple[bytes, ...]:
    return (seal(handover.statement(), machine.signer), *lines)


def of(machine: Machine, **changes: Any) -> tuple[Handover, list[bytes]]:
    """The honest next hand-over of a machine, to be bent."""
    with machine.open() as ledger:
        entries = list(ledger.entries(3 if machine.name == "one" else 1))
        made = {"ledger": ledger.origin, "team": TEAM, "start": ledger.size - len(entries), "stop": ledger.size}
        return Handover(**{**made, "root": ledger.root, **changes}), entries


def flat(found: tuple[Handover, list[bytes]]) -> tuple[Any, ...]:
    return (found[0], *found[1])


def strangers(team: Team) -> tuple[bytes, ...]:
    machine = Machine(team.place, "stranger")
    machine.record("x")
    with machine.open() as ledger:
        return hand_over(ledger, TEAM, 0, machine.signer)[0]


def repeated(team: Team, *runs: str) -> tuple[bytes, ...]:
    machine = Machine(team.place, "third")
    machine.signer = team.one.signer
    machine.record(*runs)
    with machine.open() as ledger:
        return hand_over(ledger, TEAM, 0, machine.signer)[0]


def stolen(team: Team) -> tuple[bytes, ...]:
    from opsascode.proof._merkle import CompactRange, leaf_hash  # noqa: PLC0415 - only here

    line = team.board.groups[1][1]
    own = CompactRange()
    own.append(leaf_hash(line))
    handover = Handover(ledger="opsascode/new", team=TEAM, start=0, stop=1, root=own.root())
    return sealed(team.one, handover, line)


def nested(team: Team) -> tuple[bytes, ...]:
    machine = Machine(team.place, "nested")
    machine.signer = team.one.signer
    with machine.open() as ledger:
        inner = Handover(ledger=ledger.origin, team=TEAM, start=0, stop=1, root=bytes(32))
        ledger.append(seal(inner.statement(), machine.signer))
        return hand_over(ledger, TEAM, 0, machine.signer)[0]


HANDED: dict[str, tuple[str, Callable[[Team], tuple[bytes, ...]]]] = {
    "40 made for another log": ("E_ORIGIN", lambda t: sealed(t.one, *flat(of(t.one, team="opsascode/team/x")))),
    "40 a record of another machine's ledger": ("E_ORIGIN", stolen),
    "40 the ledger of another machine continued": ("E_HANDOVER", lambda t: sealed(t.two, *flat(of(t.one)))),
    "40 a run that was started before": ("E_DUP_RUN", lambda t: repeated(t, "c")),
    "40 a run started twice at once": ("E_DUP_RUN", lambda t: repeated(t, "f", "f")),
    "40 entries that are there already": ("E_HANDOVER", lambda t: t.board.groups[0]),
    "38 an entry skipped": ("E_HANDOVER", lambda t: sealed(t.one, *flat(of(t.one, start=4, stop=5)))),
    "38 another root": ("E_HANDOVER", lambda t: sealed(t.one, *flat(of(t.one, root=bytes(32))))),
    "38 fewer entries than it says": ("E_HANDOVER", lambda t: sealed(t.one, *flat(of(t.one)))[:-1]),
    "44 by a machine that is no runner": ("E_SIGNATURE", strangers),
    "44 a person's approval in the place of a hand-over": (
        "E_HANDOVER", lambda t: (seal(statement("policy-approval", "x"), t.one.signer),),
    ),
    "nothing": ("E_PARSE", lambda _: ()),
    "no envelope": ("E_PARSE", lambda _: (b"{}",)),
    "a checkpoint as an entry": (
        "E_PARSE", lambda t: (*sealed(t.one, *flat(of(t.one)))[:1], b'{"checkpoint":"x"}'),
    ),
    "a hand-over handed over": ("E_HANDOVER", nested),
}  # fmt: skip


@pytest.mark.parametrize("name", HANDED)
def test_what_a_hostile_machine_hands_over_is_refused_whole(name: str, team: Team) -> None:
    code, make = HANDED[name]
    team.one.record("e")
    fold = team.logs["one"].fold()
    before = fold.to_json()
    with pytest.raises(LedgerError) as caught:
        fold.take(make(team))
    assert caught.value.code == code  # type: ignore[attr-defined]  # a coded one
    assert fold.to_json() == before
    assert fold.take(sealed(team.one, *flat(of(team.one)))).records[0].statement.subject_name == "e"


def test_the_checkpoints_of_a_distrusted_machine_cover_nothing_from_there_on(team: Team) -> None:
    bad = team.one.signer.public_key.keyid
    distrust = keys(team.one, team.two, distrust={bad: 5})
    log = team.again(team.two, keys=distrust)
    team.run(team.one, "e")
    assert look(log, team.board) == 2, "what stands behind the last good checkpoint waits for another one"
    assert not log.vouched
    team.sync(team.two)
    look(log, team.board)
    assert [name for _, _, name in names(log)] == ["a", "b", "c"]


def test_what_it_said_before_counts_and_what_stands_behind_does_not(team: Team) -> None:
    bad = team.one.signer.public_key.keyid
    log = team.again(team.one, keys=keys(team.one, team.two, distrust={bad: 2}))
    assert names(log) == [EVERYTHING[0], EVERYTHING[2]]


def test_old_records_stay_true_when_a_machine_is_replaced(team: Team) -> None:
    after = TeamKeys(runners=team.keys.runners, ledgers=(team.two.signer.public_key,))
    log = team.again(team.one, keys=after)
    assert names(log) == EVERYTHING
    team.run(team.two, "e")
    look(log, team.board)
    assert names(log)[-1][2] == "e"


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=12), st.randoms(use_true_random=False))
def test_however_machines_take_turns_nothing_is_lost_or_there_twice(turns: list[tuple[int, int]], chance: Any) -> None:
    import tempfile  # noqa: PLC0415 - hypothesis and tmp_path do not go together
    from pathlib import Path  # noqa: PLC0415 - likewise

    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        machines = [Machine(place, name) for name in ("one", "two", "three")]
        known = keys(*machines)
        board, written = Board(), 0
        expected: dict[str, list[str]] = {machine.name: [] for machine in machines}
        for who, count in turns:
            machine = machines[who]
            fresh = [f"run-{written + number}" for number in range(count)]
            written += count
            machine.record(*fresh)
            expected[machine.name] += fresh
            if chance.random() < 0.7:
                bring(machine, team_log(place / machine.name, known), board)
        for machine in machines:
            bring(machine, team_log(place / machine.name, known), board)
        reader = team_log(place / "reader", known)
        look(reader, board)
        found = names(reader)
        assert sorted(found) == sorted(
            (f"opsascode/{name}", at, run) for name, runs in expected.items() for at, run in enumerate(runs)
        )
        assert [one.team_index for one in reader.records()] == sorted(one.team_index or 0 for one in reader.records())
