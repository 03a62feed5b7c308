"""What does one command cost, and how do costs become a line of the table?

Commands that are compared take turns (A B C, A B C, …), each started once by hyperfine, so that a busy minute hits all
of them. Processor time is user and system time of a process and of all it waited for.
"""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Entrant = Callable[[], "Cost"]

_LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one run of a command took, in seconds."""

    wall: float
    processor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table; `holds` is None where nothing is promised and the figure stands there to compare."""

    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    target: str = ""
    holds: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where commands run: a directory, and an environment made for them."""

    directory: Path
    environment: Mapping[str, str]
    scratch: Path

    def once(self, *words: str | Path) -> Cost:
        """Run a command once by hyperfine; what it prints is kept for `said`."""
        figures = self.scratch / "figures.json"
        subprocess.run(
            [
                *("hyperfine", "--runs", "1", "--shell", "none", "--style", "none"),
                *("--output", self.scratch / "said", "--export-json", figures),
                shlex.join(map(str, words)),
            ],
            cwd=self.directory,
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (told,) = json.loads(figures.read_text())["results"]
        return Cost(wall=told["mean"], processor=told["user"] + told["system"])

    def said(self) -> str:
        """What the last command printed."""
        return (self.scratch / "said").read_text(errors="replace")

    def answer(self, *words: str | Path) -> str:
        """Run a command unmeasured, and give what it prints."""
        return subprocess.run(
            words, cwd=self.directory, env=self.environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def memory(self, *words: str | Path) -> Memory:
        """Run a command and look at its memory all the while."""
        process = subprocess.Popen(words, cwd=self.directory, env=self.environment, stdout=subprocess.DEVNULL)
        own = total = 0.0
        while process.poll() is None:
            own = max(own, _mebibytes(process.pid, "VmHWM"))
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            with_children = [process.pid, *(map(int, children.read_text().split()) if children.exists() else ())]
            total = max(total, sum(_mebibytes(pid, "VmRSS") for pid in with_children))
            time.sleep(_LOOK_SECONDS)
        assert process.returncode == 0, words
        return Memory(own=own, total=total)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident MiB at most: of a process itself, and of it and its direct children together (shared pages twice)."""

    own: float
    total: float


def _mebibytes(pid: int, field: str) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(field)), 0.0)


def contest(name: str, *entrants: tuple[int, Entrant]) -> list[list[Cost]]:
    """Let entrants take turns, each as many rounds as it says; gives the costs of each."""
    print(f"{name} …", file=sys.stderr, flush=True)
    costs: list[list[Cost]] = [[] for _ in entrants]
    for number in range(max(rounds for rounds, _ in entrants)):
        for kept, (rounds, entrant) in zip(costs, entrants, strict=True):
            if number < rounds:
                kept.append(entrant())
    return costs


def wall(costs: Sequence[Cost]) -> float:
    """The median of the wall times."""
    return statistics.median(cost.wall for cost in costs)


def processor(costs: Sequence[Cost]) -> float:
    """The least of the processor times: other load only ever adds."""
    return min(cost.processor for cost in costs)


def seconds(value: float) -> str:
    """Write a time for a person."""
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def table(lines: Sequence[Line]) -> str:
    """Write the table, as Markdown that reads as plain text too."""
    verdicts = {True: "yes", False: "NO", None: ""}
    rows = [("what", "ours", "beside", "ratio", "target", "holds")]
    rows += [(each.what, each.ours, each.peer, each.ratio, each.target, verdicts[each.holds]) for each in lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    written = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    written.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(written)
