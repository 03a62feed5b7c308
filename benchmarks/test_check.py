"""How long does a check of a thousand runbooks take, beside the nearest peer on the same files?

`pytest benchmarks/test_check.py` prints the figures. Budgets are asserted with room for a busy machine; memory is that
of the whole process tree's largest member.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.runbooks import write_repository
from opsascode.repo._analysis import analyse

COUNT = 1000
ROOT = Path(__file__).parents[1]
PEER = Path(sys.executable).with_name("check-jsonschema")
COMMAND = (
    "import sys; from pathlib import Path; from opsascode.repo import check_repository, open_repository; "
    "report = check_repository(open_repository(Path(sys.argv[1])), cache=Path(sys.argv[2])); "
    "assert report.ok and report.documents == 1001, report.problems[:3]"
)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_repository(tmp_path_factory.mktemp("large"), COUNT)


def ours(large: Path, cache: Path) -> tuple[float, float]:
    """Check once in a fresh process; give seconds and the peak MiB of its largest process."""
    return measured([sys.executable, "-c", COMMAND, str(large), str(cache)])


def measured(command: list[str]) -> tuple[float, float]:
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def told(name: str, figures: list[tuple[float, float]]) -> float:
    seconds = [each for each, _ in figures]
    mebibytes = max(each for _, each in figures)
    print(f"\n{name}: median {statistics.median(seconds):.3f} s, best {min(seconds):.3f} s, {mebibytes:.0f} MiB")
    return min(seconds)


def test_a_cold_check(large: Path, tmp_path: Path) -> None:
    figures = [ours(large, tmp_path / str(number)) for number in range(5)]
    assert told("cold", figures) < 1.5
    assert max(mebibytes for _, mebibytes in figures) < 100


def test_an_unchanged_check(large: Path, tmp_path: Path) -> None:
    ours(large, tmp_path)
    assert told("unchanged", [ours(large, tmp_path) for _ in range(7)]) < 0.4


def test_one_changed_file(large: Path, tmp_path: Path) -> None:
    ours(large, tmp_path)
    place = large / "playbooks" / "runbook-0000.yml"
    text = place.read_text()
    figures = []
    for number in range(5):
        place.write_text(f"{text}# {number}\n")
        figures.append(ours(large, tmp_path))
    place.write_text(text)
    assert told("one file changed", figures) < 0.6


@pytest.mark.skipif(not PEER.exists(), reason="check-jsonschema is not installed")
def test_the_peer_takes_three_times_as_long(large: Path, tmp_path: Path) -> None:
    files = sorted(str(path) for path in (large / "playbooks").iterdir())
    command = [str(PEER), "--schemafile", str(ROOT / "schemas" / "runbook.schema.json"), *files]
    pairs = []
    for number in range(3):
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        pairs.append((ours(large, tmp_path / "cache" / str(number)), measured(command)))
    mine = told("ours, cold", [pair[0] for pair in pairs])
    theirs = told("check-jsonschema", [pair[1] for pair in pairs])
    assert theirs / mine >= 3


@pytest.mark.benchmark(group="check")
def test_one_analysis(benchmark: object, large: Path) -> None:
    data = (large / "playbooks" / "runbook-0001.yml").read_bytes()
    benchmark(analyse, data, "playbooks/runbook-0001.yml")  # type: ignore[operator] # pytest-benchmark's fixture is untyped
