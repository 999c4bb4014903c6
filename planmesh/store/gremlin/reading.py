"""Reads the whole graph as a stream of partial responses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import numpy as np

from planmesh.errors import InvalidGraph
from planmesh.graph.rows import ROWS_PER_BATCH, EdgeRows, NodeRows
from planmesh.graph.rules import shown
from planmesh.store.gremlin.connection import Connections
from planmesh.store.gremlin.traversals import Traversals
from planmesh.store.row_checks import check_edges, check_nodes


class GremlinReading:
    """One reading. It may see concurrent writes; `unchanged` reports whether it saw one state."""

    def __init__(
        self,
        connections: Connections,
        traversals: Traversals,
        revision: str,
        ask_revision: Callable[[], Awaitable[str]],
    ) -> None:
        self._connections = connections
        self._traversals = traversals
        self._ask_revision = ask_revision
        self._source = connections.location.text
        self._streams: list[AsyncGenerator[list[Any], None]] = []
        self.revision = revision

    async def nodes(self) -> AsyncIterator[NodeRows]:
        """Stream the nodes; see GraphReading."""
        names = self._connections.options
        first = 1
        async for rows in self._stream(self._traversals.read_nodes()):
            batch = node_rows(rows, names.domain_property, names.region_property, self._id_name, self._source, first)
            yield check_nodes(batch, self._source, first)
            first += len(rows)

    async def edges(self) -> AsyncIterator[EdgeRows]:
        """Stream the edges; see GraphReading."""
        first = 1
        async for rows in self._stream(self._traversals.read_edges()):
            batch = edge_rows(rows, self._connections.options.cost_property, self._id_name, self._source, first)
            yield check_edges(batch, self._source, first)
            first += len(rows)

    async def unchanged(self) -> bool:
        """Return whether the revision is still that of the beginning."""
        return await self._ask_revision() == self.revision

    async def close(self) -> None:
        """Close the streams that were not read to the end."""
        for stream in self._streams:
            await stream.aclose()

    @property
    def _id_name(self) -> str:
        return self._traversals.id_property or "id"

    def _stream(self, traversal: Any) -> AsyncGenerator[list[Any], None]:
        stream = self._connections.stream(traversal, min(self._connections.options.batch_rows, ROWS_PER_BATCH))
        self._streams.append(stream)
        return stream


def node_rows(
    rows: Sequence[dict[str, Any]], domain: str, region: str, id_name: str, source: str, first: int
) -> NodeRows:
    """Return results as rows. Raises InvalidGraph for a node whose properties are missing or not texts."""
    return NodeRows(
        _texts([row["i"] for row in rows], id_name, source, first),
        _texts([row["d"] for row in rows], domain, source, first, may_be_empty=True),
        _texts([row["r"] for row in rows], region, source, first, may_be_empty=True),
    )


def edge_rows(rows: Sequence[dict[str, Any]], cost_name: str, id_name: str, source: str, first: int) -> EdgeRows:
    """Return results as rows. Raises InvalidGraph for an edge whose cost is missing or not a number."""
    sources = _texts([row["s"] for row in rows], id_name, source, first)
    targets = _texts([row["t"] for row in rows], id_name, source, first)
    costs = [row["c"] for row in rows]
    for place, cost in enumerate(costs):
        if isinstance(cost, bool) or not isinstance(cost, float | int):
            raise InvalidGraph(
                f"the edge from {shown(sources[place])} to {shown(targets[place])}: expected a number as property "
                f"{cost_name}, got {_got(cost)}",
                source=source,
                record=f"row {first + place}",
                field=cost_name,
            )
    return EdgeRows(sources, targets, np.array(costs, np.float64))


def _texts(values: list[Any], name: str, source: str, first: int, *, may_be_empty: bool = False) -> list[str]:
    for place, value in enumerate(values):
        if not isinstance(value, str) or not (value or may_be_empty):
            raise InvalidGraph(
                f"a node: expected a text as {name}, got {_got(value)}",
                source=source,
                record=f"row {first + place}",
                field=name,
            )
    return values


def _got(value: object) -> str:
    return "none" if value in ("", None) else f"{type(value).__name__} {shown(value)}"
