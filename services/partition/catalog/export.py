"""Streams the rows of a version out of the store, nodes first."""

from __future__ import annotations

from collections.abc import AsyncIterator

from planmesh.graph.rows import NodeRows
from planmesh.internal.v1 import partition_pb2
from planmesh.v1 import graph_pb2
from planmesh.versions.protocol import VersionStore
from services.partition.catalog.served import KnownVersion


async def export_graph(store: VersionStore, known: KnownVersion) -> AsyncIterator[partition_pb2.ReadGraphResponse]:
    """Yield the rows as they were loaded. Each batch of edges of an undirected graph comes in both directions."""
    stored = known.stored
    async for nodes in store.read_nodes(stored.graph, stored.version):
        yield partition_pb2.ReadGraphResponse(version=stored.version, nodes=node_batch(nodes))
    async for edges in store.read_edges(stored.graph, stored.version):
        yield partition_pb2.ReadGraphResponse(
            version=stored.version,
            edges=graph_pb2.EdgeBatch(sources=edges.sources, targets=edges.targets, costs=edges.costs),
        )
        if known.description.options.undirected:
            yield partition_pb2.ReadGraphResponse(
                version=stored.version,
                edges=graph_pb2.EdgeBatch(sources=edges.targets, targets=edges.sources, costs=edges.costs),
            )


def node_batch(nodes: NodeRows) -> graph_pb2.NodeBatch:
    """Return rows of nodes as a message."""
    batch = graph_pb2.NodeBatch(ids=nodes.ids)
    if any(nodes.domains):
        batch.domains.extend(nodes.domains)
    if any(nodes.regions):
        batch.regions.extend(nodes.regions)
    return batch
