"""Every kind of store, each with a fixture `<kind>_store_url`: the URL of an empty store of one test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from planmesh.store.protocol import GraphStore
from planmesh.store.urls import open_store

KINDS: Final = ["sqlite"]


@pytest.fixture
def sqlite_store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'graph.db'}"


@pytest.fixture(params=KINDS)
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store; what is opened twice by it is one store."""
    url: str = request.getfixturevalue(f"{request.param}_store_url")
    return url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[GraphStore]:
    opened = await open_store(store_url)
    yield opened
    await opened.close()
