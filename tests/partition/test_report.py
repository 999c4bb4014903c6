"""The counts of the report equal counts in plain Python."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.graph.adjacency import build_graph, edge_tails
from planmesh.graph.model import Graph
from planmesh.partition.report import Trial, report, sum_may_round, warnings_of


@st.composite
def partitioned(draw: st.DrawFn) -> tuple[Graph, list[int]]:
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    nodes = sum(sizes)
    node = st.integers(0, nodes - 1)
    rows = draw(st.lists(st.tuples(node, node), max_size=60))
    tails, heads = np.asarray(rows, np.int32).reshape(-1, 2).T
    return build_graph(nodes, tails, heads, np.ones(len(rows)))[0], sizes


@settings(deadline=None, max_examples=200)
@given(partitioned())
def test_counts(case: tuple[Graph, list[int]]) -> None:
    graph, sizes = case
    partition_of = [number for number, size in enumerate(sizes) for _ in range(size)]
    edges = list(zip(edge_tails(graph.first_out).tolist(), graph.head.tolist(), strict=True))
    cross = [(u, v) for u, v in edges if partition_of[u] != partition_of[v]]
    outcome = report(graph, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32))

    def by_partition(counter: Counter[int]) -> list[int]:
        return [counter[number] for number in range(len(sizes))]

    assert outcome.nodes.tolist() == sizes
    internal = Counter(partition_of[u] for u, v in edges if partition_of[u] == partition_of[v])
    assert outcome.internal_edges.tolist() == by_partition(internal)
    assert outcome.cross_edges_out.tolist() == by_partition(Counter(partition_of[u] for u, _ in cross))
    assert outcome.cross_edges_in.tolist() == by_partition(Counter(partition_of[v] for _, v in cross))
    exits, entries = {u for u, _ in cross}, {v for _, v in cross}
    assert outcome.exits.tolist() == by_partition(Counter(partition_of[u] for u in exits))
    assert outcome.entries.tolist() == by_partition(Counter(partition_of[v] for v in entries))
    assert np.flatnonzero(outcome.boundary).tolist() == sorted(exits | entries)
    assert outcome.cross_edges == len(cross)
    assert outcome.boundary_nodes == len(exits | entries)
    assert outcome.cross_edge_share == (len(cross) / len(edges) if edges else 0.0)
    for own in range(len(sizes)):
        rows = range(outcome.neighbor_first[own], outcome.neighbor_first[own + 1])
        others = outcome.neighbor[rows.start : rows.stop].tolist()
        leaving = [(u, v) for u, v in cross if partition_of[u] == own]
        arriving = [(u, v) for u, v in cross if partition_of[v] == own]
        assert others == sorted({partition_of[v] for _, v in leaving} | {partition_of[u] for u, _ in arriving})
        for row, other in zip(rows, others, strict=True):
            there = [(u, v) for u, v in leaving if partition_of[v] == other]
            here = [(u, v) for u, v in arriving if partition_of[u] == other]
            assert outcome.neighbor_out[row] == len(there)
            assert outcome.neighbor_in[row] == len(here)
            assert outcome.neighbor_exits[row] == len({u for u, _ in there})
            assert outcome.neighbor_entries[row] == len({v for _, v in here})
        strongest = outcome.strongest_neighbors(own, 2).tolist()
        weight = outcome.neighbor_out + outcome.neighbor_in
        assert weight[strongest].tolist() == sorted(weight[rows.start : rows.stop].tolist(), reverse=True)[:2]


def chain(nodes: int, cost: float) -> Graph:
    tails = np.arange(nodes - 1, dtype=np.int32)
    return build_graph(nodes, tails, tails + 1, np.full(nodes - 1, cost))[0]


def test_a_poor_partitioning_gets_a_warning() -> None:
    graph = chain(11, 1.0)
    fifth, poor = np.array([0, 4, 8, 11], np.int32), np.array([0, 2, 4, 6, 8, 11], np.int32)
    assert warnings_of(graph, report(graph, fifth), []) == []  # exactly 20 %
    [warning] = warnings_of(graph, report(graph, poor), [])
    assert warning == (
        "40% of the edges cross partitions and 8 of 11 nodes are ends of such edges: plans stay exact, but take longer"
    )
    better, worse = Trial("stream", 0.31, 7), Trial("mincut", 0.33, 7)
    [warning] = warnings_of(graph, report(graph, poor), [better, worse])
    assert warning.endswith(
        "; strategy stream, tried on this graph, cuts 31.0% into as many partitions (7 nodes are ends)"
    )
    [warning] = warnings_of(graph, report(graph, poor), [worse])
    assert warning.endswith("; mincut (33%), tried on this graph, cut hardly fewer into as many partitions")
    assert warnings_of(graph, report(graph, np.array([0, 11], np.int32)), []) == []


def test_sums_that_float64_may_round_get_a_warning() -> None:
    assert not sum_may_round(chain(3, 2.0**52))
    assert sum_may_round(chain(4, 2.0**52))
    assert not sum_may_round(chain(4, 0.1))
    assert not sum_may_round(chain(1, 1.0))
    graph = chain(4, 2.0**52)
    assert "2^53" in warnings_of(graph, report(graph, np.array([0, 4], np.int32)), [])[0]


def test_a_graph_without_nodes() -> None:
    outcome = report(chain(1, 1.0), np.array([0, 1], np.int32))
    assert (outcome.cross_edges, outcome.cross_edge_share, outcome.boundary_nodes) == (0, 0.0, 0)
