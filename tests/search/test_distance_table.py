"""Which edges a table of distances removes, and which it must keep."""

from __future__ import annotations

import numpy as np

from planmesh.graph.model import Float64Array
from planmesh.search.distance_table import DistanceTable, drop_needless_edges, make_distance_table
from planmesh.search.edge_lists import EdgeLists, make_edge_lists
from planmesh.search.read_only import read_only
from tests.search.in_process_mesh import make_graph

TOLERANCE = 1e-10


def lists_of(node_count: int, edges: list[tuple[int, int, float]]) -> tuple[EdgeLists, EdgeLists]:
    graph = make_graph(node_count, edges)
    arrays = read_only(graph.first_out, np.int64), read_only(graph.head, np.int32), read_only(graph.weight, np.float64)
    return make_edge_lists(*arrays, False), make_edge_lists(*arrays, True)


def all_nodes(node_count: int) -> np.ndarray:
    return read_only(np.arange(node_count, dtype=np.int32), np.int32)


def heads(lists: EdgeLists, node: int) -> list[int]:
    begin = lists.start[node]
    return sorted(lists.head[begin : begin + lists.length[node]].tolist())


def test_distances_among_all_nodes() -> None:
    out, _ = lists_of(3, [(0, 1, 1.0), (1, 2, 2.0), (0, 2, 9.0)])
    table = make_distance_table(out, all_nodes(3))
    expected: Float64Array = np.array([[0.0, 1.0, 3.0], [np.inf, 0.0, 2.0], [np.inf, np.inf, 0.0]])
    assert np.array_equal(table.distance, expected)


def test_edges_that_cost_as_much_as_a_path_are_removed() -> None:
    out, into = lists_of(3, [(0, 1, 1.0), (1, 2, 2.0), (0, 2, 3.0)])
    table = make_distance_table(out, all_nodes(3))
    assert drop_needless_edges(out, into, all_nodes(3), table, TOLERANCE) == 1
    assert heads(out, 0) == [1]
    assert heads(into, 2) == [1]


def test_of_two_edges_that_differ_by_rounding_one_stays() -> None:
    """Two nodes, joined by free edges, both lead to a third at 0.6, added up in another order.

    The table is older than these edges and says 0.6. Without the tolerance, each edge would eliminate the other.
    """
    rounded = 0.1 + 0.2 + 0.3
    assert rounded > 0.6
    out, into = lists_of(3, [(0, 1, 0.0), (1, 0, 0.0), (0, 2, rounded), (1, 2, rounded)])
    older = np.array([[0.0, 0.0, 0.6], [0.0, 0.0, 0.6], [np.inf, np.inf, 0.0]])
    table = DistanceTable(np.arange(3, dtype=np.int32), older)
    drop_needless_edges(out, into, all_nodes(3), table, TOLERANCE)
    assert heads(into, 2) != []
