"""The team's ledger through real Git: races, kills, hostile remotes, machines without a say."""

from __future__ import annotations

import getpass
import itertools
import signal
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import OpsError, ResolveError
from opsascode.proof import TeamKeys, hand_over, verify_fork
from opsascode.repo import LEDGER_REF, LedgerRef, _append_ref, group_files
from opsascode.run import ledger_records
from tests.proof.team import TEAM
from tests.proof.test_cosign import NOW, W1, W2
from tests.run.team import Home, git
from tests.sshd import ssh_hosts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START = "urn:opsascode:run-start:v1"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home.new(tmp_path, "one", "two")
    made.run("one", "a", "b")
    made.run("two", "c")
    return made


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(OpsError) as caught:
        act()
    return str(caught.value.code)  # type: ignore[attr-defined]  # a coded one


def test_a_sync_says_what_went_which_way(home: Home) -> None:
    home.machine("one").record("d")
    synced = home.sync("one")
    assert (synced.received, synced.sent, synced.size, synced.waiting, synced.left_out) == (1, 1, 7, 0, ())
    again = home.sync("one")
    assert (again.received, again.sent, again.size) == (0, 0, 7)
    assert home.sync("two").received == 1
    assert home.names("one") == home.names("two") == [
        ("opsascode/one", 0, "a"), ("opsascode/one", 1, "b"), ("opsascode/two", 0, "c"), ("opsascode/one", 2, "d"),
    ]  # fmt: skip


def test_a_sync_with_nothing_new_pushes_nothing(home: Home) -> None:
    before = home.tip
    home.sync("one")
    home.sync("two")
    assert home.tip == before


def test_the_ref_only_grows_and_no_other_ref_is_touched(home: Home) -> None:
    tips = [home.tip]
    for number in range(3):
        home.run("two", f"more-{number}")
        tips.append(home.tip)
    for old, new in itertools.pairwise(tips):
        git(home.remote, "merge-base", "--is-ancestor", old, new)
    assert git(home.remote, "for-each-ref", "--format=%(refname)").split() == [LEDGER_REF]
    assert git(home.place / "clones" / "two", "for-each-ref", "--format=%(refname)").split() == [
        "refs/opsascode/remotes/origin/ledger"
    ]


def test_a_long_ledger_is_handed_over_in_groups(tmp_path: Path) -> None:
    home = Home.new(tmp_path, "one", "two")
    machine = home.machine("one")
    with machine.open() as ledger:
        ledger.append_many([machine.seal("note", f"n-{number}", ledger=ledger.origin) for number in range(600)])
    assert home.sync("one").sent == 600
    assert home.sync("two").received == 600
    assert home.log("two").size == 603


def test_four_machines_at_once_lose_nothing(tmp_path: Path) -> None:
    names = ("one", "two", "three", "four")
    home = Home.new(tmp_path, *names)
    processes = {name: home.start(name, 4) for name in names}
    for name, process in processes.items():
        said, wrong = process.communicate(timeout=120)
        assert process.returncode == 0, wrong.decode()
        assert said.split() == [b"0", b"1", b"2", b"3"], name
    home.add("reader")
    home.sync("reader", home.keys(names))
    assert sorted(home.names("reader")) == sorted(
        (f"opsascode/{name}", at, f"{name}-{at}") for name in names for at in range(4)
    )


def test_two_processes_of_one_machine_take_turns(tmp_path: Path) -> None:
    home = Home.new(tmp_path, "one")
    machine = home.machine("one")
    machine.record(*(f"r-{number}" for number in range(3)))
    processes = [home.start("one", 0), home.start("one", 0)]
    syncing = [home.sync("one") for _ in range(2)]
    for process in processes:
        process.communicate(timeout=60)
    assert [one.sent for one in syncing] == [3, 0]


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3])
def test_killed_at_any_moment_the_next_sync_makes_it_whole(tmp_path: Path, delay: float) -> None:
    home = Home.new(tmp_path, "one", "two")
    process = home.start("one", 50)
    while not (home.place / "machines" / "one" / "ledger" / "segments").exists() and process.poll() is None:
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    for lock in (home.place / "clones" / "one").rglob("*.lock"):
        lock.unlink()
    with home.machine("one").open() as ledger:
        written = ledger.size
    home.sync("one")
    home.sync("two")
    found = home.names("two")
    assert [index for _, index, _ in found] == list(range(written))
    assert found == home.names("one")


def test_a_machine_without_the_ledger_role_hands_over_and_another_signs(home: Home) -> None:
    only_two = home.keys(ledgers=("two",))
    home.sync("two", only_two)
    home.machine("one").record("d", "e")
    synced = home.sync("one", only_two)
    assert (synced.sent, synced.waiting, synced.size) == (2, 3, 5)
    assert home.sync("one", only_two).sent == 0, "what waits there is not handed over twice"
    home.run("one", "f", keys=only_two)
    assert home.sync("two", only_two).received == 3
    assert home.sync("one", only_two).size == 10
    assert [name for _, _, name in home.names("one")] == ["a", "b", "c", "d", "e", "f"]


def test_a_machine_the_team_does_not_know_is_told(home: Home) -> None:
    known = home.keys()
    home.add("stranger")
    home.machine("stranger").record("x")
    assert code_of(lambda: home.sync("stranger", known)) == "E_KEY"
    assert home.team("stranger", known).sync(None).size == 5, "it may look"


def push_by_hand(home: Home, files: dict[str, bytes]) -> None:
    """What anybody with push rights and no key can do."""
    ref = LedgerRef.of(home.place / "clones" / "two", "origin")
    _, why = ref.push(ref.fetch(), files)
    assert why == ""


def test_what_waits_and_does_not_hold_is_left_out_and_said(home: Home) -> None:
    """ATTACKS 44: anybody may push bytes behind the checkpoint; only a runner's count, and nobody is held up."""
    known = home.keys()
    home.add("stranger")
    stranger = home.machine("stranger")
    stranger.record("x")
    with stranger.open() as ledger:
        push_by_hand(home, group_files(5, [*hand_over(ledger, TEAM, 0, stranger.signer), (b"rubbish",)]))
    looked = home.sync("one", known)
    assert (looked.size, len(looked.left_out)) == (5, 2)
    assert "E_SIGNATURE" in looked.left_out[0]
    home.machine("one").record("d")
    assert home.sync("one", known).left_out != ()
    after = home.sync("two", known)
    assert (after.size, after.left_out) == (7, ())
    assert home.names("two")[-1] == ("opsascode/one", 2, "d")


def test_a_run_id_another_machine_used_is_left_out(home: Home) -> None:
    """ATTACKS 40."""
    home.machine("two").record("a")
    assert code_of(lambda: home.sync("two")) == "E_DUP_RUN"
    home.run("one", "d")
    assert "d" in [name for _, _, name in home.names("one")]


def take_back(home: Home, commit: str) -> None:
    git(home.remote, "update-ref", LEDGER_REF, commit)


def test_a_remote_that_takes_entries_back_is_refused(home: Home) -> None:
    """ATTACKS 39, together with its checkpoint."""
    before = home.tip
    home.run("one", "d")
    after = home.tip
    take_back(home, before)
    assert code_of(lambda: home.sync("one")) == "E_LEDGER_TRUNCATED"
    home.machine("one").record("e")
    assert code_of(lambda: home.sync("one")) == "E_LEDGER_TRUNCATED"
    assert home.sync("two").size == 5, "who never saw them cannot know"
    take_back(home, after)
    assert home.sync("one").sent == 1


def test_a_remote_without_the_ref_is_refused_by_who_saw_it(home: Home) -> None:
    git(home.remote, "update-ref", "-d", LEDGER_REF)
    assert code_of(lambda: home.sync("one")) == "E_LEDGER_TRUNCATED"


def test_two_histories_leave_a_proof_for_anybody(home: Home) -> None:
    """ATTACKS 45: the ref goes back, and the team's own keys sign another history on top."""
    before = home.tip
    home.run("one", "d")
    take_back(home, before)
    home.run("two", "e", "f")
    assert code_of(lambda: home.sync("one")) == "E_LEDGER_FORK"
    (path,) = (home.place / "machines" / "one" / "forks").glob("*.fork.json")
    found = verify_fork(path.read_bytes(), home.keys().ledgers)
    assert {keyid for keyids in found.signers for keyid in keyids} == {
        home.machine(name).signer.public_key.keyid for name in ("one", "two")
    }
    assert code_of(lambda: home.sync("one")) == "E_LEDGER_FORK"
    assert len(list(path.parent.iterdir())) == 1


def test_a_group_changed_by_hand_is_refused(home: Home) -> None:
    ref = LedgerRef.of(home.place / "clones" / "two", "origin")
    first = ref.read(ref.fetch(), 0)[0]
    push_by_hand(home, group_files(0, [(first[0], first[2], first[1])]))
    home.add("reader")
    known = home.keys(ledgers=("one", "two"))
    assert code_of(lambda: home.team("reader", known).sync(None)) == "E_HANDOVER"
    assert home.sync("one").size == 5, "who has it does not need it again"


def test_a_file_at_a_place_of_its_own_is_passed_over(home: Home) -> None:
    push_by_hand(home, {**group_files(1, [(b"rubbish",)]), **group_files(700, [(b"rubbish",)])})
    home.add("reader")
    assert home.team("reader", home.keys(ledgers=("one", "two"))).sync(None).size == 5
    home.run("one", "d")
    assert home.sync("two").size == 7


def test_this_machine_s_own_ledger_taken_back_is_seen(home: Home) -> None:
    machine = home.machine("two")
    (segment,) = (machine.ledger_directory / "segments").iterdir()
    saved = segment.read_bytes()
    home.run("two", "d")
    segment.write_bytes(saved)
    machine.high_water.unlink()
    assert code_of(lambda: home.sync("two")) == "E_LEDGER_FORK"


def test_a_mark_that_was_begun_and_never_written_is_made_again(home: Home) -> None:
    home.run("one", "d")
    size = home.sync("one").size
    mark = home.place / "machines" / "one" / "team-high-water"
    mark.write_bytes(b"")
    assert home.sync("one").size == size
    home.run("one", "e")
    assert home.sync("one").size > size
    assert mark.stat().st_size == 512


def test_a_replaced_ledger_begins_a_new_chain(home: Home) -> None:
    """A CI job's ledger lives as long as the job; the next one is another ledger of the same key."""
    home.add("job")
    home.machine("job").signer = home.machine("one").signer
    machine = home.machine("job")
    machine.record("j")
    assert home.sync("job").sent == 1


def test_witnesses_cosign_what_everybody_can_check(home: Home) -> None:
    from opsascode.proof import Witness, read_request, require_quorum  # noqa: PLC0415 - only here

    witnesses = (W1.public_key, W2.public_key)
    team = home.team("one", witnesses=witnesses)
    team.sync(None)
    lines = ""
    for name, key in (("w1", W1), ("w2", W2)):
        witness = Witness(home.place / name, name=name, signer=key)
        lines += witness.add_checkpoint(read_request(team.log.request(0)), team.log.team.ledgers, NOW)
    team = home.team("one", witnesses=witnesses)
    first, second = lines.splitlines(keepends=True)
    assert len(team.cosign(first)) == 1
    assert len(home.team("two", witnesses=witnesses).cosign(second)) == 2
    for quorum, oldest, code in (
        (2, None, ""),
        (3, None, "E_WITNESS"),
        (2, NOW, ""),
        (2, NOW + timedelta(1), "E_LEDGER_STALE"),
    ):
        looked = home.team("two", witnesses=witnesses)
        looked.quorum = quorum
        if not code:
            assert looked.witnessed(oldest=oldest) == looked.cosigned()
        else:
            assert code_of(lambda seen=looked, since=oldest: seen.witnessed(oldest=since)) == code  # type: ignore[misc]  # bound here
    note = home.team("two", witnesses=witnesses).cosigned()
    assert note is not None
    assert len(require_quorum(note, witnesses, 2)) == 2
    home.run("two", "d")
    assert home.team("one", witnesses=witnesses).cosigned() == note, "it still stands, and the log continues it"


def test_records_of_a_kind_are_given_once_wherever_they_are(home: Home) -> None:
    home.machine("one").record("d")
    home.sync("two")
    state, keys = home.state("one"), (home.machine("one").signer.public_key,)
    for _ in range(2):
        found = list(ledger_records(state, {START}, keys=keys, team=home.log("one")))
        assert [(one.ledger, one.index, one.team_index) for one in found] == [
            ("opsascode/one", 0, 1), ("opsascode/one", 1, 2), ("opsascode/one", 2, None),
        ]  # fmt: skip
    home.sync("one")
    found = list(ledger_records(state, {START}, keys=keys, team=home.log("one")))
    assert [(one.ledger, one.index, one.team_index) for one in found] == [
        ("opsascode/one", 0, 1), ("opsascode/one", 1, 2), ("opsascode/two", 0, 4), ("opsascode/one", 2, 6),
    ]  # fmt: skip
    alone = list(ledger_records(state, {START}, keys=keys))
    assert [one.index for one in alone] == [0, 1, 2]
    (state.directory / "kinds.json").write_text("{}")
    assert list(ledger_records(state, {START}, keys=keys)) == alone
    assert list(ledger_records(state, {"urn:opsascode:run-end:v1"}, keys=keys)) == []


def test_a_remote_out_of_reach_loses_nothing(home: Home) -> None:
    home.remote.rename(home.place / "away.git")
    home.machine("one").record("d")
    with pytest.raises(ResolveError, match="cannot be read"):
        home.sync("one")
    (home.place / "away.git").rename(home.remote)
    assert home.sync("one").sent == 1


def test_without_git_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResolveError, match="no Git repository"):
        LedgerRef.of(tmp_path, "origin")


def test_a_machine_distrusted_later_is_not_counted(home: Home) -> None:
    bad = home.machine("two").signer.public_key.keyid
    after = TeamKeys(runners=home.keys().runners, ledgers=home.keys(ledgers=("one",)).ledgers, distrust={bad: 3})
    home.run("two", "lie")
    home.add("three")
    looked = home.team("three", after).sync(None)
    assert (looked.size, "E_SIGNATURE" in looked.left_out[0]) == (0, True), "its checkpoint covers nothing any more"
    synced = home.sync("one", after)
    assert home.team("three", after).sync(None).size == synced.size == 7, "one signed what holds again"
    for name in ("one", "three"):
        found = [one.record.statement.subject_name for one in home.log(name, after).records({START})]
        assert found == ["a", "b"]
    assert code_of(lambda: home.run("two", "more", keys=after)) == "E_DISTRUSTED"


@pytest.mark.ssh
def test_over_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way is real; only where the key and the known hosts lie is the test's."""
    with ssh_hosts(tmp_path / "sshd", "forge") as hosts:
        way = f"ssh -oBatchMode=yes -i {hosts.key} {hosts.arguments()}"
        monkeypatch.setitem(_append_ref._WAY, "GIT_SSH_COMMAND", way)
        url = f"ssh://{getpass.getuser()}@127.0.0.1:{hosts.ports['forge']}{tmp_path}/remote.git"
        home = Home.new(tmp_path, "one", "two", url=url)
        assert home.run("one", "a").sent == 1
        assert home.run("two", "b").received == 1
        home.sync("one")
        assert home.names("one") == home.names("two") == [("opsascode/one", 0, "a"), ("opsascode/two", 0, "b")]
    with pytest.raises(ResolveError, match="cannot be read"):
        home.run("one", "c")
