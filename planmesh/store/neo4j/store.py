"""GraphStore over Neo4j."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from neo4j import AsyncManagedTransaction

from planmesh.errors import Conflict, NodeUnknown, PlanmeshError
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.store.neo4j.changes import Changes
from planmesh.store.neo4j.connection import Connection
from planmesh.store.neo4j.options import Neo4jOptions
from planmesh.store.neo4j.paths import CheapestPaths
from planmesh.store.neo4j.patterns import match_pattern
from planmesh.store.neo4j.reading import Neo4jReading
from planmesh.store.neo4j.replacement import Neo4jReplacement, edge_values, ends_of, first_unknown, node_values, single
from planmesh.store.neo4j.statements import Statements
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
    slices,
)
from planmesh.store.urls import StoreUrl, prepared, read_options

TRAITS: Final = StoreTraits(
    name="neo4j", consistent_reads=False, atomic_batches=True, atomic_replacement=True, patterns=True
)
"""A reading sees concurrent commits: Neo4j's isolation level is read committed.

A replacement of up to `atomic_rows_max` rows is one transaction. A larger one is staged unseen and put in place in
several: meanwhile planmesh refuses to read the graph (Conflict), and other clients of the database see a mixture. If it
fails halfway, the next replacement completes it first."""


class Neo4jStore:
    """A graph in Neo4j. All writes of one call are one transaction, which is retried after a transient failure."""

    traits = TRAITS

    def __init__(self, location: StoreUrl, options: Neo4jOptions) -> None:
        self.url = location.text
        self._options = options
        self._statements = Statements(options)
        self._connection = Connection(location, options)
        self._paths = CheapestPaths(self._connection, self._statements)
        self._changes = Changes(self._connection, self._statements)
        self._writing = asyncio.Lock()

    async def prepare(self) -> None:
        """Connect, and create the constraint that ids are unique."""
        await self._connection.server()
        if self._options.schema_create:
            await self._connection.require_constraints(self._statements)

    async def health(self) -> StoreHealth:
        """Query the server's name; see GraphStore."""
        begin_s = time.perf_counter()
        server = await self._connection.server()
        return StoreHealth(server, time.perf_counter() - begin_s)

    async def revision(self) -> str:
        """Return the database's bookmark, which changes with every commit there, including those to other data."""
        return await self._connection.revision()

    async def counts(self) -> GraphCounts:
        """Count nodes and edges in one transaction."""

        async def count(transaction: AsyncManagedTransaction) -> GraphCounts:
            nodes = await single(transaction, self._statements.count_nodes, {})
            return GraphCounts(int(nodes), int(await single(transaction, self._statements.count_edges, {})))

        return await self._connection.read(count)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Neo4jReading]:
        """Begin a reading. Raises Conflict while a large replacement is put in place, or after one failed there."""

        async def swapping(transaction: AsyncManagedTransaction) -> bool:
            result = await transaction.run(self._statements.swapping, label=self._options.label)
            return await result.single() is not None

        revision = await self._connection.revision()
        if await self._connection.read(swapping):
            raise Conflict(
                f"{self.url}: a replacement of this graph is being put in place, or failed there; read again "
                "when it is done (the next replacement completes one that failed)"
            )
        reading = Neo4jReading(self._connection, self._statements, revision)
        try:
            yield reading
        finally:
            await reading.close()

    @asynccontextmanager
    async def replace(self, position: int = 0) -> AsyncIterator[Neo4jReplacement]:
        """Begin a replacement. Raises Conflict while another one runs. TRAITS says what other clients see of it."""
        replacement = Neo4jReplacement(self._connection, self._statements, check_position(position))
        try:
            await replacement.begin()
            yield replacement
        finally:
            await replacement.close()

    async def upsert_nodes(self, rows: NodeRows) -> None:
        """Add nodes, or set the domain and region of existing ones."""
        values = node_values(last_of_ids(check_nodes(rows)))
        await self._write_batches(self._statements.upsert_nodes, "rows", values)

    async def upsert_edges(self, rows: EdgeRows) -> None:
        """Add edges, or set the cost of existing ones; parallel edges that other clients made all get it."""
        values = edge_values(cheapest_of_pairs(check_edges(rows)))
        await self._write_batches(self._statements.upsert_edges, "rows", values, ends_of(values))

    async def delete_nodes(self, ids: Sequence[str]) -> None:
        """Delete nodes and all their relationships."""
        check_count(len(ids))
        await self._write_batches(self._statements.delete_nodes, "ids", list(ids))

    async def delete_edges(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Delete edges, including parallel ones."""
        check_count(len(pairs))
        await self._write_batches(self._statements.delete_edges, "rows", [list(pair) for pair in pairs])

    async def apply_changes(self, changes: StoreChanges) -> None:
        """Apply in one transaction, which waits for other batches of changes and their position; see GraphStore."""
        checked = check_changes(changes, self.url)
        async with self._writing:
            await self._changes.apply(checked)

    async def position(self) -> int:
        """See GraphStore."""
        return await self._changes.position()

    async def get_node(self, node: str) -> StoredNode:
        """Return a node; see GraphStore."""

        async def get(transaction: AsyncManagedTransaction) -> StoredNode:
            result = await transaction.run(self._statements.get_node, id=node)
            record = await result.single()
            if record is None:
                raise NodeUnknown(node)
            id_, domain, region = record.values()
            return StoredNode(str(id_), str(domain or ""), str(region or ""))

        return await self._connection.read(get)

    async def neighbors(self, node: str, depth: int, direction: Direction) -> list[StoredNeighbor]:
        """Return the nodes near a node, with one query for each edge of depth, all in one transaction."""
        check_depth(depth)

        async def search(transaction: AsyncManagedTransaction) -> list[StoredNeighbor]:
            if await first_unknown(transaction, self._statements.first_unknown, [node]) is not None:
                raise NodeUnknown(node)

            async def next_to(ring: Sequence[str]) -> list[str]:
                result = await transaction.run(self._statements.frontier[direction], ids=ring)
                return [str(record[0]) async for record in result]

            return await neighbors_by_rings(node, depth, next_to)

        return await self._connection.read(search)

    async def shortest_path(self, start: str, goal: str) -> StoredPath:
        """Return a cheapest path by Graph Data Science or APOC; StoreRefused when the server has neither."""
        return await self._paths.find(start, goal)

    async def match_pattern(self, query: str, parameters: Mapping[str, Any], limits: PatternLimits) -> PatternAnswer:
        """Run a Cypher query in a read transaction; see GraphStore."""
        return await match_pattern(self._connection, query, parameters, limits)

    async def close(self) -> None:
        """Drop our projections in the server's memory, if it still answers, and close all connections."""
        with suppress(PlanmeshError):
            await self._paths.close()
        await self._connection.close()

    async def _write_batches(
        self, statement: str, name: str, values: Sequence[Any], ends: Sequence[str] | None = None
    ) -> None:
        """Write in one transaction, one statement for each batch. Raises NodeUnknown when an end does not exist."""
        if not values:
            return

        async def write(transaction: AsyncManagedTransaction) -> None:
            if ends is not None:
                unknown = await first_unknown(transaction, self._statements.first_unknown, list(ends))
                if unknown is not None:
                    raise NodeUnknown(unknown)
            for batch in slices(len(values), self._options.batch_rows):
                await (await transaction.run(statement, {name: values[batch]})).consume()

        async with self._writing:
            await self._connection.write(write)


async def open_url(location: StoreUrl) -> Neo4jStore:
    """Open the store of a parsed URL; see `planmesh.store.urls.open_store`."""
    return await prepared(Neo4jStore(location, read_options(location, Neo4jOptions)))
