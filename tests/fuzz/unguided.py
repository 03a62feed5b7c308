"""Bend honest objects, one after the other, until the time is over."""

from __future__ import annotations

import os
import time
from random import Random
from typing import TYPE_CHECKING

from tests.fuzz.guard import examine, keep
from tests.fuzz.mutate import bent

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fuzz.targets import Target


def search(target: Target, seconds: float, seed: int, _corpus: Path) -> None:
    """Print `Done N runs`, or the first finding and end the process."""
    chance, seeds = Random(seed), list(target.seeds())  # noqa: S311 - to be repeated, not to be secret
    tried, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        finding = examine(target.name, target.run, bent(chance.choice(seeds), seeds, chance, target.most))
        tried += 1
        if finding:
            print(keep(finding, seed), flush=True)
            os._exit(1)
    print(f"Done {tried} runs", flush=True)
