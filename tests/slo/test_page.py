"""The page about reliability policies writes out what is meant where nothing is said."""

from __future__ import annotations

import re
import textwrap
from dataclasses import fields, is_dataclass
from pathlib import Path

from opsascode.slo import burn_windows
from tests.slo.documents import policy_in

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-reliability-policy.md"


def test_the_whole_document_means_what_the_shortest_one_means(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n.*?^spec:\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shortest = policy_in(tmp_path / "shortest", textwrap.dedent(blocks[0]), "checkout")
    whole = policy_in(tmp_path / "whole", textwrap.dedent(blocks[1]), "checkout")
    assert len(whole.alerting) > len(shortest.alerting) == 0
    assert burn_windows(whole) == burn_windows(shortest)
    for name in ("service", "window", "thresholds", "gate"):
        assert without_places(getattr(whole, name)) == without_places(getattr(shortest, name)), name
    for each in shortest.targets:
        assert without_places(whole.target(each.id)) == without_places(each)


def without_places(value: object) -> object:
    """Give what a part of a document means, without where it stands."""
    if isinstance(value, tuple):
        return tuple(map(without_places, value))
    if not is_dataclass(value):
        return value
    meant = {each.name: without_places(getattr(value, each.name)) for each in fields(value) if each.name != "position"}
    return (type(value), meant)
