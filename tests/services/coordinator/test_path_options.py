"""What a request avoids, as numbers of one version; and requests without options."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from planmesh.errors import LimitExceeded
from planmesh.internal.v1 import coordinator_pb2
from planmesh.search.delta import is_in
from planmesh.snapshot.reader import SnapshotReader
from planmesh.v1 import plan_pb2
from services.coordinator import avoidance, changed_plans
from services.coordinator.avoidance import AvoidSpec
from services.coordinator.changed_plans import ChangedPlans
from services.coordinator.path_options import PLAIN, PathOptions
from services.coordinator.segment_expansion import SegmentExpander
from services.coordinator.served_graphs import ServedGraphs
from services.coordinator.shard_queries import ShardQueries
from services.coordinator.versioned_graph import VersionedGraph
from tests.snapshot.small_snapshot import SmallSnapshot, make_snapshot


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> SmallSnapshot:
    return make_snapshot(tmp_path_factory.mktemp("snapshot"))


@pytest.fixture
def graph(snapshot: SmallSnapshot) -> VersionedGraph:
    reader = SnapshotReader.open(str(snapshot.folder))
    return VersionedGraph("g", 1, reader.url, reader.directory(), reader.overlay(), 2, reader.identity)


def test_avoided_partitions_are_all_their_nodes(graph: VersionedGraph) -> None:
    name = graph.directory.partition_names[1]
    avoided = AvoidSpec(nodes=("nowhere",), partitions=(name, "no such partition")).on(graph)
    first, end = graph.partition_first[1:3].tolist()
    assert sorted(avoided.nodes.tolist()) == list(range(first, end))
    blocked = avoided.blocked()
    assert all(is_in(blocked.nodes, node) == (first <= node < end) for node in range(graph.node_count))


def test_partitions_with_too_many_nodes_are_refused(graph: VersionedGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    size = int(graph.partition_first[2] - graph.partition_first[1])
    spec = AvoidSpec(partitions=(graph.directory.partition_names[1],))
    monkeypatch.setattr(avoidance, "AVOIDED_PARTITION_NODES_MAX", size)
    assert len(spec.on(graph).nodes) == size
    monkeypatch.setattr(avoidance, "AVOIDED_PARTITION_NODES_MAX", size - 1)
    with pytest.raises(LimitExceeded, match=f"at most {size - 1} nodes in them, got {size}") as caught:
        spec.on(graph)
    assert caught.value.metadata["bound"] == "AVOIDED_PARTITION_NODES_MAX"


def test_only_a_request_without_options_is_plain() -> None:
    request = coordinator_pb2.ComputePlanRequest(start="a", goal="b", avoid=plan_pb2.Avoid())
    assert PathOptions.of(request) is PLAIN
    cases: list[dict[str, Any]] = [
        {"avoid": plan_pb2.Avoid(partitions=["p"])},
        {"waypoints": ["c"]},
        {"max_cost": 0.0},
        {"alternatives": 1},
        {"alternatives": 1, "max_overlap": 0.0},
    ]
    for options in cases:
        assert PathOptions.of(coordinator_pb2.ComputePlanRequest(start="a", goal="b", **options)) != PLAIN


def test_the_arrays_of_a_few_unchanged_graphs_are_kept(graph: VersionedGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    other = copy.copy(graph)
    other.identity = "another snapshot"
    with ThreadPoolExecutor(1) as executor:
        queries = ShardQueries(ServedGraphs.__new__(ServedGraphs), [], executor)
        plans = ChangedPlans(queries, SegmentExpander(queries, executor), executor)
        first, second = plans._no_changes(graph), plans._no_changes(other)
        assert (plans._no_changes(graph), plans._no_changes(other)) == (first, second)
        monkeypatch.setattr(changed_plans, "UNCHANGED_MAX", 1)
        few = ChangedPlans(queries, SegmentExpander(queries, executor), executor)
        first = few._no_changes(graph)
        few._no_changes(other)
        assert few._no_changes(graph) is not first
