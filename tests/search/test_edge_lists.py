"""Edge lists behave as a dictionary of edges while they grow and shrink."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planmesh.graph.model import Graph
from planmesh.search.edge_lists import EdgeLists, gather_edges, make_edge_lists, put_edge, remove_edge
from planmesh.search.read_only import read_only
from tests.search.in_process_mesh import make_graph
from tests.search.random_graphs import graphs

Edge = tuple[float, int]
"""Weight and middle."""


def lists_of(graph: Graph, *, backward: bool) -> EdgeLists:
    arrays = read_only(graph.first_out, np.int64), read_only(graph.head, np.int32), read_only(graph.weight, np.float64)
    return make_edge_lists(*arrays, backward)


def edges_of(lists: EdgeLists) -> dict[tuple[int, int], Edge]:
    found = {}
    for node in range(len(lists.start)):
        for edge in range(lists.start[node], lists.start[node] + lists.length[node]):
            assert (node, int(lists.head[edge])) not in found
            found[node, int(lists.head[edge])] = (float(lists.weight[edge]), int(lists.middle[edge]))
    return found


def edges_of_graph(graph: Graph) -> dict[tuple[int, int], Edge]:
    tails = np.repeat(np.arange(graph.node_count), np.diff(graph.first_out)).tolist()
    rows = zip(tails, graph.head.tolist(), graph.weight.tolist(), strict=True)
    return {(tail, head): (weight, -1 - edge) for edge, (tail, head, weight) in enumerate(rows)}


@given(graphs())
def test_the_lists_of_a_graph_have_its_edges_in_either_direction(graph: Graph) -> None:
    expected = edges_of_graph(graph)
    assert edges_of(lists_of(graph, backward=False)) == expected
    assert edges_of(lists_of(graph, backward=True)) == {(head, tail): edge for (tail, head), edge in expected.items()}


def test_self_loops_are_left_out() -> None:
    first, head, weight = np.array([0, 2, 3]), np.array([0, 1, 1], np.int32), np.ones(3)
    loops = Graph(first, head, weight)
    assert edges_of(lists_of(loops, backward=False)) == {(0, 1): (1.0, -2)}


@given(
    graphs(6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 9).map(float) | st.none()), max_size=120),
)
def test_edges_are_put_and_removed(graph: Graph, changes: list[tuple[int, int, float | None]]) -> None:
    """None as a weight removes the edge."""
    lists, expected = lists_of(graph, backward=False), edges_of_graph(graph)
    for number, (tail, head, weight) in enumerate(changes):
        if max(tail, head) >= graph.node_count:
            continue
        if weight is None:
            if (tail, head) in expected:
                remove_edge(lists, tail, head)
                del expected[tail, head]
        else:
            lists = put_edge(lists, tail, head, weight, number)
            if weight < expected.get((tail, head), (np.inf, 0))[0]:
                expected[tail, head] = (weight, number)
    assert edges_of(lists) == expected


def test_a_full_pool_moves_with_all_edges() -> None:
    """The lists of an almost empty graph grow to those of a complete one."""
    count = 60
    lists = lists_of(make_graph(count, [(1, 2, 0.5)]), backward=False)
    room = len(lists.head)
    expected: dict[tuple[int, int], Edge] = {(1, 2): (0.5, -1)}
    for tail, head in itertools.permutations(range(count), 2):
        lists = put_edge(lists, tail, head, 1.0, head)
        expected.setdefault((tail, head), (1.0, head))
    assert len(lists.head) > room
    assert edges_of(lists) == expected


def test_an_edge_that_does_not_exist_cannot_be_removed() -> None:
    with pytest.raises(AssertionError, match="one direction"):
        remove_edge(lists_of(make_graph(3, [(0, 1, 1.0)]), backward=False), 0, 2)


def test_gathered_edges_have_new_numbers_and_empty_rows() -> None:
    graph = make_graph(4, [(1, 2, 1.0), (1, 3, 2.0), (3, 1, 3.0)])
    nodes = read_only(np.array([3, -1, 1], np.int32), np.int32)
    number = read_only(np.array([-1, 2, 5, 0], np.int32), np.int32)
    first, head, weight, middle = gather_edges(lists_of(graph, backward=False), nodes, number)
    assert first.tolist() == [0, 1, 1, 3]
    assert (head.tolist(), weight.tolist(), middle.tolist()) == ([2, 5, 0], [3.0, 1.0, 2.0], [-3, -1, -2])
