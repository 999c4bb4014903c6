from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from planmesh.graph.model import Graph
from planmesh.search.reference import BidirectionalDijkstra, dijkstra
from tests.search.in_process_mesh import make_graph
from tests.search.random_graphs import graphs


@settings(max_examples=100, deadline=None)
@given(graphs())
def test_both_references_agree_and_paths_add_up(graph: Graph) -> None:
    reference = BidirectionalDijkstra(graph)
    for start in range(graph.node_count):
        distances, parents, settled = dijkstra(graph.first_out, graph.head, graph.weight, start)
        assert settled == np.count_nonzero(distances < np.inf)
        assert parents[start] == -1
        for goal in range(graph.node_count):
            cost, path = reference.path(start, goal)
            assert cost == pytest.approx(float(distances[goal]), rel=1e-9, abs=0)
            if cost < np.inf:
                assert path[0] == start
                assert path[-1] == goal
                assert path_cost(graph, path.tolist()) == pytest.approx(cost, rel=1e-9, abs=0)
            else:
                assert len(path) == 0


def path_cost(graph: Graph, path: list[int]) -> float:
    total = 0.0
    for tail, head in itertools.pairwise(path):
        edges = range(int(graph.first_out[tail]), int(graph.first_out[tail + 1]))
        total += next(float(graph.weight[edge]) for edge in edges if graph.head[edge] == head)
    return total


def test_nodes_out_of_range_are_refused() -> None:
    graph = make_graph(2, [(0, 1, 1.0)])
    with pytest.raises(ValueError, match="below 2, got 2"):
        BidirectionalDijkstra(graph).cost(0, 2)
    with pytest.raises(ValueError, match="below 2, got -1"):
        dijkstra(graph.first_out, graph.head, graph.weight, -1)
