"""What is built is whole, and works by itself: from the sdist to the wheel to a fresh environment to a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.world import World, new_world

PROJECT = Path(__file__).parents[2]
PLAYBOOK_COMMANDS = ("ansible-playbook", "ansible-inventory")


def hatchling(source: Path, target: str, place: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", place]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (built,) = place.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hatchling(PROJECT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist as pip would build it."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return hatchling(source, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the programs of a new environment that holds nothing but the wheel.

    What it depends on is looked up in the environment of the tests, where only our own code is hidden: it is installed
    there by a .pth file, and those count in an environment's own directory only.
    """
    place = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(place, with_pip=False, symlinks=True)
    programs = place / "bin"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", wheel]
    subprocess.run([sys.executable, "-m", "pip", "--python", programs / "python", *install], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name in PLAYBOOK_COMMANDS:
        program = programs / name
        module = name.removeprefix("ansible-")
        program.write_text(f"#!{programs}/python\nfrom ansible.cli.{module} import main\nmain()\n")
        program.chmod(0o755)
    return programs


def call(*words: str | Path, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.defpath, "HOME": str(home), "LC_ALL": "C.UTF-8"}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60)


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_module_plugin_and_schema(wheel: Path) -> None:
    source = PROJECT / "opsascode"
    modules = {path.relative_to(PROJECT).as_posix() for path in source.rglob("*.py")}
    schemas = {f"opsascode/schemas/{path.name}" for path in (PROJECT / "schemas").glob("*.json")}
    found = contents(wheel)
    assert {
        "opsascode/run/ansible/awx_display.py",
        "opsascode/repo/ansible/resolve.py",
        "opsascode/repo/ansible/inventory/opsascode_document.py",
        "opsascode/repo/ansible/vars/opsascode_files.py",
    } <= modules
    assert len(schemas) >= 3
    assert modules | schemas | {"opsascode/py.typed"} <= found


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in contents(wheel)}
    assert tops == {"opsascode", f"{wheel.name.split('-py3')[0]}.dist-info"}
    assert not [name for name in contents(wheel) if "__pycache__" in name or name.endswith(".pyc")]


def test_the_sdist_is_enough_to_test_and_build_again(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "Makefile",
        "constraints.txt",
        "LICENSE",
        "README.md",
        "tests/world.py",
        "schemas/runbook.schema.json",
    } <= names
    assert {"playbooks/ping.yml", "inventories/lab/hosts.ini", "opsascode.yml", ".ci/run"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(".venv")]


@pytest.mark.parametrize("words", [("opsascode",), ("python", "-m", "opsascode")], ids=" ".join)
def test_the_installed_wheel_checks_this_repository(fresh: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    program = [fresh / words[0], *words[1:]]
    done = call(*program, "--repo", PROJECT, "check", cwd=tmp_path, home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no problems" in done.stdout


def test_the_code_of_the_fresh_environment_is_that_of_the_wheel(fresh: Path, tmp_path: Path) -> None:
    done = call(fresh / "python", "-c", "import opsascode; print(opsascode.__file__)", cwd=tmp_path, home=tmp_path)
    assert Path(done.stdout.strip()).is_relative_to(fresh.parent)


def test_the_installed_wheel_works_from_inside_the_projects_root(fresh: Path, tmp_path: Path) -> None:
    done = call(fresh / "opsascode", "check", "--format", "json", cwd=PROJECT, home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["ok"]


def test_the_installed_wheel_runs_a_runbook_and_verifies_its_record(fresh: Path, tmp_path: Path) -> None:
    world: World = new_world(tmp_path / "home")
    world.runbook("one", f"- id: touch\n  task: {{ansible.builtin.command: 'touch {tmp_path}/touched'}}", targets="{hosts: web1}")  # fmt: skip
    world.commit()
    done = call(fresh / "opsascode", "run", "one", "-y", cwd=world.root, home=world.home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "touched").exists()
    verified = call(fresh / "python", "-m", "opsascode", "verify", "latest", cwd=world.root, home=world.home)
    assert verified.returncode == 0, verified.stdout + verified.stderr
