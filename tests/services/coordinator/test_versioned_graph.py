"""The coordinator's view of a version and of workers' results."""

from __future__ import annotations

import numpy as np
import pytest

from planmesh.errors import InternalError
from planmesh.internal.v1 import task_pb2
from planmesh.snapshot.reader import SnapshotReader
from services.coordinator.versioned_graph import RECENT_WEIGHT, LocalResult, RecentDurations, Segments, VersionedGraph
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot


def unpack_result(nodes: list[int], costs: list[float], lengths: list[int]) -> task_pb2.UnpackResult:
    return task_pb2.UnpackResult(
        nodes=np.array(nodes, np.int32).tobytes(),
        costs=np.array(costs, np.float64).tobytes(),
        lengths=np.array(lengths, np.int32).tobytes(),
    )


RESULT = unpack_result([0, 1, 2, 5, 3, 4], [0.5, 1.5, 2.5], [3, 1, 2])


def test_segments_are_cut_in_global_numbers() -> None:
    segments = Segments(RESULT, np.int32(100), 3)
    assert [(nodes.tolist(), costs.tolist()) for nodes, costs in segments] == [
        ([100, 101, 102], [0.5, 1.5]),
        ([105], []),
        ([103, 104], [2.5]),
    ]


@pytest.mark.parametrize(
    ("result", "count"),
    [(RESULT, 2), (unpack_result([0, 1], [], [2]), 1), (unpack_result([0], [], [2]), 1)],
    ids=["count", "costs", "nodes"],
)
def test_segments_whose_arrays_do_not_match_are_an_error(result: task_pb2.UnpackResult, count: int) -> None:
    with pytest.raises(InternalError, match=f"expected {count} segments"):
        Segments(result, np.int32(0), count)


def test_a_local_result_finds_the_segment_of_an_overlay_node() -> None:
    nodes, distances = np.array([9, 4, 7], np.int32), np.array([2.0, 0.0, 2.5])
    result = LocalResult(nodes, distances, Segments(RESULT, np.int32(0), 3))
    found = result.segment(7)
    assert found is not None
    assert found[0].tolist() == [3, 4]
    assert LocalResult(nodes, distances, None).segment(7) is None


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> SmallSnapshot:
    return make_snapshot(tmp_path_factory.mktemp("snapshot"))


@pytest.fixture
def graph(snapshot: SmallSnapshot) -> VersionedGraph:
    reader = SnapshotReader.open(str(snapshot.folder))
    return VersionedGraph("g", 1, reader.url, reader.directory(), reader.overlay(), 2, reader.identity)


def test_sizes_and_shards_are_those_of_the_snapshot(graph: VersionedGraph, snapshot: SmallSnapshot) -> None:
    entries = snapshot.manifest.partitions
    assert graph.node_count == snapshot.graph.node_count
    assert [graph.nodes_of(number) for number in range(4)] == [entry.nodes for entry in entries]
    assert [graph.overlay_nodes_of(number) for number in range(4)] == [entry.overlay_nodes for entry in entries]
    assert [graph.shard_of(number) for number in range(4)] == [0, 0, 1, 1]


def test_overlay_nodes_belong_to_the_partitions_of_their_global_numbers(graph: VersionedGraph) -> None:
    nodes = np.arange(graph.overlay.overlay.node_count, dtype=np.int32)
    expected = graph.directory.partition_of_many(graph.overlay.overlay_global)
    assert graph.partition_of_overlay(nodes).tolist() == expected.tolist()


def test_the_expected_time_rises_at_once_and_falls_slowly() -> None:
    durations = RecentDurations()
    assert not durations.are_short(1)
    durations.note(0.0)
    assert durations.mean_s == pytest.approx(1.0 - RECENT_WEIGHT)
    durations.note(3.0)
    assert durations.mean_s == 3.0
