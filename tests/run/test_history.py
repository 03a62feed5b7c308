"""The table of past runs, its figures, and retention: real ledgers, real signatures, real files."""

from __future__ import annotations

import sqlite3
import stat
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from opsascode.errors import LedgerError, UsageError
from opsascode.proof import verify_ledger
from opsascode.run import Actor, Query, figures, percentile, prunable, prune, spoken
from tests.run.histories import BEGIN, Machine, Told

if TYPE_CHECKING:
    from pathlib import Path

    from opsascode.run import History

DAY = timedelta(days=1)
ALEX = Actor(user="alex", machine="control")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "state")


def names(history: History, **asked: object) -> list[str]:
    return [each.run for each in history.list(Query(**asked))]  # type: ignore[arg-type]  # what a query has is tried


# The table


def test_runs_are_listed_the_newest_first_with_what_their_records_say(machine: Machine) -> None:
    machine.record(
        Told(run="run-one", seconds=1.5),
        Told(run="run-two", outcome="failed", hosts={"web1": "failed", "web2": "ok"}),
        Told(run="run-three", outcome=None, continues="run-two"),
    )
    three, two, one = machine.history().list(Query())
    assert (one.run, one.outcome, one.seconds, one.hosts, one.user) == ("run-one", "succeeded", 1.5, 1, "alex")
    assert (two.outcome, two.hosts, two.start_index, two.end_index) == ("failed", 2, 2, 3)
    assert (three.outcome, three.ended, three.continues) == ("unfinished", None, "run-two")


def test_the_table_and_the_whole_ledger_say_the_same(machine: Machine) -> None:
    machine.record(*(Told(run=f"run-{n}", mode="check" if n % 3 == 0 else "run") for n in range(9)))
    machine.history().list(Query())
    machine.record(Told(run="run-later", outcome=None))
    assert machine.history().list(Query()) == machine.history(indexed=False).list(Query())
    assert machine.history().runs() == machine.history(indexed=False).runs()


def test_only_new_entries_are_read_again(machine: Machine) -> None:
    machine.record(Told(run="run-one"), Told(run="run-two"))
    assert names(machine.history()) == ["run-two", "run-one"]
    changed = machine.segment.read_bytes().replace(b'{"payload":"e', b'{"payload":"f', 1)
    machine.segment.write_bytes(changed)
    assert names(machine.history()) == ["run-two", "run-one"], "what was read before is not read again"
    with pytest.raises(LedgerError):
        machine.history().find("run-one")
    with pytest.raises(LedgerError):
        machine.history(indexed=False).list(Query())


def test_a_new_entry_that_was_changed_is_refused(machine: Machine) -> None:
    machine.record(Told(run="run-one"))
    machine.history().list(Query())
    before = machine.segment.stat().st_size
    machine.record(Told(run="run-two"))
    data = machine.segment.read_bytes()
    machine.segment.write_bytes(data[:before] + data[before:].replace(b'{"payload":"e', b'{"payload":"f', 1))
    with pytest.raises(LedgerError):
        machine.history().list(Query())


@pytest.mark.parametrize("damage", ["gone", "empty", "garbage", "other version", "other ledger", "too long"])
def test_a_table_that_does_not_fit_is_made_again(machine: Machine, tmp_path: Path, damage: str) -> None:
    machine.record(Told(run="run-one"), Told(run="run-two"))
    machine.history().list(Query())
    if damage == "gone":
        machine.table.unlink()
    elif damage == "other ledger":
        other = Machine(tmp_path / "other")
        other.record(Told(run="run-x"), Told(run="run-y"))
        other.history().list(Query())
        machine.table.write_bytes(other.table.read_bytes())
    elif damage in {"empty", "garbage"}:
        machine.table.write_bytes(b"" if damage == "empty" else b"SQLite format 3\0" + b"x" * 5000)
    else:
        _change(machine.table, "PRAGMA user_version = 99" if damage == "other version" else "UPDATE bookmark SET size = 77")  # fmt: skip
    assert names(machine.history()) == ["run-two", "run-one"]
    assert names(machine.history()) == ["run-two", "run-one"]


def _change(table: Path, statement: str) -> None:
    database = sqlite3.connect(table)
    database.execute(statement)
    database.commit()
    database.close()


@pytest.mark.parametrize(
    "lie", ["UPDATE bookmark SET place = 3", "UPDATE bookmark SET peaks = x'00'", "UPDATE bookmark SET size = 1"]
)
def test_a_bookmark_that_lies_is_found_out_when_the_ledger_grows(machine: Machine, lie: str) -> None:
    machine.record(Told(run="run-one"), Told(run="run-two"))
    machine.history().list(Query())
    _change(machine.table, lie)
    machine.record(Told(run="run-three"))
    assert names(machine.history()) == ["run-three", "run-two", "run-one"]


def test_an_older_ledger_with_another_end_is_not_believed_by_the_table(machine: Machine) -> None:
    machine.record(Told(run="run-one"))
    before = machine.segment.read_bytes()
    machine.record(Told(run="run-two"))
    machine.history().list(Query())
    machine.segment.write_bytes(before)
    assert names(machine.history()) == ["run-one"]


def test_the_table_is_private_and_a_link_in_its_place_is_not_followed(machine: Machine, tmp_path: Path) -> None:
    machine.record(Told(run="run-one"))
    target = tmp_path / "target"
    target.write_text("precious")
    machine.table.symlink_to(target)
    assert names(machine.history()) == ["run-one"]
    assert target.read_text() == "precious"
    machine.history().list(Query())
    assert stat.S_IMODE(machine.table.lstat().st_mode) == 0o600


def test_where_no_table_can_be_written_the_ledger_is_read(machine: Machine) -> None:
    machine.record(Told(run="run-one"))
    machine.table.mkdir()
    assert names(machine.history()) == ["run-one"]


# Questions


def test_runs_are_found_by_runbook_host_outcome_and_time(machine: Machine) -> None:
    machine.record(
        Told(run="run-1", runbook="restart", hosts={"web1": "changed", "web2": "ok"}),
        Told(run="run-2", runbook="drain", hosts={"db1": "failed"}, outcome="failed", started=BEGIN + DAY),
        Told(run="run-3", runbook="drain", hosts={"web10": "ok"}, started=BEGIN + 2 * DAY),
        Told(run="run-4", runbook="drain", hosts={"web1": "ok"}, outcome=None, started=BEGIN + 3 * DAY),
    )
    history = machine.history()
    assert names(history, runbook="drain") == ["run-4", "run-3", "run-2"]
    assert names(history, host="web1") == ["run-4", "run-1"]
    assert names(history, host="web*") == ["run-4", "run-3", "run-1"]
    assert names(history, host="web?") == ["run-4", "run-1"]
    assert names(history, outcome="failed") == ["run-2"]
    assert names(history, outcome="unfinished") == ["run-4"]
    assert names(history, outcome="waiting") == []
    assert names(history, since=BEGIN + DAY, number=2) == ["run-4", "run-3"]
    assert names(history, runbook="drain", outcome="succeeded", host="*10") == ["run-3"]
    assert [past.run for past in history.unfinished()] == ["run-4"]


def test_a_run_touched_what_its_results_say_not_what_was_planned(machine: Machine) -> None:
    told = Told(run="run-1", hosts={"web1": "ok", "web2": "ok"})
    machine.begin(told)
    assert names(machine.history(), host="web2") == ["run-1"]
    machine.end(Told(run="run-1", hosts={"web1": "failed"}, outcome="failed"))
    assert names(machine.history(), host="web2") == []
    assert names(machine.history(), host="web1") == ["run-1"]


def test_hosts_of_runs_whose_files_were_changed_are_unknown(machine: Machine) -> None:
    machine.record(Told(run="run-1"), Told(run="run-2"))
    for name in ("plan.json", "results.json"):
        (machine.directory("run-1") / name).write_text('{"hosts": {"db9": []}, "waves": [["db9"]]}')
    history = machine.history()
    assert (names(history, host="db9"), names(history, host="web1")) == ([], ["run-2"])
    assert history.hosts_unknown() == 1


def test_a_run_is_found_by_the_beginning_of_its_id(machine: Machine) -> None:
    machine.record(Told(run="abcd-1"), Told(run="abcd-12"), Told(run="zzzz-1"))
    history = machine.history()
    assert history.find("zzzz").run == "zzzz-1"
    assert history.find("abcd-1").run == "abcd-1"
    assert history.find("latest").run == "zzzz-1"
    for name in ("abcd", "abc", "%", "nosuchrun"):
        with pytest.raises(UsageError):
            history.find(name)


def test_the_runs_around_a_run_are_found(machine: Machine) -> None:
    machine.record(
        Told(run="run-1", outcome="failed"),
        Told(run="run-2", continues="run-1"),
        Told(run="run-3", mode="undo", undoes="run-2"),
        Told(run="other"),
    )
    assert [each.run for each in machine.history().family("run-1")] == ["run-1", "run-2", "run-3"]


def test_answers_of_people_belong_to_their_run(machine: Machine) -> None:
    told = Told(run="run-1", outcome=None)
    machine.record(told, Told(run="run-2"))
    machine.append("run-ask", "run-1", {"run": "run-1", "stage": "1.2", "granted": True, "by": ["kim"]})
    assert [ask["by"] for ask in machine.history().find("run-1").asks] == [["kim"]]
    assert machine.history().find("run-2").asks == ()


# Figures


def test_figures_count_real_runs_only(machine: Machine) -> None:
    outcomes = ["succeeded"] * 6 + ["failed", "canceled", "indeterminate", "succeeded"]
    machine.record(
        *(Told(run=f"run-{n}", outcome=outcome, seconds=n + 1) for n, outcome in enumerate(outcomes)),
        Told(run="check-1", mode="check", outcome="failed", seconds=900),
        Told(run="undo-1", mode="undo", outcome="failed", seconds=900),
        Told(run="run-open", outcome=None),
        Told(run="other-1", runbook="other", seconds=2),
    )
    other, restart = figures(machine.history())
    assert (restart.runs, restart.success_rate, restart.p50, restart.p95) == (11, 0.7, 5.0, 10.0)
    assert dict(restart.counts) == {"succeeded": 7, "failed": 1, "canceled": 1, "indeterminate": 1}
    assert (restart.last.run, restart.last.outcome) == ("run-open", "unfinished")
    assert (other.runbook, other.runs, other.success_rate, other.p50) == ("other", 1, 1.0, 2.0)


@pytest.mark.parametrize(
    ("values", "percent", "nearest"),
    [((), 50, None), ((7.0,), 95, 7.0), ((1, 2, 3, 4), 50, 2), ((1, 2, 3, 4, 5), 50, 3), (range(1, 101), 95, 95)],
)
def test_percentiles_are_nearest_rank(values: range, percent: int, nearest: float | None) -> None:
    assert percentile(values, percent) == nearest


# Retention


def prune_all(machine: Machine, *, days: int = 90, keep: int = 0) -> tuple[list[str], int]:
    now = BEGIN + 100 * DAY
    chosen = prunable(machine.history(), before=now - days * DAY, keep=keep)
    with machine.state.ledger(machine.signer) as ledger:
        freed = prune(chosen, ledger=ledger, signer=machine.signer, actor=ALEX, now=now)
    return [each.run.run for each in chosen], freed


def test_only_old_finished_runs_nobody_goes_on_with_are_pruned(machine: Machine) -> None:
    machine.record(
        Told(run="old-1"),
        Told(run="old-open", outcome=None),
        Told(run="old-needed", outcome="failed"),
        Told(run="old-2"),
        Told(run="goes-on", outcome=None, continues="old-needed", started=BEGIN + 50 * DAY),
        Told(run="recent", started=BEGIN + 95 * DAY),
    )
    assert prune_all(machine)[0] == ["old-1", "old-2"]


def test_pruning_keeps_what_proves_the_run_and_says_when_it_was_done(machine: Machine) -> None:
    machine.record(Told(run="old-1", texts=("long " * 4000,)), Told(run="old-2"))
    directory = machine.directory("old-1")
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    runs, freed = prune_all(machine, keep=1)
    assert runs == ["old-1"]
    left = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    assert left == ["forward-1.1/playbook.yml", "plan.json", "receipt.json", "results.json"]
    assert freed == size - sum((directory / name).stat().st_size for name in left)
    files = machine.history().files(machine.history().find("old-1"))
    assert files.faults == ()
    assert files.notes == ("journals and outputs were pruned on 2026-06-09, as a record in the ledger says",)
    assert machine.history(indexed=False).find("old-1").pruned == BEGIN + 100 * DAY
    verdict = verify_ledger(
        machine.state.ledger_directory, keys=machine.state.public_keys({}), high_water=machine.state.high_water
    )
    assert verdict.ok
    assert prune_all(machine, keep=1) == ([], 0), "nothing is left to prune, and nothing is recorded again"
    assert machine.history().list(Query())[1].pruned


def test_a_journal_that_is_missing_without_a_record_is_a_fault(machine: Machine) -> None:
    machine.record(Told(run="old-1"), Told(run="old-2"))
    prune_all(machine, keep=1)
    (machine.directory("old-2") / "forward-1.1" / "journal.jsonl").unlink()
    (machine.directory("old-1") / "results.json").unlink()
    history = machine.history()
    assert "cannot be read" in history.files(history.find("old-2")).faults[0]
    assert "results.json cannot be read" in history.files(history.find("old-1")).faults[0]


def test_a_pruned_run_with_another_journal_put_in_place_is_a_fault(machine: Machine) -> None:
    machine.record(Told(run="old-1"))
    prune_all(machine)
    (machine.directory("old-1") / "forward-1.1" / "journal.jsonl").write_text("{}\n")
    history = machine.history()
    assert "has been changed" in history.files(history.find("old-1")).faults[0]


def test_pruning_follows_no_link_out_of_the_run(machine: Machine, tmp_path: Path) -> None:
    machine.record(Told(run="old-1"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (machine.directory("old-1") / "undo-9").symlink_to(outside)
    (machine.directory("old-1") / "forward-1.1" / "texts").symlink_to(outside)
    prune_all(machine)
    assert (outside / "precious").exists()


def test_pruning_that_was_cut_short_goes_on_without_another_record(machine: Machine) -> None:
    machine.record(Told(run="old-1"))
    prune_all(machine)
    (machine.directory("old-1") / "forward-1.1" / "output.log").write_text("left over")
    size = machine.history()._ledger.size
    assert prune_all(machine) == (["old-1"], 9)
    assert machine.history()._ledger.size == size


# Words of hosts


def test_long_texts_are_read_whole_and_only_as_they_were_said(machine: Machine) -> None:
    long = "x" * 20_000 + "end"
    machine.record(Told(run="run-1", hosts={"web1": "ok", "web2": "ok"}, texts=("short", long)))
    history = machine.history()
    short, whole = spoken(history.files(history.find("run-1")).stages)
    assert short.result.output is not None
    assert whole.result.output is not None
    assert short.whole(short.result.output) == b"short"
    assert whole.whole(whole.result.output) == long.encode()
    (text,) = whole.texts.iterdir()
    text.write_bytes(b"something else")
    assert whole.whole(whole.result.output) is None
