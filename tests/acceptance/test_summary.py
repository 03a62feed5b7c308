"""A job summary: added to a file that is kept, and never in the way of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.policy.gates import document
from tests.trust import install, team_root
from tests.world import World, new_world

if TYPE_CHECKING:
    from pathlib import Path

SCORING = {"scoring": {"window": "10m", "criteria": [{"name": "errors", "query": "vector(0)", "pass": ["<50"]}]}}
COMMANDS = {
    "policy verify": (("policy", "verify"), "## Policy change"),
    "policy simulate": (("policy", "simulate"), "## "),
    "slo gate": (("slo", "gate", "--service", "shop", "--no-record"), "## Gate of shop"),
    "slo gate that fails open": (("slo", "gate", "--service", "open", "--no-record"), "## Gate of open"),
    "slo gate --scoring": (("slo", "gate", "--service", "shop", "--no-record", "--scoring"), "## Score of shop"),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A team with two services, neither of which can be measured: there is no Prometheus."""
    found = new_world(tmp_path_factory.mktemp("summary") / "home")
    found.write("policies/shop.yml", document(SCORING))
    found.write("policies/open.yml", document({"no_data": {"then": "pass"}}, name="open"))
    install(found, team_root(), apply=True)
    return found


@pytest.mark.parametrize(("words", "title"), COMMANDS.values(), ids=COMMANDS)
def test_a_summary_is_added_to_its_file_and_one_that_cannot_be_written_loses_no_answer(
    world: World, tmp_path: Path, words: tuple[str, ...], title: str
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("Before.\n")
    told = world.ops(*words, "--summary", summary)
    assert told.code in {0, 4}, told.out + told.err
    assert summary.read_text().startswith(f"Before.\n{title}")

    for place in ("/dev/full", tmp_path / "nowhere" / "summary.md"):
        answer = world.ops(*words, "--summary", place)
        assert answer.code == 2, answer.out + answer.err
        assert f"the report cannot be written to {place}" in answer.err
        assert answer.out.splitlines()[0] == told.out.splitlines()[0]
        assert len(answer.out.splitlines()) == len(told.out.splitlines())
