"""Makes a Git repository with a long past: thousands of commits over hundreds of policies.

`git fast-import` writes it in a few seconds. Every commit changes one policy and one file that is not protected; every
fiftieth comes by a merge. No value of a policy is ever the same twice, but for what a caller asks about.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

START = 1_600_000_000
MINUTES_APART = 10
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


def policy(number: int, turn: int) -> str:
    """The text of a policy as of its change number `turn`."""
    return f"""\
# yaml-language-server: $schema=../schemas/guardrail.schema.json
apiVersion: opsascode/v1
kind: Guardrail
metadata:
  name: policy-{number}
  title: The policy number {number} of a large repository
  owners: [team:sre]
spec:
  applies_to:
    groups: [production, zone-{number % 20}]
    runbooks: ["restart-*", service-{number}]
  require:
    max_hosts: {turn + 5}
    max_percent: {turn % 60 + 5}
    triggers: [manual, ci]
  reason: A mistake in a runbook must not take more than a part of production with it, see change {turn}.
"""


def make(directory: Path, *, commits: int = 20_000, policies: int = 500) -> Path:
    """Make the repository, with a branch `main`, bare."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(directory)], env=ENVIRONMENT, check=True)
    done = subprocess.run(
        ["git", "fast-import", "--quiet"],
        cwd=directory,
        env=ENVIRONMENT,
        input="".join(_stream(commits, policies)).encode(),
        check=False,
        capture_output=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode())
    return directory


def _stream(commits: int, policies: int) -> Iterator[str]:
    yield from _commit("refs/heads/main", 0, "the first", 1)
    yield _file("opsascode.yml", "apiVersion: opsascode/v1\nkind: Repository\nmetadata: {name: long-past}\n")
    for number in range(policies):
        yield _file(f"policies/team-{number % 25}/policy-{number}.yml", policy(number, 0))
    before = 1
    for turn in range(1, commits):
        number, mark = turn * 7 % policies, turn * 2 + 1
        merged = turn % 50 == 0
        if merged:
            yield from _commit("refs/heads/side", turn, f"change {turn} on a branch", mark - 1, before)
            yield _file(f"policies/team-{number % 25}/policy-{number}.yml", policy(number, turn))
        yield from _commit("refs/heads/main", turn, f"change {turn}", mark, before)
        if merged:
            yield f"merge :{mark - 1}\n"
        yield _file(f"policies/team-{number % 25}/policy-{number}.yml", policy(number, turn))
        yield _file(f"docs/page-{turn % 300}.md", f"# Page\n\nChange {turn}.\n")
        before = mark


def _commit(ref: str, turn: int, words: str, mark: int, before: int | None = None) -> Iterator[str]:
    who = f"Somebody <somebody@example.net> {START + turn * MINUTES_APART * 60} +0000"
    yield f"commit {ref}\nmark :{mark}\ncommitter {who}\ndata {len(words)}\n{words}\n"
    if before is not None:
        yield f"from :{before}\n"


def _file(path: str, text: str) -> str:
    return f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n"


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))
