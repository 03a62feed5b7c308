"""What is promised about speed and size, what does it cost here, and does it hold?

One function for each promise; each yields lines of the table. The promises are those of the README of this directory.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from history import history
from measure import Line, contest, processor, seconds, table, wall
from reliability import reliability
from runbooks import write_repository
from slo_status import slo_status
from ssh_hosts import fifty_ssh_hosts
from stop import cancel
from transitions import approvals, transitions
from worlds import ANSIBLE, BIN, ONE, OPSASCODE, new_place, ops_place, ten_playbooks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Cost, Place

__all__ = ["all_lines", "table"]

HERE = Path(__file__).parent
RUNNER = (sys.executable, HERE / "runner_calls.py")
RUNBOOKS = 1000


def all_lines(scratch: Path) -> Iterator[Line]:
    """Measure everything; `scratch` is an empty directory."""
    place = ops_place(scratch / "ops")
    yield from ten_steps(place)
    yield from hundred_hosts(place)
    yield from thousand_hosts(place)
    yield from one_of_ten_thousand(place)
    yield from check(scratch / "large")
    yield from start(place)
    yield from ledger(scratch)
    yield from history(scratch / "history")
    yield from approvals(scratch)
    yield from transitions(scratch)
    yield from reliability()
    yield from slo_status(scratch / "slo")
    yield from fifty_ssh_hosts(scratch / "ssh")
    yield from cancel(scratch / "stop")


def ten_steps(place: Place) -> Iterator[Line]:
    steps = sorted(ten_playbooks(place.scratch / "steps").iterdir())
    ours, plain, calls = contest(
        "a runbook of ten commands",
        (5, lambda: place.once(OPSASCODE, "run", "ten", "--yes")),
        (5, lambda: place.once(ANSIBLE, "-i", "inventories/one.yml", "ten.yml")),
        (3, lambda: place.once(*RUNNER, "inventories/one.yml", *steps)),
    )
    limit = 1.10 * wall(plain) + 0.5
    yield Line(
        what="run ten command steps",
        ours=seconds(wall(ours)),
        peer=f"{seconds(wall(plain))} ansible-playbook",
        ratio=f"{wall(ours) / wall(plain):.2f}",
        target=f"≤ 1.10 x + 0.5 s = {seconds(limit)}",
        holds=wall(ours) <= limit,
    )
    yield _times_faster("the same against a call a step", ours, calls, "ten ansible-runner calls", 3)


def hundred_hosts(place: Place) -> Iterator[Line]:
    command = (OPSASCODE, "run", "five", "-i", "inventories/hundred.yml", "--yes")
    ours, plain, runner = contest(
        "100 hosts, 5 messages",
        (5, lambda: place.once(*command)),
        (5, lambda: place.once(ANSIBLE, "-i", "inventories/hundred.yml", "five.yml")),
        (2, lambda: place.once(*RUNNER, "inventories/hundred.yml", "five.yml")),
    )
    ratio = processor(ours) / processor(plain)
    yield Line(
        what="100 hosts x 5 tasks, processor time, least of 5",
        ours=seconds(processor(ours)),
        peer=f"{seconds(processor(plain))} ansible-playbook",
        ratio=f"{ratio:.3f}",
        target="≤ 1.06 x",
        holds=ratio <= 1.06,
    )
    yield Line(
        what="  ansible-runner as it comes",
        ours=seconds(processor(runner)),
        peer=f"{seconds(processor(plain))} ansible-playbook",
        ratio=f"{processor(runner) / processor(plain):.3f}",
    )
    own = place.memory(*command).own
    yield Line(what="  memory of our own process", ours=f"{own:.0f} MiB", target="< 60 MiB", holds=own < 60)


def thousand_hosts(place: Place) -> Iterator[Line]:
    command = (OPSASCODE, "run", "five", "-i", "inventories/thousand.yml", "--yes")
    ours, plain = contest(
        "1,000 hosts, 5 messages",
        (2, lambda: place.once(*command)),
        (2, lambda: place.once(ANSIBLE, "-i", "inventories/thousand.yml", "five-thousand.yml")),
    )
    ratio = wall(ours) / wall(plain)
    yield Line(
        what="1,000 hosts x 5 tasks",
        ours=seconds(wall(ours)),
        peer=f"{seconds(wall(plain))} ansible-playbook",
        ratio=f"{ratio:.3f}",
        target="≤ 1.05 x",
        holds=ratio <= 1.05,
    )
    own = place.memory(*command).own
    yield Line(what="  memory of our own process", ours=f"{own:.0f} MiB", target="< 80 MiB", holds=own < 80)
    runs = sorted((Path(place.environment["XDG_STATE_HOME"]) / "opsascode/runs").iterdir())
    files = sum(path.is_file() for path in runs[-1].rglob("*"))
    yield Line(what="  files a run leaves", ours=str(files), target="a handful", holds=files <= 12)


def one_of_ten_thousand(place: Place) -> Iterator[Line]:
    words = ("-i", "inventories/large.yml", "--limit", ONE)
    told = []

    def ours() -> Cost:
        cost = place.once(OPSASCODE, "run", "say", *words, "--yes", "--format", "json")
        told.append(json.loads(place.said().splitlines()[-2])["message"])
        return cost

    def plain() -> Cost:
        cost = place.once(ANSIBLE, *words, "say.yml")
        told.extend(re.findall(r'"msg": "(.*)"', place.said()))
        return cost

    shutil.rmtree(place.environment["XDG_CACHE_HOME"], ignore_errors=True)
    (cold,), (peer,) = contest("one host of 10,000, first time", (1, ours), (1, plain))
    warm, plain_runs = contest("one host of 10,000, again", (2, ours), (2, plain))
    assert len(told) == 6, told
    assert len(set(told)) == 1, told
    yield _times_faster("one host out of 10,000 in YAML", warm, [peer, *plain_runs], "ansible-playbook", 4)
    yield Line(
        what="  the first time, nothing remembered",
        ours=seconds(cold.wall),
        peer=f"{seconds(peer.wall)} ansible-playbook",
        ratio=f"{peer.wall / cold.wall:.1f} x faster",
    )


def check(directory: Path) -> Iterator[Line]:
    place = new_place(directory)
    write_repository(place.directory, RUNBOOKS)
    files = sorted((place.directory / "playbooks").iterdir())
    schema = HERE.parent / "schemas" / "runbook.schema.json"

    def cold() -> Cost:
        shutil.rmtree(place.environment["XDG_CACHE_HOME"], ignore_errors=True)
        return place.once(OPSASCODE, "check")

    def again() -> Cost:
        cost = place.once(OPSASCODE, "check")
        assert "no problems" in place.said()
        return cost

    def peer() -> Cost:
        return place.once(BIN / "check-jsonschema", "--schemafile", schema, *files)

    fresh, known, validated = contest("check 1,000 runbooks", (7, cold), (7, again), (3, peer))
    target = "≤ 1.5 s"
    yield Line(
        what="check 1,000 runbooks of 72 lines", ours=seconds(wall(fresh)), target=target, holds=wall(fresh) <= 1.5
    )
    yield _times_faster("  against validation by schema alone", fresh, validated, "check-jsonschema", 3)
    yield Line(what="  unchanged files again", ours=seconds(wall(known)), target="≤ 0.4 s", holds=wall(known) <= 0.4)
    shutil.rmtree(place.environment["XDG_CACHE_HOME"])
    total = place.memory(OPSASCODE, "check").total
    yield Line(what="  memory, both processes", ours=f"{total:.0f} MiB", target="< 100 MiB", holds=total < 100)


def start(place: Place) -> Iterator[Line]:
    ours, floor = contest(
        "start",
        (40, lambda: place.once(OPSASCODE, "--help")),
        (40, lambda: place.once(sys.executable, "-c", "pass")),
    )
    limit = 3 * wall(floor) + 0.030
    yield Line(
        what="opsascode --help",
        ours=seconds(wall(ours)),
        peer=f"{seconds(wall(floor))} python -c pass",
        ratio=f"{wall(ours) / wall(floor):.2f}",
        target=f"≤ 3 x + 30 ms = {seconds(limit)}",
        holds=wall(ours) <= limit,
    )


def ledger(scratch: Path) -> Iterator[Line]:
    """Measure inside one process, by pytest-benchmark."""
    print("ledger …", file=sys.stderr, flush=True)
    report = scratch / "ledger.json"
    words = ("-p", "no:randomly", "-q", f"--benchmark-json={report}", f"--basetemp={scratch / 'pytest'}")
    subprocess.run(
        [sys.executable, "-m", "pytest", HERE / "test_ledger.py", *words],
        cwd=HERE.parent,
        check=True,
        capture_output=True,
    )
    found = json.loads(report.read_text())["benchmarks"]
    median = {each["name"].removeprefix("test_"): each["stats"]["median"] for each in found}
    records = next(each["extra_info"]["records"] for each in found if "records" in each["extra_info"])
    append, floor = median["append_durable"], median["floor_sign"] + median["floor_wait_for_the_disk"]
    yield _rate("ledger: append a record, durable", append, floor, "one signature, one fdatasync", 5_000)
    once = median["verify_all_records"] / records
    yield _rate("ledger: verify, one core", once, median["floor_verify"], "one Ed25519 verification", 10_000)
    receipt = median["receipt_of_one_run"]
    yield Line(
        what="receipt of a run: verify",
        ours=seconds(receipt),
        peer=f"{seconds(median['floor_verify'])} one Ed25519 verification",
        ratio=f"{receipt / median['floor_verify']:.1f}",
        target="< 1 ms",
        holds=receipt < 0.001,
    )


def _rate(what: str, ours: float, floor: float, name: str, target: int) -> Line:
    return Line(
        what=what,
        ours=f"{1 / ours:,.0f} a second",
        peer=f"{1 / floor:,.0f} {name}",
        ratio=f"{floor / ours:.2f}",
        target=f"≥ {target:,} a second",
        holds=1 / ours >= target,
    )


def _times_faster(what: str, ours: list[Cost], peer: list[Cost], name: str, target: int) -> Line:
    times = wall(peer) / wall(ours)
    return Line(
        what=what,
        ours=seconds(wall(ours)),
        peer=f"{seconds(wall(peer))} {name}",
        ratio=f"{times:.1f} x faster",
        target=f"≥ {target} x faster",
        holds=times >= target,
    )
