"""Writes rows in batches; each request also sets the graph's revision."""

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
"""Nodes that one request deletes. A server may scan all nodes to find them, so the number must not be small."""


class Writer:
    """Upserts and deletions. A call that fails may have written some of its rows; repeating it completes them."""

    def __init__(self, connections: Connections, traversals: Traversals) -> None:
        self._connections = connections
        self._traversals = traversals
        self._rows_max = connections.options.batch_rows
        self._bytes_max = connections.options.request_bytes_max

    async def upsert_nodes(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Upsert nodes of (id, domain, region)."""
        if not self._connections.dialect.merges:
            await self._put_each([self._traversals.put_node(*row) for row in rows])
            return
        for batch in cut(rows, NODE_BYTES, self._rows_max, self._bytes_max):
            await self._connections.ask(self._traversals.merge_nodes(batch, new_revision()))

    async def upsert_edges(
        self,
        rows: Sequence[tuple[str, str, float]],
        *,
        cheaper_only: bool = False,
        vertices: dict[str, Any] | None = None,
    ) -> None:
        """Upsert edges of (source, target, cost). Raises NodeUnknown, before anything is written, for an unknown end.

        `vertices` maps our ids to the vertices' own ids as far as the caller knows them; new ones are added to it.
        """
        vertices = {} if vertices is None else vertices
        await self._find_ends(rows, vertices)
        if not self._connections.dialect.merges:
            await self._put_each([self._traversals.put_edge(*row, cheaper_only=cheaper_only) for row in rows])
            return
        native = [(vertices[source], vertices[target], cost) for source, target, cost in rows]
        for batch in cut(native, EDGE_BYTES, self._rows_max, self._bytes_max):
            await self._connections.ask(self._traversals.merge_edges(batch, new_revision(), cheaper_only=cheaper_only))

    async def add_edges(self, rows: Sequence[tuple[str, str, float]], *, vertices: dict[str, Any]) -> None:
        """Add edges that do not exist yet; `vertices` and NodeUnknown as for `upsert_edges`."""
        if not self._connections.dialect.merges:
            await self.upsert_edges(rows, vertices=vertices)
            return
        await self._find_ends(rows, vertices)
        native = [(vertices[source], vertices[target], cost) for source, target, cost in rows]
        for batch in cut(native, EDGE_BYTES, self._rows_max, self._bytes_max):
            await self._connections.ask(self._traversals.add_edges(batch, new_revision()))

    async def _find_ends(self, rows: Sequence[tuple[str, str, float]], vertices: dict[str, Any]) -> None:
        """Add the vertices' own ids of all ends to `vertices`. Raises NodeUnknown for an end that does not exist."""
        asked = sorted({end for source, target, _ in rows for end in (source, target)} - vertices.keys())
        vertices.update(await self.known(asked))
        for end in asked:
            if end not in vertices:
                raise NodeUnknown(end)

    async def delete_nodes(self, ids: Sequence[str]) -> None:
        """Delete nodes with their edges; unknown ids are ignored."""
        for batch in cut(ids, ID_BYTES, self._rows_max, self._bytes_max):
            await self._connections.ask(self._traversals.delete_nodes(batch, new_revision()))

    async def delete_edges(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Delete the edges of each (source, target); unknown pairs are ignored."""
        for batch in cut(pairs, PAIR_BYTES, self._rows_max, self._bytes_max):
            await self._connections.ask(self._traversals.delete_edges(batch, new_revision()))

    async def delete_all(self) -> None:
        """Delete the whole graph, DROP_ROWS nodes a request."""
        while (await self._connections.ask(self._traversals.drop_some(DROP_ROWS)))[0]:
            pass

    async def known(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return the vertices' own ids of the given ids that exist."""
        vertices: dict[str, Any] = {}
        for batch in cut(ids, ID_BYTES, self._rows_max, self._bytes_max):
            for row in await self._connections.ask(self._traversals.known(batch)):
                vertices[row["i"]] = row["v"]
        return vertices

    async def _put_each(self, requests: Sequence[Any]) -> None:
        """Send one request for each row, in parallel, and set the revision before and after them."""
        await self._connections.ask(self._traversals.move(new_revision()))
        for first in range(0, len(requests), self._rows_max):
            await together([self._connections.ask(request) for request in requests[first : first + self._rows_max]])
        await self._connections.ask(self._traversals.move(new_revision()))


async def together(asked: Sequence[Coroutine[Any, Any, Any]]) -> None:
    """Wait for all; when one fails, cancel the others and raise its error."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def new_revision() -> str:
    """Return a random revision that no graph has had before."""
    return secrets.token_hex(12)
