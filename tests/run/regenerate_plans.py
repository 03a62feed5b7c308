"""Write the golden plans and playbooks of `tests/cases/plans` anew: `python -m tests.run.regenerate_plans`."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from opsascode.repo import open_repository
from opsascode.run import Request, resolve
from opsascode.run._compose import FlatStep
from opsascode.run._resolve import undo_of

CASES = Path(__file__).parents[1] / "cases" / "plans"
NAMES = ("kinds", "composed", "leaf", "asked", "inner")
INVENTORY = """
all:
  vars: {http_port: 8080}
  children:
    web: {hosts: {web1: {}, web2: {}, web3: {}, web4: {}}}
    db: {hosts: {db1: {}}}
"""
SETTINGS = """
apiVersion: opsascode/v1
kind: Repository
metadata: {name: golden}
spec: {inventory: inventories/hosts.yml, prometheus: {url: "http://127.0.0.1:9090/"}}
"""


def make_repository(root: Path) -> Path:
    """Make an ops repository without Git (so that no commit is in the plan) that holds all cases."""
    for path, text in {
        "opsascode.yml": SETTINGS,
        "inventories/hosts.yml": INVENTORY,
        "playbooks/ansible/site.yml": "- name: Site\n  hosts: all\n  tasks: []\n",
        "playbooks/roles/greeter/tasks/main.yml": "- name: Greet\n  ansible.builtin.ping:\n",
    }.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    for case in NAMES:
        shutil.copy(CASES / f"{case}.yml", root / "playbooks" / f"{case}.yml")
    return root


def golden_files(root: Path, case: str) -> dict[str, str]:
    """Give plan and playbook of one case; the digest of Ansible's own inventory document is left out of the plan.

    Where people are asked in between, also the playbooks that come after; where something can be undone, the undo.
    """
    repository = open_repository(root)
    runbook = repository.runbook(case)
    secrets = {"token": "t0p-secret"} if case == "kinds" else {}
    values = {"name": "x"} if case == "leaf" else {}
    resolution = resolve(
        repository,
        Request(runbook=runbook, secrets=secrets, values=values),
        environ={"PATH": "/usr/bin:/bin"},
        cache=None,
    )
    plan = resolution.plan.to_json()
    inventory = plan["inventory"]
    assert isinstance(inventory, dict)
    inventory["digest"] = "sha256:of-the-document"
    files = {
        f"{case}.plan.json": json.dumps(plan, indent=2) + "\n",
        f"{case}.playbook.yml": resolution.playbook.decode(),
    }
    asked = {stage.wave for stage in resolution.stages if stage.ask}
    files |= {
        f"{case}.stage-{stage.id}.yml": stage.playbook.decode()
        for stage in resolution.stages
        if stage.flats and stage.wave in asked
    }
    steps = [flat.id for flat in resolution.flats if isinstance(flat, FlatStep)]
    undo = undo_of(resolution, dict.fromkeys(resolution.stages[-1].hosts[:1], steps), header=())
    return files | ({f"{case}.undo.yml": undo[0].decode()} if undo else {})


def main() -> None:
    """Write every golden file."""
    with tempfile.TemporaryDirectory() as place:
        root = make_repository(Path(place))
        for case in NAMES:
            for name, text in golden_files(root, case).items():
                (CASES / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
