"""Applies a batch of changes to a graph in Neo4j, in one transaction that also holds the position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neo4j import AsyncManagedTransaction

from planmesh.errors import Conflict, NodeUnknown
from planmesh.store.neo4j.connection import Connection
from planmesh.store.neo4j.replacement import edge_values, ends_of, first_unknown, node_values
from planmesh.store.neo4j.statements import Statements
from planmesh.store.protocol import StoreChanges
from planmesh.store.row_checks import slices


class Changes:
    """Batches of changes of one graph, and its position: a property of a node of our own."""

    def __init__(self, connection: Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements
        self._label = {"label": connection.options.label}
        self._constrained = connection.options.schema_create  # then opening the store has created the constraints

    async def apply(self, changes: StoreChanges) -> None:
        """Apply checked changes; see GraphStore."""

        async def apply(transaction: AsyncManagedTransaction) -> None:
            if changes.version <= await self._position(transaction):
                return
            await (await transaction.run(self._statements.take_position, self._label)).consume()
            if changes.version > await self._position(transaction):
                await self._write(transaction, changes)

        if not self._constrained:
            await self._connection.require_constraints(self._statements)
            self._constrained = True
        await self._connection.write(apply)

    async def position(self) -> int:
        """Return the position; see GraphStore."""
        return await self._connection.read(self._position)

    async def _position(self, transaction: AsyncManagedTransaction) -> int:
        """Return the position. Raises Conflict while a replacement is put in place in several transactions."""
        record = await (await transaction.run(self._statements.get_position, self._label)).single(strict=True)
        is_swapping, version = record.values()
        if is_swapping:
            raise Conflict(
                f"{self._connection.location.text}: a replacement of this graph is being put in place, or failed "
                "there; try again when it is done (the next replacement completes one that failed)"
            )
        return int(version or 0)

    async def _write(self, transaction: AsyncManagedTransaction, changes: StoreChanges) -> None:
        statements = self._statements
        edges = edge_values(changes.upserted_edges)
        await self._run(transaction, statements.delete_nodes, "ids", changes.removed_nodes())
        await self._run(transaction, statements.upsert_nodes, "rows", node_values(changes.written_nodes()))
        await self._run(transaction, statements.delete_edges, "rows", [list(pair) for pair in changes.deleted_edges])
        if edges:
            unknown = await first_unknown(transaction, statements.first_unknown, ends_of(edges))
            if unknown is not None:
                raise NodeUnknown(unknown)
        await self._run(transaction, statements.upsert_edges, "rows", edges)
        parameters = {**self._label, "version": changes.version}
        await (await transaction.run(statements.set_position, parameters)).consume()

    async def _run(
        self, transaction: AsyncManagedTransaction, statement: str, name: str, values: Sequence[Any]
    ) -> None:
        for batch in slices(len(values), self._connection.options.batch_rows):
            await (await transaction.run(statement, {name: values[batch]})).consume()
