"""The segments that an overlay keeps are those that workers unpack."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from planmesh.search.local_search import LocalSearch
from planmesh.search.unpack import SegmentKind
from planmesh.snapshot.array_file import open_array_file, write_array_file
from planmesh.snapshot.manifest import OVERLAY_NAME
from planmesh.snapshot.overlay_file import SEGMENTS_PREFIX, read_overlay
from planmesh.snapshot.reader import SnapshotReader
from planmesh.snapshot.short_segments import SEGMENT_EDGES_MAX
from tests.snapshot.small_snapshot import make_snapshot


def test_the_way_of_every_shortcut_is_the_one_that_its_worker_unpacks(tmp_path: Path) -> None:
    small = make_snapshot(tmp_path)
    reader = SnapshotReader.open(str(small.folder))
    opened = reader.overlay()
    overlay = opened.overlay
    partition_of = np.searchsorted(opened.overlay_first, np.arange(overlay.node_count), "right") - 1
    tails = np.repeat(np.arange(overlay.node_count), np.diff(overlay.first_out))
    kept = left = 0
    for edge, (tail, head) in enumerate(zip(tails.tolist(), overlay.head.tolist(), strict=True)):
        segment = opened.segments.segment(edge, opened.overlay_global[tail])
        if opened.is_original[edge]:
            assert segment is None
            continue
        number = int(partition_of[tail])
        base = opened.overlay_first[number]
        ends = (np.array([tail - base], np.int32), np.array([head - base], np.int32))
        index = reader.partition(number).index
        nodes, costs, _ = LocalSearch().unpack(index, np.array([SegmentKind.EDGE], np.uint8), *ends)
        if segment is None:
            assert len(costs) > SEGMENT_EDGES_MAX
            left += 1
            continue
        kept += 1
        assert segment[0].tolist() == (nodes + small.partition_first[number]).tolist()
        assert segment[1].tolist() == costs.tolist()
    assert kept > 50
    assert left == 0


def test_a_file_without_ways_is_read_and_has_none(tmp_path: Path) -> None:
    small = make_snapshot(tmp_path / "made")
    file = open_array_file(small.folder / OVERLAY_NAME)
    arrays = {name: array for name, array in file.prefixed("").items() if not name.startswith(SEGMENTS_PREFIX)}
    write_array_file(tmp_path / "old", arrays)
    opened = read_overlay(open_array_file(tmp_path / "old"))
    assert len(opened.segments.first) == len(opened.is_original) + 1
    assert all(opened.segments.segment(edge, np.int32(0)) is None for edge in range(len(opened.is_original)))
