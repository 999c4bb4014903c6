"""One cluster for all of its tests, because starting it takes longer than most of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compose.loaded import Loaded, loaded_cluster


@pytest.fixture(scope="session")
def loaded() -> Iterator[Loaded]:
    """Yield a cluster that serves the world's backbone."""
    with loaded_cluster() as running:
        yield running
