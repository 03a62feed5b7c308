"""What do guardrails, simulations and rules for Prometheus cost?

Each is measured in a process of its own that has imported everything already, a few times; the scripts can be run by
themselves. What `slo status` costs is in `slo_status.py`.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Line, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
_CONTESTS = (
    ("guardrails.py", 5, r": ([0-9.]+) s,", "10,000 plans judged by 200 rules", 2.0),
    ("simulate.py", 5, r": ([0-9.]+) s,", "1,000 records of 90 days simulated", 2.0),
    ("slo_rules.py", 3, r"rules: ([0-9.]+) s,", "rules of 1,000 services, 2,000 promises", 5.0),
)


def reliability() -> Iterator[Line]:
    """Measure judging, simulating and making rules."""
    for script, rounds, form, what, most in _CONTESTS:
        told = [_said(script) for _ in range(rounds)]
        took = statistics.median(float(re.findall(form, each)[-1]) for each in told)
        yield Line(what=what, ours=seconds(took), peer=_peer(told), target=f"< {most:g} s", holds=took < most)


def _peer(told: list[str]) -> str:
    found = [float(each) for text in told for each in re.findall(r"against libyaml ([0-9.]+) x", text)]
    return f"{statistics.median(found):.1f} x slower: libyaml" if found else ""


def _said(script: str) -> str:
    print(f"{script} …", file=sys.stderr, flush=True)
    return subprocess.run([sys.executable, HERE / script], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    from measure import table

    print(table(tuple(reliability())))
