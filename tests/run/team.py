"""Machines that share a ledger through a real Git remote; each has a clone, a state, a key, and a process of its own.

As a program it is one machine that records and syncs: `python -m tests.run.team HOME NAME COUNT [ROLES]`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from opsascode.proof import PublicKey, TeamKeys, TeamLog
from opsascode.repo import LEDGER_REF, LedgerRef
from opsascode.run import State, TeamLedger
from tests.proof.team import TEAM, Machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.run import Synced


def git(place: Path, *words: str) -> str:
    environment = {
        "PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@localhost", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@localhost",
    }  # fmt: skip
    done = subprocess.run(["git", *words], cwd=place, env=environment, capture_output=True, check=True)
    return done.stdout.decode(errors="replace")


class Home:
    """A remote, and the machines around it."""

    def __init__(self, place: Path) -> None:
        self.place = place

    @classmethod
    def new(cls, place: Path, *names: str, url: str = "") -> Home:
        git(place, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
        home = cls(place)
        for name in names:
            home.add(name, url=url)
        return home

    def add(self, name: str, *, url: str = "") -> None:
        clone = self.place / "clones" / name
        clone.mkdir(parents=True)
        git(clone, "init", "--quiet", "--initial-branch=main")
        git(clone, "remote", "add", "origin", url or str(self.remote))
        self.machine(name)

    @property
    def remote(self) -> Path:
        return self.place / "remote.git"

    def machine(self, name: str) -> Machine:
        return Machine(self.place / "machines", name)

    def keys(self, ledgers: Sequence[str] = (), distrust: Mapping[str, int] | None = None) -> TeamKeys:
        found = {
            path.parent.parent.name: PublicKey.from_openssh(path.read_text())
            for path in sorted((self.place / "machines").glob("*/keys/machine.pub"))
        }
        names = ledgers or tuple(found)
        return TeamKeys(
            runners=tuple(found.values()), ledgers=tuple(found[name] for name in names), distrust=distrust or {}
        )

    def log(self, name: str, keys: TeamKeys | None = None) -> TeamLog:
        place = self.place / "machines" / name
        return TeamLog.open(place / "team", origin=TEAM, keys=keys or self.keys(), high_water=place / "team-high-water")

    def team(self, name: str, keys: TeamKeys | None = None, witnesses: Sequence[PublicKey] = ()) -> TeamLedger:
        return TeamLedger(
            LedgerRef.of(self.place / "clones" / name, "origin"),
            self.log(name, keys),
            signer=self.machine(name).signer,
            forks=self.place / "machines" / name / "forks",
            witnesses=witnesses,
        )

    def sync(self, name: str, keys: TeamKeys | None = None) -> Synced:
        with self.machine(name).open() as ledger:
            return self.team(name, keys).sync(ledger)

    def run(self, name: str, *runs: str, keys: TeamKeys | None = None) -> Synced:
        self.machine(name).record(*runs)
        return self.sync(name, keys)

    def names(self, name: str) -> list[tuple[str, int, str]]:
        """What a machine's copy holds."""
        return [(one.ledger, one.index, one.record.statement.subject_name) for one in self.log(name).records()]

    def state(self, name: str) -> State:
        place = self.place / "machines" / name
        return State(directory=place, key_uri=f"file:{place / 'keys' / 'machine'}", key_base=place)

    def start(self, name: str, count: int, ledgers: str = "") -> subprocess.Popen[bytes]:
        """Let a machine record and sync in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "tests.run.team", self.place, name, str(count), ledgers],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @property
    def tip(self) -> str:
        return git(self.remote, "rev-parse", LEDGER_REF).strip()


if __name__ == "__main__":
    at = Home(Path(sys.argv[1]))
    ledgers = tuple(filter(None, sys.argv[4].split(",")))
    for number in range(int(sys.argv[3])):
        at.run(sys.argv[2], f"{sys.argv[2]}-{number}", keys=at.keys(ledgers))
        sys.stdout.write(f"{number}\n")
