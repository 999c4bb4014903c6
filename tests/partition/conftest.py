"""Graphs for tests of partitions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from planmesh.graph.adjacency import build_graph
from planmesh.graph.generate import grid
from planmesh.graph.model import Graph

MakeGraph = Callable[[int, Sequence[tuple[int, int]]], Graph]


@pytest.fixture(scope="session")
def make_graph() -> MakeGraph:
    """Returns a function that builds a graph in which each given edge has both directions, at cost 1."""

    def make(nodes: int, edges: Sequence[tuple[int, int]]) -> Graph:
        ends = np.asarray(edges, np.int32).reshape(-1, 2)
        tails, heads = np.concatenate([ends, ends[:, ::-1]]).T
        graph, _, _ = build_graph(nodes, tails, heads, np.ones(len(tails)))
        return graph

    return make


@pytest.fixture(scope="session")
def square() -> Graph:
    """A grid of 10,000 nodes with missing links, so that it is not quite connected."""
    edges = grid(10_000, 1).edges()
    return build_graph(10_000, edges.tails, edges.heads, edges.costs)[0]
