"""Replaces the whole graph, which takes several transactions on every Gremlin server."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import suppress
from typing import Any, Final

import numpy as np

from planmesh.errors import Conflict, InvalidGraph, PlanmeshError
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import shown
from planmesh.store.gremlin.connection import Connections
from planmesh.store.gremlin.traversals import Traversals
from planmesh.store.gremlin.writing import Writer, new_revision
from planmesh.store.row_checks import cheapest_of_pairs, check_edges, check_nodes, last_of_ids
from planmesh.store.row_spool import RowSpool, pair_hashes

LOCK_S: Final = 60.0
"""Seconds for which the lock of a replacement whose process died blocks others."""

RENEW_S: Final = 15.0

VERTICES_KEPT_MAX: Final = 200_000
"""Vertices whose database ids are remembered between batches of edges: some thirty megabytes."""


class GremlinReplacement:
    """One replacement. Its rows wait in a local file; `commit` writes them.

    The vertex that holds the graph's revision also holds a lock, which expires unless it is renewed.
    """

    def __init__(self, connections: Connections, traversals: Traversals, writer: Writer, position: int) -> None:
        self._connections = connections
        self._traversals = traversals
        self._writer = writer
        self._position = position
        self._spool = RowSpool()
        self._token = secrets.token_hex(12)
        self._renewing: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Take the lock. Raises Conflict when another replacement holds it."""
        now_unix_s = time.time()
        taken = await self._connections.ask(self._traversals.lock(self._token, now_unix_s, now_unix_s + LOCK_S))
        if not taken[0]:
            raise Conflict(f"{self._connections.location.text}: another replacement of this graph is under way")
        self._renewing = asyncio.create_task(self._renew())

    async def add_nodes(self, rows: NodeRows) -> None:
        """Check nodes and add them to the local file."""
        self._spool.add_nodes(last_of_ids(check_nodes(rows)))

    async def add_edges(self, rows: EdgeRows) -> None:
        """Check edges and add them to the local file."""
        self._spool.add_edges(cheapest_of_pairs(check_edges(rows)))

    async def commit(self) -> str:
        """Delete the old graph and write the new one; planmesh refuses to read the graph until that is done.

        Other data on the old nodes is lost. After a failure, call `commit` again or begin another replacement; both
        start from the beginning.
        """
        unknown = await asyncio.to_thread(self._spool.find_unknown_end)
        if unknown is not None:
            raise InvalidGraph(f"an edge has the end {shown(unknown)}, which is not a node of its graph", field="edge")
        await self._keep_lock()
        await self._connections.ask(self._traversals.begin_replacing(new_revision()))
        await self._writer.delete_all()
        for rows in self._spool.nodes():
            await self._writer.upsert_nodes(list(zip(rows.ids, rows.domains, rows.regions, strict=True)))
            self._check_lock()
        vertices: dict[str, Any] = {}
        repeated = await asyncio.to_thread(self._spool.repeated_pairs)
        for edges in self._spool.edges():
            values = list(zip(edges.sources, edges.targets, edges.costs.tolist(), strict=True))
            again = np.isin(pair_hashes(edges), repeated).tolist()
            once = [row for row, is_again in zip(values, again, strict=True) if not is_again]
            await self._writer.add_edges(once, vertices=vertices)
            merged = [row for row, is_again in zip(values, again, strict=True) if is_again]
            await self._writer.upsert_edges(merged, cheaper_only=True, vertices=vertices)
            self._check_lock()
            if len(vertices) > VERTICES_KEPT_MAX:
                vertices.clear()
        await self._keep_lock()
        revision = new_revision()
        await self._connections.ask(self._traversals.end_replacing(revision, self._position))
        return revision

    async def close(self) -> None:
        """Delete the local file and release the lock."""
        self._spool.close()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
            # If the server is down now, the lock expires later.
            with suppress(PlanmeshError):
                await self._connections.ask(self._traversals.unlock(self._token))

    def _check_lock(self) -> None:
        assert self._renewing is not None
        if self._renewing.done():
            self._renewing.result()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            await self._keep_lock()

    async def _keep_lock(self) -> None:
        if not (await self._connections.ask(self._traversals.keep_lock(self._token, time.time() + LOCK_S)))[0]:
            raise Conflict(
                f"{self._connections.location.text}: another replacement of this graph took over, because this one did "
                f"not renew its lock for {LOCK_S:g} s; this one stops"
            )
