"""Which groups is each host in, by inventory files that only say so?

A script run in a child process of its own (`python groups.py REPORT SOURCE…`). Ansible reads the sources with the
plugins that its environment allows, which are those that execute nothing; no variable files are read. Names of hosts
can be ranges of any length, so memory and time are bounded first.
"""
# ruff: noqa: INP001 - this script is run by its path, and Ansible has no types

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

MOST_BYTES = 2 * 1024 * 1024 * 1024
MOST_SECONDS = 60
SETTINGS_OF_PLUGINS = frozenset({".yml", ".yaml"})
NOT_STATIC = 3


def main(report: str, sources: list[str]) -> None:
    """Write the groups of every host, but for `all`."""
    resource.setrlimit(resource.RLIMIT_CPU, (MOST_SECONDS, MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    from ansible.inventory.manager import InventoryManager  # noqa: PLC0415 - after the limits
    from ansible.parsing.dataloader import DataLoader  # noqa: PLC0415 - likewise
    from ansible.plugins.loader import init_plugin_loader  # noqa: PLC0415 - likewise

    init_plugin_loader([])
    loader = DataLoader()
    for path in (each for source in sources for each in files_of(source)):
        if path.suffix in SETTINGS_OF_PLUGINS and "plugin" in (loader.load_from_file(str(path)) or ()):
            raise SystemExit(NOT_STATIC)
    manager = InventoryManager(loader=loader, sources=sources)
    found = {
        str(name): sorted(str(group.name) for group in host.get_groups() if group.name != "all")
        for name, host in manager.hosts.items()
    }
    Path(report).write_text(json.dumps(found), encoding="utf-8")


def files_of(source: str) -> list[Path]:
    """List the files a source stands for."""
    place = Path(source)
    return [place] if place.is_file() else [each for each in place.rglob("*") if each.is_file()]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
