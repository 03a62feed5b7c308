from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.proof.world import World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], World]:
    """Make new worlds, for tests that need one for each example."""
    return lambda: World(tmp_path_factory.mktemp("world"))
