"""One life for every run: at most one good lease, epochs that only rise, and an end that stays.

The contract tests know the port `Dispatcher` only. Another implementation joins them as another parameter of `bench`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable  # noqa: TC003 - the dataclass below is made with its annotations
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from opsascode.run._life import (
    CancelRequest,
    Dispatcher,
    Holder,
    Lease,
    LifeState,
    Liveness,
    Submission,
    Taken,
    UnknownRunError,
    liveness,
)
from opsascode.run._life_file import on_this_machine_only
from opsascode.run._local import LocalDispatcher

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ABOUT = Submission(plan="sha256:0", runbook="restart", hosts=3, user="alice")
ENDS = [state for state in LifeState if state.is_over]
REAL_ENDS = [state for state in ENDS if state is not LifeState.VOID]


@dataclass
class Bench:
    """A dispatcher whose time and whose view of other processes the test sets."""

    make: Callable[[Bench], Dispatcher]
    time: float = 1000.0
    seen: dict[int, Liveness] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.dispatcher = self.make(self)

    def judge(self, holder: Holder) -> Liveness:
        return self.seen.get(holder.pid, Liveness.ALIVE)

    def leased(self, run: str = "r1", number: int = 1) -> Lease:
        self.dispatcher.submit(run, ABOUT, NOW)
        lease = self.dispatcher.claim(run, holder(number), NOW)
        assert isinstance(lease, Lease)
        return lease

    def state(self, run: str = "r1") -> LifeState:
        life = self.dispatcher.subscribe(run)
        assert life
        return life.state


def local(place: Path) -> Callable[[Bench], Dispatcher]:
    return lambda bench: LocalDispatcher(place / "life.sqlite", clock=lambda: bench.time, judge=bench.judge)


@pytest.fixture(params=[local], ids=["local"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(request.param(tmp_path))


def holder(number: int, **other: Any) -> Holder:
    """A process that is not there, of this boot."""
    return replace(Holder.of_this_process(), pid=10_000_000 + number, started=number, **other)


# The contract.


def test_a_run_is_submitted_claimed_and_finished(bench: Bench) -> None:
    assert bench.dispatcher.subscribe("r1") is None
    life = bench.dispatcher.submit("r1", ABOUT, NOW)
    assert (life.state, life.epoch, life.about, life.submitted) == (LifeState.QUEUED, 0, ABOUT, NOW)
    lease = bench.leased()
    life = bench.dispatcher.subscribe("r1")
    assert life
    assert (life.state, life.epoch, life.holder) == (LifeState.RUNNING, 1, lease.holder)
    renewal = bench.dispatcher.renew(lease, NOW)
    assert (renewal.lost, renewal.cancel) == (False, None)
    assert bench.dispatcher.finish(lease, LifeState.SUCCEEDED, NOW)
    assert bench.state() is LifeState.SUCCEEDED


def test_submitting_again_changes_nothing(bench: Bench) -> None:
    lease = bench.leased()
    life = bench.dispatcher.submit("r1", replace(ABOUT, hosts=9), NOW)
    assert (life.state, life.about.hosts, life.epoch) == (LifeState.RUNNING, 3, 1)
    assert not bench.dispatcher.renew(lease, NOW).lost


def test_what_was_never_submitted_cannot_be_claimed_or_canceled(bench: Bench) -> None:
    with pytest.raises(UnknownRunError, match="no run r1"):
        bench.dispatcher.claim("r1", holder(1), NOW)
    with pytest.raises(UnknownRunError):
        bench.dispatcher.cancel("r1", "bob", undo=True, now=NOW)


def test_a_living_holder_is_never_replaced_however_late_it_is(bench: Bench) -> None:
    lease = bench.leased()
    bench.time += 1_000_000
    taken = bench.dispatcher.claim("r1", holder(2), NOW)
    assert isinstance(taken, Taken)
    assert f"process {lease.holder.pid}" in taken.describe()
    assert bench.dispatcher.abandoned(NOW) == ()
    assert not bench.dispatcher.renew(lease, NOW).lost


def test_a_dead_holder_is_replaced_at_once_and_what_it_still_writes_is_refused(bench: Bench) -> None:
    old = bench.leased()
    bench.seen[old.holder.pid] = Liveness.DEAD
    assert [life.run for life in bench.dispatcher.abandoned(NOW)] == ["r1"]
    new = bench.dispatcher.claim("r1", holder(2), NOW)
    assert isinstance(new, Lease)
    assert new.epoch == old.epoch + 1
    assert bench.dispatcher.renew(old, NOW).lost
    assert not bench.dispatcher.suspend(old, NOW)
    assert not bench.dispatcher.finish(old, LifeState.SUCCEEDED, NOW)
    assert bench.state() is LifeState.RUNNING
    assert bench.dispatcher.finish(new, LifeState.INDETERMINATE, NOW)
    assert bench.state() is LifeState.INDETERMINATE


def test_a_holder_nobody_can_see_is_replaced_after_its_lease_and_not_before(bench: Bench) -> None:
    old = bench.leased()
    bench.seen[old.holder.pid] = Liveness.UNKNOWN
    bench.time += 9.9
    assert bench.dispatcher.abandoned(NOW) == ()
    assert isinstance(bench.dispatcher.claim("r1", holder(2), NOW), Taken)
    assert not bench.dispatcher.renew(old, NOW).lost
    bench.time += 9.9
    assert isinstance(bench.dispatcher.claim("r1", holder(2), NOW), Taken)
    bench.time += 0.2
    assert [life.run for life in bench.dispatcher.abandoned(NOW)] == ["r1"]
    assert isinstance(bench.dispatcher.claim("r1", holder(2), NOW), Lease)
    assert bench.dispatcher.renew(old, NOW).lost


def test_a_holder_of_another_machine_is_watched_by_our_own_clock(bench: Bench) -> None:
    bench.dispatcher.submit("r1", ABOUT, NOW)
    old = bench.dispatcher.claim("r1", holder(1, boot="elsewhere"), NOW)
    assert isinstance(old, Lease)
    bench.seen[old.holder.pid] = Liveness.UNKNOWN
    bench.time += 1000  # what its lease says means nothing here: we have not seen it yet
    assert bench.dispatcher.abandoned(NOW) == ()
    bench.time += 5
    assert not bench.dispatcher.renew(old, NOW).lost
    bench.time += 6  # it has renewed since we looked
    assert bench.dispatcher.abandoned(NOW) == ()
    bench.time += 10
    assert [life.run for life in bench.dispatcher.abandoned(NOW)] == ["r1"]
    assert isinstance(bench.dispatcher.claim("r1", holder(2), NOW), Lease)
    assert bench.dispatcher.renew(old, NOW).lost


def test_a_run_that_was_submitted_and_not_claimed_is_abandoned_with_its_submitter(bench: Bench) -> None:
    bench.dispatcher.submit("r1", ABOUT, NOW)
    assert bench.dispatcher.abandoned(NOW) == ()
    bench.seen[os.getpid()] = Liveness.DEAD
    assert [life.run for life in bench.dispatcher.abandoned(NOW)] == ["r1"]


def test_a_run_that_waits_belongs_to_nobody_and_can_be_taken_up_by_anybody(bench: Bench) -> None:
    first = bench.leased()
    assert bench.dispatcher.suspend(first, NOW)
    life = bench.dispatcher.subscribe("r1")
    assert life
    assert (life.state, life.holder) == (LifeState.WAITING, None)
    bench.seen[first.holder.pid] = Liveness.DEAD
    assert bench.dispatcher.abandoned(NOW) == ()
    assert bench.dispatcher.renew(first, NOW).lost
    assert not bench.dispatcher.finish(first, LifeState.FAILED, NOW)
    second = bench.dispatcher.claim("r1", holder(2), NOW)
    assert isinstance(second, Lease)
    assert second.epoch == 2


@pytest.mark.parametrize("state", REAL_ENDS)
def test_what_is_finished_stays_finished(bench: Bench, state: LifeState) -> None:
    lease = bench.leased()
    assert bench.dispatcher.finish(lease, state, NOW)
    assert not bench.dispatcher.finish(lease, LifeState.SUCCEEDED, NOW)
    assert not bench.dispatcher.suspend(lease, NOW)
    assert bench.dispatcher.renew(lease, NOW).lost
    taken = bench.dispatcher.claim("r1", holder(2), NOW)
    assert isinstance(taken, Taken)
    assert state.value in taken.describe()
    assert bench.dispatcher.cancel("r1", "bob", undo=True, now=NOW).cancel is None
    assert bench.state() is state


def test_of_what_nothing_was_ever_run_the_records_can_still_be_closed(bench: Bench) -> None:
    assert bench.dispatcher.finish(bench.leased(), LifeState.VOID, NOW)
    bench.seen[holder(1).pid] = Liveness.DEAD
    assert bench.dispatcher.abandoned(NOW) == ()
    assert isinstance(bench.dispatcher.claim("r1", holder(2), NOW), Lease)


@pytest.mark.parametrize("state", [state for state in LifeState if not state.is_over])
def test_a_run_does_not_end_under_way(bench: Bench, state: LifeState) -> None:
    lease = bench.leased()
    with pytest.raises(ValueError, match="does not end"):
        bench.dispatcher.finish(lease, state, NOW)
    assert bench.state() is LifeState.RUNNING


def test_the_holder_hears_of_a_request_to_cancel_and_a_later_one_never_asks_for_less(bench: Bench) -> None:
    lease = bench.leased()
    asked = CancelRequest(by="bob", undo=True, asked=NOW)
    assert bench.dispatcher.cancel("r1", "bob", undo=True, now=NOW).cancel == asked
    assert bench.dispatcher.renew(lease, NOW).cancel == asked
    bench.dispatcher.cancel("r1", "carol", undo=False, now=NOW)
    assert bench.dispatcher.renew(lease, NOW).cancel == CancelRequest(by="carol", undo=False, asked=NOW)
    bench.dispatcher.cancel("r1", "dave", undo=True, now=NOW)
    assert bench.dispatcher.renew(lease, NOW).cancel == CancelRequest(by="carol", undo=False, asked=NOW)


def test_a_request_to_cancel_is_heard_by_whoever_takes_the_run_up_later(bench: Bench) -> None:
    bench.dispatcher.suspend(bench.leased(), NOW)
    bench.dispatcher.cancel("r1", "bob", undo=True, now=NOW)
    lease = bench.dispatcher.claim("r1", holder(2), NOW)
    assert isinstance(lease, Lease)
    renewal = bench.dispatcher.renew(lease, NOW)
    assert renewal.cancel
    assert renewal.cancel.by == "bob"


class Lives(RuleBasedStateMachine):
    """Any moves of several holders on several runs, beside a model of what must come of them."""

    leases = Bundle("leases")
    runs = st.sampled_from(["r1", "r2"])

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.bench = Bench(local(Path(self.directory.name)))
        self.epoch: dict[str, int] = {}
        self.state: dict[str, LifeState] = {}
        self.good: dict[str, Lease | None] = {}
        self.renewed: dict[str, float] = {}

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.directory.cleanup()

    @rule(run=runs)
    def submit(self, run: str) -> None:
        self.bench.dispatcher.submit(run, ABOUT, NOW)
        self.epoch.setdefault(run, 0)
        self.state.setdefault(run, LifeState.QUEUED)
        self.good.setdefault(run, None)

    @rule(target=leases, run=runs, number=st.integers(1, 4))
    def claim(self, run: str, number: int) -> Lease | None:
        if run not in self.state:
            with pytest.raises(UnknownRunError):
                self.bench.dispatcher.claim(run, holder(number), NOW)
            return None
        found = self.bench.dispatcher.claim(run, holder(number), NOW)
        good = self.good[run]
        free = self.state[run] in {LifeState.QUEUED, LifeState.WAITING, LifeState.VOID}
        if good is not None:
            seen = self.bench.seen.get(good.holder.pid, Liveness.ALIVE)
            free = seen is Liveness.DEAD or (seen is Liveness.UNKNOWN and self.bench.time >= self.renewed[run] + 10)
        assert isinstance(found, Lease) == free
        if not isinstance(found, Lease):
            return None
        assert found.epoch == self.epoch[run] + 1
        self.epoch[run], self.state[run], self.good[run] = found.epoch, LifeState.RUNNING, found
        self.renewed[run] = self.bench.time
        return found

    @rule(lease=leases)
    def renew(self, lease: Lease | None) -> None:
        if lease is None:
            return
        lost = self.bench.dispatcher.renew(lease, NOW).lost
        assert lost == (self.good[lease.run] != lease)
        if not lost and self.bench.time - self.renewed[lease.run] >= 2:
            self.renewed[lease.run] = self.bench.time

    @rule(lease=leases)
    def suspend(self, lease: Lease | None) -> None:
        if lease is not None:
            self.leave(lease, LifeState.WAITING, self.bench.dispatcher.suspend(lease, NOW))

    @rule(lease=leases, state=st.sampled_from(ENDS))
    def finish(self, lease: Lease | None, state: LifeState) -> None:
        if lease is not None:
            self.leave(lease, state, self.bench.dispatcher.finish(lease, state, NOW))

    def leave(self, lease: Lease, state: LifeState, done: bool) -> None:
        assert done == (self.good[lease.run] == lease)
        if done:
            self.state[lease.run], self.good[lease.run] = state, None

    @rule(run=runs, undo=st.booleans())
    def cancel(self, run: str, undo: bool) -> None:
        with suppress(UnknownRunError):
            self.bench.dispatcher.cancel(run, "bob", undo=undo, now=NOW)

    @rule(number=st.integers(1, 4), seen=st.sampled_from(Liveness))
    def look(self, number: int, seen: Liveness) -> None:
        self.bench.seen[holder(number).pid] = seen

    @rule(seconds=st.sampled_from([0.5, 3.0, 9.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.bench.time += seconds

    @rule()
    def start_anew(self) -> None:
        self.bench.dispatcher = self.bench.make(self.bench)

    @invariant()
    def is_as_it_must_be(self) -> None:
        for run, state in getattr(self, "state", {}).items():
            life = self.bench.dispatcher.subscribe(run)
            assert life
            assert (life.state, life.epoch) == (state, self.epoch[run])
            assert (life.holder is not None) == (state in {LifeState.QUEUED, LifeState.RUNNING})


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=40, stateful_step_count=25)


# Who is alive.


def test_this_process_is_alive_and_one_with_its_number_and_another_start_is_not() -> None:
    me = Holder.of_this_process()
    assert liveness(me, one_machine=lambda: True) is Liveness.ALIVE
    assert liveness(replace(me, started=me.started + 1), one_machine=lambda: True) is Liveness.DEAD
    assert liveness(replace(me, pid=4_194_305), one_machine=lambda: True) is Liveness.DEAD


def test_a_process_that_has_ended_is_dead_also_before_its_parent_looks() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    fields = Path(f"/proc/{child.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    found = replace(Holder.of_this_process(), pid=child.pid, started=int(fields[19]))
    assert liveness(found, one_machine=lambda: True) is Liveness.ALIVE
    child.send_signal(signal.SIGSTOP)
    assert liveness(found, one_machine=lambda: True) is Liveness.ALIVE
    child.kill()
    wait_until(lambda: liveness(found, one_machine=lambda: True) is Liveness.DEAD)
    child.wait()
    assert liveness(found, one_machine=lambda: True) is Liveness.DEAD


@pytest.mark.parametrize("other", [{"namespace": "1"}, {"clock": "1"}, {"boot": ""}, {"started": 0}], ids=str)
def test_what_cannot_be_seen_from_here_is_unknown(other: dict[str, Any]) -> None:
    me = replace(Holder.of_this_process(), **other)
    assert liveness(me, one_machine=lambda: True) is Liveness.UNKNOWN


def test_a_holder_from_before_this_machine_was_started_is_dead_where_no_other_machine_can_write() -> None:
    before = replace(Holder.of_this_process(), boot="another")
    assert liveness(before, one_machine=lambda: True) is Liveness.DEAD
    assert liveness(before, one_machine=lambda: False) is Liveness.UNKNOWN
    assert "another machine" in before.describe()
    assert "another container" in replace(Holder.of_this_process(), namespace="1").describe()


def test_the_kind_of_file_system_says_who_can_reach_it() -> None:
    assert on_this_machine_only(Path("/dev/shm"))  # noqa: S108 - nothing is written
    assert not on_this_machine_only(Path("/proc"))


def wait_until(condition: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
