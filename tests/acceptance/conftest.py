"""Worlds for the acceptance tests: everything goes through the installed command, in a subprocess."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.world import World, new_world

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An empty ops repository of its own for one test."""
    return new_world(tmp_path / "home")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One ops repository for all tests of a module that only add to it."""
    return new_world(tmp_path_factory.mktemp("shared") / "home")
