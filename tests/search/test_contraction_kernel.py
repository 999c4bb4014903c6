"""Shortcuts preserve the distances around a node, and unlimited witness searches leave out the unnecessary ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph.model import Graph
from planmesh.search.contraction_kernel import Bound, Limits, WitnessSpace, find_shortcuts, make_witness_space
from planmesh.search.distance_table import DistanceTable
from planmesh.search.edge_lists import EdgeLists, make_edge_lists
from planmesh.search.read_only import read_only
from planmesh.search.reference import dijkstra
from tests.search.in_process_mesh import make_graph
from tests.search.random_graphs import graphs

UNUSED = DistanceTable(np.empty(0, np.int32), np.empty((0, 0), np.float64))
LIMITS = Limits(1_000, 1_000, 1_000, 1_000_000, 1e6, 1_000, 8, 1e-10)


def lists_of(graph: Graph) -> tuple[EdgeLists, EdgeLists]:
    arrays = read_only(graph.first_out, np.int64), read_only(graph.head, np.int32), read_only(graph.weight, np.float64)
    return make_edge_lists(*arrays, False), make_edge_lists(*arrays, True)


def edges_without(graph: Graph, node: int) -> list[tuple[int, int, float]]:
    tails = np.repeat(np.arange(graph.node_count), np.diff(graph.first_out)).tolist()
    rows = zip(tails, graph.head.tolist(), graph.weight.tolist(), strict=True)
    return [row for row in rows if node not in row[:2]]


def shortcuts_of(
    graph: Graph, node: int, settle_max: int, count_max: int = 1_000
) -> tuple[list[tuple[int, int, float]], WitnessSpace]:
    space = make_witness_space(graph.node_count, 1_000, 1_000)
    count = find_shortcuts(*lists_of(graph), node, settle_max, count_max, LIMITS, space, UNUSED)
    columns = space.source[:count].tolist(), space.target[:count].tolist(), space.cost[:count].tolist()
    return list(zip(*columns, strict=True)), space


@settings(deadline=None)
@given(graphs(9), st.sampled_from([1, 2, 1_000]), st.data())
def test_no_distance_is_lost(graph: Graph, settle_max: int, data: st.DataObject) -> None:
    node = data.draw(st.integers(0, graph.node_count - 1))
    found, space = shortcuts_of(graph, node, settle_max)
    assert np.all(space.distance == np.inf)
    assert np.all(space.target_limit == -1.0)
    rest = edges_without(graph, node)
    smaller, without = make_graph(graph.node_count, rest + found), make_graph(graph.node_count, rest)
    for start in set(range(graph.node_count)) - {node}:
        expected, _, _ = dijkstra(graph.first_out, graph.head, graph.weight, start)
        preserved, _, _ = dijkstra(smaller.first_out, smaller.head, smaller.weight, start)
        expected[node] = preserved[node] = 0.0
        assert np.allclose(preserved, expected, rtol=1e-9, atol=0)
        if settle_max == 1_000:  # each shortcut is cheaper than every path around the node
            around, _, _ = dijkstra(without.first_out, without.head, without.weight, start)
            assert all(cost < around[target] for source, target, cost in found if source == start)


def test_the_search_stops_at_one_shortcut_too_many() -> None:
    star = make_graph(9, [(leaf, 0, 1.0) for leaf in range(1, 5)] + [(0, leaf, 1.0) for leaf in range(5, 9)])
    assert len(shortcuts_of(star, 0, 5)[0]) == 16
    assert len(shortcuts_of(star, 0, 5, count_max=6)[0]) == 7


def test_a_search_that_ends_early_is_counted() -> None:
    """The witness from 1 to 2 has three edges: a search of two nodes does not find it."""
    graph = make_graph(5, [(1, 0, 5.0), (0, 2, 5.0), (1, 3, 1.0), (3, 4, 1.0), (4, 2, 1.0)])
    found, space = shortcuts_of(graph, 0, 2)
    assert (found, int(space.reached[Bound.SETTLE])) == ([(1, 2, 10.0)], 1)
    found, space = shortcuts_of(graph, 0, 3)
    assert (found, int(space.reached[Bound.SETTLE])) == ([], 0)
