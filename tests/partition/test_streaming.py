"""One pass over the nodes: sizes within the slack, always the same, and far fewer cut edges than by hash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planmesh.graph.adjacency import build_graph, renumber
from planmesh.graph.generate import service
from planmesh.graph.model import Graph
from planmesh.ingest import Columns, EdgeRows, open_source
from planmesh.partition.strategies import default_partitions
from planmesh.partition.streaming import STREAM_SLACK, Order, Rule, size_limits, stream, stream_order
from planmesh.partition.trials import count_cut

EVERY_SETTING = [(rule, order) for rule in Rule for order in Order]


def cut_share(graph: Graph, partition_of: np.ndarray) -> float:
    return count_cut(graph, partition_of).cross_edges / graph.edge_count


def by_hash(partitions: int) -> float:
    """The share that a hash is expected to cut."""
    return 1 - 1 / partitions


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, int]:
    nodes = draw(st.integers(1, 60))
    node = st.integers(0, nodes - 1)
    rows = draw(st.lists(st.tuples(node, node), max_size=200))
    tails, heads = np.asarray(rows, np.int32).reshape(-1, 2).T
    graph, _, _ = build_graph(nodes, tails, heads, np.ones(len(rows)))
    return graph, draw(st.integers(1, nodes))


@given(graphs(), st.sampled_from(EVERY_SETTING))
def test_every_part_is_within_the_limits_and_always_the_same(
    case: tuple[Graph, int], setting: tuple[Rule, Order]
) -> None:
    graph, partitions = case
    partition_of = stream(graph, partitions, *setting)
    assert partition_of.dtype == np.int32
    least, most = size_limits(graph.node_count, partitions)
    size = np.bincount(partition_of, minlength=partitions)
    assert len(size) == partitions
    assert 1 <= least <= size.min()
    assert size.max() <= most
    assert np.array_equal(partition_of, stream(graph, partitions, *setting))


@given(graphs(), st.sampled_from(Order))
def test_every_node_comes_once(case: tuple[Graph, int], order: Order) -> None:
    graph, _ = case
    sequence = stream_order(graph, order)
    assert sorted(sequence.tolist()) == list(range(graph.node_count))


def test_orders_follow_the_edges() -> None:
    tails, heads = np.array([0, 0, 3, 1], np.int32), np.array([3, 1, 4, 2], np.int32)
    graph, _, _ = build_graph(6, tails, heads, np.ones(4))
    assert stream_order(graph, Order.GIVEN).tolist() == [0, 1, 2, 3, 4, 5]
    assert stream_order(graph, Order.BREADTH_FIRST).tolist() == [0, 1, 3, 2, 4, 5]
    assert stream_order(graph, Order.DEPTH_FIRST).tolist() == [0, 1, 2, 3, 4, 5]
    tails, heads = np.array([0, 0, 2], np.int32), np.array([1, 2, 3], np.int32)
    other, _, _ = build_graph(4, heads, tails, np.ones(3))
    assert stream_order(other, Order.DEPTH_FIRST).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("nodes", "partitions", "limits"), [(1_000, 10, (90, 110)), (7, 7, (1, 1)), (10, 4, (2, 3)), (5, 1, (4, 5))]
)
def test_limits(nodes: int, partitions: int, limits: tuple[int, int]) -> None:
    assert size_limits(nodes, partitions) == limits
    assert STREAM_SLACK == 0.1


def test_a_node_is_drawn_by_edges_that_lead_to_it() -> None:
    """Two directed cycles, numbered in turns, with chords back: no row of a node alone shows all its neighbours."""
    ring = np.arange(50, dtype=np.int32)
    tails = np.concatenate([2 * ring, 2 * ring + 1])
    heads = np.concatenate([2 * ((ring + 1) % 50), 2 * ((ring + 1) % 50) + 1])
    graph, _, _ = build_graph(100, tails, heads, np.ones(100))
    for rule in Rule:
        assert count_cut(graph, stream(graph, 2, rule, Order.DEPTH_FIRST)).cross_edges <= 4


@pytest.mark.parametrize("shuffled", [False, True])
def test_fewer_edges_are_cut_than_by_hash_whatever_the_numbers_of_the_nodes(square: Graph, shuffled: bool) -> None:
    edges = service(20_000, 3).edges()
    services, _, _ = build_graph(20_000, edges.tails, edges.heads, edges.costs)
    for graph, share_max in ((square, 0.2), (services, 0.35)):
        asked = graph
        if shuffled:
            numbers = np.random.default_rng(5).permutation(graph.node_count).astype(np.int32)
            asked = renumber(graph, numbers)
        assert cut_share(asked, stream(asked, 16)) < share_max * by_hash(16)


def test_costs_do_not_matter(square: Graph) -> None:
    other = Graph(square.first_out, square.head, square.weight[::-1].copy())
    assert np.array_equal(stream(square, 9), stream(other, 9))


@pytest.mark.data
@pytest.mark.parametrize(
    ("rule", "order", "share_max"), [(Rule.FENNEL, Order.DEPTH_FIRST, 0.06), (Rule.LDG, Order.BREADTH_FIRST, 0.04)]
)
def test_new_york_is_cut_far_better_than_by_hash(
    large_graphs: Path, rule: Rule, order: Order, share_max: float
) -> None:
    graph = read(large_graphs / "dimacs-ny" / "USA-road-d.NY.gr.gz")
    partitions = default_partitions(graph.node_count)
    partition_of = stream(graph, partitions, rule, order)
    assert cut_share(graph, partition_of) < share_max
    assert np.bincount(partition_of).max() <= 1.1 * graph.node_count / partitions


def test_the_backbone_is_cut_better_than_by_hash(backbone: Path) -> None:
    graph = read(backbone)
    assert cut_share(graph, stream(graph, 4)) < 0.2 * by_hash(4)


def read(path: Path) -> Graph:
    """The graph of a file whose edges all lead as they stand, numbered as its ends come."""
    number: dict[str, int] = {}
    tails, heads = [], []
    for rows in open_source(path, None, Columns()).batches():
        if isinstance(rows, EdgeRows):
            tails += [number.setdefault(name, len(number)) for name in rows.sources]
            heads += [number.setdefault(name, len(number)) for name in rows.targets]
    ends = np.array([tails, heads], np.int32)
    graph, _, _ = build_graph(len(number), ends[0], ends[1], np.ones(len(tails)))
    return graph
