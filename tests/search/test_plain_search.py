from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph.adjacency import reverse
from planmesh.graph.model import Graph, Int32Array
from planmesh.search.plain_search import Edges, PlainSearch, Progress
from planmesh.search.reference import dijkstra
from planmesh.snapshot.partition_file import slice_edges
from tests.search.in_process_mesh import make_graph
from tests.search.random_graphs import graphs


class Cut:
    """A graph whose partitions are ranges of its nodes."""

    def __init__(self, graph: Graph, partition_first: Int32Array) -> None:
        self.first = partition_first
        self._out = graph
        self._into = reverse(graph)
        self.requested: list[int] = []
        """The partitions that a search requested, in order."""

    def edges(self, partition: int) -> tuple[Edges, Edges]:
        start, stop = int(self.first[partition]), int(self.first[partition + 1])
        out, into = self._out, self._into
        return (
            slice_edges(out.first_out, out.head, out.weight, start, stop),
            slice_edges(into.first_out, into.head, into.weight, start, stop),
        )

    def run(self, search: PlainSearch, settle_max: int) -> Progress:
        """Continue a search until it is over, and pass it the partitions that it requests."""
        while True:
            progress = search.advance(settle_max)
            if progress is Progress.PARTITION:
                self.requested.append(search.wanted_partition)
                search.hand_over(search.wanted_partition, *self.edges(search.wanted_partition))
            elif progress is not Progress.MORE:
                return progress


@st.composite
def cut_graphs(draw: st.DrawFn) -> Cut:
    graph = draw(graphs())
    inner = draw(st.lists(st.integers(0, graph.node_count), max_size=5))
    return Cut(graph, np.array([0, *sorted(inner), graph.node_count], np.int32))


@settings(max_examples=100, deadline=None)
@given(cut_graphs(), st.integers(1, 4), st.integers(1, 3))
def test_costs_are_those_of_dijkstra_for_any_cut_and_any_slices(cut: Cut, settle_max: int, partitions_max: int) -> None:
    graph = cut._out
    for start in range(graph.node_count):
        distances, _, _ = dijkstra(graph.first_out, graph.head, graph.weight, start)
        for goal in range(graph.node_count):
            search = PlainSearch(cut.first, start, goal, partitions_max=partitions_max)
            assert cut.run(search, settle_max) is Progress.FOUND
            assert search.cost == pytest.approx(float(distances[goal]), rel=1e-9, abs=0)


def test_it_requests_only_partitions_that_it_reaches() -> None:
    cut = Cut(make_graph(9, [(node, node + 1, 1.0) for node in range(8)]), np.array([0, 3, 6, 9], np.int32))
    search = PlainSearch(cut.first, 0, 2)
    assert cut.run(search, 10) is Progress.FOUND
    assert (search.cost, cut.requested) == (2.0, [0])


def test_a_dropped_partition_is_requested_again() -> None:
    there_and_back = [0, 3, 1, 4, 2, 5]
    edges = [(tail, head, 1.0) for tail, head in itertools.pairwise(there_and_back)]
    cut = Cut(make_graph(6, edges), np.array([0, 3, 6], np.int32))
    search = PlainSearch(cut.first, 0, 5, partitions_max=1)
    assert cut.run(search, 10) is Progress.FOUND
    assert search.cost == 5.0
    assert len(cut.requested) > len(set(cut.requested)) == 2


def test_a_search_that_would_label_too_many_nodes_ends_without_a_result() -> None:
    cut = Cut(make_graph(50, [(0, node, 1.0) for node in range(1, 49)]), np.array([0, 50], np.int32))
    assert cut.run(PlainSearch(cut.first, 0, 48, labels_max=10), 10) is Progress.FULL
    assert cut.run(PlainSearch(cut.first, 0, 48, labels_max=50), 10) is Progress.FOUND


def test_ends_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="below 6, got 6"):
        PlainSearch(np.array([0, 6], np.int32), 0, 6)
    with pytest.raises(ValueError, match="below 6, got -1"):
        PlainSearch(np.array([0, 6], np.int32), -1, 0)


@pytest.mark.parametrize(
    ("first", "end", "cost"),
    [
        ([0, 1, 2], [1, 2], [1.0, 1.0]),
        ([0, 1, 2, 3, 4, 5, 7], [1, 2, 3, 4, 5, 0], [1.0] * 6),
        ([0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [1.0] * 6),
        ([0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, -1], [1.0] * 6),
        ([0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 0], [1.0] * 5),
        ([0, 5, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 0], [1.0] * 6),
    ],
)
def test_edges_that_do_not_fit_are_refused_before_the_kernel_reads_them(
    first: list[int], end: list[int], cost: list[float]
) -> None:
    search = PlainSearch(np.array([0, 6], np.int32), 0, 3)
    good = (np.arange(7, dtype=np.int32), np.array([1, 2, 3, 4, 5, 0], np.int32), np.ones(6))
    bad = (np.array(first, np.int32), np.array(end, np.int32), np.array(cost))
    for out, into in ((good, bad), (bad, good)):
        with pytest.raises(ValueError, match="expected 7 firsts"):
            search.hand_over(0, out, into)
