"""An ops repository on disk, made of texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

World = Callable[[dict[str, str]], Path]

GOOD = """\
apiVersion: opsascode/v1
kind: Runbook
metadata: {name: NAME}
spec:
  targets: {hosts: web}
  steps:
    - {id: a, task: {ansible.builtin.ping: }}
"""


def runbook(name: str) -> str:
    """A small valid runbook."""
    return GOOD.replace("NAME", name)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Write files and give the root they lie in."""

    def write(files: dict[str, str]) -> Path:
        root = tmp_path.resolve() / "ops"
        root.mkdir(exist_ok=True)
        for path, text in files.items():
            place = root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8", newline="")
        return root

    return write
