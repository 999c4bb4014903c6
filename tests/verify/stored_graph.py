"""A data folder with a loaded graph, made by the partition service's own steps, without Redis and its processes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from planmesh.graph.model import Float64Array
from planmesh.graph.rules import Origin
from planmesh.partition.strategies import Strategy
from planmesh.snapshot.array_file import Array, FileFacts, open_array_file, write_array_file
from planmesh.snapshot.build_folder import BuildFolder, build_partition_file
from planmesh.snapshot.manifest import (
    DIRECTORY_NAME,
    MANIFEST_NAME,
    OVERLAY_NAME,
    Manifest,
    encode_manifest,
    partition_file_name,
    read_manifest,
    write_manifest,
)
from planmesh.telemetry.tracing import make_telemetry
from planmesh.versions.embedded import CATALOG_NAME, EmbeddedVersions
from services.partition.blocking import BlockingWork
from services.partition.build.built_graph import BuiltGraph, BuiltOverlay, build_overlay_file
from services.partition.build.prepare import prepare
from services.partition.catalog.folders import Folders
from services.partition.ingest.options import LoadOptions, VersionDescription
from services.partition.ingest.progress import LoadProgress
from services.partition.ingest.spool import GraphSpool

Edge = tuple[str, str, float]


@dataclass(frozen=True)
class StoredGraph:
    """A graph of one version in a data folder, which tests damage."""

    data: Path
    graph: str = "g"
    version: int = 1

    @property
    def snapshot(self) -> Path:
        return self.data / "snapshots" / self.graph / str(self.version)

    @property
    def rows(self) -> Path:
        return self.data / "store" / "rows" / self.graph / str(self.version)

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.snapshot / MANIFEST_NAME)

    def arrays(self, file: str) -> dict[str, Array]:
        """Copies of the arrays of a file."""
        return {name: array.copy() for name, array in open_array_file(self.snapshot / file).arrays.items()}

    def change(self, file: str, change: Callable[[dict[str, Array]], None]) -> None:
        """Change arrays of a file, and its checksum in manifest and catalog: only what they mean is wrong then."""
        arrays = self.arrays(file)
        change(arrays)
        self._record(file, write_array_file(self.snapshot / file, arrays))

    def rebuild_overlay(self) -> None:
        """Build the overlay of what the partitions' files are now."""
        counts = self.manifest.counts
        built = _overlay(self.snapshot, counts.nodes, counts.partitions)
        self._record(OVERLAY_NAME, built.file)
        edges = {"overlay_edges": built.edges, "overlay_core_nodes": built.core_nodes}
        self._write(self.manifest.model_copy(update={"counts": counts.model_copy(update=edges)}))

    def recount(self, partition: int, **counts: int) -> None:
        """Change what the manifest says of a partition."""
        manifest = self.manifest
        entries = list(manifest.partitions)
        entries[partition] = entries[partition].model_copy(update=counts)
        self._write(manifest.model_copy(update={"partitions": entries}))

    def _record(self, file: str, facts: FileFacts) -> None:
        manifest = self.manifest
        update = {"bytes": facts.bytes, "checksum": facts.checksum}
        if file in {OVERLAY_NAME, DIRECTORY_NAME}:
            entry = manifest.find_file(file)
            assert entry is not None
            self._write(manifest.model_copy(update={file: entry.model_copy(update=update)}))
        else:
            self.recount(int(file.rpartition("/")[2]), **update)  # type: ignore[arg-type]

    def _write(self, manifest: Manifest) -> None:
        write_manifest(self.snapshot, manifest)
        with closing(sqlite3.connect(self.data / "store" / CATALOG_NAME)) as catalog, catalog:
            row = catalog.execute("SELECT description FROM version WHERE graph = ?", (self.graph,)).fetchone()
            description = {**json.loads(row[0]), "manifest": encode_manifest(manifest).decode()}
            catalog.execute("UPDATE version SET description = ? WHERE graph = ?", (json.dumps(description), self.graph))


async def store_graph(
    data: Path,
    edges: Sequence[Edge],
    domains: dict[str, str] | None = None,
    *,
    graph: str = "g",
    strategy: Strategy | None = None,
    partitions: int = 0,
) -> StoredGraph:
    """Load a graph; `domains` has a domain of each node, and a node for each edge's end is made without."""
    ids = sorted({end for source, target, _ in edges for end in (source, target)} | set(domains or {}))
    labels = [(domains or {}).get(node, "") for node in ids]
    options = LoadOptions(graph=graph, strategy=strategy, partitions=partitions)
    folders = Folders(data)
    folders.create()
    store = EmbeddedVersions(folders.store)
    folder = folders.new_build(graph)
    async with store.write(graph) as writer:
        spool = GraphSpool(folder.path, undirected=False, implicit_nodes=False)
        await writer.add_nodes(spool.add_nodes(Origin(), ids, labels if domains else [], []))
        if edges:
            sources, targets, costs = zip(*edges, strict=True)
            await writer.add_edges(spool.add_edges(Origin(), list(sources), list(targets), _floats(costs)))
        built = _build(spool, options, folder)
        manifest = built.manifest(graph, 1)
        write_manifest(folder.snapshot_path, manifest)
        folders.publish(folder, graph, 1)
        description = VersionDescription(options=options, manifest=encode_manifest(manifest).decode())
        await writer.commit(1, description.model_dump_json())
    await store.close()
    spool.close()
    return StoredGraph(data, graph)


def _floats(costs: Sequence[float]) -> Float64Array:
    return np.array(costs, np.float64)


def _build(spool: GraphSpool, options: LoadOptions, folder: BuildFolder) -> BuiltGraph:
    prepared = prepare(spool.finish(), options, folder, lambda: None)
    count = len(prepared.partitions)
    built = {number: build_partition_file(folder.path, number) for number in range(count)}
    assert all(one.file == partition_file_name(number) for number, one in built.items())
    return BuiltGraph(folder, prepared, built, _overlay(folder.snapshot_path, prepared.node_count, count))


def _overlay(snapshot: Path, nodes: int, partitions: int) -> BuiltOverlay:
    work = BlockingWork("test")
    progress = LoadProgress("g", make_telemetry("test"))
    try:
        return build_overlay_file(snapshot, snapshot / OVERLAY_NAME, nodes, partitions, progress, work)
    finally:
        work.close()


def random_edges(count: int = 120, seed: int = 1, spread: int = 12) -> list[Edge]:
    """A random graph whose edges stay near, of whole costs."""
    draw = np.random.default_rng(seed)
    tails = draw.integers(0, count, 4 * count)
    heads = np.clip(tails + draw.integers(-spread, spread + 1, 4 * count), 0, count - 1)
    costs = draw.integers(1, 100, 4 * count)
    return [(f"n{t:03}", f"n{h:03}", float(c)) for t, h, c in zip(tails, heads, costs, strict=True)]


def domains_of(edges: Sequence[Edge], size: int = 40) -> dict[str, str]:
    """A domain for every `size` nodes in the order of their ids."""
    ids = sorted({end for source, target, _ in edges for end in (source, target)})
    return {node: f"d{position // size}" for position, node in enumerate(ids)}
