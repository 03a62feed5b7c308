"""A small living world: an ops repository in Git, its state directory, and the installed command; changed in one line.

Everything in it is real: files, Git, keys, ledger, Ansible. Only HOME and the XDG directories point into the test's own
directory, so that nothing of the person who runs the tests is read or changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).parent / "opsascode"

LOCAL_INVENTORY = """
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  children:
    web: {hosts: {web1: {}, web2: {}, web3: {}}}
    db: {hosts: {db1: {}}}
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(kw_only=True)
class World:
    """An ops repository and everything around it."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.home / "repo"

    @property
    def state(self) -> Path:
        return self.home / "state" / "opsascode"

    @property
    def ledger(self) -> Path:
        return self.state / "ledger"

    @property
    def public_key(self) -> Path:
        return self.state / "keys" / "machine.pub"

    def write(self, path: str, text: str) -> Path:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")
        return place

    def runbook(self, name: str, steps: str, **spec: str) -> Path:
        """Write a runbook with these steps (YAML list items) and further lines of `spec`."""
        more = "".join(f"  {key}: {value}\n" for key, value in {"targets": "{hosts: web}", **spec}.items())
        head = f"apiVersion: opsascode/v1\nkind: Runbook\nmetadata: {{name: {name}, title: Test {name}, version: 1.0.0}}\nspec:\n"
        body = textwrap.indent(textwrap.dedent(steps).strip("\n"), "    ")
        return self.write(f"playbooks/{name}.yml", f"{head}{more}  steps:\n{body}\n")

    def commit(self, message: str = "change") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD").strip()

    def git(self, *words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=self.root, env=self.variables(), check=True, capture_output=True, text=True
        ).stdout

    def variables(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.home),
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "GIT_AUTHOR_NAME": "Alex Example",
            "GIT_AUTHOR_EMAIL": "alex@example.org",
            "GIT_COMMITTER_NAME": "Alex Example",
            "GIT_COMMITTER_EMAIL": "alex@example.org",
            **self.environment,
        }

    def ops(self, *words: str | Path, stdin: str = "", **environment: str) -> Answer:
        """Run the installed command in the repository."""
        done = subprocess.run(
            [COMMAND, *map(str, words)],
            cwd=self.root,
            env={**self.variables(), **environment},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Answer(code=done.returncode, out=done.stdout, err=done.stderr)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start the installed command and leave it running."""
        return subprocess.Popen(
            [COMMAND, *map(str, words)],
            cwd=self.root,
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def new_world(home: Path) -> World:
    """Make a world with an empty ops repository, a local inventory of four hosts, and one commit."""
    world = World(home=home)
    world.root.mkdir(parents=True)
    world.git("init", "--quiet", "--initial-branch", "main")
    world.write("opsascode.yml", f"""
        apiVersion: opsascode/v1
        kind: Repository
        metadata: {{name: test-repository}}
        spec: {{inventory: inventories/local.yml, locks: {home / "locks"}}}
        """)  # fmt: skip
    world.write("inventories/local.yml", LOCAL_INVENTORY)
    world.commit("begin")
    return world
