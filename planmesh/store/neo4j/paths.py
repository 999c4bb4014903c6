"""Finds cheapest paths in the database: by Graph Data Science on a projection, or by APOC on the stored graph."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import neo4j.exceptions as driver_errors
from neo4j import AsyncManagedTransaction

from planmesh.errors import InvalidGraph, NodeUnknown, NoPath, StoreRefused
from planmesh.graph.model import COST_MAX
from planmesh.graph.rules import shown
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

APOC_TOLERANCE: Final = 1e-8
"""Neo4j's own Dijkstra, which APOC calls, treats costs as equal up to this difference (MathUtil.DEFAULT_EPSILON)."""

APOC_COST_STEP: Final = 1e-6
"""Sums of whole multiples of this step are equal or differ by far more than APOC_TOLERANCE."""

APOC_COARSE_COST: Final = 1e9
"""From this cost on, neighbouring float64 numbers differ by more than APOC_TOLERANCE."""

APOC_STEP_SLACK: Final = 1e-3
"""Share of a step by which a decimal fraction, as a float64, may miss a whole multiple."""


class CheapestPaths:
    """Runs cheapest-path queries in the database.

    Graph Data Science searches a projection, a copy of the graph in the server's memory. We make a new projection when
    the graph's revision has changed, so an answer never comes from an older graph; checking the revision costs one
    small request. The previous projection is dropped when its last search ends. Two stores do not share a projection.

    Neither plugin refuses a cost that is negative or not a number: the search then finds a dearer path, or none. So we
    check all costs once for each revision. For APOC, which compares with a tolerance, they must also be coarse enough.
    """

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements
        self._finder: PathFinder | None = None
        self._searches: dict[str, int] = {}
        """Projections that are, or may be, in the server's memory, with the number of searches in each."""
        self._newest = ""
        self._projected = ""
        self._checked = ""
        """The revision whose costs were checked, with APOC."""
        self._projecting = asyncio.Lock()

    async def find(self, start: str, goal: str) -> StoredPath:
        """Return a cheapest path. Raises NodeUnknown, NoPath, StoreRefused (no plugin), InvalidGraph (a bad cost)."""
        finder = await self._choose()
        if finder is PathFinder.APOC and start != goal:
            await self._check_costs_if_changed()
        if finder is PathFinder.APOC or start == goal:
            return await self._connection.read(self._asking(finder, start, goal))
        try:
            return await self._find_projected(start, goal)
        except StoreRefused as error:
            if error.metadata.get("code") != NO_SUCH_PROCEDURE or NO_PROJECTION not in error.message:
                raise
        self._newest = self._projected = ""  # the server was restarted, and its memory is empty
        return await self._find_projected(start, goal)

    async def close(self) -> None:
        """Drop the projections from the server's memory."""
        self._newest = self._projected = ""
        await self._drop_unused()

    async def _find_projected(self, start: str, goal: str) -> StoredPath:
        projection = await self._project_if_stale()
        try:
            return await self._connection.read(self._asking(PathFinder.GDS, start, goal, projection))
        finally:
            self._searches[projection] -= 1

    async def _choose(self) -> PathFinder:
        if self._finder is None:
            wanted = self._connection.options.path_finder
            candidates = list(PROCEDURES) if wanted is PathFinder.AUTO else [wanted]
            there = await self._connection.read(self._one(WHICH_ARE_THERE, names=list(PROCEDURES.values())))
            found = [finder for finder in candidates if PROCEDURES[finder] in there]
            if not found:
                names = " or ".join(PROCEDURES[finder] for finder in candidates)
                raise StoreRefused(
                    f"the server has no {names}: cheapest paths in the database need its plugin Graph Data Science or "
                    "APOC, and a user with the right to call it",
                    store=self._connection.location.text,
                )
            self._finder = found[0]
        return self._finder

    async def _project_if_stale(self) -> str:
        """Return the name of a projection that is not older than this call, with this search counted in it."""
        async with self._projecting:
            revision = await self._connection.revision()
            if revision != self._projected:
                await self._project(revision)
            if len(self._searches) > 1:
                await self._drop_unused()
            self._searches[self._newest] += 1
            return self._newest

    async def _project(self, revision: str) -> None:
        await self._check_costs()
        name = f"planmesh-{secrets.token_hex(8)}"
        self._searches[name] = 0
        names = self._connection.options
        await self._connection.read(
            self._one(
                PROJECT,
                projection=name,
                label=names.label,
                edge_type=names.edge_type,
                cost_property=names.cost_property,
            )
        )
        self._newest, self._projected = name, revision

    async def _check_costs_if_changed(self) -> None:
        """Raise InvalidGraph or StoreRefused for a cost that APOC cannot search with; see APOC_TOLERANCE."""
        async with self._projecting:
            revision = await self._connection.revision()
            if revision == self._checked:
                return
            await self._check_costs()
            step = {"coarse": APOC_COARSE_COST, "step": APOC_COST_STEP, "slack": APOC_STEP_SLACK}
            fine = await self._connection.read(self._first(self._statements.fine_cost, **step))
            if fine is not None:
                source, target, cost = fine
                raise StoreRefused(
                    f"APOC treats costs as equal that differ by {APOC_TOLERANCE:g} or less, so its path might not be "
                    f"the cheapest: expected whole multiples of {APOC_COST_STEP:g}, got {cost} from {source!r} to "
                    f"{target!r}; install Graph Data Science, or store the costs in a smaller unit",
                    store=self._connection.location.text,
                )
            self._checked = revision

    async def _check_costs(self) -> None:
        """Raise InvalidGraph for a cost that is not a number from 0 to COST_MAX."""
        bad = await self._connection.read(self._first(self._statements.bad_cost, cost_max=COST_MAX))
        if bad is not None:
            source, target, cost = bad
            raise InvalidGraph(
                f"expected a cost from 0 to {COST_MAX:g}, got {'none' if cost is None else shown(cost)}",
                source=self._connection.location.text,
                record=f"relationship from {source!r} to {target!r}",
                field=self._connection.options.cost_property,
            )

    async def _drop_unused(self) -> None:
        for name, searches in list(self._searches.items()):
            if searches == 0 and name != self._newest:
                await self._connection.read(self._one(DROP, projection=name))
                del self._searches[name]

    def _asking(
        self, finder: PathFinder, start: str, goal: str, projection: str = ""
    ) -> Callable[[AsyncManagedTransaction], Awaitable[StoredPath]]:
        names = self._connection.options
        more: dict[str, Any] = {"projection": projection}
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
            if None in record[0]:
                raise StoreRefused(
                    f"APOC's cheapest path leads over nodes without the label {names.label}; install Graph Data "
                    "Science",
                    store=self._connection.location.text,
                )
            nodes = [str(node) for node in record[0]]
            costs = await transaction.run(self._statements.step_costs, ids=nodes)
            step_costs = [float(cost) for (cost,) in [row.values() async for row in costs] if cost is not None]
            if len(step_costs) != len(nodes) - 1:
                # Between the two statements a client deleted an edge or its cost: retry both statements.
                raise driver_errors.TransientError("an edge of the path was deleted while it was read")
            return StoredPath(nodes, step_costs, sum(step_costs))

        return ask

    def _first(
        self, statement: str, **parameters: Any
    ) -> Callable[[AsyncManagedTransaction], Awaitable[list[Any] | None]]:
        async def ask(transaction: AsyncManagedTransaction) -> list[Any] | None:
            record = await (await transaction.run(statement, parameters)).single()
            return None if record is None else record.values()

        return ask

    def _one(self, statement: str, **parameters: Any) -> Callable[[AsyncManagedTransaction], Awaitable[Any]]:
        async def ask(transaction: AsyncManagedTransaction) -> Any:
            result = await transaction.run(statement, parameters)
            return (await result.single(strict=True))[0]

        return ask
