"""Applies a batch of changes in several requests, so that a repeat completes a batch that broke off."""

from __future__ import annotations

from typing import Any

from planmesh.errors import Conflict, NodeUnknown
from planmesh.store.gremlin.connection import Connections
from planmesh.store.gremlin.state import GraphState
from planmesh.store.gremlin.traversals import Traversals
from planmesh.store.gremlin.writing import Writer, new_revision
from planmesh.store.protocol import StoreChanges


class Changes:
    """Batches of changes of one graph.

    The vertex with the revision records which batch was begun, then the batch is written, then its version becomes the
    position. Every step may run again. A half-written batch must be completed before another one: the next one need not
    name what it changed, so its rest would stay.
    """

    def __init__(self, connections: Connections, traversals: Traversals, writer: Writer, state: GraphState) -> None:
        self._connections = connections
        self._traversals = traversals
        self._writer = writer
        self._state = state

    async def apply(self, changes: StoreChanges) -> None:
        """Apply checked changes; see GraphStore. Only one process may do so at a time."""
        meta = await self._state.settled()
        if changes.version <= meta.position:
            return
        if meta.applying not in {0, changes.version}:
            raise Conflict(
                f"{self._connections.location.text}: expected the changes of version {meta.applying}, which were begun "
                f"and are not complete, got those of version {changes.version}: apply that batch again first"
            )
        vertices = await self._known_ends(changes)
        await self._connections.ask(self._traversals.begin_applying(changes.version, new_revision()))
        await self._write(changes, vertices)
        ended = await self._connections.ask(self._traversals.end_applying(changes.version, new_revision()))
        # A request whose answer was lost was sent again: then the position says that the first one was carried out.
        if not ended[0] and (await self._state.settled()).position != changes.version:
            raise Conflict(
                f"{self._connections.location.text}: another process began other changes while those of version "
                f"{changes.version} were applied; only one may apply changes at a time"
            )

    async def _write(self, changes: StoreChanges, vertices: dict[str, Any]) -> None:
        nodes, edges = changes.written_nodes(), changes.upserted_edges
        await self._writer.delete_nodes(changes.removed_nodes())
        if nodes.ids:
            await self._writer.upsert_nodes(list(zip(nodes.ids, nodes.domains, nodes.regions, strict=True)))
        await self._writer.delete_edges(changes.deleted_edges)
        if edges.sources:
            rows = list(zip(edges.sources, edges.targets, edges.costs.tolist(), strict=True))
            await self._writer.upsert_edges(rows, vertices=vertices)

    async def _known_ends(self, changes: StoreChanges) -> dict[str, Any]:
        """Return the vertices of all ends of edges except those that the batch writes. Raises NodeUnknown."""
        edges = changes.upserted_edges
        asked = dict.fromkeys([*edges.sources, *edges.targets])
        for node in changes.written_nodes().ids:
            asked.pop(node, None)
        gone = set(changes.deleted_nodes)
        vertices = await self._writer.known([end for end in asked if end not in gone])
        for end in asked:
            if end not in vertices:
                raise NodeUnknown(end)
        return vertices
