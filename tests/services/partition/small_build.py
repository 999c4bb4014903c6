"""A build of a small graph inside the test's own process, without Redis and build workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import numpy as np

from planmesh.graph.rules import Origin
from planmesh.partition.strategies import Strategy
from planmesh.snapshot.build_folder import BuildFolder, BuiltPartition, build_partition_file
from planmesh.snapshot.manifest import encode_manifest, write_manifest
from planmesh.telemetry.tracing import make_telemetry
from planmesh.versions.protocol import StoredVersion
from services.partition.blocking import BlockingWork
from services.partition.build.built_graph import BuiltGraph, index_and_overlay
from services.partition.build.prepare import prepare
from services.partition.build.prepared import PreparedGraph
from services.partition.catalog.served import KnownVersion
from services.partition.ingest.options import LoadOptions, VersionDescription
from services.partition.ingest.progress import LoadProgress
from services.partition.ingest.spool import GraphSpool

IDS: Final = ["a", "b", "c", "d", "e"]
DOMAINS: Final = ["x", "x", "y", "y", "y"]
REGIONS: Final = ["eu", "us", "us", "", ""]
EDGES: Final = [("a", "b", 1.0), ("b", "c", 2.0), ("c", "a", 4.0), ("c", "d", 0.5), ("d", "e", 1.0), ("e", "d", 3.0)]
"""Two domains, joined by the edges b-c and c-a."""
OPTIONS: Final = LoadOptions(graph="g", strategy=Strategy.DOMAIN)


@dataclass
class LocalIndexes:
    """Builds indexes in this process. `built` are the numbers of the partitions, in order."""

    built: list[int] = field(default_factory=list)

    async def build(
        self, folder: BuildFolder, nodes: Mapping[int, int], take: Callable[[BuiltPartition], None]
    ) -> dict[int, BuiltPartition]:
        found = {number: build_partition_file(folder.path, number) for number in nodes}
        self.built += found
        for one in found.values():
            take(one)
        return found


def prepare_small(
    folder: Path,
    options: LoadOptions = OPTIONS,
    edges: list[tuple[str, str, float]] = EDGES,
    checkpoint: Callable[[], None] = lambda: None,
) -> tuple[BuildFolder, PreparedGraph]:
    """Do the phases read and partition."""
    build = BuildFolder(folder)
    build.create()
    spool = GraphSpool(folder, undirected=False, implicit_nodes=False)
    spool.add_nodes(Origin(), IDS, DOMAINS, REGIONS)
    if edges:
        sources, targets, costs = zip(*edges, strict=True)
        spool.add_edges(Origin(), list(sources), list(targets), np.array(costs))
    return build, prepare(spool.finish(), options, build, checkpoint)


async def build_small(
    folder: BuildFolder,
    prepared: PreparedGraph,
    indexes: LocalIndexes,
    finished: Mapping[int, BuiltPartition] | None = None,
) -> tuple[BuiltGraph, LoadProgress]:
    """Do the phases index and overlay."""
    work, progress = BlockingWork("test"), LoadProgress("g", make_telemetry("test"))
    try:
        built = await index_and_overlay(prepared, folder, cast("Any", indexes), work, progress, finished)
    finally:
        work.close()
    return built, progress


async def known_version(folder: Path, options: LoadOptions = OPTIONS, number: int = 1) -> KnownVersion:
    """Build a version and return it as the catalog has it."""
    build, prepared = prepare_small(folder, options)
    built, _ = await build_small(build, prepared, LocalIndexes())
    manifest = built.manifest("g", number)
    write_manifest(build.snapshot_path, manifest)
    description = VersionDescription(options=options, manifest=encode_manifest(manifest).decode())
    stored = StoredVersion("g", number, 0.0, len(IDS), len(EDGES), description.model_dump_json())
    return KnownVersion(stored, description, manifest, str(build.snapshot_path))
