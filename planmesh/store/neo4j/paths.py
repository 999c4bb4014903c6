"""Cheapest paths by the database itself: Graph Data Science on a projection, or APOC on the graph as it stands."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import neo4j.exceptions as driver_errors
from neo4j import AsyncManagedTransaction

from planmesh.errors import NodeUnknown, NoPath, StoreRefused
from planmesh.store.neo4j.connection import Connection
from planmesh.store.neo4j.options import PathFinder
from planmesh.store.neo4j.statements import Statements
from planmesh.store.protocol import StoredPath

T = TypeVar("T")

PROCEDURES: Final = {
    PathFinder.GDS: "gds.shortestPath.dijkstra.stream",
    PathFinder.APOC: "apoc.algo.dijkstra",
}
WHICH_ARE_THERE: Final = "SHOW PROCEDURES YIELD name WHERE name IN $names RETURN collect(name)"
PROJECT: Final = (
    "CALL gds.graph.project($projection, $label, {EDGE: {type: $edge_type, properties: "
    "{cost: {property: $cost_property}}}}) YIELD relationshipCount RETURN relationshipCount"
)
DROP: Final = "CALL gds.graph.drop($projection, false) YIELD graphName RETURN count(graphName)"
NO_SUCH_PROCEDURE: Final = "Neo.ClientError.Procedure.ProcedureCallFailed"
NO_PROJECTION: Final = "does not exist"


class CheapestPaths:
    """Asks the database for cheapest paths.

    Graph Data Science searches a copy of the graph in the server's memory, a projection. It is made anew when the
    graph's revision moved since, so that an answer is never that of an older graph; asking for the revision costs one
    small request. Two stores do not share a projection.
    """

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements
        self._finder: PathFinder | None = None
        self._projection = f"planmesh-{secrets.token_hex(8)}"
        self._projected = ""
        self._projecting = asyncio.Lock()

    async def find(self, start: str, goal: str) -> StoredPath:
        """Return a cheapest path."""
        finder = await self._choose()
        if finder is PathFinder.APOC or start == goal:
            return await self._connection.read(self._asking(finder, start, goal))
        await self._project_if_stale()
        try:
            return await self._connection.read(self._asking(finder, start, goal))
        except StoreRefused as error:
            if error.metadata.get("code") != NO_SUCH_PROCEDURE or NO_PROJECTION not in error.message:
                raise
        self._projected = ""  # the server was started anew: its memory is empty
        await self._project_if_stale()
        return await self._connection.read(self._asking(finder, start, goal))

    async def close(self) -> None:
        """Drop the projection."""
        if self._projected:
            await self._connection.read(self._one(DROP, projection=self._projection))

    async def _choose(self) -> PathFinder:
        if self._finder is None:
            wanted = self._connection.options.path_finder
            candidates = list(PROCEDURES) if wanted is PathFinder.AUTO else [wanted]
            there = await self._connection.read(self._one(WHICH_ARE_THERE, names=list(PROCEDURES.values())))
            found = [finder for finder in candidates if PROCEDURES[finder] in there]
            if not found:
                names = " or ".join(PROCEDURES[finder] for finder in candidates)
                raise StoreRefused(
                    f"it has no {names}: cheapest paths by the database itself need its plugin Graph Data Science or "
                    "APOC, and a user who may call it",
                    store=self._connection.location.text,
                )
            self._finder = found[0]
        return self._finder

    async def _project_if_stale(self) -> None:
        async with self._projecting:
            revision = await self._connection.revision()
            if revision == self._projected:
                return
            names = self._connection.options
            await self._connection.read(self._one(DROP, projection=self._projection))
            self._projected = ""
            await self._connection.read(
                self._one(
                    PROJECT,
                    projection=self._projection,
                    label=names.label,
                    edge_type=names.edge_type,
                    cost_property=names.cost_property,
                )
            )
            self._projected = revision

    def _asking(
        self, finder: PathFinder, start: str, goal: str
    ) -> Callable[[AsyncManagedTransaction], Awaitable[StoredPath]]:
        names = self._connection.options
        more: dict[str, Any] = {"projection": self._projection}
        statement = self._statements.gds_path
        if finder is PathFinder.APOC:
            more = {"types": f"{names.edge_type}>", "cost_property": names.cost_property}
            statement = self._statements.apoc_path

        async def ask(transaction: AsyncManagedTransaction) -> StoredPath:
            for end in (start, goal):
                found = await transaction.run(self._statements.get_node, id=end)
                if await found.single() is None:
                    raise NodeUnknown(end)
            if start == goal:
                return StoredPath([start], [], 0.0)
            result = await transaction.run(statement, start=start, goal=goal, **more)
            record = await result.single()
            if record is None:
                raise NoPath(start, goal)
            nodes = [str(node) for node in record[0]]
            costs = await transaction.run(self._statements.step_costs, ids=nodes)
            step_costs = [float(cost) for (cost,) in [record.values() async for record in costs]]
            if len(step_costs) != len(nodes) - 1:
                # Between the two statements somebody took an edge away: as a whole it may be tried again.
                raise driver_errors.TransientError("an edge of the path was deleted while it was read")
            return StoredPath(nodes, step_costs, sum(step_costs))

        return ask

    def _one(self, statement: str, **parameters: Any) -> Callable[[AsyncManagedTransaction], Awaitable[Any]]:
        async def ask(transaction: AsyncManagedTransaction) -> Any:
            result = await transaction.run(statement, parameters)
            return (await result.single(strict=True))[0]

        return ask
