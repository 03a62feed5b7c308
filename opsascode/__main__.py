"""The process: runs the command line and ends with its exit code."""

from __future__ import annotations

import sys

from opsascode.cli import run_command_line


def main() -> None:
    """Run `opsascode` with this process's arguments."""
    sys.exit(run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
