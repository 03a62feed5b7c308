"""Judge one transition and print how many seconds that took, imports and Python's own start left out.

`judge_transition.py REPOSITORY BASE HEAD ROOT CACHE`: a process for each, so that nothing is remembered but the index.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import opsascode.policy
import opsascode.proof
import opsascode.repo
from opsascode.repo import Attestations, ObjectStore
from opsascode.run import TransitionJudge


def main(place: str, base: str, head: str, root: str, cache: str) -> None:
    for house in (opsascode.proof, opsascode.repo, opsascode.policy):
        for room in pkgutil.iter_modules(house.__path__, f"{house.__name__}."):
            importlib.import_module(room.name)
    began = time.perf_counter()
    store, left = ObjectStore.of(Path(place)), Attestations.of(Path(place), None)
    judge = TransitionJudge(
        store=store,
        pin=root,
        now=datetime.now(UTC),
        attestations=lambda change: left.of_change(change.target_scope) if left else (),
        cache=Path(cache),
    )
    old, new = (store.commit_of(name) for name in (base, head))
    assert old is not None
    assert new is not None
    decision = judge.judge(old, new).decision
    took = time.perf_counter() - began
    assert decision.allowed, decision.missing
    print(took)


if __name__ == "__main__":
    main(*sys.argv[1:6])
