"""What does ansible-runner cost as it comes? Runs each playbook by a call of its own, with its defaults.

`python benchmarks/runner_calls.py INVENTORY PLAYBOOK...`: the peer of a stage that is compiled into one playbook.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ansible_runner


def main(inventory: str, playbooks: list[str]) -> None:
    for playbook in playbooks:
        with tempfile.TemporaryDirectory() as private:
            done = ansible_runner.run(
                private_data_dir=private,
                playbook=str(Path(playbook).absolute()),
                inventory=str(Path(inventory).absolute()),
                quiet=True,
            )
        assert done.status == "successful", (playbook, done.status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
