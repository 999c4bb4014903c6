"""The pipeline in one process counts what a mesh would hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from planmesh.graph.adjacency import build_graph, renumber
from planmesh.graph.generate import grid, service
from planmesh.graph.model import Graph, Int32Array
from planmesh.measure.pipeline_sample import PipelineFigures, choose_run, draw_pairs, measure_pipeline
from planmesh.partition.report import report
from planmesh.partition.strategies import Strategy, number_by_partition, partition
from planmesh.search.reference import BidirectionalDijkstra


def ordered(graph: Graph, partitions: int) -> tuple[Graph, Int32Array]:
    parted = partition(graph, Strategy.MINCUT, partitions=partitions)
    numbering = number_by_partition(parted.partition_of, partitions)
    return renumber(graph, numbering.new_number), numbering.partition_first


def measure(graph: Graph, first: Int32Array, pairs: Int32Array, nodes_max: int) -> PipelineFigures:
    return measure_pipeline(graph, first, pairs, nodes_max=nodes_max, seed=1, advance=lambda done, total: None)


@pytest.fixture(scope="module")
def streets() -> tuple[Graph, Int32Array]:
    edges = grid(3_000, 2).edges()
    return ordered(build_graph(3_000, edges.tails, edges.heads, edges.costs)[0], 12)


def test_a_small_graph_is_measured_whole(streets: tuple[Graph, Int32Array]) -> None:
    graph, first = streets
    pairs = draw_pairs(graph.node_count, 60, 1)
    figures = measure(graph, first, pairs, 3_000)
    assert figures.whole
    assert (figures.sampled_partitions, figures.sampled_nodes, figures.pairs) == (12, 3_000, 60)
    search = BidirectionalDijkstra(graph)
    connected = sum(math.isfinite(search.cost(start, goal)) for start, goal in pairs.tolist())
    assert figures.connected_pairs == connected
    assert figures.settled is not None
    assert 0 < figures.settled.p50 <= figures.settled.p95 < graph.node_count
    assert figures.index_bytes > 2 * graph.edge_count * 12  # the index has the edges in both directions


def test_a_sample_is_scaled_to_the_whole(streets: tuple[Graph, Int32Array]) -> None:
    graph, first = streets
    pairs = draw_pairs(graph.node_count, 60, 1)
    whole, sample = measure(graph, first, pairs, 3_000), measure(graph, first, pairs, 1_000)
    assert not sample.whole
    assert 2 <= sample.sampled_partitions < 12
    assert sample.sampled_nodes <= 1_000
    assert sample.index_bytes == pytest.approx(whole.index_bytes, rel=0.1)
    assert sample.shortcut_edges == pytest.approx(whole.shortcut_edges, rel=0.5)
    assert sample.connected_pairs > 0


def test_a_partition_keeps_its_boundary_in_the_overlay_wherever_the_sample_ends(
    streets: tuple[Graph, Int32Array],
) -> None:
    graph, first = streets
    figures = measure(graph, first, draw_pairs(graph.node_count, 5, 1), 3_000)
    assert figures.core_nodes <= graph.node_count - report(graph, first).boundary_nodes


def test_without_connected_pairs_there_are_no_settled_figures() -> None:
    graph = build_graph(8, *(np.zeros(0, np.int32),) * 2, np.zeros(0))[0]
    figures = measure(graph, np.array([0, 4, 8], np.int32), draw_pairs(8, 9, 1), 8)
    assert (figures.connected_pairs, figures.settled) == (0, None)


def test_one_partition_is_searched_without_an_overlay() -> None:
    edges = service(500, 1).edges()
    graph = build_graph(500, edges.tails, edges.heads, edges.costs)[0]
    figures = measure(graph, np.array([0, 500], np.int32), draw_pairs(500, 20, 1), 500)
    assert figures.settled is not None
    assert figures.whole


def test_runs_of_partitions() -> None:
    first = np.arange(0, 1_001, 10, dtype=np.int32)
    assert choose_run(first, 1_000, 1) == (0, 100)
    for seed in range(20):
        start, stop = choose_run(first, 105, seed)
        assert 0 <= start < stop <= 100
        assert stop - start == 10
        assert stop - start == 2 or first[stop] - first[start] <= 105
        start, stop = choose_run(first, 1, seed)
        assert 0 <= start < stop <= 100
        assert stop - start == 2


def test_pairs_are_of_different_nodes() -> None:
    pairs = draw_pairs(5, 100, 3)
    assert pairs.min() >= 0
    assert pairs.max() < 5
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert draw_pairs(1, 2, 3).tolist() == [[0, 0], [0, 0]]
