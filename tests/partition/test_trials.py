"""What is tried when a partitioning cuts much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from planmesh.graph.adjacency import edge_tails, renumber
from planmesh.graph.model import Graph
from planmesh.graph.node_ids import NodeIds
from planmesh.partition import trials
from planmesh.partition.report import report as report_of
from planmesh.partition.report import warnings_of
from planmesh.partition.strategies import Partitioning, Strategy, number_by_partition, partition
from planmesh.partition.trials import count_cut, try_others

MakeGraph = Callable[..., Graph]


def ids_of(graph: Graph) -> NodeIds:
    return NodeIds.from_ids([f"n{number}" for number in range(graph.node_count)])


def test_the_cut_is_counted(square: Graph) -> None:
    partition_of = (np.arange(10_000, dtype=np.int32) // 100 % 3).astype(np.int32)
    ends = zip(edge_tails(square.first_out).tolist(), square.head.tolist(), strict=True)
    cross = [(u, v) for u, v in ends if partition_of[u] != partition_of[v]]
    facts = count_cut(square, partition_of)
    assert facts.cross_edges == len(cross)
    assert facts.boundary_nodes == len(Counter(node for edge in cross for node in edge))


def test_nothing_is_tried_on_a_good_partitioning(square: Graph) -> None:
    assert try_others(square, partition(square, Strategy.MINCUT, partitions=8)) == []
    assert try_others(square, partition(square, Strategy.HASH, partitions=1, ids=ids_of(square))) == []


def test_a_poor_partitioning_is_told_what_is_better_with_the_figures_of_both(square: Graph) -> None:
    parted = partition(square, Strategy.HASH, partitions=8, ids=ids_of(square))
    tried = try_others(square, parted)
    assert [trial.strategy for trial in tried] == ["mincut", "stream"]
    best = tried[0]
    facts = count_cut(square, partition(square, Strategy.MINCUT, partitions=8).partition_of)
    assert best.cross_edge_share == facts.cross_edges / square.edge_count
    assert best.boundary_nodes == facts.boundary_nodes
    [warning] = warnings(square, parted)
    assert warning.startswith("8")  # 1 - 1/8 of the edges
    assert f"strategy mincut, tried on this graph, cuts {best.cross_edge_share:.1%}" in warning


def test_mincut_is_not_tried_on_a_large_graph(square: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "MINCUT_TRIAL_EDGES_MAX", square.edge_count - 1)
    parted = partition(square, Strategy.HASH, partitions=8, ids=ids_of(square))
    assert [trial.strategy for trial in try_others(square, parted)] == ["stream"]
    assert "strategy stream, tried" in warnings(square, parted)[0]


def test_what_is_no_better_is_not_recommended(make_graph: MakeGraph) -> None:
    every = [(u, v) for u in range(40) for v in range(u)]
    graph = make_graph(40, every)
    parted = partition(graph, Strategy.HASH, partitions=4, ids=ids_of(graph))
    [warning] = warnings(graph, parted)
    assert "cut hardly fewer" in warning
    assert "strategy" not in warning
    assert "mincut (" in warning
    assert "stream (" in warning


def test_a_strategy_is_not_recommended_in_place_of_itself(make_graph: MakeGraph) -> None:
    every = [(u, v) for u in range(40) for v in range(u)]
    for strategy, other in ((Strategy.MINCUT, "stream"), (Strategy.STREAM, "mincut")):
        graph = make_graph(40, every)
        tried = try_others(graph, partition(graph, strategy, partitions=4))
        assert [trial.strategy for trial in tried] == [other]


def warnings(graph: Graph, parted: Partitioning) -> list[str]:
    numbering = number_by_partition(parted.partition_of, parted.partition_count)
    ordered = renumber(graph, numbering.new_number)
    return warnings_of(ordered, report_of(ordered, numbering.partition_first), try_others(graph, parted))
