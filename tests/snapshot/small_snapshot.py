"""A whole snapshot of a small random graph, made by the library alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from planmesh.graph.adjacency import build_graph, reverse
from planmesh.graph.model import Graph, Int32Array
from planmesh.graph.node_ids import NodeIds
from planmesh.search.overlay_build import build_overlay, default_levels
from planmesh.snapshot.array_file import FileFacts, open_array_file, write_array_file
from planmesh.snapshot.build_folder import BuildFolder, build_partition_file
from planmesh.snapshot.directory import write_directory
from planmesh.snapshot.manifest import (
    DIRECTORY_NAME,
    OVERLAY_NAME,
    REPORT_NAME,
    Counts,
    FileEntry,
    Manifest,
    PartitionEntry,
    write_manifest,
)
from planmesh.snapshot.overlay_file import OpenOverlay, collect_level_one, write_overlay
from planmesh.snapshot.partition_file import read_partition
from planmesh.snapshot.short_segments import ShortSegmentsBuilder


@dataclass(frozen=True)
class SmallSnapshot:
    """`graph` is numbered by partition; node i is called `node-i`, has domain `d-p` of its partition, and no region."""

    folder: Path
    graph: Graph
    partition_first: Int32Array
    manifest: Manifest

    @property
    def partitions(self) -> int:
        return len(self.partition_first) - 1


def random_graph(nodes: int, edges: int, seed: int = 1) -> Graph:
    draw = np.random.default_rng(seed)
    tails = draw.integers(0, nodes, edges).astype(np.int32)
    heads = np.clip(tails + draw.integers(-12, 13, edges), 0, nodes - 1).astype(np.int32)
    return build_graph(nodes, tails, heads, draw.integers(1, 100, edges).astype(np.float64))[0]


def write_build_input(folder: BuildFolder, graph: Graph, partition_first: Int32Array) -> None:
    folder.create()
    folder.write_input(partition_first, graph, reverse(graph))


def make_snapshot(
    path: Path, *, nodes: int = 120, edges: int = 400, partitions: int = 4, seed: int = 1
) -> SmallSnapshot:
    graph = random_graph(nodes, edges, seed)
    partition_first = np.linspace(0, nodes, partitions + 1).astype(np.int32)
    folder = BuildFolder(path)
    write_build_input(folder, graph, partition_first)
    built = [build_partition_file(path, number) for number in range(partitions)]
    files = (open_array_file(folder.snapshot_path / one.file) for one in built)
    segments = ShortSegmentsBuilder()
    collected, (first_out, head, weight) = collect_level_one(
        (read_partition(file) for file in files), nodes, partitions, lambda: None, segments
    )
    partition_of = np.repeat(np.arange(partitions, dtype=np.int32), np.diff(collected.overlay_first))
    overlay = build_overlay(first_out, head, weight, default_levels(partition_of, partitions))
    first, numbers = collected.overlay_first, collected.overlay_global
    opened = OpenOverlay(overlay, first, numbers, collected.is_original, segments.finish())
    names = [f"p-{number}" for number in range(partitions)]
    sizes = np.diff(partition_first)
    directory = write_directory(
        folder.snapshot_path / DIRECTORY_NAME,
        ids=NodeIds.from_ids([f"node-{node}" for node in range(nodes)]),
        partition_first=partition_first,
        partition_names=names,
        domains=(np.repeat(np.arange(partitions, dtype=np.int32), sizes), [f"d-{p}" for p in range(partitions)]),
        regions=(np.full(nodes, -1, np.int32), []),
    )
    report = write_array_file(folder.snapshot_path / REPORT_NAME, {"nothing": np.zeros(1, np.int32)})
    overlay_facts = write_overlay(folder.snapshot_path / OVERLAY_NAME, opened)
    manifest = Manifest(
        graph="g",
        version=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        strategy="domain",
        counts=Counts(
            nodes=nodes,
            edges=graph.edge_count,
            parallel_edges=0,
            self_loops=0,
            partitions=partitions,
            cross_edges=0,
            boundary_nodes=0,
            overlay_nodes=overlay.node_count,
            overlay_edges=len(overlay.head),
            overlay_core_nodes=overlay.core_count,
        ),
        directory=_entry(DIRECTORY_NAME, directory),
        overlay=_entry(OVERLAY_NAME, overlay_facts),
        report=_entry(REPORT_NAME, report),
        partitions=[
            PartitionEntry(
                number=one.partition,
                name=names[one.partition],
                file=one.file,
                bytes=one.bytes,
                checksum=one.checksum,
                nodes=int(sizes[one.partition]),
                internal_edges=0,
                cross_edges_out=0,
                cross_edges_in=0,
                entries=0,
                exits=0,
                overlay_nodes=one.overlay_nodes,
                core_nodes=one.core_nodes,
                overlay_edges=one.overlay_edges,
            )
            for one in built
        ],
    )
    write_manifest(folder.snapshot_path, manifest)
    return SmallSnapshot(folder.snapshot_path, graph, partition_first, manifest)


def _entry(name: str, facts: FileFacts) -> FileEntry:
    return FileEntry(file=name, bytes=facts.bytes, checksum=facts.checksum)
