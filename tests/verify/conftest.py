"""The graph that most tests of the verification damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from planmesh.partition.strategies import Strategy
from tests.verify.stored_graph import StoredGraph, domains_of, random_edges, store_graph


@pytest.fixture
async def stored(tmp_path: Path) -> StoredGraph:
    """A random graph of three domains."""
    edges = random_edges()
    return await store_graph(tmp_path / "data", edges, domains_of(edges), strategy=Strategy.DOMAIN)
