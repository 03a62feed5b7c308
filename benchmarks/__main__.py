"""What does it cost, beside what its peers cost? `make bench` prints one table.

It takes about six minutes on two cores. A figure is worth something on a quiet machine only: the load is printed with
it. A promise that does not hold is told, and is no error: a benchmark is no test.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from contests import all_lines, table


def main() -> None:
    started, before = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="opsascode-bench-") as scratch:
        lines = tuple(all_lines(Path(scratch)))
    after = os.getloadavg()[0]
    print(table(lines))
    print(
        f"\n{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{time.monotonic() - started:.0f} s; load {before:.1f} before, {after:.1f} after (our own share is about 1). "
        "Medians of wall time where nothing else is said."
    )
    missed = [line.what.strip() for line in lines if line.holds is False]
    print(f"does not hold: {'; '.join(missed)}" if missed else "everything holds")


if __name__ == "__main__":
    main()
