"""Cutting by METIS: exact numbers of parts, balance, and graphs that it does not expect."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph.adjacency import build_graph, edge_tails
from planmesh.graph.model import Graph
from planmesh.partition.mincut import cut, cut_adjacency, induced, symmetrised

UNTIMED = settings(deadline=None)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    nodes = draw(st.integers(1, 12))
    node = st.integers(0, nodes - 1)
    rows = draw(st.lists(st.tuples(node, node), max_size=40))
    tails, heads = np.asarray(rows, np.int32).reshape(-1, 2).T
    return build_graph(nodes, tails, heads, np.ones(len(rows)))[0]


@UNTIMED
@given(graphs())
def test_symmetrised_neighbours_come_once_and_ascending(graph: Graph) -> None:
    expected: list[set[int]] = [set() for _ in range(graph.node_count)]
    for tail, head in zip(edge_tails(graph.first_out).tolist(), graph.head.tolist(), strict=True):
        expected[tail].add(head)
        expected[head].add(tail)
    first, neighbor = symmetrised(graph.first_out, graph.head)
    assert [neighbor[first[v] : first[v + 1]].tolist() for v in range(graph.node_count)] == [
        sorted(s) for s in expected
    ]


@UNTIMED
@given(graphs(), st.sets(st.integers(0, 11)))
def test_the_graph_among_some_nodes(graph: Graph, wanted: set[int]) -> None:
    nodes = np.array(sorted(node for node in wanted if node < graph.node_count), np.int32)
    first, neighbor = symmetrised(graph.first_out, graph.head)
    scratch = np.full(graph.node_count, -1, np.int32)
    inner_first, inner = induced(first, neighbor, nodes, scratch)
    assert (scratch == -1).all()
    for place, node in enumerate(nodes.tolist()):
        around = set(neighbor[first[node] : first[node + 1]].tolist()) & set(nodes.tolist())
        assert {int(nodes[i]) for i in inner[inner_first[place] : inner_first[place + 1]]} == around


@UNTIMED
@given(graphs(), st.data())
def test_every_part_has_a_node(graph: Graph, data: st.DataObject) -> None:
    partitions = data.draw(st.integers(1, graph.node_count))
    partition_of = cut(graph, partitions)
    assert partition_of.dtype == np.int32
    assert sorted(set(partition_of.tolist())) == list(range(partitions))
    assert np.array_equal(partition_of, cut(graph, partitions))


@pytest.mark.parametrize("partitions", [2, 7, 16, 100])
def test_parts_are_balanced_and_cut_few_edges(square: Graph, partitions: int) -> None:
    partition_of = cut(square, partitions)
    size = np.bincount(partition_of)
    assert size.max() <= 1.05 * 10_000 / partitions + 1
    crossing = np.mean(partition_of[edge_tails(square.first_out)] != partition_of[square.head])
    assert crossing < 0.025 * partitions**0.5


def test_a_graph_in_many_pieces(make_graph: Callable[..., Graph]) -> None:
    pairs = make_graph(1_000, [(2 * i, 2 * i + 1) for i in range(400)])  # and 200 nodes alone
    size = np.bincount(cut(pairs, 8))
    assert size.max() - size.min() <= 12


def test_weights_are_balanced() -> None:
    weight = np.array([50, 1, 1, 1, 1, 46], np.int64)
    first = np.array([0, 1, 3, 5, 7, 9, 10])
    neighbor = np.array([1, 0, 2, 1, 3, 2, 4, 3, 5, 4], np.int32)
    partition_of = cut_adjacency(first, neighbor, 2, node_weight=weight)
    assert partition_of[0] != partition_of[5]
