"""A partition's edges are sliced from a graph, classified, and stored with the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planmesh.errors import SnapshotDamaged
from planmesh.graph.adjacency import reverse
from planmesh.graph.model import Graph
from planmesh.search.partition_index import build_partition_index
from planmesh.snapshot.array_file import open_array_file, write_array_file
from planmesh.snapshot.partition_file import PartitionEdges, partition_arrays, read_partition, slice_edges
from tests.search.random_graphs import graphs
from tests.snapshot.small_snapshot import random_graph


def edges_of(graph: Graph, start: int, stop: int) -> PartitionEdges:
    into = reverse(graph)
    return PartitionEdges(
        start,
        *slice_edges(graph.first_out, graph.head, graph.weight, start, stop),
        *slice_edges(into.first_out, into.head, into.weight, start, stop),
    )


@settings(deadline=None)
@given(graphs(), st.data())
def test_edges_are_classified_as_internal_or_crossing(graph: Graph, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, graph.node_count))
    stop = data.draw(st.integers(start, graph.node_count))
    edges = edges_of(graph, start, stop)
    tails = np.repeat(np.arange(graph.node_count), np.diff(graph.first_out)).tolist()
    rows = list(zip(tails, graph.head.tolist(), graph.weight.tolist(), strict=True))
    inside = range(start, stop)
    first, head, weight = edges.internal()
    owner = np.repeat(np.arange(edges.node_count), np.diff(first)) + start
    assert list(zip(owner.tolist(), (head + start).tolist(), weight.tolist(), strict=True)) == [
        row for row in rows if row[0] in inside and row[1] in inside
    ]
    exits = {tail for tail, other, _ in rows if tail in inside and other not in inside}
    entries = {other for tail, other, _ in rows if tail not in inside and other in inside}
    assert (np.flatnonzero(edges.is_exit()) + start).tolist() == sorted(exits)
    assert (np.flatnonzero(edges.is_entry()) + start).tolist() == sorted(entries)
    assert (np.flatnonzero(edges.is_boundary()) + start).tolist() == sorted(exits | entries)


def test_a_stored_partition_is_read_and_others_are_refused(tmp_path: Path) -> None:
    edges = edges_of(random_graph(60, 200), 20, 45)
    index = build_partition_index(*edges.internal(), edges.is_boundary())
    arrays = partition_arrays(edges, index)
    write_array_file(tmp_path / "00001", arrays)
    read = read_partition(open_array_file(tmp_path / "00001"))
    assert (read.partition_first, read.node_count) == (20, 25)
    for name, array in partition_arrays(read, read.index).items():
        assert np.array_equal(array, arrays[name]), name
    for name in ("partition_first", "in_tail", "index.rank"):
        write_array_file(tmp_path / "other", {key: array for key, array in arrays.items() if key != name})
        with pytest.raises(SnapshotDamaged, match=r"^other: "):
            read_partition(open_array_file(tmp_path / "other"))
    write_array_file(tmp_path / "other", arrays | {"partition_first": np.empty(0, np.int32)})
    with pytest.raises(SnapshotDamaged, match="does not hold a partition"):
        read_partition(open_array_file(tmp_path / "other"))
