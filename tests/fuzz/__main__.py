"""Search for inputs that are answered wrongly: `python -m tests.fuzz [--seconds N] [--target NAME] [--seed N]`.

Each target has a process of its own and an equal part of the time. Where atheris is installed (extra `fuzz`), its
libFuzzer keeps the inputs that reach new code and bends those further; else the honest objects alone are bent. Both bend
with `mutate`, and look at the answers with `guard`. A finding is printed with its seed and written as a hexdump to
`.fuzz/`; `--again FILE` tries it once more. Exit 1 when there is one.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fuzz.guard import examine, from_hexdump

LEAST_SECONDS = 1.0


def main() -> int:
    words = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Bend what parsers of untrusted bytes read."
    )
    words.add_argument("--seconds", type=float, default=60.0, help="for all targets together (60)")
    words.add_argument("--target", help="only this one")
    words.add_argument("--seed", type=int, default=int(time.time()), help="the same seed bends the same way")
    words.add_argument("--again", type=Path, help="a hexdump to try once more, for --target")
    given = words.parse_args()
    kind = "guided" if importlib.util.find_spec("atheris") else "unguided"
    engine = importlib.import_module(f"tests.fuzz.{kind}")  # before the targets, to see what they import
    from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - see the line before

    if given.target not in {None, *TARGETS} or (given.again and not given.target):
        words.error(f"the targets are {', '.join(TARGETS)}")
    if given.again:
        finding = examine(given.target, TARGETS[given.target].run, from_hexdump(given.again.read_text()))
        print(f"{finding.what}\n{finding.told}" if finding else "answered as it should be")
        return 1 if finding else 0
    names = [given.target] if given.target else list(TARGETS)
    print(f"{len(names)} targets, {given.seconds:.0f} s, seed {given.seed}, {kind}", flush=True)
    share = max(LEAST_SECONDS, given.seconds / len(names))
    failed = [name for name in names if not search(engine, TARGETS[name], share, given.seed)]
    print(f"answered wrongly: {', '.join(failed)}" if failed else "every answer was a value or an error of ours")
    return 1 if failed else 0


def search(engine: Any, target: Any, seconds: float, seed: int) -> bool:
    """Let one target be searched by a process of its own; say whether nothing was found."""
    with tempfile.TemporaryDirectory(prefix="opsascode-fuzz-") as scratch:
        told = Path(scratch) / "told"
        corpus = Path(scratch) / "corpus"
        corpus.mkdir()
        child = os.fork()
        if child == 0:
            with told.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            engine.search(target, seconds, seed, corpus)
            sys.stdout.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        text = told.read_text(errors="replace")
    tried = re.findall(r"^Done (\d+) runs", text, re.MULTILINE)
    if status == 0 and tried:
        print(f"  {target.name}: {int(tried[-1]):,} inputs", flush=True)
        return True
    print(f"  {target.name}: ended with {os.waitstatus_to_exitcode(status)}\n{text[-4000:]}", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
