from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planmesh.errors import LimitExceeded
from planmesh.snapshot.reader import SnapshotReader
from services.coordinator import neighbors
from services.coordinator.neighbors import extended, start_only, write_neighbors
from services.coordinator.versioned_graph import VersionedGraph
from tests.snapshot.small_snapshot import make_snapshot

Edge = tuple[int, int, float]

EDGES = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7), st.sampled_from([0.0, 1.0, 2.5, 9.0])), max_size=30)


def by_enumeration(edges: list[Edge], source: int, depth: int) -> dict[int, tuple[int, float]]:
    """Return the fewest hops and the least cost of all walks of at most `depth` edges, by enumerating them."""
    best: dict[int, tuple[int, float]] = {source: (0, 0.0)}
    ends: dict[int, float] = {source: 0.0}
    for hop in range(1, depth + 1):
        further: dict[int, float] = {}
        for tail, head, cost in edges:
            if tail in ends:
                further[head] = min(further.get(head, np.inf), ends[tail] + cost)
        ends = further
        for node, cost in ends.items():
            hops, known = best.get(node, (hop, np.inf))
            best[node] = (hops, min(known, cost))
    return best


@given(EDGES, st.integers(1, 5))
def test_each_hop_gives_the_fewest_hops_and_the_least_cost_within_them(edges: list[Edge], depth: int) -> None:
    reached = start_only(0)
    for hop in range(1, depth + 1):
        from_cost = dict(
            zip(reached.nodes[reached.improved].tolist(), reached.costs[reached.improved].tolist(), strict=True)
        )
        walked = [(head, from_cost[tail] + cost) for tail, head, cost in edges if tail in from_cost]
        if not walked:
            break
        ends, costs = zip(*walked, strict=True)
        reached = extended(reached, hop, np.array(ends, np.int32), np.array(costs, np.float64))
    found = {
        node: (hops, cost)
        for node, hops, cost in zip(reached.nodes.tolist(), reached.hops.tolist(), reached.costs.tolist(), strict=True)
    }
    assert found == by_enumeration(edges, 0, depth)


def test_neighbours_that_fit_in_no_response_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = SnapshotReader.open(str(make_snapshot(tmp_path).folder))
    graph = VersionedGraph("g", 1, reader.url, reader.directory(), reader.overlay(), 1, "identity")
    reached = extended(start_only(0), 1, np.arange(1, 60, dtype=np.int32), np.ones(59))
    size_bytes = write_neighbors(graph, 0, "node-0", reached).ByteSize()
    monkeypatch.setattr(neighbors, "CONTENT_BYTES_MAX", size_bytes)
    assert len(write_neighbors(graph, 0, "node-0", reached).neighbors) == 59
    monkeypatch.setattr(neighbors, "CONTENT_BYTES_MAX", size_bytes - 1)
    with pytest.raises(LimitExceeded, match="the 59 neighbours of 'node-0' take") as refused:
        write_neighbors(graph, 0, "node-0", reached)
    assert refused.value.metadata["bound"] == "CONTENT_BYTES_MAX"
