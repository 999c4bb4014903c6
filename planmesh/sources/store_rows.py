"""Reads a store as a source of a graph, and writes a source into a store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from planmesh.errors import Conflict
from planmesh.graph.node_ids import NodeIdsBuilder
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import Fault, Origin, shown
from planmesh.ingest import GraphSource, SourceDescription
from planmesh.store.protocol import GraphCounts, GraphReplacement
from planmesh.store.urls import open_store, parse_store_url


class StoreSource(GraphSource):
    """A graph in a store. Its progress counts rows instead of bytes.

    Raises Conflict when the store was written to meanwhile, unless `accept_changes`.
    """

    def __init__(self, url: str, *, accept_changes: bool = False) -> None:
        self._url = url
        self._shown = parse_store_url(url).text
        self._begin(accept_changes=accept_changes)

    def _begin(self, *, accept_changes: bool) -> None:
        self._accept_changes = accept_changes
        self._rows_total = 0
        self._rows_read = 0

    @property
    def description(self) -> SourceDescription:
        """The graph is directed, and every node is declared."""
        return SourceDescription()

    @property
    def bytes_total(self) -> int:
        """The rows of the graph, 0 before they are known."""
        return self._rows_total

    @property
    def bytes_read(self) -> int:
        """The rows that have been read."""
        return self._rows_read

    def batches(self) -> Iterator[NodeRows | EdgeRows]:
        """Yield the rows; they are read by an event loop of this source in the calling thread."""
        with asyncio.Runner() as runner:
            rows = self._rows()

            async def following() -> NodeRows | EdgeRows | None:
                return await anext(rows, None)

            try:
                while (batch := runner.run(following())) is not None:
                    yield batch
            finally:
                runner.run(rows.aclose())

    async def _rows(self) -> AsyncGenerator[NodeRows | EdgeRows, None]:
        store = await open_store(self._url)
        try:
            counts = await store.counts()
            self._rows_total = counts.nodes + counts.edges
            async with store.read() as reading:
                first = 1
                async for nodes in reading.nodes():
                    yield replace(nodes, origin=Origin(self._shown, "node", first))
                    first += self._count(nodes)
                first = 1
                async for edges in reading.edges():
                    yield replace(edges, origin=Origin(self._shown, "edge", first))
                    first += self._count(edges)
                if not self._accept_changes and not await reading.unchanged():
                    raise Conflict(
                        f"{self._shown}: the graph was written to while it was read, so the rows may mix several of "
                        "its states; load it again, or accept the rows with --accept-changes"
                    )
        finally:
            await store.close()

    def _count(self, rows: NodeRows | EdgeRows) -> int:
        self._rows_read += len(rows)
        return len(rows)


@dataclass(frozen=True, slots=True)
class WrittenToStore:
    """The content of a store after a write; `rows` counts all edges written, with parallel ones and both directions."""

    store: str
    counts: GraphCounts
    rows: int
    revision: str
    seconds: float


async def write_to_store(
    source: GraphSource, url: str, *, undirected: bool, show: Callable[[GraphSource], None]
) -> WrittenToStore:
    """Replace the graph of a store by that of a source; rows must satisfy the same rules as in a load into the mesh."""
    began_s = time.monotonic()
    store = await open_store(url)
    try:
        async with store.replace() as replacement:
            writer = _Writer(replacement, undirected=undirected, implicit_nodes=source.description.implicit_nodes)
            batches = source.batches()
            while (rows := await asyncio.to_thread(next, batches, None)) is not None:
                await (writer.add_nodes(rows) if isinstance(rows, NodeRows) else writer.add_edges(rows))
                show(source)
            revision = await replacement.commit()
        return WrittenToStore(store.url, await store.counts(), writer.edges, revision, time.monotonic() - began_s)
    finally:
        await store.close()


class _Writer:
    """Writes rows of a source: each node once, and edges between known nodes unless nodes are implicit."""

    def __init__(self, replacement: GraphReplacement, *, undirected: bool, implicit_nodes: bool) -> None:
        self._replacement = replacement
        self._undirected = undirected
        self._implicit_nodes = implicit_nodes
        self._ids = NodeIdsBuilder()
        self.edges = 0

    async def add_nodes(self, rows: NodeRows) -> None:
        self._ids.add(rows.ids, rows.origin)
        await self._replacement.add_nodes(rows)

    async def add_edges(self, rows: EdgeRows) -> None:
        await self._know(rows, rows.sources, "source")
        await self._know(rows, rows.targets, "target")
        await self._add(rows)
        if self._undirected:
            await self._add(replace(rows, sources=rows.targets, targets=rows.sources))

    async def _add(self, rows: EdgeRows) -> None:
        self.edges += len(rows)
        await self._replacement.add_edges(rows)

    async def _know(self, rows: EdgeRows, ends: list[str], field: str) -> None:
        unknown = np.flatnonzero(self._ids.lookup(ends) < 0)
        if len(unknown) == 0:
            return
        if not self._implicit_nodes:
            row = int(unknown[0])
            raise Fault(row, field, f"expected the id of a node; no node has {shown(ends[row])}").error(rows.origin)
        new = list(dict.fromkeys(ends[row] for row in unknown.tolist()))
        self._ids.add(new, rows.origin, field)
        await self._replacement.add_nodes(NodeRows.filled(new))
