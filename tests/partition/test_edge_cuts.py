"""Partitions of edges, against counting in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planmesh.graph.adjacency import build_graph, edge_tails
from planmesh.graph.model import Graph
from planmesh.graph.node_ids import NodeIds
from planmesh.partition.edge_cuts import HASH_SLOTS, EdgeStrategy, edge_cut, grid_shape
from planmesh.partition.strategies import hash_slots


@pytest.mark.parametrize(("partitions", "shape"), [(1, (1, 1)), (7, (1, 7)), (12, (3, 4)), (16, (4, 4)), (61, (1, 61))])
def test_the_shape_of_the_grid(partitions: int, shape: tuple[int, int]) -> None:
    assert grid_shape(partitions) == shape


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes = draw(st.integers(1, 25))
    node = st.integers(0, nodes - 1)
    rows = draw(st.lists(st.tuples(node, node), max_size=80))
    tails, heads = np.asarray(rows, np.int32).reshape(-1, 2).T
    return build_graph(nodes, tails, heads, np.ones(len(rows)))[0]


@given(graphs(), st.sampled_from(EdgeStrategy), st.integers(1, 12))
def test_counts(graph: Graph, strategy: EdgeStrategy, partitions: int) -> None:
    ids = NodeIds.from_ids([f"n{number}" for number in range(graph.node_count)])
    slot = hash_slots(ids.offsets, ids.blob, HASH_SLOTS).tolist()
    rows, columns = (partitions, 1) if strategy is EdgeStrategy.SOURCE else grid_shape(partitions)
    homes: dict[int, set[int]] = {}
    edges = [0] * partitions
    for tail, head in zip(edge_tails(graph.first_out).tolist(), graph.head.tolist(), strict=True):
        partition = slot[tail] % rows * columns + slot[head] // rows % columns
        edges[partition] += 1
        homes.setdefault(tail, set()).add(partition)
        homes.setdefault(head, set()).add(partition)
    outcome = edge_cut(graph, ids, strategy, partitions)
    assert outcome.cut_nodes == sum(len(partitions) > 1 for partitions in homes.values())
    assert outcome.replication_factor == pytest.approx(np.mean([len(p) for p in homes.values()]) if homes else 0.0)
    assert outcome.balance == pytest.approx(max(edges) / np.mean(edges) if any(edges) else 1.0)


def test_a_grid_bounds_the_replicas_of_a_hub() -> None:
    """A hub of 2,000 edges each way is in every partition by source, in a row and a column of the grid at most."""
    leaves = np.arange(1, 2_001, dtype=np.int32)
    hub = np.zeros(2_000, np.int32)
    graph, _, _ = build_graph(2_001, np.concatenate([hub, leaves]), np.concatenate([leaves, hub]), np.ones(4_000))
    ids = NodeIds.from_ids([f"n{number}" for number in range(2_001)])
    one, two = (edge_cut(graph, ids, strategy, 16) for strategy in EdgeStrategy)
    assert one.replication_factor == pytest.approx(2.0, abs=0.1)
    assert one.balance > 8  # all edges of the hub lie in one partition
    assert two.balance < one.balance / 2
