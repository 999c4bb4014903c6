"""Neighbours ring by ring, over a dict of edges."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from planmesh.errors import LimitExceeded
from planmesh.store import rings
from planmesh.store.rings import neighbors_by_rings

EDGES = {"a": ["c", "b", "a"], "b": ["d", "a"], "c": ["d"], "d": ["e"], "e": []}


async def next_to(ring: Sequence[str]) -> list[str]:
    return [other for node in ring for other in EDGES[node]]


async def near(node: str, depth: int) -> list[tuple[str, int]]:
    return [(one.id, one.hops) for one in await neighbors_by_rings(node, depth, next_to)]


async def test_each_neighbour_comes_once_with_its_fewest_hops() -> None:
    assert await near("a", 1) == [("b", 1), ("c", 1)]
    assert await near("a", 3) == [("b", 1), ("c", 1), ("d", 2), ("e", 3)]
    assert await near("e", 5) == []


async def test_the_bound_counts_neighbours_without_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings, "NEIGHBORS_MAX", 3)
    assert len(await near("a", 2)) == 3
    with pytest.raises(LimitExceeded, match="more than 3 neighbours within 3"):
        await near("a", 3)
