"""The report file has the strongest neighbours of each partition, most cross edges first."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from planmesh.graph.adjacency import build_graph
from planmesh.partition.report import report
from planmesh.snapshot.array_file import open_array_file
from planmesh.snapshot.report_file import NEIGHBORS_SHOWN, Neighbor, read_neighbors, write_report


def test_neighbours_are_read_with_their_counts(tmp_path: Path) -> None:
    # Partitions 0-1, 2-3, 4, 5: two edges from 0 to 1 (one exit), one from 1 to 0, three from 0 to 2; none of 3.
    tails = np.array([0, 0, 3, 0, 1, 4], np.int32)
    heads = np.array([2, 3, 1, 4, 4, 1], np.int32)
    graph, _, _ = build_graph(6, tails, heads, np.ones(6))
    write_report(tmp_path / "report", report(graph, np.array([0, 2, 4, 5, 6], np.int32)))
    file = open_array_file(tmp_path / "report")
    assert read_neighbors(file, 0) == [Neighbor(1, 2, 1, 1, 1), Neighbor(2, 2, 1, 2, 1)]
    assert read_neighbors(file, 1) == [Neighbor(0, 1, 2, 1, 2)]
    assert read_neighbors(file, 2) == [Neighbor(0, 1, 2, 1, 1)]
    assert read_neighbors(file, 3) == []


def test_only_the_strongest_neighbours_are_kept(tmp_path: Path) -> None:
    """Node 0 has as many edges to partition p as p has nodes: p of them, up to 40."""
    count = 40
    sizes = np.arange(1, count + 1)
    first = np.concatenate([[0, 1], 1 + np.cumsum(sizes)]).astype(np.int32)
    nodes = int(first[-1])
    graph, _, _ = build_graph(
        nodes, np.zeros(nodes - 1, np.int32), np.arange(1, nodes, dtype=np.int32), np.ones(nodes - 1)
    )
    write_report(tmp_path / "report", report(graph, first))
    neighbors = read_neighbors(open_array_file(tmp_path / "report"), 0)
    assert [one.partition for one in neighbors] == list(range(count, count - NEIGHBORS_SHOWN, -1))
    assert [(one.cross_edges_out, one.exits) for one in neighbors] == [(one.partition, 1) for one in neighbors]


def test_a_graph_without_partitions_has_an_empty_report(tmp_path: Path) -> None:
    graph, _, _ = build_graph(0, np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0))
    write_report(tmp_path / "report", report(graph, np.zeros(1, np.int32)))
    assert open_array_file(tmp_path / "report").array("neighbor").tolist() == []
