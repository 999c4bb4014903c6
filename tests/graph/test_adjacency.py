"""Adjacency arrays have the edges that a dictionary of the same rows has."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph.adjacency import build_graph, edge_tails, renumber, reverse
from planmesh.graph.model import Graph

UNTIMED = settings(deadline=None)  # the first call compiles kernels

Rows = list[tuple[int, int, float]]


@st.composite
def edge_rows(draw: st.DrawFn) -> tuple[int, Rows]:
    nodes = draw(st.integers(1, 9))
    node = st.integers(0, nodes - 1)
    return nodes, draw(st.lists(st.tuples(node, node, st.sampled_from([0.0, 1.0, 2.5, 1e300])), max_size=150))


def built(nodes: int, rows: Rows) -> tuple[Graph, int, int]:
    tails, heads, costs = zip(*rows, strict=True) if rows else ((), (), ())
    return build_graph(nodes, np.array(tails, np.int32), np.array(heads, np.int32), np.array(costs, np.float64))


def as_dict(graph: Graph) -> dict[tuple[int, int], float]:
    ends = zip(edge_tails(graph.first_out).tolist(), graph.head.tolist(), strict=True)
    return dict(zip(ends, graph.weight.tolist(), strict=True))


def assert_well_formed(graph: Graph, nodes: int) -> None:
    assert [str(array.dtype) for array in (graph.first_out, graph.head, graph.weight)] == ["int64", "int32", "float64"]
    assert len(graph.first_out) == nodes + 1
    assert graph.first_out[-1] == len(graph.head) == len(graph.weight)
    for node in range(nodes):
        assert (np.diff(graph.head[graph.first_out[node] : graph.first_out[node + 1]]) > 0).all()


@UNTIMED
@given(edge_rows())
def test_the_cheapest_parallel_edge_stays_and_self_loops_are_dropped(case: tuple[int, Rows]) -> None:
    nodes, rows = case
    expected: dict[tuple[int, int], float] = {}
    for tail, head, cost in rows:
        if tail != head:
            expected[tail, head] = min(cost, expected.get((tail, head), cost))
    loops = sum(tail == head for tail, head, _ in rows)
    graph, parallel_edges, self_loops = built(nodes, rows)
    assert_well_formed(graph, nodes)
    assert as_dict(graph) == expected
    assert (parallel_edges, self_loops) == (len(rows) - loops - len(expected), loops)


@UNTIMED
@given(edge_rows())
def test_reverse_and_renumber(case: tuple[int, Rows]) -> None:
    nodes, rows = case
    graph, _, _ = built(nodes, rows)
    backward = reverse(graph)
    assert_well_formed(backward, nodes)
    assert as_dict(backward) == {(head, tail): cost for (tail, head), cost in as_dict(graph).items()}
    number = np.random.default_rng(len(rows)).permutation(nodes).astype(np.int32)
    moved = renumber(graph, number)
    assert_well_formed(moved, nodes)
    assert as_dict(moved) == {(number[tail], number[head]): cost for (tail, head), cost in as_dict(graph).items()}


def test_a_hub_with_more_edges_than_are_sorted_by_insertion() -> None:
    random = np.random.default_rng(3)
    heads = random.integers(1, 500, 4000).astype(np.int32)
    costs = random.integers(1, 50, 4000).astype(np.float64)
    graph, parallel_edges, _ = build_graph(500, np.zeros(4000, np.int32), heads, costs)
    assert as_dict(graph) == {(0, head): costs[heads == head].min() for head in np.unique(heads).tolist()}
    assert parallel_edges == 4000 - graph.edge_count


def test_the_order_of_the_rows_does_not_matter() -> None:
    random = np.random.default_rng(5)
    tails, heads = random.integers(0, 50, (2, 3000)).astype(np.int32)
    costs = random.random(3000)
    shuffled = random.permutation(3000)
    one, _, _ = build_graph(50, tails, heads, costs)
    other, _, _ = build_graph(50, tails[shuffled], heads[shuffled], costs[shuffled])
    assert one.head.tobytes() == other.head.tobytes()
    assert one.weight.tobytes() == other.weight.tobytes()
