"""The how-to pages: their commands, typed in order in a small world, print what the pages show.

How a page is read:

- A block of YAML that begins with `# PATH` is that file of the repository, and so is a comment that begins with `# PATH`.
- A `console` block is typed; what stands below a command is what it prints, and `# exit code N` behind it how it ends.
- A comment that begins with `$ ` is typed without being shown.
- A comment `meanwhile: CONDITION` lets the next block go on beside those that follow, as soon as a shell finds the
  condition true; what it printed is compared at the end of the page.
- Blocks in any other language are there to be read.

A page that names `http://localhost:9090` has a Prometheus there, which has counted a week of the service `checkout`
and reads the rules in `/tmp/rules`.

Times, ids, digests, process numbers and the like are compared by their shape.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from opsascode.cli._main import _root
from tests.acceptance.histories import checkout_history
from tests.acceptance.test_readme import shape as readme_shape
from tests.slo.prometheus import backfilled_prometheus
from tests.world import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = (
    "stop-a-run",
    "resume-a-run",
    "undo-a-run",
    "canary-and-waves",
    "secrets",
    "vault-and-passwords",
    "predict-changes",
    "start-a-repository",
    "set-up-trust",
    "roll-back-a-policy",
    "simulate-a-policy-change",
    "write-a-guardrail",
    "gate-a-deploy",
    "write-a-reliability-policy",
    "watch-an-error-budget",
)
SHAPES = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?( UTC|Z)?", "MOMENT"),
    (r"\d\d:\d\d:\d\d UTC", "CLOCK"),
    (r"\b\d{4}-\d\d-\d\d\b", "DAY"),
    (r"\bsha256:[0-9a-f]{12}…", "DIGEST…"),
    (r"\b[0-9a-f]{12}\b", "COMMIT…"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"\bin \d+ d(?: \d+ h)?", "in DAYS"),
    (r"process \d+", "process PID"),
    (r" +\d+\.\ds\b", " TIME"),
    (r"\b\d+\.\d [KM]iB", "SIZE"),
)
PROMETHEUS = "http://localhost:9090"
HOSTS = """
web:
  hosts: {web1: {}, web2: {}, web3: {}}
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
"""
_BLOCK = re.compile(r"^<!-- (?P<hidden>.*?)-->$|^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_RESULT = re.compile(r"  \S+ +(?:web|lab)\d +[a-zA-Z]+ ")
_EXIT_CODE = re.compile(r"# exit code (\d+)")


@dataclass(frozen=True, kw_only=True)
class Typed:
    """One command of a page, what the page shows below it, and what it really printed."""

    command: str
    expected: str
    shown: str
    code: int

    @property
    def expected_code(self) -> int:
        found = _EXIT_CODE.search(self.command)
        return int(found[1]) if found else 0


@dataclass
class Page:
    """One page, being typed."""

    name: str
    home: Path
    prometheus: str = PROMETHEUS
    typed: list[Typed] = field(default_factory=list)
    _beside: list[tuple[str, str, subprocess.Popen[str]]] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.home / "ops"

    def begin(self) -> None:
        """Make the repository that all pages begin with: three hosts on this machine."""
        self.root.mkdir()
        (self.home / "tmp").mkdir()
        (self.home / ".gitconfig").write_text("[user]\n\tname = Alex Example\n\temail = alex@example.org\n")
        self._shell("git init --quiet --initial-branch main")
        spec = f"{{inventory: inventories/hosts.yml, locks: {self.home}/locks}}"
        head = "apiVersion: opsascode/v1\nkind: Repository\nmetadata: {name: ops}\n"
        self._write(f"# opsascode.yml\n{head}spec: {spec}\n")
        self._write(f"# inventories/hosts.yml\n{HOSTS}")

    def type_all(self, text: str) -> None:
        """Type the page from its first block to its last."""
        until = ""
        for block in _BLOCK.finditer(text):
            hidden, language, body = block["hidden"], block["language"], block["body"]
            if hidden is not None:
                until = hidden.removeprefix("meanwhile: ").strip() if hidden.startswith("meanwhile: ") else ""
                self._prepare(hidden)
            elif language == "yaml" and body.startswith("# "):
                self._write(self._placed(body))
            elif language == "console" and until:
                self._start(body, until)
                until = ""
            elif language == "console":
                self._type(body)
        self._finish()

    def _prepare(self, hidden: str) -> None:
        if hidden.startswith("# "):
            self._write(self._placed(hidden))
        for command, _ in commands(hidden) if hidden.startswith("$ ") else ():
            self._shell(self._placed(command))

    def _write(self, text: str) -> None:
        name, _, content = text.removeprefix("# ").partition("\n")
        path = self.root / name.split()[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        self._shell(f"git add --all; git commit --quiet --message 'Change {path.name}'")

    def _type(self, body: str) -> None:
        for command, expected in commands(body):
            done = self._shell(self._placed(command))
            self.typed.append(Typed(command=command, expected=expected, shown=done.stdout, code=done.returncode))

    def _start(self, body: str, until: str) -> None:
        ((command, expected),) = commands(body)
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=self.root, env=self._variables(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._beside.append((command, expected, process))
        deadline = time.monotonic() + 30
        while self._shell(until).returncode and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)

    def _finish(self) -> None:
        for command, expected, process in self._beside:
            shown, _ = process.communicate(timeout=60)
            shown = self._told(shown)
            self.typed.append(Typed(command=command, expected=expected, shown=shown, code=process.returncode))

    def _shell(self, command: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash"], input=f"{command}\n", cwd=self.root, env=self._variables(), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
        )  # fmt: skip
        done.stdout = self._told(done.stdout)
        return done

    def _placed(self, text: str) -> str:
        """Put the test's own directory in the place of /tmp, and its own Prometheus in that of the page's."""
        text = text.replace(PROMETHEUS, self.prometheus)
        return text.replace("/tmp/", f"{self.home}/tmp/")  # noqa: S108 - replaced, not used

    def _told(self, text: str) -> str:
        """Put the names of the pages in the place of those of this machine."""
        account = pwd.getpwuid(os.getuid()).pw_name
        text = re.sub(rf"\b(by|of|started by) {re.escape(account)}\b", r"\1 alex", text)
        text = text.replace(self.prometheus, PROMETHEUS)
        return text.replace(f"{self.home}/tmp/", "/tmp/").replace(str(self.home), "/home/alex")  # noqa: S108 - and back

    def _variables(self) -> dict[str, str]:
        programs = f"{COMMAND.parent}:{os.environ['PATH']}"
        return {"PATH": programs, "HOME": str(self.home), "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}


def commands(body: str) -> Iterator[tuple[str, str]]:
    """Every command of a block with the output that stands below it."""
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def shape(text: str) -> str:
    text = readme_shape(text)
    for pattern, name in SHAPES:
        text = re.sub(pattern, name, text)
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return "\n".join(line for _, each in groupby(lines, key=_is_result) for line in sorted_if(each))


def _is_result(line: str) -> bool:
    return bool(_RESULT.match(line))


def sorted_if(lines: Iterable[str]) -> list[str]:
    """Put results that stand together into one order: hosts answer when they like."""
    found = list(lines)
    return sorted(found) if _is_result(found[0]) else found


def typed_page(name: str, home: Path) -> list[Typed]:
    """Type one page in a new world."""
    page = Page(name=name, home=home)
    page.begin()
    text = (HOW_TO / f"{name}.md").read_text(encoding="utf-8")
    with ExitStack() as servers:
        if PROMETHEUS in text:
            prometheus = servers.enter_context(backfilled_prometheus(home, checkout_history()))
            prometheus.reload(rules=[home / "tmp" / "rules" / "*.rules.yml"])
            page.prometheus = prometheus.url
        page.type_all(text)
    return page.typed


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_its_commands_print(name: str, tmp_path: Path) -> None:
    typed = typed_page(name, tmp_path)
    assert typed, "a page without a command shows nothing"
    for each in typed:
        assert shape(each.shown) == shape(each.expected), each.command
        assert each.code == each.expected_code, each.command
    for drawn in (tmp_path / "tmp").glob("*.svg"):
        assert words_of(drawn) == words_of(HOW_TO.parent / "pictures" / drawn.name), "draw it again"


def words_of(picture: Path) -> list[str]:
    """Everything that a picture says, without its numbers."""
    words = re.findall(r"<(?:title|desc|text)[^>]*>(.*?)</", picture.read_text(encoding="utf-8"))
    return [re.sub(r"\d+", "0", each) for each in words]


def test_every_page_is_typed_or_known_not_to_be() -> None:
    asked_of_people = {"approve-a-run", "look-back", "share-a-ledger"}  # several machines, or three months of runs
    read_only = {
        "break-the-glass",
        "guard-a-git-server",
        "review-policies-on-github",
        "run-in-ci",
        "write-a-runbook",
    }
    assert {page.stem for page in HOW_TO.glob("*.md")} == {*PAGES, *asked_of_people, *read_only}


@pytest.mark.parametrize("page", sorted(HOW_TO.glob("*.md")), ids=lambda page: page.stem)
def test_every_command_on_a_page_exists(page: Path) -> None:
    """Also where it is not typed: in a sentence, or in a block that is there to be read."""
    for words in re.findall(
        r"(?:`|\$ |run: )opsascode ([a-z]+(?: [a-z]+(?:-[a-z]+)*\b)?)", page.read_text(encoding="utf-8")
    ):
        command: click.Command | None = _root
        for word in words.split():
            if isinstance(command, click.Group):
                command = command.get_command(click.Context(command), word)
        assert command is not None, words
