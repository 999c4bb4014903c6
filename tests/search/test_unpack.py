"""Segments of a contracted partition expand to cheapest paths of its edges."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from planmesh.graph.model import Graph, Int32Array
from planmesh.search.hierarchy import make_path
from planmesh.search.local_search import LocalSearch
from planmesh.search.partition_index import build_partition_index
from planmesh.search.unpack import SegmentKind, costs_of
from tests.search.in_process_mesh import make_graph
from tests.search.random_graphs import partitioned_graphs


@settings(deadline=None)
@given(partitioned_graphs())
def test_overlay_edges_expand_to_paths_of_their_cost(partitioned: tuple[Graph, Int32Array]) -> None:
    graph, labels = partitioned
    index = build_partition_index(graph.first_out, graph.head, graph.weight, labels == 0)
    tails = np.repeat(np.arange(index.overlay_count), np.diff(index.overlay_first_out)).astype(np.int32)
    kinds = np.full(len(tails), SegmentKind.EDGE, np.uint8)
    nodes, costs, lengths = LocalSearch().unpack(index, kinds, tails, index.overlay_head)
    owners = np.repeat(np.arange(graph.node_count), np.diff(graph.first_out)).tolist()
    weights = dict(zip(zip(owners, graph.head.tolist(), strict=True), graph.weight.tolist(), strict=True))
    begin = end = 0
    for edge, length in enumerate(lengths.tolist()):
        segment = nodes[begin : begin + length].tolist()
        begin += length
        segment_costs = costs[end : end + length - 1].tolist()
        end += length - 1
        assert segment[0] == index.overlay_node[tails[edge]]
        assert segment[-1] == index.overlay_node[index.overlay_head[edge]]
        assert [weights[step] for step in itertools.pairwise(segment)] == segment_costs
        assert sum(segment_costs) == pytest.approx(float(index.overlay_weight[edge]), rel=1e-9, abs=0)
    assert (begin, end) == (len(nodes), len(costs))


def test_the_costs_of_segments_leave_out_their_first_nodes() -> None:
    path = make_path(6)
    path.cost[:] = [0.0, 1.0, 2.0, 0.0, 0.0, 3.0]
    assert costs_of(path, np.array([3, 1, 2], np.int32)).tolist() == [1.0, 2.0, 3.0]


def test_columns_of_different_length_are_refused() -> None:
    graph = make_graph(2, [(0, 1, 1.0)])
    index = build_partition_index(graph.first_out, graph.head, graph.weight, np.ones(2, bool))
    with pytest.raises(ValueError, match="as many kinds as ends, got 1, 2 and 1"):
        LocalSearch().unpack(index, np.array([4], np.uint8), np.zeros(2, np.int32), np.ones(1, np.int32))


def test_the_searches_of_an_earlier_segment_do_not_affect_a_later_one() -> None:
    graph = make_graph(4, [(0, 1, 1.0), (1, 3, 1.0), (0, 2, 5.0), (2, 3, 5.0)])
    index = build_partition_index(graph.first_out, graph.head, graph.weight, np.zeros(4, bool))
    kinds = np.full(3, SegmentKind.INNER, np.uint8)
    first, second = np.array([0, 2, 0], np.int32), np.array([3, 3, 2], np.int32)
    nodes, costs, lengths = LocalSearch().unpack(index, kinds, first, second)
    assert (nodes.tolist(), lengths.tolist()) == ([0, 1, 3, 2, 3, 0, 2], [3, 2, 2])
    assert costs.tolist() == [1.0, 1.0, 5.0, 5.0]
