"""The tool that kills the command at a chosen moment does so, there and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.killpoint import kill, walk
from tests.world import World, new_world

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    found = new_world(tmp_path / "world")
    found.runbook("note", f"- {{id: note, task: {{ansible.builtin.shell: {{cmd: 'echo x >> {found.home}/touched'}}}}}}")
    found.commit()
    return found


WORDS = ("run", "note", "-y", "--limit", "web1")


def test_an_undisturbed_run_names_every_moment(world: World) -> None:
    seen = walk(world, *WORDS)
    assert (seen.code, seen.label) == (0, None), seen.err
    assert (world.home / "touched").read_text("utf-8") == "x\n"
    text = "\n".join(seen.labels)
    for kind in (
        "mkdir ",
        "open ",
        "rename ",
        "remove ",
        "fsync ",
        "flock ",
        "pwrite ",
        "lock ",
        "sqlite COMMIT",
        "Popen ",
    ):
        assert f"\n{kind}" in text, kind
    assert "pwrite" in text
    assert "ledger/segments" in text


def test_a_moment_is_never_passed(world: World) -> None:
    for moment, number in ((3, 3), ("open .*/journal.jsonl", None)):
        ended = kill(world, moment, *WORDS)
        assert ended.code == -9
        assert ended.label == ended.labels[-1]
        assert number in {None, len(ended.labels)}
    assert ended.label.endswith("journal.jsonl")
    assert not (world.home / "touched").exists()


def test_a_moment_that_never_comes_kills_nothing(world: World) -> None:
    ended = kill(world, 100_000, *WORDS)
    assert (ended.code, ended.label) == (0, None)


def test_half_of_a_write_can_be_left(world: World) -> None:
    sizes: list[int] = []
    for torn in (False, True):
        kill(world, "pwrite .*/segments/", *WORDS, torn=torn)
        sizes.append(sum(path.stat().st_size for path in (world.ledger / "segments").glob("*.jsonl")))
    assert sizes[0] == 0
    assert sizes[1] > 100
    assert not (world.home / "touched").exists()
