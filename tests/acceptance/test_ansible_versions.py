"""The oldest ansible-core that is promised, and the newest there is for each Python found here, run the same runbooks.

Each has an environment of its own, made by pip as a user would make it and kept in pytest's cache; our code is put into
it anew. They need an index to install from.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.world import Answer, World, new_world

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).parents[2]
OLDEST = "2.16"
CANARY = "c4n4ry/s3cret+value"
LIBRARIES = ("ansible-runner", "click", "cryptography", "jsonschema", "pyyaml", "rich")

STEPS = """
- id: made
  title: Make a file
  task: {ansible.builtin.copy: {content: "{{ release }}", dest: "{{ place }}/{{ inventory_hostname }}"}}
  register: made
  become: false
  undo: {task: {ansible.builtin.file: {path: "{{ made.dest }}", state: absent}}}
- id: quiet
  title: Use the secret
  task: {ansible.builtin.shell: {cmd: "printf '%s\\\\n' \\"$TOKEN\\"; printf %s \\"$TOKEN\\" | base64"}}
  environment: {TOKEN: "{{ token }}"}
- id: role
  role: {name: noted, vars: {noted_place: "{{ place }}"}}
- id: same
  check: {that: "made.dest is file", message: "{{ made.dest }} is gone"}
- id: wanted
  check: {that: "inventory_hostname != refused", message: "{{ inventory_hostname }} refuses {{ token }}"}
"""
TASKS = """
- name: Note it
  ansible.builtin.lineinfile: {path: "{{ noted_place }}/notes", line: "{{ inventory_hostname }}", create: true}
  notify: tell
"""
HANDLERS = """
- name: tell
  ansible.builtin.copy: {content: told, dest: "{{ noted_place }}/told-{{ inventory_hostname }}"}
"""
PARAMETERS = '{release: {type: string}, place: {type: string}, refused: {type: string, default: ""}, token: {type: string, secret: true}}'


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    path: Path
    version: tuple[int, int]


@dataclass(kw_only=True)
class Installed(World):
    """A world in which another installation of the command is used."""

    program: Path

    def ops(self, *words: str | Path, stdin: str = "", **environment: str) -> Answer:
        done = subprocess.run(
            [self.program, *map(str, words)],
            cwd=self.root,
            env={**self.variables(), **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


def interpreters() -> Iterator[Interpreter]:
    """This Python, and the newest other one of this machine that runs."""
    yield Interpreter(path=Path(sys.executable), version=sys.version_info[:2])
    roots = (Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions",)
    for minor in (14, 13, 12):
        name = f"python3.{minor}"
        kept = [path for root in roots for path in sorted(root.glob(f"3.{minor}.*/bin/{name}"))]
        found = shutil.which(name)
        for path in (*kept, *([Path(found)] if found else ())):
            works = subprocess.run([path, "-c", "import venv, ssl, ensurepip"], capture_output=True, check=False)
            if works.returncode == 0 and (3, minor) != sys.version_info[:2]:
                yield Interpreter(path=path, version=(3, minor))
                return


FOUND = tuple(interpreters())
WANTED = ((FOUND[0], f"=={OLDEST}.*"), (FOUND[-1], ""))


def named(value: object) -> str:
    if isinstance(value, Interpreter):
        return "python{}.{}".format(*value.version)
    return f"core{value}" if value else "newest"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", place]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    (built,) = place.iterdir()
    return built


def environment_of(place: Path, python: Path, core: str, wheel: Path) -> Path:
    """The directory of the programs of an environment with this ansible-core and our code as it is now."""
    ready = place / "ready"
    variables = {name: value for name, value in os.environ.items() if name not in {"PIP_CONSTRAINT", "PYTHONPATH"}}

    def pip(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=300)

    if not ready.exists():
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([python, "-m", "venv", place], check=True)
        done = pip("--only-binary", ":all:", f"ansible-core{core}", *LIBRARIES)
        assert done.returncode == 0, f"ansible-core{core} cannot be installed here: {done.stderr.strip()[-300:]}"
        ready.touch()
    ours = pip("--no-deps", "--no-index", "--force-reinstall", wheel)
    assert ours.returncode == 0, ours.stderr
    return place / "bin"


@pytest.fixture(scope="module", params=WANTED, ids=lambda pair: "-".join(map(named, pair)))
def programs(request: pytest.FixtureRequest, wheel: Path) -> Path:
    interpreter, core = request.param
    cache = request.config.cache.mkdir("ansible-versions")
    return environment_of(
        cache / f"{named(interpreter)}-{named(core)}".replace("*", "x"), interpreter.path, core, wheel
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


@pytest.fixture
def world(tmp_path: Path, programs: Path) -> World:
    made = Installed(home=new_world(tmp_path / "home").home, program=programs / "opsascode")
    made.runbook("all", STEPS, parameters=PARAMETERS, targets="{hosts: web, waves: [1, '100%']}", on_failure="undo")
    made.write("playbooks/roles/noted/tasks/main.yml", TASKS)
    made.write("playbooks/roles/noted/handlers/main.yml", HANDLERS)
    made.commit()
    return made


def run(world: World, place: Path, *words: str) -> tuple[int, str]:
    answer = world.ops(
        "run", "all", "-e", "release=r1", "-e", f"place={place}", *words, "-y", OPSASCODE_PARAM_TOKEN=CANARY
    )
    assert CANARY not in answer.out + answer.err
    return answer.code, answer.out + answer.err


def test_waves_undo_secrets_handlers_and_kept_values(world: World, place: Path) -> None:
    code, said = run(world, place)
    assert code == 0, said
    assert {path.name for path in place.iterdir()} == {
        "notes", "web1", "web2", "web3", "told-web1", "told-web2", "told-web3",
    }  # fmt: skip
    for path in place.iterdir():
        path.unlink()
    code, said = run(world, place, "-e", "refused=web3")
    assert code == 1, said
    assert "web3 refuses [secret]" in said
    assert {"web1"} == {path.name for path in place.iterdir() if path.name.startswith("web")}
    assert world.ops("verify", "--all").code == 0
    kept = b"".join(path.read_bytes() for path in world.home.rglob("*") if path.is_file())
    assert CANARY.encode() not in kept


def test_which_ansible_it_was_stands_in_the_record(world: World, place: Path, programs: Path) -> None:
    assert run(world, place, "--limit", "web1")[0] == 0
    asked = [programs / "python", "-c", "import importlib.metadata as m; print(m.version('ansible-core'))"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    shown = world.ops("runs", "show", "--format", "json").out
    assert f'"{version}"' in shown
