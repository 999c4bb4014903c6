from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from planmesh.graph.model import Graph, Int32Array
from planmesh.search.local_search import SEGMENTS_NODES_MAX, LocalSearch
from planmesh.search.partition_index import PartitionIndex, build_partition_index
from planmesh.search.reference import dijkstra
from planmesh.search.unpack import SegmentArrays, SegmentKind
from tests.search.in_process_mesh import make_graph
from tests.search.random_graphs import partitioned_graphs


def reversed_graph(graph: Graph) -> Graph:
    tails = np.repeat(np.arange(graph.node_count), np.diff(graph.first_out)).tolist()
    return make_graph(graph.node_count, list(zip(graph.head.tolist(), tails, graph.weight.tolist(), strict=True)))


@settings(max_examples=80, deadline=None)
@given(partitioned_graphs())
def test_seeds_and_overlay_edges_give_the_distances_to_overlay_nodes(partitioned: tuple[Graph, Int32Array]) -> None:
    graph, labels = partitioned
    index = build_partition_index(graph.first_out, graph.head, graph.weight, labels == 0)
    local = LocalSearch()
    overlay = Graph(index.overlay_first_out.astype(np.int64), index.overlay_head, index.overlay_weight)
    for backward, whole, small in (
        (False, graph, overlay),
        (True, reversed_graph(graph), reversed_graph(overlay)),
    ):
        for node in range(graph.node_count):
            expected, _, _ = dijkstra(whole.first_out, whole.head, whole.weight, node)
            numbers, seeds, _, _ = local.search(index, node, backward)
            found = np.full(index.overlay_count, np.inf)
            for number, seed in zip(numbers.tolist(), seeds.tolist(), strict=True):
                further, _, _ = dijkstra(small.first_out, small.head, small.weight, number)
                found = np.minimum(found, seed + further)
            assert np.allclose(found, expected[index.overlay_node], rtol=1e-9, atol=0)


@settings(max_examples=40, deadline=None)
@given(partitioned_graphs())
def test_a_search_without_segments_has_the_same_distances(partitioned: tuple[Graph, Int32Array]) -> None:
    graph, labels = partitioned
    index = build_partition_index(graph.first_out, graph.head, graph.weight, labels == 0)
    local = LocalSearch()
    for backward in (False, True):
        for node in range(graph.node_count):
            whole = local.search(index, node, backward)
            bare = local.search(index, node, backward, with_segments=False)
            assert bare.segments is None
            assert np.array_equal(bare.nodes, whole.nodes)
            assert np.array_equal(bare.distances, whole.distances)
            assert bare.settled == whole.settled


@settings(max_examples=60, deadline=None)
@given(partitioned_graphs())
def test_the_segments_to_overlay_nodes_are_those_of_unpacking(partitioned: tuple[Graph, Int32Array]) -> None:
    graph, labels = partitioned
    index = build_partition_index(graph.first_out, graph.head, graph.weight, labels == 0)
    local = LocalSearch()
    for backward, kind in ((False, SegmentKind.START), (True, SegmentKind.GOAL)):
        for node in range(graph.node_count):
            found = local.search(index, node, backward)
            assert found.segments is not None
            count = len(found.nodes)
            here = np.full(count, node, np.int32)
            ends = (found.nodes, here) if backward else (here, found.nodes)
            expected = local.unpack(index, np.full(count, kind, np.uint8), *ends)
            for name in SegmentArrays._fields:
                assert np.array_equal(getattr(found.segments, name), getattr(expected, name)), name
            first_edge = np.cumsum([0, *(found.segments.lengths - 1)])
            sums = [found.segments.costs[a:b].sum() for a, b in itertools.pairwise(first_edge)]
            assert np.allclose(sums, found.distances, rtol=1e-9, atol=0)


def test_long_segments_are_left_to_unpacking() -> None:
    count = 2 * SEGMENTS_NODES_MAX + 3
    ahead = [(node, node + 1, 1.0) for node in range(count - 1)]
    graph = make_graph(count, ahead + [(head, tail, cost) for tail, head, cost in ahead])
    is_boundary = np.zeros(count, bool)
    is_boundary[[0, -1]] = True
    index = build_partition_index(graph.first_out, graph.head, graph.weight, is_boundary)
    middle = LocalSearch().search(index, SEGMENTS_NODES_MAX + 1, False)
    assert sorted(middle.distances.tolist()) == [SEGMENTS_NODES_MAX + 1.0] * 2
    assert middle.segments is None
    near = LocalSearch().search(index, 0, False)
    assert near.segments is not None
    assert near.segments.lengths.tolist() == [1]


def test_short_segments_have_few_edges() -> None:
    graph = make_graph(6, [(0, 1, 1.0), (1, 2, 2.0), (2, 3, 3.0), (3, 4, 4.0), (4, 0, 5.0), (4, 5, 6.0), (5, 0, 7.0)])
    is_boundary = np.array([True, False, False, False, True, False])
    index = build_partition_index(graph.first_out, graph.head, graph.weight, is_boundary)
    tails = np.repeat(np.arange(index.overlay_count), np.diff(index.overlay_first_out))
    ends = [(index.overlay_node[a], index.overlay_node[b]) for a, b in zip(tails, index.overlay_head, strict=True)]
    assert ends == [(0, 4), (4, 0)]
    nodes, costs, lengths = LocalSearch().short_segments(index, 4, 4)
    assert (nodes.tolist(), costs.tolist(), lengths.tolist()) == ([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0], [4, 0])
    for edges_max, total_max in ((3, 100), (100, 3)):
        nodes, costs, lengths = LocalSearch().short_segments(index, edges_max, total_max)
        assert (nodes.tolist(), costs.tolist(), lengths.tolist()) == ([], [], [0, 0])


def chain_index() -> PartitionIndex:
    graph = make_graph(5, [(0, 1, 1.0), (1, 2, 2.0), (2, 3, 3.0), (3, 4, 4.0)])
    return build_partition_index(graph.first_out, graph.head, graph.weight, np.array([True, False, False, False, True]))


def test_one_search_object_serves_indexes_of_any_size() -> None:
    local = LocalSearch()
    small = make_graph(2, [(0, 1, 1.0)])
    tiny = build_partition_index(small.first_out, small.head, small.weight, np.array([False, True]))
    for index, node, expected in ((tiny, 0, (0, 1.0)), (chain_index(), 2, (1, 7.0)), (tiny, 0, (0, 1.0))):
        numbers, distances, _, _ = local.search(index, node, False)
        assert (numbers.tolist(), distances.tolist()) == ([expected[0]], [expected[1]])
        assert numbers.dtype == np.int32
        assert distances.dtype == np.float64


def test_meet_uses_no_overlay_edges() -> None:
    local = LocalSearch()
    index = chain_index()
    assert local.meet(index, 1, 3)[0] == 5.0
    assert local.meet(index, 3, 1)[0] == np.inf
    assert local.meet(index, 0, 4)[0] == np.inf


def test_segments_of_every_kind_are_unpacked_in_order() -> None:
    kinds = np.array([SegmentKind.START, SegmentKind.GOAL, SegmentKind.INNER, SegmentKind.EDGE, 1, 2], np.uint8)
    first = np.array([2, 0, 1, 0, 4, 0], np.int32)
    second = np.array([1, 2, 3, 1, 1, 0], np.int32)
    nodes, costs, lengths = LocalSearch().unpack(chain_index(), kinds, first, second)
    assert nodes.tolist() == [2, 3, 4, 0, 1, 2, 1, 2, 3, 0, 1, 2, 3, 4, 4, 0]
    assert costs.tolist() == [3.0, 4.0, 1.0, 2.0, 2.0, 3.0, 1.0, 2.0, 3.0, 4.0]
    assert lengths.tolist() == [3, 3, 3, 5, 1, 1]
    assert [str(array.dtype) for array in (nodes, costs, lengths)] == ["int32", "float64", "int32"]


def test_no_segments_unpack_to_nothing() -> None:
    nodes, costs, lengths = LocalSearch().unpack(
        chain_index(), np.empty(0, np.uint8), np.empty(0, np.int32), np.empty(0, np.int32)
    )
    assert (len(nodes), len(costs), len(lengths)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "first", "second", "message"),
    [
        (SegmentKind.EDGE, 1, 0, "expected a path along segment 0, got none: kind 4, from 1 to 0"),
        (SegmentKind.INNER, 3, 1, "expected a path along segment 0"),
        (SegmentKind.START, 1, 2, "expected ends among 5 nodes and 2 overlay nodes"),
        (SegmentKind.GOAL, 0, 5, "expected ends among"),
        (0, 0, 0, "expected segment kinds from 1 to 4, got 0 at segment 0"),
    ],
)
def test_segments_without_a_path_are_refused(kind: int, first: int, second: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalSearch().unpack(
            chain_index(), np.array([kind], np.uint8), np.array([first], np.int32), np.array([second], np.int32)
        )


def test_nodes_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="below 5, got 5"):
        LocalSearch().search(chain_index(), 5, False)
    with pytest.raises(ValueError, match="below 5, got -1"):
        LocalSearch().meet(chain_index(), 0, -1)
