"""GraphStore over Gremlin."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from planmesh.errors import InvalidRequest, NodeUnknown, StoreRefused
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store.gremlin.changes import Changes
from planmesh.store.gremlin.connection import Connections
from planmesh.store.gremlin.dialects import DIALECTS
from planmesh.store.gremlin.options import DialectName, GremlinOptions
from planmesh.store.gremlin.packing import ID_BYTES, cut
from planmesh.store.gremlin.paths import find_path
from planmesh.store.gremlin.reading import GremlinReading, node_rows
from planmesh.store.gremlin.replacement import GremlinReplacement
from planmesh.store.gremlin.signing import RequestSigner
from planmesh.store.gremlin.state import GraphState
from planmesh.store.gremlin.traversals import Traversals
from planmesh.store.gremlin.writing import Writer, new_revision
from planmesh.store.protocol import (
    Direction,
    GraphCounts,
    PatternAnswer,
    PatternLimits,
    StoreChanges,
    StoredNeighbor,
    StoredNode,
    StoredPath,
    StoreHealth,
    StoreTraits,
)
from planmesh.store.rings import neighbors_by_rings
from planmesh.store.row_checks import (
    cheapest_of_pairs,
    check_changes,
    check_count,
    check_depth,
    check_edges,
    check_nodes,
    check_position,
    last_of_ids,
    no_patterns,
)
from planmesh.store.urls import StoreUrl, prepared, read_options

TRAITS: Final = StoreTraits(name="gremlin", consistent_reads=False, atomic_batches=False, atomic_replacement=False)
"""No transaction spans two requests, so a call with more rows than one request takes several transactions.

A replacement deletes the old graph and then writes the new one. During that time, and after a failure, planmesh refuses
to read the graph (Conflict); a replacement that is begun again starts from the beginning. The revision is a property of
a vertex of our own, and each of our writes changes it. Writes by others that do not change it go unnoticed.

A batch of changes takes several requests, too; the same vertex records which batch was begun, and its version becomes
the position in the last request. Until then a reading may see part of it. Only one process may apply changes at a time.
"""


class GremlinStore:
    """A graph behind Gremlin; see TRAITS for its guarantees, GraphStore for its methods."""

    traits = TRAITS

    def __init__(self, location: StoreUrl, options: GremlinOptions) -> None:
        self.url = location.text
        self._location = location
        self._dialect = DIALECTS[options.dialect]
        if options.iam and options.dialect is not DialectName.NEPTUNE:
            raise InvalidRequest(f"{self.url}: iam=true is for dialect=neptune", field="store")
        signer = RequestSigner(location, options.aws_region) if options.iam else None
        self._options = options
        self._connections = Connections(location, options, self._dialect, signer)
        self._traversals = Traversals(options, self._dialect)
        self._writer = Writer(self._connections, self._traversals)
        self._state = GraphState(self._connections, self._traversals, options.label)
        self._changes = Changes(self._connections, self._traversals, self._writer, self._state)
        self._writing = asyncio.Lock()

    async def prepare(self) -> None:
        """Connect, and create the schema that the database needs and the vertex that holds the revision."""
        await self._connections.ask(self._traversals.get_meta())
        schema = self._dialect.schema(self._options, self._traversals.id_property)
        if schema is not None and self._options.schema_create:
            indexed = await self._connections.ask(schema)
            if self._traversals.id_property not in indexed:
                raise StoreRefused(
                    f"the property {self._traversals.id_property} exists without a composite index, and building one "
                    "over existing data is up to the database's administrator: build and enable it, or set id_property",
                    store=self.url,
                )
        if not await self._connections.ask(self._traversals.get_meta()):
            await self._connections.ask(self._traversals.make_meta(new_revision()))

    async def health(self) -> StoreHealth:
        """Query the revision; return the dialect's name and the seconds it took."""
        begin_s = time.perf_counter()
        await self.revision()
        return StoreHealth(f"gremlin ({self._dialect.name})", time.perf_counter() - begin_s)

    async def revision(self) -> str:
        """Return the revision, which changes with our own writes only; see TRAITS."""
        return (await self._state.get()).revision

    async def counts(self) -> GraphCounts:
        """Count nodes and edges; most servers scan all of them."""
        nodes = await self._connections.ask(self._traversals.count_nodes())
        edges = await self._connections.ask(self._traversals.count_edges())
        return GraphCounts(int(nodes[0]), int(edges[0]))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[GremlinReading]:
        """Begin a reading. Raises Conflict while a replacement is being written, or after one failed."""
        revision = (await self._state.settled()).revision
        reading = GremlinReading(self._connections, self._traversals, revision, self.revision)
        try:
            yield reading
        finally:
            await reading.close()

    @asynccontextmanager
    async def replace(self, position: int = 0) -> AsyncIterator[GremlinReplacement]:
        """Begin a replacement. Raises Conflict while another one runs. TRAITS says what other clients see of it."""
        checked = check_position(position)
        replacement = GremlinReplacement(self._connections, self._traversals, self._writer, checked)
        try:
            await replacement.begin()
            yield replacement
        finally:
            await replacement.close()

    async def upsert_nodes(self, rows: NodeRows) -> None:
        """Add nodes, or set the domain and region of existing ones."""
        checked = last_of_ids(check_nodes(rows))
        if checked.ids:
            async with self._writing:
                await self._writer.upsert_nodes(list(zip(checked.ids, checked.domains, checked.regions, strict=True)))

    async def upsert_edges(self, rows: EdgeRows) -> None:
        """Add edges, or set the cost of existing ones; parallel edges that other clients made all get it."""
        checked = cheapest_of_pairs(check_edges(rows))
        if checked.sources:
            values = list(zip(checked.sources, checked.targets, checked.costs.tolist(), strict=True))
            async with self._writing:
                await self._writer.upsert_edges(values)

    async def delete_nodes(self, ids: Sequence[str]) -> None:
        """Delete nodes and all their edges."""
        check_count(len(ids))
        async with self._writing:
            await self._writer.delete_nodes(list(dict.fromkeys(ids)))

    async def delete_edges(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Delete edges, including parallel ones."""
        check_count(len(pairs))
        async with self._writing:
            await self._writer.delete_edges(list(dict.fromkeys(pairs)))

    async def apply_changes(self, changes: StoreChanges) -> None:
        """Apply in several requests, the position in the last one; see TRAITS and GraphStore.

        After an error, repeat the batch; meanwhile another one raises Conflict.
        """
        checked = check_changes(changes, self.url)
        async with self._writing:
            await self._changes.apply(checked)

    async def position(self) -> int:
        """See GraphStore."""
        return (await self._state.settled()).position

    async def get_node(self, node: str) -> StoredNode:
        """Return a node; see GraphStore."""
        found = await self._connections.ask(self._traversals.get_node(node))
        if not found:
            raise NodeUnknown(node)
        names = self._options
        id_name = self._traversals.id_property or "id"
        rows = node_rows(found[:1], names.domain_property, names.region_property, id_name, self.url, 1)
        return StoredNode(rows.ids[0], rows.domains[0], rows.regions[0])

    async def neighbors(self, node: str, depth: int, direction: Direction) -> list[StoredNeighbor]:
        """Return the nodes near a node, with one request for each edge of depth."""
        check_depth(depth)
        if not await self._connections.ask(self._traversals.known([node])):
            raise NodeUnknown(node)

        async def next_to(ring: Sequence[str]) -> list[str]:
            batches = cut(ring, ID_BYTES, self._options.batch_rows, self._options.request_bytes_max)
            return [
                name
                for batch in batches
                for name in await self._connections.ask(self._traversals.ring(batch, direction))
            ]

        return await neighbors_by_rings(node, depth, next_to)

    async def shortest_path(self, start: str, goal: str) -> StoredPath:
        """Return a cheapest path; `planmesh.store.gremlin.paths` explains the method."""
        return await find_path(self._connections, self._traversals, self._writer, start, goal)

    async def match_pattern(self, query: str, parameters: Mapping[str, Any], limits: PatternLimits) -> PatternAnswer:
        """Raise PatternsUnsupported: a Gremlin server cannot be kept from writing during a query."""
        raise no_patterns(self.url)

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()


async def open_url(location: StoreUrl) -> GremlinStore:
    """Open the store of a parsed URL; see `planmesh.store.urls.open_store`."""
    return await prepared(GremlinStore(location, read_options(location, GremlinOptions)))
