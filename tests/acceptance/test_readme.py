"""The README's five-minute path, typed as it stands there, prints what stands there.

What differs from run to run (ids, digests, times, keys, the commit) is compared by its shape.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from opsascode.cli._main import _COMMANDS
from opsascode.errors import ExitCode
from tests.world import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHAPES = (
    (r"sha256:[0-9a-f]{64}", "DIGEST"),
    (r"SHA256:[A-Za-z0-9+/]{43}", "KEYID"),
    (r"\b[0-9a-f]{40}\b", "COMMIT"),
    (r"\b\d{8}-\d{6}-[0-9a-f]{6}\b", "RUN"),
    (r"opsascode/[0-9a-f]{32}", "ORIGIN"),
    (r" +\d+\.\ds\b", " TIME"),
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def shape(text: str) -> str:
    for pattern, name in SHAPES:
        text = re.sub(pattern, name, text)
    return text


def steps() -> Iterator[tuple[str, str]]:
    """Every command of the five-minute path with the output that stands below it."""
    path = README[README.index("## Five minutes") : README.index("## Commands")]
    for language, body in re.findall(r"^```(sh|console)\n(.*?)^```$", path, re.MULTILINE | re.DOTALL):
        if language == "sh":
            yield body, ""
            continue
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


@dataclass(frozen=True, kw_only=True)
class Typed:
    """One command of the path, what the README shows below it, and what it really printed."""

    command: str
    expected: str
    shown: str
    code: int


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("readme")
    (place / ".gitconfig").write_text("[user]\n\tname = Alex Example\n\temail = alex@example.org\n")
    return place


@pytest.fixture(scope="module")
def path(home: Path) -> list[Typed]:
    """Type the whole path once; its first block, the installation, is done by the environment of the tests."""
    environment = {
        "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "TMPDIR": str(home),
        "NO_COLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    typed, where = [], home
    for command, expected in list(steps())[1:]:
        own = command.replace("{name: my-ops}", f"{{name: my-ops-{os.getpid()}}}")  # its locks are not another test's
        script = f"cd {where}\n{own.replace('/tmp/', f'{home}/')}\n"  # noqa: S108 - the README's /tmp becomes the test's own
        done = subprocess.run(
            ["bash"], input=script, cwd=home, env=environment, capture_output=True, text=True, check=False
        )
        shown = (done.stdout + done.stderr).replace(f"{home}/", "/tmp/")  # noqa: S108 - and back
        typed.append(Typed(command=command, expected=expected, shown=shown, code=done.returncode))
        if "mkdir ops" in command:
            where = home / "ops"
    return typed


def test_the_path_begins_with_the_installation() -> None:
    assert "pip install" in next(steps())[0]


def test_the_five_minute_path_prints_what_the_readme_shows(path: list[Typed]) -> None:
    for typed in path:
        assert shape(typed.shown).strip() == shape(typed.expected).strip(), typed.command


def test_only_what_must_fail_on_the_path_fails(path: list[Typed]) -> None:
    assert [typed.code for typed in path if typed.code] == [3, 5]


def test_a_tampered_receipt_of_the_path_ends_with_5(path: list[Typed], home: Path) -> None:
    assert path
    done = subprocess.run(
        [COMMAND, "verify", home / "receipt.json", "--key", home / "machine.pub"],
        cwd=home,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 5


def test_the_readme_names_every_command_and_exit_code() -> None:
    for name in _COMMANDS:
        assert f"`opsascode {name}" in README
    for code in ExitCode:
        assert f"| {int(code)} |" in README


def test_every_file_the_readme_points_to_exists() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("verb", ["demo", "test"])
def test_the_two_commands_of_the_readme_are_targets_of_the_makefile(verb: str) -> None:
    assert f"make {verb}" in blocks("sh")[0]
    assert re.search(rf"^{verb}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
