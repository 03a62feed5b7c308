"""What the documentation shows is valid, and what it points to exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from tests.world import World

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FOLDERS = {"Runbook": "playbooks"}  # all others are policies


def documents() -> list[tuple[str, str]]:
    """Every example that is a whole document, with the page it stands on."""
    fence = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [
        (page.name, block)
        for page in PAGES
        for block in fence.findall(page.read_text(encoding="utf-8"))
        if block.startswith("apiVersion: opsascode")
    ]


def test_there_are_examples_to_check() -> None:
    assert len(documents()) >= 2


@pytest.mark.parametrize("example", documents(), ids=lambda example: example[0])
def test_every_document_shown_is_valid(world: World, example: tuple[str, str]) -> None:
    _, text = example
    document = yaml.safe_load(text)
    name = (
        "pack" if document["kind"] == "PolicyPack" else document["metadata"]["name"]
    )  # there is one pack, in one place
    folder = world.root / FOLDERS.get(document["kind"], "policies")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yml").write_text(text, encoding="utf-8")
    bound = document["spec"].get("enforce")
    if bound:
        given = ", ".join(f"{each}: {{type: boolean}}" for each in bound.get("parameters", {}))
        used = " ".join(f"{{{{ {each} }}}}" for each in bound.get("parameters", {}))
        steps = f'- id: push\n  title: Push\n  task: {{ansible.builtin.debug: {{msg: "{used}"}}}}'
        world.runbook(bound["runbook"], steps, parameters=f"{{{given}}}")
    answer = world.ops("check")
    assert answer.code == 0, answer.out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    printed = re.compile(r"^```console\n.*?^```$", re.MULTILINE | re.DOTALL)  # what a command says leads elsewhere
    for target in re.findall(r"\]\(([^)#:]+)\)", printed.sub("", page.read_text(encoding="utf-8"))):
        assert (page.parent / target).exists(), target
