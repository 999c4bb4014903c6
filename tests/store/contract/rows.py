"""Converts small graphs to rows, and a store's content to plain values."""

from __future__ import annotations

import numpy as np

from planmesh.graph.rows import ROWS_PER_BATCH, EdgeRows, NodeRows
from planmesh.store.protocol import GraphReading, GraphStore

Nodes = dict[str, tuple[str, str]]
Edges = dict[tuple[str, str], float]


def node_rows(nodes: Nodes | list[str]) -> NodeRows:
    labels = nodes if isinstance(nodes, dict) else dict.fromkeys(nodes, ("", ""))
    return NodeRows(list(labels), [domain for domain, _ in labels.values()], [region for _, region in labels.values()])


def edge_rows(edges: list[tuple[str, str, float]]) -> EdgeRows:
    return EdgeRows(
        [source for source, _, _ in edges],
        [target for _, target, _ in edges],
        np.array([cost for _, _, cost in edges], np.float64),
    )


async def read_all(reading: GraphReading) -> tuple[Nodes, Edges]:
    """Return all rows of a reading; checks that no batch is empty or too large, and that no row comes twice."""
    nodes: Nodes = {}
    async for batch in reading.nodes():
        assert 0 < len(batch.ids) <= ROWS_PER_BATCH
        for node, domain, region in zip(batch.ids, batch.domains, batch.regions, strict=True):
            assert node not in nodes
            nodes[node] = (domain, region)
    edges: Edges = {}
    async for rows in reading.edges():
        assert 0 < len(rows.sources) <= ROWS_PER_BATCH
        assert rows.costs.dtype == np.float64
        for source, target, cost in zip(rows.sources, rows.targets, rows.costs.tolist(), strict=True):
            assert (source, target) not in edges
            edges[source, target] = cost
    return nodes, edges


async def contents(store: GraphStore) -> tuple[Nodes, Edges]:
    async with store.read() as reading:
        found = await read_all(reading)
        assert await reading.unchanged()
    counted = await store.counts()
    assert (counted.nodes, counted.edges) == (len(found[0]), len(found[1]))
    return found


async def fill(store: GraphStore, nodes: Nodes | list[str], edges: list[tuple[str, str, float]]) -> str:
    """Replace the graph of a store; return the new revision."""
    async with store.replace() as replacement:
        if nodes:
            await replacement.add_nodes(node_rows(nodes))
        if edges:
            await replacement.add_edges(edge_rows(edges))
        return await replacement.commit()
