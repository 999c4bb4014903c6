from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from planmesh.errors import SnapshotDamaged
from planmesh.snapshot.array_file import checksum_file, open_array_file
from planmesh.snapshot.build_folder import BuildFolder, build_partition_file
from planmesh.snapshot.manifest import FORMAT
from planmesh.snapshot.partition_file import PartitionEdges, read_partition
from tests.snapshot.small_snapshot import random_graph, write_build_input

HOLD_A_MARK = """
import sys, time
from pathlib import Path
from planmesh.snapshot.build_folder import BuildFolder
with BuildFolder(Path(sys.argv[1])).marked_as_being_built(1):
    print("marked", flush=True)
    sys.stdin.read()
"""


def make_build(path: Path) -> BuildFolder:
    folder = BuildFolder(path)
    write_build_input(folder, random_graph(90, 300), np.array([0, 30, 31, 90], np.int32))
    return folder


def test_a_partition_file_holds_the_edges_of_its_nodes_in_both_directions(tmp_path: Path) -> None:
    graph = random_graph(90, 300)
    folder = make_build(tmp_path)
    edges = {
        (tail, int(graph.head[edge]), float(graph.weight[edge]))
        for tail in range(90)
        for edge in range(int(graph.first_out[tail]), int(graph.first_out[tail + 1]))
    }
    out_edges, in_edges = set(), set()
    for number in range(3):
        built = build_partition_file(tmp_path, number)
        path = folder.snapshot_path / built.file
        assert (built.bytes, built.checksum) == (checksum_file(path).bytes, checksum_file(path).checksum)
        opened = read_partition(open_array_file(path))
        assert built.overlay_nodes == len(opened.index.overlay_node)
        for local in range(opened.node_count):
            node = opened.partition_first + local
            for edge in range(int(opened.out_first[local]), int(opened.out_first[local + 1])):
                out_edges.add((node, int(opened.out_head[edge]), float(opened.out_cost[edge])))
            for edge in range(int(opened.in_first[local]), int(opened.in_first[local + 1])):
                in_edges.add((int(opened.in_tail[edge]), node, float(opened.in_cost[edge])))
    assert out_edges == in_edges == edges


def test_boundary_and_internal_edges() -> None:
    # Nodes 10, 11, 12 of a larger graph: 10 -> 11 -> 12 are internal, 12 -> 3 leaves, 40 -> 10 arrives.
    edges = PartitionEdges(
        partition_first=10,
        out_first=np.array([0, 1, 2, 3], np.int32),
        out_head=np.array([11, 12, 3], np.int32),
        out_cost=np.array([1.0, 2.0, 3.0]),
        in_first=np.array([0, 1, 2, 3], np.int32),
        in_tail=np.array([40, 10, 11], np.int32),
        in_cost=np.array([4.0, 1.0, 2.0]),
    )
    assert edges.is_exit().tolist() == [False, False, True]
    assert edges.is_entry().tolist() == [True, False, False]
    assert edges.is_boundary().tolist() == [True, False, True]
    first, head, weight = edges.internal()
    assert (first.tolist(), head.tolist(), weight.tolist()) == ([0, 1, 2, 2], [1, 2], [1.0, 2.0])


def test_a_finished_partition_is_not_built_twice(tmp_path: Path) -> None:
    folder = make_build(tmp_path)
    assert folder.finished(0) is None
    first = build_partition_file(tmp_path, 0)
    written = (folder.snapshot_path / first.file).stat().st_mtime_ns
    folder.input_path.unlink()  # a build would need it
    assert build_partition_file(tmp_path, 0) == first
    assert folder.finished(0) == first
    # Facts of an earlier planmesh, whose index may be wrong.
    facts = json.loads(folder.facts_path(0).read_text())
    for format_number in (None, 0, FORMAT - 1):
        folder.facts_path(0).write_text(json.dumps(facts | {"format": format_number}))
        assert folder.finished(0) is None
    del facts["format"]
    folder.facts_path(0).write_text(json.dumps(facts))
    assert folder.finished(0) is None
    folder.facts_path(0).write_text(json.dumps(facts | {"format": FORMAT}))
    assert (folder.snapshot_path / first.file).stat().st_mtime_ns == written


def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    folder = make_build(tmp_path)
    first = build_partition_file(tmp_path, 2)
    folder.facts_path(2).unlink()
    second = build_partition_file(tmp_path, 2)
    assert (first.bytes, first.checksum) == (second.bytes, second.checksum)


def test_a_partition_with_a_truncated_file_is_not_finished(tmp_path: Path) -> None:
    folder = make_build(tmp_path)
    first = build_partition_file(tmp_path, 0)
    os.truncate(folder.snapshot_path / first.file, 10)
    assert folder.finished(0) is None
    assert build_partition_file(tmp_path, 0).checksum == first.checksum


def test_a_missing_build_is_an_error(tmp_path: Path) -> None:
    with pytest.raises((SnapshotDamaged, OSError)):
        build_partition_file(tmp_path / "nowhere", 0)


def test_the_mark_of_a_builder_ends_when_it_is_killed(tmp_path: Path) -> None:
    folder = make_build(tmp_path)
    assert not folder.being_built(1)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_MARK, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline() == b"marked\n"
        assert folder.being_built(1)
        assert not folder.being_built(0)
        with folder.marked_as_being_built(1):  # a second builder does not wait
            pass
        builder.send_signal(signal.SIGKILL)
        builder.wait()
    assert not folder.being_built(1)
