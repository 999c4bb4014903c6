"""Writing rows in batches, each a request that moves the graph's revision with it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from planmesh.errors import NodeUnknown
from planmesh.store.gremlin.connection import Connections
from planmesh.store.gremlin.packing import EDGE_BYTES, ID_BYTES, NODE_BYTES, PAIR_BYTES, cut
from planmesh.store.gremlin.traversals import Traversals

DROP_ROWS: Final = 5_000
"""Nodes that one request deletes: a server may look at all there are to find them, so they are not few."""


class Writer:
    """Upserts and deletions. One that breaks off may have done a part of its rows; done again, it does all."""

    def __init__(self, connections: Connections, traversals: Traversals) -> None:
        self._connections = connections
        self._traversals = traversals
        self._rows_max = connections.options.batch_rows
        self._bytes_max = connections.options.request_bytes_max

    async def upsert_nodes(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Upsert nodes of id, domain, region."""
        if not self._connections.dialect.merges:
            await self._put_each([self._traversals.put_node(*row) for row in rows])
            return
        for part in cut(rows, NODE_BYTES, self._rows_max, self._bytes_max):
            await self._connections.ask(self._traversals.merge_nodes(part, new_revision()))

    async def upsert_edges(
        self,
        rows: Sequence[tuple[str, str, float]],
        *,
        cheaper_only: bool = False,
        vertices: dict[str, Any] | None = None,
    ) -> None:
        """Upsert edges of source, target, cost; NodeUnknown, before anything is written, for an end that is no node.

        `vertices` are the vertices' own ids that the caller knows already; those that are found are added to it.
        """
        vertices = {} if vertices is None else vertices
        await self._find_ends(rows, vertices)
        if not self._connections.dialect.merges:
            await self._put_each([self._traversals.put_edge(*row, cheaper_only=cheaper_only) for row in rows])
            return
        native = [(vertices[source], vertices[target], cost) for source, target, cost in rows]
        for part in cut(native, EDGE_BYTES, self._rows_max, self._bytes_max):
            await self._connections.ask(self._traversals.merge_edges(part, new_revision(), cheaper_only=cheaper_only))

    async def add_edges(self, rows: Sequence[tuple[str, str, float]], *, vertices: dict[str, Any]) -> None:
        """Add edges that are not there yet; `vertices` as for `upsert_edges`, and so NodeUnknown."""
        if not self._connections.dialect.merges:
            await self.upsert_edges(rows, vertices=vertices)
            return
        await self._find_ends(rows, vertices)
        native = [(vertices[source], vertices[target], cost) for source, target, cost in rows]
        for part in cut(native, EDGE_BYTES, self._rows_max, self._bytes_max):
            await self._connections.ask(self._traversals.add_edges(part, new_revision()))

    async def _find_ends(self, rows: Sequence[tuple[str, str, float]], vertices: dict[str, Any]) -> None:
        """Add the vertices' own ids of all ends to `vertices`; NodeUnknown for an end that is no node."""
        asked = sorted({end for source, target, _ in rows for end in (source, target)} - vertices.keys())
        vertices.update(await self.known(asked))
        for end in asked:
            if end not in vertices:
                raise NodeUnknown(end)

    async def delete_nodes(self, ids: Sequence[str]) -> None:
        """Delete nodes."""
        for part in cut(ids, ID_BYTES, self._rows_max, self._bytes_max):
            await self._connections.ask(self._traversals.delete_nodes(part, new_revision()))

    async def delete_edges(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Delete edges."""
        for part in cut(pairs, PAIR_BYTES, self._rows_max, self._bytes_max):
            await self._connections.ask(self._traversals.delete_edges(part, new_revision()))

    async def delete_all(self) -> None:
        """Delete the whole graph."""
        while (await self._connections.ask(self._traversals.drop_some(DROP_ROWS)))[0]:
            pass

    async def known(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return the vertices' own ids of those of our ids that are there."""
        vertices: dict[str, Any] = {}
        for part in cut(ids, ID_BYTES, self._rows_max, self._bytes_max):
            for row in await self._connections.ask(self._traversals.known(part)):
                vertices[row["i"]] = row["v"]
        return vertices

    async def _put_each(self, requests: Sequence[Any]) -> None:
        """Send a request a row, as many at a time as there are connections, the revision moved before and after."""
        await self._connections.ask(self._traversals.move(new_revision()))
        for first in range(0, len(requests), self._rows_max):
            await together([self._connections.ask(request) for request in requests[first : first + self._rows_max]])
        await self._connections.ask(self._traversals.move(new_revision()))


async def together(asked: Sequence[Coroutine[Any, Any, Any]]) -> None:
    """Wait for all; when one fails, the others are cancelled, and its error is raised."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def new_revision() -> str:
    """Return a revision that no graph ever had."""
    return secrets.token_hex(12)
