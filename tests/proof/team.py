"""A small team: machines with ledgers and keys, and a log in memory that they hand over to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opsascode.proof import TeamFold, TeamKeys, TeamLog, hand_over, seal
from tests.proof.world import World, statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opsascode.proof import Ledger

TEAM = "opsascode/team/test"


class Machine(World):
    """A machine whose ledger has a name of its own."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(directory / name)
        self.name = name

    def open(self) -> Ledger:
        from opsascode.proof import Ledger  # noqa: PLC0415 - only here

        return Ledger.open(
            self.ledger_directory, signer=self.signer, origin=f"opsascode/{self.name}", high_water=self.high_water
        )

    def record(self, *runs: str, kind: str = "run-start") -> None:
        with self.open() as ledger:
            for run in runs:
                ledger.append(seal(statement(kind, run, ledger=ledger.origin, run=run), self.signer))


class Board:
    """The team's log as a remote would keep it: groups, and the newest checkpoint."""

    def __init__(self) -> None:
        self.groups: list[tuple[bytes, ...]] = []
        self.note: str | None = None

    def read(self, start: int) -> Sequence[Sequence[bytes]]:
        found, at = [], 0
        for lines in self.groups:
            if at >= start:
                found.append(lines)
            at += len(lines)
        return found

    def copy(self) -> Board:
        made = Board()
        made.groups, made.note = list(self.groups), self.note
        return made


def keys(*machines: Machine, distrust: dict[str, int] | None = None) -> TeamKeys:
    public = tuple(machine.signer.public_key for machine in machines)
    return TeamKeys(runners=public, ledgers=public, distrust=distrust or {})


def team_log(place: Path, team: TeamKeys) -> TeamLog:
    return TeamLog.open(place / "team", origin=TEAM, keys=team, high_water=place / "team-high-water")


def look(log: TeamLog, board: Board) -> int:
    """Follow the board; give how many groups wait there."""
    with log.exclusive():
        return len(log.follow(board.note, board.read))


def bring(machine: Machine, log: TeamLog, board: Board) -> None:
    """Hand over what a machine has more, and cover everything."""
    with log.exclusive():
        tail = log.follow(board.note, board.read)
        fold: TeamFold = log.fold()
        for lines in tail:
            fold.take(lines)
        with machine.open() as ledger:
            made = hand_over(ledger, TEAM, fold.known(ledger.origin), machine.signer) if ledger.size else ()
        for lines in made:
            fold.take(lines)
            board.groups.append(lines)
        board.note = log.cover(fold, machine.signer)
        log.follow(board.note, board.read)
