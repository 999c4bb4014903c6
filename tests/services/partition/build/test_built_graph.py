"""The phases index and overlay: the snapshot's files, its manifest, progress and resumption."""

from __future__ import annotations

from pathlib import Path

from planmesh.snapshot.array_file import verify_file
from planmesh.snapshot.manifest import write_manifest
from planmesh.snapshot.reader import SnapshotReader
from tests.services.partition.small_build import LocalIndexes, build_small, prepare_small


async def test_the_manifest_describes_the_files_of_the_build(tmp_path: Path) -> None:
    folder, prepared = prepare_small(tmp_path)
    built, progress = await build_small(folder, prepared, LocalIndexes())
    manifest = built.manifest("g", 7)
    assert (manifest.graph, manifest.version, manifest.strategy) == ("g", 7, "domain")
    for entry in manifest.files():
        verify_file(folder.snapshot_path / entry.file, entry.facts, entry.file)
    assert [(entry.number, entry.name, entry.nodes) for entry in manifest.partitions] == [(0, "x", 2), (1, "y", 3)]
    counts = manifest.counts
    assert (counts.nodes, counts.edges, counts.partitions, counts.cross_edges, counts.boundary_nodes) == (5, 6, 2, 2, 3)
    write_manifest(folder.snapshot_path, manifest)
    overlay = SnapshotReader.open(str(folder.snapshot_path)).overlay().overlay
    assert (counts.overlay_nodes, counts.overlay_edges) == (overlay.node_count, len(overlay.head))
    assert counts.overlay_core_nodes == overlay.core_count
    assert counts.overlay_nodes >= counts.boundary_nodes
    assert set(progress.seconds) == {"index", "overlay"}


async def test_finished_partitions_are_not_built_again_and_the_files_are_the_same(tmp_path: Path) -> None:
    folder, prepared = prepare_small(tmp_path)
    first, _ = await build_small(folder, prepared, LocalIndexes())
    indexes = LocalIndexes()
    resumed, _ = await build_small(folder, prepared, indexes, {0: first.partitions[0]})
    assert indexes.built == [1]
    files = [[entry.checksum for entry in one.manifest("g", 1).files()] for one in (first, resumed)]
    assert files[0] == files[1]
