"""How long does it take to open the state of 10,000 past runs?

The ledger is a real one: every record is signed by the machine key and appended in this process, and every run has its
plan and results on the disk. What is measured are whole commands. Beside them, in the same minutes: what Python itself
takes to start, `cat` of the whole ledger, and the first opening, when the table of runs is not there yet.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Line, contest, seconds, wall
from worlds import OPSASCODE, new_place

from opsascode.proof import PREDICATE_PREFIX, Statement, canonical_bytes, seal, sha256_digest
from opsascode.repo import open_repository
from opsascode.run import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from measure import Cost, Place

    from opsascode.proof import Json, Signer

RUNS = 10_000
_SETTINGS = """\
apiVersion: opsascode/v1
kind: Repository
metadata: {name: measured}
"""
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_OUTCOMES = ("succeeded",) * 17 + ("failed", "canceled", "indeterminate")


def history(scratch: Path) -> Iterator[Line]:
    place = new_place(scratch / "history")
    (place.directory / "opsascode.yml").write_text(_SETTINGS)
    build(place, RUNS)
    table = _state(place).directory / "history.sqlite"
    segments = sorted((_state(place).ledger_directory / "segments").iterdir())

    def anew() -> Cost:
        table.unlink(missing_ok=True)
        return place.once(OPSASCODE, "runs", "list")

    (first,) = contest(f"{RUNS:,} past runs, first time", (1, anew))
    listed, stated, hosts, floor, cat = contest(
        f"{RUNS:,} past runs",
        (15, lambda: place.once(OPSASCODE, "runs", "list")),
        (15, lambda: place.once(OPSASCODE, "status")),
        (15, lambda: place.once(OPSASCODE, "runs", "list", "--host", "web17", "--outcome", "failed")),
        (15, lambda: place.once(sys.executable, "-c", "pass")),
        (15, lambda: place.once("cat", *segments)),
    )
    peers = f"{seconds(wall(floor))} python -c pass, {seconds(wall(cat))} cat of the ledger"
    for what, ours in (("runs list", listed), ("status", stated), ("runs list --host --outcome", hosts)):
        yield Line(
            what=f"{what}, {RUNS:,} past runs",
            ours=seconds(wall(ours)),
            peer=peers,
            ratio=f"{wall(ours) / wall(floor):.1f}",
            target="< 0.3 s",
            holds=wall(ours) < 0.3,
        )
    yield Line(what="  the first time, every signature verified", ours=seconds(wall(first)))


def build(place: Place, number: int) -> None:
    """Append that many whole runs, and put their plans and results where a run leaves them."""
    state = _state(place)
    signer = state.signer(place.environment)
    with state.ledger(signer) as ledger:
        for first in range(0, number, 500):
            runs = range(first, min(number, first + 500))
            ledger.append_many([each for run in runs for each in _records(state, ledger.origin, signer, run)])


def _state(place: Place) -> State:
    return State.of(open_repository(place.directory), place.environment)


def _records(state: State, ledger: str, signer: Signer, number: int) -> tuple[bytes, bytes]:
    started = _BEGIN + timedelta(minutes=7 * number)
    ended = started + timedelta(seconds=20 + number % 97)
    run = f"{started:%Y%m%d-%H%M%S}-{number:06x}"
    outcome = _OUTCOMES[number % len(_OUTCOMES)]
    hosts: list[Json] = [f"web{number % 50 + each}" for each in range(5)]
    runbook: Json = {
        "name": f"runbook-{number % 20}", "version": "1.2.0", "title": "Restart a crashed service",
        "path": f"playbooks/runbook-{number % 20}.yml", "digest": sha256_digest(b"runbook"),
    }  # fmt: skip
    about: dict[str, Json] = {
        "run": run, "ledger": ledger, "runbook": runbook, "mode": "run",
        "repository": {"commit": "0f" * 20, "dirty": False},
        "inventory": {"sources": ["inventories/production.yml"], "digest": sha256_digest(b"inventory"), "total": 240},
        "targets": {"pattern": "web", "limit": None, "hosts": 5, "waves": 1},
        "parameters": {"service": {"value": "nginx"}, "token": {"secret": True}},
    }  # fmt: skip
    plan = canonical_bytes({**about, "waves": [hosts]})
    results = _results(run, [str(host) for host in hosts], outcome, started, ended)
    directory = state.run_directory(run)
    directory.mkdir(parents=True, mode=0o700)
    (directory / "plan.json").write_bytes(plan)
    (directory / "results.json").write_bytes(results)
    start: dict[str, Json] = {
        **about, "plan": sha256_digest(plan), "continues": None, "undoes": None, "trigger": "manual",
        "actor": {"user": "alex", "machine": "control.example.org", "detail": ""},
        "tools": {"opsascode": "0.1.0", "ansible_core": "2.19.14", "ansible_runner": "2.4.3", "python": "3.11.7"},
        "permit": {"guardrails": ["no-more-than-ten"], "expires": _stamp(started + timedelta(hours=1))},
        "started": _stamp(started),
    }  # fmt: skip
    end: dict[str, Json] = {
        **about, "plan": sha256_digest(plan), "outcome": outcome, "reason": "5 hosts, 5 changed", "undone": False,
        "in_doubt": [], "started": _stamp(started), "ended": _stamp(ended), "start_record": sha256_digest(run.encode()),
        "stages": [], "results": {"digest": sha256_digest(results), "bytes": len(results), "hosts": 5, "changed": 25},
    }  # fmt: skip
    return tuple(  # type: ignore[return-value]  # two kinds give two records
        seal(
            Statement(
                predicate_type=f"{PREDICATE_PREFIX}{kind}:v1",
                subject_name=run,
                subject_digest=sha256_digest(plan),
                predicate=said,
            ),
            signer,
        )
        for kind, said in (("run-start", start), ("run-end", end))
    )


def _results(run: str, hosts: list[str], outcome: str, started: datetime, ended: datetime) -> bytes:
    last = "failed" if outcome == "failed" else "changed"
    steps: list[Json] = [
        {
            "step": f"step-{number}", "status": "changed" if number < 4 else last, "message": "done", "rc": 0,
            "started": _stamp(started), "ended": _stamp(ended),
        }
        for number in range(5)
    ]  # fmt: skip
    return canonical_bytes({"format": "opsascode/results/v1", "run": run, "hosts": dict.fromkeys(hosts, steps)})


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


if __name__ == "__main__":
    import tempfile

    from measure import table as written

    with tempfile.TemporaryDirectory(prefix="opsascode-bench-") as directory:
        lines = tuple(history(Path(directory)))
    print(written(lines))
    print(json.dumps({"load": os.getloadavg()[0]}))
