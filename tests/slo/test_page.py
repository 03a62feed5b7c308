"""The page about reliability policies writes out what is meant where nothing is said."""

from __future__ import annotations

import re
import textwrap
from dataclasses import asdict
from pathlib import Path

from opsascode.slo import burn_windows
from tests.slo.documents import bare, policy_in

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-reliability-policy.md"


def test_the_whole_document_means_what_the_shortest_one_means(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n.*?^spec:\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shortest = policy_in(tmp_path / "shortest", textwrap.dedent(blocks[0]), "checkout")
    whole = policy_in(tmp_path / "whole", textwrap.dedent(blocks[1]), "checkout")
    assert len(whole.alerting) > len(shortest.alerting) == 0
    assert burn_windows(whole) == burn_windows(shortest)
    said, meant = bare(asdict(whole)), bare(asdict(shortest))
    for name in ("service", "window", "thresholds", "gate"):
        assert said[name] == meant[name], name
    kept = [each for each in whole.targets if shortest.target(each.id)]
    assert bare([asdict(each) for each in kept]) == meant["targets"]
    assert [type(each.indicator) for each in kept] == [type(each.indicator) for each in shortest.targets]
