"""From a prepared graph to a whole snapshot in a build's folder: the phases index and overlay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from planmesh.search.overlay_build import build_overlay, default_levels
from planmesh.snapshot.array_file import FileFacts, open_array_file
from planmesh.snapshot.build_folder import BuildFolder, BuiltPartition
from planmesh.snapshot.manifest import (
    DIRECTORY_NAME,
    OVERLAY_NAME,
    REPORT_NAME,
    Counts,
    FileEntry,
    Manifest,
    PartitionEntry,
    partition_file_name,
)
from planmesh.snapshot.overlay_file import OpenOverlay, collect_level_one, write_overlay
from planmesh.snapshot.partition_file import read_partition
from planmesh.snapshot.short_segments import ShortSegmentsBuilder
from services.partition.blocking import BlockingWork
from services.partition.build.index_build import IndexBuilds
from services.partition.build.prepared import PreparedGraph
from services.partition.ingest.progress import LoadProgress


@dataclass(frozen=True, slots=True)
class BuiltOverlay:
    """The overlay's file, and its size: nodes and edges of level 1, nodes of the top core."""

    file: FileFacts
    nodes: int
    edges: int
    core_nodes: int


@dataclass(frozen=True, slots=True)
class BuiltGraph:
    """A finished build, not published yet."""

    folder: BuildFolder
    prepared: PreparedGraph
    partitions: dict[int, BuiltPartition]
    overlay: BuiltOverlay

    def manifest(self, graph: str, version: int) -> Manifest:
        """Return the manifest of the build as a version."""
        prepared = self.prepared
        return Manifest(
            graph=graph,
            version=version,
            created_at=datetime.now(UTC),
            strategy=prepared.strategy,
            counts=Counts(
                nodes=prepared.node_count,
                edges=prepared.edge_count,
                parallel_edges=prepared.parallel_edges,
                self_loops=prepared.self_loops,
                partitions=len(prepared.partitions),
                cross_edges=prepared.cross_edges,
                boundary_nodes=prepared.boundary_nodes,
                overlay_nodes=self.overlay.nodes,
                overlay_edges=self.overlay.edges,
                overlay_core_nodes=self.overlay.core_nodes,
            ),
            directory=_entry(DIRECTORY_NAME, prepared.directory),
            overlay=_entry(OVERLAY_NAME, self.overlay.file),
            report=_entry(REPORT_NAME, prepared.report),
            partitions=[self._partition(number) for number in range(len(prepared.partitions))],
        )

    def _partition(self, number: int) -> PartitionEntry:
        built, counted = self.partitions[number], self.prepared.partitions[number]
        return PartitionEntry(
            **counted.model_dump(),
            file=built.file,
            bytes=built.bytes,
            checksum=built.checksum,
            number=number,
            overlay_nodes=built.overlay_nodes,
            core_nodes=built.core_nodes,
            overlay_edges=built.overlay_edges,
        )


async def index_and_overlay(
    prepared: PreparedGraph,
    folder: BuildFolder,
    indexes: IndexBuilds,
    work: BlockingWork,
    progress: LoadProgress,
    finished: Mapping[int, BuiltPartition] | None = None,
) -> BuiltGraph:
    """Do the phases index and overlay. Raises what they raise; the folder is left as it is then.

    `finished` are the partitions that were indexed before the build was interrupted.
    """
    nodes = {number: counted.nodes for number, counted in enumerate(prepared.partitions)}
    built = dict(finished or {})
    left = {number: count for number, count in nodes.items() if number not in built}
    with progress.phase("index", len(nodes)):
        indexed_nodes = prepared.node_count - sum(left.values())
        progress.begin_at(len(built), indexed_nodes / prepared.node_count)

        def take(one: BuiltPartition) -> None:
            nonlocal indexed_nodes
            built[one.partition] = one
            indexed_nodes += nodes[one.partition]
            progress.advance(len(built), share=indexed_nodes / prepared.node_count)

        await indexes.build(folder, left, take)
    with progress.phase("overlay"):
        overlay = await work.run(
            lambda: build_overlay_file(
                folder.snapshot_path,
                folder.snapshot_path / OVERLAY_NAME,
                prepared.node_count,
                len(nodes),
                progress,
                work,
            )
        )
    return BuiltGraph(folder, prepared, built, overlay)


def build_overlay_file(
    snapshot: Path, target: Path, node_count: int, partition_count: int, progress: LoadProgress, work: BlockingWork
) -> BuiltOverlay:
    """Contract the remaining edges of a snapshot's partitions and the cross edges in levels, and write the file."""
    names = (partition_file_name(number) for number in range(partition_count))
    segments = ShortSegmentsBuilder()
    collected, (first_out, head, weight) = collect_level_one(
        (read_partition(open_array_file(snapshot / name, name)) for name in names),
        node_count,
        partition_count,
        work.checkpoint,
        segments,
    )

    def advance(done: int, total: int) -> None:
        work.checkpoint()
        progress.advance(done, total)

    overlay_first = collected.overlay_first
    partition_of = np.repeat(np.arange(partition_count, dtype=np.int32), np.diff(overlay_first))
    overlay = build_overlay(first_out, head, weight, default_levels(partition_of, partition_count), progress=advance)
    assert np.array_equal(overlay.head, head), "level 1 keeps its order, which `is_original` follows"
    opened = OpenOverlay(overlay, overlay_first, collected.overlay_global, collected.is_original, segments.finish())
    return BuiltOverlay(
        file=write_overlay(target, opened),
        nodes=overlay.node_count,
        edges=len(overlay.head),
        core_nodes=overlay.core_count,
    )


def _entry(name: str, facts: FileFacts) -> FileEntry:
    return FileEntry(file=name, bytes=facts.bytes, checksum=facts.checksum)
