"""Reads the whole graph as a stream of Bolt records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from planmesh.errors import Conflict, InvalidGraph
from planmesh.graph.rows import ROWS_PER_BATCH, EdgeRows, NodeRows
from planmesh.graph.rules import shown
from planmesh.store.neo4j.connection import Connection
from planmesh.store.neo4j.statements import Statements
from planmesh.store.row_checks import check_edges, check_nodes

COMMIT_LOOKS: Final = 10
COMMIT_LOOK_S: Final = 0.05
"""Number of checks, and seconds between them, whether rows that look invalid were being written meanwhile."""

R = TypeVar("R")


class Neo4jReading:
    """One reading. A transaction sees concurrent commits; `unchanged` reports whether the reading saw one state."""

    def __init__(self, connection: Connection, statements: Statements, revision: str) -> None:
        self._connection = connection
        self._statements = statements
        self._source = connection.location.text
        self._rows = min(connection.options.batch_rows, ROWS_PER_BATCH)
        self._streams: list[AsyncGenerator[list[list[Any]], None]] = []
        self.revision = revision

    async def close(self) -> None:
        """Close the streams that were not read to the end."""
        for stream in self._streams:
            await stream.aclose()

    async def nodes(self) -> AsyncIterator[NodeRows]:
        """Stream the nodes; see GraphReading."""
        first = 1
        async for rows in self._stream(self._statements.read_nodes):
            yield await self._checked(self._node_rows, rows, first)
            first += len(rows)

    async def edges(self) -> AsyncIterator[EdgeRows]:
        """Stream the edges; see GraphReading."""
        first = 1
        async for rows in self._stream(self._statements.read_edges):
            yield await self._checked(self._edge_rows, rows, first)
            first += len(rows)

    async def unchanged(self) -> bool:
        """Return whether nothing was committed since the reading began."""
        return await self._connection.revision() == self.revision

    async def _checked(self, check: Callable[[list[list[Any]], int], R], rows: list[list[Any]], first: int) -> R:
        """Return checked rows. Raises Conflict when they are invalid because a client deletes them at the same time."""
        try:
            return check(rows, first)
        except InvalidGraph:
            # A node that is being deleted is read without properties, a moment before its commit becomes visible.
            for _ in range(COMMIT_LOOKS):
                if not await self.unchanged():
                    raise Conflict(f"{self._source} was written to while it was read; read it again") from None
                await asyncio.sleep(COMMIT_LOOK_S)
            raise

    def _node_rows(self, rows: list[list[Any]], first: int) -> NodeRows:
        names = self._connection.options
        ids, domains, regions, elements = zip(*rows, strict=True)
        self._require_texts(ids, names.id_property, elements, first)
        batch = NodeRows(
            list(ids),
            self._labels(domains, names.domain_property, ids, first),
            self._labels(regions, names.region_property, ids, first),
        )
        return check_nodes(batch, self._source, first)

    def _edge_rows(self, rows: list[list[Any]], first: int) -> EdgeRows:
        names = self._connection.options
        sources, targets, costs, elements = zip(*rows, strict=True)
        self._require_texts(sources, names.id_property, elements, first)
        self._require_texts(targets, names.id_property, elements, first)
        if not set(map(type, costs)) <= {float, int}:
            row = next(i for i, cost in enumerate(costs) if type(cost) not in {float, int})
            raise self._invalid(
                f"the relationship from {shown(sources[row])} to {shown(targets[row])} (element {elements[row]})",
                "a number",
                costs[row],
                names.cost_property,
                first + row,
            )
        batch = EdgeRows(list(sources), list(targets), np.array(costs, np.float64))
        return check_edges(batch, self._source, first)

    def _stream(self, statement: str) -> AsyncGenerator[list[list[Any]], None]:
        stream = self._connection.stream(statement, {}, self._rows)
        self._streams.append(stream)
        return stream

    def _require_texts(self, values: Sequence[Any], name: str, elements: Sequence[Any], first: int) -> None:
        if set(map(type, values)) <= {str}:
            return
        row = next(i for i, value in enumerate(values) if type(value) is not str)
        raise self._invalid(f"node (element {elements[row]})", "a text", values[row], name, first + row)

    def _labels(self, values: Sequence[Any], name: str, ids: Sequence[str], first: int) -> list[str]:
        if not set(map(type, values)) <= {str, type(None)}:
            row = next(i for i, value in enumerate(values) if not isinstance(value, str | None))
            raise self._invalid(f"node {shown(ids[row])}", "a text", values[row], name, first + row)
        return [value or "" for value in values]

    def _invalid(self, what: str, expected: str, value: object, name: str, record: int) -> InvalidGraph:
        got = "none" if value is None else f"{type(value).__name__} {shown(value)}"
        return InvalidGraph(
            f"{what}: expected {expected} as property {name}, got {got}",
            source=self._source,
            record=f"row {record}",
            field=name,
        )
