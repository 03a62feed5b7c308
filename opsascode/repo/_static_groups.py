"""Which groups is each host in, as far as that can be told without executing anything?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opsascode.repo._snapshot import ProtectedFile


def static_groups(files: Mapping[str, ProtectedFile], sources: Sequence[str]) -> Mapping[str, frozenset[str]] | None:
    """Give the groups of each host; None where they cannot be told without executing something."""
    raise NotImplementedError
