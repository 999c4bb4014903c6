"""Replaces the whole graph in Neo4j, in one transaction or staged in several."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Final

from neo4j import AsyncManagedTransaction

from planmesh.errors import Conflict, DeadlineExceeded, InvalidGraph
from planmesh.graph.rows import EdgeRows, NodeRows
from planmesh.graph.rules import shown
from planmesh.store.neo4j.connection import Connection
from planmesh.store.neo4j.statements import Statements
from planmesh.store.row_checks import cheapest_of_pairs, check_edges, check_nodes, slices
from planmesh.store.row_spool import RowSpool

STAGING: Final = -1
"""The step of a replacement of which nothing is in place yet."""

LOCK_WAIT_S: Final = 5.0
"""Longest wait for another replacement to end. It begins when the statement that takes the lock has run once under
another label: to connect and to compile it takes a cold, busy server seconds, which must not look like a conflict."""


class Neo4jReplacement:
    """One replacement. Its rows wait in a local file; `commit` writes them to the database.

    A transaction that stays open holds a lock, so a graph has one replacement at a time.
    """

    def __init__(self, connection: Connection, statements: Statements, position: int = 0) -> None:
        self._connection = connection
        self._statements = statements
        self._marker = {"label": connection.options.label, "token": secrets.token_hex(16), "position": position}
        self._spool = RowSpool()
        self._lock = AsyncExitStack()

    async def begin(self) -> None:
        """Take the lock, and complete or drop what a failed replacement left. Raises Conflict when another one runs."""
        await self._connection.require_constraints(self._statements)
        lock = self._statements.lock
        await self._connection.rehearse(lock, {"label": self._marker["token"]})
        try:
            async with asyncio.timeout(LOCK_WAIT_S):
                holding = self._connection.hold(lock, {"label": self._connection.options.label})
                await self._lock.enter_async_context(holding)
        except (TimeoutError, DeadlineExceeded):
            raise Conflict(
                f"{self._connection.location.text}: another replacement of the nodes labelled "
                f"{self._connection.options.label} is under way"
            ) from None
        if await self._connection.read(self._left_behind):
            await self._take_over()

    async def add_nodes(self, rows: NodeRows) -> None:
        """Check nodes and add them to the local file."""
        self._spool.add_nodes(check_nodes(rows))

    async def add_edges(self, rows: EdgeRows) -> None:
        """Check edges and add them to the local file, of each batch the cheapest of each pair."""
        self._spool.add_edges(cheapest_of_pairs(check_edges(rows)))

    async def commit(self) -> str:
        """Replace the graph.

        Up to `atomic_rows_max` rows, old and new, take one transaction. More take several: the new graph is first
        staged unseen and then replaces the old one; planmesh refuses to read the graph until that is done. After a
        failure, call `commit` again; otherwise the next replacement completes this one, or drops what was only staged.
        """
        at_stake = self._spool.node_count + self._spool.edge_count + await self._connection.read(self._count)
        if at_stake <= self._connection.options.atomic_rows_max:
            await self._connection.write_long(self._replace_whole)
        else:
            await self._replace_in_batches()
        return await self._connection.revision()

    async def close(self) -> None:
        """Delete the local file and release the lock."""
        self._spool.close()
        await self._lock.aclose()

    async def _replace_whole(self, transaction: AsyncManagedTransaction) -> None:
        await self._held(transaction, self._statements.begin)
        for rows in self._spool.nodes():
            await self._stage_nodes(transaction, rows)
        for edges in self._spool.edges():
            await self._stage_edges(transaction, edges)
        for step in self._statements.swap:
            await (await transaction.run(step.statement(in_batches=False), self._marker)).consume()
        await self._held(transaction, self._statements.end)

    async def _replace_in_batches(self) -> None:
        if await self._marked(self._statements.begin) > STAGING:
            await self._swap_in_batches()
            return
        await self._connection.run_batches(self._statements.drop_staged, {})
        for rows in self._spool.nodes():
            await self._connection.write(partial(self._stage_nodes, rows=rows))
        for edges in self._spool.edges():
            await self._connection.write(partial(self._stage_edges, rows=edges))
        await self._swap_in_batches()

    async def _take_over(self) -> None:
        """Complete or drop a replacement whose process is gone."""
        if await self._marked(self._statements.begin) > STAGING:
            await self._swap_in_batches()
        else:
            await self._connection.run_batches(self._statements.drop_staged, {})
            await self._marked(self._statements.drop_marker)

    async def _swap_in_batches(self) -> None:
        first = max(0, await self._marked(self._statements.guard))
        for number in range(first, len(self._statements.swap)):
            await self._marked(self._statements.set_step, step=number)
            await self._connection.run_batches(self._statements.swap[number].statement(in_batches=True), self._marker)
        await self._marked(self._statements.end)

    async def _stage_nodes(self, transaction: AsyncManagedTransaction, rows: NodeRows) -> None:
        await self._held(transaction, self._statements.guard)
        await self._run_in_batches(transaction, self._statements.stage_nodes, node_values(rows))

    async def _stage_edges(self, transaction: AsyncManagedTransaction, rows: EdgeRows) -> None:
        await self._held(transaction, self._statements.guard)
        values = edge_values(rows)
        unknown = await first_unknown(transaction, self._statements.first_unknown_staged, ends_of(values))
        if unknown is not None:
            raise InvalidGraph(
                f"an edge has the end {shown(unknown)}, which is not a node of the same graph", field="edge"
            )
        await self._run_in_batches(transaction, self._statements.stage_edges, values)

    async def _run_in_batches(
        self, transaction: AsyncManagedTransaction, statement: str, values: list[list[Any]]
    ) -> None:
        for batch in slices(len(values), self._connection.options.batch_rows):
            await (await transaction.run(statement, rows=values[batch])).consume()

    async def _count(self, transaction: AsyncManagedTransaction) -> int:
        """Return the nodes plus all edges in the database; Neo4j keeps both counts."""
        asked = (self._statements.count_nodes, self._statements.count_all_edges)
        return sum([int(await single(transaction, statement, {})) for statement in asked])

    async def _left_behind(self, transaction: AsyncManagedTransaction) -> bool:
        result = await transaction.run(self._statements.marked, label=self._marker["label"])
        return await result.single() is not None

    async def _marked(self, statement: str, **more: Any) -> int:
        """Run a statement on our marker; return the step that it records."""

        async def ask(transaction: AsyncManagedTransaction) -> int:
            return await self._held(transaction, statement, **more)

        return await self._connection.write(ask)

    async def _held(self, transaction: AsyncManagedTransaction, statement: str, **more: Any) -> int:
        record = await (await transaction.run(statement, {**self._marker, **more})).single()
        if record is None:
            raise Conflict(
                f"{self._connection.location.text}: another replacement of the nodes labelled "
                f"{self._connection.options.label} took over; this one stops"
            )
        return int(record[0])


def node_values(rows: NodeRows) -> list[list[Any]]:
    """Return nodes as parameters; an empty domain or region becomes null, so that it is no property."""
    return [
        [node, domain or None, region or None]
        for node, domain, region in zip(rows.ids, rows.domains, rows.regions, strict=True)
    ]


def edge_values(rows: EdgeRows) -> list[list[Any]]:
    """Return edges as parameters: [source, target, cost] of each."""
    return [list(row) for row in zip(rows.sources, rows.targets, rows.costs.tolist(), strict=True)]


def ends_of(values: list[list[Any]]) -> list[str]:
    """Return the distinct ends of edges, sorted."""
    return sorted({end for source, target, _ in values for end in (source, target)})


async def first_unknown(transaction: AsyncManagedTransaction, statement: str, ids: list[str]) -> str | None:
    """Return the first id that no node has, None when all exist."""
    record = await (await transaction.run(statement, ids=ids)).single()
    return None if record is None else str(record[0])


async def single(transaction: AsyncManagedTransaction, statement: str, parameters: dict[str, Any]) -> Any:
    """Run a statement that returns exactly one value, and return it."""
    record = await (await transaction.run(statement, parameters)).single(strict=True)
    return record[0]
