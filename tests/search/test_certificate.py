from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph.model import Graph
from planmesh.search.certificate import find_violation
from planmesh.search.reference import dijkstra
from tests.search.in_process_mesh import make_graph
from tests.search.random_graphs import graphs

CHAIN = [(0, 1, 2.0), (1, 2, 3.0), (0, 2, 9.0)]


@settings(max_examples=100, deadline=None)
@given(graphs(), st.data())
def test_the_reference_is_certified(graph: Graph, data: st.DataObject) -> None:
    source = data.draw(st.integers(0, graph.node_count - 1))
    distances, parents, _ = dijkstra(graph.first_out, graph.head, graph.weight, source)
    assert find_violation(graph.first_out, graph.head, graph.weight, source, distances, parents) == ""


@pytest.mark.parametrize(
    ("distances", "parents", "violation"),
    [
        ([0.0, 2.0, 5.0], [-1, 0, 1], ""),
        ([0.0, 2.0, 9.0], [-1, 0, 0], "at less cost"),
        ([0.0, 2.0, 4.0], [-1, 0, 1], "accounts"),
        ([0.0, 2.0, 5.0], [-1, 0, 0], "accounts"),
        ([0.0, 2.0, np.inf], [-1, 0, -1], "at less cost"),
        ([1.0, 3.0, 6.0], [-1, 0, 1], "source"),
        ([0.0, -2.0, 5.0], [-1, 0, 1], "negative"),
        ([0.0, 2.0, np.nan], [-1, 0, 1], "not a number"),
    ],
)
def test_wrong_distances_are_found(distances: list[float], parents: list[int], violation: str) -> None:
    graph = make_graph(3, CHAIN)
    found = find_violation(
        graph.first_out, graph.head, graph.weight, 0, np.array(distances), np.array(parents, np.int32)
    )
    assert violation in found
    assert bool(found) == bool(violation)


def test_a_loop_of_free_edges_proves_nothing() -> None:
    graph = make_graph(3, [(1, 2, 0.0), (2, 1, 0.0)])
    found = find_violation(
        graph.first_out, graph.head, graph.weight, 0, np.array([0.0, 7.0, 7.0]), np.array([-1, 2, 1], np.int32)
    )
    assert "source" in found
