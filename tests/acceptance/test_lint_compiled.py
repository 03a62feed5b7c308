"""Whatever we compile is Ansible that Ansible's own tools accept: syntax check and ansible-lint, for every runbook here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.run.regenerate_plans import INVENTORY, make_repository
from tests.world import COMMAND, World

PROJECT = Path(__file__).parents[2]
BIN = COMMAND.parent
CASES: dict[str, tuple[str, ...]] = {"kinds": ("-e", "@secrets.yml"), "composed": (), "leaf": ("-e", "name=x")}
NEEDED = {
    "cache-clear": ("-e", "keys=page:*"),
    "service-restart": ("-e", "service=web"),
    "site-deploy": ("-e", "release=3"),
}
LIBRARY = sorted(path.stem for path in (PROJECT / "playbooks").glob("*.yml"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The library of this repository, compiled: one playbook a runbook."""
    world = World(home=tmp_path_factory.mktemp("library"))
    parts = ("playbooks", "policies", "inventories", "opsascode.yml", "ansible.cfg")
    copy_of(world, *(PROJECT / part for part in parts))
    compile_all(world, {runbook: NEEDED.get(runbook, ()) for runbook in LIBRARY})
    return world


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The runbooks of the golden cases, compiled."""
    world = World(home=tmp_path_factory.mktemp("golden"))
    world.root.mkdir()
    make_repository(world.root)
    world.write("secrets.yml", "token: t0p-secret\n")
    assert (world.root / "inventories/hosts.yml").read_text() == INVENTORY
    compile_all(world, CASES)
    return world


def copy_of(world: World, *parts: Path) -> None:
    world.root.mkdir()
    for part in parts:
        if part.is_dir():
            shutil.copytree(part, world.root / part.name, ignore=shutil.ignore_patterns("__pycache__", ".ansible"))
        else:
            shutil.copy(part, world.root / part.name)


def compile_all(world: World, runbooks: dict[str, tuple[str, ...]]) -> None:
    """Write what each runbook compiles to where its first lines say that plain Ansible runs it."""
    answers = {runbook: world.ops("plan", runbook, *words, "--playbook") for runbook, words in runbooks.items()}
    assert {runbook: answer.err for runbook, answer in answers.items() if answer.code} == {}
    for runbook, answer in answers.items():
        world.write(f"playbooks/compiled-{runbook}.yml", answer.out)


def tool(world: World, *words: str) -> str:
    """Run one of Ansible's tools on what was compiled; gives what it says when it refuses."""
    variables = world.variables()
    variables["PATH"] = f"{BIN}{os.pathsep}{variables['PATH']}"
    done = subprocess.run(
        [BIN / words[0], *words[1:]], cwd=world.root, env=variables, capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def playbooks(world: World) -> list[str]:
    return sorted(f"playbooks/{path.name}" for path in world.root.glob("playbooks/compiled-*.yml"))


def test_ansible_lint_accepts_the_compiled_library(library: World) -> None:
    assert len(playbooks(library)) >= 6
    assert tool(library, "ansible-lint", "--offline", "--profile", "min", *playbooks(library)) == ""


@pytest.mark.parametrize("runbook", LIBRARY)
def test_ansible_accepts_the_syntax_of_the_compiled_library(library: World, runbook: str) -> None:
    assert tool(library, "ansible-playbook", "--syntax-check", f"playbooks/compiled-{runbook}.yml") == ""


def test_ansible_lint_accepts_the_compiled_golden_cases(golden: World) -> None:
    assert tool(golden, "ansible-lint", "--offline", "--profile", "min", *playbooks(golden)) == ""


@pytest.mark.parametrize("runbook", CASES)
def test_ansible_accepts_the_syntax_of_the_compiled_golden_cases(golden: World, runbook: str) -> None:
    words = ("-i", "inventories/hosts.yml", f"playbooks/compiled-{runbook}.yml")
    assert tool(golden, "ansible-playbook", "--syntax-check", *words) == ""
