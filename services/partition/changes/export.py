"""Streams the rows of a graph that has changed since its base."""

from __future__ import annotations

from collections.abc import AsyncIterator

from planmesh.graph.rows import NodeRows
from planmesh.internal.v1 import partition_pb2
from planmesh.v1 import graph_pb2
from planmesh.versions.protocol import VersionStore
from services.partition.build.freezing import Frozen
from services.partition.catalog.export import node_batch
from services.partition.catalog.served import KnownVersion


async def export_changed(
    store: VersionStore, known: KnownVersion, frozen: Frozen
) -> AsyncIterator[partition_pb2.ReadGraphResponse]:
    """Yield the rows of a base with the changes since then."""
    rows = frozen.rows(store, known.stored, undirected=known.description.options.undirected)
    async for some in rows:
        if isinstance(some, NodeRows):
            yield partition_pb2.ReadGraphResponse(version=frozen.version, nodes=node_batch(some))
        else:
            batch = graph_pb2.EdgeBatch(sources=some.sources, targets=some.targets, costs=some.costs)
            yield partition_pb2.ReadGraphResponse(version=frozen.version, edges=batch)
