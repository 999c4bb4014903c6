from __future__ import annotations

from pathlib import Path as FilePath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planmesh.errors import InternalError, LimitExceeded
from planmesh.snapshot.reader import SnapshotReader
from planmesh.v1 import plan_pb2
from services.coordinator import path_assembly
from services.coordinator.path_assembly import STEP_BYTES_MIN, Path, join, write_plan
from services.coordinator.versioned_graph import Segment, VersionedGraph
from tests.snapshot.small_snapshot import make_snapshot


def segment(nodes: list[int], costs: list[float]) -> Segment:
    return np.array(nodes, np.int32), np.array(costs, np.float64)


def test_segments_join_in_order() -> None:
    path = join([segment([1], []), segment([1, 2, 3], [1.0, 2.0]), segment([3, 4], [0.5])], 1, 4, 3.5)
    assert path.nodes.tolist() == [1, 2, 3, 4]
    assert path.costs.tolist() == [1.0, 2.0, 0.5]


def test_zero_cost_loops_are_cut() -> None:
    path = join([segment([1, 2, 3, 2, 4, 1, 5], [0.0, 0.0, 0.0, 0.0, 0.0, 7.0])], 1, 5, 7.0)
    assert path.nodes.tolist() == [1, 5]
    assert path.costs.tolist() == [7.0]


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12, unique=True), st.data())
def test_a_walk_with_free_detours_is_the_path_without_them(nodes: list[int], data: st.DataObject) -> None:
    """At each node of a path, insert round trips of cost 0 to new nodes."""
    walk: list[int] = []
    costs: list[float] = []
    for index, node in enumerate(nodes):
        walk.append(node)
        for trip in range(data.draw(st.integers(0, 2))):
            detour = 100 + 10 * index + trip
            walk += [detour, node]
            costs += [0.0, 0.0]
        if index < len(nodes) - 1:
            costs.append(float(index + 1))
    path = join([segment(walk, costs)], nodes[0], nodes[-1], float(sum(costs)))
    assert path.nodes.tolist() == nodes
    assert path.costs.tolist() == [float(index + 1) for index in range(len(nodes) - 1)]


@pytest.mark.parametrize(
    ("segments", "cost"),
    [
        ([segment([1, 2], [1.0]), segment([3, 4], [1.0])], 2.0),
        ([segment([2, 4], [1.0])], 1.0),
        ([segment([1, 2], [1.0])], 1.0),
        ([segment([1, 4], [1.0])], 2.0),
        ([segment([1, 2, 1, 4], [1.0, 1.0, 1.0])], 3.0),
    ],
    ids=["gap", "wrong start", "wrong goal", "wrong sum", "loop that costs"],
)
def test_segments_that_do_not_add_up_are_never_an_answer(segments: list[Segment], cost: float) -> None:
    with pytest.raises(InternalError):
        join(segments, 1, 4, cost)


def test_a_plan_that_fits_in_no_response_is_refused_by_name(
    tmp_path: FilePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound holds to the byte. A path far beyond it is refused before its steps are written."""
    reader = SnapshotReader.open(str(make_snapshot(tmp_path).folder))
    graph = VersionedGraph("g", 1, reader.url, reader.directory(), reader.overlay(), 1, "identity")
    path = Path(np.arange(100, dtype=np.int32), np.ones(99))
    written = write_plan(graph, "node-0", "node-99", path)
    steps = plan_pb2.Plan.FromString(written.message).steps
    texts = sum(len(s.source + s.target + s.source_partition + s.target_partition) for s in steps)
    assert len(steps) == 99
    assert texts + 99 * STEP_BYTES_MIN < len(written.message)
    monkeypatch.setattr(path_assembly, "CONTENT_BYTES_MAX", len(written.message))
    assert write_plan(graph, "node-0", "node-99", path).message == written.message
    monkeypatch.setattr(path_assembly, "CONTENT_BYTES_MAX", len(written.message) - 1)
    with pytest.raises(LimitExceeded, match=f"99 steps, which take {len(written.message):,} bytes") as refused:
        write_plan(graph, "node-0", "node-99", path)
    assert refused.value.metadata["bound"] == "CONTENT_BYTES_MAX"
    monkeypatch.setattr(path_assembly, "CONTENT_BYTES_MAX", texts)
    with pytest.raises(LimitExceeded, match=f"take {texts + 99 * STEP_BYTES_MIN:,} bytes or more"):
        write_plan(graph, "node-0", "node-99", path)
