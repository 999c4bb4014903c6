"""Level 1 has the remaining edges of all partitions and the cross edges; its file gives back what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planmesh.errors import SnapshotDamaged
from planmesh.graph.adjacency import build_graph, reverse
from planmesh.graph.model import Graph, Int32Array
from planmesh.search.overlay_build import build_overlay
from planmesh.search.partition_index import build_partition_index
from planmesh.search.reference import dijkstra
from planmesh.snapshot.array_file import open_array_file, write_array_file
from planmesh.snapshot.overlay_file import LevelOneGraph, OpenOverlay, collect_level_one, read_overlay, write_overlay
from planmesh.snapshot.partition_file import OpenPartition, PartitionEdges, slice_edges
from planmesh.snapshot.short_segments import ShortSegments
from tests.snapshot.small_snapshot import random_graph


def opened(graph: Graph, start: int, stop: int) -> OpenPartition:
    """Index the partition of the nodes `start` to `stop` - 1, without a file."""
    into = reverse(graph)
    edges = PartitionEdges(
        start,
        *slice_edges(graph.first_out, graph.head, graph.weight, start, stop),
        *slice_edges(into.first_out, into.head, into.weight, start, stop),
    )
    index = build_partition_index(*edges.internal(), edges.is_boundary())
    return OpenPartition(
        *(edges.partition_first, edges.out_first, edges.out_head, edges.out_cost),
        *(edges.in_first, edges.in_tail, edges.in_cost, index),
    )


def collected(graph: Graph, first: Int32Array) -> tuple[LevelOneGraph, Graph]:
    partitions = [opened(graph, int(first[p]), int(first[p + 1])) for p in range(len(first) - 1)]
    level_one, arrays = collect_level_one(partitions, graph.node_count, len(partitions), lambda: None)
    return level_one, Graph(*arrays)


def test_level_one_keeps_the_distances_between_overlay_nodes() -> None:
    graph = random_graph(90, 300)
    level_one, overlay = collected(graph, np.array([0, 40, 41, 90], np.int32))
    number = level_one.overlay_global
    assert np.all(np.diff(number) > 0)
    assert level_one.overlay_first.tolist() == np.searchsorted(number, [0, 40, 41, 90]).tolist()
    for node, start in enumerate(number.tolist()):
        expected, _, _ = dijkstra(graph.first_out, graph.head, graph.weight, start)
        found, _, _ = dijkstra(overlay.first_out, overlay.head, overlay.weight, node)
        assert np.array_equal(found, expected[number])


def test_exactly_the_edges_of_the_graph_are_marked_as_original() -> None:
    # 0 -> 1 -> 2 | 3 -> 4, with 1 contracted: 0 -> 2 is a shortcut, 2 -> 3 and 4 -> 0 are cross edges.
    tails, heads = np.array([0, 1, 2, 3, 4], np.int32), np.array([1, 2, 3, 4, 0], np.int32)
    graph, _, _ = build_graph(5, tails, heads, np.array([1.0, 2.0, 3.0, 4.0, 5.0]))
    level_one, overlay = collected(graph, np.array([0, 3, 5], np.int32))
    assert level_one.overlay_global.tolist() == [0, 2, 3, 4]
    assert (overlay.first_out.tolist(), overlay.head.tolist()) == ([0, 1, 2, 3, 4], [1, 2, 3, 0])
    assert overlay.weight.tolist() == [3.0, 3.0, 4.0, 5.0]
    assert level_one.is_original.tolist() == [False, True, True, True]


def test_the_checkpoint_of_each_partition_can_stop_the_collection() -> None:
    graph = random_graph(30, 60)
    partitions = [opened(graph, 0, 10), opened(graph, 10, 30)]
    calls: list[None] = []

    def stop_at_the_second() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        collect_level_one(partitions, 30, 2, stop_at_the_second)


def test_partitions_that_were_not_added_are_noticed() -> None:
    graph = random_graph(30, 60)
    level_one = LevelOneGraph(30, 2)
    level_one.add(opened(graph, 0, 10))
    with pytest.raises(AssertionError, match="every partition is added"):
        level_one.finish()


def test_a_written_overlay_is_read_and_others_are_refused(tmp_path: Path) -> None:
    graph = random_graph(60, 200)
    level_one, rows = collected(graph, np.array([0, 30, 60], np.int32))
    overlay = build_overlay(rows.first_out, rows.head, rows.weight, [])
    count = len(overlay.head)
    segments = ShortSegments(np.zeros(count + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float64))
    made = OpenOverlay(overlay, level_one.overlay_first, level_one.overlay_global, level_one.is_original, segments)
    write_overlay(tmp_path / "overlay", made)
    read = read_overlay(open_array_file(tmp_path / "overlay"))
    for name, array in overlay.arrays().items():
        assert np.array_equal(read.overlay.arrays()[name], array)
    for name in ("overlay_first", "overlay_global", "is_original"):
        assert np.array_equal(getattr(read, name), getattr(made, name))
    arrays = dict(open_array_file(tmp_path / "overlay").arrays)
    for name in ("overlay.rank", "overlay_first", "is_original"):
        write_array_file(tmp_path / "other", {key: array for key, array in arrays.items() if key != name})
        with pytest.raises(SnapshotDamaged, match=r"^other: "):
            read_overlay(open_array_file(tmp_path / "other"))
